// See parallel.h. A thin use of a worker group: units are indices from a counter.
#include "core/parallel.h"

#include <stddef.h>

#include "core/thread.h"
#include "core/workers.h"

typedef struct parallel_loop {
    edt_parallel_fn *fn;
    void *ctx;
    int64_t next, n;
} parallel_loop;

static edt_status next_index(void *ctx, void **out_unit, edt_error *err)
{
    (void)err;
    parallel_loop *loop = ctx;
    if (loop->next == loop->n) {
        return EDT_END;
    }
    // Units are pointers; the index travels as one, offset so that it is never NULL.
    *out_unit = (void *)(intptr_t)(++loop->next);
    return EDT_OK;
}

static edt_status run_index(void *ctx, int i_worker, void *unit, edt_error *err)
{
    const parallel_loop *loop = ctx;
    return loop->fn(loop->ctx, i_worker, (int64_t)(intptr_t)unit - 1, err);
}

edt_status edt_parallel_for(int n_threads, int64_t n, edt_parallel_fn *fn, void *ctx,
                            edt_error *err)
{
    const int cores = n_threads > 0 ? n_threads : edt_thread_cpu_count();
    const int threads = n < cores ? (int)n : cores;
    if (threads <= 1) {
        for (int64_t i = 0; i < n; ++i) {
            EDT_TRY(fn(ctx, 0, i, err));
        }
        return EDT_OK;
    }
    parallel_loop loop = {.fn = fn, .ctx = ctx, .n = n};
    edt_workers *workers = NULL;
    EDT_TRY(edt_workers_start(&(edt_workers_spec){.name = "parallel",
                                                  .n_threads = threads,
                                                  .ctx = &loop,
                                                  .next = next_index,
                                                  .work = run_index},
                              err, &workers));
    const edt_status status = edt_workers_join(workers, err);
    edt_workers_destroy(workers);
    return status;
}
