// How well a segmentation head does on a batch: the share of the pixels that have a class and
// got it.
#ifndef EDT_EVAL_PIXEL_ACCURACY_H
#define EDT_EVAL_PIXEL_ACCURACY_H

#include "eval/predict.h"

// Counts of a batch's valid rows; add up over batches.
typedef struct edt_pixel_counts {
    int64_t n_pixels; // with a class
    int64_t n_right;  // whose class has the largest logit
} edt_pixel_counts;

// Runs the network on `batch`, which has masks of the predictor's size (EDT_ERR_INVALID), and
// adds to *counts.
edt_status edt_pixel_accuracy_add(edt_predictor *predictor, const edt_batch *batch,
                                  edt_error *err, edt_pixel_counts *counts);
// The class of the largest of n logits; the first where several are.
int64_t edt_pixel_class(const float *logits, int64_t n);

#endif
