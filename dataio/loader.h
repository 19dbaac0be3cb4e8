// Multi-threaded loader: record files -> batches, in one order whatever the number of threads.
// The whole state is a cursor; every random draw is a pure function of (seed, epoch, sample, stage).
#ifndef EDT_DATAIO_LOADER_H
#define EDT_DATAIO_LOADER_H

#include "core/hparams.h"
#include "dataio/batch.h"

typedef struct edt_loader edt_loader;

// Position in the stream of samples: the next batch starts at `position` of `epoch`'s order.
typedef struct edt_cursor {
    int64_t epoch;
    int64_t position; // samples of this epoch already handed out (global, over all ranks)
} edt_cursor;

typedef struct edt_loader_options {
    const char *file_pattern; // comma-separated globs
    bool training;            // shuffle, augmentation, flip, jitter, endless; else one ordered pass
    int64_t batch_size;       // of this rank
    int n_threads;            // workers; 0: all cores
    int64_t prefetch;         // batches ahead; slots = prefetch + 2
    uint64_t seed;
    edt_cursor start;
    int64_t rank, world_size; // partition of each global batch: rows rank*batch_size ...
    edt_slot_format format;
    bool keep_groundtruth;    // fill batch.groundtruth
    bool drop_remainder;
    int64_t n_anchors;        // T
    edt_target_fn *targets;   // NULL: no targets
    void *targets_ctx;
} edt_loader_options;

typedef struct edt_loader_stats {
    int64_t n_samples;      // records in the data set
    int64_t n_files;
    double wait_seconds;    // time edt_loader_next spent blocked
    double read_seconds, decode_seconds, augment_seconds, target_seconds; // summed over workers
    int64_t n_bad;          // samples skipped or substituted
} edt_loader_stats;

// Opens the data set and starts the workers. Geometry, normalisation and filters from `hp`.
edt_status edt_loader_create(const edt_hparams *hp, const edt_loader_options *options,
                             edt_error *err, edt_loader **out_loader);
// Stops the workers (never hangs) and frees everything. NULL is fine.
void edt_loader_destroy(edt_loader *loader);

// The next batch in sequence order; EDT_END after the last one of a single pass. The first failure
// of any worker arrives here, with file, record and reason. One consumer thread.
edt_status edt_loader_next(edt_loader *loader, edt_error *err, const edt_batch **out_batch);
// Gives the slot back.
void edt_loader_release(edt_loader *loader, const edt_batch *batch);

// Cursor after the last batch handed out: what a checkpoint stores.
edt_cursor edt_loader_cursor(const edt_loader *loader);
edt_loader_stats edt_loader_get_stats(const edt_loader *loader);
// Batches in one epoch of this loader (drop_remainder applied).
int64_t edt_loader_batches_per_epoch(const edt_loader *loader);

#endif
