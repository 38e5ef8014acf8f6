#include "base/philox.h"

enum { ROUNDS = 10 };

static const uint32_t MULTIPLIER0 = 0xD2511F53u, MULTIPLIER1 = 0xCD9E8D57u;
static const uint32_t WEYL0 = 0x9E3779B9u, WEYL1 = 0xBB67AE85u;

void philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t product0 = (uint64_t)MULTIPLIER0 * c0, product1 = (uint64_t)MULTIPLIER1 * c2;
        c0 = (uint32_t)(product1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)product1;
        c2 = (uint32_t)(product0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)product0;
        k0 += WEYL0;
        k1 += WEYL1;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

void draw4(uint64_t seed, uint32_t purpose, uint64_t position, uint32_t block, uint32_t out[4])
{
    const uint32_t counter[4] = {block, purpose, (uint32_t)position, (uint32_t)(position >> 32)};
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    philox4x32(counter, key, out);
}

uint32_t draw_u32(uint64_t seed, uint32_t purpose, uint64_t position, uint32_t index)
{
    uint32_t words[4];
    draw4(seed, purpose, position, index / 4, words);
    return words[index % 4];
}

float draw_uniform(uint64_t seed, uint32_t purpose, uint64_t position, uint32_t index)
{
    return draw_to_uniform(draw_u32(seed, purpose, position, index));
}

static uint64_t draw_u64(uint64_t seed, uint32_t purpose, uint64_t position, uint32_t index)
{
    uint32_t words[4];
    draw4(seed, purpose, position, index / 2, words);
    unsigned pair = 2 * (index % 2);
    return (uint64_t)words[pair] << 32 | words[pair + 1];
}

double draw_uniform53(uint64_t seed, uint32_t purpose, uint64_t position, uint32_t index)
{
    return (double)(draw_u64(seed, purpose, position, index) >> 11) * 0x1p-53;
}

uint64_t draw_below(uint64_t seed, uint32_t purpose, uint64_t position, uint32_t index, uint64_t n)
{
    return (uint64_t)(((unsigned __int128)draw_u64(seed, purpose, position, index) * n) >> 64);
}
