#include "telemetry/progress.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"

static const double plain_every_ms = 10000, redraw_every_ms = 100;

void progress_start(struct progress *progress, int64_t first_step, int64_t total_steps)
{
    const char *term = getenv("TERM");
    *progress = (struct progress){.first_step = first_step,
                                  .total_steps = total_steps,
                                  .terminal = isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0,
                                  .started_ms = clock_ms(),
                                  .printed_ms = -INFINITY,
                                  .drawn_ms = -INFINITY};
}

/* Seconds left at the pace of this process so far; NaN before the first step is done. */
static double own_eta_s(const struct progress *progress, int64_t step)
{
    int64_t done = step - progress->first_step + 1;
    if (done < 1 || step > progress->total_steps)
        return NAN;
    double elapsed_s = (clock_ms() - progress->started_ms) * 1e-3;
    return elapsed_s / (double)done * (double)(progress->total_steps - step);
}

void progress_format(const struct progress *progress, const struct progress_values *values, char *text, size_t bytes)
{
    char number[32];
    snprintf(text, bytes, "step %lld/%lld", (long long)values->step, (long long)progress->total_steps);
    if (progress->total_steps > 0)
        text_append(text, bytes, "  %d%%", (int)(100.0 * (double)values->step / (double)progress->total_steps));
    if (!isnan(values->epoch))
        text_append(text, bytes, "  epoch %.2f", values->epoch);
    if (!isnan(values->loss))
        text_append(text, bytes, "  loss %.4f", values->loss);
    if (!isnan(values->lr))
        text_append(text, bytes, "  lr %.2e", values->lr);
    if (!isnan(values->images_per_s)) {
        text_format_count(values->images_per_s, number, sizeof number);
        text_append(text, bytes, "  %s img/s", number);
    }
    if (!isnan(values->data_wait_fraction))
        text_append(text, bytes, "  data wait %.0f%%", 100 * values->data_wait_fraction);
    double eta_s = isnan(values->eta_s) ? own_eta_s(progress, values->step) : values->eta_s;
    if (!isnan(eta_s) && values->step < progress->total_steps) {
        if (eta_s < 1)
            snprintf(number, sizeof number, "under 1 s");
        else
            text_format_seconds(eta_s, number, sizeof number);
        text_append(text, bytes, "  eta %s", number);
    }
}

/* Longer than the window would wrap, and then \r cannot redraw it. */
static size_t terminal_columns(void)
{
    struct winsize size;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 20)
        return 80;
    return size.ws_col;
}

static void redraw(struct progress *progress, const char *text)
{
    int width = (int)terminal_columns() - 1;
    fprintf(stderr, "\r\033[K%.*s", width, text);
    fflush(stderr);
    progress->dirty = true;
}

/* What is due goes out: to the screen, to the log or a pipe, or nowhere. */
static void show(struct progress *progress, const char *text, bool draw, bool plain, double now)
{
    if (draw) {
        redraw(progress, text);
        progress->drawn_ms = now;
    }
    if (plain) {
        if (progress->terminal)
            log_file_only("%s", text);
        else
            log_info("%s", text);
        progress->printed_ms = now;
    }
}

void progress_within(struct progress *progress, int64_t step, int done, int count)
{
    double now = clock_ms(), passed = now - progress->step_started_ms;
    if (done == 0)
        progress->step_started_ms = now;
    if (done == 0 || passed < plain_every_ms)
        return;
    bool plain = now - progress->printed_ms >= plain_every_ms;
    bool draw = progress->terminal && now - progress->drawn_ms >= redraw_every_ms;
    if (!plain && !draw)
        return;
    char text[160], left[32];
    text_format_seconds(passed * 1e-3 / done * (count - done), left, sizeof left);
    snprintf(text, sizeof text, "step %lld/%lld: microbatch %d of %d, %d%%, the step takes another %s", (long long)step,
             (long long)progress->total_steps, done, count, (int)(100.0 * done / count), left);
    show(progress, text, draw, plain, now);
}

void progress_update(struct progress *progress, const struct progress_values *values, bool force)
{
    double now = clock_ms();
    bool last = values->step >= progress->total_steps;
    bool plain = force || last || now - progress->printed_ms >= plain_every_ms;
    bool draw = progress->terminal && (force || last || now - progress->drawn_ms >= redraw_every_ms);
    if (!plain && !draw)
        return;
    char text[256];
    progress_format(progress, values, text, sizeof text);
    show(progress, text, draw, plain, now);
    if (last)
        progress_break(progress);
}

void progress_break(struct progress *progress)
{
    if (!progress->dirty)
        return;
    fputc('\n', stderr);
    fflush(stderr);
    progress->dirty = false;
}
