#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "checkpoint/safetensors.h"
#include "scratch.h"
#include "test.h"
#include "toy_checkpoint.h"

static struct comm *comm;

/* A fresh store folder. */
static const char *new_store(const char *name)
{
    static char dir[1024];
    snprintf(dir, sizeof dir, "%s/%s/checkpoints", scratch_dir(), name);
    return dir;
}

static const char *in(const char *dir, const char *name)
{
    static char paths[4][2048];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", dir, name);
    return path;
}

/* "attempt best latest step-00000003 ...", sorted. */
static const char *listing(const char *dir)
{
    static char text[2048];
    struct dirent **entries;
    int n = scandir(dir, &entries, NULL, alphasort);
    text[0] = 0;
    for (int i = 0; i < n; i++) {
        if (entries[i]->d_name[0] != '.')
            snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", text[0] ? " " : "", entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    return text;
}

static void flip(const char *path, long at)
{
    FILE *file = fopen(path, "r+b");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    fseek(file, at, SEEK_SET);
    int byte = fgetc(file);
    fseek(file, at, SEEK_SET);
    fputc(byte ^ 4, file);
    fclose(file);
}

static void expect_step(const char *path, int64_t step)
{
    struct checkpoint_state state;
    ASSERT_OK(checkpoint_read_state(path, &state));
    CU_ASSERT_EQUAL(state.step, step);
    checkpoint_state_close(&state);
}

static void round_trip(void)
{
    const char *dir = new_store("round");
    struct toy toy;
    struct checkpoint_state saved = toy_state(12), state;
    toy_open(&toy, 700); /* about 2 MB a file: chunks that span rows, a short last one */
    ASSERT_OK(toy_save(&toy, dir, 2, 1, comm, 12, false));
    CU_ASSERT_STRING_EQUAL(listing(dir), "attempt latest step-00000012");
    CU_ASSERT_STRING_EQUAL(listing(in(dir, "step-00000012")),
                           "checkpoint.pb config.json ema.safetensors model.safetensors optimizer.safetensors");
    const char *path = in(dir, "step-00000012");
    ASSERT_OK(checkpoint_verify(path));
    toy_spoil(&toy);
    ASSERT_OK(checkpoint_read_files(path, toy.files, 4));
    CU_ASSERT_TRUE(toy_holds(&toy, 12));
    ASSERT_OK(checkpoint_read_state(path, &state));
    CU_ASSERT_EQUAL(state.position, saved.position);
    CU_ASSERT_EQUAL(state.update, 11);
    CU_ASSERT_EQUAL(state.seed, saved.seed);
    CU_ASSERT_EQUAL(state.data_seed, 7);
    CU_ASSERT_EQUAL(state.batch, 256);
    CU_ASSERT_EQUAL(state.dataset_fingerprint, saved.dataset_fingerprint);
    CU_ASSERT_STRING_EQUAL(state.config_yaml, saved.config_yaml);
    CU_ASSERT_STRING_EQUAL(state.model_config_json, saved.model_config_json);
    CU_ASSERT_STRING_EQUAL(state.dataset_uri, saved.dataset_uri);
    CU_ASSERT_EQUAL_FATAL(state.class_count, 3);
    CU_ASSERT_STRING_EQUAL(state.class_names[2], "great white shark");
    CU_ASSERT_STRING_EQUAL(state.eval_transform, "resize(8)");
    CU_ASSERT(state.tuning_bytes == 6 && memcmp(state.tuning, "\0gemm\0", 6) == 0); /* bytes, not text */
    CU_ASSERT_STRING_EQUAL(state.version, "vitrail test");
    CU_ASSERT_EQUAL(memcmp(state.mean, saved.mean, sizeof saved.mean), 0);
    CU_ASSERT_EQUAL(memcmp(state.std, saved.std, sizeof saved.std), 0);
    CU_ASSERT_TRUE(isnan(state.best_metric));
    CU_ASSERT_EQUAL(state.best_step, -1);
    CU_ASSERT_EQUAL(state.skipped_steps, 1);
    CU_ASSERT_EQUAL(state.nonfinite_streak, 1);
    CU_ASSERT(state.evaluation_owed);
    CU_ASSERT_EQUAL(state.world_size, 3);
    checkpoint_state_close(&state);
    toy_close(&toy);
}

static void keeps_the_newest_and_the_best(void)
{
    const char *dir = new_store("keep");
    struct toy toy;
    toy_open(&toy, 9);
    for (int64_t step = 1; step <= 6; step++)
        ASSERT_OK(toy_save(&toy, dir, 2, 1, comm, step, step == 2));
    CU_ASSERT_STRING_EQUAL(listing(dir), "attempt best latest step-00000002 step-00000005 step-00000006");
    expect_step(in(dir, "best"), 2);
    expect_step(in(dir, "latest"), 6);
    ASSERT_OK(toy_save(&toy, dir, 0, 1, comm, 7, true)); /* 0 keeps one all the same; the old best may go */
    CU_ASSERT_STRING_EQUAL(listing(dir), "attempt best latest step-00000007");
    toy_close(&toy);
}

static void resolves_every_kind_of_path(void)
{
    const char *dir = new_store("resolve");
    char run[1024], out[1024];
    struct toy toy;
    ASSERT_OK(path_dir(run, sizeof run, dir));
    toy_open(&toy, 9);
    ASSERT_OK(toy_save(&toy, dir, 5, 1, comm, 1, true));
    ASSERT_OK(toy_save(&toy, dir, 5, 1, comm, 2, false));
    ASSERT_OK(checkpoint_resolve(run, false, out, sizeof out));
    CU_ASSERT_STRING_EQUAL(out, in(dir, "step-00000002"));
    ASSERT_OK(checkpoint_resolve(run, true, out, sizeof out));
    CU_ASSERT_STRING_EQUAL(out, in(dir, "step-00000001"));
    ASSERT_OK(checkpoint_resolve(dir, false, out, sizeof out));
    CU_ASSERT_STRING_EQUAL(out, in(dir, "step-00000002"));
    ASSERT_OK(checkpoint_resolve(in(dir, "step-00000001"), false, out, sizeof out));
    CU_ASSERT_STRING_EQUAL(out, in(dir, "step-00000001"));
    unlink(in(dir, "latest")); /* without links: the newest by name */
    unlink(in(dir, "best"));
    ASSERT_OK(checkpoint_resolve(run, true, out, sizeof out));
    CU_ASSERT_STRING_EQUAL(out, in(dir, "step-00000002"));
    ASSERT_FAILS(checkpoint_resolve(scratch_path("nowhere"), false, out, sizeof out), VT_E_USAGE, "no such folder");
    ASSERT_FAILS(checkpoint_resolve(scratch_dir(), false, out, sizeof out), VT_E_USAGE, "no checkpoint in it");
    toy_close(&toy);
}

static void passes_over_damage(void)
{
    const char *dir = new_store("damage");
    char out[1024];
    bool found;
    struct toy toy;
    toy_open(&toy, 600);
    for (int64_t step = 1; step <= 4; step++)
        ASSERT_OK(toy_save(&toy, dir, 9, 1, comm, step, false));
    flip(in(dir, "step-00000004/optimizer.safetensors"), 1500000);
    unlink(in(dir, "step-00000003/checkpoint.pb"));
    CU_ASSERT_EQUAL(truncate(in(dir, "step-00000002/ema.safetensors"), 1000), 0);
    ASSERT_FAILS(checkpoint_verify(in(dir, "step-00000004")), VT_E_FORMAT,
                 "step-00000004/optimizer.safetensors: MiB 1 (bytes 1048576 to 2097151) is damaged: CRC32C ");
    ASSERT_FAILS(checkpoint_verify(in(dir, "step-00000002")), VT_E_FORMAT, "ema.safetensors: 1000 bytes, expected ");
    ASSERT_OK(checkpoint_find_latest(dir, comm, &found, out, sizeof out));
    CU_ASSERT_TRUE_FATAL(found);
    CU_ASSERT_STRING_EQUAL(out, in(dir, "step-00000001"));
    toy_spoil(&toy);
    ASSERT_OK(checkpoint_read_files(out, toy.files, 4));
    CU_ASSERT_TRUE(toy_holds(&toy, 1));
    ASSERT_FAILS(checkpoint_read_files(in(dir, "step-00000004"), toy.files, 4), VT_E_FORMAT, "is damaged");
    /* The run goes on from there: the new step 2 takes the place of the damaged one, and is not the one deleted. */
    ASSERT_OK(toy_save(&toy, dir, 1, 2, comm, 2, false));
    ASSERT_OK(checkpoint_find_latest(dir, comm, &found, out, sizeof out));
    CU_ASSERT_TRUE_FATAL(found);
    CU_ASSERT_STRING_EQUAL(out, in(dir, "step-00000002"));
    ASSERT_OK(checkpoint_verify(out));
    toy_close(&toy);
}

static void nothing_to_find(void)
{
    char out[64];
    bool found = true;
    ASSERT_OK(checkpoint_find_latest(scratch_path("none"), comm, &found, out, sizeof out));
    CU_ASSERT_FALSE(found);
}

static void stale_folders_go_late_writers_are_refused(void)
{
    const char *dir = new_store("fence");
    struct checkpoint_store_desc second = {.dir = dir, .attempt = 2};
    struct toy toy;
    toy_open(&toy, 9);
    ASSERT_OK(toy_save(&toy, dir, 3, 1, comm, 1, false));
    mkdir(in(dir, "step-00000002.attempt-1.tmp"), 0755); /* a save that was killed */
    fclose(fopen(in(dir, "step-00000002.attempt-1.tmp/model.safetensors"), "w"));
    fclose(fopen(in(dir, "attempt.tmp.4711"), "w"));
    fclose(fopen(in(dir, "notes.tmp.keep"), "w")); /* no process id: somebody's */
    ASSERT_OK(toy_save(&toy, dir, 3, 1, comm, 2, false)); /* same step, same attempt: no collision */
    CU_ASSERT_STRING_EQUAL(listing(dir), "attempt latest notes.tmp.keep step-00000001 step-00000002");
    unlink(in(dir, "notes.tmp.keep"));
    CU_ASSERT_STRING_EQUAL(listing(dir), "attempt latest step-00000001 step-00000002");
    ASSERT_OK(checkpoint_claim(&second, comm));
    ASSERT_FAILS(toy_save(&toy, dir, 3, 1, comm, 3, false), VT_E_USAGE,
                 "attempt 2 of this run has taken over, attempt 1 may not write any more");
    CU_ASSERT_STRING_EQUAL(listing(dir), "attempt latest step-00000001 step-00000002");
    ASSERT_OK(toy_save(&toy, dir, 3, 2, comm, 3, false));
    toy_close(&toy);
}

static void other_models_are_refused(void)
{
    const char *dir = new_store("other");
    struct toy toy, wide, more;
    toy_open(&toy, 9);
    ASSERT_OK(toy_save(&toy, dir, 1, 1, comm, 1, false));
    const char *path = in(dir, "step-00000001");
    toy_open(&wide, 10);
    ASSERT_FAILS(checkpoint_read_files(path, wide.files, 1), VT_E_FORMAT,
                 "tensor 'blocks.0.attn.qkv.weight' has shape [9, 10], the model's has [10, 11]");
    toy_open(&more, 9);
    toy_row(&more.table, "extra.bias", 4, 0);
    more.files[0].values = more.model = realloc(more.model, (size_t)more.table.total * sizeof(float));
    ASSERT_FAILS(checkpoint_read_files(path, more.files, 1), VT_E_FORMAT,
                 "no tensor 'extra.bias', which the model has");
    /* Half of what shares a file: the other half belongs to nobody. */
    ASSERT_FAILS(checkpoint_read_files(path, toy.files + 2, 1), VT_E_FORMAT,
                 "tensor 'v.cls_token' is none of the model's");
    struct checkpoint_file absent = toy.files[0];
    absent.name = "teacher.safetensors";
    ASSERT_FAILS(checkpoint_read_files(path, &absent, 1), VT_E_FORMAT, "has no file teacher.safetensors");
    toy_close(&toy);
    toy_close(&wide);
    toy_close(&more);
}

static void same_step_again_replaces(void)
{
    const char *dir = new_store("again");
    struct toy toy;
    toy_open(&toy, 9);
    ASSERT_OK(toy_save(&toy, dir, 2, 1, comm, 5, false));
    ASSERT_OK(toy_save(&toy, dir, 2, 2, comm, 5, false));
    CU_ASSERT_STRING_EQUAL(listing(dir), "attempt latest step-00000005");
    struct checkpoint_state state;
    ASSERT_OK(checkpoint_read_state(in(dir, "latest"), &state));
    CU_ASSERT_EQUAL(state.attempt, 2);
    checkpoint_state_close(&state);
    toy_close(&toy);
}

/* The text of config.json travels in the files of weights, not in the optimizer's; it may be longer than a chunk. */
static void config_travels_with_the_weights(void)
{
    enum { LONG = 2 * 1024 * 1024 + 77 };
    const char *dir = new_store("travels");
    const struct checkpoint_store_desc store = {.dir = dir, .keep = 1, .attempt = 1};
    static const char *const names[] = {"step-00000003/model.safetensors", "step-00000003/ema.safetensors",
                                        "step-00000003/optimizer.safetensors"};
    struct checkpoint_state state = toy_state(3), back;
    struct toy toy;
    toy_open(&toy, 9);
    toy_fill(&toy, 3);
    state.model_config_json = malloc(LONG + 1);
    for (int i = 0; i < LONG; i++)
        state.model_config_json[i] = i % 100 ? (char)('a' + i % 23) : '\n';
    state.model_config_json[LONG] = 0;
    ASSERT_OK(checkpoint_save(&store, comm, &state, toy.files, 4, false));
    ASSERT_OK(checkpoint_verify(in(dir, "step-00000003")));
    toy_spoil(&toy);
    ASSERT_OK(checkpoint_read_files(in(dir, "step-00000003"), toy.files, 4));
    CU_ASSERT_TRUE(toy_holds(&toy, 3));
    for (int i = 0; i < 3; i++) {
        struct safetensors file;
        char *text, *format;
        ASSERT_OK(safetensors_open(in(dir, names[i]), &file));
        ASSERT_OK(safetensors_metadata(&file, "format", &format));
        ASSERT_OK(safetensors_metadata(&file, SAFETENSORS_CONFIG, &text));
        CU_ASSERT_STRING_EQUAL(format, "pt");
        CU_ASSERT((text != NULL) == (i < 2));
        CU_ASSERT(i == 2 || strcmp(text, state.model_config_json) == 0);
        free(text);
        free(format);
        safetensors_close(&file);
    }
    ASSERT_OK(checkpoint_read_state(in(dir, "step-00000003"), &back));
    CU_ASSERT_STRING_EQUAL(back.model_config_json, state.model_config_json);
    checkpoint_state_close(&back);
    free(state.model_config_json);
    toy_close(&toy);
}

static const struct test_case cases[] = {
    {"round trip", round_trip},
    {"keeps the newest and the best", keeps_the_newest_and_the_best},
    {"resolves every kind of path", resolves_every_kind_of_path},
    {"passes over damage", passes_over_damage},
    {"nothing to find", nothing_to_find},
    {"stale folders go, late writers are refused", stale_folders_go_late_writers_are_refused},
    {"other models are refused", other_models_are_refused},
    {"config.json travels with the weights", config_travels_with_the_weights},
    {"the same step again replaces", same_step_again_replaces},
};

int main(void)
{
    if (world_open(COMM_SELF, &comm) != VT_OK)
        return 2;
    int failed = run_tests("checkpoint store", cases, (int)(sizeof cases / sizeof *cases));
    world_close(&comm);
    return failed;
}
