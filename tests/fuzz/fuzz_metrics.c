/* FUZZ_ROOMS: telemetry
 * A metrics.jsonl of any bytes: it loads, its steps come out in order and once each, and every part of the report draws. */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "telemetry/report_parts.h"

static void require(int condition)
{
    if (!condition)
        abort();
}

static void check_rows(const struct run_data *run)
{
    require(run->skipped_lines <= run->lines && run->row_count + run->superseded_rows <= run->lines);
    for (int64_t r = 1; r < run->row_count; r++) {
        require(run->rows[r].step > run->rows[r - 1].step);
        require(run->rows[r].hours >= run->rows[r - 1].hours);
    }
}

static void draw(struct run_data *run)
{
    struct runs runs = {.count = 1, .run = &run};
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    require(out != NULL);
    report_run_table(out, &runs);
    report_curves(out, &runs);
    report_time(out, &runs);
    fclose(out);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct run_data *run = calloc(1, sizeof *run);
    require(run != NULL);
    run->dir = strdup("run");
    run->label = strdup("run");
    run->flops_per_image = 1e9;
    require(run_data_parse_metrics(run, (const char *)bytes, size) == VT_OK);
    check_rows(run);
    draw(run);
    run_data_free(&run);
    return 0;
}
