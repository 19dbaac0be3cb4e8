// See optimizer.h.
#include "train/optimizer.h"

#include <regex.h>
#include <stdio.h>
#include <string.h>

#include "core/log.h"
#include "train/schedule.h"

struct edt_optimizer {
    edt_params *params;
    edt_param_segment *segments;
    edt_kernel *kernel;
    void *own_stats; // where the caller has no memory for them
    void *stats;     // device, EDT_OPTIMIZER_STATS of the parameters' type
    void *scale;     // device, the caller's; NULL: no loss scaling
    void *workspace;
    void *gradients; // the caller's; NULL: those of params
    bool has_slot1, has_ema, tf2;
    double max_decay;
};

edt_status edt_freeze_select(const char *var_freeze_expr, int n_params,
                             const char *const *names, const bool *trainable, edt_error *err,
                             bool *out_frozen)
{
    for (int i = 0; i < n_params; ++i) {
        out_frozen[i] = false;
    }
    if (var_freeze_expr == NULL || var_freeze_expr[0] == '\0') {
        return EDT_OK;
    }
    if (strstr(var_freeze_expr, "(?") != NULL || strchr(var_freeze_expr, '\\') != NULL) {
        EDT_FAIL(
            err, EDT_ERR_USAGE,
            "var_freeze_expr '%s' uses Python-only syntax ('(?' or '\\'); write it as an "
            "extended regular expression, for example (efficientnet|fpn_cells|resample_p6)",
            var_freeze_expr);
    }
    char anchored[1024];
    if ((size_t)snprintf(anchored, sizeof anchored, "^(%s)", var_freeze_expr) >=
        sizeof anchored) {
        EDT_FAIL(err, EDT_ERR_USAGE, "var_freeze_expr is longer than 1000 characters");
    }
    regex_t regex;
    const int code = regcomp(&regex, anchored, REG_EXTENDED | REG_NOSUB);
    if (code != 0) {
        char reason[128];
        (void)regerror(code, &regex, reason, sizeof reason);
        EDT_FAIL(err, EDT_ERR_USAGE, "var_freeze_expr '%s' is not a regular expression: %s",
                 var_freeze_expr, reason);
    }
    int n_frozen = 0;
    for (int i = 0; i < n_params; ++i) {
        char full_name[512];
        (void)snprintf(full_name, sizeof full_name, "%s:0", names[i]);
        out_frozen[i] = trainable[i] && regexec(&regex, full_name, 0, NULL, 0) == 0;
        n_frozen += out_frozen[i];
    }
    regfree(&regex);
    if (n_frozen == 0) {
        EDT_WARN("var_freeze_expr '%s' matches no variable: nothing is frozen",
                 var_freeze_expr);
    }
    return EDT_OK;
}

static edt_status describe(const edt_optimizer *o, const edt_hparams *hp, edt_error *err,
                           edt_op_desc *out_desc)
{
    edt_op_desc desc = {.kind = EDT_OP_OPTIMIZER};
    edt_optimizer_attrs *a = &desc.attrs.optimizer;
    if (strcmp(hp->optimizer, "sgd") == 0) {
        a->kind = o->tf2 ? EDT_OPTIMIZER_SGD_TF2 : EDT_OPTIMIZER_SGD_TF1;
        a->momentum = hp->momentum;
    } else if (strcmp(hp->optimizer, "adam") == 0) {
        a->kind = EDT_OPTIMIZER_ADAM;
        a->momentum = o->tf2 ? hp->momentum : 0.9;
        a->beta2 = 0.999;
        a->epsilon = o->tf2 ? 1e-7 : 1e-8;
    } else {
        EDT_FAIL(err, EDT_ERR_USAGE, "optimizer '%s' is not known; use sgd or adam",
                 hp->optimizer);
    }
    a->segments = o->segments;
    a->n_segments = o->params->n_params;
    // tf1 takes the absolute value of a negative limit, tf2 switches clipping off
    // (train.md 5.1).
    a->clip = hp->clip_gradients_norm < 0.0 && !o->tf2 ? -hp->clip_gradients_norm
                                                       : hp->clip_gradients_norm;
    a->weight_decay = hp->weight_decay;
    a->l2_includes_frozen = !o->tf2;
    desc.n_in = o->scale != NULL ? 6 : o->has_ema ? 5 : o->has_slot1 ? 4 : 3;
    for (int i = 0; i < desc.n_in; ++i) {
        desc.in[i] = (edt_tensor_desc){o->params->real, edt_shape_1(o->params->n_elements)};
    }
    if (!o->has_slot1) {
        desc.in[3].dtype = EDT_DTYPE_NONE;
    }
    if (o->scale != NULL) {
        desc.in[5] = (edt_tensor_desc){EDT_DTYPE_F32, edt_shape_1(2)};
        if (!o->has_ema) {
            desc.in[4].dtype = EDT_DTYPE_NONE;
        }
    }
    desc.n_out = 1;
    EDT_TRY(edt_op_infer(&desc, err));
    *out_desc = desc;
    return EDT_OK;
}

edt_status edt_optimizer_create(edt_params *params, const edt_hparams *hp, const bool *frozen,
                                edt_error *err, edt_optimizer **out_optimizer)
{
    return edt_optimizer_create_on(params, hp, frozen, NULL, NULL, err, out_optimizer);
}

edt_status edt_optimizer_create_on(edt_params *params, const edt_hparams *hp,
                                   const bool *frozen, void *stats, void *scale, edt_error *err,
                                   edt_optimizer **out_optimizer)
{
    edt_backend *backend = params->backend;
    edt_status status = EDT_OK;
    edt_optimizer *o = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *o);
    if (o == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the optimizer");
    }
    o->params = params;
    o->stats = stats;
    o->scale = scale;
    o->tf2 = strcmp(hp->semantics, "tf2") == 0;
    o->has_slot1 = strcmp(hp->optimizer, "adam") == 0;
    o->max_decay = hp->moving_average_decay;
    o->has_ema = o->max_decay > 0.0;
    o->segments = edt_mem_calloc(EDT_MEM_MISC, (size_t)params->n_params, sizeof *o->segments);
    if (o->segments == NULL) {
        status = edt_error_set(err, EDT_ERR_NOMEM, "no memory for the optimizer's table");
        goto fail;
    }
    for (int i = 0; i < params->n_params; ++i) {
        const edt_param_entry *e = &params->entries[i];
        const bool update = e->trainable && !frozen[i];
        o->segments[i] = (edt_param_segment){
            .offset = e->offset,
            .n = e->n,
            .update = update,
            .decay = e->decay,
            .average = o->has_ema && (o->tf2 ? update : true),
        };
    }
    EDT_TRY_GOTO(edt_params_add_arena(params, EDT_PARAMS_GRADS, err));
    EDT_TRY_GOTO(edt_params_add_arena(params, EDT_PARAMS_SLOT0, err));
    if (o->has_slot1) {
        EDT_TRY_GOTO(edt_params_add_arena(params, EDT_PARAMS_SLOT1, err));
    }
    if (o->has_ema) {
        EDT_TRY_GOTO(edt_params_add_arena(params, EDT_PARAMS_EMA, err));
    }
    edt_op_desc desc;
    EDT_TRY_GOTO(describe(o, hp, err, &desc));
    size_t workspace_bytes;
    EDT_TRY_GOTO(backend->table->prepare(backend, &desc, err, &o->kernel, &workspace_bytes));
    EDT_TRY_GOTO(
        backend->table->alloc(backend, EDT_MEM_WORKSPACE, workspace_bytes, err, &o->workspace));
    if (stats == NULL) {
        EDT_TRY_GOTO(backend->table->alloc(backend, EDT_MEM_WORKSPACE,
                                           EDT_OPTIMIZER_STATS * edt_dtype_bytes(params->real),
                                           err, &o->own_stats));
        o->stats = o->own_stats;
    }
    *out_optimizer = o;
    return EDT_OK;
fail:
    edt_optimizer_destroy(o);
    return status;
}

void edt_optimizer_destroy(edt_optimizer *o)
{
    if (o == NULL) {
        return;
    }
    edt_backend *backend = o->params->backend;
    if (o->kernel != NULL) {
        backend->table->release(backend, o->kernel);
    }
    backend->table->free(backend, o->workspace);
    backend->table->free(backend, o->own_stats);
    edt_mem_free(o->segments);
    edt_mem_free(o);
}

edt_run_ctx edt_optimizer_context(const edt_optimizer *o, double learning_rate, int64_t step)
{
    return (edt_run_ctx){
        .params_version = o->params->version,
        .learning_rate = learning_rate,
        .ema_decay = edt_ema_decay(o->max_decay, step, o->tf2),
        .adam_t = step + 1,
    };
}

const edt_param_segment *edt_optimizer_segments(const edt_optimizer *o)
{
    return o->segments;
}

void edt_optimizer_use_gradients(edt_optimizer *o, void *device)
{
    o->gradients = device;
}

edt_status edt_optimizer_queue(edt_optimizer *o, const edt_run_ctx *ctx, edt_error *err)
{
    edt_params *p = o->params;
    void *in[6] = {
        p->memory[EDT_PARAMS_VALUES],
        o->gradients != NULL ? o->gradients : p->memory[EDT_PARAMS_GRADS],
        p->memory[EDT_PARAMS_SLOT0],
        p->memory[EDT_PARAMS_SLOT1],
        p->memory[EDT_PARAMS_EMA],
        o->scale,
    };
    void *out[1] = {o->stats};
    return p->backend->table->run(p->backend, o->kernel, ctx, in, out, o->workspace, err);
}

edt_status edt_optimizer_read_stats(const edt_optimizer *o, edt_error *err, double *out_stats)
{
    edt_backend *backend = o->params->backend;
    if (o->params->real == EDT_DTYPE_F64) {
        return backend->table->download(backend, out_stats, o->stats,
                                        EDT_OPTIMIZER_STATS * sizeof(double), err);
    }
    float stats[EDT_OPTIMIZER_STATS];
    EDT_TRY(backend->table->download(backend, stats, o->stats, sizeof stats, err));
    for (int i = 0; i < EDT_OPTIMIZER_STATS; ++i) {
        out_stats[i] = (double)stats[i];
    }
    return EDT_OK;
}

edt_status edt_optimizer_run(edt_optimizer *o, double learning_rate, int64_t step,
                             edt_error *err, double *out_stats)
{
    edt_backend *backend = o->params->backend;
    const edt_run_ctx ctx = edt_optimizer_context(o, learning_rate, step);
    if (backend->table->begin != NULL) {
        EDT_TRY(backend->table->begin(backend, &ctx, err));
    }
    EDT_TRY(edt_optimizer_queue(o, &ctx, err));
    ++o->params->version;
    return edt_optimizer_read_stats(o, err, out_stats);
}

edt_status edt_optimizer_complete_ema(edt_optimizer *o, edt_error *err)
{
    edt_params *p = o->params;
    if (!o->has_ema) {
        return EDT_OK;
    }
    int64_t most = 0;
    for (int i = 0; i < p->n_params; ++i) {
        if (!o->segments[i].average && p->entries[i].n > most) {
            most = p->entries[i].n;
        }
    }
    if (most == 0) {
        return EDT_OK;
    }
    double *values = edt_mem_calloc(EDT_MEM_PARAM, (size_t)most, sizeof *values);
    if (values == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to complete the averages");
    }
    edt_status status = EDT_OK;
    for (int i = 0; i < p->n_params && status == EDT_OK; ++i) {
        if (!o->segments[i].average) {
            const int64_t n = p->entries[i].n;
            status = edt_params_get_f64(p, EDT_PARAMS_VALUES, i, values, n, err);
            if (status == EDT_OK) {
                status = edt_params_set_f64(p, EDT_PARAMS_EMA, i, values, n, err);
            }
        }
    }
    edt_mem_free(values);
    return status;
}
