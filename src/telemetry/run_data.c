#include "telemetry/run_data.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"

/* Rows as they come, before merging. */
struct table {
    struct run_data *run;
    int64_t capacity;
};

static vt_status out_of_memory(const struct run_data *run)
{
    return VT_FAIL(VT_E_MEMORY, "%s: no memory for its metrics", run->dir ? run->dir : "metrics");
}

static vt_status grow_rows(struct table *table)
{
    struct run_data *run = table->run;
    int64_t capacity = table->capacity ? 2 * table->capacity : 256;
    struct run_row *rows = realloc(run->rows, (size_t)capacity * sizeof *rows);
    if (!rows)
        return out_of_memory(run);
    run->rows = rows;
    for (int c = 0; c < run->column_count; c++) {
        double *values = realloc(run->columns[c].values, (size_t)capacity * sizeof *values);
        if (!values)
            return out_of_memory(run);
        run->columns[c].values = values;
    }
    table->capacity = capacity;
    return VT_OK;
}

static int find_column(const struct run_data *run, const char *name)
{
    for (int c = 0; c < run->column_count; c++)
        if (strcmp(run->columns[c].name, name) == 0)
            return c;
    return -1;
}

/* *out = -1 past the limit of columns. */
static vt_status column_of(struct table *table, const char *name, int *out)
{
    struct run_data *run = table->run;
    *out = find_column(run, name);
    if (*out >= 0 || run->column_count == RUN_COLUMNS_MAX)
        return VT_OK;
    if (!run->columns && !(run->columns = calloc(RUN_COLUMNS_MAX, sizeof *run->columns)))
        return out_of_memory(run);
    struct run_column *column = &run->columns[run->column_count];
    column->name = strdup(name);
    column->values = malloc((size_t)table->capacity * sizeof *column->values);
    run->column_count++;
    if (!column->name || !column->values)
        return out_of_memory(run);
    for (int64_t i = 0; i < table->capacity; i++)
        column->values[i] = NAN;
    *out = run->column_count - 1;
    return VT_OK;
}

static bool is_number(const struct json *value)
{
    return json_kind(value) == JSON_KIND_INT || json_kind(value) == JSON_KIND_DOUBLE;
}

static double number_of(const struct json *object, const char *key)
{
    const struct json *value = json_find(object, key);
    return value && is_number(value) ? json_double_of(value) : NAN;
}

static bool is_place(const char *key)
{
    static const char *const names[] = {"step", "attempt", "images_seen", "epoch", "wall_time"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(key, names[i]) == 0)
            return true;
    return false;
}

/* Append one record, unless it is none: then *accepted is false. */
static vt_status add_record(struct table *table, const struct json *record, bool *accepted)
{
    struct run_data *run = table->run;
    const struct json *step = json_find(record, "step"), *attempt = json_find(record, "attempt");
    *accepted = step && json_kind(step) == JSON_KIND_INT && json_int_of(step) >= 0 && run->row_count < RUN_ROWS_MAX;
    if (!*accepted)
        return VT_OK;
    if (run->row_count == table->capacity)
        VT_TRY(grow_rows(table));
    int64_t r = run->row_count++;
    run->rows[r] =
        (struct run_row){.step = json_int_of(step),
                         .attempt = attempt && json_kind(attempt) == JSON_KIND_INT ? json_int_of(attempt) : 0,
                         .images = number_of(record, "images_seen"),
                         .epoch = number_of(record, "epoch"),
                         .wall_time = number_of(record, "wall_time")};
    for (int c = 0; c < run->column_count; c++)
        run->columns[c].values[r] = NAN;
    struct json_member member = {0};
    while (json_next(record, &member)) {
        int column = -1;
        if (is_place(member.key) || !is_number(member.value))
            continue;
        VT_TRY(column_of(table, member.key, &column));
        if (column >= 0)
            run->columns[column].values[r] = json_double_of(member.value);
    }
    return VT_OK;
}

static vt_status parse_lines(struct table *table, const char *text, size_t size)
{
    struct run_data *run = table->run;
    for (size_t start = 0, next; start < size; start = next) {
        const char *newline = memchr(text + start, '\n', size - start);
        size_t length = (newline ? (size_t)(newline - text) : size) - start;
        next = start + length + 1;
        struct json *record = NULL;
        bool accepted = false;
        run->lines++;
        if (json_parse(text + start, length, "metrics.jsonl", &record) == VT_OK &&
            json_kind(record) == JSON_KIND_OBJECT) {
            vt_status status = add_record(table, record, &accepted);
            json_free(&record);
            VT_TRY(status);
        }
        json_free(&record);
        /* A last line without its newline is being written right now. */
        if (!accepted && newline)
            run->skipped_lines++;
    }
    return VT_OK;
}

/* A new attempt takes over from its first step on: rows of the attempts before it at or past that step did not count.
 */
static void mark_superseded(const struct run_data *run, bool *dead)
{
    int64_t cut = INT64_MAX, segment_first = INT64_MAX;
    bool newest = true; /* still in the newest attempt */
    for (int64_t r = run->row_count - 1; r >= 0; r--) {
        if (r + 1 < run->row_count && run->rows[r].attempt != run->rows[r + 1].attempt) {
            newest = false;
            cut = segment_first < cut ? segment_first : cut;
            segment_first = INT64_MAX;
        }
        if (run->rows[r].step < segment_first)
            segment_first = run->rows[r].step;
        dead[r] = !newest && run->rows[r].step >= cut;
    }
}

struct place {
    int64_t step, line;
};

static int compare_places(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    if (x->step != y->step)
        return x->step < y->step ? -1 : 1;
    return x->line < y->line ? -1 : x->line > y->line;
}

static double later(double before, double after)
{
    return isnan(after) ? before : after;
}

static void merge_row(struct run_row *into, const struct run_row *from)
{
    into->attempt = from->attempt;
    into->images = later(into->images, from->images);
    into->epoch = later(into->epoch, from->epoch);
    into->wall_time = later(into->wall_time, from->wall_time);
}

/* columns[c].values and rows in the order of `order`, equal steps merged. Returns the new number of rows. */
static int64_t gather(const struct run_data *run, const struct place *order, int64_t count, struct run_row *rows)
{
    int64_t used = 0;
    for (int64_t i = 0; i < count; i++) {
        const struct run_row *row = &run->rows[order[i].line];
        if (used > 0 && rows[used - 1].step == row->step)
            merge_row(&rows[used - 1], row);
        else
            rows[used++] = *row;
    }
    return used;
}

static void gather_column(const struct place *order, int64_t count, const double *from, double *to)
{
    int64_t used = 0;
    for (int64_t i = 0; i < count; i++) {
        double value = from[order[i].line];
        if (i > 0 && order[i].step == order[i - 1].step)
            to[used - 1] = later(to[used - 1], value);
        else
            to[used++] = value;
    }
}

static vt_status sort_and_merge(struct run_data *run)
{
    vt_status status = VT_OK;
    size_t n = (size_t)run->row_count;
    int64_t count = 0, alive = 0;
    bool *dead = calloc(n, sizeof *dead);
    struct place *order = malloc(n * sizeof *order);
    struct run_row *rows = malloc(n * sizeof *rows);
    if (!dead || !order || !rows) {
        status = out_of_memory(run);
        goto out;
    }
    mark_superseded(run, dead);
    for (int64_t r = 0; r < run->row_count; r++)
        if (!dead[r])
            order[alive++] = (struct place){run->rows[r].step, r};
    run->superseded_rows = run->row_count - alive;
    qsort(order, (size_t)alive, sizeof *order, compare_places);
    count = gather(run, order, alive, rows);
    for (int c = 0; c < run->column_count; c++) {
        double *values = malloc(n * sizeof *values);
        if (!values) {
            status = out_of_memory(run);
            goto out;
        }
        gather_column(order, alive, run->columns[c].values, values);
        free(run->columns[c].values);
        run->columns[c].values = values;
    }
    free(run->rows);
    run->rows = rows;
    run->row_count = count;
    rows = NULL;
out:
    free(dead);
    free(order);
    free(rows);
    return status;
}

/* Within an attempt the clock says; across a restart the rate of images does. */
static void count_hours(struct run_data *run)
{
    const double *rate = run_data_column(run, "perf/images_per_s");
    double hours = 0;
    for (int64_t r = 0; r < run->row_count; r++) {
        struct run_row *row = &run->rows[r];
        const struct run_row *before = r > 0 ? row - 1 : NULL;
        double by_clock = before && before->attempt == row->attempt ? row->wall_time - before->wall_time : NAN;
        double images = row->images - (before ? before->images : 0);
        double by_rate = rate && rate[r] > 0 ? images / rate[r] : NAN;
        double seconds = by_clock >= 0 ? by_clock : by_rate;
        if (seconds > 0 && isfinite(seconds))
            hours += seconds / 3600;
        row->hours = hours;
    }
}

vt_status run_data_parse_metrics(struct run_data *run, const char *text, size_t size)
{
    struct table table = {.run = run};
    VT_TRY(parse_lines(&table, text, size));
    if (run->row_count > 0)
        VT_TRY(sort_and_merge(run));
    count_hours(run);
    return VT_OK;
}

static char *label_of(const char *dir)
{
    char real[PATH_MAX];
    const char *path = realpath(dir, real) ? real : dir; /* "." has a name too */
    return strdup(path_base(path));
}

vt_status run_data_load(const char *dir, struct run_data **out)
{
    vt_status status = VT_OK;
    char path[PATH_MAX], *text = NULL;
    size_t size = 0;
    struct run_data *run = calloc(1, sizeof *run);
    if (!run)
        return VT_FAIL(VT_E_MEMORY, "%s: no memory for its data", dir);
    run->flops_per_image = run->eval_top1 = NAN;
    run->dir = strdup(dir);
    run->label = label_of(dir);
    if (!run->dir || !run->label) {
        status = out_of_memory(run);
        goto out;
    }
    VT_TRY_OUT(path_join(path, sizeof path, dir, "metrics.jsonl"));
    VT_TRY_OUT(file_read(path, (size_t)4 << 30, &text, &size));
    VT_TRY_OUT(run_data_parse_metrics(run, text, size));
    run_data_load_extras(run);
    *out = run;
    run = NULL;
out:
    free(text);
    run_data_free(&run);
    return status;
}

void run_data_free(struct run_data **out)
{
    struct run_data *run = out ? *out : NULL;
    if (!run)
        return;
    for (int c = 0; c < run->column_count; c++) {
        free(run->columns[c].name);
        free(run->columns[c].values);
    }
    for (int s = 0; s < run->setting_count; s++) {
        free(run->settings[s].key);
        free(run->settings[s].value);
    }
    for (int k = 0; k < run->class_count; k++)
        free(run->classes[k].name);
    free(run->columns);
    free(run->rows);
    free(run->settings);
    free(run->classes);
    free(run->environment);
    free(run->dir);
    free(run->label);
    free(run);
    *out = NULL;
}

const double *run_data_column(const struct run_data *run, const char *name)
{
    int column = find_column(run, name);
    return column < 0 ? NULL : run->columns[column].values;
}

const char *run_data_setting(const struct run_data *run, const char *key)
{
    for (int s = 0; s < run->setting_count; s++)
        if (strcmp(run->settings[s].key, key) == 0)
            return run->settings[s].value;
    return NULL;
}
