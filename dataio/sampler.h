// Which sample goes where: the order of every epoch, its cut into global batches and their
// partition over ranks, as pure functions of (options, cursor). No state; memory only in the
// tables that the caller makes for windows (shard_order) and for mixing (mixture).
#ifndef EDT_DATAIO_SAMPLER_H
#define EDT_DATAIO_SAMPLER_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"
#include "dataio/mixture.h"
#include "dataio/shard_order.h"

// Position in the stream of samples: the next batch starts at `position` of `epoch`'s order.
typedef struct edt_cursor {
    int64_t epoch;
    int64_t position; // samples of this epoch already handed out (global, over all ranks)
} edt_cursor;

typedef enum edt_sample_order {
    EDT_ORDER_NONE,   // 0..N-1
    EDT_ORDER_GLOBAL, // a new permutation of all samples each epoch
    // For disks that are slow at random: the shards are gone through in a new order each epoch
    // (the stream), records as they stand in the file; the stream is cut into windows, the
    // first of random length, and each window is permuted.
    EDT_ORDER_WINDOW,
} edt_sample_order;

typedef struct edt_sampler {
    int64_t n_samples;        // N
    int64_t batch_size;       // B, of one rank; a global batch has B * world_size rows
    int64_t rank, world_size; // this rank's rows of a global batch are rank*B .. rank*B + B-1
    edt_sample_order order;
    // Samples of a window: of EDT_ORDER_WINDOW, and of what belongs together in EDT_ORDER_NONE
    // (edt_sampler_window). 0: the whole epoch.
    int64_t window;
    edt_shard_order *shards;    // of EDT_ORDER_WINDOW; NULL: one shard. The caller's
    const edt_mixture *mixture; // its order instead of `order`'s; NULL: none. The caller's
    bool drop_remainder;        // the tail of an epoch that fills no global batch is left out
    bool endless;               // else the one epoch of the start cursor
    uint64_t seed;
} edt_sampler;

// One batch of this rank. Row i < n_valid is the sample edt_sampler_get(epoch, position + i).
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

// What stands at a position.
typedef struct edt_sampler_pick {
    int64_t index; // of the record
    // Names the sample's random draws within the epoch: the index, but when mixing shows a
    // record more than once per epoch, another number (N or above) from the second time on.
    int64_t drawn_as;
} edt_sampler_pick;

// `position` in 0 .. N-1 of an epoch's order.
edt_sampler_pick edt_sampler_get(const edt_sampler *sampler, int64_t epoch, int64_t position);
// edt_sampler_get's index.
int64_t edt_sampler_index(const edt_sampler *sampler, int64_t epoch, int64_t position);

// The positions that can be reached together with one: its window, or the whole epoch where
// records are reached at random. Substitutes and partners of a sample come from here.
typedef struct edt_sampler_span {
    int64_t first, n;
} edt_sampler_span;
edt_sampler_span edt_sampler_window(const edt_sampler *sampler, int64_t epoch,
                                    int64_t position);
// Without a mixture: where the sample at `position` of `window` stands in the window's stretch
// of the stream, 0 .. n-1, and the record at `place` (0 .. N-1) of the stream.
int64_t edt_sampler_place(const edt_sampler *sampler, int64_t epoch, edt_sampler_span window,
                          int64_t position);
int64_t edt_sampler_stream(const edt_sampler *sampler, int64_t epoch, int64_t place);

// True when the stream that started at `start` gives this position to this rank; false for all
// ranks when it lies before `start` or in a tail that is left out.
bool edt_sampler_is_mine(const edt_sampler *sampler, edt_cursor start, int64_t epoch,
                         int64_t position);

// Batches of one whole epoch.
int64_t edt_sampler_batches_per_epoch(const edt_sampler *sampler);

#endif
