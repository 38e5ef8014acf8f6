#include "test.h"

#include "config/options.h"
#include "config/run_config.h"
#include "scratch.h"

static vt_status load(const char *yaml, const char *override, struct run_config *config)
{
    return run_config_from_text(yaml, "x.yaml", &override, override ? 1 : 0, config);
}

static void defaults(void)
{
    struct run_config config;
    ASSERT_OK(run_config_load(NULL, NULL, 0, &config));
    CU_ASSERT_STRING_EQUAL(config.model.name, "vit_s16");
    CU_ASSERT_EQUAL(config.model.image_size, 224);
    CU_ASSERT_EQUAL(config.model.layernorm_eps, 1e-6);
    CU_ASSERT(config.model.cls_token);
    CU_ASSERT_EQUAL(config.data.seed, -1);
    CU_ASSERT_EQUAL(config.data.mean.count, 0);
    CU_ASSERT_EQUAL(config.optim.betas.count, 2);
    CU_ASSERT_EQUAL(config.optim.betas.value[1], 0.999);
    CU_ASSERT_EQUAL(config.optim.decay_rules.count, 4);
    CU_ASSERT_STRING_EQUAL(config.optim.decay_rules.rule[0].pattern, "*.bias");
    CU_ASSERT_EQUAL(config.optim.warmup.unit, DURATION_PERCENT);
    CU_ASSERT_STRING_EQUAL(config.run.dir, "runs/default");
    char origin[64];
    run_config_origin(&config, "optim.lr", origin, sizeof origin);
    CU_ASSERT_STRING_EQUAL(origin, "default");
}

static void image_size_in_name(void)
{
    static const struct {
        const char *yaml, *override;
        int image_size;
    } cases[] = {
        {"model:\n  name: vit_tiny_patch16_384\n", NULL, 384},
        {"", "model.name=deit_base_patch16_384.fb_in1k", 384},
        {"model:\n  name: vit_tiny_patch16_384\n", "model.name=vit_s16", 224},
        {"model:\n  name: vit_tiny_patch16_384\n  image_size: 224\n", NULL, 224}, /* said is said */
        {"model:\n  name: vit_tiny_patch16_384\n", "model.image_size=256", 256},
        {"", "model.name=vit_tiny_patch16", 224},
        {"", "model.name=vit_tiny_patch16_x384", 224},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct run_config config, again;
        ASSERT_OK(load(cases[i].yaml, cases[i].override, &config));
        CU_ASSERT_EQUAL(config.model.image_size, cases[i].image_size);
        char *text = run_config_to_text(&config); /* a run goes on with the size it began with */
        ASSERT_OK(run_config_from_text(text, "run", NULL, 0, &again));
        CU_ASSERT_EQUAL(again.model.image_size, cases[i].image_size);
        free(text);
    }
    struct run_config config;
    char origin[64];
    ASSERT_OK(load("model:\n  name: vit_tiny_patch16_384\n", NULL, &config));
    run_config_origin(&config, "model.image_size", origin, sizeof origin);
    CU_ASSERT_STRING_EQUAL(origin, "x.yaml:2");
}

static const char every_type[] = "# a recipe\n"
                                 "model:\n"
                                 "  name: custom\n"
                                 "  patch_size: 4\n"
                                 "  image_size: 32\n"
                                 "  width: 64\n"
                                 "  depth: 2\n"
                                 "  heads: 4\n"
                                 "  pool: mean\n"
                                 "  cls_token: false\n"
                                 "  channels: 1\n"
                                 "data:\n"
                                 "  train: /data/my set#train[:90%]\n"
                                 "  transform: rrc(0.08,1)|flip(0.5)\n"
                                 "  synthetic_samples: 9007199254740992\n"
                                 "  mean: [0.5]\n"
                                 "optim:\n"
                                 "  lr: 3e-4\n"
                                 "  betas:\n"
                                 "    - 0.9\n"
                                 "    - 0.95\n"
                                 "  warmup: 10ksteps\n"
                                 "  decay_rules:\n"
                                 "    - \"*.bias\": 0\n"
                                 "    - head.*: 0.5\n"
                                 "run:\n"
                                 "checkpoint:\n"
                                 "  every: 1.5ep\n";

static void check_every_type(const struct run_config *config)
{
    CU_ASSERT_STRING_EQUAL(config->model.name, "custom");
    CU_ASSERT_EQUAL(config->model.pool, CONFIG_POOL_MEAN);
    CU_ASSERT(!config->model.cls_token);
    CU_ASSERT_STRING_EQUAL(config->data.train, "/data/my set#train[:90%]");
    CU_ASSERT_STRING_EQUAL(config->data.transform, "rrc(0.08,1)|flip(0.5)");
    CU_ASSERT_EQUAL(config->data.synthetic_samples, 1ll << 53);
    CU_ASSERT_EQUAL(config->data.mean.count, 1);
    CU_ASSERT_EQUAL(config->data.mean.value[0], 0.5);
    CU_ASSERT_EQUAL(config->optim.lr, 3e-4);
    CU_ASSERT_EQUAL(config->optim.betas.value[1], 0.95);
    CU_ASSERT_EQUAL(config->optim.warmup.value, 10000);
    CU_ASSERT_EQUAL(config->optim.decay_rules.count, 2);
    CU_ASSERT_STRING_EQUAL(config->optim.decay_rules.rule[1].pattern, "head.*");
    CU_ASSERT_EQUAL(config->optim.decay_rules.rule[1].value, 0.5);
    CU_ASSERT_EQUAL(config->checkpoint.every.unit, DURATION_EPOCHS);
}

static void reads_every_type(void)
{
    struct run_config config;
    ASSERT_OK(load(every_type, NULL, &config));
    check_every_type(&config);
    CU_ASSERT_STRING_EQUAL(config.run.dir, "runs/x");
    char origin[64];
    run_config_origin(&config, "optim.betas", origin, sizeof origin);
    CU_ASSERT_STRING_EQUAL(origin, "x.yaml:19");
}

static void reads_files(void)
{
    struct run_config config;
    const char *path = scratch_write("toy.v2.yaml", every_type, sizeof every_type - 1);
    ASSERT_OK(run_config_load(path, NULL, 0, &config));
    check_every_type(&config);
    CU_ASSERT_STRING_EQUAL(config.source, path);
    CU_ASSERT_STRING_EQUAL(config.run.dir, "runs/toy.v2");
    ASSERT_FAILS(run_config_load(scratch_path("none.yaml"), NULL, 0, &config), VT_E_IO, "none.yaml: cannot open");
    ASSERT_OK(load("", NULL, &config));
    ASSERT_OK(load("# nothing\n---\n", NULL, &config));
}

static void overrides(void)
{
    struct run_config config;
    static const char *const arguments[] = {
        "optim.lr=0.5",
        "optim.betas=[0.8, 0.9]",
        "data.train=/a b#c: *d",
        "optim.decay_rules=[\"*norm*\": 0, b: 2]",
        "data.mean=auto",
        "data.val=",
        "model.init_from=\xc3\xa9 \"q\" \\",
    };
    ASSERT_OK(run_config_from_text(every_type, "x.yaml", arguments, 7, &config));
    CU_ASSERT_EQUAL(config.optim.lr, 0.5);
    CU_ASSERT_EQUAL(config.optim.betas.value[0], 0.8);
    CU_ASSERT_STRING_EQUAL(config.data.train, "/a b#c: *d");
    CU_ASSERT_EQUAL(config.optim.decay_rules.rule[1].value, 2);
    CU_ASSERT_EQUAL(config.data.mean.count, 0);
    CU_ASSERT_STRING_EQUAL(config.data.val, "");
    CU_ASSERT_EQUAL(config.model.depth, 2);
    char origin[64];
    run_config_origin(&config, "optim.lr", origin, sizeof origin);
    CU_ASSERT_STRING_EQUAL(origin, "command line");
}

/* The dump, with and without comments, loads to the same values, and dumps to the same text. */
static void dump_round_trip(void)
{
    struct run_config config, back;
    static const char *const arguments[] = {"model.init_from=\xc3\xa9 \"q\" \\ #",
                                            "data.val=# no",
                                            "optim.lr=0.1",
                                            "run.stop_file=-",
                                            "optim.decay_rules=[\"a\\\"b\\\\\": 0.25]",
                                            "optim.eps=1.0000000000000002e-8",
                                            "data.train=null"};
    ASSERT_OK(run_config_from_text(every_type, "x.yaml", arguments, 7, &config));
    char *text = run_config_to_text(&config);
    ASSERT_OK(run_config_from_text(text, "dump.yaml", NULL, 0, &back));
    struct run_config_change changes[CONFIG_KEYS_MAX];
    CU_ASSERT_EQUAL(run_config_diff(&config, &back, changes, CONFIG_KEYS_MAX), 0);
    CU_ASSERT_EQUAL(back.optim.eps, config.optim.eps);
    CU_ASSERT_STRING_EQUAL(back.data.val, "# no");
    CU_ASSERT_STRING_EQUAL(back.optim.decay_rules.rule[0].pattern, "a\"b\\");
    char *again = run_config_to_text(&back);
    CU_ASSERT_STRING_EQUAL(text, again);
    free(again);
    free(text);

    char *commented = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&commented, &size);
    strcpy(config.source, "odd\n\xff# name"); /* must not break out of the comment */
    run_config_dump(&config, true, out);
    fclose(out);
    CU_ASSERT_PTR_NOT_NULL(strstr(commented, "# command line"));
    CU_ASSERT_PTR_NOT_NULL(strstr(commented, "# odd??# name:4\n"));
    ASSERT_OK(run_config_from_text(commented, "dump.yaml", NULL, 0, &back));
    CU_ASSERT_EQUAL(run_config_diff(&config, &back, changes, CONFIG_KEYS_MAX), 0);
    free(commented);
}

static void file_errors(void)
{
    static const struct {
        const char *yaml, *message;
    } bad[] = {
        {"model:\n  depth: 3\noptim:\n  learning_rate: 1\n",
         "x.yaml:4: unknown key optim.learning_rate; did you mean optim.lr?"},
        {"optim:\n  weigth_decay: 1\n", "x.yaml:2: unknown key optim.weigth_decay; did you mean optim.weight_decay?"},
        {"optim:\n  batch: 1\n", "x.yaml:2: unknown key optim.batch; did you mean data.batch?"},
        {"optim:\n  zzzzzzzz: 1\n", "x.yaml:2: unknown key optim.zzzzzzzz; vitrail help config lists them"},
        {"optimizer:\n  lr: 1\n", "x.yaml:1: unknown section optimizer; did you mean optim?"},
        {"tarin:\n  ema: 0\n", "x.yaml:1: unknown section tarin; did you mean train?"},
        {"qqqqqqqqqqqq:\n  ema: 0\n", "unknown section qqqqqqqqqqqq, expected one of model, data, loss, optim, train,"},
        {"optim.lr: 1\n", "x.yaml:1: optim.lr is written as the section optim: with the key below it"},
        {"lr: 1\n", "x.yaml:1: unknown section lr; did you mean optim.lr?"},
        {"modle:\n  name: a\n", "x.yaml:1: unknown section modle; did you mean model?"},
        {"# x\noptim:\n  lr: fast\n", "x.yaml:3: optim.lr: \"fast\" is not a valid value, expected a number"},
        {"optim:\n  lr: nan\n", "expected a number"},
        {"optim:\n  lr: 0x1p3\n", "expected a number"},
        {"optim:\n  lr: 1e9\n", "x.yaml:2: optim.lr: 1e9 is out of range, expected 0 to 1000"},
        {"optim:\n  lr: 1e999\n", "out of range"},
        {"optim:\n  lr: -1\n", "out of range"},
        {"optim:\n  lr:\n", "x.yaml:2: optim.lr: has no value, expected number"},
        {"optim:\n  lr: [1]\n", "x.yaml:2: optim.lr: is a list, expected one value (number)"},
        {"optim:\n  lr: {a: 1}\n", "x.yaml:2: optim.lr: is a section, expected a value"},
        {"model:\n  depth: 1.5\n", "x.yaml:2: model.depth: \"1.5\" is not a valid value, expected an integer"},
        {"model:\n  depth: 99999999999999999999\n", "x.yaml:2: model.depth: 99999999999999999999 is out of range"},
        {"model:\n  cls_token: maybe\n", "expected true or false"},
        {"model:\n  pool: max\n", "x.yaml:2: model.pool: \"max\" is not a choice, expected one of cls, mean"},
        {"train:\n  duration: 90\n", "x.yaml:2: train.duration: \"90\" has no unit"},
        {"optim:\n  betas: 0.9\n", "x.yaml:2: optim.betas: expected a list of numbers"},
        {"optim:\n  betas: [0.9]\n", "x.yaml:2: optim.betas: 1 number, expected 2"},
        {"optim:\n  betas: [0.9, x]\n", "\"x\" is not a valid value, expected a number"},
        {"optim:\n  betas: [0.9, [1]]\n", "x.yaml:2: optim.betas: lists hold single values"},
        {"data:\n  mean: dataset\n", "x.yaml:2: data.mean: expected a list of numbers, as [0.9, 0.999] or auto"},
        {"optim:\n  decay_rules: [a, b]\n", "x.yaml:2: optim.decay_rules: expected a list of pattern: value"},
        {"optim:\n  decay_rules: [a: 1, b]\n", "x.yaml:2: optim.decay_rules: a list mixes values"},
        {"optim:\n  decay_rules:\n  - a: 1\n    b: 2\n", "x.yaml:3: optim.decay_rules: expected one pattern: value"},
        {"optim:\n  decay_rules: [a: -1]\n", "out of range"},
        {"optim:\n  decay_rules: [\"\": 1]\n", "an empty pattern"},
        {"optim:\n  lr: 1\n  eps: 0\n  lr: 2\n", "x.yaml:4: duplicate key lr, first given at line 2"},
        {"optim:\n  lr: 1\ndata:\n  batch: 2\noptim:\n  eps: 0\n",
         "x.yaml:5: duplicate key optim, first given at line 1"},
        {"optim: 3\n", "x.yaml:1: optim: is a section, expected keys below it"},
        {"optim: [1]\n", "x.yaml:1: optim: is a section, expected keys below it"},
        {"just text\n", "x.yaml:1: expected sections"},
        {"- optim\n", "x.yaml:1: expected sections"},
        {"optim:\n  ? [a]\n  : 1\n", "x.yaml:2: expected a key"},
        {"optim:\n  lr: 1\n lr: 2\n", "x.yaml:3: not valid YAML"},
        {"optim:\n\tlr: 1\n", "x.yaml:2: not valid YAML"},
        {"optim:\n  lr: 1\n# \xff\n", "x.yaml:3: not valid YAML"},
        {"optim:\n  lr: *x\n", "x.yaml:2: not valid YAML"},
        {"optim:\n  lr: 1\n---\noptim:\n  lr: 2\n", "x.yaml:4: a second YAML document"},
        {"data:\n  train: \"a\\0b\"\n", "x.yaml:2: data.train: a zero byte"},
        {"data:\n  train: \"a\\nb\"\n", "x.yaml:2: data.train: has bytes that are not printable"},
        {"model:\n  name: 0123456789012345678901234567890123456789012345678901234567890123456789\n",
         "is longer than 63 bytes"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct run_config config, before;
        memset(&config, 0xA5, sizeof config);
        before = config;
        ASSERT_FAILS(load(bad[i].yaml, NULL, &config), VT_E_USAGE, bad[i].message);
        CU_ASSERT_EQUAL(memcmp(&config, &before, sizeof config), 0);
    }
}

static void too_long_lists(void)
{
    struct run_config config;
    char yaml[1024] = "optim:\n  decay_rules: [";
    for (int i = 0; i <= CONFIG_RULES_MAX; i++)
        strcat(yaml, "a: 1, ");
    strcat(yaml, "b: 1]\n");
    ASSERT_FAILS(load(yaml, NULL, &config), VT_E_USAGE, "x.yaml:2: optim.decay_rules: a list of 34, at most 32 fit");
}

static void override_errors(void)
{
    static const struct {
        const char *argument, *message;
    } bad[] = {
        {"optim.lr", "command line: \"optim.lr\": expected section.key=value"},
        {"lr=1", "command line: \"lr=1\": expected section.key=value"},
        {"=1", "expected section.key=value"},
        {"optim.learning_rate=1", "command line: unknown key optim.learning_rate; did you mean optim.lr?"},
        {"modle.name=x", "command line: unknown key modle.name; did you mean model.name?"},
        {"optim.lr=", "command line: optim.lr: has no value"},
        {"optim.lr=x", "command line: optim.lr: \"x\" is not a valid value, expected a number"},
        {"optim.betas=[0.9", "command line: not valid YAML"},
        {"optim.decay_rules=", "command line: optim.decay_rules: has no value"},
        {"optim.decay_rules={a: 1}", "command line: optim.decay_rules: is a section"},
        {"data.train=caf\xe9", "command line: data.train: has bytes that are not printable UTF-8"},
    };
    struct run_config config;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ASSERT_FAILS(load("", bad[i].argument, &config), VT_E_USAGE, bad[i].message);
    static const char *const twice[] = {"optim.lr=1", "optim.eps=0", "optim.lr=2"};
    ASSERT_FAILS(run_config_load(NULL, twice, 3, &config), VT_E_USAGE, "command line: duplicate key optim.lr");
}

static void contradictions(void)
{
    static const struct {
        const char *yaml, *message;
    } bad[] = {
        {"model:\n  cls_token: false\n", "x.yaml:2: model.cls_token: pool: cls needs cls_token: true"},
        {"model:\n  name: custom\n", "x.yaml:2: model.name: custom needs"},
        {"model:\n  heads: 5\n  width: 64\n", "x.yaml:2: model.heads: model.width is not a multiple"},
        {"model:\n  patch_size: 15\n", "x.yaml:2: model.patch_size: model.image_size is not a multiple"},
        {"model:\n  channels: 2\n", "x.yaml:2: model.channels: 2 is not a choice"},
        {"data:\n  std: [0.5]\n", "x.yaml:2: data.std: expected as many numbers as model.channels"},
        {"train:\n  duration: 5%\n", "x.yaml:2: train.duration: expected a length above 0"},
        {"optim:\n  min_lr: 0.1\n", "x.yaml:2: optim.min_lr: optim.min_lr is above optim.lr"},
        {"optim:\n  cooldown: 5%\n", "x.yaml:2: optim.cooldown: a cooldown belongs to"},
        {"run:\n  stop_file: ../../x\n", "x.yaml:2: run.stop_file: is a path, expected a plain name"},
        {"run:\n  stop_file: /tmp/x\n", "x.yaml:2: run.stop_file: is a path"},
        {"run:\n  stop_file: ..\n", "x.yaml:2: run.stop_file: is a name the run uses itself"},
        {"run:\n  stop_file: config.yaml\n", "x.yaml:2: run.stop_file: is a name the run uses itself"},
        {"run:\n  stop_file: env.attempt-1.json\n", "x.yaml:2: run.stop_file: is a name"},
        {"run:\n  stop_file: metrics.jsonl\n", "x.yaml:2: run.stop_file: is a name"},
    };
    struct run_config config;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ASSERT_FAILS(load(bad[i].yaml, NULL, &config), VT_E_USAGE, bad[i].message);
    ASSERT_FAILS(load("model:\n  pool: mean\n  cls_token: false\n", "model.pool=cls", &config), VT_E_USAGE,
                 "x.yaml:3: model.cls_token");
    ASSERT_OK(load("run: {stop_file: halt now}\n", NULL, &config));
    ASSERT_OK(load("run: {stop_file: \"\"}\n", NULL, &config));
}

static void diff_and_resume(void)
{
    struct run_config before, after;
    struct run_config_change changes[CONFIG_KEYS_MAX];
    ASSERT_OK(load("", NULL, &before));
    after = before;
    CU_ASSERT_EQUAL(run_config_diff(&before, &after, changes, CONFIG_KEYS_MAX), 0);
    ASSERT_OK(run_config_check_resume(&before, &after));
    ASSERT_OK(load("comm:\n  bucket_mb: 50\nmodel:\n  depth: 6\n", NULL, &after));
    CU_ASSERT_EQUAL_FATAL(run_config_diff(&before, &after, changes, CONFIG_KEYS_MAX), 2);
    CU_ASSERT_STRING_EQUAL(changes[0].key, "model.depth");
    CU_ASSERT(!changes[0].may_change);
    CU_ASSERT_STRING_EQUAL(changes[1].key, "comm.bucket_mb");
    CU_ASSERT(changes[1].may_change);
    CU_ASSERT_EQUAL(run_config_diff(&before, &after, changes, 1), 1);
    ASSERT_FAILS(run_config_check_resume(&before, &after), VT_E_USAGE,
                 "a resumed run may not change model.depth (0, now 6); set");
    ASSERT_OK(load("comm:\n  bucket_mb: 50\n", NULL, &after));
    ASSERT_OK(run_config_check_resume(&before, &after));
}

static void get(void)
{
    struct run_config config;
    char *text = NULL;
    ASSERT_OK(load(every_type, NULL, &config));
    static const char *const expected[][2] = {
        {"optim.betas", "[0.9, 0.95]"},
        {"optim.warmup", "10000steps"},
        {"model.pool", "mean"},
        {"model.cls_token", "false"},
        {"data.std", "auto"},
        {"model.depth", "2"},
        {"optim.decay_rules", "[\"*.bias\": 0, \"head.*\": 0.5]"},
        {"model.init_from", "\"\""},
    };
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        ASSERT_OK(run_config_get(&config, expected[i][0], &text));
        CU_ASSERT_STRING_EQUAL(text, expected[i][1]);
        free(text);
    }
    ASSERT_FAILS(run_config_get(&config, "optim.lrr", &text), VT_E_USAGE,
                 "unknown key optim.lrr; did you mean optim.lr?");
}

/* Each enum constant against the word a user writes: the table's choices and the enums have one order. */
static void enums_match_their_words(void)
{
#define SAME(word, field, constant)                                                                                    \
    do {                                                                                                               \
        struct run_config config;                                                                                      \
        ASSERT_OK(load("", #field "=" word, &config));                                                                 \
        CU_ASSERT_EQUAL(config.field, constant);                                                                       \
    } while (0)
    SAME("cls", model.pool, CONFIG_POOL_CLS);
    SAME("mean", model.pool, CONFIG_POOL_MEAN);
    SAME("erf", model.gelu, CONFIG_GELU_ERF);
    SAME("tanh", model.gelu, CONFIG_GELU_TANH);
    SAME("timm", model.init, CONFIG_INIT_TIMM);
    SAME("jax", model.init, CONFIG_INIT_JAX);
    SAME("auto", data.order, CONFIG_ORDER_AUTO);
    SAME("full", data.order, CONFIG_ORDER_FULL);
    SAME("window", data.order, CONFIG_ORDER_WINDOW);
    SAME("softmax", loss.name, CONFIG_LOSS_SOFTMAX);
    SAME("sigmoid", loss.name, CONFIG_LOSS_SIGMOID);
    SAME("adamw", optim.name, CONFIG_OPTIM_ADAMW);
    SAME("sgd", optim.name, CONFIG_OPTIM_SGD);
    SAME("cosine", optim.schedule, CONFIG_SCHEDULE_COSINE);
    SAME("linear", optim.schedule, CONFIG_SCHEDULE_LINEAR);
    SAME("rsqrt", optim.schedule, CONFIG_SCHEDULE_RSQRT);
    SAME("constant", optim.schedule, CONFIG_SCHEDULE_CONSTANT);
    SAME("fast", train.reduction, CONFIG_REDUCTION_FAST);
    SAME("exact", train.reduction, CONFIG_REDUCTION_EXACT);
    SAME("auto", compute.device, CONFIG_DEVICE_AUTO);
    SAME("cpu", compute.device, CONFIG_DEVICE_CPU);
    SAME("cuda", compute.device, CONFIG_DEVICE_CUDA);
    SAME("ref", compute.device, CONFIG_DEVICE_REF);
    SAME("auto", compute.dtype, CONFIG_DTYPE_AUTO);
    SAME("fp32", compute.dtype, CONFIG_DTYPE_FP32);
    SAME("bf16", compute.dtype, CONFIG_DTYPE_BF16);
    SAME("none", compute.recompute, CONFIG_RECOMPUTE_NONE);
    SAME("light", compute.recompute, CONFIG_RECOMPUTE_LIGHT);
    SAME("block", compute.recompute, CONFIG_RECOMPUTE_BLOCK);
    SAME("auto", comm.backend, CONFIG_COMM_AUTO);
    SAME("self", comm.backend, CONFIG_COMM_SELF);
    SAME("mpi", comm.backend, CONFIG_COMM_MPI);
    SAME("nccl", comm.backend, CONFIG_COMM_NCCL);
    SAME("fp32", comm.wire, CONFIG_WIRE_FP32);
    SAME("bf16", comm.wire, CONFIG_WIRE_BF16);
    SAME("resume", run.if_exists, CONFIG_IF_EXISTS_RESUME);
    SAME("fail", run.if_exists, CONFIG_IF_EXISTS_FAIL);
    SAME("new", run.if_exists, CONFIG_IF_EXISTS_NEW);
#undef SAME
}

/* Words of older versions are read, and never written. */
static void old_words(void)
{
    struct run_config config, was;
    char *text = NULL;
    ASSERT_OK(load("", "compute.recompute=block", &config));
    ASSERT_OK(load("compute:\n  recompute: true\n", NULL, &was));
    CU_ASSERT_EQUAL(was.compute.recompute, CONFIG_RECOMPUTE_BLOCK);
    ASSERT_OK(run_config_check_resume(&was, &config));
    ASSERT_OK(run_config_get(&was, "compute.recompute", &text));
    CU_ASSERT_STRING_EQUAL(text, "block");
    free(text);
    ASSERT_OK(load("", "compute.recompute=false", &was));
    CU_ASSERT_EQUAL(was.compute.recompute, CONFIG_RECOMPUTE_NONE);
    ASSERT_OK(run_config_check_resume(&was, &config)); /* it may change */
    ASSERT_FAILS(load("", "compute.recompute=full", &config), VT_E_USAGE,
                 "compute.recompute: \"full\" is not a choice, expected one of none, light, block");
    ASSERT_FAILS(load("model:\n  gradient_checkpointing: true\n", NULL, &config), VT_E_USAGE,
                 "did you mean compute.recompute?");
}

/* Every field has the size its row's type writes: the table does not overrun a field, nor half-fill one. */
static void fields_have_their_type(void)
{
    static const size_t sizes[] = {
        [OPTION_INT] = sizeof(int),
        [OPTION_INT64] = sizeof(int64_t),
        [OPTION_FLOAT] = sizeof(double),
        [OPTION_BOOL] = sizeof(bool),
        [OPTION_ENUM] = sizeof(int),
        [OPTION_DURATION] = sizeof(struct duration),
        [OPTION_FLOATS] = sizeof(struct config_floats),
        [OPTION_RULES] = sizeof(struct config_rules),
    };
    for (int i = 0; i < option_count(); i++) {
        const struct option *option = option_at(i);
        bool fits =
            option->type == OPTION_STRING ? option->bytes >= CONFIG_NAME_BYTES : option->bytes == sizes[option->type];
        CU_ASSERT(fits);
        CU_ASSERT(option->help && strlen(option->help) > 5);
        CU_ASSERT_EQUAL(option_find(option->key), i); /* no key twice */
    }
}

static void help(void)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    ASSERT_OK(run_config_help(out, "model.pool"));
    fflush(out);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "model.pool: cls\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "cls | mean"));
    ASSERT_OK(run_config_help(out, "loss"));
    fflush(out);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "loss.smoothing: 0\n"));
    ASSERT_OK(run_config_help(out, NULL));
    ASSERT_FAILS(run_config_help(out, "optm"), VT_E_USAGE, "unknown section optm; did you mean optim?");
    ASSERT_FAILS(run_config_help(out, "optim.lrx"), VT_E_USAGE, "unknown key optim.lrx; did you mean optim.lr?");
    fclose(out);
    free(text);
}

/* Of values, not of origins: the dump of a config writes its defaults out. */
static void default_values(void)
{
    struct run_config config, again;
    ASSERT_OK(load("optim: {lr: 0.5}\n", NULL, &config));
    char *text = run_config_to_text(&config);
    ASSERT_OK(run_config_from_text(text, "again.yaml", NULL, 0, &again));
    free(text);
    CU_ASSERT(run_config_is_default(&config, "optim.decay_rules"));
    CU_ASSERT(run_config_is_default(&again, "optim.decay_rules"));
    CU_ASSERT_FALSE(run_config_is_default(&again, "optim.lr"));
    ASSERT_OK(load("optim:\n  decay_rules: [\"*.bias\": 0, \"*norm*\": 0, pos_embed: 0]\n", NULL, &config));
    CU_ASSERT_FALSE(run_config_is_default(&config, "optim.decay_rules"));
}

static const struct test_case cases[] = {
    {"defaults", defaults},
    {"image size in a name", image_size_in_name},
    {"reads every type", reads_every_type},
    {"reads files", reads_files},
    {"overrides", overrides},
    {"dump round trip", dump_round_trip},
    {"file errors", file_errors},
    {"too long lists", too_long_lists},
    {"override errors", override_errors},
    {"contradictions", contradictions},
    {"diff and resume", diff_and_resume},
    {"default values", default_values},
    {"get", get},
    {"help", help},
    {"enums match their words", enums_match_their_words},
    {"old words", old_words},
    {"fields have their type", fields_have_their_type},
};
TEST_MAIN("run_config", cases)
