#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/postprocess.h"
#include "tests/support/test_anchor_hparams.h"

static edt_status create(edt_hparams *hp, edt_post_mode mode, edt_error *err)
{
    edt_anchors *anchors = NULL;
    cr_assert_eq(edt_anchors_create(hp, err, &anchors), EDT_OK);
    edt_post *post = NULL;
    const edt_status status = edt_post_create(hp, anchors, mode, err, &post);
    edt_post_destroy(post);
    edt_anchors_destroy(anchors);
    return status;
}

Test(postprocess, refuses_settings_it_does_not_know, .timeout = 10)
{
    edt_error err = {0};
    edt_hparams hp = edt_test_anchor_hparams(64, 64, 4, 4);
    hp.nms_configs.method = "matrix";
    cr_assert_eq(create(&hp, EDT_POST_PER_CLASS, &err), EDT_ERR_USAGE);
    cr_assert_not_null(strstr(err.text, "matrix"));
    hp.nms_configs.method = "linear";
    cr_assert_eq(create(&hp, EDT_POST_PER_CLASS, &err), EDT_ERR_USAGE);
    hp.nms_configs.pyfunc = true;
    cr_assert_eq(create(&hp, EDT_POST_PER_CLASS, &err), EDT_OK);
    cr_assert_eq(create(&hp, EDT_POST_GLOBAL, &err), EDT_ERR_USAGE);
    hp.nms_configs.method = "";
    hp.nms_configs.max_output_size = 0;
    cr_assert_eq(create(&hp, EDT_POST_GLOBAL, &err), EDT_ERR_USAGE);
}

enum { LEVELS = 2, N3 = 8 * 8 * 9, N4 = 4 * 4 * 9, K = 3 };

static float cls3[N3 * K], cls4[N4 * K], box3[N3 * 4], box4[N4 * 4];

static void fill_background(void)
{
    for (int i = 0; i < N3 * K; ++i) {
        cls3[i] = -20;
    }
    for (int i = 0; i < N4 * K; ++i) {
        cls4[i] = -20;
    }
}

static void run(edt_hparams *hp, edt_post_mode mode, edt_detection *rows, int64_t *n_valid)
{
    edt_error err = {0};
    edt_anchors *anchors = NULL;
    cr_assert_eq(edt_anchors_create(hp, &err, &anchors), EDT_OK);
    edt_post *post = NULL;
    cr_assert_eq(edt_post_create(hp, anchors, mode, &err, &post), EDT_OK, "%s", err.text);
    const float *cls[LEVELS] = {cls3, cls4}, *box[LEVELS] = {box3, box4};
    cr_assert_eq(edt_post_run(post, cls, box, 2.0F, rows, n_valid, &err), EDT_OK, "%s",
                 err.text);
    edt_post_destroy(post);
    edt_anchors_destroy(anchors);
}

Test(postprocess, more_candidates_asked_for_than_there_are, .timeout = 10)
{
    edt_hparams hp = edt_test_anchor_hparams(64, 64, 4, 4);
    hp.num_classes = K;
    hp.nms_configs.max_nms_inputs = 1000000;
    hp.nms_configs.max_output_size = 4;
    hp.nms_configs.score_thresh = 0.4;
    fill_background();
    cls4[K * 9 * 5 + 2] = 3; // cell 1,1 of level 4, class 3
    edt_detection rows[4];
    int64_t n = -1;
    run(&hp, EDT_POST_PER_CLASS, rows, &n);
    cr_assert_eq(n, 1);
    cr_assert_eq(rows[0].label, 3);
    cr_assert_float_eq(rows[0].score, 1 / (1 + exp(-3)), 1e-6);
    cr_assert_eq(rows[0].ymin, 2 * (24.0F - 32.0F));
    cr_assert_eq(rows[0].xmax, 2 * (24.0F + 32.0F));
    cr_assert(rows[1].label == 0 && rows[1].score == 0 && rows[1].ymax == 0);
}

Test(postprocess, global_mode_clips_and_pads_with_the_first_candidate, .timeout = 10)
{
    edt_hparams hp = edt_test_anchor_hparams(64, 64, 4, 4);
    hp.num_classes = K;
    hp.nms_configs.method = "hard";
    hp.nms_configs.score_thresh = 0.4;
    hp.nms_configs.max_output_size = 3;
    fill_background();
    cls4[K * 9 * 15 + 1] = 1; // last cell
    cls3[1] = -19;            // the first candidate's class is 2
    edt_detection rows[3];
    int64_t n = -1;
    run(&hp, EDT_POST_GLOBAL, rows, &n);
    cr_assert_eq(n, 1);
    cr_assert_eq(rows[0].label, 2);
    cr_assert_eq(rows[0].ymax, 128.0F);
    cr_assert(rows[2].label == 2 && rows[2].score == 0 && rows[2].ymin == 0 &&
              rows[2].ymax == 40);
}

Test(postprocess, nothing_detected_is_all_padding_and_flip_mirrors, .timeout = 10)
{
    edt_hparams hp = edt_test_anchor_hparams(64, 64, 4, 4);
    hp.num_classes = K;
    hp.nms_configs.max_output_size = 2;
    fill_background();
    edt_detection rows[2];
    int64_t n = -1;
    run(&hp, EDT_POST_PER_CLASS, rows, &n);
    cr_assert(n == 0 && rows[1].label == 0 && rows[1].score == 0);
    rows[0] = (edt_detection){.ymin = 1, .xmin = 10, .ymax = 2, .xmax = 30};
    edt_detections_flip(rows, 1, 2.0F, 64);
    cr_assert(rows[0].xmin == 98 && rows[0].xmax == 118 && rows[0].ymin == 1);
}

Test(postprocess, shared_work_gives_the_same_bytes, .timeout = 30)
{
    enum { SIDE = 256, CLASSES = 20, MAX = 100 };
    edt_error err = {0};
    edt_hparams hp = edt_test_anchor_hparams(SIDE, SIDE, 7, 3);
    hp.num_classes = CLASSES;
    edt_anchors *anchors = NULL;
    edt_backend *backend = NULL;
    cr_assert_eq(edt_anchors_create(&hp, &err, &anchors), EDT_OK);
    cr_assert_eq(edt_backend_cpu_create(3, &err, &backend), EDT_OK);
    const size_t n = (size_t)anchors->n;
    float *logits = malloc(n * CLASSES * sizeof(float)), *codes = malloc(n * 4 * sizeof(float));
    uint32_t state = 3;
    for (size_t i = 0; i < n * (CLASSES + 4); ++i) {
        state = state * 1664525U + 1013904223U;
        const float u = (float)(state >> 8) * 0x1p-24F;
        if (i < n * CLASSES) {
            logits[i] = 10 * u * u - 7;
        } else {
            codes[i - n * CLASSES] = u - 0.5F;
        }
    }
    const float *cls[5], *box[5];
    for (int l = 3; l <= 7; ++l) {
        cls[l - 3] = logits + anchors->level_offset[l] * CLASSES;
        box[l - 3] = codes + anchors->level_offset[l] * 4;
    }
    static const struct {
        edt_post_mode mode;
        int64_t max_nms_inputs;
        bool pyfunc;
    } all[] = {{EDT_POST_PER_CLASS, 3000, false},
               {EDT_POST_PER_CLASS, 0, false},
               {EDT_POST_PER_CLASS, 500, true},
               {EDT_POST_GLOBAL, 0, false},
               {EDT_POST_COMBINED, 0, false}};
    for (size_t k = 0; k < sizeof all / sizeof all[0]; ++k) {
        hp.nms_configs.max_nms_inputs = all[k].max_nms_inputs;
        hp.nms_configs.pyfunc = all[k].pyfunc;
        hp.nms_configs.method = all[k].mode == EDT_POST_COMBINED ? "hard" : "gaussian";
        edt_post *post = NULL;
        edt_detection alone[MAX], shared[MAX];
        int64_t n_alone = 0, n_shared = 0;
        cr_assert_eq(edt_post_create(&hp, anchors, all[k].mode, &err, &post), EDT_OK, "%s",
                     err.text);
        cr_assert_eq(edt_post_run(post, cls, box, 1.5F, alone, &n_alone, &err), EDT_OK);
        cr_assert_eq(
            edt_post_run_shared(post, backend, cls, box, 1.5F, shared, &n_shared, &err),
            EDT_OK);
        cr_expect_gt(n_alone, 0);
        cr_expect_eq(n_alone, n_shared);
        cr_expect_arr_eq(alone, shared, sizeof alone, "%zu", k);
        edt_post_destroy(post);
    }
    free(logits);
    free(codes);
    edt_anchors_destroy(anchors);
    edt_backend_destroy(&backend);
}
