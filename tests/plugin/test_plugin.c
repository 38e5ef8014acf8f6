/* The real plugin, as the program meets it. Without a driver it must load and say so. */
#include "backend/backend.h"
#include "test.h"
#include "train/plugin_load.h"

static const struct plugin *plugin;

static void fills_its_table(void)
{
    char found[160] = "";
    ASSERT_OK(plugin_load(&plugin));
    plugin->describe(found, sizeof found);
    printf(" (%s) ", found);
    CU_ASSERT_TRUE(strncmp(found, "driver ", 7) == 0 || strncmp(found, "no driver, ", 11) == 0);
    CU_ASSERT_TRUE(strstr(found, ", cuDNN 9.") || strstr(found, ", no cuDNN"));
    CU_ASSERT_TRUE(strstr(found, ", NCCL 2.") || strstr(found, ", no NCCL"));
    CU_ASSERT_STRING_EQUAL(plugin->name, "cuda");
    CU_ASSERT_PTR_NOT_NULL(strstr(plugin->versions, "CUDA "));
    CU_ASSERT_PTR_NOT_NULL(strstr(plugin->versions, "cuBLASLt "));
    CU_ASSERT_PTR_NOT_NULL_FATAL(plugin->comm_open);
    CU_ASSERT_PTR_NOT_NULL_FATAL(plugin->tuning_import);
    CU_ASSERT_PTR_NOT_NULL_FATAL(plugin->tuning_export);
}

/* With a GPU it opens; without, the reason comes through the host's own status. */
static void tells_what_is_missing(void)
{
    int count = -1;
    struct backend *be = NULL;
    const struct backend_desc first = {0};
    vt_status status = plugin->device_count(&count);
    if (status == VT_OK) {
        printf(" (%d GPUs) ", count);
        ASSERT_OK(plugin->backend_open(&first, &be));
        CU_ASSERT_PTR_NULL(ops_missing(be));
        be->close(be);
        return;
    }
    printf(" (%s) ", status_message());
    CU_ASSERT_EQUAL(status, VT_E_UNSUPPORTED);
    CU_ASSERT_TRUE(strstr(status_message(), "NVIDIA driver") || strstr(status_message(), "no GPU is visible"));
    status_fail(VT_OK, "old");
    CU_ASSERT_EQUAL(plugin->backend_open(&first, &be), VT_E_UNSUPPORTED);
    CU_ASSERT_STRING_NOT_EQUAL(status_message(), "old");
    CU_ASSERT_PTR_NULL(be);
}

static const struct test_case cases[] = {
    {"fills its table", fills_its_table},
    {"tells what is missing", tells_what_is_missing},
};
TEST_MAIN("plugin", cases)
