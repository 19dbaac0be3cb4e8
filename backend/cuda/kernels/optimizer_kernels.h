// The parameter update: three launches whatever the number of segments.
//   1 norms      a block per piece of a segment, sums of squares in double; reads params, grads
//   2 decide     one block: clip factors, statistics, loss scale, learning rate of the step
//   3 update     a block per piece; reads params, grads, slots, averages, writes all but grads
// For SGD with averages that is 24 bytes read and 12 written per parameter. The learning rate,
// the averages' decay and Adam's t come from edt_cuda_control in device memory.
#ifndef EDT_BACKEND_CUDA_KERNELS_OPTIMIZER_KERNELS_H
#define EDT_BACKEND_CUDA_KERNELS_OPTIMIZER_KERNELS_H

#include <cuda_runtime_api.h>

#include "backend/cuda/kernels/cuda_kernels.h"
#include "backend/op.h"

#ifdef __cplusplus
extern "C" {
#endif

// A segment with its pieces, which lie one behind the other in the table of pieces.
typedef struct edt_cuda_segment {
    int64_t first_piece, n_pieces;
    bool update, decay, average;
} edt_cuda_segment;

enum { EDT_CUDA_PIECE = 8192 };

typedef struct edt_cuda_piece {
    int64_t offset; // elements of the arenas
    int32_t n;      // at most EDT_CUDA_PIECE
    int32_t segment;
} edt_cuda_piece;

// What launch 2 decides for launch 3.
typedef struct edt_cuda_step {
    double global_factor, lr, ema_keep;
    float scale; // gradients are divided by it
    int finite;
} edt_cuda_step;

typedef struct edt_cuda_optimizer {
    int32_t kind; // edt_optimizer_kind
    int32_t l2_includes_frozen;
    double momentum, beta2, epsilon, clip, weight_decay;
    int64_t n_segments, n_pieces;
    const edt_cuda_segment *segments;
    const edt_cuda_piece *pieces;
    const edt_cuda_control *control;
    float *params;
    const float *grads;
    float *slot0, *slot1, *ema; // slot1: Adam only; ema may be NULL
    float *scale;               // {scale, good steps}; NULL: gradients are not scaled
    float *stats;
    // Scratch
    double *sum_v, *sum_g; // [n_pieces]
    double *factors;       // [n_segments]
    edt_cuda_step *step;
} edt_cuda_optimizer;

cudaError_t edt_cuda_optimizer_run(const edt_cuda_optimizer *optimizer, cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
