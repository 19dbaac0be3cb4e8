// Bounded pointer queue; see queue.h.
#include "core/queue.h"

#include <pthread.h>

#include "core/mem.h"

struct edt_queue {
    pthread_mutex_t lock;
    pthread_cond_t has_items;
    pthread_cond_t has_space;
    int64_t capacity;
    int64_t first;
    int64_t n_items;
    bool is_closed;
    bool is_cancelled;
    void **items; // ring of `capacity`
};

edt_status edt_queue_create(int64_t capacity, edt_error *err, edt_queue **out_queue)
{
    if (capacity < 1) {
        EDT_FAIL(err, EDT_ERR_INVALID, "a queue of %lld items is not possible; use 1 or more",
                 (long long)capacity);
    }
    edt_queue *queue = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *queue);
    void **items = edt_mem_calloc(EDT_MEM_MISC, (size_t)capacity, sizeof *items);
    if (queue == NULL || items == NULL) {
        edt_mem_free(items);
        edt_mem_free(queue);
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for a queue of %lld items",
                 (long long)capacity);
    }
    pthread_mutex_init(&queue->lock, NULL);
    pthread_cond_init(&queue->has_items, NULL);
    pthread_cond_init(&queue->has_space, NULL);
    queue->capacity = capacity;
    queue->items = items;
    *out_queue = queue;
    return EDT_OK;
}

void edt_queue_destroy(edt_queue *queue)
{
    if (queue == NULL) {
        return;
    }
    pthread_cond_destroy(&queue->has_space);
    pthread_cond_destroy(&queue->has_items);
    pthread_mutex_destroy(&queue->lock);
    edt_mem_free(queue->items);
    edt_mem_free(queue);
}

static bool is_full(const edt_queue *queue)
{
    return queue->n_items == queue->capacity;
}

static edt_status push_locked(edt_queue *queue, void *item, bool *out_pushed)
{
    if (queue->is_cancelled) {
        return EDT_ERR_CANCELLED;
    }
    if (queue->is_closed) {
        return EDT_END;
    }
    const bool has_space = !is_full(queue);
    if (has_space) {
        queue->items[(queue->first + queue->n_items) % queue->capacity] = item;
        ++queue->n_items;
        pthread_cond_signal(&queue->has_items);
    }
    *out_pushed = has_space;
    return EDT_OK;
}

static void *remove_first(edt_queue *queue)
{
    void *item = queue->items[queue->first];
    queue->first = (queue->first + 1) % queue->capacity;
    --queue->n_items;
    pthread_cond_signal(&queue->has_space);
    return item;
}

static edt_status pop_locked(edt_queue *queue, void **out_item)
{
    if (queue->is_cancelled) {
        return EDT_ERR_CANCELLED;
    }
    if (queue->n_items > 0) {
        *out_item = remove_first(queue);
        return EDT_OK;
    }
    if (queue->is_closed) {
        return EDT_END;
    }
    *out_item = NULL;
    return EDT_OK;
}

edt_status edt_queue_push(edt_queue *queue, void *item)
{
    bool pushed = false;
    pthread_mutex_lock(&queue->lock);
    while (is_full(queue) && !queue->is_closed && !queue->is_cancelled) {
        pthread_cond_wait(&queue->has_space, &queue->lock);
    }
    const edt_status status = push_locked(queue, item, &pushed);
    pthread_mutex_unlock(&queue->lock);
    return status;
}

edt_status edt_queue_pop(edt_queue *queue, void **out_item)
{
    pthread_mutex_lock(&queue->lock);
    while (queue->n_items == 0 && !queue->is_closed && !queue->is_cancelled) {
        pthread_cond_wait(&queue->has_items, &queue->lock);
    }
    const edt_status status = pop_locked(queue, out_item);
    pthread_mutex_unlock(&queue->lock);
    return status;
}

edt_status edt_queue_try_push(edt_queue *queue, void *item, bool *out_pushed)
{
    pthread_mutex_lock(&queue->lock);
    const edt_status status = push_locked(queue, item, out_pushed);
    pthread_mutex_unlock(&queue->lock);
    return status;
}

edt_status edt_queue_try_pop(edt_queue *queue, void **out_item)
{
    pthread_mutex_lock(&queue->lock);
    const edt_status status = pop_locked(queue, out_item);
    pthread_mutex_unlock(&queue->lock);
    return status;
}

static void set_and_wake(edt_queue *queue, bool *flag)
{
    pthread_mutex_lock(&queue->lock);
    *flag = true;
    pthread_cond_broadcast(&queue->has_items);
    pthread_cond_broadcast(&queue->has_space);
    pthread_mutex_unlock(&queue->lock);
}

void edt_queue_close(edt_queue *queue)
{
    set_and_wake(queue, &queue->is_closed);
}

void edt_queue_cancel(edt_queue *queue)
{
    set_and_wake(queue, &queue->is_cancelled);
}

int64_t edt_queue_count(edt_queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    const int64_t n_items = queue->n_items;
    pthread_mutex_unlock(&queue->lock);
    return n_items;
}

void *edt_queue_take_left(edt_queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    void *item = queue->n_items > 0 ? remove_first(queue) : NULL;
    pthread_mutex_unlock(&queue->lock);
    return item;
}
