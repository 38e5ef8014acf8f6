#include "train/class_names.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"

static int find(const char *const *names, int count, const char *name)
{
    for (int k = 0; k < count; k++)
        if (strcmp(names[k], name) == 0)
            return k;
    return -1;
}

vt_status class_names_check(const struct dataset *dataset, const char *uri, const char *const *names, int count,
                            const char *owner, bool strict)
{
    int classes = dataset_class_count(dataset);
    for (int k = 0; k < classes && k < count; k++) {
        const char *name = dataset_class_name(dataset, k);
        if (!names[k][0] || strcmp(name, names[k]) == 0)
            continue;
        int elsewhere = find(names, count, name);
        if (elsewhere >= 0)
            return VT_FAIL(VT_E_USAGE,
                           "%.200s: class %d is \"%.60s\", which is class %d of %.200s; expected the same classes in the same order",
                           uri, k, name, elsewhere, owner);
        if (strict)
            return VT_FAIL(VT_E_USAGE, "%.200s: class %d is \"%.60s\", expected \"%.60s\" as in %.200s", uri, k, name, names[k],
                           owner);
        if (log_rank() == 0)
            log_warn("class %d is \"%s\" in %s, but \"%s\" in %s", k, name, uri, names[k], owner);
        break;
    }
    return VT_OK;
}

vt_status class_names_check_datasets(const char *what, const struct dataset *dataset, const char *uri,
                                     const struct dataset *other, const char *other_uri)
{
    int count = dataset_class_count(other);
    const char **names = malloc((size_t)count * sizeof *names + 1);
    if (!names)
        return VT_FAIL(VT_E_MEMORY, "no memory for the names of %d classes", count);
    for (int k = 0; k < count; k++)
        names[k] = dataset_class_name(other, k);
    vt_status status = class_names_check(dataset, uri, names, count, other_uri, true);
    free(names);
    return status == VT_OK ? VT_OK : status_prefix(status, "%s", what);
}
