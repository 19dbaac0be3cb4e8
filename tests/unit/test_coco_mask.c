// Masks as they are kept and compared: against counting pixels.
#include "eval/coco_mask.h"

#include <criterion/criterion.h>
#include <string.h>

#include "core/mem.h"

enum { H = 13, W = 17 };

static edt_error err;
static uint32_t state = 1;

static uint32_t draw(uint32_t m)
{
    state = state * 1664525u + 1013904223u;
    return (state >> 8) % m;
}

Test(coco_mask, overlaps_equal_counting_pixels, .timeout = 60)
{
    edt_arena arena, scratch;
    edt_coco_mask_pool pool = {0}, other = {0};
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    edt_arena_init(&scratch, EDT_MEM_ARENA, 0);
    for (int n = 0; n < 3000; ++n) {
        uint8_t pixels[2][H * W];
        const edt_coco_mask *masks[2];
        edt_coco_runs runs[2];
        uint32_t area[2] = {0, 0}, common = 0, most = 0;
        for (int m = 0; m < 2; ++m) {
            // From empty over blobs to full.
            const uint32_t x0 = draw(W), y0 = draw(H), w = draw(W + 1), h = draw(H + 1);
            const uint32_t density = draw(5);
            for (uint32_t i = 0; i < H * W; ++i) {
                const uint32_t x = i % W, y = i / W;
                pixels[m][i] =
                    x >= x0 && x < x0 + w && y >= y0 && y < y0 + h && draw(4) < density;
                area[m] += pixels[m][i];
            }
            edt_rle rle;
            edt_arena_reset(&arena);
            cr_assert_eq(edt_rle_from_pixels(pixels[m], H, W, &arena, &err, &rle), EDT_OK);
            cr_assert_eq(
                edt_coco_mask_add(m == 0 ? &pool : &other, &scratch, &rle, &err, &masks[m]),
                EDT_OK, "%s", err.text);
            cr_assert_eq(masks[m]->area, area[m]);
            int64_t box[4]; // ymin, xmin, ymax, xmax
            edt_rle_box(&rle, box);
            cr_assert(masks[m]->box[0] == box[1] && masks[m]->box[1] == box[0] &&
                      masks[m]->box[2] == box[3] - box[1] &&
                      masks[m]->box[3] == box[2] - box[0]);
        }
        edt_arena_reset(&arena);
        for (int m = 0; m < 2; ++m) {
            cr_assert_eq(edt_coco_mask_unpack(masks[m], &arena, &err, &runs[m]), EDT_OK);
        }
        for (int i = 0; i < H * W; ++i) {
            common += pixels[0][i] && pixels[1][i];
        }
        cr_assert_eq(edt_coco_runs_common(&runs[0], &runs[1]), common);
        const bool may_meet = edt_coco_mask_may_meet(masks[0], masks[1], &most);
        cr_assert(may_meet ? most >= common : common == 0);
        if (n % 100 == 0) {
            edt_coco_mask_pool_join(&pool, &other);
            cr_assert_eq(masks[1]->area, area[1]);
        }
    }
    edt_coco_mask_pool_deinit(&pool);
    edt_coco_mask_pool_deinit(&other);
    edt_arena_deinit(&arena);
    edt_arena_deinit(&scratch);
    cr_assert_eq(edt_mem_get_total().n_live, 0);
}

Test(coco_mask, overlap_with_a_crowd_is_over_the_detection, .timeout = 30)
{
    const edt_coco_mask dt = {.area = 20}, gt = {.area = 100};
    cr_expect_eq(edt_coco_mask_ratio(10, &dt, &gt, true), 10.0 / 20.0);
    cr_expect_eq(edt_coco_mask_ratio(10, &dt, &gt, false), 10.0 / 110.0);
    cr_expect_eq(edt_coco_mask_ratio(0, &(edt_coco_mask){0}, &(edt_coco_mask){0}, false), 0);
}

Test(coco_mask, large_runs_survive_the_text, .timeout = 30)
{
    // Differences of both signs that need all seven digits.
    static const uint32_t counts[] = {1, 2147483000, 3, 5, 600, 7, 16, 14, 1};
    int64_t sum = 0;
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; ++i) {
        sum += counts[i];
    }
    cr_assert_eq(sum, INT32_MAX);
    const edt_rle rle = {.h = 1, .w = INT32_MAX, .n = 9, .counts = counts};
    edt_arena scratch;
    edt_coco_mask_pool pool = {0};
    const edt_coco_mask *mask;
    edt_coco_runs runs;
    edt_arena_init(&scratch, EDT_MEM_ARENA, 0);
    cr_assert_eq(edt_coco_mask_add(&pool, &scratch, &rle, &err, &mask), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_coco_mask_unpack(mask, &scratch, &err, &runs), EDT_OK);
    cr_assert_eq(runs.n, 4);
    uint32_t at = 0;
    for (size_t i = 0; i < 8; ++i) {
        at += counts[i];
        cr_assert_eq(runs.at[i], at);
    }
    edt_coco_mask_pool_deinit(&pool);
    edt_arena_deinit(&scratch);
}

Test(coco_mask, forms_of_a_segmentation, .timeout = 30)
{
    static const struct {
        const char *json;
        edt_status status;
        uint32_t area, h;
    } cases[] = {
        {"[[1, 1, 5, 1, 5, 4, 1, 4]]", EDT_OK, 12, 10},
        {"[[1, 1, 5, 1, 5, 4, 1, 4], [4, 1, 8, 1, 8, 4, 4, 4]]", EDT_OK, 21, 10},
        {"{\"size\": [10, 20], \"counts\": [11, 3, 186]}", EDT_OK, 3, 10},
        {"{\"size\": [5, 4], \"counts\": [11, 3, 6]}", EDT_OK, 3, 5}, // of another picture
        {"{\"size\": [10, 20], \"counts\": \";3j5\"}", EDT_OK, 3, 10},
        {"{\"size\": [10, 20], \"counts\": \"kPPPPPPPPP03j5\"}", EDT_ERR_INVALID, 0, 0},
        {"{\"size\": [10, 20], \"counts\": \"[PPP03j5\"}", EDT_OK, 3, 10}, // 11 in five digits
        {"{\"size\": [10, 20], \"counts\": [11, 3]}", EDT_ERR_INVALID, 0, 0},
        {"[]", EDT_ERR_INVALID, 0, 0},
        {"7", EDT_ERR_FORMAT, 0, 0},
    };
    edt_arena scratch;
    edt_coco_mask_pool pool = {0};
    edt_arena_init(&scratch, EDT_MEM_ARENA, 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        const edt_coco_mask *mask;
        const edt_span json = {(const uint8_t *)cases[i].json, strlen(cases[i].json)};
        cr_expect_eq(edt_coco_mask_read(&pool, &scratch, json, 10, 20, &err, &mask),
                     cases[i].status, "%s: %s", cases[i].json, err.text);
        if (cases[i].status == EDT_OK) {
            cr_expect_eq(mask->area, cases[i].area, "%s: %u", cases[i].json, mask->area);
            cr_expect_eq(mask->h, cases[i].h);
        }
    }
    edt_coco_mask_pool_deinit(&pool);
    edt_arena_deinit(&scratch);
}
