/* Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC'11).
 * Every draw of vitrail is a pure function of (seed, purpose, position, index): never of rank, thread or time.
 *   seed      run.seed
 *   purpose   what the number is for (enum draw_purpose, plus a layer or stream number in the upper bits)
 *   position  the global stream position of the sample, or the step, or the parameter row
 *   index     element within that draw */
#ifndef VT_BASE_PHILOX_H
#define VT_BASE_PHILOX_H

#include <stdint.h>

enum draw_purpose {
    DRAW_INIT = 1,       /* position = parameter row, index = element */
    DRAW_ORDER = 2,      /* position = epoch */
    DRAW_CROP = 3,       /* position = stream position, here and below */
    DRAW_FLIP = 4,
    DRAW_AUGMENT = 5,
    DRAW_MIX = 6,
    DRAW_SYNTHETIC = 7,
    DRAW_SPLIT = 8,      /* position = sample: which go to val */
    DRAW_POS_DROPOUT = 16,
    DRAW_ATTN_DROPOUT = 17, /* these take a layer: draw_purpose_layer() */
    DRAW_PROJ_DROPOUT = 18,
    DRAW_MLP_DROPOUT = 19,
    DRAW_OUT_DROPOUT = 20,
    DRAW_DROP_PATH_ATTN = 21,
    DRAW_DROP_PATH_MLP = 22
};

static inline uint32_t draw_purpose_layer(enum draw_purpose purpose, int layer)
{
    return (uint32_t)purpose | (uint32_t)layer << 8;
}

/* The bare generator, for the known-answer test: out = Philox4x32-10(counter, key). */
void philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/* Draws 4*block .. 4*block+3 of a stream: counter = (block, purpose, position low, position high), key = seed.
 * Element e of a stream is word e % 4 of block e / 4. */
void draw4(uint64_t seed, uint32_t purpose, uint64_t position, uint32_t block, uint32_t out[4]);

uint32_t draw_u32(uint64_t seed, uint32_t purpose, uint64_t position, uint32_t index);
/* Uniform in [0, 1): 24 bits. A dropout element is dropped when its uniform is < rate. */
float draw_uniform(uint64_t seed, uint32_t purpose, uint64_t position, uint32_t index);
/* Uniform in [0, 1) with 53 bits, from words 2*index and 2*index+1. */
double draw_uniform53(uint64_t seed, uint32_t purpose, uint64_t position, uint32_t index);
/* Uniform integer in [0, n), n >= 1, unbiased to 2^-32 relative (multiply-high on 64 bits). */
uint64_t draw_below(uint64_t seed, uint32_t purpose, uint64_t position, uint32_t index, uint64_t n);

static inline float draw_to_uniform(uint32_t word) { return (float)(word >> 8) * 0x1p-24f; }
/* draw_uniform53 from its two words, for those who take whole blocks. */
static inline double draw_to_uniform53(uint32_t word, uint32_t next)
{
    return (double)(((uint64_t)word << 32 | next) >> 11) * 0x1p-53;
}

#endif
