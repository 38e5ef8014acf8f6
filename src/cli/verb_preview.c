#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/log.h"
#include "cli/cli.h"
#include "input/contact.h"
#include "train/batch.h"
#include "train/resolve.h"

enum { PREVIEW_ROWS_MAX = 64 };

struct preview_args {
    const char *sheet, *raw;
    long step;
};

static vt_status write_sheet(const struct slot *slot, const struct resolved *data, const struct preview_args *args)
{
    struct contact_desc desc = {
        .image_size = data->model.image_size, .channels = data->model.channels, .dataset = data->train.dataset};
    struct image sheet = {0};
    uint8_t *png = NULL;
    size_t size;
    vt_status status;
    if (args->raw) {
        VT_TRY(file_make_dirs(args->raw));
        VT_TRY(contact_dump(slot, &desc, args->raw));
    }
    VT_TRY_OUT(contact_sheet(slot, &desc, &sheet));
    VT_TRY_OUT(image_encode_png(&sheet, &png, &size));
    VT_TRY_OUT(file_write_atomic(args->sheet, png, size));
    log_info("wrote %s: %d images of step %ld", args->sheet, slot->rows, args->step);
out:
    free(png);
    image_close(&sheet);
    return status;
}

/* Fill the slots of one step as training would, and draw the first microbatch. */
static vt_status run(const struct run_config *config, const struct preview_args *args)
{
    struct resolved data;
    struct backend *be = NULL;
    struct batch_ring ring = {0};
    struct loader *loader = NULL;
    struct slot *slot;
    vt_status status;
    const struct backend_desc host = {.threads = 1};
    VT_TRY(resolve_run(config, &data));
    int rows = config->data.batch < PREVIEW_ROWS_MAX ? config->data.batch : PREVIEW_ROWS_MAX;
    const struct batch_shape shape = {rows, data.model.image_size, data.model.channels, data.labels};
    int64_t first = args->step - 1;
    const struct loader_desc desc = {.split = data.train.split,
                                     .order = data.order,
                                     .synthetic_samples = data.train.samples,
                                     .synthetic_classes = data.train.classes,
                                     .augment = data.transform,
                                     .image_size = data.model.image_size,
                                     .channels = data.model.channels,
                                     .ranks = 1,
                                     .batch = config->data.batch,
                                     .first_step = first,
                                     .first_position = (uint64_t)first * (uint64_t)config->data.batch,
                                     .steps = 1,
                                     .threads = 1,
                                     .seed = data.data_seed,
                                     .substitute_bad = true,
                                     .bad_limit = config->data.bad_limit};
    VT_TRY_OUT(backend_ref_open(&host, &be));
    VT_TRY_OUT(batch_ring_open(&ring, be, &shape));
    VT_TRY_OUT(loader_open(&desc, ring.slots, BATCH_SLOTS, &loader));
    VT_TRY_OUT(loader_next(loader, &slot));
    VT_TRY_OUT(write_sheet(slot, &data, args));
out:
    loader_close(&loader);
    batch_ring_close(&ring);
    if (be)
        be->close(be);
    resolved_close(&data);
    return status;
}

vt_status verb_preview(int argc, char **argv)
{
    struct preview_args args = {.step = 1};
    const char *step_text = NULL;
    const struct arg_option options[] = {{"-o", &args.sheet, NULL}, {"--step", &step_text, NULL}, {"--raw", &args.raw, NULL}};
    char **positional;
    int count;
    struct run_config config;
    VT_TRY(args_parse(argc, argv, options, 3, 1, -1, &positional, &count));
    if (!args.sheet)
        return VT_FAIL(VT_E_USAGE, "preview needs -o sheet.png");
    if (step_text)
        VT_TRY(args_int("--step", step_text, 1, 1L << 40, &args.step));
    VT_TRY(args_config(positional, count, &config));
    return run(&config, &args);
}
