#include "dataset/order.h"

#include "base/check.h"
#include "base/philox.h"

/* What a permutation is for: its key stream is a hash of (use, epoch, window, stripe). */
enum use { USE_FULL = 1, USE_WINDOW, USE_BLOCKS, USE_STICKY_BLOCKS, USE_STICKY_STRIPE, USE_TAIL };

/* Finaliser of splitmix64 (Steele, Lea, Flood, OOPSLA'14). */
static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static uint64_t stream_of(enum use use, uint64_t epoch, uint64_t a, uint64_t b)
{
    return mix(mix(mix(mix((uint64_t)use) + epoch) + a) + b);
}

void permutation_init(struct permutation *permutation, uint64_t n, uint64_t seed, uint64_t stream)
{
    VT_CHECK(n >= 1);
    unsigned bits = 2;
    while (bits < 64 && (uint64_t)1 << bits < n)
        bits++;
    permutation->n = n;
    permutation->left_bits = bits / 2;
    permutation->right_bits = bits - bits / 2;
    for (uint32_t block = 0; block < 3; block++) {
        uint32_t words[4];
        draw4(seed, DRAW_ORDER, stream, block, words);
        permutation->key[2 * block] = (uint64_t)words[0] << 32 | words[1];
        permutation->key[2 * block + 1] = (uint64_t)words[2] << 32 | words[3];
    }
}

/* A Feistel network permutes 0..2^bits-1; walking its cycle until the value is below n permutes 0..n-1. Since
 * 2^bits < 2n (n > 4), fewer than 2 steps are expected. */
uint64_t permutation_apply(const struct permutation *permutation, uint64_t x)
{
    const uint64_t *key = permutation->key;
    uint64_t left_mask = ((uint64_t)1 << permutation->left_bits) - 1;
    uint64_t right_mask = ((uint64_t)1 << permutation->right_bits) - 1;
    do {
        uint64_t left = x >> permutation->right_bits, right = x & right_mask;
        for (int round = 0; round < 6; round += 2) {
            left = (left ^ mix(right + key[round])) & left_mask;
            right = (right ^ mix(left + key[round + 1])) & right_mask;
        }
        x = left << permutation->right_bits | right;
    } while (x >= permutation->n);
    return x;
}

static uint64_t permute(uint64_t n, uint64_t seed, uint64_t stream, uint64_t x)
{
    struct permutation permutation;
    permutation_init(&permutation, n, seed, stream);
    return permutation_apply(&permutation, x);
}

vt_status order_init(struct order *order, const struct order_desc *desc)
{
    VT_CHECK(desc->mode != ORDER_AUTO);
    if (desc->samples < 1)
        return VT_FAIL(VT_E_USAGE, "order: the split has no samples");
    if (desc->samples > (uint64_t)1 << 48)
        return VT_FAIL(VT_E_LIMIT, "order: %llu samples, expected at most 2^48", (unsigned long long)desc->samples);
    if (desc->mode == ORDER_WINDOW && (desc->block_samples < 1 || desc->stripes < 1 || desc->window_blocks < 1))
        return VT_FAIL(VT_E_USAGE, "order: window of %u stripes x %u blocks x %u samples, expected each at least 1",
                       desc->stripes, desc->window_blocks, desc->block_samples);
    order->desc = *desc;
    return VT_OK;
}

/* Block number of the i-th block of stripe l in window w, which starts at block `first` of each stripe and has m of
 * them. */
static uint64_t window_block(const struct order_desc *desc, uint64_t epoch, uint64_t stripe, uint64_t stripe_blocks,
                             uint64_t first, uint64_t m, uint64_t i)
{
    uint64_t stripes = desc->stripes;
    if (!desc->sticky)
        return permute(stripes * stripe_blocks, desc->seed, stream_of(USE_BLOCKS, epoch, 0, 0),
                       stripes * first + stripe * m + i);
    uint64_t turn = permute(stripe_blocks, desc->seed, stream_of(USE_STICKY_STRIPE, epoch, stripe, 0), first + i);
    return permute(stripes * stripe_blocks, desc->seed, stream_of(USE_STICKY_BLOCKS, 0, 0, 0),
                   stripe * stripe_blocks + turn);
}

/* Position t of the tail: stripe t mod V owns one of V even contiguous slices, permuted inside. */
static uint64_t tail_sample(const struct order_desc *desc, uint64_t epoch, uint64_t tail, uint64_t t)
{
    uint64_t stripe = t % desc->stripes, even = tail / desc->stripes, extra = tail % desc->stripes;
    uint64_t start = stripe * even + (stripe < extra ? stripe : extra), size = even + (stripe < extra);
    return start + permute(size, desc->seed, stream_of(USE_TAIL, epoch, stripe, 0), t / desc->stripes);
}

static uint64_t window_sample(const struct order_desc *desc, uint64_t epoch, uint64_t p)
{
    uint64_t k = desc->block_samples, stripes = desc->stripes, m = desc->window_blocks;
    uint64_t stripe_blocks = desc->samples / k / stripes, windows = stripe_blocks / m;
    uint64_t in_windows = stripes * stripe_blocks * k;
    if (p >= in_windows)
        return in_windows + tail_sample(desc, epoch, desc->samples - in_windows, p - in_windows);
    uint64_t window = p / (stripes * m * k), q = p % (stripes * m * k);
    uint64_t blocks = window < windows ? m : stripe_blocks % m; /* the last window has what is left */
    uint64_t stripe = q % stripes;
    uint64_t place = permute(blocks * k, desc->seed, stream_of(USE_WINDOW, epoch, window, stripe), q / stripes);
    return window_block(desc, epoch, stripe, stripe_blocks, window * m, blocks, place / k) * k + place % k;
}

uint64_t order_sample(const struct order *order, uint64_t position)
{
    const struct order_desc *desc = &order->desc;
    uint64_t epoch = position / desc->samples, p = position % desc->samples;
    switch (desc->mode) {
    case ORDER_FULL:
        return permute(desc->samples, desc->seed, stream_of(USE_FULL, epoch, 0, 0), p);
    case ORDER_WINDOW:
        return window_sample(desc, epoch, p);
    case ORDER_AUTO:
    case ORDER_SEQUENTIAL:
        break;
    }
    return p;
}

uint32_t order_stripe(const struct order *order, uint64_t position)
{
    const struct order_desc *desc = &order->desc;
    return desc->mode == ORDER_WINDOW ? (uint32_t)(position % desc->samples % desc->stripes) : 0;
}
