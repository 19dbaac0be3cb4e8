// Construction of the cells. A node's name carries the number of features that exist before it,
// a lateral convolution's also the position and id of its input; both are part of checkpoints.
#include "model/bifpn.h"

edt_status edt_pyramid_sizes_compute(const edt_hparams *hp, edt_error *err,
                                     edt_pyramid_sizes *out_sizes)
{
    edt_pyramid_sizes sizes = {.min_level = (int)hp->min_level,
                               .max_level = (int)hp->max_level};
    if (hp->min_level < 1 || hp->min_level > 5 || hp->max_level < hp->min_level ||
        hp->max_level >= EDT_MAX_LEVEL ||
        hp->max_level - hp->min_level + 1 > EDT_HPARAMS_MAX_LEVELS) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "min_level %lld and max_level %lld: min_level must be 1 to 5 (the backbone's "
                 "levels), max_level not below it and at most %d levels in all",
                 (long long)hp->min_level, (long long)hp->max_level, EDT_HPARAMS_MAX_LEVELS);
    }
    if (hp->image_size.h < 1 || hp->image_size.w < 1) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "image_size is %lldx%lld (WxH); both sides must be positive",
                 (long long)hp->image_size.w, (long long)hp->image_size.h);
    }
    sizes.h[0] = hp->image_size.h;
    sizes.w[0] = hp->image_size.w;
    for (int l = 1; l <= sizes.max_level; l++) {
        sizes.h[l] = (sizes.h[l - 1] - 1) / 2 + 1;
        sizes.w[l] = (sizes.w[l - 1] - 1) / 2 + 1;
    }
    for (int l = sizes.min_level; l < sizes.max_level; l++) {
        const bool h_shrinks = sizes.h[l] > sizes.h[l + 1];
        const bool w_shrinks = sizes.w[l] > sizes.w[l + 1];
        if (h_shrinks != w_shrinks) {
            const long long least = 1LL << (sizes.max_level - 1);
            EDT_FAIL(
                err, EDT_ERR_USAGE,
                "image_size %lldx%lld (WxH) does not work with max_level %d: level %d is "
                "%lldx%lld and level %d %lldx%lld, so that only one axis shrinks; make both "
                "sides larger than %lld, or lower max_level",
                (long long)hp->image_size.w, (long long)hp->image_size.h, sizes.max_level, l,
                (long long)sizes.w[l], (long long)sizes.h[l], l + 1, (long long)sizes.w[l + 1],
                (long long)sizes.h[l + 1], least);
        }
    }
    *out_sizes = sizes;
    return EDT_OK;
}

// Everything a node needs besides the features.
typedef struct cell_context {
    edt_layers *layers;
    const edt_hparams *hp;
    const edt_pyramid_sizes *sizes;
    const edt_fpn_plan *plan;
    int i_cell;
} cell_context;

// What follows the fusion, whose node has applied the activation already unless the pattern is
// conv, BN, activation.
static edt_value_id combine(const cell_context *cell, const char *name, const char *path,
                            int id, edt_value_id x)
{
    edt_layers *layers = cell->layers;
    edt_graph *graph = layers->graph;
    const bool conv_first = cell->hp->conv_bn_act_pattern;
    const int64_t c = cell->hp->fpn_num_filters;
    name = edt_graph_printf(graph, "%s/op_after_combine%d", name, id);
    path = edt_graph_printf(graph, "%s/op_after_combine", path);
    const char *conv_name = edt_graph_printf(graph, "%s/conv", name);
    const char *conv_path = edt_graph_printf(graph, "%s/conv_op", path);
    if (cell->hp->separable_conv) {
        const edt_separable_spec spec = {.c_out = c,
                                         .depthwise_init = edt_init_glorot(3, 3, c, 1),
                                         .pointwise_init = edt_init_glorot(1, 1, c, c),
                                         .bias = !conv_first};
        x = edt_layer_separable(layers, conv_name, conv_path, "", x, &spec);
    } else {
        const edt_conv_spec spec = {.kernel = 3,
                                    .stride = 1,
                                    .c_out = c,
                                    .kernel_init = edt_init_glorot(3, 3, c, c),
                                    .bias = !conv_first};
        x = edt_layer_conv(layers, conv_name, conv_path, "", x, &spec);
    }
    return edt_layer_bn(layers, edt_graph_printf(graph, "%s/bn", name),
                        edt_graph_printf(graph, "%s/bn", path), "", x,
                        conv_first ? layers->act : EDT_ACT_NONE);
}

static edt_value_id build_node(const cell_context *cell, int i_node, const edt_fpn_node *node,
                               const edt_value_id *features, int n_features)
{
    edt_layers *layers = cell->layers;
    edt_graph *graph = layers->graph;
    const edt_hparams *hp = cell->hp;
    const edt_fuse_method method = cell->plan->method;
    const bool per_channel =
        method == EDT_FUSE_CHANNEL_FASTATTN || method == EDT_FUSE_CHANNEL_ATTN;
    const edt_shape weight_shape =
        per_channel ? edt_shape_1(hp->fpn_num_filters) : (edt_shape){0};
    const char *name =
        edt_graph_printf(graph, "fpn_cells/cell_%d/fnode%d", cell->i_cell, i_node);
    const char *path =
        edt_graph_printf(graph, "fpn_cells/cells/%d/fnodes/%d", cell->i_cell, i_node);
    const edt_resample_spec resample = {.h = cell->sizes->h[node->level],
                                        .w = cell->sizes->w[node->level],
                                        .c_out = hp->fpn_num_filters,
                                        .batch_norm = hp->apply_bn_for_resampling,
                                        .conv_after_downsample = hp->conv_after_downsample};
    edt_value_id in[2 * EDT_FUSE_MAX_IN];
    int n_in = 0;
    for (int j = 0; j < node->n_inputs; j++) {
        const int id = node->inputs[j];
        in[n_in++] = edt_layer_resample(
            layers, edt_graph_printf(graph, "%s/resample_%d_%d_%d", name, j, id, n_features),
            edt_graph_printf(graph, "%s/resample_layers/%d", path, j), features[id], &resample);
    }
    for (int j = 0; j < node->n_inputs && method != EDT_FUSE_SUM; j++) {
        const char *suffix = j == 0 ? "WSM" : edt_graph_printf(graph, "WSM_%d", j);
        in[n_in++] = edt_graph_param(graph, edt_graph_printf(graph, "%s/%s", name, suffix),
                                     edt_graph_printf(graph, "%s/%s", path, suffix),
                                     weight_shape, edt_init_constant(1.0), true);
    }
    const edt_act act = hp->conv_bn_act_pattern ? EDT_ACT_NONE : layers->act;
    const edt_op_attrs attrs = {.fuse_method = method,
                                .fuse_n = node->n_inputs,
                                .act = act == EDT_ACT_SRELU ? EDT_ACT_NONE : act};
    edt_value_id fused = edt_graph_op(graph, edt_graph_printf(graph, "%s/fuse", name),
                                      EDT_OP_FUSE, &attrs, n_in, in, 1);
    if (act == EDT_ACT_SRELU) {
        fused = edt_layer_act(
            layers, edt_graph_printf(graph, "%s/op_after_combine%d/act", name, n_features),
            fused, act);
    }
    return combine(cell, name, path, n_features, fused);
}

static void build_cell(const cell_context *cell, edt_value_id features[EDT_MAX_LEVEL + 1])
{
    const edt_fpn_node *nodes = cell->plan->nodes;
    edt_value_id by_id[EDT_MAX_LEVEL + EDT_HPARAMS_MAX_FPN_NODES];
    int n = 0;
    for (int l = cell->sizes->min_level; l <= cell->sizes->max_level; l++) {
        by_id[n++] = features[l];
    }
    for (int i = 0; i < cell->plan->n; i++) {
        by_id[n] = build_node(cell, i, &nodes[i], by_id, n);
        // A level's last node is its output; earlier ones are overwritten here.
        features[nodes[i].level] = by_id[n];
        n++;
    }
}

void edt_bifpn_build(edt_layers *layers, const edt_hparams *hp, const edt_fpn_plan *plan,
                     const edt_pyramid_sizes *sizes, bool keep,
                     edt_value_id features[EDT_MAX_LEVEL + 1])
{
    edt_graph *graph = layers->graph;
    const edt_resample_spec resample = {.c_out = hp->fpn_num_filters,
                                        .batch_norm = hp->apply_bn_for_resampling,
                                        .conv_after_downsample = hp->conv_after_downsample};
    for (int l = EDT_BACKBONE_TOP_LEVEL + 1; l <= sizes->max_level; l++) {
        edt_resample_spec to_level = resample;
        to_level.h = sizes->h[l];
        to_level.w = sizes->w[l];
        features[l] = edt_layer_resample(layers, edt_graph_printf(graph, "resample_p%d", l),
                                         edt_graph_printf(graph, "resample_layers/%d", l - 6),
                                         features[l - 1], &to_level);
        if (keep) {
            edt_graph_output(graph, edt_graph_printf(graph, "extra_P%d", l), features[l]);
        }
    }
    cell_context cell = {.layers = layers, .hp = hp, .sizes = sizes, .plan = plan};
    for (cell.i_cell = 0; cell.i_cell < hp->fpn_cell_repeats; cell.i_cell++) {
        edt_graph_segment_begin(graph);
        build_cell(&cell, features);
        edt_graph_segment_end(graph);
        for (int l = sizes->min_level; keep && l <= sizes->max_level; l++) {
            edt_graph_output(graph, edt_graph_printf(graph, "cell%d_P%d", cell.i_cell, l),
                             features[l]);
        }
    }
}
