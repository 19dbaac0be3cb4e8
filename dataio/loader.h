// Multi-threaded loader: record files -> batches, in one order whatever the number of threads.
// The whole state is a cursor; every random draw is a pure function of (seed, epoch, sample,
// stage).
#ifndef EDT_DATAIO_LOADER_H
#define EDT_DATAIO_LOADER_H

#include "core/hparams.h"
#include "core/span.h"
#include "dataio/batch.h"
#include "dataio/sampler.h"

typedef struct edt_loader edt_loader;

// Where the arrays of a slot that a device reads (images, valid_hw, cls_targets, box_targets,
// seg_mask) come from: memory that it can copy from while the host goes on. `alloc` gives zeroed memory.
typedef struct edt_slot_memory {
    edt_status (*alloc)(void *user, size_t n_bytes, edt_error *err, void **out_block);
    void (*free)(void *user, void *block); // NULL is fine
    void *user;                            // outlives the loader
} edt_slot_memory;

typedef struct edt_loader_options {
    const char *file_pattern; // comma-separated globs
    bool training;      // shuffle, augmentation, flip, jitter, endless; else one ordered pass
    int64_t batch_size; // of this rank
    int n_threads;      // workers; 0: all cores
    int64_t prefetch;   // batches ahead; slots = prefetch + 2
    uint64_t seed;
    edt_cursor start;
    int64_t rank, world_size; // partition of each global batch: rows rank*batch_size ...
    edt_slot_format format;
    bool keep_groundtruth;  // fill batch.groundtruth
    bool drop_remainder;    // training; an evaluation pass always gives every record once
    int64_t n_anchors;      // T
    edt_target_fn *targets; // NULL: no targets
    void *targets_ctx;
    bool masks; // fill batch.seg_mask (edt_preprocess_want_masks)
    edt_slot_memory slot_memory; // zeroed: the loader's own
    // Report of bad records (dataio/quarantine.h), of this rank alone; NULL: none is written.
    const char *quarantine_path;
} edt_loader_options;

typedef struct edt_loader_stats {
    int64_t n_samples; // records in the data set
    int64_t n_files;
    double wait_seconds; // time edt_loader_next spent blocked
    // Rows worked on, and the workers' time for them, summed over workers: records from the
    // shards; parsing, pictures and the cache; objects, mixing and pixel operations; resizing
    // into the slot; targets.
    int64_t n_rows;
    int n_workers;
    double read_seconds, decode_seconds, augment_seconds, resize_seconds, target_seconds;
    double idle_seconds; // workers waiting for a slot to be given back
    // In the batches handed out: times a sample or a partner of one was left out or replaced,
    // and distinct records, with those of the report that was gone on with.
    int64_t n_bad, n_bad_records;
} edt_loader_stats;

// Opens the data set and starts the workers. Geometry, normalisation and filters from `hp`;
// `hp`, `options` and their texts need not outlive the call, targets_ctx must outlive the
// loader.
//
// hp->on_bad_sample says what happens to a record whose bytes, picture or boxes are unusable:
//   fail        the loader ends with the reason (the default);
//   skip        the row is left out: the batch closes ranks, n_valid shrinks (down to 0), the
//               end is padding;
//   substitute  the row takes the next good sample of the epoch's order (with shuffle=window
//               or none, of its window, which goes round) with the bad one's draws; in an
//               evaluation pass, where no record may appear twice: as skip.
// The latter two warn at the first meeting, count, report (dataio/quarantine.h), and depend on
// the data alone, not on threads or on what was met before. What the system refuses (a read
// error, a shard that was changed or cut after it was opened, no memory) always ends the
// loader.
//
// hp->shuffle, shuffle_window, dataset_weights and negatives_ratio order the samples of
// training (dataio/sampler.h). Shards that can only be read in order (gzip, zlib, zstd without
// a seek table) are evaluated, and trained on with shuffle=window or none; EDT_ERR_UNSUPPORTED
// says so otherwise. EDT_ERR_USAGE for mixing that the data or the order do not allow.
edt_status edt_loader_create(const edt_hparams *hp, const edt_loader_options *options,
                             edt_error *err, edt_loader **out_loader);
// Stops the workers (never hangs), completes the report of bad records and frees everything.
// NULL is fine.
void edt_loader_destroy(edt_loader *loader);

// The next batch in sequence order; EDT_END after the last one of a single pass. The first
// failure in the order of the stream arrives here, in its place, with file, record and reason.
// One consumer thread, which may hold up to prefetch + 1 batches.
edt_status edt_loader_next(edt_loader *loader, edt_error *err, const edt_batch **out_batch);
// Gives the slot back. Nothing happens for a batch that is not held (released already, or not
// of this loader).
void edt_loader_release(edt_loader *loader, const edt_batch *batch);

// Cursor after the last batch handed out: what a checkpoint stores.
edt_cursor edt_loader_cursor(const edt_loader *loader);
edt_loader_stats edt_loader_get_stats(const edt_loader *loader);
// Warns of the bad records met, in some lines; nothing where there were none.
void edt_loader_log_bad(const edt_loader *loader);
// Batches in one epoch of this loader (drop_remainder applied).
int64_t edt_loader_batches_per_epoch(const edt_loader *loader);

// The serialised record behind a sample index (batch.sample_indices), borrowed until the loader
// is destroyed. Any thread, as for the next.
edt_status edt_loader_record(const edt_loader *loader, int64_t sample_index, edt_error *err,
                             edt_span *out_record);
// Its file (the loader's text) and its number in that file. EDT_ERR_INVALID for an index
// outside the data set, as above.
edt_status edt_loader_locate(const edt_loader *loader, int64_t sample_index, edt_error *err,
                             const char **out_path, int64_t *out_i_record);

// edt_record_index_label_name.
edt_text edt_loader_label_name(const edt_loader *loader, int64_t label);

// Fingerprint of the data set (edt_record_index_fingerprint): 64 hex digits, the loader's text.
const char *edt_loader_fingerprint(const edt_loader *loader);

#endif
