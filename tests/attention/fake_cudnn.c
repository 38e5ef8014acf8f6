#include "fake_cudnn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/attention_cudnn.h"
#include "backend/cuda/cuda.h"

struct fake_cudnn fake_cudnn;

struct attention_cudnn {
    struct attention_desc desc;
    bool backward;
    int plan;
};

static int plan_of(int choice) { return fake_cudnn.reversed ? 1 - choice : choice; }

/* ---- cudnn_api.h ---- */

vt_status cudnn_load(void) { return fake_cudnn.absent ? VT_FAIL(VT_E_UNSUPPORTED, "no cuDNN") : VT_OK; }
size_t cudnn_version(void) { return 99999; }

vt_status cudnn_open_handle(void *stream, void **handle)
{
    (void)stream;
    VT_TRY(cudnn_load());
    *handle = &fake_cudnn;
    return VT_OK;
}

void cudnn_close_handle(void **handle) { *handle = NULL; }

/* ---- attention_cudnn.h ---- */

vt_status attention_cudnn_open(const struct cudnn_target *target, const struct attention_desc *desc, enum attention_form form,
                               int choice, struct attention_cudnn **out)
{
    const char *reason;
    VT_CHECK(target->handle == &fake_cudnn);
    if (!attention_graph_supports(desc, &reason) || choice > 1)
        return VT_FAIL(VT_E_UNSUPPORTED, "fake cuDNN: choice %d: %s", choice, reason ? reason : "no more");
    if (fake_cudnn.closed[plan_of(choice)])
        return VT_FAIL(VT_E_IO, "fake cuDNN: execution plan: closed");
    fake_cudnn.compiled++;
    struct attention_cudnn *made = calloc(1, sizeof *made);
    VT_CHECK(made);
    *made = (struct attention_cudnn){*desc, form == ATTENTION_BACKWARD, plan_of(choice)};
    fake_cudnn.open++;
    *out = made;
    return VT_OK;
}

vt_status attention_cudnn_share(const struct attention_cudnn *of, const struct attention_desc *desc, struct attention_cudnn **out)
{
    struct attention_cudnn *made = calloc(1, sizeof *made);
    VT_CHECK(made);
    *made = (struct attention_cudnn){*desc, of->backward, of->plan};
    fake_cudnn.open++;
    *out = made;
    return VT_OK;
}

vt_status attention_cudnn_count(const struct cudnn_target *target, const struct attention_desc *desc,
                                enum attention_form form, int *count)
{
    const char *reason;
    (void)form;
    VT_CHECK(target->handle == &fake_cudnn);
    if (!attention_graph_supports(desc, &reason))
        return VT_FAIL(VT_E_UNSUPPORTED, "fake cuDNN: %s", reason);
    *count = 2;
    return VT_OK;
}

vt_status attention_cudnn_config(const struct attention_cudnn *c, char text[ATTENTION_CONFIG_BYTES])
{
    snprintf(text, ATTENTION_CONFIG_BYTES, "e%d.k2=%d", 8 + c->plan, c->backward);
    return VT_OK;
}

vt_status attention_cudnn_find(const struct cudnn_target *target, const struct attention_desc *desc,
                               enum attention_form form, const char *config, int *choice)
{
    VT_CHECK(target->handle == &fake_cudnn && desc);
    for (*choice = 0; *choice < 2; ++*choice) {
        const struct attention_cudnn plan = {.backward = form == ATTENTION_BACKWARD, .plan = plan_of(*choice)};
        char text[ATTENTION_CONFIG_BYTES];
        if (attention_cudnn_config(&plan, text) == VT_OK && strcmp(text, config) == 0)
            return VT_OK;
    }
    return VT_FAIL(VT_E_UNSUPPORTED, "fake cuDNN: no configuration %s", config);
}

void attention_cudnn_close(struct attention_cudnn **cudnn)
{
    if (!*cudnn)
        return;
    fake_cudnn.open--;
    free(*cudnn);
    *cudnn = NULL;
}

size_t attention_cudnn_workspace(const struct attention_cudnn *c)
{
    return attention_plain_workspace(fake_cudnn.backend, &c->desc, c->backward);
}

static double last_us;

vt_status attention_cudnn_enqueue(struct attention_cudnn *c, const struct attention_call *call, void *workspace)
{
    fake_cudnn.enqueued++;
    last_us = fake_cudnn.us[c->plan];
    if (last_us < 0)
        return VT_FAIL(VT_E_IO, "fake cuDNN: execute: its own words");
    if (fake_cudnn.idle[c->plan])
        return VT_OK;
    struct attention_desc desc = c->desc;
    desc.scale *= fake_cudnn.wrong[c->plan] ? 1.5f : 1.0f;
    (c->backward ? attention_plain_backward : attention_plain_forward)(fake_cudnn.backend, &desc, call, workspace);
    return VT_OK;
}

/* ---- cuda.h ---- */

void cuda_note(struct cuda_backend *cuda, int error, const char *what) { cuda_check_launch(&cuda->base, what, error); }

const char *cuda_tuning_find(const struct cuda_backend *cuda, const char *key)
{
    (void)cuda;
    return tuning_find(fake_cudnn.tuning, key);
}

void cuda_tuning_put(struct cuda_backend *cuda, const char *key, const char *value)
{
    (void)cuda;
    tuning_put(fake_cudnn.tuning, key, value);
}

/* Runs once, so that a buffer too small for the shape is seen. */
vt_status cuda_time(struct cuda_backend *cuda, const char *what, void (*enqueue)(void *context, int run), void *context,
                    int runs, double *us)
{
    (void)runs;
    last_us = FAKE_OWN_US;
    fake_cudnn.timed++;
    enqueue(context, 0);
    *us = last_us;
    if (last_us >= 0)
        return VT_OK;
    VT_CHECK(cuda->error == 801 && strstr(cuda->error_what, "fake cuDNN: execute: its own words"));
    cuda->error = 0;
    return VT_FAIL(last_us < -1 ? VT_E_IO : VT_E_UNSUPPORTED, "%s: %s", what, cuda->error_what);
}
