/* The ops of which the GPU's libraries do a part: that part by ref, the rest by our kernels. */
#ifndef VT_TESTS_SIMT_LINEAR_H
#define VT_TESTS_SIMT_LINEAR_H

#include "backend/backend.h"

struct backend *simt_ref(struct backend *be);
void simt_linear_install(struct backend *be);
void simt_attention_install(struct backend *be);

#endif
