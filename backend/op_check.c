// See op_check.h. Messages name operands as op.h does.
#include "backend/op_check.h"

#include <inttypes.h>

const char *const edt_op_bn_names[4] = {"gamma", "beta", "mm", "mv"};

edt_status edt_op_fail_attr(const edt_op_checker *c, const char *what, double value,
                            const char *allowed)
{
    EDT_FAIL(c->err, EDT_ERR_INVALID, "%s: attribute %s is %g, must be %s",
             edt_op_get_info(c->desc->kind)->name, what, value, allowed);
}

edt_status edt_op_check_dtype(const edt_op_checker *c, int i, const char *operand,
                              edt_dtype want)
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

edt_status edt_op_check_shape(const edt_op_checker *c, int i, const char *operand,
                              edt_dtype dtype, edt_shape want)
{
    EDT_TRY(edt_op_check_dtype(c, i, operand, dtype));
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

bool edt_op_is_real(edt_dtype dtype)
{
    return dtype == EDT_DTYPE_F32 || dtype == EDT_DTYPE_F64 || dtype == EDT_DTYPE_BF16 ||
           dtype == EDT_DTYPE_F16;
}

// The first real operand: N,H,W,C or a flat arena; its type is the op's.
edt_status edt_op_take_real(edt_op_checker *c, int i, const char *operand, int n_dims)
{
    const edt_tensor_desc *in = &c->desc->in[i];
    if (!edt_op_is_real(in->dtype)) {
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
    return edt_op_check_dtype(c, i, operand, c->real);
}

edt_status edt_op_check_real(const edt_op_checker *c, int i, const char *operand,
                             edt_shape want)
{
    return edt_op_check_shape(c, i, operand, c->real, want);
}

edt_status edt_op_check_wide(const edt_op_checker *c, int i, const char *operand,
                             edt_shape want)
{
    return edt_op_check_shape(c, i, operand, c->wide, want);
}

void edt_op_set_out(const edt_op_checker *c, int i, edt_dtype dtype, edt_shape shape)
{
    if (i < c->desc->n_out) {
        c->desc->out[i] = (edt_tensor_desc){.dtype = dtype, .shape = shape};
    }
}

edt_status edt_op_check_conv_attrs(const edt_op_checker *c)
{
    const edt_conv_attrs *conv = &c->desc->attrs.conv;
    const int values[4] = {conv->kh, conv->kw, conv->sh, conv->sw};
    static const char *const names[4] = {"conv.kh", "conv.kw", "conv.sh", "conv.sw"};
    for (int i = 0; i < 4; ++i) {
        if (values[i] < 1) {
            return edt_op_fail_attr(c, names[i], values[i], "at least 1");
        }
    }
    return EDT_OK;
}

edt_shape edt_op_windowed(const edt_op_checker *c, const edt_shape *x, int64_t channels)
{
    const edt_conv_attrs *conv = &c->desc->attrs.conv;
    return edt_shape_4(x->dim[0], edt_same_out(x->dim[1], conv->sh),
                       edt_same_out(x->dim[2], conv->sw), channels);
}

// attrs.out_shape of ops that take their output's shape from there.
edt_status edt_op_check_out_shape(const edt_op_checker *c, const char *what)
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

edt_status edt_op_check_act(const edt_op_checker *c, edt_act act)
{
    if ((unsigned)act > EDT_ACT_SIGMOID) {
        EDT_FAIL(c->err, EDT_ERR_INVALID, "%s: activation %s is an op of its own",
                 edt_op_get_info(c->desc->kind)->name, edt_act_name(act));
    }
    return EDT_OK;
}

edt_status edt_op_check_bn_attrs(const edt_op_checker *c)
{
    const edt_bn_attrs *bn = &c->desc->attrs.bn;
    if (!(bn->epsilon > 0)) {
        return edt_op_fail_attr(c, "bn.epsilon", bn->epsilon, "above 0");
    }
    if (!(bn->momentum >= 0 && bn->momentum <= 1)) {
        return edt_op_fail_attr(c, "bn.momentum", bn->momentum, "in 0..1");
    }
    return edt_op_check_act(c, bn->act);
}

edt_status edt_op_check_channels(const edt_op_checker *c, int first, int n,
                                 const char *const *names, int64_t channels)
{
    for (int i = 0; i < n; ++i) {
        EDT_TRY(edt_op_check_wide(c, first + i, names[i], edt_shape_1(channels)));
    }
    return EDT_OK;
}
