// One COCO image with its annotations as a tf.train.Example: which annotations are kept, how
// boxes are normalised and which keys are written (spec/data.md 3.4, 3.5).
#ifndef EDT_DATAIO_COCO_EXAMPLE_H
#define EDT_DATAIO_COCO_EXAMPLE_H

#include "dataio/coco_json.h"
#include "dataio/convert_report.h"
#include "dataio/tfexample.h"

typedef struct edt_coco_example_input {
    const edt_coco_image *image;
    edt_span encoded;   // the file's bytes; borrowed by the pieces
    const char *sha256; // hex
    const edt_coco_annotation *annotations;
    int64_t n_annotations;           // 0: no image/object keys at all
    const edt_coco_json *categories; // names for the annotations
    const edt_coco_caption *captions;
    int64_t n_captions; // 0: no image/caption
    bool clip_boxes;
    bool include_masks; // the annotations' segmentation as PNG
    // Of the picture that is stored, which may have been made smaller; areas and masks follow.
    int64_t stored_height, stored_width;
    const char *categories_path; // of the annotation file, for messages
    edt_convert_report *report;  // segmentations that make no mask go here
} edt_coco_example_input;

typedef edt_convert_counts edt_coco_example_counts;

// Pieces live in `arena` and borrow from the input.
edt_status edt_coco_example_write(const edt_coco_example_input *input, edt_arena *arena,
                                  edt_error *err, edt_coco_example_counts *out_counts,
                                  edt_tfexample_pieces *out_pieces);

#endif
