/* What a training run did, in bits, so that world sizes can be compared.
 *   train_probe run OUT STEPS CONFIG [key.path=value ...]
 * opens a trainer (under mpirun or alone), reads the loader's microbatches of STEPS steps and sums a hash of every row
 * (position, partner, sample, label, pixels: whatever was drawn shows in the pixels) over ranks; then trains STEPS steps from
 * the start. OUT gets hash, gradient norm and losses; OUT.grad the gradients after step 1.
 *   train_probe compare A B GRADIENT_LIMIT LOSS_LIMIT
 * fails unless hashes agree, the gradients' difference is within the limit times their norm, and the losses within theirs. */
#include <inttypes.h>
#include <math.h>

#include "base/crc32c.h"
#include "config/run_config.h"
#include "rank_check.h"
#include "train/trainer.h"

enum { STEPS_MAX = 1000 };

struct record {
    long long rows;
    uint64_t hash;
    uint32_t weights_crc;
    int64_t values;
    int steps;
    double loss[STEPS_MAX];
};

static uint64_t mix(uint64_t h, uint64_t v)
{
    h = (h ^ v) * 0x9e3779b97f4a7c15u;
    return h ^ (h >> 29);
}

static uint64_t row_hash(const struct trainer *t, const struct slot *slot, int row)
{
    size_t pixels = (size_t)t->data.model.image_size * (size_t)t->data.model.image_size * (size_t)t->data.model.channels;
    int other = row ^ 1, partner = other < slot->rows ? other : row;
    uint64_t h = mix(1, slot->position[row]);
    h = mix(h, slot->position[partner]);
    h = mix(h, (uint64_t)slot->sample[row]);
    for (int i = 0; i < slot->labels_per_row; i++)
        h = mix(h, (uint64_t)slot->label_id[row * slot->labels_per_row + i]);
    return mix(h, crc32c(0, slot->images + (size_t)row * pixels, pixels));
}

/* The rows a run would train on; the loader is started afresh after. */
static void hash_input(struct trainer *t, int steps, struct record *record)
{
    int64_t sums[2] = {0, 0};
    for (int step = 0; step < steps; step++)
        for (int micro = 0; micro < t->micro_count; micro++) {
            struct slot *slot;
            REQUIRE_OK(loader_next(t->loader, &slot));
            for (int row = 0; row < slot->rows; row++) {
                sums[0]++;
                sums[1] = (int64_t)((uint64_t)sums[1] + row_hash(t, slot, row));
            }
            loader_release(t->loader, slot);
        }
    REQUIRE_OK(t->comm->all_reduce(t->comm, sums, 2, DTYPE_I64, REDUCE_SUM));
    record->rows = sums[0];
    record->hash = (uint64_t)sums[1];
    loader_close(&t->loader);
    REQUIRE_OK(step_start_input(t));
}

static void write_gradients(const struct trainer *t, const char *out)
{
    char path[4096];
    snprintf(path, sizeof path, "%s.grad", out);
    FILE *file = t->comm->rank == 0 ? fopen(path, "wb") : NULL;
    REQUIRE(t->comm->rank != 0 || file);
    REQUIRE(t->be->host_memory);
    if (file) {
        REQUIRE(fwrite(t->weights.device.grads, sizeof(float), (size_t)t->table.total, file) == (size_t)t->table.total);
        REQUIRE(fclose(file) == 0);
    }
}

static void take(struct record *record, const struct step_result *done)
{
    if (done->step)
        record->loss[done->step - 1] = done->loss_sum / done->weight_sum;
}

static void train(struct trainer *t, int steps, const char *out, struct record *record)
{
    struct step_result done;
    for (int step = 0; step < steps; step++) {
        REQUIRE_OK(step_run(t, &done));
        take(record, &done);
        if (step == 0)
            write_gradients(t, out);
    }
    REQUIRE_OK(step_drain(t, &done));
    take(record, &done);
    REQUIRE_OK(weights_download(&t->weights));
    record->weights_crc = crc32c(0, t->weights.host[WEIGHTS_PARAMS], (size_t)t->table.total * sizeof(float));
}

static void write_record(const struct record *record, const char *out)
{
    FILE *file = fopen(out, "w");
    REQUIRE(file);
    fprintf(file, "rows %lld hash %016" PRIx64 " weights %08" PRIx32 " values %" PRId64 " steps %d\n", record->rows, record->hash,
            record->weights_crc, record->values, record->steps);
    for (int i = 0; i < record->steps; i++)
        fprintf(file, "%.17g\n", record->loss[i]);
    REQUIRE(fclose(file) == 0);
}

static int run(int argc, char **argv)
{
    static struct run_config config;
    static struct record record;
    struct trainer *t = NULL;
    record.steps = atoi(argv[3]);
    REQUIRE(record.steps > 0 && record.steps <= STEPS_MAX);
    REQUIRE_OK(world_open(COMM_AUTO, &world));
    REQUIRE_OK(run_config_load(argv[4], (const char *const *)argv + 5, argc - 5, &config));
    const struct trainer_desc desc = {.config = &config, .quiet = true};
    REQUIRE_OK(trainer_open(&desc, world, &t));
    record.values = t->table.total;
    hash_input(t, record.steps, &record);
    train(t, record.steps, argv[2], &record);
    /* Replicas must not drift apart: every rank has the same bits. */
    int64_t crc[2] = {record.weights_crc, record.weights_crc};
    REQUIRE_OK(world->all_reduce(world, &crc[0], 1, DTYPE_I64, REDUCE_MAX));
    REQUIRE_OK(world->all_reduce(world, &crc[1], 1, DTYPE_I64, REDUCE_MIN));
    REQUIRE(crc[0] == crc[1]);
    if (world->rank == 0)
        write_record(&record, argv[2]);
    trainer_close(&t);
    world_close(&world);
    return 0;
}

static bool read_record(const char *path, struct record *record)
{
    FILE *file = fopen(path, "r");
    bool good = file && fscanf(file, "rows %lld hash %" SCNx64 " weights %" SCNx32 " values %" SCNd64 " steps %d", &record->rows,
                               &record->hash, &record->weights_crc, &record->values, &record->steps) == 5;
    for (int i = 0; good && i < record->steps; i++)
        good = fscanf(file, "%lf", &record->loss[i]) == 1;
    if (file)
        fclose(file);
    if (!good)
        fprintf(stderr, "%s: not a record\n", path);
    return good;
}

static float *read_gradients(const char *path, int64_t count)
{
    char name[4096];
    snprintf(name, sizeof name, "%s.grad", path);
    float *values = malloc((size_t)count * sizeof *values);
    FILE *file = fopen(name, "rb");
    if (!file || !values || fread(values, sizeof *values, (size_t)count, file) != (size_t)count) {
        perror(name);
        exit(2);
    }
    fclose(file);
    return values;
}

static int compare(char **argv)
{
    static struct record a, b;
    if (!read_record(argv[2], &a) || !read_record(argv[3], &b))
        return 2;
    if (a.values != b.values || a.steps != b.steps)
        return fprintf(stderr, "records of different runs\n"), 2;
    float *ga = read_gradients(argv[2], a.values), *gb = read_gradients(argv[3], a.values);
    double norm = 0, difference = 0, worst = 0;
    for (int64_t i = 0; i < a.values; i++) {
        norm += (double)ga[i] * ga[i];
        difference += ((double)ga[i] - gb[i]) * ((double)ga[i] - gb[i]);
    }
    free(ga);
    free(gb);
    double gradient = norm > 0 ? sqrt(difference / norm) : INFINITY;
    for (int i = 0; i < a.steps; i++)
        worst = fmax(worst, fabs(a.loss[i] - b.loss[i]) / fabs(a.loss[i]));
    bool moves = fabs(a.loss[a.steps - 1] - a.loss[0]) > 1e-4;
    printf("rows %lld %lld, hash %016" PRIx64 " %016" PRIx64 ", gradient %.2e, loss %.2e, weights %s\n", a.rows, b.rows, a.hash,
           b.hash, gradient, worst, a.weights_crc == b.weights_crc ? "equal" : "differ");
    return !(a.rows == b.rows && a.hash == b.hash && gradient <= atof(argv[4]) && worst <= atof(argv[5]) && moves);
}

int main(int argc, char **argv)
{
    if (argc >= 5 && strcmp(argv[1], "run") == 0)
        return run(argc, argv);
    if (argc == 6 && strcmp(argv[1], "compare") == 0)
        return compare(argv);
    fprintf(stderr, "usage: train_probe run OUT STEPS CONFIG [key=value ...] | compare A B GRADIENT_LIMIT LOSS_LIMIT\n");
    return 2;
}
