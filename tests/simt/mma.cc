/* The warp matrix instructions, lane layouts as in the PTX manual. */
#include "simt.h"

#include "backend/cuda/ptx.h"
#include "race.h"

namespace simt
{
struct operands {
    float d[4];
    uint32_t a[4], b[2];
};

static float half_of(uint32_t word, int half)
{
    return bf16_to_float((bf16_t)(word >> (16 * half)));
}

void mma_m16n8k16(unsigned mask, const words in[WARP], const int argument[WARP], words out[WARP])
{
    (void)mask;
    (void)argument;
    float a[16][16], b[16][8];
    for (int l = 0; l < WARP; l++) {
        struct operands own = from_words<operands>(in[l]);
        int g = l / 4, t = l % 4;
        for (int r = 0; r < 4; r++)
            for (int h = 0; h < 2; h++)
                a[g + 8 * (r % 2)][2 * t + 8 * (r / 2) + h] = half_of(own.a[r], h);
        for (int r = 0; r < 2; r++)
            for (int h = 0; h < 2; h++)
                b[2 * t + 8 * r + h][g] = half_of(own.b[r], h);
    }
    for (int l = 0; l < WARP; l++) {
        struct operands own = from_words<operands>(in[l]);
        for (int r = 0; r < 4; r++) {
            int row = l / 4 + 8 * (r / 2), column = 2 * (l % 4) + r % 2;
            for (int k = 0; k < 16; k++)
                own.d[r] += a[row][k] * b[k][column];
        }
        memcpy(out[l].word, own.d, sizeof own.d);
    }
}

void load_matrix(unsigned mask, const words in[WARP], const int argument[WARP], words out[WARP])
{
    (void)mask;
    int matrices = abs(argument[0]);
    bool transposed = argument[0] < 0;
    uint16_t element[4][8][8];
    for (int l = 0; l < 8 * matrices; l++) {
        const uint16_t *row = from_words<const uint16_t *>(in[l]);
        if ((uintptr_t)row % 16)
            error("ldmatrix: lane %d's row at %p is not 16-byte aligned", l, (const void *)row);
        race_warp_read(row, 8 * sizeof *row);
        for (int c = 0; c < 8; c++)
            element[l / 8][l % 8][c] = row[c];
    }
    for (int l = 0; l < WARP; l++) {
        uint32_t word[4] = {};
        for (int m = 0; m < matrices; m++)
            for (int h = 0; h < 2; h++) {
                int row = l / 4, column = 2 * (l % 4) + h;
                word[m] |= (uint32_t)(transposed ? element[m][column][row] : element[m][row][column]) << (16 * h);
            }
        memcpy(out[l].word, word, sizeof word);
    }
}
} // namespace simt
