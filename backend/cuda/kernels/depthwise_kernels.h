// Depthwise convolution and its two gradients. Activations are N,H,W,C, channels in packets of
// 16 bytes, a strip of pixels per thread, so that a loaded pixel serves all taps of its row.
// Memory traffic, with X, Y and W the bytes of x, y and w:
//   forward (any epilogue)   one launch,   X + Y + W; rows of the window come from the L1 cache
//   gradient of x            one launch,   Y + X + W
//   gradient of w            two launches, X + Y + twice n_partials * kh * kw * C floats
// Channels that do not fill packets, and windows other than 3x3 and 5x5 of one stride 1 or 2,
// go one element per thread.
#ifndef EDT_BACKEND_CUDA_KERNELS_DEPTHWISE_KERNELS_H
#define EDT_BACKEND_CUDA_KERNELS_DEPTHWISE_KERNELS_H

#include <cuda_runtime_api.h>

#include "backend/cuda/depthwise_plan.h"

#ifdef __cplusplus
extern "C" {
#endif

// Normalisation and activation behind DEPTHWISE_BN_ACT; gamma NULL: none.
typedef struct edt_cuda_depthwise_bn {
    const float *gamma, *beta, *mm, *mv;
    float epsilon;
    edt_act act;
} edt_cuda_depthwise_bn;

// x, w -> y.
cudaError_t edt_cuda_depthwise_forward(edt_dtype real, const edt_cuda_depthwise_window *window,
                                       const edt_cuda_strips *strips, const void *x,
                                       const void *w, void *y, const edt_cuda_depthwise_bn *bn,
                                       cudaStream_t stream);
// dy, w -> dx.
cudaError_t edt_cuda_depthwise_data(edt_dtype real, const edt_cuda_depthwise_window *window,
                                    const edt_cuda_strips *strips, const void *dy,
                                    const void *w, void *dx, cudaStream_t stream);
// x, dy -> dw through `partials` (edt_cuda_taps_workspace bytes).
cudaError_t edt_cuda_depthwise_weight(edt_dtype real, const edt_cuda_depthwise_window *window,
                                      const edt_cuda_taps *taps, const void *x, const void *dy,
                                      float *partials, float *dw, bool accumulate,
                                      cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
