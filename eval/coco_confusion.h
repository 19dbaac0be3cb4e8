// Which classes are taken for which; see edt_coco_curves in coco_curves.h.
#ifndef EDT_EVAL_COCO_CONFUSION_H
#define EDT_EVAL_COCO_CONFUSION_H

#include "eval/coco_eval.h"

// Adds to counts[n_classes + 1][n_classes + 1], which the caller has zeroed.
edt_status edt_coco_confusion_count(const edt_coco_gt *gt, const edt_coco_dt *dt,
                                    const edt_coco_params *params, double iou, double min_score,
                                    int64_t n_classes, int64_t *counts, edt_error *err);

#endif
