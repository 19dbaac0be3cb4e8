#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "core/mem.h"
#include "dataio/jpeg_encode.h"
#include "dataio/verify.h"
#include "tests/support/test_dirs.h"
#include "tests/support/test_records.h"

static edt_span make_jpeg(uint8_t level)
{
    static uint8_t pixels[16 * 24 * 3];
    memset(pixels, level, sizeof pixels);
    const edt_image image = {.data = pixels, .h = 16, .w = 24, .stride = 24 * 3};
    uint8_t *data = NULL;
    size_t n_bytes;
    cr_assert_eq(edt_jpeg_encode(&image, NULL, NULL, &data, &n_bytes), EDT_OK);
    return (edt_span){data, n_bytes};
}

static edt_verify_report *verify(const char *path, int64_t num_classes)
{
    const edt_verify_options options = {.paths = (const char *const[]){path},
                                        .n_files = 1,
                                        .n_threads = 2,
                                        .num_classes = num_classes};
    edt_verify_report *report = NULL;
    edt_error err = {0};
    cr_assert_eq(edt_verify_run(&options, &err, &report), EDT_OK, "%s", err.text);
    return report;
}

// One record of each kind of trouble; each is found where it is and nowhere else.
Test(verify, each_kind_of_trouble_has_its_code, .timeout = 30)
{
    static const float inside[] = {0, 0, 1, 1}, outside[] = {0.1f, -0.1f, 0.5f, 0.5f},
                       empty[] = {0.5f, 0.5f, 0.5f, 0.6f},
                       inverted[] = {0.6f, 0.1f, 0.5f, 0.2f},
                       no_number[] = {0.1f, NAN, 0.5f, 0.5f};
    static const int64_t one = 1, zero = 0, big = 91;
    static const struct {
        const char *id;
        const float *box;
        const int64_t *label;
        int codes[3], n_codes;
    } cases[] = {
        {"1", inside, &one, {0}, 0},
        {"2", outside, &one, {EDT_VERIFY_BOX_RANGE}, 1},
        {"3", empty, &one, {EDT_VERIFY_BOX_EMPTY}, 1},
        {"4", inverted, &one, {EDT_VERIFY_BOX_EMPTY}, 1},
        {"5", no_number, &one, {EDT_VERIFY_BOX_RANGE}, 1},
        {"6", inside, &zero, {EDT_VERIFY_LABEL}, 1},
        {"7", inside, &big, {EDT_VERIFY_LABEL}, 1},
        {"1", inside, &one, {EDT_VERIFY_DUPLICATE_ID}, 1},
        {"a", inside, &one, {EDT_VERIFY_ID}, 1},
    };
    enum { N = sizeof cases / sizeof *cases };
    edt_span records[N + 3];
    for (int i = 0; i < N; ++i) {
        const edt_span jpeg = make_jpeg((uint8_t)(20 * i));
        records[i] = edt_test_make_example(jpeg, cases[i].id, cases[i].box, cases[i].label, 1);
        edt_mem_free((void *)jpeg.data);
    }
    edt_span jpeg = make_jpeg(0); // the first record's picture
    records[N] = edt_test_make_example(jpeg, "100", NULL, NULL, 0);
    jpeg.n_bytes /= 2;
    records[N + 1] = edt_test_make_example(jpeg, "101", NULL, NULL, 0);
    records[N + 2] = (edt_span){(const uint8_t *)"junk", 4};
    const char *path = edt_test_path(edt_test_temp_dir(), "a.tfrecord");
    edt_test_write_shard(path, records, N + 3);
    edt_verify_report *report = verify(path, 90);
    int64_t at = 0;
    for (int i = 0; i < N; ++i) {
        for (int k = 0; k < cases[i].n_codes; ++k) {
            const edt_verify_finding *found = edt_verify_finding_at(report, at++);
            cr_expect(found->i_record == i && (int)found->code == cases[i].codes[k],
                      "record %d: %s (%s)", (int)found->i_record,
                      edt_verify_code_name(found->code), found->words);
        }
    }
    static const edt_verify_code last[] = {EDT_VERIFY_DUPLICATE_IMAGE, EDT_VERIFY_IMAGE,
                                           EDT_VERIFY_EXAMPLE};
    for (int i = 0; i < 3; ++i) {
        const edt_verify_finding *found = edt_verify_finding_at(report, at++);
        cr_expect(found->i_record == N + i && found->code == last[i], "%s: %s",
                  edt_verify_code_name(found->code), found->words);
    }
    cr_expect_eq(at, edt_verify_n_findings(report));
    const edt_verify_totals totals = edt_verify_get_totals(report);
    cr_expect(totals.n_records == N + 3 && totals.n_defects == 10 && totals.n_warnings == 1 &&
                  totals.n_empty_records == 2,
              "%d defects, %d warnings", (int)totals.n_defects, (int)totals.n_warnings);
    edt_verify_report_destroy(report);
    // Without a number of classes any label from 1 on will do.
    report = verify(path, 0);
    cr_expect_eq(edt_verify_count(report, EDT_VERIFY_LABEL), 1);
    edt_verify_report_destroy(report);
    edt_mem_free((void *)jpeg.data);
    for (int i = 0; i < N + 2; ++i) {
        edt_mem_free((void *)records[i].data);
    }
}

Test(verify, a_missing_file_and_an_empty_one, .timeout = 30)
{
    const char *dir = edt_test_temp_dir();
    edt_verify_report *report = verify(edt_test_path(dir, "none"), 0);
    cr_expect_eq(edt_verify_count(report, EDT_VERIFY_UNREADABLE), 1);
    edt_verify_report_destroy(report);
    const char *path = edt_test_path(dir, "empty");
    edt_test_write_shard(path, NULL, 0);
    report = verify(path, 0);
    cr_expect_eq(edt_verify_get_totals(report).n_defects, 0);
    edt_verify_report_destroy(report);
}
