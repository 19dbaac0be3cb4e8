// Chrome trace events; see trace.h. Each thread appends to a log of its own under a lock that
// only edt_trace_stop contends for. Logs outlive their threads and are kept for the next trace:
// a thread may hold a pointer to its log at any time.
#include "core/trace.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/file.h"
#include "core/mem.h"

enum { FIRST_EVENTS = 1024, THREAD_NAME_BYTES = 16 };

typedef struct trace_event {
    const char *name; // NULL: an end
    double at_s;
} trace_event;

typedef struct trace_log {
    struct trace_log *next;
    pthread_mutex_t lock; // guards what follows
    char thread_name[THREAD_NAME_BYTES];
    long thread_id;
    size_t n_events;
    size_t capacity;
    trace_event *events;
} trace_log;

static atomic_bool is_on;
static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static trace_log *logs;
static edt_atomic_file *trace_file; // NULL: no trace is under way
static double trace_begin_s;
static _Thread_local trace_log *own_log;

static trace_log *register_thread(void)
{
    trace_log *log = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *log);
    if (log == NULL) {
        return NULL;
    }
    pthread_mutex_init(&log->lock, NULL);
    log->thread_id = (long)gettid();
    pthread_mutex_lock(&registry_lock);
    log->next = logs;
    logs = log;
    pthread_mutex_unlock(&registry_lock);
    return log;
}

static bool grow(trace_log *log)
{
    const size_t capacity = log->capacity > 0 ? 2 * log->capacity : FIRST_EVENTS;
    trace_event *events =
        edt_mem_realloc(EDT_MEM_MISC, log->events, capacity * sizeof *log->events);
    if (events == NULL) {
        return false;
    }
    log->events = events;
    log->capacity = capacity;
    return true;
}

static void record(const char *name)
{
    if (own_log == NULL) {
        own_log = register_thread();
    }
    trace_log *log = own_log;
    if (log == NULL) {
        return;
    }
    pthread_mutex_lock(&log->lock);
    // Checked again under the lock: after a stop has written this log nothing may come into it.
    if (atomic_load_explicit(&is_on, memory_order_relaxed) &&
        (log->n_events < log->capacity || grow(log))) {
        if (log->n_events == 0) {
            (void)pthread_getname_np(pthread_self(), log->thread_name, sizeof log->thread_name);
        }
        log->events[log->n_events++] = (trace_event){.name = name, .at_s = edt_clock_now_s()};
    }
    pthread_mutex_unlock(&log->lock);
}

void edt_trace_begin(const char *name)
{
    if (atomic_load_explicit(&is_on, memory_order_relaxed)) {
        record(name);
    }
}

void edt_trace_end(void)
{
    if (atomic_load_explicit(&is_on, memory_order_relaxed)) {
        record(NULL);
    }
}

edt_status edt_trace_start(const char *path, edt_error *err)
{
    edt_status status = EDT_OK;
    pthread_mutex_lock(&registry_lock);
    if (trace_file != NULL) {
        status = edt_error_set(err, EDT_ERR_INVALID,
                               "cannot trace to '%s': another trace is under way", path);
    } else {
        // Opened now, so that a bad path is an error before the work and not after it.
        status = edt_atomic_file_open(path, err, &trace_file);
    }
    if (status == EDT_OK) {
        trace_begin_s = edt_clock_now_s();
        atomic_store(&is_on, true);
    }
    pthread_mutex_unlock(&registry_lock);
    return status;
}

// Appends `text` as the inside of a JSON string; names too long for `out` are cut.
static void escape(const char *text, char *out, size_t out_bytes)
{
    size_t n = 0;
    for (; *text != '\0' && n + 7 < out_bytes; ++text) {
        const unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\') {
            out[n++] = '\\';
            out[n++] = (char)c;
        } else if (c < 0x20) {
            n += (size_t)snprintf(out + n, out_bytes - n, "\\u%04x", c);
        } else {
            out[n++] = (char)c;
        }
    }
    out[n] = '\0';
}

static edt_status write_log(edt_atomic_file *file, const trace_log *log, bool *is_first,
                            edt_error *err)
{
    char name[256];
    char line[512];
    const long process_id = (long)getpid();
    escape(log->thread_name, name, sizeof name);
    int n = snprintf(line, sizeof line,
                     "%s{\"ph\":\"M\",\"name\":\"thread_name\",\"pid\":%ld,\"tid\":%ld,"
                     "\"args\":{\"name\":\"%s\"}}",
                     *is_first ? "" : ",\n", process_id, log->thread_id, name);
    *is_first = false;
    EDT_TRY(edt_atomic_file_append(file, line, (size_t)n, err));
    for (size_t i = 0; i < log->n_events; ++i) {
        const trace_event *event = &log->events[i];
        const double at_us = (event->at_s - trace_begin_s) * 1e6;
        if (event->name != NULL) {
            escape(event->name, name, sizeof name);
            n = snprintf(
                line, sizeof line,
                ",\n{\"ph\":\"B\",\"name\":\"%s\",\"pid\":%ld,\"tid\":%ld,\"ts\":%.3f}", name,
                process_id, log->thread_id, at_us);
        } else {
            n = snprintf(line, sizeof line,
                         ",\n{\"ph\":\"E\",\"pid\":%ld,\"tid\":%ld,\"ts\":%.3f}", process_id,
                         log->thread_id, at_us);
        }
        EDT_TRY(edt_atomic_file_append(file, line, (size_t)n, err));
    }
    return EDT_OK;
}

static edt_status write_trace(edt_error *err)
{
    static const char head[] = "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n";
    static const char tail[] = "\n]}\n";
    edt_atomic_file *file = trace_file;
    bool is_first = true;
    edt_status status = edt_atomic_file_append(file, head, sizeof head - 1, err);
    for (trace_log *log = logs; log != NULL; log = log->next) {
        pthread_mutex_lock(&log->lock);
        if (status == EDT_OK && log->n_events > 0) {
            status = write_log(file, log, &is_first, err);
        }
        edt_mem_free(log->events);
        log->events = NULL;
        log->n_events = 0;
        log->capacity = 0;
        pthread_mutex_unlock(&log->lock);
    }
    if (status == EDT_OK) {
        status = edt_atomic_file_append(file, tail, sizeof tail - 1, err);
    }
    if (status == EDT_OK) {
        status = edt_atomic_file_commit(file, err);
    }
    return status;
}

edt_status edt_trace_stop(edt_error *err)
{
    edt_status status = EDT_OK;
    pthread_mutex_lock(&registry_lock);
    if (trace_file != NULL) {
        atomic_store(&is_on, false);
        status = write_trace(err);
        edt_atomic_file_close(trace_file);
        trace_file = NULL;
    }
    pthread_mutex_unlock(&registry_lock);
    return status;
}
