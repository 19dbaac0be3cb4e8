// Segmentations and compressed runs of arbitrary bytes, and arbitrary bytes as a PNG mask: no
// overrun, runs that fill the picture, PNG files that read back, and words for every refusal.
#include <stdlib.h>
#include <string.h>

#include "dataio/coco_segmentation.h"
#include "dataio/png_mask.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
size_t edt_fuzz_seed(int i, uint8_t *out, size_t cap);

static void check_mask(const edt_rle *mask, edt_arena *arena)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < mask->n; ++i) {
        sum += mask->counts[i];
    }
    edt_text text;
    edt_rle again;
    edt_span png;
    int64_t h, w;
    const uint8_t *pixels;
    uint8_t *own = edt_arena_calloc(arena, (size_t)(mask->h * mask->w), 1);
    if (sum != (uint64_t)(mask->h * mask->w) || own == NULL ||
        edt_rle_to_text(mask, arena, NULL, &text) != EDT_OK ||
        edt_rle_from_text(text, mask->h, mask->w, arena, NULL, &again) != EDT_OK ||
        again.n != mask->n ||
        memcmp(again.counts, mask->counts, mask->n * sizeof *mask->counts) != 0 ||
        edt_png_mask_encode(mask, arena, NULL, &png) != EDT_OK ||
        edt_png_mask_decode(png, arena, NULL, &h, &w, &pixels) != EDT_OK) {
        abort();
    }
    edt_rle_to_pixels(mask, own);
    if (memcmp(own, pixels, (size_t)(h * w)) != 0) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    // The first two bytes choose the size.
    if (n < 2) {
        return 0;
    }
    const int64_t h = data[0] % 64 + 1;
    const int64_t w = data[1] % 64 + 1;
    const edt_text text = {(const char *)data + 2, n - 2};
    edt_arena arena;
    edt_rle mask;
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    for (int i = 0; i < 3; ++i) {
        edt_error err = {0};
        const edt_status status =
            i == 0 ? edt_coco_segmentation_read(text, h, w, h, w, &arena, &err, &mask)
            : i == 1
                ? edt_coco_segmentation_read(text, h, w, 2 * h, w / 2 + 1, &arena, &err, &mask)
                : edt_rle_from_text(text, h, w, &arena, &err, &mask);
        if (status == EDT_OK) {
            check_mask(&mask, &arena);
        } else if (err.text[0] == '\0') {
            abort();
        }
    }
    edt_error err = {0};
    int64_t png_h, png_w;
    const uint8_t *pixels;
    if (edt_png_mask_decode((edt_span){data, n}, &arena, &err, &png_h, &png_w, &pixels) ==
        EDT_OK) {
        volatile uint8_t last = pixels[png_h * png_w - 1];
        (void)last;
    } else if (err.text[0] == '\0') {
        abort();
    }
    edt_arena_deinit(&arena);
    return 0;
}

size_t edt_fuzz_seed(int i, uint8_t *out, size_t cap)
{
    static const char *const seeds[] = {
        "\x03\x04[[1, 1, 4, 1, 4, 3, 1, 3]]",
        "\x1f\x1f[[1.5,1,30.25,-4,4e1,3,1,33,12,12],[2,1,4,1,4,3,2,3]]",
        "\x1f\x1f[[1, 1, 3, 2], [-3, 4, 50, 50]]",
        "\x03\x04{\"size\": [4, 5], \"counts\": [5, 2, 2, 2, 2, 2, 5]}",
        "\x03\x04{\"counts\": \"5220003\", \"size\": [4, 5]}",
        "\x03\x04"
        "5220003",
    };
    enum { N_SEEDS = sizeof seeds / sizeof *seeds };
    if (i == N_SEEDS) { // a mask's PNG
        static const uint32_t counts[] = {5, 2, 2, 2, 2, 2, 5};
        const edt_rle mask = {.h = 4, .w = 5, .n = 7, .counts = counts};
        edt_arena arena;
        edt_span png = {0};
        edt_arena_init(&arena, EDT_MEM_ARENA, 0);
        size_t n = 0;
        if (edt_png_mask_encode(&mask, &arena, NULL, &png) == EDT_OK && png.n_bytes <= cap) {
            memcpy(out, png.data, png.n_bytes);
            n = png.n_bytes;
        }
        edt_arena_deinit(&arena);
        return n;
    }
    if (i > N_SEEDS || strlen(seeds[i]) > cap) {
        return 0;
    }
    memcpy(out, seeds[i], strlen(seeds[i]));
    return strlen(seeds[i]);
}
