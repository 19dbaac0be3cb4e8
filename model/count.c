// Counting walks the graph; fused and backward nodes are told apart by kind and mark.
#include "model/count.h"

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
    }
    for (int i = 0; i < graph->n_nodes; i++) {
        if (!graph->nodes[i].backward) {
            edt_op_desc desc;
            edt_graph_describe(graph, i, &desc);
            count.forward_macs += edt_op_conv_macs(&desc);
        }
    }
    *out_count = count;
}
