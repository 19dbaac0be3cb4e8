// Matrix products of 1x1 convolutions by cuBLASLt: sums in float whatever is stored, the
// algorithm chosen once, bias and an added matrix in the product's epilogue. Sums over splits
// of k stay in float, in the workspace, in a fixed order: the same inputs give the same bytes.
#ifndef EDT_BACKEND_CUDA_CUDA_GEMM_H
#define EDT_BACKEND_CUDA_CUDA_GEMM_H

#include "backend/cuda/cuda_conv_shapes.h"
#include "backend/cuda/cuda_priv.h"

typedef struct edt_cuda_gemm edt_cuda_gemm;

typedef struct edt_cuda_gemm_options {
    edt_cuda_gemm_view view;
    edt_dtype in, out; // f32, bf16 or f16; out: the same, or f32
    bool has_bias;     // of type `out`, along the rows of D
} edt_cuda_gemm_options;

// EDT_ERR_UNSUPPORTED where the library has no algorithm for these options. out_workspace_bytes
// includes room to align.
edt_status edt_cuda_gemm_create(edt_cuda_backend *backend, const edt_cuda_gemm_options *options,
                                edt_error *err, edt_cuda_gemm **out_gemm,
                                size_t *out_workspace_bytes);
// All pointers are multiples of 16. c: what is added (may be d), not read unless `adds`; bias
// NULL without has_bias.
edt_status edt_cuda_gemm_run(edt_cuda_gemm *gemm, const edt_cuda_run *run, const void *a,
                             const void *b, const void *bias, const void *c, void *d,
                             char *workspace);
void edt_cuda_gemm_destroy(edt_cuda_gemm *gemm); // NULL is fine

// CUDA_R_32F, CUDA_R_16BF or CUDA_R_16F.
edt_status edt_cuda_gemm_type(edt_dtype dtype, edt_error *err, cudaDataType *out_type);

#endif
