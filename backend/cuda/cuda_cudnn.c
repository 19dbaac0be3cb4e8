// cuDNN's graph interface: the operation as descriptors, the engine configurations its
// heuristics offer, the first of them that is acceptable and makes a plan. What a run passes
// (pointers) is a descriptor too; it is kept and made anew only when a pointer changed.
#include "backend/cuda/cuda_cudnn.h"

#include <cudnn.h>
#include <string.h>

enum {
    ALIGNMENT = 16,
    WORKSPACE_ALIGNMENT = 256,
    MAX_CONFIGS = 16, // per mode of the heuristics
    MAX_DESCRIPTORS = 16 + 2 * MAX_CONFIGS,
    UID_X = 1,
    UID_W = 2,
    UID_Y = 3,
};

static const size_t most_workspace_bytes = (size_t)256 << 20;

struct edt_cuda_cudnn {
    cudnnHandle_t handle;
};

struct edt_cuda_cudnn_conv {
    cudnnHandle_t handle; // the backend's
    cudnnBackendDescriptor_t plan;
    size_t workspace_bytes; // without room to align
    // Of the last run.
    cudnnBackendDescriptor_t pack;
    void *pointers[4];
    // Everything the plan is made of lives as long as the plan.
    cudnnBackendDescriptor_t made[MAX_DESCRIPTORS];
    int n_made;
};

static edt_status check(cudnnStatus_t code, const char *what, edt_error *err)
{
    if (code == CUDNN_STATUS_SUCCESS) {
        return EDT_OK;
    }
    char more[256] = "";
    cudnnGetLastErrorString(more, sizeof more);
    // What the library does not offer, or (unequal paddings, in some versions) not even lets be
    // described, may be had in another way.
    const int kind = (int)code / 1000 * 1000;
    const bool refused =
        kind == (int)CUDNN_STATUS_NOT_SUPPORTED || kind == (int)CUDNN_STATUS_BAD_PARAM;
    EDT_FAIL(err, refused ? EDT_ERR_UNSUPPORTED : EDT_ERR_DEVICE,
             "cuDNN: %s failed: %s (status %d)%s%s", what, cudnnGetErrorString(code), (int)code,
             more[0] == '\0' ? "" : ": ", more);
}

#define DNN_TRY(call, err) EDT_TRY(check((call), #call, (err)))

static edt_status open_library(edt_cuda_backend *backend, edt_error *err)
{
    if (backend->cudnn != NULL) {
        return EDT_OK;
    }
    const size_t version = cudnnGetVersion();
    if (version / 10000 != CUDNN_MAJOR) {
        EDT_FAIL(
            err, EDT_ERR_UNSUPPORTED,
            "cuda: the cuDNN found at run time has version number %zu, this program needs "
            "cuDNN %d (built with %d.%d.%d); put a libcudnn.so.%d where the loader finds it",
            version, CUDNN_MAJOR, CUDNN_MAJOR, CUDNN_MINOR, CUDNN_PATCHLEVEL, CUDNN_MAJOR);
    }
    edt_cuda_cudnn *cudnn = edt_mem_calloc(EDT_MEM_WORKSPACE, 1, sizeof *cudnn);
    if (cudnn == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "cuda: no memory for the handle of cuDNN");
    }
    edt_status status = check(cudnnCreate(&cudnn->handle), "cudnnCreate", err);
    if (status == EDT_OK) {
        status = check(cudnnSetStream(cudnn->handle, backend->streams[EDT_STREAM_COMPUTE]),
                       "cudnnSetStream", err);
    }
    if (status != EDT_OK) {
        edt_cuda_cudnn_destroy(cudnn);
        return status;
    }
    backend->cudnn = cudnn;
    return EDT_OK;
}

void edt_cuda_cudnn_destroy(edt_cuda_cudnn *cudnn)
{
    if (cudnn != NULL) {
        if (cudnn->handle != NULL) {
            (void)cudnnDestroy(cudnn->handle);
        }
        edt_mem_free(cudnn);
    }
}

static edt_status data_type(edt_dtype dtype, edt_error *err, cudnnDataType_t *out_type)
{
    switch (dtype) {
    case EDT_DTYPE_F32: *out_type = CUDNN_DATA_FLOAT; return EDT_OK;
    case EDT_DTYPE_BF16: *out_type = CUDNN_DATA_BFLOAT16; return EDT_OK;
    case EDT_DTYPE_F16: *out_type = CUDNN_DATA_HALF; return EDT_OK;
    default:
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED,
                 "cuda: convolutions of %s are not supported; f32, bf16 and f16 are",
                 edt_dtype_name(dtype));
    }
}

// A descriptor that lives as long as `conv`.
static edt_status make(edt_cuda_cudnn_conv *conv, cudnnBackendDescriptorType_t type,
                       edt_error *err, cudnnBackendDescriptor_t *out_descriptor)
{
    if (conv->n_made == MAX_DESCRIPTORS) {
        EDT_FAIL(err, EDT_ERR_INTERNAL, "cuDNN: more than %d descriptors for one convolution",
                 (int)MAX_DESCRIPTORS);
    }
    DNN_TRY(cudnnBackendCreateDescriptor(type, &conv->made[conv->n_made]), err);
    *out_descriptor = conv->made[conv->n_made++];
    return EDT_OK;
}

#define SET(descriptor, name, type, count, values, err)                                        \
    DNN_TRY(cudnnBackendSetAttribute((descriptor), (name), (type), (count), (values)), (err))

static edt_status make_tensor(edt_cuda_cudnn_conv *conv, int64_t uid, cudnnDataType_t type,
                              const int64_t nchw[4], edt_error *err,
                              cudnnBackendDescriptor_t *out_tensor)
{
    int64_t dim[4];
    int64_t stride[4];
    const int64_t alignment = ALIGNMENT;
    edt_cuda_channels_last(nchw[0], nchw[1], nchw[2], nchw[3], dim, stride);
    cudnnBackendDescriptor_t t = NULL;
    EDT_TRY(make(conv, CUDNN_BACKEND_TENSOR_DESCRIPTOR, err, &t));
    SET(t, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type, err);
    SET(t, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, dim, err);
    SET(t, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, stride, err);
    SET(t, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &uid, err);
    SET(t, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment, err);
    DNN_TRY(cudnnBackendFinalize(t), err);
    *out_tensor = t;
    return EDT_OK;
}

static edt_status make_window(edt_cuda_cudnn_conv *conv, const edt_cuda_conv_geometry *g,
                              edt_error *err, cudnnBackendDescriptor_t *out_window)
{
    const cudnnDataType_t compute = CUDNN_DATA_FLOAT;
    const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    const int64_t n_spatial = 2;
    const int64_t dilation[2] = {1, 1};
    const int64_t stride[2] = {g->sh, g->sw};
    const int64_t before[2] = {g->before_h, g->before_w};
    const int64_t after[2] = {g->after_h, g->after_w};
    cudnnBackendDescriptor_t c = NULL;
    EDT_TRY(make(conv, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, err, &c));
    SET(c, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &compute, err);
    SET(c, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode, err);
    SET(c, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, &n_spatial, err);
    SET(c, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 2, dilation, err);
    SET(c, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 2, stride, err);
    SET(c, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 2, before, err);
    SET(c, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 2, after, err);
    DNN_TRY(cudnnBackendFinalize(c), err);
    *out_window = c;
    return EDT_OK;
}

// Attribute names of the three passes.
typedef struct pass_names {
    cudnnBackendDescriptorType_t type;
    cudnnBackendAttributeName_t x, w, y, window, alpha, beta;
} pass_names;

static const pass_names *names_of(edt_cuda_conv_pass pass)
{
    static const pass_names names[] = {
        [EDT_CUDA_CONV_FORWARD] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
                                   CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
                                   CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
                                   CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
                                   CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
                                   CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
                                   CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA},
        [EDT_CUDA_CONV_DATA] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
                                CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
                                CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
                                CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
                                CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
                                CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
                                CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA},
        [EDT_CUDA_CONV_WEIGHT] =
            {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
             CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
             CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
             CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
             CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
             CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
             CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA},
    };
    return &names[pass];
}

// The graph of one operation.
static edt_status make_graph(edt_cuda_cudnn_conv *conv, const edt_cuda_conv_geometry *g,
                             edt_dtype real, edt_error *err,
                             cudnnBackendDescriptor_t *out_graph)
{
    cudnnDataType_t type = CUDNN_DATA_FLOAT;
    EDT_TRY(data_type(real, err, &type));
    const int64_t x_dim[4] = {g->n, g->ci, g->h, g->w};
    const int64_t w_dim[4] = {g->co, g->ci, g->kh, g->kw};
    const int64_t y_dim[4] = {g->n, g->co, g->ho, g->wo};
    cudnnBackendDescriptor_t x = NULL;
    cudnnBackendDescriptor_t w = NULL;
    cudnnBackendDescriptor_t y = NULL;
    cudnnBackendDescriptor_t window = NULL;
    cudnnBackendDescriptor_t op = NULL;
    cudnnBackendDescriptor_t graph = NULL;
    EDT_TRY(make_tensor(conv, UID_X, type, x_dim, err, &x));
    EDT_TRY(make_tensor(conv, UID_W, type, w_dim, err, &w));
    EDT_TRY(make_tensor(conv, UID_Y, type, y_dim, err, &y));
    EDT_TRY(make_window(conv, g, err, &window));
    const pass_names *names = names_of(g->pass);
    const float one = 1.0F;
    const float zero = 0.0F;
    EDT_TRY(make(conv, names->type, err, &op));
    SET(op, names->x, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &x, err);
    SET(op, names->w, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &w, err);
    SET(op, names->y, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &y, err);
    SET(op, names->window, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &window, err);
    SET(op, names->alpha, CUDNN_TYPE_FLOAT, 1, &one, err);
    SET(op, names->beta, CUDNN_TYPE_FLOAT, 1, &zero, err);
    DNN_TRY(cudnnBackendFinalize(op), err);
    EDT_TRY(make(conv, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, err, &graph));
    SET(graph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &conv->handle, err);
    SET(graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &op, err);
    DNN_TRY(cudnnBackendFinalize(graph), err);
    *out_graph = graph;
    return EDT_OK;
}

// Whether the engine behind a configuration keeps to the rules of this backend.
static bool is_acceptable(cudnnBackendDescriptor_t config, const edt_cuda_backend *backend,
                          edt_dtype real)
{
    cudnnBackendNumericalNote_t notes[CUDNN_NUMERICAL_NOTE_TYPE_COUNT];
    int64_t n_notes = 0;
    int64_t n_engines = 0;
    cudnnBackendDescriptor_t engine = NULL;
    bool ok = cudnnBackendCreateDescriptor(CUDNN_BACKEND_ENGINE_DESCRIPTOR, &engine) ==
                  CUDNN_STATUS_SUCCESS &&
              cudnnBackendGetAttribute(config, CUDNN_ATTR_ENGINECFG_ENGINE,
                                       CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &n_engines,
                                       &engine) == CUDNN_STATUS_SUCCESS &&
              cudnnBackendGetAttribute(
                  engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE,
                  CUDNN_NUMERICAL_NOTE_TYPE_COUNT, &n_notes, notes) == CUDNN_STATUS_SUCCESS;
    const bool exact = real == EDT_DTYPE_F32 && !backend->tf32;
    for (int64_t i = 0; ok && i < n_notes && i < CUDNN_NUMERICAL_NOTE_TYPE_COUNT; i++) {
        switch (notes[i]) {
        case CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS:
        case CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION: ok = false; break;
        case CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC: ok = !backend->deterministic; break;
        // In f32: TF32 products, and transforms that lose digits.
        case CUDNN_NUMERICAL_NOTE_TENSOR_CORE:
        case CUDNN_NUMERICAL_NOTE_FFT:
        case CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_6x6:
        case CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_13x13: ok = !exact; break;
        default: break;
        }
    }
    if (engine != NULL) {
        (void)cudnnBackendDestroyDescriptor(engine);
    }
    return ok;
}

// A plan of the configuration with a workspace in bounds, or NULL.
static cudnnBackendDescriptor_t try_plan(const edt_cuda_cudnn_conv *conv,
                                         cudnnBackendDescriptor_t config,
                                         int64_t *out_workspace_bytes)
{
    cudnnBackendDescriptor_t plan = NULL;
    int64_t n = 0;
    const bool ok =
        cudnnBackendCreateDescriptor(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, &plan) ==
            CUDNN_STATUS_SUCCESS &&
        cudnnBackendSetAttribute(plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1,
                                 &conv->handle) == CUDNN_STATUS_SUCCESS &&
        cudnnBackendSetAttribute(plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG,
                                 CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
                                 &config) == CUDNN_STATUS_SUCCESS &&
        cudnnBackendFinalize(plan) == CUDNN_STATUS_SUCCESS &&
        cudnnBackendGetAttribute(plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE,
                                 CUDNN_TYPE_INT64, 1, &n,
                                 out_workspace_bytes) == CUDNN_STATUS_SUCCESS &&
        *out_workspace_bytes >= 0 && (uint64_t)*out_workspace_bytes <= most_workspace_bytes;
    if (!ok && plan != NULL) {
        (void)cudnnBackendDestroyDescriptor(plan);
        plan = NULL;
    }
    return plan;
}

// Sets conv->plan from what one mode of the heuristics offers; leaves it NULL when nothing
// does.
static edt_status search(edt_cuda_cudnn_conv *conv, const edt_cuda_backend *backend,
                         cudnnBackendDescriptor_t graph, cudnnBackendHeurMode_t mode,
                         edt_dtype real, edt_error *err)
{
    cudnnBackendDescriptor_t heuristics = NULL;
    cudnnBackendDescriptor_t configs[MAX_CONFIGS];
    int64_t n_configs = 0;
    EDT_TRY(make(conv, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, err, &heuristics));
    SET(heuristics, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
        &graph, err);
    SET(heuristics, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode, err);
    // What it does not know, it refuses here.
    if (cudnnBackendFinalize(heuristics) != CUDNN_STATUS_SUCCESS) {
        return EDT_OK;
    }
    for (int i = 0; i < MAX_CONFIGS; i++) {
        EDT_TRY(make(conv, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, err, &configs[i]));
    }
    if (cudnnBackendGetAttribute(heuristics, CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                 CUDNN_TYPE_BACKEND_DESCRIPTOR, MAX_CONFIGS, &n_configs,
                                 configs) != CUDNN_STATUS_SUCCESS) {
        return EDT_OK;
    }
    for (int64_t i = 0; i < n_configs && i < MAX_CONFIGS && conv->plan == NULL; i++) {
        int64_t workspace_bytes = 0;
        if (is_acceptable(configs[i], backend, real)) {
            conv->plan = try_plan(conv, configs[i], &workspace_bytes);
            conv->workspace_bytes = (size_t)workspace_bytes;
        }
    }
    return EDT_OK;
}

static edt_status build(edt_cuda_cudnn_conv *conv, const edt_cuda_backend *backend,
                        const edt_cuda_conv_geometry *g, edt_dtype real, edt_error *err)
{
    cudnnBackendDescriptor_t graph = NULL;
    EDT_TRY(make_graph(conv, g, real, err, &graph));
    EDT_TRY(search(conv, backend, graph, CUDNN_HEUR_MODE_A, real, err));
    if (conv->plan == NULL) {
        EDT_TRY(search(conv, backend, graph, CUDNN_HEUR_MODE_FALLBACK, real, err));
    }
    if (conv->plan == NULL) {
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED,
                 "cuDNN %zu has no plan for a convolution of %lldx%lldx%lldx%lld by %lldx%lld, "
                 "stride %lld, to %lld channels in %s%s; try another precision%s",
                 cudnnGetVersion(), (long long)g->n, (long long)g->h, (long long)g->w,
                 (long long)g->ci, (long long)g->kh, (long long)g->kw, (long long)g->sh,
                 (long long)g->co, edt_dtype_name(real),
                 backend->deterministic ? ", deterministic" : "",
                 backend->deterministic ? " or give up determinism" : "");
    }
    return EDT_OK;
}

edt_status edt_cuda_cudnn_conv_create(edt_cuda_backend *backend,
                                      const edt_cuda_conv_geometry *geometry, edt_dtype real,
                                      edt_error *err, edt_cuda_cudnn_conv **out_conv,
                                      size_t *out_workspace_bytes)
{
    EDT_TRY(open_library(backend, err));
    edt_cuda_cudnn_conv *conv = edt_mem_calloc(EDT_MEM_WORKSPACE, 1, sizeof *conv);
    if (conv == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "cuda: no memory for the state of a convolution");
    }
    conv->handle = backend->cudnn->handle;
    const edt_status status = build(conv, backend, geometry, real, err);
    if (status != EDT_OK) {
        edt_cuda_cudnn_conv_destroy(conv);
        return status;
    }
    *out_conv = conv;
    *out_workspace_bytes =
        conv->workspace_bytes == 0 ? 0 : conv->workspace_bytes + WORKSPACE_ALIGNMENT;
    return EDT_OK;
}

// Makes conv->pack hold these pointers.
static edt_status set_pointers(edt_cuda_cudnn_conv *conv, void *const pointers[4],
                               edt_error *err)
{
    if (conv->pack != NULL && memcmp(conv->pointers, pointers, sizeof conv->pointers) == 0) {
        return EDT_OK;
    }
    if (conv->pack != NULL) {
        (void)cudnnBackendDestroyDescriptor(conv->pack);
        conv->pack = NULL;
    }
    for (int i = 0; i < 3; i++) {
        if ((uintptr_t)pointers[i] % ALIGNMENT != 0) {
            EDT_FAIL(err, EDT_ERR_INVALID,
                     "cuda: operand %c of a convolution is at %p, not a multiple of %d",
                     "xwy"[i], pointers[i], ALIGNMENT);
        }
    }
    static const int64_t uids[3] = {UID_X, UID_W, UID_Y};
    cudnnBackendDescriptor_t pack = NULL;
    DNN_TRY(cudnnBackendCreateDescriptor(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, &pack), err);
    cudnnStatus_t code = cudnnBackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS,
                                                  CUDNN_TYPE_INT64, 3, uids);
    if (code == CUDNN_STATUS_SUCCESS) {
        code = cudnnBackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS,
                                        CUDNN_TYPE_VOID_PTR, 3, pointers);
    }
    if (code == CUDNN_STATUS_SUCCESS) {
        code = cudnnBackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE,
                                        CUDNN_TYPE_VOID_PTR, 1, &pointers[3]);
    }
    if (code == CUDNN_STATUS_SUCCESS) {
        code = cudnnBackendFinalize(pack);
    }
    if (code != CUDNN_STATUS_SUCCESS) {
        (void)cudnnBackendDestroyDescriptor(pack);
        return check(code, "filling a variant pack", err);
    }
    conv->pack = pack;
    memcpy(conv->pointers, pointers, sizeof conv->pointers);
    return EDT_OK;
}

edt_status edt_cuda_cudnn_conv_run(edt_cuda_cudnn_conv *conv, const edt_cuda_run *run,
                                   const void *x, const void *w, const void *y, char *workspace)
{
    void *pointers[4] = {(void *)(uintptr_t)x, (void *)(uintptr_t)w, (void *)(uintptr_t)y,
                         NULL};
    if (conv->workspace_bytes > 0) {
        const uintptr_t at = (uintptr_t)workspace;
        pointers[3] = workspace + (edt_cuda_align(at, WORKSPACE_ALIGNMENT) - at);
    }
    EDT_TRY(set_pointers(conv, pointers, run->err));
    DNN_TRY(cudnnBackendExecute(conv->handle, conv->plan, conv->pack), run->err);
    return EDT_OK;
}

void edt_cuda_cudnn_conv_destroy(edt_cuda_cudnn_conv *conv)
{
    if (conv == NULL) {
        return;
    }
    if (conv->pack != NULL) {
        (void)cudnnBackendDestroyDescriptor(conv->pack);
    }
    if (conv->plan != NULL) {
        (void)cudnnBackendDestroyDescriptor(conv->plan);
    }
    while (conv->n_made > 0) {
        (void)cudnnBackendDestroyDescriptor(conv->made[--conv->n_made]);
    }
    edt_mem_free(conv);
}
