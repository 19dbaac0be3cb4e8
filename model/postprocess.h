// Network outputs -> detections (spec/eval_infer_export.md 1).
#ifndef EDT_MODEL_POSTPROCESS_H
#define EDT_MODEL_POSTPROCESS_H

#include "backend/backend.h"
#include "core/hparams.h"
#include "model/anchors.h"

typedef enum edt_post_mode {
    EDT_POST_PER_CLASS,
    EDT_POST_GLOBAL,
    EDT_POST_COMBINED
} edt_post_mode;

typedef struct edt_detection {
    float ymin, xmin, ymax, xmax; // original-image pixels
    float score;
    int32_t label; // 1-based class id
} edt_detection;

typedef struct edt_post edt_post; // settings and scratch for one thread

// Uses hp->nms_configs and num_classes; the anchors are borrowed. Modes as in spec 1.5: global
// and combined clip to the network's picture, per class does not; pyfunc (numpy suppression)
// concerns the per-class mode only. EDT_ERR_USAGE for settings that the mode does not know.
edt_status edt_post_create(const edt_hparams *hp, const edt_anchors *anchors,
                           edt_post_mode mode, edt_error *err, edt_post **out_post);
void edt_post_destroy(edt_post *post); // NULL is fine
// The attributes of the op DETECT that gives the same rows; false where there is none: combined
// mode, numpy suppression.
bool edt_post_describe(const edt_post *post, edt_detect_attrs *out_attrs);

// One image. cls[i], box[i]: raw outputs of level min+i, [h*w*A,K] and [h*w*A,4], f32 on the
// host. image_scale multiplies the boxes (1/scale of preprocessing). Writes exactly
// max_output_size rows, best first, and the number of valid ones. The rest is the reference's
// padding: per class label 0, box 0, score 0 (pyfunc: -1e5); global: score 0 with box and label
// of the first candidate; combined: label 1, box 0, score 0. Allocates nothing.
edt_status edt_post_run(edt_post *post, const float *const *cls, const float *const *box,
                        float image_scale, edt_detection *out_detections, int64_t *out_n_valid,
                        edt_error *err);
// The same rows with the work shared by the backend's threads (edt_backend_share; NULL: this
// thread alone). Not from inside of shared work.
edt_status edt_post_run_shared(edt_post *post, edt_backend *backend, const float *const *cls,
                               const float *const *box, float image_scale,
                               edt_detection *out_detections, int64_t *out_n_valid,
                               edt_error *err);

// Candidates of the last run in the order that suppression saw, before it: for inspection. With
// max_nms_inputs logits descending, ties by anchor and class; else anchors in order. Boxes are
// [n,4] network pixels and, where the score cannot pass the threshold, undefined.
typedef struct edt_post_candidates {
    int64_t n;
    const float *boxes, *scores;
    const int32_t *classes; // 0-based
} edt_post_candidates;
edt_post_candidates edt_post_get_candidates(const edt_post *post);

// Mirrors detections of a flipped input back: x' = image_scale * network_w - x (spec 1.7).
void edt_detections_flip(edt_detection *detections, int64_t n, float image_scale,
                         int64_t network_w);

#endif
