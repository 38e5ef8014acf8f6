/* Everything a run can be told: one plain struct, one sub-struct per section, one field per key (`optim.lr` is
 * config.optim.lr). The option table in options.c says type, default, range and help of each; `vitrail help config`
 * prints it. Sources, later ones win: defaults, the YAML file, `key.path=value` arguments. Only train and cli see this
 * struct; other rooms take small structs of their own. Copyable by assignment: it owns no memory. */
#ifndef VT_CONFIG_RUN_CONFIG_H
#define VT_CONFIG_RUN_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/status.h"
#include "config/duration.h"

enum {
    CONFIG_NAME_BYTES = 64,
    CONFIG_TEXT_BYTES = 512,
    CONFIG_PATH_BYTES = 1024,
    CONFIG_FLOATS_MAX = 8,
    CONFIG_RULES_MAX = 32,
    CONFIG_KEYS_MAX = 128
};

enum config_pool { CONFIG_POOL_CLS, CONFIG_POOL_MEAN };
enum config_gelu { CONFIG_GELU_ERF, CONFIG_GELU_TANH };
enum config_init { CONFIG_INIT_TIMM, CONFIG_INIT_JAX };
enum config_order { CONFIG_ORDER_AUTO, CONFIG_ORDER_FULL, CONFIG_ORDER_WINDOW };
enum config_loss { CONFIG_LOSS_SOFTMAX, CONFIG_LOSS_SIGMOID };
enum config_optimizer { CONFIG_OPTIM_ADAMW, CONFIG_OPTIM_SGD };
enum config_schedule {
    CONFIG_SCHEDULE_COSINE,
    CONFIG_SCHEDULE_LINEAR,
    CONFIG_SCHEDULE_RSQRT,
    CONFIG_SCHEDULE_CONSTANT
};
enum config_reduction { CONFIG_REDUCTION_FAST, CONFIG_REDUCTION_EXACT };
enum config_device { CONFIG_DEVICE_AUTO, CONFIG_DEVICE_CPU, CONFIG_DEVICE_CUDA, CONFIG_DEVICE_REF };
enum config_dtype { CONFIG_DTYPE_AUTO, CONFIG_DTYPE_FP32, CONFIG_DTYPE_BF16 };
enum config_recompute { CONFIG_RECOMPUTE_NONE, CONFIG_RECOMPUTE_LIGHT, CONFIG_RECOMPUTE_BLOCK };
enum config_graphs { CONFIG_GRAPHS_AUTO, CONFIG_GRAPHS_ON, CONFIG_GRAPHS_OFF };
enum config_comm { CONFIG_COMM_AUTO, CONFIG_COMM_SELF, CONFIG_COMM_MPI, CONFIG_COMM_NCCL };
enum config_wire { CONFIG_WIRE_FP32, CONFIG_WIRE_BF16 };
enum config_if_exists { CONFIG_IF_EXISTS_RESUME, CONFIG_IF_EXISTS_FAIL, CONFIG_IF_EXISTS_NEW };

struct config_floats {
    int count; /* 0 = "auto" */
    double value[CONFIG_FLOATS_MAX];
};

/* Glob pattern (* ?) over parameter names -> value. The first match wins. */
struct config_rule {
    char pattern[CONFIG_NAME_BYTES];
    double value;
};
struct config_rules {
    int count;
    struct config_rule rule[CONFIG_RULES_MAX];
};

/* Where a value came from. FILE: config.source, line. ARGUMENT: line is its number on the command line, from 1. */
enum config_origin_kind { CONFIG_FROM_DEFAULT, CONFIG_FROM_FILE, CONFIG_FROM_ARGUMENT };
struct config_origin {
    enum config_origin_kind kind;
    int line;
};

struct run_config {
    struct {
        char name[CONFIG_NAME_BYTES]; /* "vit_s16", or "custom": then patch_size, width, depth, heads are given */
        int image_size, patch_size, channels;
        int width, depth, heads, mlp_width; /* 0 = from name (mlp_width of custom: 4 width) */
        enum config_pool pool;
        bool cls_token;
        int pre_logits; /* width of the tanh layer before the head; 0 = none */
        bool qkv_bias;
        enum config_gelu gelu;
        double layernorm_eps;
        double dropout, pos_dropout, attention_dropout, drop_path;
        enum config_init init;
        double init_std, head_bias;
        int classes; /* 0 = from the dataset */
        char init_from[CONFIG_PATH_BYTES];
    } model;
    struct {
        char train[CONFIG_PATH_BYTES]; /* "DIR#split[:part]" or "synthetic" */
        char val[CONFIG_PATH_BYTES];   /* the same; "" = no evaluation */
        int batch;                     /* global: images of one optimizer step over all ranks */
        char transform[CONFIG_TEXT_BYTES], eval_transform[CONFIG_TEXT_BYTES];
        enum config_order order;
        int64_t seed; /* -1 = run.seed */
        int threads;
        int64_t bad_limit;
        struct config_floats mean, std; /* of pixels in 0..1, per channel; count 0 = from the dataset's statistics */
        int64_t synthetic_samples;
        int synthetic_classes;
    } data;
    struct {
        enum config_loss name;
        double smoothing;
    } loss;
    struct {
        enum config_optimizer name;
        double lr, min_lr, weight_decay;
        struct config_floats betas; /* always 2 */
        double eps, momentum;
        bool nesterov;
        double clip; /* 0 = off */
        enum config_schedule schedule;
        struct duration warmup;
        double warmup_lr;
        struct duration cooldown;
        struct config_rules decay_rules; /* value multiplies weight_decay; no match = 1 */
    } optim;
    struct {
        struct duration duration;
        enum config_reduction reduction;
        int lanes;
        double ema; /* 0 = off */
        int nonfinite_limit;
    } train;
    struct {
        enum config_device device;
        enum config_dtype dtype;
        int threads, micro_batch; /* 0 = auto */
        enum config_recompute recompute;
        enum config_graphs graphs;
    } compute;
    struct {
        enum config_comm backend;
        double bucket_mb;
        enum config_wire wire;
        int spare_sms;    /* -1 = auto */
        double timeout_s; /* 0 = no watchdog */
    } comm;
    struct {
        struct duration every;
        int keep;
    } checkpoint;
    struct {
        char dir[CONFIG_PATH_BYTES]; /* never "auto" after loading */
        enum config_if_exists if_exists;
        int log_every;
        int64_t seed;
        char stop_file[CONFIG_PATH_BYTES];
    } run;
    struct {
        struct duration every;
        int batch; /* 0 = data.batch */
        bool ema;
    } eval;

    char source[CONFIG_PATH_BYTES]; /* the file, or the name given with a text; "" = none */
    struct config_origin origin[CONFIG_KEYS_MAX];
};

/* Defaults, then the YAML file (NULL = none), then overrides "section.key=value". Failures are VT_E_USAGE (VT_E_IO when
 * the file cannot be read) with "file:line: ..." or "command line: ..."; *out is then untouched. */
VT_MUST_CHECK vt_status run_config_load(const char *path, const char *const *overrides, int count,
                                        struct run_config *out);
/* The same from YAML text (the config kept in a checkpoint); `name` stands for the file in messages. */
VT_MUST_CHECK vt_status run_config_from_text(const char *text, const char *name, const char *const *overrides,
                                             int count, struct run_config *out);

/* Values that contradict each other (pool: cls without a class token). Both functions above have called it. */
VT_MUST_CHECK vt_status run_config_check(const struct run_config *config);

/* Resolved YAML: every key, loadable again to the same values; `origins` adds where each came from as a comment. */
void run_config_dump(const struct run_config *config, bool origins, FILE *out);
/* The dump without origins, malloc'ed; the caller frees. What checkpoints keep. */
char *run_config_to_text(const struct run_config *config);

/* One value as its YAML text; *text is malloc'ed, the caller frees. Unknown key: VT_E_USAGE with a near miss. */
VT_MUST_CHECK vt_status run_config_get(const struct run_config *config, const char *key, char **text);
/* "configs/a.yaml:12", "command line" or "default". */
void run_config_origin(const struct run_config *config, const char *key, char *text, size_t bytes);
/* The value is the default one, wherever it came from. */
bool run_config_is_default(const struct run_config *config, const char *key);

struct run_config_change {
    const char *key; /* static */
    bool may_change; /* on resume */
};
/* Keys whose values differ, in table order; at most `capacity` (CONFIG_KEYS_MAX is always enough). Returns the count.
 */
int run_config_diff(const struct run_config *before, const struct run_config *after, struct run_config_change *changes,
                    int capacity);
/* VT_E_USAGE naming every difference that may not change when a run goes on. */
VT_MUST_CHECK vt_status run_config_check_resume(const struct run_config *before, const struct run_config *after);

/* Help of a key ("optim.lr"), a section ("optim") or everything (NULL). Unknown name: VT_E_USAGE with a near miss. */
VT_MUST_CHECK vt_status run_config_help(FILE *out, const char *name);
/* A commented YAML config to start from: every key, those a first run decides set, the others commented out. */
void run_config_recipe(FILE *out);

#endif
