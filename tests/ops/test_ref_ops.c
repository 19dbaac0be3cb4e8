// The reference backend against values worked out by hand or printed in the specification
// (spec/model.md 0, 2.2, 2.5, 10; spec/train.md 4, 5.1, 7, 8; spec/eval_infer_export.md 5.3),
// in float and in double.
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backend/ref/ref_cast.h"
#include "backend/ref/ref_iou_pair.h"
#include "tests/support/op_compare.h"
#include "tests/support/ref_runner.h"

TestSuite(ref_ops, .init = ref_runner_setup, .fini = ref_runner_teardown, .timeout = 30);

static const edt_dtype both[2] = {EDT_DTYPE_F32, EDT_DTYPE_F64};
static const double precision[2] = {3e-7, 1e-9};

Test(ref_ops, activations_have_their_known_values)
{
    static const double x[6] = {-4, -0.5, 0, 0.5, 3, 7};
    static const struct {
        edt_act act;
        double y[6];
    } rows[] = {
        {EDT_ACT_NONE, {-4, -0.5, 0, 0.5, 3, 7}},
        {EDT_ACT_RELU, {0, 0, 0, 0.5, 3, 7}},
        {EDT_ACT_RELU6, {0, 0, 0, 0.5, 3, 6}},
        {EDT_ACT_HSWISH, {0, -0.2083333333, 0, 0.2916666667, 3, 7}},
        {EDT_ACT_MISH,
         {-0.07259174079, -0.2207437747, 0, 0.3752452113, 2.986535005, 6.99998838}},
        {EDT_ACT_SWISH,
         {-0.07194483985, -0.1887703344, 0, 0.3112296656, 2.85772238, 6.993622635}},
        {EDT_ACT_SIGMOID,
         {0.01798620996, 0.3775406688, 0.5, 0.6224593312, 0.9525741268, 0.9990889488}},
    };
    for (int i = 0; i < 7; ++i) {
        for (int t = 0; t < 2; ++t) {
            ref_runner *r = ref_runner_begin(EDT_OP_ACT, 1);
            r->desc.attrs.act = rows[i].act;
            ref_runner_give(r, edt_shape_1(6), x);
            ref_runner_run(r, both[t]);
            ref_runner_expect(r->out[0], 6, rows[i].y, precision[t], edt_act_name(rows[i].act));
        }
    }
}

// 1..n
static const double *counting(int n)
{
    static double values[REF_RUNNER_ROOM];
    for (int i = 0; i < n; ++i) {
        values[i] = i + 1;
    }
    return values;
}

static void convolve(edt_op_kind kind, int h, int k, int s, int n, const double *want)
{
    static const double ones[25] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                                    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    for (int t = 0; t < 2; ++t) {
        ref_runner *r = ref_runner_begin(kind, 1);
        r->desc.attrs.conv = (edt_conv_attrs){.kh = k, .kw = 1, .sh = s, .sw = 1};
        ref_runner_give(r, edt_shape_4(1, h, 1, 1), counting(h));
        ref_runner_give(r, edt_shape_4(k, 1, 1, 1), ones);
        ref_runner_run(r, both[t]);
        ref_runner_expect(r->out[0], n, want, 0, edt_op_get_info(kind)->name);
    }
}

Test(ref_ops, stride_two_pads_less_before_than_after_on_even_sizes)
{
    for (int i = 0; i < 2; ++i) {
        const edt_op_kind kind = i == 0 ? EDT_OP_CONV2D : EDT_OP_DEPTHWISE;
        convolve(kind, 4, 3, 2, 2, (const double[]){6, 7});    // 1+2+3, 3+4
        convolve(kind, 5, 3, 2, 3, (const double[]){3, 9, 9}); // 1+2, 2+3+4, 4+5
        convolve(kind, 4, 5, 2, 2, (const double[]){10, 9});   // (1,2): 1..4 with one pad, 2..4
        convolve(kind, 4, 3, 1, 4, (const double[]){3, 6, 9, 7});
    }
}

Test(ref_ops, dense_kernels_are_laid_out_height_width_in_out)
{
    // x[1,1,2,2]; w[1,1,2,3]; a 1x1 convolution is a matrix product.
    static const double x[4] = {1, 2, 3, 4};
    static const double w[6] = {1, 10, 100, 2, 20, 200};
    static const double b[3] = {0.5, 0, -1};
    ref_runner *r = ref_runner_begin(EDT_OP_CONV2D, 1);
    r->desc.attrs.conv = (edt_conv_attrs){.kh = 1, .kw = 1, .sh = 1, .sw = 1, .has_bias = true};
    ref_runner_give(r, edt_shape_4(1, 1, 2, 2), x);
    ref_runner_give(r, edt_shape_4(1, 1, 2, 3), w);
    ref_runner_give(r, edt_shape_1(3), b);
    ref_runner_run(r, EDT_DTYPE_F32);
    ref_runner_expect(r->out[0], 6, (const double[]){5.5, 50, 499, 11.5, 110, 1099}, 0, "y");
}

Test(ref_ops, batch_norm_normalises_biased_and_moves_unbiased)
{
    // One channel 1,2,3,4: mean 2.5, biased variance 1.25, unbiased 5/3.
    static const double x[4] = {1, 2, 3, 4};
    static const double one[1] = {1};
    static const double zero[1] = {0};
    for (int biased = 0; biased < 2; ++biased) {
        for (int t = 0; t < 2; ++t) {
            ref_runner *r = ref_runner_begin(EDT_OP_BN_TRAIN, 3);
            r->desc.attrs.bn.biased_moving_variance = biased == 1;
            ref_runner_give(r, edt_shape_4(1, 2, 2, 1), x);
            ref_runner_give(r, edt_shape_1(1), one);
            ref_runner_give(r, edt_shape_1(1), zero);
            ref_runner_give(r, edt_shape_1(1), zero);
            ref_runner_give(r, edt_shape_1(1), one);
            ref_runner_run(r, both[t]);
            const double invstd = 1 / sqrt(1.25 + 1e-3);
            ref_runner_expect(
                r->out[0], 4,
                (const double[]){-1.5 * invstd, -0.5 * invstd, 0.5 * invstd, 1.5 * invstd},
                precision[t], "y");
            ref_runner_expect(r->out[1], 1, (const double[]){2.5}, 0, "mean");
            ref_runner_expect(r->out[2], 1, &invstd, precision[t], "invstd");
            ref_runner_expect(r->inout[3], 1, (const double[]){0.025}, precision[t], "mm");
            ref_runner_expect(r->inout[4], 1,
                              (const double[]){1 - (1 - (biased ? 1.25 : 5.0 / 3)) * 0.01},
                              precision[t], "mv");
        }
    }
}

Test(ref_ops, batch_norm_of_one_value_keeps_a_finite_moving_variance)
{
    static const double v[1] = {3};
    ref_runner *r = ref_runner_begin(EDT_OP_BN_TRAIN, 1);
    ref_runner_give(r, edt_shape_4(1, 1, 1, 1), v);
    for (int i = 0; i < 4; ++i) {
        ref_runner_give(r, edt_shape_1(1), v);
    }
    ref_runner_run(r, EDT_DTYPE_F32);
    ref_runner_expect(r->out[0], 1, v, 0, "y is beta");
    ref_runner_expect(r->inout[4], 1, (const double[]){3 * 0.99}, 1e-6, "mv");
}

static const double *uniform(int seed, int n, double low, double high)
{
    static double values[8][REF_RUNNER_ROOM];
    uint64_t state = (uint64_t)seed * 977 + 13;
    for (int i = 0; i < n; ++i) {
        state = state * 6364136223846793005ULL + 1442695040888963407ULL;
        values[seed][i] = low + (high - low) * (double)(state >> 11) * 0x1p-53;
    }
    return values[seed];
}

Test(ref_ops, fused_convolution_is_its_chain)
{
    const edt_conv_attrs conv = {.kh = 3, .kw = 3, .sh = 2, .sw = 2};
    const double *x = uniform(0, 7 * 6 * 3, -1, 1);
    const double *w = uniform(1, 9 * 3 * 5, -1, 1);
    const double *bn[4] = {uniform(2, 5, 0.5, 1.5), uniform(3, 5, -1, 1), uniform(4, 5, -1, 1),
                           uniform(5, 5, 0.5, 1.5)};
    const double *b = uniform(6, 5, -1, 1);
    const double *residual = uniform(7, 4 * 3 * 5, -1, 1);
    double chain[60];
    double sum[60];
    ref_runner *r = ref_runner_begin(EDT_OP_CONV2D, 1);
    r->desc.attrs.conv = conv;
    ref_runner_give(r, edt_shape_4(1, 7, 6, 3), x);
    ref_runner_give(r, edt_shape_4(3, 3, 3, 5), w);
    ref_runner_give(r, edt_shape_1(5), b);
    ref_runner_run(r, EDT_DTYPE_F64);
    memcpy(chain, r->out[0], sizeof chain);
    r = ref_runner_begin(EDT_OP_BN_INFER, 1);
    r->desc.attrs.bn.act = EDT_ACT_SWISH;
    ref_runner_give(r, edt_shape_4(1, 4, 3, 5), chain);
    for (int i = 0; i < 4; ++i) {
        ref_runner_give(r, edt_shape_1(5), bn[i]);
    }
    ref_runner_run(r, EDT_DTYPE_F64);
    for (int i = 0; i < 60; ++i) {
        sum[i] = r->out[0][i] + residual[i];
    }
    r = ref_runner_begin(EDT_OP_CONV2D_BN_ACT, 1);
    r->desc.attrs.conv = conv;
    r->desc.attrs.conv.has_bias = true;
    r->desc.attrs.conv.has_residual = true;
    r->desc.attrs.bn.act = EDT_ACT_SWISH;
    ref_runner_give(r, edt_shape_4(1, 7, 6, 3), x);
    ref_runner_give(r, edt_shape_4(3, 3, 3, 5), w);
    for (int i = 0; i < 4; ++i) {
        ref_runner_give(r, edt_shape_1(5), bn[i]);
    }
    ref_runner_give(r, edt_shape_1(5), b);
    ref_runner_give(r, edt_shape_4(1, 4, 3, 5), residual);
    ref_runner_run(r, EDT_DTYPE_F64);
    ref_runner_expect(r->out[0], 60, sum, 1e-14, "y");
}

Test(ref_ops, max_pool_ignores_padding_and_takes_the_first_maximum)
{
    // 4 rows: windows (1..3), (3..4); all negative, so a padded zero would win.
    static const double even[4] = {-5, -2, -2, -9};
    ref_runner *r = ref_runner_begin(EDT_OP_MAX_POOL, 2);
    r->desc.attrs.conv = (edt_conv_attrs){.kh = 3, .kw = 1, .sh = 2, .sw = 1};
    ref_runner_give(r, edt_shape_4(1, 4, 1, 1), even);
    ref_runner_run(r, EDT_DTYPE_F32);
    ref_runner_expect(r->out[0], 2, (const double[]){-2, -2}, 0, "even y");
    ref_runner_expect(r->out[1], 2, (const double[]){1, 0}, 0, "even index");
    // 5 rows: padding (1,1); the index counts the padded cell.
    static const double odd[5] = {-5, -7, -3, -1, -1};
    r = ref_runner_begin(EDT_OP_MAX_POOL, 2);
    r->desc.attrs.conv = (edt_conv_attrs){.kh = 3, .kw = 1, .sh = 2, .sw = 1};
    ref_runner_give(r, edt_shape_4(1, 5, 1, 1), odd);
    ref_runner_run(r, EDT_DTYPE_F32);
    ref_runner_expect(r->out[0], 3, (const double[]){-5, -1, -1}, 0, "odd y");
    ref_runner_expect(r->out[1], 3, (const double[]){1, 2, 0}, 0, "odd index");
}

Test(ref_ops, nearest_resizing_floors_the_float_product)
{
    ref_runner *r = ref_runner_begin(EDT_OP_RESIZE_NEAREST, 1);
    r->desc.attrs.out_shape = edt_shape_4(1, 5, 1, 1);
    ref_runner_give(r, edt_shape_4(1, 3, 1, 1), counting(3));
    ref_runner_run(r, EDT_DTYPE_F64);
    ref_runner_expect(r->out[0], 5, (const double[]){1, 1, 2, 2, 3}, 0, "3 to 5");
    r = ref_runner_begin(EDT_OP_RESIZE_NEAREST, 1);
    r->desc.attrs.out_shape = edt_shape_4(1, 6, 1, 1);
    ref_runner_give(r, edt_shape_4(1, 3, 1, 1), counting(3));
    ref_runner_run(r, EDT_DTYPE_F32);
    ref_runner_expect(r->out[0], 6, (const double[]){1, 1, 2, 2, 3, 3}, 0, "3 to 6");
}

static void fuse(edt_fuse_method method, const double *w, const double *want)
{
    static const double x[2] = {1, 3};
    for (int t = 0; t < 2; ++t) {
        ref_runner *r = ref_runner_begin(EDT_OP_FUSE, 1);
        r->desc.attrs.fuse_method = method;
        r->desc.attrs.fuse_n = 2;
        ref_runner_give(r, edt_shape_4(1, 1, 1, 2), x);
        ref_runner_give(r, edt_shape_4(1, 1, 1, 2), x);
        for (int j = 0; method != EDT_FUSE_SUM && j < 2; ++j) {
            static double of_channels[2][2];
            of_channels[j][0] = of_channels[j][1] = w[j];
            const bool per_channel =
                method == EDT_FUSE_CHANNEL_FASTATTN || method == EDT_FUSE_CHANNEL_ATTN;
            ref_runner_give(r, edt_shape_1(per_channel ? 2 : 1), of_channels[j]);
        }
        ref_runner_run(r, both[t]);
        ref_runner_expect(r->out[0], 2, want, precision[t], "y");
    }
}

Test(ref_ops, fusion_has_its_known_values)
{
    static const double ones[2] = {1, 1};
    static const double mixed[2] = {-0.5, 0.5};
    fuse(EDT_FUSE_SUM, NULL, (const double[]){2, 6});
    fuse(EDT_FUSE_FASTATTN, ones, (const double[]){2 / 2.0001, 6 / 2.0001});
    fuse(EDT_FUSE_ATTN, ones, (const double[]){1, 3});
    fuse(EDT_FUSE_CHANNEL_FASTATTN, ones, (const double[]){2 / 2.0001, 6 / 2.0001});
    fuse(EDT_FUSE_CHANNEL_ATTN, ones, (const double[]){1, 3});
    fuse(EDT_FUSE_FASTATTN, mixed, (const double[]){0.5 / 0.5001, 1.5 / 0.5001}); // relu
}

Test(ref_ops, drop_connect_scales_what_survives)
{
    static const double u[4] = {0, 0, 0.19, 0.2};
    static const double x[4] = {1, 2, 3, 4};
    ref_runner *r = ref_runner_begin(EDT_OP_DROP_CONNECT, 1);
    r->desc.attrs.drop_survival = 0.8;
    r->desc.attrs.drop_row = 1;
    ref_runner_give(r, edt_shape_4(2, 1, 1, 2), x);
    ref_runner_give(r, edt_shape_2(2, 2), u);
    ref_runner_run(r, EDT_DTYPE_F64);
    ref_runner_expect(r->out[0], 4, (const double[]){0, 0, 3.75, 5}, 1e-12, "y");
}

Test(ref_ops, normalising_leaves_the_outside_at_zero_or_minus_one)
{
    static const double image[12] = {0, 255, 128, 9, 9, 9, 1, 2, 3, 9, 9, 9};
    static const double valid[2] = {2, 1};
    for (int t = 0; t < 2; ++t) {
        ref_runner *r = ref_runner_begin(EDT_OP_NORMALIZE, 1);
        const float mean[3] = {123.675F, 116.28F, 103.53F};
        const float std[3] = {58.395F, 57.12F, 57.375F};
        memcpy(r->desc.attrs.norm_mean, mean, sizeof mean);
        memcpy(r->desc.attrs.norm_std, std, sizeof std);
        ref_runner_give_typed(r, EDT_DTYPE_U8, edt_shape_4(1, 2, 2, 3), image);
        ref_runner_give_typed(r, EDT_DTYPE_I32, edt_shape_2(1, 2), valid);
        ref_runner_run(r, both[t]);
        const double want[9] = {(double)((0 - mean[0]) / std[0]),
                                (double)((255 - mean[1]) / std[1]),
                                (double)((128 - mean[2]) / std[2]),
                                0,
                                0,
                                0,
                                (double)((1 - mean[0]) / std[0]),
                                (double)((2 - mean[1]) / std[1]),
                                (double)((3 - mean[2]) / std[2])};
        ref_runner_expect(r->out[0], 9, want, 0, "y");
        r->desc.attrs.norm_scale_range = true;
        ref_runner_run(r, both[t]);
        ref_runner_expect(r->out[0] + 3, 3, (const double[]){-1, -1, -1}, 0,
                          "padding with scale_range");
    }
}

Test(ref_ops, focal_loss_equals_the_printed_table)
{
    static const double x[6] = {-6, -4.59511985, -1, 0, 1, 4};
    static const double table[6][4] = {
        {1.4950566655, 2.28293513e-07, 1.4203346636, 2.78925764e-05},
        {1.1340664040, 7.53775189e-06, 1.0774868333, 1.79854746e-04},
        {0.2052199369, 0.0327683890, 0.1974065689, 0.0379985831},
        {0.0612661340, 0.1837984019, 0.0612661340, 0.1837984019},
        {0.0109227963, 0.6156598108, 0.0126661944, 0.5922197068},
        {1.09452176e-05, 2.9326739431, 1.31554155e-04, 2.7867025884},
    };
    static const double one[1] = {1};
    for (int i = 0; i < 6; ++i) {
        for (int column = 0; column < 4; ++column) {
            const double label[1] = {column % 2 == 0 ? 0 : -1};
            ref_runner *r = ref_runner_begin(EDT_OP_FOCAL_LOSS, 1);
            r->desc.attrs.loss = (edt_loss_attrs){.alpha = 0.25,
                                                  .gamma = 1.5,
                                                  .num_classes = 1,
                                                  .anchors_per_cell = 1,
                                                  .label_smoothing = column < 2 ? 0 : 0.1};
            ref_runner_give(r, edt_shape_4(1, 1, 1, 1), &x[i]);
            ref_runner_give_typed(r, EDT_DTYPE_I32, edt_shape_2(1, 1), label);
            ref_runner_give(r, edt_shape_1(1), one);
            ref_runner_run(r, EDT_DTYPE_F64);
            cr_expect_float_eq(r->out[0][0], table[i][column], 1e-8 * table[i][column] + 1e-15,
                               "x %g column %d: %.10g", x[i], column, r->out[0][0]);
        }
    }
}

Test(ref_ops, focal_loss_stays_finite_at_extreme_logits)
{
    static const double x[4] = {-1000, 1000, -1000, 1000};
    static const double labels[4] = {0, 0, -1, -2};
    static const double one[1] = {1};
    ref_runner *r = ref_runner_begin(EDT_OP_FOCAL_LOSS, 2);
    r->desc.attrs.loss =
        (edt_loss_attrs){.alpha = 0.25, .gamma = 1.5, .num_classes = 1, .anchors_per_cell = 4};
    ref_runner_give(r, edt_shape_4(1, 1, 1, 4), x);
    ref_runner_give_typed(r, EDT_DTYPE_I32, edt_shape_2(1, 4), labels);
    ref_runner_give(r, edt_shape_1(1), one);
    ref_runner_run(r, EDT_DTYPE_F32);
    ref_runner_expect(r->out[0], 1, (const double[]){250}, 1e-6, "loss");
    ref_runner_expect(r->out[1], 4, (const double[]){-0.25, 0, 0, 0}, 1e-6, "dlogits");
}

Test(ref_ops, box_loss_masks_each_zero_coordinate)
{
    static const double box[4] = {0.55, 1, 5, -0.2};
    static const double target[4] = {0.5, 0.5, 0, -0.2};
    static const double n[1] = {2};
    ref_runner *r = ref_runner_begin(EDT_OP_BOX_LOSS, 2);
    r->desc.attrs.loss = (edt_loss_attrs){.delta = 0.1, .weight = 50, .anchors_per_cell = 1};
    ref_runner_give(r, edt_shape_4(1, 1, 1, 4), box);
    ref_runner_give(r, edt_shape_3(1, 1, 4), target);
    ref_runner_give(r, edt_shape_1(1), n);
    ref_runner_run(r, EDT_DTYPE_F64);
    const double loss = (0.5 * 0.05 * 0.05 + 0.1 * 0.5 - 0.005) / 8;
    ref_runner_expect(r->out[0], 1, &loss, 1e-12, "loss");
    ref_runner_expect(r->out[1], 4, (const double[]){50 * 0.05 / 8, 50 * 0.1 / 8, 0, 0}, 1e-12,
                      "dbox");
}

Test(ref_ops, box_pair_losses_equal_the_originals_test_values)
{
    static const double pred[2][4] = {{4, 3, 7, 5}, {5, 6, 10, 7}};
    static const double target[2][4] = {{3, 4, 6, 8}, {14, 14, 15, 15}};
    static const double want[4][2] = {
        {0.875, 1}, {1.075, 1.933333}, {0.9969512, 1.6243094}, {0.99931306, 1.6415315}};
    static const double empty[4] = {0};
    double gradient[4];
    for (int kind = 0; kind < 4; ++kind) {
        for (int i = 0; i < 2; ++i) {
            const double loss = edt_ref_iou_pair_loss((edt_iou_loss_kind)kind, false, pred[i],
                                                      target[i], gradient);
            cr_expect_float_eq(loss, want[kind][i], 1e-6, "kind %d pair %d: %.9g", kind, i,
                               loss);
        }
        cr_expect_eq(
            edt_ref_iou_pair_loss((edt_iou_loss_kind)kind, true, pred[0], empty, gradient), 0);
        ref_runner_expect(gradient, 4, empty, 0, "gradient towards an empty target");
    }
}

Test(ref_ops, the_loss_scale_multiplies_gradients_only)
{
    static const double box[4] = {0.55, 1, 5, -0.2};
    static const double target[4] = {0.5, 0.5, 0, -0.2};
    static const double n[1] = {2};
    static const double scale[2] = {16, 0};
    ref_runner *r = ref_runner_begin(EDT_OP_BOX_LOSS, 2);
    r->desc.attrs.loss =
        (edt_loss_attrs){.delta = 0.1, .weight = 50, .anchors_per_cell = 1, .scaled = true};
    ref_runner_give(r, edt_shape_4(1, 1, 1, 4), box);
    ref_runner_give(r, edt_shape_3(1, 1, 4), target);
    ref_runner_give(r, edt_shape_1(1), n);
    ref_runner_give(r, edt_shape_1(2), scale);
    ref_runner_run(r, EDT_DTYPE_F64);
    const double loss = (0.5 * 0.05 * 0.05 + 0.1 * 0.5 - 0.005) / 8;
    ref_runner_expect(r->out[0], 1, &loss, 1e-12, "loss");
    ref_runner_expect(r->out[1], 4,
                      (const double[]){16 * 50 * 0.05 / 8, 16 * 50 * 0.1 / 8, 0, 0}, 1e-12,
                      "dbox");
}

Test(ref_ops, casts_round_once_to_nearest_even)
{
    // 2^-24 is half of the last place of a f16 at 2^-13 and its least subnormal.
    static const struct {
        edt_dtype dtype;
        double value;
        unsigned bits;
    } rows[] = {
        {EDT_DTYPE_BF16, 1, 0x3f80},
        {EDT_DTYPE_BF16, 1 + 0x1p-8, 0x3f80},           // tie to even, down
        {EDT_DTYPE_BF16, 1 + 3 * 0x1p-8, 0x3f82},       // up
        {EDT_DTYPE_BF16, 1 + 0x1p-8 + 0x1p-40, 0x3f81}, // by way of float a tie
        {EDT_DTYPE_BF16, -0x1p-133, 0x8001},
        {EDT_DTYPE_BF16, 0x1p-134, 0x0000},
        {EDT_DTYPE_BF16, 0x1.8p-134, 0x0001},
        {EDT_DTYPE_BF16, 3.4e38, 0x7f80},
        {EDT_DTYPE_BF16, -INFINITY, 0xff80},
        {EDT_DTYPE_F16, -2, 0xc000},
        {EDT_DTYPE_F16, 65504, 0x7bff},
        {EDT_DTYPE_F16, 65519.996, 0x7bff},
        {EDT_DTYPE_F16, 65520, 0x7c00},
        {EDT_DTYPE_F16, 0x1p-14, 0x0400},
        {EDT_DTYPE_F16, 0x1p-14 - 0x1p-25, 0x0400}, // a carry into the normal numbers
        {EDT_DTYPE_F16, 0x1p-24, 0x0001},
        {EDT_DTYPE_F16, 0x1p-25, 0x0000},
        {EDT_DTYPE_F16, -0x1.0000001p-25, 0x8001},
        {EDT_DTYPE_F16, -0.0, 0x8000},
        {EDT_DTYPE_F16, INFINITY, 0x7c00},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; ++i) {
        uint16_t bits;
        edt_ref_real_put(rows[i].dtype, &bits, 0, rows[i].value);
        cr_expect_eq(bits, rows[i].bits, "%a gives %04x, want %04x", rows[i].value,
                     (unsigned)bits, rows[i].bits);
    }
    static const edt_dtype types[] = {EDT_DTYPE_F32, EDT_DTYPE_F64, EDT_DTYPE_BF16,
                                      EDT_DTYPE_F16};
    static const double values[4] = {NAN, INFINITY, -1.5, 0.0999755859375}; // f16's 0.1
    for (int from = 0; from < 4; ++from) {
        for (int to = 0; to < 4; ++to) {
            edt_error err = {0};
            edt_op_desc desc = {.kind = EDT_OP_CAST, .n_in = 1, .n_out = 1};
            desc.in[0] = (edt_tensor_desc){types[from], edt_shape_1(4)};
            desc.attrs.cast_dtype = types[to];
            cr_assert_eq(edt_op_infer(&desc, &err), EDT_OK, "%s", err.text);
            double x[4];
            double y[4];
            void *const in[1] = {x};
            void *const out[1] = {y};
            for (int i = 0; i < 4; ++i) {
                edt_ref_real_put(types[from], x, i, values[i]);
            }
            cr_assert_eq(
                edt_op_execute(ref_runner_backend(), &desc, &(edt_run_ctx){0}, in, out, &err),
                EDT_OK, "%s", err.text);
            const bool bf16 = types[from] == EDT_DTYPE_BF16 || types[to] == EDT_DTYPE_BF16;
            cr_expect(isnan(edt_ref_real_get(types[to], y, 0)));
            cr_expect_eq(edt_ref_real_get(types[to], y, 1), (double)INFINITY);
            cr_expect_eq(edt_ref_real_get(types[to], y, 2), -1.5);
            cr_expect_eq(edt_ref_real_get(types[to], y, 3), bf16 ? 0.10009765625 : values[3],
                         "%s to %s", edt_dtype_name(types[from]), edt_dtype_name(types[to]));
        }
    }
}
