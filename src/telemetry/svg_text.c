/* Escaping, tick steps and numbers of charts. */
#include "telemetry/svg.h"

#include <math.h>
#include <string.h>

void svg_escape(FILE *out, const char *text)
{
    for (const char *at = text; *at; at++) {
        switch (*at) {
        case '&':
            fputs("&amp;", out);
            break;
        case '<':
            fputs("&lt;", out);
            break;
        case '>':
            fputs("&gt;", out);
            break;
        case '"':
            fputs("&quot;", out);
            break;
        case '\'':
            fputs("&#39;", out);
            break;
        default:
            putc((unsigned char)*at < 0x20 || *at == 0x7f ? '?' : *at, out);
        }
    }
}

double svg_tick_step(double span, int wanted)
{
    double raw = span / (wanted < 1 ? 1 : wanted), power = pow(10, floor(log10(raw))), lead = raw / power;
    return power * (lead <= 1 ? 1 : lead <= 2 ? 2 : lead <= 5 ? 5 : 10);
}

/* Decimals that tell ticks `step` apart. */
static int decimals_for(double step)
{
    int decimals = (int)ceil(-log10(step) - 1e-9);
    return decimals < 0 ? 0 : decimals > 9 ? 9 : decimals;
}

static void format_fixed(double value, double step, const char *suffix, char *text, size_t bytes)
{
    if (step > 0)
        snprintf(text, bytes, "%.*f%s", decimals_for(step), value, suffix);
    else
        snprintf(text, bytes, "%.3g%s", value, suffix);
}

static void format_count(double value, double step, char *text, size_t bytes)
{
    static const char *const suffixes[] = {"", "k", "M", "G", "T", "P", "E", "Z"};
    int suffix = 0;
    double size = fabs(value);
    while (size >= 999.5 && suffix < 7) {
        size /= 1000;
        value /= 1000;
        step /= 1000;
        suffix++;
    }
    if (size >= 1e4)
        snprintf(text, bytes, "%.2e", value * 1e21);
    else
        format_fixed(value, step, suffixes[suffix], text, bytes);
}

static void format_scientific(double value, char *text, size_t bytes)
{
    int exponent = (int)floor(log10(fabs(value)) + 1e-9);
    snprintf(text, bytes, "%.3ge%d", value / pow(10, exponent), exponent);
}

void svg_format(double value, double step, enum svg_number kind, char *text, size_t bytes)
{
    if (!isfinite(value))
        snprintf(text, bytes, "–");
    else if (fabs(value) < step * 1e-6 || value == 0)
        snprintf(text, bytes, kind == SVG_PERCENT ? "0%%" : "0");
    else if (kind == SVG_PERCENT)
        format_fixed(100 * value, 100 * step, "%", text, bytes);
    else if (kind == SVG_SCIENTIFIC || fabs(value) < 1e-4)
        format_scientific(value, text, bytes);
    else if (kind == SVG_COUNT || fabs(value) >= 1e4)
        format_count(value, step, text, bytes);
    else
        format_fixed(value, step, "", text, bytes);
}
