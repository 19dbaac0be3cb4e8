// The trained lite0 weights on real photographs against the reference's own detections: row by row
// and in AP, as the weights' README states.
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "backend/backend.h"
#include "core/json.h"
#include "core/path.h"
#include "eval/coco_eval.h"
#include "eval/detect.h"
#include "eval/model_config.h"
#include "tests/support/test_dirs.h"

typedef struct row {
    int64_t image_id, category_id;
    double box[4], score; // x,y,w,h
} row;

static row *read_rows(const char *path, edt_arena *arena, int *out_n)
{
    edt_error err = {0};
    edt_mapped_file file;
    const edt_json_node *root;
    cr_assert_eq(edt_mapped_file_open(path, &err, &file), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_json_parse(file.span, arena, &err, &root), EDT_OK, "%s", err.text);
    edt_mapped_file_close(&file);
    row *rows = edt_arena_calloc(arena, (size_t)root->n, sizeof *rows);
    int n = 0;
    for (const edt_json_node *node = root->first; node != NULL; node = node->next, ++n) {
        rows[n].image_id = (int64_t)edt_json_get(node, "image_id")->number;
        rows[n].category_id = (int64_t)edt_json_get(node, "category_id")->number;
        rows[n].score = edt_json_get(node, "score")->number;
        int i = 0;
        for (const edt_json_node *v = edt_json_get(node, "bbox")->first; v != NULL; v = v->next) {
            rows[n].box[i++] = v->number;
        }
    }
    *out_n = n;
    return rows;
}

static double iou(const double *a, const double *b)
{
    const double w = fmin(a[0] + a[2], b[0] + b[2]) - fmax(a[0], b[0]);
    const double h = fmin(a[1] + a[3], b[1] + b[3]) - fmax(a[1], b[1]);
    return w <= 0.0 || h <= 0.0 ? 0.0 : w * h / (a[2] * a[3] + b[2] * b[3] - w * h);
}

static bool agrees(const row *a, const row *b)
{
    if (a->image_id != b->image_id || a->category_id != b->category_id ||
        iou(a->box, b->box) <= 0.9 || fabs(a->score - b->score) > 1e-3) {
        return false;
    }
    for (int i = 0; i < 4; ++i) {
        if (fabs(a->box[i] - b->box[i]) > 0.1) {
            return false;
        }
    }
    return true;
}

Test(real_accuracy, lite0_detections_equal_the_references_row_by_row, .timeout = 600)
{
    const char *weights = edt_test_path(edt_test_weights_dir(), "efficientdet-lite0");
    const char *images = edt_test_path(edt_test_data_dir(), "coco-mini/val2017");
    const char *gt_path =
        edt_test_path(edt_test_data_dir(), "coco-mini/annotations/instances_val2017.json");
    const char *expected_path = edt_test_path(weights, "reference_detections_coco_mini_val.json");
    EDT_TEST_NEEDS_DIR(weights);
    EDT_TEST_NEEDS_DIR(images);
    edt_error err = {0};
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    const char *ours_path = edt_test_path(edt_test_temp_dir(), "detections.json");
    edt_hparams hp = {0};
    edt_backend *backend;
    edt_detect_options options = {
        .input_image = images,
        .output_json = ours_path,
        .batch_size = 4,
        .nms_method = "hard",
        .max_boxes_to_draw = 100,
    };
    cr_assert_eq(edt_hparams_init(&hp, &err), EDT_OK);
    cr_assert_eq(edt_model_config_load(&hp, "efficientdet-lite0", weights, "", &arena, &err,
                                       &options.ckpt),
                 EDT_OK, "%s", err.text);
    cr_assert_eq(edt_backend_cpu_create(0, &err, &backend), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_detect_run(&hp, backend, &options, &err), EDT_OK, "%s", err.text);
    edt_backend_destroy(&backend);
    edt_hparams_deinit(&hp);

    int n_expected, n_ours;
    const row *expected = read_rows(expected_path, &arena, &n_expected);
    const row *ours = read_rows(ours_path, &arena, &n_ours);
    cr_assert_eq(n_ours, n_expected);
    int n_scored = 0, n_agree = 0;
    for (int i = 0; i < n_expected; ++i) {
        if (expected[i].score <= 0.05) {
            continue;
        }
        ++n_scored;
        bool found = false;
        for (int j = 0; j < n_ours && !found; ++j) {
            found = agrees(&expected[i], &ours[j]);
        }
        n_agree += found;
    }
    cr_log_info("%d of %d rows above 0.05 agree", n_agree, n_scored);
    cr_assert_geq(n_agree, (int)ceil(0.99 * n_scored), "%d of %d rows agree", n_agree, n_scored);

    edt_coco_gt *gt;
    edt_coco_dt *dt;
    edt_coco_result *result;
    cr_assert_eq(edt_coco_gt_open(gt_path, &(edt_coco_gt_options){0}, &err, &gt), EDT_OK);
    cr_assert_eq(edt_coco_dt_open(ours_path, gt, &err, &dt), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_coco_evaluate(gt, dt, &(edt_coco_params){0}, &err, &result), EDT_OK);
    cr_assert_float_eq(edt_coco_result_stats(result)[0], 0.31300, 0.001);
    cr_assert_float_eq(edt_coco_result_stats(result)[1], 0.48391, 0.001);
    edt_coco_result_destroy(result);
    edt_coco_dt_destroy(dt);
    edt_coco_gt_destroy(gt);
    edt_arena_deinit(&arena);
}
