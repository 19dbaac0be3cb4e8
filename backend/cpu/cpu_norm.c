// Batch normalisation (+ activation). Training: statistics per thread in double, added in
// thread order, then the normalising pass, in one parallel region; or either half of it alone,
// when sums over ranks come between (synchronised batch norm). The backward ops compute the
// activation's slope from x instead of reading one that the forward pass stored.
#include <math.h>
#include <omp.h>
#include <string.h>

#include "backend/cpu/cpu_priv.h"

// Workspace: per thread 2 C doubles, then 4 float vectors of C, then what a gate has per image.
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

// The statistics of training on their way into outputs: `origin` of each channel, from which
// the sums were taken, and the n rows that they cover.
typedef struct finish {
    const edt_bn_attrs *bn;
    double n, unbiased;
    const float *origin, *gamma;
    float *moving_mean, *moving_var;
    float *mean, *scale;          // of the normalising pass
    float *out_mean, *out_invstd; // NULL: not wanted
} finish;

static finish begin_finish(const edt_kernel *kernel, const edt_cpu_run *run, int i_gamma,
                           double n)
{
    const edt_bn_attrs *bn = &kernel->desc.attrs.bn;
    const work w = split_workspace(run, kernel->desc.in[0].shape.dim[3]);
    return (finish){
        .bn = bn,
        .n = n,
        .unbiased = bn->biased_moving_variance || n < 2 ? 1 : n / (n - 1),
        .gamma = run->in[i_gamma],
        .moving_mean = run->in[i_gamma + 2],
        .moving_var = run->in[i_gamma + 3],
        .mean = w.vec[0],
        .scale = w.vec[1],
        .out_mean = kernel->desc.n_out > 1 ? run->out[1] : NULL,
        .out_invstd = kernel->desc.n_out > 2 ? run->out[2] : NULL,
    };
}

static void finish_channel(const finish *f, int64_t i, double sum, double square)
{
    const double offset = sum / f->n;
    const double spread = square / f->n - offset * offset;
    const double var = spread > 0 ? spread : spread <= 0 ? 0 : spread; // NaN stays
    const double m = (double)f->origin[i] + offset;
    const double invstd = 1 / sqrt(var + f->bn->epsilon);
    const double rest = 1 - f->bn->momentum;
    const double old_mean = (double)f->moving_mean[i];
    const double old_var = (double)f->moving_var[i];
    f->mean[i] = (float)m;
    f->scale[i] = (float)((double)f->gamma[i] * invstd);
    f->moving_mean[i] = (float)(old_mean - (old_mean - m) * rest);
    f->moving_var[i] = (float)(old_var - (old_var - var * f->unbiased) * rest);
    if (f->out_mean != NULL) {
        f->out_mean[i] = (float)m;
    }
    if (f->out_invstd != NULL) {
        f->out_invstd[i] = (float)invstd;
    }
}

static edt_status run_train(edt_kernel *kernel, const edt_cpu_run *run)
{
    const edt_cpu_kernels *simd = edt_cpu_kernels_of(run->backend);
    const edt_bn_attrs *bn = &kernel->desc.attrs.bn;
    const edt_cpu_rows rows = edt_cpu_rows_of(&kernel->desc.in[0]);
    const int64_t c = rows.c;
    const edt_real *x = run->in[0];
    const float *beta = run->in[2];
    edt_real *y = run->out[0];
    const work w = split_workspace(run, c);
    finish f = begin_finish(kernel, run, 1, (double)rows.rows);
    edt_cpu_kernels_of(run->backend)->widen(x, w.vec[2], c); // the first row
    f.origin = w.vec[2];
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
        simd->bn_stats(x + begin * c, f.origin, end - begin, c, mine, mine + c);
#pragma omp barrier
        int64_t c_begin;
        int64_t c_end;
        edt_cpu_split(c, n_parts, part, &c_begin, &c_end);
        for (int64_t i = c_begin; i < c_end; i++) {
            finish_channel(&f, i, gather(&w, n_parts, c, i), gather(&w, n_parts, c, c + i));
        }
#pragma omp barrier
        simd->bn_apply(bn->act, x + begin * c, f.mean, f.scale, beta, y + begin * c,
                       end - begin, c);
    }
    return EDT_OK;
}

static edt_status run_stats(edt_kernel *kernel, const edt_cpu_run *run)
{
    const edt_cpu_rows rows = edt_cpu_rows_of(&kernel->desc.in[0]);
    const int64_t c = rows.c;
    const edt_real *x = run->in[0];
    const float *origin = run->in[1];
    double *sums = run->out[0];
    const work w = split_workspace(run, c);
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
        edt_cpu_kernels_of(run->backend)
            ->bn_stats(x + begin * c, origin, end - begin, c, mine, mine + c);
#pragma omp barrier
        edt_cpu_split(2 * c, n_parts, part, &begin, &end);
        for (int64_t i = begin; i < end; i++) {
            sums[i] = gather(&w, n_parts, c, i);
        }
    }
    return EDT_OK;
}

// y may lie over x.
static edt_status run_apply(edt_kernel *kernel, const edt_cpu_run *run)
{
    const edt_bn_attrs *bn = &kernel->desc.attrs.bn;
    const edt_cpu_rows rows = edt_cpu_rows_of(&kernel->desc.in[0]);
    const int64_t c = rows.c;
    const edt_real *x = run->in[0];
    const double *sums = run->in[1];
    const float *beta = run->in[3];
    edt_real *y = run->out[0];
    finish f = begin_finish(kernel, run, 2, (double)rows.rows * bn->n_ranks);
    f.origin = f.moving_mean;
    const int n_threads = edt_cpu_threads(run->backend, rows.rows * c);
#pragma omp parallel num_threads(n_threads)
    {
        const int n_parts = omp_get_num_threads();
        const int part = omp_get_thread_num();
        int64_t begin;
        int64_t end;
        edt_cpu_split(c, n_parts, part, &begin, &end);
        for (int64_t i = begin; i < end; i++) {
            finish_channel(&f, i, sums[i], sums[c + i]);
        }
#pragma omp barrier
        edt_cpu_split(rows.rows, n_parts, part, &begin, &end);
        edt_cpu_kernels_of(run->backend)
            ->bn_apply(bn->act, x + begin * c, f.mean, f.scale, beta, y + begin * c,
                       end - begin, c);
    }
    return EDT_OK;
}

static edt_status run_infer(edt_kernel *kernel, const edt_cpu_run *run)
{
    const edt_bn_attrs *bn = &kernel->desc.attrs.bn;
    const edt_cpu_rows rows = edt_cpu_rows_of(&kernel->desc.in[0]);
    const int64_t c = rows.c;
    const edt_real *x = run->in[0];
    const float *gamma = run->in[1];
    const float *beta = run->in[2];
    const float *mean = run->in[3];
    const float *var = run->in[4];
    edt_real *y = run->out[0];
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
        edt_cpu_kernels_of(run->backend)
            ->bn_apply(bn->act, x + begin * c, mean, scale, beta, y + begin * c, end - begin,
                       c);
    }
    return EDT_OK;
}

// What a gate and the pooling beside it made of dy on its way back, per image and channel.
typedef struct gate {
    const float *times, *plus; // NULL: there is none
} gate;

static bool is_gated(const edt_op_desc *desc)
{
    return desc->kind == EDT_OP_BN_TRAIN_BWD && desc->n_in > 6;
}

static gate make_gate(const edt_kernel *kernel, const edt_cpu_run *run)
{
    const edt_cpu_kernels *simd = edt_cpu_kernels_of(run->backend);
    const edt_cpu_rows rows = edt_cpu_rows_of(&kernel->desc.in[0]);
    const int64_t n = rows.n * rows.c;
    if (!is_gated(&kernel->desc)) {
        return (gate){0};
    }
    float *times = split_workspace(run, rows.c).vec[3] + rows.c;
    float *plus = times + n;
    simd->widen(run->in[6], times, n);
    simd->widen(run->in[7], plus, n);
    for (int64_t i = 0; i < n; i++) {
        plus[i] /= (float)rows.cells;
    }
    return (gate){times, plus};
}

// The values for one image.
static edt_cpu_bn_bwd at_image(const edt_cpu_bn_bwd *bn, const gate *g,
                               const edt_cpu_rows *rows, int64_t image)
{
    edt_cpu_bn_bwd own = *bn;
    if (g->times != NULL) {
        own.times = g->times + image * rows->c;
        own.plus = g->plus + image * rows->c;
    }
    return own;
}

// BN_TRAIN_BWD, BN_INFER_BWD and, without dx, BN_BWD_STATS.
static edt_status run_bwd(edt_kernel *kernel, const edt_cpu_run *run)
{
    // What x and dz may take for the first pass to leave some of them in the cache.
    enum { CACHED_BYTES = 16 << 20 };
    const edt_cpu_kernels *simd = edt_cpu_kernels_of(run->backend);
    const edt_op_desc *desc = &kernel->desc;
    const bool batch = desc->kind == EDT_OP_BN_TRAIN_BWD;
    const bool stats = desc->kind == EDT_OP_BN_BWD_STATS;
    const edt_cpu_rows rows = edt_cpu_rows_of(&desc->in[0]);
    const int64_t c = rows.c;
    const edt_real *dy = run->in[0];
    const edt_real *x = run->in[1];
    double *sums = stats ? run->out[0] : NULL;
    edt_real *dx = stats ? NULL : run->out[0];
    float *dgamma = desc->n_out > 1 ? run->out[1] : NULL;
    float *dbeta = desc->n_out > 2 ? run->out[2] : NULL;
    const work w = split_workspace(run, c);
    float *mean_dz = w.vec[0];
    float *mean_dz_xhat = w.vec[1];
    edt_cpu_bn_bwd bn = {
        .act = desc->attrs.bn.act,
        .mean = run->in[4],
        .invstd = run->in[5],
        .gamma = run->in[2],
        .beta = run->in[3],
        .mean_dz = mean_dz,
        .mean_dz_xhat = mean_dz_xhat,
    };
    if (desc->kind == EDT_OP_BN_INFER_BWD) {
        float *own = w.vec[2];
        const float *var = run->in[5];
        for (int64_t i = 0; i < c; i++) {
            own[i] = (float)(1 / sqrt((double)var[i] + desc->attrs.bn.epsilon));
        }
        bn.invstd = own;
    }
    const gate g = make_gate(kernel, run);
    const int64_t image_rows = g.times == NULL ? rows.rows : rows.cells;
    // In f32 the first pass leaves dz in dx, so that the second has no slope to compute again;
    // a 16-bit dz would be rounded on the way, and storing what leaves the cache takes as long.
    const bool stores = EDT_REAL_IS_FLOAT && batch && bn.act != EDT_ACT_NONE &&
                        2 * edt_tensor_bytes(&desc->in[0]) <= CACHED_BYTES;
    edt_real *dz = stores ? dx : NULL;
    const bool wants_sums = batch || sums != NULL || dgamma != NULL || dbeta != NULL;
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
        for (int64_t stop = end; wants_sums && stop > begin;) {
            const int64_t image = (stop - 1) / image_rows;
            const int64_t first = image * image_rows > begin ? image * image_rows : begin;
            const edt_cpu_bn_bwd own = at_image(&bn, &g, &rows, image);
            simd->bn_bwd_sums(&own, dy + first * c, x + first * c,
                              dz == NULL ? NULL : dz + first * c, stop - first, c, mine,
                              mine + c);
            stop = first;
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
            if (sums != NULL) {
                sums[i] = sum_dz;
                sums[c + i] = sum_dz_xhat;
            }
            if (dgamma != NULL) {
                edt_cpu_put(&dgamma[i], sum_dz_xhat, desc->attrs.accumulate);
            }
            if (dbeta != NULL) {
                edt_cpu_put(&dbeta[i], sum_dz, desc->attrs.accumulate);
            }
        }
#pragma omp barrier
        for (int64_t first = begin; dx != NULL && first < end;) {
            const int64_t image = first / image_rows;
            const int64_t stop =
                (image + 1) * image_rows < end ? (image + 1) * image_rows : end;
            edt_cpu_bn_bwd own = at_image(&bn, &g, &rows, image);
            if (dz != NULL) {
                own.act = EDT_ACT_NONE;
                own.times = NULL;
            }
            simd->bn_bwd_apply(&own, (dz == NULL ? dy : dz) + first * c, x + first * c,
                               dx + first * c, stop - first, c);
            first = stop;
        }
    }
    return EDT_OK;
}

static edt_status run_bwd_apply(edt_kernel *kernel, const edt_cpu_run *run)
{
    const edt_cpu_rows rows = edt_cpu_rows_of(&kernel->desc.in[0]);
    const int64_t c = rows.c;
    const edt_real *dy = run->in[0];
    const edt_real *x = run->in[1];
    const double *sums = run->in[6];
    edt_real *dx = run->out[0];
    if (dx == NULL) {
        return EDT_OK;
    }
    const work w = split_workspace(run, c);
    const double n = (double)rows.rows * kernel->desc.attrs.bn.n_ranks;
    const edt_cpu_bn_bwd bn = {
        .act = kernel->desc.attrs.bn.act,
        .mean = run->in[4],
        .invstd = run->in[5],
        .gamma = run->in[2],
        .beta = run->in[3],
        .mean_dz = w.vec[0],
        .mean_dz_xhat = w.vec[1],
    };
    for (int64_t i = 0; i < c; i++) {
        w.vec[0][i] = (float)(sums[i] / n);
        w.vec[1][i] = (float)(sums[c + i] / n);
    }
    const int n_threads = edt_cpu_threads(run->backend, rows.rows * c);
#pragma omp parallel num_threads(n_threads)
    {
        int64_t begin;
        int64_t end;
        edt_cpu_split(rows.rows, omp_get_num_threads(), omp_get_thread_num(), &begin, &end);
        edt_cpu_kernels_of(run->backend)
            ->bn_bwd_apply(&bn, dy + begin * c, x + begin * c, dx + begin * c, end - begin, c);
    }
    return EDT_OK;
}

edt_status EDT_R(edt_cpu_prepare_norm)(edt_cpu_backend *backend, edt_kernel *kernel,
                                       edt_error *err)
{
    (void)err;
    const size_t c = (size_t)kernel->desc.in[0].shape.dim[3];
    kernel->workspace_bytes =
        (size_t)backend->base.n_threads * 2 * c * sizeof(double) + 4 * c * sizeof(float);
    if (is_gated(&kernel->desc)) {
        kernel->workspace_bytes +=
            2 * (size_t)kernel->desc.in[0].shape.dim[0] * c * sizeof(float);
    }
    switch (kernel->desc.kind) {
    case EDT_OP_BN_TRAIN: kernel->run = run_train; break;
    case EDT_OP_BN_STATS: kernel->run = run_stats; break;
    case EDT_OP_BN_APPLY: kernel->run = run_apply; break;
    case EDT_OP_BN_INFER: kernel->run = run_infer; break;
    case EDT_OP_BN_BWD_APPLY: kernel->run = run_bwd_apply; break;
    default: kernel->run = run_bwd; break;
    }
    return EDT_OK;
}
