/* Events and streams of a backend whose calls do their work before they return (ref, cpu): every event has passed as soon
 * as it is recorded, and nothing ever waits. */
#ifndef VT_BACKEND_SYNCHRONOUS_H
#define VT_BACKEND_SYNCHRONOUS_H

struct backend;

/* Fills event_new, event_free, event_record, stream_wait, event_wait and synchronise. */
void backend_synchronous_install(struct backend *be);

#endif
