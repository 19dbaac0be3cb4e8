// PNG: headers that are refused before anything is allocated, and files that are cut anywhere.
#include <criterion/criterion.h>
#include <string.h>

#include "core/mem.h"
#include "dataio/image_png.h"
#include "tests/support/test_dirs.h"
#include "tests/support/test_records.h"

// Signature and IHDR; its CRC is not looked at here.
static edt_status read_header(uint32_t h, uint32_t w, int depth, int colour, size_t n_bytes)
{
    uint8_t *bytes = edt_mem_calloc(EDT_MEM_MISC, n_bytes, 1);
    memcpy(bytes, "\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR", n_bytes < 16 ? n_bytes : 16);
    for (int i = 0; i < 4 && n_bytes >= 33; ++i) {
        bytes[16 + i] = (uint8_t)(w >> (24 - 8 * i));
        bytes[20 + i] = (uint8_t)(h >> (24 - 8 * i));
        bytes[24] = (uint8_t)depth;
        bytes[25] = (uint8_t)colour;
    }
    int64_t got_h, got_w;
    edt_error err = {0};
    const edt_status status =
        edt_png_read_header((edt_span){bytes, n_bytes}, &err, &got_h, &got_w);
    if (status == EDT_OK) {
        cr_assert(got_h == h && got_w == w);
    } else {
        cr_assert_neq(err.text[0], '\0');
    }
    edt_mem_free(bytes);
    return status;
}

Test(image_png, headers_are_held_against_the_file, .timeout = 10)
{
    cr_assert_eq(read_header(7, 9, 8, 2, 60), EDT_OK);
    cr_assert_eq(read_header(7, 9, 8, 2, 32), EDT_ERR_FORMAT);
    cr_assert_eq(read_header(0, 9, 8, 2, 60), EDT_ERR_FORMAT);
    cr_assert_eq(read_header(7, 0, 8, 2, 60), EDT_ERR_FORMAT);
    // Combinations of depth and colour type that exist: 15.
    int n_known = 0;
    for (int colour = 0; colour < 256; ++colour) {
        for (int depth = 0; depth < 256; ++depth) {
            n_known += read_header(7, 9, depth, colour, 60) == EDT_OK;
        }
    }
    cr_assert_eq(n_known, 15);
    // 1032 bytes of a byte is what deflate can do.
    cr_assert_eq(read_header(1032, 60, 8, 0, 60), EDT_OK);
    cr_assert_eq(read_header(1033, 60, 8, 0, 60), EDT_ERR_FORMAT);
    cr_assert_eq(read_header(1032, 480, 1, 0, 60), EDT_OK);
    cr_assert_eq(read_header(1032, 60, 8, 2, 60), EDT_ERR_FORMAT);
    cr_assert_eq(read_header(UINT32_MAX, UINT32_MAX, 8, 2, 60), EDT_ERR_FORMAT);
    cr_assert_eq(read_header(INT32_MAX, INT32_MAX, 16, 6, 60), EDT_ERR_FORMAT);
}

Test(image_png, a_file_cut_anywhere_is_an_error, .timeout = 60)
{
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    static const char *const names[] = {"rgb8.png", "rgb8_adam7.png", "palette4_trns.png"};
    edt_row_buffer buffer = {0};
    for (int i = 0; i < 3; ++i) {
        const edt_span whole = edt_test_read_file(
            edt_test_path(edt_test_golden_dir(), "data/decode/formats/%s", names[i]));
        for (size_t n = 33; n <= whole.n_bytes; ++n) {
            edt_error err = {0};
            const edt_status got =
                edt_png_decode((edt_span){whole.data, n}, 1, NULL, &buffer, &err);
            cr_assert_eq(got, n == whole.n_bytes ? EDT_OK : EDT_ERR_FORMAT, "%s: %zu bytes: %s",
                         names[i], n, err.text);
        }
        edt_mem_free((void *)(uintptr_t)whole.data);
    }
    edt_row_buffer_deinit(&buffer);
}
