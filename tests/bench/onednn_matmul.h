/* A plain oneDNN product for the benches to stand beside: c(m,n) = a(m,k) b(k,n), any strides, operands in `dtype`. */
#ifndef VT_BENCH_ONEDNN_MATMUL_H
#define VT_BENCH_ONEDNN_MATMUL_H

#include <stdbool.h>
#include <stdint.h>

#include "tensor/dtype.h"

struct onednn_matmul;

struct onednn_matmul_desc {
    int64_t batch; /* 0 = no batch dimension */
    int64_t m, n, k;
    int64_t a_batch, a_row, a_column; /* strides in elements */
    int64_t b_batch, b_row, b_column;
    bool b_packed;   /* b in oneDNN's own layout, packed once outside the timing: its best case */
    bool accumulate; /* c += */
    enum dtype dtype, dtype_out;
};

/* Aborts on error: a bench has no other use for one. */
struct onednn_matmul *onednn_matmul_open(const struct onednn_matmul_desc *desc);
void onednn_matmul_run(struct onednn_matmul *matmul, void *a, void *b, void *c);
const char *onednn_matmul_kernel(const struct onednn_matmul *matmul);
void onednn_matmul_close(struct onednn_matmul *matmul);

#endif
