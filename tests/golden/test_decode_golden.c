// Every picture of the goldens (JPEG, PNG, BMP, GIF) decodes to the reference's bytes, whole
// and in bands, and what it refuses is refused.
#include <criterion/criterion.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"
#include "dataio/image_decode.h"
#include "tests/support/test_dirs.h"
#include "tests/support/test_records.h"

static void sha256_hex(const void *data, size_t n_bytes, char out[static 65])
{
    unsigned char digest[32];
    cr_assert_eq(EVP_Digest(data, n_bytes, digest, NULL, EVP_sha256(), NULL), 1);
    for (int i = 0; i < 32; ++i) {
        (void)snprintf(out + 2 * i, 3, "%02x", digest[i]);
    }
}

static const char *folder_of(const char *group)
{
    return strcmp(group, "jpeg") == 0             ? "jpeg-corpus"
           : strcmp(group, "coco-train2017") == 0 ? "coco-mini/train2017"
                                                  : "voc-mini/VOCdevkit/VOC2012/JPEGImages";
}

// Gathers the bands of one picture; they must come in order and without gaps.
typedef struct gathered {
    uint8_t *pixels;
    int64_t h, w, n_rows;
} gathered;

static edt_status gather(void *ctx, int64_t y, const edt_image *rows, edt_error *err)
{
    gathered *g = ctx;
    if (y != g->n_rows || rows->w != g->w || rows->h < 1 || y + rows->h > g->h) {
        EDT_FAIL(err, EDT_ERR_INTERNAL, "rows %d of a band at %d, expected %d", (int)rows->h,
                 (int)y, (int)g->n_rows);
    }
    for (int64_t i = 0; i < rows->h; ++i) {
        memcpy(g->pixels + 3 * g->w * (y + i), rows->data + rows->stride * i,
               (size_t)(3 * g->w));
    }
    g->n_rows += rows->h;
    return EDT_OK;
}

// SHA-256 of the picture as `decoder` gives it: whole, and in bands (which must be the same).
static edt_status decode_to_hex(edt_image_decoder *decoder, edt_span bytes, edt_error *err,
                                int64_t *out_h, int64_t *out_w, char out_hex[static 65])
{
    edt_image image = {0};
    EDT_TRY(edt_image_open(decoder, bytes, err, out_h, out_w));
    EDT_TRY(edt_image_decode(decoder, 0, err, &image));
    cr_assert(image.h == *out_h && image.w == *out_w && image.stride == 3 * image.w);
    const size_t n_bytes = (size_t)(image.h * image.w) * 3;
    sha256_hex(image.data, n_bytes, out_hex);
    gathered g = {edt_mem_alloc(EDT_MEM_MISC, n_bytes), image.h, image.w, 0};
    const edt_row_sink sink = {gather, &g};
    EDT_TRY(edt_image_open(decoder, bytes, err, out_h, out_w));
    EDT_TRY(edt_image_decode_rows(decoder, 0, &sink, err));
    char hex[65];
    sha256_hex(g.pixels, n_bytes, hex);
    cr_assert(g.n_rows == g.h && strcmp(hex, out_hex) == 0, "bands give another picture");
    edt_mem_free(g.pixels);
    return EDT_OK;
}

// Decodes one file and compares; returns false and says why when something differs.
static bool check_file(edt_image_decoder *decoder, const char *path, const char *status,
                       long width, long height, const char *sha256)
{
    const edt_span bytes = edt_test_read_file(path);
    edt_error err = {0};
    int64_t h = 0, w = 0;
    char hex[65] = "";
    const edt_status got = decode_to_hex(decoder, bytes, &err, &h, &w, hex);
    bool same;
    if (strcmp(status, "ok") != 0) {
        same = got != EDT_OK && err.text[0] != '\0';
    } else {
        same = got == EDT_OK && h == height && w == width && strcmp(hex, sha256) == 0;
    }
    if (!same) {
        cr_log_error("%s: expected %s, got %s %s", path, status, edt_status_name(got),
                     err.text);
    }
    edt_mem_free((void *)bytes.data);
    return same;
}

Test(decode_golden, all_pictures_bit_for_bit, .timeout = 120)
{
    EDT_TEST_NEEDS_DIR(edt_test_data_dir());
    FILE *table = fopen(edt_test_path(edt_test_golden_dir(), "data/decode/decode.tsv"), "r");
    cr_assert_not_null(table);
    edt_image_decoder *decoder = NULL;
    cr_assert_eq(edt_image_decoder_create(NULL, NULL, &decoder), EDT_OK);
    char line[1024];
    int n_checked = 0, n_bad = 0;
    cr_assert_not_null(fgets(line, sizeof line, table));
    while (fgets(line, sizeof line, table) != NULL) {
        char *rest = line, *cell[6] = {0};
        for (int i = 0; i < 6; ++i) {
            cell[i] = strsep(&rest, "\t\n");
        }
        const char *path =
            edt_test_path(edt_test_data_dir(), "%s/%s", folder_of(cell[0]), cell[1]);
        n_bad += !check_file(decoder, path, cell[2], strtol(cell[3], NULL, 10),
                             strtol(cell[4], NULL, 10), cell[5]);
        ++n_checked;
    }
    (void)fclose(table);
    edt_image_decoder_destroy(decoder);
    cr_assert_eq(n_bad, 0, "%d of %d files differ", n_bad, n_checked);
    cr_assert_eq(n_checked, 218);
}

Test(decode_golden, all_formats_bit_for_bit, .timeout = 60)
{
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    FILE *table =
        fopen(edt_test_path(edt_test_golden_dir(), "data/decode/formats/MANIFEST.tsv"), "r");
    cr_assert_not_null(table);
    edt_image_decoder *decoder = NULL;
    cr_assert_eq(edt_image_decoder_create(NULL, NULL, &decoder), EDT_OK);
    char line[1024];
    int n_checked = 0, n_bad = 0;
    cr_assert_not_null(fgets(line, sizeof line, table));
    while (fgets(line, sizeof line, table) != NULL) {
        char *rest = line, *cell[5] = {0};
        for (int i = 0; i < 5; ++i) {
            cell[i] = strsep(&rest, "\t\n");
        }
        n_bad += !check_file(
            decoder, edt_test_path(edt_test_golden_dir(), "data/decode/formats/%s", cell[0]),
            cell[1], strtol(cell[2], NULL, 10), strtol(cell[3], NULL, 10), cell[4]);
        ++n_checked;
    }
    (void)fclose(table);
    edt_image_decoder_destroy(decoder);
    cr_assert_eq(n_bad, 0, "%d of %d files differ", n_bad, n_checked);
    cr_assert_eq(n_checked, 34);
}

// Compares what comes of a window with the whole picture.
typedef struct looked_at {
    const edt_image *whole;
    edt_image_window window;
    int64_t next_y; // rows before it have come or may be left out
} looked_at;

static edt_status compare_window(void *ctx, int64_t y, const edt_image *rows, edt_error *err)
{
    looked_at *l = ctx;
    const edt_image_window *window = &l->window;
    const int64_t end = y + rows->h;
    if (rows->w != l->whole->w || y > l->next_y) {
        EDT_FAIL(err, EDT_ERR_INTERNAL, "a band at %d, expected %d", (int)y, (int)l->next_y);
    }
    for (int64_t i = y < window->y ? window->y : y; i < end && i < window->y + window->h; ++i) {
        if (memcmp(rows->data + rows->stride * (i - y) + 3 * window->x,
                   l->whole->data + l->whole->stride * i + 3 * window->x,
                   (size_t)(3 * window->w)) != 0) {
            EDT_FAIL(err, EDT_ERR_MISMATCH, "row %d of the window %d+%d, %d+%d differs", (int)i,
                     (int)window->x, (int)window->w, (int)window->y, (int)window->h);
        }
    }
    l->next_y = end > l->next_y ? end : l->next_y;
    return EDT_OK;
}

// Four random windows of one picture.
static edt_status look_at_windows(edt_image_decoder *decoder, edt_span bytes,
                                  const edt_image *whole, uint32_t *seed, edt_error *err)
{
    for (int i = 0; i < 4; ++i) {
        int64_t h, w;
        uint32_t n[4];
        for (int k = 0; k < 4; ++k) {
            *seed = *seed * 1664525u + 1013904223u;
            n[k] = *seed >> 8;
        }
        EDT_TRY(edt_image_open(decoder, bytes, err, &h, &w));
        looked_at l = {.whole = whole, .window = {.y = n[0] % h, .x = n[1] % w}};
        l.window.h = 1 + n[2] % (h - l.window.y);
        l.window.w = 1 + n[3] % (w - l.window.x);
        l.next_y = l.window.y;
        const edt_row_sink sink = {.take = compare_window, .ctx = &l};
        edt_image_focus(decoder, &l.window);
        EDT_TRY(edt_image_decode_rows(decoder, l.window.y + l.window.h, &sink, err));
        cr_assert_geq(l.next_y, l.window.y + l.window.h);
    }
    return EDT_OK;
}

Test(decode_golden, windows_of_all_pictures_bit_for_bit, .timeout = 120)
{
    EDT_TEST_NEEDS_DIR(edt_test_data_dir());
    FILE *table = fopen(edt_test_path(edt_test_golden_dir(), "data/decode/decode.tsv"), "r");
    cr_assert_not_null(table);
    edt_image_decoder *whole = NULL, *part = NULL;
    cr_assert_eq(edt_image_decoder_create(NULL, NULL, &whole), EDT_OK);
    cr_assert_eq(edt_image_decoder_create(NULL, NULL, &part), EDT_OK);
    char line[1024];
    uint32_t seed = 1;
    int n_checked = 0;
    cr_assert_not_null(fgets(line, sizeof line, table));
    while (fgets(line, sizeof line, table) != NULL) {
        char *rest = line, *cell[3] = {0};
        for (int i = 0; i < 3; ++i) {
            cell[i] = strsep(&rest, "\t\n");
        }
        const edt_span bytes = edt_test_read_file(
            edt_test_path(edt_test_data_dir(), "%s/%s", folder_of(cell[0]), cell[1]));
        int64_t h, w;
        edt_image image = {0};
        edt_error err = {0};
        edt_status want = edt_image_open(whole, bytes, NULL, &h, &w);
        want = want == EDT_OK ? edt_image_decode(whole, 0, NULL, &image) : want;
        if (want == EDT_OK) {
            cr_assert_eq(look_at_windows(part, bytes, &image, &seed, &err), EDT_OK, "%s: %s",
                         cell[1], err.text);
            ++n_checked;
        }
        edt_mem_free((void *)bytes.data);
    }
    (void)fclose(table);
    edt_image_decoder_destroy(whole);
    edt_image_decoder_destroy(part);
    cr_assert_gt(n_checked, 190);
}

Test(decode_golden, a_partial_decode_gives_the_same_first_rows, .timeout = 60)
{
    EDT_TEST_NEEDS_DIR(edt_test_data_dir());
    static const char *const names[] = {"baseline_420.jpg", "derived_440.jpg",
                                        "progressive_420.jpg", "ycck_adobe_restart.jpg"};
    edt_image_decoder *whole = NULL, *part = NULL;
    cr_assert_eq(edt_image_decoder_create(NULL, NULL, &whole), EDT_OK);
    cr_assert_eq(edt_image_decoder_create(NULL, NULL, &part), EDT_OK);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; ++i) {
        const edt_span bytes =
            edt_test_read_file(edt_test_path(edt_test_data_dir(), "jpeg-corpus/%s", names[i]));
        edt_image a, b;
        int64_t h, w;
        cr_assert_eq(edt_image_open(whole, bytes, NULL, &h, &w), EDT_OK);
        cr_assert_eq(edt_image_decode(whole, 0, NULL, &a), EDT_OK);
        for (int64_t n = 1; n < h; n += 7) {
            cr_assert_eq(edt_image_open(part, bytes, NULL, &h, &w), EDT_OK);
            cr_assert_eq(edt_image_decode(part, n, NULL, &b), EDT_OK);
            cr_assert_eq(b.h, h);
            cr_assert_eq(memcmp(a.data, b.data, (size_t)(n * a.stride)), 0, "%s row < %d",
                         names[i], (int)n);
            gathered g = {edt_mem_alloc(EDT_MEM_MISC, (size_t)(h * b.stride)), h, b.w, 0};
            const edt_row_sink sink = {gather, &g};
            cr_assert_eq(edt_image_open(part, bytes, NULL, &h, &w), EDT_OK);
            cr_assert_eq(edt_image_decode_rows(part, n, &sink, NULL), EDT_OK);
            cr_assert_geq(g.n_rows, n);
            cr_assert_eq(memcmp(a.data, g.pixels, (size_t)(g.n_rows * a.stride)), 0,
                         "%s bands to %d", names[i], (int)n);
            edt_mem_free(g.pixels);
        }
        // Cut off: an error even when the rows asked for are intact.
        const edt_span cut = {.data = bytes.data, .n_bytes = bytes.n_bytes - 40};
        cr_assert_eq(edt_image_open(part, cut, NULL, &h, &w), EDT_OK);
        cr_assert_eq(edt_image_decode(part, 1, NULL, &b), EDT_ERR_FORMAT, "%s", names[i]);
        looked_at l = {.whole = &a, .window = {.y = h / 2, .x = w / 2, .h = 1, .w = 1}};
        l.next_y = h / 2;
        const edt_row_sink sink = {.take = compare_window, .ctx = &l};
        cr_assert_eq(edt_image_open(part, cut, NULL, &h, &w), EDT_OK);
        edt_image_focus(part, &l.window);
        cr_assert_eq(edt_image_decode_rows(part, h / 2 + 1, &sink, NULL), EDT_ERR_FORMAT, "%s",
                     names[i]);
        edt_mem_free((void *)bytes.data);
    }
    edt_image_decoder_destroy(whole);
    edt_image_decoder_destroy(part);
}
