// Ranges of a loop over threads. A small loop runs on the caller's thread: starting threads
// costs more than evaluating a hundred images.
#include "core/thread.h"
#include "core/workers.h"
#include "eval/coco_priv.h"

typedef struct ranges {
    int64_t n_items, grain, n_ranges, next;
    edt_status (*run)(void *ctx, int i_worker, int64_t begin, int64_t end, edt_error *err);
    void *ctx;
} ranges;

static edt_status next_range(void *ctx, void **out_unit, edt_error *err)
{
    (void)err;
    ranges *r = ctx;
    if (r->next == r->n_ranges) {
        return EDT_END;
    }
    *out_unit = (void *)(intptr_t)r->next++;
    return EDT_OK;
}

static edt_status work_range(void *ctx, int i_worker, void *unit, edt_error *err)
{
    const ranges *r = ctx;
    const int64_t begin = (intptr_t)unit * r->grain;
    const int64_t end = begin + r->grain < r->n_items ? begin + r->grain : r->n_items;
    return r->run(r->ctx, i_worker, begin, end, err);
}

edt_status edt_coco_run_ranges(int64_t n_items, int64_t grain, int n_threads,
                               edt_status (*run)(void *ctx, int i_worker, int64_t begin,
                                                 int64_t end, edt_error *err),
                               void *ctx, edt_error *err)
{
    if (n_items == 0) {
        return EDT_OK;
    }
    ranges r = {.n_items = n_items,
                .grain = grain,
                .n_ranges = (n_items + grain - 1) / grain,
                .run = run,
                .ctx = ctx};
    if (r.n_ranges < n_threads) {
        n_threads = (int)r.n_ranges;
    }
    if (n_threads <= 1) {
        return run(ctx, 0, 0, n_items, err);
    }
    const edt_workers_spec spec = {.name = "coco",
                                   .n_threads = n_threads,
                                   .ctx = &r,
                                   .next = next_range,
                                   .work = work_range};
    edt_workers *workers = NULL;
    EDT_TRY(edt_workers_start(&spec, err, &workers));
    const edt_status status = edt_workers_join(workers, err);
    edt_workers_destroy(workers);
    return status;
}
