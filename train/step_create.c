// The life of a training step: what it owns is made once, for one batch shape.
#include <stdio.h>

#include "model/anchors.h"
#include "train/step_priv.h"

static edt_value_id find_loss(const edt_graph *graph, const char *what, int level)
{
    char name[32];
    (void)snprintf(name, sizeof name, "%s_loss_%d", what, level);
    return edt_graph_find_output(graph, name);
}

static void add_input(edt_step *s, const char *name, edt_dtype host)
{
    const edt_graph *g = s->model->graph;
    const edt_value_id value = edt_graph_find_input(g, name);
    if (value != EDT_NO_VALUE) {
        s->inputs[s->n_inputs++] = (edt_step_input){
            .value = value, .n = edt_shape_count(&g->values[value].desc.shape), .dtype = host};
    }
}

// With micro-steps: room for the whole batch on the backend.
static edt_status add_batch_memory(edt_step *s, edt_error *err)
{
    const edt_value_id norm = edt_graph_find_input(s->model->graph, "norm");
    const edt_value_id seg_norm = edt_graph_find_input(s->model->graph, "seg_norm");
    for (int i = 0; s->n_micro > 1 && i < s->n_inputs; ++i) {
        edt_step_input *input = &s->inputs[i];
        if (input->value != norm && input->value != seg_norm) {
            input->n *= s->n_micro;
            const size_t n_bytes =
                (size_t)input->n *
                edt_dtype_bytes(s->model->graph->values[input->value].desc.dtype);
            EDT_TRY(s->backend->table->alloc(s->backend, EDT_MEM_SLOT, n_bytes, err,
                                             &input->batch));
        }
    }
    return EDT_OK;
}

static void find_inputs(edt_step *s)
{
    add_input(s, "image_u8", EDT_DTYPE_U8);
    add_input(s, "image", EDT_DTYPE_F32);
    add_input(s, "valid_hw", EDT_DTYPE_I32);
    add_input(s, "cls_targets", EDT_DTYPE_I32);
    add_input(s, "box_targets", EDT_DTYPE_F32);
    add_input(s, "norm", EDT_DTYPE_F32);
    add_input(s, "seg_mask", EDT_DTYPE_I32);
    add_input(s, "seg_norm", EDT_DTYPE_F32);
    add_input(s, "drop_u", EDT_DTYPE_F32);
}

static edt_status bind_anchors(edt_step *s, edt_error *err)
{
    const edt_value_id value = edt_graph_find_input(s->model->graph, "anchors");
    if (value == EDT_NO_VALUE) {
        return EDT_OK;
    }
    edt_anchors *anchors = NULL;
    EDT_TRY(edt_anchors_create(s->hp, err, &anchors));
    const edt_step_input input = {.value = value, .n = anchors->n * 4, .dtype = EDT_DTYPE_F32};
    const edt_status status = edt_step_set_input(s, &input, anchors->boxes, err);
    edt_anchors_destroy(anchors);
    return status;
}

static edt_status create_optimizer(edt_step *s, edt_error *err)
{
    edt_step_record *r = &s->record;
    const bool has_replicas = edt_replicas_are_wanted(s->hp, s->options.comm);
    edt_hparams hp = *s->hp; // borrows its texts
    if (has_replicas) {
        // Each rank has done so already.
        hp.clip_gradients_norm = 0.0;
        hp.weight_decay = 0.0;
    }
    EDT_TRY(edt_optimizer_create_on(
        s->params, &hp, s->frozen, edt_step_record_cell(r, r->stats_cell),
        r->scaled ? edt_step_record_cell(r, r->scale_cell) : NULL, err, &s->optimizer));
    if (has_replicas) {
        EDT_TRY(edt_replicas_create(
            s->params, s->hp, s->options.comm, edt_optimizer_segments(s->optimizer),
            edt_step_record_cell(r, r->replica_cell), err, &s->replicas));
        edt_optimizer_use_gradients(s->optimizer, edt_replicas_gradients(s->replicas));
        r->has_replicas = true;
        r->sum_divisor = edt_replicas_sum_divisor(s->replicas);
        r->l2_factor = edt_replicas_loss_divisor(s->replicas);
    }
    return EDT_OK;
}

// Gives losses, normaliser and loss scale their cells.
static edt_status create_record(edt_step *s, edt_error *err)
{
    const edt_graph *g = s->model->graph;
    edt_step_record *r = &s->record;
    edt_value_id losses[EDT_STEP_MAX_CELLS];
    int n = 0;
    r->comm = s->options.comm;
    r->wide = g->wide;
    r->scaled = s->options.loss_scale > 0.0;
    r->box_loss_weight = s->hp->box_loss_weight;
    r->positives_momentum = s->hp->positives_momentum;
    r->iou_loss_weight = s->hp->iou_loss_weight;
    for (int l = s->model->min_level; s->model->has_detection && l <= s->model->max_level;
         ++l) {
        losses[n++] = find_loss(g, "cls", l);
        ++r->n_cls;
    }
    for (int l = s->model->min_level; l <= s->model->max_level; ++l) {
        losses[n] = find_loss(g, "box", l);
        if (losses[n] != EDT_NO_VALUE) {
            ++n;
            ++r->n_box;
        }
    }
    losses[n] = edt_graph_find_output(g, "iou_loss");
    if (losses[n] != EDT_NO_VALUE) {
        ++n;
        ++r->n_iou;
    }
    losses[n] = edt_graph_find_output(g, "seg_loss");
    if (losses[n] != EDT_NO_VALUE) {
        ++n;
        ++r->n_seg;
    }
    EDT_TRY(edt_step_record_init(r, s->backend, s->options.batch_size, err));
    if (r->scaled) {
        const edt_loss_scale_state initial = {.scale = (float)s->options.loss_scale};
        EDT_TRY(edt_loss_scale_set(s->backend, edt_step_record_cell(r, r->scale_cell), initial,
                                   err));
    }
    EDT_TRY(create_optimizer(s, err));
    EDT_TRY(edt_exec_create(g, s->params, err, &s->exec));
    for (int i = 0; i < n; ++i) {
        edt_exec_place(s->exec, losses[i], edt_step_record_cell(r, i));
    }
    char *norms = edt_step_record_cell(r, r->norm_cell);
    if (s->model->has_detection) {
        edt_exec_place(s->exec, edt_graph_find_input(g, "norm"), norms);
    }
    if (s->model->has_segmentation) {
        edt_exec_place(s->exec, edt_graph_find_input(g, "seg_norm"),
                       norms + edt_dtype_bytes(g->wide));
    }
    if (r->scaled) {
        edt_exec_place(s->exec, edt_graph_find_input(g, "loss_scale"),
                       edt_step_record_cell(r, r->scale_cell));
    }
    return EDT_OK;
}

static edt_status create_prefetch(edt_step *s, edt_error *err)
{
    if (s->backend->table->streams == NULL) {
        return EDT_OK;
    }
    if (s->options.real == EDT_DTYPE_F64) {
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED, "backend %s does not train in f64; ref does",
                 s->backend->table->name);
    }
    edt_prefetch_field fields[EDT_STEP_MAX_INPUTS];
    for (int i = 0; i < s->n_inputs; ++i) {
        fields[i] = (edt_prefetch_field){
            .input = s->inputs[i].batch != NULL ? s->inputs[i].batch
                                                : edt_exec_pointer(s->exec, s->inputs[i].value),
            .n_bytes = edt_step_input_bytes(&s->inputs[i]),
        };
    }
    return edt_prefetch_create(s->backend, s->options.comm, s->n_inputs, fields, err,
                               &s->prefetch);
}

static edt_status create_sum(edt_step *s, edt_error *err)
{
    const edt_step_record *r = &s->record;
    if (edt_comm_world_size(s->options.comm) < 2) {
        return EDT_OK;
    }
    const edt_rank_sum_spec spec = {
        .graph = s->model->graph,
        .exec = s->exec,
        .params = s->params,
        .comm = s->options.comm,
        .norm = edt_step_record_cell(r, r->norm_cell),
        .n_norm = 2,
        .losses = edt_step_record_cell(r, 0),
        .n_losses = r->norm_cell * (int64_t)(EDT_STEP_CELL_BYTES / edt_dtype_bytes(r->wide)),
        .own_gradients = s->replicas != NULL,
    };
    return edt_rank_sum_create(&spec, err, &s->sum);
}

edt_status edt_step_create(const edt_hparams *hp, edt_backend *backend,
                           const edt_step_options *options, edt_error *err, edt_step **out_step)
{
    edt_status status = EDT_OK;
    bool *wants = NULL;
    edt_step *s = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *s);
    if (s == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the training step");
    }
    s->hp = hp;
    s->backend = backend;
    s->options = *options;
    s->n_micro = hp->accumulate_steps;
    EDT_TRY_GOTO(edt_step_check_parts(hp, options, err));
    EDT_TRY_GOTO(edt_step_select_frozen(hp, options, err, &s->frozen, &wants));
    const edt_model_options mo = edt_step_model_options(hp, options, wants);
    EDT_TRY_GOTO(edt_model_create(hp, &mo, err, &s->model));
    EDT_TRY_GOTO(edt_params_create(s->model->graph, backend, err, &s->params));
    EDT_TRY_GOTO(create_record(s, err));
    EDT_TRY_GOTO(edt_step_guard_init(&s->guard, s->params, err));
    find_inputs(s);
    EDT_TRY_GOTO(add_batch_memory(s, err));
    if (options->real == EDT_DTYPE_F64) {
        int64_t most = s->model->n_anchors * 4;
        for (int i = 0; i < s->n_inputs; ++i) {
            most = s->inputs[i].n > most ? s->inputs[i].n : most;
        }
        s->staging = edt_mem_calloc(EDT_MEM_SLOT, (size_t)most, sizeof(double));
    }
    const int64_t n_draws = s->model->n_drop_rows * options->batch_size;
    s->drop_draws = edt_mem_calloc(EDT_MEM_SLOT, (size_t)n_draws, sizeof(float));
    if (s->drop_draws == NULL || (options->real == EDT_DTYPE_F64 && s->staging == NULL)) {
        status = edt_error_set(err, EDT_ERR_NOMEM, "no memory for the inputs of a step");
        goto fail;
    }
    EDT_TRY_GOTO(bind_anchors(s, err));
    EDT_TRY_GOTO(create_prefetch(s, err));
    EDT_TRY_GOTO(create_sum(s, err));
    edt_mem_free(wants);
    *out_step = s;
    return EDT_OK;
fail:
    edt_mem_free(wants);
    edt_step_destroy(s);
    return status;
}

void edt_step_destroy(edt_step *s)
{
    if (s == NULL) {
        return;
    }
    if (s->prefetch != NULL) {
        edt_error ignored = {0};
        (void)s->backend->table->synchronize(s->backend, &ignored);
        edt_step_drop_capture(s);
    }
    edt_prefetch_destroy(s->prefetch);
    edt_rank_sum_destroy(s->sum);
    edt_exec_destroy(s->exec);
    edt_replicas_destroy(s->replicas);
    edt_optimizer_destroy(s->optimizer);
    edt_step_guard_deinit(&s->guard);
    edt_step_record_deinit(&s->record);
    edt_params_destroy(s->params);
    edt_model_destroy(s->model);
    edt_mem_free(s->frozen);
    edt_mem_free(s->staging);
    for (int i = 0; i < s->n_inputs; ++i) {
        s->backend->table->free(s->backend, s->inputs[i].batch);
    }
    edt_mem_free(s->drop_draws);
    edt_mem_free(s);
}

void edt_step_drop_capture(edt_step *s)
{
    if (s != NULL && s->capture != NULL) {
        s->backend->table->streams->capture_destroy(s->backend, s->capture);
        s->capture = NULL;
    }
}

edt_params *edt_step_params(edt_step *s)
{
    return s->params;
}

const edt_model *edt_step_model(const edt_step *s)
{
    return s->model;
}

edt_exec *edt_step_exec(edt_step *s)
{
    return s->exec;
}

const bool *edt_step_frozen(const edt_step *s)
{
    return s->frozen;
}

const edt_step_options *edt_step_get_options(const edt_step *s)
{
    return &s->options;
}

void edt_step_set_seed(edt_step *s, uint64_t seed)
{
    s->options.seed = seed;
}

edt_status edt_step_complete_ema(edt_step *s, edt_error *err)
{
    return edt_optimizer_complete_ema(s->optimizer, err);
}

edt_status edt_step_get_loss_scale(edt_step *s, edt_error *err, edt_loss_scale_state *out_state)
{
    const edt_step_record *r = &s->record;
    if (!r->scaled) {
        *out_state = (edt_loss_scale_state){0};
        return EDT_OK;
    }
    return edt_loss_scale_get(s->backend, edt_step_record_cell(r, r->scale_cell), err,
                              out_state);
}

edt_status edt_step_set_loss_scale(edt_step *s, edt_loss_scale_state state, edt_error *err)
{
    const edt_step_record *r = &s->record;
    if (!r->scaled) {
        EDT_FAIL(err, EDT_ERR_INTERNAL, "a loss scale for a step without loss scaling");
    }
    return edt_loss_scale_set(s->backend, edt_step_record_cell(r, r->scale_cell), state, err);
}

float edt_step_get_moving_normalizer(const edt_step *s)
{
    return s->moving_normalizer;
}

void edt_step_set_moving_normalizer(edt_step *s, float value)
{
    s->moving_normalizer = value;
}

edt_loss_watch edt_step_get_loss_watch(const edt_step *s)
{
    return s->record.watch;
}

void edt_step_set_loss_watch(edt_step *s, edt_loss_watch watch)
{
    s->record.watch = watch;
}
