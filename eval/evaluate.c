// See evaluate.h.
#include "eval/evaluate.h"

#include "core/clock.h"
#include "core/progress.h"
#include "core/signal.h"
#include "dataio/labels.h"
#include "dataio/loader.h"

enum { EVAL_NMS_INPUTS = 5000 };

void edt_evaluation_settings(edt_hparams *hp)
{
    if (hp->nms_configs.max_nms_inputs == 0) {
        hp->nms_configs.max_nms_inputs = EVAL_NMS_INPUTS;
    }
}

// Ground truth collected from the loader when there is no JSON.
typedef struct record_truth {
    edt_coco_object *objects;
    int64_t n_objects, cap_objects;
    int64_t *images;
    int64_t n_images, cap_images;
} record_truth;

static edt_status grow(void **block, int64_t *cap, int64_t need, size_t item_bytes, edt_error *err)
{
    if (need <= *cap) {
        return EDT_OK;
    }
    const int64_t wanted = need > 2 * *cap ? need + 256 : 2 * *cap;
    void *moved = edt_mem_realloc(EDT_MEM_EVAL, *block, (size_t)wanted * item_bytes);
    if (moved == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the ground truth of the evaluation");
    }
    *block = moved;
    *cap = wanted;
    return EDT_OK;
}

static edt_status collect_truth(record_truth *t, const edt_batch *b, edt_error *err)
{
    for (int64_t i = 0; i < b->n_valid; ++i) {
        EDT_TRY(grow((void **)&t->images, &t->cap_images, t->n_images + 1, sizeof *t->images, err));
        t->images[t->n_images++] = b->source_ids[i];
        for (int64_t j = 0; j < b->max_instances; ++j) {
            const float *row = b->groundtruth + (i * b->max_instances + j) * 7;
            if (row[6] <= -1.0F) {
                continue;
            }
            EDT_TRY(grow((void **)&t->objects, &t->cap_objects, t->n_objects + 1,
                         sizeof *t->objects, err));
            const float w = row[3] - row[1], h = row[2] - row[0];
            t->objects[t->n_objects] = (edt_coco_object){
                .id = t->n_objects + 1,
                .image_id = b->source_ids[i],
                .category_id = (int64_t)row[6],
                .bbox = {(double)row[1], (double)row[0], (double)w, (double)h},
                .area = (double)(w * h),
                .is_crowd = row[4] != 0.0F,
            };
            ++t->n_objects;
        }
    }
    return EDT_OK;
}

// Categories are the classes seen, named by the label map where it knows them.
static edt_status truth_to_gt(const edt_hparams *hp, const record_truth *t, edt_error *err,
                              edt_coco_gt **out_gt)
{
    edt_coco_category *categories = NULL;
    int64_t n = 0, cap = 0;
    edt_status status = EDT_OK;
    for (int64_t i = 0; i < t->n_objects && status == EDT_OK; ++i) {
        bool seen = false;
        for (int64_t j = 0; j < n && !seen; ++j) {
            seen = categories[j].id == t->objects[i].category_id;
        }
        if (!seen) {
            status = grow((void **)&categories, &cap, n + 1, sizeof *categories, err);
            if (status == EDT_OK) {
                categories[n++] = (edt_coco_category){
                    .id = t->objects[i].category_id,
                    .name = edt_labels_find(&hp->label_map, t->objects[i].category_id),
                };
            }
        }
    }
    if (status == EDT_OK) {
        status = edt_coco_gt_create(t->images, t->n_images, categories, n, t->objects, t->n_objects,
                                    err, out_gt);
    }
    edt_mem_free(categories);
    return status;
}

static edt_status add_detections(edt_coco_dt *dt, const edt_batch *b, const edt_detection *rows,
                                 int64_t max_detections, edt_error *err)
{
    for (int64_t i = 0; i < b->n_valid; ++i) {
        for (int64_t j = 0; j < max_detections; ++j) {
            const edt_detection *d = &rows[i * max_detections + j];
            const float xywh[4] = {d->xmin, d->ymin, d->xmax - d->xmin, d->ymax - d->ymin};
            EDT_TRY(edt_coco_dt_add_f32(dt, b->source_ids[i], d->label, xywh, d->score, err));
        }
    }
    return EDT_OK;
}

static edt_status run_loader(edt_predictor *predictor, edt_loader *loader, int64_t n_wanted,
                             edt_coco_dt *dt, record_truth *truth, edt_error *err,
                             int64_t *out_n_images)
{
    edt_progress progress;
    edt_progress_begin(&progress, &(edt_progress_spec){
                                      .what = "evaluate", .unit = "images", .total = n_wanted});
    edt_status status = EDT_OK;
    int64_t n_images = 0;
    while (n_images < n_wanted) {
        const edt_batch *batch;
        status = edt_loader_next(loader, err, &batch);
        if (status == EDT_END) {
            status = EDT_OK;
            break;
        }
        if (status != EDT_OK) {
            break;
        }
        const edt_detection *rows;
        const int64_t *n_valid;
        status = edt_predictor_run(predictor, batch, err, &rows, &n_valid);
        if (status == EDT_OK) {
            status = add_detections(dt, batch, rows, edt_predictor_max_detections(predictor), err);
        }
        if (status == EDT_OK && truth != NULL) {
            status = collect_truth(truth, batch, err);
        }
        n_images += batch->n_valid;
        edt_loader_release(loader, batch);
        if (status == EDT_OK) {
            status = edt_interrupt_check(err);
        }
        if (status != EDT_OK) {
            break;
        }
        edt_progress_update(&progress, n_images, "%s", "");
    }
    edt_progress_end(&progress);
    *out_n_images = n_images;
    return status;
}

edt_status edt_evaluate(const edt_hparams *hp, edt_predictor *predictor, int64_t batch_size,
                        const edt_evaluation_options *options, edt_error *err,
                        edt_evaluation *out_evaluation)
{
    edt_evaluation e = {0};
    record_truth truth = {0};
    edt_loader *loader = NULL;
    edt_status status = EDT_OK;
    const bool from_records =
        options->val_json_file == NULL || options->val_json_file[0] == '\0';
    const double start = edt_clock_now_s();
    if (options->val_file_pattern == NULL || options->val_file_pattern[0] == '\0') {
        EDT_FAIL(err, EDT_ERR_USAGE, "evaluation needs --val_file_pattern (the shards to evaluate)");
    }
    // Read the ground truth first: a wrong path must not cost a pass over the pictures.
    if (!from_records) {
        EDT_TRY_GOTO(edt_coco_gt_open(options->val_json_file, &(edt_coco_gt_options){0}, err, &e.gt));
    }
    EDT_TRY_GOTO(edt_coco_dt_create(err, &e.detections));
    const edt_loader_options lo = {
        .file_pattern = options->val_file_pattern,
        .batch_size = batch_size,
        .n_threads = options->n_threads,
        .prefetch = 2,
        .world_size = 1,
        .format = EDT_SLOT_F32,
        .keep_groundtruth = from_records,
    };
    EDT_TRY_GOTO(edt_loader_create(hp, &lo, err, &loader));
    int64_t wanted = edt_loader_get_stats(loader).n_samples;
    if (options->eval_samples > 0 && options->eval_samples < wanted) {
        wanted = options->eval_samples;
    }
    EDT_TRY_GOTO(run_loader(predictor, loader, wanted, e.detections, from_records ? &truth : NULL,
                            err, &e.n_images));
    if (from_records) {
        EDT_TRY_GOTO(truth_to_gt(hp, &truth, err, &e.gt));
    }
    const edt_coco_params params = {
        .n_threads = options->n_threads,
        .only_images_with_detections = true,
    };
    EDT_TRY_GOTO(edt_coco_evaluate(e.gt, e.detections, &params, err, &e.result));
    e.seconds = edt_clock_now_s() - start;
    edt_loader_destroy(loader);
    edt_mem_free(truth.objects);
    edt_mem_free(truth.images);
    *out_evaluation = e;
    return EDT_OK;
fail:
    edt_loader_destroy(loader);
    edt_mem_free(truth.objects);
    edt_mem_free(truth.images);
    edt_evaluation_deinit(&e);
    return status;
}

edt_status edt_evaluate_batch(const edt_hparams *hp, edt_predictor *predictor,
                              const edt_batch *batch, edt_error *err,
                              edt_evaluation *out_evaluation)
{
    edt_evaluation e = {.n_images = batch->n_valid};
    record_truth truth = {0};
    edt_status status = EDT_OK;
    const edt_detection *rows;
    const int64_t *n_valid;
    EDT_TRY_GOTO(edt_coco_dt_create(err, &e.detections));
    EDT_TRY_GOTO(edt_predictor_run(predictor, batch, err, &rows, &n_valid));
    EDT_TRY_GOTO(add_detections(e.detections, batch, rows, edt_predictor_max_detections(predictor),
                                err));
    EDT_TRY_GOTO(collect_truth(&truth, batch, err));
    EDT_TRY_GOTO(truth_to_gt(hp, &truth, err, &e.gt));
    EDT_TRY_GOTO(edt_coco_evaluate(e.gt, e.detections,
                                   &(edt_coco_params){.only_images_with_detections = true}, err,
                                   &e.result));
    edt_mem_free(truth.objects);
    edt_mem_free(truth.images);
    *out_evaluation = e;
    return EDT_OK;
fail:
    edt_mem_free(truth.objects);
    edt_mem_free(truth.images);
    edt_evaluation_deinit(&e);
    return status;
}

void edt_evaluation_deinit(edt_evaluation *e)
{
    edt_coco_result_destroy(e->result);
    edt_coco_dt_destroy(e->detections);
    edt_coco_gt_destroy(e->gt);
    *e = (edt_evaluation){0};
}
