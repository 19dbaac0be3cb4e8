// Whole training steps with activations computed again: two ranks with synchronised batch norm
// that take their batches in parts come to the bytes of those that keep everything.
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "core/log.h"
#include "dataio/loader.h"
#include "tests/support/test_dirs.h"
#include "tests/support/test_ranks.h"
#include "tests/support/test_training.h"
#include "train/step.h"
#include "train/target_maker.h"

enum { N_STEPS = 2, BATCH = 4, WORLD = 2 };

typedef struct run {
    const char *pattern, *backend;
    edt_dtype real;
    edt_hparams hp[2]; // without and with
} run;

typedef struct trainee {
    edt_backend *backend;
    edt_step *step;
    edt_target_maker *targets;
    edt_loader *loader;
    edt_step_metrics last;
} trainee;

static edt_status open_trainee(const run *r, const edt_hparams *hp, edt_comm *comm,
                               edt_error *err, trainee *t)
{
    const edt_backend_options bo = {.n_threads = 1};
    edt_step_options so = {.real = r->real,
                           .batch_size = BATCH,
                           .slot_format = EDT_SLOT_U8,
                           .drop_connect = true,
                           .seed = 7,
                           .comm = comm,
                           .bn_ranks = WORLD};
    EDT_TRY(edt_backend_create(r->backend, &bo, err, &t->backend));
    EDT_TRY(edt_schedule_init(&so.schedule, hp, 64, 64 * 40, err));
    EDT_TRY(edt_step_create(hp, t->backend, &so, err, &t->step));
    EDT_TRY(edt_params_init_random(edt_step_params(t->step), 5, err));
    EDT_TRY(edt_target_maker_create(hp, 1, err, &t->targets));
    const edt_loader_options lo = {
        .file_pattern = r->pattern,
        .training = true,
        .batch_size = BATCH,
        .n_threads = 1,
        .prefetch = 1,
        .seed = 3 + (uint64_t)edt_comm_rank(comm),
        .world_size = 1,
        .n_anchors = edt_target_maker_n_anchors(t->targets),
        .targets = edt_target_maker_run,
        .targets_ctx = t->targets,
    };
    return edt_loader_create(hp, &lo, err, &t->loader);
}

static void close_trainee(trainee *t)
{
    edt_loader_destroy(t->loader);
    edt_step_destroy(t->step);
    edt_target_maker_destroy(t->targets);
    edt_backend_destroy(&t->backend);
}

static edt_status train(trainee *t, edt_error *err)
{
    for (int i = 0; i < N_STEPS; ++i) {
        const edt_batch *batch;
        EDT_TRY(edt_loader_next(t->loader, err, &batch));
        EDT_TRY(edt_step_run(t->step, batch, i, err, &t->last));
        edt_loader_release(t->loader, batch);
    }
    return EDT_OK;
}

static bool same_arena(const trainee *a, const trainee *b, edt_params_arena which)
{
    const edt_params *p = edt_step_params(a->step), *q = edt_step_params(b->step);
    return p->n_elements == q->n_elements &&
           memcmp(p->memory[which], q->memory[which],
                  (size_t)p->n_elements * edt_dtype_bytes(p->real)) == 0;
}

static int compare_on_a_rank(edt_comm *comm, void *arg)
{
    const run *r = arg;
    edt_error err = {0};
    trainee t[2] = {0};
    for (int i = 0; i < 2; ++i) {
        if (open_trainee(r, &r->hp[i], comm, &err, &t[i]) != EDT_OK ||
            train(&t[i], &err) != EDT_OK) {
            (void)fprintf(stderr, "%s\n", err.text);
            return 2;
        }
    }
    TEST_RANK_ASSERT(t[0].last.finite && t[0].last.gradient_norm > 0);
    TEST_RANK_ASSERT(memcmp(&t[0].last, &t[1].last, sizeof t[0].last) == 0);
    TEST_RANK_ASSERT(same_arena(&t[0], &t[1], EDT_PARAMS_VALUES));
    TEST_RANK_ASSERT(same_arena(&t[0], &t[1], EDT_PARAMS_SLOT0));
    TEST_RANK_ASSERT(same_arena(&t[0], &t[1], EDT_PARAMS_EMA));
    close_trainee(&t[0]);
    close_trainee(&t[1]);
    return 0;
}

static void compare(const char *backend, edt_dtype real)
{
    static const char settings[] = "sync_bn=full,accumulate_steps=2,survival_prob=0.7,"
                                   "fpn_cell_repeats=1,box_class_repeats=2";
    edt_error err = {0};
    run r = {.pattern = edt_test_path(edt_test_temp_dir(), "eight.tfrecord"),
             .backend = backend,
             .real = real};
    edt_log_set_level(EDT_LOG_QUIET);
    edt_test_write_drawn_shard(r.pattern, 8, -1);
    for (int i = 0; i < 2; ++i) {
        edt_test_train_hparams(settings, &r.hp[i]);
    }
    cr_assert_eq(edt_hparams_override(&r.hp[1], "grad_checkpoint=true", &err), EDT_OK, "%s",
                 err.text);
    test_ranks_expect(WORLD, compare_on_a_rank, &r);
    for (int i = 0; i < 2; ++i) {
        edt_hparams_deinit(&r.hp[i]);
    }
}

Test(grad_checkpoint, gives_the_same_bytes_on_two_ranks, .timeout = 120)
{
    compare("cpu", EDT_DTYPE_F32);
}

Test(grad_checkpoint, gives_the_same_bytes_on_two_ranks_in_double, .timeout = 120)
{
    compare("ref", EDT_DTYPE_F64);
}
