/* u8 [B,H,W,C] -> normalised patches [B*n, C*P*P]. A thread takes 8 pixels of a line (1 where 8 does not divide the
 * patch), reads their channels together, and writes each channel's run. Moves one byte and one T an element; bound by
 * memory. */
#include "backend/cuda/op.cuh"

enum { THREADS = 256, MAX_CHANNELS = 4 };

struct patchify_plan {
    struct op_plan plan;
    struct patchify_desc desc;
};

struct patchify_args {
    const uint8_t *images;
    uint32_t batch, height, width, patch;            /* pixels */
    bool words;                                      /* runs of 8 pixels begin at multiples of 8 bytes */
    float scale[MAX_CHANNELS], offset[MAX_CHANNELS]; /* value = u8 * scale + offset */
};

/* The bytes of N pixels. */
template <int N, int C> __device__ inline void load_pixels(const uint8_t *from, bool words, uint8_t *pixel)
{
    if constexpr (N == VECTOR)
        if (words) {
#pragma unroll
            for (int k = 0; k < C; k++) {
                uint2 word = ((const uint2 *)from)[k];
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    pixel[k * 8 + j] = (uint8_t)(word.x >> 8 * j);
                    pixel[k * 8 + 4 + j] = (uint8_t)(word.y >> 8 * j);
                }
            }
            return;
        }
#pragma unroll
    for (int j = 0; j < N * C; j++)
        pixel[j] = from[j];
}

template <int N, int C, typename T>
__global__ void __launch_bounds__(THREADS) patchify_kernel(patchify_args a, T *patches)
{
    uint32_t runs = a.width / N; /* of a line */
    uint64_t i = (uint64_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= (uint64_t)a.batch * a.height * runs)
        return;
    uint32_t line = (uint32_t)(i / runs), x = (uint32_t)(i % runs) * N, y = line % a.height, image = line / a.height;
    uint8_t pixel[N * C];
    load_pixels<N, C>(a.images + ((uint64_t)line * a.width + x) * C, a.words, pixel);
    uint32_t down = a.height / a.patch, across = a.width / a.patch;
    uint64_t number = ((uint64_t)image * down + y / a.patch) * across + x / a.patch;
    T *to = patches + (number * C * a.patch + y % a.patch) * a.patch + x % a.patch;
#pragma unroll
    for (int c = 0; c < C; c++) {
        float value[N];
#pragma unroll
        for (int j = 0; j < N; j++)
            value[j] = fmaf((float)pixel[j * C + c], a.scale[c], a.offset[c]);
        store_n<N>(to + (uint64_t)c * a.patch * a.patch, value);
    }
}

template <int N, typename T> static void (*kernel_of(int64_t channels))(patchify_args, T *)
{
    return channels == 1   ? patchify_kernel<N, 1, T>
           : channels == 2 ? patchify_kernel<N, 2, T>
           : channels == 3 ? patchify_kernel<N, 3, T>
                           : patchify_kernel<N, 4, T>;
}

static void patchify_forward(struct op_plan *plan, const uint8_t *images, void *patches)
{
    const struct patchify_desc *d = &((struct patchify_plan *)plan)->desc;
    patchify_args a = {
        images, (uint32_t)d->batch, (uint32_t)d->height, (uint32_t)d->width, (uint32_t)d->patch, false, {}, {}};
    a.words = ((uintptr_t)images | (uint64_t)(d->width * d->channels)) % 8 == 0;
    for (int64_t c = 0; c < d->channels; c++) {
        a.scale[c] = (float)(1 / (255 * (double)d->std[c]));
        a.offset[c] = (float)(-(double)d->mean[c] / (double)d->std[c]);
    }
    int per_thread = d->patch % VECTOR == 0 ? VECTOR : 1;
    dim3 grid((unsigned)divide_up(d->batch * d->height * (d->width / per_thread), THREADS));
    with_type(d->dtype, [&](auto zero) {
        using T = decltype(zero);
        auto kernel = per_thread == VECTOR ? kernel_of<VECTOR, T>(d->channels) : kernel_of<1, T>(d->channels);
        launch(plan->backend, "patchify", kernel, grid, dim3(THREADS), 0, a, patches);
    });
}

static vt_status plan_patchify(struct backend *be, const struct patchify_desc *desc, struct op_plan **plan)
{
    VT_CHECK(desc->batch > 0 && desc->patch > 0 && desc->height > 0 && desc->width > 0);
    VT_CHECK(desc->height % desc->patch == 0 && desc->width % desc->patch == 0);
    VT_CHECK(desc->channels >= 1 && desc->channels <= MAX_CHANNELS);
    for (int64_t c = 0; c < desc->channels; c++)
        VT_CHECKF(desc->std[c] > 0, "patchify: std of channel %d is not positive", (int)c);
    VT_TRY(cuda_check_dtype("patchify", desc->dtype));
    VT_TRY(check_elements("patchify", desc->batch * desc->height * desc->width));
    struct patchify_plan *made;
    VT_TRY(cuda_plan_new(be, "runs", sizeof *made, 0, (void **)&made));
    made->desc = *desc;
    *plan = &made->plan;
    return VT_OK;
}

void cuda_patchify_install(struct backend *be)
{
    be->nn.patchify_plan = plan_patchify;
    be->nn.patchify_forward = patchify_forward;
}
