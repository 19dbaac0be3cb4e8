// Inside of the executor, shared by exec_build.c (what a graph needs, made once) and exec.c
// (runs).
#ifndef EDT_MODEL_EXEC_PRIV_H
#define EDT_MODEL_EXEC_PRIV_H

#include "model/exec.h"
#include "model/plan.h"

// A node as it runs.
typedef struct edt_exec_slot {
    edt_kernel *kernel;
    void *in[EDT_OP_MAX_IN];
    void *out[EDT_OP_MAX_OUT];
} edt_exec_slot;

struct edt_exec {
    const edt_graph *graph;
    edt_params *params;
    edt_backend *backend;
    edt_node *nodes; // rewritten copy of the graph's
    bool *dead;
    edt_exec_slot *execs;
    void **pointers; // by value
    int *entry_of;   // by graph parameter: index into params->entries
    edt_plan plan;
    void *block;  // activations
    void *inputs; // input values, one after another
    int64_t input_bytes;
    void *workspace;
    size_t workspace_bytes;
    bool use_ema;
    const void *bound_values, *bound_grads; // arenas that `pointers` were computed from
    void **placed;        // by value: the caller's memory instead of ours, or NULL
    edt_kernel *cast;     // arena -> low; NULL: the graph's real type is wide
    void *low;            // copy of the arena in the graph's real type
    uint64_t low_version; // arena_version of `low`, 0: not known
    edt_exec_hook_fn *hook;
    void *hook_user;
    edt_capture *capture;     // of a run with capture_version, NULL: none
    uint64_t capture_version; // arena_version of the capture, or of the last run that could be
                              // repeated as one; 0: none
    bool timing;
    double *seconds, *cpu_seconds;
    edt_event **events; // by node and one more, where the backend has streams; made for timing
};

// Computes all operand pointers; cheap, and done only when an arena appeared or was switched.
void edt_exec_bind(edt_exec *exec);
bool edt_exec_has_backward(const edt_graph *graph);
// Forgets what edt_exec_replay recorded.
void edt_exec_drop_capture(edt_exec *exec);

#endif
