// The losses, value and gradient in one pass. Traffic, with X the bytes of logits or
// boxes: X read (not where an anchor is ignored), X written when there is a gradient, the
// targets once; two launches each: the second adds the double sums of the blocks.
#ifndef EDT_BACKEND_CUDA_KERNELS_LOSS_KERNELS_H
#define EDT_BACKEND_CUDA_KERNELS_LOSS_KERNELS_H

#include <cuda_runtime_api.h>

#include "backend/op.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    EDT_CUDA_LOSS_THREADS = 256,
    EDT_CUDA_LOSS_MAX_LEVELS = EDT_OP_MAX_IN - 3,
    EDT_CUDA_FOCAL_TILE = 8192, // logits that a block takes at a time
};

// Of edt_loss_attrs what kernels read, and the launch. Kernels' arguments have no padding:
// every byte of them has a value.
typedef struct edt_cuda_loss_settings {
    double alpha, gamma, label_smoothing, delta, weight;
    int64_t num_classes, anchor_offset;
    int64_t accumulate; // the loss is added to what is there
    int32_t iou_kind, misaligned_rows, ciou_v_gradient;
    int32_t n_blocks;
} edt_cuda_loss_settings;

// What FOCAL_LOSS and BOX_LOSS of one level share.
typedef struct edt_cuda_level_loss {
    const void *x; // logits or boxes
    const void *targets;
    const float *norm;
    const float *scale; // NULL: gradients are not scaled
    void *gradient;     // NULL: not wanted
    double *partials;   // [n_blocks]
    float *loss;
    int64_t n_rows;           // anchors of the level in all pictures
    int64_t n_level, n_total; // anchors of one picture: of the level, of all levels
    edt_cuda_loss_settings attrs;
} edt_cuda_level_loss;

// n_level and num_classes are below 2^31 - EDT_CUDA_FOCAL_TILE.
cudaError_t edt_cuda_focal_loss(edt_dtype real, const edt_cuda_level_loss *loss,
                                cudaStream_t stream);
cudaError_t edt_cuda_box_loss(edt_dtype real, const edt_cuda_level_loss *loss,
                              cudaStream_t stream);

typedef struct edt_cuda_iou_loss {
    int64_t n_levels;
    const void *box[EDT_CUDA_LOSS_MAX_LEVELS];
    void *gradient[EDT_CUDA_LOSS_MAX_LEVELS]; // NULL: not wanted
    // First row of each level in the order level, batch, position, and after the last their
    // number; and the first anchor.
    int64_t first_row[EDT_CUDA_LOSS_MAX_LEVELS + 1];
    int64_t first_anchor[EDT_CUDA_LOSS_MAX_LEVELS + 1];
    const float *anchors, *targets, *norm, *scale;
    double *partials;
    float *loss;
    edt_cuda_loss_settings attrs;
} edt_cuda_iou_loss;

cudaError_t edt_cuda_iou_loss_run(edt_dtype real, const edt_cuda_iou_loss *loss,
                                  cudaStream_t stream);

// x: logits of n_rows pixels, targets: their classes; attrs.num_classes and n_blocks are read.
cudaError_t edt_cuda_segmentation_loss(edt_dtype real, const edt_cuda_level_loss *loss,
                                       cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
