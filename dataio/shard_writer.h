// Writes a set of shards PREFIX-SSSSS-of-NNNNN.tfrecord. All of them lie under temporary names
// until the commit at the end, so that a run that is killed or fails leaves no finished-looking
// shard.
#ifndef EDT_DATAIO_SHARD_WRITER_H
#define EDT_DATAIO_SHARD_WRITER_H

#include "core/error.h"
#include "core/span.h"

typedef struct edt_shard_writer edt_shard_writer;

enum { EDT_SHARD_MAX_SHARDS = 65536 };

// Creates the directory of `prefix` with its parents (none: the current one) and opens all
// files. 1 <= n_shards <= EDT_SHARD_MAX_SHARDS, EDT_ERR_USAGE otherwise. EDT_ERR_IO.
edt_status edt_shard_writer_create(const char *prefix, int64_t n_shards, edt_error *err,
                                   edt_shard_writer **out_writer);
// Without a commit before it, removes everything that was written. NULL is fine.
void edt_shard_writer_close(edt_shard_writer *writer);

// Takes the place of the next record of a shard, whose payload will have n_bytes; the order of
// calls is the order of records. For one shard one call at a time, different shards from any
// threads.
uint64_t edt_shard_writer_reserve(edt_shard_writer *writer, int64_t i_shard, uint64_t n_bytes);
// Writes a record to its place, payload in pieces that sum up to the bytes reserved. Any
// threads.
edt_status edt_shard_writer_put(edt_shard_writer *writer, int64_t i_shard, uint64_t offset,
                                const edt_span *pieces, size_t n_pieces, edt_error *err);

// Gives all shards their names; every place reserved must have been written. Once.
edt_status edt_shard_writer_commit(edt_shard_writer *writer, edt_error *err);

// Bytes reserved so far in all shards.
uint64_t edt_shard_writer_n_bytes(const edt_shard_writer *writer);

#endif
