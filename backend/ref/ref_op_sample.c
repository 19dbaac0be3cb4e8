// Ops that change the spatial size: max pooling and nearest-neighbour resizing, with gradients.
#include <string.h>

#include "backend/ref/ref_priv.h"

void EDT_REF(max_pool)(const edt_op_desc *desc, const edt_run_ctx *ctx, void *const *in,
                       void *const *out, void *scratch)
{
    (void)ctx;
    (void)scratch;
    const edt_ref_window g =
        edt_ref_window_of(&desc->in[0].shape, &desc->out[0].shape, &desc->attrs.conv);
    const real *x = in[0];
    real *y = out[0];
    uint8_t *index = desc->n_out > 1 ? out[1] : NULL;
    for (int64_t i = 0; i < g.n * g.oh * g.ow * g.co; ++i) {
        const int64_t c = i % g.co;
        const int64_t ox = i / g.co % g.ow;
        const int64_t oy = i / (g.co * g.ow) % g.oh;
        const int64_t n = i / (g.co * g.ow * g.oh);
        real best = 0;
        int64_t best_k = -1;
        for (int64_t k = 0; k < g.kh * g.kw; ++k) {
            const int64_t iy = oy * g.sh - g.top + k / g.kw;
            const int64_t ix = ox * g.sw - g.left + k % g.kw;
            if (iy < 0 || iy >= g.h || ix < 0 || ix >= g.w) {
                continue;
            }
            const real value = x[((n * g.h + iy) * g.w + ix) * g.ci + c];
            if (best_k < 0 || value > best) {
                best = value;
                best_k = k;
            }
        }
        y[i] = best;
        if (index != NULL) {
            index[i] = (uint8_t)best_k;
        }
    }
}

void EDT_REF(max_pool_bwd)(const edt_op_desc *desc, const edt_run_ctx *ctx, void *const *in,
                           void *const *out, void *scratch)
{
    (void)ctx;
    (void)scratch;
    const edt_ref_window g =
        edt_ref_window_of(&desc->out[0].shape, &desc->in[0].shape, &desc->attrs.conv);
    const real *dy = in[0];
    const uint8_t *index = in[1];
    real *dx = out[0];
    memset(dx, 0, (size_t)(g.n * g.h * g.w * g.ci) * sizeof(real));
    for (int64_t i = 0; i < g.n * g.oh * g.ow * g.co; ++i) {
        const int64_t n = i / (g.co * g.ow * g.oh);
        const int64_t iy = i / (g.co * g.ow) % g.oh * g.sh - g.top + index[i] / g.kw;
        const int64_t ix = i / g.co % g.ow * g.sw - g.left + index[i] % g.kw;
        dx[((n * g.h + iy) * g.w + ix) * g.ci + i % g.co] += dy[i];
    }
}

// spec/model.md 2.2: in float32 whatever the element type is.
static int64_t nearest_source(int64_t at, int64_t n_from, int64_t n_to)
{
    const float scale = (float)n_from / (float)n_to;
    const int64_t source = (int64_t)floorf((float)at * scale);
    return source < n_from - 1 ? source : n_from - 1;
}

void EDT_REF(resize_nearest)(const edt_op_desc *desc, const edt_run_ctx *ctx, void *const *in,
                             void *const *out, void *scratch)
{
    (void)ctx;
    (void)scratch;
    const edt_shape *from = &desc->in[0].shape;
    const edt_shape *to = &desc->out[0].shape;
    const int64_t n_channels = to->dim[3];
    const real *x = in[0];
    real *y = out[0];
    for (int64_t row = 0; row < to->dim[0] * to->dim[1]; ++row) {
        const int64_t iy = nearest_source(row % to->dim[1], from->dim[1], to->dim[1]);
        for (int64_t ox = 0; ox < to->dim[2]; ++ox) {
            const int64_t ix = nearest_source(ox, from->dim[2], to->dim[2]);
            const int64_t cell = (row / to->dim[1] * from->dim[1] + iy) * from->dim[2] + ix;
            memcpy(y + (row * to->dim[2] + ox) * n_channels, x + cell * n_channels,
                   (size_t)n_channels * sizeof(real));
        }
    }
}

void EDT_REF(resize_nearest_bwd)(const edt_op_desc *desc, const edt_run_ctx *ctx,
                                 void *const *in, void *const *out, void *scratch)
{
    (void)ctx;
    (void)scratch;
    const edt_shape *from = &desc->out[0].shape; // of x
    const edt_shape *to = &desc->in[0].shape;    // of y
    const int64_t n_channels = to->dim[3];
    const real *dy = in[0];
    real *dx = out[0];
    memset(dx, 0, (size_t)edt_shape_count(from) * sizeof(real));
    for (int64_t row = 0; row < to->dim[0] * to->dim[1]; ++row) {
        const int64_t iy = nearest_source(row % to->dim[1], from->dim[1], to->dim[1]);
        for (int64_t ox = 0; ox < to->dim[2]; ++ox) {
            const int64_t ix = nearest_source(ox, from->dim[2], to->dim[2]);
            const int64_t cell = (row / to->dim[1] * from->dim[1] + iy) * from->dim[2] + ix;
            for (int64_t c = 0; c < n_channels; ++c) {
                dx[cell * n_channels + c] += dy[(row * to->dim[2] + ox) * n_channels + c];
            }
        }
    }
}
