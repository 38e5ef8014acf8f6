/* json_get FILE [path]: the value at "key.0.key" of a JSON file ("-" is stdin), strings bare; without a path only whether the
 * text parses, as one value or as one a line: prints their number. Exit 1 when not. For the scripts of this folder. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

static char text[1 << 22];

static const struct json *step_into(const struct json *value, const char *key)
{
    if (json_kind(value) != JSON_KIND_ARRAY)
        return json_find(value, key);
    size_t i = strtoul(key, NULL, 10);
    return i < json_count(value) ? json_at(value, i) : NULL;
}

static void print(const struct json *value)
{
    if (json_kind(value) == JSON_KIND_STRING) {
        puts(json_string_of(value));
        return;
    }
    char *line = json_to_text(value);
    puts(line);
    free(line);
}

static int parse_lines(const char *name)
{
    int lines = 0;
    for (char *save, *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save), lines++) {
        struct json *value = NULL;
        if (json_parse(line, strlen(line), name, &value) != VT_OK) {
            fprintf(stderr, "line %d: %s\n", lines + 1, status_message());
            return 1;
        }
        json_free(&value);
    }
    printf("%d\n", lines);
    return lines == 0;
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return 2;
    FILE *in = strcmp(argv[1], "-") == 0 ? stdin : fopen(argv[1], "rb");
    if (!in) {
        perror(argv[1]);
        return 1;
    }
    size_t size = fread(text, 1, sizeof text - 1, in);
    text[size] = 0;
    struct json *root = NULL;
    if (argc < 3 && json_parse(text, size, argv[1], &root) != VT_OK)
        return parse_lines(argv[1]);
    if (argc < 3) {
        json_free(&root);
        return puts("1") < 0;
    }
    if (json_parse(text, size, argv[1], &root) != VT_OK) {
        fprintf(stderr, "%s\n", status_message());
        return 1;
    }
    const struct json *value = root;
    for (char *save, *key = strtok_r(argv[2], ".", &save); key && value; key = strtok_r(NULL, ".", &save))
        value = step_into(value, key);
    if (!value) {
        fprintf(stderr, "%s: not there\n", argv[1]);
        return 1;
    }
    print(value);
    json_free(&root);
    return 0;
}
