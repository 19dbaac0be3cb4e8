#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "core/log.h"
#include "dataio/coco_json.h"

static edt_convert_report *report;

static edt_status parse(const char *text, unsigned what, bool skip, edt_error *err,
                        edt_coco_json **out_coco)
{
    edt_log_set_level(EDT_LOG_ERROR);
    edt_convert_report_destroy(report);
    cr_assert_eq(edt_convert_report_create(skip, NULL, &report), EDT_OK);
    const edt_span span = {(const uint8_t *)text, strlen(text)};
    return edt_coco_json_parse(span, "x.json", what, report, err, out_coco);
}

enum { ALL = EDT_COCO_IMAGES | EDT_COCO_INSTANCES };

Test(coco_json, annotations_stand_together_in_file_order, .timeout = 10)
{
    // Categories after the annotations that use them; an escape in a name; a definition
    // repeated.
    static const char text[] =
        "{\"annotations\": ["
        "{\"image_id\": 2, \"bbox\": [1,2,3,4], \"category_id\": 5, \"iscrowd\": 0, \"area\": "
        "12.5},"
        "{\"image_id\": 1, \"bbox\": [9,2,3,4], \"category_id\": 5, \"iscrowd\": true, "
        "\"area\": 1,"
        " \"segmentation\": [[1,2],{\"a\": 1}]},"
        "{\"image_id\": 2, \"bbox\": [5,2,3,4], \"category_id\": 5, \"iscrowd\": 0, \"area\": "
        "1}],"
        "\"categories\": [{\"id\": 5, \"name\": \"old\"}, {\"id\": 5, \"name\": "
        "\"n\\u00e9w\"}],"
        "\"images\": [{\"id\": 3000000000, \"file_name\": \"a.jpg\", \"height\": 4, \"width\": "
        "5},"
        "{\"id\": 2, \"file_name\": \"b.jpg\", \"height\": 6.0, \"width\": 7}]}";
    edt_error err = {0};
    edt_coco_json *coco = NULL;
    cr_assert_eq(parse(text, ALL, false, &err, &coco), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_coco_json_n_images(coco), 2);
    cr_assert(edt_coco_json_image(coco, 0)->id == 3000000000);
    cr_assert_eq(edt_coco_json_image(coco, 1)->height, 6);
    int64_t n;
    const edt_coco_annotation *rows = edt_coco_json_annotations(coco, 2, &n);
    cr_assert_eq(n, 2);
    cr_assert(rows[0].x == 1 && rows[1].x == 5 && rows[0].area == 12.5);
    const edt_text name = edt_coco_json_category(coco, rows[0].i_category)->name;
    cr_assert(name.n_bytes == 4 && memcmp(name.data, "n\xc3\xa9w", 4) == 0);
    cr_assert_eq(edt_coco_json_annotations(coco, 1, &n)->is_crowd, 1);
    cr_assert_null(edt_coco_json_annotations(coco, 3000000000, &n));
    cr_assert_eq(n, 0);
    cr_assert_eq(edt_convert_report_n_notes(report, EDT_NOTE_CATEGORY_TWICE), 1);
    edt_coco_json_close(coco);
}

Test(coco_json, captions_by_image, .timeout = 10)
{
    edt_error err = {0};
    edt_coco_json *coco = NULL;
    cr_assert_eq(
        parse("{\"images\": [{\"id\": 4}], \"annotations\": ["
              "{\"image_id\": 4, \"caption\": \"\"}, {\"image_id\": 4, \"caption\": \"b\"}]}",
              EDT_COCO_CAPTIONS, false, &err, &coco),
        EDT_OK, "%s", err.text);
    int64_t n;
    const edt_coco_caption *rows = edt_coco_json_captions(coco, 4, &n);
    cr_assert(n == 2 && rows[0].text.n_bytes == 0 && rows[1].text.data[0] == 'b');
    edt_coco_json_close(coco);
}

static const struct {
    const char *annotations;
    edt_bad_kind kind;
    const char *words;
} bad[] = {
    {"{\"bbox\": [1,2,3,4], \"category_id\": 1, \"iscrowd\": 0, \"area\": 1}", EDT_BAD_FIELD,
     "annotations[0]: field 'image_id' is missing"},
    {"{\"image_id\": 1, \"bbox\": [1,2,3], \"category_id\": 1, \"iscrowd\": 0, \"area\": 1}",
     EDT_BAD_FIELD, "annotations[0].bbox: expected four numbers"},
    {"{\"image_id\": 1, \"bbox\": [1,2,3,NaN], \"category_id\": 1, \"iscrowd\": 0, \"area\": "
     "1}",
     EDT_BAD_FIELD, "annotations[0].bbox[3]: the number is not finite"},
    {"{\"image_id\": 1, \"bbox\": [1,2,3,4], \"category_id\": \"1\", \"iscrowd\": 0, \"area\": "
     "1}",
     EDT_BAD_FIELD, "annotations[0].category_id: expected an integer"},
    {"{\"image_id\": 1, \"bbox\": [1,2,3,4], \"category_id\": 9, \"iscrowd\": 0, \"area\": 1}",
     EDT_BAD_CATEGORY, "annotations[0].category_id: 9"},
    {"[1, {\"a\": 2}]", EDT_BAD_FIELD, "annotations[0]: expected an object"},
    {"{\"id\": 8, \"image_id\": 1, \"bbox\": [1,2,3,4], \"category_id\": 1, \"iscrowd\": 0,"
     " \"area\": 1}, {\"id\": 8, \"image_id\": 1, \"bbox\": [1,2,3,4], \"category_id\": 1,"
     " \"iscrowd\": 0, \"area\": 1}",
     EDT_BAD_DUPLICATE_ANNOTATION, "annotations[1] has the id 8 of annotations[0]"},
};

Test(coco_json, bad_items_are_named_or_left_out, .timeout = 10)
{
    for (size_t i = 0; i < sizeof bad / sizeof *bad; ++i) {
        char text[2048];
        snprintf(
            text, sizeof text,
            "{\"images\": [{\"id\": 1, \"file_name\": \"a\", \"height\": 1, \"width\": 1}],"
            "\"categories\": [{\"id\": 1, \"name\": \"c\"}], \"annotations\": [%s,"
            "{\"image_id\": 1, \"bbox\": [0,0,1,1], \"category_id\": 1, \"iscrowd\": 0,"
            " \"area\": 1}]}",
            bad[i].annotations);
        edt_error err = {0};
        edt_coco_json *coco = NULL;
        cr_assert_eq(parse(text, ALL, false, &err, &coco), EDT_ERR_INVALID, "%zu", i);
        cr_assert_not_null(strstr(err.text, bad[i].words), "%s", err.text);
        cr_assert_not_null(strstr(err.text, "'x.json'"), "%s", err.text);
        cr_assert_eq(parse(text, ALL, true, &err, &coco), EDT_OK, "%zu", i);
        cr_assert_eq(edt_convert_report_n_bad(report, bad[i].kind), 1, "%zu", i);
        cr_assert_eq(edt_coco_json_n_annotations(coco),
                     bad[i].kind == EDT_BAD_DUPLICATE_ANNOTATION ? 2 : 1);
        edt_coco_json_close(coco);
    }
}

Test(coco_json, images_must_be_whole_and_different, .timeout = 10)
{
    static const char text[] =
        "{\"images\": [{\"id\": 1, \"file_name\": \"a\", \"height\": 1, \"width\": 1},"
        "{\"id\": 1, \"file_name\": \"b\", \"height\": 1, \"width\": 1},"
        "{\"id\": 2, \"file_name\": \"c\", \"height\": 0, \"width\": 1},"
        "{\"id\": 3, \"file_name\": \"d\", \"height\": 1.5, \"width\": 1},"
        "{\"id\": 4, \"height\": 1, \"width\": 1}]}";
    edt_error err = {0};
    edt_coco_json *coco = NULL;
    cr_assert_eq(parse(text, EDT_COCO_IMAGES, true, &err, &coco), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_coco_json_n_images(coco), 1);
    cr_assert_eq(edt_convert_report_n_bad(report, EDT_BAD_DUPLICATE_IMAGE), 1);
    cr_assert_eq(edt_convert_report_n_bad(report, EDT_BAD_FIELD), 3);
    edt_coco_json_close(coco);
}

Test(coco_json, text_that_is_no_coco_file_is_refused, .timeout = 10)
{
    static const char *const texts[][2] = {
        {"", "empty"},
        {"{\"images\": [{\"id\": 1,", "line 1"},
        {"[]", "expected"},
        {"{\"images\": []}", "annotations"},
        {"{\"images\": [], \"annotations\": []}", "categories"},
        {"{\"annotations\": [], \"categories\": []}", "images"},
        {"{\"images\": [], \"images\": []}", "twice"},
        {"{\"images\": {}}", "images"},
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; ++i) {
        edt_error err = {0};
        edt_coco_json *coco = NULL;
        cr_assert_eq(parse(texts[i][0], ALL, true, &err, &coco), EDT_ERR_FORMAT, "%zu", i);
        cr_assert_not_null(strstr(err.text, texts[i][1]), "%s", err.text);
        cr_assert_not_null(strstr(err.text, "'x.json'"), "%s", err.text);
    }
}
