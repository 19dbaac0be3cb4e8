// Inside of the cuda backend: its own struct, prepared kernels and what the cuda_*.c files
// share. These files are C and hold shapes, choices and library calls; arithmetic on the device
// is in kernels/*.cu, reached through the launchers of kernels/cuda_kernels.h.
#ifndef EDT_BACKEND_CUDA_CUDA_PRIV_H
#define EDT_BACKEND_CUDA_CUDA_PRIV_H

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include "backend/backend.h"
#include "backend/cuda/cuda_pool.h"
#include "backend/cuda/kernels/cuda_kernels.h"

typedef struct edt_cuda_cudnn
    edt_cuda_cudnn; // cuDNN handle, made when first wanted, cuda_cudnn.c

// Runs that may have begun before the first of them has read its values.
enum { EDT_CUDA_RING = 8 };

typedef struct edt_cuda_backend {
    edt_backend base;
    int device;
    edt_cuda_limits limits; // of the device, for launch geometry
    bool tf32, deterministic;
    cudaStream_t streams[EDT_N_STREAMS];
    cublasLtHandle_t lt;
    edt_cuda_cudnn *cudnn; // NULL until cuda_cudnn.c makes it
    edt_cuda_pool *pool;
    // What changes from run to run, read by kernels from device memory so that a captured graph
    // sees the values of its replay (backend.h, begin).
    edt_cuda_control *control;
    // Values on their way to `control`, each with the event after its copy.
    edt_cuda_control *ring; // pinned
    cudaEvent_t ring_events[EDT_CUDA_RING];
    uint64_t n_begun;
    bool capturing;
} edt_cuda_backend;

// Operands of one run.
typedef struct edt_cuda_run {
    edt_cuda_backend *backend;
    const edt_run_ctx *ctx; // params_version only; the rest is in backend->control
    cudaStream_t stream;    // compute
    void *const *in;
    void *const *out;
    char *workspace; // EDT_MEM_ALIGN-aligned
    edt_error *err;
} edt_cuda_run;

typedef edt_status edt_cuda_run_fn(edt_kernel *kernel, const edt_cuda_run *run);

struct edt_kernel {
    edt_op_desc desc;
    edt_cuda_run_fn *run;
    void (*deinit)(edt_kernel *kernel); // of `state`; NULL: nothing to do but free it
    void *state;                        // edt_mem block of the kind's own, or NULL
    size_t workspace_bytes;
};

// Each fills run, state, deinit and workspace_bytes of a kernel whose desc is set and checked.
// On failure the caller releases the kernel.
typedef edt_status edt_cuda_prepare_fn(edt_cuda_backend *backend, edt_kernel *kernel,
                                       edt_error *err);
edt_cuda_prepare_fn edt_cuda_prepare_map;    // cuda_map.c: elementwise kinds, cast, normalize
edt_cuda_prepare_fn edt_cuda_prepare_pool;   // cuda_pooling.c: global pooling, channel scales
edt_cuda_prepare_fn edt_cuda_prepare_norm;   // cuda_norm.c
edt_cuda_prepare_fn edt_cuda_prepare_sample; // cuda_sample.c: max pooling, nearest resizing
edt_cuda_prepare_fn edt_cuda_prepare_fuse;   // cuda_fuse.c
edt_cuda_prepare_fn edt_cuda_prepare_loss;   // cuda_loss.c
edt_cuda_prepare_fn
    edt_cuda_prepare_segmentation; // cuda_segmentation.c: its head's ops but the loss, srelu
edt_cuda_prepare_fn edt_cuda_prepare_optimizer; // cuda_optimizer.c
edt_cuda_prepare_fn edt_cuda_prepare_depthwise; // cuda_depthwise.c
edt_cuda_prepare_fn edt_cuda_prepare_detect;    // cuda_detect.c
edt_cuda_prepare_fn edt_cuda_prepare_conv; // cuda_conv.c: picks cuda_gemm.c or cuda_cudnn.c

// Zeroed host state of a kernel.
edt_status edt_cuda_kernel_alloc_state(edt_kernel *kernel, size_t n_bytes, edt_error *err);

// EDT_OK, or EDT_ERR_DEVICE with `what` and the library's own words.
edt_status edt_cuda_check(cudaError_t code, const char *what, edt_error *err);

#define EDT_CUDA_TRY(call, err)                                                                \
    do {                                                                                       \
        const cudaError_t code_ = (call);                                                      \
        if (code_ != cudaSuccess) {                                                            \
            return edt_cuda_check(code_, #call, err);                                          \
        }                                                                                      \
    } while (0)

// The calling thread uses the backend's device from here on.
edt_status edt_cuda_enter(const edt_cuda_backend *backend, edt_error *err);

// cuda_machine.c: EDT_ERR_UNSUPPORTED where there is no device, no driver or one that is too
// old.
edt_status edt_cuda_count_devices(edt_error *err, int *out_n_devices);
void edt_cuda_describe_machine(char *out_text, size_t n_bytes);
void edt_cuda_describe(const edt_backend *backend, char *out_text, size_t n_bytes);
edt_status edt_cuda_read_limits(int device, edt_error *err, edt_cuda_limits *out_limits);

// cuda_streams.c
extern const edt_stream_table edt_cuda_stream_table;
// EDT_ERR_USAGE while a capture is recorded.
edt_status edt_cuda_refuse_capturing(const edt_cuda_backend *backend, const char *what,
                                     edt_error *err);

// cuda_peak.c
edt_status edt_cuda_measure_peak(edt_backend *backend, edt_error *err,
                                 edt_backend_peak *out_peak);

// Rounds up to a multiple of `to`, a power of two.
static inline size_t edt_cuda_align(size_t n_bytes, size_t to)
{
    return (n_bytes + to - 1) & ~(to - 1);
}

// True when what a kernel derived from parameters in[1..n] must be derived again: another
// params_version (0: always) or other memory than last time. Remembers both, but not while a
// capture is recorded: then the derivation becomes part of the graph and nothing has run yet.
static inline bool edt_cuda_stale(const edt_cuda_run *run, uint64_t *version, const void **from,
                                  int n)
{
    bool stale = run->ctx->params_version == 0 || run->ctx->params_version != *version;
    for (int i = 0; i < n; i++) {
        stale = stale || from[i] != run->in[1 + i];
    }
    if (!run->backend->capturing) {
        *version = run->ctx->params_version;
        for (int i = 0; i < n; i++) {
            from[i] = run->in[1 + i];
        }
    }
    return stale;
}

#endif
