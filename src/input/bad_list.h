/* The bad samples met so far: logged once when first met (by any worker), counted when the microbatch that met them is
 * handed out, so that the count does not depend on thread timing. Fixed memory. Thread-safe. */
#ifndef VT_INPUT_BAD_LIST_H
#define VT_INPUT_BAD_LIST_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

struct bad_list;

VT_MUST_CHECK vt_status bad_list_new(int64_t capacity, struct bad_list **out);
void bad_list_free(struct bad_list **list);

enum bad_note { BAD_NEW, BAD_KNOWN, BAD_FULL /* not kept: more than `capacity` distinct ids */ };
enum bad_note bad_list_note(struct bad_list *list, int64_t id);
/* Count a noted id; later calls with the same id, and ids never noted, change nothing. Returns the number counted. */
int64_t bad_list_count(struct bad_list *list, int64_t id);
int64_t bad_list_counted(struct bad_list *list);

#endif
