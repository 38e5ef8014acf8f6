/* Do two sides mean the same by a class id? A model's head, and the datasets it is trained and evaluated on. */
#ifndef VT_TRAIN_CLASS_NAMES_H
#define VT_TRAIN_CLASS_NAMES_H

#include <stdbool.h>

#include "base/status.h"
#include "dataset/dataset.h"

/* The dataset's classes against `names` of `owner` (count of them; "" = unknown), over the ids both have. The same names at
 * other ids are VT_E_USAGE with the first difference. Other names are so too when `strict`; else one warning from rank 0: who
 * made the other side may have named the same classes differently. Per rank. */
VT_MUST_CHECK vt_status class_names_check(const struct dataset *dataset, const char *uri, const char *const *names, int count,
                                          const char *owner, bool strict);
/* The same of two datasets, strictly; `what` ("data.val") goes in front. */
VT_MUST_CHECK vt_status class_names_check_datasets(const char *what, const struct dataset *dataset, const char *uri,
                                                   const struct dataset *other, const char *other_uri);

#endif
