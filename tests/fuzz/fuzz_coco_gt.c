// A ground truth as arbitrary bytes, with and without masks: reading ends in a message or in
// lists whose parts fit together; one thread and two read the same.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "eval/coco_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
size_t edt_fuzz_seed(int i, uint8_t *out, size_t cap);

static void must(bool holds, const char *what, const edt_error *err)
{
    if (!holds) {
        (void)fprintf(stderr, "%s: %s\n", what, err->text);
        abort();
    }
}

static void check(const edt_coco_gt *gt, edt_coco_iou_type iou_type)
{
    const edt_error none = {0};
    int64_t n_grouped = 0;
    for (int64_t i = 0; i < gt->n_images; ++i) {
        int64_t begin, end;
        edt_coco_gt_image_objects(gt, i, &begin, &end);
        must(begin == n_grouped && end >= begin, "groups with gaps", &none);
        n_grouped = end;
        must(i == 0 || gt->image_ids[i - 1] < gt->image_ids[i], "images out of order", &none);
        for (int64_t g = begin; g < end; ++g) {
            edt_coco_object object;
            edt_coco_gt_get_object(gt, g, &object);
            must(object.image_id == gt->image_ids[i], "an object of another image", &none);
            must(g == begin || gt->category[g - 1] <= gt->category[g], "categories", &none);
            must(iou_type == EDT_COCO_BBOX || gt->masks[g] != NULL, "no mask", &none);
        }
    }
    must(n_grouped <= gt->n_objects, "more objects than the file has", &none);
}

static edt_status parse(edt_span text, const edt_coco_gt_options *options, edt_error *err,
                        edt_coco_gt **out_gt)
{
    const edt_status status = edt_coco_gt_parse("gt", text, false, options, err, out_gt);
    if (status == EDT_OK) {
        check(*out_gt, options->iou_type);
    } else {
        must(err->text[0] != '\0', "no message", err);
        must(status != EDT_ERR_INTERNAL, "an internal error", err);
    }
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const edt_span text = {data, n};
    edt_log_set_level(EDT_LOG_QUIET);
    for (int variant = 0; variant < 4; ++variant) {
        edt_coco_gt_options options = {.lenient = (variant & 1) != 0,
                                       .n_threads = 1,
                                       .iou_type =
                                           (variant & 2) != 0 ? EDT_COCO_SEGM : EDT_COCO_BBOX};
        edt_error err = {0}, err_two = {0};
        edt_coco_gt *gt = NULL, *two = NULL;
        const edt_status status = parse(text, &options, &err, &gt);
        options.n_threads = 2;
        const edt_status status_two = parse(text, &options, &err_two, &two);
        must(status == status_two && strcmp(err.text, err_two.text) == 0,
             "two threads read something else", &err_two);
        if (status == EDT_OK) {
            must(gt->n_images == two->n_images && gt->n_objects == two->n_objects,
                 "two threads read other lists", &err);
            edt_coco_gt_destroy(gt);
            edt_coco_gt_destroy(two);
        }
    }
    return 0;
}

size_t edt_fuzz_seed(int i, uint8_t *out, size_t cap)
{
    static const char *const seeds[] = {
        "{\"images\": [{\"id\": 1, \"width\": 8, \"height\": 6, \"file_name\": \"a.jpg\"}, "
        "{\"id\": 9223372036854775807}], \"annotations\": [{\"id\": 1, \"image_id\": 1, "
        "\"category_id\": 1, \"bbox\": [0, 0, 3.25, 2], \"area\": 6.5, \"iscrowd\": 0, "
        "\"segmentation\": [[0, 0, 3, 0, 3, 2, 0, 2]]}, {\"id\": 2, \"image_id\": 1, "
        "\"category_id\": 2, \"bbox\": [1, 1, 4e0, 4], \"area\": 1600, \"iscrowd\": 1, "
        "\"segmentation\": {\"size\": [6, 8], \"counts\": [5, 3, 40]}}], \"categories\": "
        "[{\"id\": 1, \"name\": \"a\"}, {\"id\": 2, \"name\": \"b\\u00e9\"}]}",
        "{\"categories\":[{\"id\":0}],\"annotations\":[{\"id\":0,\"image_id\":0,"
        "\"category_id\":0,\"bbox\":[1,2,3,4],\"area\":12,\"segmentation\":{\"size\":[6,8],"
        "\"counts\":\"53X1\"}},{\"id\":0,\"image_id\":7,\"category_id\":7,\"bbox\":[1,2,3,4],"
        "\"segmentation\":[[1,1,2,1,2,2]]}],\"images\":[{\"id\":0,\"width\":8,\"height\":6}]}",
        "{\"images\":[{\"id\":-3,\"width\":4,\"height\":0},{\"id\":-3}],\"info\":[[{}]],"
        "\"annotations\":[],\"categories\":[{\"id\":1},{\"id\":1}]}",
    };
    if (i >= (int)(sizeof seeds / sizeof seeds[0]) || strlen(seeds[i]) > cap) {
        return 0;
    }
    memcpy(out, seeds[i], strlen(seeds[i]));
    return strlen(seeds[i]);
}
