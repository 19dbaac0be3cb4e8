// An interrupt that reaches one rank alone while checkpoints are evaluated or a run is
// estimated: all ranks stop, none of them as if another had failed, and the same command does
// what was left to do.
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "core/log.h"
#include "core/mem.h"
#include "core/signal.h"
#include "tests/support/test_dirs.h"
#include "tests/support/test_ranks.h"
#include "tests/support/test_records.h"
#include "tests/support/test_training.h"

enum { RANKS = 2, N_PICTURES = 14, N_STEPS = 2 };

static char root[256], shard[300], model_dir[300];

static void setup(void)
{
    (void)snprintf(root, sizeof root, "%s", edt_test_temp_dir());
    (void)snprintf(shard, sizeof shard, "%s/shard.tfrecord", root);
    (void)snprintf(model_dir, sizeof model_dir, "%s/model", root);
    edt_test_write_drawn_shard(shard, N_PICTURES, -1);
}

static void teardown(void)
{
    edt_test_remove_tree(root);
}

TestSuite(rank_stop, .init = setup, .fini = teardown, .timeout = 120);

typedef struct stop_case {
    edt_train_options options;
    int rank;         // that is interrupted, -1: none
    const char *line; // of its log, when it is
    const char *says; // in the message of all
} stop_case;

static void interrupt_at_line(void *ctx, edt_log_level level, const char *line)
{
    (void)level;
    const stop_case *c = ctx;
    if (strstr(line, c->line) != NULL && !edt_interrupt_requested()) {
        (void)raise(SIGTERM);
    }
}

static int run_rank(edt_comm *comm, void *arg)
{
    stop_case *c = arg;
    edt_error err = {0};
    edt_hparams hp;
    const bool is_first = edt_comm_rank(comm) == 0;
    edt_test_train_hparams("num_epochs=2", &hp);
    c->options.comm = comm;
    TEST_RANK_ASSERT(edt_interrupt_install(&err) == EDT_OK);
    if (edt_comm_rank(comm) == c->rank) {
        edt_log_set_sink(interrupt_at_line, c);
    } else {
        edt_log_set_level(EDT_LOG_QUIET);
    }
    const edt_status status = edt_train_run(&hp, &c->options, &err);
    edt_hparams_deinit(&hp);
    if (c->rank < 0) {
        TEST_RANK_ASSERT(status == EDT_OK);
        return 0;
    }
    if (status != EDT_ERR_CANCELLED || strstr(err.text, c->says) == NULL) {
        (void)fprintf(stderr, "rank %d: %d: %s\n", is_first ? 0 : 1, (int)status, err.text);
    }
    TEST_RANK_ASSERT(status == EDT_ERR_CANCELLED && strstr(err.text, c->says) != NULL);
    TEST_RANK_ASSERT((edt_comm_rank(comm) == c->rank) == edt_interrupt_requested());
    return 0;
}

static edt_train_options options(edt_train_mode mode)
{
    edt_train_options o = edt_test_training_options(model_dir, shard, N_STEPS);
    o.mode = mode;
    o.val_file_pattern = shard;
    o.eval_batch_size = 1;
    return o;
}

// Lines of metrics.jsonl that hold the evaluation of `step`.
static int count_evaluations(int step)
{
    char line[64];
    const edt_span text = edt_test_read_file(edt_test_path(model_dir, "metrics.jsonl"));
    const uint8_t *end = text.data + text.n_bytes;
    int n = 0;
    (void)snprintf(line, sizeof line, "{\"step\": %d, \"AP\": ", step);
    for (const uint8_t *at = text.data;
         (at = memmem(at, (size_t)(end - at), line, strlen(line))) != NULL; ++at) {
        ++n;
    }
    edt_mem_free((void *)text.data);
    return n;
}

Test(rank_stop, an_evaluation_in_turn_is_left_by_all)
{
    for (int rank = 0; rank < RANKS; ++rank) {
        stop_case c = {.options = options(EDT_TRAIN_MODE_TRAIN_AND_EVAL),
                       .rank = rank,
                       .line = "Starting evaluation, epoch: 1",
                       .says = "evaluation of step 2 (the same command begins with it)"};
        test_ranks_expect(RANKS, run_rank, &c);
        cr_expect(edt_test_exists(edt_test_path(model_dir, "model.ckpt-2.index")));
        cr_expect_eq(count_evaluations(2), 0);
    }
    stop_case whole = {.options = options(EDT_TRAIN_MODE_TRAIN_AND_EVAL), .rank = -1};
    test_ranks_expect(RANKS, run_rank, &whole);
    cr_expect_eq(count_evaluations(2), 1);
    cr_expect_eq(count_evaluations(4), 1);
}

Test(rank_stop, the_wait_for_one_beside_training_is_left_by_all)
{
    stop_case c = {.options = options(EDT_TRAIN_MODE_TRAIN_AND_EVAL),
                   .rank = 1,
                   .line = "Starting evaluation, epoch: 2",
                   .says = "while an evaluation was waited for"};
    c.options.eval_device = "ref"; // slow
    c.options.eval_threads = 1;
    test_ranks_expect(RANKS, run_rank, &c);
    cr_expect(edt_test_exists(edt_test_path(model_dir, "model.ckpt-4.index")));
    cr_expect_eq(count_evaluations(4), 0);
}

Test(rank_stop, an_estimate_is_left_by_all)
{
    stop_case c = {.options = options(EDT_TRAIN_MODE_TRAIN_AND_EVAL),
                   .rank = 1,
                   .line = "the shards hold 14 records",
                   .says = "interrupted"};
    c.options.estimate = true;
    test_ranks_expect(RANKS, run_rank, &c);
}

Test(rank_stop, mode_eval_is_left_by_all)
{
    stop_case c = {.options = options(EDT_TRAIN_MODE_TRAIN), .rank = -1};
    test_ranks_expect(RANKS, run_rank, &c);
    static const char *const lines[] = {"evaluating ", "waiting for a checkpoint newer than"};
    for (int i = 0; i < 2; ++i) {
        c = (stop_case){.options = options(EDT_TRAIN_MODE_EVAL),
                        .rank = 1,
                        .line = lines[i],
                        .says = "interrupted"};
        c.options.num_examples_per_epoch = 100; // a run that is to get longer: it is waited for
        c.options.min_eval_interval = 0.0;
        c.options.eval_timeout = -1.0;
        test_ranks_expect(RANKS, run_rank, &c);
        cr_expect_eq(count_evaluations(4), i, "%s", lines[i]);
    }
}
