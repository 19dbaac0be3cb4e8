#include <criterion/criterion.h>
#include <stdatomic.h>
#include <stdint.h>

#include "core/mem.h"
#include "core/queue.h"
#include "core/thread.h"

static void *item(int64_t i)
{
    return (void *)(intptr_t)i;
}

Test(queue, keeps_order_and_tells_full_from_empty, .timeout = 10)
{
    edt_error err = {0};
    edt_queue *queue = NULL;
    void *out = NULL;
    bool pushed = false;
    cr_assert_eq(edt_queue_create(0, &err, &queue), EDT_ERR_INVALID);
    cr_assert_eq(edt_queue_create(3, &err, &queue), EDT_OK, "%s", err.text);
    for (int round = 0; round < 5; ++round) {
        for (int i = 1; i <= 3; ++i) {
            cr_assert_eq(edt_queue_try_push(queue, item(i), &pushed), EDT_OK);
            cr_assert(pushed);
        }
        cr_assert_eq(edt_queue_try_push(queue, item(4), &pushed), EDT_OK);
        cr_assert_not(pushed);
        cr_assert_eq(edt_queue_count(queue), 3);
        for (int i = 1; i <= 3; ++i) {
            cr_assert_eq(edt_queue_try_pop(queue, &out), EDT_OK);
            cr_assert_eq(out, item(i));
        }
        cr_assert_eq(edt_queue_try_pop(queue, &out), EDT_OK);
        cr_assert_null(out);
        cr_assert_eq(edt_queue_push(queue, item(9)), EDT_OK);
        cr_assert_eq(edt_queue_pop(queue, &out), EDT_OK);
    }
    edt_queue_destroy(queue);
    edt_queue_destroy(NULL);
    cr_assert_eq(edt_mem_get_total().n_live, 0);
}

Test(queue, close_drains_and_cancel_does_not, .timeout = 10)
{
    edt_error err = {0};
    edt_queue *queue = NULL;
    void *out = NULL;
    cr_assert_eq(edt_queue_create(2, &err, &queue), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_queue_push(queue, item(1)), EDT_OK);
    cr_assert_eq(edt_queue_push(queue, item(2)), EDT_OK);
    edt_queue_close(queue);
    cr_assert_eq(edt_queue_push(queue, item(3)), EDT_END);
    cr_assert_eq(edt_queue_pop(queue, &out), EDT_OK);
    cr_assert_eq(out, item(1));
    edt_queue_cancel(queue);
    cr_assert_eq(edt_queue_pop(queue, &out), EDT_ERR_CANCELLED);
    cr_assert_eq(edt_queue_push(queue, item(3)), EDT_ERR_CANCELLED);
    cr_assert_eq(edt_queue_take_left(queue), item(2));
    cr_assert_null(edt_queue_take_left(queue));
    edt_queue_destroy(queue);

    cr_assert_eq(edt_queue_create(2, &err, &queue), EDT_OK, "%s", err.text);
    edt_queue_close(queue);
    cr_assert_eq(edt_queue_pop(queue, &out), EDT_END);
    edt_queue_destroy(queue);
}

typedef struct traffic {
    edt_queue *queue;
    int64_t n_items;
    atomic_llong next, sum, n_popped;
    atomic_int n_cancelled;
} traffic;

static void produce(void *ctx)
{
    traffic *t = ctx;
    for (;;) {
        const int64_t i = atomic_fetch_add(&t->next, 1) + 1;
        if (i > t->n_items) {
            return;
        }
        const edt_status status = edt_queue_push(t->queue, item(i));
        if (status != EDT_OK) {
            atomic_fetch_add(&t->n_cancelled, status == EDT_ERR_CANCELLED);
            return;
        }
    }
}

static void consume(void *ctx)
{
    traffic *t = ctx;
    void *out = NULL;
    edt_status status;
    while ((status = edt_queue_pop(t->queue, &out)) == EDT_OK) {
        atomic_fetch_add(&t->sum, (intptr_t)out);
        atomic_fetch_add(&t->n_popped, 1);
    }
    atomic_fetch_add(&t->n_cancelled, status == EDT_ERR_CANCELLED);
}

Test(queue, many_producers_and_consumers_lose_nothing, .timeout = 60)
{
    edt_error err = {0};
    traffic t = {.n_items = 20000};
    edt_thread producers[4] = {0};
    edt_thread consumers[3] = {0};
    cr_assert_eq(edt_queue_create(5, &err, &t.queue), EDT_OK, "%s", err.text);
    for (int i = 0; i < 4; ++i) {
        cr_assert_eq(edt_thread_start(&producers[i], "producer", produce, &t, &err), EDT_OK);
    }
    for (int i = 0; i < 3; ++i) {
        cr_assert_eq(edt_thread_start(&consumers[i], "consumer", consume, &t, &err), EDT_OK);
    }
    for (int i = 0; i < 4; ++i) {
        edt_thread_join(&producers[i]);
    }
    edt_queue_close(t.queue);
    for (int i = 0; i < 3; ++i) {
        edt_thread_join(&consumers[i]);
    }
    cr_assert_eq(atomic_load(&t.n_popped), t.n_items);
    cr_assert_eq(atomic_load(&t.sum), t.n_items * (t.n_items + 1) / 2);
    cr_assert_eq(atomic_load(&t.n_cancelled), 0);
    edt_queue_destroy(t.queue);
}

Test(queue, cancel_wakes_everyone, .timeout = 30)
{
    edt_error err = {0};
    traffic full = {.n_items = 1000};
    traffic empty = {0};
    edt_thread threads[6] = {0};
    cr_assert_eq(edt_queue_create(1, &err, &full.queue), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_queue_create(1, &err, &empty.queue), EDT_OK, "%s", err.text);
    for (int i = 0; i < 6; ++i) {
        const bool is_producer = i % 2 == 0;
        cr_assert_eq(edt_thread_start(&threads[i], "waiter", is_producer ? produce : consume,
                                      is_producer ? &full : &empty, &err),
                     EDT_OK);
    }
    edt_queue_cancel(full.queue);
    edt_queue_cancel(empty.queue);
    for (int i = 0; i < 6; ++i) {
        edt_thread_join(&threads[i]);
    }
    cr_assert_eq(atomic_load(&full.n_cancelled), 3);
    cr_assert_eq(atomic_load(&empty.n_cancelled), 3);
    edt_queue_destroy(full.queue);
    edt_queue_destroy(empty.queue);
}
