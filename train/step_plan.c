// What a training step is built of, before anything is allocated on the backend.
#include <inttypes.h>
#include <string.h>

#include "train/step_priv.h"

edt_model_options edt_step_model_options(const edt_hparams *hp, const edt_step_options *o,
                                         const bool *wants_grad)
{
    return (edt_model_options){
        .mode = EDT_MODEL_TRAIN,
        .real = o->real,
        .batch_size = o->batch_size / hp->accumulate_steps,
        .accumulate = hp->accumulate_steps > 1,
        .u8_input = o->slot_format == EDT_SLOT_U8,
        .drop_connect = o->drop_connect,
        .losses = true,
        .loss_scaled = o->loss_scale > 0.0,
        .bn_ranks = o->bn_ranks,
        .wants_grad = wants_grad,
    };
}

edt_status edt_step_check_parts(const edt_hparams *hp, const edt_step_options *options,
                                edt_error *err)
{
    if (options->batch_size % hp->accumulate_steps != 0) {
        EDT_FAIL(
            err, EDT_ERR_USAGE,
            "accumulate_steps is %" PRId64 ": it does not divide the %" PRId64
            " pictures of a rank's batch; choose train_batch_size as a multiple of ranks x "
            "accumulate_steps",
            hp->accumulate_steps, options->batch_size);
    }
    return EDT_OK;
}

// The parameter table does not depend on what is frozen, so one graph without losses gives the
// names that var_freeze_expr is matched against.
edt_status edt_step_select_frozen(const edt_hparams *hp, const edt_step_options *options,
                                  edt_error *err, bool **out_frozen, bool **out_wants)
{
    edt_model *model = NULL;
    const char **names = NULL;
    bool *trainable = NULL, *frozen = NULL, *wants = NULL;
    edt_model_options mo = edt_step_model_options(hp, options, NULL);
    mo.losses = false;
    edt_status status = edt_model_create(hp, &mo, err, &model);
    if (status != EDT_OK) {
        return status;
    }
    const int n = model->graph->n_params;
    names = edt_mem_calloc(EDT_MEM_MISC, (size_t)n, sizeof *names);
    trainable = edt_mem_calloc(EDT_MEM_MISC, (size_t)n, sizeof *trainable);
    frozen = edt_mem_calloc(EDT_MEM_MISC, (size_t)n, sizeof *frozen);
    wants = edt_mem_calloc(EDT_MEM_MISC, (size_t)n, sizeof *wants);
    if (names == NULL || trainable == NULL || frozen == NULL || wants == NULL) {
        status = edt_error_set(err, EDT_ERR_NOMEM, "no memory for %d parameter flags", n);
        goto done;
    }
    for (int i = 0; i < n; ++i) {
        names[i] = model->graph->params[i].name;
        trainable[i] = model->graph->params[i].trainable;
    }
    status = edt_freeze_select(hp->var_freeze_expr, n, names, trainable, err, frozen);
    for (int i = 0; i < n; ++i) {
        wants[i] = trainable[i] && !frozen[i];
    }
done:
    edt_mem_free(names);
    edt_mem_free(trainable);
    edt_model_destroy(model);
    if (status != EDT_OK) {
        edt_mem_free(frozen);
        edt_mem_free(wants);
        return status;
    }
    *out_frozen = frozen;
    *out_wants = wants;
    return EDT_OK;
}

edt_status edt_step_make_plan(const edt_hparams *hp, const edt_step_options *options,
                              edt_error *err, edt_step_plan *out_plan)
{
    bool *frozen = NULL, *wants = NULL;
    edt_model *model = NULL;
    edt_step_plan plan = {0};
    EDT_TRY(edt_step_check_parts(hp, options, err));
    EDT_TRY(edt_step_select_frozen(hp, options, err, &frozen, &wants));
    const edt_model_options mo = edt_step_model_options(hp, options, wants);
    edt_status status = edt_model_create(hp, &mo, err, &model);
    if (status != EDT_OK) {
        goto done;
    }
    status = edt_plan_summarize(model->graph, err, &plan.graph);
    for (int i = 0; i < model->graph->n_params; ++i) {
        if (model->graph->params[i].trainable) {
            plan.n_parameters += edt_shape_count(&model->graph->params[i].shape);
        }
    }
    for (int i = 0; i < model->graph->n_nodes; ++i) {
        const edt_node *node = &model->graph->nodes[i];
        if (!node->backward || node->recomputed) {
            edt_op_desc desc;
            edt_graph_describe(model->graph, i, &desc);
            *(node->recomputed ? &plan.again_macs : &plan.forward_macs) +=
                edt_op_conv_macs(&desc);
        }
    }
    plan.forward_macs /= mo.batch_size;
    // Micro-steps take their inputs from the whole batch, which lies beside them.
    plan.input_bytes = plan.graph.input_bytes * (mo.accumulate ? 1 + hp->accumulate_steps : 1);
    const int n_slots = strcmp(hp->optimizer, "adam") == 0 ? 2 : 1;
    plan.param_bytes = plan.gradient_bytes = plan.graph.param_bytes;
    plan.slot_bytes = n_slots * plan.graph.param_bytes;
    plan.ema_bytes = hp->moving_average_decay > 0.0 ? plan.graph.param_bytes : 0;
    plan.low_bytes = plan.graph.low_bytes;
    plan.total_bytes = plan.graph.activation_bytes + plan.input_bytes + plan.param_bytes +
                       plan.gradient_bytes + plan.slot_bytes + plan.ema_bytes + plan.low_bytes;
    *out_plan = plan;
done:
    edt_model_destroy(model);
    edt_mem_free(frozen);
    edt_mem_free(wants);
    return status;
}
