/* test_ops BACKEND [FILTER]: every case of the table on BACKEND (ref-strict, cpu, simt) against ref; limits are in compare.c.
 * FILTER: part of "op: case". A new backend is one line in BACKENDS. With VT_CUDA_ATTENTION_STRICT=1 (no other attention than
 * VT_CUDA_ATTENTION) or VT_CUDA_LINEAR=fused|split|scratch cases may be refused. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compare.h"
#ifdef WITH_PLUGIN
#include "candidate.h"
#endif
#ifdef WITH_BACKEND_SIMT
#include "backend_simt.h"
#include "tensors.h"

static vt_status open_simt(const struct backend_desc *desc, struct backend **out)
{
    tensors_guard_hook = backend_simt_guard;
    return backend_simt_open(desc, out);
}
#endif

static vt_status open_ref_strict(const struct backend_desc *desc, struct backend **out)
{
    struct backend_desc strict = *desc;
    strict.strict = true;
    return backend_ref_open(&strict, out);
}

#ifdef WITH_PLUGIN
static vt_status open_cuda(const struct backend_desc *desc, struct backend **out)
{
    (void)desc;
    return candidate_open_cuda(out);
}
#endif

static const struct {
    const char *name;
    vt_status (*open)(const struct backend_desc *desc, struct backend **out);
} BACKENDS[] = {
    {"ref", backend_ref_open},
    {"ref-strict", open_ref_strict},
#ifdef WITH_BACKEND_CPU
    {"cpu", backend_cpu_open},
#endif
#ifdef WITH_PLUGIN
    {"cuda", open_cuda},
#endif
#ifdef WITH_BACKEND_SIMT
    {"simt", open_simt},
#endif
};

static vt_status open_named(const char *name, struct backend **out)
{
    const struct backend_desc desc = {0};
    for (size_t i = 0; i < sizeof BACKENDS / sizeof *BACKENDS; i++)
        if (strcmp(BACKENDS[i].name, name) == 0)
            return BACKENDS[i].open(&desc, out);
    return VT_FAIL(VT_E_USAGE, "%s: no such backend in this build, expected ref, ref-strict, cpu or simt", name);
}

/* Where one way of several is insisted on, a case that it does not take is refused, and that is no failure. */
static bool may_refuse(void)
{
    const char *strict = getenv("VT_CUDA_ATTENTION_STRICT"), *route = getenv("VT_CUDA_LINEAR");
    return (strict && *strict) || (route && *route);
}

int main(int argc, char **argv)
{
    const struct backend_desc plain = {0};
    struct backend *ref, *candidate;
    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: %s BACKEND [FILTER]\n", argv[0]);
        return 2;
    }
    vt_status status = open_named(argv[1], &candidate);
    if (status == VT_E_UNSUPPORTED) {
        printf("SKIPPED: %s\n", status_message());
        return 77;
    }
    if (status != VT_OK || backend_ref_open(&plain, &ref) != VT_OK) {
        fprintf(stderr, "%s\n", status_message());
        return 1;
    }
    printf("%s: %s. Worst error over its limit (1 = at the limit), and where:\n", argv[1], candidate->device_name);
    struct compare_result result = ops_compare(ref, candidate, argc == 3 ? argv[2] : NULL, false);
    candidate->close(candidate);
    ref->close(ref);
    printf("%d passed, %d failed, %d refused\n", result.passed, result.failed, result.refused);
    return result.failed != 0 || result.passed == 0 || (result.refused != 0 && !may_refuse());
}
