// See trainer.h. One run: configuration -> backend -> step -> resume or initialise -> loader ->
// loop. The loop's only state is edt_train_state, which is what checkpoints hold. With several
// ranks every decision (stop, save, evaluate) is taken from what all of them know; rank 0
// writes.
#include "train/training.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/log.h"
#include "core/path.h"
#include "core/trace.h"
#include "eval/pixel_accuracy.h"
#include "train/config_file.h"
#include "train/estimate.h"
#include "train/prefetch.h"
#include "train/preflight.h"
#include "train/rank_setup.h"
#include "train/rank_state.h"
#include "train/run_events.h"
#include "train/train_and_eval.h"

enum { PREFETCH_BATCHES = 3 };

static edt_slot_format train_slot_format(const edt_hparams *hp)
{
    return hp->slot_format != NULL && strcmp(hp->slot_format, "f32") == 0 ? EDT_SLOT_F32
                                                                          : EDT_SLOT_U8;
}

// The report of bad records: each rank has its own, about the rows that it had. A probe leaves
// the files of the run alone.
static edt_status name_quarantine(edt_training *r, edt_error *err, const char **out_path)
{
    *out_path = NULL;
    if (r->options->overfit_one_batch || r->options->estimate) {
        return EDT_OK;
    }
    const char *name = "quarantine.json";
    if (edt_comm_world_size(r->comm) > 1) {
        name = edt_arena_printf(&r->arena, "quarantine-%d.json", edt_comm_rank(r->comm));
    }
    const char *path =
        name != NULL ? edt_path_join(&r->arena, r->options->model_dir, name) : NULL;
    if (path == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for a file name");
    }
    *out_path = path;
    return EDT_OK;
}

static edt_status open_loader(edt_training *r, bool training, edt_error *err)
{
    const edt_train_options *o = r->options;
    EDT_TRY(edt_target_maker_create(r->hp, r->n_threads, err, &r->targets));
    const char *quarantine;
    EDT_TRY(name_quarantine(r, err, &quarantine));
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
        .keep_groundtruth = !training || edt_run_events_wants_groundtruth(r),
        .drop_remainder = r->hp->drop_remainder,
        .n_anchors = edt_step_model(r->step)->n_anchors,
        .targets = edt_step_model(r->step)->has_detection ? edt_target_maker_run : NULL,
        .targets_ctx = r->targets,
        .masks = edt_step_model(r->step)->has_segmentation,
        .slot_memory = edt_prefetch_slot_memory(r->backend),
        .quarantine_path = quarantine,
    };
    EDT_TRY(edt_loader_create(r->hp, &lo, err, &r->loader));
    return edt_train_state_set_data(&r->state, edt_loader_fingerprint(r->loader),
                                    o->train_file_pattern, err);
}

static bool is_given(const char *flag)
{
    return flag != NULL && flag[0] != '\0';
}

// The pixels of the batch that a segmentation head gets right.
static edt_status tell_pixels(const edt_training *r, edt_predictor *predictor,
                              const edt_batch *batch, edt_error *err)
{
    edt_pixel_counts counts = {0};
    if (edt_predictor_model(predictor)->has_segmentation) {
        EDT_TRY(edt_pixel_accuracy_add(predictor, batch, err, &counts));
        counts.n_pixels += counts.n_pixels == 0; // none has a class: none is right
        EDT_INFO(
            "--overfit_one_batch: %.2f %% of the batch's pixels have the right class after "
            "%" PRId64 " steps",
            100.0 * (double)counts.n_right / (double)counts.n_pixels, r->state.global_step);
    }
    return EDT_OK;
}

// The first batch, unaugmented, again and again; then its own AP: a detector that cannot learn
// one batch by heart has a defect in data, labels or learning rate.
static edt_status overfit(edt_training *r, edt_error *err)
{
    const edt_batch *batch;
    edt_predictor *predictor = NULL;
    edt_evaluation e = {0};
    if (is_given(r->options->eval_device)) {
        EDT_INFO(
            "--overfit_one_batch evaluates its batch alone, on %s: --eval_device=%s is not "
            "used",
            r->options->device, r->options->eval_device);
    }
    edt_status status = edt_loader_next(r->loader, err, &batch);
    if (status == EDT_END || (status == EDT_OK && batch->n_valid < batch->batch_size)) {
        EDT_FAIL(err, EDT_ERR_INVALID,
                 "--overfit_one_batch: %s holds fewer records than one batch of %" PRId64,
                 r->options->train_file_pattern, r->options->train_batch_size);
    }
    EDT_TRY(status);
    EDT_TRY(edt_training_until(r, r->schedule.total_steps, batch, err));
    const edt_predictor_options po = {
        .batch_size = batch->batch_size,
        .slot_format = batch->format,
        .post_mode = EDT_POST_PER_CLASS,
        .use_ema = edt_step_params(r->step)->memory[EDT_PARAMS_EMA] != NULL,
    };
    EDT_TRY_GOTO(edt_step_complete_ema(r->step, err));
    EDT_TRY_GOTO(edt_predictor_create(r->hp, edt_step_params(r->step), &po, err, &predictor));
    EDT_TRY_GOTO(tell_pixels(r, predictor, batch, err));
    if (!edt_predictor_model(predictor)->has_detection) {
        goto fail;
    }
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

static edt_status resume_or_init(edt_training *r, edt_error *err)
{
    const edt_train_options *o = r->options;
    edt_params *params = edt_step_params(r->step);
    edt_status status = EDT_END;
    r->saved_step = -1;
    r->high_step = -1;
    if (!o->overfit_one_batch && o->model_dir != NULL && o->model_dir[0] != '\0') {
        status = edt_train_state_resume(o->model_dir, r->hp, params, o->tf_random_seed, err,
                                        &r->state);
    }
    if (status == EDT_OK) {
        r->saved_step = r->state.global_step;
        edt_step_set_seed(r->step, (uint64_t)r->state.seed);
        edt_step_set_loss_watch(r->step, r->state.loss_watch);
        edt_step_set_moving_normalizer(r->step, r->state.moving_normalizer);
        if (r->state.loss_scale.scale > 0.0F &&
            edt_step_get_options(r->step)->loss_scale > 0.0) {
            EDT_TRY(edt_step_set_loss_scale(r->step, r->state.loss_scale, err));
        }
        if (is_given(o->ckpt) || is_given(o->pretrained_ckpt) || is_given(o->backbone_ckpt)) {
            EDT_INFO("--%s is not used: %s already holds a checkpoint",
                     is_given(o->ckpt)              ? "ckpt"
                     : is_given(o->pretrained_ckpt) ? "pretrained_ckpt"
                                                    : "backbone_ckpt",
                     o->model_dir);
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
    const edt_train_init from = {.ckpt = o->ckpt,
                                 .pretrained_ckpt = o->pretrained_ckpt,
                                 .backbone_ckpt = o->backbone_ckpt,
                                 .strict = o->ckpt_strict};
    return edt_train_state_init_from(&from, r->hp, params, err);
}

edt_status edt_train_check_options(const edt_train_options *o, edt_error *err)
{
    const bool plans = o->plan && o->mode != EDT_TRAIN_MODE_EVAL;
    if (o->estimate && o->mode == EDT_TRAIN_MODE_EVAL) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "--estimate is about training; --mode=eval tells its own time");
    }
    const bool beside = is_given(o->eval_device);
    if (beside && o->mode != EDT_TRAIN_MODE_TRAIN_AND_EVAL) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "--eval_device=%s evaluates beside the training of --mode=train_and_eval; "
                 "--mode=%s has no training beside its evaluation, leave it out",
                 o->eval_device, o->mode == EDT_TRAIN_MODE_EVAL ? "eval" : "train");
    }
    if (beside && o->estimate) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "--estimate measures one thing after the other and cannot tell what runs side "
                 "by side; leave out --eval_device");
    }
    if (!beside && o->eval_threads > 0) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "--eval_threads=%" PRId64
                 " is about evaluation beside training: give --eval_device, too, or leave it "
                 "out",
                 o->eval_threads);
    }
    if (o->profile && o->trace_path != NULL && o->trace_path[0] != '\0') {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "--profile (some steps) and --trace_filename (the whole run) cannot record "
                 "at once; leave one out");
    }
    if (!plans && !o->estimate && (o->model_dir == NULL || o->model_dir[0] == '\0')) {
        EDT_FAIL(err, EDT_ERR_USAGE, "--model_dir is missing: where checkpoints are kept");
    }
    if (o->mode != EDT_TRAIN_MODE_EVAL && !(plans && o->num_examples_per_epoch > 0) &&
        (o->train_file_pattern == NULL || o->train_file_pattern[0] == '\0')) {
        EDT_FAIL(err, EDT_ERR_USAGE, "--train_file_pattern is missing: the shards to train on");
    }
    const bool evaluates = o->mode == EDT_TRAIN_MODE_EVAL ||
                           (!o->overfit_one_batch &&
                            (o->mode == EDT_TRAIN_MODE_TRAIN_AND_EVAL || o->eval_after_train));
    if (evaluates && !plans &&
        (o->val_file_pattern == NULL || o->val_file_pattern[0] == '\0')) {
        EDT_FAIL(err, EDT_ERR_USAGE, "--val_file_pattern is missing: the shards to evaluate");
    }
    // Nobody should train for days to learn that a name was mistyped.
    if (evaluates && !plans && o->testdev_dir != NULL && o->testdev_dir[0] != '\0' &&
        !edt_path_is_dir(o->testdev_dir)) {
        EDT_FAIL(err, EDT_ERR_USAGE, "--testdev_dir=%s is no directory; create it first",
                 o->testdev_dir);
    }
    if (o->overfit_one_batch && edt_comm_world_size(o->comm) > 1) {
        EDT_FAIL(err, EDT_ERR_USAGE, "--overfit_one_batch is done by one rank, not by %d",
                 edt_comm_world_size(o->comm));
    }
    return EDT_OK;
}

static edt_status make_schedule(edt_training *r, edt_error *err)
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

static edt_status open_backend(edt_training *r, edt_error *err)
{
    const edt_train_options *o = r->options;
    const edt_backend_options wanted = {
        .n_threads = r->n_threads, .tf32 = o->tf32, .deterministic = o->deterministic};
    return edt_rank_setup_backend(o->device, o->comm, &wanted, err, &r->backend);
}

// The schedule is a function of the step and of the total: another total is told, as it moves
// the rates of the steps to come.
static void tell_new_total(const edt_training *r)
{
    const int64_t was = r->state.total_steps, now = r->schedule.total_steps;
    if (was > 0 && was != now) {
        EDT_INFO("the run ends at step %" PRId64 ", not at %" PRId64
                 " as before: its %s schedule is that of %" PRId64
                 " steps from here on, learning rate %g at step %" PRId64,
                 now, was, r->hp->lr_decay_method, now,
                 edt_schedule_lr(&r->schedule, r->state.global_step), r->state.global_step);
    }
}

// A device that is not there is told before any file is looked at.
static edt_status open_device(edt_training *r, edt_error *err)
{
    EDT_TRY(open_backend(r, err));
    if (edt_eval_beside_wanted(r->options) && edt_comm_rank(r->options->comm) == 0) {
        EDT_TRY(edt_eval_beside_create(r->hp, r->options, err, &r->beside));
    }
    return edt_rank_setup_comm(r->hp, r->backend, r->options->comm, err, &r->comm);
}

// The files of the run that people read.
static edt_status open_files(edt_training *r, edt_error *err)
{
    const edt_train_options *o = r->options;
    if (!edt_training_writes(r)) {
        return EDT_OK;
    }
    // Learning one batch by heart is a probe: it leaves the files of the run itself alone.
    if (!o->overfit_one_batch) {
        EDT_TRY(edt_config_file_enter(o->model_dir, r->hp, err));
    }
    const char *path = edt_path_join(&r->arena, o->model_dir,
                                     o->overfit_one_batch ? "overfit.jsonl" : "metrics.jsonl");
    EDT_TRY(edt_metrics_open(path, r->state.global_step, err, &r->metrics));
    EDT_TRY(edt_run_events_open(r, err));
    if (r->beside != NULL) {
        edt_eval_beside_set_summaries(r->beside, r->summaries);
    }
    return EDT_OK;
}

static edt_status print_plan(const edt_training *r, const edt_step_options *so, edt_error *err)
{
    const edt_train_options *o = r->options;
    int64_t beside_bytes = 0;
    if (edt_eval_beside_wanted(o)) {
        EDT_TRY(edt_eval_beside_plan(r->hp, o, err, &beside_bytes));
    }
    return edt_preflight_print_plan(r->hp, so, o->device, o->eval_device, beside_bytes, err);
}

static edt_status run_training(edt_training *r, edt_error *err)
{
    const edt_train_options *o = r->options;
    EDT_TRY(edt_preflight_check_hparams(r->hp, o->device, err));
    if (!edt_hparams_has_head(r->hp, "object_detection") &&
        (o->mode != EDT_TRAIN_MODE_TRAIN || o->eval_after_train)) {
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED,
                 "evaluation needs boxes, and heads=['segmentation'] finds none; use "
                 "--mode=train, or add object_detection");
    }
    if (r->hp->early_stop_evals > 0 && o->mode == EDT_TRAIN_MODE_TRAIN) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "early_stop_evals=%" PRId64
                 " counts evaluations, and --mode=train makes none: use "
                 "--mode=train_and_eval, or leave it at 0",
                 r->hp->early_stop_evals);
    }
    edt_step_options so = {
        .slot_format = train_slot_format(r->hp),
        .drop_connect = !o->overfit_one_batch,
        .seed = (uint64_t)o->tf_random_seed,
    };
    EDT_TRY(edt_rank_setup_batch(edt_comm_world_size(o->comm), o->train_batch_size, err,
                                 &so.batch_size));
    if (!o->plan) {
        EDT_TRY(open_device(r, err));
    }
    EDT_TRY(make_schedule(r, err));
    EDT_TRY(edt_epochs_init(&r->epochs, r->hp, &r->schedule, r->examples_per_epoch,
                            o->train_batch_size, o->save_checkpoints_steps, err));
    so.schedule = r->schedule;
    so.comm = r->comm;
    edt_rank_setup_step(r->hp, o->device, r->comm, &so);
    if (o->plan) {
        return edt_training_writes(r) ? print_plan(r, &so, err) : EDT_OK;
    }
    if (!o->estimate) {
        EDT_TRY(edt_path_mkdirs(o->model_dir, err));
    }
    EDT_TRY(edt_step_create(r->hp, r->backend, &so, err, &r->step));
    EDT_TRY(resume_or_init(r, err));
    tell_new_total(r);
    r->state.total_steps = r->schedule.total_steps;
    EDT_TRY(open_loader(r, !o->overfit_one_batch, err));
    EDT_TRY(edt_rank_state_compare(r->comm, r->hp, edt_step_params(r->step), &r->state, err));
    if (!o->estimate) {
        EDT_TRY(open_files(r, err));
    }
    edt_preflight_log_start(r->hp, &so, o->train_batch_size,
                            edt_loader_get_stats(r->loader).n_samples, r->examples_per_epoch,
                            r->state.global_step);
    edt_preflight_log_frozen(edt_step_params(r->step), edt_step_frozen(r->step));
    if (o->estimate) {
        return edt_estimate_run(r, err);
    }
    if (o->overfit_one_batch) {
        return overfit(r, err);
    }
    if (r->state.global_step >= r->schedule.total_steps) {
        EDT_INFO("step %" PRId64 " of %" PRId64 " is already reached: nothing to train",
                 r->state.global_step, r->schedule.total_steps);
    }
    if (o->mode == EDT_TRAIN_MODE_TRAIN_AND_EVAL) {
        return edt_train_and_eval_run(r, err);
    }
    EDT_TRY(edt_training_until(r, r->schedule.total_steps, NULL, err));
    return o->eval_after_train ? edt_train_and_eval_evaluate(r, err) : EDT_OK;
}

static edt_status run_eval(edt_training *r, edt_error *err)
{
    const edt_train_options *o = r->options;
    EDT_TRY(open_backend(r, err));
    int64_t total_steps = INT64_MAX;
    if (o->num_examples_per_epoch > 0) {
        EDT_TRY(make_schedule(r, err));
        total_steps = r->schedule.total_steps;
    }
    EDT_TRY(edt_eval_loop_create(r->hp, o, r->backend, NULL, err, &r->eval));
    const edt_status status = edt_eval_loop_run(r->eval, total_steps, err);
    r->has_stopped = status == EDT_ERR_CANCELLED; // on all ranks
    return status;
}

edt_status edt_train_run(const edt_hparams *hp, const edt_train_options *options,
                         edt_error *err)
{
    EDT_TRY(edt_train_check_options(options, err));
    edt_training r = {
        .hp = hp,
        .options = options,
        .comm = options->comm,
        .n_threads = edt_rank_setup_threads(options->comm, options->num_threads),
    };
    edt_arena_init(&r.arena, EDT_MEM_ARENA, 0);
    const bool traced = options->trace_path != NULL && options->trace_path[0] != '\0' &&
                        edt_training_writes(&r);
    edt_status status = traced ? edt_trace_start(options->trace_path, err) : EDT_OK;
    const bool is_tracing = traced && status == EDT_OK;
    if (status == EDT_OK) {
        status =
            options->mode == EDT_TRAIN_MODE_EVAL ? run_eval(&r, err) : run_training(&r, err);
    }
    // Before anything waits for ranks that may wait for this one.
    if (status != EDT_OK && !r.has_stopped) {
        edt_comm_abort(options->comm, err->text);
        edt_step_drop_capture(r.step);
        edt_comm_abort(r.comm, err->text);
    }
    edt_eval_beside_destroy(r.beside);
    edt_eval_loop_destroy(r.eval);
    edt_run_events_close(&r, status == EDT_OK);
    edt_step_destroy(r.step); // may still copy from the loader's slots
    if (r.loader != NULL) {
        edt_loader_log_bad(r.loader);
    }
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
