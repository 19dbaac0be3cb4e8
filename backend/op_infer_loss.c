// Shape inference of the losses and of the parameter update.
#include <inttypes.h>

#include "backend/op_check.h"

static edt_status check_norm(const edt_op_checker *c, int i)
{
    const edt_shape shape =
        c->desc->in[i].shape.n_dims == 0 ? (edt_shape){.n_dims = 0} : edt_shape_1(1);
    EDT_TRY(edt_op_check_wide(c, i, "norm", shape));
    if (!c->desc->attrs.loss.scaled) {
        return EDT_OK;
    }
    if (c->desc->n_in <= i + 1) {
        EDT_FAIL(c->err, EDT_ERR_INVALID, "%s: loss.scaled is set and input %d (scale) absent",
                 edt_op_get_info(c->desc->kind)->name, i + 1);
    }
    return edt_op_check_shape(c, i + 1, "scale", EDT_DTYPE_F32, edt_shape_1(2));
}

// FOCAL_LOSS and BOX_LOSS: one level of logits against a slice of the flat target row.
static edt_status infer_level_loss(edt_op_checker *c)
{
    const edt_loss_attrs *loss = &c->desc->attrs.loss;
    const bool focal = c->desc->kind == EDT_OP_FOCAL_LOSS;
    EDT_TRY(edt_op_take_real(c, 0, focal ? "logits" : "box", 4));
    const edt_shape *x = &c->desc->in[0].shape;
    const edt_shape *t = &c->desc->in[1].shape;
    if (loss->anchors_per_cell < 1) {
        return edt_op_fail_attr(c, "loss.anchors_per_cell", (double)loss->anchors_per_cell,
                                "at least 1");
    }
    if (focal && loss->num_classes < 1) {
        return edt_op_fail_attr(c, "loss.num_classes", (double)loss->num_classes, "at least 1");
    }
    const int64_t per_anchor = focal ? loss->num_classes : 4;
    EDT_TRY(edt_op_check_real(
        c, 0, focal ? "logits" : "box",
        edt_shape_4(x->dim[0], x->dim[1], x->dim[2], loss->anchors_per_cell * per_anchor)));
    const int64_t n_anchors = t->n_dims >= 2 ? t->dim[1] : 1;
    if (focal) {
        EDT_TRY(edt_op_check_shape(c, 1, "targets", EDT_DTYPE_I32,
                                   edt_shape_2(x->dim[0], n_anchors)));
    } else {
        EDT_TRY(edt_op_check_wide(c, 1, "targets", edt_shape_3(x->dim[0], n_anchors, 4)));
    }
    const int64_t end = loss->anchor_offset + x->dim[1] * x->dim[2] * loss->anchors_per_cell;
    if (loss->anchor_offset < 0 || end > n_anchors) {
        EDT_FAIL(c->err, EDT_ERR_INVALID,
                 "%s: this level's anchors %" PRId64 "..%" PRId64
                 " do not lie inside the %" PRId64 " of targets",
                 edt_op_get_info(c->desc->kind)->name, loss->anchor_offset, end, n_anchors);
    }
    EDT_TRY(check_norm(c, 2));
    edt_op_set_out(c, 0, c->wide, edt_shape_1(1));
    edt_op_set_out(c, 1, c->real, *x);
    return EDT_OK;
}

static edt_status infer_iou_loss(edt_op_checker *c)
{
    const edt_loss_attrs *loss = &c->desc->attrs.loss;
    const int n_levels = c->desc->n_in - (loss->scaled ? 4 : 3);
    if (n_levels < 1) {
        return edt_op_fail_attr(c, "loss.scaled", loss->scaled,
                                "false without an input for the scale");
    }
    if (loss->anchors_per_cell < 1) {
        return edt_op_fail_attr(c, "loss.anchors_per_cell", (double)loss->anchors_per_cell,
                                "at least 1");
    }
    if (c->desc->n_out > 1 + n_levels) {
        EDT_FAIL(c->err, EDT_ERR_INVALID, "iou_loss: %d outputs, at most %d for %d levels",
                 c->desc->n_out, 1 + n_levels, n_levels);
    }
    int64_t n_anchors = 0;
    for (int l = 0; l < n_levels; ++l) {
        const edt_shape *x = &c->desc->in[l].shape;
        EDT_TRY(edt_op_take_real(c, l, "box_l", 4));
        EDT_TRY(edt_op_check_shape(c, l, "box_l", c->desc->in[0].dtype,
                                   edt_shape_4(c->desc->in[0].shape.dim[0], x->dim[1],
                                               x->dim[2], 4 * loss->anchors_per_cell)));
        n_anchors += x->dim[1] * x->dim[2] * loss->anchors_per_cell;
        edt_op_set_out(c, 1 + l, c->real, *x);
    }
    EDT_TRY(edt_op_check_wide(c, n_levels, "anchors", edt_shape_2(n_anchors, 4)));
    EDT_TRY(edt_op_check_wide(c, n_levels + 1, "targets",
                              edt_shape_3(c->desc->in[0].shape.dim[0], n_anchors, 4)));
    EDT_TRY(check_norm(c, n_levels + 2));
    edt_op_set_out(c, 0, c->wide, edt_shape_1(1));
    return EDT_OK;
}

static edt_status infer_segmentation_loss(edt_op_checker *c)
{
    EDT_TRY(edt_op_take_real(c, 0, "logits", 4));
    const edt_shape *x = &c->desc->in[0].shape;
    EDT_TRY(edt_op_check_shape(c, 1, "mask", EDT_DTYPE_I32,
                               edt_shape_3(x->dim[0], x->dim[1], x->dim[2])));
    EDT_TRY(check_norm(c, 2));
    edt_op_set_out(c, 0, c->wide, edt_shape_1(1));
    edt_op_set_out(c, 1, c->real, *x);
    return EDT_OK;
}

static edt_status infer_optimizer(edt_op_checker *c)
{
    const edt_optimizer_attrs *optimizer = &c->desc->attrs.optimizer;
    const bool adam = optimizer->kind == EDT_OPTIMIZER_ADAM;
    static const char *const names[5] = {"params", "grads", "slot0", "slot1", "ema"};
    const bool has_slot1 = c->desc->n_in > 3 && c->desc->in[3].dtype != EDT_DTYPE_NONE;
    if (adam && !has_slot1) {
        EDT_FAIL(c->err, EDT_ERR_INVALID, "optimizer: Adam needs input 3 (slot1)");
    }
    EDT_TRY(edt_op_take_real(c, 0, "params", 1));
    const int64_t n = c->desc->in[0].shape.dim[0];
    for (int i = 1; i < c->desc->n_in && i < 5; ++i) {
        if (c->desc->in[i].dtype != EDT_DTYPE_NONE || i < 3) {
            EDT_TRY(edt_op_check_real(c, i, names[i], edt_shape_1(n)));
        }
    }
    if (c->desc->n_in == 6) {
        EDT_TRY(edt_op_check_shape(c, 5, "scale", EDT_DTYPE_F32, edt_shape_1(2)));
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
    edt_op_set_out(c, 0, c->real, edt_shape_1(EDT_OPTIMIZER_STATS));
    return EDT_OK;
}

edt_status edt_op_infer_loss(edt_op_checker *c)
{
    switch (c->desc->kind) {
    case EDT_OP_FOCAL_LOSS:
    case EDT_OP_BOX_LOSS: return infer_level_loss(c);
    case EDT_OP_IOU_LOSS: return infer_iou_loss(c);
    case EDT_OP_SEGMENTATION_LOSS: return infer_segmentation_loss(c);
    case EDT_OP_OPTIMIZER: return infer_optimizer(c);
    default: return EDT_OK;
    }
}
