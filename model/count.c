// Counting walks the graph; fused and backward nodes are told apart by kind and mark.
#include "model/count.h"

// Operations that the profiler sees in an activation of one element: products, sums, quotients
// and logarithms, but neither sigmoid, tanh and softplus nor relu.
static int64_t of_act(edt_act act)
{
    switch (act) {
    case EDT_ACT_SWISH:
    case EDT_ACT_MISH: return 1;
    case EDT_ACT_HSWISH: return 3;
    case EDT_ACT_SRELU: return 5;
    default: return 0;
    }
}

// Weights first (each input divides by the sum plus a constant of its own), then the sum of
// weighted inputs.
static int64_t of_fusion(const edt_op_attrs *attrs, int64_t n, int64_t n_weights)
{
    const int64_t m = attrs->fuse_n;
    switch (attrs->fuse_method) {
    case EDT_FUSE_SUM: return (m - 1) * n;
    case EDT_FUSE_FASTATTN:
    case EDT_FUSE_CHANNEL_FASTATTN: return (2 * m - 1) * n_weights + (3 * m - 1) * n;
    default: return 4 * m * n_weights + (2 * m - 1) * n;
    }
}

int64_t edt_count_profiled_node(const edt_graph *graph, int i_node)
{
    edt_op_desc desc;
    edt_graph_describe(graph, i_node, &desc);
    const int64_t n_in = edt_shape_count(&desc.in[0].shape);
    const int64_t n = edt_shape_count(&desc.out[0].shape);
    const edt_op_attrs *attrs = &desc.attrs;
    switch (desc.kind) {
    case EDT_OP_CONV2D: return 2 * edt_op_conv_macs(&desc) + (desc.n_in > 2 ? n : 0);
    case EDT_OP_BN_TRAIN:
    case EDT_OP_BN_INFER:
    case EDT_OP_BN_APPLY: return of_act(attrs->bn.act) * n;
    case EDT_OP_ACT: return of_act(attrs->act) * n;
    case EDT_OP_SRELU: return of_act(EDT_ACT_SRELU) * n;
    case EDT_OP_GLOBAL_AVG_POOL: return n_in;
    case EDT_OP_MAX_POOL: return attrs->conv.kh * attrs->conv.kw * n;
    case EDT_OP_SCALE_CHANNELS:
    case EDT_OP_ADD:
    case EDT_OP_BIAS: return n;
    case EDT_OP_FUSE: {
        const int64_t n_weights =
            desc.n_in > attrs->fuse_n ? edt_shape_count(&desc.in[attrs->fuse_n].shape) : 0;
        return of_fusion(attrs, n, n_weights) + of_act(attrs->act) * n;
    }
    default: return 2 * edt_op_conv_macs(&desc);
    }
}

int64_t edt_count_profiled_variable(const edt_param *param)
{
    // A product with the scale and a sum with the mean for each value; a uniform draw has the
    // width of its range beside them.
    const int64_t n = edt_shape_count(&param->shape);
    switch (param->init.kind) {
    case EDT_INIT_CONSTANT: return 0;
    case EDT_INIT_UNIFORM: return 2 * n + 1;
    default: return 2 * n;
    }
}

void edt_count_graph(const edt_graph *graph, edt_model_count *out_count)
{
    edt_model_count count = {.n_variables = graph->n_params};
    for (int i = 0; i < graph->n_params; i++) {
        const int64_t n = edt_shape_count(&graph->params[i].shape);
        if (graph->params[i].trainable) {
            count.n_trainable += n;
        } else {
            count.n_moving += n;
        }
        count.profiled += edt_count_profiled_variable(&graph->params[i]);
    }
    for (int i = 0; i < graph->n_nodes; i++) {
        if (!graph->nodes[i].backward) {
            edt_op_desc desc;
            edt_graph_describe(graph, i, &desc);
            count.forward_macs += edt_op_conv_macs(&desc);
            count.profiled += edt_count_profiled_node(graph, i);
        }
    }
    *out_count = count;
}
