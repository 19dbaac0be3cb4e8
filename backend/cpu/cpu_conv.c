// Dense convolutions: forward (plain, or with batch norm folded into weights and bias,
// activation and residual), data gradient and weight gradient. 1x1 windows are own matrix
// products, and so are forward windows of few channels; oneDNN does the others, in f32 whatever
// the type of the activations.
#include <math.h>
#include <omp.h>
#include <string.h>

#include "backend/cpu/cpu_chain.h"
#include "backend/cpu/cpu_dnnl.h"
#include "backend/cpu/cpu_gate.h"
#include "backend/cpu/cpu_windows.h"

typedef struct state {
    edt_cpu_dnnl_conv *dnnl; // NULL: own matrix product
    bool windows;            // whose rows are gathered (cpu_windows.h)
    void *packed;            // for it
    uint64_t packed_version;
    const void *packed_from[6];
    size_t dnnl_workspace; // rounded up
    float *folded;         // weights (HWIO) in f32, CONV2D_BN_ACT: with batch norm in them
    float *bias;           // the same of the bias
    edt_real *low;         // `folded` in the type of the activations, for the own product
} state;

// The own product over threads: by rows, or by columns where rows are few.
static void run_gemm(const edt_kernel *kernel, const edt_cpu_run *run, const edt_cpu_gemm *gemm,
                     const edt_real *residual)
{
    if (((const state *)kernel->state)->windows) {
        edt_cpu_windows_run(&kernel->desc, run, gemm, residual);
        return;
    }
    const int64_t rows = edt_cpu_rows_of(&kernel->desc.in[0]).rows;
    const edt_real *x = run->in[0];
    edt_real *y = run->out[0];
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
            edt_cpu_kernels_of(run->backend)
                ->gemm(gemm, x + begin * gemm->k,
                       residual == NULL ? NULL : residual + begin * gemm->n,
                       y + begin * gemm->n, end - begin, 0, 1);
        } else {
            edt_cpu_kernels_of(run->backend)->gemm(gemm, x, residual, y, rows, part, n_parts);
        }
    }
}

// The bias of a plain convolution in f32 or NULL.
static const float *plain_bias(const edt_kernel *kernel, const edt_cpu_run *run)
{
    if (kernel->desc.kind != EDT_OP_CONV2D || kernel->desc.n_in < 3) {
        return NULL;
    }
    return EDT_REAL_IS_FLOAT ? run->in[2] : ((const state *)kernel->state)->bias;
}

static void widen_bias(const edt_kernel *kernel, const edt_cpu_run *run)
{
    if (!EDT_REAL_IS_FLOAT && kernel->desc.kind == EDT_OP_CONV2D && kernel->desc.n_in > 2) {
        edt_cpu_kernels_of(run->backend)
            ->widen(run->in[2], ((state *)kernel->state)->bias,
                    edt_shape_count(&kernel->desc.in[2].shape));
    }
}

// Rows of HWIO weights as a matrix.
static int64_t window_size(const edt_shape *w)
{
    return w->dim[0] * w->dim[1] * w->dim[2];
}

// CONV2D and CONV2D_DATA as own products.
static edt_status run_product(edt_kernel *kernel, const edt_cpu_run *run)
{
    state *s = kernel->state;
    const bool data = kernel->desc.kind == EDT_OP_CONV2D_DATA;
    const edt_shape *ws = &kernel->desc.in[1].shape;
    const edt_cpu_gemm gemm = {
        .k = data ? ws->dim[3] : window_size(ws),
        .n = ws->dim[data ? 2 : 3],
        .packed = s->packed,
        .bias = plain_bias(kernel, run),
    };
    if (run->out[0] == NULL) {
        return EDT_OK;
    }
    if (edt_cpu_stale(run, &s->packed_version, s->packed_from, kernel->desc.n_in - 1)) {
        edt_cpu_kernels_of(run->backend)
            ->gemm_pack(run->in[1], data, gemm.k, gemm.n, s->packed);
        widen_bias(kernel, run);
    }
    run_gemm(kernel, run, &gemm, NULL);
    return EDT_OK;
}

// Activations as oneDNN reads them: `values` itself or its copy in `room`.
static const float *widened(const edt_cpu_run *run, const void *values, int64_t n, float *room)
{
    if (EDT_REAL_IS_FLOAT) {
        return values;
    }
    const int n_threads = edt_cpu_threads(run->backend, n);
#pragma omp parallel num_threads(n_threads)
    {
        int64_t begin;
        int64_t end;
        edt_cpu_split(n, omp_get_num_threads(), omp_get_thread_num(), &begin, &end);
        edt_cpu_kernels_of(run->backend)
            ->widen((const edt_real *)values + begin, room + begin, end - begin);
    }
    return room;
}

// oneDNN's result y (`sums` is it, or its copy in f32): y = act(y) + residual, of which the
// epilogue leaves what it cannot do.
static void finish(const edt_cpu_run *run, edt_act act, const edt_real *residual, float *sums,
                   edt_real *y, int64_t n)
{
    enum { PIECE = 4096 };
    const edt_cpu_kernels *simd = edt_cpu_kernels_of(run->backend);
    const int n_threads = edt_cpu_threads(run->backend, n);
    if (EDT_REAL_IS_FLOAT && act == EDT_ACT_NONE && residual == NULL) {
        return;
    }
#pragma omp parallel for num_threads(n_threads) schedule(static)
    for (int64_t i = 0; i < n; i += PIECE) {
        const int64_t m = n - i < PIECE ? n - i : PIECE;
        if (act != EDT_ACT_NONE) {
            edt_cpu_act_f32(run->backend, act, sums + i, m);
        }
        if (residual != NULL) {
            simd->add_to(residual + i, sums + i, m);
        }
        if (!EDT_REAL_IS_FLOAT) {
            simd->narrow(sums + i, y + i, m);
        }
    }
}

// The f32 copies of a run's activations behind oneDNN's own workspace; of no size for f32.
typedef struct rooms {
    float *first, *second;
} rooms;

static rooms rooms_of(const edt_kernel *kernel, const edt_cpu_run *run)
{
    const state *s = kernel->state;
    float *first = (float *)(void *)(run->workspace + s->dnnl_workspace);
    return (rooms){first, first + (edt_shape_count(&kernel->desc.in[0].shape) + 15) / 16 * 16};
}

static edt_status pack_dnnl(const edt_kernel *kernel, const edt_cpu_run *run, const float *w)
{
    return edt_cpu_dnnl_conv_pack(((state *)kernel->state)->dnnl, w, run->err);
}

static edt_status run_dnnl(const edt_kernel *kernel, const edt_cpu_run *run, const float *bias,
                           edt_act act, const edt_real *residual)
{
    const state *s = kernel->state;
    const rooms room = rooms_of(kernel, run);
    const float *x =
        widened(run, run->in[0], edt_shape_count(&kernel->desc.in[0].shape), room.first);
    float *y = EDT_REAL_IS_FLOAT ? run->out[0] : room.second;
    EDT_TRY(edt_cpu_dnnl_conv_run(s->dnnl, x, bias, y, run->workspace, run->err));
    finish(run, edt_cpu_dnnl_conv_has_act(s->dnnl) ? EDT_ACT_NONE : act, residual, y,
           run->out[0], edt_shape_count(&kernel->desc.out[0].shape));
    return EDT_OK;
}

static edt_status run_plain(edt_kernel *kernel, const edt_cpu_run *run)
{
    state *s = kernel->state;
    if (run->out[0] == NULL) {
        return EDT_OK;
    }
    if (edt_cpu_stale(run, &s->packed_version, s->packed_from, kernel->desc.n_in - 1)) {
        const float *w = run->in[1];
        if (!EDT_REAL_IS_FLOAT) {
            edt_cpu_kernels_of(run->backend)
                ->widen(run->in[1], s->folded, edt_shape_count(&kernel->desc.in[1].shape));
            w = s->folded;
        }
        EDT_TRY(pack_dnnl(kernel, run, w));
        widen_bias(kernel, run);
    }
    return run_dnnl(kernel, run, plain_bias(kernel, run), EDT_ACT_NONE, NULL);
}

// Batch norm folded into w (HWIO, in `folded`) and `bias`.
static void fold(const edt_kernel *kernel, const edt_cpu_run *run, float *folded, float *bias)
{
    const edt_shape *ws = &kernel->desc.in[1].shape;
    const int64_t co = ws->dim[3];
    const int64_t n_rows = edt_shape_count(ws) / co;
    const edt_real *w = run->in[1];
    const float *gamma = run->in[2];
    const float *beta = run->in[3];
    const float *mean = run->in[4];
    const float *var = run->in[5];
    const edt_real *b = kernel->desc.attrs.conv.has_bias ? run->in[6] : NULL;
    for (int64_t c = 0; c < co; c++) {
        const double scale =
            (double)gamma[c] / sqrt((double)var[c] + kernel->desc.attrs.bn.epsilon);
        const double start = b == NULL ? 0 : (double)edt_real_get(b[c]);
        bias[c] = (float)((double)beta[c] + (start - (double)mean[c]) * scale);
        for (int64_t r = 0; r < n_rows; r++) {
            folded[r * co + c] = (float)((double)edt_real_get(w[r * co + c]) * scale);
        }
    }
}

edt_status edt_cpu_conv_refresh(edt_kernel *kernel, const edt_cpu_run *run)
{
    state *s = kernel->state;
    const edt_op_desc *desc = &kernel->desc;
    const edt_shape *ws = &desc->in[1].shape;
    const edt_cpu_kernels *simd = edt_cpu_kernels_of(run->backend);
    if (edt_cpu_stale(run, &s->packed_version, s->packed_from,
                      desc->attrs.conv.has_bias ? 6 : 5)) {
        fold(kernel, run, s->folded, s->bias);
        if (s->dnnl == NULL) {
            const edt_real *w = s->low;
            if (EDT_REAL_IS_FLOAT) {
                w = (const edt_real *)(const void *)s->folded;
            } else {
                simd->narrow(s->folded, s->low, edt_shape_count(ws));
            }
            if (!desc->attrs.conv.has_gate) {
                simd->gemm_pack(w, false, window_size(ws), ws->dim[3], s->packed);
            }
        } else {
            EDT_TRY(pack_dnnl(kernel, run, s->folded));
        }
    }
    return EDT_OK;
}

static edt_cpu_gemm folded_product(const edt_kernel *kernel)
{
    const state *s = kernel->state;
    const edt_shape *ws = &kernel->desc.in[1].shape;
    return (edt_cpu_gemm){
        .k = window_size(ws),
        .n = ws->dim[3],
        .packed = s->packed,
        .bias = s->bias,
        .act = kernel->desc.attrs.bn.act,
    };
}

void edt_cpu_conv_pixels(const edt_kernel *kernel, const edt_cpu_run *run, int part,
                         int64_t begin, int64_t end, edt_real *y)
{
    const edt_cpu_gemm gemm = folded_product(kernel);
    const edt_real *x = run->in[0];
    if (((const state *)kernel->state)->windows) {
        edt_cpu_windows_rows(&kernel->desc, run, &gemm, NULL, part, begin, end, y);
        return;
    }
    edt_cpu_kernels_of(run->backend)
        ->gemm(&gemm, x + begin * gemm.k, NULL, y, end - begin, 0, 1);
}

static edt_status run_bn_act(edt_kernel *kernel, const edt_cpu_run *run)
{
    const state *s = kernel->state;
    const edt_op_desc *desc = &kernel->desc;
    EDT_TRY(edt_cpu_conv_refresh(kernel, run));
    const edt_real *residual = desc->attrs.conv.has_residual ? run->in[desc->n_in - 1] : NULL;
    if (s->dnnl != NULL) {
        return run_dnnl(kernel, run, s->bias, desc->attrs.bn.act, residual);
    }
    const edt_cpu_gemm gemm = folded_product(kernel);
    if (desc->attrs.conv.has_gate) {
        edt_cpu_gate_run(desc, run, &gemm, s->folded, residual, s->packed);
        return EDT_OK;
    }
    run_gemm(kernel, run, &gemm, residual);
    return EDT_OK;
}

// db: sums over pixels, per thread in double.
static void bias_gradient(const edt_kernel *kernel, const edt_cpu_run *run, double *partial)
{
    const edt_cpu_rows rows = edt_cpu_rows_of(&kernel->desc.in[1]);
    const edt_real *dy = run->in[1];
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
        edt_cpu_kernels_of(run->backend)
            ->sum_rows(dy + begin * rows.c, end - begin, rows.c, mine);
    }
    for (int64_t i = 0; i < rows.c; i++) {
        double total = 0;
        for (int p = 0; p < n_parts; p++) {
            total += partial[p * rows.c + i];
        }
        edt_cpu_put(&db[i], total, kernel->desc.attrs.accumulate);
    }
}

// Rows of dw that a tile of the weight kernel takes, rows of its blocks
// (kernels_gemm_weight.c), and rows from which every thread had better have its own.
enum { TILE_K = 8, BLOCK_ROWS = 128, MANY_ROWS = 1024 };

static bool splits_rows(int n_threads, int64_t rows, int64_t k)
{
    return n_threads > 1 && (rows >= MANY_ROWS || k < (int64_t)TILE_K * n_threads);
}

// Work of the weight kernel per row: K in rows of a tile, N in whole vectors.
static int64_t padded(int64_t k, int64_t n)
{
    return (k + TILE_K - 1) / TILE_K * TILE_K * ((n + 15) / 16 * 16);
}

// dw of a 1x1 window: threads share out the rows and add up their sums, or where rows are few
// share out dw. Sums of their own may also be those of the transposed dw, which is x and dy in
// exchange: where N fills its vectors worse than K would.
static void pointwise_weight(const edt_kernel *kernel, const edt_cpu_run *run, float *dw)
{
    const edt_cpu_kernels *simd = edt_cpu_kernels_of(run->backend);
    const edt_cpu_rows in = edt_cpu_rows_of(&kernel->desc.in[0]);
    const int64_t k = in.c;
    const int64_t n = kernel->desc.in[1].shape.dim[3];
    const bool accumulate = kernel->desc.attrs.accumulate;
    const int64_t n_scratch = EDT_REAL_IS_FLOAT ? 0 : BLOCK_ROWS * (k > n ? k : n);
    const int n_max = run->backend->base.n_threads;
    float *scratch = (float *)(void *)run->workspace; // per thread
    float *partial = scratch + n_max * n_scratch;     // per thread K * N
    const edt_real *x = run->in[0];
    const edt_real *dy = run->in[1];
    const int n_threads = edt_cpu_threads(run->backend, in.rows * k * n / 16);
    const bool by_rows = splits_rows(n_threads, in.rows, k);
    const bool transposed = by_rows && padded(n, k) < padded(k, n);
#pragma omp parallel num_threads(n_threads)
    {
        const int n_parts = omp_get_num_threads();
        const int part = omp_get_thread_num();
        float *mine = by_rows ? partial + part * k * n : dw;
        int64_t begin;
        int64_t end;
        edt_cpu_split(by_rows ? in.rows : (k + TILE_K - 1) / TILE_K, n_parts, part, &begin,
                      &end);
        const int64_t first = by_rows ? 0 : begin * TILE_K;
        const int64_t stop = by_rows || end * TILE_K > k ? k : end * TILE_K;
        const int64_t row = by_rows ? begin : 0;
        if (by_rows || !accumulate) {
            memset(mine + first * n, 0, (size_t)((stop - first) * n) * sizeof(float));
        }
        if (transposed) {
            simd->gemm_weight(dy + row * n, x + row * k, end - begin, n, k, 0, n,
                              scratch + part * n_scratch, mine);
        } else {
            simd->gemm_weight(x + row * k, dy + row * n, by_rows ? end - begin : in.rows, k, n,
                              first, stop, scratch + part * n_scratch, mine);
        }
        if (by_rows) {
#pragma omp barrier
            edt_cpu_split(k * n, n_parts, part, &begin, &end);
            for (int64_t i = begin; i < end; i++) {
                const int64_t at = transposed ? i % n * k + i / n : i;
                double total = 0;
                for (int p = 0; p < n_parts; p++) {
                    total += (double)partial[p * k * n + at];
                }
                edt_cpu_put(&dw[i], total, accumulate);
            }
        }
    }
}

static edt_status dnnl_weight(const edt_kernel *kernel, const edt_cpu_run *run, float *dw)
{
    const state *s = kernel->state;
    const rooms room = rooms_of(kernel, run);
    const float *x =
        widened(run, run->in[0], edt_shape_count(&kernel->desc.in[0].shape), room.first);
    const int64_t n_dy = edt_shape_count(&kernel->desc.in[1].shape);
    const float *dy = widened(run, run->in[1], n_dy, room.second);
    const int64_t n_dw = edt_shape_count(&kernel->desc.out[0].shape);
    float *fresh = EDT_REAL_IS_FLOAT ? room.first : room.second + (n_dy + 15) / 16 * 16;
    const bool accumulate = kernel->desc.attrs.accumulate;
    EDT_TRY(edt_cpu_dnnl_conv_run_weight(s->dnnl, x, dy, accumulate ? fresh : dw,
                                         run->workspace, run->err));
    for (int64_t i = 0; accumulate && i < n_dw; i++) {
        dw[i] += fresh[i];
    }
    return EDT_OK;
}

static edt_status run_weight(edt_kernel *kernel, const edt_cpu_run *run)
{
    const state *s = kernel->state;
    if (run->out[0] != NULL && s->dnnl == NULL) {
        pointwise_weight(kernel, run, run->out[0]);
    } else if (run->out[0] != NULL) {
        EDT_TRY(dnnl_weight(kernel, run, run->out[0]));
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
        edt_mem_free(s->low);
    }
}

// Bytes of one activation in f32, as rooms_of lays them out.
static size_t room_bytes(const edt_tensor_desc *desc)
{
    return (size_t)((edt_shape_count(&desc->shape) + 15) / 16 * 16) * sizeof(float);
}

static edt_status allocate(const edt_kernel *kernel, edt_error *err, state *s)
{
    const edt_op_desc *desc = &kernel->desc;
    const bool fused = desc->kind == EDT_OP_CONV2D_BN_ACT;
    const bool weight = desc->kind == EDT_OP_CONV2D_WEIGHT;
    const size_t n_w = weight ? 0 : (size_t)edt_shape_count(&desc->in[1].shape);
    const size_t n_out = weight ? 0 : (size_t)desc->in[1].shape.dim[3];
    if (fused || (s->dnnl != NULL && !EDT_REAL_IS_FLOAT && !weight)) {
        s->folded = edt_mem_alloc(EDT_MEM_WORKSPACE, n_w * sizeof(float));
    }
    if (fused && !EDT_REAL_IS_FLOAT) {
        s->low = edt_mem_alloc(EDT_MEM_WORKSPACE, n_w * sizeof(edt_real));
    }
    if (fused || (desc->kind == EDT_OP_CONV2D && desc->n_in > 2)) {
        s->bias = edt_mem_alloc(EDT_MEM_WORKSPACE, n_out * sizeof(float));
    }
    if (s->dnnl == NULL && !weight) {
        // Room for either side padded to whole vectors.
        const edt_shape *ws = &desc->in[1].shape;
        s->packed =
            edt_mem_alloc(EDT_MEM_WORKSPACE,
                          (size_t)((window_size(ws) + 16) * (ws->dim[3] + 16)) * sizeof(float));
    }
    if ((fused && (s->folded == NULL || s->bias == NULL)) ||
        (s->dnnl == NULL && !weight && s->packed == NULL)) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "cpu: no memory for packed weights");
    }
    return EDT_OK;
}

static void plan_workspace(const edt_cpu_backend *backend, edt_kernel *kernel, const state *s)
{
    const edt_op_desc *desc = &kernel->desc;
    const size_t n_threads = (size_t)backend->base.n_threads;
    const bool weight = desc->kind == EDT_OP_CONV2D_WEIGHT;
    size_t n_bytes = 0;
    if (s->dnnl != NULL) {
        n_bytes = s->dnnl_workspace;
        if (!EDT_REAL_IS_FLOAT) {
            n_bytes +=
                room_bytes(&desc->in[0]) + room_bytes(weight ? &desc->in[1] : &desc->out[0]);
        }
        n_bytes += weight ? edt_tensor_bytes(&desc->out[0]) : 0;
    } else if (s->windows) {
        n_bytes = edt_cpu_windows_bytes(backend, desc);
    } else if (weight) {
        const size_t k = (size_t)desc->in[0].shape.dim[3];
        const size_t n = (size_t)desc->in[1].shape.dim[3];
        const edt_cpu_rows rows = edt_cpu_rows_of(&desc->in[0]);
        n_bytes =
            n_threads * (EDT_REAL_IS_FLOAT ? 0 : BLOCK_ROWS * (k > n ? k : n)) * sizeof(float);
        if (splits_rows(backend->base.n_threads, rows.rows, rows.c)) {
            n_bytes += n_threads * k * n * sizeof(float);
        }
    }
    if (weight) {
        const size_t db_bytes = n_threads * (size_t)desc->in[1].shape.dim[3] * sizeof(double);
        n_bytes = n_bytes < db_bytes ? db_bytes : n_bytes;
    }
    kernel->workspace_bytes = n_bytes;
}

edt_status EDT_R(edt_cpu_prepare_conv)(edt_cpu_backend *backend, edt_kernel *kernel,
                                       edt_error *err)
{
    const edt_op_desc *desc = &kernel->desc;
    EDT_TRY(edt_cpu_kernel_alloc_state(kernel, sizeof(state), err));
    kernel->deinit = deinit;
    state *s = kernel->state;
    const edt_conv_attrs *conv = &desc->attrs.conv;
    const bool pointwise = conv->kh == 1 && conv->kw == 1 && conv->sh == 1 && conv->sw == 1;
    s->windows = !pointwise && edt_cpu_windows_suit(desc);
    if (!pointwise && !s->windows) {
        size_t workspace_bytes = 0;
        EDT_TRY(edt_cpu_dnnl_conv_create(backend, desc, err, &s->dnnl, &workspace_bytes));
        s->dnnl_workspace = edt_cpu_align(workspace_bytes);
    }
    EDT_TRY(allocate(kernel, err, s));
    plan_workspace(backend, kernel, s);
    switch (desc->kind) {
    case EDT_OP_CONV2D_WEIGHT: kernel->run = run_weight; break;
    case EDT_OP_CONV2D_BN_ACT: kernel->run = run_bn_act; break;
    default: kernel->run = s->dnnl == NULL ? run_product : run_plain; break;
    }
    return EDT_OK;
}
