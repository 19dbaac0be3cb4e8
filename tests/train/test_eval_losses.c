// Losses of an evaluation against those that a training step with the moving statistics counts
// in double on the reference backend, picture by picture.
#include "train/eval_losses.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "dataio/loader.h"
#include "tests/support/test_dirs.h"
#include "tests/support/test_ranks.h"
#include "tests/support/test_training.h"
#include "train/step.h"

enum { N_PICTURES = 7, BATCH = 3, N_ROWS = 6 };

static const char SETTINGS[] = "semantics=tf2,iou_loss_type=diou,iou_loss_weight=0.5,"
                               "freeze_bn=true,var_freeze_expr=efficientnet";

static edt_error err;

typedef struct expected {
    double n_positives[N_PICTURES];
    edt_loss_values sums[N_PICTURES]; // not normalised
    double l2;
} expected;

// The same pixels and boxes as the evaluation's.
static void take_steps(const edt_hparams *hp, const char *pattern, expected *out)
{
    edt_backend *backend;
    edt_step *step;
    edt_target_maker *targets;
    edt_loader *loader;
    edt_step_options so = {.real = EDT_DTYPE_F64, .batch_size = 1, .slot_format = EDT_SLOT_F32};
    cr_assert_eq(
        edt_backend_create("ref", &(edt_backend_options){.n_threads = 1}, &err, &backend),
        EDT_OK);
    cr_assert_eq(edt_schedule_init(&so.schedule, hp, 1, 100, &err), EDT_OK, "%s", err.text);
    so.schedule.base_lr = so.schedule.warmup_lr = 0.0;
    cr_assert_eq(edt_step_create(hp, backend, &so, &err, &step), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_params_init_random(edt_step_params(step), 5, &err), EDT_OK);
    cr_assert_eq(edt_target_maker_create(hp, 1, &err, &targets), EDT_OK);
    const edt_loader_options lo = {.file_pattern = pattern,
                                   .batch_size = 1,
                                   .n_threads = 1,
                                   .prefetch = 1,
                                   .world_size = 1,
                                   .format = EDT_SLOT_F32,
                                   .n_anchors = edt_target_maker_n_anchors(targets),
                                   .targets = edt_target_maker_run,
                                   .targets_ctx = targets};
    cr_assert_eq(edt_loader_create(hp, &lo, &err, &loader), EDT_OK, "%s", err.text);
    for (int i = 0; i < N_PICTURES; ++i) {
        const edt_batch *batch;
        edt_step_metrics m;
        cr_assert_eq(edt_loader_next(loader, &err, &batch), EDT_OK, "%s", err.text);
        cr_assert_eq(edt_step_run(step, batch, 0, &err, &m), EDT_OK, "%s", err.text);
        const double n = m.num_positives + 1.0;
        out->n_positives[i] = m.num_positives;
        out->sums[i] = (edt_loss_values){m.cls_loss * n, m.box_loss * n, m.box_iou_loss * n};
        out->l2 = m.reg_l2_loss;
        edt_loader_release(loader, batch);
    }
    edt_loader_destroy(loader);
    edt_step_destroy(step);
    edt_target_maker_destroy(targets);
    edt_backend_destroy(&backend);
}

typedef struct evaluation_case {
    const edt_hparams *hp;
    const char *pattern;
    const expected *want;
    int64_t eval_samples;
} evaluation_case;

// The mean over batches as they come, up to the one with the last picture that is asked for.
static void average(const expected *want, int64_t n_wanted, double rows[N_ROWS])
{
    double sums[3] = {0}, n = 0;
    for (int first = 0; first < N_PICTURES && n < (double)n_wanted; first += BATCH) {
        const int end = first + BATCH < N_PICTURES ? first + BATCH : N_PICTURES;
        double of_batch[3] = {0}, norm = 1;
        for (int i = first; i < end; ++i) {
            norm += want->n_positives[i];
            of_batch[0] += want->sums[i].cls_loss;
            of_batch[1] += want->sums[i].box_loss;
            of_batch[2] += want->sums[i].box_iou_loss;
        }
        for (int k = 0; k < 3; ++k) {
            sums[k] += of_batch[k] / norm * (end - first);
        }
        n += end - first;
    }
    rows[2] = sums[0] / n;
    rows[3] = sums[1] / n;
    rows[4] = sums[2] / n;
    rows[5] = want->l2;
    rows[1] = rows[2] + 50.0 * rows[3] + 0.5 * rows[4];
    rows[0] = rows[1] + rows[5];
}

static int evaluate(edt_comm *comm, void *arg)
{
    static const char *const names[N_ROWS] = {"val_loss",         "val_det_loss",
                                              "val_cls_loss",     "val_box_loss",
                                              "val_box_iou_loss", "val_reg_l2_loss"};
    const evaluation_case *c = arg;
    edt_error rank_err = {0};
    edt_backend *backend;
    edt_predictor *predictor;
    edt_eval_losses *losses;
    const edt_predictor_options po = {.batch_size = BATCH,
                                      .slot_format = EDT_SLOT_F32,
                                      .post_mode = EDT_POST_PER_CLASS,
                                      .n_threads = 1,
                                      .losses = true};
    TEST_RANK_ASSERT(edt_backend_create("cpu", &(edt_backend_options){.n_threads = 1},
                                        &rank_err, &backend) == EDT_OK);
    TEST_RANK_ASSERT(
        edt_predictor_create_standalone(c->hp, backend, &po, &rank_err, &predictor) == EDT_OK);
    TEST_RANK_ASSERT(edt_params_init_random(edt_predictor_params(predictor), 5, &rank_err) ==
                     EDT_OK);
    TEST_RANK_ASSERT(edt_eval_losses_create(c->hp, predictor, false, 1, &rank_err, &losses) ==
                     EDT_OK);
    edt_evaluation_options eo = {
        .val_file_pattern = c->pattern, .eval_samples = c->eval_samples, .comm = comm};
    edt_eval_losses_enter(losses, &eo);
    edt_evaluation e;
    edt_metric rows[EDT_EVAL_LOSSES_MAX_ROWS];
    int n;
    const edt_status status = edt_evaluate(c->hp, predictor, BATCH, &eo, &rank_err, &e);
    if (status != EDT_OK) {
        (void)fprintf(stderr, "%s\n", rank_err.text);
    }
    TEST_RANK_ASSERT(status == EDT_OK);
    TEST_RANK_ASSERT(edt_eval_losses_rows(losses, &e, &rank_err, rows, &n) == EDT_OK);
    TEST_RANK_ASSERT(n == N_ROWS);
    double want[N_ROWS];
    average(c->want, c->eval_samples > 0 ? c->eval_samples : N_PICTURES, want);
    for (int i = 0; i < N_ROWS && edt_comm_rank(comm) == 0; ++i) {
        if (!(fabs(rows[i].value - want[i]) <= 1e-5 * want[i])) {
            (void)fprintf(stderr, "%s %.9g, in double %.9g\n", rows[i].name, rows[i].value,
                          want[i]);
        }
        TEST_RANK_ASSERT(strcmp(rows[i].name, names[i]) == 0);
        TEST_RANK_ASSERT(want[i] > 0 && fabs(rows[i].value - want[i]) <= 1e-5 * want[i]);
    }
    edt_evaluation_deinit(&e);
    edt_eval_losses_destroy(losses);
    edt_predictor_destroy(predictor);
    edt_backend_destroy(&backend);
    return 0;
}

Test(eval_losses, are_those_of_training_in_double_on_any_ranks, .timeout = 120)
{
    edt_hparams hp;
    const char *dir = edt_test_temp_dir();
    const char *pattern = edt_test_path(dir, "data.tfrecord");
    edt_test_write_drawn_shard(pattern, N_PICTURES, -1);
    edt_test_train_hparams(SETTINGS, &hp);
    expected want;
    take_steps(&hp, pattern, &want);
    // Seven pictures in threes: the last batch is not full, and one of two ranks has none of
    // it.
    for (int i = 0; i < 3; ++i) {
        evaluation_case c = {.hp = &hp,
                             .pattern = pattern,
                             .want = &want,
                             .eval_samples = (const int64_t[]){0, 0, 2}[i]};
        test_ranks_expect(i == 0 ? 1 : 2, evaluate, &c);
    }
    edt_hparams_deinit(&hp);
    edt_test_remove_tree(dir);
}
