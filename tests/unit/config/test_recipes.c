/* Every recipe in configs/ loads. */
#include "test.h"

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

static const struct test_case cases[] = {{"recipes load", recipes_load}};
TEST_MAIN("recipes", cases)
