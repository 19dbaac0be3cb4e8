// Worker groups; see workers.h.
#include "core/workers.h"

#include <pthread.h>

#include "core/mem.h"
#include "core/thread.h"

typedef struct worker {
    edt_workers *group;
    int i_worker;
    edt_thread thread;
} worker;

struct edt_workers {
    edt_workers_spec spec;
    pthread_mutex_t source_lock; // held around spec.next; taken before `lock`
    pthread_mutex_t lock;        // guards what follows
    bool is_ended;               // no more units
    bool is_cancelled;
    edt_status status; // the first error
    edt_error error;
    int n_active;
    int n_threads;
    worker *workers;
};

// Records the first reason to stop, and wakes everyone for it.
static void stop_group(edt_workers *group, edt_status status, const edt_error *err)
{
    pthread_mutex_lock(&group->lock);
    // A group that has ended by itself stays so.
    const bool is_first = !group->is_cancelled && group->n_active > 0;
    if (is_first) {
        group->is_cancelled = true;
        group->status = status;
        group->error = *err;
    }
    pthread_mutex_unlock(&group->lock);
    if (is_first && group->spec.cancel != NULL) {
        group->spec.cancel(group->spec.ctx);
    }
}

// Takes `n_leaving` members off the count and tells the owner when they were the last.
static void leave_group(edt_workers *group, int n_leaving)
{
    pthread_mutex_lock(&group->lock);
    group->n_active -= n_leaving;
    const bool is_last = group->n_active == 0;
    pthread_mutex_unlock(&group->lock);
    // Nobody writes the outcome of a group without members.
    if (is_last && group->spec.finish != NULL) {
        group->spec.finish(group->spec.ctx, group->status, &group->error);
    }
}

static bool is_over(edt_workers *group)
{
    pthread_mutex_lock(&group->lock);
    const bool over = group->is_ended || group->is_cancelled;
    pthread_mutex_unlock(&group->lock);
    return over;
}

static void end_group(edt_workers *group)
{
    pthread_mutex_lock(&group->lock);
    group->is_ended = true;
    pthread_mutex_unlock(&group->lock);
}

static bool take_unit(edt_workers *group, void **out_unit)
{
    edt_error err = {0};
    edt_status status = EDT_END;
    pthread_mutex_lock(&group->source_lock);
    if (!is_over(group)) {
        status = group->spec.next(group->spec.ctx, out_unit, &err);
        if (status != EDT_OK) {
            end_group(group);
        }
    }
    pthread_mutex_unlock(&group->source_lock);
    if (status != EDT_OK && status != EDT_END) {
        stop_group(group, status, &err);
    }
    return status == EDT_OK;
}

static void run_worker(void *ctx)
{
    worker *self = ctx;
    edt_workers *group = self->group;
    void *unit = NULL;
    while (take_unit(group, &unit)) {
        edt_error err = {0};
        const edt_status status = group->spec.work(group->spec.ctx, self->i_worker, unit, &err);
        if (status == EDT_END) {
            end_group(group);
        } else if (status != EDT_OK) {
            stop_group(group, status, &err);
        }
    }
    leave_group(group, 1);
}

static void join_threads(edt_workers *group)
{
    for (int i = 0; i < group->n_threads; ++i) {
        edt_thread_join(&group->workers[i].thread);
    }
}

static void free_group(edt_workers *group)
{
    pthread_mutex_destroy(&group->lock);
    pthread_mutex_destroy(&group->source_lock);
    edt_mem_free(group->workers);
    edt_mem_free(group);
}

edt_status edt_workers_start(const edt_workers_spec *spec, edt_error *err,
                             edt_workers **out_workers)
{
    const int n_threads = spec->n_threads > 0 ? spec->n_threads : edt_thread_cpu_count();
    edt_workers *group = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *group);
    worker *members = edt_mem_calloc(EDT_MEM_MISC, (size_t)n_threads, sizeof *members);
    if (group == NULL || members == NULL) {
        edt_mem_free(members);
        edt_mem_free(group);
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %d worker threads", n_threads);
    }
    group->spec = *spec;
    group->workers = members;
    group->n_threads = n_threads;
    // The starter counts as a member until all are there, so that `finish` cannot come early.
    group->n_active = n_threads + 1;
    pthread_mutex_init(&group->source_lock, NULL);
    pthread_mutex_init(&group->lock, NULL);

    edt_status status = EDT_OK;
    int n_started = 0;
    edt_error start_error = {0};
    for (; status == EDT_OK && n_started < n_threads; n_started += status == EDT_OK) {
        members[n_started] = (worker){.group = group, .i_worker = n_started};
        status = edt_thread_start(&members[n_started].thread, spec->name, run_worker,
                                  &members[n_started], &start_error);
    }
    if (status != EDT_OK) {
        stop_group(group, status, &start_error);
    }
    leave_group(group, n_threads - n_started + 1);
    if (status != EDT_OK) {
        join_threads(group);
        free_group(group);
        return edt_error_set(err, status, "%s", start_error.text);
    }
    *out_workers = group;
    return EDT_OK;
}

int edt_workers_count(const edt_workers *workers)
{
    return workers->n_threads;
}

void edt_workers_cancel(edt_workers *workers)
{
    edt_error err = {0};
    stop_group(workers, edt_error_set(&err, EDT_ERR_CANCELLED, "cancelled"), &err);
}

bool edt_workers_is_cancelled(edt_workers *workers)
{
    pthread_mutex_lock(&workers->lock);
    const bool is_cancelled = workers->is_cancelled;
    pthread_mutex_unlock(&workers->lock);
    return is_cancelled;
}

edt_status edt_workers_join(edt_workers *workers, edt_error *err)
{
    join_threads(workers);
    if (workers->status != EDT_OK && err != NULL) {
        *err = workers->error;
    }
    return workers->status;
}

void edt_workers_destroy(edt_workers *workers)
{
    if (workers == NULL) {
        return;
    }
    edt_workers_cancel(workers);
    join_threads(workers);
    free_group(workers);
}
