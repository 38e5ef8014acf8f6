/* A self-contained HTML page of one or more run folders: curves (inline SVG) over steps, images, hours, FLOPs; time
 * stack; config differences; the newest evaluation. Reads metrics.jsonl (must be there), config.yaml, env.json and
 * eval.json, also of a run that is still going or was damaged: lines that are no records are counted and left out. */
#ifndef VT_TELEMETRY_REPORT_H
#define VT_TELEMETRY_REPORT_H

#include "base/status.h"

/* html_path is replaced atomically. VT_E_IO when a folder has no metrics.jsonl. */
VT_MUST_CHECK vt_status report_write(const char *const *run_dirs, int count, const char *html_path);
/* Curves over steps as a stand-alone SVG file (the README's picture): one panel per metric, two in a row, every run in
 * each. VT_E_USAGE for a metric that no run has. */
VT_MUST_CHECK vt_status report_write_svg(const char *const *run_dirs, int count, const char *const *metric_names,
                                         int metric_count, const char *svg_path);

#endif
