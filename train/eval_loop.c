// See eval_loop.h.
#include "train/eval_loop.h"

#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/path.h"
#include "core/strbuf.h"
#include "dist/stop_vote.h"
#include "model/io/checkpoint.h"
#include "model/io/restore.h"
#include "train/archive.h"
#include "train/eval_losses.h"
#include "train/rank_setup.h"

struct edt_eval_loop {
    edt_hparams hp; // with the evaluation's settings
    const edt_train_options *options;
    edt_predictor *predictor;
    edt_eval_losses *losses;
    edt_arena arena;
    int n_threads;
    edt_summaries *summaries; // borrowed
};

static bool is_writer(const edt_eval_loop *l)
{
    return edt_comm_rank(l->options->comm) == 0;
}

bool edt_eval_loop_has_losses(const edt_train_options *options)
{
    return options->testdev_dir == NULL || options->testdev_dir[0] == '\0';
}

edt_status edt_eval_loop_create(const edt_hparams *hp, const edt_train_options *options,
                                edt_backend *backend, edt_params *params, edt_error *err,
                                edt_eval_loop **out_loop)
{
    edt_status status = EDT_OK;
    edt_eval_loop *l = edt_mem_calloc(EDT_MEM_EVAL, 1, sizeof *l);
    if (l == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the evaluation");
    }
    edt_arena_init(&l->arena, EDT_MEM_ARENA, 0);
    l->options = options;
    l->n_threads = edt_rank_setup_threads(options->comm, options->num_threads);
    EDT_TRY_GOTO(edt_hparams_copy(hp, err, &l->hp));
    edt_evaluation_settings(&l->hp);
    const edt_predictor_options po = {
        .batch_size = options->eval_batch_size,
        .slot_format = EDT_SLOT_F32,
        .post_mode = EDT_POST_PER_CLASS,
        .use_ema = params != NULL && params->memory[EDT_PARAMS_EMA] != NULL,
        .n_threads = l->n_threads,
        .losses = edt_eval_loop_has_losses(options),
    };
    EDT_TRY_GOTO(params != NULL ? edt_predictor_create(&l->hp, params, &po, err, &l->predictor)
                                : edt_predictor_create_standalone(&l->hp, backend, &po, err,
                                                                  &l->predictor));
    EDT_TRY_GOTO(edt_predictor_need_detection(l->predictor, "evaluation", err));
    EDT_TRY_GOTO(edt_eval_losses_create(&l->hp, l->predictor, po.use_ema, l->n_threads, err,
                                        &l->losses));
    *out_loop = l;
    return EDT_OK;
fail:
    edt_eval_loop_destroy(l);
    return status;
}

void edt_eval_loop_destroy(edt_eval_loop *l)
{
    if (l == NULL) {
        return;
    }
    edt_eval_losses_destroy(l->losses);
    edt_predictor_destroy(l->predictor);
    edt_hparams_deinit(&l->hp);
    edt_arena_deinit(&l->arena);
    edt_mem_free(l);
}

void edt_eval_loop_set_summaries(edt_eval_loop *l, edt_summaries *summaries)
{
    l->summaries = summaries;
}

static edt_status write_metrics(edt_eval_loop *l, edt_metrics *metrics, int64_t step,
                                const edt_evaluation *e, edt_error *err)
{
    edt_metric rows[EDT_COCO_N_STATS + 2 + EDT_EVAL_LOSSES_MAX_ROWS];
    int n = 0;
    if (e->result == NULL) {
        rows[n++] = (edt_metric){edt_coco_stat_names[0], -1}; // test-dev has no ground truth
    }
    for (int i = 0; e->result != NULL && i < EDT_COCO_N_STATS; ++i) {
        rows[n++] = (edt_metric){edt_coco_stat_names[i], edt_coco_result_stats(e->result)[i]};
    }
    rows[n++] = (edt_metric){"eval_images", (double)e->n_images};
    rows[n++] = (edt_metric){"eval_seconds", e->seconds};
    if (e->result != NULL) {
        int n_losses;
        EDT_TRY(edt_eval_losses_rows(l->losses, e, err, rows + n, &n_losses));
        EDT_INFO("loss %.4f (without L2 %.4f), class loss %.4f, box loss %.5f", rows[n].value,
                 rows[n + 1].value, e->losses.cls_loss, e->losses.box_loss);
        n += n_losses;
    }
    if (l->summaries != NULL) {
        edt_summaries_eval(l->summaries, step, rows, n, e->result);
    }
    return edt_metrics_write(metrics, step, rows, n, err);
}

// The evaluation as the reference keeps it beside its best checkpoint: the text of a Python
// dictionary. In the loop's arena.
static edt_status make_text(edt_eval_loop *l, const edt_evaluation *e, edt_error *err,
                            const char **out_text)
{
    edt_strbuf text = {0};
    edt_metric losses[EDT_EVAL_LOSSES_MAX_ROWS];
    int n_losses;
    char number[32];
    EDT_TRY(edt_eval_losses_rows(l->losses, e, err, losses, &n_losses));
    for (int i = 0; i < EDT_COCO_N_STATS; ++i) {
        (void)edt_format_f64(edt_coco_result_stats(e->result)[i], number);
        edt_strbuf_printf(&text, "%s'%s': %s", i == 0 ? "{" : ", ", edt_coco_stat_names[i],
                          number);
    }
    for (int i = 0; i < n_losses; ++i) {
        (void)edt_format_f64(losses[i].value, number);
        edt_strbuf_printf(&text, ", '%s': %s", losses[i].name + strlen("val_"), number);
    }
    edt_strbuf_puts(&text, "}\n");
    *out_text = text.failed ? NULL : edt_arena_strdup(&l->arena, text.text);
    edt_strbuf_deinit(&text);
    if (*out_text == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the text of an evaluation");
    }
    return EDT_OK;
}

edt_status edt_eval_loop_compute(edt_eval_loop *l, const atomic_bool *cancel, edt_error *err,
                                 edt_evaluation *out_evaluation)
{
    const edt_train_options *o = l->options;
    edt_evaluation_options eo = {
        .val_file_pattern = o->val_file_pattern,
        .val_json_file = o->val_json_file,
        .testdev_dir = o->testdev_dir,
        .eval_samples = o->eval_samples,
        .n_threads = l->n_threads,
        .comm = o->comm,
        .quiet = cancel != NULL, // one line of progress at a time
        .cancel = cancel,
    };
    edt_eval_losses_enter(l->losses, &eo);
    return edt_evaluate(&l->hp, l->predictor, o->eval_batch_size, &eo, err, out_evaluation);
}

edt_status edt_eval_loop_publish(edt_eval_loop *l, int64_t step, const char *prefix,
                                 edt_metrics *metrics, edt_evaluation *e, edt_error *err)
{
    const edt_train_options *o = l->options;
    if (!is_writer(l)) {
        edt_evaluation_deinit(e);
        return EDT_OK;
    }
    EDT_INFO("evaluated %" PRId64 " images in %.1f s (%.1f images/s), step %" PRId64,
             e->n_images, e->seconds, (double)e->n_images / e->seconds, step);
    if (e->result != NULL) {
        edt_coco_print_summary(e->result, stdout);
        (void)fflush(stdout);
    } else {
        EDT_INFO("%" PRId64 " detections in %s/%s", edt_coco_dt_count(e->detections),
                 o->testdev_dir, EDT_EVALUATE_TEST_DEV_FILE);
    }
    edt_status status = EDT_OK;
    if (metrics != NULL) {
        status = write_metrics(l, metrics, step, e, err);
    }
    const char *text = NULL;
    const bool archives = prefix != NULL && e->result != NULL;
    if (status == EDT_OK && archives) {
        status = make_text(l, e, err, &text);
    }
    if (status == EDT_OK && archives) {
        status = edt_archive_best(o->model_dir, prefix, edt_coco_result_stats(e->result)[0],
                                  text, err);
    }
    edt_evaluation_deinit(e);
    return status;
}

edt_status edt_eval_loop_once(edt_eval_loop *l, int64_t step, const char *prefix,
                              edt_metrics *metrics, edt_error *err)
{
    edt_evaluation e;
    EDT_TRY(edt_eval_loop_compute(l, NULL, err, &e));
    return edt_eval_loop_publish(l, step, prefix, metrics, &e, err);
}

edt_params *edt_eval_loop_params(edt_eval_loop *l)
{
    return edt_predictor_params(l->predictor);
}

edt_status edt_eval_loop_load(edt_eval_loop *l, const char *prefix, edt_error *err)
{
    edt_restore_report report = {0};
    const edt_restore_options options = {
        .use_ema = l->hp.moving_average_decay > 0.0,
        .strict = true,
    };
    const edt_status status =
        edt_restore(edt_predictor_params(l->predictor), prefix, &options, err, &report);
    if (status == EDT_OK && is_writer(l)) {
        edt_restore_report_log(&report);
    }
    edt_restore_report_deinit(&report);
    return status;
}

// What rank 0 tells the others about the next checkpoint.
typedef struct next_checkpoint {
    enum { NEXT_WAIT, NEXT_FOUND, NEXT_END } what;
    char prefix[PATH_MAX];
} next_checkpoint;

// Looks for a checkpoint other than `old_prefix` (NULL: any).
static void look_for_newer(edt_eval_loop *l, const char *old_prefix, double not_before_s,
                           double start_s, next_checkpoint *out_next)
{
    const double timeout = l->options->eval_timeout, now = edt_clock_now_s();
    const char *found = NULL;
    edt_arena scratch;
    edt_error ignored;
    edt_arena_init(&scratch, EDT_MEM_ARENA, 0);
    *out_next = (next_checkpoint){.what = NEXT_WAIT};
    if (now >= not_before_s &&
        edt_checkpoint_latest(l->options->model_dir, &scratch, &ignored, &found) == EDT_OK &&
        (old_prefix == NULL || strcmp(found, old_prefix) != 0) &&
        strlen(found) < sizeof out_next->prefix) {
        out_next->what = NEXT_FOUND;
        (void)snprintf(out_next->prefix, sizeof out_next->prefix, "%s", found);
    } else if (timeout >= 0.0 && now - start_s > timeout) {
        out_next->what = NEXT_END;
    }
    edt_arena_deinit(&scratch);
}

// Sleeps in short naps, so that Ctrl-C ends the wait. Rank 0 looks and tells the others at
// every nap, so that none of them waits longer than a deadline. *out_prefix NULL: there is
// none.
static edt_status wait_for_newer(edt_eval_loop *l, const char *old_prefix, double not_before_s,
                                 edt_error *err, const char **out_prefix)
{
    double start = edt_clock_now_s();
    start = start > not_before_s ? start : not_before_s;
    next_checkpoint next;
    *out_prefix = NULL;
    for (;;) {
        if (is_writer(l)) {
            look_for_newer(l, old_prefix, not_before_s, start, &next);
        }
        EDT_TRY(edt_comm_broadcast(l->options->comm, 0, &next, sizeof next, err));
        bool stops = false;
        if (next.what == NEXT_WAIT) {
            EDT_TRY(edt_stop_vote_now(l->options->comm, err, &stops));
        }
        if (next.what != NEXT_WAIT || stops) {
            break;
        }
        const struct timespec nap = {.tv_nsec = 200 * 1000 * 1000};
        if (is_writer(l)) {
            (void)nanosleep(&nap, NULL);
        }
    }
    if (next.what == NEXT_FOUND) {
        *out_prefix = edt_arena_strdup(&l->arena, next.prefix);
        if (*out_prefix == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for a file name");
        }
    }
    return EDT_OK;
}

// Evaluates one checkpoint. The trainer beside us keeps the newest few only: one that it
// removed meanwhile is passed over.
static edt_status evaluate_checkpoint(edt_eval_loop *l, const char *prefix, bool writable,
                                      edt_metrics *metrics, edt_error *err, bool *out_done)
{
    *out_done = false;
    edt_status status = edt_eval_loop_load(l, prefix, err);
    if (status == EDT_OK) {
        const int64_t step = edt_checkpoint_step(prefix);
        EDT_INFO("evaluating %s", prefix);
        status = edt_eval_loop_once(l, step < 0 ? 0 : step,
                                    step >= 0 && writable ? prefix : NULL, metrics, err);
    }
    if (status == EDT_OK || status == EDT_ERR_CANCELLED) {
        *out_done = true;
        return status;
    }
    const char *index = edt_arena_printf(&l->arena, "%s.index", prefix);
    // Ranks cannot pass over what only some of them miss.
    if (index == NULL || edt_path_exists(index) || edt_comm_world_size(l->options->comm) > 1) {
        return status;
    }
    EDT_WARN("%s was removed while it was evaluated and is passed over: %s", prefix, err->text);
    return EDT_OK;
}

edt_status edt_eval_loop_run(edt_eval_loop *l, int64_t total_steps, edt_error *err)
{
    const char *dir = l->options->model_dir;
    const char *prefix = NULL;
    edt_status status = edt_checkpoint_latest(dir, &l->arena, err, &prefix);
    if (status == EDT_END && l->options->eval_timeout == 0.0) {
        EDT_FAIL(err, EDT_ERR_NOT_FOUND,
                 "%s holds no checkpoint (no readable 'checkpoint' file); train first, or give "
                 "--eval_timeout to wait for one",
                 dir);
    }
    if (status != EDT_OK && status != EDT_END) {
        return status;
    }
    // Results are kept beside the checkpoint where that is possible; a read-only directory is a
    // legal place to evaluate from.
    const bool writable = is_writer(l) && access(dir, W_OK) == 0;
    edt_metrics *metrics = NULL;
    const char *path = edt_path_join(&l->arena, dir, "metrics.jsonl");
    if (writable && path != NULL) {
        EDT_TRY(edt_metrics_open(path, INT64_MAX, err, &metrics));
        const edt_summaries_options so = {.model_dir = dir,
                                          .eval_name = l->options->eval_name,
                                          .waits = true,
                                          .resumed_step = -1};
        status = edt_summaries_create(&l->hp, &so, err, &l->summaries);
        if (status != EDT_OK) {
            edt_metrics_close(metrics);
            return status;
        }
    }
    const char *done = NULL;
    if (prefix == NULL) {
        EDT_INFO("waiting for a checkpoint in %s", dir);
    }
    // Rank 0's answer holds for all.
    status = prefix == NULL || edt_comm_world_size(l->options->comm) > 1
                 ? wait_for_newer(l, NULL, 0.0, err, &prefix)
                 : EDT_OK;
    if (status != EDT_OK) {
        prefix = NULL;
    }
    while (prefix != NULL) {
        const double begun = edt_clock_now_s();
        const int64_t step = edt_checkpoint_step(prefix);
        bool is_evaluated;
        status = evaluate_checkpoint(l, prefix, writable, metrics, err, &is_evaluated);
        done = prefix;
        if (status != EDT_OK || step < 0 || step >= total_steps) {
            break;
        }
        const bool once = l->options->eval_timeout == 0.0;
        if (once && is_evaluated) {
            break;
        }
        if (!once) {
            EDT_INFO("waiting for a checkpoint newer than %s (Ctrl-C ends; --eval_timeout=0 "
                     "evaluates once)",
                     done);
        }
        const double interval = once ? 0.0 : l->options->min_eval_interval;
        status = wait_for_newer(l, done, begun + interval, err, &prefix);
        if (status != EDT_OK) {
            break;
        }
    }
    edt_summaries_destroy(l->summaries, true);
    l->summaries = NULL;
    edt_metrics_close(metrics);
    bool stops = false;
    if (status == EDT_OK) {
        status = edt_stop_vote_now(l->options->comm, err, &stops);
    }
    if (stops) {
        EDT_FAIL(err, EDT_ERR_CANCELLED, "interrupted");
    }
    return status;
}
