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
    int64_t low_bytes;        // its 16-bit copy, 0 where there is none
    int64_t input_bytes;
    int64_t conv_macs; // per run
} edt_plan_summary;
edt_status edt_plan_summarize(const edt_graph *graph, edt_error *err,
                              edt_plan_summary *out_summary);

// `graph`, `params` and its backend are borrowed and must outlive the executor. PARAM_GRAD
// values need EDT_PARAMS_GRADS to exist. Nodes whose outputs nobody reads are skipped.
edt_status edt_exec_create(const edt_graph *graph, edt_params *params, edt_error *err,
                           edt_exec **out_exec);
void edt_exec_destroy(edt_exec *exec);

// Bytes that an executor holds, its parameters aside: planned activations after fusion, inputs,
// the low copy of the parameters, and the largest workspace of a kernel.
typedef struct edt_exec_memory {
    int64_t activation_bytes, input_bytes, low_bytes, workspace_bytes;
} edt_exec_memory;
void edt_exec_get_memory(const edt_exec *exec, edt_exec_memory *out_memory);

// Copies host data into an INPUT value's device memory (owned by the executor).
edt_status edt_exec_set_input(edt_exec *exec, edt_value_id input, const void *host,
                              size_t n_bytes, edt_error *err);
// Uses the parameter values of edt_params.values (or .ema when use_ema is set) for PARAM
// values.
void edt_exec_use_ema(edt_exec *exec, bool use_ema);
// Runs all nodes. EDT_ERR_CANCELLED is never returned; a kernel's error carries the node's
// name.
edt_status edt_exec_run(edt_exec *exec, const edt_run_ctx *ctx, edt_error *err);
// As edt_exec_run without telling the backend about `ctx` (edt_backend_table.begin): the caller
// has, or is recording a capture. params_version 0 makes all that is derived from parameters
// anew, in this run and in every replay of it.
edt_status edt_exec_queue(edt_exec *exec, const edt_run_ctx *ctx, edt_error *err);

// As edt_exec_run, as one piece on backends with streams: the second run with the same
// parameters is recorded and the following ones replay it, which spares launching the nodes one
// by one. For networks whose parameters stay (inference); hooks are not called in a replay.
edt_status edt_exec_replay(edt_exec *exec, const edt_run_ctx *ctx, edt_error *err);

// What has been queued when a hook is called.
typedef struct edt_exec_node_done {
    int i_node; // of the graph
    void *out;  // output 0 on the device; NULL where nobody asked for it
    int64_t n;  // its elements
    edt_dtype dtype;
    bool reduce_over_ranks; // output 0 must be summed over all ranks before the next node
} edt_exec_node_done;
typedef edt_status edt_exec_hook_fn(void *user, const edt_exec_node_done *done, edt_error *err);
// Called after each node that runs, in order, by the thread that runs the graph; a failure ends
// the run. NULL: no hook.
void edt_exec_set_hook(edt_exec *exec, edt_exec_hook_fn *hook, void *user);
edt_exec_hook_fn *edt_exec_get_hook(const edt_exec *exec, void **out_user);
// Node i_node as it really runs, after fusion, and where its operands lie on the device (NULL:
// absent), in the order of node->in and node->out. What is no named output holds its value only
// until later nodes run. False as edt_exec_describe.
typedef struct edt_exec_operands {
    const edt_node *node;
    void *const *in, *const *out;
} edt_exec_operands;
bool edt_exec_get_operands(const edt_exec *exec, int i_node, edt_exec_operands *out_operands);
// Makes `device` (borrowed, of the value's size) the memory of an input or a named output.
// NULL: the executor's own again. Not while a caller's recording of this executor is to be
// replayed.
void edt_exec_place(edt_exec *exec, edt_value_id value, void *device);

// Copies an output (edt_graph_output) or input value to the host, in the value's own dtype.
edt_status edt_exec_get(edt_exec *exec, edt_value_id value, void *host, size_t n_bytes,
                        edt_error *err);
// Device pointer of a value after creation; NULL if the planner dropped it.
void *edt_exec_pointer(const edt_exec *exec, edt_value_id value);

// Seconds spent per node since enable_timing or reset_timing, when timing is on (benchmark
// --what=network); measured by events on a backend with streams, by the clock on others.
edt_status edt_exec_enable_timing(edt_exec *exec, bool on, edt_error *err);
void edt_exec_reset_timing(edt_exec *exec);
double edt_exec_node_seconds(const edt_exec *exec, int i_node);
// Processor time of all threads of the process in the same time; 0 on a backend with streams.
double edt_exec_node_cpu_seconds(const edt_exec *exec, int i_node);
// The op that node i_node of the graph really runs, after fusion; false where it runs none
// (dead or part of another's fused op) and past the last node.
bool edt_exec_describe(const edt_exec *exec, int i_node, edt_op_desc *out_desc);

#endif
