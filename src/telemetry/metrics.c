#include "telemetry/metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "telemetry/events.h"

struct metrics {
    int fd; /* -1: drop everything */
    int attempt;
    struct events *events;
    char path[PATH_MAX];
};

/* Unix seconds, to the millisecond: enough for curves over hours, short in the file. */
static double wall_time_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + floor((double)now.tv_nsec * 1e-6) * 1e-3;
}

/* Offset just behind the last newline; 0 when there is none. */
static vt_status end_of_last_line(int fd, const char *path, off_t size, off_t *out)
{
    char block[4096];
    off_t end = size;
    while (end > 0) {
        size_t bytes = end < (off_t)sizeof block ? (size_t)end : sizeof block;
        ssize_t got = pread(fd, block, bytes, end - (off_t)bytes);
        if (got != (ssize_t)bytes)
            return VT_FAIL(VT_E_IO, "%s: cannot read the last line: %s", path,
                           got < 0 ? strerror(errno) : "file shrank");
        const char *newline = memrchr(block, '\n', bytes);
        if (newline) {
            *out = end - (off_t)bytes + (newline - block) + 1;
            return VT_OK;
        }
        end -= (off_t)bytes;
    }
    *out = 0;
    return VT_OK;
}

/* A crash may leave half a line; appending to it would damage the next record too. */
static vt_status cut_torn_line(int fd, const char *path)
{
    off_t size = lseek(fd, 0, SEEK_END), end = 0;
    if (size < 0)
        return VT_FAIL(VT_E_IO, "%s: cannot seek: %s", path, strerror(errno));
    VT_TRY(end_of_last_line(fd, path, size, &end));
    if (end == size)
        return VT_OK;
    if (ftruncate(fd, end) != 0)
        return VT_FAIL(VT_E_IO, "%s: cannot cut the torn last line: %s", path, strerror(errno));
    log_info("%s: cut %lld bytes of a torn last line", path, (long long)(size - end));
    return VT_OK;
}

static vt_status open_files(struct metrics *metrics, const char *dir, int64_t resume_step)
{
    VT_TRY(path_join(metrics->path, sizeof metrics->path, dir, "metrics.jsonl"));
    metrics->fd = open(metrics->path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (metrics->fd < 0)
        return VT_FAIL(VT_E_IO, "%s: cannot open for writing: %s", metrics->path, strerror(errno));
    VT_TRY(cut_torn_line(metrics->fd, metrics->path));
    double now = wall_time_now();
    VT_TRY(events_open(dir, metrics->attempt, now, &metrics->events));
    return resume_step > 0 ? events_write_restart(metrics->events, now, resume_step) : VT_OK;
}

vt_status metrics_open(const char *dir, int attempt, int64_t resume_step, struct metrics **out)
{
    struct metrics *metrics = calloc(1, sizeof *metrics);
    if (!metrics)
        return VT_FAIL(VT_E_MEMORY, "no memory for the metrics stream");
    metrics->fd = -1;
    metrics->attempt = attempt;
    vt_status status = dir ? open_files(metrics, dir, resume_step) : VT_OK;
    if (status == VT_OK)
        *out = metrics;
    else
        metrics_close(&metrics);
    return status;
}

static vt_status write_line(struct metrics *metrics, double wall_time, int64_t step, int64_t images_seen, double epoch,
                            const struct metric *values, int count)
{
    struct json *record = json_new_object();
    json_set_int(record, "step", step);
    json_set_int(record, "attempt", metrics->attempt);
    json_set_int(record, "images_seen", images_seen);
    json_set_double(record, "epoch", epoch);
    json_set_double(record, "wall_time", wall_time);
    for (int i = 0; i < count; i++)
        json_set_double(record, values[i].name, values[i].value);
    char *line = json_to_text(record);
    json_free(&record);
    size_t size = strlen(line);
    line[size] = '\n'; /* the terminator's place: file_append takes a size */
    vt_status status = file_append(metrics->fd, line, size + 1, metrics->path);
    free(line);
    return status;
}

vt_status metrics_write(struct metrics *metrics, int64_t step, int64_t images_seen, double epoch,
                        const struct metric *values, int count)
{
    VT_CHECK(count >= 0 && count <= METRICS_MAX - 2);
    if (metrics->fd < 0)
        return VT_OK;
    double now = wall_time_now();
    VT_TRY(write_line(metrics, now, step, images_seen, epoch, values, count));
    struct metric scalars[METRICS_MAX] = {{"epoch", epoch}, {"images_seen", (double)images_seen}};
    for (int i = 0; i < count; i++)
        scalars[2 + i] = values[i];
    return events_write(metrics->events, now, step, scalars, count + 2);
}

vt_status metrics_flush(struct metrics *metrics)
{
    if (metrics->fd < 0)
        return VT_OK;
    if (fdatasync(metrics->fd) != 0)
        return VT_FAIL(VT_E_IO, "%s: fdatasync: %s", metrics->path, strerror(errno));
    return events_flush(metrics->events);
}

void metrics_close(struct metrics **metrics)
{
    if (!metrics || !*metrics)
        return;
    if ((*metrics)->fd >= 0)
        close((*metrics)->fd);
    events_close(&(*metrics)->events);
    free(*metrics);
    *metrics = NULL;
}
