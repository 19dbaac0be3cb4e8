// EfficientDet as a graph: backbone, feature network, heads, and for training the losses and
// their gradients. spec/model.md 1-3, train.md 4.
#ifndef EDT_MODEL_EFFICIENTDET_H
#define EDT_MODEL_EFFICIENTDET_H

#include "core/hparams.h"
#include "model/graph.h"

typedef enum edt_model_mode {
    EDT_MODEL_INFER, // BN with moving statistics, no drop connect
    EDT_MODEL_TRAIN, // batch statistics, drop connect, losses and gradients
} edt_model_mode;

typedef struct edt_model_options {
    edt_model_mode mode;
    edt_dtype real; // EDT_DTYPE_F32; BF16 and F16 on devices; F64 on `ref`
    int64_t batch_size;
    bool u8_input;      // input "image_u8" [N,H,W,3] + "valid_hw" i32 [N,2]; else "image" wide
                        // [N,H,W,3]
    bool drop_connect;  // training: backbone stochastic depth and heads' survival_prob
    bool losses;        // add losses (both modes; evaluation loss has no gradients)
    bool no_mask_loss;  // with losses: none of the segmentation head
    bool keep_features; // outputs "reduction_1..5", "extra_P6..", "cell<c>_P<l>" too
    bool accumulate;    // losses and gradients add up over micro-steps; the caller zeroes them
    bool wide_outputs;  // "cls_<l>" and "box_<l>" are cast to the wide type
    bool loss_scaled;   // gradients of the losses are multiplied by input "loss_scale"
    int bn_ranks;       // 0: batch norm by itself; else synchronised over so many ranks
    const bool
        *wants_grad; // per param index (frozen ones false), or NULL; training with losses only
} edt_model_options;

// Inputs of the graph by name:
//   "image" | "image_u8" + "valid_hw"
//   "drop_u"       wide [R,N], R = edt_model.n_drop_rows draws in [0,1) (only with drop_connect
//   and R > 0) "cls_targets"  i32 [N,T], T anchors over all levels; "box_targets" wide [N,T,4];
//   "norm" wide [1] "anchors"      wide [T,4] (only with iou_loss_type) "loss_scale"   f32 [2]
//   (only with loss_scaled): backend/op.h, OPTIMIZER
//   with a segmentation head "seg_mask" i32 [N,h,w], the classes of the pixels of its output,
//   those outside 0..K-1 without a say, and "seg_norm" wide [1], what the sum over pixels is
//   divided by
// Logits are real (see wide_outputs), losses wide.
// Outputs: "cls_<l>" [N,h,w,A*K], "box_<l>" [N,h,w,A*4]; with losses "cls_loss_<l>",
// "box_loss_<l>" [1] (and "iou_loss" [1]); and with a segmentation head "segmentation"
// [N,mask_h,mask_w,mask_classes], "seg_loss" [1]. Those of heads that are not built are absent.
typedef struct edt_model {
    edt_graph *graph; // owned
    int min_level, max_level;
    int64_t image_h, image_w;
    int64_t level_h[EDT_HPARAMS_MAX_LEVELS + 8],
        level_w[EDT_HPARAMS_MAX_LEVELS + 8]; // by level
    int64_t anchors_per_cell;                // A
    int64_t n_anchors;                       // T; 0 without detection
    int64_t num_classes;                     // K
    bool has_detection, has_segmentation;    // hparam heads
    int64_t mask_h, mask_w, mask_classes;    // of the segmentation head's output, else 0
    int n_drop_rows;
} edt_model;

edt_status edt_model_create(const edt_hparams *hp, const edt_model_options *options,
                            edt_error *err, edt_model **out_model);
void edt_model_destroy(edt_model *model);

#endif
