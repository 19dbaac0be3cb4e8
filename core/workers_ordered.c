// Results in unit order: a worker group over a ring of `window` slots. Producing waits for a
// free slot, the caller's thread waits for the slot that is next in line, and an error stays in
// its slot until its turn comes, which makes the outcome independent of the number of threads.
#include <pthread.h>

#include "core/mem.h"
#include "core/thread.h"
#include "core/workers.h"

typedef struct ordered_run ordered_run;

typedef struct slot {
    ordered_run *run;
    void *unit;
    bool is_done;
    edt_status status; // of produce or work
    edt_error error;
} slot;

struct ordered_run {
    const edt_ordered_spec *spec;
    int64_t window;
    slot *slots;
    pthread_mutex_t lock; // guards what follows and is_done
    pthread_cond_t has_space;
    pthread_cond_t has_done;
    int64_t n_produced; // slots handed out
    int64_t n_consumed;
    bool is_ended; // nothing more is produced
    bool is_left;  // no worker is active
};

static void end_producing(void *ctx)
{
    ordered_run *run = ctx;
    pthread_mutex_lock(&run->lock);
    run->is_ended = true;
    pthread_cond_broadcast(&run->has_space);
    pthread_mutex_unlock(&run->lock);
}

static void finish_slot(slot *s)
{
    ordered_run *run = s->run;
    pthread_mutex_lock(&run->lock);
    s->is_done = true;
    pthread_cond_signal(&run->has_done);
    pthread_mutex_unlock(&run->lock);
}

// Serial: the only writer of n_produced.
static edt_status next_slot(void *ctx, void **out_unit, edt_error *err)
{
    (void)err;
    ordered_run *run = ctx;
    pthread_mutex_lock(&run->lock);
    while (!run->is_ended && run->n_produced - run->n_consumed >= run->window) {
        pthread_cond_wait(&run->has_space, &run->lock);
    }
    const bool is_ended = run->is_ended;
    slot *s = &run->slots[run->n_produced % run->window];
    pthread_mutex_unlock(&run->lock);
    if (is_ended) {
        return EDT_END;
    }

    void *unit = NULL;
    s->error = (edt_error){0};
    s->status = run->spec->produce(run->spec->ctx, &unit, &s->error);
    s->unit = s->status == EDT_OK ? unit : NULL;
    pthread_mutex_lock(&run->lock);
    const bool is_unit = s->status == EDT_OK;
    // A failed produce takes a slot too: its error comes after the units before it.
    s->is_done = !is_unit;
    run->n_produced += s->status != EDT_END;
    if (!is_unit) {
        run->is_ended = true;
        pthread_cond_signal(&run->has_done);
    }
    pthread_mutex_unlock(&run->lock);
    *out_unit = s;
    return is_unit ? EDT_OK : EDT_END;
}

static edt_status work_on_slot(void *ctx, int i_worker, void *unit, edt_error *err)
{
    (void)err;
    ordered_run *run = ctx;
    slot *s = unit;
    s->status = run->spec->work(run->spec->ctx, i_worker, s->unit, &s->error);
    if (s->status != EDT_OK) {
        end_producing(run);
    }
    finish_slot(s);
    return EDT_OK;
}

static void leave(void *ctx, edt_status status, const edt_error *err)
{
    (void)status;
    (void)err;
    ordered_run *run = ctx;
    pthread_mutex_lock(&run->lock);
    run->is_left = true;
    pthread_cond_signal(&run->has_done);
    pthread_mutex_unlock(&run->lock);
}

// The slot next in line once it is done; NULL when all are consumed and no more can come.
static slot *wait_for_slot(ordered_run *run)
{
    slot *s = NULL;
    pthread_mutex_lock(&run->lock);
    for (;;) {
        const bool is_pending = run->n_consumed < run->n_produced;
        s = &run->slots[run->n_consumed % run->window];
        if (is_pending && s->is_done) {
            break;
        }
        if (!is_pending && run->is_left) {
            s = NULL;
            break;
        }
        pthread_cond_wait(&run->has_done, &run->lock);
    }
    pthread_mutex_unlock(&run->lock);
    return s;
}

static void release_slot(ordered_run *run)
{
    pthread_mutex_lock(&run->lock);
    ++run->n_consumed;
    pthread_cond_signal(&run->has_space);
    pthread_mutex_unlock(&run->lock);
}

static edt_status consume_slots(ordered_run *run, edt_error *err)
{
    const edt_ordered_spec *spec = run->spec;
    edt_status status = EDT_OK;
    slot *s;
    while (status == EDT_OK && (s = wait_for_slot(run)) != NULL) {
        if (s->status != EDT_OK) {
            // The slot keeps its unit, if any, for discard_slots.
            status = s->status;
            if (err != NULL) {
                *err = s->error;
            }
            break;
        }
        void *unit = s->unit;
        s->unit = NULL;
        status = spec->consume(spec->ctx, unit, err);
        release_slot(run);
    }
    return status;
}

static void discard_slots(ordered_run *run)
{
    for (; run->n_consumed < run->n_produced; ++run->n_consumed) {
        slot *s = &run->slots[run->n_consumed % run->window];
        if (s->unit != NULL && run->spec->discard != NULL) {
            run->spec->discard(run->spec->ctx, s->unit);
        }
    }
}

edt_status edt_ordered_run(const edt_ordered_spec *spec, edt_error *err)
{
    const int n_threads = spec->n_threads > 0 ? spec->n_threads : edt_thread_cpu_count();
    ordered_run run = {.spec = spec, .window = spec->window > 0 ? spec->window : 4 * n_threads};
    run.slots = edt_mem_calloc(EDT_MEM_MISC, (size_t)run.window, sizeof *run.slots);
    if (run.slots == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for a window of %lld units",
                 (long long)run.window);
    }
    for (int64_t i = 0; i < run.window; ++i) {
        run.slots[i].run = &run;
    }
    pthread_mutex_init(&run.lock, NULL);
    pthread_cond_init(&run.has_space, NULL);
    pthread_cond_init(&run.has_done, NULL);

    const edt_workers_spec workers_spec = {.name = spec->name,
                                           .n_threads = n_threads,
                                           .ctx = &run,
                                           .next = next_slot,
                                           .work = work_on_slot,
                                           .cancel = end_producing,
                                           .finish = leave};
    edt_workers *workers = NULL;
    edt_status status = edt_workers_start(&workers_spec, err, &workers);
    if (status == EDT_OK) {
        status = consume_slots(&run, err);
        end_producing(&run);
        edt_workers_destroy(workers);
    }
    discard_slots(&run);

    pthread_cond_destroy(&run.has_done);
    pthread_cond_destroy(&run.has_space);
    pthread_mutex_destroy(&run.lock);
    edt_mem_free(run.slots);
    return status == EDT_END ? EDT_OK : status;
}
