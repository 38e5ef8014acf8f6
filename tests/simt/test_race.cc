/* That each kind of race is found, and that what is no race is not. */
#include "simt.h"

#include <stdexcept>
#include <string>

#include "backend/cuda/ptx.h"
#include "test.h" /* last: CUnit is C */

/* The error a launch of two blocks of 64 threads ends with, "" if none. */
template <typename Kernel> static std::string error_of(Kernel kernel)
{
    try {
        simt::launch("test", dim3(2), dim3(64), 1024, kernel);
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

static float out[4096];

static void test_shared_memory()
{
    /* read after write, of another warp */
    CU_ASSERT(contains(error_of([] {
        SHARED_ARRAY(float, tile, 64);
        tile[threadIdx.x] = 1;
        out[blockIdx.x * 64 + threadIdx.x] = tile[63 - threadIdx.x];
    }), "shared memory"));
    /* write after read: the second round overtakes */
    CU_ASSERT(contains(error_of([] {
        SHARED_ARRAY(float, tile, 64);
        for (int round = 0; round < 2; round++) {
            tile[threadIdx.x] = (float)round;
            __syncthreads();
            out[blockIdx.x * 64 + threadIdx.x] = tile[63 - threadIdx.x];
        }
    }), "shared memory"));
    CU_ASSERT_EQUAL(error_of([] {
        SHARED_ARRAY(float, tile, 64);
        for (int round = 0; round < 2; round++) {
            __syncthreads();
            tile[threadIdx.x] = (float)round;
            __syncthreads();
            out[blockIdx.x * 64 + threadIdx.x] = tile[63 - threadIdx.x];
        }
    }), "");
}

/* Lanes of one warp: __syncwarp orders memory, a shuffle does not. */
static void test_warps()
{
    CU_ASSERT(contains(error_of([] {
        SHARED_ARRAY(float, tile, 64);
        tile[threadIdx.x] = 1;
        (void)__shfl_xor_sync(0xffffffffu, 1, 1);
        out[blockIdx.x * 64 + threadIdx.x] = tile[threadIdx.x ^ 1];
    }), "shared memory"));
    CU_ASSERT_EQUAL(error_of([] {
        SHARED_ARRAY(float, tile, 64);
        tile[threadIdx.x] = 1;
        __syncwarp();
        out[blockIdx.x * 64 + threadIdx.x] = tile[threadIdx.x ^ 1];
    }), "");
    CU_ASSERT(contains(error_of([] { /* the other warp's half */
        SHARED_ARRAY(float, tile, 64);
        tile[threadIdx.x] = 1;
        __syncwarp();
        out[blockIdx.x * 64 + threadIdx.x] = tile[threadIdx.x ^ 32];
    }), "shared memory"));
}

static void test_ldmatrix()
{
    static constexpr int ROW = 8;
    CU_ASSERT(contains(error_of([] {
        SHARED_ARRAY(uint4, tile, 64);
        uint32_t word[4];
        tile[threadIdx.x] = make_uint4(1, 2, 3, 4);
        ldmatrix_x4(word, (uint16_t *)tile + (threadIdx.x ^ 32) * ROW);
    }), "shared memory"));
    CU_ASSERT(contains(error_of([] { /* of the own warp, but without a barrier */
        SHARED_ARRAY(uint4, tile, 64);
        uint32_t word[4];
        tile[threadIdx.x] = make_uint4(1, 2, 3, 4);
        ldmatrix_x4(word, (uint16_t *)tile + threadIdx.x * ROW);
    }), "shared memory"));
    CU_ASSERT_EQUAL(error_of([] { /* and what a warp has loaded, its lanes may overwrite */
        SHARED_ARRAY(uint4, tile, 64);
        uint32_t word[4];
        tile[threadIdx.x] = make_uint4(1, 2, 3, 4);
        __syncwarp();
        ldmatrix_x4(word, (uint16_t *)tile + threadIdx.x * ROW);
        tile[threadIdx.x ^ 1] = make_uint4(1, 2, 3, 4);
    }), "");
}

static void test_copies()
{
    static uint4 from[128];
    CU_ASSERT(contains(error_of([] { /* starts while another warp reads what was there */
        SHARED_ARRAY(uint4, tile, 64);
        tile[threadIdx.x] = make_uint4(0, 0, 0, 0);
        __syncthreads();
        out[blockIdx.x * 64 + threadIdx.x] = (float)tile[63 - threadIdx.x].x;
        cp_async_16(&tile[threadIdx.x], &from[threadIdx.x]);
        cp_async_commit();
        cp_async_wait<0>();
    }), "shared memory"));
    CU_ASSERT(contains(error_of([] { /* a barrier is no wait */
        SHARED_ARRAY(uint4, tile, 64);
        cp_async_16(&tile[threadIdx.x], &from[threadIdx.x]);
        cp_async_commit();
        __syncthreads();
        out[blockIdx.x * 64 + threadIdx.x] = (float)tile[63 - threadIdx.x].x;
        cp_async_wait<0>();
    }), "is copying to"));
    CU_ASSERT(contains(error_of([] { /* a wait is no barrier */
        SHARED_ARRAY(uint4, tile, 64);
        cp_async_16(&tile[threadIdx.x], &from[threadIdx.x]);
        cp_async_commit();
        cp_async_wait<0>();
        out[blockIdx.x * 64 + threadIdx.x] = (float)tile[63 - threadIdx.x].x;
    }), "shared memory"));
    CU_ASSERT_EQUAL(error_of([] {
        SHARED_ARRAY(uint4, tile, 64);
        cp_async_16(&tile[threadIdx.x], &from[threadIdx.x]);
        cp_async_commit();
        cp_async_wait<0>();
        __syncthreads();
        out[blockIdx.x * 64 + threadIdx.x] = (float)tile[63 - threadIdx.x].x;
    }), "");
}

static void test_global_memory()
{
    CU_ASSERT(contains(error_of([] { out[threadIdx.x] = 1; }), "which block 0")); /* both blocks */
    CU_ASSERT(contains(error_of([] { out[0] = 1; }), "writes global memory"));
    CU_ASSERT(contains(error_of([] {
        if (blockIdx.x == 0)
            out[threadIdx.x] = 1;
        else
            out[64 + threadIdx.x] = out[threadIdx.x];
    }), "reads global memory"));
    CU_ASSERT_EQUAL(error_of([] { out[64 + blockIdx.x * 64 + threadIdx.x] = out[0]; }), ""); /* and another launch */
    CU_ASSERT_EQUAL(error_of([] { out[blockIdx.x * 64 + threadIdx.x] = 1; }), "");
}

static const struct test_case cases[] = {
    {"shared memory", test_shared_memory}, {"lanes of a warp", test_warps}, {"ldmatrix", test_ldmatrix},
    {"asynchronous copies", test_copies},  {"between blocks", test_global_memory},
};

int main()
{
    simt::catch_errors(true);
    return run_tests("race", cases, (int)(sizeof cases / sizeof *cases));
}
