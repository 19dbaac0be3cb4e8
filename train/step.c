// See step.h. Two ways to carry a step out: at once, on backends whose memory is the host's,
// and queued, on backends with streams. Both bind the same inputs and run the same graph and
// optimizer.
#include "train/step.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "core/rng.h"
#include "core/trace.h"
#include "train/step_priv.h"

enum { STAGE_DROP_CONNECT = 0x100 };

// The host's array behind each input, in the order of find_inputs.
static void host_arrays(const edt_step *s, const edt_batch *b, const void **out_arrays)
{
    int n = 0;
    out_arrays[n++] = b->images;
    if (b->format == EDT_SLOT_U8) {
        out_arrays[n++] = b->valid_hw;
    }
    if (s->model->has_detection) {
        out_arrays[n++] = b->cls_targets;
        out_arrays[n++] = b->box_targets;
        out_arrays[n++] = &s->norm;
    }
    if (s->model->has_segmentation) {
        out_arrays[n++] = b->seg_mask;
        out_arrays[n++] = &s->seg_norm;
    }
    out_arrays[n] = s->drop_draws;
}

size_t edt_step_input_bytes(const edt_step_input *input)
{
    return (size_t)input->n * edt_dtype_bytes(input->dtype);
}

edt_status edt_step_set_input(edt_step *s, const edt_step_input *input, const void *data,
                              edt_error *err)
{
    size_t n_bytes = edt_step_input_bytes(input);
    if (input->dtype == EDT_DTYPE_F32 && s->params->real == EDT_DTYPE_F64) {
        double *wide = s->staging;
        for (int64_t i = 0; i < input->n; ++i) {
            wide[i] = (double)((const float *)data)[i];
        }
        data = wide;
        n_bytes = (size_t)input->n * sizeof *wide;
    }
    return input->batch != NULL
               ? s->backend->table->upload(s->backend, input->batch, data, n_bytes, err)
               : edt_exec_set_input(s->exec, input->value, data, n_bytes, err);
}

static edt_status check_batch(const edt_step *s, const edt_batch *b, edt_error *err)
{
    const int64_t n = s->options.batch_size;
    const int64_t least = edt_comm_world_size(s->options.comm) > 1 ? 0 : 1;
    if (b->batch_size != n || b->n_valid < least || b->height != s->model->image_h ||
        b->width != s->model->image_w || b->n_anchors != s->model->n_anchors ||
        b->format != s->options.slot_format) {
        EDT_FAIL(err, EDT_ERR_INVALID,
                 "batch of %" PRId64 "x%" PRId64 "x%" PRId64 " with %" PRId64 " of %" PRId64
                 " rows filled and %" PRId64 " anchors does not fit a step built for %" PRId64
                 "x%" PRId64 "x%" PRId64 " and %" PRId64 " anchors",
                 b->batch_size, b->height, b->width, b->n_valid, b->batch_size, b->n_anchors, n,
                 s->model->image_h, s->model->image_w, s->model->n_anchors);
    }
    if (s->model->has_segmentation && (b->seg_mask == NULL || b->mask_h != s->model->mask_h ||
                                       b->mask_w != s->model->mask_w)) {
        EDT_FAIL(err, EDT_ERR_INVALID,
                 "batch with masks of %" PRId64 "x%" PRId64
                 " for a segmentation head of %" PRId64 "x%" PRId64,
                 b->mask_w, b->mask_h, s->model->mask_w, s->model->mask_h);
    }
    for (int64_t i = b->n_valid; s->model->has_detection && i < n; ++i) {
        if (b->cls_targets[i * b->n_anchors] != EDT_CLS_IGNORED ||
            b->num_positives[i] != 0.0F) {
            EDT_FAIL(err, EDT_ERR_INVALID,
                     "row %" PRId64 " of a batch with %" PRId64
                     " valid rows is not padding of a training loader",
                     i, b->n_valid);
        }
    }
    return EDT_OK;
}

// Next to nothing: beside any number of pixels it is lost in rounding.
static const float no_pixels = 1e-20F;

// Pixels that have a class; not 0 where it divides, on the first rank for the sum over ranks.
static float count_pixels(const edt_step *s, const edt_batch *b)
{
    const int64_t n = b->batch_size * b->mask_h * b->mask_w;
    int64_t n_pixels = 0;
    for (int64_t i = 0; i < n; ++i) {
        n_pixels += b->seg_mask[i] >= 0 && b->seg_mask[i] < s->model->mask_classes;
    }
    if (s->replicas != NULL) {
        const float divisor = (float)edt_replicas_loss_divisor(s->replicas);
        return divisor * (n_pixels == 0 ? no_pixels : (float)n_pixels);
    }
    return n_pixels == 0 && edt_comm_rank(s->options.comm) == 0 ? no_pixels : (float)n_pixels;
}

static edt_status sum_on_host(edt_step *s, double *value, edt_error *err)
{
    edt_comm *host = edt_comm_host(s->options.comm);
    EDT_TRY(edt_comm_all_reduce(host, value, 1, EDT_DTYPE_F64, err));
    return edt_comm_join(host, err);
}

// This rank's part of the normaliser; the parts of all ranks add up to it (spec/train.md 4.1),
// or, with replicas, its own. With them and with a moving normaliser `*positives` is summed
// over ranks.
static edt_status derive_norm(edt_step *s, edt_error *err, double *positives)
{
    const bool first = edt_comm_rank(s->options.comm) == 0;
    const double momentum = s->hp->positives_momentum;
    s->kept_normalizer = s->moving_normalizer;
    if (s->replicas != NULL) {
        const double own = *positives;
        EDT_TRY(sum_on_host(s, positives, err));
        s->norm = edt_replicas_normalizer(s->replicas, own, *positives, &s->moving_normalizer);
        return EDT_OK;
    }
    if (momentum < 0.0) {
        // The mean over ranks of their own positives + 1, times the ranks, whose gradients are
        // summed and not averaged.
        s->norm = (float)(*positives + 1.0);
        return EDT_OK;
    }
    if (momentum == 0.0) {
        s->norm = (float)(first ? *positives + 1.0 : *positives);
        return EDT_OK;
    }
    EDT_TRY(sum_on_host(s, positives, err));
    s->moving_normalizer -=
        (s->moving_normalizer - (float)(*positives + 1.0)) * (1.0F - (float)momentum);
    s->norm = first ? s->moving_normalizer : 0.0F;
    return EDT_OK;
}

// The normalisers and the draws of drop connect.
static edt_status derive_inputs(edt_step *s, const edt_batch *b, edt_error *err,
                                double *out_positives)
{
    const int64_t n = s->options.batch_size;
    double positives = 0.0;
    for (int64_t i = 0; s->model->has_detection && i < n; ++i) {
        positives += (double)b->num_positives[i];
    }
    EDT_TRY(derive_norm(s, err, &positives));
    s->seg_norm = s->model->has_segmentation ? count_pixels(s, b) : 0.0F;
    const int64_t n_part = n / s->n_micro;
    for (int64_t i = 0; i < n; ++i) {
        float *draws = s->drop_draws + i / n_part * n_part * s->model->n_drop_rows;
        for (int row = 0; row < s->model->n_drop_rows; ++row) {
            edt_rng rng;
            edt_rng_init(&rng, s->options.seed, (uint64_t)b->epoch,
                         (uint64_t)b->sample_indices[i], (uint32_t)(STAGE_DROP_CONNECT + row));
            draws[row * n_part + i % n_part] = edt_rng_uniform_f32(&rng);
        }
    }
    *out_positives = positives;
    return EDT_OK;
}

// A step that is not finite is taken back.
static edt_status undo(edt_step *s, edt_error *err)
{
    s->moving_normalizer = s->kept_normalizer;
    return edt_step_guard_restore(&s->guard, err);
}

// What the micro-steps of a step add up starts at 0.
static edt_status clear_sums(edt_step *s, edt_error *err)
{
    const edt_backend_table *table = s->backend->table;
    const size_t arena_bytes = (size_t)s->params->n_elements * edt_dtype_bytes(s->params->real);
    EDT_TRY(table->zero(s->backend, s->params->memory[EDT_PARAMS_GRADS], arena_bytes, err));
    return table->zero(s->backend, edt_step_record_cell(&s->record, 0),
                       (size_t)s->record.norm_cell * EDT_STEP_CELL_BYTES, err);
}

// The inputs of one micro-step from the batch on the backend.
static edt_status take_part(edt_step *s, int64_t i_micro, edt_error *err)
{
    const edt_backend_table *table = s->backend->table;
    for (int i = 0; i < s->n_inputs; ++i) {
        const edt_step_input *input = &s->inputs[i];
        if (input->batch == NULL) {
            continue;
        }
        const edt_tensor_desc *desc = &s->model->graph->values[input->value].desc;
        const size_t n_bytes = edt_tensor_bytes(desc);
        const char *from = (const char *)input->batch + (size_t)i_micro * n_bytes;
        void *to = edt_exec_pointer(s->exec, input->value);
        EDT_TRY(table->streams != NULL ? table->streams->copy(s->backend, EDT_STREAM_COMPUTE,
                                                              to, from, n_bytes, err)
                                       : table->upload(s->backend, to, from, n_bytes, err));
    }
    return EDT_OK;
}

edt_status edt_step_run_graph(edt_step *s, const edt_run_ctx *ctx, edt_error *err)
{
    if (s->n_micro > 1) {
        EDT_TRY(clear_sums(s, err));
    }
    for (int64_t i = 0; i < s->n_micro; ++i) {
        EDT_TRY(take_part(s, i, err));
        if (s->sum != NULL) {
            EDT_TRY(edt_rank_sum_begin(s->sum, i == 0, i + 1 == s->n_micro, err));
        }
        EDT_TRY(edt_exec_queue(s->exec, ctx, err));
    }
    if (s->sum != NULL) {
        EDT_TRY(edt_rank_sum_end(s->sum, err));
    }
    return s->replicas != NULL ? edt_replicas_queue(s->replicas, ctx, err) : EDT_OK;
}

static edt_status step_at_once(edt_step *s, const edt_run_ctx *ctx, const void *const *arrays,
                               edt_step_pending *pending, edt_error *err)
{
    for (int i = 0; i < s->n_inputs; ++i) {
        EDT_TRY(edt_step_set_input(s, &s->inputs[i], arrays[i], err));
    }
    if (s->backend->table->begin != NULL) {
        EDT_TRY(s->backend->table->begin(s->backend, ctx, err));
    }
    EDT_TRY(edt_step_guard_keep(&s->guard, err));
    edt_trace_begin("forward_backward");
    const edt_status ran = edt_step_run_graph(s, ctx, err);
    edt_trace_end();
    EDT_TRY(ran);
    EDT_TRY(edt_step_record_read(&s->record, pending, err));
    // With loss scaling the optimizer must see what is not finite: it lowers the scale.
    pending->updated = s->record.scaled || isfinite(edt_step_record_loss(&s->record, pending));
    if (!pending->updated) {
        return undo(s, err);
    }
    edt_trace_begin("optimizer");
    edt_status updated = edt_optimizer_queue(s->optimizer, ctx, err);
    if (updated == EDT_OK) {
        ++s->params->version;
        updated = edt_step_record_read(&s->record, pending, err);
    }
    edt_trace_end();
    EDT_TRY(updated);
    return edt_step_record_is_finite(&s->record, pending) ? EDT_OK : undo(s, err);
}

static edt_status record_capture(edt_step *s, const edt_run_ctx *ctx, edt_error *err)
{
    const edt_stream_table *streams = s->backend->table->streams;
    // Whatever kernels derive from parameters is derived anew in every replay.
    edt_run_ctx always = *ctx;
    always.params_version = 0;
    EDT_TRY(streams->capture_begin(s->backend, err));
    edt_status status = edt_step_run_graph(s, &always, err);
    if (status == EDT_OK) {
        status = edt_optimizer_queue(s->optimizer, &always, err);
    }
    edt_error end_err = {0};
    edt_capture *capture = NULL;
    const edt_status ended = streams->capture_end(s->backend, &end_err, &capture);
    if (status == EDT_OK && ended != EDT_OK) {
        *err = end_err;
        status = ended;
    }
    if (status != EDT_OK) {
        if (ended == EDT_OK) {
            streams->capture_destroy(s->backend, capture);
        }
        return edt_error_add_context(err, status, "recording the training step");
    }
    s->capture = capture;
    return EDT_OK;
}

static edt_status step_queued(edt_step *s, const edt_run_ctx *ctx, edt_error *err)
{
    const edt_backend_table *table = s->backend->table;
    // The first step runs node by node: libraries set themselves up at first use, which a
    // recording does not allow.
    const bool replays = s->options.capture && s->record.n_submitted > 0;
    if (table->begin != NULL) {
        EDT_TRY(table->begin(s->backend, ctx, err));
    }
    if (replays && s->capture == NULL) {
        EDT_TRY(record_capture(s, ctx, err));
    }
    if (replays) {
        return table->streams->replay(s->backend, s->capture, err);
    }
    EDT_TRY(edt_step_run_graph(s, ctx, err));
    return edt_optimizer_queue(s->optimizer, ctx, err);
}

static edt_status queue_inputs(edt_step *s, const edt_batch *b, const void **arrays,
                               edt_error *err)
{
    for (int i = 0; i < s->n_inputs; ++i) {
        const bool own =
            arrays[i] == &s->norm || arrays[i] == &s->seg_norm || arrays[i] == s->drop_draws;
        if (own || !b->pinned) {
            void *pinned = NULL;
            EDT_TRY(edt_prefetch_pinned(s->prefetch, i, err, &pinned));
            memcpy(pinned, arrays[i], edt_step_input_bytes(&s->inputs[i]));
            arrays[i] = NULL;
        }
    }
    return edt_prefetch_queue(s->prefetch, arrays, err);
}

edt_status edt_step_submit(edt_step *s, const edt_batch *batch, int64_t global_step,
                           edt_error *err)
{
    EDT_TRY(check_batch(s, batch, err));
    if (s->n_out == EDT_STEP_MAX_OUT) {
        EDT_FAIL(err, EDT_ERR_INTERNAL, "%d batches were submitted and none was taken back",
                 s->n_out);
    }
    edt_step_pending *pending;
    EDT_TRY(edt_step_record_open(&s->record, err, &pending));
    EDT_TRY(derive_inputs(s, batch, err, &pending->num_positives));
    pending->global_step = global_step;
    pending->learning_rate = edt_schedule_lr(&s->options.schedule, global_step);
    pending->n_valid = batch->n_valid;
    memcpy(pending->source_ids, batch->source_ids,
           (size_t)batch->n_valid * sizeof *pending->source_ids);
    const edt_run_ctx ctx =
        edt_optimizer_context(s->optimizer, pending->learning_rate, global_step);
    const void *arrays[EDT_STEP_MAX_INPUTS];
    host_arrays(s, batch, arrays);
    int64_t i_queued = -1;
    if (s->prefetch == NULL) {
        EDT_TRY(step_at_once(s, &ctx, arrays, pending, err));
    } else {
        EDT_TRY(edt_prefetch_begin(s->prefetch, err));
        i_queued = batch->pinned ? edt_prefetch_n_queued(s->prefetch) : -1;
        EDT_TRY(queue_inputs(s, batch, arrays, err));
        EDT_TRY(step_queued(s, &ctx, err));
        EDT_TRY(edt_step_record_read(&s->record, pending, err));
        pending->updated = true;
        ++s->params->version;
    }
    edt_step_record_close(&s->record);
    s->out[s->n_out++] = (edt_step_out){.batch = batch, .i_queued = i_queued};
    return EDT_OK;
}

edt_status edt_step_take_done(edt_step *s, bool wait, edt_error *err,
                              const edt_batch **out_batch)
{
    *out_batch = NULL;
    if (s->n_out == 0) {
        return EDT_OK;
    }
    const int64_t i_queued = s->out[0].i_queued;
    if (i_queued >= 0 && wait) {
        EDT_TRY(edt_prefetch_wait(s->prefetch, i_queued, err));
    } else if (i_queued >= 0) {
        int64_t n_copied;
        EDT_TRY(edt_prefetch_n_copied(s->prefetch, err, &n_copied));
        if (i_queued >= n_copied) {
            return EDT_OK;
        }
    }
    *out_batch = s->out[0].batch;
    --s->n_out;
    memmove(&s->out[0], &s->out[1], (size_t)s->n_out * sizeof s->out[0]);
    return EDT_OK;
}

edt_status edt_step_collect(edt_step *s, edt_error *err, edt_step_report *out_report)
{
    return edt_step_record_collect(&s->record, err, out_report);
}

edt_status edt_step_run(edt_step *s, const edt_batch *batch, int64_t global_step,
                        edt_error *err, edt_step_metrics *out_metrics)
{
    edt_step_report report;
    EDT_TRY(edt_step_submit(s, batch, global_step, err));
    EDT_TRY(edt_step_collect(s, err, &report));
    const edt_batch *done;
    do {
        EDT_TRY(edt_step_take_done(s, true, err, &done));
    } while (done != NULL && done != batch);
    *out_metrics = report.last;
    return EDT_OK;
}
