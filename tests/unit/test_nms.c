#include <criterion/criterion.h>
#include <math.h>

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
    boxes_of(boxes);
    edt_nms_options options = {.iou_thresh = 0.5F, .score_thresh = -INFINITY, .max_output = 6};
    int64_t n = edt_nms_v5(boxes, SCORES, 6, &options, scratch, index, score);
    expect("hard", n, index, score, 3, HARD_INDEX, HARD_SCORE);

    options = (edt_nms_options){
        .iou_thresh = 0.5F, .score_thresh = 0.001F, .sigma = 0.25F, .max_output = 6};
    const float want[] = {0.9F, 0.7F, 0.58613783F, 0.19960663F, 0.18460470F, 0.03647326F};
    n = edt_nms_v5(boxes, SCORES, 6, &options, scratch, index, score);
    expect("gaussian", n, index, score, 6, SOFT_INDEX, want);
    options.max_output = 2;
    n = edt_nms_v5(boxes, SCORES, 6, &options, scratch, index, score);
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
    int32_t index[4];
    float score[4];
    const edt_nms_options options = {.iou_thresh = 0.5F, .score_thresh = 0.4F, .max_output = 4};
    cr_assert_eq(edt_nms_v5(boxes, scores, 4, &options, scratch, index, score), 2);
    cr_assert(index[0] == 0 && index[1] == 1);
    cr_assert_eq(edt_nms_v5(boxes, scores, 0, &options, scratch, index, score), 0);
}
