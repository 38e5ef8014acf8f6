/* timing.c over a runtime of our own: what is measured, and what becomes of a candidate that fails, alone or with the device. */
#include <cuda_runtime.h>

#include "backend/cuda/cuda.h"
#include "test.h"

static struct {
    double now_us;              /* of the device */
    int delayed_us;             /* of its queue, behind which an enqueue costs nothing */
    cudaError_t fault, refusal; /* the device's, which stays; a launch's, which does not */
    int enqueued, delays, events, synchronised;
} fake;

/* ---- the runtime ---- */
struct CUevent_st {
    double us;
};

cudaError_t cudaEventCreate(cudaEvent_t *event)
{
    *event = calloc(1, sizeof **event);
    fake.events++;
    return fake.fault;
}
cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    free(event);
    fake.events--;
    return fake.fault;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    (void)stream;
    event->us = fake.now_us;
    return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    (void)event;
    fake.delayed_us = 0;
    return fake.fault;
}
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to)
{
    *ms = (float)((to->us - from->us) / 1e3);
    return fake.fault;
}
cudaError_t cudaDeviceSynchronize(void)
{
    fake.synchronised++;
    return fake.fault;
}
cudaError_t cudaGetLastError(void)
{
    cudaError_t last = fake.fault ? fake.fault : fake.refusal;
    fake.refusal = cudaSuccess;
    return last;
}
const char *cudaGetErrorString(cudaError_t error) { return error == cudaErrorIllegalAddress ? "an illegal address" : "a refusal"; }
const char *cudaGetErrorName(cudaError_t error) { return error == cudaErrorIllegalAddress ? "cudaErrorIllegalAddress" : "cudaErrorOther"; }

void cuda_delay(struct backend *be, int us)
{
    (void)be;
    fake.delays++;
    fake.delayed_us = us;
}

/* ---- a candidate: 40 us of the host's time to enqueue, then 7 to 9 of the device's ---- */
static struct cuda_backend cuda;

static void enqueue(void *context, int run)
{
    enum { HOST_US = 40 };
    const char *how = context;
    fake.enqueued++;
    if (fake.delayed_us < HOST_US)
        fake.now_us += HOST_US; /* the device waited for the host */
    fake.now_us += 7 + run % 3;
    if (strcmp(how, "refused") == 0)
        cuda_note(&cuda, cudaErrorInvalidValue, "the launch");
    if (strcmp(how, "faults") == 0 && fake.enqueued == 5)
        fake.fault = cudaErrorIllegalAddress;
}

static void start(void)
{
    memset(&fake, 0, sizeof fake);
    memset(&cuda, 0, sizeof cuda);
}

static void measures_the_device(void)
{
    double us = 0;
    start();
    ASSERT_OK(cuda_time(&cuda, "a candidate", enqueue, (void *)"good", 9, &us));
    CU_ASSERT_DOUBLE_EQUAL(us, 8, 1e-3);
    CU_ASSERT_EQUAL(fake.enqueued, 9 + 3);
    CU_ASSERT_EQUAL(fake.delays, 9);
    CU_ASSERT_EQUAL(fake.events, 0);
}

static void a_refusal_is_its_own(void)
{
    double us;
    start();
    ASSERT_FAILS(cuda_time(&cuda, "candidate 3", enqueue, (void *)"refused", 9, &us), VT_E_UNSUPPORTED,
                 "candidate 3: the launch: a refusal (cudaErrorOther)");
    CU_ASSERT_EQUAL(cuda.error, 0);
    CU_ASSERT_EQUAL(fake.events, 0);
    ASSERT_OK(cuda_time(&cuda, "candidate 4", enqueue, (void *)"good", 9, &us));
}

/* No later candidate is blamed for it. */
static void a_fault_stays(void)
{
    double us;
    int enqueued;
    start();
    ASSERT_FAILS(cuda_time(&cuda, "gemm/TN, algorithm 3", enqueue, (void *)"faults", 9, &us), VT_E_IO,
                 "gemm/TN, algorithm 3: an illegal address (cudaErrorIllegalAddress): the device takes no more work");
    CU_ASSERT_EQUAL(fake.enqueued, 5);
    CU_ASSERT_EQUAL(fake.synchronised, 2);
    CU_ASSERT_EQUAL(cuda.error, cudaErrorIllegalAddress);
    enqueued = fake.enqueued;
    ASSERT_FAILS(cuda_time(&cuda, "gemm/TN, algorithm 4", enqueue, (void *)"good", 9, &us), VT_E_IO,
                 "while candidates were timed: an illegal address");
    CU_ASSERT_EQUAL(fake.enqueued, enqueued);
}

static const struct test_case cases[] = {
    {"the device's time, not the host's", measures_the_device},
    {"a refusal is the candidate's own", a_refusal_is_its_own},
    {"a fault of the device stays", a_fault_stays},
};
TEST_MAIN("timing", cases)
