// Named threads; see thread.h.
#include "core/thread.h"

#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/mem.h"

enum { THREAD_NAME_BYTES = 16 }; // the kernel's limit, with the terminator

typedef struct thread_start {
    edt_thread_function *function;
    void *ctx;
    char name[THREAD_NAME_BYTES];
} thread_start;

int edt_thread_cpu_count(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        const int n_cpus = CPU_COUNT(&set);
        if (n_cpus > 0) {
            return n_cpus;
        }
    }
    // More processors than cpu_set_t holds.
    const long n_online = sysconf(_SC_NPROCESSORS_ONLN);
    return n_online > 0 ? (int)n_online : 1;
}

static void *run_thread(void *argument)
{
    const thread_start start = *(thread_start *)argument;
    edt_mem_free(argument);
    (void)pthread_setname_np(pthread_self(), start.name);
    start.function(start.ctx);
    return NULL;
}

edt_status edt_thread_start(edt_thread *thread, const char *name, edt_thread_function *function,
                            void *ctx, edt_error *err)
{
    thread_start *start = edt_mem_alloc(EDT_MEM_MISC, sizeof *start);
    if (start == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to start thread '%s'", name);
    }
    *start = (thread_start){.function = function, .ctx = ctx};
    (void)snprintf(start->name, sizeof start->name, "%.15s", name);

    sigset_t blocked;
    sigset_t before;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGINT);
    sigaddset(&blocked, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &blocked, &before);
    const int code = pthread_create(&thread->id, NULL, run_thread, start);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (code != 0) {
        edt_mem_free(start);
        return edt_error_set_errno(err, EDT_ERR_IO, code,
                                   "cannot start thread '%s'; use fewer threads or raise the "
                                   "limit (ulimit -u)",
                                   name);
    }
    thread->is_running = true;
    return EDT_OK;
}

void edt_thread_join(edt_thread *thread)
{
    if (thread->is_running) {
        pthread_join(thread->id, NULL);
        thread->is_running = false;
    }
}
