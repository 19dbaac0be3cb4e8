#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "core/mem.h"
#include "dataio/fingerprint64.h"
#include "dataio/jpeg_encode.h"
#include "dataio/preprocess.h"
#include "tests/support/test_records.h"

enum { SIDE = 32, MAX_ROWS = 8 };

typedef struct bench {
    edt_preprocess_config config;
    edt_preprocessor *preprocessor;
    edt_span jpeg;
    uint8_t image[SIDE * SIDE * 3];
    int32_t valid_hw[2];
    float image_scale, groundtruth[MAX_ROWS * 7];
    int64_t source_id;
    edt_error err;
} bench;

static void init(bench *b, const char *hparams)
{
    edt_hparams hp;
    uint8_t pixels[20 * 40 * 3];
    memset(b, 0, sizeof *b);
    memset(pixels, 200, sizeof pixels);
    cr_assert_eq(edt_hparams_init(&hp, &b->err), EDT_OK);
    cr_assert_eq(edt_hparams_override(
                     &hp, "image_size=32,num_classes=5,max_instances_per_image=8", &b->err),
                 EDT_OK, "%s", b->err.text);
    cr_assert_eq(edt_hparams_override(&hp, hparams, &b->err), EDT_OK, "%s", b->err.text);
    cr_assert_eq(edt_preprocess_configure(&hp, false, EDT_SLOT_U8, &b->err, &b->config),
                 EDT_OK);
    edt_hparams_deinit(&hp);
    cr_assert_eq(edt_preprocessor_create(&b->config, 0, &b->err, &b->preprocessor), EDT_OK);
    const edt_image image = {.data = pixels, .h = 20, .w = 40, .stride = 120};
    uint8_t *data;
    size_t n_bytes;
    cr_assert_eq(edt_jpeg_encode(&image, NULL, &b->err, &data, &n_bytes), EDT_OK);
    b->jpeg = (edt_span){.data = data, .n_bytes = n_bytes};
}

static void deinit(bench *b)
{
    edt_preprocessor_destroy(b->preprocessor);
    edt_mem_free((void *)b->jpeg.data);
}

static edt_status run(bench *b, const char *source_id, const float *boxes,
                      const int64_t *labels, int n_boxes)
{
    const edt_span record = edt_test_make_example(b->jpeg, source_id, boxes, labels, n_boxes);
    const edt_sample_row row = {.image = b->image,
                                .valid_hw = b->valid_hw,
                                .image_scale = &b->image_scale,
                                .source_id = &b->source_id,
                                .groundtruth = b->groundtruth};
    b->err = (edt_error){0};
    const edt_sample sample = {.record = record};
    const edt_status status = edt_preprocess_run(b->preprocessor, &sample, &row, &b->err);
    edt_mem_free((void *)record.data);
    return status;
}

Test(preprocess, a_picture_lies_at_the_top_left_on_black, .timeout = 10)
{
    bench b;
    init(&b, "");
    cr_assert_eq(run(&b, "7", NULL, NULL, 0), EDT_OK, "%s", b.err.text);
    cr_assert(b.valid_hw[0] == 16 && b.valid_hw[1] == 32);
    cr_assert_eq(b.image_scale, 1.25f);
    cr_assert_eq(b.source_id, 7);
    cr_assert_gt(b.image[15 * SIDE * 3], 190);
    cr_assert_eq(b.image[16 * SIDE * 3], 0);
    cr_assert_eq(b.groundtruth[0], -1);
    deinit(&b);
}

Test(preprocess, labels_outside_the_classes_are_refused, .timeout = 10)
{
    const float box[4] = {0, 0, 1, 1};
    bench b;
    init(&b, "");
    for (int64_t label = 0; label <= 6; label += 6) {
        cr_assert_eq(run(&b, "7", box, &label, 1), EDT_ERR_INVALID);
        cr_assert_not_null(strstr(b.err.text, "num_classes=5"), "%s", b.err.text);
    }
    deinit(&b);
    init(&b, "reference_defects=true");
    const int64_t label = 6;
    cr_assert_eq(run(&b, "7", box, &label, 1), EDT_OK, "%s", b.err.text);
    deinit(&b);
}

Test(preprocess, corners_that_are_no_numbers_are_refused, .timeout = 10)
{
    const int64_t labels[2] = {1, 2};
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    bench b;
    init(&b, "");
    for (int i = 0; i < 3; ++i) {
        const float boxes[8] = {0, 0, 1, 1, 0, 0, bad[i], 1};
        cr_assert_eq(run(&b, "7", boxes, labels, 2), EDT_ERR_INVALID);
        cr_assert_not_null(strstr(b.err.text, "bbox/ymax of box 1"), "%s", b.err.text);
    }
    deinit(&b);
    init(&b, "reference_defects=true");
    const float boxes[8] = {0, 0, 1, 1, 0, 0, NAN, 1};
    cr_assert_eq(run(&b, "7", boxes, labels, 2), EDT_OK, "%s", b.err.text);
    deinit(&b);
}

Test(preprocess, source_ids_are_integers_or_hashes, .timeout = 10)
{
    bench b;
    init(&b, "");
    cr_assert_eq(run(&b, "9223372036854775807", NULL, NULL, 0), EDT_OK);
    cr_assert_eq(b.source_id, INT64_MAX);
    cr_assert_eq(run(&b, "-12", NULL, NULL, 0), EDT_OK);
    cr_assert_eq(b.source_id, -12);
    static const char *const bad[] = {"9223372036854775808", "1.5", "x1", "-", "1 "};
    for (int i = 0; i < 5; ++i) {
        cr_assert_eq(run(&b, bad[i], NULL, NULL, 0), EDT_ERR_FORMAT, "%s", bad[i]);
        cr_assert_not_null(strstr(b.err.text, "regenerate_source_id"));
    }
    cr_assert_eq(run(&b, "", NULL, NULL, 0), EDT_OK);
    cr_assert_eq(b.source_id, edt_fingerprint64_source_id(b.jpeg));
    deinit(&b);
    init(&b, "regenerate_source_id=true");
    cr_assert_eq(run(&b, "not a number", NULL, NULL, 0), EDT_OK);
    cr_assert_eq(b.source_id, edt_fingerprint64_source_id(b.jpeg));
    deinit(&b);
}

Test(preprocess, ground_truth_is_filtered_as_a_whole_and_cut_at_its_size, .timeout = 10)
{
    float boxes[12 * 4];
    int64_t labels[12];
    for (int i = 0; i < 12; ++i) {
        const float box[4] = {0.0f, 0.0f, 0.5f, i == 0 ? 0.0f : 0.05f * (float)(i + 4)};
        memcpy(boxes + 4 * i, box, sizeof box);
        labels[i] = 1 + i % 5;
    }
    bench b;
    init(&b, "");
    // The first box has no width: the others keep their own area.
    cr_assert_eq(run(&b, "7", boxes, labels, 4), EDT_OK);
    cr_assert_eq(b.groundtruth[6], 2);
    cr_assert_eq(b.groundtruth[5], 0.5f * (0.05f * 5));
    cr_assert_eq(b.groundtruth[3 * 7 + 6], -1);
    // Exactly full, then too many: cut, the rest is dropped.
    cr_assert_eq(run(&b, "7", boxes, labels, 9), EDT_OK);
    cr_assert(!edt_preprocess_last(b.preprocessor)->gt_truncated);
    cr_assert_eq(b.groundtruth[7 * 7 + 6], labels[8]);
    cr_assert_eq(run(&b, "7", boxes, labels, 12), EDT_OK);
    cr_assert(edt_preprocess_last(b.preprocessor)->gt_truncated);
    cr_assert_eq(edt_preprocess_last(b.preprocessor)->n_boxes, 11);
    deinit(&b);
    // The reference keeps the area column in record order and refuses a full table.
    init(&b, "reference_defects=true");
    cr_assert_eq(run(&b, "7", boxes, labels, 4), EDT_OK);
    cr_assert_eq(b.groundtruth[6], 2);
    cr_assert_eq(b.groundtruth[5], 0.0f);
    cr_assert_eq(run(&b, "7", boxes, labels, 8), EDT_ERR_INVALID);
    deinit(&b);
}

static float draw_zero(void *ctx)
{
    (void)ctx;
    return 0.0f;
}

static float draw_half(void *ctx)
{
    (void)ctx;
    return 0.5f;
}

static int64_t draw_low(void *ctx, int64_t low, int64_t high)
{
    (void)ctx, (void)high;
    return low;
}

// The policy "test" with the sign minus: 100 pixels to the right. Three boxes, the first of
// which leaves the picture and becomes a strip at its border.
static void run_translated(bench *b, const char *hparams)
{
    enum { W = 400, H = 100 };
    const float boxes[12] = {0.1f, 0.9f,  0.5f, 1.0f, 0.0f, 0.0f,
                             0.5f, 0.25f, 0.2f, 0.5f, 0.4f, 0.6f};
    const int64_t labels[3] = {1, 2, 3};
    edt_hparams hp;
    init(b, "");
    edt_preprocessor_destroy(b->preprocessor);
    cr_assert_eq(edt_hparams_init(&hp, &b->err), EDT_OK);
    cr_assert_eq(edt_hparams_override(
                     &hp,
                     "image_size=400,num_classes=5,max_instances_per_image=8,jitter_min=1,"
                     "jitter_max=1,input_rand_hflip=false,autoaugment_policy=test",
                     &b->err),
                 EDT_OK, "%s", b->err.text);
    cr_assert_eq(edt_hparams_override(&hp, hparams, &b->err), EDT_OK, "%s", b->err.text);
    cr_assert_eq(edt_preprocess_configure(&hp, true, EDT_SLOT_U8, &b->err, &b->config), EDT_OK);
    edt_hparams_deinit(&hp);
    cr_assert_eq(edt_preprocessor_create(&b->config, 0, &b->err, &b->preprocessor), EDT_OK);
    uint8_t *pixels = edt_mem_alloc(EDT_MEM_IMAGE, W * H * 3), *jpeg;
    size_t n_bytes;
    memset(pixels, 200, W * H * 3);
    const edt_image image = {.data = pixels, .h = H, .w = W, .stride = W * 3};
    cr_assert_eq(edt_jpeg_encode(&image, NULL, &b->err, &jpeg, &n_bytes), EDT_OK);
    const edt_span encoded = {.data = jpeg, .n_bytes = n_bytes};
    const edt_span record = edt_test_make_example(encoded, "7", boxes, labels, 3);
    uint8_t *canvas = edt_mem_alloc(EDT_MEM_IMAGE, 400 * 400 * 3);
    const edt_sample_row row = {.image = canvas,
                                .valid_hw = b->valid_hw,
                                .image_scale = &b->image_scale,
                                .source_id = &b->source_id,
                                .groundtruth = b->groundtruth};
    const edt_sample_draws draws = {
        .geometry = {.uniform = draw_half},
        .augment = {.uniform = draw_zero, .integer = draw_low},
    };
    const edt_sample sample = {.record = record, .index = -1, .draws = &draws};
    cr_assert_eq(edt_preprocess_run(b->preprocessor, &sample, &row, &b->err), EDT_OK, "%s",
                 b->err.text);
    // Grey came in from outside; equalising takes the two levels to the ends.
    cr_assert(canvas[50 * 1200 + 3 * 50] == 0 && canvas[50 * 1200 + 3 * 150] == 255);
    edt_mem_free(canvas);
    edt_mem_free((void *)record.data);
    edt_mem_free(jpeg);
    edt_mem_free(pixels);
}

Test(preprocess, ground_truth_follows_what_augmentation_did_to_the_boxes, .timeout = 10)
{
    bench b;
    run_translated(&b, "");
    const float want[3][4] = {{10, 380, 50, 399}, {0, 100, 50, 200}, {20, 300, 40, 340}};
    for (int i = 0; i < 3; ++i) {
        for (int k = 0; k < 4; ++k) {
            cr_assert_float_eq(b.groundtruth[7 * i + k], want[i][k], 1e-3, "%d %d: %g", i, k,
                               (double)b.groundtruth[7 * i + k]);
        }
        cr_assert_eq(b.groundtruth[7 * i + 6], (float)(i + 1));
    }
    cr_assert_float_eq(b.groundtruth[7 + 5], 0.125f, 1e-6);
    deinit(&b);
    // A box that left the picture goes with its columns, and in the reference without them.
    run_translated(&b, "autoaugment_drop_outside=true");
    cr_assert_eq(b.groundtruth[6], 2);
    cr_assert_float_eq(b.groundtruth[5], 0.125f, 1e-6);
    cr_assert_eq(b.groundtruth[2 * 7 + 6], -1);
    deinit(&b);
    run_translated(&b, "autoaugment_drop_outside=true,reference_defects=true");
    cr_assert_eq(b.groundtruth[6], 2);
    cr_assert_float_eq(b.groundtruth[5], 0.04f, 1e-6);
    cr_assert_float_eq(b.groundtruth[7 + 5], 0.125f, 1e-6);
    deinit(&b);
}
