// Focal classification loss and Huber box loss of one level (spec/train.md 4.2, 4.3), value and
// gradient in one pass.
#include "backend/ref/ref_priv.h"

enum { TARGET_IGNORED = -2 };

// Value and slope of the focal loss of one logit before the division by n.
static double focal_element(const edt_loss_attrs *loss, double x, bool positive,
                            double *out_slope)
{
    const double e = exp(-fabs(x));
    const double l = log1p(e);
    const double softplus = fmax(x, 0) + l; // ln(1 + e^x)
    const double p = x >= 0 ? 1 / (1 + e) : e / (1 + e);
    const double q = x >= 0 ? e / (1 + e) : 1 / (1 + e); // 1 - p without cancellation
    const double s = (positive ? 1 - loss->label_smoothing : 0) + 0.5 * loss->label_smoothing;
    const double ce = softplus - x * s;
    if (positive) {
        const double mod = exp(-loss->gamma * softplus);
        *out_slope = loss->alpha * mod * ((p - s) - loss->gamma * p * ce);
        return loss->alpha * mod * ce;
    }
    const double mod = exp(-loss->gamma * (fmax(-x, 0) + l));
    *out_slope = (1 - loss->alpha) * mod * ((p - s) + loss->gamma * q * ce);
    return (1 - loss->alpha) * mod * ce;
}

void EDT_REF(focal_loss)(const edt_op_desc *desc, const edt_run_ctx *ctx, void *const *in,
                         void *const *out, void *scratch)
{
    (void)ctx;
    (void)scratch;
    const edt_loss_attrs *loss = &desc->attrs.loss;
    const edt_shape *shape = &desc->in[0].shape;
    const int64_t n_level = shape->dim[1] * shape->dim[2] * loss->anchors_per_cell;
    const int64_t n_total = desc->in[1].shape.dim[1];
    const real *logits = in[0];
    const int32_t *targets = in[1];
    const double n = (double)*(const real *)in[2];
    const double scale = edt_ref_loss_scale(desc, in);
    real *gradient = desc->n_out > 1 ? out[1] : NULL;
    double sum = 0;
    for (int64_t row = 0; row < shape->dim[0] * n_level; ++row) {
        const int32_t target =
            targets[row / n_level * n_total + loss->anchor_offset + row % n_level];
        for (int64_t k = 0; k < loss->num_classes; ++k) {
            const int64_t i = row * loss->num_classes + k;
            double slope = 0;
            if (target != TARGET_IGNORED) {
                sum += focal_element(loss, (double)logits[i], k == target, &slope);
            }
            if (gradient != NULL) {
                gradient[i] = (real)(scale * slope / n);
            }
        }
    }
    edt_ref_store((real *)out[0], sum / n, desc->attrs.accumulate);
}

void EDT_REF(box_loss)(const edt_op_desc *desc, const edt_run_ctx *ctx, void *const *in,
                       void *const *out, void *scratch)
{
    (void)ctx;
    (void)scratch;
    const edt_loss_attrs *loss = &desc->attrs.loss;
    const edt_shape *shape = &desc->in[0].shape;
    const int64_t n_level = shape->dim[1] * shape->dim[2] * loss->anchors_per_cell * 4;
    const int64_t n_total = desc->in[1].shape.dim[1] * 4;
    const real *box = in[0];
    const real *targets = in[1];
    const double n = 4 * (double)*(const real *)in[2];
    const double weight = loss->weight * edt_ref_loss_scale(desc, in);
    real *gradient = desc->n_out > 1 ? out[1] : NULL;
    double sum = 0;
    for (int64_t i = 0; i < shape->dim[0] * n_level; ++i) {
        const double target =
            (double)targets[i / n_level * n_total + loss->anchor_offset * 4 + i % n_level];
        double slope = 0;
        if (target != 0) {
            const double e = (double)box[i] - target;
            if (fabs(e) <= loss->delta) {
                sum += 0.5 * e * e;
                slope = e;
            } else {
                sum += loss->delta * fabs(e) - 0.5 * loss->delta * loss->delta;
                slope = copysign(loss->delta, e);
            }
        }
        if (gradient != NULL) {
            gradient[i] = (real)(weight * slope / n);
        }
    }
    edt_ref_store((real *)out[0], sum / n, desc->attrs.accumulate);
}
