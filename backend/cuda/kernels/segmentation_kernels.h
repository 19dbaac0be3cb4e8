// Launchers of what the segmentation head and srelu need beyond the detector's ops; their loss
// is with the others (loss_kernels.h). Traffic: every input is read and every output written
// once; one launch, srelu's gradient two.
#ifndef EDT_BACKEND_CUDA_KERNELS_SEGMENTATION_KERNELS_H
#define EDT_BACKEND_CUDA_KERNELS_SEGMENTATION_KERNELS_H

#include <driver_types.h>

#include "backend/cuda/kernels/cuda_kernels.h"
#include "backend/cuda/kernels/row_layout.h"
#include "backend/op.h"

#ifdef __cplusplus
extern "C" {
#endif

// Rows of n_a and n_b elements beside each other. `vec`: elements of a thread, those of a
// packet where they divide both, or 1.
typedef struct edt_cuda_join {
    int64_t n_rows, n_a, n_b;
    int32_t vec, n_blocks;
} edt_cuda_join;
cudaError_t edt_cuda_concat(cudaStream_t stream, edt_dtype real, const edt_cuda_join *join,
                            const void *a, const void *b, void *y);
// da or db NULL: not wanted.
cudaError_t edt_cuda_concat_bwd(cudaStream_t stream, edt_dtype real, const edt_cuda_join *join,
                                const void *dy, void *da, void *db);

// y = x + b per channel; x and y may be the same memory.
cudaError_t edt_cuda_bias(cudaStream_t stream, edt_dtype real, const edt_cuda_rows *rows,
                          const void *x, const void *b, void *y);

// n elements; x and y may be the same memory.
cudaError_t edt_cuda_srelu(cudaStream_t stream, int n_blocks, edt_dtype real, int64_t n,
                           const void *x, const float *b, void *y);
// dx NULL or db NULL: not wanted; dx may be dy. partial: n_blocks doubles.
cudaError_t edt_cuda_srelu_bwd(cudaStream_t stream, int n_blocks, edt_dtype real, int64_t n,
                               const void *dy, const void *x, const float *b, double *partial,
                               bool accumulate, void *dx, float *db);

#ifdef __cplusplus
}
#endif

#endif
