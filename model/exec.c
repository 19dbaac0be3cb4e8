// The executor: kernels prepared once, pointers bound once, a run is a loop over nodes. Graphs
// with 16-bit activations read the weights of convolutions from a low copy of the parameter
// arena, which one CAST over the whole arena renews when the parameters have changed.
#include <string.h>

#include "core/clock.h"
#include "core/trace.h"
#include "model/exec_priv.h"

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
        exec->cpu_seconds[i] -= edt_clock_cpu_s();
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
    exec->cpu_seconds[i] += edt_clock_cpu_s();
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
        edt_exec_bind(exec);
    }
    if (exec->bound_grads == NULL && edt_exec_has_backward(exec->graph)) {
        EDT_FAIL(err, EDT_ERR_INTERNAL, "running a backward pass without gradient memory");
    }
    edt_run_ctx run_ctx = *ctx;
    run_ctx.params_version = arena_version(exec, ctx->params_version);
    EDT_TRY(refresh_low(exec, &run_ctx, values, err));
    for (int i = 0; i < exec->graph->n_nodes; i++) {
        edt_exec_slot *node = &exec->execs[i];
        if (node->kernel == NULL) {
            continue;
        }
        double start = 0.0;
        if (exec->timing) {
            EDT_TRY(begin_node_timing(exec, i, err, &start));
        }
        edt_trace_begin(edt_op_get_info(exec->nodes[i].kind)->name);
        const edt_status ran = table->run(exec->backend, node->kernel, &run_ctx, node->in,
                                          node->out, exec->workspace, err);
        edt_trace_end();
        EDT_TRY_CTX(ran, err, "node '%s'", exec->nodes[i].name);
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
        edt_exec_drop_capture(exec);
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

edt_exec_hook_fn *edt_exec_get_hook(const edt_exec *exec, void **out_user)
{
    *out_user = exec->hook_user;
    return exec->hook;
}

bool edt_exec_get_operands(const edt_exec *exec, int i_node, edt_exec_operands *out_operands)
{
    if (i_node < 0 || i_node >= exec->graph->n_nodes || exec->execs[i_node].kernel == NULL) {
        return false;
    }
    *out_operands = (edt_exec_operands){.node = &exec->nodes[i_node],
                                        .in = exec->execs[i_node].in,
                                        .out = exec->execs[i_node].out};
    return true;
}

void edt_exec_place(edt_exec *exec, edt_value_id value, void *device)
{
    edt_exec_drop_capture(exec);
    exec->placed[value] = device;
    edt_exec_bind(exec);
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
    memset(exec->cpu_seconds, 0, (size_t)exec->graph->n_nodes * sizeof *exec->cpu_seconds);
}

double edt_exec_node_seconds(const edt_exec *exec, int i_node)
{
    return i_node < 0 || i_node >= exec->graph->n_nodes ? 0.0 : exec->seconds[i_node];
}

double edt_exec_node_cpu_seconds(const edt_exec *exec, int i_node)
{
    return i_node < 0 || i_node >= exec->graph->n_nodes ? 0.0 : exec->cpu_seconds[i_node];
}

bool edt_exec_describe(const edt_exec *exec, int i_node, edt_op_desc *out_desc)
{
    if (i_node < 0 || i_node >= exec->graph->n_nodes || exec->execs[i_node].kernel == NULL) {
        return false;
    }
    edt_graph_describe_node(exec->graph, &exec->nodes[i_node], out_desc);
    return true;
}
