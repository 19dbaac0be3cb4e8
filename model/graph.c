// Building and reading the graph. Everything lives in the graph's arena; arrays grow by copying
// into a larger piece of it, so indices are stable and pointers into the arrays are not.
#include "model/graph.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

edt_status edt_graph_create(edt_dtype real, edt_error *err, edt_graph **out_graph)
{
    if (real != EDT_DTYPE_F32 && real != EDT_DTYPE_F64 && real != EDT_DTYPE_BF16 &&
        real != EDT_DTYPE_F16) {
        EDT_FAIL(err, EDT_ERR_INVALID, "a graph computes in f32, f64, bf16 or f16, not in %s",
                 edt_dtype_name(real));
    }
    edt_graph *graph = edt_mem_calloc(EDT_MEM_ARENA, 1, sizeof *graph);
    if (graph == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for a graph");
    }
    edt_arena_init(&graph->arena, EDT_MEM_ARENA, (size_t)1 << 20);
    graph->real = real;
    graph->wide = edt_dtype_wide(real);
    *out_graph = graph;
    return EDT_OK;
}

void edt_graph_destroy(edt_graph *graph)
{
    if (graph == NULL) {
        return;
    }
    edt_arena_deinit(&graph->arena);
    edt_mem_free(graph);
}

edt_status edt_graph_status(const edt_graph *graph, edt_error *err)
{
    if (graph->status != EDT_OK && err != NULL) {
        *err = graph->error;
    }
    return graph->status;
}

void edt_graph_fail(edt_graph *graph, edt_status status, const char *fmt, ...)
{
    if (graph->status != EDT_OK) {
        return;
    }
    char text[EDT_ERROR_TEXT_BYTES];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    graph->status = edt_error_set(&graph->error, status, "%s", text);
}

const char *edt_graph_printf(edt_graph *graph, const char *fmt, ...)
{
    char text[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    const char *copy = edt_arena_strdup(&graph->arena, text);
    if (copy == NULL) {
        edt_graph_fail(graph, EDT_ERR_NOMEM, "no memory for the graph's names");
        return "";
    }
    return copy;
}

static void *grow(edt_graph *graph, void *items, int n, int *cap, size_t item_bytes)
{
    if (n < *cap) {
        return items;
    }
    const int new_cap = *cap == 0 ? 256 : 2 * *cap;
    void *larger = edt_arena_calloc(&graph->arena, (size_t)new_cap, item_bytes);
    if (larger == NULL) {
        edt_graph_fail(graph, EDT_ERR_NOMEM, "no memory for a graph of %d items", new_cap);
        return NULL;
    }
    if (n > 0) {
        memcpy(larger, items, (size_t)n * item_bytes);
    }
    *cap = new_cap;
    return larger;
}

static edt_value_id add_value(edt_graph *graph, const char *name, edt_tensor_desc desc,
                              edt_value_role role, int producer, int i_param)
{
    edt_value *values =
        grow(graph, graph->values, graph->n_values, &graph->cap_values, sizeof *graph->values);
    const char *copy = edt_graph_printf(graph, "%s", name);
    if (values == NULL || graph->status != EDT_OK) {
        return EDT_NO_VALUE;
    }
    graph->values = values;
    values[graph->n_values] = (edt_value){
        .name = copy, .desc = desc, .role = role, .producer = producer, .i_param = i_param};
    return graph->n_values++;
}

edt_value_id edt_graph_input(edt_graph *graph, const char *name, edt_dtype dtype,
                             edt_shape shape)
{
    if (graph->status != EDT_OK) {
        return EDT_NO_VALUE;
    }
    if (edt_graph_find_input(graph, name) != EDT_NO_VALUE) {
        edt_graph_fail(graph, EDT_ERR_INTERNAL, "input '%s' is declared twice", name);
        return EDT_NO_VALUE;
    }
    return add_value(graph, name, (edt_tensor_desc){.dtype = dtype, .shape = shape},
                     EDT_VALUE_INPUT, -1, -1);
}

static bool ends_with(const char *text, const char *end)
{
    const size_t n = strlen(text);
    const size_t n_end = strlen(end);
    return n >= n_end && strcmp(text + n - n_end, end) == 0;
}

static edt_value_id add_param(edt_graph *graph, const char *name, const char *object_path,
                              edt_dtype dtype, edt_shape shape, edt_init init, bool trainable)
{
    if (graph->status != EDT_OK) {
        return EDT_NO_VALUE;
    }
    const int known = edt_graph_find_param(graph, name);
    if (known >= 0) {
        const edt_param *param = &graph->params[known];
        if (graph->values[param->value].desc.dtype != dtype) {
            edt_graph_fail(graph, EDT_ERR_INTERNAL,
                           "variable '%s' is read as %s and as %s: ask for it either by "
                           "edt_graph_param or by edt_graph_weight",
                           name, edt_dtype_name(graph->values[param->value].desc.dtype),
                           edt_dtype_name(dtype));
            return EDT_NO_VALUE;
        }
        if (!edt_shape_equal(&param->shape, &shape)) {
            char was[EDT_SHAPE_TEXT_BYTES];
            char now[EDT_SHAPE_TEXT_BYTES];
            edt_graph_fail(graph, EDT_ERR_MISMATCH, "variable '%s' is %s and is used as %s",
                           name, edt_shape_text(&param->shape, was),
                           edt_shape_text(&shape, now));
            return EDT_NO_VALUE;
        }
        return param->value;
    }
    edt_param *params =
        grow(graph, graph->params, graph->n_params, &graph->cap_params, sizeof *graph->params);
    if (params == NULL) {
        return EDT_NO_VALUE;
    }
    graph->params = params;
    const edt_value_id value =
        add_value(graph, name, (edt_tensor_desc){.dtype = dtype, .shape = shape},
                  EDT_VALUE_PARAM, -1, graph->n_params);
    const char *path = object_path == NULL ? NULL : edt_graph_printf(graph, "%s", object_path);
    if (graph->status != EDT_OK) {
        return EDT_NO_VALUE;
    }
    params[graph->n_params] = (edt_param){
        .name = graph->values[value].name,
        .object_path = path,
        .shape = shape,
        .init = init,
        .trainable = trainable,
        .decay = trainable && (ends_with(name, "kernel") || ends_with(name, "weight")),
        .value = value,
        .grad = EDT_NO_VALUE,
    };
    graph->n_params++;
    return value;
}

edt_value_id edt_graph_param(edt_graph *graph, const char *name, const char *object_path,
                             edt_shape shape, edt_init init, bool trainable)
{
    return add_param(graph, name, object_path, graph->wide, shape, init, trainable);
}

edt_value_id edt_graph_weight(edt_graph *graph, const char *name, const char *object_path,
                              edt_shape shape, edt_init init, bool trainable)
{
    return add_param(graph, name, object_path, graph->real, shape, init, trainable);
}

edt_value_id edt_graph_param_grad(edt_graph *graph, int i_param)
{
    if (graph->status != EDT_OK) {
        return EDT_NO_VALUE;
    }
    edt_param *param = &graph->params[i_param];
    if (param->grad == EDT_NO_VALUE) {
        param->grad = add_value(graph, edt_graph_printf(graph, "grad:%s", param->name),
                                (edt_tensor_desc){.dtype = graph->wide, .shape = param->shape},
                                EDT_VALUE_PARAM_GRAD, -1, i_param);
    }
    return param->grad;
}

int edt_graph_op_into(edt_graph *graph, const char *name, edt_op_kind kind,
                      const edt_op_attrs *attrs, int n_in, const edt_value_id *in, int n_out,
                      edt_value_id *out)
{
    if (graph->status != EDT_OK) {
        return -1;
    }
    while (n_out > 0 && out[n_out - 1] == EDT_NO_VALUE) {
        n_out--;
    }
    if (n_in > EDT_OP_MAX_IN || n_out > EDT_OP_MAX_OUT || n_out == 0) {
        edt_graph_fail(graph, EDT_ERR_INTERNAL, "node '%s': %d inputs and %d outputs", name,
                       n_in, n_out);
        return -1;
    }
    edt_node node = {.kind = kind, .n_in = n_in, .n_out = n_out, .segment = graph->segment};
    for (int i = 0; i < EDT_OP_MAX_OUT; i++) {
        node.out[i] = EDT_NO_VALUE;
    }
    if (attrs != NULL) {
        node.attrs = *attrs;
    }
    edt_op_desc desc = {.kind = kind, .attrs = node.attrs, .n_in = n_in, .n_out = n_out};
    for (int i = 0; i < n_in; i++) {
        if (in[i] < 0 || in[i] >= graph->n_values) {
            edt_graph_fail(graph, EDT_ERR_INTERNAL, "node '%s' (%s): input %d is absent", name,
                           edt_op_get_info(kind)->name, i);
            return -1;
        }
        node.in[i] = in[i];
        desc.in[i] = graph->values[in[i]].desc;
    }
    edt_error err = {0};
    const edt_status status = edt_op_infer(&desc, &err);
    if (status != EDT_OK) {
        edt_graph_fail(graph, status, "node '%s': %s", name, err.text);
        return -1;
    }
    const int i_node = graph->n_nodes;
    for (int i = 0; i < n_out; i++) {
        if (out[i] == EDT_GRAPH_NEW) {
            const char *value_name = i == 0 ? name : edt_graph_printf(graph, "%s:%d", name, i);
            out[i] =
                add_value(graph, value_name, desc.out[i], EDT_VALUE_ACTIVATION, i_node, -1);
        } else if (out[i] != EDT_NO_VALUE &&
                   (graph->values[out[i]].desc.dtype != desc.out[i].dtype ||
                    edt_shape_count(&graph->values[out[i]].desc.shape) !=
                        edt_shape_count(&desc.out[i].shape))) {
            edt_graph_fail(graph, EDT_ERR_INTERNAL,
                           "node '%s': output %d has another type or size than value '%s'",
                           name, i, graph->values[out[i]].name);
        }
        node.out[i] = out[i];
    }
    edt_node *nodes =
        grow(graph, graph->nodes, graph->n_nodes, &graph->cap_nodes, sizeof *graph->nodes);
    node.name = edt_graph_printf(graph, "%s", name);
    if (nodes == NULL || graph->status != EDT_OK) {
        return -1;
    }
    graph->nodes = nodes;
    nodes[graph->n_nodes++] = node;
    return i_node;
}

edt_value_id edt_graph_op(edt_graph *graph, const char *name, edt_op_kind kind,
                          const edt_op_attrs *attrs, int n_in, const edt_value_id *in,
                          int n_out_wanted)
{
    edt_value_id out[EDT_OP_MAX_OUT];
    for (int i = 0; i < n_out_wanted && i < EDT_OP_MAX_OUT; i++) {
        out[i] = EDT_GRAPH_NEW;
    }
    const int i_node = edt_graph_op_into(graph, name, kind, attrs, n_in, in, n_out_wanted, out);
    return i_node < 0 ? EDT_NO_VALUE : out[0];
}

void edt_graph_segment_begin(edt_graph *graph)
{
    graph->segment = ++graph->n_segments;
}

void edt_graph_segment_end(edt_graph *graph)
{
    graph->segment = 0;
}

void edt_graph_output(edt_graph *graph, const char *name, edt_value_id value)
{
    if (graph->status != EDT_OK) {
        return;
    }
    edt_output *outputs = grow(graph, graph->outputs, graph->n_outputs, &graph->cap_outputs,
                               sizeof *graph->outputs);
    const char *copy = edt_graph_printf(graph, "%s", name);
    if (outputs == NULL || graph->status != EDT_OK) {
        return;
    }
    graph->outputs = outputs;
    outputs[graph->n_outputs++] = (edt_output){.name = copy, .value = value};
}

edt_value_id edt_graph_find_output(const edt_graph *graph, const char *name)
{
    for (int i = 0; i < graph->n_outputs; i++) {
        if (strcmp(graph->outputs[i].name, name) == 0) {
            return graph->outputs[i].value;
        }
    }
    return EDT_NO_VALUE;
}

edt_value_id edt_graph_find_input(const edt_graph *graph, const char *name)
{
    for (int i = 0; i < graph->n_values; i++) {
        if (graph->values[i].role == EDT_VALUE_INPUT &&
            strcmp(graph->values[i].name, name) == 0) {
            return i;
        }
    }
    return EDT_NO_VALUE;
}

int edt_graph_find_param(const edt_graph *graph, const char *name)
{
    for (int i = 0; i < graph->n_params; i++) {
        if (strcmp(graph->params[i].name, name) == 0) {
            return i;
        }
    }
    return -1;
}

edt_shape edt_graph_shape(const edt_graph *graph, edt_value_id value)
{
    if (value < 0 || value >= graph->n_values) {
        return (edt_shape){0};
    }
    return graph->values[value].desc.shape;
}

void edt_graph_describe_node(const edt_graph *graph, const edt_node *node,
                             edt_op_desc *out_desc)
{
    *out_desc = (edt_op_desc){
        .kind = node->kind, .attrs = node->attrs, .n_in = node->n_in, .n_out = node->n_out};
    for (int i = 0; i < node->n_in; i++) {
        if (node->in[i] != EDT_NO_VALUE) {
            out_desc->in[i] = graph->values[node->in[i]].desc;
        }
    }
    for (int i = 0; i < node->n_out; i++) {
        if (node->out[i] != EDT_NO_VALUE) {
            out_desc->out[i] = graph->values[node->out[i]].desc;
        }
    }
}

void edt_graph_describe(const edt_graph *graph, int i_node, edt_op_desc *out_desc)
{
    edt_graph_describe_node(graph, &graph->nodes[i_node], out_desc);
}
