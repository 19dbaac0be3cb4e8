// Moving a feature map to another level: optional 1x1 convolution to the wanted width, then max
// pooling or nearest-neighbour enlargement (spec/model.md 2.2).
#include "model/layers.h"

static edt_value_id lateral(edt_layers *layers, const char *name, const char *path,
                            edt_value_id x, const edt_resample_spec *spec)
{
    edt_graph *graph = layers->graph;
    const int64_t c_in = edt_graph_shape(graph, x).dim[3];
    if (c_in == spec->c_out) {
        return x;
    }
    const edt_conv_spec conv = {.kernel = 1,
                                .stride = 1,
                                .c_out = spec->c_out,
                                .kernel_init = edt_init_glorot(1, 1, c_in, spec->c_out),
                                .bias = true};
    x = edt_layer_conv(layers, edt_graph_printf(graph, "%s/conv2d", name),
                       edt_graph_printf(graph, "%s/conv2d", path), "", x, &conv);
    if (spec->batch_norm) {
        x = edt_layer_bn(layers, edt_graph_printf(graph, "%s/bn", name),
                         edt_graph_printf(graph, "%s/bn", path), "", x, EDT_ACT_NONE);
    }
    return x;
}

edt_value_id edt_layer_resample(edt_layers *layers, const char *name, const char *path,
                                edt_value_id x, const edt_resample_spec *spec)
{
    edt_graph *graph = layers->graph;
    if (graph->status != EDT_OK) {
        return EDT_NO_VALUE;
    }
    const int64_t h = edt_graph_shape(graph, x).dim[1];
    const int64_t w = edt_graph_shape(graph, x).dim[2];
    if (h > spec->h && w > spec->w) {
        if (!spec->conv_after_downsample) {
            x = lateral(layers, name, path, x, spec);
        }
        const int sh = (int)((h - 1) / spec->h + 1);
        const int sw = (int)((w - 1) / spec->w + 1);
        const edt_op_attrs attrs = {.conv = {.kh = sh + 1, .kw = sw + 1, .sh = sh, .sw = sw}};
        x = edt_graph_op(graph, edt_graph_printf(graph, "%s/max_pool", name), EDT_OP_MAX_POOL,
                         &attrs, 1, &x, layers->train ? 2 : 1);
        if (spec->conv_after_downsample) {
            x = lateral(layers, name, path, x, spec);
        }
        return x;
    }
    if (h > spec->h || w > spec->w) {
        edt_graph_fail(
            graph, EDT_ERR_USAGE,
            "%s: a map of %lldx%lld cannot be reduced to %lldx%lld along one axis only", name,
            (long long)h, (long long)w, (long long)spec->h, (long long)spec->w);
        return EDT_NO_VALUE;
    }
    x = lateral(layers, name, path, x, spec);
    if (h < spec->h || w < spec->w) {
        const int64_t n = edt_graph_shape(graph, x).dim[0];
        const edt_op_attrs attrs = {.out_shape = edt_shape_4(n, spec->h, spec->w, spec->c_out)};
        x = edt_graph_op(graph, edt_graph_printf(graph, "%s/nearest", name),
                         EDT_OP_RESIZE_NEAREST, &attrs, 1, &x, 1);
    }
    return x;
}
