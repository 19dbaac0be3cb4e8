// Sorted string tables in LevelDB's format, as TensorFlow stores the .index of a checkpoint
// (spec/model.md 7.2): prefix-compressed blocks with a masked CRC-32C each, an index block, a
// footer. Keys are bytes, ordered bytewise.
#ifndef EDT_MODEL_IO_TF_TABLE_H
#define EDT_MODEL_IO_TF_TABLE_H

#include "core/error.h"
#include "core/span.h"

// `key` and `value` are valid during the call only. Any status but EDT_OK ends the scan with
// it.
typedef edt_status edt_tf_table_visit(void *ctx, edt_span key, edt_span value, edt_error *err);

// Visits every entry of the table held in `file`, in order. `where` names it in messages.
// EDT_ERR_FORMAT for a malformed table, EDT_ERR_CORRUPT for a checksum that does not match.
// Entries before the damage may have been visited.
edt_status edt_tf_table_scan(edt_span file, const char *where, edt_tf_table_visit *visit,
                             void *ctx, edt_error *err);

typedef struct edt_tf_table_writer edt_tf_table_writer;

// Builds a table in memory, byte for byte as TensorFlow's writer does without compression.
// block_bytes 0: 262144, TensorFlow's size for checkpoints.
edt_status edt_tf_table_writer_create(size_t block_bytes, edt_error *err,
                                      edt_tf_table_writer **out_writer);
void edt_tf_table_writer_destroy(edt_tf_table_writer *writer);
// Keys must come in strictly ascending order (EDT_ERR_INVALID otherwise).
edt_status edt_tf_table_writer_add(edt_tf_table_writer *writer, edt_span key, edt_span value,
                                   edt_error *err);
// The complete file; owned by the writer. Nothing may be added afterwards.
edt_status edt_tf_table_writer_finish(edt_tf_table_writer *writer, edt_error *err,
                                      edt_span *out_file);

#endif
