// See train_and_eval.h. The evaluation of an epoch may run beside the next one (eval_beside.h).
// It is published by the time the following one begins, and before the next epoch where it
// could end the run, so that a run takes the same steps either way. All that is known of
// evaluations stands in metrics.jsonl and in checkpoints, from which a run that was killed
// makes up for the one it lost.
#include "train/train_and_eval.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "core/log.h"
#include "core/path.h"
#include "core/trace.h"
#include "dist/stop_vote.h"
#include "train/run_events.h"

static edt_status join_path(edt_training *r, const char *name, edt_error *err,
                            const char **out_path)
{
    *out_path = edt_path_join(&r->arena, r->options->model_dir, name);
    if (*out_path == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for a file name");
    }
    return EDT_OK;
}

typedef struct checkpoint_path {
    char text[PATH_MAX];
} checkpoint_path;

static checkpoint_path path_of_step(const edt_training *r, int64_t step)
{
    checkpoint_path path;
    (void)snprintf(path.text, sizeof path.text, "%s/model.ckpt-%" PRId64, r->options->model_dir,
                   step);
    return path;
}

// All ranks have ended the evaluation, and its checkpoint is there.
static edt_status tell_of_cancel(edt_training *r, edt_status status, int64_t step,
                                 edt_error *err)
{
    if (status != EDT_ERR_CANCELLED) {
        return status;
    }
    r->has_stopped = true;
    return edt_error_add_context(
        err, status, "evaluation of step %" PRId64 " (the same command begins with it)", step);
}

edt_status edt_train_and_eval_evaluate(edt_training *r, edt_error *err)
{
    const int64_t step = r->state.global_step;
    if (r->eval == NULL) {
        EDT_TRY(edt_eval_loop_create(r->hp, r->options, r->backend, edt_step_params(r->step),
                                     err, &r->eval));
        edt_eval_loop_set_summaries(r->eval, r->summaries);
    }
    EDT_TRY(edt_training_settle(r, err));
    EDT_TRY(edt_run_events_sample(r, err));
    const checkpoint_path prefix = path_of_step(r, step);
    return tell_of_cancel(r, edt_eval_loop_once(r->eval, step, prefix.text, r->metrics, err),
                          step, err);
}

// Publishes the evaluation beside training when it has ended. All ranks together, told by rank
// 0 again and again, so that none of them waits longer than a deadline of theirs.
static edt_status await_evaluation(edt_training *r, edt_error *err)
{
    enum { WAITS, ENDED, INTERRUPTED };
    static const double nap_s = 0.2;
    uint8_t outcome = WAITS;
    if (!edt_eval_beside_wanted(r->options)) {
        return EDT_OK;
    }
    const bool alone = edt_comm_world_size(r->options->comm) == 1;
    edt_trace_begin("wait_for_evaluation");
    edt_status status = EDT_OK;
    while (status == EDT_OK && outcome == WAITS) {
        if (!edt_eval_beside_is_under_way(r->beside)) {
            outcome = ENDED;
        } else if (edt_eval_beside_wait(r->beside, alone ? -1.0 : nap_s)) {
            status = edt_eval_beside_collect(r->beside, r->metrics, err);
            outcome = status == EDT_ERR_CANCELLED ? INTERRUPTED : ENDED;
            status = status == EDT_ERR_CANCELLED ? EDT_OK : status;
        }
        if (status == EDT_OK) {
            status = edt_comm_broadcast(r->options->comm, 0, &outcome, sizeof outcome, err);
        }
        // Rank 0's own interrupt ends the evaluation and is told by its outcome.
        if (status == EDT_OK && outcome == WAITS) {
            bool stops;
            status = edt_stop_vote_now(r->options->comm, err, &stops);
            outcome = stops ? INTERRUPTED : WAITS;
        }
    }
    edt_trace_end();
    if (status == EDT_OK && outcome == INTERRUPTED) {
        r->has_stopped = true;
        EDT_FAIL(err, EDT_ERR_CANCELLED,
                 "interrupted at step %" PRId64 " while an evaluation was waited for; the same "
                 "command begins with it",
                 r->state.global_step);
    }
    return status;
}

// The end of an epoch: evaluates the step reached, which is that of the newest checkpoint.
static edt_status evaluate_epoch(edt_training *r, edt_error *err)
{
    if (!edt_eval_beside_wanted(r->options)) {
        return edt_train_and_eval_evaluate(r, err);
    }
    EDT_TRY(await_evaluation(r, err));
    EDT_TRY(edt_training_settle(r, err));
    EDT_TRY(edt_run_events_sample(r, err));
    const checkpoint_path prefix = path_of_step(r, r->state.global_step);
    return r->beside != NULL ? edt_eval_beside_start(r->beside, edt_step_params(r->step),
                                                     r->state.global_step, prefix.text, err)
                             : EDT_OK;
}

// What rank 0 finds of a step that ends an epoch.
typedef struct epoch_traces {
    uint8_t is_evaluated, is_trained; // metrics.jsonl has its line
    uint8_t has_checkpoint;
} epoch_traces;

static edt_status look_for_traces(edt_training *r, int64_t step, edt_error *err,
                                  epoch_traces *out_traces)
{
    epoch_traces seen = {0};
    if (edt_training_writes(r)) {
        const char *path;
        char index[PATH_MAX + 16];
        bool has_evaluation, has_loss;
        EDT_TRY(join_path(r, "metrics.jsonl", err, &path));
        EDT_TRY(edt_metrics_has(path, step, edt_coco_stat_names[0], err, &has_evaluation));
        EDT_TRY(edt_metrics_has(path, step, "epoch", err, &has_loss));
        (void)snprintf(index, sizeof index, "%s.index", path_of_step(r, step).text);
        seen = (epoch_traces){.is_evaluated = has_evaluation ? 1 : 0,
                              .is_trained = has_loss ? 1 : 0,
                              .has_checkpoint = edt_path_exists(index) ? 1 : 0};
    }
    EDT_TRY(edt_comm_broadcast(r->comm, 0, &seen, sizeof seen, err));
    *out_traces = seen;
    return EDT_OK;
}

// Whether the last early_stop_evals evaluations did not pass the best one before them. The
// lines of metrics.jsonl are what is counted, so that a resumed run stops where this one would
// have. An evaluation under way that may be the last of them is waited for.
static edt_status stops_early(edt_training *r, edt_error *err, bool *out_stops)
{
    enum { GOES_ON, STOPS, AWAITS };
    const int64_t patience = r->hp->early_stop_evals;
    *out_stops = false;
    if (patience == 0) {
        return EDT_OK;
    }
    uint8_t verdict = AWAITS;
    for (;;) {
        edt_metrics_best best = {0};
        if (edt_training_writes(r)) {
            const char *path;
            EDT_TRY(join_path(r, "metrics.jsonl", err, &path));
            EDT_TRY(edt_metrics_find_best(path, edt_coco_stat_names[0], err, &best));
            const bool may_be_last = best.n > 0 && best.n_since + 1 >= patience;
            verdict = may_be_last && edt_eval_beside_is_under_way(r->beside) ? AWAITS
                      : best.n_since >= patience                             ? STOPS
                                                                             : GOES_ON;
        }
        EDT_TRY(edt_comm_broadcast(r->comm, 0, &verdict, sizeof verdict, err));
        if (verdict != AWAITS) {
            *out_stops = verdict == STOPS;
            if (*out_stops && edt_training_writes(r)) {
                EDT_INFO(
                    "stopped early at step %" PRId64 ": the last %" PRId64
                    " evaluations did not pass the AP %.5f of step %" PRId64
                    " (early_stop_evals=%" PRId64
                    "); archive/ holds the best checkpoint. A greater early_stop_evals, or 0, "
                    "goes on from here",
                    r->state.global_step, best.n_since, best.value, best.step, patience);
            }
            return EDT_OK;
        }
        EDT_TRY(await_evaluation(r, err));
    }
}

// Evaluates a checkpoint on the training's backend, with parameters for this one time: those of
// the step are of a later one.
static edt_status evaluate_checkpoint(edt_training *r, int64_t step, const char *prefix,
                                      edt_error *err)
{
    edt_eval_loop *loop = NULL;
    EDT_TRY(edt_eval_loop_create(r->hp, r->options, r->backend, NULL, err, &loop));
    edt_eval_loop_set_summaries(loop, r->summaries);
    edt_status status = edt_eval_loop_load(loop, prefix, err);
    if (status == EDT_OK) {
        status = edt_eval_loop_once(loop, step, prefix, r->metrics, err);
    }
    edt_eval_loop_destroy(loop);
    return tell_of_cancel(r, status, step, err);
}

// A run that was killed with an evaluation beside the epoch has its checkpoint, but not its
// line.
static edt_status make_up(edt_training *r, edt_error *err)
{
    const int64_t reached = r->state.global_step;
    int64_t step = 0;
    for (int64_t e = 1; e <= r->epochs.n && edt_epochs_end(&r->epochs, e) < reached; ++e) {
        step = edt_epochs_evaluates(&r->epochs, e) ? edt_epochs_end(&r->epochs, e) : step;
    }
    epoch_traces seen;
    EDT_TRY(look_for_traces(r, step, err, &seen));
    if (step == 0 || reached > r->epochs.total_steps || seen.is_evaluated || !seen.is_trained ||
        !seen.has_checkpoint) {
        return EDT_OK;
    }
    EDT_INFO("=====> Making up for the evaluation of step %" PRId64 ".", step);
    const checkpoint_path prefix = path_of_step(r, step);
    if (!edt_eval_beside_wanted(r->options)) {
        return evaluate_checkpoint(r, step, prefix.text, err);
    }
    return r->beside != NULL
               ? edt_eval_beside_start_checkpoint(r->beside, step, prefix.text, err)
               : EDT_OK;
}

// A run that ended between the checkpoint of an epoch and its evaluation does that evaluation
// first.
static edt_status run_epochs(edt_training *r, edt_error *err)
{
    EDT_TRY(make_up(r, err));
    for (int64_t e = 1; e <= r->epochs.n; ++e) {
        const int64_t until = edt_epochs_end(&r->epochs, e);
        const bool evaluates = edt_epochs_evaluates(&r->epochs, e);
        if (until < r->state.global_step || until == edt_epochs_end(&r->epochs, e - 1)) {
            continue;
        }
        if (until == r->state.global_step) {
            epoch_traces seen = {.is_evaluated = 1};
            if (evaluates) {
                EDT_TRY(look_for_traces(r, until, err, &seen));
            }
            if (seen.is_evaluated) {
                continue;
            }
        } else {
            bool stops;
            EDT_TRY(stops_early(r, err, &stops));
            if (stops) {
                return EDT_OK;
            }
            EDT_INFO("=====> Starting training, epoch: %" PRId64 ".", e);
            EDT_TRY(edt_training_until(r, until, NULL, err));
        }
        if (evaluates) {
            EDT_INFO("=====> Starting evaluation, epoch: %" PRId64 ".", e);
            EDT_TRY(evaluate_epoch(r, err));
        }
    }
    return await_evaluation(r, err);
}

edt_status edt_train_and_eval_run(edt_training *r, edt_error *err)
{
    const edt_status status = run_epochs(r, err);
    if (status == EDT_ERR_CANCELLED && r->has_stopped && edt_eval_beside_wanted(r->options)) {
        edt_error second = {0};
        if (r->beside != NULL &&
            edt_eval_beside_cancel(r->beside, r->metrics, &second) != EDT_OK) {
            EDT_WARN("%s", second.text); // met again by the run that goes on
        }
        // Nobody leaves, and thereby seems to have failed, while rank 0 still waits. All have
        // ended well, so that a failure here means nothing any more.
        (void)edt_comm_barrier(r->options->comm, &second);
    }
    return status;
}
