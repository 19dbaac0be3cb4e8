// All detections and objects of an image with the overlap of each pair, whatever their classes:
// what confusion matrices and error breakdowns are made of.
#ifndef EDT_EVAL_COCO_PAIRS_H
#define EDT_EVAL_COCO_PAIRS_H

#include "eval/coco_eval.h"

typedef struct edt_coco_pairs_options {
    // Which classes and images, and what overlaps; limits, thresholds and area ranges do not
    // matter, nor does ignore_categories.
    const edt_coco_params *params;
    int64_t max_dets; // best detections of an image, over all classes; 0: all
    double min_score; // detections below are left out, those with NaN always
} edt_coco_pairs_options;

// Classes are positions in the list of evaluated categories (edt_coco_result_categories).
// Arrays are valid during the call.
typedef struct edt_coco_pairs {
    int64_t image_id;
    int64_t n_dt, n_gt;
    const double *dt_score; // best first, of equal ones the first in the list
    const int32_t *dt_class;
    const int32_t *gt_class; // by rising class, within in the order of the ground truth
    const uint8_t *gt_is_crowd;
    const double *iou; // [n_dt][n_gt]; for crowds over the area of the detection
} edt_coco_pairs;

typedef edt_status edt_coco_pairs_fn(void *ctx, const edt_coco_pairs *pairs, edt_error *err);

// Calls fn for each image that has detections or objects, by rising id, on this thread.
edt_status edt_coco_pairs_walk(const edt_coco_gt *gt, const edt_coco_dt *dt,
                               const edt_coco_pairs_options *options, edt_coco_pairs_fn *fn,
                               void *ctx, edt_error *err);

#endif
