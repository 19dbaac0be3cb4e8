// See prefetch.h.
#include "train/prefetch.h"

#include <string.h>

enum { N_BUFFERS = 2 };

typedef struct buffer {
    void *pinned[EDT_PREFETCH_MAX_FIELDS];
    void *device;        // all fields, one after another
    edt_event *copied;   // host memory has been read
    edt_event *consumed; // the inputs hold the batch: `device` may be written again
} buffer;

struct edt_prefetch {
    edt_backend *backend;
    const edt_stream_table *streams;
    edt_comm *comm;
    int n_fields;
    edt_prefetch_field fields[EDT_PREFETCH_MAX_FIELDS];
    size_t offset[EDT_PREFETCH_MAX_FIELDS]; // into buffer.device
    buffer buffers[N_BUFFERS];
    int64_t n_queued;
};

static size_t align_up(size_t n_bytes)
{
    return (n_bytes + EDT_MEM_ALIGN - 1) / EDT_MEM_ALIGN * EDT_MEM_ALIGN;
}

edt_status edt_prefetch_create(edt_backend *backend, edt_comm *comm, int n_fields,
                               const edt_prefetch_field *fields, edt_error *err,
                               edt_prefetch **out_prefetch)
{
    if (n_fields < 1 || n_fields > EDT_PREFETCH_MAX_FIELDS) {
        EDT_FAIL(err, EDT_ERR_INTERNAL, "a batch of %d arrays, 1 to %d are allowed", n_fields,
                 EDT_PREFETCH_MAX_FIELDS);
    }
    edt_prefetch *p = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *p);
    if (p == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for copies of batches");
    }
    p->backend = backend;
    p->streams = backend->table->streams;
    p->comm = comm;
    p->n_fields = n_fields;
    size_t n_bytes = 0;
    for (int i = 0; i < n_fields; ++i) {
        p->fields[i] = fields[i];
        p->offset[i] = n_bytes;
        n_bytes += align_up(fields[i].n_bytes);
    }
    edt_status status = EDT_OK;
    for (int i = 0; i < N_BUFFERS; ++i) {
        buffer *b = &p->buffers[i];
        EDT_TRY_GOTO(
            backend->table->alloc(backend, EDT_MEM_ACTIVATION, n_bytes, err, &b->device));
        EDT_TRY_GOTO(p->streams->event_create(backend, err, &b->copied));
        EDT_TRY_GOTO(p->streams->event_create(backend, err, &b->consumed));
    }
    *out_prefetch = p;
    return EDT_OK;
fail:
    edt_prefetch_destroy(p);
    return edt_error_add_context(err, status, "two batches of %zu bytes on the device",
                                 n_bytes);
}

void edt_prefetch_destroy(edt_prefetch *p)
{
    if (p == NULL) {
        return;
    }
    edt_error ignored = {0};
    if (p->n_queued > 0) {
        (void)p->backend->table->synchronize(p->backend, &ignored);
    }
    for (int i = 0; i < N_BUFFERS; ++i) {
        buffer *b = &p->buffers[i];
        for (int k = 0; k < p->n_fields; ++k) {
            p->streams->host_free(p->backend, b->pinned[k]);
        }
        p->streams->event_destroy(p->backend, b->copied);
        p->streams->event_destroy(p->backend, b->consumed);
        p->backend->table->free(p->backend, b->device);
    }
    edt_mem_free(p);
}

edt_status edt_prefetch_begin(edt_prefetch *p, edt_error *err)
{
    return p->n_queued < N_BUFFERS ? EDT_OK
                                   : edt_prefetch_wait(p, p->n_queued - N_BUFFERS, err);
}

edt_status edt_prefetch_pinned(edt_prefetch *p, int i_field, edt_error *err, void **out_block)
{
    buffer *b = &p->buffers[p->n_queued % N_BUFFERS];
    if (b->pinned[i_field] == NULL) {
        EDT_TRY(p->streams->host_alloc(p->backend, p->fields[i_field].n_bytes, err,
                                       &b->pinned[i_field]));
    }
    *out_block = b->pinned[i_field];
    return EDT_OK;
}

edt_status edt_prefetch_queue(edt_prefetch *p, const void *const *from, edt_error *err)
{
    const edt_stream_table *t = p->streams;
    edt_backend *backend = p->backend;
    buffer *b = &p->buffers[p->n_queued % N_BUFFERS];
    if (p->n_queued >= N_BUFFERS) {
        EDT_TRY(t->event_wait(backend, b->consumed, EDT_STREAM_COPY, err));
    }
    for (int i = 0; i < p->n_fields; ++i) {
        EDT_TRY(t->copy(backend, EDT_STREAM_COPY, (char *)b->device + p->offset[i],
                        from[i] != NULL ? from[i] : b->pinned[i], p->fields[i].n_bytes, err));
    }
    EDT_TRY(t->event_record(backend, b->copied, EDT_STREAM_COPY, err));
    EDT_TRY(t->event_wait(backend, b->copied, EDT_STREAM_COMPUTE, err));
    for (int i = 0; i < p->n_fields; ++i) {
        EDT_TRY(t->copy(backend, EDT_STREAM_COMPUTE, p->fields[i].input,
                        (char *)b->device + p->offset[i], p->fields[i].n_bytes, err));
    }
    EDT_TRY(t->event_record(backend, b->consumed, EDT_STREAM_COMPUTE, err));
    ++p->n_queued;
    return EDT_OK;
}

int64_t edt_prefetch_n_queued(const edt_prefetch *p)
{
    return p->n_queued;
}

edt_status edt_prefetch_n_copied(edt_prefetch *p, edt_error *err, int64_t *out_n)
{
    // Batches before the last N_BUFFERS were waited for by begin.
    int64_t n = p->n_queued > N_BUFFERS ? p->n_queued - N_BUFFERS : 0;
    bool passed = true;
    while (passed && n < p->n_queued) {
        EDT_TRY(p->streams->event_query(p->backend, p->buffers[n % N_BUFFERS].copied, err,
                                        &passed));
        n += passed ? 1 : 0;
    }
    *out_n = n;
    return EDT_OK;
}

edt_status edt_prefetch_wait(edt_prefetch *p, int64_t i, edt_error *err)
{
    if (i < p->n_queued - N_BUFFERS) {
        return EDT_OK;
    }
    edt_event *event = p->buffers[i % N_BUFFERS].copied;
    return edt_comm_on_device(p->comm) ? edt_comm_wait(p->comm, event, err)
                                       : p->streams->event_synchronize(p->backend, event, err);
}

static edt_status slot_alloc(void *user, size_t n_bytes, edt_error *err, void **out_block)
{
    edt_backend *backend = user;
    void *block = NULL;
    EDT_TRY(backend->table->streams->host_alloc(backend, n_bytes, err, &block));
    memset(block, 0, n_bytes);
    *out_block = block;
    return EDT_OK;
}

static void slot_free(void *user, void *block)
{
    edt_backend *backend = user;
    backend->table->streams->host_free(backend, block);
}

edt_slot_memory edt_prefetch_slot_memory(edt_backend *backend)
{
    if (backend->table->streams == NULL) {
        return (edt_slot_memory){0};
    }
    return (edt_slot_memory){.alloc = slot_alloc, .free = slot_free, .user = backend};
}
