// grad_reduce=tpu and tf1_gpus in double on the reference backend: a step of two ranks against
// the gradients of each rank alone, put together by hand.
#include "train/replicas.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/log.h"
#include "core/mem.h"
#include "dataio/loader.h"
#include "tests/support/test_dirs.h"
#include "tests/support/test_ranks.h"
#include "tests/support/test_training.h"
#include "train/step.h"
#include "train/target_maker.h"

enum { RANKS = 2, ROWS = 4 };

static const char NETWORK[] =
    "image_size=64,min_level=3,max_level=5,fpn_num_filters=8,fpn_cell_repeats=1,"
    "box_class_repeats=1,num_scales=1,act_type=swish,"
    "backbone_config=r1_k3_s11_e1_i8_o8*r1_k3_s22_e2_i8_o8_se0.25*r2_k3_s22_e2_i8_o8_se0.25*"
    "r1_k3_s22_e2_i8_o16_se0.25*r1_k3_s22_e2_i16_o16_se0.25,"
    "freeze_bn=true,weight_decay=0.01,clip_gradients_norm=0.05,lr_warmup_epoch=0";

typedef struct run {
    edt_hparams hp;
    edt_backend *backend;
    edt_step *step;
    edt_step_metrics metrics;
} run;

// One step with the rows of `rank`, together with the ranks of `comm` or alone (NULL).
static edt_status take_step(const char *overrides, const char *pattern, int rank,
                            edt_comm *comm, edt_error *err, run *r)
{
    edt_target_maker *targets = NULL;
    edt_loader *loader = NULL;
    const edt_batch *batch;
    edt_status status = EDT_OK;
    *r = (run){0};
    edt_test_train_hparams(overrides, &r->hp);
    EDT_TRY(
        edt_backend_create("ref", &(edt_backend_options){.n_threads = 1}, err, &r->backend));
    edt_step_options so = {
        .real = EDT_DTYPE_F64, .batch_size = ROWS, .slot_format = EDT_SLOT_U8, .comm = comm};
    EDT_TRY(edt_schedule_init(&so.schedule, &r->hp, RANKS * ROWS, 800, err));
    EDT_TRY(edt_step_create(&r->hp, r->backend, &so, err, &r->step));
    EDT_TRY(edt_params_init_random(edt_step_params(r->step), 5, err));
    EDT_TRY(edt_target_maker_create(&r->hp, 1, err, &targets));
    const edt_loader_options lo = {.file_pattern = pattern,
                                   .training = true,
                                   .batch_size = ROWS,
                                   .n_threads = 1,
                                   .prefetch = 1,
                                   .seed = 3,
                                   .rank = rank,
                                   .world_size = RANKS,
                                   .n_anchors = edt_target_maker_n_anchors(targets),
                                   .targets = edt_target_maker_run,
                                   .targets_ctx = targets};
    EDT_TRY_GOTO(edt_loader_create(&r->hp, &lo, err, &loader));
    EDT_TRY_GOTO(edt_loader_next(loader, err, &batch));
    EDT_TRY_GOTO(edt_step_run(r->step, batch, 0, err, &r->metrics));
fail:
    edt_loader_destroy(loader);
    edt_target_maker_destroy(targets);
    return status;
}

static void close_run(run *r)
{
    edt_step_destroy(r->step);
    edt_backend_destroy(&r->backend);
    edt_hparams_deinit(&r->hp);
}

static double *read_arena(const edt_params *p, edt_params_arena which)
{
    double *values = edt_mem_calloc(EDT_MEM_MISC, (size_t)p->n_elements, sizeof *values);
    edt_error err = {0};
    for (int i = 0; i < p->n_params; ++i) {
        cr_assert_eq(edt_params_get_f64(p, which, i, values + p->entries[i].offset,
                                        p->entries[i].n, &err),
                     EDT_OK, "%s", err.text);
    }
    return values;
}

// spec/train.md 5.1, over the trainable variables.
static void clip(const edt_params *p, double limit, double *g)
{
    double total = 0;
    for (int i = 0; i < p->n_params; ++i) {
        const edt_param_entry *e = &p->entries[i];
        double square = 0;
        for (int64_t k = e->offset; e->trainable && k < e->offset + e->n; ++k) {
            square += g[k] * g[k];
        }
        const double factor = limit / fmax(sqrt(square), limit);
        for (int64_t k = e->offset; k < e->offset + e->n; ++k) {
            g[k] *= factor;
        }
        total += square * factor * factor;
    }
    for (int64_t k = 0; k < p->n_elements; ++k) {
        g[k] *= limit * fmin(1 / sqrt(total), 1 / limit);
    }
}

typedef struct replica_case {
    const char *overrides, *pattern;
    int64_t n_elements;
    double *want; // weights after the step
    double loss, n_positives, l2;
} replica_case;

static int check_rank(edt_comm *comm, void *arg)
{
    const replica_case *c = arg;
    edt_error err = {0};
    run r;
    edt_log_set_level(EDT_LOG_QUIET);
    const edt_status status =
        take_step(c->overrides, c->pattern, edt_comm_rank(comm), comm, &err, &r);
    if (status != EDT_OK) {
        (void)fprintf(stderr, "%s\n", err.text);
    }
    TEST_RANK_ASSERT(status == EDT_OK && r.metrics.finite);
    const edt_params *p = edt_step_params(r.step);
    TEST_RANK_ASSERT(p->n_elements == c->n_elements);
    double *got = read_arena(p, EDT_PARAMS_VALUES);
    double worst = 0;
    for (int64_t k = 0; k < p->n_elements; ++k) {
        worst = fmax(worst, fabs(got[k] - c->want[k]));
    }
    edt_mem_free(got);
    if (!(worst <= 1e-12)) {
        (void)fprintf(stderr, "%s: weights are off by %g\n", c->overrides, worst);
    }
    TEST_RANK_ASSERT(worst <= 1e-12);
    TEST_RANK_ASSERT(r.metrics.num_positives == c->n_positives);
    TEST_RANK_ASSERT(fabs(r.metrics.det_loss - c->loss) <= 1e-9 * c->loss);
    TEST_RANK_ASSERT(fabs(r.metrics.reg_l2_loss - c->l2) <= 1e-9 * c->l2);
    close_run(&r);
    return 0;
}

// `mean_norm`: all replicas have the normaliser of the mean, times `norm_factor`.
static void expect_combination(const char *settings, bool is_mean, bool mean_norm,
                               double norm_factor)
{
    char overrides[1024];
    const char *dir = edt_test_temp_dir();
    const char *pattern = edt_test_path(dir, "data.tfrecord");
    edt_error err = {0};
    edt_test_write_drawn_shard(pattern, RANKS * ROWS, -1);
    (void)snprintf(overrides, sizeof overrides, "%s,%s", NETWORK, settings);
    run alone[RANKS];
    replica_case c = {.overrides = overrides, .pattern = pattern};
    for (int i = 0; i < RANKS; ++i) {
        // positives_momentum stays out of what one rank does alone.
        char plain[1100];
        (void)snprintf(plain, sizeof plain, "%s,positives_momentum=None", overrides);
        cr_assert_eq(take_step(plain, pattern, i, NULL, &err, &alone[i]), EDT_OK, "%s",
                     err.text);
        c.n_positives += alone[i].metrics.num_positives;
    }
    cr_assert_neq(alone[0].metrics.num_positives, alone[1].metrics.num_positives,
                  "equal normalisers tell nothing");
    edt_params *p = edt_step_params(alone[0].step);
    const edt_hparams *hp = &alone[0].hp;
    double *grads[RANKS];
    for (int i = 0; i < RANKS; ++i) {
        grads[i] = read_arena(edt_step_params(alone[i].step), EDT_PARAMS_GRADS);
    }
    cr_assert_eq(edt_params_init_random(p, 5, &err), EDT_OK);
    c.want = read_arena(p, EDT_PARAMS_VALUES);
    c.n_elements = p->n_elements;
    c.l2 = alone[0].metrics.reg_l2_loss;
    double *before = read_arena(p, EDT_PARAMS_VALUES);
    for (int i = 0; i < RANKS; ++i) {
        const edt_step_metrics *m = &alone[i].metrics;
        const double of_norm =
            mean_norm ? (m->num_positives + 1) / ((c.n_positives / RANKS + 1) * norm_factor)
                      : 1;
        const double divisor = is_mean ? RANKS : 1;
        c.loss += m->det_loss * of_norm / RANKS;
        for (int k = 0; k < p->n_params; ++k) {
            const edt_param_entry *e = &p->entries[k];
            for (int64_t at = e->offset; at < e->offset + e->n; ++at) {
                const double l2 = e->decay ? hp->weight_decay * before[at] : 0;
                grads[i][at] = (grads[i][at] * of_norm + l2) / divisor;
            }
        }
        clip(p, hp->clip_gradients_norm, grads[i]);
        for (int k = 0; k < p->n_params; ++k) {
            const edt_param_entry *e = &p->entries[k];
            for (int64_t at = e->offset; e->trainable && at < e->offset + e->n; ++at) {
                c.want[at] -= m->learning_rate * grads[i][at];
            }
        }
    }
    test_ranks_expect(RANKS, check_rank, &c);
    for (int i = 0; i < RANKS; ++i) {
        edt_mem_free(grads[i]);
        close_run(&alone[i]);
    }
    edt_mem_free(before);
    edt_mem_free(c.want);
    edt_test_remove_tree(dir);
}

Test(replicas, are_averaged_after_clipping_as_on_a_tpu, .timeout = 60)
{
    expect_combination("grad_reduce=tpu", true, false, 1);
}

Test(replicas, are_added_up_after_clipping_as_on_gpus, .timeout = 60)
{
    expect_combination("grad_reduce=tf1_gpus", false, false, 1);
}

Test(replicas, are_ranks_whose_batches_may_come_in_parts, .timeout = 60)
{
    expect_combination("grad_reduce=tpu,accumulate_steps=2", true, false, 1);
}

Test(replicas, have_the_normaliser_of_the_mean_with_tf2, .timeout = 60)
{
    expect_combination("grad_reduce=tf1_gpus,semantics=tf2", false, true, 1);
}

Test(replicas, have_the_normaliser_of_the_mean_with_positives_momentum, .timeout = 60)
{
    expect_combination("grad_reduce=tpu,positives_momentum=-1", true, true, 1);
    expect_combination("grad_reduce=tpu,positives_momentum=0.75", true, true, 0.25);
    // Below 0 the reference averages over shards of a TPU alone.
    expect_combination("grad_reduce=tf1_gpus,positives_momentum=-1", false, false, 1);
}

// What one rank cannot use reaches all of them, so that none updates.
static int spoil_rank(edt_comm *comm, void *arg)
{
    const char *pattern = arg;
    edt_error err = {0};
    edt_replicas *replicas = NULL;
    run r;
    char overrides[1024];
    (void)snprintf(overrides, sizeof overrides, "%s,grad_reduce=tf1_gpus", NETWORK);
    edt_log_set_level(EDT_LOG_QUIET);
    TEST_RANK_ASSERT(take_step(overrides, pattern, edt_comm_rank(comm), NULL, &err, &r) ==
                     EDT_OK);
    edt_params *p = edt_step_params(r.step);
    double stats[EDT_OPTIMIZER_STATS];
    edt_param_segment *segments =
        edt_mem_calloc(EDT_MEM_MISC, (size_t)p->n_params, sizeof *segments);
    for (int i = 0; i < p->n_params; ++i) {
        segments[i] = (edt_param_segment){
            .offset = p->entries[i].offset, .n = p->entries[i].n, .update = true};
    }
    double *grads = p->memory[EDT_PARAMS_GRADS]; // the reference backend's is the host's
    grads[0] = edt_comm_rank(comm) == 1 ? INFINITY : 1.0;
    TEST_RANK_ASSERT(edt_replicas_create(p, &r.hp, comm, segments, stats, &err, &replicas) ==
                     EDT_OK);
    TEST_RANK_ASSERT(edt_replicas_queue(replicas, &(edt_run_ctx){.learning_rate = 1}, &err) ==
                     EDT_OK);
    TEST_RANK_ASSERT(stats[EDT_OPTIMIZER_STAT_FINITE] == (edt_comm_rank(comm) == 1 ? 0 : 1));
    TEST_RANK_ASSERT(!isfinite(*(const double *)edt_replicas_gradients(replicas)));
    edt_replicas_destroy(replicas);
    edt_mem_free(segments);
    close_run(&r);
    return 0;
}

Test(replicas, one_that_is_not_finite_stops_all, .timeout = 60)
{
    const char *dir = edt_test_temp_dir();
    const char *pattern = edt_test_path(dir, "data.tfrecord");
    edt_test_write_drawn_shard(pattern, RANKS * ROWS, -1);
    test_ranks_expect(RANKS, spoil_rank, (void *)pattern);
    edt_test_remove_tree(dir);
}
