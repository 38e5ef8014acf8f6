#include "telemetry/events.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "base/file.h"
#include "tb_event.pb-c.h"

enum { FRAME_HEAD = 12, FRAME_TAIL = 4 };

struct events {
    int fd;
    char path[PATH_MAX];
    uint8_t *frame; /* grows to the largest event, then stays */
    size_t frame_bytes;
};

static void put_u32(uint8_t *at, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> 8 * i);
}

static vt_status reserve(struct events *events, size_t bytes)
{
    if (bytes <= events->frame_bytes)
        return VT_OK;
    uint8_t *grown = realloc(events->frame, bytes);
    if (!grown)
        return VT_FAIL(VT_E_MEMORY, "%s: no memory for an event of %zu bytes", events->path, bytes);
    events->frame = grown;
    events->frame_bytes = bytes;
    return VT_OK;
}

/* Frame and write one event: u64 length, masked crc of those 8 bytes, payload, masked crc of the payload;
 * little-endian. */
static vt_status write_event(struct events *events, const Vitrail__Tb__Event *event)
{
    size_t size = vitrail__tb__event__get_packed_size(event);
    VT_TRY(reserve(events, FRAME_HEAD + size + FRAME_TAIL));
    uint8_t *frame = events->frame;
    put_u32(frame, (uint32_t)size);
    put_u32(frame + 4, (uint32_t)((uint64_t)size >> 32));
    put_u32(frame + 8, crc32c_mask(crc32c(0, frame, 8)));
    vitrail__tb__event__pack(event, frame + FRAME_HEAD);
    put_u32(frame + FRAME_HEAD + size, crc32c_mask(crc32c(0, frame + FRAME_HEAD, size)));
    return file_append(events->fd, frame, FRAME_HEAD + size + FRAME_TAIL, events->path);
}

static vt_status write_version(struct events *events, double wall_time)
{
    Vitrail__Tb__Event event = VITRAIL__TB__EVENT__INIT;
    event.wall_time = wall_time;
    event.what_case = VITRAIL__TB__EVENT__WHAT_FILE_VERSION;
    event.file_version = "brain.Event:2";
    return write_event(events, &event);
}

vt_status events_open(const char *dir, int attempt, double wall_time, struct events **out)
{
    vt_status status = VT_OK;
    struct events *events = calloc(1, sizeof *events);
    if (!events)
        return VT_FAIL(VT_E_MEMORY, "no memory for the event file's writer");
    events->fd = -1;
    char host[128] = "localhost", name[256];
    if (gethostname(host, sizeof host) == 0)
        host[sizeof host - 1] = '\0';
    snprintf(name, sizeof name, "events.out.tfevents.%.0f.%s.%d", wall_time, host, attempt);
    VT_TRY_OUT(path_join(events->path, sizeof events->path, dir, name));
    events->fd = open(events->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (events->fd < 0) {
        status = VT_FAIL(VT_E_IO, "%s: cannot open for writing: %s", events->path, strerror(errno));
        goto out;
    }
    VT_TRY_OUT(write_version(events, wall_time));
    *out = events;
    events = NULL;
out:
    events_close(&events);
    return status;
}

vt_status events_write_restart(struct events *events, double wall_time, int64_t resume_step)
{
    Vitrail__Tb__SessionLog log = VITRAIL__TB__SESSION_LOG__INIT;
    log.status = VITRAIL__TB__SESSION_LOG__SESSION_STATUS__START;
    Vitrail__Tb__Event event = VITRAIL__TB__EVENT__INIT;
    event.wall_time = wall_time;
    event.step = resume_step + 1;
    event.what_case = VITRAIL__TB__EVENT__WHAT_SESSION_LOG;
    event.session_log = &log;
    return write_event(events, &event);
}

vt_status events_write(struct events *events, double wall_time, int64_t step, const struct metric *values, int count)
{
    VT_CHECK(count >= 0 && count <= METRICS_MAX);
    Vitrail__Tb__Summary__Value value[METRICS_MAX], *pointers[METRICS_MAX];
    for (int i = 0; i < count; i++) {
        value[i] = (Vitrail__Tb__Summary__Value)VITRAIL__TB__SUMMARY__VALUE__INIT;
        value[i].tag = (char *)values[i].name;
        value[i].value_case = VITRAIL__TB__SUMMARY__VALUE__VALUE_SIMPLE_VALUE;
        value[i].simple_value = (float)values[i].value;
        pointers[i] = &value[i];
    }
    Vitrail__Tb__Summary summary = VITRAIL__TB__SUMMARY__INIT;
    summary.n_value = (size_t)count;
    summary.value = pointers;
    Vitrail__Tb__Event event = VITRAIL__TB__EVENT__INIT;
    event.wall_time = wall_time;
    event.step = step;
    event.what_case = VITRAIL__TB__EVENT__WHAT_SUMMARY;
    event.summary = &summary;
    return write_event(events, &event);
}

vt_status events_flush(struct events *events)
{
    if (fdatasync(events->fd) != 0)
        return VT_FAIL(VT_E_IO, "%s: fdatasync: %s", events->path, strerror(errno));
    return VT_OK;
}

const char *events_path(const struct events *events)
{
    return events->path;
}

void events_close(struct events **events)
{
    if (!events || !*events)
        return;
    if ((*events)->fd >= 0)
        close((*events)->fd);
    free((*events)->frame);
    free(*events);
    *events = NULL;
}
