// One line per record of a list of shards, and one record taken out of them: the picture, its
// annotations as JSON, the picture with boxes, the masks.
#ifndef EDT_DATAIO_RECORD_LIST_H
#define EDT_DATAIO_RECORD_LIST_H

#include <stdbool.h>
#include <stdio.h>

#include "core/error.h"
#include "core/hparams.h"

typedef struct edt_list_options {
    const char *const *paths;
    int64_t n_files;
    int n_threads;               // 0: one per processor
    const edt_label_map *labels; // names that go before the records'; may be empty
} edt_list_options;

// Tab-separated lines with a heading: shard, record, offset, payload bytes, image id, height,
// width, boxes, file name. Control characters in texts become '?'. A place that cannot be read
// has its words in the last column and counts in *out_n_bad. EDT_ERR_IO when `out` cannot be
// written.
edt_status edt_record_list(const edt_list_options *options, FILE *out, edt_error *err,
                           int64_t *out_n_bad);

typedef struct edt_extract_result {
    const char *path; // the options' text
    int64_t i_record;
    int64_t n_boxes;
    char stem[512]; // of the files written: "DIR/397133"
} edt_extract_result;

// Finds the first record whose image id, or else whose file name, is `id`, and writes
// DIR/ID.jpg (or .png, .gif, .bmp, .bin: the stored bytes), DIR/ID.json, DIR/ID_boxes.jpg where
// the picture decodes and has boxes, DIR/ID_mask<i>.png. EDT_ERR_NOT_FOUND, EDT_ERR_FORMAT for
// a record that is no Example, EDT_ERR_IO.
edt_status edt_record_extract(const edt_list_options *options, const char *id, const char *dir,
                              edt_error *err, edt_extract_result *out_result);

#endif
