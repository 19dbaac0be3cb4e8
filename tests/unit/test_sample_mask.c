// Class masks of samples: which object a pixel belongs to, and that masks go where the picture
// goes.
#include "dataio/sample_mask.h"

#include <criterion/criterion.h>
#include <string.h>

#include "core/mem.h"
#include "core/rng.h"
#include "dataio/jpeg_encode.h"
#include "dataio/png_mask.h"
#include "tests/support/test_records.h"

enum { SIDE = 8 };

// A square picture without scaling; one mask per rectangle y0, x0, y1, x1.
typedef struct bench {
    edt_arena arena;
    edt_error err;
    edt_image_decoder *decoder;
    edt_preprocess_config config;
    edt_scale_params scale;
    edt_span masks[4];
    int64_t labels[4];
    float area[4];
    bool is_crowd[4];
    edt_example example;
    int32_t mask[SIDE * SIDE];
} bench;

static edt_span rectangle(edt_arena *arena, int64_t h, int64_t w, const int64_t *r)
{
    edt_error err = {0};
    edt_rle rle;
    edt_span png;
    const double xywh[4] = {(double)r[1], (double)r[0], (double)(r[3] - r[1]),
                            (double)(r[2] - r[0])};
    cr_assert_eq(edt_rle_from_box(xywh, h, w, arena, &err, &rle), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_png_mask_encode(&rle, arena, &err, &png), EDT_OK, "%s", err.text);
    return png;
}

static void init(bench *b)
{
    memset(b, 0, sizeof *b);
    edt_arena_init(&b->arena, EDT_MEM_ARENA, 0);
    cr_assert_eq(edt_image_decoder_create(NULL, &b->err, &b->decoder), EDT_OK);
    b->config = (edt_preprocess_config){.mask_h = SIDE, .mask_w = SIDE, .mask_classes = 4};
    b->scale = (edt_scale_params){.out_h = SIDE,
                                  .out_w = SIDE,
                                  .scale = 1,
                                  .image_scale = 1,
                                  .scaled_h = SIDE,
                                  .scaled_w = SIDE};
    b->example = (edt_example){
        .labels = b->labels, .area = b->area, .is_crowd = b->is_crowd, .masks = b->masks};
}

static void add(bench *b, int64_t label, bool is_crowd, const int64_t r[4])
{
    const int64_t i = b->example.n_boxes++;
    b->example.n_masks = b->example.n_boxes;
    b->masks[i] = rectangle(&b->arena, SIDE, SIDE, r);
    b->labels[i] = label;
    b->area[i] = (float)((r[2] - r[0]) * (r[3] - r[1]));
    b->is_crowd[i] = is_crowd;
}

static edt_status make(bench *b, bool flipped)
{
    const edt_sample_place place = {
        .h = SIDE, .w = SIDE, .scale = &b->scale, .flipped = flipped};
    b->err = (edt_error){0};
    return edt_sample_mask_make(&b->config, &b->example, &place, b->decoder, &b->arena, &b->err,
                                b->mask);
}

static void deinit(bench *b)
{
    edt_image_decoder_destroy(b->decoder);
    edt_arena_deinit(&b->arena);
}

static void expect_mask(const bench *b, const char *want, const char *what)
{
    char got[SIDE * SIDE + 1];
    for (int i = 0; i < SIDE * SIDE; ++i) {
        got[i] = b->mask[i] < 0 ? '-' : (char)('0' + b->mask[i]);
    }
    got[SIDE * SIDE] = '\0';
    cr_expect_str_eq(got, want, "%s:\n%s, want\n%s", what, got, want);
}

Test(sample_mask, smaller_objects_lie_over_larger_ones_and_all_over_crowds, .timeout = 10)
{
    bench b;
    init(&b);
    add(&b, 2, false, (int64_t[]){2, 2, 4, 4}); // the smallest comes first in the record
    add(&b, 1, false, (int64_t[]){1, 1, 5, 6});
    add(&b, 3, true, (int64_t[]){4, 0, 8, 8});
    cr_assert_eq(make(&b, false), EDT_OK, "%s", b.err.text);
    expect_mask(&b,
                "00000000"
                "01111100"
                "01221100"
                "01221100"
                "-11111--"
                "--------"
                "--------"
                "--------",
                "as it is");
    cr_assert_eq(make(&b, true), EDT_OK, "%s", b.err.text);
    expect_mask(&b,
                "00000000"
                "00111110"
                "00112210"
                "00112210"
                "--11111-"
                "--------"
                "--------"
                "--------",
                "mirrored");
    // Twice as large, the crop begins at row 6, column 2, and what lies below the picture is no
    // class: 16 scaled rows from 6 on end after 10.
    b.scale.scaled_h = 12;
    b.scale.scaled_w = 16;
    b.scale.offset_y = 6;
    b.scale.offset_x = 2;
    cr_assert_eq(make(&b, false), EDT_OK, "%s", b.err.text);
    expect_mask(&b,
                "11111111"
                "--------"
                "--------"
                "--------"
                "--------"
                "--------"
                "--------"
                "--------",
                "cropped");
    deinit(&b);
}

Test(sample_mask, records_that_cannot_teach_pixels_are_refused, .timeout = 10)
{
    bench b;
    init(&b);
    cr_assert_eq(make(&b, false), EDT_OK, "%s", b.err.text); // no object: all background
    cr_expect(b.mask[0] == 0 && b.mask[SIDE * SIDE - 1] == 0);
    add(&b, 1, false, (int64_t[]){1, 1, 5, 6});
    b.example.n_masks = 0;
    cr_expect_eq(make(&b, false), EDT_ERR_INVALID);
    cr_expect_not_null(strstr(b.err.text, "--include_masks"), "%s", b.err.text);
    b.example.n_masks = 1;
    b.masks[0] = rectangle(&b.arena, 6, 9, (int64_t[]){1, 1, 3, 3});
    cr_expect_eq(make(&b, false), EDT_ERR_FORMAT);
    cr_expect_not_null(strstr(b.err.text, "value 0: 9x6 pixels for a picture of 8x8"), "%s",
                       b.err.text);
    b.masks[0].n_bytes /= 2;
    cr_expect_eq(make(&b, false), EDT_ERR_FORMAT);
    deinit(&b);
}

static void configure(const char *more, edt_error *err, edt_preprocess_config *out_config,
                      edt_status want)
{
    edt_hparams hp;
    cr_assert_eq(edt_hparams_init(&hp, err), EDT_OK);
    cr_assert_eq(edt_hparams_override(&hp,
                                      "image_size=128,num_classes=2,seg_num_classes=3,"
                                      "heads=['segmentation'],jitter_min=0.5,jitter_max=2",
                                      err),
                 EDT_OK, "%s", err->text);
    cr_assert_eq(edt_hparams_override(&hp, more, err), EDT_OK, "%s", err->text);
    cr_assert_eq(edt_preprocess_configure(&hp, true, EDT_SLOT_U8, err, out_config), EDT_OK,
                 "%s", err->text);
    cr_expect_eq(edt_preprocess_want_masks(&hp, err, out_config), want, "%s", err->text);
    edt_hparams_deinit(&hp);
}

Test(sample_mask, augmentation_that_masks_do_not_follow_is_refused_by_name, .timeout = 10)
{
    static const char *const refused[] = {"autoaugment_policy=v1", "autoaugment_policy=randaug",
                                          "mosaic_prob=0.5", "mixup_prob=0.5",
                                          "copy_paste_prob=0.5"};
    edt_preprocess_config config;
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; ++i) {
        edt_error err = {0};
        char name[64] = "";
        memcpy(name, refused[i], strcspn(refused[i], "="));
        configure(refused[i], &err, &config, EDT_ERR_UNSUPPORTED);
        cr_expect_not_null(strstr(err.text, name), "%s", err.text);
    }
    edt_error err = {0};
    configure("num_classes=3", &err, &config, EDT_ERR_USAGE);
    cr_expect_not_null(strstr(err.text, "use seg_num_classes=4"), "%s", err.text);
    configure("grid_mask=true", &err, &config, EDT_OK);
    cr_expect(config.mask_h == 32 && config.mask_w == 32 && config.mask_classes == 3);
}

// A bright rectangle on black, with its mask: wherever scale, crop and mirror put it, the mask
// lies over it but for a seam.
Test(sample_mask, masks_go_where_the_picture_goes, .timeout = 20)
{
    enum { H = 90, W = 120, CANVAS = 128, MASK = 32 };
    static const int64_t r[4] = {20, 12, 70, 60};
    edt_error err = {0};
    edt_preprocess_config config;
    configure("", &err, &config, EDT_OK);
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    uint8_t *pixels = edt_arena_calloc(&arena, H * W, 3);
    for (int64_t y = r[0]; y < r[2]; ++y) {
        memset(pixels + (y * W + r[1]) * 3, 255, (size_t)(r[3] - r[1]) * 3);
    }
    const edt_image image = {.data = pixels, .h = H, .w = W, .stride = W * 3};
    uint8_t *jpeg;
    size_t n_bytes;
    cr_assert_eq(edt_jpeg_encode(&image, NULL, &err, &jpeg, &n_bytes), EDT_OK);
    const float box[4] = {(float)r[0] / H, (float)r[1] / W, (float)r[2] / H, (float)r[3] / W};
    const int64_t label = 2;
    const edt_span png = rectangle(&arena, H, W, r);
    const edt_span record = edt_test_make_masked_example(
        (edt_span){.data = jpeg, .n_bytes = n_bytes}, "7", box, &label, &png, 1);
    edt_preprocessor *preprocessor;
    cr_assert_eq(edt_preprocessor_create(&config, 0, &err, &preprocessor), EDT_OK);
    static uint8_t canvas[CANVAS * CANVAS * 3];
    static int32_t mask[MASK * MASK];
    int32_t valid_hw[2];
    float image_scale;
    int64_t source_id, n_object = 0;
    const edt_sample_row row = {.image = canvas,
                                .valid_hw = valid_hw,
                                .seg_mask = mask,
                                .image_scale = &image_scale,
                                .source_id = &source_id};
    bool mirrored[2] = {false, false};
    for (uint32_t i = 0; i < 40; ++i) {
        edt_rng rng;
        edt_rng_init(&rng, 5, 0, i, EDT_DRAW_STAGE_GEOMETRY);
        const edt_sample_draws draws = {.geometry = edt_draws_from_rng(&rng)};
        const edt_sample sample = {.record = record, .index = -1, .draws = &draws};
        cr_assert_eq(edt_preprocess_run(preprocessor, &sample, &row, &err), EDT_OK, "%s",
                     err.text);
        mirrored[edt_preprocess_last(preprocessor)->flipped] = true;
        int n_wrong = 0;
        for (int y = 0; y < MASK; ++y) {
            for (int x = 0; x < MASK; ++x) {
                // The four canvas pixels around the centre; on an edge they are in between.
                const int cy = 4 * y + 2, cx = 4 * x + 2;
                int level = 0;
                for (int k = 0; k < 4; ++k) {
                    level += canvas[((cy - k / 2) * CANVAS + cx - k % 2) * 3];
                }
                const bool inside = cy < valid_hw[0] && cx < valid_hw[1];
                const int32_t want = !inside ? EDT_MASK_IGNORED : level > 2 * 255 ? 2 : 0;
                const bool on_edge = inside && level > 255 && level < 3 * 255;
                n_wrong += !on_edge && mask[y * MASK + x] != want;
                n_object += mask[y * MASK + x] == 2;
            }
        }
        cr_expect_eq(n_wrong, 0, "sample %u: %d pixels", i, n_wrong);
    }
    cr_expect(mirrored[0] && mirrored[1] && n_object > 40 * 50);
    edt_preprocessor_destroy(preprocessor);
    edt_mem_free((void *)record.data);
    edt_mem_free(jpeg);
    edt_arena_deinit(&arena);
}
