// See step.h. Inputs are converted once from the loader's f32 to the graph's real type; on f32
// graphs they go straight to the executor.
#include "train/step.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/rng.h"
#include "core/trace.h"
#include "model/anchors.h"
#include "train/optimizer.h"

enum { MAX_LEVELS = 16, STAGE_DROP_CONNECT = 0x100 };

struct edt_step {
    const edt_hparams *hp;
    edt_backend *backend;
    edt_step_options options;
    edt_model *model;
    edt_params *params;
    edt_exec *exec;
    edt_optimizer *optimizer;
    bool *frozen;
    void *staging;     // f64 graphs: converted inputs
    float *drop_draws; // [R,N]
    edt_value_id image, valid_hw, drop_u, cls_targets, box_targets, norm, anchors;
    edt_value_id cls_loss[MAX_LEVELS], box_loss[MAX_LEVELS], iou_loss;
};

static edt_model_options model_options(const edt_step_options *o, const bool *wants_grad)
{
    return (edt_model_options){
        .mode = EDT_MODEL_TRAIN,
        .real = o->real,
        .batch_size = o->batch_size,
        .u8_input = o->slot_format == EDT_SLOT_U8,
        .drop_connect = o->drop_connect,
        .losses = true,
        .wants_grad = wants_grad,
    };
}

// The parameter table does not depend on what is frozen, so one graph without losses gives the
// names that var_freeze_expr is matched against.
static edt_status select_frozen(const edt_hparams *hp, const edt_step_options *options,
                                edt_error *err, bool **out_frozen, bool **out_wants)
{
    edt_model *model = NULL;
    const char **names = NULL;
    bool *trainable = NULL, *frozen = NULL, *wants = NULL;
    edt_model_options mo = model_options(options, NULL);
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

static void find_values(edt_step *s)
{
    const edt_graph *g = s->model->graph;
    s->image =
        edt_graph_find_input(g, s->options.slot_format == EDT_SLOT_U8 ? "image_u8" : "image");
    s->valid_hw = edt_graph_find_input(g, "valid_hw");
    s->drop_u = edt_graph_find_input(g, "drop_u");
    s->cls_targets = edt_graph_find_input(g, "cls_targets");
    s->box_targets = edt_graph_find_input(g, "box_targets");
    s->norm = edt_graph_find_input(g, "norm");
    s->anchors = edt_graph_find_input(g, "anchors");
    s->iou_loss = edt_graph_find_output(g, "iou_loss");
    for (int l = s->model->min_level; l <= s->model->max_level; ++l) {
        char name[32];
        (void)snprintf(name, sizeof name, "cls_loss_%d", l);
        s->cls_loss[l] = edt_graph_find_output(g, name);
        (void)snprintf(name, sizeof name, "box_loss_%d", l);
        s->box_loss[l] = edt_graph_find_output(g, name);
    }
}

// Host reals go in as they are, or widened through `staging`.
static edt_status set_real(edt_step *s, edt_value_id value, const float *data, int64_t n,
                           edt_error *err)
{
    if (s->options.real == EDT_DTYPE_F32) {
        return edt_exec_set_input(s->exec, value, data, (size_t)n * sizeof *data, err);
    }
    double *wide = s->staging;
    for (int64_t i = 0; i < n; ++i) {
        wide[i] = (double)data[i];
    }
    return edt_exec_set_input(s->exec, value, wide, (size_t)n * sizeof *wide, err);
}

static edt_status get_scalar(edt_step *s, edt_value_id value, edt_error *err, double *out)
{
    if (s->options.real == EDT_DTYPE_F64) {
        return edt_exec_get(s->exec, value, out, sizeof *out, err);
    }
    float narrow;
    EDT_TRY(edt_exec_get(s->exec, value, &narrow, sizeof narrow, err));
    *out = (double)narrow;
    return EDT_OK;
}

static edt_status bind_anchors(edt_step *s, edt_error *err)
{
    if (s->anchors == EDT_NO_VALUE) {
        return EDT_OK;
    }
    edt_anchors *anchors = NULL;
    EDT_TRY(edt_anchors_create(s->hp, err, &anchors));
    const edt_status status = set_real(s, s->anchors, anchors->boxes, anchors->n * 4, err);
    edt_anchors_destroy(anchors);
    return status;
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
    EDT_TRY_GOTO(select_frozen(hp, options, err, &s->frozen, &wants));
    const edt_model_options mo = model_options(options, wants);
    EDT_TRY_GOTO(edt_model_create(hp, &mo, err, &s->model));
    EDT_TRY_GOTO(edt_params_create(s->model->graph, backend, err, &s->params));
    EDT_TRY_GOTO(edt_optimizer_create(s->params, hp, s->frozen, err, &s->optimizer));
    EDT_TRY_GOTO(edt_exec_create(s->model->graph, s->params, err, &s->exec));
    find_values(s);
    if (options->real == EDT_DTYPE_F64) {
        const int64_t image = options->batch_size * s->model->image_h * s->model->image_w * 3;
        const int64_t boxes = options->batch_size * s->model->n_anchors * 4;
        const int64_t most = image > boxes ? image : boxes;
        s->staging = edt_mem_calloc(EDT_MEM_SLOT, (size_t)most, sizeof(double));
    }
    const int64_t n_draws = s->model->n_drop_rows * options->batch_size;
    s->drop_draws = edt_mem_calloc(EDT_MEM_SLOT, (size_t)n_draws, sizeof(float));
    if (s->drop_draws == NULL || (options->real == EDT_DTYPE_F64 && s->staging == NULL)) {
        status = edt_error_set(err, EDT_ERR_NOMEM, "no memory for the inputs of a step");
        goto fail;
    }
    EDT_TRY_GOTO(bind_anchors(s, err));
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
    edt_exec_destroy(s->exec);
    edt_optimizer_destroy(s->optimizer);
    edt_params_destroy(s->params);
    edt_model_destroy(s->model);
    edt_mem_free(s->frozen);
    edt_mem_free(s->staging);
    edt_mem_free(s->drop_draws);
    edt_mem_free(s);
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

void edt_step_set_seed(edt_step *s, uint64_t seed)
{
    s->options.seed = seed;
}

edt_status edt_step_complete_ema(edt_step *s, edt_error *err)
{
    return edt_optimizer_complete_ema(s->optimizer, err);
}

static edt_status bind_batch(edt_step *s, const edt_batch *b, edt_error *err,
                             double *out_positives)
{
    const int64_t n = s->options.batch_size;
    const int64_t n_pixels = n * s->model->image_h * s->model->image_w * 3;
    if (b->batch_size != n || b->n_valid < 1 || b->height != s->model->image_h ||
        b->width != s->model->image_w || b->n_anchors != s->model->n_anchors ||
        b->format != s->options.slot_format) {
        EDT_FAIL(err, EDT_ERR_INVALID,
                 "batch of %" PRId64 "x%" PRId64 "x%" PRId64 " with %" PRId64 " of %" PRId64
                 " rows filled and %" PRId64 " anchors does not fit a step built for %" PRId64
                 "x%" PRId64 "x%" PRId64 " and %" PRId64 " anchors",
                 b->batch_size, b->height, b->width, b->n_valid, b->batch_size, b->n_anchors, n,
                 s->model->image_h, s->model->image_w, s->model->n_anchors);
    }
    for (int64_t i = b->n_valid; i < n; ++i) {
        if (b->cls_targets[i * b->n_anchors] != EDT_CLS_IGNORED ||
            b->num_positives[i] != 0.0F) {
            EDT_FAIL(err, EDT_ERR_INVALID,
                     "row %" PRId64 " of a batch with %" PRId64
                     " valid rows is not padding of a training loader",
                     i, b->n_valid);
        }
    }
    if (b->format == EDT_SLOT_U8) {
        EDT_TRY(edt_exec_set_input(s->exec, s->image, b->images, (size_t)n_pixels, err));
        EDT_TRY(edt_exec_set_input(s->exec, s->valid_hw, b->valid_hw,
                                   (size_t)n * 2 * sizeof *b->valid_hw, err));
    } else {
        EDT_TRY(set_real(s, s->image, b->images, n_pixels, err));
    }
    EDT_TRY(edt_exec_set_input(s->exec, s->cls_targets, b->cls_targets,
                               (size_t)(n * b->n_anchors) * sizeof *b->cls_targets, err));
    EDT_TRY(set_real(s, s->box_targets, b->box_targets, n * b->n_anchors * 4, err));
    double positives = 0.0;
    for (int64_t i = 0; i < n; ++i) {
        positives += (double)b->num_positives[i];
    }
    const float norm = (float)(positives + 1.0);
    EDT_TRY(set_real(s, s->norm, &norm, 1, err));
    if (s->drop_u != EDT_NO_VALUE) {
        for (int row = 0; row < s->model->n_drop_rows; ++row) {
            for (int64_t i = 0; i < n; ++i) {
                edt_rng rng;
                edt_rng_init(&rng, s->options.seed, (uint64_t)b->epoch,
                             (uint64_t)b->sample_indices[i],
                             (uint32_t)(STAGE_DROP_CONNECT + row));
                s->drop_draws[row * n + i] = edt_rng_uniform_f32(&rng);
            }
        }
        EDT_TRY(set_real(s, s->drop_u, s->drop_draws, s->model->n_drop_rows * n, err));
    }
    *out_positives = positives;
    return EDT_OK;
}

edt_status edt_step_run(edt_step *s, const edt_batch *batch, int64_t global_step,
                        edt_error *err, edt_step_metrics *out_metrics)
{
    edt_step_metrics m = {0};
    EDT_TRY(bind_batch(s, batch, err, &m.num_positives));
    const edt_run_ctx ctx = {.params_version = s->params->version};
    edt_trace_begin("forward_backward");
    const edt_status ran = edt_exec_run(s->exec, &ctx, err);
    edt_trace_end();
    EDT_TRY(ran);
    for (int l = s->model->min_level; l <= s->model->max_level; ++l) {
        double value;
        EDT_TRY(get_scalar(s, s->cls_loss[l], err, &value));
        m.cls_loss += value;
        if (s->box_loss[l] != EDT_NO_VALUE) {
            EDT_TRY(get_scalar(s, s->box_loss[l], err, &value));
            m.box_loss += value;
        }
    }
    if (s->iou_loss != EDT_NO_VALUE) {
        EDT_TRY(get_scalar(s, s->iou_loss, err, &m.box_iou_loss));
    }
    m.det_loss = m.cls_loss + s->hp->box_loss_weight * m.box_loss +
                 s->hp->iou_loss_weight * m.box_iou_loss;
    m.learning_rate = edt_schedule_lr(&s->options.schedule, global_step);
    m.finite = isfinite(m.det_loss);
    if (m.finite) {
        double stats[EDT_OPTIMIZER_STATS];
        edt_trace_begin("optimizer");
        const edt_status updated =
            edt_optimizer_run(s->optimizer, m.learning_rate, global_step, err, stats);
        edt_trace_end();
        EDT_TRY(updated);
        m.reg_l2_loss = stats[EDT_OPTIMIZER_STAT_L2];
        m.raw_gradient_norm = stats[EDT_OPTIMIZER_STAT_RAW_NORM];
        m.gradient_norm = stats[EDT_OPTIMIZER_STAT_NORM];
        m.finite = stats[EDT_OPTIMIZER_STAT_FINITE] != 0.0;
    }
    m.loss = m.det_loss + m.reg_l2_loss;
    *out_metrics = m;
    return EDT_OK;
}

edt_status edt_step_make_plan(const edt_hparams *hp, const edt_step_options *options,
                              edt_error *err, edt_step_plan *out_plan)
{
    bool *frozen = NULL, *wants = NULL;
    edt_model *model = NULL;
    edt_step_plan plan = {0};
    EDT_TRY(select_frozen(hp, options, err, &frozen, &wants));
    const edt_model_options mo = model_options(options, wants);
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
        if (!model->graph->nodes[i].backward) {
            edt_op_desc desc;
            edt_graph_describe(model->graph, i, &desc);
            plan.forward_macs += edt_op_conv_macs(&desc);
        }
    }
    plan.forward_macs /= options->batch_size;
    const int n_slots = strcmp(hp->optimizer, "adam") == 0 ? 2 : 1;
    plan.param_bytes = plan.gradient_bytes = plan.graph.param_bytes;
    plan.slot_bytes = n_slots * plan.graph.param_bytes;
    plan.ema_bytes = hp->moving_average_decay > 0.0 ? plan.graph.param_bytes : 0;
    plan.total_bytes = plan.graph.activation_bytes + plan.graph.input_bytes + plan.param_bytes +
                       plan.gradient_bytes + plan.slot_bytes + plan.ema_bytes;
    *out_plan = plan;
done:
    edt_model_destroy(model);
    edt_mem_free(frozen);
    edt_mem_free(wants);
    return status;
}
