// A growing array of items of one size, for readers that do not know how many come.
#ifndef EDT_EVAL_COCO_LIST_H
#define EDT_EVAL_COCO_LIST_H

#include <stddef.h>
#include <stdint.h>

#include "core/mem.h"

// Zero-initialised is empty; `items` is freed with edt_mem_free.
typedef struct edt_coco_list {
    void *items;
    int64_t n, capacity;
} edt_coco_list;

// Room for n_more items (0 is legal) at the end, their place; NULL when out of memory.
static inline void *edt_coco_list_grow(edt_coco_list *list, size_t item_bytes, int64_t n_more)
{
    if (list->items == NULL || list->n + n_more > list->capacity) {
        const int64_t capacity = 2 * list->capacity + n_more + 64;
        void *items = edt_mem_realloc(EDT_MEM_EVAL, list->items, (size_t)capacity * item_bytes);
        if (items == NULL) {
            return NULL;
        }
        list->items = items;
        list->capacity = capacity;
    }
    void *added = (uint8_t *)list->items + (size_t)list->n * item_bytes;
    list->n += n_more;
    return added;
}

#endif
