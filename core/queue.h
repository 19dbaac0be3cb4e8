// A bounded queue of pointers for any number of producers and consumers: the hand-over between
// threads and, by its bound, the back-pressure. Waiting threads sleep; nobody spins.
#ifndef EDT_CORE_QUEUE_H
#define EDT_CORE_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"

typedef struct edt_queue edt_queue;

// `capacity` >= 1 items.
edt_status edt_queue_create(int64_t capacity, edt_error *err, edt_queue **out_queue);
// No thread may be inside a call. Items still held are forgotten, see edt_queue_take_left. NULL
// is fine.
void edt_queue_destroy(edt_queue *queue);

// Items are non-NULL; the queue never looks into them. Waits while the queue is full.
// EDT_END: closed, the item stays the caller's; EDT_ERR_CANCELLED: cancelled, likewise.
edt_status edt_queue_push(edt_queue *queue, void *item);
// Waits while the queue is empty. EDT_END: closed and drained; EDT_ERR_CANCELLED: cancelled.
edt_status edt_queue_pop(edt_queue *queue, void **out_item);

// As above without waiting: EDT_OK with *out_pushed false or *out_item NULL means "not now".
edt_status edt_queue_try_push(edt_queue *queue, void *item, bool *out_pushed);
edt_status edt_queue_try_pop(edt_queue *queue, void **out_item);

// No more items will come: consumers drain what is there and then get EDT_END.
void edt_queue_close(edt_queue *queue);
// Wakes everyone; all calls fail with EDT_ERR_CANCELLED from now on.
void edt_queue_cancel(edt_queue *queue);

// Items held now, for statistics.
int64_t edt_queue_count(edt_queue *queue);
// Removes one item whatever the state, NULL when empty: how an owner frees what a cancelled
// queue still holds.
void *edt_queue_take_left(edt_queue *queue);

#endif
