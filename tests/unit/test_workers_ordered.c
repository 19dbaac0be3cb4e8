#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#include "core/mem.h"
#include "core/workers.h"

typedef struct unit {
    int64_t i;
    int64_t square;
} unit;

typedef struct pipeline {
    int64_t n_units;
    int64_t window;
    int64_t n_produced; // serial
    int64_t n_consumed; // serial
    atomic_llong in_flight;
    int64_t produce_fails_at, work_fails_at, consume_fails_at, consume_ends_at; // 0: never
    pthread_t owner;
} pipeline;

static edt_status produce(void *ctx, void **out_unit, edt_error *err)
{
    pipeline *p = ctx;
    const int64_t i = p->n_produced + 1;
    if (i > p->n_units) {
        return EDT_END;
    }
    if (i == p->produce_fails_at) {
        EDT_FAIL(err, EDT_ERR_IO, "produce %lld", (long long)i);
    }
    unit *u = edt_mem_alloc(EDT_MEM_MISC, sizeof *u);
    *u = (unit){.i = i};
    p->n_produced = i;
    cr_assert_leq(atomic_fetch_add(&p->in_flight, 1) + 1, p->window);
    *out_unit = u;
    return EDT_OK;
}

static edt_status work(void *ctx, int i_worker, void *item, edt_error *err)
{
    (void)i_worker;
    pipeline *p = ctx;
    unit *u = item;
    // Uneven work: later units overtake earlier ones.
    for (int64_t i = 0; i < u->i * 7 % 13; ++i) {
        sched_yield();
    }
    u->square = u->i * u->i;
    if (p->work_fails_at > 0 && u->i >= p->work_fails_at) {
        EDT_FAIL(err, EDT_ERR_FORMAT, "work %lld", (long long)u->i);
    }
    return EDT_OK;
}

static void discard(void *ctx, void *item)
{
    pipeline *p = ctx;
    atomic_fetch_sub(&p->in_flight, 1);
    edt_mem_free(item);
}

static edt_status consume(void *ctx, void *item, edt_error *err)
{
    pipeline *p = ctx;
    const unit u = *(unit *)item;
    cr_assert(pthread_equal(p->owner, pthread_self()));
    discard(ctx, item);
    cr_assert_eq(u.i, p->n_consumed + 1);
    cr_assert_eq(u.square, u.i * u.i);
    ++p->n_consumed;
    if (u.i == p->consume_fails_at) {
        EDT_FAIL(err, EDT_ERR_NUMERIC, "consume %lld", (long long)u.i);
    }
    return u.i == p->consume_ends_at ? EDT_END : EDT_OK;
}

static edt_status run(pipeline *p, int n_threads, edt_error *err)
{
    p->owner = pthread_self();
    const edt_ordered_spec spec = {.name = "worker",
                                   .n_threads = n_threads,
                                   .window = p->window,
                                   .ctx = p,
                                   .produce = produce,
                                   .work = work,
                                   .consume = consume,
                                   .discard = discard};
    const edt_status status = edt_ordered_run(&spec, err);
    cr_assert_eq(atomic_load(&p->in_flight), 0, "leaked units");
    cr_assert_eq(edt_mem_get_total().n_live, 0);
    return status;
}

Test(workers_ordered, delivers_in_order_within_the_window, .timeout = 60)
{
    for (int n_threads = 1; n_threads <= 8; ++n_threads) {
        for (int64_t window = 1; window <= 9; window += 4) {
            edt_error err = {0};
            pipeline p = {.n_units = 500, .window = window};
            cr_assert_eq(run(&p, n_threads, &err), EDT_OK, "%s", err.text);
            cr_assert_eq(p.n_consumed, 500);
        }
    }
    edt_error err = {0};
    pipeline nothing = {.n_units = 0, .window = 3};
    cr_assert_eq(run(&nothing, 4, &err), EDT_OK);
}

Test(workers_ordered, errors_do_not_depend_on_the_number_of_threads, .timeout = 60)
{
    for (int n_threads = 1; n_threads <= 8; ++n_threads) {
        edt_error err = {0};
        pipeline a = {.n_units = 300, .window = 16, .work_fails_at = 100};
        cr_assert_eq(run(&a, n_threads, &err), EDT_ERR_FORMAT);
        cr_assert_str_eq(err.text, "work 100");
        cr_assert_eq(a.n_consumed, 99);

        err = (edt_error){0};
        pipeline b = {
            .n_units = 300, .window = 16, .produce_fails_at = 50, .work_fails_at = 60};
        cr_assert_eq(run(&b, n_threads, &err), EDT_ERR_IO);
        cr_assert_str_eq(err.text, "produce 50");
        cr_assert_eq(b.n_consumed, 49);

        err = (edt_error){0};
        pipeline c = {
            .n_units = 300, .window = 16, .consume_fails_at = 40, .work_fails_at = 45};
        cr_assert_eq(run(&c, n_threads, &err), EDT_ERR_NUMERIC);
        cr_assert_str_eq(err.text, "consume 40");
        cr_assert_eq(c.n_consumed, 40);

        pipeline d = {.n_units = 300, .window = 16, .consume_ends_at = 30};
        cr_assert_eq(run(&d, n_threads, &err), EDT_OK);
        cr_assert_eq(d.n_consumed, 30);
    }
}
