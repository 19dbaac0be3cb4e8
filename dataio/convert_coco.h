// Turns COCO annotation files and a directory of images into TFRecord shards (spec/data.md 3):
// the whole of create_coco_records but its options. The bytes depend on the input and the
// options only, not on threads or
// ranks.
#ifndef EDT_DATAIO_CONVERT_COCO_H
#define EDT_DATAIO_CONVERT_COCO_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"
#include "dataio/convert_run.h"

// NULL or "" stands for "not given".
typedef struct edt_convert_coco_options {
    const char *image_dir;
    const char *image_info_file; // the first of these three that is given lists the images
    const char *object_annotations_file;
    const char *caption_annotations_file;
    bool include_masks;      // store each annotation's segmentation as PNG
    edt_convert_options run; // clip_boxes false: boxes that stick out are dropped
} edt_convert_coco_options;

// `out_stats` may be NULL. On any error, and when the user interrupts, nothing appears under
// the final names. EDT_ERR_USAGE for missing options, EDT_ERR_INVALID for bad input (always the
// first in the order of conversion), EDT_ERR_MISMATCH for a prefix that another set has,
// EDT_ERR_NOT_FOUND, EDT_ERR_FORMAT, EDT_ERR_IO, EDT_ERR_CANCELLED.
edt_status edt_convert_coco(const edt_convert_coco_options *options, edt_error *err,
                            edt_convert_stats *out_stats);

#endif
