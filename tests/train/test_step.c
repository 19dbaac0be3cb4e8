// One training step over real batches: padding rows count for nothing, wrong batches are
// refused, what is not finite leaves no trace, a step allocates nothing, and bf16 follows f32.
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/log.h"
#include "core/mem.h"
#include "dataio/loader.h"
#include "tests/support/test_dirs.h"
#include "tests/support/test_training.h"
#include "train/step.h"
#include "train/target_maker.h"

typedef struct fixture {
    edt_hparams hp;
    edt_backend *backend;
    edt_step *step;
    edt_target_maker *targets;
    edt_loader *loader;
} fixture;

static fixture open_fixture(const char *pattern, const char *backend, edt_dtype real,
                            int64_t batch_size, const char *overrides)
{
    edt_error err = {0};
    fixture f = {0};
    edt_test_train_hparams(overrides, &f.hp);
    cr_assert_eq(
        edt_backend_create(backend, &(edt_backend_options){.n_threads = 1}, &err, &f.backend),
        EDT_OK, "%s", err.text);
    edt_step_options so = {.real = real, .batch_size = batch_size, .slot_format = EDT_SLOT_U8};
    cr_assert_eq(edt_schedule_init(&so.schedule, &f.hp, 64, 64 * 40, &err), EDT_OK, "%s",
                 err.text);
    cr_assert_eq(edt_step_create(&f.hp, f.backend, &so, &err, &f.step), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_params_init_random(edt_step_params(f.step), 5, &err), EDT_OK);
    cr_assert_eq(edt_target_maker_create(&f.hp, 1, &err, &f.targets), EDT_OK, "%s", err.text);
    const edt_loader_options lo = {
        .file_pattern = pattern,
        .training = true,
        .batch_size = batch_size,
        .n_threads = 1,
        .prefetch = 1,
        .seed = 3,
        .world_size = 1,
        .n_anchors = edt_target_maker_n_anchors(f.targets),
        .targets = edt_target_maker_run,
        .targets_ctx = f.targets,
    };
    cr_assert_eq(edt_loader_create(&f.hp, &lo, &err, &f.loader), EDT_OK, "%s", err.text);
    return f;
}

static void close_fixture(fixture *f)
{
    edt_loader_destroy(f->loader);
    edt_step_destroy(f->step);
    edt_target_maker_destroy(f->targets);
    edt_backend_destroy(&f->backend);
    edt_hparams_deinit(&f->hp);
}

// Runs the next batch that has a valid row.
static edt_step_metrics run_next(fixture *f, int64_t global_step, int64_t want_valid)
{
    edt_error err = {0};
    const edt_batch *batch;
    edt_step_metrics m;
    for (;;) {
        cr_assert_eq(edt_loader_next(f->loader, &err, &batch), EDT_OK, "%s", err.text);
        if (batch->n_valid > 0) {
            break;
        }
        edt_loader_release(f->loader, batch);
    }
    cr_assert_eq(batch->n_valid, want_valid);
    cr_assert_eq(edt_step_run(f->step, batch, global_step, &err, &m), EDT_OK, "%s", err.text);
    edt_loader_release(f->loader, batch);
    return m;
}

static void expect_close(const char *what, double a, double b)
{
    cr_expect_leq(fabs(a - b), 1e-9 * fabs(a), "%s: %.15g, %.15g", what, a, b);
}

// Batch statistics over a picture and its own copy are those of the picture alone, so a batch
// of two with one row left out must give the loss and gradient of a batch of one.
Test(step, a_row_left_out_changes_neither_loss_nor_gradient, .timeout = 120)
{
    edt_log_set_level(EDT_LOG_QUIET);
    const char *path = edt_test_path(edt_test_temp_dir(), "two.tfrecord");
    edt_test_write_drawn_shard(path, 2, 1);
    static const char overrides[] = "on_bad_sample=skip,drop_remainder=false";
    fixture one = open_fixture(path, "ref", EDT_DTYPE_F64, 1, overrides);
    fixture two = open_fixture(path, "ref", EDT_DTYPE_F64, 2, overrides);
    const edt_step_metrics a = run_next(&one, 0, 1), b = run_next(&two, 0, 1);
    cr_assert_gt(a.num_positives, 0);
    cr_expect_eq(a.num_positives, b.num_positives);
    expect_close("cls_loss", a.cls_loss, b.cls_loss);
    expect_close("box_loss", a.box_loss, b.box_loss);
    expect_close("loss", a.loss, b.loss);
    expect_close("raw_gradient_norm", a.raw_gradient_norm, b.raw_gradient_norm);
    close_fixture(&one);
    close_fixture(&two);
}

Test(step, a_batch_that_does_not_fit_is_refused, .timeout = 60)
{
    const char *path = edt_test_path(edt_test_temp_dir(), "four.tfrecord");
    edt_test_write_drawn_shard(path, 4, -1);
    fixture f = open_fixture(path, "cpu", EDT_DTYPE_F32, 2, "");
    edt_error err = {0};
    const edt_batch *batch;
    edt_step_metrics m;
    cr_assert_eq(edt_loader_next(f.loader, &err, &batch), EDT_OK, "%s", err.text);
    edt_batch wrong = *batch;
    wrong.n_valid = 0;
    cr_expect_eq(edt_step_run(f.step, &wrong, 0, &err, &m), EDT_ERR_INVALID);
    wrong.n_valid = 1; // a row that is not marked as padding would be learnt from
    cr_expect_eq(edt_step_run(f.step, &wrong, 0, &err, &m), EDT_ERR_INVALID);
    cr_expect_not_null(strstr(err.text, "padding"), "%s", err.text);
    wrong = *batch;
    wrong.format = EDT_SLOT_F32;
    cr_expect_eq(edt_step_run(f.step, &wrong, 0, &err, &m), EDT_ERR_INVALID);
    wrong = *batch;
    wrong.height = 64;
    cr_expect_eq(edt_step_run(f.step, &wrong, 0, &err, &m), EDT_ERR_INVALID);
    close_fixture(&f);
}

Test(step, a_step_allocates_nothing, .timeout = 120)
{
    const char *path = edt_test_path(edt_test_temp_dir(), "six.tfrecord");
    edt_test_write_drawn_shard(path, 6, -1);
    fixture f = open_fixture(path, "cpu", EDT_DTYPE_F32, 2, "");
    int64_t n_before = 0;
    for (int64_t step = 0; step < 8; ++step) {
        if (step == 3) {
            n_before = edt_mem_get_total().n_total;
        }
        cr_assert(run_next(&f, step, 2).finite);
    }
    cr_expect_eq(edt_mem_get_total().n_total, n_before);
    close_fixture(&f);
}

// A defect of the machine or of a kernel: a value of one node becomes NaN.
typedef struct defect {
    int i_node;
} defect;

static edt_status spoil(void *user, const edt_exec_node_done *done, edt_error *err)
{
    (void)err;
    if (done->i_node == ((const defect *)user)->i_node) {
        ((float *)done->out)[0] = NAN;
    }
    return EDT_OK;
}

// The first convolution of the forward pass, or the last node of the backward pass that writes
// a gradient: nothing of the loss depends on that one.
static int find_node(const edt_graph *g, bool backward)
{
    int found = -1;
    for (int i = 0; i < g->n_nodes && (backward || found < 0); ++i) {
        const edt_node *node = &g->nodes[i];
        const bool writes_gradient = node->out[0] != EDT_NO_VALUE &&
                                     g->values[node->out[0]].role == EDT_VALUE_PARAM_GRAD;
        if (backward ? node->backward && writes_gradient : node->kind == EDT_OP_CONV2D) {
            found = i;
        }
    }
    cr_assert_geq(found, 0);
    return found;
}

static void release_next(fixture *f)
{
    edt_error err = {0};
    const edt_batch *batch;
    cr_assert_eq(edt_loader_next(f->loader, &err, &batch), EDT_OK, "%s", err.text);
    edt_loader_release(f->loader, batch);
}

static void expect_same_arena(const fixture *a, const fixture *b, edt_params_arena which)
{
    const edt_params *pa = edt_step_params(a->step), *pb = edt_step_params(b->step);
    cr_expect_eq(
        memcmp(pa->memory[which], pb->memory[which], (size_t)pa->n_elements * sizeof(float)), 0,
        "arena %d differs", (int)which);
}

Test(step, one_that_is_not_finite_leaves_no_trace_and_names_its_node, .timeout = 120)
{
    edt_log_set_level(EDT_LOG_QUIET);
    const char *path = edt_test_path(edt_test_temp_dir(), "six.tfrecord");
    edt_test_write_drawn_shard(path, 6, -1);
    for (int i = 0; i < 3; ++i) {
        // In the forward pass, behind the loss, and where the backward pass moves statistics.
        const int backward = i == 1;
        const char *overrides = i == 2 ? "grad_checkpoint=true" : "";
        fixture hurt = open_fixture(path, "cpu", EDT_DTYPE_F32, 2, overrides);
        fixture whole = open_fixture(path, "cpu", EDT_DTYPE_F32, 2, overrides);
        const edt_graph *g = edt_step_model(hurt.step)->graph;
        defect d = {.i_node = find_node(g, backward == 1)};
        edt_step_fault fault;
        edt_error err = {0};
        cr_assert(run_next(&hurt, 0, 2).finite);
        edt_exec_set_hook(edt_step_exec(hurt.step), spoil, &d);
        const edt_step_metrics bad = run_next(&hurt, 1, 2);
        cr_expect_not(bad.finite);
        cr_expect_eq(isfinite(bad.loss) != 0, backward == 1);
        cr_assert_eq(edt_step_find_fault(hurt.step, &err, &fault), EDT_OK, "%s", err.text);
        cr_expect_eq(fault.i_node, d.i_node, "%s", fault.text);
        cr_expect_not_null(strstr(fault.text, g->nodes[d.i_node].name), "%s", fault.text);
        cr_expect_not_null(strstr(fault.text, backward == 1 ? "backward" : "forward"));
        edt_exec_set_hook(edt_step_exec(hurt.step), NULL, NULL);
        cr_expect(run_next(&hurt, 1, 2).finite);
        cr_assert(run_next(&whole, 0, 2).finite);
        release_next(&whole);
        cr_assert(run_next(&whole, 1, 2).finite);
        expect_same_arena(&hurt, &whole, EDT_PARAMS_VALUES);
        expect_same_arena(&hurt, &whole, EDT_PARAMS_SLOT0);
        expect_same_arena(&hurt, &whole, EDT_PARAMS_EMA);
        close_fixture(&hurt);
        close_fixture(&whole);
    }
}

Test(step, a_variable_that_is_not_finite_is_named, .timeout = 120)
{
    edt_log_set_level(EDT_LOG_QUIET);
    const char *path = edt_test_path(edt_test_temp_dir(), "two.tfrecord");
    edt_test_write_drawn_shard(path, 2, -1);
    static const struct {
        const char *backend;
        edt_dtype real;
    } rows[2] = {{"cpu", EDT_DTYPE_F32}, {"ref", EDT_DTYPE_F64}};
    for (int i = 0; i < 2; ++i) {
        fixture f = open_fixture(path, rows[i].backend, rows[i].real, 1, "");
        edt_params *params = edt_step_params(f.step);
        const int i_param = edt_params_find(params, "box_net/box-predict/pointwise_kernel");
        cr_assert_geq(i_param, 0);
        const int64_t n = params->entries[i_param].n;
        double *values = edt_mem_calloc(EDT_MEM_MISC, (size_t)n, sizeof *values);
        edt_error err = {0};
        cr_assert_eq(edt_params_get_f64(params, EDT_PARAMS_VALUES, i_param, values, n, &err),
                     EDT_OK);
        values[n / 2] = (double)INFINITY;
        cr_assert_eq(edt_params_set_f64(params, EDT_PARAMS_VALUES, i_param, values, n, &err),
                     EDT_OK);
        edt_mem_free(values);
        edt_step_fault fault;
        cr_expect_not(run_next(&f, 0, 1).finite);
        cr_assert_eq(edt_step_find_fault(f.step, &err, &fault), EDT_OK, "%s", err.text);
        cr_expect_not_null(
            strstr(fault.text, "its variable 'box_net/box-predict/pointwise_kernel' is not"),
            "%s", fault.text);
        close_fixture(&f);
    }
}

// Through the whole trainer, metrics included: five further steps cost no further allocation.
Test(step, a_longer_run_allocates_as_often_as_a_short_one, .timeout = 120)
{
    edt_log_set_level(EDT_LOG_QUIET);
    char dir[256], pattern[300];
    (void)snprintf(dir, sizeof dir, "%s", edt_test_temp_dir());
    (void)snprintf(pattern, sizeof pattern, "%s/eight.tfrecord", dir);
    edt_test_write_drawn_shard(pattern, 8, -1);
    // The first run writes the side index that the others open the records with.
    static const int64_t n_steps[3] = {1, 4, 9};
    int64_t n_total[3];
    for (int i = 0; i < 3; ++i) {
        edt_hparams hp;
        edt_error err = {0};
        edt_test_train_hparams("", &hp);
        char model_dir[300];
        (void)snprintf(model_dir, sizeof model_dir, "%s/run%d", dir, i);
        edt_train_options o = edt_test_training_options(model_dir, pattern, n_steps[i]);
        o.num_threads = 1;
        const int64_t before = edt_mem_get_total().n_total;
        cr_assert_eq(edt_train_run(&hp, &o, &err), EDT_OK, "%s", err.text);
        n_total[i] = edt_mem_get_total().n_total - before;
        edt_hparams_deinit(&hp);
    }
    cr_expect_eq(n_total[1], n_total[2], "%lld allocations in 4 steps, %lld in 9",
                 (long long)n_total[1], (long long)n_total[2]);
    cr_expect_eq(edt_mem_get_total().n_live, 0);
    edt_test_remove_tree(dir);
}

// Twenty steps from the same variables over the same batches. Single steps drift apart, since
// the coarse levels normalise over a few pixels and double what bf16 rounds; what it does to a
// loss may not add up.
Test(step, losses_in_bf16_stay_near_those_in_f32, .timeout = 240)
{
    enum { N = 20, WINDOW = 5, BATCH = 8 };
    edt_log_set_level(EDT_LOG_QUIET);
    const char *path = edt_test_path(edt_test_temp_dir(), "sixteen.tfrecord");
    edt_test_write_drawn_shard(path, 16, -1);
    static const char overrides[] = "image_size=128,act_type=swish,mixed_precision=true";
    static const edt_dtype reals[2] = {EDT_DTYPE_F32, EDT_DTYPE_BF16};
    edt_step_metrics m[2][N];
    for (int t = 0; t < 2; t++) {
        fixture f = open_fixture(path, "cpu", reals[t], BATCH, overrides);
        for (int i = 0; i < N; i++) {
            m[t][i] = run_next(&f, i, BATCH);
        }
        close_fixture(&f);
    }
    const double first = fabs(m[1][0].loss - m[0][0].loss) / m[0][0].loss;
    cr_expect_leq(first, 1e-2, "the first step's loss: %g, in bf16 %g", m[0][0].loss,
                  m[1][0].loss);
    for (int i = 0; i < N; i += WINDOW) {
        double sum[2] = {0};
        for (int k = i; k < i + WINDOW; k++) {
            cr_expect_eq(m[0][k].num_positives, m[1][k].num_positives);
            sum[0] += m[0][k].loss / WINDOW;
            sum[1] += m[1][k].loss / WINDOW;
        }
        cr_expect_leq(fabs(sum[1] - sum[0]), 2e-2 * sum[0], "steps from %d: %g, in bf16 %g", i,
                      sum[0], sum[1]);
    }
}
