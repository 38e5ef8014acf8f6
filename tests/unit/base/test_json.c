#include "test.h"

#include <signal.h>
#include <unistd.h>

#include "base/json.h"
#include "scratch.h"

static struct json *parsed(const char *text)
{
    struct json *json = NULL;
    ASSERT_OK(json_parse(text, strlen(text), "test", &json));
    return json;
}

static void text_is(struct json *json, const char *expected)
{
    char *text = json_to_text(json);
    CU_ASSERT_STRING_EQUAL(text, expected);
    free(text);
    json_free(&json);
    CU_ASSERT_PTR_NULL(json);
}

static void builds_in_order(void)
{
    struct json *line = json_new_object(), *list = json_new_array(), *inner = json_new_object();
    json_set_int(line, "step", INT64_MAX);
    json_set_double(line, "train/loss", 0.1);
    json_set_double(line, "whole", 2);
    json_set_bool(line, "a", true);
    json_set_null(line, "b");
    json_add_double(list, 0.485);
    json_add_int(list, -3);
    json_add_string(list, "x");
    json_set_string(inner, "k", "v");
    json_add(list, inner);
    json_set(line, "list", list);
    json_set_int(line, "step", 7); /* in place */
    text_is(line, "{\"step\":7,\"train/loss\":0.1,\"whole\":2.0,\"a\":true,\"b\":null,"
                  "\"list\":[0.485,-3,\"x\",{\"k\":\"v\"}]}");
}

static void awkward_values(void)
{
    struct json *json = json_new_object();
    json_set_double(json, "nan", NAN);
    json_set_double(json, "inf", INFINITY);
    json_set_string(json, "text", "a\"b\\c\n\t\x01/\xc3\xa9");
    json_set_string(json, "latin1", "caf\xe9");
    json_set_int(json, "k\xff", 1);
    text_is(json, "{\"nan\":null,\"inf\":null,\"text\":\"a\\\"b\\\\c\\n\\t\\u0001/\xc3\xa9\",\"latin1\":\"caf?\","
                  "\"k?\":1}");
}

static void pretty(void)
{
    struct json *json = parsed("{\"a\":{\"b\":[1,2]},\"c\":[{\"d\":1}],\"e\":{},\"f\":[]}");
    char *text = json_to_pretty_text(json);
    CU_ASSERT_STRING_EQUAL(text,
                           "{\n  \"a\": {\n    \"b\": [1, 2]\n  },\n  \"c\": [\n    {\n      \"d\": 1\n    }\n  ],\n"
                           "  \"e\": {},\n  \"f\": []\n}\n");
    free(text);
    json_free(&json);
}

/* Text that we write reads back to the same text. */
static void round_trip(void)
{
    const char *text =
        "{\"z\":1,\"a\":[true,null,-0.0,1e-300,\"\\u0001\"],\"F32\":{\"shape\":[3,4],\"data_offsets\":[0,48]}}";
    text_is(parsed(text), text);
    text_is(parsed("[]"), "[]");
    text_is(parsed(" 3 "), "3");
}

static void parse_errors(void)
{
    static const struct {
        const char *text, *message;
    } bad[] = {
        {"{\"a\":1,\n \"b\":}", "test:2: not valid JSON"},
        {"{\"a\":1,\"a\":2}", "test:1: not valid JSON: duplicate"},
        {"{} x", "test:1: not valid JSON"},
        {"", "not valid JSON"},
        {"[1e999]", "not valid JSON"},
        {"[99999999999999999999]", "not valid JSON"},
        {"\"\xff\"", "not valid JSON"},
        {"[\"\\u0000\"]", "not valid JSON"},
    };
    struct json *json = NULL;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ASSERT_FAILS(json_parse(bad[i].text, strlen(bad[i].text), "test", &json), VT_E_FORMAT, bad[i].message);
    /* A million brackets are refused, not recursed into. */
    char *deep = malloc(1000000);
    memset(deep, '[', 1000000);
    ASSERT_FAILS(json_parse(deep, 1000000, "deep", &json), VT_E_FORMAT, "deep:1: not valid JSON");
    free(deep);
    CU_ASSERT_PTR_NULL(json);
}

static void getters(void)
{
    struct json *json = parsed("{\"s\":\"text\",\"i\":3,\"d\":2.5,\"b\":false,\"o\":{\"x\":1},\"a\":[1,\"two\"]}");
    const char *s;
    int64_t i;
    double d;
    bool b = true;
    const struct json *child;
    ASSERT_OK(json_get_string(json, "root", "s", &s));
    CU_ASSERT_STRING_EQUAL(s, "text");
    ASSERT_OK(json_get_int(json, "root", "i", &i));
    CU_ASSERT_EQUAL(i, 3);
    ASSERT_OK(json_get_double(json, "root", "i", &d));
    CU_ASSERT_EQUAL(d, 3.0);
    ASSERT_OK(json_get_bool(json, "root", "b", &b));
    CU_ASSERT(!b);
    ASSERT_OK(json_get_object(json, "root", "o", &child));
    CU_ASSERT_EQUAL(json_count(child), 1);
    ASSERT_OK(json_get_array(json, "root", "a", &child));
    ASSERT_OK(json_at_int(child, "root.a", 0, &i));
    ASSERT_OK(json_at_string(child, "root.a", 1, &s));
    ASSERT_FAILS(json_at_int(child, "root.a", 1, &i), VT_E_FORMAT, "root.a.1: expected an integer, found a string");
    ASSERT_FAILS(json_at_double(child, "root.a", 2, &d), VT_E_FORMAT, "root.a.2: missing, expected a number");
    ASSERT_FAILS(json_get_int(json, "root", "d", &i), VT_E_FORMAT, "root.d: expected an integer, found a number");
    ASSERT_FAILS(json_get_int(json, "root", "no", &i), VT_E_FORMAT, "root.no: missing, expected an integer");
    ASSERT_FAILS(json_get_object(json, "root", "a", &child), VT_E_FORMAT, "root.a: expected an object, found an array");
    ASSERT_FAILS(json_get_string(json_find(json, "i"), "root.i", "x", &s), VT_E_FORMAT, "root.i.x: missing");
    CU_ASSERT_PTR_NULL(json_find(json, "absent"));
    json_free(&json);
}

static void members_in_order(void)
{
    struct json *json = parsed("{\"z\":1,\"m\":2,\"a\":3}");
    char order[8] = "";
    for (struct json_member member = {0}; json_next(json, &member);)
        strcat(order, member.key);
    CU_ASSERT_STRING_EQUAL(order, "zma");
    json_free(&json);
}

static void files(void)
{
    struct json *json = NULL;
    FILE *out = fopen(scratch_path("a.jsonl"), "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(out);
    json = parsed("{\"step\": 1}");
    ASSERT_OK(json_write_line(json, out, "a.jsonl"));
    fclose(out);
    json_free(&json);
    ASSERT_OK(json_parse_file(scratch_path("a.jsonl"), 100, &json));
    json_free(&json);
    ASSERT_FAILS(json_parse_file(scratch_write("bad.json", "{\n\n!", 4), 100, &json), VT_E_FORMAT, "bad.json:3: ");
    out = fopen("/dev/full", "w");
    if (out) {
        json = parsed("[]");
        ASSERT_FAILS(json_write_line(json, out, "/dev/full"), VT_E_IO, "/dev/full: cannot write");
        json_free(&json);
        fclose(out);
    }
    /* A reader that went away has what it wanted. */
    int ends[2];
    CU_ASSERT_EQUAL_FATAL(pipe(ends), 0);
    signal(SIGPIPE, SIG_IGN);
    close(ends[0]);
    out = fdopen(ends[1], "w");
    json = parsed("[1]");
    ASSERT_OK(json_write_line(json, out, "pipe"));
    json_free(&json);
    fclose(out);
}

static const struct test_case cases[] = {
    {"builds in order", builds_in_order},
    {"awkward values", awkward_values},
    {"pretty", pretty},
    {"round trip", round_trip},
    {"parse errors", parse_errors},
    {"getters", getters},
    {"members in order", members_in_order},
    {"files", files},
};
TEST_MAIN("json", cases)
