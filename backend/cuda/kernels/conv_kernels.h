// Device code around the libraries' convolutions: what their epilogues and layouts lack. Arrays
// are dense, activations [rows, c] with 16-byte-aligned bases; "real" is f32, bf16 or f16, w
// and b are real, everything else float. Traffic per call, besides what the library moves:
//   bias_act        reads y (and residual), writes y: 2 or 3 activations, one launch
//   column_sum      reads dy once, writes and reads n_parts rows of c doubles; two launches
//   scale, pack     reads and writes the weights once
//   unpack          reads and writes dw once (reads twice when accumulating)
//   gather          reads x (about kh * kw / stride^2 times, from the cache), writes stride
//   elements
//                   per pixel of y, meant to be read from the cache by the product that follows
//   pad, crop       reads and writes x once; only where the library refuses unequal paddings
#ifndef EDT_BACKEND_CUDA_KERNELS_CONV_KERNELS_H
#define EDT_BACKEND_CUDA_KERNELS_CONV_KERNELS_H

#include <cuda_runtime_api.h>

#include "backend/cuda/cuda_conv_shapes.h"
#include "backend/op.h"

#ifdef __cplusplus
extern "C" {
#endif

// y = act(y + bias) + residual, in place. Either of bias_real and bias (float) or none;
// residual NULL: none.
typedef struct edt_cuda_bias_act {
    edt_dtype real;
    edt_act act;
    void *y;
    const void *bias_real;
    const float *bias;
    const void *residual;
    int64_t rows, c;
    int64_t n_blocks;
} edt_cuda_bias_act;
cudaError_t edt_cuda_launch_bias_act(const edt_cuda_bias_act *p, cudaStream_t stream);

// db[c] = or += sum over rows of dy[rows, c]; partial: n_parts * c doubles.
cudaError_t edt_cuda_launch_column_sum(const edt_cuda_column_sum *geometry, edt_dtype real,
                                       const void *dy, int64_t rows, int64_t c, double *partial,
                                       float *db, bool accumulate, cudaStream_t stream);

// Batch norm as a factor and an offset per channel: scale = gamma / sqrt(var + epsilon), bias =
// beta + (b - mean) * scale; bias_real is the same as real, NULL: not wanted. b NULL: 0.
typedef struct edt_cuda_bn_fold {
    edt_dtype real;
    int32_t c;
    const float *gamma, *beta, *mean, *var;
    const void *b;
    double epsilon;
    float *scale, *bias;
    void *bias_real;
} edt_cuda_bn_fold;
cudaError_t edt_cuda_launch_bn_fold(const edt_cuda_bn_fold *p, cudaStream_t stream);

// Weights w[rows, co] (HWIO, rows = kh * kw * ci) times scale[co] (NULL: 1), stored transposed
// to [co, rows] (co, kh, kw, ci), or in the same order and followed by zeros up to padded_rows.
cudaError_t edt_cuda_launch_pack_weights(edt_dtype real, const void *w, const float *scale,
                                         int64_t rows, int64_t padded_rows, int64_t co,
                                         bool transpose, void *out, cudaStream_t stream);

// dw[rows, co] = or += from, float as well: [co, rows] when transposed, else [rows or more,
// co].
cudaError_t edt_cuda_launch_unpack_weights(const float *from, int64_t rows, int64_t co,
                                           bool transposed, float *dw, bool accumulate,
                                           cudaStream_t stream);

// The windows of `images` images of x as rows, in the order of the weights
// (cuda_conv_shapes.h).
typedef struct edt_cuda_gather {
    edt_dtype real;
    int32_t images;
    const void *x;
    void *rows;
    int64_t h, w, ci, ho, wo, kh, kw, sh, sw, before_h, before_w;
    int64_t k, stride;
    int64_t n_blocks;
} edt_cuda_gather;
cudaError_t edt_cuda_launch_gather(const edt_cuda_gather *p, cudaStream_t stream);

// Between x [n,h,w,c] and the same with its padding around it: pad writes it, zeros included;
// crop cuts x out of it.
typedef struct edt_cuda_pad {
    edt_dtype real;
    int32_t crop; // or pad
    const void *from;
    void *to;
    int64_t n, h, w, c; // without padding
    int64_t padded_h, padded_w;
    int64_t before_h, before_w;
    int64_t n_blocks;
} edt_cuda_pad;
cudaError_t edt_cuda_launch_pad(const edt_cuda_pad *p, cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
