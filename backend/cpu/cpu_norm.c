// Batch normalisation (+ activation). Training: statistics per thread in double, added in
// thread order, then the normalising pass, in one parallel region. The backward ops recompute
// the activation's slope from x instead of reading a stored copy: memory traffic is what they
// cost.
#include <math.h>
#include <omp.h>
#include <string.h>

#include "backend/cpu/cpu_priv.h"

// Workspace: per thread 2 C doubles, then 4 float vectors of C.
typedef struct work {
    double *partial;
    float *vec[4];
} work;

static work split_workspace(const edt_cpu_run *run, int64_t c)
{
    work w = {.partial = (double *)(void *)run->workspace};
    float *floats = (float *)(void *)(run->workspace + (size_t)run->backend->base.n_threads *
                                                           2 * (size_t)c * sizeof(double));
    for (int i = 0; i < 4; i++) {
        w.vec[i] = floats + i * c;
    }
    return w;
}

// Sum over threads of value i of the two sums.
static double gather(const work *w, int n_parts, int64_t c, int64_t i)
{
    double total = 0;
    for (int p = 0; p < n_parts; p++) {
        total += w->partial[p * 2 * c + i];
    }
    return total;
}

static edt_status run_train(edt_kernel *kernel, const edt_cpu_run *run)
{
    const edt_cpu_kernels *simd = run->backend->simd;
    const edt_bn_attrs *bn = &kernel->desc.attrs.bn;
    const edt_cpu_rows rows = edt_cpu_rows_of(&kernel->desc.in[0]);
    const int64_t c = rows.c;
    const float *x = run->in[0];
    const float *gamma = run->in[1];
    const float *beta = run->in[2];
    float *moving_mean = run->in[3];
    float *moving_var = run->in[4];
    float *y = run->out[0];
    float *out_mean = kernel->desc.n_out > 1 ? run->out[1] : NULL;
    float *out_invstd = kernel->desc.n_out > 2 ? run->out[2] : NULL;
    const work w = split_workspace(run, c);
    float *mean = w.vec[0];
    float *scale = w.vec[1];
    const double n = (double)rows.rows;
    const double unbiased = bn->biased_moving_variance || rows.rows < 2 ? 1 : n / (n - 1);
    const int n_threads = edt_cpu_threads(run->backend, rows.rows * c);
#pragma omp parallel num_threads(n_threads)
    {
        const int n_parts = omp_get_num_threads();
        const int part = omp_get_thread_num();
        double *mine = w.partial + part * 2 * c;
        int64_t begin;
        int64_t end;
        edt_cpu_split(rows.rows, n_parts, part, &begin, &end);
        memset(mine, 0, (size_t)(2 * c) * sizeof(double));
        simd->bn_stats(x + begin * c, x, end - begin, c, mine, mine + c);
#pragma omp barrier
        int64_t c_begin;
        int64_t c_end;
        edt_cpu_split(c, n_parts, part, &c_begin, &c_end);
        for (int64_t i = c_begin; i < c_end; i++) {
            const double offset = gather(&w, n_parts, c, i) / n;
            const double spread = gather(&w, n_parts, c, c + i) / n - offset * offset;
            const double var = spread > 0 ? spread : spread <= 0 ? 0 : spread; // NaN stays
            const double m = (double)x[i] + offset;
            const double invstd = 1 / sqrt(var + bn->epsilon);
            mean[i] = (float)m;
            scale[i] = (float)((double)gamma[i] * invstd);
            moving_mean[i] = (float)((double)moving_mean[i] -
                                     ((double)moving_mean[i] - m) * (1 - bn->momentum));
            moving_var[i] =
                (float)((double)moving_var[i] -
                        ((double)moving_var[i] - var * unbiased) * (1 - bn->momentum));
            if (out_mean != NULL) {
                out_mean[i] = (float)m;
            }
            if (out_invstd != NULL) {
                out_invstd[i] = (float)invstd;
            }
        }
#pragma omp barrier
        simd->bn_apply(bn->act, x + begin * c, mean, scale, beta, y + begin * c, end - begin,
                       c);
    }
    return EDT_OK;
}

static edt_status run_infer(edt_kernel *kernel, const edt_cpu_run *run)
{
    const edt_bn_attrs *bn = &kernel->desc.attrs.bn;
    const edt_cpu_rows rows = edt_cpu_rows_of(&kernel->desc.in[0]);
    const int64_t c = rows.c;
    const float *x = run->in[0];
    const float *gamma = run->in[1];
    const float *beta = run->in[2];
    const float *mean = run->in[3];
    const float *var = run->in[4];
    float *y = run->out[0];
    float *scale = split_workspace(run, c).vec[0];
    for (int64_t i = 0; i < c; i++) {
        scale[i] = (float)((double)gamma[i] / sqrt((double)var[i] + bn->epsilon));
    }
    const int n_threads = edt_cpu_threads(run->backend, rows.rows * c);
#pragma omp parallel num_threads(n_threads)
    {
        int64_t begin;
        int64_t end;
        edt_cpu_split(rows.rows, omp_get_num_threads(), omp_get_thread_num(), &begin, &end);
        run->backend->simd->bn_apply(bn->act, x + begin * c, mean, scale, beta, y + begin * c,
                                     end - begin, c);
    }
    return EDT_OK;
}

static edt_status run_bwd(edt_kernel *kernel, const edt_cpu_run *run)
{
    const edt_cpu_kernels *simd = run->backend->simd;
    const edt_op_desc *desc = &kernel->desc;
    const edt_bn_attrs *bn = &desc->attrs.bn;
    const bool batch = desc->kind == EDT_OP_BN_TRAIN_BWD;
    const edt_cpu_rows rows = edt_cpu_rows_of(&desc->in[0]);
    const int64_t c = rows.c;
    const float *dy = run->in[0];
    const float *x = run->in[1];
    const float *gamma = run->in[2];
    const float *beta = run->in[3];
    const float *mean = run->in[4];
    float *dx = run->out[0];
    float *dgamma = desc->n_out > 1 ? run->out[1] : NULL;
    float *dbeta = desc->n_out > 2 ? run->out[2] : NULL;
    const work w = split_workspace(run, c);
    float *mean_dz = w.vec[0];
    float *mean_dz_xhat = w.vec[1];
    const float *invstd = run->in[5];
    if (!batch) {
        float *own = w.vec[2];
        const float *var = run->in[5];
        for (int64_t i = 0; i < c; i++) {
            own[i] = (float)(1 / sqrt((double)var[i] + bn->epsilon));
        }
        invstd = own;
    }
    const bool wants_sums = batch || dgamma != NULL || dbeta != NULL;
    const int n_threads = edt_cpu_threads(run->backend, rows.rows * c);
#pragma omp parallel num_threads(n_threads)
    {
        const int n_parts = omp_get_num_threads();
        const int part = omp_get_thread_num();
        double *mine = w.partial + part * 2 * c;
        int64_t begin;
        int64_t end;
        edt_cpu_split(rows.rows, n_parts, part, &begin, &end);
        const int64_t at = begin * c;
        memset(mine, 0, (size_t)(2 * c) * sizeof(double));
        if (wants_sums) {
            simd->bn_bwd_sums(bn->act, dy + at, x + at, mean, invstd, gamma, beta, end - begin,
                              c, mine, mine + c);
        }
#pragma omp barrier
        int64_t c_begin;
        int64_t c_end;
        edt_cpu_split(c, n_parts, part, &c_begin, &c_end);
        for (int64_t i = c_begin; i < c_end; i++) {
            const double sum_dz = gather(&w, n_parts, c, i);
            const double sum_dz_xhat = gather(&w, n_parts, c, c + i);
            mean_dz[i] = batch ? (float)(sum_dz / (double)rows.rows) : 0;
            mean_dz_xhat[i] = batch ? (float)(sum_dz_xhat / (double)rows.rows) : 0;
            if (dgamma != NULL) {
                edt_cpu_put(&dgamma[i], sum_dz_xhat, desc->attrs.accumulate);
            }
            if (dbeta != NULL) {
                edt_cpu_put(&dbeta[i], sum_dz, desc->attrs.accumulate);
            }
        }
#pragma omp barrier
        if (dx != NULL) {
            simd->bn_bwd_apply(bn->act, dy + at, x + at, mean, invstd, gamma, beta, mean_dz,
                               mean_dz_xhat, dx + at, end - begin, c);
        }
    }
    return EDT_OK;
}

edt_status edt_cpu_prepare_norm(edt_cpu_backend *backend, edt_kernel *kernel, edt_error *err)
{
    (void)err;
    const size_t c = (size_t)kernel->desc.in[0].shape.dim[3];
    kernel->workspace_bytes =
        (size_t)backend->base.n_threads * 2 * c * sizeof(double) + 4 * c * sizeof(float);
    kernel->run = kernel->desc.kind == EDT_OP_BN_TRAIN   ? run_train
                  : kernel->desc.kind == EDT_OP_BN_INFER ? run_infer
                                                         : run_bwd;
    return EDT_OK;
}
