// Inside the reference backend. Every ref_op_*.c is compiled twice: with real = float, and with
// real = double (EDT_REF_F64); EDT_REF(name) gives the exported name of either build.
#ifndef EDT_BACKEND_REF_REF_PRIV_H
#define EDT_BACKEND_REF_REF_PRIV_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include "backend/backend.h"

// One run of an op. `scratch` is the kernel's workspace (edt_ref_scratch_bytes), 64-byte
// aligned. in[] and out[] as in edt_backend_table.run. Inputs are checked by prepare, so
// nothing can fail.
typedef void edt_ref_run_fn(const edt_op_desc *desc, const edt_run_ctx *ctx, void *const *in,
                            void *const *out, void *scratch);

// CAST, for every pair of types (ref_cast.c).
edt_ref_run_fn edt_ref_cast;

// One run function per kind, both builds (ref_op_dispatch.c).
extern edt_ref_run_fn *const edt_ref_f32_table[EDT_OP_N_KINDS];
extern edt_ref_run_fn *const edt_ref_f64_table[EDT_OP_N_KINDS];

#ifdef EDT_REF_F64
typedef double real;
#define EDT_REF(name) edt_ref_f64_##name
#else
typedef float real;
#define EDT_REF(name) edt_ref_f32_##name
#endif

edt_ref_run_fn EDT_REF(normalize);
edt_ref_run_fn EDT_REF(conv2d);
edt_ref_run_fn EDT_REF(conv2d_data);
edt_ref_run_fn EDT_REF(conv2d_weight);
edt_ref_run_fn EDT_REF(depthwise);
edt_ref_run_fn EDT_REF(depthwise_data);
edt_ref_run_fn EDT_REF(depthwise_weight);
edt_ref_run_fn EDT_REF(bn_train);
edt_ref_run_fn EDT_REF(bn_stats);
edt_ref_run_fn EDT_REF(bn_apply);
edt_ref_run_fn EDT_REF(bn_infer);
edt_ref_run_fn EDT_REF(bn_train_bwd);
edt_ref_run_fn EDT_REF(bn_bwd_stats);
edt_ref_run_fn EDT_REF(bn_bwd_apply);
edt_ref_run_fn EDT_REF(bn_infer_bwd);
edt_ref_run_fn EDT_REF(conv_bn_act);
edt_ref_run_fn EDT_REF(conv_depthwise_bn_act);
edt_ref_run_fn EDT_REF(act);
edt_ref_run_fn EDT_REF(act_bwd);
edt_ref_run_fn EDT_REF(add);
edt_ref_run_fn EDT_REF(drop_connect);
edt_ref_run_fn EDT_REF(global_avg_pool);
edt_ref_run_fn EDT_REF(global_avg_pool_bwd);
edt_ref_run_fn EDT_REF(scale_channels);
edt_ref_run_fn EDT_REF(scale_channels_bwd);
edt_ref_run_fn EDT_REF(max_pool);
edt_ref_run_fn EDT_REF(max_pool_bwd);
edt_ref_run_fn EDT_REF(resize_nearest);
edt_ref_run_fn EDT_REF(resize_nearest_bwd);
edt_ref_run_fn EDT_REF(fuse);
edt_ref_run_fn EDT_REF(fuse_bwd);
edt_ref_run_fn EDT_REF(concat);
edt_ref_run_fn EDT_REF(concat_bwd);
edt_ref_run_fn EDT_REF(bias);
edt_ref_run_fn EDT_REF(bias_bwd);
edt_ref_run_fn EDT_REF(srelu);
edt_ref_run_fn EDT_REF(srelu_bwd);
edt_ref_run_fn EDT_REF(segmentation_loss);
edt_ref_run_fn EDT_REF(focal_loss);
edt_ref_run_fn EDT_REF(box_loss);
edt_ref_run_fn EDT_REF(iou_loss);
edt_ref_run_fn EDT_REF(optimizer);
edt_ref_run_fn EDT_REF(detect);
// Scratch of DETECT in doubles.
int64_t EDT_REF(detect_scratch)(const edt_op_desc *desc);

// Geometry of a SAME window over x[N,H,W,Ci] giving y[N,oh,ow,Co]. Output (oy,ox) covers input
// rows oy * sh - top + ky, ky < kh, of which some may lie outside.
typedef struct edt_ref_window {
    int64_t n, h, w, ci, oh, ow, co, kh, kw, sh, sw, top, left;
} edt_ref_window;

static inline edt_ref_window edt_ref_window_of(const edt_shape *x, const edt_shape *y,
                                               const edt_conv_attrs *conv)
{
    edt_ref_window g = {
        .n = x->dim[0],
        .h = x->dim[1],
        .w = x->dim[2],
        .ci = x->dim[3],
        .oh = y->dim[1],
        .ow = y->dim[2],
        .co = y->dim[3],
        .kh = conv->kh,
        .kw = conv->kw,
        .sh = conv->sh,
        .sw = conv->sw,
    };
    int64_t after;
    edt_same_padding(g.h, g.kh, g.sh, &g.top, &after);
    edt_same_padding(g.w, g.kw, g.sw, &g.left, &after);
    return g;
}

// The plain convolutions, shared with the fused ops.
void EDT_REF(conv2d_forward)(const edt_ref_window *g, const real *x, const real *w,
                             const real *b, real *y);
void EDT_REF(depthwise_forward)(const edt_ref_window *g, const real *x, const real *w, real *y);
// y = act((x - mean) * gamma / sqrt(var + epsilon) + beta) over n_rows rows of n_channels; x
// may be y.
void EDT_REF(bn_normalize)(const edt_bn_attrs *bn, int64_t n_rows, int64_t n_channels,
                           const real *x, const real *gamma, const real *beta, const real *mean,
                           const real *var, double *scratch, real *y);
// What multiplies the gradients of a loss: the first value of the last input with loss.scaled.
static inline double edt_ref_loss_scale(const edt_op_desc *desc, void *const *in)
{
    return desc->attrs.loss.scaled ? (double)*(const float *)in[desc->n_in - 1] : 1;
}

static inline double edt_ref_sigmoid(double x)
{
    const double e = exp(-fabs(x));
    return x >= 0 ? 1 / (1 + e) : e / (1 + e);
}

static inline double edt_ref_softplus(double x)
{
    return fmax(x, 0) + log1p(exp(-fabs(x)));
}

// spec/model.md 0.3.
static inline double edt_ref_act_value(edt_act act, double x)
{
    switch (act) {
    case EDT_ACT_NONE: return x;
    case EDT_ACT_SWISH: return x * edt_ref_sigmoid(x);
    case EDT_ACT_RELU6: return x < 0 ? 0 : x > 6 ? 6 : x;
    case EDT_ACT_RELU: return x < 0 ? 0 : x;
    case EDT_ACT_HSWISH: return x <= -3 ? 0 * x : x >= 3 ? x : x * (x + 3) / 6;
    case EDT_ACT_MISH: return x * tanh(edt_ref_softplus(x));
    case EDT_ACT_SIGMOID: return edt_ref_sigmoid(x);
    case EDT_ACT_SRELU: break;
    }
    return x;
}

// Derivative; at a kink the value that the reference's gradient has (relu: 0 at 0, 0 at 6).
static inline double edt_ref_act_slope(edt_act act, double x)
{
    switch (act) {
    case EDT_ACT_NONE: return 1;
    case EDT_ACT_SWISH: {
        const double s = edt_ref_sigmoid(x);
        return s * (1 + x * (1 - s));
    }
    case EDT_ACT_RELU6: return x > 0 && x < 6 ? 1 : 0;
    case EDT_ACT_RELU: return x > 0 ? 1 : 0;
    case EDT_ACT_HSWISH: return x <= -3 ? 0 : x >= 3 ? 1 : (2 * x + 3) / 6;
    case EDT_ACT_MISH: {
        const double t = tanh(edt_ref_softplus(x));
        return t + x * (1 - t * t) * edt_ref_sigmoid(x);
    }
    case EDT_ACT_SIGMOID: {
        const double s = edt_ref_sigmoid(x);
        return s * (1 - s);
    }
    case EDT_ACT_SRELU: break;
    }
    return 1;
}

// The store of a parameter's gradient or a loss: overwrite, or add with `accumulate`.
static inline void edt_ref_store(real *to, double value, int accumulate)
{
    *to = (real)(accumulate ? (double)*to + value : value);
}

#endif
