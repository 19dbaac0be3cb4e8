// IoU, GIoU, DIoU and CIoU losses over all levels (spec/train.md 4.4), value and gradient:
// codes are decoded with their anchors, compared as boxes (ref_iou_pair.h), and the gradient
// goes back.
#include "backend/ref/ref_iou_pair.h"
#include "backend/ref/ref_priv.h"

// Corners of a code ty,tx,th,tw at an anchor (spec/model.md 4.3).
static void decode(const real *code, const double anchor[4], double out_corners[4])
{
    for (int axis = 0; axis < 2; ++axis) {
        const double size = anchor[axis + 2] - anchor[axis];
        const double centre = (double)code[axis] * size + (anchor[axis] + anchor[axis + 2]) / 2;
        const double half = exp((double)code[axis + 2]) * size / 2;
        out_corners[axis] = centre - half;
        out_corners[axis + 2] = centre + half;
    }
}

// Loss of one row and its gradient over the predicted code.
static double row_loss(const edt_loss_attrs *loss, const real *code, const real *target_code,
                       const double anchor[4], double out_grad[4])
{
    double pred[4];
    double target[4];
    double corner_grad[4];
    decode(code, anchor, pred);
    decode(target_code, anchor, target);
    for (int i = 0; i < 4; ++i) {
        out_grad[i] = 0;
        if (target_code[i] == 0) { // the mask of the codes is laid over the corners
            pred[i] = 0;
            target[i] = 0;
        }
    }
    const double value =
        edt_ref_iou_pair_loss(loss->iou_kind, loss->ciou_v_gradient, pred, target, corner_grad);
    for (int axis = 0; axis < 2; ++axis) {
        const double size = anchor[axis + 2] - anchor[axis];
        const double low = target_code[axis] == 0 ? 0 : corner_grad[axis];
        const double high = target_code[axis + 2] == 0 ? 0 : corner_grad[axis + 2];
        out_grad[axis] = (low + high) * size;
        if (low != high) { // exp may be infinite on rows that do not count
            out_grad[axis + 2] = (high - low) * exp((double)code[axis + 2]) * size / 2;
        }
    }
    return value;
}

void EDT_REF(iou_loss)(const edt_op_desc *desc, const edt_run_ctx *ctx, void *const *in,
                       void *const *out, void *scratch)
{
    (void)ctx;
    (void)scratch;
    const edt_loss_attrs *loss = &desc->attrs.loss;
    const int n_levels = desc->n_in - (loss->scaled ? 4 : 3);
    const real *anchors = in[n_levels];
    const real *targets = in[n_levels + 1];
    const double n = 4 * (double)*(const real *)in[n_levels + 2];
    const double weight = loss->weight * edt_ref_loss_scale(desc, in);
    const int64_t n_total = desc->in[n_levels].shape.dim[0];
    double sum = 0;
    int64_t offset = 0;   // first anchor of the level
    int64_t n_before = 0; // rows of the levels before, in the order level, batch, position
    for (int l = 0; l < n_levels; ++l) {
        const edt_shape *shape = &desc->in[l].shape;
        const int64_t n_level = shape->dim[1] * shape->dim[2] * loss->anchors_per_cell;
        const int64_t n_rows = shape->dim[0] * n_level;
        const real *box = in[l];
        real *gradient = l + 1 < desc->n_out ? out[l + 1] : NULL;
        for (int64_t row = 0; row < n_rows; ++row) {
            const int64_t i_anchor = offset + row % n_level;
            const real *target = targets + (row / n_level * n_total + i_anchor) * 4;
            const int64_t i_used =
                loss->misaligned_rows ? (n_before + row) % n_total : i_anchor;
            double anchor[4];
            for (int i = 0; i < 4; ++i) {
                anchor[i] = (double)anchors[i_used * 4 + i];
            }
            double code_grad[4] = {0};
            if (target[0] != 0 || target[1] != 0 || target[2] != 0 || target[3] != 0) {
                sum += row_loss(loss, box + row * 4, target, anchor, code_grad);
            }
            for (int i = 0; gradient != NULL && i < 4; ++i) {
                gradient[row * 4 + i] = (real)(weight * code_grad[i] / n);
            }
        }
        offset += n_level;
        n_before += n_rows;
    }
    edt_ref_store((real *)out[0], sum / n, desc->attrs.accumulate);
}
