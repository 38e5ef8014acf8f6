/* What the configurations of runs say, and where they differ. */
#include <string.h>

#include "telemetry/report_parts.h"
#include "telemetry/svg.h"

static bool setting_differs(const struct runs *runs, const char *key)
{
    const char *first = run_data_setting(runs->run[0], key);
    for (int i = 1; i < runs->count; i++) {
        const char *other = run_data_setting(runs->run[i], key);
        if (!first != !other || (first && strcmp(first, other) != 0))
            return true;
    }
    return false;
}

static bool seen_before(const struct runs *runs, int index, const char *key)
{
    for (int i = 0; i < index; i++)
        if (run_data_setting(runs->run[i], key))
            return true;
    return false;
}

static void put_difference(FILE *out, const struct runs *runs, const char *key)
{
    fputs("<tr><td>", out);
    svg_escape(out, key);
    fputs("</td>", out);
    for (int i = 0; i < runs->count; i++) {
        const char *value = run_data_setting(runs->run[i], key);
        fputs("<td>", out);
        svg_escape(out, value ? value : "–");
        fputs("</td>", out);
    }
    fputs("</tr>\n", out);
}

static void put_differences(FILE *out, const struct runs *runs)
{
    int count = 0;
    fputs("<div class=\"card scroll\"><table class=\"left mono\"><thead><tr><th>what differs</th>", out);
    for (int i = 0; i < runs->count; i++) {
        fputs("<th>", out);
        report_run_name(out, runs, i);
        fputs("</th>", out);
    }
    fputs("</tr></thead><tbody>\n", out);
    for (int i = 0; i < runs->count; i++)
        for (int s = 0; s < runs->run[i]->setting_count; s++) {
            const char *key = runs->run[i]->settings[s].key;
            if (strcmp(key, "run.dir") == 0 || seen_before(runs, i, key) || !setting_differs(runs, key))
                continue;
            put_difference(out, runs, key);
            count++;
        }
    if (count == 0)
        fputs("<tr><td>nothing but the folder</td></tr>\n", out);
    fputs("</tbody></table></div>\n", out);
}

static void put_settings(FILE *out, const struct runs *runs, int index)
{
    const struct run_data *run = runs->run[index];
    fputs("<details><summary>", out);
    report_run_name(out, runs, index);
    fputs(": all settings</summary><div class=\"card scroll\"><table class=\"left mono\"><tbody>\n", out);
    for (int s = 0; s < run->setting_count; s++) {
        fputs("<tr><td>", out);
        svg_escape(out, run->settings[s].key);
        fputs("</td><td>", out);
        svg_escape(out, run->settings[s].value);
        fputs("</td></tr>\n", out);
    }
    fputs("</tbody></table></div></details>\n", out);
}

void report_config(FILE *out, const struct runs *runs)
{
    int known = 0;
    for (int i = 0; i < runs->count; i++)
        known += runs->run[i]->setting_count > 0;
    if (known == 0)
        return;
    fputs("<h2>Configuration</h2>\n", out);
    if (known > 1)
        put_differences(out, runs);
    for (int i = 0; i < runs->count; i++)
        if (runs->run[i]->setting_count > 0)
            put_settings(out, runs, i);
}
