#include "train/memory_plan.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "base/text.h"

void memory_plan_add(struct memory_plan *plan, const char *what, size_t device, size_t host)
{
    VT_CHECK(plan->count < MEMORY_PLAN_LINES);
    plan->lines[plan->count].what = what;
    plan->lines[plan->count].device = device;
    plan->lines[plan->count++].host = host;
}

size_t memory_plan_device(const struct memory_plan *plan)
{
    size_t total = 0;
    for (int i = 0; i < plan->count; i++)
        total += plan->lines[i].device;
    return total;
}

size_t memory_plan_host(const struct memory_plan *plan)
{
    size_t total = 0;
    for (int i = 0; i < plan->count; i++)
        total += plan->lines[i].host;
    return total;
}

void memory_plan_print(const struct memory_plan *plan, bool shared, int ranks_on_host)
{
    char text[512] = "", bytes[32];
    for (int i = 0; i < plan->count; i++) {
        text_format_bytes((double)(plan->lines[i].device + plan->lines[i].host), bytes, sizeof bytes);
        size_t used = strlen(text);
        snprintf(text + used, sizeof text - used, "%s%s %s", i ? ", " : "", plan->lines[i].what, bytes);
    }
    char device[32], host[32];
    size_t device_bytes = memory_plan_device(plan), host_bytes = memory_plan_host(plan);
    text_format_bytes((double)(shared ? device_bytes + host_bytes : device_bytes), device, sizeof device);
    text_format_bytes((double)host_bytes, host, sizeof host);
    const char *each = ranks_on_host > 1 ? " per rank" : "";
    if (shared)
        log_info("memory     %s%s: %s", device, each, text);
    else
        log_info("memory     %s on the device and %s pinned%s: %s", device, host, each, text);
}

static int largest_part(const struct memory_plan *plan, bool host)
{
    int largest = 0;
    for (int i = 1; i < plan->count; i++)
        if (plan->lines[i].device + host * plan->lines[i].host > plan->lines[largest].device + host * plan->lines[largest].host)
            largest = i;
    return largest;
}

/* `total` splits into what fit knows and the rest, which stays. */
static void advise(struct memory_fit *fit, size_t total, size_t limit, char *text, size_t bytes)
{
    fit->fixed = 0;
    fit->fixed = total - memory_fit_bytes(fit, (int)fit->train.batch, fit->train.recompute);
    memory_fit_advice(fit, limit, text, bytes);
}

vt_status memory_plan_check_device(const struct memory_plan *plan, struct memory_fit fit, size_t memory_bytes)
{
    size_t need = memory_plan_device(plan);
    if (memory_bytes == 0 || need <= memory_bytes)
        return VT_OK;
    char needed[32], there[32], part[32], advice[160];
    int largest = largest_part(plan, false);
    text_format_bytes((double)need, needed, sizeof needed);
    text_format_bytes((double)memory_bytes, there, sizeof there);
    text_format_bytes((double)plan->lines[largest].device, part, sizeof part);
    fit.shared = false;
    advise(&fit, need, memory_bytes, advice, sizeof advice);
    return VT_FAIL(VT_E_MEMORY, "the plan needs %s on the device, which has %s for it; the largest part is %s with %s: %s", needed,
                   there, plan->lines[largest].what, part, advice);
}

vt_status memory_plan_check_host(const struct memory_plan *plan, struct memory_fit fit, int ranks_on_host)
{
    double memory = 0.95 * (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    size_t mine = memory_plan_host(plan) + (fit.shared ? memory_plan_device(plan) : 0);
    double need = (double)mine * ranks_on_host;
    if (need <= memory)
        return VT_OK;
    int largest = largest_part(plan, true);
    char needed[32], there[32], part[32], advice[160] = "lower compute.micro_batch";
    text_format_bytes(need, needed, sizeof needed);
    text_format_bytes(memory, there, sizeof there);
    text_format_bytes((double)(plan->lines[largest].device + plan->lines[largest].host), part, sizeof part);
    if (fit.shared)
        advise(&fit, mine, (size_t)(memory / ranks_on_host), advice, sizeof advice);
    return VT_FAIL(VT_E_MEMORY,
                   "the plan needs %s on this host (%d rank%s), which has %s for it; the largest part is %s with %s: %s",
                   needed, ranks_on_host, text_s(ranks_on_host), there, plan->lines[largest].what, part, advice);
}
