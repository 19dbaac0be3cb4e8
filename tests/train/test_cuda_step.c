// Training steps on the cuda backend (a device, or the emulated one): they agree with ref
// in double, and neither recording a step, nor queueing it, nor pinned slots change a byte.
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "core/mem.h"
#include "dataio/loader.h"
#include "tests/support/cuda_device.h"
#include "tests/support/test_dirs.h"
#include "tests/support/test_training.h"
#include "train/prefetch.h"
#include "train/step.h"
#include "train/target_maker.h"

enum { N_PICTURES = 6, BATCH = 2, MAX_STEPS = 8 };

typedef struct setup {
    const char *device;
    edt_dtype real;
    bool capture, pinned, queued;
    double loss_scale;
    const char *overrides; // of hparams, NULL: none
} setup;

typedef struct fixture {
    edt_hparams hp;
    edt_backend *backend;
    edt_step *step;
    edt_target_maker *targets;
    edt_loader *loader;
} fixture;

static void open_fixture(const setup *c, const char *pattern, fixture *f)
{
    edt_error err = {0};
    *f = (fixture){0};
    edt_test_train_hparams("image_size=96,fpn_cell_repeats=1,box_class_repeats=1", &f->hp);
    cr_assert_eq(edt_hparams_override(&f->hp, c->overrides == NULL ? "" : c->overrides, &err),
                 EDT_OK, "%s", err.text);
    f->backend = strcmp(c->device, "cuda") == 0 ? edt_test_cuda_backend() : NULL;
    if (f->backend == NULL) {
        cr_assert_eq(edt_backend_create(c->device, &(edt_backend_options){.n_threads = 1}, &err,
                                        &f->backend),
                     EDT_OK, "%s", err.text);
    }
    edt_step_options so = {.real = c->real,
                           .batch_size = BATCH,
                           .slot_format = EDT_SLOT_U8,
                           .drop_connect = true,
                           .seed = 7,
                           .capture = c->capture,
                           .loss_scale = c->loss_scale};
    cr_assert_eq(edt_schedule_init(&so.schedule, &f->hp, 64, 64 * 40, &err), EDT_OK, "%s",
                 err.text);
    cr_assert_eq(edt_step_create(&f->hp, f->backend, &so, &err, &f->step), EDT_OK, "%s",
                 err.text);
    cr_assert_eq(edt_params_init_random(edt_step_params(f->step), 5, &err), EDT_OK);
    cr_assert_eq(edt_target_maker_create(&f->hp, 1, &err, &f->targets), EDT_OK, "%s", err.text);
    edt_loader_options lo = {
        .file_pattern = pattern,
        .training = true,
        .batch_size = BATCH,
        .n_threads = 1,
        .prefetch = 3,
        .seed = 3,
        .world_size = 1,
        .n_anchors = edt_target_maker_n_anchors(f->targets),
        .targets = edt_target_maker_run,
        .targets_ctx = f->targets,
    };
    if (c->pinned) {
        lo.slot_memory = edt_prefetch_slot_memory(f->backend);
    }
    cr_assert_eq(edt_loader_create(&f->hp, &lo, &err, &f->loader), EDT_OK, "%s", err.text);
}

static void close_fixture(fixture *f)
{
    edt_step_destroy(f->step);
    edt_loader_destroy(f->loader);
    edt_target_maker_destroy(f->targets);
    edt_backend_destroy(&f->backend);
    edt_hparams_deinit(&f->hp);
}

static void give_back(fixture *f, bool wait)
{
    edt_error err = {0};
    const edt_batch *done;
    do {
        cr_assert_eq(edt_step_take_done(f->step, wait, &err, &done), EDT_OK, "%s", err.text);
        if (done != NULL) {
            edt_loader_release(f->loader, done);
        }
    } while (done != NULL);
}

// n steps; their metrics one by one, or when queued only those of the last one.
static void train(fixture *f, int n, bool queued, edt_step_metrics *out_last)
{
    edt_error err = {0};
    for (int i = 0; i < n; ++i) {
        const edt_batch *batch;
        cr_assert_eq(edt_loader_next(f->loader, &err, &batch), EDT_OK, "%s", err.text);
        if (queued) {
            cr_assert_eq(edt_step_submit(f->step, batch, i, &err), EDT_OK, "%s", err.text);
            give_back(f, false);
        } else {
            cr_assert_eq(edt_step_run(f->step, batch, i, &err, out_last), EDT_OK, "%s",
                         err.text);
            edt_loader_release(f->loader, batch);
        }
    }
    if (queued) {
        edt_step_report report;
        cr_assert_eq(edt_step_collect(f->step, &err, &report), EDT_OK, "%s", err.text);
        cr_expect_eq(report.n_steps, n);
        cr_expect_eq(report.last_step, n - 1);
        *out_last = report.last;
        give_back(f, true);
    }
}

static float *read_values(fixture *f, int64_t *out_n)
{
    edt_error err = {0};
    const edt_params *p = edt_step_params(f->step);
    float *values = edt_mem_calloc(EDT_MEM_MISC, (size_t)p->n_elements, sizeof *values);
    for (int i = 0; i < p->n_params; ++i) {
        const edt_param_entry *e = &p->entries[i];
        cr_assert_eq(
            edt_params_get_f32(p, EDT_PARAMS_VALUES, i, values + e->offset, e->n, &err), EDT_OK,
            "%s", err.text);
    }
    *out_n = p->n_elements;
    return values;
}

static float *train_with(const setup *c, const char *pattern, int n, edt_step_metrics *out_last,
                         int64_t *out_n)
{
    fixture f;
    open_fixture(c, pattern, &f);
    train(&f, n, c->queued, out_last);
    float *values = read_values(&f, out_n);
    close_fixture(&f);
    return values;
}

// For tests whose point is not that the host leaves the memory of an emulated device alone.
static void emulate_quickly(void)
{
    cr_assert_eq(setenv("EDT_EMULATOR_STAYS_OPEN", "1", 1), 0);
}

static const char *drawn_shard(void)
{
    edt_log_set_level(EDT_LOG_QUIET);
    const char *path = edt_test_path(edt_test_temp_dir(), "drawn.tfrecord");
    edt_test_write_drawn_shard(path, N_PICTURES, -1);
    return path;
}

static void expect_near(const char *what, double a, double b, double relative)
{
    cr_expect_leq(fabs(a - b), relative * fabs(b), "%s: %.9g, %.9g", what, a, b);
}

// One step from the same weights: losses, the gradient's norm (which the smallest levels make
// ill-conditioned: batch norm over two values), parameters.
static void compare_with_ref(edt_dtype real, double tolerance, double norm_tolerance)
{
    const char *pattern = drawn_shard();
    const setup on_ref = {.device = "ref", .real = EDT_DTYPE_F64};
    const setup on_cuda = {.device = "cuda", .real = real};
    edt_step_metrics ref, cuda;
    int64_t n;
    float *a = train_with(&on_ref, pattern, 1, &ref, &n);
    float *b = train_with(&on_cuda, pattern, 1, &cuda, &n);
    cr_expect(cuda.finite);
    cr_expect_eq(cuda.num_positives, ref.num_positives);
    cr_expect_eq(cuda.learning_rate, ref.learning_rate);
    expect_near("cls_loss", cuda.cls_loss, ref.cls_loss, tolerance);
    expect_near("box_loss", cuda.box_loss, ref.box_loss, tolerance);
    expect_near("reg_l2_loss", cuda.reg_l2_loss, ref.reg_l2_loss, 1e-6);
    expect_near("raw_gradient_norm", cuda.raw_gradient_norm, ref.raw_gradient_norm,
                norm_tolerance);
    double difference = 0, total = 0;
    for (int64_t i = 0; i < n; ++i) {
        difference += (double)(a[i] - b[i]) * (double)(a[i] - b[i]);
        total += (double)a[i] * (double)a[i];
    }
    cr_expect_leq(sqrt(difference), tolerance * sqrt(total));
    edt_mem_free(a);
    edt_mem_free(b);
}

Test(cuda_step, in_f32_is_that_of_ref, .timeout = 600)
{
    compare_with_ref(EDT_DTYPE_F32, 2e-5, 1e-3);
}

// bf16 keeps 8 bits of each activation.
Test(cuda_step, in_bf16_is_near_that_of_ref, .timeout = 600)
{
    emulate_quickly();
    compare_with_ref(EDT_DTYPE_BF16, 2e-2, 0.2);
}

Test(cuda_step, is_the_same_recorded_queued_and_from_pinned_slots, .timeout = 600)
{
    emulate_quickly();
    const char *pattern = drawn_shard();
    const setup plain = {.device = "cuda", .real = EDT_DTYPE_BF16};
    setup others[3] = {plain, plain, plain};
    others[0].capture = true;
    others[1].queued = true;
    others[2].capture = others[2].queued = others[2].pinned = true;
    edt_step_metrics want, got;
    int64_t n;
    float *a = train_with(&plain, pattern, 3, &want, &n);
    for (int i = 0; i < 3; ++i) {
        float *b = train_with(&others[i], pattern, 3, &got, &n);
        cr_expect_eq(memcmp(a, b, (size_t)n * sizeof *a), 0, "variant %d: other parameters", i);
        cr_expect_eq(memcmp(&want, &got, sizeof want), 0, "variant %d: other metrics", i);
        edt_mem_free(b);
    }
    edt_mem_free(a);
}

Test(cuda_step, is_the_same_with_activations_computed_again, .timeout = 600)
{
    emulate_quickly();
    const char *pattern = drawn_shard();
    const setup kept = {.device = "cuda", .real = EDT_DTYPE_F32, .capture = true};
    setup again = kept;
    again.overrides = "grad_checkpoint=true";
    edt_step_metrics want, got;
    int64_t n;
    float *a = train_with(&kept, pattern, 2, &want, &n);
    float *b = train_with(&again, pattern, 2, &got, &n);
    cr_expect_eq(memcmp(a, b, (size_t)n * sizeof *a), 0, "other parameters");
    cr_expect_eq(memcmp(&want, &got, sizeof want), 0, "other metrics");
    edt_mem_free(a);
    edt_mem_free(b);
}

Test(cuda_step, allocates_nothing_after_the_first_three, .timeout = 600)
{
    emulate_quickly();
    const setup c = {.device = "cuda", .real = EDT_DTYPE_BF16, .capture = true, .pinned = true};
    fixture f;
    edt_step_metrics last;
    open_fixture(&c, drawn_shard(), &f);
    train(&f, 3, true, &last);
    const int64_t before = edt_mem_get_total().n_total;
    train(&f, 4, true, &last);
    cr_expect(last.finite);
    cr_expect_eq(edt_mem_get_total().n_total, before);
    close_fixture(&f);
}

// A scale beyond what f16 holds makes every gradient infinite: nothing moves but the scale.
Test(cuda_step, halves_a_loss_scale_that_overflows, .timeout = 600)
{
    emulate_quickly();
    const setup c = {.device = "cuda",
                     .real = EDT_DTYPE_F16,
                     .capture = true,
                     .queued = true,
                     .loss_scale = 1e30};
    fixture f;
    edt_error err = {0};
    edt_step_report report;
    open_fixture(&c, drawn_shard(), &f);
    const edt_params *p = edt_step_params(f.step);
    const int i_gamma = edt_params_find(p, "box_net/box-predict/pointwise_kernel");
    cr_assert_geq(i_gamma, 0);
    const int64_t n = p->entries[i_gamma].n;
    float *before = edt_mem_calloc(EDT_MEM_MISC, (size_t)n, sizeof *before);
    float *after = edt_mem_calloc(EDT_MEM_MISC, (size_t)n, sizeof *after);
    cr_assert_eq(edt_params_get_f32(p, EDT_PARAMS_VALUES, i_gamma, before, n, &err), EDT_OK);
    for (int i = 0; i < 2; ++i) {
        const edt_batch *batch;
        cr_assert_eq(edt_loader_next(f.loader, &err, &batch), EDT_OK, "%s", err.text);
        cr_assert_eq(edt_step_submit(f.step, batch, i, &err), EDT_OK, "%s", err.text);
    }
    cr_assert_eq(edt_step_collect(f.step, &err, &report), EDT_OK, "%s", err.text);
    give_back(&f, true);
    cr_expect_eq(report.n_not_finite, 2);
    cr_expect_eq(report.first_not_finite, 0);
    cr_expect_eq(report.n_bad_source_ids, BATCH);
    cr_expect_eq(report.n_bad_losses, 0);
    cr_expect_float_eq(report.last.loss_scale, (double)(1e30F / 4), 1e24);
    edt_loss_scale_state state;
    cr_assert_eq(edt_step_get_loss_scale(f.step, &err, &state), EDT_OK);
    cr_expect_eq((double)state.scale, report.last.loss_scale);
    cr_assert_eq(edt_params_get_f32(p, EDT_PARAMS_VALUES, i_gamma, after, n, &err), EDT_OK);
    cr_expect_eq(memcmp(before, after, (size_t)n * sizeof *before), 0);
    cr_assert_eq(edt_step_set_loss_scale(f.step, (edt_loss_scale_state){.scale = 128.0F}, &err),
                 EDT_OK);
    edt_step_metrics last;
    train(&f, 1, true, &last);
    cr_expect(last.finite);
    cr_expect_eq(last.loss_scale, 128.0);
    edt_mem_free(before);
    edt_mem_free(after);
    close_fixture(&f);
}

// Recorded and queued: the last of three bad steps, whose inputs are still there, is looked at
// again node by node, and nothing is left of that.
Test(cuda_step, names_the_variable_that_is_not_finite, .timeout = 600)
{
    const setup c = {.device = "cuda",
                     .real = EDT_DTYPE_BF16,
                     .capture = true,
                     .queued = true,
                     .pinned = true};
    fixture f;
    edt_error err = {0};
    edt_step_metrics last;
    edt_step_fault fault;
    open_fixture(&c, drawn_shard(), &f);
    train(&f, 1, true, &last);
    cr_expect(last.finite);
    edt_params *p = edt_step_params(f.step);
    const int i_param = edt_params_find(p, "box_net/box-predict/pointwise_kernel");
    cr_assert_geq(i_param, 0);
    const int64_t n = p->entries[i_param].n;
    float *values = edt_mem_calloc(EDT_MEM_MISC, (size_t)n, sizeof *values);
    values[n - 1] = NAN;
    cr_assert_eq(edt_params_set_f32(p, EDT_PARAMS_VALUES, i_param, values, n, &err), EDT_OK);
    edt_mem_free(values);
    train(&f, 3, true, &last);
    cr_expect_not(last.finite);
    int64_t n_values;
    float *before = read_values(&f, &n_values);
    cr_assert_eq(edt_step_find_fault(f.step, &err, &fault), EDT_OK, "%s", err.text);
    cr_expect_not_null(
        strstr(fault.text, "its variable 'box_net/box-predict/pointwise_kernel' is not finite"),
        "%s", fault.text);
    float *after = read_values(&f, &n_values);
    cr_expect_eq(memcmp(before, after, (size_t)n_values * sizeof *before), 0);
    edt_mem_free(before);
    edt_mem_free(after);
    close_fixture(&f);
}
