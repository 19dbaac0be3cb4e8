// The executor: kernels prepared once, pointers bound once, a run is a loop over nodes. Graphs
// with 16-bit activations read the weights of convolutions from a low copy of the parameter
// arena, which one CAST over the whole arena renews when the parameters have changed.
#include "model/exec.h"

#include <string.h>

#include "core/clock.h"
#include "model/fuse.h"
#include "model/plan.h"

typedef struct exec_node {
    edt_kernel *kernel;
    void *in[EDT_OP_MAX_IN];
    void *out[EDT_OP_MAX_OUT];
} exec_node;

struct edt_exec {
    const edt_graph *graph;
    edt_params *params;
    edt_backend *backend;
    edt_node *nodes; // rewritten copy of the graph's
    bool *dead;
    exec_node *execs;
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
    double *seconds;
    edt_event **events; // by node and one more, where the backend has streams; made for timing
};

static int64_t align_up(int64_t bytes)
{
    return (bytes + EDT_MEM_ALIGN - 1) / EDT_MEM_ALIGN * EDT_MEM_ALIGN;
}

static int64_t input_bytes(const edt_graph *graph)
{
    int64_t bytes = 0;
    for (int v = 0; v < graph->n_values; v++) {
        if (graph->values[v].role == EDT_VALUE_INPUT) {
            bytes += align_up((int64_t)edt_tensor_bytes(&graph->values[v].desc));
        }
    }
    return bytes;
}

edt_status edt_plan_summarize(const edt_graph *graph, edt_error *err,
                              edt_plan_summary *out_summary)
{
    EDT_TRY(edt_graph_status(graph, err));
    bool *dead = edt_mem_calloc(EDT_MEM_MISC, (size_t)graph->n_nodes + 1, sizeof *dead);
    if (dead == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to plan %d nodes", graph->n_nodes);
    }
    edt_plan plan = {0};
    edt_status status = edt_plan_mark_dead(graph, graph->nodes, dead, err);
    if (status == EDT_OK) {
        status = edt_plan_create(graph, graph->nodes, dead, err, &plan);
    }
    if (status == EDT_OK) {
        edt_plan_summary summary = {.activation_bytes = plan.block_bytes,
                                    .naive_bytes = plan.naive_bytes,
                                    .input_bytes = input_bytes(graph)};
        for (int i = 0; i < graph->n_params; i++) {
            const int64_t n = edt_shape_count(&graph->params[i].shape);
            summary.param_bytes += n * (int64_t)edt_dtype_bytes(graph->wide);
            summary.low_bytes +=
                graph->real == graph->wide ? 0 : n * (int64_t)edt_dtype_bytes(graph->real);
        }
        for (int i = 0; i < graph->n_nodes; i++) {
            if (!dead[i]) {
                edt_op_desc desc;
                edt_graph_describe(graph, i, &desc);
                summary.conv_macs += edt_op_conv_macs(&desc);
            }
        }
        *out_summary = summary;
    }
    edt_plan_deinit(&plan);
    edt_mem_free(dead);
    return status;
}

// Finds each graph parameter in the table, which may come from another graph of the same
// network.
static edt_status match_params(edt_exec *exec, edt_error *err)
{
    const edt_graph *graph = exec->graph;
    if (exec->params->real != graph->wide) {
        EDT_FAIL(err, EDT_ERR_MISMATCH, "the graph's variables are %s, the parameters are %s",
                 edt_dtype_name(graph->wide), edt_dtype_name(exec->params->real));
    }
    for (int i = 0; i < graph->n_params; i++) {
        const edt_param *param = &graph->params[i];
        const bool same_place = i < exec->params->n_params &&
                                strcmp(exec->params->entries[i].name, param->name) == 0;
        const int entry = same_place ? i : edt_params_find(exec->params, param->name);
        if (entry < 0) {
            EDT_FAIL(
                err, EDT_ERR_MISMATCH,
                "variable '%s' is not among the parameters: they belong to another network",
                param->name);
        }
        if (!edt_shape_equal(&exec->params->entries[entry].shape, &param->shape)) {
            char in_table[EDT_SHAPE_TEXT_BYTES];
            char in_graph[EDT_SHAPE_TEXT_BYTES];
            EDT_FAIL(err, EDT_ERR_MISMATCH, "variable '%s' is %s in the parameters, %s here",
                     param->name, edt_shape_text(&exec->params->entries[entry].shape, in_table),
                     edt_shape_text(&param->shape, in_graph));
        }
        exec->entry_of[i] = entry;
    }
    return EDT_OK;
}

static void *param_pointer(const edt_exec *exec, const void *arena, edt_dtype dtype,
                           int i_param)
{
    if (arena == NULL) {
        return NULL;
    }
    const edt_param_entry *entry = &exec->params->entries[exec->entry_of[i_param]];
    return (char *)(uintptr_t)arena + (size_t)entry->offset * edt_dtype_bytes(dtype);
}

// Recomputes all operand pointers; cheap, and done only when an arena appeared or was switched.
static void bind(edt_exec *exec)
{
    const edt_graph *graph = exec->graph;
    exec->bound_values =
        exec->params->memory[exec->use_ema ? EDT_PARAMS_EMA : EDT_PARAMS_VALUES];
    exec->bound_grads = exec->params->memory[EDT_PARAMS_GRADS];
    char *input = exec->inputs;
    for (int v = 0; v < graph->n_values; v++) {
        const edt_value *value = &graph->values[v];
        switch (value->role) {
        case EDT_VALUE_INPUT:
            exec->pointers[v] = input;
            input += align_up((int64_t)edt_tensor_bytes(&value->desc));
            break;
        case EDT_VALUE_PARAM:
            exec->pointers[v] = param_pointer(
                exec, value->desc.dtype == graph->wide ? exec->bound_values : exec->low,
                value->desc.dtype, value->i_param);
            break;
        case EDT_VALUE_PARAM_GRAD:
            exec->pointers[v] =
                param_pointer(exec, exec->bound_grads, graph->wide, value->i_param);
            break;
        case EDT_VALUE_ACTIVATION:
            exec->pointers[v] =
                exec->plan.offset[v] < 0 ? NULL : (char *)exec->block + exec->plan.offset[v];
            break;
        }
        if (exec->placed[v] != NULL) {
            exec->pointers[v] = exec->placed[v];
        }
    }
    for (int i = 0; i < graph->n_nodes; i++) {
        const edt_node *node = &exec->nodes[i];
        for (int j = 0; j < node->n_in; j++) {
            exec->execs[i].in[j] =
                node->in[j] == EDT_NO_VALUE ? NULL : exec->pointers[node->in[j]];
        }
        for (int j = 0; j < node->n_out; j++) {
            exec->execs[i].out[j] =
                node->out[j] == EDT_NO_VALUE ? NULL : exec->pointers[node->out[j]];
        }
    }
}

static edt_status prepare_kernels(edt_exec *exec, edt_error *err)
{
    const edt_backend_table *table = exec->backend->table;
    for (int i = 0; i < exec->graph->n_nodes; i++) {
        if (exec->dead[i]) {
            continue;
        }
        edt_op_desc desc;
        edt_graph_describe_node(exec->graph, &exec->nodes[i], &desc);
        size_t workspace = 0;
        EDT_TRY_CTX(
            table->prepare(exec->backend, &desc, err, &exec->execs[i].kernel, &workspace), err,
            "node '%s' (%s) on backend %s", exec->nodes[i].name,
            edt_op_get_info(desc.kind)->name, table->name);
        exec->workspace_bytes =
            workspace > exec->workspace_bytes ? workspace : exec->workspace_bytes;
    }
    return EDT_OK;
}

static edt_status prepare_low_copy(edt_exec *exec, edt_error *err)
{
    const edt_graph *graph = exec->graph;
    if (graph->real == graph->wide) {
        return EDT_OK;
    }
    const edt_backend_table *table = exec->backend->table;
    const int64_t n = exec->params->n_elements;
    edt_op_desc desc = {.kind = EDT_OP_CAST,
                        .attrs = {.cast_dtype = graph->real},
                        .n_in = 1,
                        .n_out = 1,
                        .in = {{graph->wide, edt_shape_1(n)}}};
    EDT_TRY(edt_op_infer(&desc, err));
    size_t workspace = 0;
    EDT_TRY_CTX(table->prepare(exec->backend, &desc, err, &exec->cast, &workspace), err,
                "%s copy of the parameters on backend %s", edt_dtype_name(graph->real),
                table->name);
    exec->workspace_bytes =
        workspace > exec->workspace_bytes ? workspace : exec->workspace_bytes;
    const size_t n_bytes = (size_t)n * edt_dtype_bytes(graph->real);
    EDT_TRY_CTX(table->alloc(exec->backend, EDT_MEM_PARAM, n_bytes, err, &exec->low), err,
                "%s copy of the parameters (%zu bytes)", edt_dtype_name(graph->real), n_bytes);
    return EDT_OK;
}

static edt_status alloc_blocks(edt_exec *exec, edt_error *err)
{
    const edt_backend_table *table = exec->backend->table;
    EDT_TRY_CTX(table->alloc(exec->backend, EDT_MEM_ACTIVATION, (size_t)exec->plan.block_bytes,
                             err, &exec->block),
                err, "activations (%lld bytes)", (long long)exec->plan.block_bytes);
    EDT_TRY_CTX(table->alloc(exec->backend, EDT_MEM_ACTIVATION, (size_t)exec->input_bytes, err,
                             &exec->inputs),
                err, "inputs (%lld bytes)", (long long)exec->input_bytes);
    EDT_TRY(table->zero(exec->backend, exec->inputs, (size_t)exec->input_bytes, err));
    if (exec->workspace_bytes > 0) {
        EDT_TRY_CTX(table->alloc(exec->backend, EDT_MEM_WORKSPACE, exec->workspace_bytes, err,
                                 &exec->workspace),
                    err, "kernel workspace (%zu bytes)", exec->workspace_bytes);
    }
    return EDT_OK;
}

static bool has_backward(const edt_graph *graph)
{
    for (int i = 0; i < graph->n_nodes; i++) {
        if (graph->nodes[i].backward) {
            return true;
        }
    }
    return false;
}

static edt_status build(edt_exec *exec, edt_error *err)
{
    const edt_graph *graph = exec->graph;
    const size_t n_nodes = (size_t)graph->n_nodes + 1;
    exec->nodes = edt_mem_calloc(EDT_MEM_MISC, n_nodes, sizeof *exec->nodes);
    exec->dead = edt_mem_calloc(EDT_MEM_MISC, n_nodes, sizeof *exec->dead);
    exec->execs = edt_mem_calloc(EDT_MEM_MISC, n_nodes, sizeof *exec->execs);
    exec->seconds = edt_mem_calloc(EDT_MEM_MISC, n_nodes, sizeof *exec->seconds);
    exec->pointers =
        edt_mem_calloc(EDT_MEM_MISC, (size_t)graph->n_values + 1, sizeof *exec->pointers);
    exec->placed =
        edt_mem_calloc(EDT_MEM_MISC, (size_t)graph->n_values + 1, sizeof *exec->placed);
    exec->entry_of =
        edt_mem_calloc(EDT_MEM_MISC, (size_t)graph->n_params + 1, sizeof *exec->entry_of);
    if (exec->nodes == NULL || exec->placed == NULL || exec->dead == NULL ||
        exec->execs == NULL || exec->seconds == NULL || exec->pointers == NULL ||
        exec->entry_of == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for an executor of %d nodes", graph->n_nodes);
    }
    memcpy(exec->nodes, graph->nodes, (size_t)graph->n_nodes * sizeof *exec->nodes);
    EDT_TRY(match_params(exec, err));
    EDT_TRY(edt_plan_mark_dead(graph, exec->nodes, exec->dead, err));
    if (!has_backward(graph)) {
        int n_fused = 0;
        EDT_TRY(edt_fuse_nodes(graph, exec->backend, exec->nodes, exec->dead, err, &n_fused));
    }
    EDT_TRY(edt_plan_create(graph, exec->nodes, exec->dead, err, &exec->plan));
    exec->input_bytes = input_bytes(graph);
    EDT_TRY(prepare_kernels(exec, err));
    EDT_TRY(prepare_low_copy(exec, err));
    EDT_TRY(alloc_blocks(exec, err));
    bind(exec);
    return EDT_OK;
}

edt_status edt_exec_create(const edt_graph *graph, edt_params *params, edt_error *err,
                           edt_exec **out_exec)
{
    EDT_TRY(edt_graph_status(graph, err));
    edt_exec *exec = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *exec);
    if (exec == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for an executor");
    }
    exec->graph = graph;
    exec->params = params;
    exec->backend = params->backend;
    const edt_status status = build(exec, err);
    if (status != EDT_OK) {
        edt_exec_destroy(exec);
        return status;
    }
    *out_exec = exec;
    return EDT_OK;
}

static void drop_capture(edt_exec *exec)
{
    if (exec->capture != NULL) {
        exec->backend->table->streams->capture_destroy(exec->backend, exec->capture);
        exec->capture = NULL;
    }
    exec->capture_version = 0;
}

void edt_exec_destroy(edt_exec *exec)
{
    if (exec == NULL) {
        return;
    }
    const edt_backend_table *table = exec->backend->table;
    for (int i = 0; exec->execs != NULL && i < exec->graph->n_nodes; i++) {
        if (exec->execs[i].kernel != NULL) {
            table->release(exec->backend, exec->execs[i].kernel);
        }
    }
    drop_capture(exec);
    if (exec->cast != NULL) {
        table->release(exec->backend, exec->cast);
    }
    for (int i = 0; exec->events != NULL && i <= exec->graph->n_nodes; i++) {
        table->streams->event_destroy(exec->backend, exec->events[i]);
    }
    table->free(exec->backend, exec->low);
    table->free(exec->backend, exec->block);
    table->free(exec->backend, exec->inputs);
    table->free(exec->backend, exec->workspace);
    edt_plan_deinit(&exec->plan);
    edt_mem_free(exec->nodes);
    edt_mem_free(exec->dead);
    edt_mem_free(exec->execs);
    edt_mem_free(exec->seconds);
    edt_mem_free(exec->events);
    edt_mem_free(exec->pointers);
    edt_mem_free(exec->placed);
    edt_mem_free(exec->entry_of);
    edt_mem_free(exec);
}

static edt_status check_size(const edt_exec *exec, edt_value_id value, size_t n_bytes,
                             edt_error *err)
{
    if (value < 0 || value >= exec->graph->n_values) {
        EDT_FAIL(err, EDT_ERR_INTERNAL, "value %d of %d", value, exec->graph->n_values);
    }
    const edt_value *v = &exec->graph->values[value];
    if (edt_tensor_bytes(&v->desc) != n_bytes) {
        EDT_FAIL(err, EDT_ERR_MISMATCH, "value '%s' has %zu bytes, not %zu", v->name,
                 edt_tensor_bytes(&v->desc), n_bytes);
    }
    return EDT_OK;
}

edt_status edt_exec_set_input(edt_exec *exec, edt_value_id input, const void *host,
                              size_t n_bytes, edt_error *err)
{
    EDT_TRY(check_size(exec, input, n_bytes, err));
    if (exec->graph->values[input].role != EDT_VALUE_INPUT) {
        EDT_FAIL(err, EDT_ERR_INTERNAL, "value '%s' is not an input",
                 exec->graph->values[input].name);
    }
    return exec->backend->table->upload(exec->backend, exec->pointers[input], host, n_bytes,
                                        err);
}

void edt_exec_use_ema(edt_exec *exec, bool use_ema)
{
    exec->use_ema = use_ema;
}

// An inference graph may run on the averages and on the values in turn, and kernels tell packed
// weights apart by the version alone: each arena gets its own numbers.
static uint64_t arena_version(const edt_exec *exec, uint64_t version)
{
    return version == 0 ? 0 : 2 * version + (exec->use_ema ? 1 : 0);
}

static edt_status refresh_low(edt_exec *exec, const edt_run_ctx *run_ctx, const void *values,
                              edt_error *err)
{
    const uint64_t version = run_ctx->params_version;
    if (exec->cast == NULL || (version != 0 && version == exec->low_version)) {
        return EDT_OK;
    }
    void *in[1] = {(void *)(uintptr_t)values};
    void *out[1] = {exec->low};
    EDT_TRY_CTX(exec->backend->table->run(exec->backend, exec->cast, run_ctx, in, out,
                                          exec->workspace, err),
                err, "%s copy of the parameters", edt_dtype_name(exec->graph->real));
    exec->low_version = version;
    return EDT_OK;
}

static edt_status call_hook(edt_exec *exec, int i, edt_error *err)
{
    const edt_node *node = &exec->nodes[i];
    edt_exec_node_done done = {.i_node = i, .reduce_over_ranks = node->attrs.reduce_over_ranks};
    if (node->out[0] != EDT_NO_VALUE) {
        const edt_tensor_desc *desc = &exec->graph->values[node->out[0]].desc;
        done.out = exec->execs[i].out[0];
        done.n = edt_shape_count(&desc->shape);
        done.dtype = desc->dtype;
    }
    EDT_TRY_CTX(exec->hook(exec->hook_user, &done, err), err, "after node '%s'", node->name);
    return EDT_OK;
}

// Timing of a device: an event before each node and one at the end, read when all is done.
static edt_status begin_node_timing(edt_exec *exec, int i, edt_error *err, double *out_start)
{
    if (exec->events == NULL) {
        *out_start = edt_clock_now_s();
        return EDT_OK;
    }
    return exec->backend->table->streams->event_record(exec->backend, exec->events[i],
                                                       EDT_STREAM_COMPUTE, err);
}

static edt_status end_node_timing(edt_exec *exec, int i, double start, edt_error *err)
{
    if (exec->events != NULL) {
        return EDT_OK;
    }
    EDT_TRY(exec->backend->table->synchronize(exec->backend, err));
    exec->seconds[i] += edt_clock_now_s() - start;
    return EDT_OK;
}

static edt_status read_events(edt_exec *exec, edt_error *err)
{
    const edt_stream_table *streams = exec->backend->table->streams;
    const int n = exec->graph->n_nodes;
    EDT_TRY(streams->event_record(exec->backend, exec->events[n], EDT_STREAM_COMPUTE, err));
    EDT_TRY(streams->event_synchronize(exec->backend, exec->events[n], err));
    int next = n;
    for (int i = n - 1; i >= 0; i--) {
        if (exec->execs[i].kernel != NULL) {
            double seconds = 0.0;
            EDT_TRY(streams->event_seconds(exec->backend, exec->events[i], exec->events[next],
                                           err, &seconds));
            exec->seconds[i] += seconds;
            next = i;
        }
    }
    return EDT_OK;
}

edt_status edt_exec_queue(edt_exec *exec, const edt_run_ctx *ctx, edt_error *err)
{
    const edt_backend_table *table = exec->backend->table;
    const void *values =
        exec->params->memory[exec->use_ema ? EDT_PARAMS_EMA : EDT_PARAMS_VALUES];
    if (values == NULL) {
        EDT_FAIL(err, EDT_ERR_INTERNAL, "running on averages that do not exist");
    }
    if (values != exec->bound_values ||
        exec->bound_grads != exec->params->memory[EDT_PARAMS_GRADS]) {
        bind(exec);
    }
    if (exec->bound_grads == NULL && has_backward(exec->graph)) {
        EDT_FAIL(err, EDT_ERR_INTERNAL, "running a backward pass without gradient memory");
    }
    edt_run_ctx run_ctx = *ctx;
    run_ctx.params_version = arena_version(exec, ctx->params_version);
    EDT_TRY(refresh_low(exec, &run_ctx, values, err));
    for (int i = 0; i < exec->graph->n_nodes; i++) {
        exec_node *node = &exec->execs[i];
        if (node->kernel == NULL) {
            continue;
        }
        double start = 0.0;
        if (exec->timing) {
            EDT_TRY(begin_node_timing(exec, i, err, &start));
        }
        EDT_TRY_CTX(table->run(exec->backend, node->kernel, &run_ctx, node->in, node->out,
                               exec->workspace, err),
                    err, "node '%s'", exec->nodes[i].name);
        if (exec->timing) {
            EDT_TRY(end_node_timing(exec, i, start, err));
        }
        if (exec->hook != NULL) {
            EDT_TRY(call_hook(exec, i, err));
        }
    }
    return exec->timing && exec->events != NULL ? read_events(exec, err) : EDT_OK;
}

edt_status edt_exec_run(edt_exec *exec, const edt_run_ctx *ctx, edt_error *err)
{
    const edt_backend_table *table = exec->backend->table;
    if (table->begin != NULL) {
        EDT_TRY(table->begin(exec->backend, ctx, err));
    }
    return edt_exec_queue(exec, ctx, err);
}

static edt_status record_run(edt_exec *exec, const edt_run_ctx *ctx, edt_error *err)
{
    const edt_stream_table *streams = exec->backend->table->streams;
    EDT_TRY(streams->capture_begin(exec->backend, err));
    const edt_status status = edt_exec_queue(exec, ctx, err);
    edt_error end_err = {0};
    edt_capture *capture = NULL;
    const edt_status ended = streams->capture_end(exec->backend, &end_err, &capture);
    if (status != EDT_OK || ended != EDT_OK) {
        streams->capture_destroy(exec->backend, capture);
        if (status == EDT_OK) {
            *err = end_err;
        }
        return edt_error_add_context(err, status != EDT_OK ? status : ended,
                                     "recording the network");
    }
    exec->capture = capture;
    return EDT_OK;
}

edt_status edt_exec_replay(edt_exec *exec, const edt_run_ctx *ctx, edt_error *err)
{
    const edt_backend_table *table = exec->backend->table;
    const uint64_t version = arena_version(exec, ctx->params_version);
    if (table->streams == NULL || exec->timing || version == 0) {
        return edt_exec_run(exec, ctx, err);
    }
    if (version != exec->capture_version) {
        // Kernels pack their parameters now, not in every replay.
        drop_capture(exec);
        EDT_TRY(edt_exec_run(exec, ctx, err));
        exec->capture_version = version;
        return EDT_OK;
    }
    if (table->begin != NULL) {
        EDT_TRY(table->begin(exec->backend, ctx, err));
    }
    if (exec->capture == NULL) {
        EDT_TRY(record_run(exec, ctx, err));
    }
    return table->streams->replay(exec->backend, exec->capture, err);
}

void edt_exec_set_hook(edt_exec *exec, edt_exec_hook_fn *hook, void *user)
{
    exec->hook = hook;
    exec->hook_user = user;
}

void edt_exec_place(edt_exec *exec, edt_value_id value, void *device)
{
    drop_capture(exec);
    exec->placed[value] = device;
    bind(exec);
}

edt_status edt_exec_get(edt_exec *exec, edt_value_id value, void *host, size_t n_bytes,
                        edt_error *err)
{
    EDT_TRY(check_size(exec, value, n_bytes, err));
    const edt_value *v = &exec->graph->values[value];
    bool kept = v->role != EDT_VALUE_ACTIVATION;
    for (int i = 0; !kept && i < exec->graph->n_outputs; i++) {
        kept = exec->graph->outputs[i].value == value;
    }
    if (!kept || exec->pointers[value] == NULL) {
        EDT_FAIL(err, EDT_ERR_INTERNAL,
                 "value '%s' cannot be read after a run: it is not a named output", v->name);
    }
    EDT_TRY(exec->backend->table->synchronize(exec->backend, err));
    return exec->backend->table->download(exec->backend, host, exec->pointers[value], n_bytes,
                                          err);
}

void *edt_exec_pointer(const edt_exec *exec, edt_value_id value)
{
    return value < 0 || value >= exec->graph->n_values ? NULL : exec->pointers[value];
}

edt_status edt_exec_enable_timing(edt_exec *exec, bool on, edt_error *err)
{
    const edt_stream_table *streams = exec->backend->table->streams;
    const int n = exec->graph->n_nodes;
    edt_exec_reset_timing(exec);
    exec->timing = false;
    if (on && streams != NULL && exec->events == NULL) {
        exec->events = edt_mem_calloc(EDT_MEM_MISC, (size_t)n + 1, sizeof *exec->events);
        if (exec->events == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to time %d nodes", n);
        }
        for (int i = 0; i <= n; i++) {
            EDT_TRY(streams->event_create(exec->backend, err, &exec->events[i]));
        }
    }
    exec->timing = on;
    return EDT_OK;
}

void edt_exec_reset_timing(edt_exec *exec)
{
    memset(exec->seconds, 0, (size_t)exec->graph->n_nodes * sizeof *exec->seconds);
}

double edt_exec_node_seconds(const edt_exec *exec, int i_node)
{
    return i_node < 0 || i_node >= exec->graph->n_nodes ? 0.0 : exec->seconds[i_node];
}

bool edt_exec_describe(const edt_exec *exec, int i_node, edt_op_desc *out_desc)
{
    if (i_node < 0 || i_node >= exec->graph->n_nodes || exec->execs[i_node].kernel == NULL) {
        return false;
    }
    edt_graph_describe_node(exec->graph, &exec->nodes[i_node], out_desc);
    return true;
}
