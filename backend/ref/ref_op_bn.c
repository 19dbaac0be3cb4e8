// Batch normalisation with its activation, in training (batch statistics, in one piece or in
// the two halves of the synchronised form) and inference form, the gradients, and the fused
// convolution + BN + activation as the chain that it stands for.
#include <string.h>

#include "backend/ref/ref_priv.h"

void EDT_REF(bn_normalize)(const edt_bn_attrs *bn, int64_t n_rows, int64_t n_channels,
                           const real *x, const real *gamma, const real *beta, const real *mean,
                           const real *var, double *scratch, real *y)
{
    double *scale = scratch;
    for (int64_t c = 0; c < n_channels; ++c) {
        scale[c] = (double)gamma[c] / sqrt((double)var[c] + bn->epsilon);
    }
    for (int64_t row = 0; row < n_rows; ++row) {
        const real *from = x + row * n_channels;
        real *to = y + row * n_channels;
        for (int64_t c = 0; c < n_channels; ++c) {
            to[c] = (real)(((double)from[c] - (double)mean[c]) * scale[c] + (double)beta[c]);
        }
        for (int64_t c = 0; bn->act != EDT_ACT_NONE && c < n_channels; ++c) {
            to[c] = (real)edt_ref_act_value(bn->act, (double)to[c]);
        }
    }
}

static int64_t rows_of(const edt_shape *shape)
{
    return shape->dim[0] * shape->dim[1] * shape->dim[2];
}

void EDT_REF(bn_infer)(const edt_op_desc *desc, const edt_run_ctx *ctx, void *const *in,
                       void *const *out, void *scratch)
{
    (void)ctx;
    const edt_shape *shape = &desc->in[0].shape;
    EDT_REF(bn_normalize)
    (&desc->attrs.bn, rows_of(shape), shape->dim[3], in[0], in[1], in[2], in[3], in[4], scratch,
     out[0]);
}

// Mean and biased variance per channel, two passes in double.
static void batch_statistics(int64_t n_rows, int64_t n_channels, const real *x,
                             double *out_mean, double *out_var)
{
    memset(out_mean, 0, (size_t)n_channels * sizeof(double));
    memset(out_var, 0, (size_t)n_channels * sizeof(double));
    for (int64_t i = 0, row = 0; row < n_rows; ++row) {
        for (int64_t c = 0; c < n_channels; ++c, ++i) {
            out_mean[c] += (double)x[i];
        }
    }
    for (int64_t c = 0; c < n_channels; ++c) {
        out_mean[c] /= (double)n_rows;
    }
    for (int64_t i = 0, row = 0; row < n_rows; ++row) {
        for (int64_t c = 0; c < n_channels; ++c, ++i) {
            const double d = (double)x[i] - out_mean[c];
            out_var[c] += d * d;
        }
    }
    for (int64_t c = 0; c < n_channels; ++c) {
        out_var[c] /= (double)n_rows;
    }
}

// The second half of training: stores statistics, moves the moving ones and normalises. mean,
// var and scale are C doubles each, scale to be filled; n rows gave the statistics; `first` is
// the index of gamma.
static void apply_statistics(const edt_op_desc *desc, void *const *in, int first, double n,
                             const double *mean, const double *var, double *scale,
                             void *const *out)
{
    const edt_bn_attrs *bn = &desc->attrs.bn;
    const edt_shape *shape = &desc->in[0].shape;
    const int64_t n_channels = shape->dim[3];
    const real *x = in[0];
    const real *gamma = in[first];
    const real *beta = in[first + 1];
    real *moving_mean = in[first + 2];
    real *moving_var = in[first + 3];
    real *y = out[0];
    real *out_mean = desc->n_out > 1 ? out[1] : NULL;
    real *out_invstd = desc->n_out > 2 ? out[2] : NULL;
    const double unbiased = bn->biased_moving_variance ? 1 : n / fmax(n - 1, 1);
    for (int64_t c = 0; c < n_channels; ++c) {
        const double invstd = 1 / sqrt(var[c] + bn->epsilon);
        scale[c] = (double)gamma[c] * invstd;
        if (out_mean != NULL) {
            out_mean[c] = (real)mean[c];
        }
        if (out_invstd != NULL) {
            out_invstd[c] = (real)invstd;
        }
        const double m = (double)moving_mean[c];
        const double v = (double)moving_var[c];
        moving_mean[c] = (real)(m - (m - mean[c]) * (1 - bn->momentum));
        moving_var[c] = (real)(v - (v - var[c] * unbiased) * (1 - bn->momentum));
    }
    for (int64_t i = 0, row = 0; row < rows_of(shape); ++row) {
        for (int64_t c = 0; c < n_channels; ++c, ++i) {
            const real z = (real)(((double)x[i] - mean[c]) * scale[c] + (double)beta[c]);
            y[i] = bn->act == EDT_ACT_NONE ? z : (real)edt_ref_act_value(bn->act, (double)z);
        }
    }
}

void EDT_REF(bn_train)(const edt_op_desc *desc, const edt_run_ctx *ctx, void *const *in,
                       void *const *out, void *scratch)
{
    (void)ctx;
    const edt_shape *shape = &desc->in[0].shape;
    const int64_t n_channels = shape->dim[3];
    double *mean = scratch;
    double *var = mean + n_channels;
    batch_statistics(rows_of(shape), n_channels, in[0], mean, var);
    apply_statistics(desc, in, 1, (double)rows_of(shape), mean, var, var + n_channels, out);
}

void EDT_REF(bn_stats)(const edt_op_desc *desc, const edt_run_ctx *ctx, void *const *in,
                       void *const *out, void *scratch)
{
    (void)ctx;
    (void)scratch;
    const edt_shape *shape = &desc->in[0].shape;
    const int64_t n_channels = shape->dim[3];
    const real *x = in[0];
    const real *moving_mean = in[1];
    double *sums = out[0];
    memset(sums, 0, 2 * (size_t)n_channels * sizeof(double));
    for (int64_t i = 0, row = 0; row < rows_of(shape); ++row) {
        for (int64_t c = 0; c < n_channels; ++c, ++i) {
            const double d = (double)x[i] - (double)moving_mean[c];
            sums[c] += d;
            sums[n_channels + c] += d * d;
        }
    }
}

void EDT_REF(bn_apply)(const edt_op_desc *desc, const edt_run_ctx *ctx, void *const *in,
                       void *const *out, void *scratch)
{
    (void)ctx;
    const edt_shape *shape = &desc->in[0].shape;
    const int64_t n_channels = shape->dim[3];
    const double n = (double)rows_of(shape) * desc->attrs.bn.n_ranks;
    const double *sums = in[1];
    const real *moving_mean = in[4];
    double *mean = scratch;
    double *var = mean + n_channels;
    for (int64_t c = 0; c < n_channels; ++c) {
        const double shift = sums[c] / n; // from the moving mean to the mean
        mean[c] = (double)moving_mean[c] + shift;
        var[c] = fmax(sums[n_channels + c] / n - shift * shift, 0);
    }
    apply_statistics(desc, in, 2, n, mean, var, var + n_channels, out);
}

// dz = dy * act'(z), z recomputed from x; sums over the rows of dz and of dz * normalised x.
typedef struct bn_bwd {
    const edt_bn_attrs *bn;
    int64_t n_rows, n_channels;
    const real *dy, *x, *gamma, *beta;
    const real *s, *dmean;    // [N,C] where dy has passed a gate, else NULL
    int64_t n_cells;          // pixels of an image
    double *mean, *invstd;    // [C]
    double *sum_dz, *sum_dzx; // [C]
} bn_bwd;

static double dy_at(const bn_bwd *b, int64_t i, int64_t c)
{
    if (b->s == NULL) {
        return (double)b->dy[i];
    }
    const int64_t at = i / (b->n_cells * b->n_channels) * b->n_channels + c;
    return (double)b->dy[i] * (double)b->s[at] + (double)b->dmean[at] / (double)b->n_cells;
}

static double slope_at(const bn_bwd *b, int64_t i, int64_t c, double *out_normalised)
{
    const double xn = ((double)b->x[i] - b->mean[c]) * b->invstd[c];
    *out_normalised = xn;
    if (b->bn->act == EDT_ACT_NONE) {
        return dy_at(b, i, c);
    }
    const real z = (real)(xn * (double)b->gamma[c] + (double)b->beta[c]);
    return dy_at(b, i, c) * edt_ref_act_slope(b->bn->act, (double)z);
}

static void sum_gradients(bn_bwd *b)
{
    memset(b->sum_dz, 0, (size_t)b->n_channels * sizeof(double));
    memset(b->sum_dzx, 0, (size_t)b->n_channels * sizeof(double));
    for (int64_t i = 0, row = 0; row < b->n_rows; ++row) {
        for (int64_t c = 0; c < b->n_channels; ++c, ++i) {
            double xn;
            const double dz = slope_at(b, i, c, &xn);
            b->sum_dz[c] += dz;
            b->sum_dzx[c] += dz * xn;
        }
    }
}

static void store_parameter_gradients(const bn_bwd *b, const edt_op_desc *desc,
                                      void *const *out)
{
    real *dgamma = desc->n_out > 1 ? out[1] : NULL;
    real *dbeta = desc->n_out > 2 ? out[2] : NULL;
    for (int64_t c = 0; c < b->n_channels; ++c) {
        if (dgamma != NULL) {
            edt_ref_store(&dgamma[c], b->sum_dzx[c], desc->attrs.accumulate);
        }
        if (dbeta != NULL) {
            edt_ref_store(&dbeta[c], b->sum_dz[c], desc->attrs.accumulate);
        }
    }
}

static bn_bwd begin_bwd(const edt_op_desc *desc, void *const *in, void *scratch)
{
    const edt_shape *shape = &desc->in[0].shape;
    double *room = scratch;
    return (bn_bwd){
        .bn = &desc->attrs.bn,
        .n_rows = rows_of(shape),
        .n_channels = shape->dim[3],
        .dy = in[0],
        .x = in[1],
        .gamma = in[2],
        .beta = in[3],
        .n_cells = shape->dim[1] * shape->dim[2],
        .mean = room,
        .invstd = room + shape->dim[3],
        .sum_dz = room + 2 * shape->dim[3],
        .sum_dzx = room + 3 * shape->dim[3],
    };
}

static bn_bwd begin_batch_bwd(const edt_op_desc *desc, void *const *in, void *scratch)
{
    const bn_bwd b = begin_bwd(desc, in, scratch);
    const real *mean = in[4];
    const real *invstd = in[5];
    for (int64_t c = 0; c < b.n_channels; ++c) {
        b.mean[c] = (double)mean[c];
        b.invstd[c] = (double)invstd[c];
    }
    return b;
}

// dx from sums over the n rows that share the statistics.
static void store_batch_dx(const bn_bwd *b, double n, real *dx)
{
    for (int64_t i = 0, row = 0; row < b->n_rows; ++row) {
        for (int64_t c = 0; c < b->n_channels; ++c, ++i) {
            double xn;
            const double dz = slope_at(b, i, c, &xn);
            dx[i] = (real)((double)b->gamma[c] * b->invstd[c] *
                           (dz - b->sum_dz[c] / n - xn * (b->sum_dzx[c] / n)));
        }
    }
}

void EDT_REF(bn_train_bwd)(const edt_op_desc *desc, const edt_run_ctx *ctx, void *const *in,
                           void *const *out, void *scratch)
{
    (void)ctx;
    bn_bwd b = begin_batch_bwd(desc, in, scratch);
    if (desc->n_in > 6) {
        b.s = in[6];
        b.dmean = in[7];
    }
    sum_gradients(&b);
    if (out[0] != NULL) {
        store_batch_dx(&b, (double)b.n_rows, out[0]);
    }
    store_parameter_gradients(&b, desc, out);
}

void EDT_REF(bn_bwd_stats)(const edt_op_desc *desc, const edt_run_ctx *ctx, void *const *in,
                           void *const *out, void *scratch)
{
    (void)ctx;
    bn_bwd b = begin_batch_bwd(desc, in, scratch);
    const size_t n_bytes = (size_t)b.n_channels * sizeof(double);
    double *sums = out[0];
    sum_gradients(&b);
    if (sums != NULL) {
        memcpy(sums, b.sum_dz, n_bytes);
        memcpy(sums + b.n_channels, b.sum_dzx, n_bytes);
    }
    store_parameter_gradients(&b, desc, out);
}

void EDT_REF(bn_bwd_apply)(const edt_op_desc *desc, const edt_run_ctx *ctx, void *const *in,
                           void *const *out, void *scratch)
{
    (void)ctx;
    bn_bwd b = begin_batch_bwd(desc, in, scratch);
    const double *sums = in[6];
    memcpy(b.sum_dz, sums, (size_t)b.n_channels * sizeof(double));
    memcpy(b.sum_dzx, sums + b.n_channels, (size_t)b.n_channels * sizeof(double));
    if (out[0] != NULL) {
        store_batch_dx(&b, (double)b.n_rows * desc->attrs.bn.n_ranks, out[0]);
    }
}

void EDT_REF(bn_infer_bwd)(const edt_op_desc *desc, const edt_run_ctx *ctx, void *const *in,
                           void *const *out, void *scratch)
{
    (void)ctx;
    bn_bwd b = begin_bwd(desc, in, scratch);
    const real *moving_mean = in[4];
    const real *moving_var = in[5];
    real *dx = out[0];
    for (int64_t c = 0; c < b.n_channels; ++c) {
        b.mean[c] = (double)moving_mean[c];
        b.invstd[c] = 1 / sqrt((double)moving_var[c] + b.bn->epsilon);
    }
    sum_gradients(&b);
    for (int64_t i = 0, row = 0; dx != NULL && row < b.n_rows; ++row) {
        for (int64_t c = 0; c < b.n_channels; ++c, ++i) {
            double xn;
            dx[i] = (real)(slope_at(&b, i, c, &xn) * (double)b.gamma[c] * b.invstd[c]);
        }
    }
    store_parameter_gradients(&b, desc, out);
}

void EDT_REF(conv_bn_act)(const edt_op_desc *desc, const edt_run_ctx *ctx, void *const *in,
                          void *const *out, void *scratch)
{
    const edt_conv_attrs *conv = &desc->attrs.conv;
    const edt_ref_window g = edt_ref_window_of(&desc->in[0].shape, &desc->out[0].shape, conv);
    const real *bias = conv->has_bias ? in[6] : NULL;
    const real *residual = conv->has_residual ? in[desc->n_in - 1] : NULL;
    real *y = out[0];
    const void *x = in[0];
    if (conv->has_gate) {
        const edt_op_desc scale = {.in = {desc->in[0]}};
        void *const scale_in[2] = {in[0], in[conv->has_bias ? 7 : 6]};
        void *scaled = (double *)scratch + 2 * g.co;
        EDT_REF(scale_channels)(&scale, ctx, scale_in, &scaled, NULL);
        x = scaled;
    }
    if (desc->kind == EDT_OP_CONV2D_BN_ACT) {
        EDT_REF(conv2d_forward)(&g, x, in[1], bias, y);
    } else {
        EDT_REF(depthwise_forward)(&g, in[0], in[1], y);
    }
    const int64_t n_rows = g.n * g.oh * g.ow;
    EDT_REF(bn_normalize)
    (&desc->attrs.bn, n_rows, g.co, y, in[2], in[3], in[4], in[5], scratch, y);
    for (int64_t i = 0; residual != NULL && i < n_rows * g.co; ++i) {
        y[i] += residual[i];
    }
    if (desc->n_out > 1 && out[1] != NULL) {
        const edt_op_desc pool = {.kind = EDT_OP_GLOBAL_AVG_POOL, .in = {desc->out[0]}};
        EDT_REF(global_avg_pool)(&pool, ctx, out, out + 1, scratch);
    }
}

void EDT_REF(conv_depthwise_bn_act)(const edt_op_desc *desc, const edt_run_ctx *ctx,
                                    void *const *in, void *const *out, void *scratch)
{
    edt_op_desc first;
    edt_op_desc second;
    if (edt_op_chain_parts(desc, NULL, &first, &second) != EDT_OK) {
        return; // what edt_op_infer accepted has parts
    }
    void *between = (double *)scratch + 2 * first.out[0].shape.dim[3];
    void *const second_in[6] = {between, in[6], in[7], in[8], in[9], in[10]};
    EDT_REF(conv_bn_act)(&first, ctx, in, &between, scratch);
    EDT_REF(conv_bn_act)(&second, ctx, second_in, out, scratch);
}
