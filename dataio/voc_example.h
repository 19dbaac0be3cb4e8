// One VOC image with its objects as a tf.train.Example (spec/data.md 4.3, 4.4). Coordinates are
// the file's 1-based pixels divided as they are; areas are shares of the image.
#ifndef EDT_DATAIO_VOC_EXAMPLE_H
#define EDT_DATAIO_VOC_EXAMPLE_H

#include "dataio/convert_run.h"
#include "dataio/tfexample.h"
#include "dataio/voc_set.h"

typedef struct edt_voc_example_input {
    const edt_voc_image *image;
    int64_t image_id;
    // Pixels of the picture as stored: the annotation's, but for pictures made smaller.
    int64_t height, width;
    edt_span encoded;   // the file's bytes; borrowed by the pieces
    const char *sha256; // hex
    bool clip_boxes;
} edt_voc_example_input;

// Pieces live in `arena` and borrow from the input.
edt_status edt_voc_example_write(const edt_voc_example_input *input, edt_arena *arena,
                                 edt_error *err, edt_convert_counts *out_counts,
                                 edt_tfexample_pieces *out_pieces);

// What becomes of a box (ymin,xmin,ymax,xmax): unchanged, or with `clip` cut to the image.
// False when nothing of it is left.
bool edt_voc_clip_box(const edt_voc_annotation *note, bool clip, const double box[static 4],
                      double out_box[static 4]);

#endif
