/* Every recipe in configs/ loads. */
#include "test.h"

#include "config/options.h"
#include "config/run_config.h"

#include <glob.h>

static void recipes_load(void)
{
    glob_t found = {0};
    int none = glob(VT_SOURCE_DIR "/configs/*.yaml", 0, NULL, &found);
    CU_ASSERT(none == 0 || none == GLOB_NOMATCH);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        struct run_config config;
        ASSERT_OK(run_config_load(found.gl_pathv[i], NULL, 0, &config));
        CU_ASSERT(config.data.train[0] != '\0'); /* a recipe says what it trains on */
    }
    printf("%zu recipes ", found.gl_pathc);
    globfree(&found);
}

/* The starting recipe says what it trains on, and nothing wrong where it is commented out: with every "# " taken away it is
 * the same config. */
static void starting_recipe(void)
{
    struct run_config config, whole, defaults;
    struct run_config_change changes[CONFIG_KEYS_MAX];
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    run_config_recipe(out);
    fclose(out);
    ASSERT_OK(run_config_load(NULL, NULL, 0, &defaults));
    ASSERT_OK(run_config_from_text(text, "recipe", NULL, 0, &config));
    CU_ASSERT(config.data.train[0] != '\0' && config.data.val[0] != '\0');
    for (int i = 0; i < option_count(); i++) {
        char line[100];
        const char *name = strchr(option_at(i)->key, '.') + 1;
        snprintf(line, sizeof line, "\n  %s: ", name);
        const char *set = strstr(text, line);
        snprintf(line, sizeof line, "\n  # %s: ", name);
        CU_ASSERT(set || strstr(text, line));
    }
    CU_ASSERT(run_config_diff(&defaults, &config, changes, CONFIG_KEYS_MAX) >= 5);
    for (char *p = text; (p = strstr(p, "\n  # "));) /* blanks after the indent would be another section */
        memmove(p + 3, p + 5, strlen(p + 5) + 1);
    ASSERT_OK(run_config_from_text(text, "recipe", NULL, 0, &whole));
    CU_ASSERT_EQUAL(run_config_diff(&config, &whole, changes, CONFIG_KEYS_MAX), 0);
    free(text);
}

static const struct test_case cases[] = {{"recipes load", recipes_load}, {"starting recipe", starting_recipe}};
TEST_MAIN("recipes", cases)
