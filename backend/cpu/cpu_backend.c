// The backend table of the cpu backend: heap memory, kernels chosen by op kind, shapes checked
// once at prepare. oneDNN takes its thread count from the OpenMP setting of the calling thread,
// which cpu_dnnl.c sets for the length of its calls only.
#include <omp.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>

#include "backend/cpu/cpu_gate.h"
#include "backend/cpu/cpu_windows.h"

// The type of activations of an op.
static edt_dtype real_of(const edt_op_desc *desc)
{
    if (desc->kind != EDT_OP_NORMALIZE) {
        return desc->in[0].dtype;
    }
    return desc->attrs.norm_dtype == EDT_DTYPE_NONE ? EDT_DTYPE_F32 : desc->attrs.norm_dtype;
}

static edt_cpu_prepare_fn *prepare_of(const edt_op_desc *desc)
{
    const bool low = real_of(desc) == EDT_DTYPE_BF16;
#define OF_TYPE(name) low ? name##_bf16 : name##_f32
    switch (desc->kind) {
    case EDT_OP_NORMALIZE:
    case EDT_OP_ACT:
    case EDT_OP_ACT_BWD:
    case EDT_OP_ADD:
    case EDT_OP_DROP_CONNECT:
    case EDT_OP_GLOBAL_AVG_POOL:
    case EDT_OP_GLOBAL_AVG_POOL_BWD:
    case EDT_OP_SCALE_CHANNELS:
    case EDT_OP_SCALE_CHANNELS_BWD: return OF_TYPE(edt_cpu_prepare_map);
    case EDT_OP_BN_TRAIN:
    case EDT_OP_BN_INFER:
    case EDT_OP_BN_TRAIN_BWD:
    case EDT_OP_BN_STATS:
    case EDT_OP_BN_APPLY:
    case EDT_OP_BN_BWD_STATS:
    case EDT_OP_BN_BWD_APPLY:
    case EDT_OP_BN_INFER_BWD: return OF_TYPE(edt_cpu_prepare_norm);
    case EDT_OP_MAX_POOL:
    case EDT_OP_MAX_POOL_BWD:
    case EDT_OP_RESIZE_NEAREST:
    case EDT_OP_RESIZE_NEAREST_BWD: return OF_TYPE(edt_cpu_prepare_sample);
    case EDT_OP_FUSE:
    case EDT_OP_FUSE_BWD: return OF_TYPE(edt_cpu_prepare_fuse);
    case EDT_OP_FOCAL_LOSS:
    case EDT_OP_BOX_LOSS:
    case EDT_OP_IOU_LOSS: return OF_TYPE(edt_cpu_prepare_loss);
    case EDT_OP_CONCAT:
    case EDT_OP_CONCAT_BWD:
    case EDT_OP_BIAS:
    case EDT_OP_BIAS_BWD:
    case EDT_OP_SRELU:
    case EDT_OP_SRELU_BWD:
    case EDT_OP_SEGMENTATION_LOSS: return OF_TYPE(edt_cpu_prepare_segmentation);
    case EDT_OP_OPTIMIZER: return edt_cpu_prepare_optimizer;
    case EDT_OP_DEPTHWISE:
    case EDT_OP_DEPTHWISE_DATA:
    case EDT_OP_DEPTHWISE_WEIGHT:
    case EDT_OP_DEPTHWISE_BN_ACT: return OF_TYPE(edt_cpu_prepare_depthwise);
    case EDT_OP_CONV2D:
    case EDT_OP_CONV2D_DATA:
    case EDT_OP_CONV2D_WEIGHT:
    case EDT_OP_CONV2D_BN_ACT: return OF_TYPE(edt_cpu_prepare_conv);
    case EDT_OP_CONV2D_DEPTHWISE_BN_ACT: return OF_TYPE(edt_cpu_prepare_chain);
    case EDT_OP_CAST: return edt_cpu_prepare_cast;
    case EDT_OP_DETECT: // model/postprocess.c on several threads is the faster one
    case EDT_OP_N_KINDS: break;
    }
#undef OF_TYPE
    return NULL;
}

static edt_status cpu_supports(const edt_backend *backend, const edt_op_desc *desc,
                               edt_error *err)
{
    (void)backend;
    if (prepare_of(desc) == NULL) {
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED, "cpu: %s is not there",
                 edt_op_get_info(desc->kind)->name);
    }
    if (desc->kind == EDT_OP_CAST) {
        return edt_cpu_cast_supports(desc, err);
    }
    const edt_dtype real = real_of(desc);
    if (real == EDT_DTYPE_F16) {
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED,
                 "cpu: %s on f16: processors multiply f32 and bf16, and f16 would want a loss "
                 "scale for nothing; use bf16",
                 edt_op_get_info(desc->kind)->name);
    }
    if (real != EDT_DTYPE_F32 && (real != EDT_DTYPE_BF16 || desc->kind == EDT_OP_OPTIMIZER)) {
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED,
                 "cpu: %s on %s; f32 and bf16 are there (the ref backend has f64)",
                 edt_op_get_info(desc->kind)->name, edt_dtype_name(real));
    }
    const bool depthwise =
        desc->kind == EDT_OP_DEPTHWISE || desc->kind == EDT_OP_DEPTHWISE_DATA ||
        desc->kind == EDT_OP_DEPTHWISE_WEIGHT || desc->kind == EDT_OP_DEPTHWISE_BN_ACT ||
        desc->kind == EDT_OP_CONV2D_DEPTHWISE_BN_ACT;
    const edt_conv_attrs *conv = &desc->attrs.conv;
    if (depthwise && (conv->kh > EDT_CPU_MAX_DEPTHWISE || conv->kw > EDT_CPU_MAX_DEPTHWISE ||
                      conv->sw > EDT_CPU_MAX_DEPTHWISE)) {
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED, "cpu: %s with a %dx%d window, stride %d; at most %d",
                 edt_op_get_info(desc->kind)->name, conv->kh, conv->kw, conv->sw,
                 EDT_CPU_MAX_DEPTHWISE);
    }
    if (desc->kind == EDT_OP_CONV2D_BN_ACT && conv->has_gate && !edt_cpu_gate_suits(desc)) {
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED,
                 "cpu: scaling the channels of so few pixels is a pass of its own");
    }
    const edt_conv_attrs *first = &desc->attrs.first_conv;
    const edt_op_desc dense = {.kind = EDT_OP_CONV2D_BN_ACT, .in = {desc->in[0]}};
    if (desc->kind == EDT_OP_CONV2D_DEPTHWISE_BN_ACT &&
        (first->kh != 1 || first->kw != 1 || first->sh != 1 || first->sw != 1) &&
        !edt_cpu_windows_suit(&dense)) {
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED, "cpu: %s with a first window of %dx%d, stride %d",
                 edt_op_get_info(desc->kind)->name, first->kh, first->kw, first->sh);
    }
    return EDT_OK;
}

// Two convolutions in one save the value between them its way out of the core's cache and back.
// Where a thread's share of it stays there anyway (second-level caches have 1 or 2 MiB) they
// take the same time apart; few rows a thread make those doubled that two threads need.
static bool cpu_worthwhile(const edt_backend *backend, const edt_op_desc *desc)
{
    enum { CACHE_BYTES = 2 << 20, ROWS_PER_DOUBLED = 8 };
    edt_op_desc first;
    edt_op_desc second;
    if (desc->kind != EDT_OP_CONV2D_DEPTHWISE_BN_ACT) {
        return true;
    }
    if (edt_op_chain_parts(desc, NULL, &first, &second) != EDT_OK) {
        return false;
    }
    const int64_t n_rows = first.out[0].shape.dim[0] * first.out[0].shape.dim[1];
    const int64_t n_doubled = desc->attrs.conv.kh - desc->attrs.conv.sh;
    return edt_tensor_bytes(&first.out[0]) / (size_t)backend->n_threads > CACHE_BYTES &&
           n_rows / backend->n_threads >= ROWS_PER_DOUBLED * n_doubled;
}

static void cpu_release(edt_backend *backend, edt_kernel *kernel)
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

edt_status edt_cpu_kernel_alloc_state(edt_kernel *kernel, size_t n_bytes, edt_error *err)
{
    kernel->state = edt_mem_calloc(EDT_MEM_WORKSPACE, 1, n_bytes);
    if (kernel->state == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "cpu: no memory for %zu bytes of %s", n_bytes,
                 edt_op_get_info(kernel->desc.kind)->name);
    }
    return EDT_OK;
}

static edt_status cpu_prepare(edt_backend *backend, const edt_op_desc *desc, edt_error *err,
                              edt_kernel **out_kernel, size_t *out_workspace_bytes)
{
    EDT_TRY(cpu_supports(backend, desc, err));
    edt_kernel *kernel = edt_mem_calloc(EDT_MEM_WORKSPACE, 1, sizeof(*kernel));
    if (kernel == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "cpu: no memory for a kernel");
    }
    kernel->desc = *desc;
    edt_status status;
    EDT_TRY_GOTO(edt_op_infer(&kernel->desc, err));
    EDT_TRY_GOTO(prepare_of(desc)((edt_cpu_backend *)backend, kernel, err));
    *out_kernel = kernel;
    *out_workspace_bytes = kernel->workspace_bytes;
    return EDT_OK;
fail:
    cpu_release(backend, kernel);
    return status;
}

static edt_status cpu_run(edt_backend *backend, edt_kernel *kernel, const edt_run_ctx *ctx,
                          void *const *in, void *const *out, void *workspace, edt_error *err)
{
    const edt_cpu_run run = {
        .backend = (const edt_cpu_backend *)backend,
        .ctx = ctx,
        .in = in,
        .out = out,
        .workspace = workspace,
        .err = err,
    };
    return kernel->run(kernel, &run);
}

// Asks for 2 MiB pages where a block is large: hardware prefetchers stop at page ends and the
// strided walks of NHWC kernels touch many pages. A kernel that has none ignores it.
static void use_large_pages(void *block, size_t n_bytes)
{
    const uintptr_t page = 4096;
    const uintptr_t begin = ((uintptr_t)block + page - 1) / page * page;
    const uintptr_t end = ((uintptr_t)block + n_bytes) / page * page;
    if (end > begin && end - begin >= ((uintptr_t)4 << 20)) {
        (void)madvise((void *)begin, end - begin, MADV_HUGEPAGE);
    }
}

static edt_status cpu_alloc(edt_backend *backend, edt_mem_kind kind, size_t n_bytes,
                            edt_error *err, void **out_block)
{
    (void)backend;
    void *block = edt_mem_alloc(kind, n_bytes);
    if (block == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %zu bytes of %s", n_bytes,
                 edt_mem_kind_name(kind));
    }
    use_large_pages(block, n_bytes);
    *out_block = block;
    return EDT_OK;
}

static void cpu_free(edt_backend *backend, void *block)
{
    (void)backend;
    edt_mem_free(block);
}

static edt_status cpu_copy(edt_backend *backend, void *to, const void *from, size_t n_bytes,
                           edt_error *err)
{
    (void)backend;
    (void)err;
    if (n_bytes > 0) {
        memcpy(to, from, n_bytes);
    }
    return EDT_OK;
}

static edt_status cpu_zero(edt_backend *backend, void *block, size_t n_bytes, edt_error *err)
{
    (void)backend;
    (void)err;
    if (n_bytes > 0) {
        memset(block, 0, n_bytes);
    }
    return EDT_OK;
}

static edt_status cpu_synchronize(edt_backend *backend, edt_error *err)
{
    (void)backend;
    (void)err;
    return EDT_OK;
}

static void cpu_share(edt_backend *backend, int max_threads, int64_t n,
                      edt_backend_share_fn *fn, void *ctx)
{
    (void)backend;
#pragma omp parallel for num_threads(max_threads) schedule(dynamic, 1)
    for (int64_t i = 0; i < n; ++i) {
        fn(ctx, omp_get_thread_num(), i);
    }
}

static void cpu_destroy(edt_backend *backend)
{
    if (backend != NULL) {
        edt_cpu_dnnl_destroy(((edt_cpu_backend *)backend)->dnnl);
        edt_mem_free(backend);
    }
}

static const edt_backend_table cpu_table = {
    .name = "cpu",
    .supports = cpu_supports,
    .worthwhile = cpu_worthwhile,
    .prepare = cpu_prepare,
    .run = cpu_run,
    .release = cpu_release,
    .alloc = cpu_alloc,
    .free = cpu_free,
    .upload = cpu_copy,
    .download = cpu_copy,
    .zero = cpu_zero,
    .synchronize = cpu_synchronize,
    .destroy = cpu_destroy,
    .measure_peak = edt_cpu_measure_peak,
    .describe = edt_cpu_describe,
    .share = cpu_share,
};

static int available_cores(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) > 0) {
        return CPU_COUNT(&set);
    }
    return 1;
}

edt_status edt_cpu_backend_create_variant(int n_threads, const char *variant, edt_error *err,
                                          edt_backend **out_backend)
{
    const edt_cpu_simd *simd = edt_cpu_simd_find(variant);
    if (simd == NULL) {
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED, "this processor cannot run the %s kernels%s",
                 variant == NULL ? "base" : variant,
                 variant == NULL ? "; x86-64-v2 (SSE4.2) is needed" : "");
    }
    edt_cpu_backend *backend = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof(*backend));
    if (backend == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the cpu backend");
    }
    backend->base.table = &cpu_table;
    backend->base.n_threads = n_threads > 0 ? n_threads : available_cores();
    // OMP_THREAD_LIMIT: a team smaller than oneDNN planned for leaves parts of a sum unwritten.
    if (backend->base.n_threads > omp_get_thread_limit()) {
        backend->base.n_threads = omp_get_thread_limit();
    }
#ifdef __SANITIZE_THREAD__
    // libgomp's and oneDNN's hand-overs are invisible to ThreadSanitizer, which calls every one
    // a race.
    backend->base.n_threads = 1;
#endif
    backend->simd = simd;
    const edt_status status = edt_cpu_dnnl_create(err, &backend->dnnl);
    if (status != EDT_OK) {
        cpu_destroy(&backend->base);
        return status;
    }
    *out_backend = &backend->base;
    return EDT_OK;
}

edt_status edt_backend_cpu_create(int n_threads, edt_error *err, edt_backend **out_backend)
{
    return edt_cpu_backend_create_variant(n_threads, NULL, err, out_backend);
}
