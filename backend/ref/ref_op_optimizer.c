// The whole parameter update in one op: L2, clipping per tensor and globally
// (spec/train.md 4.5, 5.1), SGD or Adam (7), averages (8), loss scaling (10). Statistics and
// every formula in double, one rounding per stored value.
#include "backend/ref/ref_priv.h"

// Gradient with the L2 term, before clipping.
static double gradient_at(const edt_optimizer_attrs *a, const edt_param_segment *segment,
                          double loss_scale, const real *params, const real *grads, int64_t i)
{
    const double g = (double)grads[i] / loss_scale;
    return segment->decay ? g + a->weight_decay * (double)params[i] : g;
}

static double l2_value(const edt_optimizer_attrs *a, const real *params)
{
    double sum = 0;
    for (int64_t s = 0; s < a->n_segments; ++s) {
        const edt_param_segment *segment = &a->segments[s];
        if (!segment->decay || !(segment->update || a->l2_includes_frozen)) {
            continue;
        }
        for (int64_t i = segment->offset; i < segment->offset + segment->n; ++i) {
            sum += 0.5 * (double)params[i] * (double)params[i];
        }
    }
    return a->weight_decay * sum;
}

static void update_sgd(const edt_optimizer_attrs *a, double lr, double g, real *param,
                       real *slot)
{
    if (a->kind == EDT_OPTIMIZER_SGD_TF1) {
        *slot = (real)(a->momentum * (double)*slot + g);
        *param = (real)((double)*param - lr * (double)*slot);
    } else {
        *slot = (real)(a->momentum * (double)*slot - lr * g);
        *param = (real)((double)*param + (double)*slot);
    }
}

static void update_adam(const edt_optimizer_attrs *a, double lr_t, double g, real *param,
                        real *m, real *v)
{
    *m = (real)(a->momentum * (double)*m + (1 - a->momentum) * g);
    *v = (real)(a->beta2 * (double)*v + (1 - a->beta2) * g * g);
    *param = (real)((double)*param - lr_t * (double)*m / (sqrt((double)*v) + a->epsilon));
}

static void update_averages(const edt_optimizer_attrs *a, double decay, const real *params,
                            real *ema)
{
    for (int64_t s = 0; s < a->n_segments; ++s) {
        const edt_param_segment *segment = &a->segments[s];
        for (int64_t i = segment->offset; segment->average && i < segment->offset + segment->n;
             ++i) {
            const double average = (double)ema[i];
            ema[i] = (real)(average - (average - (double)params[i]) * (1 - decay));
        }
    }
}

void EDT_REF(optimizer)(const edt_op_desc *desc, const edt_run_ctx *ctx, void *const *in,
                        void *const *out, void *scratch)
{
    const edt_optimizer_attrs *a = &desc->attrs.optimizer;
    real *params = in[0];
    const real *grads = in[1];
    real *slot0 = in[2];
    real *slot1 = desc->n_in > 3 ? in[3] : NULL;
    real *ema = desc->n_in > 4 ? in[4] : NULL;
    float *scale = desc->n_in > 5 ? in[5] : NULL;
    const double loss_scale = scale != NULL ? (double)scale[0] : 1;
    real *stats = out[0];
    double *factors = scratch; // per segment: what clips its gradient

    const bool clip = a->clip > 0;
    double raw_square = 0;
    double square = 0; // after the per-tensor clipping
    for (int64_t s = 0; s < a->n_segments; ++s) {
        const edt_param_segment *segment = &a->segments[s];
        double of_tensor = 0;
        for (int64_t i = segment->offset; segment->update && i < segment->offset + segment->n;
             ++i) {
            const double g = gradient_at(a, segment, loss_scale, params, grads, i);
            of_tensor += g * g;
        }
        factors[s] = clip ? a->clip / fmax(sqrt(of_tensor), a->clip) : 1;
        raw_square += of_tensor;
        square += of_tensor * factors[s] * factors[s];
    }
    const double norm = sqrt(square);
    const double global_factor = clip ? a->clip * fmin(1 / norm, 1 / a->clip) : 1;
    const bool finite = isfinite(raw_square);
    stats[EDT_OPTIMIZER_STAT_L2] = (real)l2_value(a, params);
    stats[EDT_OPTIMIZER_STAT_RAW_NORM] = (real)sqrt(raw_square);
    stats[EDT_OPTIMIZER_STAT_NORM] = (real)(finite ? norm * global_factor : NAN);
    stats[EDT_OPTIMIZER_STAT_FINITE] = finite ? 1 : 0;
    if (scale != NULL) {
        edt_loss_scale_step(finite, scale);
    }
    if (!finite) {
        return;
    }

    const double lr = ctx->learning_rate;
    const double t = (double)ctx->adam_t;
    const double lr_t = a->kind == EDT_OPTIMIZER_ADAM
                            ? lr * sqrt(1 - pow(a->beta2, t)) / (1 - pow(a->momentum, t))
                            : lr;
    for (int64_t s = 0; s < a->n_segments; ++s) {
        const edt_param_segment *segment = &a->segments[s];
        const double factor = factors[s] * global_factor;
        for (int64_t i = segment->offset; segment->update && i < segment->offset + segment->n;
             ++i) {
            const double g = gradient_at(a, segment, loss_scale, params, grads, i) * factor;
            if (a->kind == EDT_OPTIMIZER_ADAM) {
                update_adam(a, lr_t, g, &params[i], &slot0[i], &slot1[i]);
            } else {
                update_sgd(a, lr, g, &params[i], &slot0[i]);
            }
        }
    }
    if (ema != NULL) {
        update_averages(a, ctx->ema_decay, params, ema);
    }
}
