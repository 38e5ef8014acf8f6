#include "train/memory_fit.h"

#include <stdio.h>

const char *recompute_name(enum vit_recompute recompute)
{
    static const char *const names[] = {
        [RECOMPUTE_NONE] = "none", [RECOMPUTE_LIGHT] = "light", [RECOMPUTE_BLOCK] = "block"};
    return names[recompute];
}

size_t memory_fit_bytes(const struct memory_fit *fit, int rows, enum vit_recompute recompute)
{
    struct vit_desc replica = fit->train;
    struct batch_shape shape = fit->shape;
    size_t device, host;
    replica.batch = shape.rows = rows;
    replica.recompute = recompute;
    size_t bytes = fit->fixed + vit_activation_bytes(&replica);
    replica.training = false;
    if (fit->evaluation)
        bytes += vit_activation_bytes(&replica);
    batch_ring_memory(&shape, &device, &host);
    return bytes + (size_t)fit->rings * (device + (fit->shared ? host : 0));
}

int memory_fit_rows(const struct memory_fit *fit, enum vit_recompute recompute, size_t limit, int most)
{
    int fits = 0, above = most / 2 + 1; /* pairs: `fits` do, `above` do not or are too many */
    while (above - fits > 1) {
        int middle = fits + (above - fits) / 2;
        if (memory_fit_bytes(fit, 2 * middle, recompute) <= limit)
            fits = middle;
        else
            above = middle;
    }
    return 2 * fits;
}

/* The first level above the chosen one that fits as it is, else BLOCK when it allows more rows than `rows`. */
static void advise_recompute(const struct memory_fit *fit, size_t limit, int rows, char *text, size_t bytes)
{
    const int chosen = (int)fit->train.batch;
    text[0] = '\0';
    for (int level = (int)fit->train.recompute + 1; level <= (int)RECOMPUTE_BLOCK; level++)
        if (memory_fit_bytes(fit, chosen, (enum vit_recompute)level) <= limit) {
            snprintf(text, bytes, "compute.recompute=%s", recompute_name((enum vit_recompute)level));
            return;
        }
    int more = fit->train.recompute < RECOMPUTE_BLOCK ? memory_fit_rows(fit, RECOMPUTE_BLOCK, limit, chosen) : 0;
    if (more > rows)
        snprintf(text, bytes, "compute.recompute=block with compute.micro_batch=%d", more);
}

void memory_fit_advice(const struct memory_fit *fit, size_t limit, char *text, size_t bytes)
{
    char level[96];
    int rows = memory_fit_rows(fit, fit->train.recompute, limit, (int)fit->train.batch);
    advise_recompute(fit, limit, rows, level, sizeof level);
    if (rows && level[0])
        snprintf(text, bytes, "%s would fit, or compute.micro_batch=%d", level, rows);
    else if (rows)
        snprintf(text, bytes, "compute.micro_batch=%d would fit", rows);
    else if (level[0])
        snprintf(text, bytes, "%s would fit", level);
    else
        snprintf(text, bytes, "no microbatch fits at any compute.recompute: expected a smaller model");
}
