// Gradients of the losses on the reference backend, as in test_ref_gradients.c.
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "backend/ref/ref_iou_pair.h"
#include "tests/support/op_bench.h"
#include "tests/support/op_compare.h"

TestSuite(ref_loss_gradients, .init = op_bench_setup, .fini = op_bench_teardown,
          .timeout = 120);

static void loss_gradients(edt_op_kind kind, edt_loss_attrs loss, int64_t n, const char *what)
{
    static const double one[1] = {1};
    edt_op_desc desc = op_bench_desc(kind, 2);
    desc.attrs.loss = loss;
    if (kind == EDT_OP_IOU_LOSS) {
        desc.n_out = 3;
        op_bench_add_in(&desc, op_bench_real(n, 2, 3, 8));
        op_bench_add_in(&desc, op_bench_real(n, 1, 2, 8));
        op_bench_add_in(&desc, (edt_tensor_desc){EDT_DTYPE_F64, edt_shape_2(16, 4)});
        op_bench_add_in(&desc, (edt_tensor_desc){EDT_DTYPE_F64, edt_shape_3(n, 16, 4)});
    } else {
        const bool focal = kind == EDT_OP_FOCAL_LOSS;
        op_bench_add_in(&desc, op_bench_real(n, 3, 2, 2 * (focal ? loss.num_classes : 4)));
        op_bench_add_in(&desc, focal ? (edt_tensor_desc){EDT_DTYPE_I32, edt_shape_2(n, 20)}
                                     : (edt_tensor_desc){EDT_DTYPE_F64, edt_shape_3(n, 20, 4)});
    }
    op_bench_add_in(&desc, op_bench_vector(1));
    op_bench b = op_bench_make(&desc, (uint64_t)n * 17);
    op_bench_run(&b);
    double *gradients[2];
    for (int i = 0; i + 1 < desc.n_out; ++i) {
        const size_t n_bytes = edt_tensor_bytes(&b.desc.out[i + 1]);
        gradients[i] = edt_mem_alloc(EDT_MEM_MISC, n_bytes);
        memcpy(gradients[i], b.out[i + 1], n_bytes);
    }
    for (int i = 0; i + 1 < desc.n_out; ++i) {
        op_bench_check(&b, one, i, gradients[i], kind == EDT_OP_FOCAL_LOSS ? 1 : loss.weight,
                       what);
        edt_mem_free(gradients[i]);
    }
    op_bench_drop(&b);
}

Test(ref_loss_gradients, losses)
{
    const edt_loss_attrs loss = {.alpha = 0.25,
                                 .gamma = 1.5,
                                 .delta = 0.1,
                                 .weight = 50,
                                 .num_classes = 5,
                                 .anchors_per_cell = 2,
                                 .anchor_offset = 4};
    for (int64_t n = 1; n <= 3; ++n) {
        loss_gradients(EDT_OP_FOCAL_LOSS, loss, n, "focal");
        edt_loss_attrs smooth = loss;
        smooth.label_smoothing = 0.1;
        smooth.gamma = 2;
        loss_gradients(EDT_OP_FOCAL_LOSS, smooth, n, "focal, smoothed");
        loss_gradients(EDT_OP_BOX_LOSS, loss, n, "box");
        for (int kind = EDT_LOSS_IOU; kind <= EDT_LOSS_CIOU; ++kind) {
            edt_loss_attrs iou = loss;
            iou.iou_kind = (edt_iou_loss_kind)kind;
            iou.weight = 2;
            iou.ciou_v_gradient = true;
            loss_gradients(EDT_OP_IOU_LOSS, iou, n, "iou kinds");
            iou.misaligned_rows = true;
            loss_gradients(EDT_OP_IOU_LOSS, iou, n, "iou kinds, misaligned");
        }
    }
}

Test(ref_loss_gradients, segmentation_loss)
{
    static const double one[1] = {1};
    for (int64_t n_classes = 1; n_classes <= 5; n_classes += 2) {
        edt_op_desc desc = op_bench_desc(EDT_OP_SEGMENTATION_LOSS, 2);
        op_bench_add_in(&desc, op_bench_real(2, 3, 4, n_classes));
        op_bench_add_in(&desc, (edt_tensor_desc){EDT_DTYPE_I32, edt_shape_3(2, 3, 4)});
        op_bench_add_in(&desc, op_bench_vector(1));
        op_bench b = op_bench_make(&desc, (uint64_t)n_classes);
        op_bench_run(&b);
        double gradient[2 * 3 * 4 * 5];
        memcpy(gradient, b.out[1], edt_tensor_bytes(&b.desc.out[1]));
        op_bench_check(&b, one, 0, gradient, 1, "segmentation loss");
        op_bench_drop(&b);
    }
}

// Without ciou_v_gradient the gradient is that of the loss with v held.
static double ciou_with_fixed_v(const double *pred, const double *target, double v)
{
    double unused[4];
    const double iou = 1 - edt_ref_iou_pair_loss(EDT_LOSS_IOU, false, pred, target, unused);
    const double diou = edt_ref_iou_pair_loss(EDT_LOSS_DIOU, false, pred, target, unused);
    return diou + v * v / (1 - iou + v);
}

Test(ref_loss_gradients, ciou_without_the_gradient_of_v)
{
    static const double targets[3][4] = {{0, 0, 4, 8}, {1, 2, 5, 4}, {-3, -3, 0, 9}};
    const double pred[4] = {0.5, 1, 4.5, 6};
    for (int t = 0; t < 3; ++t) {
        double gradient[4];
        const double *target = targets[t];
        const double loss = edt_ref_iou_pair_loss(EDT_LOSS_CIOU, false, pred, target, gradient);
        const double angle = atan((pred[3] - pred[1]) / (pred[2] - pred[0])) -
                             atan((target[3] - target[1]) / (target[2] - target[0]));
        const double v = 4 * angle * angle / (M_PI * M_PI);
        cr_expect_float_eq(loss, ciou_with_fixed_v(pred, target, v), 1e-12);
        for (int i = 0; i < 4; ++i) {
            double p[4];
            memcpy(p, pred, sizeof p);
            p[i] = pred[i] + 1e-5;
            const double above = ciou_with_fixed_v(p, target, v);
            p[i] = pred[i] - 1e-5;
            const double below = ciou_with_fixed_v(p, target, v);
            cr_expect_float_eq(gradient[i], (above - below) / 2e-5, 1e-8);
        }
    }
}
