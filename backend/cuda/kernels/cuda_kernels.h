// What the C side of the cuda backend and its device code share: limits of a device, the block
// of values that change from run to run, and the headers with the launchers of each kernel
// family. A launcher queues kernels on a stream and returns what the launch said; it neither
// waits nor allocates. Pointers are device memory.
#ifndef EDT_BACKEND_CUDA_KERNELS_CUDA_KERNELS_H
#define EDT_BACKEND_CUDA_KERNELS_CUDA_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Read by kernels from device memory; backend.h, edt_run_ctx.
typedef struct edt_cuda_control {
    double learning_rate;
    double ema_decay;
    int64_t adam_t;
} edt_cuda_control;

typedef struct edt_cuda_limits {
    int major, minor; // compute capability
    int n_multiprocessors;
    int threads_per_multiprocessor;
    size_t shared_bytes_per_block; // without opting in
    int64_t grid_x;                // 2^31 - 1
    int grid_y, grid_z;            // 65535
    int64_t l2_bytes;
    int64_t memory_bytes;
} edt_cuda_limits;

#ifdef __cplusplus
}
#endif

#endif
