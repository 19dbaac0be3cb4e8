// See record_source.h. A ring of windows: one thread fills them in the order of the stream, any
// number of threads take records out, and a window is filled anew when the lowest batch at work
// lies behind it. A batch never needs more windows than the ring has, so that the lowest one
// can always be finished: that is why nothing can wait in a circle.
#include "dataio/record_source.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>

#include "core/mem.h"
#include "core/thread.h"
#include "dataio/record_stream.h"

enum {
    BLOCK_BYTES = 4 << 20,     // records share blocks ...
    OWN_BYTES = 1 << 20,       // ... up to this size, larger ones have their own
    ADVISED_BYTES = 8 << 20,   // what the system is asked to read ahead
    MAX_REASON_BYTES = 1 << 10 // kept of a message
};

typedef struct held_record {
    const uint8_t *data;
    size_t n_bytes;
    uint8_t *own; // memory of a large record
    bool is_done; // under the mutex, as are all fields once it is set
    edt_status status;
    const char *reason;
} held_record;

typedef struct window {
    bool is_used;
    int64_t epoch;
    edt_sampler_span span;
    held_record *records; // [span.n] by position
    edt_arena bytes;
} window;

struct edt_record_source {
    const edt_record_index *index;
    const edt_sampler *sampler;
    edt_cursor start;
    bool reads_others;
    int64_t n_windows; // 0: all at random
    window *windows;
    int64_t n_largest; // records of a window

    // Of the reader.
    edt_thread thread;
    edt_record_stream *stream;
    edt_record_scratch *scratch;
    int64_t *positions; // [n_largest] that want the window's records, in the stream's order
    int64_t n_advised, advised_bytes;

    atomic_bool stop;
    pthread_mutex_t mutex;   // guards the rest
    pthread_cond_t has_room; // a window was given back
    pthread_cond_t has_read; // a record is there
    bool has_sync;
    int64_t n_waiting; // for has_read
    edt_cursor next;   // of the window that is filled next
    edt_cursor low;    // windows that end here or before are free
};

static bool is_stream(const edt_record_source *s, int64_t i)
{
    return edt_record_index_is_stream(s->index, edt_record_index_get(s->index, i).i_file);
}

// What the windows hold; all else is read by whoever asks for it.
static bool is_held(const edt_record_source *s, int64_t epoch, int64_t position, int64_t i)
{
    return (s->reads_others && is_stream(s, i)) ||
           edt_sampler_is_mine(s->sampler, s->start, epoch, position);
}

static uint8_t *make_room(window *w, held_record *r, size_t n_bytes)
{
    if (n_bytes <= OWN_BYTES) {
        return edt_arena_alloc(&w->bytes, n_bytes);
    }
    r->own = edt_mem_alloc(EDT_MEM_ARENA, n_bytes);
    return r->own;
}

static edt_status read_record(edt_record_source *s, int64_t i, edt_error *err,
                              edt_span *out_payload)
{
    return is_stream(s, i)
               ? edt_record_stream_read(s->stream, i, &s->stop, err, out_payload)
               : edt_record_index_read_into(s->index, i, s->scratch, err, out_payload);
}

// Into the window, or what is wrong with it.
static void fill_record(edt_record_source *s, window *w, int64_t i, held_record *r)
{
    edt_error err = {0};
    edt_span payload = {0};
    r->status = read_record(s, i, &err, &payload);
    if (r->status == EDT_OK) {
        uint8_t *copy = make_room(w, r, payload.n_bytes);
        if (copy == NULL) {
            r->status = edt_error_set(&err, EDT_ERR_NOMEM,
                                      "no memory to hold a record of %zu bytes; lower "
                                      "shuffle_window (%" PRId64 ")",
                                      payload.n_bytes, s->sampler->window);
        } else if (payload.n_bytes > 0) {
            memcpy(copy, payload.data, payload.n_bytes);
        }
        r->data = copy;
        r->n_bytes = payload.n_bytes;
    }
    if (r->status != EDT_OK) {
        r->reason = edt_arena_strndup(&w->bytes, err.text, strnlen(err.text, MAX_REASON_BYTES));
    }
}

// Keeps the disk busy with what comes next; the system's own reading ahead does not see through
// the gaps that other ranks' records leave.
static void advise(edt_record_source *s, const window *w, int64_t k)
{
    if (s->n_advised <= k) {
        s->n_advised = k + 1;
        s->advised_bytes = 0;
    }
    for (; s->n_advised < w->span.n && s->advised_bytes < ADVISED_BYTES; ++s->n_advised) {
        const int64_t i =
            edt_sampler_stream(s->sampler, w->epoch, w->span.first + s->n_advised);
        if (!is_stream(s, i) && is_held(s, w->epoch, s->positions[s->n_advised], i)) {
            edt_record_index_advise(s->index, i);
            s->advised_bytes += (int64_t)edt_record_index_get(s->index, i).n_bytes;
        }
    }
}

static void fill_window(edt_record_source *s, window *w)
{
    const int64_t first = w->span.first;
    for (int64_t p = first; p < first + w->span.n; ++p) {
        s->positions[edt_sampler_place(s->sampler, w->epoch, w->span, p)] = p;
    }
    s->n_advised = s->advised_bytes = 0;
    for (int64_t k = 0; k < w->span.n && !atomic_load(&s->stop); ++k) {
        const int64_t i = edt_sampler_stream(s->sampler, w->epoch, first + k);
        if (!is_held(s, w->epoch, s->positions[k], i)) {
            continue;
        }
        advise(s, w, k);
        held_record *r = &w->records[s->positions[k] - first];
        fill_record(s, w, i, r);
        s->advised_bytes -= (int64_t)r->n_bytes;
        (void)pthread_mutex_lock(&s->mutex);
        r->is_done = true;
        if (s->n_waiting > 0) {
            (void)pthread_cond_broadcast(&s->has_read);
        }
        (void)pthread_mutex_unlock(&s->mutex);
    }
}

static bool is_behind(edt_cursor cursor, int64_t epoch, int64_t position)
{
    return cursor.epoch > epoch || (cursor.epoch == epoch && cursor.position >= position);
}

static void empty_window(window *w)
{
    for (int64_t i = 0; w->records != NULL && i < w->span.n; ++i) {
        edt_mem_free(w->records[i].own);
        w->records[i] = (held_record){0};
    }
    edt_arena_reset(&w->bytes);
}

// The next window to fill, once the one in its place of the ring has been given back; NULL at
// the end.
static window *begin_window(edt_record_source *s, int64_t n_begun)
{
    window *w = &s->windows[n_begun % s->n_windows];
    (void)pthread_mutex_lock(&s->mutex);
    while (!atomic_load(&s->stop) && w->is_used &&
           !is_behind(s->low, w->epoch, w->span.first + w->span.n)) {
        (void)pthread_cond_wait(&s->has_room, &s->mutex);
    }
    if (s->next.position == s->sampler->n_samples) {
        s->next = (edt_cursor){.epoch = s->next.epoch + 1};
    }
    const bool ends = atomic_load(&s->stop) ||
                      (!s->sampler->endless && s->next.epoch > s->start.epoch) ||
                      s->sampler->n_samples == 0;
    if (!ends) {
        empty_window(w);
        w->is_used = true;
        w->epoch = s->next.epoch;
        w->span = edt_sampler_window(s->sampler, s->next.epoch, s->next.position);
        s->next.position = w->span.first + w->span.n;
    }
    (void)pthread_mutex_unlock(&s->mutex);
    return ends ? NULL : w;
}

static void run_reader(void *ctx)
{
    edt_record_source *s = ctx;
    window *w;
    for (int64_t n_begun = 0; (w = begin_window(s, n_begun)) != NULL; ++n_begun) {
        fill_window(s, w);
    }
}

static edt_status init_sync(edt_record_source *s, edt_error *err)
{
    if (pthread_mutex_init(&s->mutex, NULL) != 0) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "the system has no mutex left");
    }
    if (pthread_cond_init(&s->has_room, NULL) != 0) {
        (void)pthread_mutex_destroy(&s->mutex);
        EDT_FAIL(err, EDT_ERR_NOMEM, "the system has no condition variable left");
    }
    if (pthread_cond_init(&s->has_read, NULL) != 0) {
        (void)pthread_cond_destroy(&s->has_room);
        (void)pthread_mutex_destroy(&s->mutex);
        EDT_FAIL(err, EDT_ERR_NOMEM, "the system has no condition variable left");
    }
    s->has_sync = true;
    return EDT_OK;
}

static edt_status alloc_windows(edt_record_source *s, edt_error *err)
{
    const edt_sampler *sampler = s->sampler;
    const int64_t n = sampler->n_samples > 0 ? sampler->n_samples : 1;
    const int64_t batch = sampler->batch_size * sampler->world_size;
    const int64_t rows = batch < n ? batch : n;
    s->n_largest = sampler->window > 0 && sampler->window < n ? sampler->window : n;
    // So many may share the rows of one batch: the first and the last of an epoch can be short.
    s->n_windows = (rows + s->n_largest - 1) / s->n_largest + 1;
    const size_t n_largest = (size_t)s->n_largest;
    s->windows = edt_mem_calloc(EDT_MEM_MISC, (size_t)s->n_windows, sizeof *s->windows);
    s->positions = edt_mem_calloc(EDT_MEM_MISC, n_largest, sizeof *s->positions);
    bool ok = s->windows != NULL && s->positions != NULL;
    for (int64_t i = 0; ok && i < s->n_windows; ++i) {
        window *w = &s->windows[i];
        edt_arena_init(&w->bytes, EDT_MEM_ARENA, BLOCK_BYTES);
        w->records = edt_mem_calloc(EDT_MEM_MISC, n_largest, sizeof *w->records);
        ok = w->records != NULL;
    }
    if (!ok) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %" PRId64 " windows of %" PRId64 " records",
                 s->n_windows, s->n_largest);
    }
    return EDT_OK;
}

// Where the batch at the cursor begins: a tail that makes none is nobody's.
static edt_cursor begin_of_batch(const edt_sampler *sampler, edt_cursor cursor)
{
    const int64_t least =
        sampler->drop_remainder ? sampler->batch_size * sampler->world_size : 1;
    return sampler->n_samples - cursor.position < least
               ? (edt_cursor){.epoch = cursor.epoch + 1}
               : cursor;
}

static edt_status start_reader(edt_record_source *s, edt_error *err)
{
    EDT_TRY(alloc_windows(s, err));
    EDT_TRY(edt_record_stream_create(s->index, err, &s->stream));
    EDT_TRY(edt_record_scratch_create(err, &s->scratch));
    EDT_TRY(init_sync(s, err));
    s->next = s->start;
    s->low = begin_of_batch(s->sampler, s->start);
    return edt_thread_start(&s->thread, "edt-reader", run_reader, s, err);
}

edt_status edt_record_source_create(const edt_record_source_options *options, edt_error *err,
                                    edt_record_source **out_source)
{
    edt_status status = EDT_OK;
    edt_record_source *s = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *s);
    if (s == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to read records");
    }
    s->index = options->index;
    s->sampler = options->sampler;
    s->start = options->start;
    s->reads_others = options->reads_others;
    edt_error stream = {0};
    status = edt_record_index_check_random(s->index, &stream);
    const bool is_at_random =
        s->sampler->mixture != NULL || s->sampler->order == EDT_ORDER_GLOBAL;
    if (is_at_random && status != EDT_OK) {
        status = edt_error_set(err, status, "%s", stream.text);
        goto fail;
    }
    if (s->sampler->order == EDT_ORDER_WINDOW || status != EDT_OK) {
        EDT_TRY_GOTO(start_reader(s, err));
    }
    *out_source = s;
    return EDT_OK;
fail:
    edt_record_source_destroy(s);
    return status;
}

void edt_record_source_destroy(edt_record_source *source)
{
    edt_record_source *s = source;
    if (s == NULL) {
        return;
    }
    edt_record_source_stop(s);
    edt_thread_join(&s->thread);
    if (s->has_sync) {
        (void)pthread_cond_destroy(&s->has_read);
        (void)pthread_cond_destroy(&s->has_room);
        (void)pthread_mutex_destroy(&s->mutex);
    }
    for (int64_t i = 0; s->windows != NULL && i < s->n_windows; ++i) {
        empty_window(&s->windows[i]);
        edt_arena_deinit(&s->windows[i].bytes);
        edt_mem_free(s->windows[i].records);
    }
    edt_mem_free(s->windows);
    edt_mem_free(s->positions);
    edt_record_stream_destroy(s->stream);
    edt_record_scratch_destroy(s->scratch);
    edt_mem_free(s);
}

int64_t edt_record_source_n_windows(const edt_record_source *source)
{
    return source->n_windows;
}

// With the mutex held: the record, once it has been read.
static edt_status wait_for_record(edt_record_source *s, int64_t epoch, int64_t position,
                                  edt_error *err, const held_record **out_record)
{
    for (;;) {
        if (atomic_load(&s->stop)) {
            EDT_FAIL(err, EDT_ERR_CANCELLED, "reading was stopped");
        }
        bool is_begun = false;
        for (int64_t i = 0; i < s->n_windows; ++i) {
            const window *w = &s->windows[i];
            if (w->is_used && w->epoch == epoch && position >= w->span.first &&
                position < w->span.first + w->span.n) {
                is_begun = true;
                *out_record = &w->records[position - w->span.first];
            }
        }
        if (is_begun && (*out_record)->is_done) {
            return EDT_OK;
        }
        if (!is_begun && is_behind(s->next, epoch, position + 1)) {
            EDT_FAIL(err, EDT_ERR_INTERNAL,
                     "epoch %" PRId64 ", sample %" PRId64 " has been given back already", epoch,
                     position);
        }
        ++s->n_waiting;
        (void)pthread_cond_wait(&s->has_read, &s->mutex);
        --s->n_waiting;
    }
}

edt_status edt_record_source_read(edt_record_source *source, int64_t epoch, int64_t position,
                                  edt_record_scratch *scratch, edt_error *err,
                                  edt_span *out_payload)
{
    edt_record_source *s = source;
    const int64_t i = edt_sampler_index(s->sampler, epoch, position);
    if (s->n_windows == 0 || !is_held(s, epoch, position, i)) {
        return edt_record_index_read_into(s->index, i, scratch, err, out_payload);
    }
    const held_record *r = NULL;
    (void)pthread_mutex_lock(&s->mutex);
    edt_status status = wait_for_record(s, epoch, position, err, &r);
    (void)pthread_mutex_unlock(&s->mutex);
    if (status == EDT_OK && r->status != EDT_OK) {
        status = edt_error_set(err, r->status, "%s",
                               r->reason != NULL ? r->reason : "no memory to say why");
    }
    if (status == EDT_OK) {
        *out_payload = (edt_span){r->data, r->n_bytes};
    }
    return status;
}

void edt_record_source_retire(edt_record_source *source, edt_cursor cursor)
{
    if (source->n_windows > 0) {
        (void)pthread_mutex_lock(&source->mutex);
        source->low = begin_of_batch(source->sampler, cursor);
        (void)pthread_cond_signal(&source->has_room);
        (void)pthread_mutex_unlock(&source->mutex);
    }
}

void edt_record_source_stop(edt_record_source *source)
{
    atomic_store(&source->stop, true);
    if (source->has_sync) {
        (void)pthread_mutex_lock(&source->mutex);
        (void)pthread_cond_broadcast(&source->has_room);
        (void)pthread_cond_broadcast(&source->has_read);
        (void)pthread_mutex_unlock(&source->mutex);
    }
}
