// Reads the records of one shard. A plain file is mapped: sequential or random access, payloads
// borrowed from the mapping. A gzip or zlib file (recognised by content) is one stream:
// sequential only. CRCs are verified unless asked otherwise.
#ifndef EDT_DATAIO_SHARD_READER_H
#define EDT_DATAIO_SHARD_READER_H

#include "dataio/tfrecord.h"

typedef struct edt_shard_reader edt_shard_reader;

typedef struct edt_shard_reader_options {
    bool skip_data_crc; // length CRCs are always checked
    bool lenient_tail;  // 1 to 11 stray bytes at the end are ignored, as by the reference
} edt_shard_reader_options;

typedef enum edt_shard_format {
    EDT_SHARD_PLAIN,
    EDT_SHARD_GZIP,
    EDT_SHARD_ZLIB
} edt_shard_format;

typedef struct edt_record {
    edt_span payload; // random access: the reader's until close; stream: until the next call
    int64_t index;    // in the shard, from 0
    uint64_t offset;  // of its header in the (uncompressed) stream
} edt_record;

// `options` may be NULL. EDT_ERR_NOT_FOUND, EDT_ERR_IO; EDT_ERR_UNSUPPORTED for a zstd file.
edt_status edt_shard_reader_open(const char *path, const edt_shard_reader_options *options,
                                 edt_error *err, edt_shard_reader **out_reader);
// As edt_shard_reader_open, from memory that outlives the reader; `name` is for messages.
edt_status edt_shard_reader_open_memory(edt_span bytes, const char *name,
                                        const edt_shard_reader_options *options, edt_error *err,
                                        edt_shard_reader **out_reader);
// NULL is fine.
void edt_shard_reader_close(edt_shard_reader *reader);

const char *edt_shard_reader_path(const edt_shard_reader *reader);
edt_shard_format edt_shard_reader_format(const edt_shard_reader *reader);
// "plain", "gzip" or "zlib".
const char *edt_shard_format_name(edt_shard_format format);
// The whole mapped file; empty for a stream.
edt_span edt_shard_reader_bytes(const edt_shard_reader *reader);

// The next record; EDT_END after the last. EDT_ERR_CORRUPT or EDT_ERR_FORMAT with path, record
// and offset; the reader does not go past a bad record. One thread.
edt_status edt_shard_reader_next(edt_shard_reader *reader, edt_error *err,
                                 edt_record *out_record);

// The fault and offset of the record that the last call of edt_shard_reader_next failed at.
edt_tfrecord_fault edt_shard_reader_fault(const edt_shard_reader *reader, uint64_t *out_offset);

// The record at `offset` of a plain shard; any number of threads at once. `i_record` is for
// messages only (-1: unknown).
edt_status edt_shard_reader_read_at(const edt_shard_reader *reader, uint64_t offset,
                                    int64_t i_record, edt_error *err, edt_span *out_payload);

#endif
