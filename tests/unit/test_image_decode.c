// One decoder over pictures of every format: no allocations once it has seen the largest, what
// a sink says is passed on, one picture leaves nothing behind for the next, absurd sizes are
// refused.
#include <criterion/criterion.h>
#include <string.h>

#include "core/mem.h"
#include "dataio/image_decode.h"
#include "dataio/jpeg_encode.h"
#include "tests/support/test_dirs.h"
#include "tests/support/test_records.h"

static const char *const formats[] = {"rgb8.png", "rgb8_adam7.png", "rgb24.bmp",
                                      "two_frames.gif", "garbage_after_eoi.jpg"};
enum { N_FORMATS = sizeof formats / sizeof *formats };

static edt_span read_format(int i)
{
    return edt_test_read_file(
        edt_test_path(edt_test_golden_dir(), "data/decode/formats/%s", formats[i]));
}

typedef struct counter {
    int64_t n_rows, fail_at; // -1: never
} counter;

static edt_status count(void *ctx, int64_t y, const edt_image *rows, edt_error *err)
{
    counter *c = ctx;
    cr_assert_eq(y, c->n_rows);
    c->n_rows += rows->h;
    if (c->fail_at >= 0 && c->n_rows > c->fail_at) {
        EDT_FAIL(err, EDT_ERR_CANCELLED, "enough at %d", (int)c->n_rows);
    }
    return EDT_OK;
}

Test(image_decode, the_steady_state_allocates_nothing, .timeout = 30)
{
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    EDT_TEST_NEEDS_DIR(edt_test_data_dir());
    const edt_image_decoder_options options = {.exif_rotate = true};
    edt_image_decoder *decoder;
    edt_span pictures[N_FORMATS + 2];
    for (int i = 0; i < N_FORMATS; ++i) {
        pictures[i] = read_format(i);
    }
    pictures[N_FORMATS] = edt_test_read_file(
        edt_test_path(edt_test_data_dir(), "jpeg-corpus/exif_orientation_6.jpg"));
    pictures[N_FORMATS + 1] = edt_test_read_file(
        edt_test_path(edt_test_data_dir(), "jpeg-corpus/ycck_adobe_restart.jpg"));
    cr_assert_eq(edt_image_decoder_create(&options, NULL, &decoder), EDT_OK);
    int64_t n_before = 0;
    for (int pass = 0; pass < 3; ++pass) {
        if (pass == 1) {
            n_before = edt_mem_get_total().n_total;
        }
        for (int i = 0; i < N_FORMATS + 2; ++i) {
            int64_t h, w;
            edt_image image;
            counter c = {0, -1};
            const edt_row_sink sink = {count, &c};
            cr_assert_eq(edt_image_open(decoder, pictures[i], NULL, &h, &w), EDT_OK);
            cr_assert_eq(edt_image_decode(decoder, 0, NULL, &image), EDT_OK);
            cr_assert_eq(edt_image_open(decoder, pictures[i], NULL, &h, &w), EDT_OK);
            cr_assert_eq(edt_image_decode_rows(decoder, 0, &sink, NULL), EDT_OK);
            cr_assert_eq(c.n_rows, h);
        }
    }
    cr_assert_eq(edt_mem_get_total().n_total, n_before);
    edt_image_decoder_destroy(decoder);
    for (int i = 0; i < N_FORMATS + 2; ++i) {
        edt_mem_free((void *)(uintptr_t)pictures[i].data);
    }
}

Test(image_decode, an_error_of_the_sink_ends_the_decoding, .timeout = 30)
{
    EDT_TEST_NEEDS_DIR(edt_test_data_dir());
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    edt_image_decoder *decoder;
    cr_assert_eq(edt_image_decoder_create(NULL, NULL, &decoder), EDT_OK);
    for (int i = 0; i <= N_FORMATS; ++i) {
        const edt_span bytes =
            i < N_FORMATS ? read_format(i)
                          : edt_test_read_file(
                                edt_test_path(edt_test_data_dir(), "jpeg-corpus/hopper.jpg"));
        edt_error err = {0};
        int64_t h, w;
        edt_image image;
        counter c = {0, 0};
        const edt_row_sink sink = {count, &c};
        cr_assert_eq(edt_image_open(decoder, bytes, NULL, &h, &w), EDT_OK);
        cr_assert_eq(edt_image_decode_rows(decoder, 0, &sink, &err), EDT_ERR_CANCELLED);
        cr_assert_not_null(strstr(err.text, "enough at"));
        cr_assert_eq(c.n_rows, i < N_FORMATS - 1 ? h : EDT_ROW_BAND_ROWS);
        // The picture is closed, and the decoder is as good as new.
        cr_assert_eq(edt_image_decode(decoder, 0, NULL, &image), EDT_ERR_INTERNAL);
        cr_assert_eq(edt_image_open(decoder, bytes, NULL, &h, &w), EDT_OK);
        cr_assert_eq(edt_image_decode(decoder, 0, NULL, &image), EDT_OK);
        edt_mem_free((void *)(uintptr_t)bytes.data);
    }
    edt_image_decoder_destroy(decoder);
}

// Tables of the picture before must not stand in for missing ones.
Test(image_decode, a_jpeg_without_tables_does_not_borrow_them, .timeout = 30)
{
    enum { SIDE = 16 };
    uint8_t pixels[SIDE * SIDE * 3];
    for (size_t i = 0; i < sizeof pixels; ++i) {
        pixels[i] = (uint8_t)(i * 7);
    }
    const edt_image image = {.data = pixels, .h = SIDE, .w = SIDE, .stride = 3 * SIDE};
    const edt_jpeg_encode_options options = {.quality = 80};
    uint8_t *data;
    size_t n;
    int64_t h, w;
    edt_image got;
    edt_image_decoder *decoder;
    cr_assert_eq(edt_jpeg_encode(&image, &options, NULL, &data, &n), EDT_OK);
    uint8_t *bare = edt_mem_alloc(EDT_MEM_IMAGE, n);
    size_t n_bare = 2;
    memcpy(bare, data, 2);
    for (size_t at = 2; at < n;) { // without its quantisation tables
        const bool scan = data[at + 1] == 0xda;
        const size_t size = scan ? n - at : 2u + ((size_t)data[at + 2] << 8 | data[at + 3]);
        if (data[at + 1] != 0xdb) {
            memcpy(bare + n_bare, data + at, size);
            n_bare += size;
        }
        at += size;
    }
    cr_assert_lt(n_bare, n);
    cr_assert_eq(edt_image_decoder_create(NULL, NULL, &decoder), EDT_OK);
    cr_assert_eq(edt_image_open(decoder, (edt_span){data, n}, NULL, &h, &w), EDT_OK);
    cr_assert_eq(edt_image_decode(decoder, 0, NULL, &got), EDT_OK);
    cr_assert_eq(edt_image_open(decoder, (edt_span){bare, n_bare}, NULL, &h, &w), EDT_OK);
    cr_assert_eq(edt_image_decode(decoder, 0, NULL, &got), EDT_ERR_FORMAT);
    // A small file that claims 20000 x 20000 pixels.
    uint8_t *sof = memmem(data, n, "\xff\xc0", 2);
    cr_assert_not_null(sof);
    memcpy(sof + 5, "\x4e\x20\x4e\x20", 4);
    edt_error err = {0};
    cr_assert_eq(edt_image_open(decoder, (edt_span){data, n}, &err, &h, &w), EDT_ERR_FORMAT);
    cr_assert_not_null(strstr(err.text, "cannot hold"));
    edt_image_decoder_destroy(decoder);
    edt_mem_free(data);
    edt_mem_free(bare);
}

Test(image_decode, what_is_no_picture_is_told_apart, .timeout = 10)
{
    static const struct {
        const char *bytes, *words;
    } cases[] = {{"", "empty"},
                 {"PNG", "unknown image format"},
                 {"\xff\xd8\xff", "JPEG"},
                 {"BM", "BMP"},
                 {"GIF8", "GIF"},
                 {"\x89PNG\r\n\x1a\n", "PNG"}};
    edt_image_decoder *decoder;
    cr_assert_eq(edt_image_decoder_create(NULL, NULL, &decoder), EDT_OK);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
        const edt_span bytes = {(const uint8_t *)cases[i].bytes, strlen(cases[i].bytes)};
        edt_error err = {0};
        int64_t h, w;
        cr_assert_eq(edt_image_open(decoder, bytes, &err, &h, &w), EDT_ERR_FORMAT);
        cr_assert_not_null(strstr(err.text, cases[i].words), "%s", err.text);
    }
    edt_image_decoder_destroy(decoder);
}
