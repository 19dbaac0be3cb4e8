// Shape inference: checks the operands of an op against its kind and attributes and fills in
// the outputs. One small function per kind (hence the length); the messages name operands as
// op.h does.
#include <inttypes.h>

#include "backend/op.h"

// The op under inspection. `real` is the element type of its first real operand, `wide` the one
// that goes with it (op.h).
typedef struct checker {
    edt_op_desc *desc;
    edt_error *err;
    edt_dtype real, wide;
} checker;

static edt_status check_arity(const checker *c)
{
    const edt_op_info *info = edt_op_get_info(c->desc->kind);
    if (c->desc->n_in < info->min_in || c->desc->n_in > info->max_in) {
        EDT_FAIL(c->err, EDT_ERR_INVALID, "%s: %d inputs, %d to %d are allowed", info->name,
                 c->desc->n_in, info->min_in, info->max_in);
    }
    if (c->desc->n_out < info->min_out || c->desc->n_out > info->max_out) {
        EDT_FAIL(c->err, EDT_ERR_INVALID, "%s: %d outputs, %d to %d are allowed", info->name,
                 c->desc->n_out, info->min_out, info->max_out);
    }
    return EDT_OK;
}

static edt_status fail_attr(const checker *c, const char *what, double value,
                            const char *allowed)
{
    EDT_FAIL(c->err, EDT_ERR_INVALID, "%s: attribute %s is %g, must be %s",
             edt_op_get_info(c->desc->kind)->name, what, value, allowed);
}

static edt_status check_dtype(const checker *c, int i, const char *operand, edt_dtype want)
{
    const edt_tensor_desc *in = &c->desc->in[i];
    if (in->dtype != want) {
        EDT_FAIL(c->err, EDT_ERR_INVALID, "%s: input %d (%s) has type %s, must be %s",
                 edt_op_get_info(c->desc->kind)->name, i, operand, edt_dtype_name(in->dtype),
                 edt_dtype_name(want));
    }
    for (int d = 0; d < in->shape.n_dims; ++d) {
        if (in->shape.dim[d] < 1) {
            char text[EDT_SHAPE_TEXT_BYTES];
            EDT_FAIL(c->err, EDT_ERR_INVALID,
                     "%s: input %d (%s) has shape %s, no axis may be empty",
                     edt_op_get_info(c->desc->kind)->name, i, operand,
                     edt_shape_text(&in->shape, text));
        }
    }
    return EDT_OK;
}

static edt_status check_shape(const checker *c, int i, const char *operand, edt_dtype dtype,
                              edt_shape want)
{
    EDT_TRY(check_dtype(c, i, operand, dtype));
    if (!edt_shape_equal(&c->desc->in[i].shape, &want)) {
        char got_text[EDT_SHAPE_TEXT_BYTES];
        char want_text[EDT_SHAPE_TEXT_BYTES];
        EDT_FAIL(c->err, EDT_ERR_INVALID, "%s: input %d (%s) has shape %s, must be %s",
                 edt_op_get_info(c->desc->kind)->name, i, operand,
                 edt_shape_text(&c->desc->in[i].shape, got_text),
                 edt_shape_text(&want, want_text));
    }
    return EDT_OK;
}

static bool is_real(edt_dtype dtype)
{
    return dtype == EDT_DTYPE_F32 || dtype == EDT_DTYPE_F64 || dtype == EDT_DTYPE_BF16 ||
           dtype == EDT_DTYPE_F16;
}

// The first real operand: N,H,W,C or a flat arena; its type is the op's.
static edt_status take_real(checker *c, int i, const char *operand, int n_dims)
{
    const edt_tensor_desc *in = &c->desc->in[i];
    if (!is_real(in->dtype)) {
        EDT_FAIL(c->err, EDT_ERR_INVALID,
                 "%s: input %d (%s) has type %s, must be f32, f64, bf16 or f16",
                 edt_op_get_info(c->desc->kind)->name, i, operand, edt_dtype_name(in->dtype));
    }
    c->real = in->dtype;
    c->wide = edt_dtype_wide(in->dtype);
    if (in->shape.n_dims != n_dims) {
        char text[EDT_SHAPE_TEXT_BYTES];
        EDT_FAIL(c->err, EDT_ERR_INVALID, "%s: input %d (%s) has shape %s, must have %d axes",
                 edt_op_get_info(c->desc->kind)->name, i, operand,
                 edt_shape_text(&in->shape, text), n_dims);
    }
    return check_dtype(c, i, operand, c->real);
}

static edt_status check_real(const checker *c, int i, const char *operand, edt_shape want)
{
    return check_shape(c, i, operand, c->real, want);
}

static edt_status check_wide(const checker *c, int i, const char *operand, edt_shape want)
{
    return check_shape(c, i, operand, c->wide, want);
}

static void set_out(const checker *c, int i, edt_dtype dtype, edt_shape shape)
{
    if (i < c->desc->n_out) {
        c->desc->out[i] = (edt_tensor_desc){.dtype = dtype, .shape = shape};
    }
}

static edt_status check_conv_attrs(const checker *c)
{
    const edt_conv_attrs *conv = &c->desc->attrs.conv;
    const int values[4] = {conv->kh, conv->kw, conv->sh, conv->sw};
    static const char *const names[4] = {"conv.kh", "conv.kw", "conv.sh", "conv.sw"};
    for (int i = 0; i < 4; ++i) {
        if (values[i] < 1) {
            return fail_attr(c, names[i], values[i], "at least 1");
        }
    }
    return EDT_OK;
}

static edt_shape windowed(const checker *c, const edt_shape *x, int64_t channels)
{
    const edt_conv_attrs *conv = &c->desc->attrs.conv;
    return edt_shape_4(x->dim[0], edt_same_out(x->dim[1], conv->sh),
                       edt_same_out(x->dim[2], conv->sw), channels);
}

// attrs.out_shape of ops that take their output's shape from there.
static edt_status check_out_shape(const checker *c, const char *what)
{
    const edt_shape *shape = &c->desc->attrs.out_shape;
    char text[EDT_SHAPE_TEXT_BYTES];
    bool ok = shape->n_dims == 4;
    for (int d = 0; ok && d < 4; ++d) {
        ok = shape->dim[d] >= 1;
    }
    if (!ok) {
        EDT_FAIL(c->err, EDT_ERR_INVALID,
                 "%s: attribute out_shape is %s, must be the N,H,W,C shape of %s",
                 edt_op_get_info(c->desc->kind)->name, edt_shape_text(shape, text), what);
    }
    return EDT_OK;
}

static edt_status check_bn_attrs(const checker *c)
{
    const edt_bn_attrs *bn = &c->desc->attrs.bn;
    if (!(bn->epsilon > 0)) {
        return fail_attr(c, "bn.epsilon", bn->epsilon, "above 0");
    }
    if (!(bn->momentum >= 0 && bn->momentum <= 1)) {
        return fail_attr(c, "bn.momentum", bn->momentum, "in 0..1");
    }
    return EDT_OK;
}

static edt_status check_channels(const checker *c, int first, int n, const char *const *names,
                                 int64_t channels)
{
    for (int i = 0; i < n; ++i) {
        EDT_TRY(check_wide(c, first + i, names[i], edt_shape_1(channels)));
    }
    return EDT_OK;
}

static const char *const bn_names[4] = {"gamma", "beta", "mm", "mv"};
static const char *const bn_batch_names[4] = {"gamma", "beta", "mean", "invstd"};

static edt_status infer_normalize(checker *c)
{
    const edt_op_attrs *attrs = &c->desc->attrs;
    const edt_shape *x = &c->desc->in[0].shape;
    char text[EDT_SHAPE_TEXT_BYTES];
    EDT_TRY(check_dtype(c, 0, "image", EDT_DTYPE_U8));
    if (x->n_dims != 4 || x->dim[3] != 3) {
        EDT_FAIL(c->err, EDT_ERR_INVALID,
                 "normalize: input 0 (image) has shape %s, must be [N,H,W,3]",
                 edt_shape_text(x, text));
    }
    EDT_TRY(check_shape(c, 1, "valid_hw", EDT_DTYPE_I32, edt_shape_2(x->dim[0], 2)));
    for (int i = 0; i < 3; ++i) {
        if (!(attrs->norm_std[i] > 0)) {
            return fail_attr(c, "norm_std", (double)attrs->norm_std[i], "above 0");
        }
    }
    const edt_dtype real =
        attrs->norm_dtype == EDT_DTYPE_NONE ? EDT_DTYPE_F32 : attrs->norm_dtype;
    if (!is_real(real)) {
        EDT_FAIL(c->err, EDT_ERR_INVALID,
                 "normalize: attribute norm_dtype is %s, must be f32, f64, bf16 or f16",
                 edt_dtype_name(real));
    }
    set_out(c, 0, real, *x);
    return EDT_OK;
}

static edt_status infer_cast(checker *c)
{
    EDT_TRY(take_real(c, 0, "x", c->desc->in[0].shape.n_dims));
    if (!is_real(c->desc->attrs.cast_dtype)) {
        EDT_FAIL(c->err, EDT_ERR_INVALID,
                 "cast: attribute cast_dtype is %s, must be f32, f64, bf16 or f16",
                 edt_dtype_name(c->desc->attrs.cast_dtype));
    }
    set_out(c, 0, c->desc->attrs.cast_dtype, c->desc->in[0].shape);
    return EDT_OK;
}

// x and w of a convolution; y's shape.
static edt_status infer_window(checker *c, bool depthwise, edt_shape *out_y)
{
    const edt_conv_attrs *conv = &c->desc->attrs.conv;
    EDT_TRY(check_conv_attrs(c));
    EDT_TRY(take_real(c, 0, "x", 4));
    const edt_shape *x = &c->desc->in[0].shape;
    const edt_shape *w = &c->desc->in[1].shape;
    const int64_t co = depthwise ? 1 : (w->n_dims == 4 ? w->dim[3] : 1);
    EDT_TRY(check_real(c, 1, "w", edt_shape_4(conv->kh, conv->kw, x->dim[3], co)));
    *out_y = windowed(c, x, depthwise ? x->dim[3] : co);
    return EDT_OK;
}

static edt_status infer_conv(checker *c, bool depthwise)
{
    edt_shape y;
    EDT_TRY(infer_window(c, depthwise, &y));
    if (c->desc->n_in == 3) {
        EDT_TRY(check_real(c, 2, "b", edt_shape_1(y.dim[3])));
    }
    set_out(c, 0, c->real, y);
    return EDT_OK;
}

static edt_status infer_conv_bn_act(checker *c, bool depthwise)
{
    const edt_conv_attrs *conv = &c->desc->attrs.conv;
    edt_shape y;
    EDT_TRY(check_bn_attrs(c));
    EDT_TRY(infer_window(c, depthwise, &y));
    EDT_TRY(check_channels(c, 2, 4, bn_names, y.dim[3]));
    const int n_in = 6 + (conv->has_bias ? 1 : 0) + (conv->has_residual ? 1 : 0);
    if (c->desc->n_in != n_in) {
        EDT_FAIL(c->err, EDT_ERR_INVALID,
                 "%s: %d inputs, must be %d by conv.has_bias and conv.has_residual",
                 edt_op_get_info(c->desc->kind)->name, c->desc->n_in, n_in);
    }
    if (conv->has_bias) {
        EDT_TRY(check_real(c, 6, "b", edt_shape_1(y.dim[3])));
    }
    if (conv->has_residual) {
        EDT_TRY(check_real(c, n_in - 1, "residual", y));
    }
    set_out(c, 0, c->real, y);
    return EDT_OK;
}

static edt_status infer_conv_data(checker *c, bool depthwise)
{
    const edt_conv_attrs *conv = &c->desc->attrs.conv;
    const edt_shape *dx = &c->desc->attrs.out_shape;
    EDT_TRY(check_conv_attrs(c));
    EDT_TRY(check_out_shape(c, "dx"));
    EDT_TRY(take_real(c, 0, "dy", 4));
    const int64_t channels = c->desc->in[0].shape.dim[3];
    const int64_t ci = depthwise ? channels : dx->dim[3];
    EDT_TRY(
        check_real(c, 1, "w", edt_shape_4(conv->kh, conv->kw, ci, depthwise ? 1 : channels)));
    EDT_TRY(check_real(c, 0, "dy", windowed(c, dx, channels)));
    const edt_shape want = edt_shape_4(dx->dim[0], dx->dim[1], dx->dim[2], ci);
    if (!edt_shape_equal(dx, &want)) {
        return fail_attr(c, "out_shape's channels", (double)dx->dim[3], "the channels of dy");
    }
    set_out(c, 0, c->real, *dx);
    return EDT_OK;
}

static edt_status infer_conv_weight(checker *c, bool depthwise)
{
    const edt_conv_attrs *conv = &c->desc->attrs.conv;
    const edt_shape *given = &c->desc->attrs.out_shape;
    EDT_TRY(check_conv_attrs(c));
    EDT_TRY(take_real(c, 0, "x", 4));
    const edt_shape *x = &c->desc->in[0].shape;
    const edt_shape *dy = &c->desc->in[1].shape;
    const int64_t co = depthwise ? x->dim[3] : (dy->n_dims == 4 ? dy->dim[3] : 1);
    EDT_TRY(check_real(c, 1, "dy", windowed(c, x, co)));
    const edt_shape dw = edt_shape_4(conv->kh, conv->kw, x->dim[3], depthwise ? 1 : co);
    if (given->n_dims != 0 && !edt_shape_equal(given, &dw)) {
        char got_text[EDT_SHAPE_TEXT_BYTES];
        char want_text[EDT_SHAPE_TEXT_BYTES];
        EDT_FAIL(c->err, EDT_ERR_INVALID, "%s: attribute out_shape is %s, dw has shape %s",
                 edt_op_get_info(c->desc->kind)->name, edt_shape_text(given, got_text),
                 edt_shape_text(&dw, want_text));
    }
    set_out(c, 0, c->wide, dw);
    set_out(c, 1, c->wide, edt_shape_1(co));
    return EDT_OK;
}

static edt_status check_n_ranks(const checker *c)
{
    const int n_ranks = c->desc->attrs.bn.n_ranks;
    return n_ranks >= 1 ? EDT_OK : fail_attr(c, "bn.n_ranks", n_ranks, "at least 1");
}

// BN_TRAIN, BN_INFER and, with the sums as input 1, BN_APPLY.
static edt_status infer_bn(checker *c)
{
    const bool apply = c->desc->kind == EDT_OP_BN_APPLY;
    EDT_TRY(check_bn_attrs(c));
    EDT_TRY(take_real(c, 0, "x", 4));
    const edt_shape *x = &c->desc->in[0].shape;
    const edt_shape channels = edt_shape_1(x->dim[3]);
    if (apply) {
        EDT_TRY(check_n_ranks(c));
        EDT_TRY(check_shape(c, 1, "sums", EDT_DTYPE_F64, edt_shape_1(2 * x->dim[3])));
    }
    EDT_TRY(check_channels(c, apply ? 2 : 1, 4, bn_names, x->dim[3]));
    set_out(c, 0, c->real, *x);
    set_out(c, 1, c->wide, channels);
    set_out(c, 2, c->wide, channels);
    return EDT_OK;
}

static edt_status infer_bn_stats(checker *c)
{
    EDT_TRY(take_real(c, 0, "x", 4));
    const int64_t channels = c->desc->in[0].shape.dim[3];
    EDT_TRY(check_wide(c, 1, "mm", edt_shape_1(channels)));
    set_out(c, 0, EDT_DTYPE_F64, edt_shape_1(2 * channels));
    return EDT_OK;
}

static edt_status check_bn_bwd(checker *c, bool batch)
{
    EDT_TRY(check_bn_attrs(c));
    EDT_TRY(take_real(c, 0, "dy", 4));
    const edt_shape *dy = &c->desc->in[0].shape;
    EDT_TRY(check_real(c, 1, "x", *dy));
    return check_channels(c, 2, 4, batch ? bn_batch_names : bn_names, dy->dim[3]);
}

static edt_status infer_bn_bwd(checker *c, bool batch)
{
    EDT_TRY(check_bn_bwd(c, batch));
    const edt_shape *dy = &c->desc->in[0].shape;
    set_out(c, 0, c->real, *dy);
    set_out(c, 1, c->wide, edt_shape_1(dy->dim[3]));
    set_out(c, 2, c->wide, edt_shape_1(dy->dim[3]));
    return EDT_OK;
}

static edt_status infer_bn_bwd_stats(checker *c)
{
    EDT_TRY(check_bn_bwd(c, true));
    const int64_t channels = c->desc->in[0].shape.dim[3];
    set_out(c, 0, EDT_DTYPE_F64, edt_shape_1(2 * channels));
    set_out(c, 1, c->wide, edt_shape_1(channels));
    set_out(c, 2, c->wide, edt_shape_1(channels));
    return EDT_OK;
}

static edt_status infer_bn_bwd_apply(checker *c)
{
    EDT_TRY(check_bn_bwd(c, true));
    EDT_TRY(check_n_ranks(c));
    const edt_shape *dy = &c->desc->in[0].shape;
    EDT_TRY(check_shape(c, 6, "sums", EDT_DTYPE_F64, edt_shape_1(2 * dy->dim[3])));
    set_out(c, 0, c->real, *dy);
    return EDT_OK;
}

static edt_status infer_act(checker *c)
{
    const bool backward = c->desc->kind == EDT_OP_ACT_BWD;
    EDT_TRY(take_real(c, 0, backward ? "dy" : "x", c->desc->in[0].shape.n_dims));
    if (backward) {
        EDT_TRY(check_real(c, 1, "x", c->desc->in[0].shape));
    }
    set_out(c, 0, c->real, c->desc->in[0].shape);
    return EDT_OK;
}

static edt_status infer_add(checker *c)
{
    EDT_TRY(take_real(c, 0, "a", c->desc->in[0].shape.n_dims));
    EDT_TRY(check_real(c, 1, "b", c->desc->in[0].shape));
    set_out(c, 0, c->real, c->desc->in[0].shape);
    return EDT_OK;
}

static edt_status infer_global_avg_pool(checker *c)
{
    const edt_shape *dx = &c->desc->attrs.out_shape;
    const bool backward = c->desc->kind == EDT_OP_GLOBAL_AVG_POOL_BWD;
    EDT_TRY(take_real(c, 0, backward ? "dy" : "x", 4));
    const edt_shape *in = &c->desc->in[0].shape;
    if (!backward) {
        set_out(c, 0, c->real, edt_shape_4(in->dim[0], 1, 1, in->dim[3]));
        return EDT_OK;
    }
    EDT_TRY(check_out_shape(c, "dx"));
    EDT_TRY(check_real(c, 0, "dy", edt_shape_4(dx->dim[0], 1, 1, dx->dim[3])));
    set_out(c, 0, c->real, *dx);
    return EDT_OK;
}

static edt_status infer_scale_channels(checker *c)
{
    const bool backward = c->desc->kind == EDT_OP_SCALE_CHANNELS_BWD;
    EDT_TRY(take_real(c, 0, backward ? "dy" : "x", 4));
    const edt_shape *x = &c->desc->in[0].shape;
    const edt_shape s = edt_shape_4(x->dim[0], 1, 1, x->dim[3]);
    if (backward) {
        EDT_TRY(check_real(c, 1, "x", *x));
    }
    EDT_TRY(check_real(c, backward ? 2 : 1, "s", s));
    set_out(c, 0, c->real, *x);
    set_out(c, 1, c->real, s);
    return EDT_OK;
}

static edt_status infer_drop_connect(checker *c)
{
    const edt_op_attrs *attrs = &c->desc->attrs;
    EDT_TRY(take_real(c, 0, "x", 4));
    const edt_shape *x = &c->desc->in[0].shape;
    const edt_shape *u = &c->desc->in[1].shape;
    EDT_TRY(check_wide(c, 1, "u", edt_shape_2(u->n_dims == 2 ? u->dim[0] : 1, x->dim[0])));
    if (!(attrs->drop_survival > 0 && attrs->drop_survival <= 1)) {
        return fail_attr(c, "drop_survival", attrs->drop_survival, "above 0 and at most 1");
    }
    if (attrs->drop_row < 0 || attrs->drop_row >= u->dim[0]) {
        return fail_attr(c, "drop_row", attrs->drop_row, "a row of u");
    }
    set_out(c, 0, c->real, *x);
    return EDT_OK;
}

static edt_status infer_max_pool(checker *c)
{
    const edt_conv_attrs *conv = &c->desc->attrs.conv;
    EDT_TRY(check_conv_attrs(c));
    if (conv->kh * conv->kw > 256) {
        return fail_attr(c, "conv.kh * conv.kw", conv->kh * conv->kw, "at most 256 (u8 index)");
    }
    const bool backward = c->desc->kind == EDT_OP_MAX_POOL_BWD;
    EDT_TRY(take_real(c, 0, backward ? "dy" : "x", 4));
    const edt_shape *in = &c->desc->in[0].shape;
    if (!backward) {
        const edt_shape y = windowed(c, in, in->dim[3]);
        set_out(c, 0, c->real, y);
        set_out(c, 1, EDT_DTYPE_U8, y);
        return EDT_OK;
    }
    const edt_shape *dx = &c->desc->attrs.out_shape;
    EDT_TRY(check_out_shape(c, "dx"));
    EDT_TRY(check_real(c, 0, "dy", windowed(c, dx, dx->dim[3])));
    EDT_TRY(check_shape(c, 1, "index", EDT_DTYPE_U8, *in));
    set_out(c, 0, c->real, *dx);
    return EDT_OK;
}

static edt_status infer_resize(checker *c)
{
    const bool backward = c->desc->kind == EDT_OP_RESIZE_NEAREST_BWD;
    const edt_shape *to = &c->desc->attrs.out_shape;
    EDT_TRY(check_out_shape(c, backward ? "dx" : "y"));
    EDT_TRY(take_real(c, 0, backward ? "dy" : "x", 4));
    const edt_shape *in = &c->desc->in[0].shape;
    EDT_TRY(check_real(c, 0, backward ? "dy" : "x",
                       edt_shape_4(to->dim[0], in->dim[1], in->dim[2], to->dim[3])));
    set_out(c, 0, c->real, *to);
    return EDT_OK;
}

static edt_status infer_fuse(checker *c)
{
    const edt_op_attrs *attrs = &c->desc->attrs;
    const bool backward = c->desc->kind == EDT_OP_FUSE_BWD;
    const int m = attrs->fuse_n;
    const int first = backward ? 1 : 0;
    const bool weighted = attrs->fuse_method != EDT_FUSE_SUM;
    const bool per_channel = attrs->fuse_method == EDT_FUSE_CHANNEL_FASTATTN ||
                             attrs->fuse_method == EDT_FUSE_CHANNEL_ATTN;
    if (m < 1 || m > EDT_FUSE_MAX_IN) {
        return fail_attr(c, "fuse_n", m, "1, 2 or 3");
    }
    const int n_in = first + (weighted ? 2 * m : m);
    if (c->desc->n_in != n_in) {
        EDT_FAIL(c->err, EDT_ERR_INVALID, "%s: %d inputs, must be %d for fuse_n %d%s",
                 edt_op_get_info(c->desc->kind)->name, c->desc->n_in, n_in, m,
                 weighted ? " with weights" : " without weights");
    }
    EDT_TRY(take_real(c, 0, backward ? "dy" : "x_0", 4));
    const edt_shape x = c->desc->in[0].shape;
    static const char *const x_names[EDT_FUSE_MAX_IN] = {"x_0", "x_1", "x_2"};
    static const char *const w_names[EDT_FUSE_MAX_IN] = {"w_0", "w_1", "w_2"};
    for (int j = 0; j < m; ++j) {
        EDT_TRY(check_real(c, first + j, x_names[j], x));
        set_out(c, j, c->real, x);
    }
    for (int j = 0; weighted && j < m; ++j) {
        const int i = first + m + j;
        const edt_shape want = per_channel                        ? edt_shape_1(x.dim[3])
                               : c->desc->in[i].shape.n_dims == 0 ? (edt_shape){.n_dims = 0}
                                                                  : edt_shape_1(1);
        EDT_TRY(check_wide(c, i, w_names[j], want));
        if (backward) {
            set_out(c, m + j, c->wide, want);
        }
    }
    if (backward && c->desc->n_out > (weighted ? 2 * m : m)) {
        EDT_FAIL(c->err, EDT_ERR_INVALID, "fuse_bwd: %d outputs, at most one per x and w",
                 c->desc->n_out);
    }
    return EDT_OK;
}

static edt_status check_norm(const checker *c, int i)
{
    const edt_shape shape =
        c->desc->in[i].shape.n_dims == 0 ? (edt_shape){.n_dims = 0} : edt_shape_1(1);
    EDT_TRY(check_wide(c, i, "norm", shape));
    if (!c->desc->attrs.loss.scaled) {
        return EDT_OK;
    }
    if (c->desc->n_in <= i + 1) {
        EDT_FAIL(c->err, EDT_ERR_INVALID, "%s: loss.scaled is set and input %d (scale) absent",
                 edt_op_get_info(c->desc->kind)->name, i + 1);
    }
    return check_shape(c, i + 1, "scale", EDT_DTYPE_F32, edt_shape_1(2));
}

// FOCAL_LOSS and BOX_LOSS: one level of logits against a slice of the flat target row.
static edt_status infer_level_loss(checker *c)
{
    const edt_loss_attrs *loss = &c->desc->attrs.loss;
    const bool focal = c->desc->kind == EDT_OP_FOCAL_LOSS;
    EDT_TRY(take_real(c, 0, focal ? "logits" : "box", 4));
    const edt_shape *x = &c->desc->in[0].shape;
    const edt_shape *t = &c->desc->in[1].shape;
    if (loss->anchors_per_cell < 1) {
        return fail_attr(c, "loss.anchors_per_cell", (double)loss->anchors_per_cell,
                         "at least 1");
    }
    if (focal && loss->num_classes < 1) {
        return fail_attr(c, "loss.num_classes", (double)loss->num_classes, "at least 1");
    }
    const int64_t per_anchor = focal ? loss->num_classes : 4;
    EDT_TRY(check_real(
        c, 0, focal ? "logits" : "box",
        edt_shape_4(x->dim[0], x->dim[1], x->dim[2], loss->anchors_per_cell * per_anchor)));
    const int64_t n_anchors = t->n_dims >= 2 ? t->dim[1] : 1;
    if (focal) {
        EDT_TRY(check_shape(c, 1, "targets", EDT_DTYPE_I32, edt_shape_2(x->dim[0], n_anchors)));
    } else {
        EDT_TRY(check_wide(c, 1, "targets", edt_shape_3(x->dim[0], n_anchors, 4)));
    }
    const int64_t end = loss->anchor_offset + x->dim[1] * x->dim[2] * loss->anchors_per_cell;
    if (loss->anchor_offset < 0 || end > n_anchors) {
        EDT_FAIL(c->err, EDT_ERR_INVALID,
                 "%s: this level's anchors %" PRId64 "..%" PRId64
                 " do not lie inside the %" PRId64 " of targets",
                 edt_op_get_info(c->desc->kind)->name, loss->anchor_offset, end, n_anchors);
    }
    EDT_TRY(check_norm(c, 2));
    set_out(c, 0, c->wide, edt_shape_1(1));
    set_out(c, 1, c->real, *x);
    return EDT_OK;
}

static edt_status infer_iou_loss(checker *c)
{
    const edt_loss_attrs *loss = &c->desc->attrs.loss;
    const int n_levels = c->desc->n_in - (loss->scaled ? 4 : 3);
    if (n_levels < 1) {
        return fail_attr(c, "loss.scaled", loss->scaled, "false without an input for the scale");
    }
    if (loss->anchors_per_cell < 1) {
        return fail_attr(c, "loss.anchors_per_cell", (double)loss->anchors_per_cell,
                         "at least 1");
    }
    if (c->desc->n_out > 1 + n_levels) {
        EDT_FAIL(c->err, EDT_ERR_INVALID, "iou_loss: %d outputs, at most %d for %d levels",
                 c->desc->n_out, 1 + n_levels, n_levels);
    }
    int64_t n_anchors = 0;
    for (int l = 0; l < n_levels; ++l) {
        const edt_shape *x = &c->desc->in[l].shape;
        EDT_TRY(take_real(c, l, "box_l", 4));
        EDT_TRY(check_shape(c, l, "box_l", c->desc->in[0].dtype,
                            edt_shape_4(c->desc->in[0].shape.dim[0], x->dim[1], x->dim[2],
                                        4 * loss->anchors_per_cell)));
        n_anchors += x->dim[1] * x->dim[2] * loss->anchors_per_cell;
        set_out(c, 1 + l, c->real, *x);
    }
    EDT_TRY(check_wide(c, n_levels, "anchors", edt_shape_2(n_anchors, 4)));
    EDT_TRY(check_wide(c, n_levels + 1, "targets",
                       edt_shape_3(c->desc->in[0].shape.dim[0], n_anchors, 4)));
    EDT_TRY(check_norm(c, n_levels + 2));
    set_out(c, 0, c->wide, edt_shape_1(1));
    return EDT_OK;
}

static edt_status infer_optimizer(checker *c)
{
    const edt_optimizer_attrs *optimizer = &c->desc->attrs.optimizer;
    const bool adam = optimizer->kind == EDT_OPTIMIZER_ADAM;
    static const char *const names[5] = {"params", "grads", "slot0", "slot1", "ema"};
    const bool has_slot1 = c->desc->n_in > 3 && c->desc->in[3].dtype != EDT_DTYPE_NONE;
    if (adam && !has_slot1) {
        EDT_FAIL(c->err, EDT_ERR_INVALID, "optimizer: Adam needs input 3 (slot1)");
    }
    EDT_TRY(take_real(c, 0, "params", 1));
    const int64_t n = c->desc->in[0].shape.dim[0];
    for (int i = 1; i < c->desc->n_in && i < 5; ++i) {
        if (c->desc->in[i].dtype != EDT_DTYPE_NONE || i < 3) {
            EDT_TRY(check_real(c, i, names[i], edt_shape_1(n)));
        }
    }
    if (c->desc->n_in == 6) {
        EDT_TRY(check_shape(c, 5, "scale", EDT_DTYPE_F32, edt_shape_1(2)));
    }
    for (int64_t i = 0; i < optimizer->n_segments; ++i) {
        const edt_param_segment *segment = &optimizer->segments[i];
        if (segment->offset < 0 || segment->n < 0 || segment->offset > n - segment->n) {
            EDT_FAIL(c->err, EDT_ERR_INVALID,
                     "optimizer: segment %" PRId64 " spans %" PRId64 "+%" PRId64
                     ", the arenas have %" PRId64 " elements",
                     i, segment->offset, segment->n, n);
        }
    }
    set_out(c, 0, c->real, edt_shape_1(EDT_OPTIMIZER_STATS));
    return EDT_OK;
}

edt_status edt_op_infer(edt_op_desc *desc, edt_error *err)
{
    if ((unsigned)desc->kind >= EDT_OP_N_KINDS) {
        EDT_FAIL(err, EDT_ERR_INVALID, "op kind %d does not exist", (int)desc->kind);
    }
    checker c = {.desc = desc, .err = err, .real = EDT_DTYPE_NONE};
    EDT_TRY(check_arity(&c));
    switch (desc->kind) {
    case EDT_OP_CAST: return infer_cast(&c);
    case EDT_OP_NORMALIZE: return infer_normalize(&c);
    case EDT_OP_CONV2D: return infer_conv(&c, false);
    case EDT_OP_DEPTHWISE: return infer_conv(&c, true);
    case EDT_OP_BN_TRAIN:
    case EDT_OP_BN_APPLY:
    case EDT_OP_BN_INFER: return infer_bn(&c);
    case EDT_OP_BN_STATS: return infer_bn_stats(&c);
    case EDT_OP_BN_BWD_STATS: return infer_bn_bwd_stats(&c);
    case EDT_OP_BN_BWD_APPLY: return infer_bn_bwd_apply(&c);
    case EDT_OP_ACT:
    case EDT_OP_ACT_BWD: return infer_act(&c);
    case EDT_OP_GLOBAL_AVG_POOL:
    case EDT_OP_GLOBAL_AVG_POOL_BWD: return infer_global_avg_pool(&c);
    case EDT_OP_SCALE_CHANNELS:
    case EDT_OP_SCALE_CHANNELS_BWD: return infer_scale_channels(&c);
    case EDT_OP_ADD: return infer_add(&c);
    case EDT_OP_DROP_CONNECT: return infer_drop_connect(&c);
    case EDT_OP_MAX_POOL:
    case EDT_OP_MAX_POOL_BWD: return infer_max_pool(&c);
    case EDT_OP_RESIZE_NEAREST:
    case EDT_OP_RESIZE_NEAREST_BWD: return infer_resize(&c);
    case EDT_OP_FUSE:
    case EDT_OP_FUSE_BWD: return infer_fuse(&c);
    case EDT_OP_FOCAL_LOSS:
    case EDT_OP_BOX_LOSS: return infer_level_loss(&c);
    case EDT_OP_IOU_LOSS: return infer_iou_loss(&c);
    case EDT_OP_CONV2D_DATA: return infer_conv_data(&c, false);
    case EDT_OP_DEPTHWISE_DATA: return infer_conv_data(&c, true);
    case EDT_OP_CONV2D_WEIGHT: return infer_conv_weight(&c, false);
    case EDT_OP_DEPTHWISE_WEIGHT: return infer_conv_weight(&c, true);
    case EDT_OP_BN_TRAIN_BWD: return infer_bn_bwd(&c, true);
    case EDT_OP_BN_INFER_BWD: return infer_bn_bwd(&c, false);
    case EDT_OP_OPTIMIZER: return infer_optimizer(&c);
    case EDT_OP_CONV2D_BN_ACT: return infer_conv_bn_act(&c, false);
    case EDT_OP_DEPTHWISE_BN_ACT: return infer_conv_bn_act(&c, true);
    case EDT_OP_N_KINDS: break;
    }
    return EDT_OK;
}
