// See trainer.h. One run: configuration -> backend -> step -> resume or initialise -> loader ->
// loop. The loop's only state is edt_train_state, which is what checkpoints hold. With several
// ranks every decision (stop, save, evaluate) is taken from what all of them know; rank 0
// writes.
#include "train/trainer.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/path.h"
#include "core/progress.h"
#include "core/signal.h"
#include "core/trace.h"
#include "dataio/loader.h"
#include "train/config_file.h"
#include "train/eval_loop.h"
#include "train/metrics.h"
#include "train/prefetch.h"
#include "train/preflight.h"
#include "train/rank_setup.h"
#include "train/rank_state.h"
#include "train/state.h"
#include "train/step.h"
#include "train/target_maker.h"

enum { PREFETCH_BATCHES = 3 };

typedef struct run {
    const edt_hparams *hp;
    const edt_train_options *options;
    edt_arena arena;
    edt_comm *comm; // of the backend's memory; options->comm where that is the host's
    int n_threads;
    edt_backend *backend;
    edt_step *step;
    edt_loader *loader;
    edt_target_maker *targets;
    edt_metrics *metrics;
    edt_eval_loop *eval;
    edt_schedule schedule;
    edt_train_state state;
    int64_t saved_step; // of the newest checkpoint, -1: none
    int64_t n_empty;    // batches in a row without a usable sample (on_bad_sample=skip)
    int64_t examples_per_epoch;
    edt_step_metrics last; // of the newest step that was collected
    bool has_stopped;      // all ranks, on request
} run;

// Sums since the last line of metrics.
typedef struct window {
    int64_t n_steps;
    double begin_s, wait_begin_s;
} window;

static bool is_writer(const run *r)
{
    return edt_comm_rank(r->comm) == 0;
}

static edt_slot_format train_slot_format(const edt_hparams *hp)
{
    return hp->slot_format != NULL && strcmp(hp->slot_format, "f32") == 0 ? EDT_SLOT_F32
                                                                          : EDT_SLOT_U8;
}

static edt_status open_loader(run *r, bool training, edt_error *err)
{
    const edt_train_options *o = r->options;
    EDT_TRY(edt_target_maker_create(r->hp, r->n_threads, err, &r->targets));
    const edt_loader_options lo = {
        .file_pattern = o->train_file_pattern,
        .training = training,
        .batch_size = edt_step_get_options(r->step)->batch_size,
        .n_threads = edt_target_maker_threads(r->targets),
        .prefetch = PREFETCH_BATCHES,
        .seed = (uint64_t)r->state.seed,
        .start = r->state.cursor,
        .rank = edt_comm_rank(r->comm),
        .world_size = edt_comm_world_size(r->comm),
        .format = train_slot_format(r->hp),
        .keep_groundtruth = !training,
        .drop_remainder = r->hp->drop_remainder,
        .n_anchors = edt_step_model(r->step)->n_anchors,
        .targets = edt_target_maker_run,
        .targets_ctx = r->targets,
        .slot_memory = edt_prefetch_slot_memory(r->backend),
    };
    EDT_TRY(edt_loader_create(r->hp, &lo, err, &r->loader));
    return edt_train_state_set_data(&r->state, edt_loader_fingerprint(r->loader),
                                    o->train_file_pattern, err);
}

// Before the state is read from outside: checkpoint, evaluation.
static edt_status settle_state(run *r, edt_error *err)
{
    EDT_TRY(edt_step_complete_ema(r->step, err));
    return strcmp(r->hp->sync_bn, "stats") == 0
               ? edt_rank_state_average_statistics(r->comm, edt_step_params(r->step), err)
               : EDT_OK;
}

static edt_status save(run *r, edt_error *err)
{
    if (r->saved_step == r->state.global_step) {
        return EDT_OK;
    }
    EDT_TRY(settle_state(r, err));
    if (is_writer(r)) {
        EDT_TRY(edt_train_state_save(r->options->model_dir, r->hp, edt_step_params(r->step),
                                     edt_step_frozen(r->step), &r->state, err));
    }
    r->saved_step = r->state.global_step;
    return EDT_OK;
}

static edt_status write_metrics(run *r, const edt_step_metrics *m, window *w, edt_error *err)
{
    if (!is_writer(r)) {
        return EDT_OK;
    }
    const double now = edt_clock_now_s();
    const double wait = edt_loader_get_stats(r->loader).wait_seconds;
    const double seconds = now - w->begin_s > 1e-9 ? now - w->begin_s : 1e-9;
    const edt_metric rows[] = {
        {"epoch", (double)r->state.global_step / r->schedule.steps_per_epoch},
        {"loss", m->loss},
        {"det_loss", m->det_loss},
        {"cls_loss", m->cls_loss},
        {"box_loss", m->box_loss},
        {"box_iou_loss", m->box_iou_loss},
        {"reg_l2_loss", m->reg_l2_loss},
        {"learning_rate", m->learning_rate},
        {"gradient_norm", m->gradient_norm},
        {"raw_gradient_norm", m->raw_gradient_norm},
        {"num_positives", m->num_positives},
        {"images_per_second", (double)(w->n_steps * r->options->train_batch_size) / seconds},
        {"wait_percent", 100.0 * (wait - w->wait_begin_s) / seconds},
        {"memory_bytes", (double)edt_mem_get_total().live_bytes},
    };
    *w = (window){.begin_s = now, .wait_begin_s = wait};
    return edt_metrics_write(r->metrics, r->state.global_step, rows,
                             (int)(sizeof rows / sizeof rows[0]), err);
}

// Names the pictures of this rank's part of a batch that could not be trained on.
static edt_status fail_not_finite(const run *r, const edt_step_report *report, edt_error *err)
{
    char ids[512] = "";
    size_t used = 0;
    for (int64_t i = 0; i < report->n_bad_source_ids && used < sizeof ids - 24; ++i) {
        used += (size_t)snprintf(ids + used, sizeof ids - used, "%s%" PRId64,
                                 i == 0 ? "" : ", ", report->bad_source_ids[i]);
    }
    char saved[128] = "No checkpoint was saved yet";
    if (r->saved_step >= 0) {
        (void)snprintf(saved, sizeof saved, "The last checkpoint is from before, step %" PRId64,
                       r->saved_step);
    }
    EDT_FAIL(
        err, EDT_ERR_NUMERIC,
        "step %" PRId64 ": the loss (%g) or a gradient is not finite; pictures of the batch: "
        "%s. %s (%s). Lower learning_rate or clip_gradients_norm, or look at these pictures "
        "with inspect_records",
        report->first_not_finite, report->first_bad.loss, ids, saved, r->options->model_dir);
}

// Learns what the steps since the last time have come to. Losses are sums over ranks: all ranks
// come to the same verdict.
static edt_status collect(run *r, edt_error *err)
{
    edt_step_report report;
    EDT_TRY(edt_step_collect(r->step, err, &report));
    if (report.n_steps == 0) {
        return EDT_OK;
    }
    r->last = report.last;
    const bool is_scaled = edt_step_get_options(r->step)->loss_scale > 0.0;
    if (report.n_not_finite == 0 || (is_scaled && report.n_bad_losses == 0)) {
        return EDT_OK;
    }
    r->state.n_skipped += report.n_not_finite;
    // A loss that is not finite has already reached the moving statistics: only a gradient
    // overflow leaves a state to go on from.
    if (report.n_bad_losses > 0 || r->state.n_skipped > r->hp->nan_skip_budget) {
        return fail_not_finite(r, &report, err);
    }
    EDT_WARN("step %" PRId64 ": a gradient is not finite, no update (%" PRId64 " of %" PRId64
             " such steps allowed)",
             report.first_not_finite, r->state.n_skipped, r->hp->nan_skip_budget);
    return EDT_OK;
}

// Gives back to the loader what the step is done with; `all`: waits for it.
static edt_status release_done(run *r, bool all, const edt_batch *fixed_batch, edt_error *err)
{
    for (;;) {
        const edt_batch *done;
        EDT_TRY(edt_step_take_done(r->step, all, err, &done));
        if (done == NULL) {
            return EDT_OK;
        }
        if (done != fixed_batch) {
            edt_loader_release(r->loader, done);
        }
    }
}

// Whether some rank was interrupted, and how many rows all of them hold.
static edt_status ask_ranks(run *r, bool wants_stop, int64_t n_valid, edt_error *err,
                            bool *out_stop, int64_t *out_n_valid)
{
    edt_comm *host = edt_comm_host(r->comm);
    double sums[2] = {wants_stop ? 1.0 : 0.0, (double)n_valid};
    EDT_TRY(edt_comm_all_reduce(host, sums, 2, EDT_DTYPE_F64, err));
    EDT_TRY(edt_comm_join(host, err));
    *out_stop = sums[0] > 0.0;
    *out_n_valid = (int64_t)sums[1];
    return EDT_OK;
}

static edt_status wait_for_batch(run *r, edt_error *err, const edt_batch **out_batch)
{
    edt_trace_begin("wait_for_batch");
    const edt_status status = edt_loader_next(r->loader, err, out_batch);
    edt_trace_end();
    if (status == EDT_END) {
        EDT_FAIL(err, EDT_ERR_INTERNAL, "the training loader ended");
    }
    return status;
}

// The next batch with a sample to learn from, or NULL when the user wants to stop. A batch
// whose samples were all left out costs no step; the cursor has moved past it, so that a
// resumed run leaves it out as well.
static edt_status next_batch(run *r, edt_error *err, const edt_batch **out_batch)
{
    *out_batch = NULL;
    for (;;) {
        const edt_batch *batch;
        bool stop = edt_interrupt_requested();
        int64_t n_valid;
        if (stop && edt_comm_world_size(r->comm) == 1) {
            return EDT_OK;
        }
        EDT_TRY(wait_for_batch(r, err, &batch));
        EDT_TRY(ask_ranks(r, stop, batch->n_valid, err, &stop, &n_valid));
        if (n_valid > 0 && !stop) {
            r->n_empty = 0;
            *out_batch = batch;
            return EDT_OK;
        }
        edt_loader_release(r->loader, batch);
        if (stop) {
            return EDT_OK;
        }
        if (++r->n_empty > edt_loader_batches_per_epoch(r->loader)) {
            EDT_FAIL(
                err, EDT_ERR_INVALID,
                "on_bad_sample=skip: no sample of %s can be used; the warnings above say why",
                r->options->train_file_pattern);
        }
    }
}

// One step with `fixed_batch` or, where that is NULL, the next one; out_stopped: no step, the
// user wants to stop.
static edt_status take_step(run *r, const edt_batch *fixed_batch, edt_error *err,
                            bool *out_stopped)
{
    const edt_batch *batch = edt_interrupt_requested() ? NULL : fixed_batch;
    if (fixed_batch == NULL) {
        EDT_TRY(next_batch(r, err, &batch));
    }
    *out_stopped = batch == NULL;
    if (batch == NULL) {
        return EDT_OK;
    }
    EDT_TRY(edt_step_submit(r->step, batch, r->state.global_step, err));
    ++r->state.global_step;
    if (fixed_batch == NULL) {
        r->state.cursor = edt_loader_cursor(r->loader);
    }
    return release_done(r, false, fixed_batch, err);
}

// What happens after a step besides the step: values read, a line of metrics, a checkpoint. A
// device is asked for its values as seldom as that.
static edt_status finish_step(run *r, int64_t until, bool saves, window *w, edt_error *err)
{
    const edt_train_options *o = r->options;
    const int64_t step = r->state.global_step;
    const bool logs = step % o->log_steps == 0 || step == until;
    saves = saves && step % o->save_checkpoints_steps == 0;
    if (logs || saves || r->backend->table->streams == NULL) {
        EDT_TRY(collect(r, err));
    }
    if (logs) {
        EDT_TRY(write_metrics(r, &r->last, w, err));
    }
    return saves ? save(r, err) : EDT_OK;
}

// Trains until global_step reaches `until`, or EDT_ERR_CANCELLED when the user interrupts
// before (a checkpoint is then written). `fixed_batch` NULL: batches from the loader.
static edt_status train_until(run *r, int64_t until, const edt_batch *fixed_batch,
                              edt_error *err)
{
    const edt_train_options *o = r->options;
    edt_progress progress;
    edt_progress_begin(&progress, &(edt_progress_spec){.what = "train",
                                                       .unit = "steps",
                                                       .total = until,
                                                       .done = r->state.global_step});
    window w = {.begin_s = edt_clock_now_s(),
                .wait_begin_s = edt_loader_get_stats(r->loader).wait_seconds};
    edt_status status = EDT_OK;
    bool stopped = false;
    while (status == EDT_OK && r->state.global_step < until) {
        status = take_step(r, fixed_batch, err, &stopped);
        if (status != EDT_OK || stopped) {
            break;
        }
        ++w.n_steps;
        const double seconds = edt_clock_now_s() - w.begin_s;
        edt_progress_update(
            &progress, r->state.global_step, "epoch %.2f loss %.4f %.1f images/s wait %.0f%%",
            (double)r->state.global_step / r->schedule.steps_per_epoch, r->last.loss,
            (double)(w.n_steps * o->train_batch_size) / seconds,
            100.0 * (edt_loader_get_stats(r->loader).wait_seconds - w.wait_begin_s) / seconds);
        status = finish_step(r, until, fixed_batch == NULL, &w, err);
    }
    if (status == EDT_OK) {
        status = collect(r, err);
    }
    if (status == EDT_OK) {
        status = release_done(r, true, fixed_batch, err);
    }
    edt_progress_end(&progress);
    if (status == EDT_OK && fixed_batch == NULL) {
        status = save(r, err);
    }
    if (status == EDT_OK && r->state.global_step < until) {
        r->has_stopped = true;
        EDT_FAIL(err, EDT_ERR_CANCELLED, "interrupted at step %" PRId64 "%s",
                 r->state.global_step,
                 fixed_batch == NULL ? "; the same command goes on from here" : "");
    }
    return status;
}

static edt_status evaluate(run *r, edt_error *err)
{
    if (r->eval == NULL) {
        EDT_TRY(edt_eval_loop_create(r->hp, r->options, r->backend, edt_step_params(r->step),
                                     err, &r->eval));
    }
    EDT_TRY(settle_state(r, err));
    const char *prefix = edt_arena_printf(&r->arena, "%s/model.ckpt-%" PRId64,
                                          r->options->model_dir, r->state.global_step);
    return edt_eval_loop_once(r->eval, r->state.global_step, prefix, r->metrics, err);
}

// The step that ends epoch `e`; the last epoch may be a part of one.
static int64_t epoch_end(const run *r, int64_t e)
{
    const int64_t total = r->schedule.total_steps;
    const int64_t end = e * r->examples_per_epoch / r->options->train_batch_size;
    return (double)e >= r->hp->num_epochs || end > total ? total : end;
}

static edt_status is_evaluated(run *r, bool *out_is, edt_error *err)
{
    uint8_t is = 0;
    const char *path = edt_path_join(&r->arena, r->options->model_dir, "metrics.jsonl");
    if (path == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for a file name");
    }
    if (is_writer(r)) {
        bool has;
        EDT_TRY(edt_metrics_has(path, r->state.global_step, edt_coco_stat_names[0], err, &has));
        is = has ? 1 : 0;
    }
    EDT_TRY(edt_comm_broadcast(r->comm, 0, &is, sizeof is, err));
    *out_is = is != 0;
    return EDT_OK;
}

// Epochs, each followed by an evaluation (spec/train.md 2.2). A run that ended between the
// checkpoint of an epoch and its evaluation does that evaluation first.
static edt_status train_and_eval(run *r, edt_error *err)
{
    const int64_t n_epochs = (int64_t)ceil(r->hp->num_epochs);
    for (int64_t e = 1; e <= n_epochs; ++e) {
        const int64_t until = epoch_end(r, e);
        if (until < r->state.global_step || until == epoch_end(r, e - 1)) {
            continue;
        }
        if (until == r->state.global_step) {
            bool is_done = false;
            EDT_TRY(is_evaluated(r, &is_done, err));
            if (is_done) {
                continue;
            }
        } else {
            EDT_INFO("=====> Starting training, epoch: %" PRId64 ".", e);
            EDT_TRY(train_until(r, until, NULL, err));
        }
        EDT_INFO("=====> Starting evaluation, epoch: %" PRId64 ".", e);
        EDT_TRY(evaluate(r, err));
    }
    return EDT_OK;
}

// The first batch, unaugmented, again and again; then its own AP: a detector that cannot learn
// one batch by heart has a defect in data, labels or learning rate.
static edt_status overfit(run *r, edt_error *err)
{
    const edt_batch *batch;
    edt_predictor *predictor = NULL;
    edt_evaluation e = {0};
    edt_status status = edt_loader_next(r->loader, err, &batch);
    if (status == EDT_END || (status == EDT_OK && batch->n_valid < batch->batch_size)) {
        EDT_FAIL(err, EDT_ERR_INVALID,
                 "--overfit_one_batch: %s holds fewer records than one batch of %" PRId64,
                 r->options->train_file_pattern, r->options->train_batch_size);
    }
    EDT_TRY(status);
    EDT_TRY(train_until(r, r->schedule.total_steps, batch, err));
    const edt_predictor_options po = {
        .batch_size = batch->batch_size,
        .slot_format = batch->format,
        .post_mode = EDT_POST_PER_CLASS,
        .use_ema = edt_step_params(r->step)->memory[EDT_PARAMS_EMA] != NULL,
    };
    EDT_TRY_GOTO(edt_step_complete_ema(r->step, err));
    EDT_TRY_GOTO(edt_predictor_create(r->hp, edt_step_params(r->step), &po, err, &predictor));
    EDT_TRY_GOTO(edt_evaluate_batch(r->hp, predictor, batch, err, &e));
    edt_coco_print_summary(e.result, stdout);
    EDT_INFO("--overfit_one_batch: AP %.3f, AP50 %.3f on the batch itself after %" PRId64
             " steps",
             edt_coco_result_stats(e.result)[0], edt_coco_result_stats(e.result)[1],
             r->state.global_step);
fail:
    edt_evaluation_deinit(&e);
    edt_predictor_destroy(predictor);
    return status;
}

static edt_status resume_or_init(run *r, edt_error *err)
{
    const edt_train_options *o = r->options;
    edt_params *params = edt_step_params(r->step);
    edt_status status = EDT_END;
    r->saved_step = -1;
    if (!o->overfit_one_batch) {
        status = edt_train_state_resume(o->model_dir, r->hp, params, o->tf_random_seed, err,
                                        &r->state);
    }
    if (status == EDT_OK) {
        r->saved_step = r->state.global_step;
        edt_step_set_seed(r->step, (uint64_t)r->state.seed);
        if (o->ckpt != NULL && o->ckpt[0] != '\0') {
            EDT_INFO("--ckpt is not used: %s already holds a checkpoint", o->model_dir);
        }
        return EDT_OK;
    }
    if (status != EDT_END) {
        return status;
    }
    r->state = (edt_train_state){.seed = o->tf_random_seed};
    EDT_TRY(edt_params_init_random(params, (uint64_t)o->tf_random_seed, err));
    if (params->memory[EDT_PARAMS_EMA] != NULL) {
        EDT_TRY(edt_params_copy_arena(params, EDT_PARAMS_EMA, EDT_PARAMS_VALUES, err));
    }
    return edt_train_state_init_from(o->ckpt, o->backbone_ckpt, r->hp, params, err);
}

edt_status edt_train_check_options(const edt_train_options *o, edt_error *err)
{
    const bool plans = o->plan && o->mode != EDT_TRAIN_MODE_EVAL;
    if (!plans && (o->model_dir == NULL || o->model_dir[0] == '\0')) {
        EDT_FAIL(err, EDT_ERR_USAGE, "--model_dir is missing: where checkpoints are kept");
    }
    if (o->mode != EDT_TRAIN_MODE_EVAL && !(plans && o->num_examples_per_epoch > 0) &&
        (o->train_file_pattern == NULL || o->train_file_pattern[0] == '\0')) {
        EDT_FAIL(err, EDT_ERR_USAGE, "--train_file_pattern is missing: the shards to train on");
    }
    const bool evaluates =
        o->mode != EDT_TRAIN_MODE_TRAIN || (o->eval_after_train && !o->overfit_one_batch);
    if (evaluates && !plans &&
        (o->val_file_pattern == NULL || o->val_file_pattern[0] == '\0')) {
        EDT_FAIL(err, EDT_ERR_USAGE, "--val_file_pattern is missing: the shards to evaluate");
    }
    if (o->overfit_one_batch && edt_comm_world_size(o->comm) > 1) {
        EDT_FAIL(err, EDT_ERR_USAGE, "--overfit_one_batch is done by one rank, not by %d",
                 edt_comm_world_size(o->comm));
    }
    return EDT_OK;
}

static edt_status make_schedule(run *r, edt_error *err)
{
    const edt_train_options *o = r->options;
    r->examples_per_epoch = o->num_examples_per_epoch;
    if (r->examples_per_epoch == 0) {
        EDT_TRY(
            edt_preflight_count_records(o->train_file_pattern, err, &r->examples_per_epoch));
        EDT_INFO("an epoch is the %" PRId64 " records of %s", r->examples_per_epoch,
                 o->train_file_pattern);
    }
    return edt_schedule_init(&r->schedule, r->hp, o->train_batch_size, r->examples_per_epoch,
                             err);
}

// A device that is not there is told before any file is looked at.
static edt_status open_backend(run *r, edt_error *err)
{
    EDT_TRY(edt_rank_setup_backend(r->options->device, r->options->comm, r->n_threads, err,
                                   &r->backend));
    return edt_rank_setup_comm(r->hp, r->backend, r->options->comm, err, &r->comm);
}

// The files of the run that people read.
static edt_status open_files(run *r, edt_error *err)
{
    const edt_train_options *o = r->options;
    if (!is_writer(r)) {
        return EDT_OK;
    }
    // Learning one batch by heart is a probe: it leaves the files of the run itself alone.
    if (!o->overfit_one_batch) {
        EDT_TRY(edt_config_file_enter(o->model_dir, r->hp, err));
    }
    const char *path = edt_path_join(&r->arena, o->model_dir,
                                     o->overfit_one_batch ? "overfit.jsonl" : "metrics.jsonl");
    return edt_metrics_open(path, r->state.global_step, err, &r->metrics);
}

static edt_status run_training(run *r, edt_error *err)
{
    const edt_train_options *o = r->options;
    EDT_TRY(edt_preflight_check_hparams(r->hp, err));
    edt_step_options so = {
        .slot_format = train_slot_format(r->hp),
        .drop_connect = !o->overfit_one_batch,
        .seed = (uint64_t)o->tf_random_seed,
    };
    EDT_TRY(edt_rank_setup_batch(o->comm, o->train_batch_size, err, &so.batch_size));
    if (!o->plan) {
        EDT_TRY(open_backend(r, err));
    }
    EDT_TRY(make_schedule(r, err));
    so.schedule = r->schedule;
    so.comm = r->comm;
    edt_rank_setup_step(r->hp, o->device, r->comm, &so);
    if (o->plan) {
        return is_writer(r) ? edt_preflight_print_plan(r->hp, &so, err) : EDT_OK;
    }
    EDT_TRY(edt_path_mkdirs(o->model_dir, err));
    EDT_TRY(edt_step_create(r->hp, r->backend, &so, err, &r->step));
    EDT_TRY(resume_or_init(r, err));
    EDT_TRY(open_loader(r, !o->overfit_one_batch, err));
    EDT_TRY(edt_rank_state_compare(r->comm, r->hp, edt_step_params(r->step), &r->state, err));
    EDT_TRY(open_files(r, err));
    edt_preflight_log_start(r->hp, &so, o->train_batch_size,
                            edt_loader_get_stats(r->loader).n_samples, r->examples_per_epoch,
                            r->state.global_step);
    if (o->overfit_one_batch) {
        return overfit(r, err);
    }
    if (r->state.global_step >= r->schedule.total_steps) {
        EDT_INFO("step %" PRId64 " of %" PRId64 " is already reached: nothing to train",
                 r->state.global_step, r->schedule.total_steps);
    }
    if (o->mode == EDT_TRAIN_MODE_TRAIN_AND_EVAL) {
        return train_and_eval(r, err);
    }
    EDT_TRY(train_until(r, r->schedule.total_steps, NULL, err));
    return o->eval_after_train ? evaluate(r, err) : EDT_OK;
}

static edt_status run_eval(run *r, edt_error *err)
{
    const edt_train_options *o = r->options;
    EDT_TRY(edt_rank_setup_backend(o->device, o->comm, r->n_threads, err, &r->backend));
    int64_t total_steps = INT64_MAX;
    if (o->num_examples_per_epoch > 0) {
        EDT_TRY(make_schedule(r, err));
        total_steps = r->schedule.total_steps;
    }
    EDT_TRY(edt_eval_loop_create(r->hp, o, r->backend, NULL, err, &r->eval));
    return edt_eval_loop_run(r->eval, total_steps, err);
}

edt_status edt_train_run(const edt_hparams *hp, const edt_train_options *options,
                         edt_error *err)
{
    EDT_TRY(edt_train_check_options(options, err));
    run r = {
        .hp = hp,
        .options = options,
        .comm = options->comm,
        .n_threads = edt_rank_setup_threads(options->comm, options->num_threads),
    };
    edt_arena_init(&r.arena, EDT_MEM_ARENA, 0);
    const bool traced =
        options->trace_path != NULL && options->trace_path[0] != '\0' && is_writer(&r);
    edt_status status = traced ? edt_trace_start(options->trace_path, err) : EDT_OK;
    const bool is_tracing = traced && status == EDT_OK;
    if (status == EDT_OK) {
        status =
            options->mode == EDT_TRAIN_MODE_EVAL ? run_eval(&r, err) : run_training(&r, err);
    }
    // Before anything waits for ranks that may wait for this one.
    if (status != EDT_OK && !r.has_stopped) {
        edt_comm_abort(r.comm, err->text);
    }
    edt_eval_loop_destroy(r.eval);
    edt_step_destroy(r.step); // may still copy from the loader's slots
    edt_loader_destroy(r.loader);
    edt_target_maker_destroy(r.targets);
    edt_metrics_close(r.metrics);
    if (r.comm != options->comm) {
        edt_comm_destroy(r.comm);
    }
    edt_backend_destroy(&r.backend);
    edt_arena_deinit(&r.arena);
    if (is_tracing) {
        // Written for a run that failed as well: that is when it is wanted. The first error
        // stays.
        edt_error stop_err = {0};
        const edt_status stopped = edt_trace_stop(&stop_err);
        if (stopped != EDT_OK && status == EDT_OK) {
            *err = stop_err;
            status = stopped;
        }
    }
    return status;
}
