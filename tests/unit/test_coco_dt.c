#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "core/mem.h"
#include "core/strbuf.h"
#include "eval/coco_priv.h"
#include "tests/support/test_dirs.h"

static edt_error err;

static edt_span span_of(const char *text)
{
    return (edt_span){(const uint8_t *)text, strlen(text)};
}

static edt_coco_gt *make_gt(int n_threads)
{
    static const char text[] =
        "{\"images\": [{\"id\": 1}, {\"id\": 2, \"width\": 9}], \"annotations\": [{\"id\": 1, "
        "\"image_id\": 2, \"category_id\": 5, \"bbox\": [0, 0, 10, 10], \"area\": 100, "
        "\"segmentation\": {\"counts\": \"}, {\", \"size\": [1, 2]}}], \"categories\": "
        "[{\"id\": 5, \"name\": \"thing\"}]}";
    edt_coco_gt *gt;
    cr_assert_eq(edt_coco_gt_parse("gt", span_of(text), false,
                                   &(edt_coco_gt_options){.n_threads = n_threads}, &err, &gt),
                 EDT_OK, "%s", err.text);
    return gt;
}

// A list long enough to be read in pieces. `note`: what an unknown key of each row holds.
static void make_rows(edt_strbuf *out, int n, const char *note)
{
    edt_strbuf_puts(out, "[");
    for (int i = 0; i < n; ++i) {
        edt_strbuf_printf(out,
                          "%s{\"image_id\": %d, \"category_id\": 5, \"bbox\": [%d, 0.25, 10, "
                          "10], \"note\": \"%s\", \"score\": %d.5}",
                          i > 0 ? ", " : "", 1 + i % 2, i, note, i);
    }
    edt_strbuf_puts(out, "]");
}

Test(coco_dt, pieces_give_the_same_list_even_where_cuts_are_wrong, .timeout = 60)
{
    enum { N = 40000 };
    edt_coco_gt *gt = make_gt(3);
    static const char *const notes[] = {"plain", "}, {", "},{\\\"image_id\\\": 1},{"};
    for (int k = 0; k < 3; ++k) {
        edt_strbuf text = {0};
        make_rows(&text, N, notes[k]);
        cr_assert_gt(text.n_bytes, 3u << 20);
        edt_coco_dt *dt;
        cr_assert_eq(edt_coco_dt_parse("dt", span_of(text.text), false, gt, &err, &dt), EDT_OK,
                     "%s", err.text);
        cr_assert_eq(edt_coco_dt_count(dt), N);
        int64_t i = 0, n_blocks = 0;
        for (const edt_coco_dt_block *b = dt->first; b != NULL; b = b->next, ++n_blocks) {
            for (int64_t j = 0; j < b->n; ++j, ++i) {
                cr_assert_eq(b->items[j].bbox[0], (double)i);
                cr_assert_eq(b->items[j].score, (double)i + 0.5);
            }
        }
        cr_assert_eq(i, N);
        cr_assert_eq(n_blocks, dt->n_blocks);
        edt_coco_dt_destroy(dt);
        edt_strbuf_deinit(&text);
    }
    edt_coco_gt_destroy(gt);
    cr_assert_eq(edt_mem_get_total().n_live, 0);
}

// Rows that all have the form of the first are read by it; with a text in each (last) they are
// parsed. In the middle some rows are written otherwise.
Test(coco_dt, rows_of_one_form_are_read_as_the_parser_reads_them, .timeout = 60)
{
    static const char *const forms[] = {
        "{\"image_id\": %d, \"category_id\": 5, \"bbox\": [%d, 0.25, %s, 10], \"score\": %s}",
        "{\"id\": 7, \"score\":%4$s,\"bbox\":[%2$d,0.25,%3$s,10],\n "
        "\"category_id\":5,\"image_id\":%1$d}",
        "{\"image_id\": %d, \"category_id\": 5, \"bbox\": [%d, 0.25, %s, 10], \"score\": %s, "
        "\"note\": \"\"}"};
    static const char *const numbers[] = {"1",
                                          "0.5",
                                          "-0.0",
                                          "12.345678901234567",
                                          "0.90200001001358032123",
                                          "1e-3",
                                          "-17.25",
                                          "1.0000000116860974e-07",
                                          "NaN",
                                          "123456789012345678"};
    enum { N = 500, N_NUMBERS = sizeof numbers / sizeof numbers[0] };
    edt_coco_gt *gt = make_gt(1);
    edt_coco_dt *lists[3];
    for (int k = 0; k < 3; ++k) {
        edt_strbuf text = {0};
        edt_strbuf_puts(&text, "[");
        for (int i = 0; i < N; ++i) {
            char row[256];
            // The format is one of the three above.
            (void)snprintf(row, sizeof row, forms[i % 50 == 49 ? 2 - k : k], 1 + i % 2, i,
                           numbers[i % N_NUMBERS], numbers[i / N_NUMBERS % N_NUMBERS]);
            edt_strbuf_printf(&text, "%s%s", i > 0 ? ", " : "", row);
        }
        edt_strbuf_puts(&text, "]");
        cr_assert_eq(edt_coco_dt_parse("dt", span_of(text.text), false, gt, &err, &lists[k]),
                     EDT_OK, "%s", err.text);
        cr_assert_eq(edt_coco_dt_count(lists[k]), N);
        edt_strbuf_deinit(&text);
        cr_expect_eq(memcmp(lists[k]->first->items, lists[0]->first->items,
                            N * sizeof(edt_coco_detection)),
                     0);
    }
    cr_expect_eq(lists[0]->first->items[3].bbox[2], 12.345678901234567);
    for (int k = 0; k < 3; ++k) {
        edt_coco_dt_destroy(lists[k]);
    }
    edt_coco_gt_destroy(gt);
}

Test(coco_dt, an_error_in_a_late_piece_names_its_row, .timeout = 60)
{
    enum { N = 40000 };
    edt_coco_gt *gt = make_gt(2);
    edt_strbuf text = {0};
    make_rows(&text, N, "plain");
    char *row = strstr(text.text, "[39000, 0.25");
    cr_assert_not_null(row);
    row[1] = 'x';
    edt_coco_dt *dt;
    cr_assert_eq(edt_coco_dt_parse("dt.json", span_of(text.text), false, gt, &err, &dt),
                 EDT_ERR_FORMAT);
    cr_assert(strstr(err.text, "dt.json: line 1, column ") != NULL, "%s", err.text);
    cr_assert(strstr(err.text, "([39000].bbox[0])") != NULL, "%s", err.text);
    edt_strbuf_deinit(&text);
    edt_coco_gt_destroy(gt);
}

Test(coco_dt, what_is_no_detection_is_refused, .timeout = 30)
{
    static const struct {
        const char *text, *words;
        edt_status status;
    } cases[] = {
        {"[{\"image_id\": 1, \"category_id\": 5, \"bbox\": [1, 2, 3, 4]}]", "no \"score\"",
         EDT_ERR_FORMAT},
        {"[{\"image_id\": 3, \"category_id\": 5, \"bbox\": [1, 2, 3, 4], \"score\": 1}]",
         "([0].image_id): image 3 is not in the ground truth", EDT_ERR_MISMATCH},
        {"[{\"image_id\": 1, \"category_id\": 5, \"score\": 1, \"segmentation\": {}}]",
         "([0]): segmentation: field 'counts' is missing", EDT_ERR_FORMAT},
        {"[{\"image_id\": 1, \"category_id\": 5, \"bbox\": [1, 2, 3], \"score\": 1}]",
         "four numbers", EDT_ERR_FORMAT},
        {"[{\"image_id\": 1, \"category_id\": 5, \"bbox\": [1, 2, 3, 4, 5], \"score\": 1}]",
         "four numbers", EDT_ERR_FORMAT},
        {"[{\"image_id\": 1, \"category_id\": 5, \"score\": 1, \"keypoints\": [1, 2, 2]}]",
         "no \"bbox\" in this detection; it needs a bbox or a segmentation", EDT_ERR_FORMAT},
        {"[{\"image_id\": 1, \"category_id\": 5, \"bbox\": [1, 2, 3, 4], \"score\": 1},"
         " {\"image_id\": 1, \"category_id\": 5, \"score\": 1}]",
         "the first row has a bbox, so every row needs one", EDT_ERR_FORMAT},
        {"{\"images\": []}", "no \"annotations\"", EDT_ERR_FORMAT},
        {"7", "expected a list of detections", EDT_ERR_FORMAT},
        {"[", "end of the file", EDT_ERR_FORMAT},
        {"[]]", "end of the file", EDT_ERR_FORMAT},
    };
    edt_coco_gt *gt = make_gt(1);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        edt_coco_dt *dt;
        err = (edt_error){0};
        cr_expect_eq(edt_coco_dt_parse("dt", span_of(cases[i].text), false, gt, &err, &dt),
                     cases[i].status);
        cr_expect(strstr(err.text, cases[i].words) != NULL, "%s: %s", cases[i].text, err.text);
    }
    edt_coco_gt_destroy(gt);
    cr_assert_eq(edt_mem_get_total().n_live, 0);
}

// With masks and without, in turn, each part a list of its own.
Test(coco_dt, small_lists_join_into_full_blocks, .timeout = 30)
{
    enum { N = 5000, PER_KIND = 1500 };
    const uint32_t counts[] = {1, 2, 6};
    const edt_rle mask = {.h = 3, .w = 3, .n = 3, .counts = counts};
    edt_coco_dt *all;
    cr_assert_eq(edt_coco_dt_create(&err, &all), EDT_OK);
    for (int i = 0; i < N; ++i) {
        edt_coco_dt *part;
        const edt_coco_detection det = {.image_id = i, .category_id = 5, .score = 0.5 * i};
        cr_assert_eq(edt_coco_dt_create(&err, &part), EDT_OK);
        cr_assert_eq(edt_coco_dt_add(part, &det, i / PER_KIND % 2 == 1 ? &mask : NULL, &err),
                     EDT_OK);
        edt_coco_dt_join(all, part);
        edt_coco_dt_destroy(part);
    }
    cr_expect_eq(edt_coco_dt_count(all), N);
    // 1024 + 476 three times, and the last 500.
    cr_expect_eq(all->n_blocks, 7, "%lld blocks", (long long)all->n_blocks);
    cr_expect_lt(edt_mem_get_total().live_bytes, 4 << 20);
    int64_t at = 0;
    for (const edt_coco_dt_block *block = all->first; block != NULL; block = block->next) {
        for (int64_t i = 0; i < block->n; ++i, ++at) {
            cr_assert_eq(block->items[i].image_id, at);
            cr_assert_eq(block->masks != NULL, at / PER_KIND % 2 == 1);
            cr_assert(block->masks == NULL || block->masks[i]->area == 2);
        }
    }
    cr_assert_eq(at, N);
    edt_coco_dt_destroy(all);
    cr_assert_eq(edt_mem_get_total().n_live, 0);
}

Test(coco_dt, written_lists_read_back_equal, .timeout = 30)
{
    edt_coco_gt *gt = make_gt(1);
    edt_coco_dt *dt, *back;
    const char *folder = edt_test_temp_dir();
    const char *path = edt_test_path(folder, "dt.json");
    cr_assert_eq(edt_coco_dt_create(&err, &dt), EDT_OK);
    cr_assert_eq(edt_coco_dt_write_json(dt, path, &err), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_coco_dt_open(path, gt, &err, &back), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_coco_dt_count(back), 0);
    edt_coco_dt_destroy(back);
    for (int i = 0; i < 3000; ++i) {
        const float box[4] = {(float)i / 7, -0.5F, 1e-7F, 3e9F};
        cr_assert_eq(edt_coco_dt_add_f32(dt, 1 + i % 2, 5, box, 0.902F, &err), EDT_OK);
    }
    cr_assert_eq(edt_coco_dt_write_json(dt, path, &err), EDT_OK, "%s", err.text);
    char *text;
    size_t n;
    cr_assert_eq(edt_file_read(path, 1 << 20, &err, &text, &n), EDT_OK, "%s", err.text);
    const char begin[] = "[{\"image_id\": 1, \"category_id\": 5, \"bbox\": [0.0, -0.5, "
                         "1.0000000116860974e-07, 3000000000.0], \"score\": "
                         "0.9020000100135803}, {";
    cr_assert_eq(strncmp(text, begin, strlen(begin)), 0, "%.200s", text);
    edt_mem_free(text);
    cr_assert_eq(edt_coco_dt_open(path, gt, &err, &back), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_coco_dt_count(back), 3000);
    const edt_coco_dt_block *a = dt->first, *b = back->first;
    for (; a != NULL && b != NULL; a = a->next, b = b->next) {
        cr_assert_eq(a->n, b->n);
        cr_assert_eq(memcmp(a->items, b->items, (size_t)a->n * sizeof a->items[0]), 0);
    }
    edt_coco_dt_destroy(back);
    edt_coco_dt_destroy(dt);
    edt_coco_gt_destroy(gt);
    (void)remove(path);
    (void)remove(folder);
}

Test(coco_dt, test_dev_rows_are_rounded_as_the_reference_rounds, .timeout = 30)
{
    edt_coco_dt *dt;
    const char *folder = edt_test_temp_dir();
    const char *path = edt_test_path(folder, "dt.json");
    cr_assert_eq(edt_coco_dt_create(&err, &dt), EDT_OK);
    const float box[4] = {0.125F, 2.5F, 100.0049F, -3.375F};
    cr_assert_eq(edt_coco_dt_add_f32(dt, 9, 5, box, 0.90249F, &err), EDT_OK);
    cr_assert_eq(edt_coco_dt_write_test_dev(dt, path, &err), EDT_OK, "%s", err.text);
    char *text;
    size_t n;
    cr_assert_eq(edt_file_read(path, 1 << 20, &err, &text, &n), EDT_OK, "%s", err.text);
    cr_assert_str_eq(text, "[{\"image_id\": 9, \"category_id\": 5, \"bbox\": [0.12, 2.5, "
                           "100.0, -3.38], \"score\": 0.9020000100135803}]\n");
    edt_mem_free(text);
    edt_coco_dt_destroy(dt);
    (void)remove(path);
    (void)remove(folder);
}
