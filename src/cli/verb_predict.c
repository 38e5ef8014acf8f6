#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "cli/cli.h"
#include "train/inference.h"

enum { IMAGE_FILE_MAX = 256 << 20, TOP_MAX = 100 };

/* Decode one file into row `row` of the slot, as evaluation would. */
static vt_status load_image(const struct inference *inf, const char *path, struct augment_scratch *scratch, struct slot *slot,
                            int row)
{
    char *bytes = NULL;
    size_t size;
    struct image_info info;
    struct augment_draw draw;
    double decode_ms = 0, augment_ms = 0;
    VT_TRY(file_read(path, IMAGE_FILE_MAX, &bytes, &size));
    vt_status status = image_probe((const uint8_t *)bytes, size, &info);
    if (status == VT_OK) {
        size_t pixels = (size_t)inf->model.image_size * (size_t)inf->model.image_size * (size_t)inf->model.channels;
        augment_draw(&inf->transform, info.width, info.height, inf->model.image_size, 0, 0, &draw);
        status = augment_run(&inf->transform, &draw, (const uint8_t *)bytes, size, inf->model.image_size, inf->model.channels,
                             scratch, slot->images + (size_t)row * pixels, &decode_ms, &augment_ms);
    }
    free(bytes);
    return status == VT_OK ? VT_OK : status_prefix(status, "%s", path);
}

static void print_json(const struct inference *inf, const char *path, const float *logits, const float *probability)
{
    char name[128];
    struct json *object = json_new_object(), *list = json_new_array();
    json_set_string(object, "image", path);
    for (int k = 0; k < inf->model.classes; k++) {
        struct json *entry = json_new_object();
        json_set_string(entry, "class", inference_class_name(inf, k, name, sizeof name));
        json_set_double(entry, "logit", logits[k]);
        json_set_double(entry, "probability", probability[k]);
        json_add(list, entry);
    }
    json_set(object, "classes", list);
    char *text = json_to_text(object);
    puts(text);
    free(text);
    json_free(&object);
}

/* The most probable class that is not among the first `count` of `taken`. */
static int next_best(const float *probability, int classes, const int *taken, int count)
{
    int best = -1;
    for (int k = 0; k < classes; k++) {
        bool used = false;
        for (int i = 0; i < count; i++)
            used = used || taken[i] == k;
        if (!used && (best < 0 || probability[k] > probability[best]))
            best = k;
    }
    return best;
}

static void print_top(const struct inference *inf, const char *path, const float *probability, int top)
{
    int taken[TOP_MAX];
    char name[128];
    printf("%s\n", path);
    for (int i = 0; i < top && i < inf->model.classes; i++) {
        taken[i] = next_best(probability, inf->model.classes, taken, i);
        printf("  %6.2f %%  %s\n", 100 * probability[taken[i]], inference_class_name(inf, taken[i], name, sizeof name));
    }
}

/* Images without a result: an error line each, the last one as the verdict of the verb. */
struct refusal {
    vt_status status;
    char text[VT_MESSAGE_BYTES];
};

static void refuse(struct refusal *last, vt_status status)
{
    if (last->status != VT_OK)
        log_error("%s", last->text);
    last->status = status;
    snprintf(last->text, sizeof last->text, "%s", status_message());
}

/* The next images that can be read, up to a batch. *at moves past them; taken[row] is the image of a row. */
static int load_batch(const struct inference *inf, char **images, int count, int *at, struct augment_scratch *scratch,
                      struct slot *slot, int *taken, struct refusal *last)
{
    int rows = 0;
    for (; *at < count && rows < slot->capacity; (*at)++) {
        vt_status status = load_image(inf, images[*at], scratch, slot, rows);
        if (status == VT_OK)
            taken[rows++] = *at;
        else
            refuse(last, status);
    }
    return rows;
}

static vt_status show_batch(struct inference *inf, char **images, const int *taken, struct slot *slot, float *probability,
                            bool json, int top)
{
    VT_TRY(inference_forward(inf, slot));
    for (int row = 0; row < slot->rows; row++) {
        const float *logits = inf->evaluator.logits + (size_t)row * (size_t)inf->model.classes;
        inference_probabilities(inf, logits, probability);
        if (json)
            print_json(inf, images[taken[row]], logits, probability);
        else
            print_top(inf, images[taken[row]], probability, top);
    }
    return VT_OK;
}

static vt_status run(struct inference *inf, char **images, int count, bool json, int top)
{
    vt_status status = VT_OK;
    struct refusal last = {0};
    struct slot *slot = &inf->evaluator.ring.slots[0];
    struct augment_scratch *scratch = augment_scratch_new();
    float *probability = malloc((size_t)inf->model.classes * sizeof *probability);
    int *taken = malloc((size_t)slot->capacity * sizeof *taken);
    if (!scratch || !probability || !taken) {
        status = VT_FAIL(VT_E_MEMORY, "no memory for %d classes", inf->model.classes);
        goto out;
    }
    for (int at = 0; at < count;) {
        slot->rows = load_batch(inf, images, count, &at, scratch, slot, taken, &last);
        if (slot->rows > 0)
            VT_TRY_OUT(show_batch(inf, images, taken, slot, probability, json, top));
    }
out:
    augment_scratch_free(&scratch);
    free(probability);
    free(taken);
    if (last.status == VT_OK)
        return status;
    if (status != VT_OK)
        refuse(&last, status);
    return VT_FAIL(last.status, "%s", last.text);
}

vt_status verb_predict(int argc, char **argv)
{
    bool json = false;
    const char *top_text = NULL;
    const struct arg_option options[] = {{"--json", NULL, &json}, {"--top", &top_text, NULL}};
    char **positional;
    int count;
    long top = 5;
    VT_TRY(args_parse(argc, argv, options, 2, 2, -1, &positional, &count));
    if (top_text)
        VT_TRY(args_int("--top", top_text, 1, TOP_MAX, &top));
    struct comm *comm = NULL;
    struct inference inf = {0};
    VT_TRY(world_open(COMM_SELF, &comm));
    const struct inference_desc desc = {.path = positional[0]};
    vt_status status = inference_open(&desc, comm, &inf);
    if (status == VT_OK)
        status = run(&inf, positional + 1, count - 1, json, (int)top);
    inference_close(&inf);
    world_close(&comm);
    return status;
}
