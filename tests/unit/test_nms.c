#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "model/nms.h"

// Vectors of spec/eval_infer_export.md 5.4; boxes given as x1,y1,x2,y2.
static const float CORNERS[6][4] = {{10, 10, 50, 50},     {12, 12, 52, 52},
                                    {11, 9, 49, 51},      {100, 100, 140, 160},
                                    {105, 102, 139, 158}, {30, 30, 80, 80}};
static const float SCORES[6] = {0.9F, 0.8F, 0.75F, 0.7F, 0.65F, 0.6F};

static void boxes_of(float out[24])
{
    for (int i = 0; i < 6; ++i) {
        for (int k = 0; k < 4; ++k) {
            out[4 * i + k] = CORNERS[i][k ^ 1];
        }
    }
}

static void expect(const char *what, int64_t n, const int32_t *index, const float *score,
                   int64_t want_n, const int32_t *want_index, const float *want_score)
{
    cr_assert_eq(n, want_n, "%s: %lld selected", what, (long long)n);
    for (int64_t i = 0; i < n; ++i) {
        cr_assert_eq(index[i], want_index[i], "%s: %lld-th is %d", what, (long long)i,
                     index[i]);
        cr_assert(fabsf(score[i] - want_score[i]) <= 1e-7F, "%s: %lld-th scores %.9g", what,
                  (long long)i, (double)score[i]);
    }
}

static const int32_t HARD_INDEX[] = {0, 3, 5};
static const float HARD_SCORE[] = {0.9F, 0.7F, 0.6F};
static const int32_t SOFT_INDEX[] = {0, 3, 5, 1, 4, 2};

Test(nms, tensorflows_suppression_vectors, .timeout = 10)
{
    float boxes[24], score[6];
    int32_t index[6];
    edt_nms_item scratch[6];
    float scratch_boxes[EDT_NMS_BOXES_FLOATS(6)];
    boxes_of(boxes);
    edt_nms_options options = {.iou_thresh = 0.5F, .score_thresh = -INFINITY, .max_output = 6};
    int64_t n = edt_nms_v5(boxes, SCORES, 6, &options, scratch, scratch_boxes, index, score);
    expect("hard", n, index, score, 3, HARD_INDEX, HARD_SCORE);

    options = (edt_nms_options){
        .iou_thresh = 0.5F, .score_thresh = 0.001F, .sigma = 0.25F, .max_output = 6};
    const float want[] = {0.9F, 0.7F, 0.58613783F, 0.19960663F, 0.18460470F, 0.03647326F};
    n = edt_nms_v5(boxes, SCORES, 6, &options, scratch, scratch_boxes, index, score);
    expect("gaussian", n, index, score, 6, SOFT_INDEX, want);
    options.max_output = 2;
    n = edt_nms_v5(boxes, SCORES, 6, &options, scratch, scratch_boxes, index, score);
    expect("limit", n, index, score, 2, SOFT_INDEX, want);
}

Test(nms, numpy_suppression_vectors, .timeout = 10)
{
    float boxes[24], score[6];
    int32_t index[6];
    edt_nms_item scratch[6];
    boxes_of(boxes);
    edt_nms_numpy_options options = {.iou_thresh = 0.5F, .score_thresh = 0.001F, .sigma = 0.5F};
    const edt_nms_numpy_method hard[] = {EDT_NMS_NUMPY_HARD, EDT_NMS_NUMPY_DIOU};
    for (int i = 0; i < 2; ++i) {
        options.method = hard[i];
        const int64_t n = edt_nms_numpy(boxes, SCORES, 6, &options, scratch, index, score);
        expect("hard or diou", n, index, score, 3, HARD_INDEX, HARD_SCORE);
    }
    options.method = EDT_NMS_NUMPY_GAUSSIAN;
    const float gaussian[] = {0.9F, 0.7F, 0.58438808F, 0.19631577F, 0.18206844F, 0.03563298F};
    int64_t n = edt_nms_numpy(boxes, SCORES, 6, &options, scratch, index, score);
    expect("gaussian", n, index, score, 6, SOFT_INDEX, gaussian);
    options.method = EDT_NMS_NUMPY_LINEAR;
    options.iou_thresh = 0.3F;
    const float linear[] = {0.9F, 0.7F, 0.6F, 0.13905488F, 0.13150740F, 0.01180313F};
    n = edt_nms_numpy(boxes, SCORES, 6, &options, scratch, index, score);
    expect("linear", n, index, score, 6, SOFT_INDEX, linear);
}

Test(nms, equal_scores_go_to_the_lower_index_and_thresholds_are_strict, .timeout = 10)
{
    const float boxes[] = {0, 0, 10, 10, 100, 100, 110, 110, 0, 0, 10, 10, 50, 50, 50, 60};
    const float scores[] = {0.5F, 0.5F, 0.5F, 0.4F};
    edt_nms_item scratch[4];
    float scratch_boxes[EDT_NMS_BOXES_FLOATS(4)];
    int32_t index[4];
    float score[4];
    const edt_nms_options options = {.iou_thresh = 0.5F, .score_thresh = 0.4F, .max_output = 4};
    cr_assert_eq(edt_nms_v5(boxes, scores, 4, &options, scratch, scratch_boxes, index, score),
                 2);
    cr_assert(index[0] == 0 && index[1] == 1);
    cr_assert_eq(edt_nms_v5(boxes, scores, 0, &options, scratch, scratch_boxes, index, score),
                 0);
}

// Intersection over union as TensorFlow's kernel writes it.
static float plain_iou(const float a[4], const float b[4])
{
    const float ay0 = a[0] < a[2] ? a[0] : a[2], ay1 = a[0] > a[2] ? a[0] : a[2];
    const float ax0 = a[1] < a[3] ? a[1] : a[3], ax1 = a[1] > a[3] ? a[1] : a[3];
    const float by0 = b[0] < b[2] ? b[0] : b[2], by1 = b[0] > b[2] ? b[0] : b[2];
    const float bx0 = b[1] < b[3] ? b[1] : b[3], bx1 = b[1] > b[3] ? b[1] : b[3];
    const float area_a = (ay1 - ay0) * (ax1 - ax0), area_b = (by1 - by0) * (bx1 - bx0);
    if (area_a <= 0 || area_b <= 0) {
        return 0;
    }
    const float y1 = ay1 < by1 ? ay1 : by1, y0 = ay0 > by0 ? ay0 : by0;
    const float x1 = ax1 < bx1 ? ax1 : bx1, x0 = ax0 > bx0 ? ax0 : bx0;
    const float inter = (y1 - y0 > 0 ? y1 - y0 : 0) * (x1 - x0 > 0 ? x1 - x0 : 0);
    return inter / (area_a + area_b - inter);
}

// The same suppression, one pair after the other and with a search for the best score.
static int64_t plain_nms(const float *boxes, const float *scores, int64_t n,
                         const edt_nms_options *o, edt_nms_item *items, int32_t *out_index,
                         float *out_score)
{
    int64_t n_left = 0, n_out = 0;
    for (int64_t i = 0; i < n; ++i) {
        if (scores[i] > o->score_thresh) {
            items[n_left++] = (edt_nms_item){scores[i], (int32_t)i, 0};
        }
    }
    while (n_left > 0 && n_out < o->max_output) {
        int64_t best = 0;
        for (int64_t i = 1; i < n_left; ++i) {
            if (items[i].score > items[best].score ||
                (items[i].score == items[best].score && items[i].index < items[best].index)) {
                best = i;
            }
        }
        edt_nms_item item = items[best];
        items[best] = items[--n_left];
        const float before = item.score;
        bool dropped = false;
        for (int64_t j = n_out - 1; j >= item.begin && item.score > o->score_thresh; --j) {
            const float iou = plain_iou(boxes + 4 * item.index, boxes + 4 * out_index[j]);
            if (o->sigma > 0) {
                item.score *= expf(-0.5F / o->sigma * iou * iou);
            } else if (iou > o->iou_thresh) {
                dropped = true;
                break;
            }
        }
        item.begin = (int32_t)n_out;
        if (!dropped && item.score == before) {
            out_index[n_out] = item.index;
            out_score[n_out++] = before;
        } else if (!dropped && item.score > o->score_thresh) {
            items[n_left++] = item;
        }
    }
    return n_out;
}

Test(nms, several_boxes_at_a_time_give_the_bits_of_one_pair_after_the_other, .timeout = 30)
{
    enum { N = 400 };
    static float boxes[4 * N], scores[N], score[N], want_score[N];
    static float scratch_boxes[EDT_NMS_BOXES_FLOATS(N)];
    static edt_nms_item items[N];
    int32_t index[N], want_index[N];
    uint32_t state = 7;
    for (int i = 0; i < 5 * N; ++i) {
        state = state * 1664525U + 1013904223U;
        const float u = (float)(state >> 8) * 0x1p-24F;
        if (i < 4 * N) {
            boxes[i] = 40 * u + (i % 4 >= 2 ? 10.0F : 0.0F);
        } else {
            scores[i - 4 * N] = floorf(50 * u) / 50; // many ties
        }
    }
    memcpy(boxes + 40, boxes + 80, 16); // twice the same
    boxes[120] = boxes[122];            // empty
    boxes[161] = INFINITY;              // an area without end
    boxes[200] = boxes[202] = INFINITY; // and one that is no number
    boxes[240] = NAN;
    const edt_nms_options all[] = {
        {.iou_thresh = 0.5F, .score_thresh = 0.001F, .sigma = 0.25F, .max_output = N},
        {.iou_thresh = 0.5F, .score_thresh = 0.2F, .sigma = 0.25F, .max_output = 20},
        {.iou_thresh = 0.5F, .score_thresh = 0.001F, .sigma = INFINITY, .max_output = N},
        {.iou_thresh = 0.5F, .score_thresh = 0.001F, .sigma = 1e-39F, .max_output = N},
        {.iou_thresh = 0.3F, .score_thresh = -INFINITY, .max_output = N},
        {.iou_thresh = -0.1F, .score_thresh = 0.1F, .max_output = N},
    };
    for (size_t k = 0; k < sizeof all / sizeof all[0]; ++k) {
        const int64_t n =
            edt_nms_v5(boxes, scores, N, &all[k], items, scratch_boxes, index, score);
        const int64_t n_want =
            plain_nms(boxes, scores, N, &all[k], items, want_index, want_score);
        cr_assert_eq(n, n_want, "%zu", k);
        cr_assert_gt(n, 0);
        cr_assert_arr_eq(index, want_index, (size_t)n * sizeof *index, "%zu", k);
        cr_assert_arr_eq(score, want_score, (size_t)n * sizeof *score, "%zu", k);
    }
}
