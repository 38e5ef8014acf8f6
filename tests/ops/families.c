#include "op_case.h"

const struct op_family *const op_families[] = {
    &linear_family, &activation_family, &attention_family, &add_norm_family, &patchify_family,
    &embed_family,  &pool_family,       &dropout_family,   &loss_family,     &reduce_add_family,
    &cast_family,   &scalars_family,    &norm_family,      &adamw_family,    &sgd_family,
};
const int op_family_count = sizeof op_families / sizeof *op_families;
