// Inside of post-processing: settings and scratch, made by post_create.c, used by
// postprocess.c.
#ifndef EDT_MODEL_POST_PRIV_H
#define EDT_MODEL_POST_PRIV_H

#include "model/nms.h"
#include "model/postprocess.h"
#include "model/selection.h"

struct edt_post {
    const edt_anchors *anchors; // borrowed
    edt_post_mode mode;
    bool numpy;
    edt_nms_options v5;
    edt_nms_numpy_options np;
    int64_t num_classes;
    int64_t max_output;
    int64_t max_candidates; // of one image
    edt_selection selection;
    bool per_anchor; // one candidate per anchor, no selection

    edt_backend *backend;           // whose threads share the current image's work, or NULL
    const float *const *cls_logits; // of the current image, per level
    const float *const *box_codes;
    int64_t n; // candidates of the current image
    int32_t *anchor, *cls;
    float *score, *box;
    // Candidates grouped by class, in candidate order; the same places serve a class's
    // suppression. Combined mode uses them for one class after the other.
    int64_t *class_end; // [num_classes] end of each class in by_class
    int64_t largest_class;
    int64_t *n_picked; // [num_classes]
    int32_t *by_class; // candidate indices
    float *class_score, *class_box;
    edt_nms_item *items;
    float *nms_boxes;
    int32_t *picked;
    float *picked_score;
    // What suppression kept, all classes.
    int64_t n_kept, cap_kept;
    edt_detection *kept;
    uint64_t *order, *order_scratch;
};

// Where the part of nms_boxes begins that follows `n` candidates of `n_classes` classes.
static inline int64_t edt_post_nms_boxes_at(int64_t n, int64_t n_classes)
{
    return EDT_NMS_BOXES_FLOATS(n) + (n_classes - 1) * EDT_NMS_BOXES_FLOATS(0);
}

#endif
