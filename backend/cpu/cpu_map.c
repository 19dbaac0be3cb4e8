// Elementwise ops, per-channel scaling and pooling to one pixel, split over threads. Sums over
// pixels are kept per thread and added in thread order: the same thread count gives the same
// bits.
#include <math.h>
#include <omp.h>
#include <string.h>

#include "backend/cpu/cpu_priv.h"

static edt_status run_normalize(edt_kernel *kernel, const edt_cpu_run *run)
{
    const edt_op_attrs *attrs = &kernel->desc.attrs;
    const edt_shape *shape = &kernel->desc.in[0].shape;
    const int64_t height = shape->dim[1];
    const int64_t width = shape->dim[2];
    const uint8_t *image = run->in[0];
    const int32_t *valid_hw = run->in[1];
    edt_real *y = run->out[0];
    const float outside = attrs->norm_scale_range ? 0.0f * 2.0f / 255.0f - 1.0f : 0.0f;
    const int n_threads = edt_cpu_threads(run->backend, shape->dim[0] * height * width);
#pragma omp parallel for num_threads(n_threads) schedule(static)
    for (int64_t row = 0; row < shape->dim[0] * height; row++) {
        const int64_t n = row / height;
        int64_t valid = row % height < valid_hw[2 * n] ? valid_hw[2 * n + 1] : 0;
        valid = valid < 0 ? 0 : valid > width ? width : valid;
        const int64_t at = row * width * 3;
        edt_cpu_kernels_of(run->backend)
            ->normalize(image + at, attrs->norm_mean, attrs->norm_std, attrs->norm_scale_range,
                        y + at, valid);
        for (int64_t i = at + valid * 3; i < at + width * 3; i++) {
            y[i] = edt_real_of(outside);
        }
    }
    return EDT_OK;
}

// Pieces of a flat array that fit the first-level cache and keep 64-byte alignment.
enum { PIECE = 4096 };

static edt_status run_flat(edt_kernel *kernel, const edt_cpu_run *run)
{
    const edt_cpu_kernels *simd = edt_cpu_kernels_of(run->backend);
    const int64_t n = edt_shape_count(&kernel->desc.in[0].shape);
    const edt_op_kind kind = kernel->desc.kind;
    const edt_act act = kernel->desc.attrs.act;
    const edt_real *a = run->in[0];
    const edt_real *b = kind == EDT_OP_ACT ? NULL : run->in[1];
    edt_real *y = run->out[0];
    if (y == NULL) {
        return EDT_OK;
    }
    const int n_threads = edt_cpu_threads(run->backend, n);
#pragma omp parallel for num_threads(n_threads) schedule(static)
    for (int64_t i = 0; i < n; i += PIECE) {
        const int64_t m = n - i < PIECE ? n - i : PIECE;
        if (kind == EDT_OP_ACT) {
            simd->act(act, a + i, y + i, m);
        } else if (kind == EDT_OP_ACT_BWD) {
            simd->act_bwd(act, a + i, b + i, y + i, m);
        } else {
            simd->add(a + i, b + i, y + i, m);
        }
    }
    return EDT_OK;
}

static edt_status run_drop_connect(edt_kernel *kernel, const edt_cpu_run *run)
{
    const edt_cpu_rows rows = edt_cpu_rows_of(&kernel->desc.in[0]);
    const int64_t n_item = rows.cells * rows.c;
    const int64_t n_pieces = (n_item + PIECE - 1) / PIECE;
    const float survival = (float)kernel->desc.attrs.drop_survival;
    const edt_real *x = run->in[0];
    const float *u = (const float *)run->in[1] + kernel->desc.attrs.drop_row * rows.n;
    edt_real *y = run->out[0];
    const int n_threads = edt_cpu_threads(run->backend, rows.rows * rows.c);
#pragma omp parallel for num_threads(n_threads) schedule(static)
    for (int64_t piece = 0; piece < rows.n * n_pieces; piece++) {
        const int64_t n = piece / n_pieces;
        const int64_t i = piece % n_pieces * PIECE;
        const int64_t m = n_item - i < PIECE ? n_item - i : PIECE;
        const float scale = floorf(survival + u[n]) / survival;
        edt_cpu_kernels_of(run->backend)->mul(x + n * n_item + i, scale, y + n * n_item + i, m);
    }
    return EDT_OK;
}

static edt_status run_scale_channels(edt_kernel *kernel, const edt_cpu_run *run)
{
    const edt_cpu_rows rows = edt_cpu_rows_of(&kernel->desc.in[0]);
    const edt_real *x = run->in[0];
    const edt_real *s = run->in[1];
    edt_real *y = run->out[0];
    const int n_threads = edt_cpu_threads(run->backend, rows.rows * rows.c);
#pragma omp parallel num_threads(n_threads)
    for (int64_t n = 0; n < rows.n; n++) {
        int64_t begin;
        int64_t end;
        edt_cpu_split(rows.cells, omp_get_num_threads(), omp_get_thread_num(), &begin, &end);
        const int64_t at = (n * rows.cells + begin) * rows.c;
        edt_cpu_kernels_of(run->backend)
            ->scale_rows(x + at, s + n * rows.c, y + at, end - begin, rows.c);
    }
    return EDT_OK;
}

static edt_status run_global_avg_pool_bwd(edt_kernel *kernel, const edt_cpu_run *run)
{
    const edt_cpu_rows rows = edt_cpu_rows_of(&kernel->desc.out[0]);
    const edt_real *dy = run->in[0];
    edt_real *dx = run->out[0];
    edt_real *share = (edt_real *)(void *)run->workspace;
    for (int64_t i = 0; i < rows.n * rows.c; i++) {
        share[i] = edt_real_of(edt_real_get(dy[i]) / (float)rows.cells);
    }
    const int n_threads = edt_cpu_threads(run->backend, rows.rows * rows.c);
#pragma omp parallel num_threads(n_threads)
    for (int64_t n = 0; n < rows.n; n++) {
        int64_t begin;
        int64_t end;
        edt_cpu_split(rows.cells, omp_get_num_threads(), omp_get_thread_num(), &begin, &end);
        edt_cpu_kernels_of(run->backend)
            ->fill_rows(share + n * rows.c, dx + (n * rows.cells + begin) * rows.c, end - begin,
                        rows.c);
    }
    return EDT_OK;
}

// GLOBAL_AVG_POOL and SCALE_CHANNELS_BWD: one sum per image and channel.
static edt_status run_image_sums(edt_kernel *kernel, const edt_cpu_run *run)
{
    const bool pool = kernel->desc.kind == EDT_OP_GLOBAL_AVG_POOL;
    const edt_cpu_kernels *simd = edt_cpu_kernels_of(run->backend);
    const edt_cpu_rows rows = edt_cpu_rows_of(&kernel->desc.in[0]);
    const int64_t n_sums = rows.n * rows.c;
    double *sums = (double *)(void *)run->workspace; // [threads][N][C]
    const edt_real *x = pool ? run->in[0] : run->in[1];
    const edt_real *dy = pool ? NULL : run->in[0];
    const edt_real *s = pool ? NULL : run->in[2];
    edt_real *dx = pool ? NULL : run->out[0];
    edt_real *result = pool ? run->out[0] : kernel->desc.n_out > 1 ? run->out[1] : NULL;
    const double divisor = pool ? (double)rows.cells : 1.0;
    const int n_threads = edt_cpu_threads(run->backend, rows.rows * rows.c);
#pragma omp parallel num_threads(n_threads)
    {
        const int n_parts = omp_get_num_threads();
        const int part = omp_get_thread_num();
        double *mine = sums + part * n_sums;
        int64_t begin;
        int64_t end;
        memset(mine, 0, (size_t)n_sums * sizeof(double));
        edt_cpu_split(rows.cells, n_parts, part, &begin, &end);
        for (int64_t n = 0; n < rows.n; n++) {
            const int64_t at = (n * rows.cells + begin) * rows.c;
            if (pool) {
                simd->sum_rows(x + at, end - begin, rows.c, mine + n * rows.c);
            } else {
                simd->scale_rows_bwd(dy + at, x + at, s + n * rows.c,
                                     dx == NULL ? NULL : dx + at, mine + n * rows.c,
                                     end - begin, rows.c);
            }
        }
#pragma omp barrier
        edt_cpu_split(n_sums, n_parts, part, &begin, &end);
        for (int64_t i = begin; result != NULL && i < end; i++) {
            double total = 0;
            for (int p = 0; p < n_parts; p++) {
                total += sums[p * n_sums + i];
            }
            result[i] = edt_real_of((float)(total / divisor));
        }
    }
    return EDT_OK;
}

edt_status EDT_R(edt_cpu_prepare_map)(edt_cpu_backend *backend, edt_kernel *kernel,
                                      edt_error *err)
{
    (void)err;
    const edt_tensor_desc *x = &kernel->desc.in[0];
    switch (kernel->desc.kind) {
    case EDT_OP_NORMALIZE: kernel->run = run_normalize; break;
    case EDT_OP_DROP_CONNECT: kernel->run = run_drop_connect; break;
    case EDT_OP_SCALE_CHANNELS: kernel->run = run_scale_channels; break;
    case EDT_OP_GLOBAL_AVG_POOL_BWD:
        kernel->run = run_global_avg_pool_bwd;
        kernel->workspace_bytes = edt_tensor_bytes(x);
        break;
    case EDT_OP_GLOBAL_AVG_POOL:
    case EDT_OP_SCALE_CHANNELS_BWD:
        kernel->run = run_image_sums;
        kernel->workspace_bytes = (size_t)backend->base.n_threads * (size_t)x->shape.dim[0] *
                                  (size_t)x->shape.dim[3] * sizeof(double);
        break;
    default: kernel->run = run_flat; break;
    }
    return EDT_OK;
}
