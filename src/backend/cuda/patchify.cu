/* u8 [B,H,W,C] -> normalised patches [B*n, C*P*P]. A thread takes 8 pixels of a line (1 where 8 does not divide the
 * patch), reads their channels together, and writes each channel's run. Moves one byte and one T an element; bound by
 * memory. Mixing is a kernel of its own beside the plain one: a thread whose pixels are mixed reads the partner's 8 too
 * (a row is then read twice, the second time mostly from L2), one whose pixels are all erased reads none. */
#include "backend/cuda/op.cuh"
#include "backend/cuda/philox.cuh"

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

/* patchify_mix on its way to the kernel; boxes as (x0, y0, x1, y1). */
struct mix_args {
    const int32_t *partner;
    const float *lambda;
    const int4 *cutmix, *erase;
    bool noise; /* fills the erase boxes; else zero */
    uint64_t seed;
    uint32_t purpose;
    const uint64_t *position;
};

/* Where a thread's pixels are, and where its values of channel 0 go. */
struct run {
    uint32_t image, y, x;
    uint64_t pixel; /* of the batch */
    uint64_t to;
};

template <int N, int C> __device__ inline bool run_of(const patchify_args &a, run &r)
{
    uint32_t runs = a.width / N; /* of a line */
    uint32_t i = blockIdx.x * THREADS + threadIdx.x;
    if (i >= a.batch * a.height * runs)
        return false;
    uint32_t line = i / runs;
    r.x = i % runs * N;
    r.y = line % a.height;
    r.image = line / a.height;
    r.pixel = (uint64_t)line * a.width + r.x;
    uint32_t down = a.height / a.patch, across = a.width / a.patch;
    uint64_t number = ((uint64_t)r.image * down + r.y / a.patch) * across + r.x / a.patch;
    r.to = (number * C * a.patch + r.y % a.patch) * a.patch + r.x % a.patch;
    return true;
}

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
    run r;
    if (!run_of<N, C>(a, r))
        return;
    uint8_t pixel[N * C];
    load_pixels<N, C>(a.images + r.pixel * C, a.words, pixel);
#pragma unroll
    for (int c = 0; c < C; c++) {
        float value[N];
#pragma unroll
        for (int j = 0; j < N; j++)
            value[j] = fmaf((float)pixel[j * C + c], a.scale[c], a.offset[c]);
        store_n<N>(patches + r.to + (uint64_t)c * a.patch * a.patch, value);
    }
}

/* Normalised values of N pixels of row `image` at the run's place, in the order of their bytes. */
template <int N, int C>
__device__ inline void load_values(const patchify_args &a, const run &r, uint32_t image, float value[N * C])
{
    uint8_t pixel[N * C];
    uint64_t at = ((uint64_t)image * a.height + r.y) * a.width + r.x;
    load_pixels<N, C>(a.images + at * C, a.words, pixel);
#pragma unroll
    for (int k = 0; k < N * C; k++)
        value[k] = fmaf((float)pixel[k], a.scale[k % C], a.offset[k % C]);
}

/* Which of N pixels from (x, y) on lie in the box: bit j is pixel x + j. */
template <int N> __device__ inline uint32_t box_bits(int4 box, uint32_t x, uint32_t y)
{
    uint32_t bits = 0;
    if ((int)y < box.y || (int)y >= box.w)
        return 0;
#pragma unroll
    for (int j = 0; j < N; j++)
        if ((int)x + j >= box.x && (int)x + j < box.z)
            bits |= 1u << j;
    return bits;
}

/* Mixup or CutMix of a run's values with those of the partner. */
template <int N, int C>
__device__ inline void mix_values(const patchify_args &a, const mix_args &m, const run &r, float value[N * C])
{
    int32_t partner = m.partner[r.image];
    if ((uint32_t)partner >= a.batch)
        device_trap();
    if ((uint32_t)partner == r.image)
        return;
    int4 box = m.cutmix ? m.cutmix[r.image] : make_int4(0, 0, 0, 0);
    bool cut = box.x < box.z && box.y < box.w;
    float lambda = cut || !m.lambda ? 1.0f : m.lambda[r.image];
    uint32_t inside = cut ? box_bits<N>(box, r.x, r.y) : 0;
    if (lambda == 1 && inside == 0)
        return;
    float other[N * C];
    load_values<N, C>(a, r, (uint32_t)partner, other);
#pragma unroll
    for (int k = 0; k < N * C; k++)
        if (!cut)
            value[k] = fmaf(lambda, value[k], (1 - lambda) * other[k]);
        else if (inside >> k / C & 1)
            value[k] = other[k];
}

/* sqrt 2 erfinv(x), x = 2 (k + 1/2) / 2^24 - 1 exactly, k the word's upper 24 bits; two polynomials in ln(1 - x^2)
 * (Giles, "Approximating the erfinv function", GPU Computing Gems 2, 2011). */
__device__ inline float normal_of(uint32_t word)
{
    float x = (float)((int32_t)(word >> 7 | 1u) - (1 << 24)) * 0x1p-24f, size = fabsf(x);
    float w = -logf((1 - size) * (1 + size)), p;
    if (w < 5) {
        w -= 2.5f;
        p = fmaf(2.81022636e-08f, w, 3.43273939e-07f);
        p = fmaf(p, w, -3.5233877e-06f);
        p = fmaf(p, w, -4.39150654e-06f);
        p = fmaf(p, w, 0.00021858087f);
        p = fmaf(p, w, -0.00125372503f);
        p = fmaf(p, w, -0.00417768164f);
        p = fmaf(p, w, 0.246640727f);
        p = fmaf(p, w, 1.50140941f);
    } else {
        w = sqrtf(w) - 3;
        p = fmaf(-0.000200214257f, w, 0.000100950558f);
        p = fmaf(p, w, 0.00134934322f);
        p = fmaf(p, w, -0.00367342844f);
        p = fmaf(p, w, 0.00573950773f);
        p = fmaf(p, w, -0.0076224613f);
        p = fmaf(p, w, 0.00943887047f);
        p = fmaf(p, w, 1.00167406f);
        p = fmaf(p, w, 2.83297682f);
    }
    return p * x * 1.41421356f;
}

/* The fill where `erased` has bits. A run's draws are N * C in a row; with N = 8 they begin at a multiple of 4. */
template <int N, int C>
__device__ inline void erase_values(const patchify_args &a, const mix_args &m, const run &r, uint32_t erased,
                                    float value[N * C])
{
    constexpr int GROUP = N == VECTOR ? 4 : 1;
    uint64_t position = m.noise ? m.position[r.image] : 0;
    uint32_t first = (r.y * a.width + r.x) * C;
#pragma unroll
    for (int k = 0; k < N * C; k += GROUP) {
        uint32_t word[4] = {};
        if (m.noise)
            philox_draw4(m.seed, m.purpose, position, (first + (uint32_t)k) / 4, word);
#pragma unroll
        for (int j = 0; j < GROUP; j++) {
            uint32_t own = word[j];
            if constexpr (GROUP == 1) { /* no indexing: stays in registers */
                uint32_t e = first + (uint32_t)k, low = e & 1 ? word[1] : word[0], high = e & 1 ? word[3] : word[2];
                own = e & 2 ? high : low;
            }
            if (erased >> (k + j) / C & 1)
                value[k + j] = m.noise ? normal_of(own) : 0.0f;
        }
    }
}

template <int N, int C, typename T>
__global__ void __launch_bounds__(THREADS) patchify_mix_kernel(patchify_args a, mix_args m, T *patches)
{
    constexpr uint32_t ALL = (1u << N) - 1;
    run r;
    if (!run_of<N, C>(a, r))
        return;
    float value[N * C] = {};
    uint32_t erased = m.erase ? box_bits<N>(m.erase[r.image], r.x, r.y) : 0;
    if (erased != ALL) {
        load_values<N, C>(a, r, r.image, value);
        if (m.partner)
            mix_values<N, C>(a, m, r, value);
    }
    if (erased)
        erase_values<N, C>(a, m, r, erased, value);
#pragma unroll
    for (int c = 0; c < C; c++) {
        float run_value[N];
#pragma unroll
        for (int j = 0; j < N; j++)
            run_value[j] = value[j * C + c];
        store_n<N>(patches + r.to + (uint64_t)c * a.patch * a.patch, run_value);
    }
}

template <int N, typename T> static void (*kernel_of(int64_t channels))(patchify_args, T *)
{
    return channels == 1   ? patchify_kernel<N, 1, T>
           : channels == 2 ? patchify_kernel<N, 2, T>
           : channels == 3 ? patchify_kernel<N, 3, T>
                           : patchify_kernel<N, 4, T>;
}

template <int N, typename T> static void (*mix_kernel_of(int64_t channels))(patchify_args, mix_args, T *)
{
    return channels == 1   ? patchify_mix_kernel<N, 1, T>
           : channels == 2 ? patchify_mix_kernel<N, 2, T>
           : channels == 3 ? patchify_mix_kernel<N, 3, T>
                           : patchify_mix_kernel<N, 4, T>;
}

static patchify_args args_of(const struct patchify_desc *d, const uint8_t *images)
{
    patchify_args a = {
        images, (uint32_t)d->batch, (uint32_t)d->height, (uint32_t)d->width, (uint32_t)d->patch, false, {}, {}};
    a.words = ((uintptr_t)images | (uint64_t)(d->width * d->channels)) % 8 == 0;
    for (int64_t c = 0; c < d->channels; c++) {
        a.scale[c] = (float)(1 / (255 * (double)d->std[c]));
        a.offset[c] = (float)(-(double)d->mean[c] / (double)d->std[c]);
    }
    return a;
}

static mix_args mix_of(const struct patchify_desc *d, const struct patchify_mix *mix, const struct op_random *random)
{
    mix_args m = {};
    m.partner = mix->lambda || mix->cutmix ? mix->partner : NULL;
    m.lambda = mix->lambda;
    m.cutmix = (const int4 *)mix->cutmix;
    m.erase = (const int4 *)mix->erase;
    m.noise = mix->erase && d->erase == ERASE_NOISE;
    if (m.noise) {
        m.seed = random->seed;
        m.purpose = d->erase_purpose;
        m.position = random->position;
    }
    return m;
}

static int pixels_per_thread(const struct patchify_desc *d)
{
    return d->patch % VECTOR == 0 ? VECTOR : 1;
}

static void patchify_forward(struct op_plan *plan, const uint8_t *images, const struct patchify_mix *mix, void *patches,
                             const struct op_random *random)
{
    const struct patchify_desc *d = &((struct patchify_plan *)plan)->desc;
    VT_CHECK(!mix || patchify_mix_ok(d, mix, random));
    bool mixed = mix && (mix->lambda || mix->cutmix || mix->erase);
    patchify_args a = args_of(d, images);
    int per_thread = pixels_per_thread(d);
    dim3 grid((unsigned)divide_up(d->batch * d->height * (d->width / per_thread), THREADS));
    with_type(d->dtype, [&](auto zero) {
        using T = decltype(zero);
        auto plain = per_thread == VECTOR ? kernel_of<VECTOR, T>(d->channels) : kernel_of<1, T>(d->channels);
        auto mixing = per_thread == VECTOR ? mix_kernel_of<VECTOR, T>(d->channels) : mix_kernel_of<1, T>(d->channels);
        if (mixed)
            launch(plan->backend, "patchify", mixing, grid, dim3(THREADS), 0, a, mix_of(d, mix, random), patches);
        else
            launch(plan->backend, "patchify", plain, grid, dim3(THREADS), 0, a, patches);
    });
}

static vt_status plan_patchify(struct backend *be, const struct patchify_desc *desc, struct op_plan **plan)
{
    VT_CHECK(desc->batch > 0 && desc->patch > 0 && desc->height > 0 && desc->width > 0);
    VT_CHECK(desc->height % desc->patch == 0 && desc->width % desc->patch == 0);
    VT_CHECK(desc->channels >= 1 && desc->channels <= MAX_CHANNELS);
    VT_CHECK(desc->erase != ERASE_NOISE || desc->height * desc->width * desc->channels <= UINT32_MAX);
    for (int64_t c = 0; c < desc->channels; c++)
        VT_CHECKF(desc->std[c] > 0, "patchify: std of channel %d is not positive", (int)c);
    VT_TRY(cuda_check_dtype("patchify", desc->dtype));
    VT_TRY(check_threads("patchify", desc->batch * desc->height * desc->width, pixels_per_thread(desc)));
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
