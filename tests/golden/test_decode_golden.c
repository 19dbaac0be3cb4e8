// Every JPEG of the goldens decodes to the reference's bytes, and what it refuses is refused.
#include <criterion/criterion.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"
#include "dataio/jpeg_decode.h"
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

// Decodes one file and compares; returns false and says why when something differs.
static bool check_file(edt_jpeg_decoder *decoder, const char *path, const char *status,
                       long width, long height, const char *sha256)
{
    const edt_span bytes = edt_test_read_file(path);
    edt_error err = {0};
    int64_t h = 0, w = 0;
    edt_image image = {0};
    edt_status got = edt_jpeg_open(decoder, bytes, &err, &h, &w);
    if (got == EDT_OK) {
        got = edt_jpeg_decode(decoder, 0, &err, &image);
    }
    bool same = true;
    const bool is_jpeg = bytes.n_bytes > 2 && bytes.data[0] == 0xff && bytes.data[1] == 0xd8;
    if (!is_jpeg && strcmp(status, "ok") == 0) {
        same = got == EDT_ERR_UNSUPPORTED;
    } else if (strcmp(status, "ok") != 0) {
        same = got != EDT_OK && err.text[0] != '\0';
    } else if (got != EDT_OK || h != height || w != width) {
        same = false;
    } else {
        char hex[65];
        sha256_hex(image.data, (size_t)(h * w) * 3, hex);
        same = strcmp(hex, sha256) == 0;
    }
    if (!same) {
        cr_log_error("%s: expected %s, got %s %s", path, status, edt_status_name(got),
                     err.text);
    }
    edt_mem_free((void *)bytes.data);
    return same;
}

Test(decode_golden, all_jpegs_bit_for_bit, .timeout = 120)
{
    EDT_TEST_NEEDS_DIR(edt_test_data_dir());
    FILE *table = fopen(edt_test_path(edt_test_golden_dir(), "data/decode/decode.tsv"), "r");
    cr_assert_not_null(table);
    edt_jpeg_decoder *decoder = NULL;
    cr_assert_eq(edt_jpeg_decoder_create(NULL, &decoder), EDT_OK);
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
    edt_jpeg_decoder_destroy(decoder);
    cr_assert_eq(n_bad, 0, "%d of %d files differ", n_bad, n_checked);
    cr_assert_eq(n_checked, 218);
}

Test(decode_golden, end_markers_and_foreign_formats, .timeout = 60)
{
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    FILE *table =
        fopen(edt_test_path(edt_test_golden_dir(), "data/decode/formats/MANIFEST.tsv"), "r");
    cr_assert_not_null(table);
    edt_jpeg_decoder *decoder = NULL;
    cr_assert_eq(edt_jpeg_decoder_create(NULL, &decoder), EDT_OK);
    char line[1024];
    int n_bad = 0;
    cr_assert_not_null(fgets(line, sizeof line, table));
    while (fgets(line, sizeof line, table) != NULL) {
        char *rest = line, *cell[5] = {0};
        for (int i = 0; i < 5; ++i) {
            cell[i] = strsep(&rest, "\t\n");
        }
        n_bad += !check_file(
            decoder, edt_test_path(edt_test_golden_dir(), "data/decode/formats/%s", cell[0]),
            cell[1], strtol(cell[2], NULL, 10), strtol(cell[3], NULL, 10), cell[4]);
    }
    (void)fclose(table);
    edt_jpeg_decoder_destroy(decoder);
    cr_assert_eq(n_bad, 0);
}

Test(decode_golden, a_partial_decode_gives_the_same_first_rows, .timeout = 60)
{
    EDT_TEST_NEEDS_DIR(edt_test_data_dir());
    static const char *const names[] = {"baseline_420.jpg", "derived_440.jpg",
                                        "progressive_420.jpg", "ycck_adobe_restart.jpg"};
    edt_jpeg_decoder *whole = NULL, *part = NULL;
    cr_assert_eq(edt_jpeg_decoder_create(NULL, &whole), EDT_OK);
    cr_assert_eq(edt_jpeg_decoder_create(NULL, &part), EDT_OK);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; ++i) {
        const edt_span bytes =
            edt_test_read_file(edt_test_path(edt_test_data_dir(), "jpeg-corpus/%s", names[i]));
        edt_image a, b;
        int64_t h, w;
        cr_assert_eq(edt_jpeg_open(whole, bytes, NULL, &h, &w), EDT_OK);
        cr_assert_eq(edt_jpeg_decode(whole, 0, NULL, &a), EDT_OK);
        for (int64_t n = 1; n < h; n += 7) {
            cr_assert_eq(edt_jpeg_open(part, bytes, NULL, &h, &w), EDT_OK);
            cr_assert_eq(edt_jpeg_decode(part, n, NULL, &b), EDT_OK);
            cr_assert_eq(b.h, h);
            cr_assert_eq(memcmp(a.data, b.data, (size_t)(n * a.stride)), 0, "%s row < %d",
                         names[i], (int)n);
        }
        // Cut off: an error even when the rows asked for are intact.
        const edt_span cut = {.data = bytes.data, .n_bytes = bytes.n_bytes - 40};
        cr_assert_eq(edt_jpeg_open(part, cut, NULL, &h, &w), EDT_OK);
        cr_assert_eq(edt_jpeg_decode(part, 1, NULL, &b), EDT_ERR_FORMAT, "%s", names[i]);
        edt_mem_free((void *)bytes.data);
    }
    edt_jpeg_decoder_destroy(whole);
    edt_jpeg_decoder_destroy(part);
}
