// Turns a PASCAL VOC devkit into TFRecord shards and an evaluation JSON (spec/data.md 4): the
// whole of create_pascal_records but its options. The bytes depend on the input and the number
// of shards only, not on threads or ranks.
#ifndef EDT_DATAIO_CONVERT_VOC_H
#define EDT_DATAIO_CONVERT_VOC_H

#include "dataio/convert_run.h"
#include "dataio/voc_set.h"

typedef struct edt_convert_voc_options {
    edt_voc_set_options data; // n_threads is taken from run.num_threads
    bool reference_defects;   // lists and categories as in the reference (spec/data.md 13, #12)
    // clip_boxes false: boxes outside are kept. The last rank to finish writes the JSON.
    edt_convert_options run;
} edt_convert_voc_options;

// `out_stats` may be NULL. On any error, and when the user interrupts, no shard appears under
// its final name. EDT_ERR_USAGE for missing options, EDT_ERR_INVALID for bad input (always the
// first in the order of the list), EDT_ERR_NOT_FOUND, EDT_ERR_FORMAT, EDT_ERR_IO,
// EDT_ERR_CANCELLED.
edt_status edt_convert_voc(const edt_convert_voc_options *options, edt_error *err,
                           edt_convert_stats *out_stats);

#endif
