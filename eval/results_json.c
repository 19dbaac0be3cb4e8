// Evaluation results as JSON and safetensors; see results_json.h.
#include "eval/results_json.h"

#include "core/file.h"
#include "core/safetensors.h"
#include "eval/coco_priv.h"

static void put_numbers(edt_json_writer *out, const char *key, const double *numbers, int64_t n)
{
    edt_json_key(out, key);
    edt_json_begin_array(out);
    for (int64_t i = 0; i < n; ++i) {
        edt_json_f64(out, numbers[i]);
    }
    edt_json_end_array(out);
}

static void put_params(const edt_coco_result *result, edt_json_writer *out)
{
    const edt_coco_params *params = &result->params;
    edt_json_key(out, "params");
    edt_json_begin_object(out);
    edt_json_put_text(out, "iou_type", params->iou_type == EDT_COCO_SEGM ? "segm" : "bbox");
    put_numbers(out, "iou_thresholds", params->iou_thresholds, params->n_iou_thresholds);
    put_numbers(out, "recall_thresholds", params->recall_thresholds,
                params->n_recall_thresholds);
    edt_json_key(out, "max_dets");
    edt_json_begin_array(out);
    for (int i = 0; i < result->n_max_dets; ++i) {
        edt_json_i64(out, params->max_dets[i]);
    }
    edt_json_end_array(out);
    edt_json_key(out, "areas");
    edt_json_begin_array(out);
    for (int64_t i = 0; i < params->n_areas; ++i) {
        edt_json_begin_object(out);
        edt_json_put_text(out, "label", params->areas[i].label);
        edt_json_put_f64(out, "low", params->areas[i].low);
        edt_json_put_f64(out, "high", params->areas[i].high);
        edt_json_end_object(out);
    }
    edt_json_end_array(out);
    edt_json_put_bool(out, "use_cats", !params->ignore_categories);
    edt_json_end_object(out);
}

static void put_classes(const edt_coco_result *result, edt_json_writer *out)
{
    edt_json_key(out, "per_class");
    edt_json_begin_array(out);
    for (int64_t k = 0; k < result->n_k && !result->params.ignore_categories; ++k) {
        double stats[EDT_COCO_N_STATS];
        edt_coco_result_category_stats(result, k, stats);
        edt_json_begin_object(out);
        edt_json_put_i64(out, "id", result->categories[k].id);
        edt_json_put_text(out, "name", result->categories[k].name);
        edt_json_put_i64(out, "objects", edt_coco_result_category_objects(result, k));
        for (int i = 0; i < EDT_COCO_N_STATS; ++i) {
            edt_json_put_f64(out, edt_coco_stat_names[i], stats[i]);
        }
        edt_json_end_object(out);
    }
    edt_json_end_array(out);
}

static void put_members(const edt_coco_result *result, double load_s, edt_json_writer *out)
{
    edt_json_key(out, "stats");
    edt_json_begin_array(out);
    for (int i = 0; i < EDT_COCO_N_STATS; ++i) {
        edt_json_f64(out, result->stats[i]);
    }
    edt_json_end_array(out);
    edt_json_key(out, "names");
    edt_json_begin_array(out);
    for (int i = 0; i < EDT_COCO_N_STATS; ++i) {
        edt_json_text(out, edt_coco_stat_names[i]);
    }
    edt_json_end_array(out);
    put_classes(result, out);
    edt_json_put_i64(out, "images", result->n_images);
    edt_json_put_i64(out, "detections", result->n_detections);
    put_params(result, out);
    edt_json_key(out, "seconds");
    edt_json_begin_object(out);
    edt_json_put_f64(out, "load", load_s);
    edt_json_put_f64(out, "match", result->match_s);
    edt_json_put_f64(out, "accumulate", result->accumulate_s);
    edt_json_end_object(out);
}

void edt_coco_result_put_json(const edt_coco_result *result, double load_s,
                              edt_json_writer *out)
{
    edt_json_begin_object(out);
    put_members(result, load_s, out);
    edt_json_end_object(out);
}

edt_status edt_coco_result_write_json(const edt_coco_result *result, double load_s,
                                      const char *path, edt_error *err)
{
    return edt_coco_result_write_json_with(result, &(edt_coco_json_extras){0}, load_s, path,
                                           err);
}

edt_status edt_coco_result_write_json_with(const edt_coco_result *result,
                                           const edt_coco_json_extras *extras, double load_s,
                                           const char *path, edt_error *err)
{
    edt_json_writer out = {.indent = 1};
    edt_text text;
    edt_json_begin_object(&out);
    put_members(result, load_s, &out);
    if (extras->errors != NULL) {
        edt_json_key(&out, "errors");
        edt_error_breakdown_put_json(extras->errors, &out);
    }
    if (extras->notes != NULL) {
        edt_json_key(&out, "notes");
        edt_json_begin_array(&out);
        for (int i = 0; i < extras->notes->n; ++i) {
            edt_json_text(&out, extras->notes->text[i]);
        }
        edt_json_end_array(&out);
    }
    edt_json_end_object(&out);
    edt_status status = edt_json_writer_finish(&out, err, &text);
    if (status == EDT_OK) {
        status = edt_file_write(path, text.data, text.n_bytes, err);
    }
    edt_json_writer_deinit(&out);
    return status;
}

edt_status edt_coco_result_write_arrays(const edt_coco_result *result, const char *path,
                                        edt_error *err)
{
    const edt_coco_arrays a = edt_coco_result_arrays(result);
    const edt_tensor_desc curves = {
        EDT_DTYPE_F64,
        {5, {a.n_thresholds, a.n_recalls, a.n_categories, a.n_areas, a.n_max_dets}}};
    const edt_tensor_desc recall = {
        EDT_DTYPE_F64, {4, {a.n_thresholds, a.n_categories, a.n_areas, a.n_max_dets}}};
    const size_t n_curves = edt_tensor_bytes(&curves), n_recall = edt_tensor_bytes(&recall);
    const edt_safetensors_item items[] = {
        {"precision", curves, {(const uint8_t *)a.precision, n_curves}},
        {"recall", recall, {(const uint8_t *)a.recall, n_recall}},
        {"scores", curves, {(const uint8_t *)a.scores, n_curves}}};
    return edt_safetensors_write(path, items, 3, NULL, 0, err);
}
