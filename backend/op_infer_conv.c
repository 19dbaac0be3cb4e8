// Shape inference of the convolutions, their gradients and their fused forms.
#include <string.h>

#include "backend/op_check.h"

// x and w of a convolution; y's shape.
static edt_status infer_window(edt_op_checker *c, bool depthwise, edt_shape *out_y)
{
    const edt_conv_attrs *conv = &c->desc->attrs.conv;
    EDT_TRY(edt_op_check_conv_attrs(c));
    EDT_TRY(edt_op_take_real(c, 0, "x", 4));
    const edt_shape *x = &c->desc->in[0].shape;
    const edt_shape *w = &c->desc->in[1].shape;
    const int64_t co = depthwise ? 1 : (w->n_dims == 4 ? w->dim[3] : 1);
    EDT_TRY(edt_op_check_real(c, 1, "w", edt_shape_4(conv->kh, conv->kw, x->dim[3], co)));
    *out_y = edt_op_windowed(c, x, depthwise ? x->dim[3] : co);
    return EDT_OK;
}

static edt_status infer_conv(edt_op_checker *c, bool depthwise)
{
    edt_shape y;
    EDT_TRY(infer_window(c, depthwise, &y));
    if (c->desc->n_in == 3) {
        EDT_TRY(edt_op_check_real(c, 2, "b", edt_shape_1(y.dim[3])));
    }
    edt_op_set_out(c, 0, c->real, y);
    return EDT_OK;
}

static edt_status infer_conv_bn_act(edt_op_checker *c, bool depthwise)
{
    const edt_conv_attrs *conv = &c->desc->attrs.conv;
    edt_shape y;
    EDT_TRY(edt_op_check_bn_attrs(c));
    EDT_TRY(infer_window(c, depthwise, &y));
    EDT_TRY(edt_op_check_channels(c, 2, 4, edt_op_bn_names, y.dim[3]));
    const int i_gate = 6 + (conv->has_bias ? 1 : 0);
    const int n_in = i_gate + (conv->has_gate ? 1 : 0) + (conv->has_residual ? 1 : 0);
    if (c->desc->n_in != n_in) {
        EDT_FAIL(c->err, EDT_ERR_INVALID,
                 "%s: %d inputs, must be %d by conv.has_bias, has_gate and has_residual",
                 edt_op_get_info(c->desc->kind)->name, c->desc->n_in, n_in);
    }
    if (conv->has_bias) {
        EDT_TRY(edt_op_check_real(c, 6, "b", edt_shape_1(y.dim[3])));
    }
    if (conv->has_gate) {
        const edt_shape *x = &c->desc->in[0].shape;
        EDT_TRY(edt_op_check_real(c, i_gate, "gate", edt_shape_4(x->dim[0], 1, 1, x->dim[3])));
    }
    if (conv->has_residual) {
        EDT_TRY(edt_op_check_real(c, n_in - 1, "residual", y));
    }
    edt_op_set_out(c, 0, c->real, y);
    edt_op_set_out(c, 1, c->real, edt_shape_4(y.dim[0], 1, 1, y.dim[3]));
    return EDT_OK;
}

edt_status edt_op_chain_parts(const edt_op_desc *desc, edt_error *err, edt_op_desc *out_first,
                              edt_op_desc *out_second)
{
    const edt_op_attrs *attrs = &desc->attrs;
    *out_first = (edt_op_desc){.kind = EDT_OP_CONV2D_BN_ACT,
                               .attrs = {.conv = attrs->first_conv, .bn = attrs->bn},
                               .n_in = 6,
                               .n_out = 1};
    memcpy(out_first->in, desc->in, 6 * sizeof desc->in[0]);
    EDT_TRY(edt_op_infer(out_first, err));
    *out_second = (edt_op_desc){.kind = EDT_OP_DEPTHWISE_BN_ACT,
                                .attrs = {.conv = attrs->conv, .bn = attrs->bn},
                                .n_in = 6,
                                .n_out = desc->n_out,
                                .in = {out_first->out[0]}};
    memcpy(out_second->in + 1, desc->in + 6, 5 * sizeof desc->in[0]);
    return edt_op_infer(out_second, err);
}

static edt_status infer_chain(edt_op_checker *c)
{
    edt_op_desc first;
    edt_op_desc second;
    EDT_TRY(edt_op_chain_parts(c->desc, c->err, &first, &second));
    memcpy(c->desc->out, second.out, (size_t)c->desc->n_out * sizeof c->desc->out[0]);
    return EDT_OK;
}

static edt_status infer_conv_data(edt_op_checker *c, bool depthwise)
{
    const edt_conv_attrs *conv = &c->desc->attrs.conv;
    const edt_shape *dx = &c->desc->attrs.out_shape;
    EDT_TRY(edt_op_check_conv_attrs(c));
    EDT_TRY(edt_op_check_out_shape(c, "dx"));
    EDT_TRY(edt_op_take_real(c, 0, "dy", 4));
    const int64_t channels = c->desc->in[0].shape.dim[3];
    const int64_t ci = depthwise ? channels : dx->dim[3];
    EDT_TRY(edt_op_check_real(c, 1, "w",
                              edt_shape_4(conv->kh, conv->kw, ci, depthwise ? 1 : channels)));
    EDT_TRY(edt_op_check_real(c, 0, "dy", edt_op_windowed(c, dx, channels)));
    const edt_shape want = edt_shape_4(dx->dim[0], dx->dim[1], dx->dim[2], ci);
    if (!edt_shape_equal(dx, &want)) {
        return edt_op_fail_attr(c, "out_shape's channels", (double)dx->dim[3],
                                "the channels of dy");
    }
    edt_op_set_out(c, 0, c->real, *dx);
    return EDT_OK;
}

static edt_status infer_conv_weight(edt_op_checker *c, bool depthwise)
{
    const edt_conv_attrs *conv = &c->desc->attrs.conv;
    const edt_shape *given = &c->desc->attrs.out_shape;
    EDT_TRY(edt_op_check_conv_attrs(c));
    EDT_TRY(edt_op_take_real(c, 0, "x", 4));
    const edt_shape *x = &c->desc->in[0].shape;
    const edt_shape *dy = &c->desc->in[1].shape;
    const int64_t co = depthwise ? x->dim[3] : (dy->n_dims == 4 ? dy->dim[3] : 1);
    EDT_TRY(edt_op_check_real(c, 1, "dy", edt_op_windowed(c, x, co)));
    const edt_shape dw = edt_shape_4(conv->kh, conv->kw, x->dim[3], depthwise ? 1 : co);
    if (given->n_dims != 0 && !edt_shape_equal(given, &dw)) {
        char got_text[EDT_SHAPE_TEXT_BYTES];
        char want_text[EDT_SHAPE_TEXT_BYTES];
        EDT_FAIL(c->err, EDT_ERR_INVALID, "%s: attribute out_shape is %s, dw has shape %s",
                 edt_op_get_info(c->desc->kind)->name, edt_shape_text(given, got_text),
                 edt_shape_text(&dw, want_text));
    }
    edt_op_set_out(c, 0, c->wide, dw);
    edt_op_set_out(c, 1, c->wide, edt_shape_1(co));
    return EDT_OK;
}

edt_status edt_op_infer_conv(edt_op_checker *c)
{
    switch (c->desc->kind) {
    case EDT_OP_CONV2D: return infer_conv(c, false);
    case EDT_OP_DEPTHWISE: return infer_conv(c, true);
    case EDT_OP_CONV2D_DATA: return infer_conv_data(c, false);
    case EDT_OP_DEPTHWISE_DATA: return infer_conv_data(c, true);
    case EDT_OP_CONV2D_WEIGHT: return infer_conv_weight(c, false);
    case EDT_OP_DEPTHWISE_WEIGHT: return infer_conv_weight(c, true);
    case EDT_OP_CONV2D_BN_ACT: return infer_conv_bn_act(c, false);
    case EDT_OP_DEPTHWISE_BN_ACT: return infer_conv_bn_act(c, true);
    case EDT_OP_CONV2D_DEPTHWISE_BN_ACT: return infer_chain(c);
    default: return EDT_OK;
    }
}
