#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "core/mem.h"
#include "dataio/jpeg_encode.h"
#include "dataio/label_names.h"
#include "dataio/record_stats.h"
#include "tests/support/test_dirs.h"
#include "tests/support/test_records.h"

// Three records of 100 x 200 pixels (their size is known from the picture only) and one of
// junk.
Test(record_stats, tables_count_what_is_there, .timeout = 30)
{
    static uint8_t pixels[100 * 200 * 3];
    const edt_image image = {.data = pixels, .h = 100, .w = 200, .stride = 600};
    uint8_t *jpeg = NULL;
    size_t n_bytes;
    cr_assert_eq(edt_jpeg_encode(&image, NULL, NULL, &jpeg, &n_bytes), EDT_OK);
    const edt_span encoded = {jpeg, n_bytes};
    // 20 x 20 pixels twice, 100 x 200, and one without area.
    static const float boxes[] = {0, 0, 0.2f, 0.1f, 0.5f, 0.5f, 0.7f, 0.6f,
                                  0, 0, 1,    1,    0.5f, 0.5f, 0.5f, 0.9f};
    static const int64_t labels[] = {7, 7, 3, 7};
    const edt_span records[] = {edt_test_make_example(encoded, "1", boxes, labels, 4),
                                edt_test_make_example(encoded, "2", boxes + 8, labels, 1),
                                edt_test_make_example(encoded, "3", NULL, NULL, 0),
                                {(const uint8_t *)"junk", 4}};
    const char *path = edt_test_path(edt_test_temp_dir(), "a.tfrecord");
    edt_test_write_shard(path, records, 4);
    const edt_stats_options options = {
        .paths = (const char *const[]){path}, .n_files = 1, .n_threads = 3};
    edt_stats_report *report = NULL;
    edt_error err = {0};
    cr_assert_eq(edt_stats_run(&options, &err, &report), EDT_OK, "%s", err.text);
    const edt_stats *s = edt_stats_get(report);
    cr_expect(s->n_files == 1 && s->n_records == 3 && s->n_unreadable == 1);
    cr_expect(s->n_boxes == 5 && s->n_without_boxes == 1 && s->most_boxes == 4);
    cr_expect(s->per_image[0] == 1 && s->per_image[1] == 1 && s->per_image[2] == 1);
    cr_expect(s->min_height == 100 && s->max_width == 200 && s->n_sized == 3);
    cr_assert_eq(s->n_classes, 2);
    cr_expect(s->classes[0].label == 3 && s->classes[0].n_large == 1);
    const edt_stats_class *seven = &s->classes[1];
    cr_expect(seven->label == 7 && seven->n_boxes == 4 && seven->n_images == 2);
    cr_expect(seven->n_small == 2 && seven->n_medium == 0 && seven->n_large == 1);
    // 16 to 32 pixels twice, 96 to 192 (the root of 100 * 200) twice; 1:1 twice, 2:1 twice.
    cr_expect(s->side[2] == 2 && s->side[5] == 2);
    cr_expect(s->aspect[3] == 2 && s->aspect[5] == 2);
    cr_expect(s->share[4] == 2 && s->share[7] == 2);
    cr_expect_eq(s->picture_aspect[5], 3);
    edt_stats_report_destroy(report);
    edt_mem_free(jpeg);
    for (int i = 0; i < 3; ++i) {
        edt_mem_free((void *)records[i].data);
    }
}

Test(record_stats, the_first_name_of_a_label_stays, .timeout = 10)
{
    edt_label_names *names = NULL;
    const char *other = NULL;
    cr_assert_eq(edt_label_names_create(NULL, &names), EDT_OK);
    for (int64_t label = 0; label < 300; ++label) {
        cr_assert_eq(edt_label_names_add(names, label, (edt_text){"dogs", 3}, NULL, &other),
                     EDT_OK);
        cr_assert_null(other);
    }
    cr_assert_eq(edt_label_names_add(names, 5, (edt_text){"do", 2}, NULL, &other), EDT_OK);
    cr_assert_str_eq(other, "dog");
    cr_assert_eq(edt_label_names_add(names, 5, (edt_text){"", 0}, NULL, &other), EDT_OK);
    cr_assert_null(other);
    cr_assert_str_eq(edt_label_names_find(names, 299), "dog");
    cr_assert_null(edt_label_names_find(names, 300));
    edt_label_names_destroy(names);
}
