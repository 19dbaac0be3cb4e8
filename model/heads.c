// One head at one level; variables are asked for by name, so levels share them.
#include "model/heads.h"

typedef struct head_names {
    const char *net, *layer, *predict;
} head_names;

static const head_names names_of[] = {
    [EDT_HEAD_CLASS] = {"class_net", "class", "classes"},
    [EDT_HEAD_BOX] = {"box_net", "box", "boxes"},
};

int edt_heads_drop_rows(const edt_hparams *hp)
{
    if (hp->survival_prob <= 0.0 || hp->survival_prob >= 1.0 || hp->box_class_repeats < 2) {
        return 0;
    }
    const int64_t n_levels = hp->max_level - hp->min_level + 1;
    return (int)(2 * n_levels * (hp->box_class_repeats - 1));
}

static edt_value_id convolve(edt_layers *layers, const edt_hparams *hp, const char *name,
                             const char *path, const char *at, edt_value_id x, int64_t c_out,
                             double bias)
{
    const int64_t c_in = hp->fpn_num_filters;
    if (!hp->separable_conv) {
        const edt_conv_spec spec = {.kernel = 3,
                                    .stride = 1,
                                    .c_out = c_out,
                                    .kernel_init = edt_init_normal(0.01),
                                    .bias_init = edt_init_constant(bias),
                                    .bias = true};
        return edt_layer_conv(layers, name, path, at, x, &spec);
    }
    const edt_separable_spec spec = {.c_out = c_out,
                                     .depthwise_init = edt_init_scaled_fan_in(9 * c_in),
                                     .pointwise_init = edt_init_scaled_fan_in(c_in),
                                     .bias_init = edt_init_constant(bias),
                                     .bias = true};
    return edt_layer_separable(layers, name, path, at, x, &spec);
}

edt_value_id edt_head_build(edt_layers *layers, const edt_hparams *hp, edt_head_kind kind,
                            int level, int64_t c_out, edt_value_id feature)
{
    edt_graph *graph = layers->graph;
    const head_names names = names_of[kind];
    const char *at = edt_graph_printf(graph, "@%d", level);
    edt_value_id x = feature;
    for (int r = 0; r < hp->box_class_repeats; r++) {
        const char *name = edt_graph_printf(graph, "%s/%s-%d", names.net, names.layer, r);
        edt_graph_segment_begin(graph);
        edt_value_id y =
            convolve(layers, hp, name, edt_graph_printf(graph, "%s/conv_ops/%d", names.net, r),
                     at, x, hp->fpn_num_filters, 0.0);
        y = edt_layer_bn(
            layers, edt_graph_printf(graph, "%s-bn-%d", name, level),
            edt_graph_printf(graph, "%s/bns/%d/%d", names.net, r, level - (int)hp->min_level),
            "", y, layers->act);
        if (r > 0 && hp->survival_prob > 0.0) {
            y = edt_layer_drop_connect(layers, edt_graph_printf(graph, "%s/drop%s", name, at),
                                       y, hp->survival_prob);
            y = edt_layer_add(layers, edt_graph_printf(graph, "%s/add%s", name, at), y, x);
        }
        edt_graph_segment_end(graph);
        x = y;
    }
    // A new detector starts by calling every anchor background: probability 0.01
    // (RetinaNet 3.3).
    const double bias = kind == EDT_HEAD_CLASS ? -4.59511985013459 : 0.0;
    return convolve(
        layers, hp, edt_graph_printf(graph, "%s/%s-predict", names.net, names.layer),
        edt_graph_printf(graph, "%s/%s", names.net, names.predict), at, x, c_out, bias);
}
