// Talk between the ranks of one run. One interface over host memory (one process alone,
// processes of one machine over shared memory, MPI) and over device memory (NCCL on the
// communication stream of a backend). All ranks make the same calls in the same order; sums are
// taken in the order of the ranks, so that a result depends on neither timing nor transport,
// and every rank gets the same bytes. One thread per rank uses a communicator.
#ifndef EDT_DIST_COMM_H
#define EDT_DIST_COMM_H

#include <stdbool.h>
#include <stdint.h>

#include "backend/backend.h"
#include "core/error.h"
#include "core/tensor.h"

typedef struct edt_comm edt_comm;

// A NULL communicator is one rank alone: rank 0 of 1; its calls succeed and change nothing.
int edt_comm_rank(const edt_comm *comm);
int edt_comm_world_size(const edt_comm *comm);
// Ranks on this rank's machine, and which of them this one is.
int edt_comm_local_rank(const edt_comm *comm);
int edt_comm_local_size(const edt_comm *comm);
// The machine of a rank. The communicator's text.
const char *edt_comm_host_name(const edt_comm *comm, int rank);
// "self", "shm", "mpi", "nccl".
const char *edt_comm_kind(const edt_comm *comm);
// Whether edt_comm_all_reduce takes device memory of a backend with streams; else host memory.
bool edt_comm_on_device(const edt_comm *comm);
// The communicator that sums host memory: itself, or the one that a device communicator was
// started through. Borrowed.
edt_comm *edt_comm_host(edt_comm *comm);

// Starts data[n] = sum over ranks, in place; EDT_DTYPE_F32 or EDT_DTYPE_F64. `data` must be
// left alone until the next join. Host: a thread of the communicator does the work meanwhile.
// Device: queued on EDT_STREAM_COMM behind all that EDT_STREAM_COMPUTE was given before; inside
// a capture both are recorded. A failure on the way shows in this or a later call.
edt_status edt_comm_all_reduce(edt_comm *comm, void *data, int64_t n, edt_dtype dtype,
                               edt_error *err);
// Ends all sums started so far. Host: waits for them. Device: later work of EDT_STREAM_COMPUTE
// starts after them, the host does not wait.
edt_status edt_comm_join(edt_comm *comm, edt_error *err);
// Device: the host waits until `event` has passed, within the deadline, and asks the library
// for errors meanwhile: edt_stream_table.event_synchronize would wait for a lost rank for ever.
// Host communicators have no events: EDT_OK at once.
edt_status edt_comm_wait(edt_comm *comm, edt_event *event, edt_error *err);

// The rest takes host memory with every communicator and returns when it is done.
edt_status edt_comm_broadcast(edt_comm *comm, int root, void *data, size_t n_bytes,
                              edt_error *err);
edt_status edt_comm_barrier(edt_comm *comm, edt_error *err);

// Bytes of all ranks: those of rank r are data[begin[r] .. begin[r + 1]).
typedef struct edt_comm_parts {
    uint8_t *data;
    size_t *begin; // [world_size + 1]
} edt_comm_parts;
// Each rank gives as many bytes as it likes. On rank 0, or with to_all on every rank,
// *out_parts is filled; elsewhere it is zeroed. Free with edt_comm_parts_deinit.
edt_status edt_comm_gather(edt_comm *comm, bool to_all, const void *data, size_t n_bytes,
                           edt_error *err, edt_comm_parts *out_parts);
void edt_comm_parts_deinit(edt_comm_parts *parts);

// Tells the other ranks that this one gives up: their current or next call fails with
// EDT_ERR_DEVICE and `reason` ("rank 1 on host b gave up: ..."). All later calls here fail.
// NULL and a communicator that failed already are fine. Captures that hold sums of a device
// communicator must be gone: NCCL would wait for their end.
void edt_comm_abort(edt_comm *comm, const char *reason);
// NULL is fine. A device communicator leaves the host one under it alone.
void edt_comm_destroy(edt_comm *comm);

// One rank.
edt_status edt_comm_self_create(edt_error *err, edt_comm **out_comm);

// Within `deadline_s` seconds every operation must end on every rank. Otherwise it fails with
// EDT_ERR_DEVICE and says which ranks on which machines are late and what they did last.
typedef struct edt_comm_options {
    double deadline_s;
} edt_comm_options;

// The ranks that a launcher (mpirun, srun, or the program itself, see launch.h) started this
// process as: over shared memory where EDT_COMM_FD is set, else through MPI (libedt_mpi.so), or
// one rank alone. EDT_ERR_UNSUPPORTED says what is missing where a launcher started several
// ranks that cannot talk.
edt_status edt_comm_open(const edt_comm_options *options, edt_error *err, edt_comm **out_comm);
// NCCL (libedt_nccl.so) for the memory of `backend`, which has streams. All ranks call it
// together. `backend` and `host` are borrowed until destroy.
edt_status edt_comm_device_create(edt_backend *backend, const edt_comm_options *options,
                                  edt_comm *host, edt_error *err, edt_comm **out_comm);

#endif
