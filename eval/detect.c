// See detect.h. Pictures are decoded and scaled in parallel into the rows of one batch, the network
// runs once per batch, and both post-processings read the same outputs.
#include "eval/detect.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/parallel.h"
#include "core/path.h"
#include "core/progress.h"
#include "core/signal.h"
#include "core/thread.h"
#include "dataio/jpeg_encode.h"
#include "dataio/preprocess.h"
#include "eval/coco_eval.h"
#include "eval/draw_found.h"
#include "eval/draw_pixels.h"
#include "eval/evaluate.h"
#include "eval/image_files.h"
#include "eval/predict.h"
#include "model/io/restore.h"

enum { MAX_LEVELS = 16 };

// One picture of the current batch.
typedef struct picture {
    const char *path;
    int64_t image_id;
    uint8_t *pixels; // copy of the decoded picture, only when it will be drawn on
    edt_image image;
    edt_status status;
    edt_error error;
} picture;

typedef struct detector {
    const edt_hparams *hp;
    const edt_detect_options *options;
    edt_arena arena;
    edt_path_list files;
    int64_t *image_ids; // of the files
    edt_hparams draw_hp, eval_hp;
    edt_preprocess_config preprocess;
    bool draws, lists;
    edt_predictor *predictor; // the drawing kind when it draws, else the listing kind
    edt_anchors *anchors;
    edt_post *list_post; // when it does both
    edt_detection *list_rows;
    int n_workers;
    edt_preprocessor **preprocessors;
    edt_batch batch;
    float *images, *image_scales;
    int32_t *valid_hw;
    picture *pictures; // [batch_size]
    int64_t first;     // file number of the batch's row 0
    edt_coco_gt *gt;
    edt_coco_dt *dt;
    int64_t n_bad;
    double read_s, network_s, output_s;
} detector;

// Files, and where there are result rows their image ids.
static edt_status list_files(detector *d, edt_error *err)
{
    const edt_detect_options *o = d->options;
    if (o->input_image == NULL || o->input_image[0] == '\0') {
        EDT_FAIL(err, EDT_ERR_USAGE, "--input_image is missing: a picture, a glob or a directory");
    }
    EDT_TRY(edt_image_files_list(o->input_image, &d->arena, err, &d->files));
    if (d->draws) {
        EDT_TRY(edt_image_files_check_output(&d->files, o->output_image_dir, err));
    }
    d->image_ids = edt_arena_calloc(&d->arena, (size_t)d->files.n, sizeof *d->image_ids);
    if (d->image_ids == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for file names");
    }
    return d->lists ? edt_image_files_ids(&d->files, d->gt, o->val_json_file, d->image_ids, err)
                    : EDT_OK;
}

static edt_status decode_row(void *ctx, int worker, int64_t row, edt_error *err)
{
    (void)err; // a bad file is this row's business, not the batch's
    detector *d = ctx;
    picture *p = &d->pictures[row];
    edt_mapped_file file = {0};
    edt_image image;
    edt_status status = EDT_OK;
    EDT_TRY_GOTO(edt_mapped_file_open(p->path, &p->error, &file));
    const edt_sample_row to = {
        .image = d->images + row * d->batch.height * d->batch.width * 3,
        .valid_hw = d->valid_hw + row * 2,
        .image_scale = d->image_scales + row,
    };
    EDT_TRY_GOTO(edt_preprocess_picture(d->preprocessors[worker], file.span, &to, &p->error,
                                        d->draws ? &image : NULL));
    if (d->draws) {
        edt_mem_free(p->pixels);
        p->pixels = edt_mem_alloc(EDT_MEM_IMAGE, (size_t)(image.h * image.w * 3));
        if (p->pixels == NULL) {
            status = edt_error_set(&p->error, EDT_ERR_NOMEM, "no memory for a %" PRId64 "x%" PRId64
                                   " picture", image.h, image.w);
            goto fail;
        }
        const int64_t row_bytes = image.w * 3;
        for (int64_t y = 0; y < image.h; ++y) {
            memcpy(p->pixels + y * row_bytes, image.data + y * image.stride, (size_t)row_bytes);
        }
        p->image = (edt_image){p->pixels, image.h, image.w, row_bytes};
    }
fail:
    edt_mapped_file_close(&file);
    p->status = status;
    return EDT_OK;
}

static edt_status draw_row(const detector *d, int64_t row, const edt_detection *found,
                           int64_t n_valid, edt_error *err)
{
    const picture *p = &d->pictures[row];
    const edt_model *model = edt_predictor_model(d->predictor);
    if (model->has_segmentation) {
        const float *logits;
        EDT_TRY(edt_predictor_segmentation(d->predictor, row, err, &logits));
        EDT_TRY(edt_draw_pixels(model, logits, d->image_scales[row], &p->image, err));
    }
    const edt_draw_found_options draw = {
        .min_score = d->options->min_score_thresh,
        .max_boxes = d->options->max_boxes_to_draw,
        .line_width = d->options->line_thickness,
    };
    EDT_TRY(edt_draw_found(d->hp, found, n_valid, &draw, &p->image, err, NULL));
    char name[64];
    (void)snprintf(name, sizeof name, "%" PRId64 ".jpg", d->first + row);
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    const char *path = edt_path_join(&arena, d->options->output_image_dir, name);
    const edt_status status = path != NULL
                                  ? edt_jpeg_write(path, &p->image,
                                                   &(edt_jpeg_encode_options){.quality = 90}, err)
                                  : edt_error_set(err, EDT_ERR_NOMEM, "no memory for a file name");
    edt_arena_deinit(&arena);
    return status;
}

static edt_status list_row(detector *d, int64_t row, const edt_detection *found, int64_t n_valid,
                           edt_error *err)
{
    for (int64_t i = 0; i < n_valid; ++i) {
        const float xywh[4] = {found[i].xmin, found[i].ymin, found[i].xmax - found[i].xmin,
                               found[i].ymax - found[i].ymin};
        EDT_TRY(edt_coco_dt_add_f32(d->dt, d->pictures[row].image_id, found[i].label, xywh,
                                    found[i].score, err));
    }
    return EDT_OK;
}

static edt_status finish_row(detector *d, int64_t row, const edt_detection *found, int64_t n_valid,
                             edt_error *err)
{
    const picture *p = &d->pictures[row];
    if (p->status != EDT_OK) {
        EDT_WARN("%s is left out: %s", p->path, p->error.text);
        ++d->n_bad;
        return EDT_OK;
    }
    if (d->draws) {
        EDT_TRY(draw_row(d, row, found, n_valid, err));
    }
    if (d->lists && d->draws) {
        const float *cls[MAX_LEVELS], *box[MAX_LEVELS];
        EDT_TRY(edt_predictor_outputs(d->predictor, row, err, cls, box));
        EDT_TRY(edt_post_run(d->list_post, cls, box, d->image_scales[row], d->list_rows, &n_valid,
                             err));
        found = d->list_rows;
    }
    return d->lists ? list_row(d, row, found, n_valid, err) : EDT_OK;
}

static edt_status run_batch(detector *d, edt_error *err)
{
    const int64_t left = d->files.n - d->first;
    const int64_t n = left < d->options->batch_size ? left : d->options->batch_size;
    for (int64_t row = 0; row < n; ++row) {
        picture *p = &d->pictures[row];
        p->path = d->files.path[d->first + row];
        p->image_id = d->image_ids[d->first + row];
    }
    d->batch.n_valid = n;
    const double t0 = edt_clock_now_s();
    EDT_TRY(edt_parallel_for(d->n_workers, n, decode_row, d, err));
    const double t1 = edt_clock_now_s();
    const edt_detection *found;
    const int64_t *n_valid;
    EDT_TRY(edt_predictor_run(d->predictor, &d->batch, err, &found, &n_valid));
    const double t2 = edt_clock_now_s();
    const int64_t max = edt_predictor_max_detections(d->predictor);
    for (int64_t row = 0; row < n; ++row) {
        EDT_TRY(finish_row(d, row, found + row * max, n_valid[row], err));
    }
    d->read_s += t1 - t0;
    d->network_s += t2 - t1;
    d->output_s += edt_clock_now_s() - t2;
    d->first += n;
    return EDT_OK;
}

// mixed_precision comes from --hparams or from the checkpoint's own settings.
static void tell_precision(const detector *d, const edt_backend *backend)
{
    if (!d->hp->mixed_precision) {
        return;
    }
    const edt_dtype real = edt_predictor_real(d->predictor);
    const char *device = backend->table->name;
    if (real == EDT_DTYPE_F32) {
        EDT_WARN("mixed_precision=true: device %s computes %s in 32 bits", device,
                 d->hp->loss_scale > 0.0 ? "what was trained in f16" : "networks");
    } else if (strcmp(device, "cpu") == 0 && !edt_backend_cpu_multiplies_bf16()) {
        EDT_WARN("mixed_precision=true: this processor has no bf16 products (AVX512_BF16): the "
                 "network is no faster than with --hparams=mixed_precision=false");
    } else {
        EDT_INFO("the network runs in %s (mixed_precision=true)", edt_dtype_name(real));
    }
}

static edt_status load_weights(detector *d, edt_error *err)
{
    edt_params *params = edt_predictor_params(d->predictor);
    if (d->options->ckpt == NULL) {
        EDT_WARN("random weights: no checkpoint was given");
        return edt_params_init_random(params, 0, err);
    }
    const edt_restore_options restore = {
        .use_ema = d->hp->moving_average_decay > 0.0,
        .strict = true,
    };
    edt_restore_report report;
    EDT_TRY(edt_restore(params, d->options->ckpt, &restore, err, &report));
    edt_restore_report_log(&report);
    edt_restore_report_deinit(&report);
    return EDT_OK;
}

static edt_status set_up(detector *d, edt_backend *backend, edt_error *err)
{
    const edt_detect_options *o = d->options;
    d->draws = o->output_image_dir != NULL;
    d->lists = o->output_json != NULL || o->val_json_file != NULL;
    if (!d->draws && !d->lists) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "nothing to write: give --output_image_dir, --output_json or --val_json_file");
    }
    if (o->val_json_file != NULL) {
        EDT_TRY(edt_coco_gt_open(o->val_json_file, &(edt_coco_gt_options){0}, err, &d->gt));
    }
    EDT_TRY(list_files(d, err));
    EDT_TRY(edt_hparams_copy(d->hp, err, &d->eval_hp));
    EDT_TRY(edt_hparams_copy(d->hp, err, &d->draw_hp));
    edt_evaluation_settings(&d->eval_hp);
    d->draw_hp.nms_configs.method = o->nms_method;
    d->draw_hp.nms_configs.max_nms_inputs = 0;
    d->draw_hp.nms_configs.max_output_size = o->max_boxes_to_draw;
    if (o->min_score_thresh > 0.0) {
        d->draw_hp.nms_configs.score_thresh = o->min_score_thresh;
    }
    const edt_predictor_options po = {
        .batch_size = o->batch_size,
        .slot_format = EDT_SLOT_F32,
        .post_mode = d->draws ? EDT_POST_GLOBAL : EDT_POST_PER_CLASS,
        .n_threads = o->n_threads,
    };
    EDT_TRY(edt_predictor_create_standalone(d->draws ? &d->draw_hp : &d->eval_hp, backend, &po, err,
                                            &d->predictor));
    tell_precision(d, backend);
    if (d->lists) {
        EDT_TRY(edt_predictor_need_detection(d->predictor, "a list of detections", err));
    }
    EDT_TRY(load_weights(d, err));
    if (d->draws && d->lists) {
        EDT_TRY(edt_anchors_create(d->hp, err, &d->anchors));
        EDT_TRY(edt_post_create(&d->eval_hp, d->anchors, EDT_POST_PER_CLASS, err, &d->list_post));
        d->list_rows =
            edt_mem_calloc(EDT_MEM_EVAL, (size_t)d->eval_hp.nms_configs.max_output_size,
                           sizeof *d->list_rows);
        if (d->list_rows == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for detections");
        }
    }
    if (d->lists) {
        EDT_TRY(edt_coco_dt_create(err, &d->dt));
    }
    if (d->draws) {
        EDT_TRY(edt_path_mkdirs(o->output_image_dir, err));
    }
    return edt_preprocess_configure(d->hp, false, EDT_SLOT_F32, err, &d->preprocess);
}

static edt_status allocate(detector *d, edt_error *err)
{
    const int64_t n = d->options->batch_size;
    const edt_model *model = edt_predictor_model(d->predictor);
    d->n_workers = d->options->n_threads > 0 ? d->options->n_threads : edt_thread_cpu_count();
    d->images = edt_mem_calloc(EDT_MEM_SLOT, (size_t)(n * model->image_h * model->image_w * 3),
                               sizeof *d->images);
    d->image_scales = edt_mem_calloc(EDT_MEM_SLOT, (size_t)n, sizeof *d->image_scales);
    d->pictures = edt_mem_calloc(EDT_MEM_SLOT, (size_t)n, sizeof *d->pictures);
    d->valid_hw = edt_mem_calloc(EDT_MEM_SLOT, (size_t)n * 2, sizeof *d->valid_hw);
    d->preprocessors =
        edt_mem_calloc(EDT_MEM_MISC, (size_t)d->n_workers, sizeof *d->preprocessors);
    if (d->images == NULL || d->image_scales == NULL || d->pictures == NULL ||
        d->valid_hw == NULL || d->preprocessors == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for a batch of %" PRId64 " pictures", n);
    }
    for (int i = 0; i < d->n_workers; ++i) {
        EDT_TRY(edt_preprocessor_create(&d->preprocess, i, err, &d->preprocessors[i]));
    }
    d->batch = (edt_batch){
        .batch_size = n,
        .height = model->image_h,
        .width = model->image_w,
        .format = EDT_SLOT_F32,
        .images = d->images,
        .image_scales = d->image_scales,
    };
    return EDT_OK;
}

static edt_status finish(detector *d, edt_error *err)
{
    const edt_detect_options *o = d->options;
    if (o->show_timing) {
        const double n = (double)d->files.n;
        printf("read %.1f ms, network and post-processing %.1f ms, output %.1f ms per picture\n",
               1e3 * d->read_s / n, 1e3 * d->network_s / n, 1e3 * d->output_s / n);
    }
    if (o->output_json != NULL) {
        EDT_TRY(edt_coco_dt_write_json(d->dt, o->output_json, err));
        EDT_INFO("%" PRId64 " detections in %s", edt_coco_dt_count(d->dt), o->output_json);
    }
    if (d->gt != NULL) {
        edt_coco_result *result = NULL;
        EDT_TRY(edt_coco_evaluate(d->gt, d->dt,
                                  &(edt_coco_params){.n_threads = o->n_threads,
                                                     .only_images_with_detections = true},
                                  err, &result));
        edt_coco_print_summary(result, stdout);
        edt_coco_result_destroy(result);
    }
    if (d->draws) {
        EDT_INFO("%" PRId64 " pictures with boxes in %s", d->files.n - d->n_bad,
                 o->output_image_dir);
    }
    if (d->n_bad > 0) {
        EDT_FAIL(err, EDT_ERR_FORMAT,
                 "%" PRId64 " of %" PRId64 " files could not be read (named above)", d->n_bad,
                 d->files.n);
    }
    return EDT_OK;
}

static edt_status run(detector *d, edt_backend *backend, edt_error *err)
{
    EDT_TRY(set_up(d, backend, err));
    EDT_TRY(allocate(d, err));
    edt_progress progress;
    edt_progress_begin(&progress, &(edt_progress_spec){
                                      .what = "detect", .unit = "pictures", .total = d->files.n});
    edt_status status = EDT_OK;
    while (status == EDT_OK && d->first < d->files.n) {
        status = run_batch(d, err);
        edt_progress_update(&progress, d->first, "%s", "");
        if (status == EDT_OK) {
            status = edt_interrupt_check(err);
        }
    }
    edt_progress_end(&progress);
    EDT_TRY(status);
    return finish(d, err);
}

edt_status edt_detect_run(const edt_hparams *hp, edt_backend *backend,
                          const edt_detect_options *options, edt_error *err)
{
    detector d = {.hp = hp, .options = options};
    edt_arena_init(&d.arena, EDT_MEM_ARENA, 0);
    const edt_status status = run(&d, backend, err);
    for (int i = 0; i < d.n_workers; ++i) {
        if (d.preprocessors != NULL) {
            edt_preprocessor_destroy(d.preprocessors[i]);
        }
    }
    for (int64_t i = 0; d.pictures != NULL && i < options->batch_size; ++i) {
        edt_mem_free(d.pictures[i].pixels);
    }
    edt_mem_free(d.preprocessors);
    edt_mem_free(d.valid_hw);
    edt_mem_free(d.pictures);
    edt_mem_free(d.images);
    edt_mem_free(d.image_scales);
    edt_mem_free(d.list_rows);
    edt_post_destroy(d.list_post);
    edt_anchors_destroy(d.anchors);
    edt_predictor_destroy(d.predictor);
    edt_coco_dt_destroy(d.dt);
    edt_coco_gt_destroy(d.gt);
    edt_hparams_deinit(&d.draw_hp);
    edt_hparams_deinit(&d.eval_hp);
    edt_arena_deinit(&d.arena);
    return status;
}
