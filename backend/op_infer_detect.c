// Shape inference of the op that makes detections of the outputs of the heads.
#include <inttypes.h>
#include <math.h>

#include "backend/op_check.h"

static edt_status check_attrs(const edt_op_checker *c)
{
    const edt_detect_attrs *a = &c->desc->attrs.detect;
    const struct {
        const char *name;
        int64_t value, smallest;
    } counts[] = {{"detect.num_classes", a->num_classes, 1},
                  {"detect.anchors_per_cell", a->anchors_per_cell, 1},
                  {"detect.max_candidates", a->max_candidates, 0},
                  {"detect.max_output", a->max_output, 1}};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; ++i) {
        if (counts[i].value < counts[i].smallest || counts[i].value > INT32_MAX) {
            return edt_op_fail_attr(c, counts[i].name, (double)counts[i].value,
                                    counts[i].smallest == 0 ? "0 to 2147483647"
                                                            : "1 to 2147483647");
        }
    }
    if (!(a->sigma >= 0)) {
        return edt_op_fail_attr(c, "detect.sigma", (double)a->sigma, "at least 0");
    }
    if (isnan(a->score_thresh) || isnan(a->iou_thresh)) {
        return edt_op_fail_attr(c, "detect.score_thresh or iou_thresh", (double)NAN,
                                "a number");
    }
    return EDT_OK;
}

edt_status edt_op_infer_detect(edt_op_checker *c)
{
    const edt_detect_attrs *a = &c->desc->attrs.detect;
    const int n_levels = (c->desc->n_in - 2) / 2;
    if (c->desc->n_in % 2 != 0) {
        EDT_FAIL(c->err, EDT_ERR_INVALID,
                 "detect: %d inputs, must be cls and box of each level and two more",
                 c->desc->n_in);
    }
    EDT_TRY(check_attrs(c));
    EDT_TRY(edt_op_take_real(c, 0, "cls_l", 4));
    const int64_t n_images = c->desc->in[0].shape.dim[0];
    int64_t n_anchors = 0;
    for (int l = 0; l < n_levels; ++l) {
        const edt_shape *x = &c->desc->in[l].shape;
        EDT_TRY(edt_op_check_real(
            c, l, "cls_l",
            edt_shape_4(n_images, x->dim[1], x->dim[2], a->anchors_per_cell * a->num_classes)));
        EDT_TRY(edt_op_check_real(
            c, n_levels + l, "box_l",
            edt_shape_4(n_images, x->dim[1], x->dim[2], a->anchors_per_cell * 4)));
        n_anchors += x->dim[1] * x->dim[2] * a->anchors_per_cell;
    }
    if (n_anchors * a->num_classes > UINT32_MAX) {
        EDT_FAIL(c->err, EDT_ERR_INVALID,
                 "detect: %" PRId64 " anchors in %" PRId64
                 " classes are too many: at most 4294967295 logits of a picture",
                 n_anchors, a->num_classes);
    }
    EDT_TRY(edt_op_check_wide(c, 2 * n_levels, "anchors", edt_shape_2(n_anchors, 4)));
    EDT_TRY(edt_op_check_shape(c, 2 * n_levels + 1, "image_scales", EDT_DTYPE_F32,
                               edt_shape_1(n_images)));
    edt_op_set_out(c, 0, EDT_DTYPE_F32, edt_shape_3(n_images, a->max_output, 5));
    edt_op_set_out(c, 1, EDT_DTYPE_I32, edt_shape_2(n_images, a->max_output));
    edt_op_set_out(c, 2, EDT_DTYPE_I32, edt_shape_1(n_images));
    return EDT_OK;
}
