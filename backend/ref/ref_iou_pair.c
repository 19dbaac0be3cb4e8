// See ref_iou_pair.h. Values carry their gradient over the four predicted corners (forward
// mode), so that each formula stands here once.
#include "backend/ref/ref_iou_pair.h"

#include <math.h>

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

static dual arc_tangent(dual a)
{
    dual y = {.v = atan(a.v)};
    for (int i = 0; i < 4; ++i) {
        y.d[i] = a.d[i] / (1 + a.v * a.v);
    }
    return y;
}

static dual span(dual low, dual high)
{
    return positive_part(add(high, low, -1));
}

double edt_ref_iou_pair_loss(edt_iou_loss_kind kind, bool v_gradient, const double pred[4],
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
        const dual angle = add(arc_tangent(quotient(width, height)),
                               constant(atan(div0(target_width, target_height))), -1);
        dual v = mul(mul(angle, angle), constant(4 / (M_PI * M_PI)));
        if (!v_gradient) { // alpha still has one, through iou
            v = constant(v.v);
        }
        const dual alpha = quotient(v, add(add(constant(1), iou, -1), v, 1));
        quality = add(quality, mul(alpha, v), -1);
    }
    for (int i = 0; i < 4; ++i) {
        out_grad[i] = -quality.d[i];
    }
    return 1 - quality.v;
}
