/* Once warm, the loader allocates nothing: the process's allocator is counted. */
#include "input/loader.h"

#include "slots.h"
#include "toy_dataset.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
int main(void)
{
    return 77;
} /* the sanitizer owns the allocator */
#else

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);
static long allocations;

void *malloc(size_t size)
{
    __atomic_add_fetch(&allocations, 1, __ATOMIC_RELAXED);
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    __atomic_add_fetch(&allocations, 1, __ATOMIC_RELAXED);
    return __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
    __atomic_add_fetch(&allocations, 1, __ATOMIC_RELAXED);
    return __libc_realloc(old, size);
}

static long count_after_warm_up(const struct loader_desc *desc)
{
    enum { WARM = 400 }; /* microbatches of 800: every thread has met every size by then */
    struct slots slots = slots_new(3, 8, 1, desc->image_size, desc->channels);
    struct loader *loader;
    struct slot *slot;
    long before = 0;
    ASSERT_OK(loader_open(desc, slots.slot, 3, &loader));
    for (int64_t step = 0; step < desc->steps * loader_micro_count(desc, 8); step++) {
        if (step == WARM)
            before = __atomic_load_n(&allocations, __ATOMIC_RELAXED);
        ASSERT_OK(loader_next(loader, &slot));
        loader_release(loader, slot);
    }
    long count = __atomic_load_n(&allocations, __ATOMIC_RELAXED) - before;
    loader_close(&loader);
    slots_free(&slots);
    return count;
}

static void the_steady_state_allocates_nothing(void)
{
    const char *transforms[] = {"rrc(0.3,1)|flip", "pad_crop(2)|flip", "centre(0.8)", "squash"};
    enum toy_damage damage[64] = {[9] = TOY_BAD_CRC}; /* a known bad sample costs nothing either */
    struct toy toy = toy_new(64, damage);
    for (size_t i = 0; i < sizeof transforms / sizeof *transforms; i++)
        for (int window = 0; window < 2; window++) {
            struct loader_desc desc = {.split = toy.split,
                                       .order = test_order(window ? ORDER_WINDOW : ORDER_FULL, 64),
                                       .image_size = TOY_SIDE + 2 * (i == 3),
                                       .channels = 1,
                                       .ranks = 1,
                                       .batch = 32,
                                       .steps = 200,
                                       .threads = 2,
                                       .seed = 3,
                                       .substitute_bad = true};
            ASSERT_OK(augment_parse(transforms[i], &desc.augment));
            CU_ASSERT_EQUAL(count_after_warm_up(&desc), 0);
        }
    struct loader_desc synthetic = {.order = test_order(ORDER_FULL, 64),
                                    .synthetic_samples = 64,
                                    .synthetic_classes = 3,
                                    .image_size = 6,
                                    .channels = 3,
                                    .ranks = 1,
                                    .batch = 32,
                                    .steps = 200,
                                    .threads = 2};
    CU_ASSERT_EQUAL(count_after_warm_up(&synthetic), 0);
    toy_free(&toy);
}

static const struct test_case CASES[] = {{"no allocation once warm", the_steady_state_allocates_nothing}};
TEST_MAIN("input/loader steady state", CASES)
#endif
