// The one description of a network: values (tensors) and nodes (ops), in an order that can be
// run from first to last. efficientdet.c writes it once; executor, autodiff, planner, counter,
// fusion pass, checkpoint mapper and exporters walk it.
//
// Builder functions record the first error in the graph and then do nothing, so that network
// code reads like the network; edt_graph_status reports it at the end.
#ifndef EDT_MODEL_GRAPH_H
#define EDT_MODEL_GRAPH_H

#include "backend/op.h"
#include "core/arena.h"

typedef int edt_value_id; // index into values; EDT_NO_VALUE = absent
enum { EDT_NO_VALUE = -1 };

typedef enum edt_value_role {
    EDT_VALUE_INPUT, // the caller binds memory: image, targets, normaliser, drop-connect draws
    EDT_VALUE_PARAM, // lives in edt_params.values; of type `real` where that is 16 bits wide:
                     // in the executor's low copy of them
    EDT_VALUE_PARAM_GRAD, // lives in edt_params.grads; always wide
    EDT_VALUE_ACTIVATION, // planned memory
} edt_value_role;

typedef enum edt_init_kind {
    EDT_INIT_CONSTANT,         // a
    EDT_INIT_NORMAL,           // mean 0, std a
    EDT_INIT_TRUNCATED_NORMAL, // std a before the cut at 2 sigma (redrawn)
    EDT_INIT_UNIFORM,          // [-a, a)
} edt_init_kind;

typedef struct edt_init {
    edt_init_kind kind;
    double a;
} edt_init;

typedef struct edt_value {
    const char
        *name; // params: official variable name; else a readable path, unique in the graph
    edt_tensor_desc desc;
    edt_value_role role;
    int producer; // node index, -1 for inputs and params
    int i_param;  // PARAM and PARAM_GRAD: index into params, else -1
} edt_value;

typedef struct edt_node {
    edt_op_kind kind;
    edt_op_attrs attrs;
    int n_in, n_out;
    edt_value_id in[EDT_OP_MAX_IN];
    edt_value_id out[EDT_OP_MAX_OUT]; // EDT_NO_VALUE for outputs nobody asked for
    const char *name;
    int segment;     // number of the segment that was open when it was made, 0: none
    bool backward;   // made by autodiff
    bool recomputed; // a forward node once more, among the backward nodes (model/recompute.h)
} edt_node;

typedef struct edt_param {
    const char *name;        // official name without ":0" (spec/model.md 6.1)
    const char *object_path; // Keras object path (6.2), NULL where none
    edt_shape shape;
    edt_init init;
    bool trainable; // false: moving statistics
    bool decay;     // L2: name ends in kernel (spec/train.md 4.5)
    edt_value_id value;
    edt_value_id grad; // EDT_NO_VALUE until autodiff asks for it
} edt_param;

typedef struct edt_output {
    const char *name; // "cls_3", "box_3", "reduction_1", "cell0_P3", "extra_P6", ...
    edt_value_id value;
} edt_output;

typedef struct edt_graph {
    edt_arena arena; // owns everything below
    edt_dtype real;  // of activations: f32, f64, bf16 or f16
    edt_dtype wide;  // edt_dtype_wide(real): of variables, their gradients, statistics, losses
    edt_status status;
    edt_error error;
    int n_values, n_nodes, n_params, n_outputs;
    int segment, n_segments; // open now (0: none), opened so far
    int cap_values, cap_nodes, cap_params, cap_outputs;
    edt_value *values;
    edt_node *nodes;
    edt_param *params;   // in order of creation
    edt_output *outputs; // named values that must survive a run and can be read
} edt_graph;

edt_status edt_graph_create(edt_dtype real, edt_error *err, edt_graph **out_graph);
void edt_graph_destroy(edt_graph *graph); // NULL is fine

// First error of the builder calls so far.
edt_status edt_graph_status(const edt_graph *graph, edt_error *err);

edt_value_id edt_graph_input(edt_graph *graph, const char *name, edt_dtype dtype,
                             edt_shape shape);
// A variable that ops read as it is stored, wide: norm parameters, fusion weights. Asking again
// for a name gives the same one (shape must agree): shared head weights. `object_path` may be
// NULL.
edt_value_id edt_graph_param(edt_graph *graph, const char *name, const char *object_path,
                             edt_shape shape, edt_init init, bool trainable);
// A variable that ops read as `real`: kernels and biases of convolutions. It is stored wide all
// the same, and so is its gradient.
edt_value_id edt_graph_weight(edt_graph *graph, const char *name, const char *object_path,
                              edt_shape shape, edt_init init, bool trainable);
// Appends a node with all its outputs (shapes by edt_op_infer; n_out_wanted of them, the rest
// absent) and returns output 0. Further outputs: graph->nodes[graph->n_nodes - 1].out[i].
edt_value_id edt_graph_op(edt_graph *graph, const char *name, edt_op_kind kind,
                          const edt_op_attrs *attrs, int n_in, const edt_value_id *in,
                          int n_out_wanted);
// As edt_graph_op with the outputs chosen one by one: `out[i]` is EDT_NO_VALUE (absent),
// EDT_GRAPH_NEW (a new activation, whose id is written there) or the id of a value to write,
// which must have the inferred shape (a parameter's gradient). Returns the node's index, -1 on
// failure.
enum { EDT_GRAPH_NEW = -2 };
int edt_graph_op_into(edt_graph *graph, const char *name, edt_op_kind kind,
                      const edt_op_attrs *attrs, int n_in, const edt_value_id *in, int n_out,
                      edt_value_id *out);
// Nodes made between the two calls form a segment: with edt_recompute its inner values are not
// kept for the backward pass. Segments do not nest.
void edt_graph_segment_begin(edt_graph *graph);
void edt_graph_segment_end(edt_graph *graph);
// The gradient value of a parameter, made at the first call.
edt_value_id edt_graph_param_grad(edt_graph *graph, int i_param);
void edt_graph_output(edt_graph *graph, const char *name, edt_value_id value);
// Records a failure of network code as the graph's first error (later ones are dropped).
void edt_graph_fail(edt_graph *graph, edt_status status, const char *fmt, ...) EDT_PRINTF(3, 4);
// printf into the graph's arena; "" once the graph has failed.
const char *edt_graph_printf(edt_graph *graph, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
// Shape of a value; a scalar's for EDT_NO_VALUE.
edt_shape edt_graph_shape(const edt_graph *graph, edt_value_id value);

// EDT_NO_VALUE when there is none.
edt_value_id edt_graph_find_output(const edt_graph *graph, const char *name);
edt_value_id edt_graph_find_input(const edt_graph *graph, const char *name);
int edt_graph_find_param(const edt_graph *graph, const char *name); // index or -1

// The op of a node with its shapes, as a backend wants it. Absent operands have dtype
// EDT_DTYPE_NONE. The second form takes a node that need not be in graph->nodes (model/fuse.h).
void edt_graph_describe(const edt_graph *graph, int i_node, edt_op_desc *out_desc);
void edt_graph_describe_node(const edt_graph *graph, const edt_node *node,
                             edt_op_desc *out_desc);

#endif
