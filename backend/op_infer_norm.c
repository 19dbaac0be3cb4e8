// Shape inference of batch normalisation: plain, synchronised and with moving statistics.
#include "backend/op_check.h"

static const char *const bn_batch_names[4] = {"gamma", "beta", "mean", "invstd"};

static edt_status check_n_ranks(const edt_op_checker *c)
{
    const int n_ranks = c->desc->attrs.bn.n_ranks;
    return n_ranks >= 1 ? EDT_OK : edt_op_fail_attr(c, "bn.n_ranks", n_ranks, "at least 1");
}

// BN_TRAIN, BN_INFER and, with the sums as input 1, BN_APPLY.
static edt_status infer_bn(edt_op_checker *c)
{
    const bool apply = c->desc->kind == EDT_OP_BN_APPLY;
    EDT_TRY(edt_op_check_bn_attrs(c));
    EDT_TRY(edt_op_take_real(c, 0, "x", 4));
    const edt_shape *x = &c->desc->in[0].shape;
    const edt_shape channels = edt_shape_1(x->dim[3]);
    if (apply) {
        EDT_TRY(check_n_ranks(c));
        EDT_TRY(edt_op_check_shape(c, 1, "sums", EDT_DTYPE_F64, edt_shape_1(2 * x->dim[3])));
    }
    EDT_TRY(edt_op_check_channels(c, apply ? 2 : 1, 4, edt_op_bn_names, x->dim[3]));
    edt_op_set_out(c, 0, c->real, *x);
    edt_op_set_out(c, 1, c->wide, channels);
    edt_op_set_out(c, 2, c->wide, channels);
    return EDT_OK;
}

static edt_status infer_bn_stats(edt_op_checker *c)
{
    EDT_TRY(edt_op_take_real(c, 0, "x", 4));
    const int64_t channels = c->desc->in[0].shape.dim[3];
    EDT_TRY(edt_op_check_wide(c, 1, "mm", edt_shape_1(channels)));
    edt_op_set_out(c, 0, EDT_DTYPE_F64, edt_shape_1(2 * channels));
    return EDT_OK;
}

static edt_status check_bn_bwd(edt_op_checker *c, bool batch)
{
    EDT_TRY(edt_op_check_bn_attrs(c));
    EDT_TRY(edt_op_take_real(c, 0, "dy", 4));
    const edt_shape *dy = &c->desc->in[0].shape;
    EDT_TRY(edt_op_check_real(c, 1, "x", *dy));
    return edt_op_check_channels(c, 2, 4, batch ? bn_batch_names : edt_op_bn_names, dy->dim[3]);
}

static edt_status infer_bn_bwd(edt_op_checker *c, bool batch)
{
    EDT_TRY(check_bn_bwd(c, batch));
    const edt_shape *dy = &c->desc->in[0].shape;
    if (c->desc->n_in > 6) {
        const edt_shape per_image = edt_shape_4(dy->dim[0], 1, 1, dy->dim[3]);
        EDT_TRY(edt_op_check_real(c, 6, "s", per_image));
        EDT_TRY(edt_op_check_real(c, 7, "dmean", per_image));
    }
    edt_op_set_out(c, 0, c->real, *dy);
    edt_op_set_out(c, 1, c->wide, edt_shape_1(dy->dim[3]));
    edt_op_set_out(c, 2, c->wide, edt_shape_1(dy->dim[3]));
    return EDT_OK;
}

static edt_status infer_bn_bwd_stats(edt_op_checker *c)
{
    EDT_TRY(check_bn_bwd(c, true));
    const int64_t channels = c->desc->in[0].shape.dim[3];
    edt_op_set_out(c, 0, EDT_DTYPE_F64, edt_shape_1(2 * channels));
    edt_op_set_out(c, 1, c->wide, edt_shape_1(channels));
    edt_op_set_out(c, 2, c->wide, edt_shape_1(channels));
    return EDT_OK;
}

static edt_status infer_bn_bwd_apply(edt_op_checker *c)
{
    EDT_TRY(check_bn_bwd(c, true));
    EDT_TRY(check_n_ranks(c));
    const edt_shape *dy = &c->desc->in[0].shape;
    EDT_TRY(edt_op_check_shape(c, 6, "sums", EDT_DTYPE_F64, edt_shape_1(2 * dy->dim[3])));
    edt_op_set_out(c, 0, c->real, *dy);
    return EDT_OK;
}

edt_status edt_op_infer_norm(edt_op_checker *c)
{
    switch (c->desc->kind) {
    case EDT_OP_BN_TRAIN:
    case EDT_OP_BN_APPLY:
    case EDT_OP_BN_INFER: return infer_bn(c);
    case EDT_OP_BN_STATS: return infer_bn_stats(c);
    case EDT_OP_BN_TRAIN_BWD: return infer_bn_bwd(c, true);
    case EDT_OP_BN_INFER_BWD: return infer_bn_bwd(c, false);
    case EDT_OP_BN_BWD_STATS: return infer_bn_bwd_stats(c);
    case EDT_OP_BN_BWD_APPLY: return infer_bn_bwd_apply(c);
    default: return EDT_OK;
    }
}
