// Making an executor: which nodes run, kernels prepared once, memory planned and bound.
#include <string.h>

#include "model/exec_priv.h"
#include "model/fuse.h"

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

void edt_exec_bind(edt_exec *exec)
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

bool edt_exec_has_backward(const edt_graph *graph)
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
    exec->cpu_seconds = edt_mem_calloc(EDT_MEM_MISC, n_nodes, sizeof *exec->cpu_seconds);
    exec->pointers =
        edt_mem_calloc(EDT_MEM_MISC, (size_t)graph->n_values + 1, sizeof *exec->pointers);
    exec->placed =
        edt_mem_calloc(EDT_MEM_MISC, (size_t)graph->n_values + 1, sizeof *exec->placed);
    exec->entry_of =
        edt_mem_calloc(EDT_MEM_MISC, (size_t)graph->n_params + 1, sizeof *exec->entry_of);
    if (exec->nodes == NULL || exec->placed == NULL || exec->dead == NULL ||
        exec->execs == NULL || exec->seconds == NULL || exec->cpu_seconds == NULL ||
        exec->pointers == NULL || exec->entry_of == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for an executor of %d nodes", graph->n_nodes);
    }
    memcpy(exec->nodes, graph->nodes, (size_t)graph->n_nodes * sizeof *exec->nodes);
    EDT_TRY(match_params(exec, err));
    EDT_TRY(edt_plan_mark_dead(graph, exec->nodes, exec->dead, err));
    int n_fused = 0;
    EDT_TRY(edt_fuse_nodes(graph, exec->backend, exec->nodes, exec->dead, err, &n_fused));
    EDT_TRY(edt_plan_create(graph, exec->nodes, exec->dead, err, &exec->plan));
    exec->input_bytes = input_bytes(graph);
    EDT_TRY(prepare_kernels(exec, err));
    EDT_TRY(prepare_low_copy(exec, err));
    EDT_TRY(alloc_blocks(exec, err));
    edt_exec_bind(exec);
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

void edt_exec_get_memory(const edt_exec *exec, edt_exec_memory *out_memory)
{
    const edt_graph *graph = exec->graph;
    const size_t low = graph->real == graph->wide ? 0 : edt_dtype_bytes(graph->real);
    *out_memory = (edt_exec_memory){
        .activation_bytes = exec->plan.block_bytes,
        .input_bytes = exec->input_bytes,
        .low_bytes = exec->params->n_elements * (int64_t)low,
        .workspace_bytes = (int64_t)exec->workspace_bytes,
    };
}

void edt_exec_drop_capture(edt_exec *exec)
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
    edt_exec_drop_capture(exec);
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
    edt_mem_free(exec->cpu_seconds);
    edt_mem_free(exec->events);
    edt_mem_free(exec->pointers);
    edt_mem_free(exec->placed);
    edt_mem_free(exec->entry_of);
    edt_mem_free(exec);
}
