// The catalog of a set of shards: an LMDB file that joins them into one data set, with its
// fingerprint, label map, counts and the place of every image id. It lies beside the side
// indexes (dataio/side_index.h), is written whole under a temporary name and never changed, so
// that any number of processes read it at once without locks. docs/record_format.md lists its
// keys.
//
// Shards belong together when they are named PREFIX-SSSSS-of-NNNNN.tfrecord[.gz|.zz|.zst]
// alike.
#ifndef EDT_DATAIO_CATALOG_H
#define EDT_DATAIO_CATALOG_H

#include <stdbool.h>

#include "core/arena.h"
#include "core/error.h"
#include "core/span.h"
#include "dataio/set_fingerprint.h"

// What the name of a shard says.
typedef struct edt_shard_name {
    const char *catalog_path; // "DIR/.edt/PREFIX-of-NNNNN.tfrecord….catalog"
    const char *prefix;       // "DIR/PREFIX"
    const char *rest;         // "-of-NNNNN.tfrecord…"
    int64_t i_shard, n_shards;
} edt_shard_name;
// Texts in the arena. False for a name that is not of the form above; EDT_ERR_NOMEM.
edt_status edt_shard_name_parse(const char *shard_path, edt_arena *arena, edt_error *err,
                                bool *out_is_one, edt_shard_name *out_name);

typedef struct edt_catalog edt_catalog;

typedef struct edt_catalog_summary {
    int64_t n_shards, n_records, n_boxes, n_crowd;
    int64_t n_empty;  // records without boxes
    int64_t n_labels; // of the label map
    char fingerprint[EDT_FINGERPRINT_TEXT_BYTES];
} edt_catalog_summary;

typedef struct edt_catalog_shard {
    edt_text name; // without directory; the catalog's
    uint64_t n_bytes;
    int64_t n_records;
    uint32_t lengths_crc;
} edt_catalog_shard;

typedef struct edt_catalog_label {
    int64_t label;
    int64_t n_boxes;
    edt_text name; // the catalog's; empty when the records name none
} edt_catalog_label;

// One thread at a time. EDT_ERR_NOT_FOUND, EDT_ERR_CORRUPT or EDT_ERR_FORMAT when it cannot be
// trusted.
edt_status edt_catalog_open(const char *path, edt_error *err, edt_catalog **out_catalog);
void edt_catalog_close(edt_catalog *catalog); // NULL is fine
const edt_catalog_summary *edt_catalog_get_summary(const edt_catalog *catalog);
edt_status edt_catalog_get_shard(const edt_catalog *catalog, int64_t i_shard, edt_error *err,
                                 edt_catalog_shard *out_shard);
// Labels in increasing order; i in [0, n_labels).
edt_status edt_catalog_get_label(const edt_catalog *catalog, int64_t i, edt_error *err,
                                 edt_catalog_label *out_label);
// The first record with this image id (edt_record_info_image_id). EDT_ERR_NOT_FOUND.
edt_status edt_catalog_find(const edt_catalog *catalog, int64_t image_id, edt_error *err,
                            int64_t *out_i_shard, int64_t *out_i_local);

// Writes a catalog over the side indexes of all shards of a set, in the order of their numbers.
edt_status edt_catalog_write(const char *path, const char *const *shard_paths,
                             edt_side_index *const *sides, int64_t n_shards, edt_error *err);

// Builds the catalog of the set that a shard belongs to from the side indexes if all its shards
// and their up-to-date indexes are there; otherwise does nothing. EDT_ERR_IO.
edt_status edt_catalog_build_if_complete(const char *shard_path, edt_error *err);
// Removes that catalog; none is fine. EDT_ERR_IO.
edt_status edt_catalog_remove(const char *shard_path, edt_error *err);

// Holds shards against the catalogs of their sets, where there are any: EDT_ERR_MISMATCH,
// naming the shard, what differs and what to do. A damaged catalog counts as none. With
// `may_build` a missing one is made for sets of which all shards are listed (a failure to do so
// is no error).
edt_status edt_catalog_check(const char *const *shard_paths,
                             const edt_side_summary *const *summaries, int64_t n_files,
                             bool may_build, edt_error *err);

#endif
