// Decoded pictures of a data set on disk, shared by all processes of a machine: filled as
// pictures are decoded, read without a copy. An LMDB index says where each picture lies in a
// file of pixels beside it (dataio/decoded_store.h). A process that is killed leaves a usable
// cache; one of another data set or of another decoding is emptied before use.
//
// A process has one cache per directory: opening it again gives the same one. A forked child
// opens its own and leaves its parent's alone.
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
    int zstd_level;          // of what is stored from now on; 0: not compressed
    const char *fingerprint; // of the data set (edt_record_index_fingerprint)
    const char *transform;   // what was done to the pixels: edt_decoded_transform
} edt_decoded_cache_options;

// The name of what the loader keeps: whole pictures as they were decoded.
const char *edt_decoded_transform(bool exif_rotate);

// A directory that may not be written to is read only, which is said once. EDT_ERR_IO,
// EDT_ERR_MISMATCH when another data set's cache at `path` is in use or may not be emptied,
// EDT_ERR_FORMAT for a directory that holds something else; each with what to do.
edt_status edt_decoded_cache_open(const edt_decoded_cache_options *options, edt_error *err,
                                  edt_decoded_cache **out_cache);
// Writes what is still queued (the last close of several in a process). NULL is fine.
void edt_decoded_cache_close(edt_decoded_cache *cache);

edt_status edt_decoded_reader_create(edt_decoded_cache *cache, edt_error *err,
                                     edt_decoded_reader **out_reader);
void edt_decoded_reader_destroy(edt_decoded_reader *reader); // NULL is fine; before the close

// Picture `index` when it is there: a view of whole rows (stride 3*w) that must not be written
// to and lasts until the reader's next get. Its CRC is checked at the first use in
// this process. A damaged entry counts as missing and is stored anew. EDT_ERR_IO,
// EDT_ERR_NOMEM.
edt_status edt_decoded_get(edt_decoded_reader *reader, int64_t index, edt_error *err,
                           bool *out_found, edt_image *out_image);
// Whether picture `index` is there, without looking at its pixels; not counted as a hit or
// miss.
edt_status edt_decoded_contains(edt_decoded_reader *reader, int64_t index, edt_error *err,
                                bool *out_found);

// Whether pictures offered now may be stored: false for good once the limit is reached, the
// disk is full or the directory is read-only. Cheap; for who would decode less without.
bool edt_decoded_is_filling(const edt_decoded_cache *cache);
// Offers picture `index`, copied before the return. It may go unstored (limit reached, disk
// full: said once; writer busy): the cache never changes what a batch holds.
void edt_decoded_put(edt_decoded_cache *cache, int64_t index, const edt_image *image);
// The same, waiting while the writer is busy. False when it will not be stored.
bool edt_decoded_put_wait(edt_decoded_cache *cache, int64_t index, const edt_image *image);
// Waits until everything offered before is readable by every process, or given up.
void edt_decoded_flush(edt_decoded_cache *cache);

typedef struct edt_decoded_cache_stats {
    int64_t n_entries, n_bytes;                    // stored
    int64_t n_hits, n_misses, n_stored, n_refused; // of this process
    int64_t n_damaged;                             // entries this process found damaged
    bool is_full;                                  // the limit was reached
    bool has_failed; // the disk is full, or worse: nothing is stored any more
} edt_decoded_cache_stats;
edt_decoded_cache_stats edt_decoded_cache_get_stats(edt_decoded_cache *cache);

#endif
