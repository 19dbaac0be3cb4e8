#include <criterion/criterion.h>
#include <string.h>

#include "core/log.h"
#include "core/mem.h"
#include "core/strbuf.h"
#include "eval/coco_priv.h"

static edt_error err;

static edt_status parse(const char *text, bool lenient, edt_coco_gt **out_gt)
{
    err = (edt_error){0};
    return edt_coco_gt_parse("gt.json", (edt_span){(const uint8_t *)text, strlen(text)}, false,
                             &(edt_coco_gt_options){.lenient = lenient}, &err, out_gt);
}

#define IMAGES "\"images\": [{\"id\": 30}, {\"id\": 20, \"width\": null}, {\"id\": 10}]"
#define CATEGORIES "\"categories\": [{\"id\": 9, \"name\": \"n\\u00e9\"}, {\"id\": 4}]"
#define OBJECT(id, image, category, more)                                                      \
    "{\"id\": " #id ", \"image_id\": " #image ", \"category_id\": " #category                  \
    ", \"bbox\": [" #id ", 0, 1, 1], \"area\": 1" more "}"

Test(coco_gt, objects_are_grouped_by_image_and_category, .timeout = 30)
{
    edt_coco_gt *gt;
    cr_assert_eq(
        parse("{\"annotations\": [" OBJECT(1, 30, 9, "") "," OBJECT(2, 10, 9, "") "," //
              OBJECT(3, 10, 4, ", \"iscrowd\": 1") ","                                //
              OBJECT(4, 10, 9, ", \"ignore\": 1, \"iscrowd\": false") "], " IMAGES
                                                                      ", " CATEGORIES "}",
              false, &gt),
        EDT_OK, "%s", err.text);
    int64_t n;
    const edt_coco_category *categories = edt_coco_gt_categories(gt, &n);
    cr_assert_eq(n, 2);
    cr_assert_eq(categories[0].id, 4);
    cr_assert_str_eq(categories[1].name, "n\xC3\xA9");
    cr_assert_str_eq(categories[0].name, "");
    cr_assert(edt_coco_gt_has_image(gt, 20) && !edt_coco_gt_has_image(gt, 11));
    static const uint32_t begin[] = {0, 3, 3, 4};
    static const double order[] = {3, 2, 4, 1};
    static const uint8_t crowd[] = {1, 0, 0, 0};
    cr_assert_eq(memcmp(gt->image_begin, begin, sizeof begin), 0);
    cr_assert_eq(memcmp(gt->is_crowd, crowd, sizeof crowd), 0);
    for (int i = 0; i < 4; ++i) {
        cr_assert_eq(gt->bbox[i][0], order[i]);
    }
    edt_coco_gt_destroy(gt);
    cr_assert_eq(edt_mem_get_total().n_live, 0);
}

Test(coco_gt, ids_differ_in_all_64_bits, .timeout = 30)
{
    enum { N = 64 };
    const edt_coco_category category = {1, "thing"};
    int64_t ids[N];
    for (int64_t i = 0; i < N; ++i) {
        ids[i] = 7 + (i << 32);
    }
    edt_coco_gt *gt;
    cr_assert_eq(edt_coco_gt_create(ids, N, &category, 1, NULL, 0, &err, &gt), EDT_OK, "%s",
                 err.text);
    cr_assert_eq(edt_coco_gt_n_images(gt), N);
    for (int64_t i = 0; i < 16 * N; ++i) {
        cr_expect_eq(edt_coco_gt_has_image(gt, 7 + (i << 32)), i < N, "id 7 + %lld * 2^32",
                     (long long)i);
    }
    edt_coco_gt_destroy(gt);
}

Test(coco_gt, lenient_takes_the_last_of_equal_ids, .timeout = 30)
{
    // As pycocotools: the list of image 10 names id 7 twice, each standing for the last one.
    const char text[] = "{\"annotations\": [" OBJECT(
        7, 10, 9, "") "," //
                      "{\"id\": 7, \"image_id\": 10, \"category_id\": 4, \"bbox\": [5, 0, 1, "
                      "1], \"area\": 1}," OBJECT(8, 11, 9, "") "], " IMAGES ", " CATEGORIES "}";
    edt_coco_gt *gt;
    cr_assert_eq(parse(text, false, &gt), EDT_ERR_INVALID);
    cr_assert_str_eq(err.text,
                     "gt.json: 2 defects in the ground truth: duplicate annotation id "
                     "7; annotation 8 refers to unknown image 11. Mend the file, or "
                     "evaluate as pycocotools would (--lenient)");
    cr_assert_eq(parse(text, true, &gt), EDT_OK, "%s", err.text);
    cr_assert_eq(gt->image_begin[3], 2);
    cr_assert_eq(gt->bbox[0][0], 5);
    cr_assert_eq(gt->bbox[1][0], 5);
    edt_coco_gt_destroy(gt);
}

Test(coco_gt, long_lists_of_defects_are_cut, .timeout = 30)
{
    edt_strbuf text = {0};
    edt_strbuf_puts(&text, "{" CATEGORIES ", \"images\": [], \"annotations\": [");
    for (int i = 1; i <= 500; ++i) {
        edt_strbuf_printf(&text,
                          "%s{\"id\": %d, \"image_id\": 3, \"category_id\": 4, \"bbox\": "
                          "[0, 0, 1, 1], \"area\": 1}",
                          i > 1 ? "," : "", i);
    }
    edt_strbuf_puts(&text, "]}");
    edt_coco_gt *gt;
    cr_assert_eq(parse(text.text, false, &gt), EDT_ERR_INVALID);
    cr_assert(strstr(err.text, "500 defects") != NULL &&
                  strstr(err.text, " more. Mend") != NULL,
              "%s", err.text);
    edt_strbuf_deinit(&text);
}

static void count_warning(void *ctx, edt_log_level level, const char *line)
{
    *(int *)ctx += level == EDT_LOG_WARNING && strstr(line, "annotation id 0") != NULL;
}

Test(coco_gt, id_zero_is_told, .timeout = 30)
{
    int n = 0;
    edt_log_set_sink(count_warning, &n);
    edt_coco_gt *gt;
    cr_assert_eq(parse("{\"annotations\": [" OBJECT(0, 10, 9, "") "]," IMAGES "," CATEGORIES
                                                                  "}",
                       false, &gt),
                 EDT_OK, "%s", err.text);
    cr_assert_eq(n, 1);
    edt_log_set_sink(NULL, NULL);
    edt_coco_gt_destroy(gt);
}

Test(coco_gt, what_is_no_ground_truth_is_refused, .timeout = 30)
{
    static const char *const cases[][2] = {
        {"{" IMAGES ", " CATEGORIES "}", "no \"annotations\" list"},
        {"{\"annotations\": [], " IMAGES "}", "no \"categories\" list"},
        {"[]", "expected an object, found an array"},
        {"{\"annotations\": [{\"id\": 1}]}", "(annotations[0]): no \"image_id\""},
        {"{\"annotations\": [" OBJECT(1.5, 10, 9, "") "]}", "1.5 is no integer"},
        {"{\"annotations\": [" OBJECT(1, 10, 9, ", \"iscrowd\": []") "]}", "must be 0 or 1"},
        {"{\"images\": [{\"width\": 3}]}", "(images[0]): no \"id\""},
        {"{\"annotations\": [" OBJECT(1, 10, 9, "") "]", "end of the file"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        edt_coco_gt *gt;
        const edt_status status = parse(cases[i][0], false, &gt);
        cr_expect(status == EDT_ERR_FORMAT || status == EDT_ERR_INVALID);
        cr_expect(strstr(err.text, cases[i][1]) != NULL, "%s: %s", cases[i][0], err.text);
    }
    cr_assert_eq(edt_mem_get_total().n_live, 0);
}
