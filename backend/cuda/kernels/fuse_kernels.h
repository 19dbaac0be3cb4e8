// Launchers of weighted feature fusion: y = act(sum of weight_j * x_j) with the weights
// normalised on the fly from a few values per thread. Forward: one launch, every x read once, y
// written once. Backward: one launch that reads dy and every x (the fused value is computed
// again where there is an activation) and writes every dx, then, for the weights, one small
// launch over partial sums. y may be x_0. With more than 3 inputs x is full: the entries beyond n
// name x_0 again, their weights do not count.
#ifndef EDT_BACKEND_CUDA_KERNELS_FUSE_KERNELS_H
#define EDT_BACKEND_CUDA_KERNELS_FUSE_KERNELS_H

#include <driver_types.h>

#include "backend/cuda/kernels/row_layout.h"
#include "backend/op.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct edt_cuda_fuse {
    edt_fuse_method method;
    edt_act act;
    int n;          // of x
    int accumulate; // dw
    const void *x[EDT_FUSE_MAX_IN];
    const float *w[EDT_FUSE_MAX_IN]; // NULL for EDT_FUSE_SUM
    // Backward; NULL for what is not wanted.
    void *dx[EDT_FUSE_MAX_IN];
    float *dw[EDT_FUSE_MAX_IN];
} edt_cuda_fuse;

cudaError_t edt_cuda_fuse_forward(cudaStream_t stream, edt_dtype real,
                                  const edt_cuda_rows *rows, const edt_cuda_fuse *fuse,
                                  void *y);
// partial, for the dw: doubles [parts][m][C] for the channel methods, else [parts * chunks][m], m
// being n up to 3 and EDT_FUSE_MAX_IN beyond.
cudaError_t edt_cuda_fuse_backward(cudaStream_t stream, edt_dtype real,
                                   const edt_cuda_rows *rows, const edt_cuda_fuse *fuse,
                                   const void *dy, double *partial);

#ifdef __cplusplus
}
#endif

#endif
