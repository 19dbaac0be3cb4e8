// What the segmentation head and srelu need beyond the detector's ops: joining channels, a bias
// by itself, the activation with a trainable scalar, and the loss over pixels, with their
// gradients.
#include <string.h>

#include "backend/ref/ref_priv.h"

static int64_t rows_of(const edt_shape *shape)
{
    return shape->dim[0] * shape->dim[1] * shape->dim[2];
}

void EDT_REF(concat)(const edt_op_desc *desc, const edt_run_ctx *ctx, void *const *in,
                     void *const *out, void *scratch)
{
    (void)ctx;
    (void)scratch;
    const int64_t n_a = desc->in[0].shape.dim[3];
    const int64_t n_b = desc->in[1].shape.dim[3];
    const real *a = in[0];
    const real *b = in[1];
    real *y = out[0];
    for (int64_t row = 0; row < rows_of(&desc->in[0].shape); ++row) {
        memcpy(y + row * (n_a + n_b), a + row * n_a, (size_t)n_a * sizeof(real));
        memcpy(y + row * (n_a + n_b) + n_a, b + row * n_b, (size_t)n_b * sizeof(real));
    }
}

void EDT_REF(concat_bwd)(const edt_op_desc *desc, const edt_run_ctx *ctx, void *const *in,
                         void *const *out, void *scratch)
{
    (void)ctx;
    (void)scratch;
    const int64_t n = desc->in[0].shape.dim[3];
    const int64_t n_a = desc->attrs.out_shape.dim[3];
    const real *dy = in[0];
    real *da = out[0];
    real *db = desc->n_out > 1 ? out[1] : NULL;
    for (int64_t row = 0; row < rows_of(&desc->in[0].shape); ++row) {
        if (da != NULL) {
            memcpy(da + row * n_a, dy + row * n, (size_t)n_a * sizeof(real));
        }
        if (db != NULL) {
            memcpy(db + row * (n - n_a), dy + row * n + n_a, (size_t)(n - n_a) * sizeof(real));
        }
    }
}

void EDT_REF(bias)(const edt_op_desc *desc, const edt_run_ctx *ctx, void *const *in,
                   void *const *out, void *scratch)
{
    (void)ctx;
    (void)scratch;
    const int64_t n_channels = desc->in[0].shape.dim[3];
    const real *x = in[0];
    const real *b = in[1];
    real *y = out[0];
    for (int64_t i = 0, row = 0; row < rows_of(&desc->in[0].shape); ++row) {
        for (int64_t c = 0; c < n_channels; ++c, ++i) {
            y[i] = x[i] + b[c];
        }
    }
}

void EDT_REF(bias_bwd)(const edt_op_desc *desc, const edt_run_ctx *ctx, void *const *in,
                       void *const *out, void *scratch)
{
    (void)ctx;
    const int64_t n_channels = desc->in[0].shape.dim[3];
    const real *dy = in[0];
    real *db = out[0];
    double *sums = scratch;
    memset(sums, 0, (size_t)n_channels * sizeof(double));
    for (int64_t i = 0, row = 0; row < rows_of(&desc->in[0].shape); ++row) {
        for (int64_t c = 0; c < n_channels; ++c, ++i) {
            sums[c] += (double)dy[i];
        }
    }
    for (int64_t c = 0; db != NULL && c < n_channels; ++c) {
        edt_ref_store(&db[c], sums[c], desc->attrs.accumulate);
    }
}

void EDT_REF(srelu)(const edt_op_desc *desc, const edt_run_ctx *ctx, void *const *in,
                    void *const *out, void *scratch)
{
    (void)ctx;
    (void)scratch;
    const real *x = in[0];
    const double b = (double)*(const real *)in[1];
    const double beta = b * b * b * b;
    real *y = out[0];
    for (int64_t i = 0; i < edt_shape_count(&desc->in[0].shape); ++i) {
        const double v = (double)x[i];
        y[i] = (real)(v > 0 ? v - log1p(beta * v) / beta : 0 * v); // NaN stays
    }
}

void EDT_REF(srelu_bwd)(const edt_op_desc *desc, const edt_run_ctx *ctx, void *const *in,
                        void *const *out, void *scratch)
{
    (void)ctx;
    (void)scratch;
    const real *dy = in[0];
    const real *x = in[1];
    const double b = (double)*(const real *)in[2];
    const double beta = b * b * b * b;
    real *dx = out[0];
    real *db = desc->n_out > 1 ? out[1] : NULL;
    double sum = 0; // of dy * (ln(1 + u) - u / (1 + u)), u = beta x
    for (int64_t i = 0; i < edt_shape_count(&desc->in[0].shape); ++i) {
        const double v = (double)x[i];
        const double g = (double)dy[i]; // dx may lie over dy
        const double u = v > 0 ? beta * v : 0 * v;
        sum += g * (log1p(u) - u / (1 + u));
        if (dx != NULL) {
            dx[i] = (real)(g * (u / (1 + u)));
        }
    }
    if (db != NULL) { // d beta / d b = 4 b^3
        edt_ref_store(db, 4 / (b * beta) * sum, desc->attrs.accumulate);
    }
}

void EDT_REF(segmentation_loss)(const edt_op_desc *desc, const edt_run_ctx *ctx,
                                void *const *in, void *const *out, void *scratch)
{
    (void)ctx;
    (void)scratch;
    const int64_t n_classes = desc->in[0].shape.dim[3];
    const real *logits = in[0];
    const int32_t *mask = in[1];
    const double n = (double)*(const real *)in[2];
    const double scale = edt_ref_loss_scale(desc, in);
    real *gradient = desc->n_out > 1 ? out[1] : NULL;
    double sum = 0;
    for (int64_t row = 0; row < rows_of(&desc->in[0].shape); ++row) {
        const real *x = logits + row * n_classes;
        const bool counts = mask[row] >= 0 && mask[row] < n_classes;
        double largest = -INFINITY;
        double total = 0;
        for (int64_t k = 0; k < n_classes; ++k) {
            largest = fmax(largest, (double)x[k]);
        }
        for (int64_t k = 0; k < n_classes; ++k) {
            total += exp((double)x[k] - largest);
        }
        if (counts) {
            sum += log(total) - ((double)x[mask[row]] - largest);
        }
        for (int64_t k = 0; gradient != NULL && k < n_classes; ++k) {
            const double p = exp((double)x[k] - largest) / total;
            const double slope = counts ? p - (k == mask[row] ? 1 : 0) : 0;
            gradient[row * n_classes + k] = (real)(scale * slope / n);
        }
    }
    edt_ref_store((real *)out[0], sum / n, desc->attrs.accumulate);
}
