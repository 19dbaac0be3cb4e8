// What a step does about values that are not finite: it leaves the moving statistics as if it
// had not been taken, and finds the first node that made such a value.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "train/step_priv.h"

// Moving statistics lie between the variables they belong to; what follows one another is moved
// in one piece.
static int collect_pieces(const edt_params *params, edt_step_piece *pieces)
{
    const size_t size = edt_dtype_bytes(params->real);
    int n = 0;
    for (int i = 0; i < params->n_params; ++i) {
        const edt_param_entry *e = &params->entries[i];
        if (e->trainable) {
            continue;
        }
        const size_t begin = (size_t)e->offset * size;
        const size_t end = begin + (size_t)e->n * size;
        // Entries are in no order of offsets by contract; neighbours that are in order merge.
        if (n > 0 && pieces[n - 1].end <= begin && begin - pieces[n - 1].end < EDT_MEM_ALIGN) {
            pieces[n - 1].end = end;
        } else {
            pieces[n++] = (edt_step_piece){.begin = begin, .end = end};
        }
    }
    return n;
}

edt_status edt_step_guard_init(edt_step_guard *g, const edt_params *params, edt_error *err)
{
    g->params = params;
    g->pieces = edt_mem_calloc(EDT_MEM_MISC, (size_t)params->n_params + 1, sizeof *g->pieces);
    if (g->pieces == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the places of moving statistics");
    }
    g->n_pieces = collect_pieces(params, g->pieces);
    size_t n_bytes = 0;
    for (int i = 0; i < g->n_pieces; ++i) {
        n_bytes += g->pieces[i].end - g->pieces[i].begin;
    }
    g->saved = edt_mem_alloc(EDT_MEM_PARAM, n_bytes);
    if (g->saved == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for a copy of the moving statistics");
    }
    return EDT_OK;
}

void edt_step_guard_deinit(edt_step_guard *g)
{
    edt_mem_free(g->pieces);
    edt_mem_free(g->saved);
}

static edt_status move_statistics(const edt_step_guard *g, bool back, edt_error *err)
{
    const edt_backend_table *table = g->params->backend->table;
    char *values = g->params->memory[EDT_PARAMS_VALUES];
    char *at = g->saved;
    for (int i = 0; i < g->n_pieces; ++i) {
        const size_t n = g->pieces[i].end - g->pieces[i].begin;
        char *value = values + g->pieces[i].begin;
        EDT_TRY(back ? table->upload(g->params->backend, value, at, n, err)
                     : table->download(g->params->backend, at, value, n, err));
        at += n;
    }
    return EDT_OK;
}

edt_status edt_step_guard_keep(const edt_step_guard *g, edt_error *err)
{
    return move_statistics(g, false, err);
}

edt_status edt_step_guard_restore(const edt_step_guard *g, edt_error *err)
{
    return move_statistics(g, true, err);
}

// Index of the first element that is infinite or no number, -1: none. Integers are finite.
static int64_t find_not_finite(const void *data, int64_t n, edt_dtype dtype)
{
    const char *at = data;
    for (int64_t i = 0; i < n; ++i) {
        uint64_t bits = 0, exponent;
        switch (dtype) {
        case EDT_DTYPE_F64: exponent = UINT64_C(0x7ff) << 52; break;
        case EDT_DTYPE_F32: exponent = UINT64_C(0xff) << 23; break;
        case EDT_DTYPE_BF16: exponent = 0xff << 7; break;
        case EDT_DTYPE_F16: exponent = 0x1f << 10; break;
        default: return -1;
        }
        memcpy(&bits, at, edt_dtype_bytes(dtype)); // machines of this program are little-endian
        if ((bits & exponent) == exponent) {
            return i;
        }
        at += edt_dtype_bytes(dtype);
    }
    return -1;
}

typedef struct probe {
    edt_step *step;
    edt_exec_hook_fn *next; // of the sums over ranks
    void *next_user;
    char *copy; // of values of a device
    size_t copy_bytes;
    edt_step_fault *fault;
} probe;

// Looks at memory of the backend that lies there as `desc` says.
static edt_status look_at(probe *p, const void *device, const edt_tensor_desc *desc,
                          edt_error *err, int64_t *out_index)
{
    const edt_backend *backend = p->step->backend;
    const size_t n_bytes = edt_tensor_bytes(desc);
    const void *host = device;
    *out_index = -1;
    if (device == NULL) {
        return EDT_OK;
    }
    if (backend->table->streams != NULL) {
        if (n_bytes > p->copy_bytes) {
            edt_mem_free(p->copy);
            p->copy_bytes = 0;
            p->copy = edt_mem_alloc(EDT_MEM_MISC, n_bytes);
            if (p->copy == NULL) {
                EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to look at %zu bytes of a step",
                         n_bytes);
            }
            p->copy_bytes = n_bytes;
        }
        EDT_TRY(backend->table->download(p->step->backend, p->copy, device, n_bytes, err));
        host = p->copy;
    }
    *out_index = find_not_finite(host, edt_shape_count(&desc->shape), desc->dtype);
    return EDT_OK;
}

// The variable of a node that is at fault itself, "" where none is.
static edt_status find_bad_variable(probe *p, const edt_exec_operands *o, edt_error *err,
                                    const char **out_name)
{
    const edt_graph *graph = p->step->model->graph;
    *out_name = "";
    for (int k = 0; k < o->node->n_in; ++k) {
        if (o->node->in[k] == EDT_NO_VALUE) {
            continue;
        }
        const edt_value *v = &graph->values[o->node->in[k]];
        int64_t index = -1;
        if (v->role == EDT_VALUE_PARAM) {
            EDT_TRY(look_at(p, o->in[k], &v->desc, err, &index));
        }
        if (index >= 0) {
            *out_name = v->name;
            return EDT_OK;
        }
    }
    return EDT_OK;
}

static edt_status look_at_node(probe *p, int i_node, edt_error *err)
{
    const edt_graph *graph = p->step->model->graph;
    edt_exec_operands o;
    if (p->fault->i_node >= 0 || !edt_exec_get_operands(p->step->exec, i_node, &o)) {
        return EDT_OK;
    }
    for (int k = 0; k < o.node->n_out; ++k) {
        if (o.node->out[k] == EDT_NO_VALUE) {
            continue;
        }
        const edt_value *v = &graph->values[o.node->out[k]];
        int64_t index;
        EDT_TRY(look_at(p, o.out[k], &v->desc, err, &index));
        if (index < 0) {
            continue;
        }
        const char *variable;
        EDT_TRY(find_bad_variable(p, &o, err, &variable));
        p->fault->i_node = i_node;
        const char *pass = o.node->backward ? "backward" : "forward";
        const bool has_bad = variable[0] != '\0';
        (void)snprintf(p->fault->text, sizeof p->fault->text,
                       "the first value that is not finite comes from the %s node '%s' (%s), "
                       "element %lld of '%s'%s%s%s",
                       pass, o.node->name, edt_op_get_info(o.node->kind)->name,
                       (long long)index, v->name, has_bad ? ": its variable '" : "", variable,
                       has_bad ? "' is not finite" : "");
        return EDT_OK;
    }
    return EDT_OK;
}

static edt_status after_node(void *user, const edt_exec_node_done *done, edt_error *err)
{
    probe *p = user;
    if (p->next != NULL) {
        EDT_TRY(p->next(p->next_user, done, err));
    }
    return look_at_node(p, done->i_node, err);
}

// The normalisers were summed over ranks in place: they are this rank's parts again.
static edt_status reset_norm(edt_step *s, edt_error *err)
{
    const edt_value_id norm = edt_graph_find_input(s->model->graph, "norm");
    const edt_value_id seg_norm = edt_graph_find_input(s->model->graph, "seg_norm");
    for (int i = 0; i < s->n_inputs; ++i) {
        if (s->inputs[i].value == norm || s->inputs[i].value == seg_norm) {
            EDT_TRY(edt_step_set_input(
                s, &s->inputs[i], s->inputs[i].value == norm ? &s->norm : &s->seg_norm, err));
        }
    }
    return EDT_OK;
}

edt_status edt_step_find_fault(edt_step *s, edt_error *err, edt_step_fault *out_fault)
{
    edt_step_fault fault = {.i_node = -1};
    if (edt_comm_on_device(s->options.comm)) {
        (void)snprintf(
            fault.text, sizeof fault.text,
            "one GPU names the first node whose value is not finite, several do not");
        *out_fault = fault;
        return EDT_OK;
    }
    probe p = {.step = s, .fault = &fault};
    const edt_run_ctx ctx = {0}; // params_version 0: whatever is derived is derived anew
    p.next = edt_exec_get_hook(s->exec, &p.next_user);
    EDT_TRY(edt_step_guard_keep(&s->guard, err));
    EDT_TRY(reset_norm(s, err));
    edt_exec_set_hook(s->exec, after_node, &p);
    const edt_status ran = edt_step_run_graph(s, &ctx, err);
    edt_exec_set_hook(s->exec, p.next, p.next_user);
    edt_mem_free(p.copy);
    EDT_TRY(ran);
    EDT_TRY(edt_step_guard_restore(&s->guard, err));
    if (fault.i_node < 0) {
        (void)snprintf(fault.text, sizeof fault.text,
                       "each value of the network is finite: the norm of the gradients is not");
    }
    *out_fault = fault;
    return EDT_OK;
}
