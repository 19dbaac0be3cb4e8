// Matching of the detections of one image and category to its objects: the inner part of
// coco_match.c, with the memory that a worker keeps from group to group.
#ifndef EDT_EVAL_COCO_GROUP_H
#define EDT_EVAL_COCO_GROUP_H

#include "eval/coco_priv.h"

typedef struct edt_coco_scored {
    double score, area;
    const double *bbox; // x, y, w, h, the detection's
    const edt_coco_mask *mask;
    uint32_t slot; // of the detection, see coco_match.c
    int32_t category;
} edt_coco_scored;

typedef struct edt_coco_candidate {
    double iou;
    uint32_t i_gt;    // in the group
    uint32_t reached; // bit t: the overlap is not below threshold t
} edt_coco_candidate;

// Zero-initialised is empty.
typedef struct edt_coco_group {
    int64_t capacity_dt, capacity_gt, capacity_candidates;
    double *iou;                    // of one detection with each object
    uint16_t *taken;                // per object: the thresholds at which it is matched
    uint8_t *ignored;               // per object: bit a says that area range a leaves it out
    edt_coco_candidate *candidates; // of all detections
    int64_t *candidate_end;         // per detection
    edt_arena arena;                // of the runs
    edt_coco_runs *runs;            // per object, `at` NULL: not yet unpacked
    // Where matches are wanted one by one, else NULL: per area range, threshold and detection
    // the object, -1 none; [n_areas][n_thresholds][n_dt].
    int32_t *matched;
} edt_coco_group;

void edt_coco_group_deinit(edt_coco_group *group);

// Stable, highest score first, NaN last as NumPy sorts. `room` holds n items.
void edt_coco_sort_by_score(edt_coco_scored *items, int64_t n, edt_coco_scored *room);

// Overlaps of one box with n_gt others (pycocotools' bbIou) into `iou`; returns whether one is
// NaN.
bool edt_coco_box_overlaps(const double d[4], const double (*boxes)[4], const uint8_t *is_crowd,
                           int64_t n_gt, double *iou);

// items[0..n_dt), best first, with the objects [gt_begin, gt_end) of the ground truth at the
// work's pass; writes all but the category of out[0..n_dt).
edt_status edt_coco_group_match(edt_coco_group *group, const edt_coco_work *work,
                                const edt_coco_scored *items, int64_t n_dt, int64_t gt_begin,
                                int64_t gt_end, edt_coco_match_row *out, edt_error *err);

#endif
