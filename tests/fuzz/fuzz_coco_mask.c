// Two compressed run lengths (or segmentations of any form) as arbitrary bytes, a zero byte
// between them: what the evaluator keeps of them has the box, the area and the common pixels
// that counting pixel by pixel gives.
#include <stdlib.h>
#include <string.h>

#include "dataio/coco_segmentation.h"
#include "eval/coco_mask.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
size_t edt_fuzz_seed(int i, uint8_t *out, size_t cap);

enum { MOST_SIDE = 64 };

static void must(bool holds)
{
    if (!holds) {
        abort();
    }
}

// The mask twice: as runs and as pixels, column by column. False: no mask.
static bool read_mask(edt_text text, int64_t h, int64_t w, edt_coco_mask_pool *pool,
                      edt_arena *arena, const edt_coco_mask **out_mask, uint8_t *pixels)
{
    edt_error err = {0};
    edt_rle rle;
    edt_arena_reset(arena);
    edt_status status = edt_rle_from_text(text, h, w, arena, &err, &rle);
    if (status != EDT_OK) {
        must(err.text[0] != '\0');
        status = edt_coco_segmentation_read_own(text, h, w, arena, &err, &rle);
    }
    if (status != EDT_OK || rle.h > MOST_SIDE || rle.w > MOST_SIDE) {
        must(status == EDT_OK || err.text[0] != '\0');
        return false;
    }
    size_t at = 0;
    for (size_t i = 0; i < rle.n; ++i) {
        memset(pixels + at, (int)(i & 1), rle.counts[i]);
        at += rle.counts[i];
    }
    must(at == (size_t)(rle.h * rle.w));
    edt_arena scratch;
    edt_arena_init(&scratch, EDT_MEM_ARENA, 0);
    must(edt_coco_mask_add(pool, &scratch, &rle, &err, out_mask) == EDT_OK);
    edt_arena_deinit(&scratch);
    return true;
}

static void check(const edt_coco_mask *mask, const uint8_t *pixels)
{
    uint32_t area = 0, x0 = UINT32_MAX, y0 = UINT32_MAX, x1 = 0, y1 = 0;
    for (uint32_t x = 0; x < mask->w; ++x) {
        for (uint32_t y = 0; y < mask->h; ++y) {
            if (pixels[x * mask->h + y] != 0) {
                ++area;
                x0 = x < x0 ? x : x0;
                y0 = y < y0 ? y : y0;
                x1 = x + 1 > x1 ? x + 1 : x1;
                y1 = y + 1 > y1 ? y + 1 : y1;
            }
        }
    }
    must(mask->area == area);
    // A run that goes on in the next column makes the box as high as the picture, as in
    // maskApi.c.
    must(area == 0 || (mask->box[0] <= x0 && mask->box[0] + mask->box[2] >= x1 &&
                       mask->box[1] <= y0 && mask->box[1] + mask->box[3] >= y1));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static uint8_t pixels[2][MOST_SIDE * MOST_SIDE];
    if (n < 2) {
        return 0;
    }
    const int64_t h = data[0] % MOST_SIDE + 1, w = data[1] % MOST_SIDE + 1;
    const char *text = (const char *)data + 2;
    const size_t n_text = n - 2;
    const char *zero = n_text > 0 ? memchr(text, 0, n_text) : NULL;
    const size_t n_first = zero != NULL ? (size_t)(zero - text) : n_text;
    const edt_text first = {text, n_first};
    const edt_text second = zero != NULL ? (edt_text){zero + 1, n_text - n_first - 1} : first;
    edt_coco_mask_pool pool = {0};
    edt_arena arena, runs_arena;
    const edt_coco_mask *a, *b;
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    edt_arena_init(&runs_arena, EDT_MEM_ARENA, 0);
    if (read_mask(first, h, w, &pool, &arena, &a, pixels[0]) &&
        read_mask(second, h, w, &pool, &arena, &b, pixels[1])) {
        check(a, pixels[0]);
        check(b, pixels[1]);
        if (a->h == b->h && a->w == b->w) {
            edt_coco_runs p, q;
            uint32_t common = 0, most = 0;
            must(edt_coco_mask_unpack(a, &runs_arena, NULL, &p) == EDT_OK);
            must(edt_coco_mask_unpack(b, &runs_arena, NULL, &q) == EDT_OK);
            for (uint32_t i = 0; i < a->h * a->w; ++i) {
                common += pixels[0][i] & pixels[1][i];
            }
            must(edt_coco_runs_common(&p, &q) == common);
            must(edt_coco_runs_common(&q, &p) == common);
            must(edt_coco_mask_may_meet(a, b, &most) ? common <= most : common == 0);
        }
    }
    edt_coco_mask_pool_deinit(&pool);
    edt_arena_deinit(&arena);
    edt_arena_deinit(&runs_arena);
    return 0;
}

size_t edt_fuzz_seed(int i, uint8_t *out, size_t cap)
{
    static const struct {
        const char *text;
        size_t n;
    } seeds[] = {
#define SEED(text) {text, sizeof text - 1}
        SEED("\x03\x04"
             "5220003\0005220003"),
        SEED("\x03\x04"
             "5220003\0[[1, 1, 4, 1, 4, 3, 1, 3]]"),
        SEED("\x1f\x1f[[1.5,1,30.25,-4,4e1,3,1,33,12,12],[2,1,4,1,4,3,2,3]]\0[[9,9,20,20]]"),
        SEED("\x03\x04{\"size\": [4, 5], \"counts\": [5, 2, 2, 2, 2, 2, 5]}\0{\"counts\": "
             "\"5220003\", \"size\": [4, 5]}"),
        SEED("\x05\x07{\"size\": [6, 8], \"counts\": [0, 48]}\0{\"size\": [6, 8], \"counts\": "
             "[48]}"),
#undef SEED
    };
    if (i >= (int)(sizeof seeds / sizeof seeds[0]) || seeds[i].n > cap) {
        return 0;
    }
    memcpy(out, seeds[i].text, seeds[i].n);
    return seeds[i].n;
}
