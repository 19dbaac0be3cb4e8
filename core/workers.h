// Groups of worker threads. A group takes units from a serial source and works on them in
// parallel; the first error wins, cancels the rest and reaches whoever joins. edt_ordered_run
// puts results back into the order of their units for a serial consumer.
#ifndef EDT_CORE_WORKERS_H
#define EDT_CORE_WORKERS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"

typedef struct edt_workers edt_workers;

// The callbacks share `ctx`; all but `next` and `work` may be NULL. A unit handed out by `next`
// is always given to `work`, even after a cancellation.
typedef struct edt_workers_spec {
    const char *name; // of the threads
    int n_threads;    // 0: one per processor
    void *ctx;
    // The next unit, one call at a time. EDT_END: there are no more, and it is not called
    // again.
    edt_status (*next)(void *ctx, void **out_unit, edt_error *err);
    // In parallel; 0 <= i_worker < number of threads, one unit at a time per index. EDT_END:
    // this unit is done and the group shall come to its end.
    edt_status (*work)(void *ctx, int i_worker, void *unit, edt_error *err);
    // Once, when the group is cancelled or fails: wakes what `next` and `work` may be waiting
    // for.
    void (*cancel)(void *ctx);
    // Once, on the last worker to leave, with the outcome that edt_workers_join reports.
    void (*finish)(void *ctx, edt_status status, const edt_error *err);
} edt_workers_spec;

edt_status edt_workers_start(const edt_workers_spec *spec, edt_error *err,
                             edt_workers **out_workers);
int edt_workers_count(const edt_workers *workers);
// No more units are begun and join gives EDT_ERR_CANCELLED, unless an error came first. From
// any thread.
void edt_workers_cancel(edt_workers *workers);
bool edt_workers_is_cancelled(edt_workers *workers);
// Waits for all workers: EDT_OK after the last unit, or the first error. From one thread, not a
// worker.
edt_status edt_workers_join(edt_workers *workers, edt_error *err);
// Cancels, joins and frees. NULL is fine.
void edt_workers_destroy(edt_workers *workers);

// Callbacks of edt_ordered_run; they share `ctx`.
typedef struct edt_ordered_spec {
    const char *name; // of the threads
    int n_threads;    // 0: one per processor
    int64_t window;   // most units between `produce` and the end of `consume`; 0: 4 per thread
    void *ctx;
    // The next unit, one call at a time on some worker. EDT_END ends the run.
    edt_status (*produce)(void *ctx, void **out_unit, edt_error *err);
    // In parallel, as in edt_workers_spec. It keeps its result in the unit. EDT_END ends the
    // run before this unit.
    edt_status (*work)(void *ctx, int i_worker, void *unit, edt_error *err);
    // On the caller's thread, in the order of `produce`; the unit is the consumer's from here,
    // also when it fails. EDT_END stops the run early without an error.
    edt_status (*consume)(void *ctx, void *unit, edt_error *err);
    // Frees a unit that was produced and will not be consumed, on the caller's thread. May be
    // NULL.
    void (*discard)(void *ctx, void *unit);
} edt_ordered_spec;

// Runs to the end. Errors come in unit order as well: whatever the number of threads, the units
// before the first bad one are consumed and its error is returned, as a plain loop would do.
edt_status edt_ordered_run(const edt_ordered_spec *spec, edt_error *err);

#endif
