// Ops that work element by element or channel by channel: input normalisation, activation, sum,
// drop connect, squeeze-and-excite scaling and its pooling, with their gradients.
#include <string.h>

#include "backend/ref/ref_priv.h"

void EDT_REF(normalize)(const edt_op_desc *desc, const edt_run_ctx *ctx, void *const *in,
                        void *const *out, void *scratch)
{
    (void)ctx;
    (void)scratch;
    const edt_op_attrs *attrs = &desc->attrs;
    const edt_shape *shape = &desc->in[0].shape;
    const uint8_t *image = in[0];
    const int32_t *valid_hw = in[1];
    real *y = out[0];
    const int64_t n_cells = shape->dim[1] * shape->dim[2];
    for (int64_t n = 0; n < shape->dim[0]; ++n) {
        for (int64_t cell = 0; cell < n_cells; ++cell) {
            const bool inside = cell / shape->dim[2] < valid_hw[2 * n] &&
                                cell % shape->dim[2] < valid_hw[2 * n + 1];
            for (int c = 0; c < 3; ++c) {
                const int64_t i = (n * n_cells + cell) * 3 + c;
                float v =
                    inside ? ((float)image[i] - attrs->norm_mean[c]) / attrs->norm_std[c] : 0;
                if (attrs->norm_scale_range) {
                    v = v * 2.0F / 255.0F - 1.0F;
                }
                y[i] = (real)v;
            }
        }
    }
}

void EDT_REF(act)(const edt_op_desc *desc, const edt_run_ctx *ctx, void *const *in,
                  void *const *out, void *scratch)
{
    (void)ctx;
    (void)scratch;
    const int64_t n = edt_shape_count(&desc->in[0].shape);
    const real *x = in[0];
    real *y = out[0];
    for (int64_t i = 0; i < n; ++i) {
        y[i] = (real)edt_ref_act_value(desc->attrs.act, (double)x[i]);
    }
}

void EDT_REF(act_bwd)(const edt_op_desc *desc, const edt_run_ctx *ctx, void *const *in,
                      void *const *out, void *scratch)
{
    (void)ctx;
    (void)scratch;
    const int64_t n = edt_shape_count(&desc->in[0].shape);
    const real *dy = in[0];
    const real *x = in[1];
    real *dx = out[0];
    for (int64_t i = 0; i < n; ++i) {
        dx[i] = (real)((double)dy[i] * edt_ref_act_slope(desc->attrs.act, (double)x[i]));
    }
}

void EDT_REF(add)(const edt_op_desc *desc, const edt_run_ctx *ctx, void *const *in,
                  void *const *out, void *scratch)
{
    (void)ctx;
    (void)scratch;
    const int64_t n = edt_shape_count(&desc->in[0].shape);
    const real *a = in[0];
    const real *b = in[1];
    real *y = out[0];
    for (int64_t i = 0; i < n; ++i) {
        y[i] = a[i] + b[i];
    }
}

void EDT_REF(drop_connect)(const edt_op_desc *desc, const edt_run_ctx *ctx, void *const *in,
                           void *const *out, void *scratch)
{
    (void)ctx;
    (void)scratch;
    const edt_shape *shape = &desc->in[0].shape;
    const int64_t n_row = edt_shape_count(shape) / shape->dim[0];
    const real survival = (real)desc->attrs.drop_survival;
    const real *x = in[0];
    const real *u = (const real *)in[1] + desc->attrs.drop_row * shape->dim[0];
    real *y = out[0];
    for (int64_t n = 0; n < shape->dim[0]; ++n) {
        const real kept = (real)floor((double)(real)(survival + u[n]));
        for (int64_t i = n * n_row; i < (n + 1) * n_row; ++i) {
            y[i] = x[i] / survival * kept;
        }
    }
}

void EDT_REF(global_avg_pool)(const edt_op_desc *desc, const edt_run_ctx *ctx, void *const *in,
                              void *const *out, void *scratch)
{
    (void)ctx;
    const edt_shape *shape = &desc->in[0].shape;
    const int64_t n_cells = shape->dim[1] * shape->dim[2];
    const int64_t n_channels = shape->dim[3];
    const real *x = in[0];
    real *y = out[0];
    double *sums = scratch;
    for (int64_t n = 0; n < shape->dim[0]; ++n) {
        memset(sums, 0, (size_t)n_channels * sizeof(double));
        for (int64_t cell = 0; cell < n_cells; ++cell) {
            for (int64_t c = 0; c < n_channels; ++c) {
                sums[c] += (double)x[(n * n_cells + cell) * n_channels + c];
            }
        }
        for (int64_t c = 0; c < n_channels; ++c) {
            y[n * n_channels + c] = (real)(sums[c] / (double)n_cells);
        }
    }
}

void EDT_REF(global_avg_pool_bwd)(const edt_op_desc *desc, const edt_run_ctx *ctx,
                                  void *const *in, void *const *out, void *scratch)
{
    (void)ctx;
    (void)scratch;
    const edt_shape *shape = &desc->out[0].shape;
    const int64_t n_cells = shape->dim[1] * shape->dim[2];
    const int64_t n_channels = shape->dim[3];
    const real *dy = in[0];
    real *dx = out[0];
    for (int64_t row = 0; row < shape->dim[0] * n_cells; ++row) {
        for (int64_t c = 0; c < n_channels; ++c) {
            dx[row * n_channels + c] = dy[row / n_cells * n_channels + c] / (real)n_cells;
        }
    }
}

void EDT_REF(scale_channels)(const edt_op_desc *desc, const edt_run_ctx *ctx, void *const *in,
                             void *const *out, void *scratch)
{
    (void)ctx;
    (void)scratch;
    const edt_shape *shape = &desc->in[0].shape;
    const int64_t n_cells = shape->dim[1] * shape->dim[2];
    const int64_t n_channels = shape->dim[3];
    const real *x = in[0];
    const real *s = in[1];
    real *y = out[0];
    for (int64_t row = 0; row < shape->dim[0] * n_cells; ++row) {
        for (int64_t c = 0; c < n_channels; ++c) {
            y[row * n_channels + c] =
                x[row * n_channels + c] * s[row / n_cells * n_channels + c];
        }
    }
}

void EDT_REF(scale_channels_bwd)(const edt_op_desc *desc, const edt_run_ctx *ctx,
                                 void *const *in, void *const *out, void *scratch)
{
    (void)ctx;
    const edt_shape *shape = &desc->in[0].shape;
    const int64_t n_cells = shape->dim[1] * shape->dim[2];
    const int64_t n_channels = shape->dim[3];
    const real *dy = in[0];
    const real *x = in[1];
    const real *s = in[2];
    real *dx = out[0];
    real *ds = desc->n_out > 1 ? out[1] : NULL;
    double *sums = scratch;
    for (int64_t n = 0; n < shape->dim[0]; ++n) {
        memset(sums, 0, (size_t)n_channels * sizeof(double));
        for (int64_t cell = 0; cell < n_cells; ++cell) {
            for (int64_t c = 0; c < n_channels; ++c) {
                const int64_t i = (n * n_cells + cell) * n_channels + c;
                const real g = dy[i]; // dx may lie over dy
                sums[c] += (double)g * (double)x[i];
                if (dx != NULL) {
                    dx[i] = g * s[n * n_channels + c];
                }
            }
        }
        for (int64_t c = 0; ds != NULL && c < n_channels; ++c) {
            ds[n * n_channels + c] = (real)sums[c];
        }
    }
}
