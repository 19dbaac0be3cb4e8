// Every form of a segmentation gives the same mask; scaling; and what is refused in which
// words.
#include <criterion/criterion.h>
#include <string.h>

#include "dataio/coco_segmentation.h"

static edt_arena arena;

static void setup(void)
{
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
}

static void teardown(void)
{
    edt_arena_deinit(&arena);
}

TestSuite(coco_segmentation, .init = setup, .fini = teardown, .timeout = 30);

static edt_status read_mask(const char *json, int64_t out_h, int64_t out_w, edt_error *err,
                            edt_rle *out)
{
    return edt_coco_segmentation_read((edt_text){json, strlen(json)}, 4, 5, out_h, out_w,
                                      &arena, err, out);
}

Test(coco_segmentation, all_forms_are_one_mask)
{
    static const char *const forms[] = {
        "[[1, 1, 4, 1, 4, 3, 1, 3]]",
        " [[1,1,3,1,3,3,1,3], [2,1,4,1,4,3,2,3]] ",
        "[[1, 1, 3, 2]]",
        "{\"size\": [4, 5], \"counts\": [5, 2, 2, 2, 2, 2, 5]}",
        "{\"counts\": \"5220003\", \"more\": {\"a\": []}, \"size\": [4, 5]}",
        "[{\"size\": [4, 5], \"counts\": \"5220003\"}]",
    };
    for (size_t i = 0; i < sizeof forms / sizeof *forms; ++i) {
        edt_error err = {0};
        edt_rle rle;
        edt_text text;
        cr_assert_eq(read_mask(forms[i], 4, 5, &err, &rle), EDT_OK, "%s", err.text);
        cr_assert_eq(edt_rle_to_text(&rle, &arena, NULL, &text), EDT_OK);
        cr_assert_str_eq(text.data, "5220003", "%s", forms[i]);
        cr_assert_eq(read_mask(forms[i], 8, 10, &err, &rle), EDT_OK, "%s", err.text);
        int64_t box[4];
        static const int64_t want[4] = {2, 2, 6, 8};
        edt_rle_box(&rle, box);
        cr_assert_eq(memcmp(box, want, sizeof box), 0, "%s", forms[i]);
    }
}

Test(coco_segmentation, what_makes_no_mask_is_named)
{
    static const char *const bad[][2] = {
        {"[]", "the list is empty"},
        {"3", "found a number"},
        {"[1, 2, 3, 4, 5, 6]", "item 0 is a number"},
        {"[[1, 1, 4, 1, 4, 3, 1]]", "item 0 has 7 numbers"},
        {"[[1, 1]]", "item 0 has 2 numbers"},
        {"[[1, 1, 2, 2], [1, 1, 4, 1, 4, 3]]", "item 1 has 6 numbers"},
        {"[[1, 1, 4, \"1\", 4, 3]]", "expected a number"},
        {"[[1, 1, NaN, 1, 4, 3]]", "coordinate"},
        {"{\"size\": [4, 5]}", "'counts' is missing"},
        {"{\"counts\": [20]}", "'size' is missing"},
        {"{\"counts\": [20], \"size\": [5, 4]}", "the image's is 4 x 5"},
        {"{\"counts\": [19], \"size\": [4, 5]}", "sum up to 19"},
        {"{\"counts\": [-1, 21], \"size\": [4, 5]}", "'counts' holds -1"},
        {"{\"counts\": \"52\", \"size\": [4, 5]}", "sum up to 7"},
        {"{\"counts\": null, \"size\": [4, 5]}", "'counts' is null"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; ++i) {
        edt_error err = {0};
        edt_rle rle;
        cr_assert_neq(read_mask(bad[i][0], 4, 5, &err, &rle), EDT_OK, "%s", bad[i][0]);
        cr_assert_not_null(strstr(err.text, bad[i][1]), "%s: %s", bad[i][0], err.text);
    }
}
