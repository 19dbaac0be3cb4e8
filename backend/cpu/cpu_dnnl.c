// oneDNN 2.x (C API with operation descriptors); see cpu_dnnl.h. oneDNN's OpenMP build takes
// the thread count of the calling thread's OpenMP setting: it is set around each call and put
// back.
#include "backend/cpu/cpu_dnnl.h"

#include <dnnl.h>
#include <omp.h>

struct edt_cpu_dnnl {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
};

// What oneDNN calls a tensor of ours, and the handle that is pointed at memory before a run.
enum { SRC, WEIGHTS, BIAS, DST, SCRATCHPAD, N_ARGS };

struct edt_cpu_dnnl_conv {
    const edt_cpu_dnnl *dnnl;
    int n_threads;
    bool has_act;
    dnnl_primitive_t convolution;
    dnnl_primitive_t reorder; // packing, or unpacking of a weight gradient; NULL: same layout
    dnnl_memory_t memory[N_ARGS];
    dnnl_exec_arg_t args[N_ARGS];
    int n_args;
    dnnl_memory_t user_weights; // HWIO
    float *packed;
    size_t packed_bytes, scratchpad_bytes;
};

static edt_status fail_dnnl(edt_error *err, const char *what, dnnl_status_t status)
{
    const edt_status mine = status == dnnl_out_of_memory   ? EDT_ERR_NOMEM
                            : status == dnnl_unimplemented ? EDT_ERR_UNSUPPORTED
                                                           : EDT_ERR_INTERNAL;
    EDT_FAIL(err, mine, "oneDNN: %s: status %d", what, (int)status);
}

#define DNNL_TRY(call, what)                                                                   \
    do {                                                                                       \
        const dnnl_status_t dnnl_try_ = (call);                                                \
        if (dnnl_try_ != dnnl_success) {                                                       \
            return fail_dnnl(err, what, dnnl_try_);                                            \
        }                                                                                      \
    } while (0)

edt_status edt_cpu_dnnl_create(edt_error *err, edt_cpu_dnnl **out_dnnl)
{
    edt_cpu_dnnl *dnnl = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof(*dnnl));
    if (dnnl == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the oneDNN engine");
    }
    dnnl_status_t status = dnnl_engine_create(&dnnl->engine, dnnl_cpu, 0);
    if (status == dnnl_success) {
        status = dnnl_stream_create(&dnnl->stream, dnnl->engine, dnnl_stream_default_flags);
    }
    if (status != dnnl_success) {
        edt_cpu_dnnl_destroy(dnnl);
        return fail_dnnl(err, "creating the engine", status);
    }
    *out_dnnl = dnnl;
    return EDT_OK;
}

void edt_cpu_dnnl_destroy(edt_cpu_dnnl *dnnl)
{
    if (dnnl == NULL) {
        return;
    }
    if (dnnl->stream != NULL) {
        (void)dnnl_stream_destroy(dnnl->stream);
    }
    if (dnnl->engine != NULL) {
        (void)dnnl_engine_destroy(dnnl->engine);
    }
    edt_mem_free(dnnl);
}

// The shapes of a convolution whatever its direction.
typedef struct geometry {
    dnnl_memory_desc_t x, y, w, w_user, bias; // w: layout free
    dnnl_dims_t strides, before, after;
} geometry;

static edt_status describe(const edt_op_desc *desc, edt_error *err, geometry *g)
{
    const edt_conv_attrs *conv = &desc->attrs.conv;
    const edt_shape *x = &desc->in[0].shape;
    const edt_shape *y = &desc->out[0].shape;
    if (desc->kind == EDT_OP_CONV2D_DATA) {
        x = &desc->out[0].shape;
        y = &desc->in[0].shape;
    } else if (desc->kind == EDT_OP_CONV2D_WEIGHT) {
        y = &desc->in[1].shape;
    }
    const dnnl_dims_t x_dims = {x->dim[0], x->dim[3], x->dim[1], x->dim[2]};
    const dnnl_dims_t y_dims = {y->dim[0], y->dim[3], y->dim[1], y->dim[2]};
    const dnnl_dims_t w_dims = {y->dim[3], x->dim[3], conv->kh, conv->kw};
    g->strides[0] = conv->sh;
    g->strides[1] = conv->sw;
    edt_same_padding(x->dim[1], conv->kh, conv->sh, &g->before[0], &g->after[0]);
    edt_same_padding(x->dim[2], conv->kw, conv->sw, &g->before[1], &g->after[1]);
    DNNL_TRY(dnnl_memory_desc_init_by_tag(&g->x, 4, x_dims, dnnl_f32, dnnl_nhwc),
             "describing x");
    DNNL_TRY(dnnl_memory_desc_init_by_tag(&g->y, 4, y_dims, dnnl_f32, dnnl_nhwc),
             "describing y");
    DNNL_TRY(dnnl_memory_desc_init_by_tag(&g->w, 4, w_dims, dnnl_f32, dnnl_format_tag_any),
             "describing w");
    DNNL_TRY(dnnl_memory_desc_init_by_tag(&g->w_user, 4, w_dims, dnnl_f32, dnnl_hwio),
             "describing w");
    const dnnl_dims_t bias_dims = {y->dim[3]};
    DNNL_TRY(dnnl_memory_desc_init_by_tag(&g->bias, 1, bias_dims, dnnl_f32, dnnl_x),
             "describing the bias");
    return EDT_OK;
}

// False when oneDNN has no such epilogue.
static bool eltwise_of(edt_act act, dnnl_alg_kind_t *out_alg, float *out_alpha, float *out_beta)
{
    *out_alpha = 0;
    *out_beta = 0;
    switch (act) {
    case EDT_ACT_SWISH:
        *out_alg = dnnl_eltwise_swish;
        *out_alpha = 1;
        return true;
    case EDT_ACT_RELU6:
        *out_alg = dnnl_eltwise_clip;
        *out_beta = 6;
        return true;
    case EDT_ACT_RELU: *out_alg = dnnl_eltwise_relu; return true;
    case EDT_ACT_SIGMOID: *out_alg = dnnl_eltwise_logistic; return true;
    case EDT_ACT_NONE:
    case EDT_ACT_HSWISH:
    case EDT_ACT_MISH:
    default: return false;
    }
}

static edt_status make_attr(edt_cpu_dnnl_conv *conv, edt_act act, dnnl_primitive_attr_t attr,
                            edt_error *err)
{
    DNNL_TRY(dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user),
             "setting the scratchpad mode");
    dnnl_alg_kind_t alg;
    float alpha;
    float beta;
    if (eltwise_of(act, &alg, &alpha, &beta)) {
        dnnl_post_ops_t ops = NULL;
        DNNL_TRY(dnnl_post_ops_create(&ops), "creating post-ops");
        dnnl_status_t status = dnnl_post_ops_append_eltwise(ops, 1.0f, alg, alpha, beta);
        if (status == dnnl_success) {
            status = dnnl_primitive_attr_set_post_ops(attr, ops);
        }
        (void)dnnl_post_ops_destroy(ops);
        DNNL_TRY(status, "setting post-ops");
        conv->has_act = true;
    }
    return EDT_OK;
}

static edt_status make_descriptor(const edt_op_desc *desc, const geometry *g,
                                  const_dnnl_primitive_attr_t attr, dnnl_engine_t engine,
                                  bool has_bias, edt_error *err, dnnl_primitive_desc_t *out_pd)
{
    dnnl_convolution_desc_t forward;
    DNNL_TRY(dnnl_convolution_forward_desc_init(
                 &forward, dnnl_forward_training, dnnl_convolution_direct, &g->x, &g->w,
                 has_bias ? &g->bias : NULL, &g->y, g->strides, g->before, g->after),
             "describing a convolution");
    dnnl_primitive_desc_t hint = NULL;
    const bool is_forward = desc->kind == EDT_OP_CONV2D || desc->kind == EDT_OP_CONV2D_BN_ACT;
    DNNL_TRY(dnnl_primitive_desc_create(is_forward ? out_pd : &hint, &forward,
                                        is_forward ? attr : NULL, engine, NULL),
             "choosing a convolution");
    if (is_forward) {
        return EDT_OK;
    }
    dnnl_convolution_desc_t backward;
    dnnl_status_t status;
    if (desc->kind == EDT_OP_CONV2D_DATA) {
        status = dnnl_convolution_backward_data_desc_init(&backward, dnnl_convolution_direct,
                                                          &g->x, &g->w, &g->y, g->strides,
                                                          g->before, g->after);
    } else {
        status = dnnl_convolution_backward_weights_desc_init(&backward, dnnl_convolution_direct,
                                                             &g->x, &g->w, NULL, &g->y,
                                                             g->strides, g->before, g->after);
    }
    if (status == dnnl_success) {
        status = dnnl_primitive_desc_create(out_pd, &backward, attr, engine, hint);
    }
    (void)dnnl_primitive_desc_destroy(hint);
    DNNL_TRY(status, "choosing a convolution gradient");
    return EDT_OK;
}

static edt_status add_arg(edt_cpu_dnnl_conv *conv, int i, int arg, const dnnl_memory_desc_t *md,
                          edt_error *err)
{
    DNNL_TRY(dnnl_memory_create(&conv->memory[i], md, conv->dnnl->engine, DNNL_MEMORY_NONE),
             "creating a memory handle");
    conv->args[conv->n_args].arg = arg;
    conv->args[conv->n_args].memory = conv->memory[i];
    conv->n_args++;
    return EDT_OK;
}

static edt_status make_reorder(edt_cpu_dnnl_conv *conv, const dnnl_memory_desc_t *from,
                               const dnnl_memory_desc_t *to, edt_error *err)
{
    dnnl_primitive_desc_t pd = NULL;
    DNNL_TRY(dnnl_reorder_primitive_desc_create(&pd, from, conv->dnnl->engine, to,
                                                conv->dnnl->engine, NULL),
             "choosing a reorder");
    const dnnl_status_t status = dnnl_primitive_create(&conv->reorder, pd);
    (void)dnnl_primitive_desc_destroy(pd);
    DNNL_TRY(status, "creating a reorder");
    return EDT_OK;
}

// Everything that depends on the chosen implementation.
static edt_status finish(edt_cpu_dnnl_conv *conv, const edt_op_desc *desc, const geometry *g,
                         const_dnnl_primitive_desc_t pd, bool has_bias, edt_error *err)
{
    const bool weight = desc->kind == EDT_OP_CONV2D_WEIGHT;
    const bool data = desc->kind == EDT_OP_CONV2D_DATA;
    DNNL_TRY(dnnl_primitive_create(&conv->convolution, pd), "creating a convolution");
    const dnnl_memory_desc_t *w = dnnl_primitive_desc_query_md(
        pd, weight ? dnnl_query_diff_weights_md : dnnl_query_weights_md, 0);
    const dnnl_memory_desc_t *scratchpad =
        dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    EDT_TRY(
        add_arg(conv, SRC, data ? DNNL_ARG_DIFF_DST : DNNL_ARG_SRC, data ? &g->y : &g->x, err));
    EDT_TRY(add_arg(conv, WEIGHTS, weight ? DNNL_ARG_DIFF_WEIGHTS : DNNL_ARG_WEIGHTS, w, err));
    EDT_TRY(add_arg(conv, DST,
                    weight ? DNNL_ARG_DIFF_DST
                    : data ? DNNL_ARG_DIFF_SRC
                           : DNNL_ARG_DST,
                    data ? &g->x : &g->y, err));
    if (has_bias) {
        EDT_TRY(add_arg(conv, BIAS, DNNL_ARG_BIAS, &g->bias, err));
    }
    EDT_TRY(add_arg(conv, SCRATCHPAD, DNNL_ARG_SCRATCHPAD, scratchpad, err));
    conv->scratchpad_bytes = edt_cpu_align(dnnl_memory_desc_get_size(scratchpad));
    conv->packed_bytes = edt_cpu_align(dnnl_memory_desc_get_size(w));
    DNNL_TRY(dnnl_memory_create(&conv->user_weights, &g->w_user, conv->dnnl->engine,
                                DNNL_MEMORY_NONE),
             "creating a memory handle");
    if (dnnl_memory_desc_equal(w, &g->w_user)) {
        return EDT_OK;
    }
    EDT_TRY(make_reorder(conv, weight ? w : &g->w_user, weight ? &g->w_user : w, err));
    return EDT_OK;
}

edt_status edt_cpu_dnnl_conv_create(const edt_cpu_backend *backend, const edt_op_desc *desc,
                                    edt_error *err, edt_cpu_dnnl_conv **out_conv,
                                    size_t *out_workspace_bytes)
{
    const bool fused = desc->kind == EDT_OP_CONV2D_BN_ACT;
    const bool weight = desc->kind == EDT_OP_CONV2D_WEIGHT;
    const bool has_bias = fused || (desc->kind == EDT_OP_CONV2D && desc->n_in > 2);
    geometry g = {0};
    EDT_TRY(describe(desc, err, &g));
    edt_cpu_dnnl_conv *conv = edt_mem_calloc(EDT_MEM_WORKSPACE, 1, sizeof(*conv));
    if (conv == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for a oneDNN convolution");
    }
    conv->dnnl = backend->dnnl;
    conv->n_threads = backend->base.n_threads;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL;
    const int threads_before = omp_get_max_threads();
    omp_set_num_threads(conv->n_threads);
    edt_status status = EDT_OK;
    if (dnnl_primitive_attr_create(&attr) != dnnl_success) {
        status = edt_error_set(err, EDT_ERR_NOMEM, "oneDNN: no memory for attributes");
        goto fail;
    }
    EDT_TRY_GOTO(make_attr(conv, fused ? desc->attrs.bn.act : EDT_ACT_NONE, attr, err));
    EDT_TRY_GOTO(make_descriptor(desc, &g, attr, conv->dnnl->engine, has_bias, err, &pd));
    EDT_TRY_GOTO(finish(conv, desc, &g, pd, has_bias, err));
    if (!weight && conv->reorder != NULL) {
        conv->packed = edt_mem_alloc(EDT_MEM_WORKSPACE, conv->packed_bytes);
        if (conv->packed == NULL) {
            status = edt_error_set(err, EDT_ERR_NOMEM, "no memory for packed weights");
            goto fail;
        }
    }
    *out_conv = conv;
    *out_workspace_bytes =
        conv->scratchpad_bytes + (weight && conv->reorder != NULL ? conv->packed_bytes : 0);
fail:
    omp_set_num_threads(threads_before);
    if (pd != NULL) {
        (void)dnnl_primitive_desc_destroy(pd);
    }
    if (attr != NULL) {
        (void)dnnl_primitive_attr_destroy(attr);
    }
    if (status != EDT_OK) {
        edt_cpu_dnnl_conv_destroy(conv);
    }
    return status;
}

void edt_cpu_dnnl_conv_destroy(edt_cpu_dnnl_conv *conv)
{
    if (conv == NULL) {
        return;
    }
    if (conv->convolution != NULL) {
        (void)dnnl_primitive_destroy(conv->convolution);
    }
    if (conv->reorder != NULL) {
        (void)dnnl_primitive_destroy(conv->reorder);
    }
    for (int i = 0; i < N_ARGS; i++) {
        if (conv->memory[i] != NULL) {
            (void)dnnl_memory_destroy(conv->memory[i]);
        }
    }
    if (conv->user_weights != NULL) {
        (void)dnnl_memory_destroy(conv->user_weights);
    }
    edt_mem_free(conv->packed);
    edt_mem_free(conv);
}

bool edt_cpu_dnnl_conv_has_act(const edt_cpu_dnnl_conv *conv)
{
    return conv->has_act;
}

static dnnl_status_t point(dnnl_memory_t memory, const void *at)
{
    return memory == NULL ? dnnl_success
                          : dnnl_memory_set_data_handle(memory, (void *)(uintptr_t)at);
}

static dnnl_status_t execute(const edt_cpu_dnnl_conv *conv, dnnl_primitive_t primitive,
                             int n_args, const dnnl_exec_arg_t *args)
{
    const int threads_before = omp_get_max_threads();
    omp_set_num_threads(conv->n_threads);
    dnnl_status_t status = dnnl_primitive_execute(primitive, conv->dnnl->stream, n_args, args);
    if (status == dnnl_success) {
        status = dnnl_stream_wait(conv->dnnl->stream);
    }
    omp_set_num_threads(threads_before);
    return status;
}

edt_status edt_cpu_dnnl_conv_pack(edt_cpu_dnnl_conv *conv, const float *w, edt_error *err)
{
    if (conv->reorder == NULL) {
        DNNL_TRY(point(conv->memory[WEIGHTS], w), "binding weights");
        return EDT_OK;
    }
    DNNL_TRY(point(conv->memory[WEIGHTS], conv->packed), "binding weights");
    DNNL_TRY(point(conv->user_weights, w), "binding weights");
    const dnnl_exec_arg_t args[2] = {
        {DNNL_ARG_FROM, conv->user_weights},
        {DNNL_ARG_TO, conv->memory[WEIGHTS]},
    };
    DNNL_TRY(execute(conv, conv->reorder, 2, args), "packing weights");
    return EDT_OK;
}

edt_status edt_cpu_dnnl_conv_run(edt_cpu_dnnl_conv *conv, const float *src, const float *bias,
                                 float *dst, void *workspace, edt_error *err)
{
    DNNL_TRY(point(conv->memory[SRC], src), "binding the input");
    DNNL_TRY(point(conv->memory[BIAS], bias), "binding the bias");
    DNNL_TRY(point(conv->memory[DST], dst), "binding the output");
    DNNL_TRY(point(conv->memory[SCRATCHPAD], workspace), "binding the scratchpad");
    DNNL_TRY(execute(conv, conv->convolution, conv->n_args, conv->args),
             "running a convolution");
    return EDT_OK;
}

edt_status edt_cpu_dnnl_conv_run_weight(edt_cpu_dnnl_conv *conv, const float *x,
                                        const float *dy, float *dw, void *workspace,
                                        edt_error *err)
{
    char *packed = (char *)workspace + conv->scratchpad_bytes;
    DNNL_TRY(point(conv->memory[SRC], x), "binding the input");
    DNNL_TRY(point(conv->memory[DST], dy), "binding the gradient");
    DNNL_TRY(point(conv->memory[WEIGHTS], conv->reorder == NULL ? (void *)dw : packed),
             "binding the weight gradient");
    DNNL_TRY(point(conv->memory[SCRATCHPAD], workspace), "binding the scratchpad");
    DNNL_TRY(execute(conv, conv->convolution, conv->n_args, conv->args),
             "running a weight gradient");
    if (conv->reorder != NULL) {
        DNNL_TRY(point(conv->user_weights, dw), "binding the weight gradient");
        const dnnl_exec_arg_t args[2] = {
            {DNNL_ARG_FROM, conv->memory[WEIGHTS]},
            {DNNL_ARG_TO, conv->user_weights},
        };
        DNNL_TRY(execute(conv, conv->reorder, 2, args), "unpacking a weight gradient");
    }
    return EDT_OK;
}
