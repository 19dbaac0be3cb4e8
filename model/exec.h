// Runs a graph on a backend: one prepared kernel per node, activations in one planned block.
#ifndef EDT_MODEL_EXEC_H
#define EDT_MODEL_EXEC_H

#include "model/graph.h"
#include "model/params.h"

typedef struct edt_exec edt_exec;

// What a graph will need, before anything is allocated (model/plan.c).
typedef struct edt_plan_summary {
    int64_t activation_bytes; // planned block
    int64_t naive_bytes;      // the same without reuse
    int64_t param_bytes;      // one parameter arena
    int64_t input_bytes;
    int64_t conv_macs;        // per run
} edt_plan_summary;
edt_status edt_plan_summarize(const edt_graph *graph, edt_error *err, edt_plan_summary *out_summary);

// `graph`, `params` and its backend are borrowed and must outlive the executor. PARAM_GRAD values
// need EDT_PARAMS_GRADS to exist. Nodes whose outputs nobody reads are skipped.
edt_status edt_exec_create(const edt_graph *graph, edt_params *params, edt_error *err,
                           edt_exec **out_exec);
void edt_exec_destroy(edt_exec *exec);

// Copies host data into an INPUT value's device memory (owned by the executor).
edt_status edt_exec_set_input(edt_exec *exec, edt_value_id input, const void *host, size_t n_bytes,
                              edt_error *err);
// Uses the parameter values of edt_params.values (or .ema when use_ema is set) for PARAM values.
void edt_exec_use_ema(edt_exec *exec, bool use_ema);
// Runs all nodes. EDT_ERR_CANCELLED is never returned; a kernel's error carries the node's name.
edt_status edt_exec_run(edt_exec *exec, const edt_run_ctx *ctx, edt_error *err);
// Copies an output (edt_graph_output) or input value to the host, in the value's own dtype.
edt_status edt_exec_get(edt_exec *exec, edt_value_id value, void *host, size_t n_bytes,
                        edt_error *err);
// Device pointer of a value after creation; NULL if the planner dropped it.
void *edt_exec_pointer(const edt_exec *exec, edt_value_id value);

// Seconds spent per node since the last reset, when timing is on (benchmark --what=network).
void edt_exec_enable_timing(edt_exec *exec, bool on);
double edt_exec_node_seconds(const edt_exec *exec, int i_node);
// The op that node i_node of the graph really runs, after fusion; false where it runs none (dead
// or part of another's fused op) and past the last node.
bool edt_exec_describe(const edt_exec *exec, int i_node, edt_op_desc *out_desc);

#endif
