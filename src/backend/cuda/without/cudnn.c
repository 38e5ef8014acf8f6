/* In the place of cudnn_api.c and attention_cudnn*.c where there is no cudnn.h that is new enough: attention then has our own
 * kernels. */
#include "backend/cuda/attention_cudnn.h"
#include "base/check.h"

vt_status cudnn_load(void)
{
    return VT_FAIL(VT_E_UNSUPPORTED, "this build has no cuDNN (no cudnn.h that is new enough was found)");
}
size_t cudnn_version(void)
{
    return 0;
}

vt_status cudnn_open_handle(void *stream, void **handle)
{
    (void)stream, (void)handle;
    return cudnn_load();
}

void cudnn_close_handle(void **handle)
{
    (void)handle;
}

vt_status attention_cudnn_open(const struct cudnn_target *target, const struct attention_desc *desc,
                               enum attention_form form, int choice, struct attention_cudnn **out)
{
    (void)target, (void)desc, (void)form, (void)choice, (void)out;
    return cudnn_load();
}

vt_status attention_cudnn_share(const struct attention_cudnn *of, const struct attention_desc *desc, struct attention_cudnn **out)
{
    (void)of, (void)desc, (void)out;
    return cudnn_load();
}

vt_status attention_cudnn_count(const struct cudnn_target *target, const struct attention_desc *desc,
                                enum attention_form form, int *count)
{
    (void)target, (void)desc, (void)form, (void)count;
    return cudnn_load();
}

vt_status attention_cudnn_find(const struct cudnn_target *target, const struct attention_desc *desc,
                               enum attention_form form, const char *config, int *choice)
{
    (void)target, (void)desc, (void)form, (void)config, (void)choice;
    return cudnn_load();
}

vt_status attention_cudnn_config(const struct attention_cudnn *cudnn, char text[ATTENTION_CONFIG_BYTES])
{
    (void)cudnn, (void)text;
    return cudnn_load();
}

void attention_cudnn_close(struct attention_cudnn **cudnn)
{
    (void)cudnn;
}

size_t attention_cudnn_workspace(const struct attention_cudnn *cudnn)
{
    (void)cudnn;
    return 0;
}

vt_status attention_cudnn_enqueue(struct attention_cudnn *cudnn, const struct attention_call *call, void *workspace)
{
    (void)cudnn, (void)call, (void)workspace;
    VT_CHECKF(false, "no plan of cuDNN's was opened");
    return VT_E_UNSUPPORTED;
}
