// See estimate.h.
#include "train/estimate.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <time.h>

#include "core/clock.h"
#include "dist/stop_vote.h"
#include "train/eval_losses.h"
#include "train/preflight.h"

enum { WARM_STEPS = 3, LEAST_STEPS = 3, MOST_STEPS = 50, PROBE_SECONDS = 10 };

typedef struct probe {
    int64_t n_steps;
    double seconds, waited;
} probe;

// Ranks stop together, as in a run, whose steps ask each other too.
static edt_status check_stop(edt_training *r, edt_error *err)
{
    EDT_TRY(edt_stop_vote_now(r->options->comm, err, &r->has_stopped));
    if (r->has_stopped) {
        EDT_FAIL(err, EDT_ERR_CANCELLED, "interrupted");
    }
    return EDT_OK;
}

// Takes `n` steps and waits for the last one.
static edt_status take_steps(edt_training *r, int64_t n, edt_error *err)
{
    for (int64_t i = 0; i < n; ++i) {
        const edt_batch *batch, *done;
        EDT_TRY(check_stop(r, err));
        EDT_TRY(edt_loader_next(r->loader, err, &batch));
        EDT_TRY(edt_step_submit(r->step, batch, r->state.global_step, err));
        for (;;) {
            EDT_TRY(edt_step_take_done(r->step, i == n - 1, err, &done));
            if (done == NULL) {
                break;
            }
            edt_loader_release(r->loader, done);
        }
    }
    edt_step_report report;
    return edt_step_collect(r->step, err, &report);
}

static edt_status probe_steps(edt_training *r, edt_error *err, probe *out_probe)
{
    EDT_TRY(take_steps(r, WARM_STEPS, err));
    double begin = edt_clock_now_s();
    EDT_TRY(take_steps(r, 1, err));
    // All ranks take as many steps as rank 0 finds time for.
    int64_t n = (int64_t)(PROBE_SECONDS / fmax(edt_clock_now_s() - begin, 1e-6));
    n = n < LEAST_STEPS ? LEAST_STEPS : n > MOST_STEPS ? MOST_STEPS : n;
    EDT_TRY(edt_comm_broadcast(r->options->comm, 0, &n, sizeof n, err));
    const double waited = edt_loader_get_stats(r->loader).wait_seconds;
    begin = edt_clock_now_s();
    EDT_TRY(take_steps(r, n, err));
    *out_probe = (probe){.n_steps = n,
                         .seconds = edt_clock_now_s() - begin,
                         .waited = edt_loader_get_stats(r->loader).wait_seconds - waited};
    return EDT_OK;
}

// Seconds per picture of an evaluation as the run makes it, with its losses, from its first
// batches.
static edt_status probe_evaluation(edt_training *r, edt_error *err, double *out_seconds)
{
    const edt_train_options *o = r->options;
    edt_status status = EDT_OK;
    edt_evaluation e = {0};
    edt_predictor *predictor = NULL;
    edt_eval_losses *losses = NULL;
    edt_hparams hp = {0};
    const edt_predictor_options po = {
        .batch_size = o->eval_batch_size,
        .slot_format = EDT_SLOT_F32,
        .post_mode = EDT_POST_PER_CLASS,
        .use_ema = edt_step_params(r->step)->memory[EDT_PARAMS_EMA] != NULL,
        .n_threads = r->n_threads,
        .losses = edt_eval_loop_has_losses(o),
    };
    edt_evaluation_options eo = {
        .val_file_pattern = o->val_file_pattern,
        .eval_samples = o->eval_batch_size < 8 ? 8 : 2 * o->eval_batch_size,
        .n_threads = r->n_threads,
        .comm = o->comm,
    };
    EDT_TRY(edt_step_complete_ema(r->step, err));
    EDT_TRY_GOTO(edt_hparams_copy(r->hp, err, &hp));
    edt_evaluation_settings(&hp);
    EDT_TRY_GOTO(edt_predictor_create(&hp, edt_step_params(r->step), &po, err, &predictor));
    EDT_TRY_GOTO(
        edt_eval_losses_create(&hp, predictor, po.use_ema, r->n_threads, err, &losses));
    edt_eval_losses_enter(losses, &eo);
    status = edt_evaluate(&hp, predictor, o->eval_batch_size, &eo, err, &e);
    r->has_stopped = status == EDT_ERR_CANCELLED; // on all ranks
    EDT_TRY_GOTO(status);
    *out_seconds = e.n_images > 0 ? e.seconds / (double)e.n_images : 0.0;
fail:
    edt_evaluation_deinit(&e);
    edt_eval_losses_destroy(losses);
    edt_predictor_destroy(predictor);
    edt_hparams_deinit(&hp);
    return status;
}

static const char *duration(double seconds, char out[static 48])
{
    const int64_t s = (int64_t)llround(fmin(seconds, 1e15));
    if (s >= 86400) {
        (void)snprintf(out, 48, "%" PRId64 " d %" PRId64 " h", s / 86400, s / 3600 % 24);
    } else if (s >= 3600) {
        (void)snprintf(out, 48, "%" PRId64 " h %" PRId64 " min", s / 3600, s / 60 % 60);
    } else if (s >= 60) {
        (void)snprintf(out, 48, "%" PRId64 " min %" PRId64 " s", s / 60, s % 60);
    } else {
        (void)snprintf(out, 48, "%.1f s", seconds);
    }
    return out;
}

static int64_t count_evaluations(const edt_training *r)
{
    const edt_train_options *o = r->options;
    return o->mode == EDT_TRAIN_MODE_TRAIN_AND_EVAL
               ? edt_epochs_count_evaluations(&r->epochs, r->state.global_step)
           : o->eval_after_train ? 1
                                 : 0;
}

edt_status edt_estimate_run(edt_training *r, edt_error *err)
{
    const edt_train_options *o = r->options;
    const int64_t n_evaluations = count_evaluations(r);
    probe p;
    double picture_seconds = 0.0;
    int64_t n_pictures = 0;
    char text[48];
    EDT_TRY(probe_steps(r, err, &p));
    if (n_evaluations > 0) {
        EDT_TRY(edt_preflight_count_records(o->val_file_pattern, err, &n_pictures));
        n_pictures =
            o->eval_samples > 0 && o->eval_samples < n_pictures ? o->eval_samples : n_pictures;
        EDT_TRY(probe_evaluation(r, err, &picture_seconds));
    }
    if (!edt_training_writes(r)) {
        return EDT_OK;
    }
    const double step_seconds = p.seconds / (double)p.n_steps;
    const int64_t left = r->schedule.total_steps - r->state.global_step;
    const int64_t n_left = left > 0 ? left : 0;
    const double train_seconds = step_seconds * (double)n_left;
    const double eval_seconds = picture_seconds * (double)(n_evaluations * n_pictures);
    printf("a step takes %.3f s: %.1f images/s, %.0f %% of it waiting for data (mean of "
           "%" PRId64 " steps)\n",
           step_seconds, (double)o->train_batch_size / step_seconds,
           100.0 * p.waited / p.seconds, p.n_steps);
    printf("steps %" PRId64 " to %" PRId64 ": %s\n", r->state.global_step,
           r->schedule.total_steps, duration(train_seconds, text));
    if (n_evaluations > 0) {
        printf("%" PRId64 " evaluations of %" PRId64 " pictures (%.3f s each): %s\n",
               n_evaluations, n_pictures, picture_seconds, duration(eval_seconds, text));
    }
    char when[64] = "";
    const time_t end = time(NULL) + (time_t)fmin(train_seconds + eval_seconds, 1e10);
    struct tm local;
    if (localtime_r(&end, &local) != NULL) {
        (void)strftime(when, sizeof when, "%Y-%m-%d %H:%M", &local);
    }
    printf("together %s; started now, it ends about %s\n",
           duration(train_seconds + eval_seconds, text), when);
    return EDT_OK;
}
