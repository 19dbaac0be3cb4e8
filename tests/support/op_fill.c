// Random operands per op kind; see op_compare.h.
#include <math.h>
#include <string.h>

#include "backend/ref/ref_cast.h"
#include "tests/support/op_compare.h"

typedef struct draws {
    uint64_t state;
} draws;

static double next(draws *d) // [0, 1)
{
    d->state += 0x9E3779B97F4A7C15ULL;
    uint64_t z = d->state;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ z >> 27) * 0x94D049BB133111EBULL;
    return (double)((z ^ z >> 31) >> 40) * 0x1p-24;
}

static double between(draws *d, double low, double high)
{
    return low + (high - low) * next(d);
}

static void put(const edt_tensor_desc *t, void *to, int64_t i, double value)
{
    edt_ref_real_put(t->dtype, to, i, (double)(float)value);
}

static void fill_uniform(const edt_tensor_desc *t, void *to, draws *d, double low, double high)
{
    const int64_t n = edt_shape_count(&t->shape);
    for (int64_t i = 0; i < n; ++i) {
        put(t, to, i, between(d, low, high));
    }
}

static void fill_normalize(const edt_op_desc *desc, draws *d, void *const *in)
{
    const edt_shape *shape = &desc->in[0].shape;
    uint8_t *image = in[0];
    int32_t *valid_hw = in[1];
    for (int64_t i = 0; i < edt_shape_count(shape); ++i) {
        image[i] = (uint8_t)between(d, 0, 256);
    }
    for (int64_t n = 0; n < shape->dim[0]; ++n) {
        valid_hw[2 * n] = (int32_t)between(d, 1, (double)shape->dim[1] + 1);
        valid_hw[2 * n + 1] = (int32_t)between(d, 1, (double)shape->dim[2] + 1);
    }
}

// Mostly background, some positives of every class, some ignored, some labels out of range.
static void fill_labels(const edt_op_desc *desc, draws *d, int32_t *labels)
{
    const int64_t n = edt_shape_count(&desc->in[1].shape);
    for (int64_t i = 0; i < n; ++i) {
        const double u = next(d);
        const double label = between(d, 0, (double)desc->attrs.loss.num_classes);
        labels[i] = u < 0.6 ? -1 : u < 0.7 ? -2 : u < 0.95 ? (int32_t)label : INT32_MAX;
    }
}

// Unmatched rows, and matched ones of which some coordinates are exactly zero.
static void fill_box_targets(const edt_tensor_desc *t, draws *d, void *to)
{
    const int64_t n = edt_shape_count(&t->shape) / 4;
    for (int64_t row = 0; row < n; ++row) {
        const bool matched = next(d) < 0.5;
        for (int i = 0; i < 4; ++i) {
            const double value = between(d, -0.5, 0.5);
            put(t, to, row * 4 + i, matched && next(d) < 0.93 ? value : 0);
        }
    }
}

static void fill_anchors(const edt_tensor_desc *t, draws *d, void *to)
{
    for (int64_t row = 0; row < t->shape.dim[0]; ++row) {
        for (int axis = 0; axis < 2; ++axis) {
            const double centre = between(d, 0, 64);
            const double half = between(d, 4, 16);
            put(t, to, row * 4 + axis, centre - half);
            put(t, to, row * 4 + axis + 2, centre + half);
        }
    }
}

// For every output position a cell of its window that lies inside the map.
static void fill_pool_index(const edt_op_desc *desc, draws *d, uint8_t *index)
{
    const edt_conv_attrs *conv = &desc->attrs.conv;
    const edt_shape *dy = &desc->in[0].shape;
    const edt_shape *dx = &desc->attrs.out_shape;
    int64_t top;
    int64_t left;
    int64_t after;
    edt_same_padding(dx->dim[1], conv->kh, conv->sh, &top, &after);
    edt_same_padding(dx->dim[2], conv->kw, conv->sw, &left, &after);
    for (int64_t i = 0; i < edt_shape_count(dy); ++i) {
        const int64_t oy = i / (dy->dim[3] * dy->dim[2]) % dy->dim[1];
        const int64_t ox = i / dy->dim[3] % dy->dim[2];
        int64_t k;
        int64_t iy;
        int64_t ix;
        do {
            k = (int64_t)between(d, 0, conv->kh * conv->kw);
            iy = oy * conv->sh - top + k / conv->kw;
            ix = ox * conv->sw - left + k % conv->kw;
        } while (iy < 0 || iy >= dx->dim[1] || ix < 0 || ix >= dx->dim[2]);
        index[i] = (uint8_t)k;
    }
}

// gamma, beta and the statistics from operand `first` on; the last is a variance or a 1/std.
static void fill_bn(const edt_op_desc *desc, draws *d, int first, void *const *in)
{
    static const double low[4] = {0.5, -0.5, -0.2, 0.5};
    static const double high[4] = {1.5, 0.5, 0.2, 1.5};
    for (int i = 0; i < 4; ++i) {
        fill_uniform(&desc->in[first + i], in[first + i], d, low[i], high[i]);
    }
}

// Sums that a synchronised batch norm over n_ranks could see: those of this rank's x, and as
// much again, a little off, for every other rank.
static void fill_bn_sums(const edt_op_desc *desc, draws *d, void *const *in)
{
    const edt_tensor_desc *x = &desc->in[0];
    const int64_t n_channels = x->shape.dim[3];
    const double others = desc->attrs.bn.n_ranks - 1;
    for (int64_t c = 0; c < n_channels; ++c) {
        const double origin = edt_ref_real_get(desc->in[4].dtype, in[4], c);
        double sum = 0;
        double square = 0;
        for (int64_t i = c; i < edt_shape_count(&x->shape); i += n_channels) {
            const double value = edt_ref_real_get(x->dtype, in[0], i) - origin;
            sum += value;
            square += value * value;
        }
        put(&desc->in[1], in[1], c, sum * (1 + others * between(d, 0.8, 1)));
        put(&desc->in[1], in[1], n_channels + c, square * (1 + others * between(d, 1, 1.2)));
    }
}

static void fill_loss_scale(const edt_op_desc *desc, double good_steps, void *const *in)
{
    const int i = desc->n_in - 1;
    put(&desc->in[i], in[i], 0, 1024);
    put(&desc->in[i], in[i], 1, good_steps);
}

// Every class, and some pixels that do not count.
static void fill_mask(const edt_op_desc *desc, draws *d, int32_t *mask)
{
    const int64_t n_classes = desc->in[0].shape.dim[3];
    for (int64_t i = 0; i < edt_shape_count(&desc->in[1].shape); ++i) {
        const double u = next(d);
        const int32_t k = (int32_t)between(d, 0, (double)n_classes);
        mask[i] = u < 0.9 ? k : u < 0.95 ? -1 : (int32_t)n_classes;
    }
}

static bool is_floating(edt_dtype dtype)
{
    return dtype == EDT_DTYPE_F32 || dtype == EDT_DTYPE_F64 || dtype == EDT_DTYPE_BF16 ||
           dtype == EDT_DTYPE_F16;
}

void edt_op_fill(const edt_op_desc *desc, uint64_t seed, void *const *in)
{
    draws d = {seed * 0x2545F4914F6CDD1DULL + 1};
    for (int i = 0; i < desc->n_in; ++i) {
        if (in[i] != NULL && is_floating(desc->in[i].dtype)) {
            fill_uniform(&desc->in[i], in[i], &d, -1, 1);
        }
    }
    switch (desc->kind) {
    case EDT_OP_NORMALIZE: fill_normalize(desc, &d, in); break;
    case EDT_OP_BN_TRAIN:
    case EDT_OP_BN_INFER: fill_bn(desc, &d, 1, in); break;
    case EDT_OP_BN_STATS: fill_uniform(&desc->in[1], in[1], &d, -0.2, 0.2); break;
    case EDT_OP_BN_APPLY:
        fill_bn(desc, &d, 2, in);
        fill_bn_sums(desc, &d, in);
        break;
    case EDT_OP_BN_BWD_APPLY: {
        const edt_shape *x = &desc->in[0].shape;
        const double limit = 0.2 * (double)(x->dim[0] * x->dim[1] * x->dim[2]);
        fill_bn(desc, &d, 2, in);
        fill_uniform(&desc->in[6], in[6], &d, -limit, limit);
        break;
    }
    case EDT_OP_BN_TRAIN_BWD:
    case EDT_OP_BN_BWD_STATS:
    case EDT_OP_BN_INFER_BWD:
    case EDT_OP_CONV2D_BN_ACT:
    case EDT_OP_DEPTHWISE_BN_ACT: fill_bn(desc, &d, 2, in); break;
    case EDT_OP_CONV2D_DEPTHWISE_BN_ACT:
        fill_bn(desc, &d, 2, in);
        fill_bn(desc, &d, 7, in);
        break;
    case EDT_OP_ACT: fill_uniform(&desc->in[0], in[0], &d, -8, 8); break;
    case EDT_OP_ACT_BWD: fill_uniform(&desc->in[1], in[1], &d, -8, 8); break;
    case EDT_OP_DROP_CONNECT: fill_uniform(&desc->in[1], in[1], &d, 0, 1); break;
    case EDT_OP_MAX_POOL: // few different values: ties are the rule
        for (int64_t i = 0; i < edt_shape_count(&desc->in[0].shape); ++i) {
            put(&desc->in[0], in[0], i, floor(between(&d, -4, 4)) / 4);
        }
        break;
    case EDT_OP_MAX_POOL_BWD: fill_pool_index(desc, &d, in[1]); break;
    case EDT_OP_FOCAL_LOSS:
        fill_uniform(&desc->in[0], in[0], &d, -6, 6);
        fill_labels(desc, &d, in[1]);
        put(&desc->in[2], in[2], 0, 3.7);
        break;
    case EDT_OP_SRELU:
    case EDT_OP_SRELU_BWD: {
        const int i = desc->kind == EDT_OP_SRELU ? 0 : 1;
        fill_uniform(&desc->in[i], in[i], &d, -8, 8);
        fill_uniform(&desc->in[i + 1], in[i + 1], &d, 0.5, 1.5);
        if (seed % 2 == 0) { // where training starts
            fill_uniform(&desc->in[i + 1], in[i + 1], &d, 20, 20);
        }
        break;
    }
    case EDT_OP_SEGMENTATION_LOSS:
        fill_uniform(&desc->in[0], in[0], &d, -6, 6);
        fill_mask(desc, &d, in[1]);
        put(&desc->in[2], in[2], 0, 37);
        break;
    case EDT_OP_BOX_LOSS:
        fill_box_targets(&desc->in[1], &d, in[1]);
        put(&desc->in[2], in[2], 0, 3.7);
        break;
    case EDT_OP_IOU_LOSS: {
        const int n_levels = desc->n_in - (desc->attrs.loss.scaled ? 4 : 3);
        for (int l = 0; l < n_levels; ++l) {
            fill_uniform(&desc->in[l], in[l], &d, -0.5, 0.5);
        }
        fill_anchors(&desc->in[n_levels], &d, in[n_levels]);
        fill_box_targets(&desc->in[n_levels + 1], &d, in[n_levels + 1]);
        put(&desc->in[n_levels + 2], in[n_levels + 2], 0, 3.7);
        break;
    }
    case EDT_OP_OPTIMIZER:
        if (desc->n_in > 3 && in[3] != NULL) { // Adam's second moment
            fill_uniform(&desc->in[3], in[3], &d, 0, 1);
        }
        if (desc->n_in > 5) {
            fill_uniform(&desc->in[1], in[1], &d, -1024, 1024);
            fill_loss_scale(desc, seed % 2 == 0 ? 7 : EDT_LOSS_SCALE_PERIOD - 1, in);
        }
        break;
    case EDT_OP_FUSE:
    case EDT_OP_FUSE_BWD:
        for (int i = desc->n_in - desc->attrs.fuse_n;
             desc->attrs.fuse_method != EDT_FUSE_SUM && i < desc->n_in; ++i) {
            fill_uniform(&desc->in[i], in[i], &d, -0.4, 1.6);
        }
        break;
    default: break;
    }
    if (desc->attrs.loss.scaled) {
        fill_loss_scale(desc, 7, in);
    }
}
