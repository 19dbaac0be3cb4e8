// Non-maximum suppression of one set of boxes, exactly as the two implementations that the
// reference uses: TensorFlow's NonMaxSuppressionV5 (spec/eval_infer_export.md 1.4) and
// nms_np.py (1.6). Boxes are [n,4] ymin,xmin,ymax,xmax; nothing is allocated.
#ifndef EDT_MODEL_NMS_H
#define EDT_MODEL_NMS_H

#include <stdint.h>

typedef struct edt_nms_item {
    float score;
    int32_t index;
    int32_t begin; // selected boxes before this one have been applied
} edt_nms_item;

typedef struct edt_nms_options {
    float iou_thresh;
    float score_thresh; // strict; -INFINITY: none
    float sigma;        // V5's own sigma, half of the configured one; 0: hard suppression
    int64_t max_output; // boxes selected at most
} edt_nms_options;

// Floats of scratch_boxes for n boxes.
#define EDT_NMS_BOXES_FLOATS(n) (5 * ((int64_t)(n) + 8))
// `scratch` has n items. Writes indices into boxes and scores (decayed by soft suppression) in
// order of selection; returns how many.
int64_t edt_nms_v5(const float *boxes, const float *scores, int64_t n,
                   const edt_nms_options *options, edt_nms_item *scratch, float *scratch_boxes,
                   int32_t *out_index, float *out_score);

typedef enum edt_nms_numpy_method {
    EDT_NMS_NUMPY_HARD,
    EDT_NMS_NUMPY_DIOU,
    EDT_NMS_NUMPY_LINEAR,
    EDT_NMS_NUMPY_GAUSSIAN,
} edt_nms_numpy_method;

typedef struct edt_nms_numpy_options {
    edt_nms_numpy_method method;
    float iou_thresh;   // hard, diou, linear
    float score_thresh; // linear, gaussian
    float sigma;        // gaussian
} edt_nms_numpy_options;

// As above with pixel-inclusive areas and no limit: out arrays have n elements. Equal scores:
// the lower index first (the original leaves it open).
int64_t edt_nms_numpy(const float *boxes, const float *scores, int64_t n,
                      const edt_nms_numpy_options *options, edt_nms_item *scratch,
                      int32_t *out_index, float *out_score);

#endif
