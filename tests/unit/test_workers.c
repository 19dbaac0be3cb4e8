#include <criterion/criterion.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#include "core/mem.h"
#include "core/queue.h"
#include "core/workers.h"

enum { MAX_THREADS = 8 };

typedef struct job {
    int64_t n_units;
    int64_t next; // serial by contract, therefore not atomic
    int64_t fail_at, end_at;
    atomic_llong sum, n_worked;
    atomic_int busy[MAX_THREADS];
    atomic_int n_cancel, n_finish;
    edt_status finish_status;
    edt_queue *never; // an empty queue to wait on
} job;

static edt_status next_number(void *ctx, void **out_unit, edt_error *err)
{
    (void)err;
    job *j = ctx;
    if (j->next == j->n_units) {
        return EDT_END;
    }
    *out_unit = (void *)(intptr_t)++j->next;
    return EDT_OK;
}

static edt_status add_number(void *ctx, int i_worker, void *unit, edt_error *err)
{
    job *j = ctx;
    const int64_t i = (intptr_t)unit;
    cr_assert(i_worker >= 0 && i_worker < MAX_THREADS);
    cr_assert_eq(atomic_fetch_add(&j->busy[i_worker], 1), 0);
    atomic_fetch_add(&j->sum, i);
    atomic_fetch_add(&j->n_worked, 1);
    atomic_fetch_sub(&j->busy[i_worker], 1);
    if (i == j->fail_at) {
        EDT_FAIL(err, EDT_ERR_CORRUPT, "unit %lld is bad", (long long)i);
    }
    return i == j->end_at ? EDT_END : EDT_OK;
}

static void count_cancel(void *ctx)
{
    job *j = ctx;
    atomic_fetch_add(&j->n_cancel, 1);
    if (j->never != NULL) {
        edt_queue_cancel(j->never);
    }
}

static void count_finish(void *ctx, edt_status status, const edt_error *err)
{
    (void)err;
    job *j = ctx;
    j->finish_status = status;
    atomic_fetch_add(&j->n_finish, 1);
}

static edt_status run_job(job *j, int n_threads, edt_error *err)
{
    const edt_workers_spec spec = {.name = "adder",
                                   .n_threads = n_threads,
                                   .ctx = j,
                                   .next = next_number,
                                   .work = add_number,
                                   .cancel = count_cancel,
                                   .finish = count_finish};
    edt_workers *workers = NULL;
    cr_assert_eq(edt_workers_start(&spec, err, &workers), EDT_OK, "%s", err->text);
    cr_assert_eq(edt_workers_count(workers), n_threads);
    const edt_status status = edt_workers_join(workers, err);
    edt_workers_destroy(workers);
    cr_assert_eq(atomic_load(&j->n_finish), 1);
    cr_assert_eq(j->finish_status, status);
    return status;
}

Test(workers, work_on_every_unit_once, .timeout = 60)
{
    for (int n_threads = 1; n_threads <= MAX_THREADS; n_threads *= 2) {
        edt_error err = {0};
        job j = {.n_units = 5000};
        cr_assert_eq(run_job(&j, n_threads, &err), EDT_OK, "%s", err.text);
        cr_assert_eq(atomic_load(&j.n_worked), 5000);
        cr_assert_eq(atomic_load(&j.sum), 5000LL * 5001 / 2);
        cr_assert_eq(atomic_load(&j.n_cancel), 0);
    }
    cr_assert_eq(edt_mem_get_total().n_live, 0);
}

Test(workers, the_first_error_reaches_the_joiner_and_stops_the_rest, .timeout = 30)
{
    edt_error err = {0};
    job j = {.n_units = INT64_MAX, .fail_at = 100};
    cr_assert_eq(run_job(&j, 4, &err), EDT_ERR_CORRUPT);
    cr_assert_str_eq(err.text, "unit 100 is bad");
    cr_assert_eq(err.status, EDT_ERR_CORRUPT);
    cr_assert_eq(atomic_load(&j.n_cancel), 1);
    cr_assert_eq(atomic_load(&j.n_worked), j.next);
}

Test(workers, a_worker_may_end_the_group, .timeout = 30)
{
    edt_error err = {0};
    job j = {.n_units = INT64_MAX, .end_at = 100};
    cr_assert_eq(run_job(&j, 4, &err), EDT_OK, "%s", err.text);
    cr_assert_eq(atomic_load(&j.n_worked), j.next);
}

static edt_status wait_for_ever(void *ctx, void **out_unit, edt_error *err)
{
    (void)err;
    return edt_queue_pop(((job *)ctx)->never, out_unit);
}

Test(workers, cancelling_wakes_a_waiting_source, .timeout = 30)
{
    edt_error err = {0};
    job j = {0};
    cr_assert_eq(edt_queue_create(1, &err, &j.never), EDT_OK, "%s", err.text);
    const edt_workers_spec spec = {.name = "waiter",
                                   .n_threads = 3,
                                   .ctx = &j,
                                   .next = wait_for_ever,
                                   .work = add_number,
                                   .cancel = count_cancel};
    edt_workers *workers = NULL;
    cr_assert_eq(edt_workers_start(&spec, &err, &workers), EDT_OK, "%s", err.text);
    cr_assert_not(edt_workers_is_cancelled(workers));
    edt_workers_cancel(workers);
    cr_assert(edt_workers_is_cancelled(workers));
    cr_assert_eq(edt_workers_join(workers, &err), EDT_ERR_CANCELLED);
    edt_workers_destroy(workers);
    edt_workers_destroy(NULL);
    cr_assert_eq(atomic_load(&j.n_cancel), 1);
    edt_queue_destroy(j.never);
}
