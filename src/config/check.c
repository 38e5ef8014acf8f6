/* What one key's range cannot say: values that contradict each other. */
#include "base/text.h"
#include "config/options.h"

#include <string.h>

/* The message's place: the origin of the key that was set, of two that disagree the first one not a default. */
static vt_status refuse(const struct run_config *config, const char *key, const char *other, const char *text)
{
    char where[CONFIG_PATH_BYTES + 32];
    int index = option_find(key);
    if (other && config->origin[index].kind == CONFIG_FROM_DEFAULT)
        key = other;
    run_config_origin(config, key, where, sizeof where);
    return VT_FAIL(VT_E_USAGE, "%s: %s: %s", where, key, text);
}

static vt_status check_model(const struct run_config *config)
{
    if (!config->model.name[0])
        return refuse(config, "model.name", NULL, "is empty, expected as vit_s16, or custom");
    if (strcmp(config->model.name, "custom") == 0 && (config->model.patch_size == 0 || config->model.width == 0 ||
                                                      config->model.depth == 0 || config->model.heads == 0))
        return refuse(config, "model.name", NULL, "custom needs model.patch_size, width, depth and heads");
    if (config->model.pool == CONFIG_POOL_CLS && !config->model.cls_token)
        return refuse(config, "model.cls_token", "model.pool", "pool: cls needs cls_token: true");
    if (config->model.heads && config->model.width % config->model.heads != 0)
        return refuse(config, "model.heads", "model.width", "model.width is not a multiple of model.heads");
    if (config->model.patch_size && config->model.image_size % config->model.patch_size != 0)
        return refuse(config, "model.image_size", "model.patch_size",
                      "model.image_size is not a multiple of model.patch_size");
    if (config->model.channels == 2)
        return refuse(config, "model.channels", NULL, "2 is not a choice, expected 1 or 3");
    return VT_OK;
}

static vt_status check_data(const struct run_config *config)
{
    if (config->data.mean.count && config->data.mean.count != config->model.channels)
        return refuse(config, "data.mean", NULL, "expected as many numbers as model.channels");
    if (config->data.std.count && config->data.std.count != config->model.channels)
        return refuse(config, "data.std", NULL, "expected as many numbers as model.channels");
    return VT_OK;
}

static vt_status check_schedule(const struct run_config *config)
{
    if (config->train.duration.value == 0 || config->train.duration.unit == DURATION_PERCENT)
        return refuse(config, "train.duration", NULL, "expected a length above 0 in ep, steps or images");
    if (config->optim.min_lr > config->optim.lr)
        return refuse(config, "optim.min_lr", "optim.lr", "optim.min_lr is above optim.lr");
    bool falls = config->optim.schedule == CONFIG_SCHEDULE_COSINE || config->optim.schedule == CONFIG_SCHEDULE_LINEAR;
    if (falls && config->optim.cooldown.value != 0)
        return refuse(config, "optim.cooldown", "optim.schedule",
                      "a cooldown belongs to the rsqrt and constant schedules");
    return VT_OK;
}

/* The stop file is removed at the start: it must be in the run folder, and nothing of the run's. */
static vt_status check_stop_file(const struct run_config *config)
{
    static const char *const own[] = {".*",      "config.yaml",   "env*.json",           "log.txt",     "lock",
                                      "metrics*", "tuning*",      "events.out.tfevents*", "checkpoints", "report*"};
    const char *name = config->run.stop_file;
    if (strchr(name, '/'))
        return refuse(config, "run.stop_file", NULL, "is a path, expected a plain name: the file is in the run folder");
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (text_glob(own[i], name))
            return refuse(config, "run.stop_file", NULL, "is a name the run uses itself, expected another, as stop");
    return VT_OK;
}

vt_status run_config_check(const struct run_config *config)
{
    VT_TRY(check_model(config));
    VT_TRY(check_data(config));
    VT_TRY(check_stop_file(config));
    return check_schedule(config);
}
