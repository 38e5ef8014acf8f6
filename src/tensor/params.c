#include "tensor/params.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"

static int64_t row_count(const struct param *row)
{
    VT_CHECKF(row->rank >= 1 && row->rank <= PARAM_MAX_RANK, "%s: rank %d", row->name, row->rank);
    int64_t count = 1;
    for (int i = 0; i < row->rank; i++) {
        VT_CHECKF(row->dim[i] > 0, "%s: dimension %d is %lld", row->name, i, (long long)row->dim[i]);
        count *= row->dim[i];
    }
    /* Draws have a 32-bit element index. */
    VT_CHECKF(count <= UINT32_MAX, "%s: %lld elements in one row", row->name, (long long)count);
    return count;
}

static int64_t aligned(int64_t count)
{
    return (count + PARAM_ALIGN - 1) / PARAM_ALIGN * PARAM_ALIGN;
}

int param_table_add(struct param_table *table, const struct param *row)
{
    VT_CHECKF(row->name[0] != '\0' && memchr(row->name, '\0', PARAM_NAME_BYTES) != NULL, "row %d has no proper name",
              table->count);
    VT_CHECKF(param_table_find(table, row->name) < 0, "%s: added twice", row->name);
    if (table->count == table->capacity) {
        int capacity = table->capacity ? 2 * table->capacity : 64;
        struct param *rows = realloc(table->rows, (size_t)capacity * sizeof *rows);
        VT_CHECKF(rows != NULL, "no memory for %d table rows", capacity);
        table->rows = rows;
        table->capacity = capacity;
    }
    struct param *added = &table->rows[table->count];
    *added = *row;
    added->count = row_count(row);
    added->offset = table->total;
    table->total += aligned(added->count);
    table->parameters += added->count;
    return table->count++;
}

int param_table_find(const struct param_table *table, const char *name)
{
    for (int i = 0; i < table->count; i++)
        if (strcmp(table->rows[i].name, name) == 0)
            return i;
    return -1;
}

void param_table_close(struct param_table *table)
{
    if (!table)
        return;
    free(table->rows);
    *table = (struct param_table){0};
}
