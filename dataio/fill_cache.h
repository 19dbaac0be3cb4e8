// Fills the decoded cache of a list of shards ahead of training, on all processors. Pictures
// that are there already are not decoded again, so that a run that was interrupted goes on
// where it stood.
#ifndef EDT_DATAIO_FILL_CACHE_H
#define EDT_DATAIO_FILL_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"

typedef struct edt_fill_options {
    const char *const *paths; // as the loader lists them: sorted
    int64_t n_files;
    int n_threads;          // 0: one per processor
    const char *cache_path; // these four as the hparams of training
    int64_t max_bytes;
    int zstd_level;
    bool exif_rotate;
    bool show_progress;
} edt_fill_options;

typedef struct edt_fill_result {
    int64_t n_records;
    int64_t n_there;            // in the cache before
    int64_t n_stored;           // by this run
    int64_t n_bad;              // records or pictures that cannot be read, each with a warning
    bool is_full;               // the size limit ended it
    int64_t n_entries, n_bytes; // of the cache now
    double seconds;
} edt_fill_result;

// The errors of edt_record_index_create and edt_decoded_cache_open; EDT_ERR_IO when the disk is
// full or the directory may not be written to; EDT_ERR_CANCELLED. What was stored until then
// stays.
edt_status edt_fill_cache(const edt_fill_options *options, edt_error *err,
                          edt_fill_result *out_result);

#endif
