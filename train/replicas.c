// See replicas.h. Clipping with the L2 term is what the op OPTIMIZER does before its update:
// with SGD without momentum its slot is the clipped gradient, and the update goes to a copy of
// the variables that nobody reads.
#include "train/replicas.h"

#include <string.h>

struct edt_replicas {
    edt_params *params;
    edt_comm *comm;
    double loss_divisor, sum_divisor, positives_momentum;
    bool tf2, is_mean; // grad_reduce=tpu
    edt_kernel *kernel;
    void *stats; // the caller's
    void *workspace;
    void *variables; // copy of the values
    void *clipped;   // gradients, then their sum
};

bool edt_replicas_are_wanted(const edt_hparams *hp, const edt_comm *comm)
{
    return strcmp(hp->grad_reduce, "global") != 0 && edt_comm_world_size(comm) > 1;
}

static edt_status prepare(edt_replicas *r, const edt_hparams *hp,
                          const edt_param_segment *segments, edt_error *err)
{
    const edt_backend_table *table = r->params->backend->table;
    edt_op_desc desc = {.kind = EDT_OP_OPTIMIZER, .n_in = 3, .n_out = 1};
    desc.attrs.optimizer = (edt_optimizer_attrs){
        .kind = EDT_OPTIMIZER_SGD_TF1,
        .segments = segments,
        .n_segments = r->params->n_params,
        .clip = hp->clip_gradients_norm < 0.0 && !r->tf2 ? -hp->clip_gradients_norm
                                                         : hp->clip_gradients_norm,
        .weight_decay = hp->weight_decay / r->loss_divisor,
        .l2_includes_frozen = !r->tf2,
    };
    for (int i = 0; i < desc.n_in; ++i) {
        desc.in[i] = (edt_tensor_desc){r->params->real, edt_shape_1(r->params->n_elements)};
    }
    EDT_TRY(edt_op_infer(&desc, err));
    size_t workspace_bytes;
    EDT_TRY(table->prepare(r->params->backend, &desc, err, &r->kernel, &workspace_bytes));
    return table->alloc(r->params->backend, EDT_MEM_WORKSPACE, workspace_bytes, err,
                        &r->workspace);
}

static size_t arena_bytes(const edt_replicas *r)
{
    return (size_t)r->params->n_elements * edt_dtype_bytes(r->params->real);
}

edt_status edt_replicas_create(edt_params *params, const edt_hparams *hp, edt_comm *comm,
                               const edt_param_segment *segments, void *stats, edt_error *err,
                               edt_replicas **out_replicas)
{
    const edt_backend_table *table = params->backend->table;
    edt_status status = EDT_OK;
    edt_replicas *r = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *r);
    if (r == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the gradients of replicas");
    }
    r->is_mean = strcmp(hp->grad_reduce, "tpu") == 0;
    r->params = params;
    r->comm = comm;
    r->stats = stats;
    r->loss_divisor = r->is_mean ? (double)edt_comm_world_size(comm) : 1.0;
    r->sum_divisor = r->is_mean ? 1.0 : (double)edt_comm_world_size(comm);
    r->positives_momentum = hp->positives_momentum;
    r->tf2 = strcmp(hp->semantics, "tf2") == 0;
    EDT_TRY_GOTO(prepare(r, hp, segments, err));
    EDT_TRY_GOTO(
        table->alloc(params->backend, EDT_MEM_PARAM, arena_bytes(r), err, &r->variables));
    EDT_TRY_GOTO(
        table->alloc(params->backend, EDT_MEM_PARAM, arena_bytes(r), err, &r->clipped));
    *out_replicas = r;
    return EDT_OK;
fail:
    edt_replicas_destroy(r);
    return status;
}

void edt_replicas_destroy(edt_replicas *r)
{
    if (r == NULL) {
        return;
    }
    edt_backend *backend = r->params->backend;
    if (r->kernel != NULL) {
        backend->table->release(backend, r->kernel);
    }
    backend->table->free(backend, r->workspace);
    backend->table->free(backend, r->variables);
    backend->table->free(backend, r->clipped);
    edt_mem_free(r);
}

double edt_replicas_loss_divisor(const edt_replicas *r)
{
    return r->loss_divisor;
}

double edt_replicas_sum_divisor(const edt_replicas *r)
{
    return r->sum_divisor;
}

float edt_replicas_normalizer(const edt_replicas *r, double own_positives, double all_positives,
                              float *moving)
{
    const double mean = all_positives / (double)edt_comm_world_size(r->comm) + 1.0;
    const double momentum = r->positives_momentum;
    const bool has_own = momentum == 0.0 || (momentum < 0.0 && !r->is_mean);
    double n = has_own && !r->tf2 ? own_positives + 1.0 : mean;
    if (momentum > 0.0) {
        *moving -= (*moving - (float)mean) * (1.0F - (float)momentum);
        n = (double)*moving;
    }
    return (float)(n * r->loss_divisor);
}

void *edt_replicas_gradients(const edt_replicas *r)
{
    return r->clipped;
}

static edt_status copy(const edt_replicas *r, void *to, const void *from, edt_error *err)
{
    edt_backend *backend = r->params->backend;
    const edt_stream_table *streams = backend->table->streams;
    return streams != NULL
               ? streams->copy(backend, EDT_STREAM_COMPUTE, to, from, arena_bytes(r), err)
               : backend->table->upload(backend, to, from, arena_bytes(r), err);
}

edt_status edt_replicas_queue(edt_replicas *r, const edt_run_ctx *ctx, edt_error *err)
{
    edt_params *p = r->params;
    // A gradient that is not finite makes the op leave its slot alone: then it is this copy
    // that goes into the sum, and no rank updates.
    EDT_TRY(copy(r, r->clipped, p->memory[EDT_PARAMS_GRADS], err));
    EDT_TRY(copy(r, r->variables, p->memory[EDT_PARAMS_VALUES], err));
    void *in[3] = {r->variables, p->memory[EDT_PARAMS_GRADS], r->clipped};
    void *out[1] = {r->stats};
    EDT_TRY(p->backend->table->run(p->backend, r->kernel, ctx, in, out, r->workspace, err));
    EDT_TRY(edt_comm_all_reduce(r->comm, r->clipped, p->n_elements, p->real, err));
    return edt_comm_join(r->comm, err);
}
