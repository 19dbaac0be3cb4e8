// Launchers of batch normalisation with its activation. x, y, dy, dx are rows of channels of a
// real type, everything per channel is f32, sums are f64. Traffic, with X the bytes of x:
//   training         3 launches: X (statistics), partial sums, 2 X (normalise)
//   its gradient     3 launches: 2 X (sums), partial sums, 3 X (dx)
//   few rows         1 launch each, the second reading comes from a cache
//   inference        1 launch: 2 X; its gradient 3 X, or 5 X in 3 launches with dgamma or dbeta
// The activation's slope is computed again from x instead of being stored.
#ifndef EDT_BACKEND_CUDA_KERNELS_NORM_KERNELS_H
#define EDT_BACKEND_CUDA_KERNELS_NORM_KERNELS_H

#include <driver_types.h>

#include "backend/cuda/kernels/row_layout.h"
#include "backend/op.h"

#ifdef __cplusplus
extern "C" {
#endif

// Per channel, forward. How the sums of x - origin and of its square become mean and variance,
// and what else is written: NULL for what is not wanted.
typedef struct edt_cuda_norm {
    double n_rows;        // that the sums cover
    double unbiased;      // factor of the variance that moves the moving one
    double epsilon, keep; // keep: 1 - momentum
    const float *gamma, *beta;
    float *moving_mean, *moving_var;
    float *mean, *invstd; // outputs of the op
    float *shift, *scale; // for edt_cuda_norm_apply: y = act((x - shift) * scale + beta)
} edt_cuda_norm;

// partial[part][2][C] of x - origin and its square; rows.parts is the number of parts. origin
// NULL: a mean of a few rows of x, see edt_cuda_norm_finish.
cudaError_t edt_cuda_norm_stats(cudaStream_t stream, edt_dtype real, const edt_cuda_rows *rows,
                                const void *x, const float *origin, double *partial);
// sums[2][C] from n_parts of them.
cudaError_t edt_cuda_norm_add_parts(cudaStream_t stream, int64_t n_channels, int n_parts,
                                    const double *partial, double *sums);
// Everything in `norm` but y. origin NULL: of x, as edt_cuda_norm_stats; it may be moving_mean.
cudaError_t edt_cuda_norm_finish(cudaStream_t stream, edt_dtype real, const edt_cuda_rows *rows,
                                 const edt_cuda_norm *norm, const void *x, const float *origin,
                                 int n_parts, const double *partial);
// y = act((x - shift) * scale + beta), or with var scaled by gamma / sqrt(var + epsilon), where
// scale is NULL. y may be x.
cudaError_t edt_cuda_norm_apply(cudaStream_t stream, edt_dtype real, const edt_cuda_rows *rows,
                                edt_act act, const void *x, const float *shift,
                                const float *scale, const float *gamma, const float *var,
                                float epsilon, const float *beta, void *y);
// Statistics, finish and apply at once; rows.parts is 1.
cudaError_t edt_cuda_norm_whole(cudaStream_t stream, edt_dtype real, const edt_cuda_rows *rows,
                                edt_act act, const edt_cuda_norm *norm, const void *x, void *y);

// Backward. dz is the gradient of the normalised value before the activation, xhat that value
// before gamma and beta. No padding, as in all that is passed to kernels.
typedef struct edt_cuda_norm_bwd {
    edt_act act;
    int from_variance; // invstd is the variance
    int accumulate;    // dgamma, dbeta
    float epsilon;
    const float *gamma, *beta, *mean, *invstd;
    double per_row;        // 1 over the rows that sums cover; 0: dx without the mean terms
    float *dgamma, *dbeta; // may be NULL
    double *sums;          // [2][C] of dz and dz * xhat; of finish may be NULL
} edt_cuda_norm_bwd;

// partial[part][2][C] of dz and dz * xhat.
cudaError_t edt_cuda_norm_bwd_sums(cudaStream_t stream, edt_dtype real,
                                   const edt_cuda_rows *rows, const edt_cuda_norm_bwd *bwd,
                                   const void *dy, const void *x, double *partial);
// dgamma, dbeta and sums from the parts.
cudaError_t edt_cuda_norm_bwd_finish(cudaStream_t stream, const edt_cuda_rows *rows,
                                     const edt_cuda_norm_bwd *bwd, const double *partial);
// dx from sums; dx may be dy.
cudaError_t edt_cuda_norm_bwd_apply(cudaStream_t stream, edt_dtype real,
                                    const edt_cuda_rows *rows, const edt_cuda_norm_bwd *bwd,
                                    const void *dy, const void *x, void *dx);
// All three at once; rows.parts is 1. sums is not written, dx may be NULL.
cudaError_t edt_cuda_norm_bwd_whole(cudaStream_t stream, edt_dtype real,
                                    const edt_cuda_rows *rows, const edt_cuda_norm_bwd *bwd,
                                    const void *dy, const void *x, void *dx);

#ifdef __cplusplus
}
#endif

#endif
