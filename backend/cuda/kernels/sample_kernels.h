// Launchers of max pooling and nearest-neighbour resizing. One launch each; a thread makes one
// packet of channels of one pixel of the result and gathers what it needs, so that gradients
// need no atomics and are summed in a fixed order. Traffic: inputs and outputs once each;
// windows that overlap are read again from caches.
#ifndef EDT_BACKEND_CUDA_KERNELS_SAMPLE_KERNELS_H
#define EDT_BACKEND_CUDA_KERNELS_SAMPLE_KERNELS_H

#include <driver_types.h>

#include "backend/cuda/kernels/row_layout.h"
#include "backend/op.h"

#ifdef __cplusplus
extern "C" {
#endif

// The window of output (oy,ox) begins at row oy * sh - top.
typedef struct edt_cuda_pool_window {
    int kh, kw, sh, sw, top, left;
} edt_cuda_pool_window;

// y, index may be NULL.
cudaError_t edt_cuda_max_pool(cudaStream_t stream, edt_dtype real,
                              const edt_cuda_pixels *pixels, const edt_cuda_pool_window *window,
                              const void *x, void *y, uint8_t *index);
cudaError_t edt_cuda_max_pool_bwd(cudaStream_t stream, edt_dtype real,
                                  const edt_cuda_pixels *pixels,
                                  const edt_cuda_pool_window *window, const void *dy,
                                  const uint8_t *index, void *dx);
cudaError_t edt_cuda_nearest(cudaStream_t stream, edt_dtype real, const edt_cuda_pixels *pixels,
                             const void *x, void *y);
cudaError_t edt_cuda_nearest_bwd(cudaStream_t stream, edt_dtype real,
                                 const edt_cuda_pixels *pixels, const void *dy, void *dx);

#ifdef __cplusplus
}
#endif

#endif
