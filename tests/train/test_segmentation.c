// Training with a segmentation head over drawn shapes and their masks: a small network learns a
// few pictures by heart, alone and beside detection, and rows without a picture count for
// nothing.
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>

#include "core/log.h"
#include "dataio/convert_coco.h"
#include "dataio/loader.h"
#include "dataio/shapes.h"
#include "eval/pixel_accuracy.h"
#include "tests/support/test_dirs.h"
#include "tests/support/test_ranks.h"
#include "tests/support/test_training.h"
#include "train/step.h"
#include "train/target_maker.h"

// Shards of n pictures of 128x128 with one or two shapes each; returns their pattern.
static const char *write_shards(int64_t n)
{
    edt_error err = {0};
    const char *dir = edt_test_temp_dir();
    edt_log_set_level(EDT_LOG_QUIET);
    const edt_shapes_options shapes = {
        .output_dir = dir,
        .num_train = n,
        .num_val = 1,
        .style = {.image_size = 128, .min_side = 40, .max_side = 80, .max_objects = 2},
        .seed = 3,
        .masks = true,
        .quality = 90,
        .n_threads = 1};
    edt_shapes_result drawn;
    cr_assert_eq(edt_shapes_write(&shapes, &err, &drawn), EDT_OK, "%s", err.text);
    const edt_convert_coco_options convert = {
        .image_dir = edt_test_path(dir, "train"),
        .object_annotations_file = edt_test_path(dir, "annotations/instances_train.json"),
        .include_masks = true,
        .run = {.output_file_prefix = edt_test_path(dir, "shapes"),
                .num_shards = 1,
                .num_threads = 1}};
    cr_assert_eq(edt_convert_coco(&convert, &err, NULL), EDT_OK, "%s", err.text);
    return edt_test_path(dir, "shapes-*.tfrecord");
}

typedef struct fixture {
    edt_hparams hp;
    edt_backend *backend;
    edt_step *step;
    edt_target_maker *targets;
    edt_loader *loader;
} fixture;

// With `comm` a rank's step, fed by a loader of its own for the same pictures.
static fixture open_rank(edt_comm *comm, const char *pattern, const char *backend,
                         edt_dtype real, int64_t batch_size, bool training,
                         const char *overrides)
{
    edt_error err = {0};
    fixture f = {0};
    edt_test_train_hparams("image_size=128,num_classes=6,seg_num_classes=7,fpn_num_filters=16,"
                           "fpn_cell_repeats=1,box_class_repeats=1,moving_average_decay=0,"
                           "optimizer=adam,learning_rate=0.04,lr_decay_method=constant,"
                           "lr_warmup_epoch=0,clip_gradients_norm=10",
                           &f.hp);
    f.hp.heads.n = 1;
    f.hp.heads.v[0] = "segmentation";
    cr_assert_eq(edt_hparams_override(&f.hp, overrides, &err), EDT_OK, "%s", err.text);
    cr_assert_eq(
        edt_backend_create(backend, &(edt_backend_options){.n_threads = 1}, &err, &f.backend),
        EDT_OK, "%s", err.text);
    edt_step_options so = {
        .real = real, .batch_size = batch_size, .slot_format = EDT_SLOT_U8, .comm = comm};
    cr_assert_eq(edt_schedule_init(&so.schedule, &f.hp, batch_size, 64 * 40, &err), EDT_OK,
                 "%s", err.text);
    cr_assert_eq(edt_step_create(&f.hp, f.backend, &so, &err, &f.step), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_params_init_random(edt_step_params(f.step), 5, &err), EDT_OK);
    cr_assert_eq(edt_target_maker_create(&f.hp, 1, &err, &f.targets), EDT_OK, "%s", err.text);
    const edt_loader_options lo = {
        .file_pattern = pattern,
        .training = training,
        .batch_size = batch_size,
        .n_threads = 1,
        .prefetch = 1,
        .seed = 3,
        .world_size = 1,
        .n_anchors = edt_step_model(f.step)->n_anchors,
        .targets = edt_step_model(f.step)->has_detection ? edt_target_maker_run : NULL,
        .targets_ctx = f.targets,
        .masks = true,
    };
    cr_assert_eq(edt_loader_create(&f.hp, &lo, &err, &f.loader), EDT_OK, "%s", err.text);
    return f;
}

static fixture open_fixture(const char *pattern, const char *backend, edt_dtype real,
                            int64_t batch_size, bool training, const char *overrides)
{
    return open_rank(NULL, pattern, backend, real, batch_size, training, overrides);
}

static void close_fixture(fixture *f)
{
    edt_loader_destroy(f->loader);
    edt_step_destroy(f->step);
    edt_target_maker_destroy(f->targets);
    edt_backend_destroy(&f->backend);
    edt_hparams_deinit(&f->hp);
}

// Of the last step's own outputs: moving statistics take hundreds of steps to follow.
static double accuracy(fixture *f, const edt_batch *batch)
{
    edt_error err = {0};
    const edt_model *model = edt_step_model(f->step);
    const int64_t n = batch->n_valid * model->mask_h * model->mask_w;
    const size_t n_bytes = (size_t)(n * model->mask_classes) * sizeof(float);
    float *logits = edt_mem_alloc(EDT_MEM_MISC, n_bytes);
    cr_assert_eq(edt_exec_get(edt_step_exec(f->step),
                              edt_graph_find_output(model->graph, "segmentation"), logits,
                              n_bytes, &err),
                 EDT_OK, "%s", err.text);
    int64_t n_pixels = 0, n_right = 0;
    for (int64_t i = 0; i < n; ++i) {
        const int64_t got =
            edt_pixel_class(logits + i * model->mask_classes, model->mask_classes);
        n_pixels += batch->seg_mask[i] >= 0;
        n_right += batch->seg_mask[i] == got;
    }
    edt_mem_free(logits);
    return (double)n_right / (double)n_pixels;
}

// What the predictor says about the batch, which has `n_pixels` with a class.
static void check_predictor(fixture *f, const edt_batch *batch)
{
    edt_error err = {0};
    edt_predictor *predictor = NULL;
    edt_pixel_counts counts = {0};
    const edt_detection *rows;
    const int64_t *n_valid;
    const edt_predictor_options po = {
        .batch_size = batch->batch_size, .slot_format = EDT_SLOT_U8, .n_threads = 1};
    cr_assert_eq(edt_predictor_create(&f->hp, edt_step_params(f->step), &po, &err, &predictor),
                 EDT_OK, "%s", err.text);
    cr_assert_eq(edt_pixel_accuracy_add(predictor, batch, &err, &counts), EDT_OK, "%s",
                 err.text);
    cr_expect(counts.n_pixels == 4 * 32 * 32 && counts.n_right > 0);
    cr_assert_eq(edt_predictor_run(predictor, batch, &err, &rows, &n_valid), EDT_OK, "%s",
                 err.text);
    cr_expect_eq(n_valid[0], 0);
    cr_expect_eq(edt_predictor_need_detection(predictor, "this", &err), EDT_ERR_UNSUPPORTED);
    edt_batch unmasked = *batch;
    unmasked.seg_mask = NULL;
    cr_expect_eq(edt_pixel_accuracy_add(predictor, &unmasked, &err, &counts), EDT_ERR_INVALID);
    edt_predictor_destroy(predictor);
}

// Of the pixels with a class those of background: what a network that sees nothing gets right.
static double background(const edt_batch *batch)
{
    int64_t n_pixels = 0, n_background = 0;
    for (int64_t i = 0; i < batch->n_valid * batch->mask_h * batch->mask_w; ++i) {
        n_pixels += batch->seg_mask[i] >= 0;
        n_background += batch->seg_mask[i] == 0;
    }
    return (double)n_background / (double)n_pixels;
}

Test(segmentation, a_small_network_learns_masks_by_heart, .timeout = 120)
{
    enum { N_STEPS = 50 };
    edt_error err = {0};
    fixture f = open_fixture(write_shards(4), "cpu", EDT_DTYPE_F32, 4, false, "");
    const edt_batch *batch;
    edt_step_metrics m = {0};
    cr_assert_eq(edt_loader_next(f.loader, &err, &batch), EDT_OK, "%s", err.text);
    cr_assert(batch->n_valid == 4 && batch->mask_h == 32 && batch->mask_w == 32);
    double first = 0;
    for (int64_t step = 0; step < N_STEPS; ++step) {
        cr_assert_eq(edt_step_run(f.step, batch, step, &err, &m), EDT_OK, "%s", err.text);
        cr_assert(m.finite);
        cr_expect_float_eq(m.loss, m.det_loss + m.seg_loss + m.reg_l2_loss, 1e-12 * m.loss);
        first = step == 0 ? m.seg_loss : first;
    }
    const double right = accuracy(&f, batch), trivial = background(batch);
    cr_log_info("seg_loss %.3f -> %.4f, %.2f %% of pixels right, background %.2f %%", first,
                m.seg_loss, 100 * right, 100 * trivial);
    cr_expect(first > 1 && first < 3, "%g: near ln 7 at the start", first);
    cr_expect_lt(m.seg_loss, 0.1);
    check_predictor(&f, batch);
    cr_expect(trivial < 0.9 && right > 0.95, "%g, background %g", right, trivial);
    edt_loader_release(f.loader, batch);
    close_fixture(&f);
}

// Batch statistics over pictures and their copies are those of the pictures.
Test(segmentation, rows_of_padding_change_neither_loss_nor_gradient, .timeout = 120)
{
    static const char heads[] = "heads=object_detection*segmentation,drop_remainder=false";
    const char *pattern = write_shards(1);
    edt_error err = {0};
    edt_step_metrics m[2];
    for (int i = 0; i < 2; ++i) {
        fixture f = open_fixture(pattern, "ref", EDT_DTYPE_F64, 1 + i, true, heads);
        const edt_batch *batch;
        cr_assert_eq(edt_loader_next(f.loader, &err, &batch), EDT_OK, "%s", err.text);
        cr_assert_eq(batch->n_valid, 1);
        cr_assert_eq(edt_step_run(f.step, batch, 0, &err, &m[i]), EDT_OK, "%s", err.text);
        edt_loader_release(f.loader, batch);
        close_fixture(&f);
    }
    cr_expect(m[0].cls_loss > 0 && m[0].seg_loss > 1);
    cr_expect_float_eq(m[0].seg_loss, m[1].seg_loss, 1e-9 * m[0].seg_loss);
    cr_expect_float_eq(m[0].loss, m[1].loss, 1e-9 * m[0].loss);
    cr_expect_float_eq(m[0].raw_gradient_norm, m[1].raw_gradient_norm,
                       1e-9 * m[0].raw_gradient_norm);
}

// Parts of different numbers of pixels with a class: the mean is that of the whole batch.
Test(segmentation, a_batch_in_parts_is_the_batch, .timeout = 120)
{
    static const char *const hparams[] = {
        "freeze_bn=true,jitter_min=0.3,jitter_max=0.8,accumulate_steps=1",
        "freeze_bn=true,jitter_min=0.3,jitter_max=0.8,accumulate_steps=2"};
    const char *pattern = write_shards(2);
    edt_error err = {0};
    edt_step_metrics m[2];
    for (int i = 0; i < 2; ++i) {
        fixture f = open_fixture(pattern, "ref", EDT_DTYPE_F64, 2, true, hparams[i]);
        const edt_batch *batch;
        cr_assert_eq(edt_loader_next(f.loader, &err, &batch), EDT_OK, "%s", err.text);
        cr_assert_eq(edt_step_run(f.step, batch, 0, &err, &m[i]), EDT_OK, "%s", err.text);
        edt_loader_release(f.loader, batch);
        close_fixture(&f);
    }
    cr_expect_gt(m[0].seg_loss, 1);
    cr_expect_float_eq(m[0].seg_loss, m[1].seg_loss, 1e-9 * m[0].seg_loss);
    cr_expect_float_eq(m[0].raw_gradient_norm, m[1].raw_gradient_norm,
                       1e-9 * m[0].raw_gradient_norm);
}

static edt_step_metrics step_without_pixels(edt_comm *comm, const char *pattern, bool empty)
{
    edt_error err = {0};
    fixture f = open_rank(comm, pattern, "ref", EDT_DTYPE_F64, 1, true, "freeze_bn=true");
    const edt_batch *batch;
    edt_step_metrics m;
    cr_assert_eq(edt_loader_next(f.loader, &err, &batch), EDT_OK, "%s", err.text);
    for (int64_t i = 0; empty && i < batch->mask_h * batch->mask_w; ++i) {
        batch->seg_mask[i] = -1;
    }
    cr_assert_eq(edt_step_run(f.step, batch, 0, &err, &m), EDT_OK, "%s", err.text);
    edt_loader_release(f.loader, batch);
    close_fixture(&f);
    return m;
}

Test(segmentation, pixels_without_a_class_teach_nothing, .timeout = 120)
{
    const edt_step_metrics m = step_without_pixels(NULL, write_shards(1), true);
    cr_expect(m.finite && m.seg_loss == 0.0, "%g", m.seg_loss);
    cr_expect(isfinite(m.raw_gradient_norm));
}

static int rank_without_pixels(edt_comm *comm, void *arg)
{
    const edt_step_metrics alone = step_without_pixels(NULL, arg, false);
    const edt_step_metrics both = step_without_pixels(comm, arg, edt_comm_rank(comm) == 0);
    TEST_RANK_ASSERT(alone.seg_loss > 1);
    TEST_RANK_ASSERT(fabs(alone.seg_loss - both.seg_loss) < 1e-12);
    TEST_RANK_ASSERT(fabs(alone.raw_gradient_norm - both.raw_gradient_norm) <
                     1e-9 * alone.raw_gradient_norm);
    return 0;
}

Test(segmentation, the_mean_is_over_the_pixels_of_all_ranks, .timeout = 120)
{
    test_ranks_expect(2, rank_without_pixels, (void *)write_shards(1));
}

// With moving statistics and a rate of nothing the training graph and the predictor are one
// network.
Test(segmentation, the_predictor_computes_what_training_does, .timeout = 120)
{
    edt_error err = {0};
    fixture f = open_fixture(write_shards(2), "cpu", EDT_DTYPE_F32, 2, false,
                             "freeze_bn=true,learning_rate=0.000000000001");
    const edt_batch *batch;
    edt_step_metrics m;
    cr_assert_eq(edt_loader_next(f.loader, &err, &batch), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_step_run(f.step, batch, 0, &err, &m), EDT_OK, "%s", err.text);
    enum { N = 2 * 32 * 32 * 7 };
    static float trained[N];
    const edt_model *model = edt_step_model(f.step);
    cr_assert_eq(edt_exec_get(edt_step_exec(f.step),
                              edt_graph_find_output(model->graph, "segmentation"), trained,
                              sizeof trained, &err),
                 EDT_OK, "%s", err.text);
    edt_predictor *predictor = NULL;
    const edt_predictor_options po = {
        .batch_size = 2, .slot_format = EDT_SLOT_U8, .n_threads = 1};
    cr_assert_eq(edt_predictor_create(&f.hp, edt_step_params(f.step), &po, &err, &predictor),
                 EDT_OK, "%s", err.text);
    cr_assert_eq(edt_predictor_run_network(predictor, batch, &err), EDT_OK, "%s", err.text);
    float largest = 0;
    float worst = 0;
    for (int64_t row = 0; row < 2; ++row) {
        const float *logits;
        cr_assert_eq(edt_predictor_segmentation(predictor, row, &err, &logits), EDT_OK);
        for (int i = 0; i < N / 2; ++i) {
            largest = fmaxf(largest, fabsf(logits[i]));
            worst = fmaxf(worst, fabsf(logits[i] - trained[row * N / 2 + i]));
        }
    }
    cr_expect(largest > 0 && worst < 1e-4F * largest, "%g of %g", (double)worst,
              (double)largest);
    edt_predictor_destroy(predictor);
    edt_loader_release(f.loader, batch);
    close_fixture(&f);
}
