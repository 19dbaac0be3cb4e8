// What a rank computes with: its share of the machine's processors and devices, the precision,
// and the communicator that reaches its memory.
#ifndef EDT_TRAIN_RANK_SETUP_H
#define EDT_TRAIN_RANK_SETUP_H

#include "backend/backend.h"
#include "core/hparams.h"
#include "dist/comm.h"
#include "train/step.h"

// Threads of this rank: `wanted`, or, for 0, its share of the processors that it may run on.
int edt_rank_setup_threads(const edt_comm *comm, int64_t wanted);

// Processors that the threads of this machine's ranks, `n_threads` each (0: all), leave free
// for this one; 0 where they leave none.
int edt_rank_setup_free_threads(const edt_comm *comm, int n_threads);

// The backend of this rank. Ranks of one machine take its GPUs in turn; wanted->device is not
// looked at.
edt_status edt_rank_setup_backend(const char *device, edt_comm *comm,
                                  const edt_backend_options *wanted, edt_error *err,
                                  edt_backend **out_backend);

// The communicator for `backend`: `host` itself, or one that the caller destroys (*out_comm
// differs from `host` then).
edt_status edt_rank_setup_comm(const edt_hparams *hp, edt_backend *backend, edt_comm *host,
                               edt_error *err, edt_comm **out_comm);

// Rows of this rank's batches. EDT_ERR_USAGE when the ranks cannot share a global batch evenly.
edt_status edt_rank_setup_batch(int world_size, int64_t train_batch_size, edt_error *err,
                                int64_t *out_rows);

// Precision, loss scale and batch norm of a step (docs/dist.md, docs/train.md). mixed_precision
// means bf16 on a GPU or the cpu backend, f16 with dynamic loss scaling where hparam loss_scale
// is set (which the cpu backend refuses), and, with a warning, nothing on ref.
void edt_rank_setup_step(const edt_hparams *hp, const char *device, const edt_comm *comm,
                         edt_step_options *inout_options);

#endif
