// What the segmentation head and srelu need beyond the detector's ops, split over threads:
// joining channels, a bias by itself, srelu, the loss over pixels. Sums are kept per piece of
// fixed size (BIAS_BWD: per thread) and added in order.
#include <omp.h>
#include <string.h>

#include "backend/cpu/cpu_priv.h"

enum { PIECE = 4096 }; // elements of a flat array that fit the first-level cache

static double add_up(const double *sums, int64_t n)
{
    double total = 0;
    for (int64_t i = 0; i < n; i++) {
        total += sums[i];
    }
    return total;
}

// CONCAT and its gradient: rows of a and rows of b beside each other in `joined`.
static edt_status run_concat(edt_kernel *kernel, const edt_cpu_run *run)
{
    const bool backward = kernel->desc.kind == EDT_OP_CONCAT_BWD;
    const edt_tensor_desc *joined = backward ? &kernel->desc.in[0] : &kernel->desc.out[0];
    const edt_shape *first =
        backward ? &kernel->desc.attrs.out_shape : &kernel->desc.in[0].shape;
    const edt_cpu_rows rows = edt_cpu_rows_of(joined);
    const size_t n_bytes = (size_t)rows.c * sizeof(edt_real);
    const size_t a_bytes = (size_t)first->dim[3] * sizeof(edt_real);
    const size_t b_bytes = n_bytes - a_bytes;
    char *whole = backward ? run->in[0] : run->out[0];
    char *a = backward ? run->out[0] : run->in[0];
    char *b = !backward ? run->in[1] : kernel->desc.n_out > 1 ? run->out[1] : NULL;
    const int n_threads = edt_cpu_threads(run->backend, rows.rows * rows.c);
#pragma omp parallel for num_threads(n_threads) schedule(static)
    for (int64_t row = 0; row < rows.rows; row++) {
        char *at = whole + (size_t)row * n_bytes;
        if (!backward) {
            memcpy(at, a + (size_t)row * a_bytes, a_bytes);
            memcpy(at + a_bytes, b + (size_t)row * b_bytes, b_bytes);
            continue;
        }
        if (a != NULL) {
            memcpy(a + (size_t)row * a_bytes, at, a_bytes);
        }
        if (b != NULL) {
            memcpy(b + (size_t)row * b_bytes, at + a_bytes, b_bytes);
        }
    }
    return EDT_OK;
}

static edt_status run_bias(edt_kernel *kernel, const edt_cpu_run *run)
{
    const edt_cpu_rows rows = edt_cpu_rows_of(&kernel->desc.in[0]);
    const edt_real *x = run->in[0];
    const edt_real *b = run->in[1];
    edt_real *y = run->out[0];
    const int n_threads = edt_cpu_threads(run->backend, rows.rows * rows.c);
#pragma omp parallel num_threads(n_threads)
    {
        int64_t begin;
        int64_t end;
        edt_cpu_split(rows.rows, omp_get_num_threads(), omp_get_thread_num(), &begin, &end);
        edt_cpu_kernels_of(run->backend)
            ->bias_rows(x + begin * rows.c, b, y + begin * rows.c, end - begin, rows.c);
    }
    return EDT_OK;
}

static edt_status run_bias_bwd(edt_kernel *kernel, const edt_cpu_run *run)
{
    const edt_cpu_rows rows = edt_cpu_rows_of(&kernel->desc.in[0]);
    const edt_real *dy = run->in[0];
    float *db = run->out[0];
    double *sums = (double *)(void *)run->workspace; // [threads][C]
    const int n_threads = edt_cpu_threads(run->backend, rows.rows * rows.c);
    if (db == NULL) {
        return EDT_OK;
    }
    int n_parts = 1;
#pragma omp parallel num_threads(n_threads)
    {
        const int part = omp_get_thread_num();
        double *mine = sums + part * rows.c;
        int64_t begin;
        int64_t end;
#pragma omp single
        n_parts = omp_get_num_threads();
        memset(mine, 0, (size_t)rows.c * sizeof(double));
        edt_cpu_split(rows.rows, n_parts, part, &begin, &end);
        edt_cpu_kernels_of(run->backend)
            ->sum_rows(dy + begin * rows.c, end - begin, rows.c, mine);
    }
    for (int64_t i = 0; i < rows.c; i++) {
        double total = 0;
        for (int p = 0; p < n_parts; p++) {
            total += sums[p * rows.c + i];
        }
        edt_cpu_put(&db[i], total, kernel->desc.attrs.accumulate);
    }
    return EDT_OK;
}

static edt_status run_srelu(edt_kernel *kernel, const edt_cpu_run *run)
{
    const int64_t n = edt_shape_count(&kernel->desc.in[0].shape);
    const edt_real *x = run->in[0];
    const double b = (double)*(const float *)run->in[1];
    const float beta = (float)(b * b * b * b);
    edt_real *y = run->out[0];
    const int n_threads = edt_cpu_threads(run->backend, n);
#pragma omp parallel for num_threads(n_threads) schedule(static)
    for (int64_t i = 0; i < n; i += PIECE) {
        edt_cpu_kernels_of(run->backend)
            ->srelu(beta, x + i, y + i, n - i < PIECE ? n - i : PIECE);
    }
    return EDT_OK;
}

static edt_status run_srelu_bwd(edt_kernel *kernel, const edt_cpu_run *run)
{
    const int64_t n = edt_shape_count(&kernel->desc.in[0].shape);
    const edt_real *dy = run->in[0];
    const edt_real *x = run->in[1];
    const double b = (double)*(const float *)run->in[2];
    const double beta = b * b * b * b;
    edt_real *dx = run->out[0];
    float *db = kernel->desc.n_out > 1 ? run->out[1] : NULL;
    double *sums = (double *)(void *)run->workspace;
    const int n_threads = edt_cpu_threads(run->backend, n);
#pragma omp parallel for num_threads(n_threads) schedule(static)
    for (int64_t i = 0; i < n; i += PIECE) {
        sums[i / PIECE] = 0;
        edt_cpu_kernels_of(run->backend)
            ->srelu_bwd((float)beta, dy + i, x + i, dx == NULL ? NULL : dx + i,
                        n - i < PIECE ? n - i : PIECE, &sums[i / PIECE]);
    }
    if (db != NULL) { // d beta / d b = 4 b^3
        edt_cpu_put(db, 4 / (b * beta) * add_up(sums, (n - 1) / PIECE + 1),
                    kernel->desc.attrs.accumulate);
    }
    return EDT_OK;
}

// Rows of a piece of the loss, so that their exponentials stay in the first-level cache.
static int64_t rows_of_piece(int64_t n_classes)
{
    const int64_t n = PIECE / 2 / n_classes;
    return n < 1 ? 1 : n < EDT_CPU_SOFTMAX_ROWS ? n : EDT_CPU_SOFTMAX_ROWS;
}

static edt_status run_segmentation_loss(edt_kernel *kernel, const edt_cpu_run *run)
{
    const edt_cpu_rows rows = edt_cpu_rows_of(&kernel->desc.in[0]);
    const int64_t n_piece = rows_of_piece(rows.c);
    const int64_t n_pieces = (rows.rows - 1) / n_piece + 1;
    const edt_real *logits = run->in[0];
    const int32_t *mask = run->in[1];
    const double n_norm = (double)*(const float *)run->in[2];
    const double scale =
        kernel->desc.attrs.loss.scaled ? (double)*(const float *)run->in[3] : 1;
    edt_real *dlogits = kernel->desc.n_out > 1 ? run->out[1] : NULL;
    double *sums = (double *)(void *)run->workspace;
    float *room =
        (float *)(void *)(run->workspace + edt_cpu_align((size_t)n_pieces * sizeof(double)));
    const int n_threads = edt_cpu_threads(run->backend, rows.rows * rows.c);
#pragma omp parallel for num_threads(n_threads) schedule(static)
    for (int64_t piece = 0; piece < n_pieces; piece++) {
        const int64_t row = piece * n_piece;
        const int64_t n = rows.rows - row < n_piece ? rows.rows - row : n_piece;
        const int64_t at = row * rows.c;
        sums[piece] = 0;
        edt_cpu_kernels_of(run->backend)
            ->softmax_rows(logits + at, mask + row, (float)(scale / n_norm),
                           dlogits == NULL ? NULL : dlogits + at, n, rows.c,
                           room + omp_get_thread_num() * n_piece * rows.c, &sums[piece]);
    }
    edt_cpu_put(run->out[0], add_up(sums, n_pieces) / n_norm, kernel->desc.attrs.accumulate);
    return EDT_OK;
}

edt_status EDT_R(edt_cpu_prepare_segmentation)(edt_cpu_backend *backend, edt_kernel *kernel,
                                               edt_error *err)
{
    const edt_shape *x = &kernel->desc.in[0].shape;
    const int64_t n = edt_shape_count(x);
    const size_t n_threads = (size_t)backend->base.n_threads;
    switch (kernel->desc.kind) {
    case EDT_OP_CONCAT:
    case EDT_OP_CONCAT_BWD: kernel->run = run_concat; break;
    case EDT_OP_BIAS: kernel->run = run_bias; break;
    case EDT_OP_BIAS_BWD:
        kernel->run = run_bias_bwd;
        kernel->workspace_bytes = n_threads * (size_t)x->dim[3] * sizeof(double);
        break;
    case EDT_OP_SRELU: kernel->run = run_srelu; break;
    case EDT_OP_SRELU_BWD:
        kernel->run = run_srelu_bwd;
        kernel->workspace_bytes = (size_t)((n - 1) / PIECE + 1) * sizeof(double);
        break;
    case EDT_OP_SEGMENTATION_LOSS: {
        const int64_t n_piece = rows_of_piece(x->dim[3]);
        const int64_t n_pieces = (n / x->dim[3] - 1) / n_piece + 1;
        kernel->run = run_segmentation_loss;
        kernel->workspace_bytes = edt_cpu_align((size_t)n_pieces * sizeof(double)) +
                                  n_threads * (size_t)(n_piece * x->dim[3]) * sizeof(float);
        break;
    }
    default:
        EDT_FAIL(err, EDT_ERR_INTERNAL, "cpu: %s is not of the segmentation head",
                 edt_op_get_info(kernel->desc.kind)->name);
    }
    return EDT_OK;
}
