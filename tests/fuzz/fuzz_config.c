/* FUZZ_ROOMS: config
 * A config file up to the first zero byte, then zero-separated command-line overrides. What loads must dump, load again
 * to the same values, and dump to the same text. */
#include "fuzz.h"

#include "config/run_config.h"

#include <stdlib.h>
#include <string.h>

enum { OVERRIDES_MAX = 8 };

static void require(int condition)
{
    if (!condition)
        abort();
}

static void check_round_trip(const struct run_config *config)
{
    static struct run_config back;
    struct run_config_change changes[CONFIG_KEYS_MAX];
    char *text = run_config_to_text(config);
    require(run_config_from_text(text, "dump", NULL, 0, &back) == VT_OK);
    require(run_config_diff(config, &back, changes, CONFIG_KEYS_MAX) == 0);
    require(run_config_check_resume(config, &back) == VT_OK);
    char *again = run_config_to_text(&back);
    require(strcmp(text, again) == 0);
    free(again);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static struct run_config config;
    const char *overrides[OVERRIDES_MAX];
    int count = 0;
    char *text = malloc(size + 1);
    require(text != NULL);
    if (size)
        memcpy(text, bytes, size);
    text[size] = '\0';
    for (char *p = text + strlen(text); p < text + size && count < OVERRIDES_MAX; p += strlen(p))
        overrides[count++] = ++p;
    vt_status status = run_config_from_text(text, "fuzz.yaml", overrides, count, &config);
    if (status == VT_OK)
        check_round_trip(&config);
    else
        require(strlen(status_message()) > 0 && !strchr(status_message(), '\n'));
    free(text);
    return 0;
}
