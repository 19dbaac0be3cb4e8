// Turns a PASCAL VOC devkit into TFRecord shards and an evaluation JSON (spec/data.md 4): the
// whole of create_pascal_records but its options. The bytes depend on the input and the number
// of shards only, not on threads or ranks.
#ifndef EDT_DATAIO_CONVERT_VOC_H
#define EDT_DATAIO_CONVERT_VOC_H

#include "dataio/convert_run.h"
#include "dataio/voc_set.h"

typedef struct edt_convert_voc_options {
    edt_voc_set_options data; // n_threads is taken from num_threads
    const char *output_path;  // shard prefix
    int64_t num_shards;
    edt_shard_compression compression;
    int rank, world_size; // world_size 0 is 1; the last to finish writes the JSON
    int num_threads;      // 0: one per processor
    bool skip_bad;        // bad input is left out instead of ending the run
    bool clip_boxes;      // cut boxes to the image; boxes outside are kept otherwise
    edt_reencode_options reencode;
    bool reference_defects; // lists and categories as in the reference (spec/data.md 13, #12)
    const char *report_file;
    bool show_progress;
} edt_convert_voc_options;

// `out_stats` may be NULL. On any error, and when the user interrupts, no shard appears under
// its final name. EDT_ERR_USAGE for missing options, EDT_ERR_INVALID for bad input (always the
// first in the order of the list), EDT_ERR_NOT_FOUND, EDT_ERR_FORMAT, EDT_ERR_IO,
// EDT_ERR_CANCELLED.
edt_status edt_convert_voc(const edt_convert_voc_options *options, edt_error *err,
                           edt_convert_stats *out_stats);

#endif
