/* bench_loader DIR#split|synthetic [TRANSFORM [SIZE [CHANNELS [THREADS [SECONDS]]]]]
 * Images per second of the loader alone, and where its threads spend their time. Not run by ctest. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "input/loader.h"

enum { CAPACITY = 256, SLOTS = 4, STEPS_MOST = 1 << 30 };

static vt_status open_source(const char *uri, struct dataset **dataset, struct loader_desc *desc)
{
    char dir[4096], spec[4096];
    struct dataset_split *split;
    struct dataset_split_info info;
    VT_TRY(dataset_parse_uri(uri, "train", dir, spec, sizeof dir));
    VT_TRY(dataset_open(dir, dataset));
    VT_TRY(dataset_split_open(*dataset, spec, &split));
    dataset_split_describe(split, &info);
    desc->split = split;
    desc->synthetic_samples = info.samples;
    return VT_OK;
}

static void fill_slots(struct slot *slots, const struct loader_desc *desc)
{
    size_t row_bytes = (size_t)desc->image_size * (size_t)desc->image_size * (size_t)desc->channels;
    for (int i = 0; i < SLOTS; i++)
        slots[i] = (struct slot){.capacity = CAPACITY,
                                 .labels_per_row = 4,
                                 .images = calloc(CAPACITY, row_bytes),
                                 .label_id = calloc(4 * CAPACITY, sizeof(int32_t)),
                                 .label_weight = calloc(4 * CAPACITY, sizeof(float)),
                                 .row_weight = calloc(CAPACITY, sizeof(float)),
                                 .position = calloc(CAPACITY, sizeof(uint64_t)),
                                 .sample = calloc(CAPACITY, sizeof(int64_t))};
}

static void free_slots(struct slot *slots)
{
    for (int i = 0; i < SLOTS; i++) {
        free(slots[i].images);
        free(slots[i].label_id);
        free(slots[i].label_weight);
        free(slots[i].row_weight);
        free(slots[i].position);
        free(slots[i].sample);
    }
}

static vt_status measure(struct loader *loader, double seconds)
{
    double read_ms = 0, decode_ms = 0, augment_ms = 0, start_ms = 0;
    int64_t rows = 0;
    for (int step = 0; start_ms == 0 || clock_ms() - start_ms < seconds * 1e3; step++) {
        struct slot *slot;
        VT_TRY(loader_next(loader, &slot));
        if (step == 2 * SLOTS) /* warm */
            start_ms = clock_ms();
        if (start_ms > 0) {
            rows += slot->rows;
            read_ms += slot->read_ms;
            decode_ms += slot->decode_ms;
            augment_ms += slot->augment_ms;
        }
        loader_release(loader, slot);
    }
    double elapsed_ms = clock_ms() - start_ms;
    printf("%.0f images/s; per image: read %.2f us, decode %.2f us, augment %.2f us\n", (double)rows / elapsed_ms * 1e3,
           read_ms / (double)rows * 1e3, decode_ms / (double)rows * 1e3, augment_ms / (double)rows * 1e3);
    return VT_OK;
}

static vt_status run(int argc, char **argv)
{
    struct loader_desc desc = {.synthetic_samples = 1281167,
                               .synthetic_classes = 1000,
                               .ranks = 1,
                               .batch = CAPACITY,
                               .steps = STEPS_MOST,
                               .substitute_bad = true};
    struct dataset *dataset = NULL;
    struct loader *loader = NULL;
    struct slot slots[SLOTS] = {{.capacity = 0}};
    desc.image_size = argc > 3 ? atoi(argv[3]) : 224;
    desc.channels = argc > 4 ? atoi(argv[4]) : 3;
    desc.threads = argc > 5 ? atoi(argv[5]) : 1;
    vt_status status;
    VT_TRY_OUT(augment_parse(argc > 2 ? argv[2] : "rrc(0.08,1)|flip(0.5)", &desc.augment));
    if (strcmp(argv[1], "synthetic") != 0)
        VT_TRY_OUT(open_source(argv[1], &dataset, &desc));
    struct order_desc order = {.mode = ORDER_FULL, .seed = 1, .samples = (uint64_t)desc.synthetic_samples};
    VT_TRY_OUT(order_init(&desc.order, &order));
    fill_slots(slots, &desc);
    VT_TRY_OUT(loader_open(&desc, slots, SLOTS, &loader));
    VT_TRY_OUT(measure(loader, argc > 6 ? atof(argv[6]) : 5));
out:
    loader_close(&loader);
    free_slots(slots);
    dataset_close(&dataset);
    return status;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: bench_loader DIR#split|synthetic [TRANSFORM [SIZE [CHANNELS [THREADS [SECONDS]]]]]\n");
        return 2;
    }
    vt_status status = run(argc, argv);
    if (status != VT_OK)
        fprintf(stderr, "bench_loader: %s\n", status_message());
    return status_exit_code(status);
}
