// The backend table of the cuda backend: memory from a pool, kernels chosen by op kind, shapes
// checked once at prepare. All runs go to one stream; nothing in a run allocates or waits, so
// that it can be recorded (cuda_streams.c).
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/cuda_cudnn.h"
#include "backend/cuda/cuda_priv.h"

// A share of the device large enough that few programs need a second one.
static const size_t chunk_bytes = (size_t)64 << 20;

edt_status edt_cuda_check(cudaError_t code, const char *what, edt_error *err)
{
    if (code == cudaSuccess) {
        return EDT_OK;
    }
    (void)cudaGetLastError(); // the next launch must not report this one
    EDT_FAIL(err, EDT_ERR_DEVICE, "cuda: %s: %s (%s)", what, cudaGetErrorString(code),
             cudaGetErrorName(code));
}

edt_status edt_cuda_enter(const edt_cuda_backend *backend, edt_error *err)
{
    EDT_CUDA_TRY(cudaSetDevice(backend->device), err);
    return EDT_OK;
}

edt_status edt_cuda_kernel_alloc_state(edt_kernel *kernel, size_t n_bytes, edt_error *err)
{
    kernel->state = edt_mem_calloc(EDT_MEM_WORKSPACE, 1, n_bytes);
    if (kernel->state == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "cuda: no memory for %zu bytes of %s", n_bytes,
                 edt_op_get_info(kernel->desc.kind)->name);
    }
    return EDT_OK;
}

static edt_cuda_prepare_fn *prepare_of(edt_op_kind kind)
{
    switch (kind) {
    case EDT_OP_CAST:
    case EDT_OP_NORMALIZE:
    case EDT_OP_ACT:
    case EDT_OP_ACT_BWD:
    case EDT_OP_ADD:
    case EDT_OP_DROP_CONNECT: return edt_cuda_prepare_map;
    case EDT_OP_GLOBAL_AVG_POOL:
    case EDT_OP_GLOBAL_AVG_POOL_BWD:
    case EDT_OP_SCALE_CHANNELS:
    case EDT_OP_SCALE_CHANNELS_BWD: return edt_cuda_prepare_pool;
    case EDT_OP_BN_TRAIN:
    case EDT_OP_BN_STATS:
    case EDT_OP_BN_APPLY:
    case EDT_OP_BN_INFER:
    case EDT_OP_BN_TRAIN_BWD:
    case EDT_OP_BN_BWD_STATS:
    case EDT_OP_BN_BWD_APPLY:
    case EDT_OP_BN_INFER_BWD: return edt_cuda_prepare_norm;
    case EDT_OP_MAX_POOL:
    case EDT_OP_MAX_POOL_BWD:
    case EDT_OP_RESIZE_NEAREST:
    case EDT_OP_RESIZE_NEAREST_BWD: return edt_cuda_prepare_sample;
    case EDT_OP_FUSE:
    case EDT_OP_FUSE_BWD: return edt_cuda_prepare_fuse;
    case EDT_OP_FOCAL_LOSS:
    case EDT_OP_BOX_LOSS:
    case EDT_OP_IOU_LOSS:
    case EDT_OP_SEGMENTATION_LOSS: return edt_cuda_prepare_loss;
    case EDT_OP_CONCAT:
    case EDT_OP_CONCAT_BWD:
    case EDT_OP_BIAS:
    case EDT_OP_BIAS_BWD:
    case EDT_OP_SRELU:
    case EDT_OP_SRELU_BWD: return edt_cuda_prepare_segmentation;
    case EDT_OP_OPTIMIZER: return edt_cuda_prepare_optimizer;
    case EDT_OP_DETECT: return edt_cuda_prepare_detect;
    case EDT_OP_DEPTHWISE:
    case EDT_OP_DEPTHWISE_DATA:
    case EDT_OP_DEPTHWISE_WEIGHT:
    case EDT_OP_DEPTHWISE_BN_ACT: return edt_cuda_prepare_depthwise;
    case EDT_OP_CONV2D:
    case EDT_OP_CONV2D_DATA:
    case EDT_OP_CONV2D_WEIGHT:
    case EDT_OP_CONV2D_BN_ACT: return edt_cuda_prepare_conv;
    case EDT_OP_CONV2D_DEPTHWISE_BN_ACT: // kernels of two convolutions share no memory but the
                                         // device's
    case EDT_OP_N_KINDS: break;
    }
    return NULL;
}

static bool is_real(edt_dtype dtype)
{
    return dtype == EDT_DTYPE_F32 || dtype == EDT_DTYPE_BF16 || dtype == EDT_DTYPE_F16;
}

static edt_status check_type(const edt_op_desc *desc, edt_dtype dtype, edt_error *err)
{
    if (!is_real(dtype)) {
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED,
                 "cuda: %s on %s; f32, bf16 and f16 are there (the ref backend has f64)",
                 edt_op_get_info(desc->kind)->name, edt_dtype_name(dtype));
    }
    return EDT_OK;
}

static edt_status cuda_supports(const edt_backend *backend, const edt_op_desc *desc,
                                edt_error *err)
{
    (void)backend;
    if (prepare_of(desc->kind) == NULL) {
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED, "cuda: %s is not there",
                 edt_op_get_info(desc->kind)->name);
    }
    if (desc->kind == EDT_OP_DEPTHWISE_BN_ACT && desc->n_out > 1) {
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED, "cuda: pooling is a kernel of its own");
    }
    if (desc->kind == EDT_OP_CONV2D_BN_ACT && desc->attrs.conv.has_gate) {
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED, "cuda: scaling channels is a kernel of its own");
    }
    if (desc->kind == EDT_OP_BN_TRAIN_BWD && desc->n_in > 6) {
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED, "cuda: a gate's gradient is a kernel of its own");
    }
    if (desc->kind == EDT_OP_NORMALIZE) {
        const edt_dtype real = desc->attrs.norm_dtype;
        return real == EDT_DTYPE_NONE ? EDT_OK : check_type(desc, real, err);
    }
    // Between any two of f64, f32, bf16 and f16; edt_op_infer checks that.
    return desc->kind == EDT_OP_CAST ? EDT_OK : check_type(desc, desc->in[0].dtype, err);
}

static void cuda_release(edt_backend *backend, edt_kernel *kernel)
{
    (void)backend;
    if (kernel == NULL) {
        return;
    }
    if (kernel->deinit != NULL) {
        kernel->deinit(kernel);
    }
    edt_mem_free(kernel->state);
    edt_mem_free(kernel);
}

static edt_status cuda_prepare(edt_backend *base, const edt_op_desc *desc, edt_error *err,
                               edt_kernel **out_kernel, size_t *out_workspace_bytes)
{
    edt_cuda_backend *backend = (edt_cuda_backend *)base;
    EDT_TRY(edt_cuda_enter(backend, err));
    EDT_TRY(cuda_supports(base, desc, err));
    edt_kernel *kernel = edt_mem_calloc(EDT_MEM_WORKSPACE, 1, sizeof(*kernel));
    if (kernel == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "cuda: no memory for a kernel");
    }
    kernel->desc = *desc;
    edt_status status;
    EDT_TRY_GOTO(edt_op_infer(&kernel->desc, err));
    EDT_TRY_GOTO(prepare_of(desc->kind)(backend, kernel, err));
    *out_kernel = kernel;
    *out_workspace_bytes = kernel->workspace_bytes;
    return EDT_OK;
fail:
    cuda_release(base, kernel);
    return status;
}

static edt_status cuda_run(edt_backend *base, edt_kernel *kernel, const edt_run_ctx *ctx,
                           void *const *in, void *const *out, void *workspace, edt_error *err)
{
    edt_cuda_backend *backend = (edt_cuda_backend *)base;
    EDT_TRY(edt_cuda_enter(backend, err));
    const edt_cuda_run run = {
        .backend = backend,
        .ctx = ctx,
        .stream = backend->streams[EDT_STREAM_COMPUTE],
        .in = in,
        .out = out,
        .workspace = workspace,
        .err = err,
    };
    return kernel->run(kernel, &run);
}

// The values of this run follow those of the runs before it on the stream; the host does not
// wait, but where it is EDT_CUDA_RING runs ahead.
static edt_status cuda_begin(edt_backend *base, const edt_run_ctx *ctx, edt_error *err)
{
    edt_cuda_backend *backend = (edt_cuda_backend *)base;
    EDT_TRY(edt_cuda_enter(backend, err));
    EDT_TRY(edt_cuda_refuse_capturing(backend, "begin", err));
    const size_t slot = backend->n_begun % EDT_CUDA_RING;
    const cudaStream_t stream = backend->streams[EDT_STREAM_COMPUTE];
    EDT_CUDA_TRY(cudaEventSynchronize(backend->ring_events[slot]), err);
    backend->ring[slot] = (edt_cuda_control){
        .learning_rate = ctx->learning_rate,
        .ema_decay = ctx->ema_decay,
        .adam_t = ctx->adam_t,
    };
    EDT_CUDA_TRY(cudaMemcpyAsync(backend->control, &backend->ring[slot],
                                 sizeof(backend->ring[slot]), cudaMemcpyHostToDevice, stream),
                 err);
    EDT_CUDA_TRY(cudaEventRecord(backend->ring_events[slot], stream), err);
    backend->n_begun++;
    return EDT_OK;
}

static edt_status cuda_alloc(edt_backend *base, edt_mem_kind kind, size_t n_bytes,
                             edt_error *err, void **out_block)
{
    edt_cuda_backend *backend = (edt_cuda_backend *)base;
    EDT_TRY(edt_cuda_enter(backend, err));
    EDT_TRY(edt_cuda_refuse_capturing(backend, "allocation", err));
    EDT_TRY_CTX(
        edt_cuda_pool_alloc(backend->pool, n_bytes, err, out_block), err,
        "device cuda:%d, %s (a smaller batch or image, or --precision=bf16, needs less)",
        backend->device, edt_mem_kind_name(kind));
    return EDT_OK;
}

// What was queued with the block may still run; the next user may be on another stream.
static void cuda_free(edt_backend *base, void *block)
{
    edt_cuda_backend *backend = (edt_cuda_backend *)base;
    if (block == NULL) {
        return;
    }
    if (!backend->capturing && cudaSetDevice(backend->device) == cudaSuccess) {
        for (int i = 0; i < EDT_N_STREAMS; i++) {
            (void)cudaStreamSynchronize(backend->streams[i]);
        }
    }
    edt_cuda_pool_free(backend->pool, block);
}

static edt_status copy_and_wait(edt_cuda_backend *backend, const char *what, void *to,
                                const void *from, size_t n_bytes, enum cudaMemcpyKind kind,
                                edt_error *err)
{
    EDT_TRY(edt_cuda_enter(backend, err));
    EDT_TRY(edt_cuda_refuse_capturing(backend, what, err));
    const cudaStream_t stream = backend->streams[EDT_STREAM_COMPUTE];
    if (n_bytes > 0) {
        EDT_CUDA_TRY(cudaMemcpyAsync(to, from, n_bytes, kind, stream), err);
    }
    EDT_CUDA_TRY(cudaStreamSynchronize(stream), err);
    return EDT_OK;
}

static edt_status cuda_upload(edt_backend *base, void *to, const void *from, size_t n_bytes,
                              edt_error *err)
{
    return copy_and_wait((edt_cuda_backend *)base, "upload", to, from, n_bytes,
                         cudaMemcpyHostToDevice, err);
}

static edt_status cuda_download(edt_backend *base, void *to, const void *from, size_t n_bytes,
                                edt_error *err)
{
    return copy_and_wait((edt_cuda_backend *)base, "download", to, from, n_bytes,
                         cudaMemcpyDeviceToHost, err);
}

static edt_status cuda_zero(edt_backend *base, void *block, size_t n_bytes, edt_error *err)
{
    edt_cuda_backend *backend = (edt_cuda_backend *)base;
    EDT_TRY(edt_cuda_enter(backend, err));
    if (n_bytes > 0) {
        EDT_CUDA_TRY(cudaMemsetAsync(block, 0, n_bytes, backend->streams[EDT_STREAM_COMPUTE]),
                     err);
    }
    return EDT_OK;
}

static edt_status cuda_synchronize(edt_backend *base, edt_error *err)
{
    edt_cuda_backend *backend = (edt_cuda_backend *)base;
    EDT_TRY(edt_cuda_enter(backend, err));
    EDT_TRY(edt_cuda_refuse_capturing(backend, "synchronize", err));
    for (int i = 0; i < EDT_N_STREAMS; i++) {
        EDT_CUDA_TRY(cudaStreamSynchronize(backend->streams[i]), err);
    }
    return EDT_OK;
}

static void cuda_destroy(edt_backend *base)
{
    edt_cuda_backend *backend = (edt_cuda_backend *)base;
    if (backend == NULL) {
        return;
    }
    // A device that failed lets nothing be freed properly; the process's end does.
    (void)cudaSetDevice(backend->device);
    for (int i = 0; i < EDT_N_STREAMS; i++) {
        if (backend->streams[i] != NULL) {
            (void)cudaStreamSynchronize(backend->streams[i]);
            (void)cudaStreamDestroy(backend->streams[i]);
        }
    }
    for (int i = 0; i < EDT_CUDA_RING; i++) {
        if (backend->ring_events[i] != NULL) {
            (void)cudaEventDestroy(backend->ring_events[i]);
        }
    }
    if (backend->ring != NULL) {
        (void)cudaFreeHost(backend->ring);
    }
    edt_cuda_cudnn_destroy(backend->cudnn);
    if (backend->lt != NULL) {
        (void)cublasLtDestroy(backend->lt);
    }
    edt_cuda_pool_destroy(backend->pool);
    edt_mem_free(backend);
}

static const edt_backend_table cuda_table = {
    .name = "cuda",
    .supports = cuda_supports,
    .prepare = cuda_prepare,
    .run = cuda_run,
    .release = cuda_release,
    .begin = cuda_begin,
    .alloc = cuda_alloc,
    .free = cuda_free,
    .upload = cuda_upload,
    .download = cuda_download,
    .zero = cuda_zero,
    .synchronize = cuda_synchronize,
    .destroy = cuda_destroy,
    .measure_peak = edt_cuda_measure_peak,
    .describe = edt_cuda_describe,
    .streams = &edt_cuda_stream_table,
};

static bool chunk_alloc(void *user, size_t n_bytes, void **out_chunk)
{
    (void)user;
    const bool there = cudaMalloc(out_chunk, n_bytes) == cudaSuccess;
    if (!there) {
        (void)cudaGetLastError();
    }
    return there;
}

static void chunk_free(void *user, void *chunk)
{
    (void)user;
    (void)cudaFree(chunk);
}

static edt_status open_streams(edt_cuda_backend *backend, edt_error *err)
{
    int least = 0;
    int greatest = 0;
    EDT_CUDA_TRY(cudaDeviceGetStreamPriorityRange(&least, &greatest), err);
    for (int i = 0; i < EDT_N_STREAMS; i++) {
        // Communication goes first: other ranks wait for it.
        const int priority = i == EDT_STREAM_COMM ? greatest : least;
        EDT_CUDA_TRY(
            cudaStreamCreateWithPriority(&backend->streams[i], cudaStreamNonBlocking, priority),
            err);
    }
    for (int i = 0; i < EDT_CUDA_RING; i++) {
        EDT_CUDA_TRY(cudaEventCreateWithFlags(&backend->ring_events[i], cudaEventDisableTiming),
                     err);
    }
    EDT_CUDA_TRY(cudaHostAlloc((void **)&backend->ring, EDT_CUDA_RING * sizeof(*backend->ring),
                               cudaHostAllocDefault),
                 err);
    return EDT_OK;
}

static edt_status open_device(edt_cuda_backend *backend, edt_error *err)
{
    int n_devices = 0;
    EDT_TRY(edt_cuda_count_devices(err, &n_devices));
    if (backend->device < 0 || backend->device >= n_devices) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "device cuda:%d is not there; %d %s visible (CUDA_VISIBLE_DEVICES)",
                 backend->device, n_devices, n_devices == 1 ? "device is" : "devices are");
    }
    EDT_TRY(edt_cuda_enter(backend, err));
    EDT_TRY(edt_cuda_read_limits(backend->device, err, &backend->limits));
    if (backend->limits.major < 8) {
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED,
                 "device cuda:%d has compute capability %d.%d; 8.0 or later is needed",
                 backend->device, backend->limits.major, backend->limits.minor);
    }
    EDT_TRY(open_streams(backend, err));
    // One chunk per block shows memory checkers where each block ends.
    const char *no_pool = getenv("EDT_CUDA_NO_POOL");
    const bool single = no_pool != NULL && strcmp(no_pool, "1") == 0;
    const edt_cuda_pool_source source = {.alloc = chunk_alloc, .free = chunk_free};
    EDT_TRY(edt_cuda_pool_create(&source, single ? 0 : chunk_bytes, err, &backend->pool));
    if (cublasLtCreate(&backend->lt) != CUBLAS_STATUS_SUCCESS) {
        EDT_FAIL(err, EDT_ERR_DEVICE, "cuda: cuBLASLt %zu cannot be started on device %d",
                 cublasLtGetVersion(), backend->device);
    }
    void *control = NULL;
    EDT_TRY(cuda_alloc(&backend->base, EDT_MEM_MISC, sizeof(*backend->control), err, &control));
    backend->control = control;
    return cuda_zero(&backend->base, control, sizeof(*backend->control), err);
}

static edt_status cuda_create(const edt_backend_options *options, edt_error *err,
                              edt_backend **out_backend)
{
    edt_cuda_backend *backend = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof(*backend));
    if (backend == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the cuda backend");
    }
    backend->base.table = &cuda_table;
    backend->base.n_threads = options->n_threads > 0 ? options->n_threads : 1;
    backend->device = options->device;
    backend->tf32 = options->tf32;
    backend->deterministic = options->deterministic;
    const edt_status status = open_device(backend, err);
    if (status != EDT_OK) {
        cuda_destroy(&backend->base);
        return status;
    }
    *out_backend = &backend->base;
    return EDT_OK;
}

extern const edt_backend_plugin edt_backend_cuda_plugin;
__attribute__((visibility("default"))) const edt_backend_plugin edt_backend_cuda_plugin = {
    .create = cuda_create,
    .describe_machine = edt_cuda_describe_machine,
    .count_devices = edt_cuda_count_devices,
};
