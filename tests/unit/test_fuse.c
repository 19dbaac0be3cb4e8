// Which nodes fusion makes of small graphs on ref, which takes every fused op, and what it
// leaves alone: values that are named outputs or have another reader.
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "model/autodiff.h"
#include "model/fuse.h"

#define OK(expr) cr_assert_eq((expr), EDT_OK, "%s", err.text)

static edt_backend *backend;
static edt_graph *graph;

static void begin(void)
{
    edt_error err = {0};
    OK(edt_backend_ref_create(&err, &backend));
    OK(edt_graph_create(EDT_DTYPE_F32, &err, &graph));
}

static void end(void)
{
    edt_graph_destroy(graph);
    edt_backend_destroy(&backend);
}

TestSuite(fuse, .init = begin, .fini = end, .timeout = 30);

static edt_value_id input(const char *name, edt_shape shape)
{
    return edt_graph_input(graph, name, EDT_DTYPE_F32, shape);
}

static edt_value_id op(const char *name, edt_op_kind kind, const edt_op_attrs *attrs,
                       edt_value_id a, edt_value_id b)
{
    const edt_value_id in[2] = {a, b};
    return edt_graph_op(graph, name, kind, attrs, b == EDT_NO_VALUE ? 1 : 2, in, 1);
}

// A dense 1x1 or depthwise 3x3 convolution of x, 8 channels out.
static edt_value_id conv(const char *name, edt_op_kind kind, edt_value_id x, int64_t channels,
                         int stride)
{
    const int side = kind == EDT_OP_DEPTHWISE ? 3 : 1;
    const edt_init init = {.kind = EDT_INIT_CONSTANT};
    const edt_op_attrs attrs = {.conv = {.kh = side, .kw = side, .sh = stride, .sw = stride}};
    const edt_value_id kernel = edt_graph_param(
        graph, edt_graph_printf(graph, "%s/kernel", name), NULL,
        edt_shape_4(side, side, channels, kind == EDT_OP_DEPTHWISE ? 1 : 8), init, true);
    return op(name, kind, &attrs, x, kernel);
}

// Over 8 channels.
static edt_value_id bn(const char *name, edt_op_kind kind, edt_value_id x, edt_act act)
{
    static const char *const names[4] = {"gamma", "beta", "mean", "variance"};
    const edt_init init = {.kind = EDT_INIT_CONSTANT};
    const edt_op_attrs attrs = {.bn = {.epsilon = 1e-3, .momentum = 0.99, .act = act}};
    edt_value_id in[5] = {x};
    for (int i = 0; i < 4; i++) {
        in[1 + i] = edt_graph_param(graph, edt_graph_printf(graph, "%s/%s", name, names[i]),
                                    NULL, edt_shape_1(8), init, i < 2);
    }
    return edt_graph_op(graph, name, kind, &attrs, 5, in, kind == EDT_OP_BN_TRAIN ? 3 : 1);
}

// Nodes of a kind after fusion.
static int left(edt_op_kind kind)
{
    edt_error err = {0};
    edt_node nodes[16];
    bool dead[16] = {false};
    int n_fused = 0, n = 0;
    OK(edt_graph_status(graph, &err));
    cr_assert_leq(graph->n_nodes, 16);
    memcpy(nodes, graph->nodes, (size_t)graph->n_nodes * sizeof *nodes);
    OK(edt_fuse_nodes(graph, backend, nodes, dead, &err, &n_fused));
    for (int i = 0; i < graph->n_nodes; i++) {
        n += !dead[i] && nodes[i].kind == kind;
    }
    return n;
}

Test(fuse, pooling_joins_the_depthwise_convolution_before_it)
{
    const edt_value_id x = input("x", edt_shape_4(2, 4, 4, 8));
    const edt_value_id y =
        bn("bn", EDT_OP_BN_INFER, conv("conv", EDT_OP_DEPTHWISE, x, 8, 1), EDT_ACT_NONE);
    const edt_value_id mean = op("pool", EDT_OP_GLOBAL_AVG_POOL, NULL, y, EDT_NO_VALUE);
    edt_graph_output(graph, "z", op("scale", EDT_OP_SCALE_CHANNELS, NULL, y, mean));
    cr_expect_eq(left(EDT_OP_DEPTHWISE_BN_ACT), 1);
    cr_expect_eq(left(EDT_OP_GLOBAL_AVG_POOL), 0);
    edt_graph_output(graph, "mean", mean); // still computed
    cr_expect_eq(left(EDT_OP_GLOBAL_AVG_POOL), 0);
}

Test(fuse, a_gate_joins_the_convolution_behind_it)
{
    const edt_value_id scaled =
        op("scale", EDT_OP_SCALE_CHANNELS, NULL, input("x", edt_shape_4(1, 4, 4, 8)),
           input("gate", edt_shape_4(1, 1, 1, 8)));
    edt_graph_output(
        graph, "y",
        bn("bn", EDT_OP_BN_INFER, conv("conv", EDT_OP_CONV2D, scaled, 8, 1), EDT_ACT_NONE));
    cr_expect_eq(left(EDT_OP_CONV2D_BN_ACT), 1);
    cr_expect_eq(left(EDT_OP_SCALE_CHANNELS), 0);
    edt_graph_output(graph, "scaled", scaled);
    cr_expect_eq(left(EDT_OP_CONV2D_BN_ACT), 1);
    cr_expect_eq(left(EDT_OP_SCALE_CHANNELS), 1);
}

// A 1x1 convolution and a depthwise one behind it, with these activations.
static edt_value_id chain(edt_act first, edt_act second)
{
    const edt_value_id x = input("x", edt_shape_4(2, 6, 4, 3));
    const edt_value_id y =
        bn("bn_1", EDT_OP_BN_INFER, conv("conv", EDT_OP_CONV2D, x, 3, 1), first);
    edt_graph_output(
        graph, "z",
        bn("bn_2", EDT_OP_BN_INFER, conv("depthwise", EDT_OP_DEPTHWISE, y, 8, 2), second));
    return y;
}

static void expect_chains(int n)
{
    cr_expect_eq(left(EDT_OP_CONV2D_DEPTHWISE_BN_ACT), n);
    cr_expect_eq(left(EDT_OP_CONV2D_BN_ACT), 1 - n);
}

Test(fuse, a_convolution_joins_the_depthwise_one_behind_it)
{
    const edt_value_id y = chain(EDT_ACT_SWISH, EDT_ACT_SWISH);
    expect_chains(1);
    edt_graph_output(graph, "y", y);
    expect_chains(0);
}

Test(fuse, convolutions_of_two_activations_stay_apart)
{
    chain(EDT_ACT_SWISH, EDT_ACT_NONE);
    expect_chains(0);
}

static bool no_chains(const edt_backend *of, const edt_op_desc *desc)
{
    (void)of;
    return desc->kind != EDT_OP_CONV2D_DEPTHWISE_BN_ACT;
}

Test(fuse, a_backend_says_what_is_worthwhile)
{
    const edt_backend_table *whole = backend->table;
    edt_backend_table table = *whole;
    table.worthwhile = no_chains;
    backend->table = &table;
    chain(EDT_ACT_SWISH, EDT_ACT_SWISH);
    expect_chains(0);
    backend->table = whole;
}

// Of squeeze-and-excitation's gradient only sums are left to the ops that scaled and pooled.
Test(fuse, a_gates_gradient_joins_the_batch_norm_before_it)
{
    edt_error err = {0};
    const edt_shape shape = edt_shape_4(2, 4, 4, 8);
    const edt_value_id y = bn("bn", EDT_OP_BN_TRAIN, input("x", shape), EDT_ACT_NONE);
    const edt_op_attrs act = {.act = EDT_ACT_SIGMOID};
    const edt_value_id mean = op("pool", EDT_OP_GLOBAL_AVG_POOL, NULL, y, EDT_NO_VALUE);
    const edt_value_id gate = op("gate", EDT_OP_ACT, &act, mean, EDT_NO_VALUE);
    const edt_grad_seed seed = {.value = op("scale", EDT_OP_SCALE_CHANNELS, NULL, y, gate),
                                .grad = input("dz", shape)};
    OK(edt_autodiff(graph, 1, &seed, NULL, false, &err));
    cr_expect_eq(left(EDT_OP_BN_TRAIN_BWD), 1);
    cr_expect_eq(left(EDT_OP_SCALE_CHANNELS_BWD), 1);
    cr_expect_eq(left(EDT_OP_GLOBAL_AVG_POOL_BWD), 0);
    cr_expect_eq(left(EDT_OP_ADD), 0);
    for (int i = 0; i < graph->n_nodes; i++) {
        if (graph->nodes[i].kind == EDT_OP_GLOBAL_AVG_POOL_BWD) {
            edt_graph_output(graph, "dmean", graph->nodes[i].out[0]);
        }
    }
    cr_expect_eq(left(EDT_OP_GLOBAL_AVG_POOL_BWD), 1);
    cr_expect_eq(left(EDT_OP_ADD), 1);
}

Test(fuse, named_outputs_are_not_swallowed)
{
    const edt_value_id x = input("x", edt_shape_4(1, 4, 4, 8));
    const edt_value_id y = conv("conv", EDT_OP_CONV2D, x, 8, 1);
    const edt_value_id z = bn("bn", EDT_OP_BN_INFER, y, EDT_ACT_NONE);
    edt_graph_output(graph, "sum", op("add", EDT_OP_ADD, NULL, z, x));
    cr_expect_eq(left(EDT_OP_CONV2D_BN_ACT), 1);
    cr_expect_eq(left(EDT_OP_ADD), 0);
    edt_graph_output(graph, "z", z);
    cr_expect_eq(left(EDT_OP_CONV2D_BN_ACT), 1);
    cr_expect_eq(left(EDT_OP_ADD), 1);
    edt_graph_output(graph, "y", y);
    cr_expect_eq(left(EDT_OP_CONV2D_BN_ACT), 0);
    cr_expect_eq(left(EDT_OP_BN_INFER), 1);
}
