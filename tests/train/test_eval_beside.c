// Evaluation beside training gives what evaluation in turn gives: weights, numbers, archive,
// the step that ends early, the error, and all of it after a kill.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "core/file.h"
#include "core/mem.h"
#include "core/path.h"
#include "eval/predict.h"
#include "tests/support/test_dirs.h"
#include "tests/support/test_training.h"
#include "train/eval_beside.h"

enum { N_TRAIN = 7, N_VAL = 24, N_STEPS = 3, N_EPOCHS = 3 };
static const char three_epochs[] = "num_epochs=3,moving_average_decay=0.9,learning_rate=0.5";

static char root[256], train_shard[300], val_shard[300], in_turn[300], beside[300];

static void setup(void)
{
    (void)snprintf(root, sizeof root, "%s", edt_test_temp_dir());
    (void)snprintf(train_shard, sizeof train_shard, "%s/train.tfrecord", root);
    (void)snprintf(val_shard, sizeof val_shard, "%s/val.tfrecord", root);
    (void)snprintf(in_turn, sizeof in_turn, "%s/in_turn", root);
    (void)snprintf(beside, sizeof beside, "%s/beside", root);
    edt_test_write_drawn_shard(train_shard, N_TRAIN, -1);
    edt_test_write_drawn_shard(val_shard, N_VAL, -1);
}

static void teardown(void)
{
    edt_test_remove_tree(root);
}

TestSuite(eval_beside, .init = setup, .fini = teardown, .timeout = 240);

static edt_train_options options(const char *model_dir, const char *eval_device)
{
    edt_train_options o = edt_test_training_options(model_dir, train_shard, N_STEPS);
    o.mode = EDT_TRAIN_MODE_TRAIN_AND_EVAL;
    o.val_file_pattern = val_shard;
    o.eval_batch_size = 5;
    o.eval_device = eval_device;
    o.eval_threads = eval_device != NULL ? 1 : 0;
    o.save_checkpoints_steps = 1;
    return o;
}

static void expect_run(const char *overrides, const edt_train_options *o, int want_code,
                       const char *want_text)
{
    const char *error;
    const int code = edt_test_train_run(overrides, o, &error);
    cr_assert_eq(code, want_code, "exit %d, not %d: %s", code, want_code, error);
    cr_expect_not_null(strstr(error, want_text), "wanted '%s': %s", want_text, error);
}

// The evaluations in metrics.jsonl without their seconds, and the losses, in separate texts.
typedef struct lines {
    char evaluations[8192], losses[8192];
} lines;

static void read_lines(const char *model_dir, lines *out)
{
    FILE *file = fopen(edt_test_path(model_dir, "metrics.jsonl"), "r");
    cr_assert_not_null(file);
    char line[4096];
    *out = (lines){0};
    while (fgets(line, sizeof line, file) != NULL) {
        char *end = strstr(line, ", \"eval_seconds\"");
        char *to = end != NULL ? out->evaluations : out->losses;
        const char *rest = end != NULL ? strchr(end + 1, ',') : "\n"; // the losses of it
        end = end != NULL ? end : strstr(line, ", \"images_per_second\"");
        cr_assert(end != NULL && rest != NULL, "%s", line);
        const size_t n = strlen(to);
        (void)snprintf(to + n, sizeof out->losses - n, "%.*s%s", (int)(end - line), line, rest);
    }
    (void)fclose(file);
}

static void expect_same_files(const char *a, const char *b)
{
    static const char *const names[] = {
        "model.ckpt-9.index", "model.ckpt-9.data-00000-of-00001",
        "best_objective.txt", "archive/best_eval.txt",
        "archive/checkpoint", "config.yaml",
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; ++i) {
        char path[400];
        (void)snprintf(path, sizeof path, "%s/%s", a, names[i]);
        cr_expect(edt_test_files_equal(path, edt_test_path(b, "%s", names[i])), "%s of %s",
                  names[i], b);
    }
}

static void expect_same_run(const char *model_dir)
{
    lines want, got;
    read_lines(in_turn, &want);
    read_lines(model_dir, &got);
    cr_expect_str_eq(got.evaluations, want.evaluations, "%s", model_dir);
    cr_expect_str_eq(got.losses, want.losses, "%s", model_dir);
    expect_same_files(in_turn, model_dir);
}

// Sends `number` when a checkpoint inside of the second epoch has appeared: the evaluation of
// the first one has just begun.
static int run_until_second_epoch(const edt_train_options *o, int number)
{
    edt_error err = {0};
    cr_assert_eq(edt_path_mkdirs(o->model_dir, &err), EDT_OK, "%s", err.text);
    const int watch = inotify_init1(IN_CLOEXEC);
    cr_assert_geq(watch, 0);
    cr_assert_geq(inotify_add_watch(watch, o->model_dir, IN_CREATE | IN_MOVED_TO), 0);
    int alive[2]; // the child holds the only writing end: when it ends, so does the wait
    cr_assert_eq(pipe2(alive, O_CLOEXEC), 0);
    const int pid = edt_test_train_fork(three_epochs, o);
    (void)close(alive[1]);
    while (!edt_test_exists(edt_test_path(o->model_dir, "model.ckpt-4.index"))) {
        struct pollfd wait[2] = {{.fd = watch, .events = POLLIN}, {.fd = alive[0]}};
        cr_assert_gt(poll(wait, 2, -1), 0);
        if ((wait[0].revents & POLLIN) == 0) {
            break;
        }
        char buffer[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
        cr_assert_gt(read(watch, buffer, sizeof buffer), 0);
    }
    (void)close(watch);
    (void)close(alive[0]);
    cr_assert_eq(kill(pid, number), 0);
    return edt_test_train_wait(pid);
}

// As if the evaluation had not come to its end before the kill, should it have been so fast.
static void forget_evaluation(const char *model_dir)
{
    char *text;
    size_t n;
    edt_error err = {0};
    const char *path = edt_test_path(model_dir, "metrics.jsonl");
    cr_assert_eq(edt_file_read(path, 1 << 20, &err, &text, &n), EDT_OK, "%s", err.text);
    char *line = strstr(text, "{\"step\": 3, \"AP\"");
    if (line != NULL) {
        char *end = strchr(line, '\n');
        end = end != NULL ? end + 1 : text + n;
        memmove(line, end, (size_t)(text + n - end) + 1);
        cr_assert_eq(edt_file_write(path, text, strlen(text), &err), EDT_OK, "%s", err.text);
    }
    edt_mem_free(text);
    edt_test_remove_tree(edt_test_path(model_dir, "archive"));
    (void)unlink(edt_test_path(model_dir, "best_objective.txt"));
}

Test(eval_beside, the_run_is_that_of_evaluations_in_turn_also_after_a_kill)
{
    edt_train_options o = options(in_turn, NULL);
    expect_run(three_epochs, &o, 0, "");
    lines in_order;
    read_lines(in_turn, &in_order);
    int n_lines = 0;
    for (const char *at = in_order.evaluations; (at = strstr(at, "\"AP\": ")) != NULL; ++at) {
        ++n_lines;
    }
    cr_assert_eq(n_lines, N_EPOCHS, "%s", in_order.evaluations);

    o = options(beside, "cpu");
    expect_run(three_epochs, &o, 0, "");
    expect_same_run(beside);

    // The lost evaluation is made up for, beside the rest of the epoch or before it.
    static const char *const devices[2] = {"cpu", NULL};
    for (int i = 0; i < 2; ++i) {
        char killed[320];
        (void)snprintf(killed, sizeof killed, "%s/killed_%d", root, i);
        o = options(killed, "cpu");
        cr_assert_eq(run_until_second_epoch(&o, SIGKILL), 1000 + SIGKILL);
        forget_evaluation(killed);
        o = options(killed, devices[i]);
        expect_run(three_epochs, &o, 0, "");
        expect_same_run(killed);
    }
    char ended[320];
    (void)snprintf(ended, sizeof ended, "%s/ended", root);
    o = options(ended, "cpu");
    cr_expect_eq(run_until_second_epoch(&o, SIGTERM), EDT_ERR_CANCELLED);
    expect_run(three_epochs, &o, 0, "");
    expect_same_run(ended);
}

// Nothing is learnt, so no evaluation passes the first: at the very step where evaluations in
// turn end the run (test_eval_loop.c), and again without a step, and later with more patience.
Test(eval_beside, a_run_that_gets_no_better_ends_at_the_same_step)
{
    edt_train_options o = options(beside, "cpu");
    o.eval_samples = 3;
    static const int patience[3] = {2, 2, 3}, last_step[3] = {9, 9, 12};
    for (int i = 0; i < 3; ++i) {
        char overrides[160];
        (void)snprintf(overrides, sizeof overrides,
                       "num_epochs=6,learning_rate=0,lr_warmup_init=0,freeze_bn=true,"
                       "early_stop_evals=%d",
                       patience[i]);
        expect_run(overrides, &o, 0, "");
        cr_expect(edt_test_exists(edt_test_path(beside, "model.ckpt-%d.index", last_step[i])));
        cr_expect_not(
            edt_test_exists(edt_test_path(beside, "model.ckpt-%d.index", last_step[i] + 1)),
            "run %d took a step more", i);
    }
}

// With less patience than the run before had, which lost an evaluation: that one counts, too.
Test(eval_beside, a_lost_evaluation_is_made_up_for_before_a_run_ends_early)
{
    static const char still[] = "learning_rate=0,lr_warmup_init=0,freeze_bn=true";
    char overrides[160];
    edt_train_options o = options(beside, NULL);
    o.eval_samples = 3;
    (void)snprintf(overrides, sizeof overrides, "%s,num_epochs=2", still);
    expect_run(overrides, &o, 0, "");
    o.mode = EDT_TRAIN_MODE_TRAIN; // to the first step of the fourth epoch
    (void)snprintf(overrides, sizeof overrides, "%s,num_epochs=3.4", still);
    expect_run(overrides, &o, 0, "");
    o = options(beside, "cpu");
    o.eval_samples = 3;
    (void)snprintf(overrides, sizeof overrides, "%s,num_epochs=5,early_stop_evals=1", still);
    expect_run(overrides, &o, 0, "");
    cr_expect(edt_test_exists(edt_test_path(beside, "model.ckpt-10.index")));
    cr_expect_not(edt_test_exists(edt_test_path(beside, "model.ckpt-11.index")));
    lines got;
    read_lines(beside, &got);
    cr_expect_not_null(strstr(got.evaluations, "{\"step\": 9, \"AP\""), "%s", got.evaluations);
}

Test(eval_beside, an_evaluation_that_fails_ends_the_run_with_the_same_words)
{
    edt_test_write_drawn_shard(val_shard, N_VAL, N_VAL - 1);
    char words[1024];
    const char *error;
    edt_train_options o = options(in_turn, NULL);
    const int code = edt_test_train_run(three_epochs, &o, &error);
    cr_assert_neq(code, 0);
    (void)snprintf(words, sizeof words, "%s", error);
    cr_assert_not_null(strstr(words, "record 23"), "%s", words);

    o = options(beside, "cpu");
    expect_run(three_epochs, &o, code, words);
    cr_expect_not(edt_test_exists(edt_test_path(beside, "archive.tmp")));
    cr_expect_not(edt_test_exists(edt_test_path(beside, "best_objective.txt")));
    lines got;
    read_lines(beside, &got);
    cr_expect_str_eq(got.evaluations, "");
    // With a good file the same command does what was left to do.
    edt_test_write_drawn_shard(val_shard, N_VAL, -1);
    expect_run(three_epochs, &o, 0, "");
    o = options(in_turn, NULL);
    expect_run(three_epochs, &o, 0, "");
    expect_same_run(beside);
}

Test(eval_beside, a_trace_shows_it_on_a_thread_of_its_own)
{
    char path[320], thread[64];
    (void)snprintf(path, sizeof path, "%s/trace.json", root);
    edt_train_options o = options(beside, "cpu");
    o.trace_path = path;
    expect_run("num_epochs=2", &o, 0, "");
    char *text;
    size_t n;
    edt_error err = {0};
    cr_assert_eq(edt_file_read(path, 1 << 26, &err, &text, &n), EDT_OK, "%s", err.text);
    const char *event = strstr(text, "\"name\":\"evaluate\",\"pid\":");
    const char *step = strstr(text, "\"name\":\"forward_backward\",\"pid\":");
    cr_assert(event != NULL && step != NULL);
    const char *tid = strstr(event, "\"tid\":");
    (void)snprintf(thread, sizeof thread, "%.*s", (int)(strchr(tid, ',') - tid), tid);
    cr_expect_neq(strncmp(strstr(step, "\"tid\":"), thread, strlen(thread)), 0,
                  "steps and evaluation on one thread");
    edt_mem_free(text);
}

Test(eval_beside, what_cannot_run_beside_is_refused)
{
    edt_train_options o = options(beside, "cpu");
    o.mode = EDT_TRAIN_MODE_TRAIN;
    expect_run("", &o, EDT_ERR_USAGE, "--mode=train has no training beside its evaluation");
    o = options(beside, "cpu");
    o.num_threads = 0;
    o.eval_threads = 0;
    expect_run("", &o, EDT_ERR_USAGE, "leaves none to evaluation");
    o = options(beside, NULL);
    o.eval_threads = 2;
    expect_run("", &o, EDT_ERR_USAGE, "give --eval_device");
    o = options(beside, "cpu");
    o.estimate = true;
    expect_run("", &o, EDT_ERR_USAGE, "leave out --eval_device");
    cr_expect_not(edt_test_exists(beside));
}

// The command of a run, with its evaluations beside training, and the probe added: all cores
// are training's then, nothing is evaluated beside it, and no shards to evaluate are asked for.
Test(eval_beside, one_batch_by_heart_builds_none)
{
    edt_train_options o = options(beside, "cpu");
    o.overfit_one_batch = true;
    o.num_threads = 0;
    o.eval_threads = 0;
    o.val_file_pattern = "";
    expect_run("", &o, 0, "");
    cr_expect(edt_test_exists(edt_test_path(beside, "overfit.jsonl")));
}

// In the precision of the evaluation, with its losses: what is then held fits into the plan. (A
// plan in f32 is too small with mixed_precision, for its copy of the weights.)
Test(eval_beside, a_plan_counts_what_the_evaluation_holds)
{
    static const char *const precisions[] = {"mixed_precision=false", "mixed_precision=true"};
    int64_t planned[2];
    for (int i = 0; i < 2; ++i) {
        edt_error err = {0};
        edt_hparams hp;
        edt_backend *backend;
        edt_predictor *predictor;
        const edt_train_options o = options(beside, "cpu");
        edt_test_train_hparams(precisions[i], &hp);
        cr_assert_eq(
            edt_backend_create("cpu", &(edt_backend_options){.n_threads = 1}, &err, &backend),
            EDT_OK, "%s", err.text);
        const edt_predictor_options po = {.batch_size = o.eval_batch_size,
                                          .slot_format = EDT_SLOT_F32,
                                          .post_mode = EDT_POST_PER_CLASS,
                                          .n_threads = 1,
                                          .losses = true};
        cr_assert_eq(edt_predictor_create_standalone(&hp, backend, &po, &err, &predictor),
                     EDT_OK, "%s", err.text);
        edt_exec_memory m;
        edt_exec_get_memory(edt_predictor_exec(predictor), &m);
        const int64_t held =
            m.activation_bytes + m.input_bytes + m.low_bytes +
            edt_predictor_params(predictor)->n_elements * (int64_t)sizeof(float);
        cr_assert_eq(edt_eval_beside_plan(&hp, &o, &err, &planned[i]), EDT_OK, "%s", err.text);
        // The plan knows no backend: values that its fused kernels never write are counted.
        cr_expect(planned[i] >= held && planned[i] - held <= held / 8,
                  "%s: planned %lld bytes, held %lld", precisions[i], (long long)planned[i],
                  (long long)held);
        edt_predictor_destroy(predictor);
        edt_backend_destroy(&backend);
        edt_hparams_deinit(&hp);
    }
    cr_expect_neq(planned[0], planned[1]);
}
