// A run that was killed, interrupted or could not write, and was started again, ends in the
// very bytes of a run that nothing happened to.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "core/path.h"
#include "core/rng.h"
#include "tests/support/test_dirs.h"
#include "tests/support/test_training.h"

enum { N_PICTURES = 7, N_STEPS = 12, SAVE_STEPS = 3 };

typedef struct place {
    char root[256], pattern[300], whole[300], broken[300];
} place;

static place make_place(void)
{
    place p;
    (void)snprintf(p.root, sizeof p.root, "%s", edt_test_temp_dir());
    (void)snprintf(p.pattern, sizeof p.pattern, "%s/shard.tfrecord", p.root);
    (void)snprintf(p.whole, sizeof p.whole, "%s/whole", p.root);
    (void)snprintf(p.broken, sizeof p.broken, "%s/broken", p.root);
    edt_test_write_drawn_shard(p.pattern, N_PICTURES, -1);
    return p;
}

static edt_train_options options_for(const place *p, const char *model_dir)
{
    edt_train_options o = edt_test_training_options(model_dir, p->pattern, N_STEPS);
    o.save_checkpoints_steps = SAVE_STEPS;
    return o;
}

// Runs to the end and fails the test otherwise.
static void finish(const char *overrides, const edt_train_options *o)
{
    const char *error;
    const int code = edt_test_train_run(overrides, o, &error);
    cr_assert_eq(code, 0, "exit %d: %s", code, error);
}

// Lets a run go until `n_events` changes of files in its directory (lines of metrics when
// `only_metrics`, else pieces of checkpoints too) and sends `number`. The exit status, or 1000
// + the signal that ended it.
static int run_until(const char *overrides, const edt_train_options *o, int n_events,
                     bool only_metrics, int number)
{
    edt_error err = {0};
    cr_assert_eq(edt_path_mkdirs(o->model_dir, &err), EDT_OK, "%s", err.text);
    const int watch = inotify_init1(IN_CLOEXEC);
    cr_assert_geq(watch, 0);
    cr_assert_geq(inotify_add_watch(watch, o->model_dir, IN_MODIFY | IN_CREATE | IN_MOVED_TO),
                  0);
    // The child holds the only writing end: when it ends, so does the wait.
    int alive[2];
    cr_assert_eq(pipe2(alive, O_CLOEXEC), 0);
    const int pid = edt_test_train_fork(overrides, o);
    (void)close(alive[1]);
    int n_seen = 0;
    while (n_seen < n_events) {
        struct pollfd wait[2] = {{.fd = watch, .events = POLLIN}, {.fd = alive[0]}};
        cr_assert_gt(poll(wait, 2, -1), 0);
        if ((wait[0].revents & POLLIN) == 0) {
            break;
        }
        char buffer[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
        const ssize_t n = read(watch, buffer, sizeof buffer);
        cr_assert_gt(n, 0);
        for (ssize_t at = 0; at < n;) {
            const struct inotify_event *event = (const struct inotify_event *)(buffer + at);
            const bool is_metrics = strcmp(event->name, "metrics.jsonl") == 0;
            const bool is_event = strncmp(event->name, "events.", 7) == 0;
            n_seen += is_metrics || !(only_metrics || is_event);
            at += (ssize_t)(sizeof *event + event->len);
        }
    }
    (void)close(watch);
    (void)close(alive[0]);
    cr_assert_eq(kill(pid, number), 0);
    return edt_test_train_wait(pid);
}

static void expect_equal(const place *p)
{
    static const char *const suffixes[] = {"index", "data-00000-of-00001"};
    for (int step = SAVE_STEPS; step <= N_STEPS; step += SAVE_STEPS) {
        for (int i = 0; i < 2; ++i) {
            cr_expect(edt_test_files_equal(
                          edt_test_path(p->whole, "model.ckpt-%d.%s", step, suffixes[i]),
                          edt_test_path(p->broken, "model.ckpt-%d.%s", step, suffixes[i])),
                      "model.ckpt-%d.%s differs", step, suffixes[i]);
        }
    }
    cr_expect(edt_test_files_equal(edt_test_path(p->whole, "config.yaml"),
                                   edt_test_path(p->broken, "config.yaml")));
}

// Lines of steps 1 to N_STEPS, each once and with the loss of the other run.
static void expect_same_metrics(const place *p)
{
    FILE *a = fopen(edt_test_path(p->whole, "metrics.jsonl"), "r");
    FILE *b = fopen(edt_test_path(p->broken, "metrics.jsonl"), "r");
    cr_assert(a != NULL && b != NULL);
    char line_a[4096], line_b[4096];
    for (int step = 1; step <= N_STEPS; ++step) {
        int64_t step_a = -1, step_b = -1;
        double epoch_a, epoch_b, loss_a, loss_b;
        static const char form[] = "{\"step\": %" SCNd64 ", \"epoch\": %lf, \"loss\": %lf";
        cr_assert_not_null(fgets(line_a, sizeof line_a, a));
        cr_assert_not_null(fgets(line_b, sizeof line_b, b), "step %d is missing", step);
        cr_assert_eq(sscanf(line_a, form, &step_a, &epoch_a, &loss_a), 3, "%s", line_a);
        cr_assert_eq(sscanf(line_b, form, &step_b, &epoch_b, &loss_b), 3, "%s", line_b);
        cr_expect_eq(step_a, step);
        cr_expect_eq(step_b, step);
        cr_expect_eq(loss_a, loss_b, "step %d: loss %.9g, %.9g", step, loss_a, loss_b);
        cr_expect_eq(epoch_a, epoch_b);
    }
    cr_expect_null(fgets(line_a, sizeof line_a, a));
    cr_expect_null(fgets(line_b, sizeof line_b, b), "%s", line_b);
    (void)fclose(a);
    (void)fclose(b);
}

static void kill_and_compare(const char *overrides, int n_threads, int n_kills, uint64_t seed)
{
    place p = make_place();
    edt_train_options whole = options_for(&p, p.whole);
    edt_train_options broken = options_for(&p, p.broken);
    whole.num_threads = broken.num_threads = n_threads;
    finish(overrides, &whole);
    edt_rng rng;
    edt_rng_init(&rng, seed, 0, 0, 0);
    int n_killed = 0;
    for (int i = 0; i < n_kills; ++i) {
        // The first one comes past the first checkpoint, later ones anywhere, every second one
        // most likely inside a checkpoint.
        const bool only_metrics = i % 2 == 0;
        const float draw = edt_rng_uniform_f32(&rng);
        const int n_events = i == 0         ? SAVE_STEPS + 2 + (int)(draw * 3.0f)
                             : only_metrics ? 2 + (int)(draw * 3.0f)
                                            : 1 + (int)(draw * 40.0f);
        n_killed +=
            run_until(overrides, &broken, n_events, only_metrics, SIGKILL) == 1000 + SIGKILL;
        cr_expect(edt_test_exists(edt_test_path(p.broken, "checkpoint")), "nothing to resume");
    }
    cr_expect_geq(n_killed, (n_kills + 1) / 2, "only %d of %d kills hit", n_killed, n_kills);
    finish(overrides, &broken);
    expect_equal(&p);
    expect_same_metrics(&p);
    edt_test_remove_tree(p.root);
}

Test(resume, a_run_killed_again_and_again_ends_in_the_same_bytes, .timeout = 240)
{
    kill_and_compare("", 1, 6, 1);
}

Test(resume, semantics_tf2_resumes_exactly, .timeout = 240)
{
    kill_and_compare("semantics=tf2", 2, 1, 2);
}

Test(resume, adam_resumes_exactly, .timeout = 240)
{
    kill_and_compare(
        "optimizer=adam,learning_rate=0.002,accumulate_steps=2,positives_momentum=0.9", 1, 2,
        3);
}

Test(resume, frozen_backbone_without_averages_resumes_exactly, .timeout = 240)
{
    kill_and_compare("var_freeze_expr=efficientnet,moving_average_decay=0", 1, 2, 4);
}

Test(resume, an_interrupt_leaves_a_checkpoint_of_its_step, .timeout = 240)
{
    place p = make_place();
    const edt_train_options whole = options_for(&p, p.whole);
    edt_train_options broken = options_for(&p, p.broken);
    broken.save_checkpoints_steps = 1000;
    finish("", &whole);
    static const int signals[] = {SIGTERM, SIGINT};
    for (int i = 0; i < 2; ++i) {
        // A handled signal: the run ends by itself, with a checkpoint and its own status.
        cr_expect_eq(run_until("", &broken, 4, true, signals[i]), EDT_ERR_CANCELLED);
        cr_expect(edt_test_exists(edt_test_path(p.broken, "checkpoint")),
                  "no checkpoint after %d", signals[i]);
        cr_expect_not(edt_test_exists(edt_test_path(p.broken, "model.ckpt-%d.index", N_STEPS)));
    }
    finish("", &broken);
    expect_same_metrics(&p);
    static const char *const suffixes[] = {"index", "data-00000-of-00001"};
    for (int i = 0; i < 2; ++i) {
        cr_expect(edt_test_files_equal(
                      edt_test_path(p.whole, "model.ckpt-%d.%s", N_STEPS, suffixes[i]),
                      edt_test_path(p.broken, "model.ckpt-%d.%s", N_STEPS, suffixes[i])),
                  "model.ckpt-%d.%s", N_STEPS, suffixes[i]);
    }
    edt_test_remove_tree(p.root);
}

Test(resume, a_finished_run_has_nothing_left_to_do, .timeout = 240)
{
    place p = make_place();
    const edt_train_options whole = options_for(&p, p.whole);
    finish("", &whole);
    finish("", &whole);
    cr_expect_eq(rename(p.whole, p.broken), 0);
    finish("", &whole);
    expect_equal(&p);
    expect_same_metrics(&p);
    edt_test_remove_tree(p.root);
}
