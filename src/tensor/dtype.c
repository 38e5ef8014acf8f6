#include "tensor/dtype.h"

#include "base/check.h"

static const struct {
    const char *name;
    size_t bytes;
} DTYPES[DTYPE_COUNT] = {
    [DTYPE_F32] = {"fp32", 4}, [DTYPE_BF16] = {"bf16", 2}, [DTYPE_F16] = {"fp16", 2}, [DTYPE_U8] = {"u8", 1},
    [DTYPE_I32] = {"i32", 4},  [DTYPE_I64] = {"i64", 8},   [DTYPE_F64] = {"fp64", 8},
};

size_t dtype_bytes(enum dtype dtype)
{
    VT_CHECK((unsigned)dtype < DTYPE_COUNT);
    return DTYPES[dtype].bytes;
}

const char *dtype_name(enum dtype dtype)
{
    return (unsigned)dtype < DTYPE_COUNT ? DTYPES[dtype].name : "unknown";
}
