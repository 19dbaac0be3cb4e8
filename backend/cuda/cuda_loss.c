// Focal, box, IoU and segmentation losses: fills the arguments of kernels/loss_kernels.h.
#include <inttypes.h>

#include "backend/cuda/cuda_priv.h"
#include "backend/cuda/kernels/loss_kernels.h"

enum { BLOCKS_PER_MULTIPROCESSOR = 8 };

static edt_cuda_loss_settings settings_of(const edt_op_attrs *attrs, int n_blocks)
{
    const edt_loss_attrs *loss = &attrs->loss;
    return (edt_cuda_loss_settings){
        .alpha = loss->alpha,
        .gamma = loss->gamma,
        .label_smoothing = loss->label_smoothing,
        .delta = loss->delta,
        .weight = loss->weight,
        .num_classes = loss->num_classes,
        .anchor_offset = loss->anchor_offset,
        .accumulate = attrs->accumulate,
        .iou_kind = (int32_t)loss->iou_kind,
        .misaligned_rows = loss->misaligned_rows,
        .ciou_v_gradient = loss->ciou_v_gradient,
        .n_blocks = n_blocks,
    };
}

typedef struct state {
    union {
        edt_cuda_level_loss level;
        edt_cuda_iou_loss iou;
    } args; // all that does not change from run to run
} state;

static int count_blocks(const edt_cuda_backend *backend, int64_t n, int64_t per_block)
{
    const int64_t most = (int64_t)backend->limits.n_multiprocessors * BLOCKS_PER_MULTIPROCESSOR;
    const int64_t wanted = (n - 1) / per_block + 1;
    return (int)(wanted < most ? wanted : most);
}

static edt_status run_level(edt_kernel *kernel, const edt_cuda_run *run)
{
    const state *s = kernel->state;
    const edt_op_desc *desc = &kernel->desc;
    edt_cuda_level_loss args = s->args.level;
    args.x = run->in[0];
    args.targets = run->in[1];
    args.norm = run->in[2];
    args.scale = desc->attrs.loss.scaled ? run->in[3] : NULL;
    args.partials = (double *)(void *)run->workspace;
    args.loss = run->out[0];
    args.gradient = desc->n_out > 1 ? run->out[1] : NULL;
    if (desc->kind == EDT_OP_FOCAL_LOSS) {
        EDT_CUDA_TRY(edt_cuda_focal_loss(desc->in[0].dtype, &args, run->stream), run->err);
    } else if (desc->kind == EDT_OP_SEGMENTATION_LOSS) {
        EDT_CUDA_TRY(edt_cuda_segmentation_loss(desc->in[0].dtype, &args, run->stream),
                     run->err);
    } else {
        EDT_CUDA_TRY(edt_cuda_box_loss(desc->in[0].dtype, &args, run->stream), run->err);
    }
    return EDT_OK;
}

static edt_status run_iou(edt_kernel *kernel, const edt_cuda_run *run)
{
    const state *s = kernel->state;
    const edt_op_desc *desc = &kernel->desc;
    edt_cuda_iou_loss args = s->args.iou;
    for (int l = 0; l < args.n_levels; ++l) {
        args.box[l] = run->in[l];
        args.gradient[l] = l + 1 < desc->n_out ? run->out[l + 1] : NULL;
    }
    args.anchors = run->in[args.n_levels];
    args.targets = run->in[args.n_levels + 1];
    args.norm = run->in[args.n_levels + 2];
    args.scale = desc->attrs.loss.scaled ? run->in[args.n_levels + 3] : NULL;
    args.partials = (double *)(void *)run->workspace;
    args.loss = run->out[0];
    EDT_CUDA_TRY(edt_cuda_iou_loss_run(desc->in[0].dtype, &args, run->stream), run->err);
    return EDT_OK;
}

static edt_status prepare_level(edt_cuda_backend *backend, edt_kernel *kernel, edt_error *err)
{
    state *s = kernel->state;
    const edt_op_desc *desc = &kernel->desc;
    const edt_shape *x = &desc->in[0].shape;
    const edt_loss_attrs *attrs = &desc->attrs.loss;
    edt_cuda_level_loss *args = &s->args.level;
    args->n_level = x->dim[1] * x->dim[2] * attrs->anchors_per_cell;
    args->n_rows = x->dim[0] * args->n_level;
    args->n_total = desc->in[1].shape.dim[1];
    const bool focal = desc->kind == EDT_OP_FOCAL_LOSS;
    const int64_t limit = INT32_MAX - EDT_CUDA_FOCAL_TILE;
    if (focal && (args->n_level > limit || attrs->num_classes > limit)) {
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED,
                 "focal_loss of %" PRId64 " anchors in %" PRId64 " classes: at most %" PRId64
                 " each on this backend",
                 args->n_level, attrs->num_classes, limit);
    }
    const int n_blocks =
        count_blocks(backend, focal ? args->n_rows * attrs->num_classes : args->n_rows,
                     focal ? EDT_CUDA_FOCAL_TILE : EDT_CUDA_LOSS_THREADS);
    args->attrs = settings_of(&desc->attrs, n_blocks);
    kernel->workspace_bytes = (size_t)n_blocks * sizeof(double);
    kernel->run = run_level;
    return EDT_OK;
}

static void prepare_iou(edt_cuda_backend *backend, edt_kernel *kernel)
{
    state *s = kernel->state;
    const edt_op_desc *desc = &kernel->desc;
    edt_cuda_iou_loss *args = &s->args.iou;
    args->n_levels = desc->n_in - (desc->attrs.loss.scaled ? 4 : 3);
    for (int l = 0; l < args->n_levels; ++l) {
        const edt_shape *x = &desc->in[l].shape;
        const int64_t n_level = x->dim[1] * x->dim[2] * desc->attrs.loss.anchors_per_cell;
        args->first_anchor[l + 1] = args->first_anchor[l] + n_level;
        args->first_row[l + 1] = args->first_row[l] + x->dim[0] * n_level;
    }
    const int n_blocks =
        count_blocks(backend, args->first_row[args->n_levels], EDT_CUDA_LOSS_THREADS);
    args->attrs = settings_of(&desc->attrs, n_blocks);
    kernel->workspace_bytes = (size_t)n_blocks * sizeof(double);
    kernel->run = run_iou;
}

static void prepare_segmentation(edt_cuda_backend *backend, edt_kernel *kernel)
{
    state *s = kernel->state;
    const edt_shape *x = &kernel->desc.in[0].shape;
    edt_cuda_level_loss *args = &s->args.level;
    args->n_rows = x->dim[0] * x->dim[1] * x->dim[2];
    args->n_level = args->n_total = x->dim[1] * x->dim[2];
    const int n_blocks = count_blocks(backend, args->n_rows, EDT_CUDA_LOSS_THREADS);
    args->attrs = settings_of(&kernel->desc.attrs, n_blocks);
    args->attrs.num_classes = x->dim[3];
    kernel->workspace_bytes = (size_t)n_blocks * sizeof(double);
    kernel->run = run_level;
}

edt_status edt_cuda_prepare_loss(edt_cuda_backend *backend, edt_kernel *kernel, edt_error *err)
{
    EDT_TRY(edt_cuda_kernel_alloc_state(kernel, sizeof(state), err));
    if (kernel->desc.kind == EDT_OP_SEGMENTATION_LOSS) {
        prepare_segmentation(backend, kernel);
        return EDT_OK;
    }
    if (kernel->desc.kind != EDT_OP_IOU_LOSS) {
        return prepare_level(backend, kernel, err);
    }
    prepare_iou(backend, kernel);
    return EDT_OK;
}
