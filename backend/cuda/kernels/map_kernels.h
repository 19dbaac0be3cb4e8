// Launchers of the elementwise kinds. Each is one launch that reads every input and writes the
// output once, 16 bytes or 8 elements per thread and access. Output and first input may be the
// same memory, but for cast and normalize.
#ifndef EDT_BACKEND_CUDA_KERNELS_MAP_KERNELS_H
#define EDT_BACKEND_CUDA_KERNELS_MAP_KERNELS_H

#include <driver_types.h>

#include "backend/cuda/kernels/cuda_kernels.h"
#include "backend/op.h"

#ifdef __cplusplus
extern "C" {
#endif

// n elements from one real type to another, f64 included; nearest, ties to even.
cudaError_t edt_cuda_cast(cudaStream_t stream, int n_blocks, edt_dtype from_type,
                          edt_dtype to_type, int64_t n, const void *from, void *to);

// y = act(x)
cudaError_t edt_cuda_act(cudaStream_t stream, int n_blocks, edt_dtype real, edt_act act,
                         int64_t n, const void *x, void *y);
// dx = dy * act'(x)
cudaError_t edt_cuda_act_bwd(cudaStream_t stream, int n_blocks, edt_dtype real, edt_act act,
                             int64_t n, const void *dy, const void *x, void *dx);
// y = a + b
cudaError_t edt_cuda_add(cudaStream_t stream, int n_blocks, edt_dtype real, int64_t n,
                         const void *a, const void *b, void *y);

// y = x / survival * floor(survival + u[image]) over n_images of n_each elements. n_blocks:
// of one image.
cudaError_t edt_cuda_drop_connect(cudaStream_t stream, int n_blocks, int grid_images,
                                  edt_dtype real, int64_t n_images, int64_t n_each,
                                  float survival, const void *x, const float *u, void *y);

// Blocks of 32 runs side by side by 8 pixel rows. A run has EDT_CUDA_NORMALIZE_RUN values where
// they divide a pixel row, else 1.
enum {
    EDT_CUDA_NORMALIZE_RUN = 8,
    EDT_CUDA_NORMALIZE_COLUMNS = 32,
    EDT_CUDA_NORMALIZE_ROWS = 8
};
typedef struct edt_cuda_normalize {
    int64_t n, h, w; // of the images, 3 channels
    float mean[3], std[3];
    int scale_range, run;
    int grid_x, grid_y;
} edt_cuda_normalize;
cudaError_t edt_cuda_normalize_images(cudaStream_t stream, edt_dtype real,
                                      const edt_cuda_normalize *how, const uint8_t *image,
                                      const int32_t *valid_hw, void *y);

#ifdef __cplusplus
}
#endif

#endif
