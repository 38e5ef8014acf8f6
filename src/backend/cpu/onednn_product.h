/* bf16 matrix products by oneDNN, for machines with AMX tiles: c(m,n) fp32 (+)= a(m,k) b(k,n). b is reordered into
 * oneDNN's layout in the workspace at every run; primitives and memory objects are made once. */
#ifndef VT_BACKEND_CPU_ONEDNN_PRODUCT_H
#define VT_BACKEND_CPU_ONEDNN_PRODUCT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct onednn_product;

struct onednn_product_desc {
    int64_t m, n, k;
    int64_t a_row, a_column, b_row, b_column; /* strides in elements; c is contiguous */
    bool accumulate;
    int threads;
};

VT_MUST_CHECK vt_status onednn_product_open(const struct onednn_product_desc *desc, struct onednn_product **out);
size_t onednn_product_workspace(const struct onednn_product *product); /* bytes; 64-byte aligned memory */
void onednn_product_run(struct onednn_product *product, const void *a, const void *b, float *c, void *workspace);
void onednn_product_close(struct onednn_product **product); /* accepts NULL and half-built */

#endif
