// Decoded pictures of a data set in an LMDB environment, shared by all processes of a machine:
// filled as pictures are decoded, read without a copy. A process that is killed leaves a usable
// cache; one of another data set or of another decoding is emptied before use.
#ifndef EDT_DATAIO_DECODED_CACHE_H
#define EDT_DATAIO_DECODED_CACHE_H

#include <stdbool.h>

#include "augment/image.h"
#include "core/error.h"

typedef struct edt_decoded_cache edt_decoded_cache;   // any thread
typedef struct edt_decoded_reader edt_decoded_reader; // one thread

typedef struct edt_decoded_cache_options {
    const char *path;        // directory, made when missing
    int64_t max_bytes;       // pictures beyond that are not stored; 0: no limit but the disk
    int zstd_level;          // 0: not compressed
    const char *fingerprint; // of the data set (edt_record_index_fingerprint)
    const char *transform;   // what was done to the pixels, e.g. "rgb8" or "rgb8 exif"
    int n_readers;           // most readers of this process
} edt_decoded_cache_options;

// EDT_ERR_IO, EDT_ERR_MISMATCH when another data set's cache at `path` is in use,
// EDT_ERR_FORMAT for a directory that holds something else; each with what to do.
edt_status edt_decoded_cache_open(const edt_decoded_cache_options *options, edt_error *err,
                                  edt_decoded_cache **out_cache);
// Writes what is still queued. NULL is fine.
void edt_decoded_cache_close(edt_decoded_cache *cache);

edt_status edt_decoded_reader_create(edt_decoded_cache *cache, edt_error *err,
                                     edt_decoded_reader **out_reader);
void edt_decoded_reader_destroy(edt_decoded_reader *reader); // NULL is fine; before the close

// Picture `index` when it is there: a read-only view that lasts until the reader's next get or
// release. A damaged entry counts as missing and is stored anew. EDT_ERR_IO, EDT_ERR_NOMEM.
edt_status edt_decoded_get(edt_decoded_reader *reader, int64_t index, edt_error *err,
                           bool *out_found, edt_image *out_image);
void edt_decoded_release(edt_decoded_reader *reader);

// Offers picture `index`, copied before the return. It may go unstored (limit reached, disk
// full: said once; writer busy): the cache never changes what a batch holds.
void edt_decoded_put(edt_decoded_cache *cache, int64_t index, const edt_image *image);

typedef struct edt_decoded_cache_stats {
    int64_t n_entries, n_bytes;                    // stored
    int64_t n_hits, n_misses, n_stored, n_refused; // of this process
} edt_decoded_cache_stats;
edt_decoded_cache_stats edt_decoded_cache_get_stats(edt_decoded_cache *cache);

#endif
