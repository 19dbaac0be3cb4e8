// Evaluation inside training and on its own: which checkpoints, how many pictures, what is
// kept, and that both ways give the same numbers.
#include <criterion/criterion.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "core/mem.h"
#include "tests/support/test_dirs.h"
#include "tests/support/test_training.h"

enum { N_PICTURES = 7, N_STEPS = 3 };

static char root[256], pattern[300], model_dir[300];

static void setup(void)
{
    (void)snprintf(root, sizeof root, "%s", edt_test_temp_dir());
    (void)snprintf(pattern, sizeof pattern, "%s/shard.tfrecord", root);
    (void)snprintf(model_dir, sizeof model_dir, "%s/model", root);
    edt_test_write_drawn_shard(pattern, N_PICTURES, -1);
}

static void teardown(void)
{
    edt_test_remove_tree(root);
}

TestSuite(eval_loop, .init = setup, .fini = teardown, .timeout = 240);

static edt_train_options options(edt_train_mode mode)
{
    edt_train_options o = edt_test_training_options(model_dir, pattern, N_STEPS);
    o.mode = mode;
    o.val_file_pattern = pattern;
    o.eval_batch_size = 3; // seven pictures: the last batch is not full
    return o;
}

static void expect_run(const char *overrides, const edt_train_options *o, int want_code)
{
    const char *error;
    const int code = edt_test_train_run(overrides, o, &error);
    cr_assert_eq(code, want_code, "exit %d, not %d: %s", code, want_code, error);
}

// Line i_line of metrics.jsonl that holds an evaluation, without its seconds; "" when there is
// none.
static void eval_line(int i_line, char *out, size_t n_out)
{
    FILE *file = fopen(edt_test_path(model_dir, "metrics.jsonl"), "r");
    cr_assert_not_null(file);
    char line[4096];
    out[0] = '\0';
    while (out[0] == '\0' && fgets(line, sizeof line, file) != NULL) {
        const char *seconds = strstr(line, ", \"eval_seconds\"");
        if (seconds != NULL && i_line-- == 0) {
            (void)snprintf(out, n_out, "%.*s", (int)(seconds - line), line);
        }
    }
    (void)fclose(file);
}

Test(eval_loop, every_epoch_is_evaluated_and_the_best_archived)
{
    edt_train_options o = options(EDT_TRAIN_MODE_TRAIN_AND_EVAL);
    expect_run("num_epochs=2", &o, 0);
    char line[3][2048];
    for (int i = 0; i < 3; ++i) {
        eval_line(i, line[i], sizeof line[i]);
    }
    cr_expect(strncmp(line[0], "{\"step\": 3, \"AP\": ", 18) == 0, "%s", line[0]);
    cr_expect(strncmp(line[1], "{\"step\": 6, \"AP\": ", 18) == 0, "%s", line[1]);
    cr_expect_str_eq(line[2], "");
    cr_expect_not_null(strstr(line[1], "\"eval_images\": 7"), "%s", line[1]);
    cr_expect(edt_test_exists(edt_test_path(model_dir, "archive/checkpoint")));
    cr_expect(edt_test_exists(edt_test_path(model_dir, "best_objective.txt")));
    char *words;
    size_t n_words;
    edt_error err = {0};
    cr_assert_eq(edt_file_read(edt_test_path(model_dir, "archive/best_eval.txt"), 4096, &err,
                               &words, &n_words),
                 EDT_OK, "%s", err.text);
    cr_expect(strncmp(words, "{'AP': ", 7) == 0 && strstr(words, "'ARl': ") != NULL &&
                  strstr(words, ", 'loss': ") != NULL,
              "%s", words);
    edt_mem_free(words);
    cr_expect(edt_test_exists(edt_test_path(model_dir, "model.ckpt-3.index")));

    // Alone, from the checkpoint: the same numbers, whatever the batch.
    o = options(EDT_TRAIN_MODE_EVAL);
    o.eval_batch_size = 2;
    o.eval_timeout = 0;
    o.min_eval_interval = 1e6; // once is once: nothing is waited for
    o.num_examples_per_epoch = 0;
    expect_run("num_epochs=2", &o, 0);
    o.num_examples_per_epoch = options(EDT_TRAIN_MODE_EVAL).num_examples_per_epoch;
    eval_line(2, line[2], sizeof line[2]);
    cr_expect_str_eq(line[1], line[2]);
    // A part of the pictures; a step that is the last ends the loop by itself.
    o.eval_samples = 4;
    o.eval_timeout = -1;
    expect_run("num_epochs=2", &o, 0);
    eval_line(3, line[0], sizeof line[0]);
    cr_expect_not_null(strstr(line[0], "\"eval_images\": 4"), "%s", line[0]);
}

Test(eval_loop, test_dev_results_are_written_instead_of_metrics)
{
    edt_train_options o = options(EDT_TRAIN_MODE_TRAIN);
    o.eval_after_train = true;
    o.testdev_dir = "/nowhere";
    expect_run("", &o, EDT_ERR_USAGE);
    o.testdev_dir = root;
    expect_run("", &o, 0);
    char line[2048];
    eval_line(0, line, sizeof line);
    cr_expect_not_null(strstr(line, "\"AP\": -1, \"eval_images\": 7"), "%s", line);
    char *text;
    size_t n, n_rows = 0;
    edt_error err = {0};
    const char *path = edt_test_path(root, "detections_test-dev2017_test_results.json");
    cr_assert_eq(edt_file_read(path, 1 << 22, &err, &text, &n), EDT_OK, "%s", err.text);
    for (const char *at = text; (at = strstr(at, "{\"image_id\": ")) != NULL; ++at) {
        ++n_rows;
    }
    cr_expect_eq(n_rows, (size_t)N_PICTURES * 100);
    edt_mem_free(text);
}

Test(eval_loop, train_can_end_with_one_evaluation)
{
    edt_train_options o = options(EDT_TRAIN_MODE_TRAIN);
    o.eval_after_train = true;
    expect_run("", &o, 0);
    char line[2048];
    eval_line(0, line, sizeof line);
    cr_expect_not_null(strstr(line, "\"step\": 3, "), "%s", line);
    eval_line(1, line, sizeof line);
    cr_expect_str_eq(line, "");
}

static double val_loss(int i_line)
{
    static const char key[] = "\"val_loss\": ";
    FILE *file = fopen(edt_test_path(model_dir, "metrics.jsonl"), "r");
    cr_assert_not_null(file);
    char line[4096];
    double loss = NAN;
    while (i_line >= 0 && fgets(line, sizeof line, file) != NULL) {
        const char *value = strstr(line, key);
        if (value != NULL && i_line-- == 0) {
            loss = strtod(value + strlen(key), NULL);
        }
    }
    (void)fclose(file);
    return loss;
}

// Measured: the losses are 0.013 % apart.
Test(eval_loop, mixed_precision_is_the_evaluations_too)
{
    edt_train_options o = options(EDT_TRAIN_MODE_TRAIN);
    o.device = "cpu";
    o.eval_after_train = true;
    expect_run("mixed_precision=true", &o, 0);
    o.mode = EDT_TRAIN_MODE_EVAL;
    expect_run("mixed_precision=true", &o, 0);
    expect_run("mixed_precision=false", &o, 0);
    const double after_training = val_loss(0), mixed = val_loss(1), f32 = val_loss(2);
    cr_expect_eq(after_training, mixed, "%.9g, %.9g", after_training, mixed);
    cr_expect_neq(mixed, f32);
    cr_expect_float_eq(mixed, f32, 0.002 * f32, "%.9g, %.9g", mixed, f32);
}

Test(eval_loop, a_directory_without_checkpoint_is_an_error_or_waited_for)
{
    const char *error;
    edt_train_options o = options(EDT_TRAIN_MODE_EVAL);
    o.model_dir = root;
    o.eval_timeout = 0;
    cr_expect_eq(edt_test_train_run("", &o, &error), EDT_ERR_NOT_FOUND);
    cr_expect_not_null(strstr(error, "holds no checkpoint"), "%s", error);
    o.eval_timeout = 1e-3; // one look, then the time is up: nothing to evaluate is no failure
    cr_expect_eq(edt_test_train_run("", &o, &error), 0, "%s", error);
    o.val_file_pattern = "";
    cr_expect_eq(edt_test_train_run("", &o, &error), EDT_ERR_USAGE);
    cr_expect_not_null(strstr(error, "--val_file_pattern"), "%s", error);
}

Test(eval_loop, one_batch_by_heart_writes_no_checkpoint)
{
    edt_train_options o = options(EDT_TRAIN_MODE_TRAIN);
    o.overfit_one_batch = true;
    expect_run("", &o, 0);
    cr_expect_not(edt_test_exists(edt_test_path(model_dir, "checkpoint")));
    cr_expect_not(edt_test_exists(edt_test_path(model_dir, "metrics.jsonl")));
    cr_expect_not(edt_test_exists(edt_test_path(model_dir, "config.yaml")));
    cr_expect(edt_test_exists(edt_test_path(model_dir, "overfit.jsonl")));
}

// Nothing is learnt, so no evaluation passes the first. The run ends by itself, again without a
// step, and goes on where more patience is asked for.
Test(eval_loop, a_run_that_gets_no_better_ends_early)
{
    edt_train_options o = options(EDT_TRAIN_MODE_TRAIN_AND_EVAL);
    o.eval_samples = 3;
    static const char *const overrides[3] = {
        "num_epochs=6,learning_rate=0,lr_warmup_init=0,freeze_bn=true,early_stop_evals=2",
        "num_epochs=6,learning_rate=0,lr_warmup_init=0,freeze_bn=true,early_stop_evals=2",
        "num_epochs=6,learning_rate=0,lr_warmup_init=0,freeze_bn=true,early_stop_evals=3",
    };
    static const int last_step[3] = {9, 9, 12};
    for (int i = 0; i < 3; ++i) {
        expect_run(overrides[i], &o, 0);
        cr_expect(
            edt_test_exists(edt_test_path(model_dir, "model.ckpt-%d.index", last_step[i])),
            "run %d did not come to step %d", i, last_step[i]);
        cr_expect_not(
            edt_test_exists(edt_test_path(model_dir, "model.ckpt-%d.index", last_step[i] + 3)),
            "run %d did not end at step %d", i, last_step[i]);
        char line[2048];
        eval_line(last_step[i] / 3, line, sizeof line);
        cr_expect_str_eq(line, "");
    }
    o.mode = EDT_TRAIN_MODE_TRAIN;
    expect_run(overrides[0], &o, EDT_ERR_USAGE);
}

// With semantics=tf2 every map_freq-th epoch and the last one; early stopping counts
// evaluations, not epochs, also over a start anew.
Test(eval_loop, every_second_epoch_is_evaluated_and_counted)
{
    edt_train_options o = options(EDT_TRAIN_MODE_TRAIN_AND_EVAL);
    o.eval_samples = 3;
    static const char fixed[] = "semantics=tf2,map_freq=2,learning_rate=0,lr_warmup_init=0,"
                                "freeze_bn=true,early_stop_evals=1,save_freq=2,num_epochs=";
    char overrides[256], line[2048];
    (void)snprintf(overrides, sizeof overrides, "%s3", fixed);
    expect_run(overrides, &o, 0); // after the second epoch, and the last: one that is no better
    eval_line(0, line, sizeof line);
    cr_expect(strncmp(line, "{\"step\": 6, ", 12) == 0, "%s", line);
    eval_line(1, line, sizeof line);
    cr_expect(strncmp(line, "{\"step\": 9, ", 12) == 0, "%s", line);
    cr_expect(edt_test_exists(edt_test_path(model_dir, "model.ckpt-4.index")));
    cr_expect(edt_test_exists(edt_test_path(model_dir, "model.ckpt-8.index")));
    (void)snprintf(overrides, sizeof overrides, "%s9", fixed);
    expect_run(overrides, &o, 0); // stopped already
    eval_line(2, line, sizeof line);
    cr_expect_str_eq(line, "");
    (void)snprintf(overrides, sizeof overrides, "%s9,early_stop_evals=2", fixed);
    expect_run(overrides, &o, 0);
    eval_line(2, line, sizeof line);
    cr_expect(strncmp(line, "{\"step\": 12, ", 13) == 0, "%s", line);
    eval_line(3, line, sizeof line);
    cr_expect_str_eq(line, "");
    cr_expect_not(edt_test_exists(edt_test_path(model_dir, "model.ckpt-15.index")));
}

// One and a half epochs end in an evaluation; one that a kill took away is made up for.
Test(eval_loop, a_part_of_an_epoch_and_a_lost_evaluation_are_evaluated)
{
    edt_train_options o = options(EDT_TRAIN_MODE_TRAIN_AND_EVAL);
    expect_run("num_epochs=1.67", &o, 0);
    char line[2][2048];
    eval_line(0, line[0], sizeof line[0]);
    cr_expect(strncmp(line[0], "{\"step\": 3, ", 12) == 0, "%s", line[0]);
    eval_line(1, line[0], sizeof line[0]);
    cr_expect(strncmp(line[0], "{\"step\": 5, ", 12) == 0, "%s", line[0]);
    cr_assert_eq(unlink(edt_test_path(model_dir, "metrics.jsonl")), 0);
    expect_run("num_epochs=1.67", &o, 0); // the last one is lost
    eval_line(0, line[1], sizeof line[1]);
    cr_expect_str_eq(line[0], line[1]);
    expect_run("num_epochs=1.67", &o, 0); // none is lost
    eval_line(1, line[1], sizeof line[1]);
    cr_expect_str_eq(line[1], "");
}

Test(eval_loop, a_checkpoint_removed_meanwhile_is_passed_over)
{
    edt_train_options o = options(EDT_TRAIN_MODE_TRAIN);
    expect_run("", &o, 0);
    // As the trainer would prune it: the evaluation holds the state file's name of it already.
    cr_assert_eq(truncate(edt_test_path(model_dir, "model.ckpt-3.data-00000-of-00001"), 10), 0);
    o = options(EDT_TRAIN_MODE_EVAL);
    o.eval_timeout = 0;
    const char *error;
    cr_expect_neq(edt_test_train_run("", &o, &error), 0, "a damaged one that is there fails");
    cr_assert_eq(unlink(edt_test_path(model_dir, "model.ckpt-3.index")), 0);
    o.eval_timeout = 1e-3;
    cr_expect_eq(edt_test_train_run("", &o, &error), 0, "%s", error);
}
