// Which sample goes where: the order of every epoch, its cut into global batches and their
// partition over ranks, as pure functions of (options, cursor). No state, no memory.
#ifndef EDT_DATAIO_SAMPLER_H
#define EDT_DATAIO_SAMPLER_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"

// Position in the stream of samples: the next batch starts at `position` of `epoch`'s order.
typedef struct edt_cursor {
    int64_t epoch;
    int64_t position; // samples of this epoch already handed out (global, over all ranks)
} edt_cursor;

typedef struct edt_sampler {
    int64_t n_samples;        // N
    int64_t batch_size;       // B, of one rank; a global batch has B * world_size rows
    int64_t rank, world_size; // this rank's rows of a global batch are rank*B .. rank*B + B-1
    bool shuffled;            // a new permutation each epoch, else 0..N-1
    bool drop_remainder;      // the tail of an epoch that fills no global batch is left out
    bool endless;             // else the one epoch of the start cursor
    uint64_t seed;
} edt_sampler;

// One batch of this rank. Row i < n_valid is the sample edt_sampler_index(epoch, position + i).
typedef struct edt_sampler_batch {
    int64_t epoch, position; // of row 0 of this rank
    int64_t n_valid;         // the rest of the B rows is padding
} edt_sampler_batch;

// EDT_ERR_USAGE for sizes below 1, a rank outside the world, a cursor past the end, and for an
// endless stream that would never fill a batch.
edt_status edt_sampler_check(const edt_sampler *sampler, edt_cursor start, edt_error *err);

// The batch at `*cursor`, which moves behind it; false at the end of a single epoch. All ranks
// see equally many batches. A cursor need not lie on a batch boundary.
bool edt_sampler_next(const edt_sampler *sampler, edt_cursor *cursor,
                      edt_sampler_batch *out_batch);

// The record at `position` (0 .. N-1) of an epoch's order.
int64_t edt_sampler_index(const edt_sampler *sampler, int64_t epoch, int64_t position);

// Batches of one whole epoch.
int64_t edt_sampler_batches_per_epoch(const edt_sampler *sampler);

#endif
