// Ground truth and detections as arbitrary bytes, a zero byte between them: reading ends in a
// message or in a ground truth, and whatever could be read evaluates to numbers within range.
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

static void evaluate(const edt_coco_gt *gt, edt_span text, bool ignore_categories,
                     edt_coco_iou_type iou_type)
{
    edt_error err = {0};
    edt_coco_dt *dt = NULL;
    edt_coco_result *result = NULL;
    if (edt_coco_dt_parse("dt", text, false, gt, &err, &dt) != EDT_OK) {
        must(err.text[0] != '\0', "no message", &err);
        return;
    }
    const edt_coco_params params = {
        .n_threads = 1, .iou_type = iou_type, .ignore_categories = ignore_categories};
    must(edt_coco_evaluate(gt, dt, &params, &err, &result) == EDT_OK, "evaluation", &err);
    const double *stats = edt_coco_result_stats(result);
    for (int i = 0; i < EDT_COCO_N_STATS; ++i) {
        must(stats[i] == -1 || (stats[i] >= 0 && stats[i] <= 1), "a number out of range", &err);
    }
    edt_coco_result_destroy(result);
    edt_coco_dt_destroy(dt);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const uint8_t *zero = n > 0 ? memchr(data, 0, n) : NULL;
    const size_t n_gt = zero != NULL ? (size_t)(zero - data) : n;
    const edt_span gt_text = {data, n_gt};
    const edt_span dt_text = {data + (n_gt < n ? n_gt + 1 : n), n_gt < n ? n - n_gt - 1 : 0};
    edt_log_set_level(EDT_LOG_QUIET);
    for (int i = 0; i < 4; ++i) {
        const bool lenient = i % 2 != 0;
        const edt_coco_iou_type iou_type = i < 2 ? EDT_COCO_BBOX : EDT_COCO_SEGM;
        edt_error err = {0};
        edt_coco_gt *gt = NULL;
        const edt_coco_gt_options options = {
            .lenient = lenient, .n_threads = 1, .iou_type = iou_type};
        if (edt_coco_gt_parse("gt", gt_text, false, &options, &err, &gt) != EDT_OK) {
            must(err.text[0] != '\0', "no message", &err);
            continue;
        }
        evaluate(gt, dt_text, lenient, iou_type);
        edt_coco_gt_destroy(gt);
    }
    return 0;
}

size_t edt_fuzz_seed(int i, uint8_t *out, size_t cap)
{
    static const char *const seeds[][2] = {
        {"{\"images\": [{\"id\": 1, \"width\": 64, \"height\": 64}, {\"id\": 2}], "
         "\"annotations\": [{\"id\": 1, \"image_id\": 1, \"category_id\": 1, \"bbox\": [0, 0, "
         "32, "
         "32], \"area\": 1024, \"iscrowd\": 0, \"segmentation\": [[1, 2, 3]]}, {\"id\": 2, "
         "\"image_id\": 1, \"category_id\": 1, \"bbox\": [5, 5, 40, 40], \"area\": 1600, "
         "\"iscrowd\": 1}], \"categories\": [{\"id\": 1, \"name\": \"a\"}, {\"id\": 2, "
         "\"name\": "
         "\"b\"}]}",
         "[{\"image_id\": 1, \"category_id\": 1, \"bbox\": [1, 0, 32, 32], \"score\": 0.9}, "
         "{\"image_id\": 1, \"category_id\": 1, \"bbox\": [6, 6, 30, 1e30], \"score\": 0.9}, "
         "{\"image_id\": 2, \"category_id\": 2, \"bbox\": [NaN, 0, Infinity, 3], \"score\": "
         "-1e-3}]"},
        {"{\"categories\":[{\"id\":0}],\"annotations\":[{\"id\":0,\"image_id\":0,\"category_"
         "id\":0,"
         "\"bbox\":[1,2,3,4],\"area\":12}],\"images\":[{\"id\":0}]}",
         "{\"annotations\":[{\"score\":1,\"bbox\":[1,2,3,4],\"image_id\":0,\"category_id\":0}]"
         "}"},
        {"{\"images\":[{\"id\":1,\"width\":9,\"height\":7}],\"annotations\":[{\"id\":1,\"image_"
         "id\":1,\"category_id\":1,\"area\":12,\"segmentation\":[[1,1,5.5,1,5,4,1,4]]},{\"id\":"
         "2,"
         "\"image_id\":1,\"category_id\":1,\"area\":9,\"iscrowd\":1,\"segmentation\":{\"size\":"
         "[7,"
         "9],\"counts\":[8,3,52]}}],\"categories\":[{\"id\":1,\"name\":\"a\"}]}",
         "[{\"image_id\":1,\"category_id\":1,\"segmentation\":{\"size\":[7,9],\"counts\":"
         "\"83d1\"},"
         "\"score\":0.5},{\"image_id\":1,\"category_id\":1,\"bbox\":[1,1,4,3],\"segmentation\":"
         "{"
         "\"size\":[7,9],\"counts\":\"83d1\"},\"score\":0.5}]"}};
    enum { N = sizeof seeds / sizeof seeds[0] };
    if (i > N) {
        return 0;
    }
    // The last one has enough rows of one form to be read by it (eval/coco_row_form.h).
    char rows[4096] = "[";
    for (int k = 0; i == N && k < 30; ++k) {
        const size_t n = strlen(rows);
        (void)snprintf(rows + n, sizeof rows - n,
                       "%s{\"image_id\": 1, \"category_id\": 1, \"bbox\": [%d.25, 0, 32, "
                       "31.5], \"score\": 0.%d}%s",
                       k > 0 ? ", " : "", k, k, k == 29 ? "]" : "");
    }
    const char *gt = seeds[i % N][0], *dt = i == N ? rows : seeds[i][1];
    const size_t n_gt = strlen(gt), n_dt = strlen(dt);
    if (n_gt + 1 + n_dt > cap) {
        return 0;
    }
    memcpy(out, gt, n_gt + 1);
    memcpy(out + n_gt + 1, dt, n_dt);
    return n_gt + 1 + n_dt;
}
