/* A backend whose kernels are those of backend/cuda, run on the CPU. "Device" memory is allocated to the byte, so that
 * an address sanitizer sees each access past an end. linear's products and, where no kernel takes the case, attention
 * are ref's. */
#ifndef VT_TESTS_BACKEND_SIMT_H
#define VT_TESTS_BACKEND_SIMT_H

#include "backend/backend.h"

VT_MUST_CHECK vt_status backend_simt_open(const struct backend_desc *desc, struct backend **out);
void backend_simt_order(int order); /* of turns: 0 forward, 1 reverse, 2 random */
/* Close or open bytes for kernels (tensors_guard_hook). */
void backend_simt_guard(void *bytes, size_t count, bool closed);

#endif
