/* `vitrail help recipe`: a config to start from, written from the option table. */
#include "base/check.h"
#include "config/options.h"

#include <stdlib.h>
#include <string.h>

enum { COMMENT_COLUMN = 30 };

/* What a first run decides: pictures of one's own, a small ViT from scratch. The rest stays at its default. */
static const char *const decided[] = {
    "model.name=vit_s16",      "model.drop_path=0.1",     "data.train=data/mine#train", "data.val=data/mine#val",
    "data.batch=256",          "loss.smoothing=0.1",      "optim.lr=0.0005",            "optim.weight_decay=0.05",
    "optim.warmup=5%",         "train.duration=100ep",    "train.ema=0.999",            "checkpoint.every=1ep",
    "eval.every=1ep",          "run.dir=runs/first",
};
enum { DECIDED = sizeof decided / sizeof *decided };

static bool is_decided(const char *key)
{
    size_t length = strlen(key);
    for (int i = 0; i < DECIDED; i++)
        if (strncmp(decided[i], key, length) == 0 && decided[i][length] == '=')
            return true;
    return false;
}

static void write_key(const struct option *option, const struct run_config *config, FILE *out)
{
    bool active = is_decided(option->key);
    char *value = active ? option_text(option, config) : NULL;
    const char *initial = option->initial[0] ? option->initial : "\"\"";
    int used = fprintf(out, "%s%s: %s", active ? "  " : "  # ", strchr(option->key, '.') + 1, active ? value : initial);
    free(value);
    fprintf(out, "%*s  # %s", used < COMMENT_COLUMN ? COMMENT_COLUMN - used : 0, "", option->help);
    for (int i = 0; option->type == OPTION_ENUM && option->choices[i]; i++)
        fprintf(out, "%s%s", i ? " | " : ": ", option->choices[i]);
    putc('\n', out);
}

void run_config_recipe(FILE *out)
{
    struct run_config config;
    VT_CHECKF(run_config_load(NULL, decided, DECIDED, &config) == VT_OK, "%s", status_message());
    fputs("# A recipe to start from, with every key there is. What a first run decides is set; the rest shows its default:\n"
          "# take the \"# \" in front away to change it.\n"
          "#   vitrail help recipe >mine.yaml        this text\n"
          "#   vitrail pack PICTURES data/mine --val 10%:stratified    folders of pictures, one a class\n"
          "#   vitrail check mine.yaml               does it fit this machine\n"
          "#   vitrail train -n 2 mine.yaml          two ranks here; the same command goes on after a stop\n"
          "# Lengths have a unit: 90ep, 10ksteps, 1.2Mimages, 3%. Any key can be set on the command line: optim.lr=0.001\n",
          out);
    for (int i = 0; i < option_count(); i++) {
        const char *key = option_at(i)->key;
        size_t section = strcspn(key, ".");
        if (i == 0 || strncmp(key, option_at(i - 1)->key, section + 1) != 0)
            fprintf(out, "\n%.*s:\n", (int)section, key);
        write_key(option_at(i), &config, out);
    }
}
