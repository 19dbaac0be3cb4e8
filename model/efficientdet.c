// The whole detector as one graph, and the training losses on it.
#include "model/efficientdet.h"

#include <string.h>

#include "model/autodiff.h"
#include "model/efficientnet.h"
#include "model/heads.h"
#include "model/recompute.h"
#include "model/segmentation_head.h"

static bool equals(const char *text, const char *other)
{
    return text != NULL && strcmp(text, other) == 0;
}

// Refuses what the official table allows and this program does not build.
static edt_status check_supported(const edt_hparams *hp, edt_error *err)
{
    if (!edt_hparams_has_head(hp, "object_detection") &&
        !edt_hparams_has_head(hp, "segmentation")) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "heads names no head; use object_detection, segmentation or both");
    }
    if (hp->num_classes < 1 || hp->fpn_num_filters < 1 || hp->fpn_cell_repeats < 0 ||
        hp->box_class_repeats < 0 || hp->num_scales < 1 || hp->aspect_ratios.n < 1) {
        EDT_FAIL(
            err, EDT_ERR_USAGE,
            "num_classes, fpn_num_filters, num_scales and the number of aspect_ratios must "
            "be at least 1, fpn_cell_repeats and box_class_repeats at least 0");
    }
    return EDT_OK;
}

static edt_value_id build_input(const edt_hparams *hp, const edt_model_options *options,
                                edt_graph *graph)
{
    const edt_shape shape =
        edt_shape_4(options->batch_size, hp->image_size.h, hp->image_size.w, 3);
    if (!options->u8_input) {
        const edt_value_id image = edt_graph_input(graph, "image", graph->wide, shape);
        const edt_op_attrs cast = {.cast_dtype = graph->real};
        return graph->wide == graph->real
                   ? image
                   : edt_graph_op(graph, "image_cast", EDT_OP_CAST, &cast, 1, &image, 1);
    }
    edt_op_attrs attrs = {.norm_scale_range = hp->scale_range, .norm_dtype = graph->real};
    for (int i = 0; i < 3; i++) {
        attrs.norm_mean[i] = (float)hp->mean_rgb.v[hp->mean_rgb.n == 3 ? i : 0];
        attrs.norm_std[i] = (float)hp->stddev_rgb.v[hp->stddev_rgb.n == 3 ? i : 0];
    }
    const edt_value_id in[2] = {
        edt_graph_input(graph, "image_u8", EDT_DTYPE_U8, shape),
        edt_graph_input(graph, "valid_hw", EDT_DTYPE_I32, edt_shape_2(options->batch_size, 2)),
    };
    return edt_graph_op(graph, "normalize", EDT_OP_NORMALIZE, &attrs, 2, in, 1);
}

static edt_status parse_iou_kind(const char *text, edt_error *err, edt_iou_loss_kind *out_kind)
{
    static const char *const names[] = {"iou", "giou", "diou", "ciou"};
    for (int i = 0; i < 4; i++) {
        if (equals(text, names[i])) {
            *out_kind = (edt_iou_loss_kind)i;
            return EDT_OK;
        }
    }
    EDT_FAIL(err, EDT_ERR_USAGE, "iou_loss_type '%s' is unknown; use iou, giou, diou or ciou",
             text);
}

enum { MAX_SEEDS = 3 * EDT_HPARAMS_MAX_LEVELS + 1 };

typedef struct loss_builder {
    const edt_hparams *hp;
    const edt_model_options *options;
    edt_model *model;
    edt_value_id cls_targets, box_targets, norm, anchors, scale;
    edt_iou_loss_kind iou_kind;
    int n_seeds;
    edt_grad_seed seeds[MAX_SEEDS];
} loss_builder;

// A loss op with its gradients as seeds (training only): outputs are the loss, then one
// gradient for each of the first `n_pred` inputs. `in` has room for the loss scale.
static void add_loss(loss_builder *b, const char *name, edt_op_kind kind,
                     const edt_op_attrs *attrs, int n_in, edt_value_id *in, int n_pred)
{
    edt_graph *graph = b->model->graph;
    if (b->options->loss_scaled) {
        in[n_in++] = b->scale;
    }
    const bool gradients = b->options->mode == EDT_MODEL_TRAIN;
    const edt_value_id loss =
        edt_graph_op(graph, name, kind, attrs, n_in, in, gradients ? 1 + n_pred : 1);
    edt_graph_output(graph, name, loss);
    for (int i = 0; gradients && i < n_pred && graph->status == EDT_OK; i++) {
        b->seeds[b->n_seeds++] = (edt_grad_seed){
            .value = in[i], .grad = graph->nodes[graph->n_nodes - 1].out[1 + i]};
    }
}

static void build_segmentation_loss(loss_builder *b, edt_value_id logits)
{
    edt_graph *graph = b->model->graph;
    const edt_shape shape = edt_graph_shape(graph, logits);
    const edt_op_attrs attrs = {.accumulate = b->options->accumulate,
                                .loss = {.scaled = b->options->loss_scaled}};
    edt_value_id in[4] = {
        logits,
        edt_graph_input(graph, "seg_mask", EDT_DTYPE_I32,
                        edt_shape_3(shape.dim[0], shape.dim[1], shape.dim[2])),
        edt_graph_input(graph, "seg_norm", graph->wide, edt_shape_1(1)),
    };
    add_loss(b, "seg_loss", EDT_OP_SEGMENTATION_LOSS, &attrs, 3, in, 1);
}

static void build_losses(loss_builder *b, const edt_value_id *cls, const edt_value_id *box)
{
    const edt_hparams *hp = b->hp;
    edt_model *model = b->model;
    edt_graph *graph = model->graph;
    const int64_t n = b->options->batch_size;
    b->cls_targets =
        edt_graph_input(graph, "cls_targets", EDT_DTYPE_I32, edt_shape_2(n, model->n_anchors));
    b->box_targets =
        edt_graph_input(graph, "box_targets", graph->wide, edt_shape_3(n, model->n_anchors, 4));
    b->norm = edt_graph_input(graph, "norm", graph->wide, edt_shape_1(1));
    edt_op_attrs attrs = {.accumulate = b->options->accumulate,
                          .loss = {.alpha = hp->alpha,
                                   .gamma = hp->gamma,
                                   .label_smoothing = hp->label_smoothing,
                                   .delta = hp->delta,
                                   .num_classes = model->num_classes,
                                   .anchors_per_cell = model->anchors_per_cell,
                                   .iou_kind = b->iou_kind,
                                   .misaligned_rows = hp->reference_defects,
                                   // What the reference computes, whatever its custom gradient
                                   // says: its stored CIoU gradients are the whole ones.
                                   .ciou_v_gradient = true,
                                   .scaled = b->options->loss_scaled}};
    for (int l = model->min_level; l <= model->max_level; l++) {
        attrs.loss.weight = 1.0;
        edt_value_id cls_in[4] = {cls[l], b->cls_targets, b->norm};
        add_loss(b, edt_graph_printf(graph, "cls_loss_%d", l), EDT_OP_FOCAL_LOSS, &attrs, 3,
                 cls_in, 1);
        if (hp->box_loss_weight != 0.0) {
            attrs.loss.weight = hp->box_loss_weight;
            edt_value_id box_in[4] = {box[l], b->box_targets, b->norm};
            add_loss(b, edt_graph_printf(graph, "box_loss_%d", l), EDT_OP_BOX_LOSS, &attrs, 3,
                     box_in, 1);
        }
        attrs.loss.anchor_offset +=
            model->level_h[l] * model->level_w[l] * model->anchors_per_cell;
    }
    if (hp->iou_loss_type != NULL) {
        attrs.loss.weight = hp->iou_loss_weight;
        attrs.loss.anchor_offset = 0;
        b->anchors =
            edt_graph_input(graph, "anchors", graph->wide, edt_shape_2(model->n_anchors, 4));
        edt_value_id in[EDT_OP_MAX_IN];
        int n_in = 0;
        for (int l = model->min_level; l <= model->max_level; l++) {
            in[n_in++] = box[l];
        }
        const int n_levels = n_in;
        in[n_in++] = b->anchors;
        in[n_in++] = b->box_targets;
        in[n_in++] = b->norm;
        add_loss(b, "iou_loss", EDT_OP_IOU_LOSS, &attrs, n_in, in, n_levels);
    }
}

static void name_output(edt_graph *graph, const edt_model_options *options, const char *name,
                        edt_value_id value)
{
    if (options->wide_outputs && graph->real != graph->wide) {
        const edt_op_attrs attrs = {.cast_dtype = graph->wide};
        value = edt_graph_op(graph, edt_graph_printf(graph, "%s_cast", name), EDT_OP_CAST,
                             &attrs, 1, &value, 1);
    }
    edt_graph_output(graph, name, value);
}

static edt_status build(const edt_hparams *hp, const edt_model_options *options,
                        const edt_pyramid_sizes *sizes, edt_model *model, edt_error *err)
{
    edt_graph *graph = model->graph;
    loss_builder losses = {.hp = hp, .options = options, .model = model};
    if (options->losses && hp->iou_loss_type != NULL) {
        EDT_TRY(parse_iou_kind(hp->iou_loss_type, err, &losses.iou_kind));
    }
    edt_backbone backbone;
    EDT_TRY(edt_backbone_plan(hp, err, &backbone));
    edt_fpn_plan fpn;
    EDT_TRY(edt_fpn_plan_create(hp, err, &fpn));
    edt_layers layers = {.graph = graph,
                         .train = options->mode == EDT_MODEL_TRAIN,
                         .freeze_bn = hp->freeze_bn,
                         .biased_moving_variance = equals(hp->sync_bn, "full"),
                         .bn_ranks = options->bn_ranks,
                         .drop_u = EDT_NO_VALUE};
    EDT_TRY(edt_act_parse(hp->act_type, err, &layers.act));
    const edt_value_id image = build_input(hp, options, graph);
    if (layers.train && options->drop_connect) {
        model->n_drop_rows =
            backbone.n_drop_rows + (model->has_detection ? edt_heads_drop_rows(hp) : 0);
    }
    if (model->n_drop_rows > 0) {
        layers.drop_u = edt_graph_input(graph, "drop_u", graph->wide,
                                        edt_shape_2(model->n_drop_rows, options->batch_size));
    }

    edt_value_id features[EDT_MAX_LEVEL + 1];
    edt_backbone_build(&layers, &backbone, image, features);
    for (int l = 1; options->keep_features && l <= backbone.top_level; l++) {
        edt_graph_output(graph, edt_graph_printf(graph, "reduction_%d", l), features[l]);
    }
    edt_bifpn_build(&layers, hp, &fpn, sizes, options->keep_features, features);
    edt_value_id cls[EDT_MAX_LEVEL + 1];
    edt_value_id box[EDT_MAX_LEVEL + 1];
    for (int l = model->min_level; model->has_detection && l <= model->max_level; l++) {
        cls[l] = edt_head_build(&layers, hp, EDT_HEAD_CLASS, l,
                                model->anchors_per_cell * model->num_classes, features[l]);
        name_output(graph, options, edt_graph_printf(graph, "cls_%d", l), cls[l]);
    }
    for (int l = model->min_level; model->has_detection && l <= model->max_level; l++) {
        box[l] = edt_head_build(&layers, hp, EDT_HEAD_BOX, l, model->anchors_per_cell * 4,
                                features[l]);
        name_output(graph, options, edt_graph_printf(graph, "box_%d", l), box[l]);
    }
    edt_value_id segmentation = EDT_NO_VALUE;
    if (model->has_segmentation) {
        segmentation = edt_segmentation_head_build(&layers, hp, features);
        name_output(graph, options, "segmentation", segmentation);
    }
    EDT_TRY(edt_graph_status(graph, err));
    if (layers.next_drop_row != model->n_drop_rows) {
        EDT_FAIL(err, EDT_ERR_INTERNAL, "%d rows of drop-connect draws, %d used",
                 model->n_drop_rows, layers.next_drop_row);
    }
    if (options->losses) {
        if (options->loss_scaled) {
            losses.scale = edt_graph_input(graph, "loss_scale", EDT_DTYPE_F32, edt_shape_1(2));
        }
        if (model->has_detection) {
            build_losses(&losses, cls, box);
        }
        if (model->has_segmentation && !options->no_mask_loss) {
            build_segmentation_loss(&losses, segmentation);
        }
        EDT_TRY(edt_graph_status(graph, err));
        if (layers.train) {
            const int n_forward = graph->n_nodes;
            EDT_TRY(edt_autodiff(graph, losses.n_seeds, losses.seeds, options->wants_grad,
                                 options->accumulate, err));
            if (hp->grad_checkpoint) {
                EDT_TRY(edt_recompute(graph, n_forward, err));
            }
        }
    }
    return EDT_OK;
}

edt_status edt_model_create(const edt_hparams *hp, const edt_model_options *options,
                            edt_error *err, edt_model **out_model)
{
    EDT_TRY(check_supported(hp, err));
    if (options->batch_size < 1) {
        EDT_FAIL(err, EDT_ERR_USAGE, "batch size is %lld; it must be at least 1",
                 (long long)options->batch_size);
    }
    if (options->bn_ranks < 0) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "bn_ranks is %d; it must be 0 (off) or the number of ranks",
                 options->bn_ranks);
    }
    edt_pyramid_sizes sizes;
    EDT_TRY(edt_pyramid_sizes_compute(hp, err, &sizes));
    const bool segmentation = edt_hparams_has_head(hp, "segmentation");
    if (segmentation) {
        EDT_TRY(edt_segmentation_head_check(hp, &sizes, err));
    }
    edt_model *model = edt_mem_calloc(EDT_MEM_ARENA, 1, sizeof *model);
    if (model == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for a model");
    }
    model->min_level = sizes.min_level;
    model->max_level = sizes.max_level;
    model->image_h = hp->image_size.h;
    model->image_w = hp->image_size.w;
    model->num_classes = hp->num_classes;
    model->anchors_per_cell = hp->num_scales * hp->aspect_ratios.n;
    model->has_detection = edt_hparams_has_head(hp, "object_detection");
    model->has_segmentation = segmentation;
    if (segmentation) {
        model->mask_h = 2 * sizes.h[sizes.min_level];
        model->mask_w = 2 * sizes.w[sizes.min_level];
        model->mask_classes = hp->seg_num_classes;
    }
    for (int l = 0; l <= sizes.max_level; l++) {
        model->level_h[l] = sizes.h[l];
        model->level_w[l] = sizes.w[l];
        if (l >= sizes.min_level && model->has_detection) {
            model->n_anchors += sizes.h[l] * sizes.w[l] * model->anchors_per_cell;
        }
    }
    edt_status status = edt_graph_create(options->real, err, &model->graph);
    if (status == EDT_OK) {
        status = build(hp, options, &sizes, model, err);
    }
    if (status != EDT_OK) {
        edt_model_destroy(model);
        return edt_error_add_context(err, status, "model %s", hp->name == NULL ? "" : hp->name);
    }
    *out_model = model;
    return EDT_OK;
}

void edt_model_destroy(edt_model *model)
{
    if (model == NULL) {
        return;
    }
    edt_graph_destroy(model->graph);
    edt_mem_free(model);
}
