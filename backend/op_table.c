// What is known about every op kind without looking at shapes: name, arity, in-place operands,
// allowed reuse of memory; and the small arithmetic that all backends share: SAME windows,
// activation names, multiply-accumulates, the rule of the loss scale. Shapes are checked in
// op_infer.c.
#include <math.h>
#include <string.h>

#include "backend/op.h"

#define BIT(i) (1U << (i))

// alias_in is set only where output element i needs no input element but i of that operand.
static const edt_op_info op_infos[EDT_OP_N_KINDS] = {
    [EDT_OP_CAST] = {"cast", 1, 1, 1, 1, 0, -1},
    [EDT_OP_NORMALIZE] = {"normalize", 2, 2, 1, 1, 0, -1},
    [EDT_OP_CONV2D] = {"conv2d", 2, 3, 1, 1, 0, -1},
    [EDT_OP_DEPTHWISE] = {"depthwise", 2, 2, 1, 1, 0, -1},
    [EDT_OP_BN_TRAIN] = {"bn_train", 5, 5, 1, 3, BIT(3) | BIT(4), -1},
    [EDT_OP_BN_STATS] = {"bn_stats", 2, 2, 1, 1, 0, -1},
    [EDT_OP_BN_APPLY] = {"bn_apply", 6, 6, 1, 3, BIT(4) | BIT(5), 0},
    [EDT_OP_BN_INFER] = {"bn_infer", 5, 5, 1, 1, 0, 0},
    [EDT_OP_ACT] = {"act", 1, 1, 1, 1, 0, 0},
    [EDT_OP_GLOBAL_AVG_POOL] = {"global_avg_pool", 1, 1, 1, 1, 0, -1},
    [EDT_OP_SCALE_CHANNELS] = {"scale_channels", 2, 2, 1, 1, 0, 0},
    [EDT_OP_ADD] = {"add", 2, 2, 1, 1, 0, 0},
    [EDT_OP_DROP_CONNECT] = {"drop_connect", 2, 2, 1, 1, 0, 0},
    [EDT_OP_MAX_POOL] = {"max_pool", 1, 1, 1, 2, 0, -1},
    [EDT_OP_RESIZE_NEAREST] = {"resize_nearest", 1, 1, 1, 1, 0, -1},
    [EDT_OP_FUSE] = {"fuse", 1, 2 * EDT_FUSE_MAX_IN, 1, 1, 0, 0},
    [EDT_OP_CONCAT] = {"concat", 2, 2, 1, 1, 0, -1},
    [EDT_OP_BIAS] = {"bias", 2, 2, 1, 1, 0, 0},
    [EDT_OP_SRELU] = {"srelu", 2, 2, 1, 1, 0, 0},
    [EDT_OP_FOCAL_LOSS] = {"focal_loss", 3, 4, 1, 2, 0, -1},
    [EDT_OP_BOX_LOSS] = {"box_loss", 3, 4, 1, 2, 0, -1},
    [EDT_OP_IOU_LOSS] = {"iou_loss", 4, EDT_OP_MAX_IN, 1, EDT_OP_MAX_OUT, 0, -1},
    [EDT_OP_SEGMENTATION_LOSS] = {"segmentation_loss", 3, 4, 1, 2, 0, -1},
    [EDT_OP_CONV2D_DATA] = {"conv2d_data", 2, 2, 1, 1, 0, -1},
    [EDT_OP_CONV2D_WEIGHT] = {"conv2d_weight", 2, 2, 1, 2, 0, -1},
    [EDT_OP_DEPTHWISE_DATA] = {"depthwise_data", 2, 2, 1, 1, 0, -1},
    [EDT_OP_DEPTHWISE_WEIGHT] = {"depthwise_weight", 2, 2, 1, 1, 0, -1},
    [EDT_OP_BN_TRAIN_BWD] = {"bn_train_bwd", 6, 8, 1, 3, 0, 0},
    [EDT_OP_BN_BWD_STATS] = {"bn_bwd_stats", 6, 6, 1, 3, 0, -1},
    [EDT_OP_BN_BWD_APPLY] = {"bn_bwd_apply", 7, 7, 1, 1, 0, 0},
    [EDT_OP_BN_INFER_BWD] = {"bn_infer_bwd", 6, 6, 1, 3, 0, 0},
    [EDT_OP_ACT_BWD] = {"act_bwd", 2, 2, 1, 1, 0, 0},
    [EDT_OP_GLOBAL_AVG_POOL_BWD] = {"global_avg_pool_bwd", 1, 1, 1, 1, 0, -1},
    [EDT_OP_SCALE_CHANNELS_BWD] = {"scale_channels_bwd", 3, 3, 1, 2, 0, 0},
    [EDT_OP_MAX_POOL_BWD] = {"max_pool_bwd", 2, 2, 1, 1, 0, -1},
    [EDT_OP_RESIZE_NEAREST_BWD] = {"resize_nearest_bwd", 1, 1, 1, 1, 0, -1},
    [EDT_OP_FUSE_BWD] = {"fuse_bwd", 2, 1 + 2 * EDT_FUSE_MAX_IN, 1, 2 * EDT_FUSE_MAX_IN, 0, -1},
    [EDT_OP_CONCAT_BWD] = {"concat_bwd", 1, 1, 1, 2, 0, -1},
    [EDT_OP_BIAS_BWD] = {"bias_bwd", 1, 1, 1, 1, 0, -1},
    [EDT_OP_SRELU_BWD] = {"srelu_bwd", 3, 3, 1, 2, 0, 0},
    [EDT_OP_OPTIMIZER] = {"optimizer", 3, 6, 1, 1,
                          BIT(0) | BIT(1) | BIT(2) | BIT(3) | BIT(4) | BIT(5), -1},
    [EDT_OP_CONV2D_BN_ACT] = {"conv2d_bn_act", 6, 9, 1, 1, 0, -1},
    [EDT_OP_DEPTHWISE_BN_ACT] = {"depthwise_bn_act", 6, 6, 1, 2, 0, -1},
    [EDT_OP_CONV2D_DEPTHWISE_BN_ACT] = {"conv2d_depthwise_bn_act", 11, 11, 1, 2, 0, -1},
    [EDT_OP_DETECT] = {"detect", 4, EDT_OP_MAX_IN, 3, 3, 0, -1},
};

const edt_op_info *edt_op_get_info(edt_op_kind kind)
{
    static const edt_op_info unknown = {"unknown", 0, 0, 0, 0, 0, -1};
    return (unsigned)kind < EDT_OP_N_KINDS ? &op_infos[kind] : &unknown;
}

int64_t edt_same_out(int64_t in, int64_t stride)
{
    return (in - 1) / stride + 1;
}

void edt_same_padding(int64_t in, int64_t k, int64_t stride, int64_t *out_before,
                      int64_t *out_after)
{
    const int64_t wanted = (edt_same_out(in, stride) - 1) * stride + k - in;
    const int64_t total = wanted > 0 ? wanted : 0;
    *out_before = total / 2;
    *out_after = total - total / 2;
}

static int64_t dense_macs(const edt_shape *y, const edt_conv_attrs *conv, int64_t ci,
                          int64_t co)
{
    return y->dim[0] * y->dim[1] * y->dim[2] * conv->kh * conv->kw * ci * co;
}

static edt_shape windowed_shape(const edt_shape *x, const edt_conv_attrs *conv)
{
    return edt_shape_4(x->dim[0], edt_same_out(x->dim[1], conv->sh),
                       edt_same_out(x->dim[2], conv->sw), x->dim[3]);
}

int64_t edt_op_conv_macs(const edt_op_desc *desc)
{
    const edt_conv_attrs *conv = &desc->attrs.conv;
    const edt_shape *in0 = &desc->in[0].shape;
    const edt_shape *in1 = &desc->in[1].shape;
    edt_shape y;
    switch (desc->kind) {
    case EDT_OP_CONV2D:
    case EDT_OP_CONV2D_BN_ACT:
        y = windowed_shape(in0, conv);
        return dense_macs(&y, conv, in1->dim[2], in1->dim[3]);
    case EDT_OP_DEPTHWISE:
    case EDT_OP_DEPTHWISE_BN_ACT:
        y = windowed_shape(in0, conv);
        return dense_macs(&y, conv, in1->dim[2], 1);
    case EDT_OP_CONV2D_DEPTHWISE_BN_ACT: {
        y = windowed_shape(in0, &desc->attrs.first_conv);
        y.dim[3] = in1->dim[3];
        const edt_shape z = windowed_shape(&y, conv);
        return dense_macs(&y, &desc->attrs.first_conv, in1->dim[2], in1->dim[3]) +
               dense_macs(&z, conv, in1->dim[3], 1);
    }
    case EDT_OP_CONV2D_DATA: return dense_macs(in0, conv, in1->dim[2], in1->dim[3]);
    case EDT_OP_DEPTHWISE_DATA: return dense_macs(in0, conv, in1->dim[2], 1);
    case EDT_OP_CONV2D_WEIGHT: return dense_macs(in1, conv, in0->dim[3], in1->dim[3]);
    case EDT_OP_DEPTHWISE_WEIGHT: return dense_macs(in1, conv, in0->dim[3], 1);
    default: return 0;
    }
}

void edt_loss_scale_step(bool finite, float scale[2])
{
    scale[1] += 1;
    if (!finite) {
        scale[0] = fmaxf(scale[0] / 2, 1);
        scale[1] = 0;
    } else if (scale[1] >= (float)EDT_LOSS_SCALE_PERIOD) {
        scale[0] = isinf(scale[0] * 2) ? scale[0] : scale[0] * 2;
        scale[1] = 0;
    }
}

static const struct {
    const char *text;
    edt_act act;
} act_names[] = {
    {"none", EDT_ACT_NONE},          {"swish", EDT_ACT_SWISH}, {"silu", EDT_ACT_SWISH},
    {"swish_native", EDT_ACT_SWISH}, {"relu6", EDT_ACT_RELU6}, {"relu", EDT_ACT_RELU},
    {"hswish", EDT_ACT_HSWISH},      {"mish", EDT_ACT_MISH},   {"sigmoid", EDT_ACT_SIGMOID},
    {"srelu", EDT_ACT_SRELU},
};
enum { N_ACT_NAMES = sizeof act_names / sizeof act_names[0] };

const char *edt_act_name(edt_act act)
{
    for (int i = 0; i < N_ACT_NAMES; ++i) {
        if (act_names[i].act == act) {
            return act_names[i].text;
        }
    }
    return "unknown";
}

edt_status edt_act_parse(const char *text, edt_error *err, edt_act *out_act)
{
    for (int i = 0; i < N_ACT_NAMES; ++i) {
        const edt_act act = act_names[i].act;
        // none and sigmoid exist inside the network but are no act_type.
        if (act != EDT_ACT_NONE && act != EDT_ACT_SIGMOID &&
            strcmp(act_names[i].text, text) == 0) {
            *out_act = act;
            return EDT_OK;
        }
    }
    EDT_FAIL(
        err, EDT_ERR_USAGE,
        "act_type '%s' is unknown; use one of swish, silu, swish_native, relu6, relu, hswish, "
        "mish, srelu",
        text);
}
