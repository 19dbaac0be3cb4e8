// Batches on their way to a device that works beside the host: pinned host memory, copies on
// EDT_STREAM_COPY into one of two device buffers while the device computes on the batch before,
// and from there into the inputs of the graph, on EDT_STREAM_COMPUTE.
#ifndef EDT_TRAIN_PREFETCH_H
#define EDT_TRAIN_PREFETCH_H

#include "dataio/loader.h"
#include "dist/comm.h"

typedef struct edt_prefetch edt_prefetch;

enum { EDT_PREFETCH_MAX_FIELDS = 8 };

// One array of a batch: where it ends up, and how long it is.
typedef struct edt_prefetch_field {
    void *input; // device
    size_t n_bytes;
} edt_prefetch_field;

// `backend` has streams and outlives the object, as does `comm` (may be NULL), whose deadline
// holds while the host waits.
edt_status edt_prefetch_create(edt_backend *backend, edt_comm *comm, int n_fields,
                               const edt_prefetch_field *fields, edt_error *err,
                               edt_prefetch **out_prefetch);
// Waits for copies under way. NULL is fine.
void edt_prefetch_destroy(edt_prefetch *prefetch);

// Opens the buffer of the next batch: the host waits until the copies that read its pinned
// memory two batches ago have ended.
edt_status edt_prefetch_begin(edt_prefetch *prefetch, edt_error *err);
// Pinned memory of a field in the open buffer, made at its first use.
edt_status edt_prefetch_pinned(edt_prefetch *prefetch, int i_field, edt_error *err,
                               void **out_block);
// Queues the way of the open batch to the inputs; what is queued on EDT_STREAM_COMPUTE
// afterwards sees it. from[i]: memory of the backend's host_alloc, left alone until the batch
// is done; NULL: the pinned memory of the open buffer.
edt_status edt_prefetch_queue(edt_prefetch *prefetch, const void *const *from, edt_error *err);

// Batches queued so far, and how many of them, from the first on, have left host memory.
int64_t edt_prefetch_n_queued(const edt_prefetch *prefetch);
edt_status edt_prefetch_n_copied(edt_prefetch *prefetch, edt_error *err, int64_t *out_n);
// Waits until batch number `i` (from 0) has left host memory.
edt_status edt_prefetch_wait(edt_prefetch *prefetch, int64_t i, edt_error *err);

// Memory for a loader's slots from which such copies go without a detour; a zeroed value, the
// loader's own memory, for backends without streams. The backend must outlive the loader.
edt_slot_memory edt_prefetch_slot_memory(edt_backend *backend);

#endif
