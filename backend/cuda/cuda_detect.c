// Detections on the device: divides the workspace among the stages of
// kernels/detect_kernels.h and fills their arguments.
#include <inttypes.h>

#include "backend/cuda/cuda_priv.h"
#include "backend/cuda/kernels/detect_kernels.h"

enum { LOGITS_PER_BLOCK = 4096, BLOCKS_PER_MULTIPROCESSOR = 2 };

typedef struct state {
    edt_cuda_detect args; // all that does not change from run to run
    size_t zero_bytes;
} state;

// The next n elements of a workspace of which *used bytes are taken; NULL to count only.
static void *take(char *workspace, size_t *used, int64_t n, size_t each)
{
    void *block = workspace == NULL ? NULL : workspace + *used;
    *used += edt_cuda_align((size_t)n * each, 16);
    return block;
}

// Lays the scratch out and returns its size.
static size_t lay_out(edt_cuda_detect *a, char *workspace, size_t *out_zero_bytes)
{
    const int64_t n = a->n_images;
    const int64_t n_take = n * a->n_take;
    const int64_t n_passes = n * EDT_CUDA_DETECT_PASSES;
    const int64_t n_bests = a->max_candidates == 0 ? n * a->n_anchors : 0;
    size_t used = 0;
    a->bins = take(workspace, &used, n_passes * EDT_CUDA_DETECT_BINS, sizeof *a->bins);
    a->n_collected = take(workspace, &used, n, sizeof *a->n_collected);
    a->group_size = take(workspace, &used, n * a->n_groups, sizeof *a->group_size);
    a->kept_keys = take(workspace, &used, n_take, sizeof *a->kept_keys);
    *out_zero_bytes = used;
    a->selects = take(workspace, &used, n_passes, sizeof *a->selects);
    a->collected = take(workspace, &used, n * a->n_collect, sizeof *a->collected);
    a->scores = take(workspace, &used, n_take, sizeof *a->scores);
    a->boxes = take(workspace, &used, n_take, 4 * sizeof *a->boxes);
    a->classes = take(workspace, &used, n_take, sizeof *a->classes);
    a->kept_boxes = take(workspace, &used, n_take, 4 * sizeof *a->kept_boxes);
    a->kept = take(workspace, &used, n_take, sizeof *a->kept);
    a->pool_scores = take(workspace, &used, n_take, sizeof *a->pool_scores);
    a->pool = take(workspace, &used, n_take, sizeof *a->pool);
    a->pool_begin = take(workspace, &used, n_take, sizeof *a->pool_begin);
    a->anchor_scores = take(workspace, &used, n_bests, sizeof *a->anchor_scores);
    a->anchor_classes = take(workspace, &used, n_bests, sizeof *a->anchor_classes);
    return used;
}

static edt_status run_detect(edt_kernel *kernel, const edt_cuda_run *run)
{
    const state *s = kernel->state;
    edt_cuda_detect args = s->args;
    size_t zero_bytes;
    (void)lay_out(&args, run->workspace, &zero_bytes);
    for (int l = 0; l < args.n_levels; ++l) {
        args.cls[l] = run->in[l];
        args.box[l] = run->in[args.n_levels + l];
    }
    args.anchors = run->in[2 * args.n_levels];
    args.image_scales = run->in[2 * args.n_levels + 1];
    args.rows = run->out[0];
    args.labels = run->out[1];
    args.n_valid = run->out[2];
    EDT_CUDA_TRY(edt_cuda_detect_run(&args, zero_bytes, run->stream), run->err);
    return EDT_OK;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

edt_status edt_cuda_prepare_detect(edt_cuda_backend *backend, edt_kernel *kernel,
                                   edt_error *err)
{
    const edt_op_desc *desc = &kernel->desc;
    const edt_detect_attrs *attrs = &desc->attrs.detect;
    EDT_TRY(edt_cuda_kernel_alloc_state(kernel, sizeof(state), err));
    state *s = kernel->state;
    edt_cuda_detect *a = &s->args;
    a->real = (int32_t)desc->in[0].dtype;
    a->num_classes = attrs->num_classes;
    a->max_candidates = attrs->max_candidates;
    a->max_output = attrs->max_output;
    a->iou_thresh = attrs->iou_thresh;
    a->score_thresh = attrs->score_thresh;
    a->sigma = attrs->sigma;
    a->clip_h = attrs->clip_h;
    a->clip_w = attrs->clip_w;
    a->global = attrs->global;
    a->n_levels = (desc->n_in - 2) / 2;
    a->n_images = desc->in[0].shape.dim[0];
    if (a->n_images > backend->limits.grid_y) {
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED,
                 "detect: %" PRId64 " pictures; at most %d at once on this device", a->n_images,
                 backend->limits.grid_y);
    }
    for (int l = 0; l < a->n_levels; ++l) {
        const edt_shape *x = &desc->in[l].shape;
        a->first_anchor[l + 1] =
            a->first_anchor[l] + x->dim[1] * x->dim[2] * attrs->anchors_per_cell;
    }
    a->n_anchors = a->first_anchor[a->n_levels];
    const bool per_anchor = a->max_candidates == 0;
    a->n_values = per_anchor ? a->n_anchors : a->n_anchors * a->num_classes;
    a->n_wanted = per_anchor ? a->n_values : smaller(a->max_candidates, a->n_values);
    a->n_take = smaller(a->n_wanted, EDT_CUDA_DETECT_TAKE);
    a->n_collect = smaller(a->n_take + EDT_CUDA_DETECT_SLACK, a->n_values);
    a->n_groups = attrs->global ? 1 : a->num_classes;
    const int64_t most = (int64_t)backend->limits.n_multiprocessors * BLOCKS_PER_MULTIPROCESSOR;
    const int64_t for_image = (most - 1) / smaller(a->n_images, most) + 1;
    a->n_blocks =
        smaller((a->n_anchors * a->num_classes - 1) / LOGITS_PER_BLOCK + 1, for_image);
    kernel->workspace_bytes = lay_out(a, NULL, &s->zero_bytes);
    kernel->run = run_detect;
    return EDT_OK;
}
