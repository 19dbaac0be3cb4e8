// Writes a set of shards PREFIX-SSSSS-of-NNNNN.tfrecord[.gz|.zz|.zst] and, beside them in the
// hidden directory .edt, their side indexes (dataio/side_index.h) and the set's catalog
// (dataio/catalog.h). All shards lie under temporary names until the commit at the end, so that
// a run that is killed or fails leaves no finished-looking shard. The bytes depend on the
// records and their order only, not on threads or ranks.
#ifndef EDT_DATAIO_SHARD_WRITER_H
#define EDT_DATAIO_SHARD_WRITER_H

#include <stdbool.h>

#include "core/error.h"
#include "core/span.h"
#include "dataio/tfexample.h"

typedef struct edt_shard_writer edt_shard_writer;

enum { EDT_SHARD_MAX_SHARDS = 65536 };

// How a whole shard is stored. NONE, GZIP and ZLIB are what the reference's framework reads;
// ZSTD is ours: seekable frames, one per record, so that random access stays possible.
typedef enum edt_shard_compression {
    EDT_SHARD_COMPRESS_NONE,
    EDT_SHARD_COMPRESS_GZIP,
    EDT_SHARD_COMPRESS_ZLIB,
    EDT_SHARD_COMPRESS_ZSTD
} edt_shard_compression;

// The values of --compression: "none" (also NULL and ""), "gzip", "zlib", "zstd". EDT_ERR_USAGE
// names them.
edt_status edt_shard_compression_parse(const char *text, edt_error *err,
                                       edt_shard_compression *out_compression);
// ".tfrecord", ".tfrecord.gz", ".tfrecord.zz", ".tfrecord.zst".
const char *edt_shard_compression_suffix(edt_shard_compression compression);

typedef struct edt_shard_writer_options {
    const char *prefix; // its directory and parents are created; none: the current one
    int64_t n_shards;   // 1 .. EDT_SHARD_MAX_SHARDS
    edt_shard_compression compression;
    // Of several processes that share the work each opens and commits only the shards with
    // i_shard % world_size == rank. world_size 0 is 1.
    int64_t rank, world_size;
    bool sync;       // fsync before the rename: shards survive a loss of power after the commit
    bool no_index;   // leave out side indexes and catalog
    bool no_catalog; // leave out the catalog
} edt_shard_writer_options;

// EDT_ERR_USAGE for numbers out of range, EDT_ERR_IO.
edt_status edt_shard_writer_open(const edt_shard_writer_options *options, edt_error *err,
                                 edt_shard_writer **out_writer);
// As edt_shard_writer_open: plain shards of one process, not synced, indexed.
edt_status edt_shard_writer_create(const char *prefix, int64_t n_shards, edt_error *err,
                                   edt_shard_writer **out_writer);
// Without a commit before it, removes everything that was written. NULL is fine.
void edt_shard_writer_close(edt_shard_writer *writer);

// True for the shards of this process; reserve and put take these only.
bool edt_shard_writer_owns(const edt_shard_writer *writer, int64_t i_shard);
// The final name of a shard of this process, or of shard 0; the writer's text, NULL for others.
const char *edt_shard_writer_path(const edt_shard_writer *writer, int64_t i_shard);

// Takes the place of the next record of a shard, whose payload will have n_bytes; the order of
// calls is the order of records. The place is the record's offset in the uncompressed shard.
// For one shard one call at a time, different shards from any threads. Whoever reserves must
// put, unless the writer is closed without a commit.
uint64_t edt_shard_writer_reserve(edt_shard_writer *writer, int64_t i_shard, uint64_t n_bytes);
// Writes a record to its place, payload in pieces that sum up to the bytes reserved. Any
// threads. With compression a call may wait for records reserved before it in its shard when
// too many bytes wait for them already (never after one of them has failed).
edt_status edt_shard_writer_put(edt_shard_writer *writer, int64_t i_shard, uint64_t offset,
                                const edt_span *pieces, size_t n_pieces, edt_error *err);
// The same for a message just made by edt_tfexample_write: its row of the side index comes with
// the message (edt_tfexample_pieces.info), which spares reading the payload again. Use this one
// for records.
edt_status edt_shard_writer_put_example(edt_shard_writer *writer, int64_t i_shard,
                                        uint64_t offset, const edt_tfexample_pieces *example,
                                        edt_error *err);

// Gives the shards of this process their names, then writes their side indexes, then, if no
// shard of the set is missing, its catalog (the last of several ranks makes it). Every place
// reserved must have been written. Once. Indexes that cannot be written (a full disk) are a
// warning: the shards stand, and whoever opens them makes the indexes.
edt_status edt_shard_writer_commit(edt_shard_writer *writer, edt_error *err);

// Uncompressed bytes reserved so far in the shards of this process.
uint64_t edt_shard_writer_n_bytes(const edt_shard_writer *writer);
// Bytes of the committed files of this process; 0 before the commit.
uint64_t edt_shard_writer_file_bytes(const edt_shard_writer *writer);

#endif
