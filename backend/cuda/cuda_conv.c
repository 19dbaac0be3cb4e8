// Dense convolutions: 1x1 windows of stride 1 as matrix products (cuda_gemm.c); so are, over
// rows of windows gathered from x, those with few input channels (the stem: tensor cores take 8
// at least, cuDNN pads x to that in memory, which costs as much) and the weight gradients of
// 16-bit activations (cuDNN would round the sums to 16 bits). All others by cuDNN
// (cuda_cudnn.c). Own kernels do what the libraries lack. Weights are repacked in every run,
// since training changes them; batch norm is folded once per version of the parameters
// (CONV2D_BN_ACT).
#include "backend/cuda/cuda_cudnn.h"
#include "backend/cuda/cuda_gemm.h"
#include "backend/cuda/kernels/conv_kernels.h"

enum { REGION_ALIGNMENT = 256, MAX_FOLDED = 6, FEW_CHANNELS = 4 };

// Of the device's cache, what the gathered rows of one part may take.
enum { CACHE_SHARE = 3 };

typedef struct state {
    edt_cuda_backend *backend;
    edt_cuda_conv_geometry g;
    edt_dtype real;
    int64_t weight_rows; // kh * kw * ci
    int64_t packed_rows; // the same, or with rows of zeros
    edt_cuda_gemm *gemm; // or
    edt_cuda_cudnn_conv *dnn;
    bool gathers; // gemm is over windows gathered from x
    edt_cuda_patches patches;
    bool padded; // dnn wants x with its padding in place
    bool fused;  // bias and residual are in the library's epilogue
    // Workspace: the library's at 0, then packed weights (or their gradient), then x padded or
    // gathered.
    size_t at_weights, at_x;
    edt_cuda_column_sum sum; // bias gradient; its partial sums are at 0
    // CONV2D_BN_ACT, in one device block: float scale[co], float bias[co], real bias[co],
    // weights.
    char *folded;
    size_t at_bias, at_bias_real, at_folded;
    uint64_t folded_version;
    const void *folded_from[MAX_FOLDED];
} state;

static const void *bias_of(const edt_kernel *kernel, const edt_cuda_run *run)
{
    if (kernel->desc.kind == EDT_OP_CONV2D) {
        return kernel->desc.n_in > 2 ? run->in[2] : NULL;
    }
    return kernel->desc.attrs.conv.has_bias ? run->in[6] : NULL;
}

static edt_status copy_padded(const state *s, const edt_cuda_run *run, const void *from,
                              void *to, bool crop)
{
    const edt_cuda_conv_geometry *g = &s->g;
    const int64_t padded_h = g->h + g->before_h + g->after_h;
    const int64_t padded_w = g->w + g->before_w + g->after_w;
    const int64_t pixels = crop ? g->h * g->w : padded_h * padded_w;
    const edt_cuda_pad pad = {
        .real = s->real,
        .from = from,
        .to = to,
        .n = g->n,
        .h = g->h,
        .w = g->w,
        .c = g->ci,
        .padded_h = padded_h,
        .padded_w = padded_w,
        .before_h = g->before_h,
        .before_w = g->before_w,
        .crop = crop ? 1 : 0,
        .n_blocks =
            edt_cuda_conv_blocks(g->n * pixels * (g->ci / edt_cuda_conv_vector(s->real, g->ci)),
                                 s->backend->limits.n_multiprocessors),
    };
    EDT_CUDA_TRY(edt_cuda_launch_pad(&pad, run->stream), run->err);
    return EDT_OK;
}

// x as the library wants it.
static edt_status prepare_x(const state *s, const edt_cuda_run *run, const void **x)
{
    if (s->padded) {
        void *to = run->workspace + s->at_x;
        EDT_TRY(copy_padded(s, run, *x, to, false));
        *x = to;
    }
    return EDT_OK;
}

// The windows of part `i` of x, in the workspace.
static edt_status gather(const state *s, const edt_cuda_run *run, const void *x, int64_t i)
{
    const edt_cuda_conv_geometry *g = &s->g;
    const size_t real_bytes = edt_dtype_bytes(s->real);
    const size_t part_bytes = (size_t)(s->patches.images * g->h * g->w * g->ci) * real_bytes;
    const edt_cuda_gather p = {
        .real = s->real,
        .images = (int32_t)s->patches.images,
        .x = (const char *)x + (size_t)i * part_bytes,
        .rows = run->workspace + s->at_x,
        .h = g->h,
        .w = g->w,
        .ci = g->ci,
        .ho = g->ho,
        .wo = g->wo,
        .kh = g->kh,
        .kw = g->kw,
        .sh = g->sh,
        .sw = g->sw,
        .before_h = g->before_h,
        .before_w = g->before_w,
        .k = s->patches.k,
        .stride = s->patches.stride,
        .n_blocks =
            edt_cuda_conv_blocks(s->patches.rows * s->patches.stride * (int64_t)real_bytes / 16,
                                 s->backend->limits.n_multiprocessors),
    };
    EDT_CUDA_TRY(edt_cuda_launch_gather(&p, run->stream), run->err);
    return EDT_OK;
}

// Bytes from a part of y to the next.
static size_t part_of_y(const state *s)
{
    return (size_t)(s->patches.rows * s->g.co) * edt_dtype_bytes(s->real);
}

// y = gathered x * w, with what the epilogue adds.
static edt_status multiply_gathered(const state *s, const edt_cuda_run *run, const void *x,
                                    const void *w, const void *bias, const void *residual,
                                    void *y)
{
    for (int64_t i = 0; i < s->patches.n_parts; i++) {
        const size_t offset = (size_t)i * part_of_y(s);
        EDT_TRY(gather(s, run, x, i));
        EDT_TRY(edt_cuda_gemm_run(s->gemm, run, w, run->workspace + s->at_x, bias,
                                  residual == NULL ? NULL : (const char *)residual + offset,
                                  (char *)y + offset, run->workspace));
    }
    return EDT_OK;
}

static edt_status pack(const state *s, const edt_cuda_run *run, const float *scale, void *to)
{
    EDT_CUDA_TRY(edt_cuda_launch_pack_weights(s->real, run->in[1], scale, s->weight_rows,
                                              s->packed_rows, s->g.co, s->dnn != NULL, to,
                                              run->stream),
                 run->err);
    return EDT_OK;
}

// The folded weights, bias and (16-bit) bias, made again when the parameters changed.
static edt_status fold(edt_kernel *kernel, const edt_cuda_run *run)
{
    state *s = kernel->state;
    const edt_op_desc *desc = &kernel->desc;
    if (!edt_cuda_stale(run, &s->folded_version, s->folded_from,
                        desc->attrs.conv.has_bias ? 6 : 5)) {
        return EDT_OK;
    }
    float *scale = (float *)(void *)s->folded;
    const edt_cuda_bn_fold p = {
        .real = s->real,
        .gamma = run->in[2],
        .beta = run->in[3],
        .mean = run->in[4],
        .var = run->in[5],
        .b = bias_of(kernel, run),
        .epsilon = desc->attrs.bn.epsilon,
        .c = (int32_t)s->g.co,
        .scale = scale,
        .bias = (float *)(void *)(s->folded + s->at_bias),
        .bias_real = s->folded + s->at_bias_real,
    };
    EDT_CUDA_TRY(edt_cuda_launch_bn_fold(&p, run->stream), run->err);
    return pack(s, run, scale, s->folded + s->at_folded);
}

// CONV2D and CONV2D_BN_ACT.
static edt_status run_forward(edt_kernel *kernel, const edt_cuda_run *run)
{
    state *s = kernel->state;
    const edt_op_desc *desc = &kernel->desc;
    const bool bn = desc->kind == EDT_OP_CONV2D_BN_ACT;
    const void *x = run->in[0];
    const void *w = run->in[1];
    void *y = run->out[0];
    if (y == NULL) {
        return EDT_OK;
    }
    const void *bias_real = bias_of(kernel, run);
    const float *bias = NULL;
    const void *residual = bn && desc->attrs.conv.has_residual ? run->in[desc->n_in - 1] : NULL;
    if (bn) {
        EDT_TRY(fold(kernel, run));
        w = s->folded + s->at_folded;
        bias_real = s->folded + s->at_bias_real;
        bias = (const float *)(const void *)(s->folded + s->at_bias);
    } else if (s->dnn != NULL || s->gathers) {
        void *packed = run->workspace + s->at_weights;
        EDT_TRY(pack(s, run, NULL, packed));
        w = packed;
    }
    const void *added_bias = s->fused ? bias_real : NULL;
    const void *added = s->fused ? residual : NULL;
    if (s->gathers) {
        EDT_TRY(multiply_gathered(s, run, x, w, added_bias, added, y));
    } else if (s->gemm != NULL) {
        EDT_TRY(edt_cuda_gemm_run(s->gemm, run, w, x, added_bias, added, y, run->workspace));
    } else {
        EDT_TRY(prepare_x(s, run, &x));
        EDT_TRY(edt_cuda_cudnn_conv_run(s->dnn, run, x, w, y, run->workspace));
    }
    if (s->fused || (bias == NULL && bias_real == NULL)) {
        return EDT_OK;
    }
    const int64_t rows = s->g.n * s->g.ho * s->g.wo;
    const edt_cuda_bias_act p = {
        .real = s->real,
        .y = y,
        .bias_real = bias_real,
        .bias = bias,
        .residual = residual,
        .act = bn ? desc->attrs.bn.act : EDT_ACT_NONE,
        .rows = rows,
        .c = s->g.co,
        .n_blocks =
            edt_cuda_conv_blocks(rows * (s->g.co / edt_cuda_conv_vector(s->real, s->g.co)),
                                 s->backend->limits.n_multiprocessors),
    };
    EDT_CUDA_TRY(edt_cuda_launch_bias_act(&p, run->stream), run->err);
    return EDT_OK;
}

static edt_status run_data(edt_kernel *kernel, const edt_cuda_run *run)
{
    const state *s = kernel->state;
    void *dx = run->out[0];
    if (dx == NULL) {
        return EDT_OK;
    }
    if (s->gemm != NULL) {
        return edt_cuda_gemm_run(s->gemm, run, run->in[1], run->in[0], NULL, NULL, dx,
                                 run->workspace);
    }
    void *packed = run->workspace + s->at_weights;
    void *to = s->padded ? run->workspace + s->at_x : dx;
    EDT_TRY(pack(s, run, NULL, packed));
    EDT_TRY(edt_cuda_cudnn_conv_run(s->dnn, run, to, packed, run->in[0], run->workspace));
    return s->padded ? copy_padded(s, run, to, dx, true) : EDT_OK;
}

// dw = gathered x^T * dy, over all parts, with the rows of zeros.
static edt_status sum_gathered(const state *s, const edt_cuda_run *run, const void *x,
                               const void *dy, float *dw)
{
    for (int64_t i = 0; i < s->patches.n_parts; i++) {
        EDT_TRY(gather(s, run, x, i));
        EDT_TRY(edt_cuda_gemm_run(s->gemm, run, (const char *)dy + (size_t)i * part_of_y(s),
                                  run->workspace + s->at_x, NULL, i == 0 ? NULL : dw, dw,
                                  run->workspace));
    }
    return EDT_OK;
}

static edt_status run_weight(edt_kernel *kernel, const edt_cuda_run *run)
{
    const state *s = kernel->state;
    const bool accumulate = kernel->desc.attrs.accumulate;
    const void *x = run->in[0];
    const void *dy = run->in[1];
    float *dw = run->out[0];
    if (dw != NULL && s->gemm != NULL && !s->gathers) {
        EDT_TRY(edt_cuda_gemm_run(s->gemm, run, dy, x, NULL, accumulate ? dw : NULL, dw,
                                  run->workspace));
    } else if (dw != NULL) {
        float *packed = (float *)(void *)(run->workspace + s->at_weights);
        if (s->gathers) {
            EDT_TRY(sum_gathered(s, run, x, dy, packed));
        } else {
            EDT_TRY(prepare_x(s, run, &x));
            EDT_TRY(edt_cuda_cudnn_conv_run(s->dnn, run, x, packed, dy, run->workspace));
        }
        EDT_CUDA_TRY(edt_cuda_launch_unpack_weights(packed, s->weight_rows, s->g.co,
                                                    s->dnn != NULL, dw, accumulate,
                                                    run->stream),
                     run->err);
    }
    if (kernel->desc.n_out > 1 && run->out[1] != NULL) {
        // The stream keeps it behind the product that used the same workspace.
        EDT_CUDA_TRY(edt_cuda_launch_column_sum(&s->sum, s->real, dy,
                                                s->g.n * s->g.ho * s->g.wo, s->g.co,
                                                (double *)(void *)run->workspace, run->out[1],
                                                accumulate, run->stream),
                     run->err);
    }
    return EDT_OK;
}

static void deinit(edt_kernel *kernel)
{
    state *s = kernel->state;
    if (s != NULL) {
        edt_cuda_gemm_destroy(s->gemm);
        edt_cuda_cudnn_conv_destroy(s->dnn);
        if (s->backend != NULL) {
            s->backend->base.table->free(&s->backend->base, s->folded);
        }
    }
}

static edt_status prepare_gemm(state *s, edt_kernel *kernel, edt_error *err)
{
    const edt_op_desc *desc = &kernel->desc;
    const bool weight = s->g.pass == EDT_CUDA_CONV_WEIGHT;
    const bool bn = desc->kind == EDT_OP_CONV2D_BN_ACT;
    const bool bias = bn || (desc->kind == EDT_OP_CONV2D && desc->n_in > 2);
    edt_cuda_gemm_options options = {
        .view = s->gathers ? edt_cuda_gemm_view_of_patches(&s->g, &s->patches)
                           : edt_cuda_gemm_view_of(&s->g),
        .in = s->real,
        .out = weight ? EDT_DTYPE_F32 : s->real,
        .has_bias = bias && (!bn || desc->attrs.bn.act == EDT_ACT_NONE),
    };
    if (options.has_bias) {
        const edt_status status =
            edt_cuda_gemm_create(s->backend, &options, err, &s->gemm, &kernel->workspace_bytes);
        if (status != EDT_ERR_UNSUPPORTED) {
            s->fused = status == EDT_OK;
            return status;
        }
        // No algorithm with this epilogue: an own pass adds bias and residual.
        options.has_bias = false;
    }
    return edt_cuda_gemm_create(s->backend, &options, err, &s->gemm, &kernel->workspace_bytes);
}

// Unequal paddings are put in place by an own copy of x where the library has no plan for them.
static edt_status prepare_dnn(state *s, edt_kernel *kernel, edt_error *err)
{
    const edt_cuda_conv_geometry padded = edt_cuda_conv_padded(&s->g);
    edt_status status = edt_cuda_cudnn_conv_create(s->backend, &s->g, s->real, err, &s->dnn,
                                                   &kernel->workspace_bytes);
    if (status == EDT_ERR_UNSUPPORTED && edt_cuda_conv_is_asymmetric(&s->g)) {
        s->padded = true;
        status = edt_cuda_cudnn_conv_create(s->backend, &padded, s->real, err, &s->dnn,
                                            &kernel->workspace_bytes);
    }
    return status;
}

// Where what stands beside the library's workspace lies in the kernel's.
static void plan_workspace(state *s, edt_kernel *kernel)
{
    const size_t real_bytes = edt_dtype_bytes(s->real);
    const size_t weight_bytes =
        (size_t)(s->packed_rows * s->g.co) *
        (s->g.pass == EDT_CUDA_CONV_WEIGHT ? sizeof(float) : real_bytes);
    size_t x_bytes = 0;
    if (s->gathers) {
        x_bytes = (size_t)(s->patches.rows * s->patches.stride) * real_bytes;
    } else if (s->padded) {
        const edt_cuda_conv_geometry padded = edt_cuda_conv_padded(&s->g);
        x_bytes = (size_t)(padded.n * padded.h * padded.w * padded.ci) * real_bytes;
    }
    s->at_weights = edt_cuda_align(kernel->workspace_bytes, REGION_ALIGNMENT);
    s->at_x = s->at_weights + edt_cuda_align(weight_bytes, REGION_ALIGNMENT);
    kernel->workspace_bytes = s->at_x + x_bytes;
}

static edt_status alloc_folded(state *s, edt_error *err)
{
    const size_t real_bytes = edt_dtype_bytes(s->real);
    const size_t co = (size_t)s->g.co;
    s->at_bias = edt_cuda_align(co * sizeof(float), REGION_ALIGNMENT);
    s->at_bias_real = 2 * s->at_bias;
    s->at_folded = s->at_bias_real + edt_cuda_align(co * real_bytes, REGION_ALIGNMENT);
    void *block = NULL;
    EDT_TRY(s->backend->base.table->alloc(
        &s->backend->base, EDT_MEM_WORKSPACE,
        s->at_folded + (size_t)s->packed_rows * co * real_bytes, err, &block));
    s->folded = block;
    return EDT_OK;
}

edt_status edt_cuda_prepare_conv(edt_cuda_backend *backend, edt_kernel *kernel, edt_error *err)
{
    EDT_TRY(edt_cuda_kernel_alloc_state(kernel, sizeof(state), err));
    kernel->deinit = deinit;
    state *s = kernel->state;
    s->backend = backend;
    s->g = edt_cuda_conv_geometry_of(&kernel->desc);
    s->real = kernel->desc.in[0].dtype;
    s->weight_rows = s->g.kh * s->g.kw * s->g.ci;
    s->packed_rows = s->weight_rows;
    const bool pointwise = edt_cuda_conv_is_pointwise(&s->g);
    s->gathers = !pointwise && s->g.pass != EDT_CUDA_CONV_DATA &&
                 (s->g.ci <= FEW_CHANNELS ||
                  (s->g.pass == EDT_CUDA_CONV_WEIGHT && s->real != EDT_DTYPE_F32));
    if (s->gathers) {
        s->patches =
            edt_cuda_patches_of(&s->g, s->real, backend->limits.l2_bytes / CACHE_SHARE);
        s->packed_rows = s->patches.stride;
    }
    EDT_TRY(pointwise || s->gathers ? prepare_gemm(s, kernel, err)
                                    : prepare_dnn(s, kernel, err));
    if (!pointwise) {
        plan_workspace(s, kernel);
    }
    switch (s->g.pass) {
    case EDT_CUDA_CONV_FORWARD: kernel->run = run_forward; break;
    case EDT_CUDA_CONV_DATA: kernel->run = run_data; break;
    case EDT_CUDA_CONV_WEIGHT: kernel->run = run_weight; break;
    }
    if (kernel->desc.kind == EDT_OP_CONV2D_BN_ACT) {
        EDT_TRY(alloc_folded(s, err));
    } else if (kernel->desc.kind == EDT_OP_CONV2D_WEIGHT && kernel->desc.n_out > 1) {
        s->sum = edt_cuda_column_sum_of(s->real, s->g.n * s->g.ho * s->g.wo, s->g.co,
                                        backend->limits.n_multiprocessors);
        const size_t partial_bytes = (size_t)(s->sum.n_parts * s->g.co) * sizeof(double);
        if (kernel->workspace_bytes < partial_bytes) {
            kernel->workspace_bytes = partial_bytes;
        }
    }
    return EDT_OK;
}
