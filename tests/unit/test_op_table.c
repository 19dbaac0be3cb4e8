// What op_table.c and op_infer.c know without a backend: SAME windows, arities, names, costs,
// and messages for wrong operands.
#include <criterion/criterion.h>
#include <string.h>

#include "backend/op.h"

static edt_op_desc conv(int64_t h, int64_t w, int64_t ci, int64_t co, int k, int s)
{
    edt_op_desc desc = {.kind = EDT_OP_CONV2D, .n_in = 2, .n_out = 1};
    desc.attrs.conv = (edt_conv_attrs){.kh = k, .kw = k, .sh = s, .sw = s};
    desc.in[0] = (edt_tensor_desc){EDT_DTYPE_F32, edt_shape_4(2, h, w, ci)};
    desc.in[1] = (edt_tensor_desc){EDT_DTYPE_F32, edt_shape_4(k, k, ci, co)};
    return desc;
}

Test(op_table, same_padding_follows_the_specs_table, .timeout = 30)
{
    static const struct {
        int64_t k, s, in, out, before, after;
    } rows[] = {
        {3, 1, 8, 8, 1, 1}, {3, 1, 7, 7, 1, 1}, {5, 1, 8, 8, 2, 2}, {5, 1, 7, 7, 2, 2},
        {3, 2, 8, 4, 0, 1}, {3, 2, 7, 4, 1, 1}, {5, 2, 8, 4, 1, 2}, {5, 2, 7, 4, 2, 2},
        {1, 1, 5, 5, 0, 0}, {1, 2, 5, 3, 0, 0}, {3, 2, 1, 1, 1, 1}, {3, 2, 2, 1, 0, 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; ++i) {
        int64_t before;
        int64_t after;
        edt_same_padding(rows[i].in, rows[i].k, rows[i].s, &before, &after);
        cr_expect_eq(edt_same_out(rows[i].in, rows[i].s), rows[i].out, "row %zu", i);
        cr_expect(before == rows[i].before && after == rows[i].after, "row %zu: (%ld,%ld)", i,
                  (long)before, (long)after);
    }
}

Test(op_table, every_kind_has_a_name_and_a_consistent_arity, .timeout = 30)
{
    static const char *const names[] = {
#define NAME(kind, text) text,
        EDT_OP_LIST(NAME)
#undef NAME
    };
    for (int kind = 0; kind < EDT_OP_N_KINDS; ++kind) {
        const edt_op_info *info = edt_op_get_info((edt_op_kind)kind);
        cr_expect_str_eq(info->name, names[kind]);
        const int min_out = kind == EDT_OP_DETECT ? 3 : 1; // rows, labels and their number
        cr_expect(info->min_in >= 1 && info->min_in <= info->max_in &&
                      info->max_in <= EDT_OP_MAX_IN && info->min_out == min_out &&
                      info->max_out <= EDT_OP_MAX_OUT && info->alias_in < info->min_in,
                  "%s", info->name);
    }
}

Test(op_table, convolutions_get_shape_and_cost, .timeout = 30)
{
    edt_error err = {0};
    edt_op_desc desc = conv(9, 8, 3, 32, 3, 2);
    cr_assert_eq(edt_op_infer(&desc, &err), EDT_OK, "%s", err.text);
    const edt_shape want = edt_shape_4(2, 5, 4, 32);
    cr_expect(edt_shape_equal(&desc.out[0].shape, &want));
    cr_expect_eq(edt_op_conv_macs(&desc), 2 * 5 * 4 * 9 * 3 * 32);
    edt_op_desc back = {.kind = EDT_OP_CONV2D_WEIGHT, .n_in = 2, .n_out = 2};
    back.attrs.conv = desc.attrs.conv;
    back.in[0] = desc.in[0];
    back.in[1] = desc.out[0];
    cr_assert_eq(edt_op_infer(&back, &err), EDT_OK, "%s", err.text);
    cr_expect(edt_shape_equal(&back.out[0].shape, &desc.in[1].shape));
    cr_expect_eq(back.out[1].shape.dim[0], 32);
    cr_expect_eq(edt_op_conv_macs(&back), edt_op_conv_macs(&desc));
}

static void expect_refused(edt_op_desc desc, const char *words)
{
    edt_error err = {0};
    cr_expect_eq(edt_op_infer(&desc, &err), EDT_ERR_INVALID, "accepted, though: %s", words);
    cr_expect_not_null(strstr(err.text, words), "'%s' lacks '%s'", err.text, words);
}

Test(op_table, wrong_operands_are_named_with_what_was_expected, .timeout = 30)
{
    edt_op_desc desc = conv(8, 8, 3, 32, 3, 2);
    desc.in[1].shape = edt_shape_4(3, 3, 4, 32);
    expect_refused(desc, "conv2d: input 1 (w) has shape [3,3,4,32], must be [3,3,3,32]");
    desc = conv(8, 8, 3, 32, 3, 2);
    desc.in[1].dtype = EDT_DTYPE_F64;
    expect_refused(desc, "conv2d: input 1 (w) has type f64, must be f32");
    desc = conv(8, 8, 3, 32, 3, 0);
    expect_refused(desc, "conv.sh is 0, must be at least 1");
    desc = conv(8, 0, 3, 32, 3, 2);
    expect_refused(desc, "input 0 (x) has shape [2,8,0,3], no axis may be empty");
    desc = conv(8, 8, 3, 32, 3, 2);
    desc.n_in = 5;
    expect_refused(desc, "conv2d: 5 inputs, 2 to 3 are allowed");

    edt_op_desc fuse = {.kind = EDT_OP_FUSE, .n_in = 3, .n_out = 1};
    fuse.attrs.fuse_n = 2;
    fuse.attrs.fuse_method = EDT_FUSE_FASTATTN;
    expect_refused(fuse, "fuse: 3 inputs, must be 4 for fuse_n 2 with weights");

    edt_op_desc loss = {.kind = EDT_OP_BOX_LOSS, .n_in = 3, .n_out = 2};
    loss.attrs.loss = (edt_loss_attrs){.anchors_per_cell = 9, .anchor_offset = 80};
    loss.in[0] = (edt_tensor_desc){EDT_DTYPE_F32, edt_shape_4(1, 2, 2, 36)};
    loss.in[1] = (edt_tensor_desc){EDT_DTYPE_F32, edt_shape_3(1, 100, 4)};
    loss.in[2] = (edt_tensor_desc){EDT_DTYPE_F32, edt_shape_1(1)};
    expect_refused(loss, "anchors 80..116 do not lie inside the 100 of targets");

    const edt_param_segment outside = {.offset = 90, .n = 11, .update = true};
    edt_op_desc update = {.kind = EDT_OP_OPTIMIZER, .n_in = 3, .n_out = 1};
    update.attrs.optimizer = (edt_optimizer_attrs){.segments = &outside, .n_segments = 1};
    for (int i = 0; i < 3; ++i) {
        update.in[i] = (edt_tensor_desc){EDT_DTYPE_F32, edt_shape_1(100)};
    }
    expect_refused(update, "segment 0 spans 90+11, the arenas have 100 elements");
    update.attrs.optimizer.kind = EDT_OPTIMIZER_ADAM;
    expect_refused(update, "Adam needs input 3 (slot1)");
}

static edt_op_desc bn_apply(edt_dtype real, edt_dtype wide)
{
    edt_op_desc desc = {.kind = EDT_OP_BN_APPLY, .n_in = 6, .n_out = 3};
    desc.attrs.bn = (edt_bn_attrs){.epsilon = 1e-3, .momentum = 0.99, .n_ranks = 2};
    desc.in[0] = (edt_tensor_desc){real, edt_shape_4(2, 3, 3, 8)};
    desc.in[1] = (edt_tensor_desc){EDT_DTYPE_F64, edt_shape_1(16)};
    for (int i = 2; i < 6; ++i) {
        desc.in[i] = (edt_tensor_desc){wide, edt_shape_1(8)};
    }
    return desc;
}

Test(op_table, operands_are_real_or_wide, .timeout = 30)
{
    static const edt_dtype reals[] = {EDT_DTYPE_F32, EDT_DTYPE_F64, EDT_DTYPE_BF16,
                                      EDT_DTYPE_F16};
    for (int i = 0; i < 4; ++i) {
        edt_error err = {0};
        const edt_dtype wide = edt_dtype_wide(reals[i]);
        edt_op_desc desc = bn_apply(reals[i], wide);
        cr_assert_eq(edt_op_infer(&desc, &err), EDT_OK, "%s", err.text);
        cr_expect(desc.out[0].dtype == reals[i] && desc.out[1].dtype == wide &&
                  desc.out[2].dtype == wide);
        edt_op_desc weight = {.kind = EDT_OP_CONV2D_WEIGHT, .n_in = 2, .n_out = 2};
        weight.attrs.conv = (edt_conv_attrs){.kh = 1, .kw = 1, .sh = 1, .sw = 1};
        weight.in[0] = desc.in[0];
        weight.in[1] = desc.in[0];
        cr_assert_eq(edt_op_infer(&weight, &err), EDT_OK, "%s", err.text);
        cr_expect(weight.out[0].dtype == wide && weight.out[1].dtype == wide);
    }
    edt_op_desc desc = bn_apply(EDT_DTYPE_BF16, EDT_DTYPE_BF16);
    expect_refused(desc, "bn_apply: input 2 (gamma) has type bf16, must be f32");
    desc = bn_apply(EDT_DTYPE_F16, EDT_DTYPE_F32);
    desc.in[1].dtype = EDT_DTYPE_F32;
    expect_refused(desc, "input 1 (sums) has type f32, must be f64");
    desc = bn_apply(EDT_DTYPE_F32, EDT_DTYPE_F32);
    desc.attrs.bn.n_ranks = 0;
    expect_refused(desc, "bn_apply: attribute bn.n_ranks is 0, must be at least 1");
    desc.in[1].shape = edt_shape_1(8);
    desc.attrs.bn.n_ranks = 1;
    expect_refused(desc, "input 1 (sums) has shape [8], must be [16]");
}

Test(op_table, a_scaled_loss_needs_its_scale, .timeout = 30)
{
    edt_op_desc loss = {.kind = EDT_OP_BOX_LOSS, .n_in = 3, .n_out = 2};
    loss.attrs.loss = (edt_loss_attrs){.anchors_per_cell = 1, .scaled = true};
    loss.in[0] = (edt_tensor_desc){EDT_DTYPE_F16, edt_shape_4(1, 2, 2, 4)};
    loss.in[1] = (edt_tensor_desc){EDT_DTYPE_F32, edt_shape_3(1, 4, 4)};
    loss.in[2] = (edt_tensor_desc){EDT_DTYPE_F32, edt_shape_1(1)};
    expect_refused(loss, "box_loss: loss.scaled is set and input 3 (scale) absent");
    loss.n_in = 4;
    loss.in[3] = (edt_tensor_desc){EDT_DTYPE_F32, edt_shape_1(1)};
    expect_refused(loss, "input 3 (scale) has shape [1], must be [2]");
    loss.in[3].shape = edt_shape_1(2);
    edt_error err = {0};
    cr_expect_eq(edt_op_infer(&loss, &err), EDT_OK, "%s", err.text);
    cr_expect(loss.out[0].dtype == EDT_DTYPE_F32 && loss.out[1].dtype == EDT_DTYPE_F16);

    edt_op_desc cast = {.kind = EDT_OP_CAST, .n_in = 1, .n_out = 1};
    cast.in[0] = loss.in[0];
    expect_refused(cast, "cast: attribute cast_dtype is none, must be f32, f64, bf16 or f16");
    cast.attrs.cast_dtype = EDT_DTYPE_F32;
    cast.in[0].dtype = EDT_DTYPE_I32;
    expect_refused(cast, "cast: input 0 (x) has type i32, must be f32, f64, bf16 or f16");
}

Test(op_table, detections_get_rows_labels_and_numbers, .timeout = 30)
{
    edt_error err = {0};
    edt_op_desc desc = {.kind = EDT_OP_DETECT, .n_in = 6, .n_out = 3};
    desc.attrs.detect =
        (edt_detect_attrs){.num_classes = 7, .anchors_per_cell = 9, .max_output = 50};
    desc.in[0] = (edt_tensor_desc){EDT_DTYPE_BF16, edt_shape_4(2, 4, 3, 63)};
    desc.in[1] = (edt_tensor_desc){EDT_DTYPE_BF16, edt_shape_4(2, 2, 2, 63)};
    desc.in[2] = (edt_tensor_desc){EDT_DTYPE_BF16, edt_shape_4(2, 4, 3, 36)};
    desc.in[3] = (edt_tensor_desc){EDT_DTYPE_BF16, edt_shape_4(2, 2, 2, 36)};
    desc.in[4] = (edt_tensor_desc){EDT_DTYPE_F32, edt_shape_2(144, 4)};
    desc.in[5] = (edt_tensor_desc){EDT_DTYPE_F32, edt_shape_1(2)};
    cr_assert_eq(edt_op_infer(&desc, &err), EDT_OK, "%s", err.text);
    const edt_tensor_desc want[] = {{EDT_DTYPE_F32, edt_shape_3(2, 50, 5)},
                                    {EDT_DTYPE_I32, edt_shape_2(2, 50)},
                                    {EDT_DTYPE_I32, edt_shape_1(2)}};
    for (int i = 0; i < 3; ++i) {
        cr_expect_eq(desc.out[i].dtype, want[i].dtype);
        cr_expect(edt_shape_equal(&desc.out[i].shape, &want[i].shape));
    }
    desc.in[4].shape.dim[0] = 143;
    cr_expect_eq(edt_op_infer(&desc, &err), EDT_ERR_INVALID);
    cr_expect_not_null(strstr(err.text, "anchors"), "%s", err.text);
    desc.in[4].shape.dim[0] = 144;
    desc.attrs.detect.max_output = 0;
    cr_expect_eq(edt_op_infer(&desc, &err), EDT_ERR_INVALID);
    cr_expect_not_null(strstr(err.text, "detect.max_output"), "%s", err.text);
}

Test(op_table, act_types_are_parsed_and_others_refused, .timeout = 30)
{
    edt_error err = {0};
    edt_act act = EDT_ACT_NONE;
    cr_expect_eq(edt_act_parse("silu", &err, &act), EDT_OK);
    cr_expect_eq(act, EDT_ACT_SWISH);
    cr_expect_str_eq(edt_act_name(act), "swish");
    cr_expect_eq(edt_act_parse("sigmoid", &err, &act), EDT_ERR_USAGE);
    cr_expect_not_null(strstr(err.text, "'sigmoid' is unknown; use one of swish"));
}
