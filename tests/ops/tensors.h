/* The tensors of one case in host memory, with guard bands, and running a family on them. */
#ifndef VT_TESTS_OPS_TENSORS_H
#define VT_TESTS_OPS_TENSORS_H

#include "op_case.h"

struct tensors {
    struct tensor_spec specs[MAX_TENSORS];
    int count;
    void *image[MAX_TENSORS]; /* guard, data, guard */
    void *data[MAX_TENSORS];
};

enum phase { PHASE_FORWARD, PHASE_BACKWARD };

size_t tensor_bytes(const struct tensor_spec *spec);
/* Element as a number; index < count (for scalars: the field). */
double tensor_get(const struct tensor_spec *spec, const void *data, int64_t i);
void tensor_set(const struct tensor_spec *spec, void *data, int64_t i, double value);

/* Allocate and fill for a case: inputs get values, the rest NaN poison. Same case, same values, in any dtype up to
 * rounding. */
void tensors_init(struct tensors *t, const struct op_family *family, const struct op_case *c, bool accumulate);
/* Same specs, same bytes. */
void tensors_clone(struct tensors *to, const struct tensors *from);
/* The values of `from` in the dtypes of `wide` (the same case in fp64). */
void tensors_convert(struct tensors *to, const struct op_family *family, const struct op_case *wide,
                     const struct tensors *from);
void tensors_close(struct tensors *t);
/* Index of the first tensor with a damaged guard, or -1. */
int tensors_guard_broken(const struct tensors *t);

/* When set: called with each guard of the device's copies before the op runs (closed), and after it (open). For a sanitizer,
 * which then sees reads past a tensor too. */
extern void (*tensors_guard_hook)(void *guard, size_t bytes, bool closed);

/* Run one phase on the tensors: in place when the backend shares host memory with us, through device copies (guards
 * included) when `device`. The plan is made and closed here. */
VT_MUST_CHECK vt_status tensors_run(struct tensors *t, struct backend *be, bool device, const struct op_family *family,
                                    const struct op_case *c, enum phase phase, bool accumulate);

#endif
