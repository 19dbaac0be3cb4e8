// The records of a list of shards as one numbered sequence, in the order of the list and,
// within a shard, of the file. Built by walking the record headers (their CRCs are verified;
// payloads are not touched), so that any record can be read directly.
#ifndef EDT_DATAIO_RECORD_INDEX_H
#define EDT_DATAIO_RECORD_INDEX_H

#include "dataio/shard_reader.h"

typedef struct edt_record_ref {
    int32_t i_file;   // in the list of shards
    uint32_t i_local; // record number in that file
    uint64_t offset;  // of the record's header
    uint64_t n_bytes; // of its payload
} edt_record_ref;

typedef struct edt_record_index edt_record_index;

// Opens all shards (they stay mapped). `options` may be NULL. Empty shards are legal, and so is
// an index without records. EDT_ERR_UNSUPPORTED for a compressed shard; the shard reader's
// errors.
edt_status edt_record_index_create(const char *const *paths, int64_t n_files,
                                   const edt_shard_reader_options *options, edt_error *err,
                                   edt_record_index **out_index);
void edt_record_index_destroy(edt_record_index *index);

int64_t edt_record_index_n_records(const edt_record_index *index);
int64_t edt_record_index_n_files(const edt_record_index *index);
// Number of the first record of file `i_file`; i_file = n_files gives n_records.
int64_t edt_record_index_first(const edt_record_index *index, int64_t i_file);
const char *edt_record_index_path(const edt_record_index *index, int64_t i_file);
// `i` in [0, n_records).
edt_record_ref edt_record_index_get(const edt_record_index *index, int64_t i);

// The payload of record `i`, data CRC verified unless the options say otherwise; borrowed until
// the index is destroyed. Any number of threads.
edt_status edt_record_index_read(const edt_record_index *index, int64_t i, edt_error *err,
                                 edt_span *out_payload);

#endif
