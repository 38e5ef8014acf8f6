#include "backend/synchronous.h"

#include <stdlib.h>

#include "backend/backend.h"
#include "base/check.h"

struct event {
    int unused;
};

static struct event *event_new(struct backend *be)
{
    (void)be;
    struct event *event = calloc(1, sizeof *event);
    VT_CHECK(event != NULL);
    return event;
}

static void event_free(struct backend *be, struct event *event)
{
    (void)be;
    free(event);
}

static void event_ignore(struct backend *be, enum stream stream, struct event *event)
{
    (void)be;
    VT_CHECK(stream < STREAM_COUNT && event != NULL);
}

static vt_status event_wait(struct backend *be, struct event *event)
{
    (void)be;
    VT_CHECK(event != NULL);
    return VT_OK;
}

static vt_status synchronise(struct backend *be)
{
    (void)be;
    return VT_OK;
}

void backend_synchronous_install(struct backend *be)
{
    be->event_new = event_new;
    be->event_free = event_free;
    be->event_record = event_ignore;
    be->stream_wait = event_ignore;
    be->event_wait = event_wait;
    be->synchronise = synchronise;
}
