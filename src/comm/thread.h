/* The room's own threads: signals stay with the main thread. Private. */
#ifndef VT_COMM_THREAD_H
#define VT_COMM_THREAD_H

#include <pthread.h>

/* 0 or an errno. The new thread has every signal blocked. */
int comm_thread_start(pthread_t *thread, void *(*run)(void *), void *context);

#endif
