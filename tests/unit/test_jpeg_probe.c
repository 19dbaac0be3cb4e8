#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/mem.h"
#include "dataio/jpeg_probe.h"
#include "tests/support/test_dirs.h"

static edt_status probe_file(const char *name, edt_image_header *out, bool *out_whole)
{
    char *text = NULL;
    size_t n_bytes;
    const char *path = edt_test_path(edt_test_data_dir(), "jpeg-corpus/%s", name);
    cr_assert_eq(edt_file_read(path, 1u << 28, NULL, &text, &n_bytes), EDT_OK, "%s", path);
    const edt_span bytes = {(const uint8_t *)text, n_bytes};
    const edt_status status = edt_jpeg_probe(bytes, NULL, out);
    *out_whole = status == EDT_OK && edt_jpeg_probe_is_whole(bytes, out);
    // No prefix of a file may be read beyond its end; sanitizers look on.
    for (size_t n = 0; n < n_bytes && n < 2000; ++n) {
        uint8_t *cut = malloc(n + 1);
        memcpy(cut, text, n);
        edt_image_header header;
        if (edt_jpeg_probe((edt_span){cut, n}, NULL, &header) == EDT_OK) {
            cr_assert(header.height == out->height && header.width == out->width);
        }
        free(cut);
    }
    edt_mem_free(text);
    return status;
}

Test(jpeg_probe, headers_of_the_corpus, .timeout = 30)
{
    EDT_TEST_NEEDS_DIR(edt_test_data_dir());
    static const struct {
        const char *name;
        edt_status status;
        edt_image_format format;
        int64_t h, w;
        int n_channels;
        bool whole;
    } rows[] = {
        {"baseline_420.jpg", EDT_OK, EDT_IMAGE_JPEG, 149, 227, 3, true},
        {"gray.jpg", EDT_OK, EDT_IMAGE_JPEG, 128, 128, 1, true},
        {"ycck_adobe_restart.jpg", EDT_OK, EDT_IMAGE_JPEG, 0, 0, 4, true},
        {"png_named_jpg_6x6.jpg", EDT_OK, EDT_IMAGE_PNG, 6, 6, 0, true},
        {"two_pictures.mpo", EDT_OK, EDT_IMAGE_JPEG, 0, 0, 3, true},
        {"fill_bytes_before_eoi.jpg", EDT_OK, EDT_IMAGE_JPEG, 0, 0, 3, true},
        {"truncated_baseline.jpg", EDT_OK, EDT_IMAGE_JPEG, 0, 0, 3, false},
        {"empty.jpg", EDT_ERR_FORMAT, EDT_IMAGE_UNKNOWN, 0, 0, 0, false},
        {"corrupt_height_0.jpg", EDT_ERR_FORMAT, EDT_IMAGE_UNKNOWN, 0, 0, 0, false},
        {"corrupt_no_sof.jpg", EDT_ERR_FORMAT, EDT_IMAGE_UNKNOWN, 0, 0, 0, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; ++i) {
        edt_image_header header = {0};
        bool whole;
        cr_assert_eq(probe_file(rows[i].name, &header, &whole), rows[i].status, "%s",
                     rows[i].name);
        cr_assert_eq(header.format, rows[i].format, "%s", rows[i].name);
        cr_assert(rows[i].h == 0 || (header.height == rows[i].h && header.width == rows[i].w));
        cr_assert(rows[i].n_channels == 0 || header.n_channels == rows[i].n_channels);
        cr_assert_eq(whole, rows[i].whole, "%s", rows[i].name);
    }
}

Test(jpeg_probe, other_formats_by_their_first_bytes, .timeout = 10)
{
    static const uint8_t gif[13] = "GIF89a\x05\x00\x03\x00";
    static const uint8_t bmp[30] = {'B',  'M',  [18] = 4, [22] = 0xfd,
                                    0xff, 0xff, 0xff,     [28] = 24};
    edt_image_header header;
    cr_assert_eq(edt_jpeg_probe((edt_span){gif, sizeof gif}, NULL, &header), EDT_OK);
    cr_assert(header.format == EDT_IMAGE_GIF && header.width == 5 && header.height == 3);
    cr_assert_eq(edt_jpeg_probe((edt_span){bmp, sizeof bmp}, NULL, &header), EDT_OK);
    cr_assert(header.format == EDT_IMAGE_BMP && header.width == 4 && header.height == 3);
    edt_error err = {0};
    cr_assert_eq(edt_jpeg_probe((edt_span){(const uint8_t *)"text", 4}, &err, &header),
                 EDT_ERR_FORMAT);
    cr_assert_not_null(strstr(err.text, "unknown image format"));
}
