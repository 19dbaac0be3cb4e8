// Focal, Huber and IoU losses over threads. Sums are kept per piece of fixed size and added in
// order, so that they do not depend on the number of threads.
#include <math.h>
#include <omp.h>
#include <string.h>

#include "backend/cpu/cpu_priv.h"
#include "backend/ref/ref_iou_pair.h"

enum { ANCHORS_PER_PIECE = 256, TARGET_IGNORED = -2 };

// One image's anchors of a level, cut into pieces.
typedef struct cut {
    int64_t n_level, n_total, n_pieces; // pieces per image
} cut;

static cut cut_of(const edt_kernel *kernel)
{
    const edt_shape *shape = &kernel->desc.in[0].shape;
    const int64_t n_level =
        shape->dim[1] * shape->dim[2] * kernel->desc.attrs.loss.anchors_per_cell;
    return (cut){
        .n_level = n_level,
        .n_total = kernel->desc.in[1].shape.dim[1],
        .n_pieces = (n_level + ANCHORS_PER_PIECE - 1) / ANCHORS_PER_PIECE,
    };
}

// What multiplies the gradients: the first value of the last input with loss.scaled.
static double scale_of(const edt_kernel *kernel, const edt_cpu_run *run)
{
    return kernel->desc.attrs.loss.scaled
               ? (double)*(const float *)run->in[kernel->desc.n_in - 1]
               : 1;
}

static double add_up(const double *sums, int64_t n)
{
    double total = 0;
    for (int64_t i = 0; i < n; i++) {
        total += sums[i];
    }
    return total;
}

// Loss of one logit whose target is 1, and its slope.
static double focal_positive(const edt_loss_attrs *loss, double x, double *out_slope)
{
    const double e = exp(-fabs(x));
    const double l = log1p(e);
    const double softplus = fmax(x, 0) + l;
    const double p = x >= 0 ? 1 / (1 + e) : e / (1 + e);
    const double s = 1 - 0.5 * loss->label_smoothing;
    const double ce = softplus - x * s;
    const double mod = exp(-loss->gamma * softplus);
    *out_slope = loss->alpha * mod * ((p - s) - loss->gamma * p * ce);
    return loss->alpha * mod * ce;
}

// Anchors [0, n) of one image: runs of logits with target 0 go to the vector kernel.
static double focal_piece(const edt_cpu_kernels *simd, const edt_loss_attrs *loss,
                          double grad_scale, const edt_real *logits, const int32_t *targets,
                          edt_real *dlogits, int64_t n)
{
    const edt_cpu_focal focal = {
        .alpha = (float)loss->alpha,
        .gamma = (float)loss->gamma,
        .smoothing = (float)loss->label_smoothing,
        .grad_scale = (float)grad_scale,
    };
    const int64_t k = loss->num_classes;
    double sum = 0;
    int64_t start = 0; // first logit of the current run
    for (int64_t a = 0; a <= n; a++) {
        const bool positive = a < n && targets[a] >= 0 && targets[a] < k;
        const bool ignored = a < n && targets[a] == TARGET_IGNORED;
        if (a < n && !positive && !ignored) {
            continue;
        }
        const int64_t end = a * k + (positive ? targets[a] : 0);
        simd->focal_zeros(&focal, logits + start, dlogits == NULL ? NULL : dlogits + start,
                          end - start, &sum);
        start = end;
        if (positive) {
            double slope;
            sum += focal_positive(loss, (double)edt_real_get(logits[end]), &slope);
            if (dlogits != NULL) {
                dlogits[end] = edt_real_of((float)(slope * grad_scale));
            }
            start = end + 1;
        } else if (ignored) {
            if (dlogits != NULL) {
                memset(dlogits + end, 0, (size_t)k * sizeof(*dlogits));
            }
            start = end + k;
        }
    }
    return sum;
}

static edt_status run_focal(edt_kernel *kernel, const edt_cpu_run *run)
{
    const edt_loss_attrs *loss = &kernel->desc.attrs.loss;
    const cut c = cut_of(kernel);
    const edt_real *logits = run->in[0];
    const int32_t *targets = run->in[1];
    const double n_norm = (double)*(const float *)run->in[2];
    const double grad_scale = scale_of(kernel, run) / n_norm;
    edt_real *dlogits = kernel->desc.n_out > 1 ? run->out[1] : NULL;
    double *sums = (double *)(void *)run->workspace;
    const int64_t n_pieces = c.n_pieces * kernel->desc.in[0].shape.dim[0];
    const int64_t k = loss->num_classes;
    const int n_threads = edt_cpu_threads(run->backend, n_pieces * ANCHORS_PER_PIECE * k);
#pragma omp parallel for num_threads(n_threads) schedule(static)
    for (int64_t piece = 0; piece < n_pieces; piece++) {
        const int64_t image = piece / c.n_pieces;
        const int64_t first = piece % c.n_pieces * ANCHORS_PER_PIECE;
        const int64_t n =
            c.n_level - first < ANCHORS_PER_PIECE ? c.n_level - first : ANCHORS_PER_PIECE;
        const int64_t at = (image * c.n_level + first) * k;
        sums[piece] =
            focal_piece(edt_cpu_kernels_of(run->backend), loss, grad_scale, logits + at,
                        targets + image * c.n_total + loss->anchor_offset + first,
                        dlogits == NULL ? NULL : dlogits + at, n);
    }
    edt_cpu_put(run->out[0], add_up(sums, n_pieces) / n_norm, kernel->desc.attrs.accumulate);
    return EDT_OK;
}

static edt_status run_box(edt_kernel *kernel, const edt_cpu_run *run)
{
    const edt_loss_attrs *loss = &kernel->desc.attrs.loss;
    const cut c = cut_of(kernel);
    const edt_real *box = run->in[0];
    const float *targets = run->in[1];
    const double n_norm = 4 * (double)*(const float *)run->in[2];
    const float grad_scale = (float)(loss->weight * scale_of(kernel, run) / n_norm);
    edt_real *dbox = kernel->desc.n_out > 1 ? run->out[1] : NULL;
    double *sums = (double *)(void *)run->workspace;
    const int64_t n_pieces = c.n_pieces * kernel->desc.in[0].shape.dim[0];
    const int n_threads = edt_cpu_threads(run->backend, n_pieces * ANCHORS_PER_PIECE * 4);
#pragma omp parallel for num_threads(n_threads) schedule(static)
    for (int64_t piece = 0; piece < n_pieces; piece++) {
        const int64_t image = piece / c.n_pieces;
        const int64_t first = piece % c.n_pieces * ANCHORS_PER_PIECE;
        const int64_t n =
            c.n_level - first < ANCHORS_PER_PIECE ? c.n_level - first : ANCHORS_PER_PIECE;
        const int64_t at = (image * c.n_level + first) * 4;
        sums[piece] = 0;
        edt_cpu_kernels_of(run->backend)
            ->huber(box + at, targets + (image * c.n_total + loss->anchor_offset + first) * 4,
                    (float)loss->delta, grad_scale, dbox == NULL ? NULL : dbox + at, n * 4,
                    &sums[piece]);
    }
    edt_cpu_put(run->out[0], add_up(sums, n_pieces) / n_norm, kernel->desc.attrs.accumulate);
    return EDT_OK;
}

// Corners of a code ty,tx,th,tw at an anchor (spec/model.md 4.3).
static void decode(const float *code, const float *anchor, double out_corners[4])
{
    for (int axis = 0; axis < 2; axis++) {
        const double low = (double)anchor[axis];
        const double high = (double)anchor[axis + 2];
        const double centre = (double)code[axis] * (high - low) + (low + high) / 2;
        const double half = exp((double)code[axis + 2]) * (high - low) / 2;
        out_corners[axis] = centre - half;
        out_corners[axis + 2] = centre + half;
    }
}

// Loss of one anchor and its gradient over the predicted code. The mask of the target code is
// laid over the corners of both boxes (spec/train.md 4.4).
static double iou_row(const edt_loss_attrs *loss, const float *code, const float *target_code,
                      const float *anchor, double out_grad[4])
{
    double pred[4];
    double target[4];
    double corner_grad[4];
    decode(code, anchor, pred);
    decode(target_code, anchor, target);
    for (int i = 0; i < 4; i++) {
        const bool masked = target_code[i] == 0.0f;
        pred[i] = masked ? 0 : pred[i];
        target[i] = masked ? 0 : target[i];
    }
    const double value =
        edt_ref_iou_pair_loss(loss->iou_kind, loss->ciou_v_gradient, pred, target, corner_grad);
    for (int axis = 0; axis < 2; axis++) {
        const double size = (double)anchor[axis + 2] - (double)anchor[axis];
        const double low = target_code[axis] == 0.0f ? 0 : corner_grad[axis];
        const double high = target_code[axis + 2] == 0.0f ? 0 : corner_grad[axis + 2];
        out_grad[axis] = (low + high) * size;
        // An infinite exp on a row that does not count must not become NaN.
        out_grad[axis + 2] =
            low == high ? 0 : (high - low) * exp((double)code[axis + 2]) * size / 2;
    }
    return value;
}

// Few anchors have targets: the scan for them is cheap and their rows are done one by one.
static edt_status run_iou(edt_kernel *kernel, const edt_cpu_run *run)
{
    const edt_loss_attrs *loss = &kernel->desc.attrs.loss;
    const int n_levels = kernel->desc.n_in - (loss->scaled ? 4 : 3);
    const float *anchors = run->in[n_levels];
    const float *targets = run->in[n_levels + 1];
    const double n_norm = 4 * (double)*(const float *)run->in[n_levels + 2];
    const double grad_scale = loss->weight * scale_of(kernel, run) / n_norm;
    const int64_t n_total = kernel->desc.in[n_levels].shape.dim[0];
    double sum = 0;
    int64_t offset = 0;   // first anchor of the level
    int64_t n_before = 0; // rows of the levels before, in the order level, batch, position
    for (int l = 0; l < n_levels; l++) {
        const edt_shape *shape = &kernel->desc.in[l].shape;
        const int64_t n_level = shape->dim[1] * shape->dim[2] * loss->anchors_per_cell;
        const int64_t n_rows = shape->dim[0] * n_level;
        const edt_real *box = run->in[l];
        edt_real *gradient = l + 1 < kernel->desc.n_out ? run->out[l + 1] : NULL;
        if (gradient != NULL) {
            memset(gradient, 0, (size_t)(n_rows * 4) * sizeof(*gradient));
        }
        for (int64_t row = 0; row < n_rows; row++) {
            const int64_t i_anchor = offset + row % n_level;
            const float *target = targets + (row / n_level * n_total + i_anchor) * 4;
            if (target[0] == 0.0f && target[1] == 0.0f && target[2] == 0.0f &&
                target[3] == 0.0f) {
                continue;
            }
            const int64_t i_used =
                loss->misaligned_rows ? (n_before + row) % n_total : i_anchor;
            double code_grad[4];
            float code[4];
            for (int i = 0; i < 4; i++) {
                code[i] = edt_real_get(box[row * 4 + i]);
            }
            sum += iou_row(loss, code, target, anchors + i_used * 4, code_grad);
            for (int i = 0; gradient != NULL && i < 4; i++) {
                gradient[row * 4 + i] = edt_real_of((float)(code_grad[i] * grad_scale));
            }
        }
        offset += n_level;
        n_before += n_rows;
    }
    edt_cpu_put(run->out[0], sum / n_norm, kernel->desc.attrs.accumulate);
    return EDT_OK;
}

edt_status EDT_R(edt_cpu_prepare_loss)(edt_cpu_backend *backend, edt_kernel *kernel,
                                       edt_error *err)
{
    (void)backend;
    (void)err;
    if (kernel->desc.kind == EDT_OP_IOU_LOSS) {
        kernel->run = run_iou;
        return EDT_OK;
    }
    kernel->run = kernel->desc.kind == EDT_OP_FOCAL_LOSS ? run_focal : run_box;
    const cut c = cut_of(kernel);
    kernel->workspace_bytes =
        (size_t)(c.n_pieces * kernel->desc.in[0].shape.dim[0]) * sizeof(double);
    return EDT_OK;
}
