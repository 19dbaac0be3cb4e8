// The catalog of a set of shards: an LMDB file that joins them into one data set, with its
// fingerprint, label map, counts and the place of every image id. It lies beside the side
// indexes (dataio/side_index.h), is written whole under a temporary name and never changed, so
// that any number of processes read it at once without locks. docs/record_format.md lists its
// keys.
#ifndef EDT_DATAIO_CATALOG_H
#define EDT_DATAIO_CATALOG_H

#include <stdbool.h>

#include "core/arena.h"
#include "core/error.h"
#include "core/span.h"

// Shards belong together when they are named PREFIX-SSSSS-of-NNNNN.tfrecord[.gz|.zz|.zst]
// alike; a catalog is called by any one of them.

// "DIR/.edt/PREFIX-of-NNNNN.tfrecord….catalog"; NULL for a name that is not of this form (or no
// memory).
const char *edt_catalog_path(edt_arena *arena, const char *shard_path);

// Builds the catalog from the side indexes if all NNNNN shards and their up-to-date indexes are
// there; otherwise does nothing. EDT_ERR_IO.
edt_status edt_catalog_build_if_complete(const char *shard_path, edt_error *err);
// Removes the catalog; none is fine. EDT_ERR_IO.
edt_status edt_catalog_remove(const char *shard_path, edt_error *err);

#endif
