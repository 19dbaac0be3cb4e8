// Gradient builders, one per op kind, and the reverse sweep that calls them. Contributions to a
// value's gradient are collected while its readers are visited (they all come later in the
// graph) and added up when its producer is reached.
#include "model/autodiff.h"

#include <string.h>

typedef struct contribution {
    edt_value_id grad;
    int next; // index, -1: last
} contribution;

typedef struct differ {
    edt_graph *graph;
    int n_values;  // of the forward graph; values made by the sweep need no gradient
    bool *needs;   // by value: depends on a wanted parameter (or is one)
    bool *written; // by parameter: some node writes its gradient already
    bool accumulate;
    int *first; // by value: newest contribution, -1: none
    contribution *contributions;
    int n_contributions, cap_contributions;
} differ;

// Appends the nodes that turn `dy` (gradient of output 0) into gradients of the inputs.
typedef void (*gradient_builder)(differ *d, const edt_node *node, edt_value_id dy);

static void contribute(differ *d, edt_value_id value, edt_value_id grad)
{
    if (d->graph->status != EDT_OK || value >= d->n_values || !d->needs[value] || grad < 0) {
        return;
    }
    if (d->n_contributions == d->cap_contributions) {
        edt_graph_fail(d->graph, EDT_ERR_INTERNAL, "more gradient contributions than operands");
        return;
    }
    d->contributions[d->n_contributions] =
        (contribution){.grad = grad, .next = d->first[value]};
    d->first[value] = d->n_contributions++;
}

static bool wanted(const differ *d, edt_value_id value)
{
    return value < d->n_values && d->needs[value];
}

// Where a backward node writes the gradient of operand `value`: absent, a new activation or the
// parameter's own gradient, in which case the node accumulates unless it is the first writer.
static edt_value_id target(differ *d, edt_value_id value, edt_op_attrs *attrs)
{
    if (!wanted(d, value)) {
        return EDT_NO_VALUE;
    }
    const edt_value *v = &d->graph->values[value];
    if (v->role != EDT_VALUE_PARAM) {
        return EDT_GRAPH_NEW;
    }
    const int i_param = v->i_param;
    attrs->accumulate = d->accumulate || d->written[i_param];
    return edt_graph_param_grad(d->graph, i_param);
}

// Appends a backward node whose outputs are, after `lead` (EDT_GRAPH_NEW, EDT_NO_VALUE; NULL:
// there is no such output), the gradients of `operands`; absent ones are left out. *lead
// becomes the value's id. All parameters among the operands must be first or later writes
// together, as the op has one accumulate flag: they belong to one layer, so they are.
static void emit_after(differ *d, const edt_node *node, edt_op_kind kind, const char *what,
                       const edt_op_attrs *base, int n_in, const edt_value_id *in,
                       edt_value_id *lead, int n_operands, const edt_value_id *operands)
{
    edt_graph *graph = d->graph;
    if (graph->status != EDT_OK) {
        return;
    }
    edt_op_attrs attrs = *base;
    attrs.accumulate = false;
    edt_value_id all[EDT_OP_MAX_OUT];
    const int n_lead = lead != NULL ? 1 : 0;
    edt_value_id *out = all + n_lead;
    int n_written = 0;
    int n_params = 0;
    bool any = lead != NULL && *lead != EDT_NO_VALUE;
    if (lead != NULL) {
        all[0] = *lead;
    }
    for (int i = 0; i < n_operands; i++) {
        out[i] = target(d, operands[i], &attrs);
        any = any || out[i] != EDT_NO_VALUE;
        if (out[i] >= 0) {
            n_params++;
            n_written += d->written[graph->values[operands[i]].i_param];
        }
    }
    if (!any || graph->status != EDT_OK) {
        return;
    }
    if (n_written != 0 && n_written != n_params) {
        edt_graph_fail(graph, EDT_ERR_INTERNAL,
                       "node '%s': its variables are shared with different nodes", node->name);
        return;
    }
    const char *name = edt_graph_printf(graph, "d:%s%s", node->name, what);
    const int i_node =
        edt_graph_op_into(graph, name, kind, &attrs, n_in, in, n_lead + n_operands, all);
    if (i_node < 0) {
        return;
    }
    if (lead != NULL) {
        *lead = all[0];
    }
    graph->nodes[i_node].backward = true;
    for (int i = 0; i < n_operands; i++) {
        if (out[i] == EDT_NO_VALUE) {
            continue;
        }
        const edt_value *operand = &graph->values[operands[i]];
        if (operand->role == EDT_VALUE_PARAM) {
            d->written[operand->i_param] = true;
        } else {
            contribute(d, operands[i], out[i]);
        }
    }
}

static void emit(differ *d, const edt_node *node, edt_op_kind kind, const char *what,
                 const edt_op_attrs *base, int n_in, const edt_value_id *in, int n_operands,
                 const edt_value_id *operands)
{
    emit_after(d, node, kind, what, base, n_in, in, NULL, n_operands, operands);
}

static edt_op_attrs with_out_shape(const differ *d, const edt_node *node, edt_value_id value)
{
    edt_op_attrs attrs = node->attrs;
    attrs.out_shape = edt_graph_shape(d->graph, value);
    return attrs;
}

// Both convolutions: data gradient from the weights, weight (and bias) gradient from x.
static void window_gradient(differ *d, const edt_node *node, edt_value_id dy, edt_op_kind data,
                            edt_op_kind weight)
{
    const edt_value_id x = node->in[0];
    const edt_value_id w = node->in[1];
    edt_op_attrs attrs = with_out_shape(d, node, w);
    const edt_value_id weight_in[2] = {x, dy};
    emit(d, node, weight, "/weight", &attrs, 2, weight_in, node->n_in - 1, &node->in[1]);
    attrs = with_out_shape(d, node, x);
    const edt_value_id data_in[2] = {dy, w};
    emit(d, node, data, "/data", &attrs, 2, data_in, 1, &x);
}

static void conv_gradient(differ *d, const edt_node *node, edt_value_id dy)
{
    window_gradient(d, node, dy, EDT_OP_CONV2D_DATA, EDT_OP_CONV2D_WEIGHT);
}

static void depthwise_gradient(differ *d, const edt_node *node, edt_value_id dy)
{
    window_gradient(d, node, dy, EDT_OP_DEPTHWISE_DATA, EDT_OP_DEPTHWISE_WEIGHT);
}

// False, with the graph's failure, where a node lacks what its gradient needs.
static bool has_statistics(differ *d, const edt_node *node)
{
    if (node->out[1] == EDT_NO_VALUE || node->out[2] == EDT_NO_VALUE) {
        edt_graph_fail(
            d->graph, EDT_ERR_INTERNAL,
            "node '%s': its gradient needs the batch mean and inverse deviation; make "
            "the node with three outputs",
            node->name);
        return false;
    }
    return true;
}

static void bn_train_gradient(differ *d, const edt_node *node, edt_value_id dy)
{
    if (!has_statistics(d, node)) {
        return;
    }
    const edt_value_id in[6] = {dy,          node->in[0],  node->in[1],
                                node->in[2], node->out[1], node->out[2]};
    emit(d, node, EDT_OP_BN_TRAIN_BWD, "", &node->attrs, 6, in, 3, node->in);
}

// The gradients of gamma and beta are this rank's part, to be summed with all other gradients;
// what x gets depends on the rows of all ranks, by way of the sums between the two nodes.
static void bn_apply_gradient(differ *d, const edt_node *node, edt_value_id dy)
{
    if (!has_statistics(d, node)) {
        return;
    }
    const edt_value_id x = node->in[0];
    edt_value_id in[7] = {dy, x, node->in[2], node->in[3], node->out[1], node->out[2]};
    edt_value_id sums = wanted(d, x) ? EDT_GRAPH_NEW : EDT_NO_VALUE;
    edt_op_attrs attrs = node->attrs;
    attrs.reduce_over_ranks = sums == EDT_GRAPH_NEW;
    emit_after(d, node, EDT_OP_BN_BWD_STATS, "/stats", &attrs, 6, in, &sums, 2, &node->in[2]);
    if (sums >= 0) {
        in[6] = sums;
        emit(d, node, EDT_OP_BN_BWD_APPLY, "", &node->attrs, 7, in, 1, &x);
    }
}

static void bn_infer_gradient(differ *d, const edt_node *node, edt_value_id dy)
{
    const edt_value_id in[6] = {dy,          node->in[0], node->in[1],
                                node->in[2], node->in[3], node->in[4]};
    emit(d, node, EDT_OP_BN_INFER_BWD, "", &node->attrs, 6, in, 3, node->in);
}

static void cast_gradient(differ *d, const edt_node *node, edt_value_id dy)
{
    const edt_op_attrs attrs = {.cast_dtype = d->graph->values[node->in[0]].desc.dtype};
    emit(d, node, EDT_OP_CAST, "", &attrs, 1, &dy, 1, node->in);
}

static void act_gradient(differ *d, const edt_node *node, edt_value_id dy)
{
    const edt_value_id in[2] = {dy, node->in[0]};
    emit(d, node, EDT_OP_ACT_BWD, "", &node->attrs, 2, in, 1, node->in);
}

static void global_avg_pool_gradient(differ *d, const edt_node *node, edt_value_id dy)
{
    const edt_op_attrs attrs = with_out_shape(d, node, node->in[0]);
    emit(d, node, EDT_OP_GLOBAL_AVG_POOL_BWD, "", &attrs, 1, &dy, 1, node->in);
}

static void scale_channels_gradient(differ *d, const edt_node *node, edt_value_id dy)
{
    const edt_value_id in[3] = {dy, node->in[0], node->in[1]};
    emit(d, node, EDT_OP_SCALE_CHANNELS_BWD, "", &node->attrs, 3, in, 2, node->in);
}

static void add_gradient(differ *d, const edt_node *node, edt_value_id dy)
{
    contribute(d, node->in[0], dy);
    contribute(d, node->in[1], dy);
}

static void drop_connect_gradient(differ *d, const edt_node *node, edt_value_id dy)
{
    const edt_value_id in[2] = {dy, node->in[1]};
    emit(d, node, EDT_OP_DROP_CONNECT, "", &node->attrs, 2, in, 1, node->in);
}

static void max_pool_gradient(differ *d, const edt_node *node, edt_value_id dy)
{
    const edt_op_attrs attrs = with_out_shape(d, node, node->in[0]);
    const edt_value_id in[2] = {dy, node->n_out > 1 ? node->out[1] : EDT_NO_VALUE};
    emit(d, node, EDT_OP_MAX_POOL_BWD, "", &attrs, 2, in, 1, node->in);
}

static void resize_gradient(differ *d, const edt_node *node, edt_value_id dy)
{
    const edt_op_attrs attrs = with_out_shape(d, node, node->in[0]);
    emit(d, node, EDT_OP_RESIZE_NEAREST_BWD, "", &attrs, 1, &dy, 1, node->in);
}

static void fuse_gradient(differ *d, const edt_node *node, edt_value_id dy)
{
    edt_value_id in[1 + 2 * EDT_FUSE_MAX_IN] = {dy};
    for (int i = 0; i < node->n_in; i++) {
        in[1 + i] = node->in[i];
    }
    emit(d, node, EDT_OP_FUSE_BWD, "", &node->attrs, 1 + node->n_in, in, node->n_in, node->in);
}

static void concat_gradient(differ *d, const edt_node *node, edt_value_id dy)
{
    const edt_op_attrs attrs = with_out_shape(d, node, node->in[0]);
    emit(d, node, EDT_OP_CONCAT_BWD, "", &attrs, 1, &dy, 2, node->in);
}

static void bias_gradient(differ *d, const edt_node *node, edt_value_id dy)
{
    contribute(d, node->in[0], dy);
    emit(d, node, EDT_OP_BIAS_BWD, "", &node->attrs, 1, &dy, 1, &node->in[1]);
}

static void srelu_gradient(differ *d, const edt_node *node, edt_value_id dy)
{
    const edt_value_id in[3] = {dy, node->in[0], node->in[1]};
    emit(d, node, EDT_OP_SRELU_BWD, "", &node->attrs, 3, in, 2, node->in);
}

// A transposed convolution is linear in its input by the transposed matrix of a convolution, so
// that its gradient is that convolution.
static void transposed_gradient(differ *d, const edt_node *node, edt_value_id dy)
{
    const edt_value_id x = node->in[0];
    const edt_value_id w = node->in[1];
    edt_op_attrs attrs = with_out_shape(d, node, w);
    const edt_value_id weight_in[2] = {dy, x};
    emit(d, node, EDT_OP_CONV2D_WEIGHT, "/weight", &attrs, 2, weight_in, 1, &w);
    attrs.out_shape = (edt_shape){0};
    const edt_value_id data_in[2] = {dy, w};
    emit(d, node, EDT_OP_CONV2D, "/data", &attrs, 2, data_in, 1, &x);
}

static const gradient_builder builders[EDT_OP_N_KINDS] = {
    [EDT_OP_CAST] = cast_gradient,
    [EDT_OP_CONV2D] = conv_gradient,
    [EDT_OP_DEPTHWISE] = depthwise_gradient,
    [EDT_OP_BN_TRAIN] = bn_train_gradient,
    [EDT_OP_BN_APPLY] = bn_apply_gradient,
    [EDT_OP_BN_INFER] = bn_infer_gradient,
    [EDT_OP_ACT] = act_gradient,
    [EDT_OP_GLOBAL_AVG_POOL] = global_avg_pool_gradient,
    [EDT_OP_SCALE_CHANNELS] = scale_channels_gradient,
    [EDT_OP_ADD] = add_gradient,
    [EDT_OP_DROP_CONNECT] = drop_connect_gradient,
    [EDT_OP_MAX_POOL] = max_pool_gradient,
    [EDT_OP_RESIZE_NEAREST] = resize_gradient,
    [EDT_OP_FUSE] = fuse_gradient,
    [EDT_OP_CONCAT] = concat_gradient,
    [EDT_OP_BIAS] = bias_gradient,
    [EDT_OP_SRELU] = srelu_gradient,
    [EDT_OP_CONV2D_DATA] = transposed_gradient,
};

// Sum of all contributions to a value's gradient, in the order they were made.
static edt_value_id total_gradient(differ *d, edt_value_id value)
{
    edt_graph *graph = d->graph;
    int i = d->first[value];
    if (i < 0) {
        return EDT_NO_VALUE;
    }
    // The list runs from newest to oldest; the running sum starts at the newest, which is the
    // most likely to be in cache and to have no other reader.
    edt_value_id sum = d->contributions[i].grad;
    int n = 0;
    for (i = d->contributions[i].next; i >= 0; i = d->contributions[i].next) {
        const edt_value_id in[2] = {sum, d->contributions[i].grad};
        const char *name =
            edt_graph_printf(graph, "d:sum%d:%s", n++, graph->values[value].name);
        edt_value_id out = EDT_GRAPH_NEW;
        const int i_node = edt_graph_op_into(graph, name, EDT_OP_ADD, NULL, 2, in, 1, &out);
        if (i_node < 0) {
            return EDT_NO_VALUE;
        }
        graph->nodes[i_node].backward = true;
        sum = out;
    }
    return sum;
}

static void sweep(differ *d, int n_forward_nodes)
{
    edt_graph *graph = d->graph;
    for (int i = n_forward_nodes - 1; i >= 0 && graph->status == EDT_OK; i--) {
        // A copy: appending nodes moves the array.
        const edt_node node = graph->nodes[i];
        if (node.out[0] == EDT_NO_VALUE || !d->needs[node.out[0]]) {
            continue;
        }
        const edt_value_id dy = total_gradient(d, node.out[0]);
        if (dy == EDT_NO_VALUE) {
            continue;
        }
        if (builders[node.kind] == NULL) {
            edt_graph_fail(graph, EDT_ERR_UNSUPPORTED, "node '%s': %s has no gradient",
                           node.name, edt_op_get_info(node.kind)->name);
            return;
        }
        builders[node.kind](d, &node, dy);
    }
}

// Losses read what needs a gradient, but theirs is given by the seeds: only output 0 of kinds
// with a builder carries the mark on.
static void mark_needed(differ *d, const bool *wants)
{
    const edt_graph *graph = d->graph;
    for (int i = 0; i < graph->n_params; i++) {
        const edt_param *param = &graph->params[i];
        d->needs[param->value] = param->trainable && (wants == NULL || wants[i]);
    }
    for (int i = 0; i < graph->n_nodes; i++) {
        const edt_node *node = &graph->nodes[i];
        bool any = false;
        for (int j = 0; j < node->n_in; j++) {
            any = any || d->needs[node->in[j]];
        }
        if (any && builders[node->kind] != NULL && node->out[0] != EDT_NO_VALUE) {
            d->needs[node->out[0]] = true;
        }
    }
}

edt_status edt_autodiff(edt_graph *graph, int n_seeds, const edt_grad_seed *seeds,
                        const bool *wants, bool accumulate, edt_error *err)
{
    EDT_TRY(edt_graph_status(graph, err));
    const size_t n_values = (size_t)graph->n_values + 1;
    int n_operands = n_seeds;
    for (int i = 0; i < graph->n_nodes; i++) {
        n_operands += graph->nodes[i].n_in;
    }
    differ d = {
        .graph = graph,
        .n_values = graph->n_values,
        .needs = edt_mem_calloc(EDT_MEM_MISC, n_values, sizeof(bool)),
        .written = edt_mem_calloc(EDT_MEM_MISC, (size_t)graph->n_params + 1, sizeof(bool)),
        .accumulate = accumulate,
        .first = edt_mem_alloc(EDT_MEM_MISC, n_values * sizeof(int)),
        .contributions =
            edt_mem_alloc(EDT_MEM_MISC, ((size_t)n_operands + 1) * sizeof(contribution)),
        .cap_contributions = n_operands,
    };
    if (d.needs == NULL || d.written == NULL || d.first == NULL || d.contributions == NULL) {
        edt_graph_fail(graph, EDT_ERR_NOMEM, "no memory to differentiate %d nodes",
                       graph->n_nodes);
    } else {
        memset(d.first, 0xff, n_values * sizeof(int)); // -1
        mark_needed(&d, wants);
        for (int i = 0; i < n_seeds; i++) {
            contribute(&d, seeds[i].value, seeds[i].grad);
        }
        sweep(&d, graph->n_nodes);
    }
    edt_mem_free(d.needs);
    edt_mem_free(d.written);
    edt_mem_free(d.first);
    edt_mem_free(d.contributions);
    return edt_graph_status(graph, err);
}
