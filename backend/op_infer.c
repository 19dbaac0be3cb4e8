// Shape inference: checks the operands of an op against its kind and attributes and fills in
// the outputs. Elementwise kinds, pooling, resizing and fusion stand here, one small function
// each; the larger families have files of their own.
#include "backend/op_check.h"

static edt_status check_arity(const edt_op_checker *c)
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

static edt_status infer_normalize(edt_op_checker *c)
{
    const edt_op_attrs *attrs = &c->desc->attrs;
    const edt_shape *x = &c->desc->in[0].shape;
    char text[EDT_SHAPE_TEXT_BYTES];
    EDT_TRY(edt_op_check_dtype(c, 0, "image", EDT_DTYPE_U8));
    if (x->n_dims != 4 || x->dim[3] != 3) {
        EDT_FAIL(c->err, EDT_ERR_INVALID,
                 "normalize: input 0 (image) has shape %s, must be [N,H,W,3]",
                 edt_shape_text(x, text));
    }
    EDT_TRY(edt_op_check_shape(c, 1, "valid_hw", EDT_DTYPE_I32, edt_shape_2(x->dim[0], 2)));
    for (int i = 0; i < 3; ++i) {
        if (!(attrs->norm_std[i] > 0)) {
            return edt_op_fail_attr(c, "norm_std", (double)attrs->norm_std[i], "above 0");
        }
    }
    const edt_dtype real =
        attrs->norm_dtype == EDT_DTYPE_NONE ? EDT_DTYPE_F32 : attrs->norm_dtype;
    if (!edt_op_is_real(real)) {
        EDT_FAIL(c->err, EDT_ERR_INVALID,
                 "normalize: attribute norm_dtype is %s, must be f32, f64, bf16 or f16",
                 edt_dtype_name(real));
    }
    edt_op_set_out(c, 0, real, *x);
    return EDT_OK;
}

static edt_status infer_cast(edt_op_checker *c)
{
    EDT_TRY(edt_op_take_real(c, 0, "x", c->desc->in[0].shape.n_dims));
    if (!edt_op_is_real(c->desc->attrs.cast_dtype)) {
        EDT_FAIL(c->err, EDT_ERR_INVALID,
                 "cast: attribute cast_dtype is %s, must be f32, f64, bf16 or f16",
                 edt_dtype_name(c->desc->attrs.cast_dtype));
    }
    edt_op_set_out(c, 0, c->desc->attrs.cast_dtype, c->desc->in[0].shape);
    return EDT_OK;
}

static edt_status infer_act(edt_op_checker *c)
{
    const bool backward = c->desc->kind == EDT_OP_ACT_BWD;
    EDT_TRY(edt_op_check_act(c, c->desc->attrs.act));
    EDT_TRY(edt_op_take_real(c, 0, backward ? "dy" : "x", c->desc->in[0].shape.n_dims));
    if (backward) {
        EDT_TRY(edt_op_check_real(c, 1, "x", c->desc->in[0].shape));
    }
    edt_op_set_out(c, 0, c->real, c->desc->in[0].shape);
    return EDT_OK;
}

static edt_status infer_add(edt_op_checker *c)
{
    EDT_TRY(edt_op_take_real(c, 0, "a", c->desc->in[0].shape.n_dims));
    EDT_TRY(edt_op_check_real(c, 1, "b", c->desc->in[0].shape));
    edt_op_set_out(c, 0, c->real, c->desc->in[0].shape);
    return EDT_OK;
}

static edt_status infer_global_avg_pool(edt_op_checker *c)
{
    const edt_shape *dx = &c->desc->attrs.out_shape;
    const bool backward = c->desc->kind == EDT_OP_GLOBAL_AVG_POOL_BWD;
    EDT_TRY(edt_op_take_real(c, 0, backward ? "dy" : "x", 4));
    const edt_shape *in = &c->desc->in[0].shape;
    if (!backward) {
        edt_op_set_out(c, 0, c->real, edt_shape_4(in->dim[0], 1, 1, in->dim[3]));
        return EDT_OK;
    }
    EDT_TRY(edt_op_check_out_shape(c, "dx"));
    EDT_TRY(edt_op_check_real(c, 0, "dy", edt_shape_4(dx->dim[0], 1, 1, dx->dim[3])));
    edt_op_set_out(c, 0, c->real, *dx);
    return EDT_OK;
}

static edt_status infer_scale_channels(edt_op_checker *c)
{
    const bool backward = c->desc->kind == EDT_OP_SCALE_CHANNELS_BWD;
    EDT_TRY(edt_op_take_real(c, 0, backward ? "dy" : "x", 4));
    const edt_shape *x = &c->desc->in[0].shape;
    const edt_shape s = edt_shape_4(x->dim[0], 1, 1, x->dim[3]);
    if (backward) {
        EDT_TRY(edt_op_check_real(c, 1, "x", *x));
    }
    EDT_TRY(edt_op_check_real(c, backward ? 2 : 1, "s", s));
    edt_op_set_out(c, 0, c->real, *x);
    edt_op_set_out(c, 1, c->real, s);
    return EDT_OK;
}

static edt_status infer_drop_connect(edt_op_checker *c)
{
    const edt_op_attrs *attrs = &c->desc->attrs;
    EDT_TRY(edt_op_take_real(c, 0, "x", 4));
    const edt_shape *x = &c->desc->in[0].shape;
    const edt_shape *u = &c->desc->in[1].shape;
    EDT_TRY(
        edt_op_check_wide(c, 1, "u", edt_shape_2(u->n_dims == 2 ? u->dim[0] : 1, x->dim[0])));
    if (!(attrs->drop_survival > 0 && attrs->drop_survival <= 1)) {
        return edt_op_fail_attr(c, "drop_survival", attrs->drop_survival,
                                "above 0 and at most 1");
    }
    if (attrs->drop_row < 0 || attrs->drop_row >= u->dim[0]) {
        return edt_op_fail_attr(c, "drop_row", attrs->drop_row, "a row of u");
    }
    edt_op_set_out(c, 0, c->real, *x);
    return EDT_OK;
}

static edt_status infer_max_pool(edt_op_checker *c)
{
    const edt_conv_attrs *conv = &c->desc->attrs.conv;
    EDT_TRY(edt_op_check_conv_attrs(c));
    if (conv->kh * conv->kw > 256) {
        return edt_op_fail_attr(c, "conv.kh * conv.kw", conv->kh * conv->kw,
                                "at most 256 (u8 index)");
    }
    const bool backward = c->desc->kind == EDT_OP_MAX_POOL_BWD;
    EDT_TRY(edt_op_take_real(c, 0, backward ? "dy" : "x", 4));
    const edt_shape *in = &c->desc->in[0].shape;
    if (!backward) {
        const edt_shape y = edt_op_windowed(c, in, in->dim[3]);
        edt_op_set_out(c, 0, c->real, y);
        edt_op_set_out(c, 1, EDT_DTYPE_U8, y);
        return EDT_OK;
    }
    const edt_shape *dx = &c->desc->attrs.out_shape;
    EDT_TRY(edt_op_check_out_shape(c, "dx"));
    EDT_TRY(edt_op_check_real(c, 0, "dy", edt_op_windowed(c, dx, dx->dim[3])));
    EDT_TRY(edt_op_check_shape(c, 1, "index", EDT_DTYPE_U8, *in));
    edt_op_set_out(c, 0, c->real, *dx);
    return EDT_OK;
}

static edt_status infer_resize(edt_op_checker *c)
{
    const bool backward = c->desc->kind == EDT_OP_RESIZE_NEAREST_BWD;
    const edt_shape *to = &c->desc->attrs.out_shape;
    EDT_TRY(edt_op_check_out_shape(c, backward ? "dx" : "y"));
    EDT_TRY(edt_op_take_real(c, 0, backward ? "dy" : "x", 4));
    const edt_shape *in = &c->desc->in[0].shape;
    EDT_TRY(edt_op_check_real(c, 0, backward ? "dy" : "x",
                              edt_shape_4(to->dim[0], in->dim[1], in->dim[2], to->dim[3])));
    edt_op_set_out(c, 0, c->real, *to);
    return EDT_OK;
}

static edt_status infer_fuse(edt_op_checker *c)
{
    const edt_op_attrs *attrs = &c->desc->attrs;
    const bool backward = c->desc->kind == EDT_OP_FUSE_BWD;
    const int m = attrs->fuse_n;
    const int first = backward ? 1 : 0;
    const bool weighted = attrs->fuse_method != EDT_FUSE_SUM;
    const bool per_channel = attrs->fuse_method == EDT_FUSE_CHANNEL_FASTATTN ||
                             attrs->fuse_method == EDT_FUSE_CHANNEL_ATTN;
    if (m < 1 || m > EDT_FUSE_MAX_IN) {
        return edt_op_fail_attr(c, "fuse_n", m, "1 to 7");
    }
    EDT_TRY(edt_op_check_act(c, attrs->act));
    const int n_in = first + (weighted ? 2 * m : m);
    if (c->desc->n_in != n_in) {
        EDT_FAIL(c->err, EDT_ERR_INVALID, "%s: %d inputs, must be %d for fuse_n %d%s",
                 edt_op_get_info(c->desc->kind)->name, c->desc->n_in, n_in, m,
                 weighted ? " with weights" : " without weights");
    }
    EDT_TRY(edt_op_take_real(c, 0, backward ? "dy" : "x_0", 4));
    const edt_shape x = c->desc->in[0].shape;
    static const char *const x_names[EDT_FUSE_MAX_IN] = {"x_0", "x_1", "x_2", "x_3",
                                                         "x_4", "x_5", "x_6"};
    static const char *const w_names[EDT_FUSE_MAX_IN] = {"w_0", "w_1", "w_2", "w_3",
                                                         "w_4", "w_5", "w_6"};
    for (int j = 0; j < m; ++j) {
        EDT_TRY(edt_op_check_real(c, first + j, x_names[j], x));
        edt_op_set_out(c, j, c->real, x);
    }
    for (int j = 0; weighted && j < m; ++j) {
        const int i = first + m + j;
        const edt_shape want = per_channel                        ? edt_shape_1(x.dim[3])
                               : c->desc->in[i].shape.n_dims == 0 ? (edt_shape){.n_dims = 0}
                                                                  : edt_shape_1(1);
        EDT_TRY(edt_op_check_wide(c, i, w_names[j], want));
        if (backward) {
            edt_op_set_out(c, m + j, c->wide, want);
        }
    }
    if (backward && c->desc->n_out > (weighted ? 2 * m : m)) {
        EDT_FAIL(c->err, EDT_ERR_INVALID, "fuse_bwd: %d outputs, at most one per x and w",
                 c->desc->n_out);
    }
    return EDT_OK;
}

static edt_status infer_concat(edt_op_checker *c)
{
    EDT_TRY(edt_op_take_real(c, 0, "a", 4));
    const edt_shape a = c->desc->in[0].shape;
    const edt_shape *b = &c->desc->in[1].shape;
    const int64_t more = b->n_dims == 4 ? b->dim[3] : 1;
    EDT_TRY(edt_op_check_real(c, 1, "b", edt_shape_4(a.dim[0], a.dim[1], a.dim[2], more)));
    edt_op_set_out(c, 0, c->real, edt_shape_4(a.dim[0], a.dim[1], a.dim[2], a.dim[3] + more));
    return EDT_OK;
}

static edt_status infer_concat_bwd(edt_op_checker *c)
{
    EDT_TRY(edt_op_take_real(c, 0, "dy", 4));
    EDT_TRY(edt_op_check_out_shape(c, "da"));
    const edt_shape *a = &c->desc->attrs.out_shape;
    const int64_t channels = c->desc->in[0].shape.dim[3];
    EDT_TRY(
        edt_op_check_real(c, 0, "dy", edt_shape_4(a->dim[0], a->dim[1], a->dim[2], channels)));
    if (a->dim[3] >= channels) {
        return edt_op_fail_attr(c, "out_shape's channels", (double)a->dim[3],
                                "less than those of dy");
    }
    edt_op_set_out(c, 0, c->real, *a);
    edt_op_set_out(c, 1, c->real,
                   edt_shape_4(a->dim[0], a->dim[1], a->dim[2], channels - a->dim[3]));
    return EDT_OK;
}

static edt_status infer_bias(edt_op_checker *c)
{
    const bool backward = c->desc->kind == EDT_OP_BIAS_BWD;
    EDT_TRY(edt_op_take_real(c, 0, backward ? "dy" : "x", 4));
    const edt_shape *x = &c->desc->in[0].shape;
    if (backward) {
        edt_op_set_out(c, 0, c->wide, edt_shape_1(x->dim[3]));
        return EDT_OK;
    }
    EDT_TRY(edt_op_check_real(c, 1, "b", edt_shape_1(x->dim[3])));
    edt_op_set_out(c, 0, c->real, *x);
    return EDT_OK;
}

static edt_status infer_srelu(edt_op_checker *c)
{
    const bool backward = c->desc->kind == EDT_OP_SRELU_BWD;
    const int i = backward ? 2 : 1;
    EDT_TRY(edt_op_take_real(c, 0, backward ? "dy" : "x", 4));
    if (backward) {
        EDT_TRY(edt_op_check_real(c, 1, "x", c->desc->in[0].shape));
    }
    const edt_shape b =
        c->desc->in[i].shape.n_dims == 0 ? (edt_shape){.n_dims = 0} : edt_shape_1(1);
    EDT_TRY(edt_op_check_wide(c, i, "b", b));
    edt_op_set_out(c, 0, c->real, c->desc->in[0].shape);
    edt_op_set_out(c, 1, c->wide, b);
    return EDT_OK;
}

edt_status edt_op_infer(edt_op_desc *desc, edt_error *err)
{
    if ((unsigned)desc->kind >= EDT_OP_N_KINDS) {
        EDT_FAIL(err, EDT_ERR_INVALID, "op kind %d does not exist", (int)desc->kind);
    }
    edt_op_checker c = {.desc = desc, .err = err, .real = EDT_DTYPE_NONE};
    EDT_TRY(check_arity(&c));
    switch (desc->kind) {
    case EDT_OP_CAST: return infer_cast(&c);
    case EDT_OP_NORMALIZE: return infer_normalize(&c);
    case EDT_OP_ACT:
    case EDT_OP_ACT_BWD: return infer_act(&c);
    case EDT_OP_GLOBAL_AVG_POOL:
    case EDT_OP_GLOBAL_AVG_POOL_BWD: return infer_global_avg_pool(&c);
    case EDT_OP_SCALE_CHANNELS:
    case EDT_OP_SCALE_CHANNELS_BWD: return infer_scale_channels(&c);
    case EDT_OP_CONCAT: return infer_concat(&c);
    case EDT_OP_CONCAT_BWD: return infer_concat_bwd(&c);
    case EDT_OP_BIAS:
    case EDT_OP_BIAS_BWD: return infer_bias(&c);
    case EDT_OP_SRELU:
    case EDT_OP_SRELU_BWD: return infer_srelu(&c);
    case EDT_OP_ADD: return infer_add(&c);
    case EDT_OP_DROP_CONNECT: return infer_drop_connect(&c);
    case EDT_OP_MAX_POOL:
    case EDT_OP_MAX_POOL_BWD: return infer_max_pool(&c);
    case EDT_OP_RESIZE_NEAREST:
    case EDT_OP_RESIZE_NEAREST_BWD: return infer_resize(&c);
    case EDT_OP_FUSE:
    case EDT_OP_FUSE_BWD: return infer_fuse(&c);
    case EDT_OP_CONV2D:
    case EDT_OP_DEPTHWISE:
    case EDT_OP_CONV2D_DATA:
    case EDT_OP_DEPTHWISE_DATA:
    case EDT_OP_CONV2D_WEIGHT:
    case EDT_OP_DEPTHWISE_WEIGHT:
    case EDT_OP_CONV2D_BN_ACT:
    case EDT_OP_DEPTHWISE_BN_ACT:
    case EDT_OP_CONV2D_DEPTHWISE_BN_ACT: return edt_op_infer_conv(&c);
    case EDT_OP_BN_TRAIN:
    case EDT_OP_BN_APPLY:
    case EDT_OP_BN_INFER:
    case EDT_OP_BN_STATS:
    case EDT_OP_BN_TRAIN_BWD:
    case EDT_OP_BN_INFER_BWD:
    case EDT_OP_BN_BWD_STATS:
    case EDT_OP_BN_BWD_APPLY: return edt_op_infer_norm(&c);
    case EDT_OP_FOCAL_LOSS:
    case EDT_OP_BOX_LOSS:
    case EDT_OP_IOU_LOSS:
    case EDT_OP_SEGMENTATION_LOSS:
    case EDT_OP_OPTIMIZER: return edt_op_infer_loss(&c);
    case EDT_OP_DETECT: return edt_op_infer_detect(&c);
    case EDT_OP_N_KINDS: break;
    }
    return EDT_OK;
}
