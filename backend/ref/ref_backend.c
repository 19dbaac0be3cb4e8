// The backend table of the oracle: plain heap memory, one thread, a kernel that is the op's
// description plus the run function of its element type.
#include <string.h>

#include "backend/ref/ref_priv.h"

struct edt_kernel {
    edt_op_desc desc;
    edt_ref_run_fn *run;
};

// The first real operand decides between the two builds.
static edt_dtype real_dtype(const edt_op_desc *desc)
{
    return desc->kind == EDT_OP_NORMALIZE ? desc->out[0].dtype : desc->in[0].dtype;
}

// Doubles that a run wants besides its operands.
static int64_t scratch_doubles(const edt_op_desc *desc)
{
    const edt_shape *in0 = &desc->in[0].shape;
    const int64_t channels = in0->n_dims > 0 ? in0->dim[in0->n_dims - 1] : 1;
    switch (desc->kind) {
    case EDT_OP_CONV2D_DATA: return edt_shape_count(&desc->in[1].shape);
    case EDT_OP_CONV2D_WEIGHT: return desc->in[1].shape.dim[3];
    case EDT_OP_DEPTHWISE_WEIGHT: return edt_shape_count(&desc->out[0].shape);
    case EDT_OP_CONV2D_BN_ACT:
    case EDT_OP_DEPTHWISE_BN_ACT:
        return 2 * desc->out[0].shape.dim[3] +
               (desc->attrs.conv.has_gate ? edt_shape_count(in0) : 0);
    case EDT_OP_BN_TRAIN:
    case EDT_OP_BN_INFER:
    case EDT_OP_BN_TRAIN_BWD:
    case EDT_OP_BN_INFER_BWD:
    case EDT_OP_BN_APPLY:
    case EDT_OP_BN_BWD_STATS:
    case EDT_OP_BN_BWD_APPLY: return 4 * channels;
    case EDT_OP_GLOBAL_AVG_POOL:
    case EDT_OP_BIAS_BWD:
    case EDT_OP_SCALE_CHANNELS_BWD: return channels;
    case EDT_OP_FUSE: return (EDT_FUSE_MAX_IN + 1) * channels;
    case EDT_OP_FUSE_BWD: return (2 * EDT_FUSE_MAX_IN + 1) * channels;
    case EDT_OP_OPTIMIZER: return desc->attrs.optimizer.n_segments;
    case EDT_OP_DETECT: return edt_ref_f32_detect_scratch(desc);
    case EDT_OP_CONV2D_DEPTHWISE_BN_ACT: {
        edt_op_desc first;
        edt_op_desc second;
        return edt_op_chain_parts(desc, NULL, &first, &second) != EDT_OK
                   ? 0
                   : 2 * first.out[0].shape.dim[3] + edt_shape_count(&first.out[0].shape);
    }
    default: return 0;
    }
}

static edt_status ref_supports(const edt_backend *backend, const edt_op_desc *desc,
                               edt_error *err)
{
    (void)backend;
    const edt_dtype dtype = real_dtype(desc);
    if (desc->kind == EDT_OP_CAST) {
        return EDT_OK; // of all real types to all
    }
    if (dtype != EDT_DTYPE_F32 && dtype != EDT_DTYPE_F64) {
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED, "ref: %s on %s; f32 and f64 are there",
                 edt_op_get_info(desc->kind)->name, edt_dtype_name(dtype));
    }
    return EDT_OK;
}

static edt_status ref_prepare(edt_backend *backend, const edt_op_desc *desc, edt_error *err,
                              edt_kernel **out_kernel, size_t *out_workspace_bytes)
{
    edt_op_desc checked = *desc;
    EDT_TRY(edt_op_infer(&checked, err));
    EDT_TRY(ref_supports(backend, &checked, err));
    edt_kernel *kernel = edt_mem_calloc(EDT_MEM_WORKSPACE, 1, sizeof *kernel);
    if (kernel == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "ref: no memory for a kernel");
    }
    kernel->desc = checked;
    kernel->run = real_dtype(&checked) == EDT_DTYPE_F64 ? edt_ref_f64_table[checked.kind]
                                                        : edt_ref_f32_table[checked.kind];
    *out_kernel = kernel;
    *out_workspace_bytes = (size_t)scratch_doubles(&checked) * sizeof(double);
    return EDT_OK;
}

static edt_status ref_run(edt_backend *backend, edt_kernel *kernel, const edt_run_ctx *ctx,
                          void *const *in, void *const *out, void *workspace, edt_error *err)
{
    (void)backend;
    (void)err;
    kernel->run(&kernel->desc, ctx, in, out, workspace);
    return EDT_OK;
}

static void ref_release(edt_backend *backend, edt_kernel *kernel)
{
    (void)backend;
    edt_mem_free(kernel);
}

static edt_status ref_alloc(edt_backend *backend, edt_mem_kind kind, size_t n_bytes,
                            edt_error *err, void **out_block)
{
    (void)backend;
    void *block = edt_mem_alloc(kind, n_bytes);
    if (block == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %zu bytes of %s", n_bytes,
                 edt_mem_kind_name(kind));
    }
    *out_block = block;
    return EDT_OK;
}

static void ref_free(edt_backend *backend, void *block)
{
    (void)backend;
    edt_mem_free(block);
}

static edt_status ref_copy(edt_backend *backend, void *to, const void *from, size_t n_bytes,
                           edt_error *err)
{
    (void)backend;
    (void)err;
    if (n_bytes > 0) {
        memcpy(to, from, n_bytes);
    }
    return EDT_OK;
}

static edt_status ref_zero(edt_backend *backend, void *block, size_t n_bytes, edt_error *err)
{
    (void)backend;
    (void)err;
    if (n_bytes > 0) {
        memset(block, 0, n_bytes);
    }
    return EDT_OK;
}

static edt_status ref_synchronize(edt_backend *backend, edt_error *err)
{
    (void)backend;
    (void)err;
    return EDT_OK;
}

static void ref_destroy(edt_backend *backend)
{
    edt_mem_free(backend);
}

static const edt_backend_table ref_table = {
    .name = "ref",
    .supports = ref_supports,
    .prepare = ref_prepare,
    .run = ref_run,
    .release = ref_release,
    .alloc = ref_alloc,
    .free = ref_free,
    .upload = ref_copy,
    .download = ref_copy,
    .zero = ref_zero,
    .synchronize = ref_synchronize,
    .destroy = ref_destroy,
};

edt_status edt_backend_ref_create(edt_error *err, edt_backend **out_backend)
{
    edt_backend *backend = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *backend);
    if (backend == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the ref backend");
    }
    backend->table = &ref_table;
    backend->n_threads = 1;
    *out_backend = backend;
    return EDT_OK;
}
