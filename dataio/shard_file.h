// Random access to the records of one shard, plain or seekable zstd, by reading into a buffer
// of the caller's: a shard that is cut off, replaced or damaged while it is in use gives an
// error where a mapping would end the process. Any number of threads, each with a scratch of
// its own.
#ifndef EDT_DATAIO_SHARD_FILE_H
#define EDT_DATAIO_SHARD_FILE_H

#include "dataio/shard_reader.h"

typedef struct edt_shard_file edt_shard_file;

// Where a record read lies until the next read with the same scratch. One thread.
typedef struct edt_record_scratch edt_record_scratch;
edt_status edt_record_scratch_create(edt_error *err, edt_record_scratch **out_scratch);
void edt_record_scratch_destroy(edt_record_scratch *scratch); // NULL is fine

// `options` may be NULL (lenient_tail means nothing here). With `keep_open` false the file is
// opened for every read, for sets of more shards than a process may hold open.
// EDT_ERR_NOT_FOUND, EDT_ERR_IO, EDT_ERR_FORMAT for a damaged seek table, EDT_ERR_UNSUPPORTED
// with the remedy for what can only be read in order (gzip, zlib, zstd without a seek table),
// unless the options take streams.
edt_status edt_shard_file_open(const char *path, const edt_shard_reader_options *options,
                               bool keep_open, edt_error *err, edt_shard_file **out_file);
void edt_shard_file_close(edt_shard_file *file); // NULL is fine

// EDT_ERR_UNSUPPORTED, as above, for a stream.
edt_status edt_shard_file_check_random(const edt_shard_file *file, edt_error *err);

const char *edt_shard_file_path(const edt_shard_file *file);
edt_shard_format edt_shard_file_format(const edt_shard_file *file);
// True for what can only be read in order, by an edt_shard_reader.
bool edt_shard_file_is_stream(const edt_shard_file *file);
// When it was opened: bytes of the file and of the uncompressed shard (a stream: 0), last
// modification in nanoseconds since 1970.
uint64_t edt_shard_file_bytes(const edt_shard_file *file);
uint64_t edt_shard_file_stream_bytes(const edt_shard_file *file);
int64_t edt_shard_file_modified_ns(const edt_shard_file *file);

// True when a record header with this payload length stands at `offset` (plain shards; true for
// others, whose seek table has been checked).
bool edt_shard_file_has_record(const edt_shard_file *file, uint64_t offset, uint64_t n_bytes);

// Lets the system begin to read the file's part that holds these bytes of the uncompressed
// shard. A hint: it never fails and waits for nothing.
void edt_shard_file_advise(const edt_shard_file *file, uint64_t offset, uint64_t n_bytes);

// The record at `offset` whose payload has n_bytes; number `i_record` is for messages. Its data
// CRC is verified unless the options say otherwise. EDT_ERR_CORRUPT, EDT_ERR_FORMAT as by
// edt_tfrecord_fail; EDT_ERR_MISMATCH when the shard is not the one that was opened any more;
// EDT_ERR_UNSUPPORTED for a stream.
edt_status edt_shard_file_read(const edt_shard_file *file, uint64_t offset, uint64_t n_bytes,
                               int64_t i_record, edt_record_scratch *scratch, edt_error *err,
                               edt_span *out_payload);

#endif
