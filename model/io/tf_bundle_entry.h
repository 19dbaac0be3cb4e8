// The two messages of a bundle's index as plain structs: parsing with all checks that need no
// data file, and packing. The only user of the generated protobuf code.
#ifndef EDT_MODEL_IO_TF_BUNDLE_ENTRY_H
#define EDT_MODEL_IO_TF_BUNDLE_ENTRY_H

#include "model/io/tf_bundle.h"
#include "model/io/tf_table_format.h"

typedef struct edt_tf_header {
    int32_t n_shards;
    bool big_endian;
} edt_tf_header;

// Value of the empty key. EDT_ERR_FORMAT names `where`.
edt_status edt_tf_header_parse(edt_span value, const char *where, edt_error *err,
                               edt_tf_header *out_header);
// Value of any other key; the name is copied to `arena`. Type, rank or partitions that we do
// not read set `unreadable`; sizes that contradict the shape are EDT_ERR_FORMAT.
edt_status edt_tf_entry_parse(edt_span key, edt_span value, const char *where, edt_arena *arena,
                              edt_error *err, edt_tf_entry *out_entry);

// Append the packed message; EDT_ERR_NOMEM.
edt_status edt_tf_header_pack(const edt_tf_header *header, edt_tf_bytes *out, edt_error *err);
edt_status edt_tf_entry_pack(const edt_tf_entry *entry, edt_tf_bytes *out, edt_error *err);

#endif
