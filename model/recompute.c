// The backward nodes are taken off the graph and put back one by one, each after the forward
// nodes that it needs again. These come as late as possible and at most once.
#include "model/recompute.h"

#include <string.h>

typedef struct recomputer {
    edt_graph *graph;
    int n_values;        // before nodes were added
    bool *kept;          // by value: backward nodes read it as it is
    edt_value_id *again; // by value: its second self, EDT_NO_VALUE until there is one
} recomputer;

// Too small to be worth the time, and of batch norm's statistics the sums over ranks.
static bool is_small(const edt_shape *shape)
{
    return shape->n_dims <= 1 ||
           (shape->n_dims == 4 && shape->dim[1] == 1 && shape->dim[2] == 1);
}

static void mark_kept(recomputer *r, int n_forward)
{
    const edt_graph *graph = r->graph;
    for (int v = 0; v < r->n_values; v++) {
        const edt_value *value = &graph->values[v];
        r->kept[v] = value->role != EDT_VALUE_ACTIVATION || value->producer >= n_forward ||
                     graph->nodes[value->producer].segment == 0 || is_small(&value->desc.shape);
        r->again[v] = EDT_NO_VALUE;
    }
    for (int i = 0; i < graph->n_outputs; i++) {
        r->kept[graph->outputs[i].value] = true;
    }
    for (int i = 0; i < n_forward; i++) {
        const edt_node *node = &graph->nodes[i];
        for (int j = 0; j < node->n_in; j++) {
            const int producer =
                node->in[j] == EDT_NO_VALUE ? -1 : graph->values[node->in[j]].producer;
            if (producer >= 0 && graph->nodes[producer].segment != node->segment) {
                r->kept[node->in[j]] = true;
            }
        }
    }
}

// What a backward node reads in place of `value`. The depth of the recursion is that of a
// segment: it ends at values that are kept.
static edt_value_id value_again(recomputer *r, edt_value_id value)
{
    edt_graph *graph = r->graph;
    if (value == EDT_NO_VALUE || r->kept[value] || graph->status != EDT_OK) {
        return value;
    }
    if (r->again[value] != EDT_NO_VALUE) {
        return r->again[value];
    }
    // A copy: appending nodes moves the array.
    const int i_first = graph->values[value].producer;
    const edt_node node = graph->nodes[i_first];
    edt_value_id in[EDT_OP_MAX_IN];
    edt_value_id out[EDT_OP_MAX_OUT];
    for (int j = 0; j < node.n_in; j++) {
        in[j] = value_again(r, node.in[j]);
    }
    for (int j = 0; j < node.n_out; j++) {
        const bool wanted = j == 0 || (node.out[j] != EDT_NO_VALUE && !r->kept[node.out[j]]);
        out[j] = wanted ? EDT_GRAPH_NEW : EDT_NO_VALUE;
    }
    const int i_node =
        edt_graph_op_into(graph, edt_graph_printf(graph, "again:%s", node.name), node.kind,
                          &node.attrs, node.n_in, in, node.n_out, out);
    if (i_node < 0) {
        return value;
    }
    graph->nodes[i_node].backward = true;
    graph->nodes[i_node].recomputed = true;
    if (node.kind == EDT_OP_BN_TRAIN || node.kind == EDT_OP_BN_APPLY) {
        // The second run moves the moving statistics, which sums over ranks are taken from as
        // their origin: until then they must stay.
        graph->nodes[i_first].attrs.bn.momentum = 1.0;
    }
    for (int j = 0; j < node.n_out; j++) {
        if (node.out[j] != EDT_NO_VALUE) {
            r->again[node.out[j]] = out[j];
        }
    }
    return r->again[value];
}

static void put_back(recomputer *r, const edt_node *node)
{
    edt_graph *graph = r->graph;
    edt_value_id in[EDT_OP_MAX_IN];
    edt_value_id out[EDT_OP_MAX_OUT];
    memcpy(out, node->out, sizeof out);
    for (int j = 0; j < node->n_in; j++) {
        in[j] = value_again(r, node->in[j]);
    }
    const int i_node = edt_graph_op_into(graph, node->name, node->kind, &node->attrs,
                                         node->n_in, in, node->n_out, out);
    if (i_node < 0) {
        return;
    }
    graph->nodes[i_node].backward = true;
    for (int j = 0; j < node->n_out; j++) {
        if (out[j] != EDT_NO_VALUE && graph->values[out[j]].role == EDT_VALUE_ACTIVATION) {
            graph->values[out[j]].producer = i_node;
        }
    }
}

edt_status edt_recompute(edt_graph *graph, int n_forward, edt_error *err)
{
    EDT_TRY(edt_graph_status(graph, err));
    const int n_backward = graph->n_nodes - n_forward;
    const size_t n_values = (size_t)graph->n_values + 1;
    recomputer r = {
        .graph = graph,
        .n_values = graph->n_values,
        .kept = edt_mem_calloc(EDT_MEM_MISC, n_values, sizeof(bool)),
        .again = edt_mem_alloc(EDT_MEM_MISC, n_values * sizeof(edt_value_id)),
    };
    edt_node *backward =
        edt_mem_alloc(EDT_MEM_MISC, ((size_t)n_backward + 1) * sizeof *backward);
    if (r.kept == NULL || r.again == NULL || backward == NULL) {
        edt_graph_fail(graph, EDT_ERR_NOMEM, "no memory to recompute %d nodes", graph->n_nodes);
    } else {
        mark_kept(&r, n_forward);
        memcpy(backward, graph->nodes + n_forward, (size_t)n_backward * sizeof *backward);
        graph->n_nodes = n_forward;
        for (int i = 0; i < n_backward && graph->status == EDT_OK; i++) {
            put_back(&r, &backward[i]);
        }
    }
    edt_mem_free(r.kept);
    edt_mem_free(r.again);
    edt_mem_free(backward);
    return edt_graph_status(graph, err);
}
