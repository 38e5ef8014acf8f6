/* The machine itself: what runs as on a GPU, and that each broken rule is found. */
#include "simt.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "backend/cuda/philox.cuh"
#include "backend/cuda/reduce.cuh"

extern "C" {
#include "base/philox.h"
}
#include "test.h" /* last: CUnit is C */

using simt::launch;

/* The error a launch ends with, "" if none. */
template <typename Kernel> static std::string error_of(dim3 grid, dim3 block, Kernel kernel)
{
    try {
        launch("test", grid, block, 64, kernel);
    } catch (const std::runtime_error &error) {
        return error.what();
    }
    return "";
}

static bool contains(const std::string &text, const char *part)
{
    if (text.find(part) != std::string::npos)
        return true;
    fprintf(stderr, "\"%s\", expected \"%s\" in it\n", text.c_str(), part);
    return false;
}

static void test_grid()
{
    std::vector<int> seen(2 * 3 * 2 * 5 * 2 * 2);
    launch("grid", dim3(2, 3, 2), dim3(5, 2, 2), 0, [&] {
        unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
        unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
        atomicAdd(&seen[block * 20 + thread], 1);
    });
    for (int count : seen)
        CU_ASSERT_EQUAL(count, 1);
}

static void test_shuffles()
{
    int out[4][64];
    launch("shuffles", dim3(1), dim3(64), 0, [&] {
        unsigned i = threadIdx.x;
        int value = (int)i * 10;
        out[0][i] = __shfl_xor_sync(0xffffffffu, value, 3);
        out[1][i] = __shfl_down_sync(0xffffffffu, value, 2, 8);
        out[2][i] = __shfl_up_sync(0xffffffffu, value, 1, 16);
        out[3][i] = __shfl_sync(0xffffffffu, value, 5, 8);
    });
    for (int i = 0; i < 64; i++) {
        CU_ASSERT_EQUAL(out[0][i], (i ^ 3) * 10);
        CU_ASSERT_EQUAL(out[1][i], (i % 8 < 6 ? i + 2 : i) * 10);
        CU_ASSERT_EQUAL(out[2][i], (i % 16 >= 1 ? i - 1 : i) * 10);
        CU_ASSERT_EQUAL(out[3][i], (i / 8 * 8 + 5) * 10);
    }
}

static void test_masks()
{
    unsigned ballot[64];
    launch("masks", dim3(1), dim3(64), 0, [&] { /* the halves of a warp go their own ways */
                                                unsigned i = threadIdx.x, mask = i % 32 < 16 ? 0xffffu : 0xffff0000u;
                                                if (i % 32 < 16)
                                                    ballot[i] = __ballot_sync(mask, i % 2);
                                                else
                                                    ballot[i] =
                                                        __all_sync(mask, 1) ? __ballot_sync(mask, i % 4 == 0) : 0;
    });
    for (int i = 0; i < 64; i++)
        CU_ASSERT_EQUAL(ballot[i], i % 32 < 16 ? 0xaaaau : 0x11110000u);
}

static void test_sums()
{
    double block[96];
    float warp[96];
    launch("sums", dim3(1), dim3(96), 0, [&] {
        SHARED_ARRAY(double, scratch, 3);
        warp[threadIdx.x] = warp_sum((float)threadIdx.x);
        block[threadIdx.x] = block_sum((double)threadIdx.x, scratch) + block_sum(1.0, scratch);
    });
    for (int i = 0; i < 96; i++) {
        CU_ASSERT_EQUAL(block[i], 96 * 95 / 2 + 96);
        CU_ASSERT_EQUAL(warp[i], (float)(i / 32 * 32 * 32 + 31 * 16));
    }
}

static void test_shared_memory()
{
    int poisoned = 0, dynamic_poisoned = 0;
    launch("shared", dim3(3), dim3(32), 128, [&] { /* each block finds what no block wrote */
                                                   SHARED_ARRAY(uint32_t, words, 32);
                                                   SHARED_DYNAMIC(uint32_t, dynamic);
                                                   poisoned += words[threadIdx.x] == 0xffffffffu;
                                                   dynamic_poisoned += dynamic[threadIdx.x] == 0xffffffffu;
                                                   words[threadIdx.x] = dynamic[threadIdx.x] = 0;
    });
    CU_ASSERT_EQUAL(poisoned, 96);
    CU_ASSERT_EQUAL(dynamic_poisoned, 96);
}

/* Outside of a macro's arguments, whose lines are one. */
static void two_barriers()
{
    if (threadIdx.x < 32)
        __syncthreads();
    else
        __syncthreads();
}

static void one_left_out()
{
    if (threadIdx.x < 32)
        __syncthreads();
}

static void one_leaves()
{
    if (threadIdx.x == 7)
        return;
    __syncwarp();
}

static void barrier_meets_warp()
{
    if (threadIdx.x == 7)
        __syncthreads();
    else
        __syncwarp();
}

static void shuffle_meets_vote()
{
    if (threadIdx.x % 2)
        (void)__shfl_xor_sync(0xffffffffu, 1, 1);
    else
        (void)__ballot_sync(0xffffffffu, 1);
}

static void test_divergence()
{
    simt::catch_errors(true);
    CU_ASSERT(contains(error_of(dim3(1), dim3(64), one_left_out), "waits for ever in __syncthreads"));
    CU_ASSERT(contains(error_of(dim3(1), dim3(64), two_barriers), "divergent barrier"));
    CU_ASSERT(contains(error_of(dim3(1), dim3(32), one_leaves), "names lane 7, which has left"));
    CU_ASSERT(contains(error_of(dim3(1), dim3(32), barrier_meets_warp), "waits for ever in __syncwarp"));
    CU_ASSERT(contains(error_of(dim3(1), dim3(32), shuffle_meets_vote), "divergent warp"));
    CU_ASSERT(contains(error_of(dim3(1), dim3(20), [] { __syncwarp(); }), "which this warp has not"));
    simt::catch_errors(false);
}

static void test_misuse()
{
    simt::catch_errors(true);
    CU_ASSERT(contains(error_of(dim3(1), dim3(32), [] { (void)__shfl_sync(0xffffu << threadIdx.x / 16 * 16, 1, 20); }),
                       "which is not in the mask"));
    CU_ASSERT(contains(error_of(dim3(1), dim3(32), [] { __syncwarp(1); }), "leaves out the calling lane"));
    CU_ASSERT(contains(error_of(dim3(1), dim3(2048), [] {}), "blocks of (2048,1,1) threads"));
    CU_ASSERT(contains(error_of(dim3(1, 70000), dim3(1), [] {}), "grid of (1,70000,1)"));
    CU_ASSERT(contains(error_of(dim3(1), dim3(1),
                                [] {
                                    SHARED_ARRAY(char, much, 49 * 1024);
                                    (void)much;
                                }),
                       "shared memory"));
    CU_ASSERT(contains(error_of(dim3(1), dim3(1), [] { device_trap(); }), "device_trap"));
    CU_ASSERT_EQUAL(error_of(dim3(1), dim3(32), [] { __syncthreads(); }), ""); /* and the machine still works */
    simt::catch_errors(false);
}

/* A sum over threads without a barrier: right in one order of turns only. The times of 16 that it is wrong. */
static int times_wrong(enum simt::order order)
{
    int wrong = 0;
    simt::set_order(order);
    for (int i = 0; i < 16; i++)
        launch("order", dim3(1), dim3(64), 0, [&] {
            SHARED_ARRAY(int, value, 64);
            value[threadIdx.x] = 1;
            if (threadIdx.x == 63) {
                int sum = 0;
                for (int j = 0; j < 64; j++)
                    sum += value[j];
                wrong += sum != 64;
            }
        });
    simt::set_order(simt::FORWARD);
    return wrong;
}

static void test_orders()
{
    CU_ASSERT_EQUAL(times_wrong(simt::FORWARD), 0);
    CU_ASSERT_EQUAL(times_wrong(simt::REVERSE), 16);
    CU_ASSERT(times_wrong(simt::RANDOM) > 8);
}

/* Does the kernel die of the address sanitizer? */
template <typename Kernel> static bool dies(Kernel kernel)
{
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        int null = open("/dev/null", O_WRONLY);
        dup2(null, 2);
        launch("dies", dim3(1), dim3(32), 64, kernel);
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

static void test_bounds()
{
    float *buffer;
    float sum = 0;
    CU_ASSERT_FATAL(posix_memalign((void **)&buffer, 256, 31 * sizeof *buffer) == 0);
    memset(buffer, 0, 31 * sizeof *buffer);
    CU_ASSERT(!dies([&] { sum += threadIdx.x < 31 ? buffer[threadIdx.x] : 0; }));
    CU_ASSERT(dies([&] { sum += buffer[threadIdx.x]; }));
    CU_ASSERT(dies([&] { buffer[(int)threadIdx.x - 1] = 0; }));
    CU_ASSERT(dies([&] {
        SHARED_ARRAY(float, shared, 31);
        shared[threadIdx.x] = 0;
    }));
    CU_ASSERT(dies([&] {
        SHARED_DYNAMIC(float, shared);
        shared[threadIdx.x] = 0; /* 64 bytes were asked for */
    }));
    CU_ASSERT(dies([&] { /* misaligned */
                         float value[8];
                         load8(buffer + 1, value);
                         sum += value[0];
    }));
    free(buffer);
}

/* ---- the PTX stand-ins ---- */

static void test_bf16()
{
    static const float values[] = {0.0f, -0.0f, 1.0f, 0x1.01p0f, 0x1.03p0f, -0x1.03p0f, INFINITY, 0x1p-133f};
    for (float v : values) {
        uint32_t word = pack_bf16x2(v, -v);
        CU_ASSERT_EQUAL(word & 0xffffu, bf16_from_float(v));
        CU_ASSERT_EQUAL(word >> 16, bf16_from_float(-v));
        CU_ASSERT_EQUAL(to_float(from_float<bf16>(v)), bf16_to_float(bf16_from_float(v)));
    }
}

/* a b + d through ldmatrix and mma against plain loops, on small integers: exact. */
static void test_mma()
{
    alignas(16) static uint16_t a[16][16], b[16][8], b_transposed[8][16];
    static float d[16][8], expected[16][8];
    for (int i = 0; i < 16; i++)
        for (int k = 0; k < 16; k++)
            a[i][k] = bf16_from_float((float)((i * 7 + k * 3) % 11 - 5));
    for (int k = 0; k < 16; k++)
        for (int j = 0; j < 8; j++)
            b[k][j] = b_transposed[j][k] = bf16_from_float((float)((k * 5 + j * 2) % 7 - 3));
    for (int i = 0; i < 16; i++)
        for (int j = 0; j < 8; j++) {
            expected[i][j] = (float)(i - j);
            for (int k = 0; k < 16; k++)
                expected[i][j] += bf16_to_float(a[i][k]) * bf16_to_float(b[k][j]);
        }
    for (int way = 0; way < 2; way++) {
        launch("mma", dim3(1), dim3(32), 0, [&] {
            int lane = (int)threadIdx.x, g = lane / 4, t = lane % 4;
            uint32_t fragment_a[4], fragment_b[2], direct[2];
            float own[4] = {(float)(g - 2 * t), (float)(g - 2 * t - 1), (float)(g + 8 - 2 * t),
                            (float)(g + 8 - 2 * t - 1)};
            ldmatrix_x4(fragment_a, &a[lane % 16][lane / 16 * 8]);
            if (way == 0)
                ldmatrix_x2(fragment_b, &b_transposed[lane % 8][lane / 8 % 2 * 8]);
            else
                ldmatrix_x2_trans(fragment_b, &b[lane % 16][0]);
            for (int r = 0; r < 2; r++) /* the manual's layout, straight from memory */
                direct[r] = (uint32_t)b[2 * t + 8 * r][g] | (uint32_t)b[2 * t + 8 * r + 1][g] << 16;
            if (direct[0] != fragment_b[0] || direct[1] != fragment_b[1])
                simt::error("the fragment of b is wrong");
            mma_m16n8k16_bf16(own, fragment_a, fragment_b);
            for (int r = 0; r < 4; r++)
                d[g + 8 * (r / 2)][2 * t + r % 2] = own[r];
        });
        CU_ASSERT(memcmp(d, expected, sizeof d) == 0);
    }
}

static void test_copies()
{
    alignas(16) static float from[64];
    float early = 0, first = 0, second = 0, zeroed = 1;
    for (int i = 0; i < 64; i++)
        from[i] = (float)i;
    launch("copies", dim3(1), dim3(1), 0, [&] {
        SHARED_ARRAY(float, to, 64);
        cp_async_16(to, from + 4);
        cp_async_commit();
        cp_async_16(to + 4, from + 8);
        cp_async_16_or_zero(to + 8, from, false);
        cp_async_commit();
        early = to[0];
        cp_async_wait<1>();
        first = to[0];
        second = to[4];
        cp_async_wait<0>();
        second = second != second ? to[4] : -1; /* NaN, the poison, before its wait */
        zeroed = to[8];
    });
    CU_ASSERT(early != early);
    CU_ASSERT_EQUAL(first, 4);
    CU_ASSERT_EQUAL(second, 8);
    CU_ASSERT_EQUAL(zeroed, 0);
    simt::catch_errors(true);
    CU_ASSERT(contains(error_of(dim3(1), dim3(1),
                                [] {
                                    SHARED_ARRAY(float, to, 64);
                                    cp_async_16(to, from);
                                }),
                       "never waited for"));
    simt::catch_errors(false);
}

/* The device's Philox against base/philox, to the bit. */
static void test_philox()
{
    const uint64_t seeds[] = {0, 78, 0xfedcba9876543210u}, positions[] = {0, 5000000017u, 0xffffffffffffffffu};
    for (uint64_t seed : seeds)
        for (uint64_t position : positions)
            for (uint32_t e = 0; e < 4096; e = e * 3 + 4) {
                uint32_t ours[4], theirs[4];
                philox_draw4(seed, 530, position, e / 4, ours);
                draw4(seed, 530, position, e / 4, theirs);
                CU_ASSERT(memcmp(ours, theirs, sizeof ours) == 0);
                dropout_args d = {seed, NULL, 530, 0.3f, 1 / 0.7f};
                float keep[8], one;
                draw_keep<8>(d, position, e / 4 * 4, keep);
                for (uint32_t i = 0; i < 8; i++) {
                    draw_keep<1>(d, position, e / 4 * 4 + i, &one);
                    CU_ASSERT_EQUAL(one, keep[i]);
                    CU_ASSERT_EQUAL(one == 0, draw_uniform(seed, 530, position, e / 4 * 4 + i) < 0.3f);
                }
            }
}

static const struct test_case cases[] = {
    {"grid", test_grid},
    {"shuffles", test_shuffles},
    {"masks", test_masks},
    {"sums", test_sums},
    {"shared memory", test_shared_memory},
    {"divergence", test_divergence},
    {"misuse", test_misuse},
    {"orders", test_orders},
    {"bounds", test_bounds},
    {"bf16", test_bf16},
    {"mma, ldmatrix", test_mma},
    {"copies", test_copies},
    {"philox", test_philox},
};

TEST_MAIN("simt", cases)
