/* The option table: the one list of keys. Parsing, defaults, ranges, help, dump and diff all walk it. Inside this room.
 */
#ifndef VT_CONFIG_OPTIONS_H
#define VT_CONFIG_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "config/run_config.h"

enum option_type {
    OPTION_INT,      /* int */
    OPTION_INT64,    /* int64_t */
    OPTION_FLOAT,    /* double */
    OPTION_BOOL,     /* bool */
    OPTION_STRING,   /* char[bytes] */
    OPTION_ENUM,     /* any enum; value = index in choices */
    OPTION_DURATION, /* struct duration */
    OPTION_FLOATS,   /* struct config_floats; min_count = 0 also takes the word "auto" */
    OPTION_RULES     /* struct config_rules */
};

struct option {
    const char *key; /* "section.field" */
    enum option_type type;
    size_t offset, bytes;        /* of the field in struct run_config */
    const char *initial;         /* the default, as YAML text */
    double min, max;             /* inclusive; of every element for lists */
    const char *const *choices;  /* OPTION_ENUM: NULL-terminated */
    const char *const *formerly; /* OPTION_ENUM: pairs of an old word, still read, and its choice; NULL ends; or NULL */
    int min_count, max_count;    /* OPTION_FLOATS */
    bool may_change;             /* when a run is resumed */
    const char *help;
};

int option_count(void);
const struct option *option_at(int index);
/* Index of a key, or -1. */
int option_find(const char *key);
/* VT_E_USAGE "unknown key optim.learning_rate; did you mean optim.lr?"; `where` goes in front. */
vt_status option_unknown(const char *where, const char *key);
/* VT_E_USAGE "unknown section optimizer; did you mean optim?" */
vt_status option_unknown_section(const char *where, const char *name);
const char *option_type_name(const struct option *option);

/* A value as read: a scalar, a list of scalars, or a list of pattern: value. Strings are borrowed. */
struct option_value {
    enum { VALUE_SCALAR, VALUE_LIST, VALUE_RULES } shape;
    bool quoted; /* a scalar in quotes: may be empty */
    const char *scalar;
    int count; /* of lists */
    const char *pattern[CONFIG_RULES_MAX], *element[CONFIG_RULES_MAX];
};

/* Check and store. On failure the field is untouched and the message is "where: key: what is wrong, what is expected".
 */
VT_MUST_CHECK vt_status option_set(const struct option *option, const struct option_value *value, const char *where,
                                   struct run_config *config);
/* The field as YAML text that reads back to the same value, malloc'ed. */
char *option_text(const struct option *option, const struct run_config *config);

#endif
