// Every way of a picture into the slot (bands, whole, mixed; u8 and f32) against
// decoding it whole, running all operations and resizing once.
#include <criterion/criterion.h>
#include <string.h>

#include "core/mem.h"
#include "dataio/jpeg_encode.h"
#include "dataio/sample_pixels.h"

enum { H = 70, W = 90, CANVAS = 48, N_CASES = 150 };

typedef struct bench {
    edt_span jpeg;
    edt_sample_picture *picture;
    edt_image_decoder *decoder; // of the plain way
    edt_pixel_scratch *scratch;
    edt_resizer *resizer;
    edt_normalize normalize; // of f32 slots
    edt_arena arena;
    edt_error err;
} bench;

// Room for either format; what u8 leaves is zero.
typedef union canvas {
    uint8_t u8[CANVAS * CANVAS * 3];
    float f32[CANVAS * CANVAS * 3];
} canvas;

static void init(bench *b)
{
    static uint8_t pixels[H * W * 3];
    edt_rng rng;
    edt_rng_init(&rng, 1, 2, 3, 4);
    for (int i = 0; i < H * W * 3; ++i) {
        pixels[i] = (uint8_t)edt_rng_below(&rng, 256);
    }
    memset(b, 0, sizeof *b);
    edt_arena_init(&b->arena, EDT_MEM_ARENA, 0);
    const edt_image image = {.data = pixels, .h = H, .w = W, .stride = W * 3};
    uint8_t *data;
    size_t n_bytes;
    cr_assert_eq(edt_jpeg_encode(&image, NULL, &b->err, &data, &n_bytes), EDT_OK);
    b->jpeg = (edt_span){.data = data, .n_bytes = n_bytes};
    cr_assert_eq(edt_sample_picture_create(false, NULL, &b->err, &b->picture), EDT_OK);
    cr_assert_eq(edt_image_decoder_create(NULL, &b->err, &b->decoder), EDT_OK);
    cr_assert_eq(edt_pixel_scratch_create(&b->err, &b->scratch), EDT_OK);
    cr_assert_eq(edt_resizer_create(&b->err, &b->resizer), EDT_OK);
    edt_hparams hp;
    cr_assert_eq(edt_hparams_init(&hp, NULL), EDT_OK);
    cr_assert_eq(edt_normalize_init(&hp, &b->err, &b->normalize), EDT_OK);
    edt_hparams_deinit(&hp);
}

static void deinit(bench *b)
{
    edt_resizer_destroy(b->resizer);
    edt_pixel_scratch_destroy(b->scratch);
    edt_image_decoder_destroy(b->decoder);
    edt_sample_picture_destroy(b->picture);
    edt_arena_deinit(&b->arena);
    edt_mem_free((void *)b->jpeg.data);
}

// A plan, a crop and a mirror from the case's number.
static void draw_case(bench *b, const edt_augment_config *config, int i_case,
                      edt_augment_plan *out_plan, edt_scale_params *out_scale, bool *out_flip)
{
    float boxes[8] = {0.1f, 0.2f, 0.6f, 0.5f, 0.5f, 0.4f, 1.0f, 0.9f}, area[2] = {0};
    int64_t labels[2] = {1, 2};
    bool is_crowd[2] = {false, false};
    edt_objects objects = {
        .n = 2, .boxes = boxes, .labels = labels, .is_crowd = is_crowd, .area = area};
    edt_rng rng;
    edt_rng_init(&rng, 5, 6, (uint64_t)i_case, 7);
    const edt_draws draws = edt_draws_from_rng(&rng);
    cr_assert_eq(
        edt_augment_plan_draw(config, H, W, &draws, &b->arena, &b->err, &objects, out_plan),
        EDT_OK);
    const edt_jitter_draws jitter = {edt_rng_uniform_f32(&rng), edt_rng_uniform_f32(&rng),
                                     edt_rng_uniform_f32(&rng)};
    cr_assert_eq(edt_scale_params_train(H, W, CANVAS, CANVAS, CANVAS, CANVAS, 0.2f, 4.0f,
                                        jitter, &b->err, out_scale),
                 EDT_OK);
    *out_flip = edt_rng_below(&rng, 2) == 1;
}

// All rows decoded, all operations on the whole picture, then one resize.
static void run_plainly(bench *b, const edt_augment_plan *plan, const edt_scale_params *scale,
                        bool flip, const edt_normalize *normalize, canvas *out_canvas)
{
    edt_image image;
    int64_t h, w;
    cr_assert_eq(edt_image_open(b->decoder, b->jpeg, &b->err, &h, &w), EDT_OK);
    cr_assert_eq(edt_image_decode(b->decoder, 0, &b->err, &image), EDT_OK);
    cr_assert_eq(edt_pixel_ops_run(b->scratch, &image, plan->ops, plan->n_ops, &b->err, &image),
                 EDT_OK);
    cr_assert_eq(normalize == NULL
                     ? edt_resize_u8(b->resizer, &image, scale, flip, &b->err, out_canvas->u8)
                     : edt_resize_f32(b->resizer, &image, scale, flip, normalize, &b->err,
                                      out_canvas->f32),
                 EDT_OK);
}

static void check_policy(bench *b, const edt_augment_config *config, const char *name)
{
    static canvas want, got;
    static uint8_t mixed_pixels[H * W * 3];
    for (int i = 0; i < N_CASES; ++i) {
        edt_augment_plan plan;
        edt_scale_params scale;
        bool flip;
        double seconds;
        edt_arena_reset(&b->arena);
        draw_case(b, config, i, &plan, &scale, &flip);
        const edt_normalize *normalize = i % 3 == 2 ? &b->normalize : NULL;
        memset(&want, 0, sizeof want);
        memset(&got, 0, sizeof got);
        run_plainly(b, &plan, &scale, flip, normalize, &want);
        edt_pixel_path path = {.picture = b->picture,
                               .plan = &plan,
                               .scratch = b->scratch,
                               .scale = &scale,
                               .flip = flip,
                               .normalize = normalize,
                               .resizer = b->resizer};
        cr_assert_eq(
            edt_sample_picture_open(b->picture, b->jpeg, -1, &b->err, &path.h, &path.w),
            EDT_OK);
        cr_assert_eq(edt_sample_pixels_run(&path, &b->arena, &b->err, &got, &seconds), EDT_OK,
                     "%s", b->err.text);
        cr_assert_eq(memcmp(&want, &got, sizeof want), 0, "%s, case %d", name, i);
        // The same out of memory, as after mixing.
        edt_image image;
        cr_assert_eq(edt_image_open(b->decoder, b->jpeg, &b->err, &path.h, &path.w), EDT_OK);
        cr_assert_eq(edt_image_decode(b->decoder, 0, &b->err, &image), EDT_OK);
        for (int y = 0; y < H; ++y) {
            memcpy(mixed_pixels + 3 * W * y, image.data + y * image.stride, 3 * W);
        }
        image = (edt_image){.data = mixed_pixels, .h = H, .w = W, .stride = 3 * W};
        path.mixed = &image;
        cr_assert_eq(edt_sample_pixels_run(&path, &b->arena, &b->err, &got, &seconds), EDT_OK,
                     "%s", b->err.text);
        cr_assert_eq(memcmp(&want, &got, sizeof want), 0, "%s, case %d, mixed", name, i);
    }
}

Test(sample_pixels, every_way_gives_the_bytes_of_the_plain_one, .timeout = 60)
{
    bench b;
    init(&b);
    static const char *const names[] = {"v0", "v1", "v2", "v3", "test"};
    for (int i = 0; i < 5; ++i) {
        const edt_augment_config config = {.policy = edt_policy_find(names[i])};
        check_policy(&b, &config, names[i]);
    }
    check_policy(&b, &(edt_augment_config){.randaug = true}, "randaug");
    check_policy(&b, &(edt_augment_config){.grid_mask = true}, "grid_mask");
    check_policy(&b, &(edt_augment_config){.policy = NULL}, "nothing");
    deinit(&b);
}
