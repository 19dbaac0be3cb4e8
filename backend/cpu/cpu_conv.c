// Dense convolutions: forward (plain, or with batch norm folded into weights and bias,
// activation and residual), data gradient and weight gradient.
#include <math.h>
#include <omp.h>
#include <string.h>

#include "backend/cpu/cpu_dnnl.h"

typedef struct state {
    edt_cpu_dnnl_conv *dnnl; // NULL: own matrix product
    float *packed;           // for it
    uint64_t packed_version;
    const void *packed_from[6];
    size_t dnnl_workspace; // rounded up
    float *folded, *bias;  // CONV2D_BN_ACT: weights (HWIO) and bias with batch norm in them
} state;

// The own product over threads: by rows, or by columns where rows are few.
static void run_gemm(const edt_cpu_run *run, const edt_cpu_gemm *gemm, int64_t rows,
                     const float *residual)
{
    const float *x = run->in[0];
    float *y = run->out[0];
    const int n_threads = edt_cpu_threads(run->backend, rows * gemm->k * gemm->n / 16);
    const bool by_rows = rows >= 32 * n_threads;
#pragma omp parallel num_threads(n_threads)
    {
        const int n_parts = omp_get_num_threads();
        const int part = omp_get_thread_num();
        if (by_rows) {
            int64_t begin;
            int64_t end;
            edt_cpu_split(rows, n_parts, part, &begin, &end);
            run->backend->simd->gemm(gemm, x + begin * gemm->k,
                                     residual == NULL ? NULL : residual + begin * gemm->n,
                                     y + begin * gemm->n, end - begin, 0, 1);
        } else {
            run->backend->simd->gemm(gemm, x, residual, y, rows, part, n_parts);
        }
    }
}

// CONV2D and CONV2D_DATA with a 1x1 window.
static edt_status run_pointwise(edt_kernel *kernel, const edt_cpu_run *run)
{
    state *s = kernel->state;
    const bool data = kernel->desc.kind == EDT_OP_CONV2D_DATA;
    const edt_shape *ws = &kernel->desc.in[1].shape;
    const edt_cpu_gemm gemm = {
        .k = ws->dim[data ? 3 : 2],
        .n = ws->dim[data ? 2 : 3],
        .packed = s->packed,
        .bias = !data && kernel->desc.n_in > 2 ? run->in[2] : NULL,
    };
    if (run->out[0] == NULL) {
        return EDT_OK;
    }
    if (edt_cpu_stale(run, &s->packed_version, s->packed_from, 1)) {
        run->backend->simd->gemm_pack(run->in[1], data, gemm.k, gemm.n, s->packed);
    }
    run_gemm(run, &gemm, edt_cpu_rows_of(&kernel->desc.in[0]).rows, NULL);
    return EDT_OK;
}

static edt_status run_plain(edt_kernel *kernel, const edt_cpu_run *run)
{
    state *s = kernel->state;
    if (run->out[0] == NULL) {
        return EDT_OK;
    }
    if (edt_cpu_stale(run, &s->packed_version, s->packed_from, 1)) {
        EDT_TRY(edt_cpu_dnnl_conv_pack(s->dnnl, run->in[1], run->err));
    }
    const bool has_bias = kernel->desc.kind == EDT_OP_CONV2D && kernel->desc.n_in > 2;
    return edt_cpu_dnnl_conv_run(s->dnnl, run->in[0], has_bias ? run->in[2] : NULL, run->out[0],
                                 run->workspace, run->err);
}

// Batch norm folded into w (HWIO, in `folded`) and `bias`.
static void fold(const edt_kernel *kernel, const edt_cpu_run *run, float *folded, float *bias)
{
    const edt_shape *ws = &kernel->desc.in[1].shape;
    const int64_t co = ws->dim[3];
    const int64_t n_rows = edt_shape_count(ws) / co;
    const float *w = run->in[1];
    const float *gamma = run->in[2];
    const float *beta = run->in[3];
    const float *mean = run->in[4];
    const float *var = run->in[5];
    const float *b = kernel->desc.attrs.conv.has_bias ? run->in[6] : NULL;
    for (int64_t c = 0; c < co; c++) {
        const double scale =
            (double)gamma[c] / sqrt((double)var[c] + kernel->desc.attrs.bn.epsilon);
        const double start = b == NULL ? 0 : (double)b[c];
        bias[c] = (float)((double)beta[c] + (start - (double)mean[c]) * scale);
        for (int64_t r = 0; r < n_rows; r++) {
            folded[r * co + c] = (float)((double)w[r * co + c] * scale);
        }
    }
}

// y = act(y), y += residual: what oneDNN's epilogue leaves to do.
static void finish(const edt_cpu_run *run, edt_act act, const float *residual, float *y,
                   int64_t n)
{
    enum { PIECE = 4096 };
    const int n_threads = edt_cpu_threads(run->backend, n);
#pragma omp parallel for num_threads(n_threads) schedule(static)
    for (int64_t i = 0; i < n; i += PIECE) {
        const int64_t m = n - i < PIECE ? n - i : PIECE;
        if (act != EDT_ACT_NONE) {
            run->backend->simd->act(act, y + i, y + i, m);
        }
        if (residual != NULL) {
            run->backend->simd->add(y + i, residual + i, y + i, m);
        }
    }
}

static edt_status run_bn_act(edt_kernel *kernel, const edt_cpu_run *run)
{
    state *s = kernel->state;
    const edt_op_desc *desc = &kernel->desc;
    if (edt_cpu_stale(run, &s->packed_version, s->packed_from,
                      desc->attrs.conv.has_bias ? 6 : 5)) {
        fold(kernel, run, s->folded, s->bias);
        if (s->dnnl == NULL) {
            const edt_shape *ws = &desc->in[1].shape;
            run->backend->simd->gemm_pack(s->folded, false, ws->dim[2], ws->dim[3], s->packed);
        } else {
            EDT_TRY(edt_cpu_dnnl_conv_pack(s->dnnl, s->folded, run->err));
        }
    }
    float *y = run->out[0];
    const float *residual = desc->attrs.conv.has_residual ? run->in[desc->n_in - 1] : NULL;
    if (s->dnnl == NULL) {
        const edt_cpu_gemm gemm = {
            .k = desc->in[1].shape.dim[2],
            .n = desc->in[1].shape.dim[3],
            .packed = s->packed,
            .bias = s->bias,
            .act = desc->attrs.bn.act,
        };
        run_gemm(run, &gemm, edt_cpu_rows_of(&desc->in[0]).rows, residual);
        return EDT_OK;
    }
    EDT_TRY(edt_cpu_dnnl_conv_run(s->dnnl, run->in[0], s->bias, y, run->workspace, run->err));
    const edt_act act = edt_cpu_dnnl_conv_has_act(s->dnnl) ? EDT_ACT_NONE : desc->attrs.bn.act;
    if (act != EDT_ACT_NONE || residual != NULL) {
        finish(run, act, residual, y, edt_shape_count(&desc->out[0].shape));
    }
    return EDT_OK;
}

// db: sums over pixels, per thread in double.
static void bias_gradient(const edt_kernel *kernel, const edt_cpu_run *run, double *partial)
{
    const edt_cpu_rows rows = edt_cpu_rows_of(&kernel->desc.in[1]);
    const float *dy = run->in[1];
    float *db = run->out[1];
    int n_parts = 1;
    const int n_threads = edt_cpu_threads(run->backend, rows.rows * rows.c);
#pragma omp parallel num_threads(n_threads)
    {
#pragma omp single
        n_parts = omp_get_num_threads();
        const int part = omp_get_thread_num();
        double *mine = partial + part * rows.c;
        int64_t begin;
        int64_t end;
        memset(mine, 0, (size_t)rows.c * sizeof(double));
        edt_cpu_split(rows.rows, n_parts, part, &begin, &end);
        run->backend->simd->sum_rows(dy + begin * rows.c, end - begin, rows.c, mine);
    }
    for (int64_t i = 0; i < rows.c; i++) {
        double total = 0;
        for (int p = 0; p < n_parts; p++) {
            total += partial[p * rows.c + i];
        }
        edt_cpu_put(&db[i], total, kernel->desc.attrs.accumulate);
    }
}

static edt_status run_weight(edt_kernel *kernel, const edt_cpu_run *run)
{
    state *s = kernel->state;
    const bool accumulate = kernel->desc.attrs.accumulate;
    float *dw = run->out[0];
    float *fresh = (float *)(void *)(run->workspace + s->dnnl_workspace);
    if (dw != NULL) {
        EDT_TRY(edt_cpu_dnnl_conv_run_weight(s->dnnl, run->in[0], run->in[1],
                                             accumulate ? fresh : dw, run->workspace,
                                             run->err));
        if (accumulate) {
            run->backend->simd->add(dw, fresh, dw, edt_shape_count(&kernel->desc.out[0].shape));
        }
    }
    if (kernel->desc.n_out > 1 && run->out[1] != NULL) {
        bias_gradient(kernel, run, (double *)(void *)run->workspace);
    }
    return EDT_OK;
}

static void deinit(edt_kernel *kernel)
{
    state *s = kernel->state;
    if (s != NULL) {
        edt_cpu_dnnl_conv_destroy(s->dnnl);
        edt_mem_free(s->packed);
        edt_mem_free(s->folded);
        edt_mem_free(s->bias);
    }
}

edt_status edt_cpu_prepare_conv(edt_cpu_backend *backend, edt_kernel *kernel, edt_error *err)
{
    const edt_op_desc *desc = &kernel->desc;
    EDT_TRY(edt_cpu_kernel_alloc_state(kernel, sizeof(state), err));
    kernel->deinit = deinit;
    state *s = kernel->state;
    const edt_conv_attrs *conv = &desc->attrs.conv;
    const bool pointwise = conv->kh == 1 && conv->kw == 1 && conv->sh == 1 && conv->sw == 1 &&
                           desc->kind != EDT_OP_CONV2D_WEIGHT;
    if (pointwise) {
        // Room for either side padded to whole vectors.
        const edt_shape *ws = &desc->in[1].shape;
        const size_t n_floats = (size_t)((ws->dim[2] + 16) * (ws->dim[3] + 16));
        s->packed = edt_mem_alloc(EDT_MEM_WORKSPACE, n_floats * sizeof(float));
        if (s->packed == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "cpu: no memory for packed weights");
        }
        kernel->run = run_pointwise;
    } else {
        size_t workspace_bytes = 0;
        EDT_TRY(edt_cpu_dnnl_conv_create(backend, desc, err, &s->dnnl, &workspace_bytes));
        s->dnnl_workspace = edt_cpu_align(workspace_bytes);
        kernel->workspace_bytes = s->dnnl_workspace;
        kernel->run = run_plain;
    }
    if (desc->kind == EDT_OP_CONV2D_WEIGHT) {
        const size_t db_bytes =
            (size_t)backend->base.n_threads * (size_t)desc->in[1].shape.dim[3] * sizeof(double);
        kernel->workspace_bytes += edt_tensor_bytes(&desc->out[0]);
        if (kernel->workspace_bytes < db_bytes) {
            kernel->workspace_bytes = db_bytes;
        }
        kernel->run = run_weight;
    } else if (desc->kind == EDT_OP_CONV2D_BN_ACT) {
        s->folded = edt_mem_alloc(EDT_MEM_WORKSPACE, edt_tensor_bytes(&desc->in[1]));
        s->bias =
            edt_mem_alloc(EDT_MEM_WORKSPACE, (size_t)desc->in[1].shape.dim[3] * sizeof(float));
        if (s->folded == NULL || s->bias == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "cpu: no memory for folded weights");
        }
        kernel->run = run_bn_act;
    }
    return EDT_OK;
}
