#include "input/bad_list.h"

#include <pthread.h>
#include <stdlib.h>

struct bad_entry {
    int64_t id;
    bool counted;
};

struct bad_list {
    pthread_mutex_t mutex;
    int64_t capacity, used, counted;
    struct bad_entry entries[]; /* in order of discovery: bad samples are rare, a scan is cheap */
};

vt_status bad_list_new(int64_t capacity, struct bad_list **out)
{
    struct bad_list *list = calloc(1, sizeof *list + (size_t)capacity * sizeof list->entries[0]);
    if (!list)
        return VT_FAIL(VT_E_MEMORY, "loader: no memory for a list of %lld bad samples", (long long)capacity);
    pthread_mutex_init(&list->mutex, NULL);
    list->capacity = capacity;
    *out = list;
    return VT_OK;
}

void bad_list_free(struct bad_list **list)
{
    if (!*list)
        return;
    pthread_mutex_destroy(&(*list)->mutex);
    free(*list);
    *list = NULL;
}

static struct bad_entry *find(struct bad_list *list, int64_t id)
{
    for (int64_t i = 0; i < list->used; i++)
        if (list->entries[i].id == id)
            return &list->entries[i];
    return NULL;
}

enum bad_note bad_list_note(struct bad_list *list, int64_t id)
{
    enum bad_note note = BAD_NEW;
    pthread_mutex_lock(&list->mutex);
    if (find(list, id))
        note = BAD_KNOWN;
    else if (list->used == list->capacity)
        note = BAD_FULL;
    else
        list->entries[list->used++] = (struct bad_entry){.id = id};
    pthread_mutex_unlock(&list->mutex);
    return note;
}

int64_t bad_list_count(struct bad_list *list, int64_t id)
{
    pthread_mutex_lock(&list->mutex);
    struct bad_entry *entry = find(list, id);
    if (entry && !entry->counted) {
        entry->counted = true;
        list->counted++;
    }
    int64_t counted = list->counted;
    pthread_mutex_unlock(&list->mutex);
    return counted;
}

int64_t bad_list_counted(struct bad_list *list)
{
    pthread_mutex_lock(&list->mutex);
    int64_t counted = list->counted;
    pthread_mutex_unlock(&list->mutex);
    return counted;
}
