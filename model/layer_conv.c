// Convolution, batch norm and what is made of them. Biases come after their kernels so that the
// order of variables inside a layer is Keras' own.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/layers.h"

edt_init edt_init_constant(double value)
{
    return (edt_init){.kind = EDT_INIT_CONSTANT, .a = value};
}

edt_init edt_init_he_fan_out(int64_t kh, int64_t kw, int64_t shape3)
{
    return (edt_init){.kind = EDT_INIT_NORMAL, .a = sqrt(2.0 / (double)(kh * kw * shape3))};
}

edt_init edt_init_glorot(int64_t kh, int64_t kw, int64_t shape2, int64_t shape3)
{
    const double fans = (double)(kh * kw * (shape2 + shape3));
    return (edt_init){.kind = EDT_INIT_UNIFORM, .a = sqrt(6.0 / fans)};
}

edt_init edt_init_scaled_fan_in(int64_t fan_in)
{
    // The divisor is the standard deviation of a unit normal cut at 2 sigma.
    return (edt_init){.kind = EDT_INIT_TRUNCATED_NORMAL,
                      .a = sqrt(1.0 / (double)fan_in) / 0.87962566103423978};
}

edt_init edt_init_normal(double std)
{
    return (edt_init){.kind = EDT_INIT_NORMAL, .a = std};
}

static edt_value_id variable(edt_layers *layers, const char *name, const char *path,
                             const char *suffix, edt_shape shape, edt_init init, bool trainable)
{
    edt_graph *graph = layers->graph;
    return edt_graph_param(graph, edt_graph_printf(graph, "%s/%s", name, suffix),
                           edt_graph_printf(graph, "%s/%s", path, suffix), shape, init,
                           trainable);
}

// A kernel or a bias: convolutions read it as the graph's real type.
static edt_value_id weight(edt_layers *layers, const char *name, const char *path,
                           const char *suffix, edt_shape shape, edt_init init)
{
    edt_graph *graph = layers->graph;
    return edt_graph_weight(graph, edt_graph_printf(graph, "%s/%s", name, suffix),
                            edt_graph_printf(graph, "%s/%s", path, suffix), shape, init, true);
}

static edt_value_id conv_node(edt_layers *layers, const char *node_name, edt_value_id x,
                              edt_value_id kernel, edt_value_id bias, int size, int stride)
{
    const edt_value_id in[3] = {x, kernel, bias};
    const edt_op_attrs attrs = {.conv = {.kh = size,
                                         .kw = size,
                                         .sh = stride,
                                         .sw = stride,
                                         .has_bias = bias != EDT_NO_VALUE}};
    return edt_graph_op(layers->graph, node_name, EDT_OP_CONV2D, &attrs,
                        bias != EDT_NO_VALUE ? 3 : 2, in, 1);
}

edt_value_id edt_layer_conv(edt_layers *layers, const char *name, const char *path,
                            const char *at, edt_value_id x, const edt_conv_spec *spec)
{
    edt_graph *graph = layers->graph;
    const int64_t c_in = edt_graph_shape(graph, x).dim[3];
    const edt_value_id kernel =
        weight(layers, name, path, "kernel",
               edt_shape_4(spec->kernel, spec->kernel, c_in, spec->c_out), spec->kernel_init);
    const edt_value_id bias = spec->bias ? weight(layers, name, path, "bias",
                                                  edt_shape_1(spec->c_out), spec->bias_init)
                                         : EDT_NO_VALUE;
    return conv_node(layers, edt_graph_printf(graph, "%s%s", name, at), x, kernel, bias,
                     spec->kernel, spec->stride);
}

edt_value_id edt_layer_conv_transpose(edt_layers *layers, const char *name, const char *path,
                                      edt_value_id x, const edt_conv_spec *spec)
{
    edt_graph *graph = layers->graph;
    const edt_shape in_shape = edt_graph_shape(graph, x);
    const edt_value_id kernel =
        weight(layers, name, path, "kernel",
               edt_shape_4(spec->kernel, spec->kernel, spec->c_out, in_shape.dim[3]),
               spec->kernel_init);
    const edt_value_id in[2] = {x, kernel};
    const edt_op_attrs attrs = {.conv = {.kh = spec->kernel,
                                         .kw = spec->kernel,
                                         .sh = spec->stride,
                                         .sw = spec->stride},
                                .out_shape =
                                    edt_shape_4(in_shape.dim[0], in_shape.dim[1] * spec->stride,
                                                in_shape.dim[2] * spec->stride, spec->c_out)};
    const edt_value_id y = edt_graph_op(graph, name, EDT_OP_CONV2D_DATA, &attrs, 2, in, 1);
    if (!spec->bias) {
        return y;
    }
    const edt_value_id bias_in[2] = {
        y, weight(layers, name, path, "bias", edt_shape_1(spec->c_out), (edt_init){0})};
    return edt_graph_op(graph, edt_graph_printf(graph, "%s/add_bias", name), EDT_OP_BIAS, NULL,
                        2, bias_in, 1);
}

static edt_value_id depthwise_node(edt_layers *layers, const char *node_name, edt_value_id x,
                                   edt_value_id kernel, int size, int stride)
{
    const edt_value_id in[2] = {x, kernel};
    const edt_op_attrs attrs = {.conv = {.kh = size, .kw = size, .sh = stride, .sw = stride}};
    return edt_graph_op(layers->graph, node_name, EDT_OP_DEPTHWISE, &attrs, 2, in, 1);
}

edt_value_id edt_layer_depthwise(edt_layers *layers, const char *name, const char *path,
                                 const char *at, edt_value_id x, int kernel, int stride,
                                 edt_init init)
{
    edt_graph *graph = layers->graph;
    const int64_t c = edt_graph_shape(graph, x).dim[3];
    const edt_value_id w =
        weight(layers, name, path, "depthwise_kernel", edt_shape_4(kernel, kernel, c, 1), init);
    return depthwise_node(layers, edt_graph_printf(graph, "%s%s", name, at), x, w, kernel,
                          stride);
}

edt_value_id edt_layer_separable(edt_layers *layers, const char *name, const char *path,
                                 const char *at, edt_value_id x, const edt_separable_spec *spec)
{
    edt_graph *graph = layers->graph;
    const int64_t c_in = edt_graph_shape(graph, x).dim[3];
    const edt_value_id depthwise = weight(layers, name, path, "depthwise_kernel",
                                          edt_shape_4(3, 3, c_in, 1), spec->depthwise_init);
    const edt_value_id pointwise =
        weight(layers, name, path, "pointwise_kernel", edt_shape_4(1, 1, c_in, spec->c_out),
               spec->pointwise_init);
    const edt_value_id bias = spec->bias ? weight(layers, name, path, "bias",
                                                  edt_shape_1(spec->c_out), spec->bias_init)
                                         : EDT_NO_VALUE;
    const edt_value_id mid = depthwise_node(
        layers, edt_graph_printf(graph, "%s/depthwise%s", name, at), x, depthwise, 3, 1);
    return conv_node(layers, edt_graph_printf(graph, "%s/pointwise%s", name, at), mid,
                     pointwise, bias, 1, 1);
}

edt_value_id edt_layer_bn(edt_layers *layers, const char *name, const char *path,
                          const char *at, edt_value_id x, edt_act act)
{
    edt_graph *graph = layers->graph;
    const edt_shape shape = edt_shape_1(edt_graph_shape(graph, x).dim[3]);
    const edt_init zeros = edt_init_constant(0.0);
    const edt_init ones = edt_init_constant(1.0);
    const edt_value_id gamma = variable(layers, name, path, "gamma", shape, ones, true);
    const edt_value_id beta = variable(layers, name, path, "beta", shape, zeros, true);
    const edt_value_id mm = variable(layers, name, path, "moving_mean", shape, zeros, false);
    const edt_value_id mv = variable(layers, name, path, "moving_variance", shape, ones, false);
    const char *node_name = edt_graph_printf(graph, "%s%s", name, at);
    if (act == EDT_ACT_SRELU) {
        x = edt_layer_bn(layers, name, path, at, x, EDT_ACT_NONE);
        return edt_layer_act(layers, node_name, x, act);
    }
    const bool batch_statistics = layers->train && !layers->freeze_bn;
    const bool synchronised = batch_statistics && layers->bn_ranks > 0;
    edt_op_attrs attrs = {
        .bn = {.epsilon = 1e-3,
               .momentum = 0.99,
               .act = act,
               .biased_moving_variance = layers->biased_moving_variance || synchronised,
               .n_ranks = synchronised ? layers->bn_ranks : 0}};
    if (!synchronised) {
        const edt_value_id in[5] = {x, gamma, beta, mm, mv};
        return edt_graph_op(graph, node_name,
                            batch_statistics ? EDT_OP_BN_TRAIN : EDT_OP_BN_INFER, &attrs, 5, in,
                            batch_statistics ? 3 : 1);
    }
    const edt_value_id stats_in[2] = {x, mm};
    attrs.reduce_over_ranks = true;
    const edt_value_id sums =
        edt_graph_op(graph, edt_graph_printf(graph, "%s/stats%s", name, at), EDT_OP_BN_STATS,
                     &attrs, 2, stats_in, 1);
    const edt_value_id in[6] = {x, sums, gamma, beta, mm, mv};
    attrs.reduce_over_ranks = false;
    return edt_graph_op(graph, node_name, EDT_OP_BN_APPLY, &attrs, 6, in, 3);
}

static edt_value_id srelu(edt_layers *layers, const char *name, edt_value_id x)
{
    edt_graph *graph = layers->graph;
    const char *last = strrchr(name, '/');
    const int n_scope = last == NULL ? 0 : (int)(last - name);
    char scope[512] = "";
    char variable_name[560] = "";
    for (int i = 0; i == 0 || edt_graph_find_param(graph, variable_name) >= 0; i++) {
        char suffix[16] = "";
        if (i > 0) {
            (void)snprintf(suffix, sizeof suffix, "_%d", i);
        }
        (void)snprintf(scope, sizeof scope, "%.*s/srelu%s", n_scope, name, suffix);
        (void)snprintf(variable_name, sizeof variable_name, "%s/srelu_beta", scope);
    }
    const edt_value_id in[2] = {x, edt_graph_param(graph, variable_name, NULL, (edt_shape){0},
                                                   edt_init_constant(20.0), true)};
    return edt_graph_op(graph, scope, EDT_OP_SRELU, NULL, 2, in, 1);
}

edt_value_id edt_layer_act(edt_layers *layers, const char *name, edt_value_id x, edt_act act)
{
    if (act == EDT_ACT_SRELU) {
        return srelu(layers, name, x);
    }
    if (act == EDT_ACT_NONE) {
        return x;
    }
    const edt_op_attrs attrs = {.act = act};
    return edt_graph_op(layers->graph, name, EDT_OP_ACT, &attrs, 1, &x, 1);
}

edt_value_id edt_layer_add(edt_layers *layers, const char *name, edt_value_id a, edt_value_id b)
{
    const edt_value_id in[2] = {a, b};
    return edt_graph_op(layers->graph, name, EDT_OP_ADD, NULL, 2, in, 1);
}

edt_value_id edt_layer_squeeze_excite(edt_layers *layers, const char *name, const char *path,
                                      edt_value_id x, int64_t c_reduced)
{
    edt_graph *graph = layers->graph;
    const int64_t c = edt_graph_shape(graph, x).dim[3];
    const edt_value_id mean = edt_graph_op(graph, edt_graph_printf(graph, "%s/mean", name),
                                           EDT_OP_GLOBAL_AVG_POOL, NULL, 1, &x, 1);
    const edt_conv_spec reduce = {.kernel = 1,
                                  .stride = 1,
                                  .c_out = c_reduced,
                                  .kernel_init = edt_init_he_fan_out(1, 1, c_reduced),
                                  .bias = true};
    const edt_conv_spec expand = {.kernel = 1,
                                  .stride = 1,
                                  .c_out = c,
                                  .kernel_init = edt_init_he_fan_out(1, 1, c),
                                  .bias = true};
    edt_value_id s =
        edt_layer_conv(layers, edt_graph_printf(graph, "%s/conv2d", name),
                       edt_graph_printf(graph, "%s/_se_reduce", path), "", mean, &reduce);
    s = edt_layer_act(layers, edt_graph_printf(graph, "%s/act", name), s, layers->act);
    s = edt_layer_conv(layers, edt_graph_printf(graph, "%s/conv2d_1", name),
                       edt_graph_printf(graph, "%s/_se_expand", path), "", s, &expand);
    s = edt_layer_act(layers, edt_graph_printf(graph, "%s/gate", name), s, EDT_ACT_SIGMOID);
    const edt_value_id in[2] = {x, s};
    return edt_graph_op(graph, edt_graph_printf(graph, "%s/excite", name),
                        EDT_OP_SCALE_CHANNELS, NULL, 2, in, 1);
}

edt_value_id edt_layer_drop_connect(edt_layers *layers, const char *name, edt_value_id x,
                                    double survival)
{
    if (!layers->train || layers->drop_u == EDT_NO_VALUE || survival >= 1.0) {
        return x;
    }
    const edt_value_id in[2] = {x, layers->drop_u};
    const edt_op_attrs attrs = {.drop_survival = survival, .drop_row = layers->next_drop_row++};
    return edt_graph_op(layers->graph, name, EDT_OP_DROP_CONNECT, &attrs, 2, in, 1);
}
