// Makes shards that can only be read in order (gzip, zlib, zstd without a seek table) usable
// where records are reached at random: copies their first records to plain shards in a
// directory of its own.
#ifndef EDT_DATAIO_UNPACK_H
#define EDT_DATAIO_UNPACK_H

#include "core/arena.h"
#include "core/error.h"
#include "core/path.h"

// Replaces in `files` the paths of such shards by those of plain copies below `dir`, which keep
// their names; other shards stay. At most `max_records` are copied in all, an equal share of
// each shard. `*out_n` is the number of shards replaced; with 0 nothing was written. Texts live
// in `arena`.
edt_status edt_unpack_shards(const char *dir, int64_t max_records, edt_arena *arena,
                             edt_path_list *files, edt_error *err, int64_t *out_n);
// Removes the directory with all that is in it; none is fine.
void edt_unpack_remove(const char *dir);

#endif
