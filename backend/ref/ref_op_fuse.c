// Weighted feature fusion (spec/model.md 2.5) with its activation, and its gradient. All
// methods are brought to one form: y = sum over j of x_j * num_j / den, per channel.
#include <string.h>

#include "backend/ref/ref_priv.h"

typedef struct fusion {
    edt_fuse_method method;
    int m;
    int64_t n_rows, n_channels;
    bool per_channel;
    const real *x[EDT_FUSE_MAX_IN];
    const real *w[EDT_FUSE_MAX_IN]; // NULL without weights
    double *num;                    // [m,C], values of type real
    double *den;                    // [C]
} fusion;

// relu(w) over sum + 1e-4, or softmax over the inputs, in the element type.
static void normalise_weights(fusion *f, int64_t c)
{
    real value[EDT_FUSE_MAX_IN];
    real sum = 0;
    real largest = -INFINITY;
    const bool fast = f->method == EDT_FUSE_FASTATTN || f->method == EDT_FUSE_CHANNEL_FASTATTN;
    for (int j = 0; j < f->m; ++j) {
        value[j] = f->w[j][f->per_channel ? c : 0];
        largest = value[j] > largest ? value[j] : largest;
    }
    for (int j = 0; j < f->m; ++j) {
        if (fast) {
            value[j] = value[j] > 0 ? value[j] : 0;
        } else {
            value[j] = (real)exp((double)(value[j] - largest));
        }
        sum += value[j];
    }
    for (int j = 0; j < f->m; ++j) {
        f->num[j * f->n_channels + c] = (double)(fast ? value[j] : value[j] / sum);
    }
    f->den[c] = fast ? (double)(sum + (real)0.0001) : 1;
}

static fusion begin(const edt_op_desc *desc, int first, void *const *in, double *scratch)
{
    const edt_shape *shape = &desc->in[0].shape;
    fusion f = {
        .method = desc->attrs.fuse_method,
        .m = desc->attrs.fuse_n,
        .n_rows = shape->dim[0] * shape->dim[1] * shape->dim[2],
        .n_channels = shape->dim[3],
        .num = scratch,
        .den = scratch + EDT_FUSE_MAX_IN * shape->dim[3],
    };
    f.per_channel = f.method == EDT_FUSE_CHANNEL_FASTATTN || f.method == EDT_FUSE_CHANNEL_ATTN;
    for (int j = 0; j < f.m; ++j) {
        f.x[j] = in[first + j];
        f.w[j] = f.method == EDT_FUSE_SUM ? NULL : in[first + f.m + j];
    }
    for (int64_t c = 0; c < f.n_channels; ++c) {
        if (f.method != EDT_FUSE_SUM) {
            normalise_weights(&f, c);
            continue;
        }
        f.den[c] = 1;
        for (int j = 0; j < f.m; ++j) {
            f.num[j * f.n_channels + c] = 1;
        }
    }
    return f;
}

static real fused_at(const fusion *f, int64_t i, int64_t c)
{
    real sum = 0;
    for (int j = 0; j < f->m; ++j) {
        const real term = f->x[j][i] * (real)f->num[j * f->n_channels + c] / (real)f->den[c];
        sum = j == 0 ? term : sum + term;
    }
    return sum;
}

void EDT_REF(fuse)(const edt_op_desc *desc, const edt_run_ctx *ctx, void *const *in,
                   void *const *out, void *scratch)
{
    (void)ctx;
    const fusion f = begin(desc, 0, in, scratch);
    real *y = out[0];
    for (int64_t i = 0, row = 0; row < f.n_rows; ++row) {
        for (int64_t c = 0; c < f.n_channels; ++c, ++i) {
            y[i] = (real)edt_ref_act_value(desc->attrs.act, (double)fused_at(&f, i, c));
        }
    }
}

// Gradient of weight j from g_j = d loss / d (num_j / den) of the inputs. Written with
// differences of the g, because g_j minus their weighted mean cancels where one weight has
// nearly everything.
static double weight_gradient(const fusion *f, int j, int64_t c, const double *g)
{
    const bool fast = f->method == EDT_FUSE_FASTATTN || f->method == EDT_FUSE_CHANNEL_FASTATTN;
    const double den = f->den[c];
    double sum = fast ? 1e-4 * g[j] : 0;
    for (int k = 0; k < f->m; ++k) {
        sum += f->num[k * f->n_channels + c] * (g[j] - g[k]);
    }
    if (!fast) {
        return f->num[j * f->n_channels + c] * sum;
    }
    return f->w[j][f->per_channel ? c : 0] > 0 ? sum / (den * den) : 0;
}

void EDT_REF(fuse_bwd)(const edt_op_desc *desc, const edt_run_ctx *ctx, void *const *in,
                       void *const *out, void *scratch)
{
    (void)ctx;
    const fusion f = begin(desc, 1, in, scratch);
    const real *dy = in[0];
    double *g = (double *)scratch + (EDT_FUSE_MAX_IN + 1) * f.n_channels; // [m,C]
    memset(g, 0, (size_t)(f.m * f.n_channels) * sizeof(double));
    for (int64_t i = 0, row = 0; row < f.n_rows; ++row) {
        for (int64_t c = 0; c < f.n_channels; ++c, ++i) {
            double dz = (double)dy[i];
            if (desc->attrs.act != EDT_ACT_NONE) {
                dz *= edt_ref_act_slope(desc->attrs.act, (double)fused_at(&f, i, c));
            }
            for (int j = 0; j < f.m; ++j) {
                const int64_t jc = j * f.n_channels + c;
                g[jc] += dz * (double)f.x[j][i];
                if (j < desc->n_out && out[j] != NULL) {
                    ((real *)out[j])[i] = (real)(dz * f.num[jc] / f.den[c]);
                }
            }
        }
    }
    if (f.method == EDT_FUSE_SUM) {
        return;
    }
    for (int j = 0; j < f.m; ++j) {
        real *dw = f.m + j < desc->n_out ? out[f.m + j] : NULL;
        double total = 0;
        for (int64_t c = 0; dw != NULL && c < f.n_channels; ++c) {
            double of_channel[EDT_FUSE_MAX_IN];
            for (int k = 0; k < f.m; ++k) {
                of_channel[k] = g[k * f.n_channels + c];
            }
            const double gradient = weight_gradient(&f, j, c, of_channel);
            total += gradient;
            if (f.per_channel) {
                edt_ref_store(&dw[c], gradient, desc->attrs.accumulate);
            }
        }
        if (dw != NULL && !f.per_channel) {
            edt_ref_store(dw, total, desc->attrs.accumulate);
        }
    }
}
