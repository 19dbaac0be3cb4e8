// Ground truth from shards: what becomes of ids, boxes, areas, sizes and names.
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "core/mem.h"
#include "dataio/png_mask.h"
#include "dataio/tfexample.h"
#include "eval/coco_eval.h"
#include "eval/coco_priv.h"
#include "tests/support/test_dirs.h"
#include "tests/support/test_records.h"

static edt_error err;

static const float ymin[] = {0.25F, 0.5F}, xmin[] = {0.5F, 0}, ymax[] = {0.75F, 1},
                   xmax[] = {0.75F, 0.25F};

typedef struct content {
    const char *id;
    float area[2];
    int64_t crowd[2];
    bool with_size, with_masks;
    bool is_empty; // no objects
} content;

// 40 x 20 pixels; a BMP header is enough to know the size.
static edt_span make_record(const content *c, edt_arena *arena)
{
    static const uint8_t bmp[] = {'B', 'M', 0, 0, 0,  0, 0, 0, 0, 0, 54, 0, 0, 0, 40, 0, 0, 0,
                                  40,  0,   0, 0, 20, 0, 0, 0, 1, 0, 24, 0, 0, 0, 0,  0, 0, 0,
                                  0,   0,   0, 0, 0,  0, 0, 0, 0, 0, 0,  0, 0, 0, 0,  0, 0, 0};
    const size_t n_bmp = sizeof bmp + (size_t)40 * 20 * 3;
    uint8_t *picture = edt_arena_calloc(arena, n_bmp, 1);
    memcpy(picture, bmp, sizeof bmp);
    const edt_span encoded = {picture, n_bmp};
    const edt_span id = {(const uint8_t *)c->id, strlen(c->id)};
    const edt_span texts[] = {{(const uint8_t *)"dog", 3}, {(const uint8_t *)"cat", 3}};
    static const int64_t labels[] = {18, 2}, height[] = {20}, width[] = {40};
    edt_span masks[2];
    for (int i = 0; i < 2; ++i) {
        edt_rle rle;
        const double box[4] = {i, 0, 3, 2 + i};
        cr_assert_eq(edt_rle_from_box(box, 20, 40, arena, &err, &rle), EDT_OK);
        cr_assert_eq(edt_png_mask_encode(&rle, arena, &err, &masks[i]), EDT_OK);
    }
#define KEY(text)                                                                              \
    {                                                                                          \
        text, sizeof text - 1                                                                  \
    }
    const edt_feature all[] = {
        {KEY("image/encoded"), EDT_FEATURE_BYTES, 1, {.bytes = &encoded}},
        {KEY("image/object/bbox/ymin"), EDT_FEATURE_FLOAT, 2, {.floats = ymin}},
        {KEY("image/object/bbox/xmin"), EDT_FEATURE_FLOAT, 2, {.floats = xmin}},
        {KEY("image/object/bbox/ymax"), EDT_FEATURE_FLOAT, 2, {.floats = ymax}},
        {KEY("image/object/bbox/xmax"), EDT_FEATURE_FLOAT, 2, {.floats = xmax}},
        {KEY("image/object/class/label"), EDT_FEATURE_INT64, 2, {.ints = labels}},
        {KEY("image/object/class/text"), EDT_FEATURE_BYTES, 2, {.bytes = texts}},
        {KEY("image/object/is_crowd"), EDT_FEATURE_INT64, 2, {.ints = c->crowd}},
        {KEY("image/object/area"), EDT_FEATURE_FLOAT, 2, {.floats = c->area}},
        {KEY("image/source_id"), EDT_FEATURE_BYTES, 1, {.bytes = &id}},
        {KEY("image/height"), EDT_FEATURE_INT64, 1, {.ints = height}},
        {KEY("image/width"), EDT_FEATURE_INT64, 1, {.ints = width}},
        {KEY("image/object/mask"), EDT_FEATURE_BYTES, 2, {.bytes = masks}},
    };
#undef KEY
    edt_feature chosen[sizeof all / sizeof all[0]];
    size_t n = 0;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; ++i) {
        const bool is_of_objects = (i >= 1 && i <= 8) || i == 12;
        if (((i == 10 || i == 11) ? c->with_size
             : i == 12            ? c->with_masks
                                  : true) &&
            !(c->is_empty && is_of_objects)) {
            chosen[n++] = all[i];
        }
    }
    edt_tfexample_pieces pieces;
    cr_assert_eq(edt_tfexample_write(chosen, n, arena, &err, &pieces), EDT_OK, "%s", err.text);
    uint8_t *bytes = edt_arena_alloc(arena, pieces.n_bytes), *at = bytes;
    for (size_t i = 0; i < pieces.n_pieces; ++i) {
        memcpy(at, pieces.pieces[i].data, pieces.pieces[i].n_bytes);
        at += pieces.pieces[i].n_bytes;
    }
    return (edt_span){bytes, pieces.n_bytes};
}

static edt_status open_records(const content *records, int n, edt_coco_iou_type iou_type,
                               edt_coco_gt **out_gt)
{
    edt_arena arena;
    edt_span payloads[4];
    const char *folder = edt_test_temp_dir();
    const char *path = edt_test_path(folder, "a.tfrecord");
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    for (int i = 0; i < n; ++i) {
        payloads[i] = make_record(&records[i], &arena);
    }
    edt_test_write_shard(path, payloads, n);
    const edt_coco_gt_options options = {.n_threads = 2, .iou_type = iou_type};
    const edt_status status = edt_coco_gt_open_records(path, &options, &err, out_gt);
    edt_arena_deinit(&arena);
    (void)remove(path);
    (void)remove(folder);
    return status;
}

Test(coco_records, boxes_areas_and_names_become_a_ground_truth, .timeout = 30)
{
    static const content records[] = {
        {.id = "42", .area = {30, 0.5F}, .crowd = {0, 1}, .with_size = true},
        // Shares of the picture, and a size that only the picture knows.
        {.id = "7", .area = {0.125F, 0.25F}}};
    edt_coco_gt *gt;
    cr_assert_eq(open_records(records, 2, EDT_COCO_BBOX, &gt), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_coco_gt_n_images(gt), 2);
    cr_assert_eq(edt_coco_gt_image_id(gt, 0), 7);
    int64_t n;
    const edt_coco_category *categories = edt_coco_gt_categories(gt, &n);
    cr_assert_eq(n, 2);
    cr_assert(categories[0].id == 2 && strcmp(categories[0].name, "cat") == 0);
    cr_assert(categories[1].id == 18 && strcmp(categories[1].name, "dog") == 0);
    // By image, within by category.
    static const edt_coco_object want[] = {
        {.id = 4, .image_id = 7, .category_id = 2, .bbox = {0, 10, 10, 10}, .area = 200},
        {.id = 3, .image_id = 7, .category_id = 18, .bbox = {20, 5, 10, 10}, .area = 100},
        {.id = 2,
         .image_id = 42,
         .category_id = 2,
         .bbox = {0, 10, 10, 10},
         .area = 0.5,
         .is_crowd = true},
        {.id = 1, .image_id = 42, .category_id = 18, .bbox = {20, 5, 10, 10}, .area = 30}};
    for (int i = 0; i < 4; ++i) {
        edt_coco_object o;
        edt_coco_gt_get_object(gt, i, &o);
        cr_expect(o.id == want[i].id && o.image_id == want[i].image_id &&
                  o.category_id == want[i].category_id && o.is_crowd == want[i].is_crowd);
        cr_expect_eq(o.area, want[i].area);
        cr_expect_eq(memcmp(o.bbox, want[i].bbox, sizeof o.bbox), 0);
    }
    edt_coco_gt_destroy(gt);
    cr_assert_eq(edt_mem_get_total().n_live, 0);
}

Test(coco_records, pictures_without_objects_come_first, .timeout = 30)
{
    static const content records[] = {
        {.id = "3", .with_size = true, .with_masks = true, .is_empty = true},
        {.id = "1", .area = {30, 2}, .with_size = true, .with_masks = true}};
    for (int n = 1; n <= 2; ++n) {
        for (edt_coco_iou_type type = EDT_COCO_BBOX; type <= EDT_COCO_SEGM; ++type) {
            edt_coco_gt *gt;
            cr_assert_eq(open_records(records, n, type, &gt), EDT_OK, "%s", err.text);
            cr_expect_eq(edt_coco_gt_n_images(gt), n);
            cr_expect_eq(edt_coco_gt_n_objects(gt), 2 * (n - 1));
            edt_coco_gt_destroy(gt);
        }
    }
    cr_assert_eq(edt_mem_get_total().n_live, 0);
}

Test(coco_records, masks_come_from_their_pictures, .timeout = 30)
{
    static const content records[] = {
        {.id = "1", .area = {30, 2}, .with_size = true, .with_masks = true}};
    edt_coco_gt *gt;
    cr_assert_eq(open_records(records, 1, EDT_COCO_SEGM, &gt), EDT_OK, "%s", err.text);
    cr_assert_eq(gt->masks[0]->area, 9); // cat, the second
    cr_assert_eq(gt->masks[1]->area, 6);
    cr_assert_eq(gt->masks[0]->box[0], 1);
    edt_coco_gt_destroy(gt);
    cr_assert_eq(edt_mem_get_total().n_live, 0);
}

Test(coco_records, what_cannot_be_evaluated_is_refused_with_its_place, .timeout = 30)
{
    static const content text_id[] = {{.id = "12", .with_size = true},
                                      {.id = "a_7", .with_size = true}};
    static const content twice[] = {{.id = "5", .with_size = true},
                                    {.id = "5", .with_size = true}};
    edt_coco_gt *gt;
    cr_assert_eq(open_records(text_id, 2, EDT_COCO_BBOX, &gt), EDT_ERR_FORMAT);
    cr_assert(strstr(err.text, "a.tfrecord, record 1: image/source_id is 'a_7'") != NULL, "%s",
              err.text);
    cr_assert_eq(open_records(twice, 2, EDT_COCO_BBOX, &gt), EDT_ERR_INVALID);
    cr_assert(strstr(err.text, "duplicate image id 5") != NULL, "%s", err.text);
    cr_assert_eq(open_records(text_id, 1, EDT_COCO_SEGM, &gt), EDT_ERR_FORMAT);
    cr_assert(strstr(err.text, "no image/object/mask") != NULL, "%s", err.text);
    cr_assert_eq(edt_coco_gt_open_records("/nowhere/x-*", &(edt_coco_gt_options){0}, &err, &gt),
                 EDT_ERR_NOT_FOUND);
    cr_assert_eq(edt_mem_get_total().n_live, 0);
}
