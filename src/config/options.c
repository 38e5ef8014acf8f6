#include "config/options.h"

#include <string.h>

static const char *const pool_names[] = {"cls", "mean", NULL};
static const char *const gelu_names[] = {"erf", "tanh", NULL};
static const char *const init_names[] = {"timm", "jax", NULL};
static const char *const order_names[] = {"auto", "full", "window", NULL};
static const char *const loss_names[] = {"softmax", "sigmoid", NULL};
static const char *const optimizer_names[] = {"adamw", "sgd", NULL};
static const char *const schedule_names[] = {"cosine", "linear", "rsqrt", "constant", NULL};
static const char *const reduction_names[] = {"fast", "exact", NULL};
static const char *const device_names[] = {"auto", "cpu", "cuda", "ref", NULL};
static const char *const dtype_names[] = {"auto", "fp32", "bf16", NULL};
static const char *const recompute_names[] = {"none", "light", "block", NULL};
static const char *const recompute_formerly[] = {"false", "none", "true", "block", NULL}; /* in older run folders */
static const char *const graphs_names[] = {"auto", "on", "off", NULL};
static const char *const comm_names[] = {"auto", "self", "mpi", "nccl", NULL};
static const char *const wire_names[] = {"fp32", "bf16", NULL};
static const char *const if_exists_names[] = {"resume", "fail", "new", NULL};

/* One row, one line; the table may be wide. */
/* clang-format off */
/* Each row reads: section, field, default, what is allowed, may it change on resume, help. */
enum { FIXED = 0, MAY_CHANGE = 1 };

#define FIELD(section, field)                                                                                          \
    .key = #section "." #field, .offset = offsetof(struct run_config, section.field),                                  \
    .bytes = sizeof(((struct run_config *)0)->section.field)
#define INT(section, field, value, lo, hi, resume, text)                                                               \
    {FIELD(section, field), .type = OPTION_INT, .initial = value, .min = lo, .max = hi, .may_change = resume, .help = text}
#define INT64(section, field, value, lo, hi, resume, text)                                                             \
    {FIELD(section, field), .type = OPTION_INT64, .initial = value, .min = lo, .max = hi, .may_change = resume, .help = text}
#define FLOAT(section, field, value, lo, hi, resume, text)                                                             \
    {FIELD(section, field), .type = OPTION_FLOAT, .initial = value, .min = lo, .max = hi, .may_change = resume, .help = text}
#define BOOL(section, field, value, resume, text)                                                                      \
    {FIELD(section, field), .type = OPTION_BOOL, .initial = value, .may_change = resume, .help = text}
#define STRING(section, field, value, resume, text)                                                                    \
    {FIELD(section, field), .type = OPTION_STRING, .initial = value, .may_change = resume, .help = text}
#define ENUM(section, field, value, names, resume, text)                                                               \
    {FIELD(section, field), .type = OPTION_ENUM, .initial = value, .choices = names, .may_change = resume, .help = text}
#define ENUM_WAS(section, field, value, names, old_names, resume, text)                                                \
    {FIELD(section, field), .type = OPTION_ENUM, .initial = value, .choices = names, .formerly = old_names,            \
     .may_change = resume, .help = text}
#define DURATION(section, field, value, resume, text)                                                                  \
    {FIELD(section, field), .type = OPTION_DURATION, .initial = value, .may_change = resume, .help = text}
#define FLOATS(section, field, value, fewest, most, lo, hi, resume, text)                                              \
    {FIELD(section, field), .type = OPTION_FLOATS, .initial = value, .min_count = fewest, .max_count = most,           \
     .min = lo, .max = hi, .may_change = resume, .help = text}
#define RULES(section, field, value, lo, hi, resume, text)                                                             \
    {FIELD(section, field), .type = OPTION_RULES, .initial = value, .min = lo, .max = hi, .may_change = resume, .help = text}

/* Below 1: a rate of exactly 1 drops everything and divides by zero. */
#define RATE_MAX 0.99

static const struct option options[] = {
    STRING(model, name, "vit_s16", FIXED, "size and patch: vit_ti16, vit_s16, vit_b16, vit_b32, vit_l16, ... or custom"),
    INT(model, image_size, "224", 1, 8192, FIXED, "side of the square input, in pixels; where not given, the one in a name as vit_tiny_patch16_384"),
    INT(model, patch_size, "0", 0, 1024, FIXED, "side of a patch, in pixels; 0 = from model.name"),
    INT(model, channels, "3", 1, 3, FIXED, "image channels: 1 (grey) or 3 (RGB)"),
    INT(model, width, "0", 0, 65536, FIXED, "token width D; 0 = from model.name"),
    INT(model, depth, "0", 0, 1024, FIXED, "blocks; 0 = from model.name"),
    INT(model, heads, "0", 0, 1024, FIXED, "attention heads; 0 = from model.name"),
    INT(model, mlp_width, "0", 0, 262144, FIXED, "hidden width of the MLP; 0 = from model.name (custom: 4 x width)"),
    ENUM(model, pool, "cls", pool_names, FIXED, "what the head sees: the class token, or the mean over patch tokens"),
    BOOL(model, cls_token, "true", FIXED, "prepend a class token; needed by pool: cls"),
    INT(model, pre_logits, "0", 0, 65536, FIXED, "width of a tanh layer before the head; 0 = none"),
    BOOL(model, qkv_bias, "true", FIXED, "bias in the query, key and value projections"),
    ENUM(model, gelu, "erf", gelu_names, FIXED, "GELU: exact (timm, torch) or tanh approximation (JAX, big_vision)"),
    FLOAT(model, layernorm_eps, "1e-6", 1e-12, 1, FIXED, "epsilon of every LayerNorm"),
    FLOAT(model, dropout, "0", 0, RATE_MAX, FIXED, "dropout after projections and in the MLP"),
    FLOAT(model, pos_dropout, "0", 0, RATE_MAX, FIXED, "dropout after the position embedding"),
    FLOAT(model, attention_dropout, "0", 0, RATE_MAX, FIXED, "dropout of attention weights"),
    FLOAT(model, drop_path, "0", 0, RATE_MAX, FIXED, "stochastic depth: rate of the last block, linear from 0 at the first"),
    ENUM(model, init, "timm", init_names, FIXED, "initialisation: truncated normal (timm), or as the JAX ViTs"),
    FLOAT(model, init_std, "0.02", 0, 10, FIXED, "standard deviation of the timm initialisation"),
    FLOAT(model, head_bias, "0", -1000, 1000, FIXED, "initial bias of the head; -10 or -6.9 with the sigmoid loss"),
    INT(model, classes, "0", 0, 10000000, FIXED, "classes of the head; 0 = from the dataset"),
    STRING(model, init_from, "", FIXED, "start from these weights: a checkpoint, run folder or .safetensors file"),

    STRING(data, train, "", MAY_CHANGE, "training set: DIR#split, DIR#split[:10%], or synthetic"),
    STRING(data, val, "", MAY_CHANGE, "evaluation set, written as data.train; empty = no evaluation"),
    INT(data, batch, "1024", 1, 16777216, FIXED, "images of one optimizer step, over all ranks together"),
    STRING(data, transform, "auto", FIXED, "training pixels, as rrc(0.08,1)|flip(0.5); auto = by image size"),
    STRING(data, eval_transform, "auto", MAY_CHANGE, "evaluation pixels, as centre(0.875); auto = by image size"),
    ENUM(data, order, "auto", order_names, FIXED, "sample order: one permutation of all, or windows of blocks"),
    INT64(data, seed, "-1", -1, 0x1p53, FIXED, "seed of order and augmentation; -1 = run.seed"),
    INT(data, threads, "0", 0, 1024, MAY_CHANGE, "loader threads of each rank; 0 = auto"),
    INT64(data, bad_limit, "0", 0, 0x1p53, MAY_CHANGE, "stop above this many unreadable samples; 0 = max(32, 1e-4 of the split)"),
    FLOATS(data, mean, "auto", 0, 3, -1, 2, FIXED, "pixel mean by channel, of 0..1; auto = the dataset's"),
    FLOATS(data, std, "auto", 0, 3, 1e-4, 10, FIXED, "pixel standard deviation by channel; auto = the dataset's"),
    INT64(data, synthetic_samples, "50000", 1, 0x1p53, FIXED, "samples of the synthetic set"),
    INT(data, synthetic_classes, "1000", 1, 10000000, FIXED, "classes of the synthetic set"),

    ENUM(loss, name, "softmax", loss_names, FIXED, "softmax cross-entropy, or sigmoid cross-entropy summed over classes"),
    FLOAT(loss, smoothing, "0", 0, RATE_MAX, FIXED, "label smoothing"),

    ENUM(optim, name, "adamw", optimizer_names, FIXED, "optimizer"),
    FLOAT(optim, lr, "0.001", 0, 1e3, FIXED, "peak learning rate, for the global batch as it is (no scaling)"),
    FLOAT(optim, min_lr, "0", 0, 1e3, FIXED, "learning rate at the end of the schedule"),
    FLOAT(optim, weight_decay, "0.05", 0, 1e3, FIXED, "decoupled decay, multiplied by the learning rate as in torch and timm"),
    FLOATS(optim, betas, "[0.9, 0.999]", 2, 2, 0, 0.9999999, FIXED, "AdamW moment decays"),
    FLOAT(optim, eps, "1e-8", 0, 1, FIXED, "AdamW epsilon"),
    FLOAT(optim, momentum, "0.9", 0, 0.9999999, FIXED, "SGD momentum"),
    BOOL(optim, nesterov, "false", FIXED, "SGD with Nesterov momentum"),
    FLOAT(optim, clip, "1", 0, 1e9, FIXED, "clip the global gradient norm; 0 = off"),
    ENUM(optim, schedule, "cosine", schedule_names, FIXED, "learning rate after warm-up"),
    DURATION(optim, warmup, "5%", FIXED, "linear warm-up from optim.warmup_lr"),
    FLOAT(optim, warmup_lr, "0", 0, 1e3, FIXED, "learning rate at step 0 of the warm-up"),
    DURATION(optim, cooldown, "0", FIXED, "linear descent to min_lr at the end, after rsqrt or constant"),
    RULES(optim, decay_rules, "[\"*.bias\": 0, \"*norm*\": 0, pos_embed: 0, cls_token: 0]", 0, 1e6, FIXED,
          "factors of weight_decay by parameter name (* and ?); first match wins, else 1"),

    DURATION(train, duration, "90ep", FIXED, "length of the run"),
    ENUM(train, reduction, "fast", reduction_names, FIXED, "gradient sums: fast, or exact (same bits at any world size)"),
    INT(train, lanes, "0", 0, 65536, FIXED, "lanes of the exact reduction; 0 = auto"),
    FLOAT(train, ema, "0", 0, 0.9999999, FIXED, "decay of the moving average of the weights, as 0.9999; 0 = off"),
    INT(train, nonfinite_limit, "10", 0, 1000000, MAY_CHANGE, "stop after this many skipped non-finite steps in a row"),

    ENUM(compute, device, "auto", device_names, MAY_CHANGE, "auto = cuda where every rank has a GPU, else cpu"),
    ENUM(compute, dtype, "auto", dtype_names, FIXED, "matrix arithmetic; auto = bf16 where the hardware has it"),
    INT(compute, threads, "0", 0, 4096, MAY_CHANGE, "compute threads of each rank on the CPU; 0 = auto"),
    INT(compute, micro_batch, "0", 0, 1048576, MAY_CHANGE, "images of one forward and backward pass of a rank; 0 = auto"),
    ENUM_WAS(compute, recompute, "none", recompute_names, recompute_formerly, MAY_CHANGE,
             "activation checkpointing, what backward recomputes: nothing, LayerNorm and GELU outputs, whole blocks"),
    ENUM(compute, graphs, "auto", graphs_names, MAY_CHANGE,
         "replay a GPU's step from captured graphs; auto = where enqueueing it keeps the host busy (measured)"),

    ENUM(comm, backend, "auto", comm_names, MAY_CHANGE, "auto = nccl on GPUs, mpi on CPUs, self with one rank"),
    FLOAT(comm, bucket_mb, "25", 0.01, 65536, MAY_CHANGE, "gradient bytes of one all-reduce, in MB"),
    ENUM(comm, wire, "fp32", wire_names, FIXED, "dtype of gradients on the network"),
    INT(comm, spare_sms, "-1", -1, 1024, MAY_CHANGE,
        "SMs of a GPU that backward's matrix products leave to NCCL; -1 = auto: NCCL's share where ranks are on several hosts, else 0"),
    FLOAT(comm, timeout_s, "300", 0, 1e6, MAY_CHANGE, "watchdog: seconds without progress before the job is stopped; 0 = off"),

    DURATION(checkpoint, every, "1ep", MAY_CHANGE, "how often; one is always written at the end; 0 = only then"),
    INT(checkpoint, keep, "3", 1, 1000000, MAY_CHANGE, "checkpoints to keep, besides the best"),

    STRING(run, dir, "auto", MAY_CHANGE, "run folder; auto = runs/<name of the config file>"),
    ENUM(run, if_exists, "resume", if_exists_names, MAY_CHANGE, "when the run folder holds a run: go on, refuse, or a new folder beside it"),
    INT(run, log_every, "10", 1, 1000000, MAY_CHANGE, "steps between lines of metrics"),
    INT64(run, seed, "0", 0, 0x1p53, FIXED, "seed of every random draw"),
    STRING(run, stop_file, "stop", MAY_CHANGE, "a file of this name in the run folder: commit a checkpoint and stop"),

    DURATION(eval, every, "1ep", MAY_CHANGE, "how often; always at the end; 0 = only then"),
    INT(eval, batch, "0", 0, 16777216, MAY_CHANGE, "images of one evaluation step, over all ranks; 0 = data.batch"),
    BOOL(eval, ema, "true", MAY_CHANGE, "evaluate the averaged weights where train.ema keeps them"),
};

/* clang-format on */

enum { OPTION_COUNT = sizeof options / sizeof *options };
_Static_assert((int)OPTION_COUNT <= (int)CONFIG_KEYS_MAX, "raise CONFIG_KEYS_MAX");

int option_count(void)
{
    return OPTION_COUNT;
}
const struct option *option_at(int index)
{
    return &options[index];
}

int option_find(const char *key)
{
    for (int i = 0; i < OPTION_COUNT; i++)
        if (strcmp(options[i].key, key) == 0)
            return i;
    return -1;
}

const char *option_type_name(const struct option *option)
{
    static const char *const names[] = {
        [OPTION_INT] = "integer",
        [OPTION_INT64] = "integer",
        [OPTION_FLOAT] = "number",
        [OPTION_BOOL] = "true or false",
        [OPTION_STRING] = "text",
        [OPTION_ENUM] = "choice",
        [OPTION_DURATION] = "duration",
        [OPTION_FLOATS] = "list of numbers",
        [OPTION_RULES] = "list of pattern: value",
    };
    return names[option->type];
}
