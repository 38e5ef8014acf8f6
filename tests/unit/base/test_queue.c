#include "test.h"

#include "base/queue.h"

#include <pthread.h>
#include <stdint.h>

enum { PRODUCERS = 3, CONSUMERS = 4, ITEMS = 5000 };

static void first_in_first_out(void)
{
    struct queue *queue = NULL;
    int values[5];
    ASSERT_OK(queue_new(3, &queue));
    CU_ASSERT_PTR_NULL(queue_try_pop(queue));
    for (int round = 0; round < 4; round++) { /* around the ring */
        CU_ASSERT(queue_push(queue, &values[0]));
        CU_ASSERT(queue_push(queue, &values[1]));
        CU_ASSERT_EQUAL(queue_count(queue), 2);
        CU_ASSERT_PTR_EQUAL(queue_pop(queue), &values[0]);
        CU_ASSERT_PTR_EQUAL(queue_try_pop(queue), &values[1]);
    }
    queue_free(&queue);
    CU_ASSERT_PTR_NULL(queue);
    queue_free(&queue);
}

static void close_drains(void)
{
    struct queue *queue = NULL;
    int value;
    ASSERT_OK(queue_new(2, &queue));
    CU_ASSERT(queue_push(queue, &value));
    queue_close(queue);
    queue_close(queue);
    CU_ASSERT(!queue_push(queue, &value));
    CU_ASSERT_PTR_EQUAL(queue_pop(queue), &value);
    CU_ASSERT_PTR_NULL(queue_pop(queue));
    queue_free(&queue);
}

static struct queue *shared;
static int64_t sums[CONSUMERS];
static int counts[CONSUMERS];

static void *produce(void *argument)
{
    for (intptr_t i = 1; i <= ITEMS; i++)
        if (!queue_push(shared, (void *)(i + ITEMS * (intptr_t)argument)))
            return (void *)1;
    return NULL;
}

static void *consume(void *argument)
{
    intptr_t self = (intptr_t)argument;
    void *item;
    while ((item = queue_pop(shared))) {
        sums[self] += (intptr_t)item;
        counts[self]++;
    }
    return NULL;
}

/* Every item arrives once, whoever takes it; consumers blocked on an empty queue wake on close. */
static void many_threads(void)
{
    pthread_t producers[PRODUCERS], consumers[CONSUMERS];
    int64_t sum = 0, count = 0, expected = (int64_t)PRODUCERS * ITEMS;
    ASSERT_OK(queue_new(7, &shared));
    for (intptr_t i = 0; i < CONSUMERS; i++)
        pthread_create(&consumers[i], NULL, consume, (void *)i);
    for (intptr_t i = 0; i < PRODUCERS; i++)
        pthread_create(&producers[i], NULL, produce, (void *)i);
    for (int i = 0; i < PRODUCERS; i++) {
        void *failed;
        pthread_join(producers[i], &failed);
        CU_ASSERT_PTR_NULL(failed);
    }
    queue_close(shared);
    for (int i = 0; i < CONSUMERS; i++) {
        pthread_join(consumers[i], NULL);
        sum += sums[i];
        count += counts[i];
    }
    CU_ASSERT_EQUAL(count, expected);
    CU_ASSERT_EQUAL(sum, expected * (expected + 1) / 2);
    queue_free(&shared);
}

/* A producer blocked on a full queue wakes on close and keeps its item. */
static void close_wakes_producers(void)
{
    pthread_t producer;
    void *failed;
    ASSERT_OK(queue_new(1, &shared));
    pthread_create(&producer, NULL, produce, NULL);
    while (queue_count(shared) < 1)
        ;
    queue_close(shared);
    pthread_join(producer, &failed);
    CU_ASSERT_PTR_NOT_NULL(failed);
    queue_free(&shared);
}

static const struct test_case cases[] = {
    {"first in first out", first_in_first_out},
    {"close drains", close_drains},
    {"many threads", many_threads},
    {"close wakes producers", close_wakes_producers},
};
TEST_MAIN("queue", cases)
