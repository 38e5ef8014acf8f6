/* Ranks that are threads of one test: where they meet and see each other's pointers. */
#ifndef VT_THREAD_MEETING_H
#define VT_THREAD_MEETING_H

#include <pthread.h>

enum { MEETING_RANKS = 8 };

struct meeting {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int ranks, here;
    long round;
    const void *given[MEETING_RANKS];
};

static inline void meeting_open(struct meeting *m, int ranks)
{
    *m = (struct meeting){.ranks = ranks};
    pthread_mutex_init(&m->mutex, NULL);
    pthread_cond_init(&m->changed, NULL);
}

/* Returns when every rank has come. */
static inline void meeting_wait(struct meeting *m)
{
    pthread_mutex_lock(&m->mutex);
    long round = m->round;
    if (++m->here == m->ranks) {
        m->here = 0;
        m->round++;
        pthread_cond_broadcast(&m->changed);
    }
    while (m->round == round)
        pthread_cond_wait(&m->changed, &m->mutex);
    pthread_mutex_unlock(&m->mutex);
}

/* Every rank gives a pointer; all see all in m->given until the next meeting_wait, which each must call when done. */
static inline void meeting_show(struct meeting *m, int rank, const void *pointer)
{
    m->given[rank] = pointer;
    meeting_wait(m);
}

#endif
