// Reads the records of one shard in order, whatever it is stored as (recognised by content,
// never by name). A plain file is mapped: payloads are borrowed from the mapping, random access
// works. A gzip, zlib or zstd file is read and decompressed as one stream (random access into
// zstd shards is dataio/shard_file.h's). CRCs are verified unless asked otherwise. A plain file
// that someone cuts off while it is read is noticed at the next record; only while that very
// record is being used would the missing pages end the process, which is why training reads
// through shard_file.h.
#ifndef EDT_DATAIO_SHARD_READER_H
#define EDT_DATAIO_SHARD_READER_H

#include "dataio/tfrecord.h"

typedef struct edt_shard_reader edt_shard_reader;

typedef struct edt_shard_reader_options {
    bool skip_data_crc; // length CRCs are always checked
    bool lenient_tail;  // 1 to 11 stray bytes at the end are ignored, as by the reference
    // shard_file and record_index: shards that can only be read in order are opened too.
    bool take_streams;
} edt_shard_reader_options;

typedef enum edt_shard_format {
    EDT_SHARD_PLAIN,
    EDT_SHARD_GZIP,
    EDT_SHARD_ZLIB,
    EDT_SHARD_ZSTD
} edt_shard_format;

typedef struct edt_record {
    // Random access: the reader's until close; stream: until the next call. Its header lies
    // before it in memory and its stored CRC, 4 bytes, behind it.
    edt_span payload;
    int64_t index;   // in the shard, from 0
    uint64_t offset; // of its header in the (uncompressed) stream
} edt_record;

// `options` may be NULL. EDT_ERR_NOT_FOUND, EDT_ERR_IO.
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
// "plain", "gzip", "zlib" or "zstd".
const char *edt_shard_format_name(edt_shard_format format);
// Bytes of the file; bytes of the uncompressed shard (of a stream: as far as it has been read).
uint64_t edt_shard_reader_file_bytes(const edt_shard_reader *reader);
uint64_t edt_shard_reader_stream_bytes(const edt_shard_reader *reader);
// The whole mapped file; empty for a stream.
edt_span edt_shard_reader_bytes(const edt_shard_reader *reader);

// The next record; EDT_END after the last. EDT_ERR_CORRUPT or EDT_ERR_FORMAT with path, record
// and offset; the reader does not go past a bad record. One thread.
edt_status edt_shard_reader_next(edt_shard_reader *reader, edt_error *err,
                                 edt_record *out_record);

// How a file that begins with `bytes` is stored: a valid masked length CRC first, else the
// magic bytes. An empty file is plain. More bytes than 64 KiB change nothing.
edt_shard_format edt_shard_detect_format(edt_span bytes);

// The fault and offset of the record that the last call of edt_shard_reader_next failed at.
edt_tfrecord_fault edt_shard_reader_fault(const edt_shard_reader *reader, uint64_t *out_offset);

// The record at `offset` of a plain shard; any number of threads at once. `i_record` is for
// messages only (-1: unknown).
edt_status edt_shard_reader_read_at(const edt_shard_reader *reader, uint64_t offset,
                                    int64_t i_record, edt_error *err, edt_span *out_payload);

#endif
