// The records of a list of shards as one numbered sequence, in the order of the list and,
// within a shard, of the file, with random access to any of them. Where a shard's side index
// (dataio/side_index.h) is there and up to date, opening reads that; otherwise it walks the
// shard (record headers with their CRCs, and the keys that the index keeps) and leaves the
// index for the next one. Records are read into a buffer (dataio/shard_file.h).
//
// An index counts as up to date when the shard's size is the one it states, it is not older
// than the shard, and records it names stand where it says. Where the catalog of a set
// (dataio/catalog.h) is there, the shards must be the ones it knows.
#ifndef EDT_DATAIO_RECORD_INDEX_H
#define EDT_DATAIO_RECORD_INDEX_H

#include "dataio/catalog.h"
#include "dataio/shard_file.h"
#include "dataio/side_index.h"

typedef struct edt_record_ref {
    int32_t i_file;   // in the list of shards
    uint32_t i_local; // record number in that file
    uint64_t offset;  // of the record's header, in the uncompressed shard
    uint64_t n_bytes; // of its payload
} edt_record_ref;

typedef struct edt_record_index edt_record_index;

// `options` may be NULL. Empty shards are legal, and so is an index without records.
// EDT_ERR_UNSUPPORTED with the remedy for shards that can only be read in order (gzip, zlib,
// zstd without a seek table), unless the options take such streams; EDT_ERR_MISMATCH when the
// shards are not those of their catalog; the shard reader's errors.
edt_status edt_record_index_create(const char *const *paths, int64_t n_files,
                                   const edt_shard_reader_options *options, edt_error *err,
                                   edt_record_index **out_index);
void edt_record_index_destroy(edt_record_index *index);

int64_t edt_record_index_n_records(const edt_record_index *index);
int64_t edt_record_index_n_files(const edt_record_index *index);
// Number of the first record of file `i_file`; i_file = n_files gives n_records.
int64_t edt_record_index_first(const edt_record_index *index, int64_t i_file);
const char *edt_record_index_path(const edt_record_index *index, int64_t i_file);
// True for a shard that can only be read in order.
bool edt_record_index_is_stream(const edt_record_index *index, int64_t i_file);
// EDT_ERR_UNSUPPORTED with the remedy when there is such a shard.
edt_status edt_record_index_check_random(const edt_record_index *index, edt_error *err);
// `i` in [0, n_records).
edt_record_ref edt_record_index_get(const edt_record_index *index, int64_t i);

// What the side indexes say of record `i`: its row, and its boxes (row->n_boxes of them).
const edt_side_record *edt_record_index_row(const edt_record_index *index, int64_t i);
const edt_side_box *edt_record_index_boxes(const edt_record_index *index, int64_t i);
// The name that the first shard to name it gives to a label, the index's; empty when none does.
edt_text edt_record_index_label_name(const edt_record_index *index, int64_t label);
// The first record with this image id (its source id as a number, else the text's fingerprint:
// edt_record_info_image_id); -1 when there is none.
int64_t edt_record_index_find(const edt_record_index *index, int64_t image_id);

// SHA-256, in hex, over the name (without directory), size, number of records and length CRCs
// of each shard in the order of the list: equal for copies of a data set in another place.
const char *edt_record_index_fingerprint(const edt_record_index *index);
// How many side indexes were missing or stale and had to be made by this open.
int64_t edt_record_index_n_rebuilt(const edt_record_index *index);

// The payload of record `i`, data CRC verified unless the options say otherwise; it lies in the
// scratch until its next use. Any number of threads, each with its own scratch. Not of a
// stream (EDT_ERR_UNSUPPORTED).
edt_status edt_record_index_read_into(const edt_record_index *index, int64_t i,
                                      edt_record_scratch *scratch, edt_error *err,
                                      edt_span *out_payload);
// The same, of any shard (a stream is read up to the record), kept in memory until the index is
// destroyed: for the few records that a picture or a message needs.
edt_status edt_record_index_read(const edt_record_index *index, int64_t i, edt_error *err,
                                 edt_span *out_payload);

// Lets the system begin to read record `i`: a hint (edt_shard_file_advise).
void edt_record_index_advise(const edt_record_index *index, int64_t i);

#endif
