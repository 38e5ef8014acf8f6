/* A self-contained HTML page of one or more run folders: curves (inline SVG) over step, images, hours; time stack; config
 * differences; the newest evaluation. Reads metrics.jsonl, config.yaml and env.json only. */
#ifndef VT_TELEMETRY_REPORT_H
#define VT_TELEMETRY_REPORT_H

#include "base/status.h"

VT_MUST_CHECK vt_status report_write(const char *const *run_dirs, int count, const char *html_path);
/* One curve set as a stand-alone SVG file (the README's picture): metrics names, several runs allowed. */
VT_MUST_CHECK vt_status report_write_svg(const char *const *run_dirs, int count, const char *const *metric_names,
                                         int metric_count, const char *svg_path);

#endif
