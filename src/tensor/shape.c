#include "tensor/shape.h"

#include <stdio.h>

const char *shape_text(const int64_t *dim, int rank, char *text, size_t bytes)
{
    size_t used = (size_t)snprintf(text, bytes, "[");
    for (int i = 0; i < rank && used < bytes; i++)
        used += (size_t)snprintf(text + used, bytes - used, "%s%lld", i ? ", " : "", (long long)dim[i]);
    if (used < bytes)
        snprintf(text + used, bytes - used, "]");
    return text;
}
