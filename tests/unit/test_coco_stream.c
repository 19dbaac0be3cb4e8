// Evaluation in the background, and with it the example of the C API: what a program does that
// makes detections batch by batch.
#include "eval/coco_stream.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <string.h>

#include "core/mem.h"
#include "eval/coco_priv.h"
#include "tests/support/coco_random.h"

enum { N_IMAGES = 300, N_THREADS = 3 };

static edt_error err;

static edt_coco_result *evaluate(const edt_coco_random *made, const edt_coco_params *params)
{
    edt_coco_result *result;
    cr_assert_eq(edt_coco_evaluate(made->gt, made->dt, params, &err, &result), EDT_OK, "%s",
                 err.text);
    return result;
}

// The example: two pictures of a data set of two, one batch each.
Test(coco_stream, detections_are_handed_over_batch_by_batch, .timeout = 30)
{
    const int64_t image_ids[] = {7, 9};
    const edt_coco_category category = {.id = 1, .name = "cat"};
    const edt_coco_object objects[] = {
        {.id = 1, .image_id = 7, .category_id = 1, .bbox = {10, 10, 40, 30}, .area = 1200},
        {.id = 2, .image_id = 9, .category_id = 1, .bbox = {50, 20, 60, 80}, .area = 4800}};
    const float found[2][4] = {{10, 10, 40, 30}, {50, 20, 60, 80}};
    edt_coco_gt *gt;
    edt_coco_stream *stream;
    edt_coco_result *result;
    cr_assert_eq(edt_coco_gt_create(image_ids, 2, &category, 1, objects, 2, &err, &gt), EDT_OK);
    cr_assert_eq(edt_coco_stream_create(gt, &(edt_coco_params){0}, &err, &stream), EDT_OK);
    for (int i = 0; i < 2; ++i) {
        edt_coco_dt *batch;
        cr_assert_eq(edt_coco_dt_create(&err, &batch), EDT_OK);
        cr_assert_eq(edt_coco_dt_add_f32(batch, image_ids[i], 1, found[i], 0.9F, &err), EDT_OK);
        cr_assert_eq(edt_coco_stream_add(stream, batch, &err), EDT_OK);
    }
    cr_assert_eq(edt_coco_stream_finish(stream, &err, &result), EDT_OK);
    // The epsilon in the denominator of a precision keeps it from being 1.
    cr_assert_float_eq(edt_coco_result_stats(result)[0], 1, 1e-14);
    cr_assert_eq(edt_coco_result_n_images(result), 2);
    edt_coco_result_destroy(result);
    edt_coco_stream_destroy(stream);
    edt_coco_gt_destroy(gt);
    cr_assert_eq(edt_mem_get_total().n_live, 0);
}

typedef struct adder {
    const edt_coco_random *made;
    edt_coco_stream *stream;
    int64_t first;
} adder;

// Batches of 5 images, every N_THREADS-th, the last ones first.
static void *add_batches(void *ctx)
{
    const adder *a = ctx;
    edt_error own = {0};
    for (int64_t begin = N_IMAGES - 5 * (1 + a->first); begin >= 0; begin -= 5 * N_THREADS) {
        edt_coco_dt *batch = edt_coco_random_part(a->made, begin, begin + 5);
        cr_expect_eq(edt_coco_stream_add(a->stream, batch, &own), EDT_OK, "%s", own.text);
    }
    return NULL;
}

Test(coco_stream, equals_evaluation_of_the_whole_list, .timeout = 60)
{
    double thresholds[20];
    for (int i = 0; i < 20; ++i) {
        thresholds[i] = 0.05 * i;
    }
    const edt_coco_params cases[] = {
        {.n_threads = 2},
        {.n_threads = 1, .iou_type = EDT_COCO_SEGM, .only_images_with_detections = true},
        {.n_threads = 2, .iou_thresholds = thresholds, .n_iou_thresholds = 20}};
    edt_coco_random made = edt_coco_random_make(5, N_IMAGES, true);
    for (int c = 0; c < 3; ++c) {
        edt_coco_stream *stream;
        edt_coco_result *result;
        cr_assert_eq(edt_coco_stream_create(made.gt, &cases[c], &err, &stream), EDT_OK, "%s",
                     err.text);
        pthread_t threads[N_THREADS];
        adder adders[N_THREADS];
        for (int i = 0; i < N_THREADS; ++i) {
            adders[i] = (adder){&made, stream, i};
            cr_assert_eq(pthread_create(&threads[i], NULL, add_batches, &adders[i]), 0);
        }
        for (int i = 0; i < N_THREADS; ++i) {
            (void)pthread_join(threads[i], NULL);
        }
        cr_assert_eq(edt_coco_stream_finish(stream, &err, &result), EDT_OK, "%s", err.text);
        edt_coco_result *whole = evaluate(&made, &cases[c]);
        cr_expect(edt_coco_same_result(result, whole), "case %d", c);
        cr_expect_gt(edt_coco_result_stats(whole)[0], 0.05);
        cr_expect_eq(edt_coco_result_n_images(result), edt_coco_result_n_images(whole));
        cr_expect_eq(edt_coco_result_category_objects(result, 1),
                     edt_coco_result_category_objects(whole, 1));
        cr_expect_eq(edt_coco_result_n_detections(result), edt_coco_result_n_detections(whole));
        edt_coco_result_destroy(whole);
        edt_coco_result_destroy(result);
        edt_coco_stream_destroy(stream);
    }
    edt_coco_random_free(&made);
    cr_assert_eq(edt_mem_get_total().n_live, 0);
}

// So many that workers match some while others still come; images last to first.
Test(coco_stream, equals_evaluation_when_matching_does_not_wait_for_the_end, .timeout = 60)
{
    enum { COPIES = 40, PER_BATCH = 5 };
    edt_coco_random made = edt_coco_random_make(6, N_IMAGES, false);
    edt_coco_dt *all;
    cr_assert_eq(edt_coco_dt_create(&err, &all), EDT_OK);
    for (int n_threads = 1; n_threads <= 2; ++n_threads) {
        const edt_coco_params params = {.n_threads = n_threads};
        edt_coco_stream *stream;
        edt_coco_result *result, *whole;
        cr_assert_eq(edt_coco_stream_create(made.gt, &params, &err, &stream), EDT_OK);
        edt_coco_dt_clear(all);
        for (int64_t begin = N_IMAGES - PER_BATCH; begin >= 0; begin -= PER_BATCH) {
            edt_coco_dt *batch;
            cr_assert_eq(edt_coco_dt_create(&err, &batch), EDT_OK);
            for (int i = 0; i < 2 * COPIES; ++i) {
                edt_coco_dt *part = edt_coco_random_part(&made, begin, begin + PER_BATCH);
                edt_coco_dt_join(i < COPIES ? batch : all, part);
                edt_coco_dt_destroy(part);
            }
            cr_assert_eq(edt_coco_stream_add(stream, batch, &err), EDT_OK);
        }
        // A worker matches once it has 16384.
        cr_assert_gt(edt_coco_dt_count(all), 4 * 16384);
        cr_assert_eq(edt_coco_stream_finish(stream, &err, &result), EDT_OK, "%s", err.text);
        cr_assert_eq(edt_coco_evaluate(made.gt, all, &params, &err, &whole), EDT_OK);
        cr_expect(edt_coco_same_result(result, whole), "%d threads", n_threads);
        cr_expect_gt(edt_coco_result_stats(whole)[8], 0.1);
        edt_coco_result_destroy(whole);
        edt_coco_result_destroy(result);
        edt_coco_stream_destroy(stream);
    }
    edt_coco_dt_destroy(all);
    edt_coco_random_free(&made);
    cr_assert_eq(edt_mem_get_total().n_live, 0);
}

static edt_status add_one(edt_coco_stream *stream, int64_t image_id)
{
    edt_coco_dt *batch;
    cr_assert_eq(edt_coco_dt_create(&err, &batch), EDT_OK);
    cr_assert_eq(edt_coco_dt_add_f32(batch, image_id, 1, (float[4]){0, 0, 9, 9}, 0.5F, &err),
                 EDT_OK);
    return edt_coco_stream_add(stream, batch, &err);
}

Test(coco_stream, wrong_use_is_refused_and_leaks_nothing, .timeout = 30)
{
    edt_coco_random made = edt_coco_random_make(1, 10, false);
    edt_coco_stream *stream;
    edt_coco_result *result;
    cr_assert_eq(edt_coco_stream_create(made.gt, &(edt_coco_params){0}, &err, &stream), EDT_OK);
    cr_assert_eq(add_one(stream, 10), EDT_OK);
    cr_assert_eq(add_one(stream, 10), EDT_ERR_INVALID);
    cr_assert(strstr(err.text, "image 10 came in two batches") != NULL, "%s", err.text);
    cr_assert_eq(add_one(stream, 11), EDT_ERR_MISMATCH);
    // What is refused leaves no trace: image 24 may come again.
    edt_coco_dt *batch;
    const float box[4] = {0, 0, 9, 9};
    cr_assert_eq(edt_coco_dt_create(&err, &batch), EDT_OK);
    cr_assert_eq(edt_coco_dt_add_f32(batch, 24, 1, box, 0.5F, &err), EDT_OK);
    cr_assert_eq(edt_coco_dt_add_f32(batch, 11, 1, box, 0.5F, &err), EDT_OK);
    cr_assert_eq(edt_coco_stream_add(stream, batch, &err), EDT_ERR_MISMATCH);
    cr_assert_eq(add_one(stream, 24), EDT_OK);
    cr_assert_eq(edt_coco_stream_finish(stream, &err, &result), EDT_OK);
    cr_expect_eq(edt_coco_result_n_detections(result), 2);
    edt_coco_result_destroy(result);
    cr_assert_eq(add_one(stream, 17), EDT_ERR_INVALID);
    cr_assert_eq(edt_coco_stream_finish(stream, &err, &result), EDT_ERR_INVALID);
    edt_coco_stream_destroy(stream);
    // Destroyed in the middle.
    cr_assert_eq(edt_coco_stream_create(made.gt, &(edt_coco_params){0}, &err, &stream), EDT_OK);
    cr_assert_eq(add_one(stream, 17), EDT_OK);
    edt_coco_stream_destroy(stream);
    // Masks are asked for and not there.
    cr_assert_eq(edt_coco_stream_create(made.gt, &(edt_coco_params){.iou_type = EDT_COCO_SEGM},
                                        &err, &stream),
                 EDT_ERR_INVALID);
    edt_coco_random_free(&made);
    cr_assert_eq(edt_mem_get_total().n_live, 0);
}
