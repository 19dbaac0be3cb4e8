// The drawn data set: coloured shapes on textured backgrounds as JPEG files with COCO instance
// annotations, in a training and a validation split. It lets anybody try the whole pipeline
// within minutes and without downloads.
#ifndef EDT_DATAIO_SHAPES_H
#define EDT_DATAIO_SHAPES_H

#include <stdbool.h>

#include "dataio/shapes_scene.h"

typedef struct edt_shapes_options {
    // Created as needed. Pictures go to train/ and val/, annotations to
    // annotations/instances_train.json and annotations/instances_val.json.
    const char *output_dir;
    int64_t num_train, num_val;
    edt_shapes_style style;
    uint64_t seed;
    bool masks;      // annotations have polygons too
    int64_t quality; // of the JPEG files, 1 to 100
    int n_threads;   // 0: one per processor
    bool show_progress;
} edt_shapes_options;

typedef struct edt_shapes_result {
    int64_t n_images[2], n_objects[2]; // train, val
} edt_shapes_result;

// Draws both splits. The bytes depend on the options alone, not on threads; a larger split
// begins with the pictures of a smaller one. The annotation file of a split appears when all
// its pictures stand. Checks edt_interrupt_requested. EDT_ERR_USAGE, EDT_ERR_IO, EDT_ERR_NOMEM.
edt_status edt_shapes_write(const edt_shapes_options *options, edt_error *err,
                            edt_shapes_result *out_result);

#endif
