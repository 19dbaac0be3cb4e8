// Launchers of squeeze-and-excite's pooling and scaling. x, y, dy, dx are [N,H,W,C], s, ds and
// the pooled values [N,1,1,C]. Each reads and writes its large operands once, in one launch;
// the sums over pixels go through partial sums (edt_cuda_rows, doubles) and a second, small
// launch unless rows.parts is 1. dx may be dy, y may be x.
#ifndef EDT_BACKEND_CUDA_KERNELS_POOLING_KERNELS_H
#define EDT_BACKEND_CUDA_KERNELS_POOLING_KERNELS_H

#include <driver_types.h>

#include "backend/cuda/kernels/cuda_kernels.h"
#include "backend/cuda/kernels/row_layout.h"
#include "backend/op.h"

#ifdef __cplusplus
extern "C" {
#endif

// y = mean of x. partial: [N][parts][C].
cudaError_t edt_cuda_average(cudaStream_t stream, edt_dtype real, const edt_cuda_rows *rows,
                             const void *x, double *partial, void *y);
// dx = dy / pixels
cudaError_t edt_cuda_average_bwd(cudaStream_t stream, edt_dtype real, const edt_cuda_rows *rows,
                                 const void *dy, void *dx);
// y = x * s
cudaError_t edt_cuda_scale(cudaStream_t stream, edt_dtype real, const edt_cuda_rows *rows,
                           const void *x, const void *s, void *y);
// dx = dy * s, ds = sum of dy * x. dx or ds may be NULL. partial: [N][parts][C].
cudaError_t edt_cuda_scale_bwd(cudaStream_t stream, edt_dtype real, const edt_cuda_rows *rows,
                               const void *dy, const void *x, const void *s, double *partial,
                               void *dx, void *ds);

#ifdef __cplusplus
}
#endif

#endif
