// See predict.h.
#include "eval/predict.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/parallel.h"
#include "core/thread.h"
#include "core/trace.h"
#include "eval/device_post.h"

enum { MAX_LEVELS = 16 };

// Post-processing on one thread; an error waits here until all threads are done.
typedef struct post_worker {
    edt_post *post;
    edt_status status;
    edt_error error;
} post_worker;

struct edt_predictor {
    edt_predictor_options options;
    edt_model *model;
    edt_params *params;
    bool owns_params;
    edt_exec *exec;
    edt_anchors *anchors;
    int n_workers;
    post_worker *workers; // one per thread
    edt_value_id image, valid_hw;
    int n_levels;
    edt_value_id cls_value[MAX_LEVELS], box_value[MAX_LEVELS];
    bool in_place; // the device's memory is the host's: nothing is copied
    const float *cls[MAX_LEVELS], *box[MAX_LEVELS]; // outputs on the host
    edt_value_id segmentation_value;                // EDT_NO_VALUE: no such head
    const float *segmentation;                      // on the host
    void *copies[2 * MAX_LEVELS + 1];               // where they are copies: their memory
    int n_copies;
    bool fetched;                 // they are of the last run
    edt_loss_reader *losses;      // NULL: none are computed
    edt_device_post *device_post; // NULL: post-processing runs on the host
    int64_t max_detections;
    edt_detection *detections;
    int64_t *n_valid;
};

edt_dtype edt_inference_real(const edt_hparams *hp, const char *device)
{
    const bool on_cpu = strcmp(device, "cpu") == 0;
    const bool on_device = strcmp(device, "cuda") == 0;
    const bool wants_f16 = hp->loss_scale > 0.0;
    if (!hp->mixed_precision || !(on_device || (on_cpu && !wants_f16))) {
        return EDT_DTYPE_F32;
    }
    return wants_f16 ? EDT_DTYPE_F16 : EDT_DTYPE_BF16;
}

edt_dtype edt_predictor_real(const edt_predictor *p)
{
    return p->model->graph->real;
}

static edt_status create_posts(edt_predictor *p, const edt_hparams *hp, edt_error *err)
{
    EDT_TRY(edt_anchors_create(hp, err, &p->anchors));
    for (int i = 0; i < p->n_workers; ++i) {
        EDT_TRY(
            edt_post_create(hp, p->anchors, p->options.post_mode, err, &p->workers[i].post));
    }
    return edt_device_post_create(p->exec, p->model->graph, p->params->backend,
                                  p->workers[0].post, p->anchors, p->n_levels, p->cls_value,
                                  p->box_value, err, &p->device_post);
}

// Where the host finds an output after a run.
static edt_status place_output(edt_predictor *p, edt_value_id value, edt_error *err,
                               const float **out_values)
{
    if (p->in_place) {
        *out_values = edt_exec_pointer(p->exec, value);
        return EDT_OK;
    }
    void *copy =
        edt_mem_alloc(EDT_MEM_EVAL, edt_tensor_bytes(&p->model->graph->values[value].desc));
    if (copy == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the network's outputs");
    }
    p->copies[p->n_copies++] = copy;
    *out_values = copy;
    return EDT_OK;
}

static edt_status create(const edt_hparams *hp, edt_backend *backend, edt_params *params,
                         const edt_predictor_options *options, edt_error *err,
                         edt_predictor **out_predictor)
{
    edt_status status = EDT_OK;
    edt_predictor *p = edt_mem_calloc(EDT_MEM_EVAL, 1, sizeof *p);
    if (p == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the predictor");
    }
    p->options = *options;
    p->params = params;
    const edt_model_options mo = {
        .mode = EDT_MODEL_INFER,
        .real = options->real == EDT_DTYPE_NONE ? edt_inference_real(hp, backend->table->name)
                                                : options->real,
        .batch_size = options->batch_size,
        .u8_input = options->slot_format == EDT_SLOT_U8,
        .wide_outputs = true,
        .losses = options->losses,
        .no_mask_loss = true,
    };
    EDT_TRY_GOTO(edt_model_create(hp, &mo, err, &p->model));
    if (params == NULL) {
        EDT_TRY_GOTO(edt_params_create(p->model->graph, backend, err, &p->params));
        p->owns_params = true;
    }
    EDT_TRY_GOTO(edt_exec_create(p->model->graph, p->params, err, &p->exec));
    edt_exec_use_ema(p->exec, options->use_ema);
    p->in_place = backend->table->streams == NULL;
    const edt_graph *g = p->model->graph;
    p->image = edt_graph_find_input(g, mo.u8_input ? "image_u8" : "image");
    p->valid_hw = edt_graph_find_input(g, "valid_hw");
    p->n_levels = p->model->has_detection ? p->model->max_level - p->model->min_level + 1 : 0;
    p->max_detections = hp->nms_configs.max_output_size;
    for (int i = 0; i < p->n_levels; ++i) {
        char name[32];
        (void)snprintf(name, sizeof name, "cls_%d", p->model->min_level + i);
        p->cls_value[i] = edt_graph_find_output(g, name);
        (void)snprintf(name, sizeof name, "box_%d", p->model->min_level + i);
        p->box_value[i] = edt_graph_find_output(g, name);
        EDT_TRY_GOTO(place_output(p, p->cls_value[i], err, &p->cls[i]));
        EDT_TRY_GOTO(place_output(p, p->box_value[i], err, &p->box[i]));
    }
    p->segmentation_value = edt_graph_find_output(g, "segmentation");
    if (p->model->has_segmentation) {
        EDT_TRY_GOTO(place_output(p, p->segmentation_value, err, &p->segmentation));
    }
    const int cores = options->n_threads > 0 ? options->n_threads : edt_thread_cpu_count();
    p->n_workers = options->batch_size < cores ? (int)options->batch_size : cores;
    p->workers = edt_mem_calloc(EDT_MEM_EVAL, (size_t)p->n_workers, sizeof *p->workers);
    p->detections = edt_mem_calloc(
        EDT_MEM_EVAL, (size_t)(options->batch_size * p->max_detections), sizeof *p->detections);
    p->n_valid = edt_mem_calloc(EDT_MEM_EVAL, (size_t)options->batch_size, sizeof *p->n_valid);
    if (p->workers == NULL || p->detections == NULL || p->n_valid == NULL) {
        status = edt_error_set(err, EDT_ERR_NOMEM, "no memory for detections");
        goto fail;
    }
    if (p->model->has_detection) {
        EDT_TRY_GOTO(create_posts(p, hp, err));
    }
    if (options->losses && p->model->has_detection) {
        EDT_TRY_GOTO(edt_loss_reader_create(hp, p->model, p->exec, options->batch_size, err,
                                            &p->losses));
    }
    *out_predictor = p;
    return EDT_OK;
fail:
    edt_predictor_destroy(p);
    return status;
}

edt_status edt_predictor_create(const edt_hparams *hp, edt_params *params,
                                const edt_predictor_options *options, edt_error *err,
                                edt_predictor **out_predictor)
{
    return create(hp, params->backend, params, options, err, out_predictor);
}

edt_status edt_predictor_create_standalone(const edt_hparams *hp, edt_backend *backend,
                                           const edt_predictor_options *options, edt_error *err,
                                           edt_predictor **out_predictor)
{
    return create(hp, backend, NULL, options, err, out_predictor);
}

void edt_predictor_destroy(edt_predictor *p)
{
    if (p == NULL) {
        return;
    }
    for (int i = 0; p->workers != NULL && i < p->n_workers; ++i) {
        edt_post_destroy(p->workers[i].post);
    }
    edt_mem_free(p->workers);
    edt_device_post_destroy(p->device_post);
    edt_loss_reader_destroy(p->losses);
    for (int i = 0; i < p->n_copies; ++i) {
        edt_mem_free(p->copies[i]);
    }
    edt_mem_free(p->detections);
    edt_mem_free(p->n_valid);
    edt_anchors_destroy(p->anchors);
    edt_exec_destroy(p->exec);
    if (p->owns_params) {
        edt_params_destroy(p->params);
    }
    edt_model_destroy(p->model);
    edt_mem_free(p);
}

edt_params *edt_predictor_params(edt_predictor *p)
{
    return p->params;
}

edt_exec *edt_predictor_exec(edt_predictor *p)
{
    return p->exec;
}

const edt_model *edt_predictor_model(const edt_predictor *p)
{
    return p->model;
}

int64_t edt_predictor_max_detections(const edt_predictor *p)
{
    return p->max_detections;
}

edt_status edt_predictor_run_network(edt_predictor *p, const edt_batch *batch, edt_error *err)
{
    const int64_t n = p->options.batch_size;
    if (batch->batch_size != n || batch->height != p->model->image_h ||
        batch->width != p->model->image_w || batch->format != p->options.slot_format) {
        EDT_FAIL(err, EDT_ERR_INVALID,
                 "batch of %" PRId64 "x%" PRId64 "x%" PRId64
                 " does not fit a predictor built for %" PRId64 "x%" PRId64 "x%" PRId64,
                 batch->batch_size, batch->height, batch->width, n, p->model->image_h,
                 p->model->image_w);
    }
    const size_t pixel_bytes = batch->format == EDT_SLOT_U8 ? 1 : sizeof(float);
    const bool is_placed = p->in_place && (uintptr_t)batch->images % EDT_MEM_ALIGN == 0;
    if (!is_placed) {
        EDT_TRY(edt_exec_set_input(p->exec, p->image, batch->images,
                                   (size_t)(n * batch->height * batch->width * 3) * pixel_bytes,
                                   err));
    }
    if (batch->format == EDT_SLOT_U8) {
        EDT_TRY(edt_exec_set_input(p->exec, p->valid_hw, batch->valid_hw,
                                   (size_t)n * 2 * sizeof *batch->valid_hw, err));
    }
    if (p->losses != NULL) {
        EDT_TRY(edt_loss_reader_bind(p->losses, batch, err));
    }
    const edt_run_ctx ctx = {.params_version = p->params->version};
    p->fetched = false;
    edt_trace_begin("network");
    if (is_placed) {
        edt_exec_place(p->exec, p->image, batch->images);
    }
    const edt_status status = edt_exec_replay(p->exec, &ctx, err);
    if (is_placed) {
        edt_exec_place(p->exec, p->image, NULL); // the batch may go away
    }
    edt_trace_end();
    return status;
}

bool edt_predictor_has_losses(const edt_predictor *p)
{
    return p->losses != NULL;
}

edt_status edt_predictor_losses(edt_predictor *p, edt_error *err, edt_loss_values *out_values)
{
    if (p->losses == NULL) {
        EDT_FAIL(err, EDT_ERR_INTERNAL, "losses of a predictor that computes none");
    }
    return edt_loss_reader_get(p->losses, err, out_values);
}

bool edt_predictor_detects_on_device(const edt_predictor *p)
{
    return p->device_post != NULL;
}

static edt_status fetch_output(edt_predictor *p, edt_value_id value, void *copy, edt_error *err)
{
    return edt_exec_get(p->exec, value, copy,
                        edt_tensor_bytes(&p->model->graph->values[value].desc), err);
}

// Copies the outputs of the last run to the host, once, where they are not there.
static edt_status fetch_outputs(edt_predictor *p, edt_error *err)
{
    if (p->fetched || p->in_place) {
        return EDT_OK;
    }
    int i_copy = 0;
    for (int i = 0; i < p->n_levels; ++i) {
        EDT_TRY(fetch_output(p, p->cls_value[i], p->copies[i_copy++], err));
        EDT_TRY(fetch_output(p, p->box_value[i], p->copies[i_copy++], err));
    }
    if (p->segmentation != NULL) {
        EDT_TRY(fetch_output(p, p->segmentation_value, p->copies[i_copy], err));
    }
    p->fetched = true;
    return EDT_OK;
}

edt_status edt_predictor_need_detection(const edt_predictor *p, const char *needs,
                                        edt_error *err)
{
    if (!p->model->has_detection) {
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED,
                 "%s needs boxes, and heads=['segmentation'] finds none; add object_detection",
                 needs);
    }
    return EDT_OK;
}

edt_status edt_predictor_segmentation(edt_predictor *p, int64_t row, edt_error *err,
                                      const float **out_logits)
{
    if (p->segmentation == NULL) {
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED, "heads names no segmentation");
    }
    EDT_TRY(fetch_outputs(p, err));
    *out_logits =
        p->segmentation + row * p->model->mask_h * p->model->mask_w * p->model->mask_classes;
    return EDT_OK;
}

static void outputs_of_row(const edt_predictor *p, int64_t row, const float **out_cls,
                           const float **out_box)
{
    for (int i = 0; i < p->n_levels; ++i) {
        const int level = p->model->min_level + i;
        const int64_t cells =
            p->model->level_h[level] * p->model->level_w[level] * p->model->anchors_per_cell;
        out_cls[i] = p->cls[i] + row * cells * p->model->num_classes;
        out_box[i] = p->box[i] + row * cells * 4;
    }
}

edt_status edt_predictor_outputs(edt_predictor *p, int64_t row, edt_error *err,
                                 const float **out_cls, const float **out_box)
{
    EDT_TRY(fetch_outputs(p, err));
    outputs_of_row(p, row, out_cls, out_box);
    return EDT_OK;
}

static edt_status post_row(edt_predictor *p, edt_post *post, edt_backend *backend,
                           const edt_batch *batch, int64_t row, edt_error *err)
{
    const float *cls[MAX_LEVELS], *box[MAX_LEVELS];
    outputs_of_row(p, row, cls, box);
    return edt_post_run_shared(post, backend, cls, box, batch->image_scales[row],
                               p->detections + row * p->max_detections, &p->n_valid[row], err);
}

typedef struct post_job {
    edt_predictor *p;
    const edt_batch *batch;
} post_job;

// One picture of the batch on one thread.
static void post_one(void *ctx, int worker, int64_t row)
{
    const post_job *job = ctx;
    post_worker *w = &job->p->workers[worker];
    if (w->status == EDT_OK) {
        w->status = post_row(job->p, w->post, NULL, job->batch, row, &w->error);
    }
}

static edt_status post_one_for(void *ctx, int worker, int64_t row, edt_error *err)
{
    (void)err;
    post_one(ctx, worker, row);
    return EDT_OK;
}

// A picture alone is shared by all threads, of several each thread takes one.
static edt_status post_rows(edt_predictor *p, const edt_batch *batch, edt_error *err)
{
    edt_backend *backend = p->options.n_threads == 1 ? NULL : p->params->backend;
    if (batch->n_valid == 1 || p->n_workers == 1) {
        for (int64_t row = 0; row < batch->n_valid; ++row) {
            EDT_TRY(post_row(p, p->workers[0].post, backend, batch, row, err));
        }
        return EDT_OK;
    }
    for (int i = 0; i < p->n_workers; ++i) {
        p->workers[i].status = EDT_OK;
    }
    post_job job = {.p = p, .batch = batch};
    if (edt_backend_sharers(backend) > 1) {
        edt_backend_share(backend, p->n_workers, batch->n_valid, post_one, &job);
    } else {
        EDT_TRY(edt_parallel_for(p->n_workers, batch->n_valid, post_one_for, &job, err));
    }
    for (int i = 0; i < p->n_workers; ++i) {
        if (p->workers[i].status != EDT_OK) {
            *err = p->workers[i].error;
            return p->workers[i].status;
        }
    }
    return EDT_OK;
}

edt_status edt_predictor_run(edt_predictor *p, const edt_batch *batch, edt_error *err,
                             const edt_detection **out_detections, const int64_t **out_n_valid)
{
    EDT_TRY(edt_predictor_run_network(p, batch, err));
    bool done = !p->model->has_detection;
    if (p->device_post != NULL) {
        edt_trace_begin("postprocess");
        const edt_status status =
            edt_device_post_run(p->device_post, batch->image_scales, batch->n_valid, err,
                                p->detections, p->n_valid, &done);
        edt_trace_end();
        EDT_TRY(status);
    }
    if (!done) {
        EDT_TRY(fetch_outputs(p, err));
        edt_trace_begin("postprocess");
        const edt_status status = post_rows(p, batch, err);
        edt_trace_end();
        EDT_TRY(status);
    }
    *out_detections = p->detections;
    *out_n_valid = p->n_valid;
    return EDT_OK;
}
