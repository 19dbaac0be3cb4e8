// IoU, GIoU, DIoU and CIoU losses over all levels (spec/train.md 4.4), value and gradient. The
// gradient is propagated by hand from the quality back to the corners and from there to the
// codes.
#include "backend/ref/ref_priv.h"

static double div0(double a, double b)
{
    return b == 0 ? 0 : a / b;
}

// A scalar with its gradient over the four predicted corners.
typedef struct dual {
    double v, d[4];
} dual;

static dual constant(double v)
{
    return (dual){.v = v};
}

static dual add(dual a, dual b, double scale) // a + scale * b
{
    a.v += scale * b.v;
    for (int i = 0; i < 4; ++i) {
        a.d[i] += scale * b.d[i];
    }
    return a;
}

static dual mul(dual a, dual b)
{
    dual y = {.v = a.v * b.v};
    for (int i = 0; i < 4; ++i) {
        y.d[i] = a.d[i] * b.v + a.v * b.d[i];
    }
    return y;
}

static dual quotient(dual a, dual b) // 0 with gradient 0 where b is 0
{
    dual y = {.v = div0(a.v, b.v)};
    for (int i = 0; i < 4; ++i) {
        y.d[i] = div0(a.d[i] - y.v * b.d[i], b.v);
    }
    return y;
}

// At a tie the gradient goes to the first operand, as in the reference.
static dual larger(dual a, dual b)
{
    return a.v >= b.v ? a : b;
}

static dual smaller(dual a, dual b)
{
    return a.v <= b.v ? a : b;
}

static dual positive_part(dual a)
{
    return larger(constant(0), a);
}

static dual span(dual low, dual high)
{
    return positive_part(add(high, low, -1));
}

double EDT_REF(iou_pair_loss)(edt_iou_loss_kind kind, const double pred[4],
                              const double target[4], double out_grad[4])
{
    for (int i = 0; i < 4; ++i) {
        out_grad[i] = 0;
    }
    if (!(target[2] > target[0] && target[3] > target[1])) {
        return 0;
    }
    dual p[4];
    dual t[4];
    dual inner[4];
    dual outer[4];
    for (int i = 0; i < 4; ++i) {
        p[i] = constant(pred[i]);
        p[i].d[i] = 1;
        t[i] = constant(target[i]);
        inner[i] = i < 2 ? larger(p[i], t[i]) : smaller(p[i], t[i]);
        outer[i] = i < 2 ? smaller(p[i], t[i]) : larger(p[i], t[i]);
    }
    const dual height = span(p[0], p[2]);
    const dual width = span(p[1], p[3]);
    const double target_height = target[2] - target[0];
    const double target_width = target[3] - target[1];
    const dual common = mul(span(inner[0], inner[2]), span(inner[1], inner[3]));
    const dual joint =
        add(add(mul(height, width), constant(target_height * target_width), 1), common, -1);
    const dual iou = quotient(common, joint);
    const dual outer_height = span(outer[0], outer[2]);
    const dual outer_width = span(outer[1], outer[3]);
    dual quality = iou;
    if (kind == EDT_LOSS_GIOU) {
        const dual hull = mul(outer_height, outer_width);
        quality = add(iou, quotient(add(hull, joint, -1), hull), -1);
    } else if (kind == EDT_LOSS_DIOU || kind == EDT_LOSS_CIOU) {
        dual distance = constant(0);
        for (int i = 0; i < 2; ++i) {
            const dual centre = add(p[i], p[i + 2], 1);
            const dual twice = add(centre, constant(target[i] + target[i + 2]), -1);
            distance = add(distance, mul(twice, twice), 0.25);
        }
        const dual diagonal =
            add(mul(outer_height, outer_height), mul(outer_width, outer_width), 1);
        quality = add(iou, quotient(distance, diagonal), -1);
    }
    if (kind == EDT_LOSS_CIOU) {
        // v is a constant of the prediction, as in the original; alpha is not, through iou.
        const double angle =
            atan(div0(width.v, height.v)) - atan(div0(target_width, target_height));
        const dual v = constant(4 * (angle / M_PI) * (angle / M_PI));
        const dual alpha = quotient(v, add(add(constant(1), iou, -1), v, 1));
        quality = add(quality, mul(alpha, v), -1);
    }
    for (int i = 0; i < 4; ++i) {
        out_grad[i] = -quality.d[i];
    }
    return 1 - quality.v;
}

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
static double row_loss(edt_iou_loss_kind kind, const real *code, const real *target_code,
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
    const double loss = EDT_REF(iou_pair_loss)(kind, pred, target, corner_grad);
    for (int axis = 0; axis < 2; ++axis) {
        const double size = anchor[axis + 2] - anchor[axis];
        const double low = target_code[axis] == 0 ? 0 : corner_grad[axis];
        const double high = target_code[axis + 2] == 0 ? 0 : corner_grad[axis + 2];
        out_grad[axis] = (low + high) * size;
        if (low != high) { // exp may be infinite on rows that do not count
            out_grad[axis + 2] = (high - low) * exp((double)code[axis + 2]) * size / 2;
        }
    }
    return loss;
}

void EDT_REF(iou_loss)(const edt_op_desc *desc, const edt_run_ctx *ctx, void *const *in,
                       void *const *out, void *scratch)
{
    (void)ctx;
    (void)scratch;
    const edt_loss_attrs *loss = &desc->attrs.loss;
    const int n_levels = desc->n_in - 3;
    const real *anchors = in[n_levels];
    const real *targets = in[n_levels + 1];
    const double n = 4 * (double)*(const real *)in[n_levels + 2];
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
                sum += row_loss(loss->iou_kind, box + row * 4, target, anchor, code_grad);
            }
            for (int i = 0; gradient != NULL && i < 4; ++i) {
                gradient[row * 4 + i] = (real)(loss->weight * code_grad[i] / n);
            }
        }
        offset += n_level;
        n_before += n_rows;
    }
    *(real *)out[0] = (real)(sum / n);
}
