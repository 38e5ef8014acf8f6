/* A bounded blocking queue of pointers, first in first out, any number of producers and consumers. The queue never
 * looks behind the pointers; who pops owns. */
#ifndef VT_BASE_QUEUE_H
#define VT_BASE_QUEUE_H

#include <stdbool.h>

#include "base/status.h"

struct queue;

VT_MUST_CHECK vt_status queue_new(int capacity, struct queue **out);
/* Frees the queue, not what is left in it. No thread may be using it. NULL is fine. */
void queue_free(struct queue **queue);
/* Blocks while full. False once closed: the item stays the caller's. `item` is not NULL. */
bool queue_push(struct queue *queue, void *item);
/* Blocks while empty. NULL once closed and drained. */
void *queue_pop(struct queue *queue);
/* Does not block: NULL when empty. */
void *queue_try_pop(struct queue *queue);
/* Wakes everyone: pushes fail, pops drain what is left. Idempotent. */
void queue_close(struct queue *queue);
int queue_count(struct queue *queue);

#endif
