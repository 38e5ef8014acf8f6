/* Shapes for people. */
#ifndef VT_TENSOR_SHAPE_H
#define VT_TENSOR_SHAPE_H

#include <stddef.h>
#include <stdint.h>

enum { SHAPE_TEXT_BYTES = 192 }; /* enough for 8 dimensions of any size */

/* "[24, 3, 8, 8]"; rank 0 is "[]". Returns text. */
const char *shape_text(const int64_t *dim, int rank, char *text, size_t bytes);

#endif
