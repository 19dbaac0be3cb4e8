// Network outputs -> detections (spec/eval_infer_export.md 1).
#ifndef EDT_MODEL_POSTPROCESS_H
#define EDT_MODEL_POSTPROCESS_H

#include "core/hparams.h"
#include "model/anchors.h"

typedef enum edt_post_mode { EDT_POST_PER_CLASS, EDT_POST_GLOBAL, EDT_POST_COMBINED } edt_post_mode;

typedef struct edt_detection {
    float ymin, xmin, ymax, xmax; // original-image pixels
    float score;
    int32_t label; // 1-based class id; 0 in padding rows
} edt_detection;

typedef struct edt_post edt_post; // settings and scratch for one thread

// Uses hp->nms_configs, num_classes. Modes as in spec 1.5; the global mode clips, per class does not.
edt_status edt_post_create(const edt_hparams *hp, const edt_anchors *anchors, edt_post_mode mode,
                           edt_error *err, edt_post **out_post);
void edt_post_destroy(edt_post *post);

// One image. cls[i], box[i]: raw outputs of level min+i, [h*w*A,K] and [h*w*A,4], f32 on the host.
// image_scale multiplies the boxes (1/scale of preprocessing). Writes exactly
// max_output_size rows (padding as the reference's) and the number of valid ones.
edt_status edt_post_run(edt_post *post, const float *const *cls, const float *const *box,
                        float image_scale, edt_detection *out_detections, int64_t *out_n_valid,
                        edt_error *err);

#endif
