// Named threads, and how many of them the process may usefully run. Signals that ask a program
// to end are left to the thread that called edt_thread_start.
#ifndef EDT_CORE_THREAD_H
#define EDT_CORE_THREAD_H

#include <pthread.h>
#include <stdbool.h>

#include "core/error.h"

// Processors in the affinity mask of the calling thread (taskset, containers), at least 1.
int edt_thread_cpu_count(void);

typedef struct edt_thread {
    pthread_t id;
    bool is_running; // started and not joined
} edt_thread;

typedef void edt_thread_function(void *ctx);

// Runs function(ctx) on a new thread. The first 15 bytes of `name` show up in debuggers, top
// and traces. `ctx` must live until the join. EDT_ERR_IO: the system has no more threads.
edt_status edt_thread_start(edt_thread *thread, const char *name, edt_thread_function *function,
                            void *ctx, edt_error *err);

// Waits for the end of the thread. A zeroed or already joined thread is legal.
void edt_thread_join(edt_thread *thread);

#endif
