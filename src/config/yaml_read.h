/* YAML text to (key, value, line) triples: the only home of libyaml. One level of sections; no anchors, no inheritance.
 */
#ifndef VT_CONFIG_YAML_READ_H
#define VT_CONFIG_YAML_READ_H

#include <stddef.h>

#include "base/status.h"
#include "config/options.h"

/* Called once for each key, in file order; a failure stops the reading and is relayed. Strings are borrowed. */
typedef vt_status yaml_entry_fn(void *context, const char *key, const struct option_value *value, int line);

/* A whole config. VT_E_USAGE "name:line: ..." for what is not YAML or not of our shape, duplicate keys included. */
VT_MUST_CHECK vt_status yaml_read(const char *text, size_t size, const char *name, yaml_entry_fn *entry, void *context);
/* One value alone (a list from the command line), given to `entry` with `key` and line 0. `where` is for messages. */
VT_MUST_CHECK vt_status yaml_read_value(const char *text, const char *where, const char *key, yaml_entry_fn *entry,
                                        void *context);

#endif
