// Which detection was matched to which object: the step between detections and the curves, for
// whoever explains a result (error breakdowns, other metrics, pictures). Same rules and numbers
// as edt_coco_evaluate.
#ifndef EDT_EVAL_COCO_MATCHES_H
#define EDT_EVAL_COCO_MATCHES_H

#include "eval/coco_eval.h"

// All groups of one evaluation. Immutable; independent of the detections, but not of the ground
// truth, which must outlive it.
typedef struct edt_coco_matches edt_coco_matches;

// The detections and objects of one image and category (of all categories with
// ignore_categories). T thresholds and A area ranges are those of the parameters. Arrays are
// owned by the matches.
typedef struct edt_coco_match_group {
    int64_t image_id;
    int64_t category_id; // -1 with ignore_categories
    int64_t i_category;  // in the result's categories; 0 with ignore_categories
    int64_t n_dt, n_gt;
    // Detections, best score first (stable), no more than the greatest max_dets.
    const int64_t *dt; // position in the list of detections
    const double *dt_score;
    const double (*dt_bbox)[4]; // x,y,w,h
    const double *dt_area;
    const int32_t *dt_match;  // [A][T][n_dt]: object (0 to n_gt - 1), -1: none
    const uint8_t *dt_ignore; // [A][T][n_dt]: counts neither as true nor as false positive
    // Objects, in the order of the ground truth.
    const int64_t *gt;        // for edt_coco_gt_get_object
    const int32_t *gt_match;  // [A][T][n_gt]: the last detection matched to it, -1: none
    const uint8_t *gt_ignore; // [A][n_gt]: a crowd, or outside the area range
} edt_coco_match_group;

// Memory: about 56 bytes per detection and 5 A T per detection and object; ask for no more
// thresholds and area ranges than needed.
edt_status edt_coco_match(const edt_coco_gt *gt, const edt_coco_dt *dt,
                          const edt_coco_params *params, edt_error *err,
                          edt_coco_matches **out_matches);
void edt_coco_matches_destroy(edt_coco_matches *matches);
// Groups with at least one detection or object, by rising image id, within by category.
int64_t edt_coco_matches_count(const edt_coco_matches *matches);
edt_coco_match_group edt_coco_matches_get(const edt_coco_matches *matches, int64_t i_group);
// The categories of i_category, as edt_coco_result_categories gives them.
const edt_coco_category *edt_coco_matches_categories(const edt_coco_matches *matches,
                                                     int64_t *out_n);

// Box overlap of n_dt detections with n_gt objects, x,y,w,h, out_iou[n_dt][n_gt]: intersection
// over union, for crowds (is_crowd may be NULL: none) over the area of the detection.
void edt_coco_box_iou(const double (*dt)[4], int64_t n_dt, const double (*gt)[4], int64_t n_gt,
                      const uint8_t *is_crowd, double *out_iou);

#endif
