// See evaluate.h. What a rank finds is written down picture by picture (found.h); rank 0 reads
// the notes of all ranks in the order of the data set, so that one rank and several evaluate
// the same.
#include "eval/evaluate.h"

#include "core/clock.h"
#include "core/path.h"
#include "core/progress.h"
#include "dataio/labels.h"
#include "dataio/loader.h"
#include "dist/stop_vote.h"
#include "eval/coco_stream.h"
#include "eval/found.h"

enum { EVAL_NMS_INPUTS = 5000 };

static bool is_given(const char *text)
{
    return text != NULL && text[0] != '\0';
}

void edt_evaluation_settings(edt_hparams *hp)
{
    if (hp->nms_configs.max_nms_inputs == 0) {
        hp->nms_configs.max_nms_inputs = EVAL_NMS_INPUTS;
    }
}

// Ground truth collected from the records when there is no JSON.
typedef struct record_truth {
    edt_coco_object *objects;
    int64_t n_objects, cap_objects;
    int64_t *images;
    int64_t n_images, cap_images;
} record_truth;

static edt_status grow(void **block, int64_t *cap, int64_t need, size_t item_bytes,
                       edt_error *err)
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

static edt_status add_truth(record_truth *t, const edt_found_image *image, edt_error *err)
{
    EDT_TRY(grow((void **)&t->images, &t->cap_images, t->n_images + 1, sizeof *t->images, err));
    t->images[t->n_images++] = image->source_id;
    for (int64_t j = 0; j < image->n_truth; ++j) {
        const float *row = image->truth + j * EDT_FOUND_TRUTH_COLUMNS;
        EDT_TRY(grow((void **)&t->objects, &t->cap_objects, t->n_objects + 1,
                     sizeof *t->objects, err));
        const float w = row[3] - row[1], h = row[2] - row[0];
        t->objects[t->n_objects] = (edt_coco_object){
            .id = t->n_objects + 1,
            .image_id = image->source_id,
            .category_id = (int64_t)row[6],
            .bbox = {(double)row[1], (double)row[0], (double)w, (double)h},
            .area = (double)(w * h),
            .is_crowd = row[4] != 0.0F,
        };
        ++t->n_objects;
    }
    return EDT_OK;
}

// The label map's name of a class, else the one that the shards hold (`loader` may be NULL),
// else NULL.
static const char *name_class(const edt_hparams *hp, const edt_loader *loader, int64_t id,
                              edt_arena *arena)
{
    const char *name = edt_labels_find(&hp->label_map, id);
    if (name != NULL || loader == NULL) {
        return name;
    }
    const edt_text text = edt_loader_label_name(loader, id);
    return text.n_bytes > 0 ? edt_arena_strndup(arena, text.data, text.n_bytes) : NULL;
}

// Categories are the classes seen.
static edt_status truth_to_gt(const edt_hparams *hp, const edt_loader *loader,
                              const record_truth *t, edt_error *err, edt_coco_gt **out_gt)
{
    edt_arena names; // until the ground truth has copies
    edt_coco_category *categories = NULL;
    int64_t n = 0, cap = 0;
    edt_status status = EDT_OK;
    edt_arena_init(&names, EDT_MEM_EVAL, 0);
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
                    .name = name_class(hp, loader, t->objects[i].category_id, &names),
                };
            }
        }
    }
    if (status == EDT_OK) {
        status = edt_coco_gt_create(t->images, t->n_images, categories, n, t->objects,
                                    t->n_objects, err, out_gt);
    }
    edt_mem_free(categories);
    edt_arena_deinit(&names);
    return status;
}

static edt_status add_detections(edt_coco_dt *dt, const edt_found_image *image, edt_error *err)
{
    for (int64_t j = 0; j < image->n_detections; ++j) {
        const edt_detection *d = &image->detections[j];
        const float xywh[4] = {d->xmin, d->ymin, d->xmax - d->xmin, d->ymax - d->ymin};
        EDT_TRY(edt_coco_dt_add_f32(dt, image->source_id, d->label, xywh, d->score, err));
    }
    return EDT_OK;
}

// imgIds are the images that have detections (spec 2.1).
static const edt_coco_params evaluation_params = {.only_images_with_detections = true};

// The notes of all ranks, batch by batch and in each batch by rank: the order of the data set.
// Ends with the batch that a single rank would have ended with.
static edt_status read_notes(const edt_comm_parts *parts, int world_size, int64_t n_wanted,
                             edt_coco_dt *dt, record_truth *truth, edt_error *err,
                             int64_t *out_n_images)
{
    edt_status status = EDT_OK;
    int64_t n_images = 0;
    edt_found_reader *readers =
        edt_mem_calloc(EDT_MEM_EVAL, (size_t)world_size, sizeof *readers);
    if (readers == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to gather an evaluation");
    }
    for (int r = 0; r < world_size; ++r) {
        edt_found_reader_init(&readers[r], parts->data + parts->begin[r],
                              parts->begin[r + 1] - parts->begin[r]);
    }
    for (int r = 0; n_images < n_wanted && edt_found_reader_has_more(&readers[r]);
         r = (r + 1) % world_size) {
        const int64_t n = edt_found_read_batch(&readers[r]);
        for (int64_t i = 0; i < n; ++i) {
            edt_found_image image;
            edt_found_read_image(&readers[r], &image);
            EDT_TRY_GOTO(add_detections(dt, &image, err));
            if (truth != NULL) {
                EDT_TRY_GOTO(add_truth(truth, &image, err));
            }
        }
        n_images += n;
    }
    *out_n_images = n_images;
fail:
    edt_mem_free(readers);
    return status;
}

// Matches the batch that was written last in the background, while the next one is predicted. A
// picture that comes a second time ends this: then all is evaluated from the notes at the end.
static edt_status stream_batch(edt_coco_stream **stream, const edt_found *found, size_t begin,
                               edt_error *err)
{
    edt_found_reader reader;
    edt_coco_dt *batch = NULL;
    edt_status status = EDT_OK;
    edt_found_reader_init(&reader, found->bytes + begin, found->n_bytes - begin);
    EDT_TRY(edt_coco_dt_create(err, &batch));
    for (int64_t left = edt_found_read_batch(&reader); left > 0; --left) {
        edt_found_image image;
        edt_found_read_image(&reader, &image);
        EDT_TRY_GOTO(add_detections(batch, &image, err));
    }
    edt_error words = {0};
    status = edt_coco_stream_add(*stream, batch, &words);
    batch = NULL;
    if (status == EDT_ERR_INVALID) {
        edt_coco_stream_destroy(*stream);
        *stream = NULL;
        status = EDT_OK;
    } else if (status != EDT_OK) {
        status = edt_error_set(err, status, "%s", words.text);
    }
fail:
    edt_coco_dt_destroy(batch);
    return status;
}

// Ranks have the same batches, the last ones maybe without a picture, and so the same votes.
static edt_status check_cancel(const edt_evaluation_options *options, edt_stop_vote *vote,
                               edt_error *err)
{
    bool stops;
    if (options->cancel != NULL && atomic_load(options->cancel)) {
        EDT_FAIL(err, EDT_ERR_CANCELLED, "cancelled");
    }
    EDT_TRY(edt_stop_vote_next(vote, options->comm, err, &stops));
    if (stops) {
        EDT_FAIL(err, EDT_ERR_CANCELLED, "interrupted");
    }
    return EDT_OK;
}

// Pictures are counted as a single rank would count them: those of all ranks.
static edt_status run_loader(edt_predictor *predictor, edt_loader *loader, int64_t n_wanted,
                             const edt_evaluation_options *options, edt_found *found,
                             edt_coco_stream **stream, edt_loss_notes *losses, edt_error *err)
{
    const int world_size = edt_comm_world_size(options->comm);
    edt_progress progress;
    edt_progress_begin(&progress, &(edt_progress_spec){
                                      .what = "evaluate", .unit = "images", .total = n_wanted});
    edt_status status = EDT_OK;
    edt_stop_vote vote = {0};
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
        const edt_detection *rows = NULL;
        const int64_t *n_valid;
        // The last batch may leave nothing for this rank.
        if (batch->n_valid > 0) {
            status = edt_predictor_run(predictor, batch, err, &rows, &n_valid);
        }
        if (status == EDT_OK && edt_predictor_has_losses(predictor)) {
            edt_loss_values values = {0};
            status =
                batch->n_valid > 0 ? edt_predictor_losses(predictor, err, &values) : EDT_OK;
            status = status == EDT_OK ? edt_loss_notes_add(losses, batch->n_valid, &values, err)
                                      : status;
        }
        const size_t begin = found->n_bytes;
        if (status == EDT_OK) {
            status = edt_found_write(found, batch, rows,
                                     edt_predictor_max_detections(predictor), err);
        }
        if (status == EDT_OK && *stream != NULL) {
            status = stream_batch(stream, found, begin, err);
        }
        n_images += world_size == 1 ? batch->n_valid : batch->batch_size * world_size;
        edt_loader_release(loader, batch);
        if (status == EDT_OK) {
            status = check_cancel(options, &vote, err);
        }
        if (status != EDT_OK) {
            break;
        }
        if (!options->quiet) {
            edt_progress_update(&progress, n_images < n_wanted ? n_images : n_wanted, "%s", "");
        }
    }
    if (!options->quiet) {
        edt_progress_end(&progress);
    }
    bool stops;
    edt_error ignored = {0}; // the first one stays
    const edt_status ended =
        edt_stop_vote_end(&vote, options->comm, status == EDT_OK ? err : &ignored, &stops);
    if (status == EDT_OK && ended == EDT_OK && stops) {
        EDT_FAIL(err, EDT_ERR_CANCELLED, "interrupted");
    }
    return status == EDT_OK ? ended : status;
}

// Detections and, without a JSON, ground truth of what all ranks found; metrics from both.
// `stream`: what has been matched already, or NULL.
static edt_status finish(const edt_hparams *hp, const edt_loader *loader,
                         const edt_comm_parts *parts, int world_size, int64_t n_wanted,
                         bool from_records, int n_threads, edt_coco_stream *stream,
                         edt_error *err, edt_evaluation *e)
{
    record_truth truth = {0};
    edt_status status = EDT_OK;
    EDT_TRY_GOTO(edt_coco_dt_create(err, &e->detections));
    EDT_TRY_GOTO(read_notes(parts, world_size, n_wanted, e->detections,
                            from_records ? &truth : NULL, err, &e->n_images));
    if (from_records) {
        EDT_TRY_GOTO(truth_to_gt(hp, loader, &truth, err, &e->gt));
    }
    if (stream != NULL) {
        EDT_TRY_GOTO(edt_coco_stream_finish(stream, err, &e->result));
    } else if (e->gt != NULL) {
        edt_coco_params params = evaluation_params;
        params.n_threads = n_threads;
        EDT_TRY_GOTO(edt_coco_evaluate(e->gt, e->detections, &params, err, &e->result));
    }
fail:
    edt_mem_free(truth.objects);
    edt_mem_free(truth.images);
    return status;
}

static edt_status write_test_dev(const edt_evaluation *e, const char *dir, edt_error *err)
{
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_EVAL, 0);
    const char *path = edt_path_join(&arena, dir, EDT_EVALUATE_TEST_DEV_FILE);
    const edt_status status =
        path != NULL ? edt_coco_dt_write_test_dev(e->detections, path, err)
                     : edt_error_set(err, EDT_ERR_NOMEM, "no memory for a file name");
    edt_arena_deinit(&arena);
    return status;
}

edt_status edt_evaluate(const edt_hparams *hp, edt_predictor *predictor, int64_t batch_size,
                        const edt_evaluation_options *options, edt_error *err,
                        edt_evaluation *out_evaluation)
{
    edt_evaluation e = {0};
    edt_found found = {0};
    edt_loss_notes losses = {0};
    edt_comm_parts parts = {0};
    edt_loader *loader = NULL;
    edt_status status = EDT_OK;
    const int world_size = edt_comm_world_size(options->comm);
    const int rank = edt_comm_rank(options->comm);
    edt_coco_stream *stream = NULL;
    const bool is_test_dev = is_given(options->testdev_dir);
    const bool has_json = !is_test_dev && is_given(options->val_json_file);
    const bool from_records = !is_test_dev && !has_json;
    const double start = edt_clock_now_s();
    EDT_TRY(edt_predictor_need_detection(predictor, "evaluation", err));
    if (!is_given(options->val_file_pattern)) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "evaluation needs --val_file_pattern (the shards to evaluate)");
    }
    // Read the ground truth first: a wrong path must not cost a pass over the pictures.
    if (has_json && rank == 0) {
        EDT_TRY_GOTO(
            edt_coco_gt_open(options->val_json_file, &(edt_coco_gt_options){0}, err, &e.gt));
    }
    if (has_json && world_size == 1) {
        EDT_TRY_GOTO(edt_coco_stream_create(e.gt, &evaluation_params, err, &stream));
    }
    const edt_loader_options lo = {
        .file_pattern = options->val_file_pattern,
        .batch_size = batch_size,
        .n_threads = options->n_threads,
        .prefetch = 2,
        .rank = rank,
        .world_size = world_size,
        .format = EDT_SLOT_F32,
        .keep_groundtruth = from_records,
        .n_anchors = edt_predictor_model(predictor)->n_anchors,
        .targets = edt_predictor_has_losses(predictor) ? options->targets : NULL,
        .targets_ctx = options->targets_ctx,
    };
    EDT_TRY_GOTO(edt_loader_create(hp, &lo, err, &loader));
    int64_t wanted = edt_loader_get_stats(loader).n_samples;
    if (options->eval_samples > 0 && options->eval_samples < wanted) {
        wanted = options->eval_samples;
    }
    EDT_TRY_GOTO(run_loader(predictor, loader, wanted, options, &found, &stream, &losses, err));
    if (edt_predictor_has_losses(predictor)) {
        EDT_TRY_GOTO(edt_loss_notes_average(&losses, options->comm, wanted, err, &e.losses));
    }
    EDT_TRY_GOTO(
        edt_comm_gather(options->comm, false, found.bytes, found.n_bytes, err, &parts));
    if (rank == 0) {
        EDT_TRY_GOTO(finish(hp, loader, &parts, world_size, wanted, from_records,
                            options->n_threads, stream, err, &e));
    }
    if (rank == 0 && is_test_dev) {
        EDT_TRY_GOTO(write_test_dev(&e, options->testdev_dir, err));
    }
    e.seconds = edt_clock_now_s() - start;
    edt_loader_log_bad(loader);
    edt_coco_stream_destroy(stream);
    edt_loader_destroy(loader);
    edt_found_deinit(&found);
    edt_loss_notes_deinit(&losses);
    edt_comm_parts_deinit(&parts);
    *out_evaluation = e;
    return EDT_OK;
fail:
    edt_coco_stream_destroy(stream);
    edt_loader_destroy(loader);
    edt_found_deinit(&found);
    edt_loss_notes_deinit(&losses);
    edt_comm_parts_deinit(&parts);
    edt_evaluation_deinit(&e);
    return status;
}

edt_status edt_evaluate_batch(const edt_hparams *hp, edt_predictor *predictor,
                              const edt_batch *batch, edt_error *err,
                              edt_evaluation *out_evaluation)
{
    edt_evaluation e = {0};
    edt_found found = {0};
    edt_comm_parts parts = {0};
    edt_status status = EDT_OK;
    const edt_detection *rows;
    const int64_t *n_valid;
    EDT_TRY_GOTO(edt_predictor_run(predictor, batch, err, &rows, &n_valid));
    EDT_TRY_GOTO(
        edt_found_write(&found, batch, rows, edt_predictor_max_detections(predictor), err));
    EDT_TRY_GOTO(edt_comm_gather(NULL, false, found.bytes, found.n_bytes, err, &parts));
    EDT_TRY_GOTO(finish(hp, NULL, &parts, 1, batch->n_valid, true, 0, NULL, err, &e));
    *out_evaluation = e;
fail:
    edt_found_deinit(&found);
    edt_comm_parts_deinit(&parts);
    if (status != EDT_OK) {
        edt_evaluation_deinit(&e);
    }
    return status;
}

void edt_evaluation_deinit(edt_evaluation *e)
{
    edt_coco_result_destroy(e->result);
    edt_coco_dt_destroy(e->detections);
    edt_coco_gt_destroy(e->gt);
    *e = (edt_evaluation){0};
}
