// The numbers behind the pictures of an evaluation: precision against recall, precision, recall
// and F1 against the score, histograms of scores, and which classes are taken for which.
#ifndef EDT_EVAL_COCO_CURVES_H
#define EDT_EVAL_COCO_CURVES_H

#include "core/arena.h"
#include "eval/coco_eval.h"

enum {
    EDT_COCO_CURVES_BINS = 50,
    EDT_COCO_CURVES_POINTS = 401,
    EDT_COCO_CURVES_MOST_CONFUSED = 4000, // classes; no matrix of more
};

// What keeping the detections from a score on gives; F1 = 2 P R / (P + R).
typedef struct edt_coco_operating_point {
    double score, precision, recall, f1; // NaN: no detections, or no objects
} edt_coco_operating_point;

typedef struct edt_coco_class_numbers {
    int64_t id;
    const char *name;
    int64_t n_objects;             // that count: no crowds
    int64_t n_detections;          // that count, of all scores
    double ap, ap50, ap75;         // -1: undefined
    double ar;                     // at the greatest limit of detections; -1: undefined
    edt_coco_operating_point best; // highest F1 at IoU 0.5
} edt_coco_class_numbers;

// All arrays are owned by it. Immutable.
typedef struct edt_coco_curves {
    edt_arena arena;
    int64_t n_classes; // 1 without categories, named "all classes"
    const edt_coco_class_numbers *classes;
    edt_coco_class_numbers whole; // all classes: means of AP and AR, counts, best over all

    // Precision at recalls, all areas, greatest limit of detections:
    // [n_classes + 1][n_thresholds][n_recalls]; the last row is the mean over classes with
    // objects. -1: undefined.
    int64_t n_thresholds, n_recalls;
    const double *iou_thresholds, *recalls, *precision;

    // At IoU 0.5, all classes together.
    double score_low, score_high;           // 0 and 1 unless scores go beyond
    const int64_t *true_bins, *false_bins;  // [BINS] over that range, the last one closed
    const edt_coco_operating_point *points; // [POINTS], scores rising over that range

    // Rows: classes of objects, last: detections without an object; columns: classes of
    // detections, last: objects without a detection. [n_classes + 1][n_classes + 1]; NULL
    // without categories or with too many. Detections from `confusion_score` on first take
    // objects of their own class as in evaluation at IoU 0.5, then those left over take the
    // objects left over that they overlap by 0.5 or more, greatest overlap first. What lies in
    // a crowd of its class is not counted.
    double confusion_score;
    const int64_t *confusion;
} edt_coco_curves;

typedef struct edt_coco_curves_options {
    bool has_confusion_score; // else that of the highest F1
    double confusion_score;
} edt_coco_curves_options;

// `result` is of the same ground truth, detections and parameters. `options` may be NULL.
edt_status edt_coco_curves_create(const edt_coco_gt *gt, const edt_coco_dt *dt,
                                  const edt_coco_result *result,
                                  const edt_coco_curves_options *options, edt_error *err,
                                  edt_coco_curves **out_curves);
void edt_coco_curves_destroy(edt_coco_curves *curves);

#endif
