// The layout of a side index's file, shared by its reader (side_index.c) and builder
// (side_builder.c); docs/record_format.md numbers the bytes.
#ifndef EDT_DATAIO_SIDE_INDEX_PRIV_H
#define EDT_DATAIO_SIDE_INDEX_PRIV_H

#include "dataio/side_index.h"

#define EDT_SIDE_MAGIC "EDTINDX1"

typedef struct edt_side_file_header {
    char magic[8];
    uint32_t format; // edt_shard_format
    uint32_t reserved;
    uint64_t shard_bytes, stream_bytes;
    uint64_t n_records, n_boxes, n_labels, text_bytes;
    uint32_t lengths_crc;
    uint32_t records_crc, boxes_crc, labels_crc; // of the tables; labels with their text
    uint32_t padding[3];
    uint32_t header_crc; // of the bytes before it
} edt_side_file_header;

typedef struct edt_side_file_label {
    int64_t label;
    uint32_t first, n_bytes; // in the text that follows the labels
} edt_side_file_label;

_Static_assert(sizeof(edt_side_file_header) == 96, "layout of the side index");
_Static_assert(sizeof(edt_side_record) == 48, "layout of the side index");
_Static_assert(sizeof(edt_side_box) == 32, "layout of the side index");
_Static_assert(sizeof(edt_side_file_label) == 16, "layout of the side index");

// An index over a block of edt_mem; takes it over on success.
edt_status edt_side_index_adopt(uint8_t *take_bytes, size_t n_bytes, edt_error *err,
                                edt_side_index **out_index);

#endif
