// Weighted feature fusion with its activation. All methods become one weight vector of C per
// input; the weights' gradients come from per-channel sums of dz * x through the normalisation.
#include <math.h>
#include <omp.h>
#include <string.h>

#include "backend/cpu/cpu_priv.h"

typedef struct method {
    bool weighted, fast, per_channel;
    int m;
} method;

static method method_of(const edt_op_attrs *attrs)
{
    const edt_fuse_method kind = attrs->fuse_method;
    return (method){
        .weighted = kind != EDT_FUSE_SUM,
        .fast = kind == EDT_FUSE_FASTATTN || kind == EDT_FUSE_CHANNEL_FASTATTN,
        .per_channel = kind == EDT_FUSE_CHANNEL_FASTATTN || kind == EDT_FUSE_CHANNEL_ATTN,
        .m = attrs->fuse_n,
    };
}

// Numerators of one channel; returns the denominator.
static double weigh(const method *how, void *const *w, int64_t c, double num[EDT_FUSE_MAX_IN])
{
    double largest = -INFINITY;
    double sum = 0;
    for (int j = 0; j < how->m; j++) {
        num[j] = how->weighted ? (double)((const float *)w[j])[how->per_channel ? c : 0] : 1;
        largest = num[j] > largest ? num[j] : largest;
    }
    for (int j = 0; how->weighted && j < how->m; j++) {
        num[j] = !how->fast ? exp(num[j] - largest) : num[j] > 0 ? num[j] : 0;
        sum += num[j];
    }
    if (!how->weighted) {
        return 1;
    }
    return how->fast ? sum + 1e-4 : sum;
}

static edt_cpu_fuse begin_fuse(const method *how, void *const *x, int64_t c, float *weights)
{
    edt_cpu_fuse fuse = {.n = how->m};
    for (int64_t i = 0; i < c; i++) {
        double num[EDT_FUSE_MAX_IN];
        const double den = weigh(how, x + how->m, i, num);
        for (int j = 0; j < how->m; j++) {
            weights[j * c + i] = (float)(num[j] / den);
        }
    }
    for (int j = 0; j < how->m; j++) {
        fuse.x[j] = x[j];
        fuse.w[j] = weights + j * c;
    }
    return fuse;
}

static edt_status run_fuse(edt_kernel *kernel, const edt_cpu_run *run)
{
    const edt_cpu_rows rows = edt_cpu_rows_of(&kernel->desc.in[0]);
    const method how = method_of(&kernel->desc.attrs);
    const edt_cpu_fuse all = begin_fuse(&how, run->in, rows.c, (float *)(void *)run->workspace);
    edt_real *y = run->out[0];
    const int n_threads = edt_cpu_threads(run->backend, rows.rows * rows.c);
#pragma omp parallel num_threads(n_threads)
    {
        int64_t begin;
        int64_t end;
        edt_cpu_split(rows.rows, omp_get_num_threads(), omp_get_thread_num(), &begin, &end);
        edt_cpu_fuse mine = all;
        for (int j = 0; j < how.m; j++) {
            mine.x[j] += begin * rows.c;
        }
        edt_cpu_kernels_of(run->backend)
            ->fuse(&mine, kernel->desc.attrs.act, y + begin * rows.c, end - begin, rows.c);
    }
    return EDT_OK;
}

// dw_j from g_j = sum over pixels of dz * x_j, channel by channel. Differences of the g,
// because g_j minus their weighted mean cancels where one weight has nearly everything.
static void finish_weights(const edt_kernel *kernel, const edt_cpu_run *run, const method *how,
                           const double *g, int64_t c)
{
    double total[EDT_FUSE_MAX_IN] = {0};
    for (int64_t i = 0; i < c; i++) {
        double num[EDT_FUSE_MAX_IN];
        const double den = weigh(how, run->in + 1 + how->m, i, num);
        for (int j = 0; j < how->m; j++) {
            double sum = how->fast ? 1e-4 * g[j * c + i] : 0;
            for (int k = 0; k < how->m; k++) {
                sum += num[k] * (g[j * c + i] - g[k * c + i]);
            }
            const float w = ((const float *)run->in[1 + how->m + j])[how->per_channel ? i : 0];
            const double gradient = !how->fast ? num[j] / den * (sum / den)
                                    : w > 0    ? sum / (den * den)
                                               : 0;
            total[j] += gradient;
            float *dw = how->m + j < kernel->desc.n_out ? run->out[how->m + j] : NULL;
            if (dw != NULL && how->per_channel) {
                edt_cpu_put(&dw[i], gradient, kernel->desc.attrs.accumulate);
            }
        }
    }
    for (int j = 0; !how->per_channel && j < how->m; j++) {
        float *dw = how->m + j < kernel->desc.n_out ? run->out[how->m + j] : NULL;
        if (dw != NULL) {
            edt_cpu_put(dw, total[j], kernel->desc.attrs.accumulate);
        }
    }
}

static edt_status run_fuse_bwd(edt_kernel *kernel, const edt_cpu_run *run)
{
    const edt_cpu_rows rows = edt_cpu_rows_of(&kernel->desc.in[0]);
    const int64_t c = rows.c;
    const method how = method_of(&kernel->desc.attrs);
    const int64_t n_sums = how.m * c;
    double *sums = (double *)(void *)run->workspace; // [threads][m][C]
    float *weights = (float *)(void *)(sums + run->backend->base.n_threads * n_sums);
    const edt_cpu_fuse all = begin_fuse(&how, run->in + 1, c, weights);
    const edt_real *dy = run->in[0];
    const int n_threads = edt_cpu_threads(run->backend, rows.rows * c);
    int n_parts = 1;
#pragma omp parallel num_threads(n_threads)
    {
        const int part = omp_get_thread_num();
#pragma omp single
        n_parts = omp_get_num_threads();
        int64_t begin;
        int64_t end;
        edt_cpu_split(rows.rows, n_parts, part, &begin, &end);
        edt_cpu_fuse mine = all;
        double *my_sums = sums + part * n_sums;
        memset(my_sums, 0, (size_t)n_sums * sizeof(double));
        for (int j = 0; j < how.m; j++) {
            edt_real *dx = j < kernel->desc.n_out ? run->out[j] : NULL;
            mine.x[j] += begin * c;
            mine.dx[j] = dx == NULL ? NULL : dx + begin * c;
            mine.dw[j] = how.weighted ? my_sums + j * c : NULL;
        }
        edt_cpu_kernels_of(run->backend)
            ->fuse_bwd(&mine, kernel->desc.attrs.act, dy + begin * c, end - begin, c);
    }
    if (how.weighted) {
        for (int p = 1; p < n_parts; p++) {
            for (int64_t i = 0; i < n_sums; i++) {
                sums[i] += sums[p * n_sums + i];
            }
        }
        finish_weights(kernel, run, &how, sums, c);
    }
    return EDT_OK;
}

edt_status EDT_R(edt_cpu_prepare_fuse)(edt_cpu_backend *backend, edt_kernel *kernel,
                                       edt_error *err)
{
    (void)err;
    const size_t n = (size_t)kernel->desc.in[0].shape.dim[3] * EDT_FUSE_MAX_IN;
    if (kernel->desc.kind == EDT_OP_FUSE) {
        kernel->run = run_fuse;
        kernel->workspace_bytes = n * sizeof(float);
    } else {
        kernel->run = run_fuse_bwd;
        kernel->workspace_bytes =
            n * sizeof(float) + (size_t)backend->base.n_threads * n * sizeof(double);
    }
    return EDT_OK;
}
