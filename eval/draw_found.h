// Detections drawn on their picture, with class names and scores.
#ifndef EDT_EVAL_DRAW_FOUND_H
#define EDT_EVAL_DRAW_FOUND_H

#include "core/hparams.h"
#include "dataio/draw.h"
#include "model/postprocess.h"

typedef struct edt_draw_found_options {
    double min_score; // boxes score above this
    int64_t max_boxes;
    double line_width; // pixels; 0: 2
} edt_draw_found_options;

// In place; names from `hp`'s label map (edt_model_config_class_name). *out_n (may be NULL) is
// the number of boxes that score high enough. EDT_ERR_NOMEM.
edt_status edt_draw_found(const edt_hparams *hp, const edt_detection *found, int64_t n_found,
                          const edt_draw_found_options *options, const edt_image *image,
                          edt_error *err, int64_t *out_n);

#endif
