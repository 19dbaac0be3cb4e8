// The side index of a shard: where each record lies and what a person or a sampler asks of it
// without opening it (image id, size, boxes). A file .edt/NAME.index beside the shard, written
// by the converters, rebuilt by whoever finds it missing, damaged or older than its shard
// (dataio/record_index.h). docs/record_format.md numbers its bytes.
#ifndef EDT_DATAIO_SIDE_INDEX_H
#define EDT_DATAIO_SIDE_INDEX_H

#include "core/arena.h"
#include "core/error.h"
#include "core/span.h"
#include "dataio/record_info.h"
#include "dataio/shard_reader.h"

// As they lie in the file.
typedef struct edt_side_record {
    uint64_t offset;       // of its header in the (uncompressed) shard
    uint64_t n_bytes;      // of its payload
    int64_t image_id;      // 0 when unknown
    int32_t height, width; // pixels; -1 when unknown
    uint64_t first_box;
    uint32_t n_boxes;
    uint32_t flags; // EDT_RECORD_INFO_*
} edt_side_record;

typedef struct edt_side_box {
    float box[4]; // ymin,xmin,ymax,xmax, normalised, as stored
    int64_t label;
    uint32_t is_crowd;
    uint32_t reserved; // 0
} edt_side_box;

typedef struct edt_side_label {
    int64_t label;
    edt_text name; // the index's
} edt_side_label;

typedef struct edt_side_index edt_side_index;

// What the index says of its shard as a whole.
typedef struct edt_side_summary {
    edt_shard_format format;
    uint64_t shard_bytes;  // of the file
    uint64_t stream_bytes; // uncompressed
    int64_t n_records, n_boxes, n_labels;
    uint32_t lengths_crc; // CRC-32C of the masked length CRCs of all records, in order
} edt_side_summary;

// "DIR/.edt/NAME.index" for "DIR/NAME"; NULL when out of memory.
const char *edt_side_index_path(edt_arena *arena, const char *shard_path);

// Creates the hidden directory that `path` (of a side index or a catalog) lies in. EDT_ERR_IO
// when nothing may be written there; a directory whose mode has no write bit counts as
// read-only for root as well, whom the system would let write.
edt_status edt_side_dir_create(const char *path, edt_error *err);

// Maps an index and checks all its checksums and ranges. EDT_ERR_NOT_FOUND, EDT_ERR_CORRUPT,
// EDT_ERR_FORMAT, EDT_ERR_IO.
edt_status edt_side_index_open(const char *path, edt_error *err, edt_side_index **out_index);
// As edt_side_index_open, from memory that outlives the index.
edt_status edt_side_index_open_memory(edt_span bytes, const char *name, edt_error *err,
                                      edt_side_index **out_index);
void edt_side_index_close(edt_side_index *index); // NULL is fine

const edt_side_summary *edt_side_index_summary(const edt_side_index *index);
// Tables of n_records and n_boxes rows, the index's.
const edt_side_record *edt_side_index_records(const edt_side_index *index);
const edt_side_box *edt_side_index_boxes(const edt_side_index *index);
// Distinct (label, name) pairs, ordered; i in [0, n_labels).
edt_side_label edt_side_index_label(const edt_side_index *index, int64_t i);
// The file's bytes.
edt_span edt_side_index_bytes(const edt_side_index *index);

// Collects rows in any order; one thread at a time.
typedef struct edt_side_builder edt_side_builder;
edt_status edt_side_builder_create(edt_error *err, edt_side_builder **out_builder);
void edt_side_builder_destroy(edt_side_builder *builder); // NULL is fine
// `info` may be NULL: unknown.
edt_status edt_side_builder_add(edt_side_builder *builder, uint64_t offset, uint64_t n_bytes,
                                const edt_record_info *info, edt_error *err);
// An index in memory whose records are ordered by offset.
edt_status edt_side_builder_finish(edt_side_builder *builder, edt_shard_format format,
                                   uint64_t shard_bytes, uint64_t stream_bytes, edt_error *err,
                                   edt_side_index **out_index);

// Walks a shard of any format and origin and makes its index: record headers with their CRCs,
// and the keys that an index keeps (a payload that is no Example gives a row without them; data
// CRCs are left to whoever reads the record). `options` may be NULL. The shard reader's errors.
edt_status edt_side_index_rebuild(const char *shard_path,
                                  const edt_shard_reader_options *options, edt_error *err,
                                  edt_side_index **out_index);

// Writes the index to its place beside the shard, creating .edt. EDT_ERR_IO.
edt_status edt_side_index_save(const edt_side_index *index, const char *shard_path,
                               edt_error *err);
// Removes a shard's index; none is fine. EDT_ERR_IO.
edt_status edt_side_index_remove(const char *shard_path, edt_error *err);

#endif
