// See training.h: batches in, steps, values out, checkpoints. On a device the host runs ahead
// of the steps and learns of them when a line of metrics or a checkpoint is due.
#include "train/training.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/process.h"
#include "core/progress.h"
#include "core/signal.h"
#include "core/trace.h"
#include "train/guard.h"
#include "train/loader_report.h"
#include "train/profile.h"
#include "train/rank_state.h"
#include "train/run_events.h"

// What has been since the last line of metrics.
typedef struct window {
    int64_t n_steps;
    double begin_s;
    edt_loader_stats loader; // at its begin
} window;

// Where the time of the loader is looked at to tell who waits for whom: from the first line of
// metrics on, by when the slots have been filled, and long enough to be no accident.
enum { LEAST_WATCHED_SECONDS = 10 };
typedef struct watch {
    bool has_begun, has_spoken;
    double begin_s;
    edt_loader_stats loader;
} watch;

bool edt_training_writes(const edt_training *r)
{
    return edt_comm_rank(r->comm) == 0;
}

edt_status edt_training_settle(edt_training *r, edt_error *err)
{
    EDT_TRY(edt_step_complete_ema(r->step, err));
    return strcmp(r->hp->sync_bn, "stats") == 0
               ? edt_rank_state_average_statistics(r->comm, edt_step_params(r->step), err)
               : EDT_OK;
}

static edt_status save(edt_training *r, edt_error *err)
{
    if (r->saved_step == r->state.global_step) {
        return EDT_OK;
    }
    EDT_TRY(edt_training_settle(r, err));
    EDT_TRY(edt_step_get_loss_scale(r->step, err, &r->state.loss_scale));
    r->state.loss_watch = edt_step_get_loss_watch(r->step);
    r->state.moving_normalizer = edt_step_get_moving_normalizer(r->step);
    if (edt_training_writes(r)) {
        EDT_TRY(edt_train_state_save(r->options->model_dir, r->hp, edt_step_params(r->step),
                                     edt_step_frozen(r->step), &r->state,
                                     edt_eval_beside_checkpoint(r->beside), err));
        if (r->hp->verbose > 0) {
            EDT_INFO("step %" PRId64 ": checkpoint written", r->state.global_step);
        }
    }
    r->saved_step = r->state.global_step;
    // Nobody leaves, and thereby seems to have failed, while rank 0 still writes.
    return edt_comm_barrier(r->comm, err);
}

// Says once what a run that waits for its data could do about it.
static void watch_loader(watch *seen, double now, const edt_loader_stats *loader)
{
    char text[512];
    if (!seen->has_begun) {
        *seen = (watch){.has_begun = true, .begin_s = now, .loader = *loader};
    } else if (!seen->has_spoken && now - seen->begin_s >= LEAST_WATCHED_SECONDS &&
               edt_loader_report_hint(&seen->loader, loader, now - seen->begin_s, sizeof text,
                                      text)) {
        EDT_INFO("%s", text);
        seen->has_spoken = true;
    }
}

static edt_status write_metrics(edt_training *r, const edt_step_metrics *m, window *w,
                                watch *seen, edt_error *err)
{
    enum { N_OWN = 14, N_RARE = 3 };
    if (!edt_training_writes(r)) {
        return EDT_OK;
    }
    const double now = edt_clock_now_s();
    const edt_loader_stats loader = edt_loader_get_stats(r->loader);
    const double seconds = now - w->begin_s > 1e-9 ? now - w->begin_s : 1e-9;
    edt_metric rows[N_OWN + EDT_LOADER_N_METRICS + N_RARE] = {
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
        {"memory_bytes", (double)edt_mem_get_total().live_bytes},
        {"resident_bytes", (double)edt_process_resident_bytes()},
    };
    edt_loader_report_metrics(&w->loader, &loader, seconds, rows + N_OWN);
    int n_rows = N_OWN + EDT_LOADER_N_METRICS;
    if (edt_step_model(r->step)->has_segmentation) {
        rows[n_rows++] = (edt_metric){"seg_loss", m->seg_loss};
    }
    if (r->state.n_skipped > 0) {
        rows[n_rows++] = (edt_metric){"skipped_steps", (double)r->state.n_skipped};
    }
    if (r->loss_z > 0.0) {
        rows[n_rows++] = (edt_metric){"loss_z", r->loss_z};
    }
    r->loss_z = 0.0;
    watch_loader(seen, now, &loader);
    *w = (window){.begin_s = now, .loader = loader};
    if (r->summaries != NULL) {
        edt_summaries_train(r->summaries, r->state.global_step, rows, n_rows);
    }
    return edt_metrics_write(r->metrics, r->state.global_step, rows, n_rows, err);
}

// Learns what the steps since the last time have come to. Losses are sums over ranks: all ranks
// come to the same verdict. `batch` is the one of the last step.
static edt_status collect(edt_training *r, const edt_batch *batch, edt_error *err,
                          bool *out_skipped)
{
    edt_step_report report;
    *out_skipped = false;
    EDT_TRY(edt_step_collect(r->step, err, &report));
    if (report.n_steps == 0) {
        return EDT_OK;
    }
    r->last = report.last;
    return edt_guard_judge(r, &report, batch, err, out_skipped);
}

// Whether the host knows what a step came to before it goes on. Then one that is not finite
// advances neither the step nor what depends on it (rates, averages, Adam's t). It costs
// nothing where steps are carried out at once; with loss scaling it is part of its rule.
static bool knows_each_step(const edt_training *r)
{
    return r->backend->table->streams == NULL ||
           edt_step_get_options(r->step)->loss_scale > 0.0;
}

static void give_back(edt_training *r, const edt_batch *batch)
{
    if (batch != r->fake_batch) {
        edt_loader_release(r->loader, batch);
    }
}

// Gives back to the loader what the step is done with; `all`: waits for it.
static edt_status release_done(edt_training *r, bool all, const edt_batch *fixed_batch,
                               edt_error *err)
{
    for (;;) {
        const edt_batch *done;
        EDT_TRY(edt_step_take_done(r->step, all, err, &done));
        if (done == NULL) {
            return EDT_OK;
        }
        if (done != fixed_batch) {
            give_back(r, done);
        }
    }
}

// Whether some rank was interrupted, and how many rows all of them hold.
static edt_status ask_ranks(edt_training *r, bool wants_stop, int64_t n_valid, edt_error *err,
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

static edt_status wait_for_batch(edt_training *r, edt_error *err, const edt_batch **out_batch)
{
    if (r->fake_batch != NULL) {
        *out_batch = r->fake_batch;
        return EDT_OK;
    }
    edt_trace_begin("next_batch");
    const edt_status status = edt_loader_next(r->loader, err, out_batch);
    edt_trace_end();
    if (status == EDT_END) {
        EDT_FAIL(err, EDT_ERR_INTERNAL, "the training loader ended");
    }
    if (status == EDT_OK && r->options->use_fake_data) {
        r->fake_batch = *out_batch;
    }
    return status;
}

// The next batch with a sample to learn from, or NULL when the user wants to stop. A batch
// whose samples were all left out costs no step; the cursor has moved past it, so that a
// resumed run leaves it out as well.
static edt_status next_batch(edt_training *r, edt_error *err, const edt_batch **out_batch)
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
        give_back(r, batch);
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

typedef enum step_end { STEP_TAKEN, STEP_SKIPPED, STEP_STOPPED } step_end;

// One step with `fixed_batch` or, where that is NULL, the next one. *out_batch: the step's,
// left alone until the next call, NULL where the user wants to stop.
static edt_status take_step(edt_training *r, const edt_batch *fixed_batch, edt_error *err,
                            const edt_batch **out_batch, step_end *out_end)
{
    EDT_TRY(release_done(r, false, fixed_batch, err));
    const edt_batch *batch = edt_interrupt_requested() ? NULL : fixed_batch;
    if (fixed_batch == NULL) {
        EDT_TRY(next_batch(r, err, &batch));
    }
    *out_batch = batch;
    *out_end = STEP_STOPPED;
    if (batch == NULL) {
        return EDT_OK;
    }
    EDT_TRY(edt_run_events_batch(r, batch, err));
    EDT_TRY(edt_profile_before(r, err));
    EDT_TRY(edt_step_submit(r->step, batch, r->state.global_step, err));
    // Fake data stay the first batch when the run goes on another day.
    if (fixed_batch == NULL && r->fake_batch == NULL) {
        r->state.cursor = edt_loader_cursor(r->loader);
    }
    bool skipped = false;
    if (knows_each_step(r)) {
        EDT_TRY(collect(r, batch, err, &skipped));
    }
    r->state.global_step += skipped ? 0 : 1;
    *out_end = skipped ? STEP_SKIPPED : STEP_TAKEN;
    return EDT_OK;
}

// Publishes an evaluation beside the steps that has come to its end. One that an interrupt
// ended is left alone: its checkpoint is still spared when the one of this step is written.
static edt_status collect_evaluation(edt_training *r, edt_error *err)
{
    return edt_eval_beside_is_under_way(r->beside) && edt_eval_beside_wait(r->beside, 0.0) &&
                   !edt_interrupt_requested()
               ? edt_eval_beside_collect(r->beside, r->metrics, err)
               : EDT_OK;
}

// What happens after a step besides the step: values read, a line of metrics, a checkpoint. A
// device is asked for its values as seldom as that.
static edt_status finish_step(edt_training *r, int64_t until, bool saves,
                              const edt_batch *batch, window *w, watch *seen, edt_error *err)
{
    const edt_train_options *o = r->options;
    const int64_t step = r->state.global_step;
    const bool logs = step % o->log_steps == 0 || step == until;
    bool ignored;
    saves = saves && edt_epochs_saves(&r->epochs, step);
    if (logs || saves || edt_profile_waits(r)) {
        EDT_TRY(collect(r, batch, err, &ignored));
    }
    EDT_TRY(edt_profile_after(r, step == until, err));
    if (logs) {
        EDT_TRY(write_metrics(r, &r->last, w, seen, err));
    }
    EDT_TRY(edt_run_events_step(r, err));
    EDT_TRY(collect_evaluation(r, err));
    return saves ? save(r, err) : EDT_OK;
}

edt_status edt_training_until(edt_training *r, int64_t until, const edt_batch *fixed_batch,
                              edt_error *err)
{
    const edt_train_options *o = r->options;
    edt_progress progress;
    edt_progress_begin(&progress, &(edt_progress_spec){.what = "train",
                                                       .unit = "steps",
                                                       .total = until,
                                                       .done = r->state.global_step});
    window w = {.begin_s = edt_clock_now_s(), .loader = edt_loader_get_stats(r->loader)};
    watch seen = {0};
    edt_status status = EDT_OK;
    const edt_batch *batch = NULL;
    step_end end = STEP_TAKEN;
    bool ignored;
    while (status == EDT_OK && r->state.global_step < until) {
        status = take_step(r, fixed_batch, err, &batch, &end);
        if (status != EDT_OK || end == STEP_STOPPED) {
            break;
        }
        ++w.n_steps;
        if (end == STEP_SKIPPED) {
            continue;
        }
        // Before a line of metrics starts a new window, after the values were read.
        const double seconds = edt_clock_now_s() - w.begin_s;
        const double waited =
            edt_loader_get_stats(r->loader).wait_seconds - w.loader.wait_seconds;
        const double images = (double)(w.n_steps * o->train_batch_size);
        status = finish_step(r, until, fixed_batch == NULL, batch, &w, &seen, err);
        edt_progress_update(&progress, r->state.global_step,
                            "epoch %.2f loss %.4f %.1f images/s wait %.0f%%",
                            (double)r->state.global_step / r->schedule.steps_per_epoch,
                            r->last.loss, images / seconds, 100.0 * waited / seconds);
    }
    if (status == EDT_OK) {
        status = collect(r, NULL, err, &ignored);
    }
    if (status == EDT_OK) {
        status = release_done(r, true, fixed_batch, err);
    }
    edt_progress_end(&progress);
    // A run that ends inside of a timeline leaves what there is of it; the first error stays.
    edt_error ignored_err = {0};
    const edt_status profiled =
        edt_profile_after(r, true, status == EDT_OK ? err : &ignored_err);
    status = status == EDT_OK ? profiled : status;
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
