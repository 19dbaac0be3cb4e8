// A result file as arbitrary bytes, for boxes and for masks: reading ends in a message or in
// rows of known images. Rows that are read by comparing bytes (coco_row_form.h needs text
// behind a row, so blanks are appended) equal those that the parser reads one key after the
// other.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "eval/coco_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
size_t edt_fuzz_seed(int i, uint8_t *out, size_t cap);

enum { N_BLANKS = 1024, MOST_BYTES = 1 << 14 };

static void must(bool holds, const char *what, const edt_error *err)
{
    if (!holds) {
        (void)fprintf(stderr, "%s: %s\n", what, err->text);
        abort();
    }
}

// Images 1, 2 and the greatest id, of 6 x 8 pixels.
static edt_coco_gt *make_gt(edt_coco_iou_type iou_type)
{
    static const char text[] =
        "{\"images\":[{\"id\":1,\"width\":8,\"height\":6},{\"id\":2,\"width\":8,\"height\":6},"
        "{\"id\":9223372036854775807,\"width\":8,\"height\":6}],\"annotations\":[{\"id\":1,"
        "\"image_id\":1,\"category_id\":1,\"bbox\":[0,0,3,2],\"area\":6,\"segmentation\":"
        "[[0,0,3,0,3,2,0,2]]}],\"categories\":[{\"id\":1},{\"id\":2}]}";
    edt_error err = {0};
    edt_coco_gt *gt = NULL;
    must(edt_coco_gt_parse("gt", (edt_span){(const uint8_t *)text, sizeof text - 1}, false,
                           &(edt_coco_gt_options){.n_threads = 1, .iou_type = iou_type}, &err,
                           &gt) == EDT_OK,
         "ground truth", &err);
    return gt;
}

static bool same_rows(const edt_coco_dt *a, const edt_coco_dt *b)
{
    const edt_coco_dt_block *p = a->first, *q = b->first;
    for (; p != NULL && q != NULL; p = p->next, q = q->next) {
        if (p->n != q->n || p->area_kind != q->area_kind ||
            memcmp(p->items, q->items, (size_t)p->n * sizeof p->items[0]) != 0) {
            return false;
        }
    }
    return p == NULL && q == NULL && a->n == b->n;
}

static void evaluate(const edt_coco_gt *gt, const edt_coco_dt *dt, edt_coco_iou_type iou_type)
{
    edt_error err = {0};
    edt_coco_result *result = NULL;
    must(edt_coco_evaluate(gt, dt, &(edt_coco_params){.n_threads = 1, .iou_type = iou_type},
                           &err, &result) == EDT_OK,
         "evaluation", &err);
    const double *stats = edt_coco_result_stats(result);
    for (int i = 0; i < EDT_COCO_N_STATS; ++i) {
        must(stats[i] == -1 || (stats[i] >= 0 && stats[i] <= 1), "a number out of range", &err);
    }
    edt_coco_result_destroy(result);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static uint8_t padded[MOST_BYTES + N_BLANKS];
    if (n > MOST_BYTES) {
        return 0;
    }
    if (n > 0) {
        memcpy(padded, data, n);
    }
    memset(padded + n, ' ', N_BLANKS);
    edt_log_set_level(EDT_LOG_QUIET);
    for (int segm = 0; segm < 2; ++segm) {
        const edt_coco_iou_type iou_type = segm != 0 ? EDT_COCO_SEGM : EDT_COCO_BBOX;
        edt_coco_gt *gt = make_gt(iou_type);
        edt_coco_dt *dt = NULL, *by_form = NULL;
        edt_error err = {0}, err_form = {0};
        const edt_status status =
            edt_coco_dt_parse("dt", (edt_span){data, n}, false, gt, &err, &dt);
        const edt_status status_form = edt_coco_dt_parse("dt", (edt_span){padded, n + N_BLANKS},
                                                         false, gt, &err_form, &by_form);
        must(status == status_form, "blanks behind the text change what is said", &err_form);
        if (status == EDT_OK) {
            must(same_rows(dt, by_form), "blanks behind the text change the rows", &err);
            evaluate(gt, dt, iou_type);
            edt_coco_dt_destroy(dt);
            edt_coco_dt_destroy(by_form);
        } else {
            must(err.text[0] != '\0' && err_form.text[0] != '\0', "no message", &err);
            must(status != EDT_ERR_INTERNAL, "an internal error", &err);
        }
        edt_coco_gt_destroy(gt);
    }
    return 0;
}

size_t edt_fuzz_seed(int i, uint8_t *out, size_t cap)
{
    static const char *const seeds[] = {
        "[{\"image_id\": 1, \"category_id\": 1, \"bbox\": [1.25, 0, 3.5, 2], \"score\": 0.9}, "
        "{\"image_id\": 2, \"category_id\": 2, \"bbox\": [-6.01, 6, 3e1, 1e30], \"score\": "
        "0.875}, {\"image_id\": 9223372036854775807, \"category_id\": 7, \"bbox\": [NaN, 0, "
        "Infinity, 3], \"score\": -1e-3}]",
        "[{\"image_id\":1,\"category_id\":1,\"bbox\":[1.5,2.25,3.125,4],\"score\":0.123},"
        "{\"image_id\":1,\"category_id\":2,\"bbox\":[1,2,3,4],\"score\":1},"
        "{\"image_id\":2,\"category_id\":1,\"bbox\":[0.1,0.2,0.3,0.4],\"score\":.5}]",
        "{\"annotations\":[{\"score\":1,\"bbox\":[1,2,3,4],\"image_id\":1,\"category_id\":1,"
        "\"segmentation\":[[1,1,4,1,4,4]]},{\"score\":0.5,\"segmentation\":{\"size\":[6,8],"
        "\"counts\":\"53X1\"},\"image_id\":2,\"category_id\":1,\"bbox\":[]}]}",
        "[{\"image_id\":1,\"category_id\":1,\"segmentation\":{\"size\":[6,8],\"counts\":[5,3,"
        "40]},\"score\":0.5},{\"image_id\":1,\"category_id\":1,\"segmentation\":{\"size\":[7,"
        "8],\"counts\":\"53X1\"},\"score\":0.5}]",
        // A byte-order mark where none may be.
        "[\xEF\xBB\xBF{\"image_id\":1,\"category_id\":1,\"bbox\":[1,2,3,4],\"score\":0.5}]",
        // A mask that has no object to be compared with.
        "[{\"image_id\":1,\"category_id\":2,\"segmentation\":{\"size\":[6,8],\"counts\":[5,3,"
        "40]},\"score\":0.5}]",
    };
    if (i >= (int)(sizeof seeds / sizeof seeds[0]) || strlen(seeds[i]) > cap) {
        return 0;
    }
    memcpy(out, seeds[i], strlen(seeds[i]));
    return strlen(seeds[i]);
}
