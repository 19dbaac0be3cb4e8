// See detect.h. The network runs once per batch, both post-processings read the same outputs,
// and the next pictures are read meanwhile.
#include "eval/detect.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/path.h"
#include "core/progress.h"
#include "core/signal.h"
#include "eval/coco_eval.h"
#include "eval/evaluate.h"
#include "eval/image_files.h"
#include "eval/picture_reader.h"
#include "eval/picture_writer.h"
#include "eval/predict.h"
#include "model/io/restore.h"

enum { MAX_LEVELS = 16 };

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
    edt_picture_reader *reader;
    edt_picture_writer *writer;     // when it draws
    const edt_picture_batch *batch; // the current one
    edt_coco_gt *gt;
    edt_coco_dt *dt;
    int64_t n_bad;
    double read_s, waited_s, network_s, output_s;
} detector;

// Files, and where there are result rows their image ids.
static edt_status list_files(detector *d, edt_error *err)
{
    const edt_detect_options *o = d->options;
    if (o->input_image == NULL || o->input_image[0] == '\0') {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "--input_image is missing: a picture, a glob or a directory");
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

static edt_status draw_row(const detector *d, int64_t row, const edt_detection *found,
                           int64_t n_valid, edt_error *err)
{
    edt_picture_found f = {.number = d->batch->first + row,
                           .found = found,
                           .n_found = n_valid,
                           .image_scale = d->batch->batch.image_scales[row]};
    if (edt_predictor_model(d->predictor)->has_segmentation) {
        EDT_TRY(edt_predictor_segmentation(d->predictor, row, err, &f.logits));
    }
    return edt_picture_writer_add(d->writer, &d->batch->pictures[row], &f, err);
}

static edt_status list_row(detector *d, int64_t row, const edt_detection *found,
                           int64_t n_valid, edt_error *err)
{
    for (int64_t i = 0; i < n_valid; ++i) {
        const float xywh[4] = {found[i].xmin, found[i].ymin, found[i].xmax - found[i].xmin,
                               found[i].ymax - found[i].ymin};
        EDT_TRY(edt_coco_dt_add_f32(d->dt, d->image_ids[d->batch->first + row], found[i].label,
                                    xywh, found[i].score, err));
    }
    return EDT_OK;
}

static edt_status finish_row(detector *d, int64_t row, const edt_detection *found,
                             int64_t n_valid, edt_error *err)
{
    const edt_picture *p = &d->batch->pictures[row];
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
        EDT_TRY(edt_post_run_shared(d->list_post, edt_predictor_params(d->predictor)->backend,
                                    cls, box, d->batch->batch.image_scales[row], d->list_rows,
                                    &n_valid, err));
        found = d->list_rows;
    }
    return d->lists ? list_row(d, row, found, n_valid, err) : EDT_OK;
}

// EDT_END when there is no batch any more.
static edt_status run_batch(detector *d, edt_error *err)
{
    edt_picture_batch *batch;
    const double t0 = edt_clock_now_s();
    EDT_TRY(edt_picture_reader_next(d->reader, err, &batch));
    const double t1 = edt_clock_now_s();
    d->batch = batch;
    const edt_detection *found;
    const int64_t *n_valid;
    EDT_TRY(edt_predictor_run(d->predictor, &batch->batch, err, &found, &n_valid));
    const double t2 = edt_clock_now_s();
    const int64_t max = edt_predictor_max_detections(d->predictor);
    for (int64_t row = 0; row < batch->batch.n_valid; ++row) {
        EDT_TRY(finish_row(d, row, found + row * max, n_valid[row], err));
    }
    d->read_s += batch->read_seconds;
    d->waited_s += t1 - t0;
    d->network_s += t2 - t1;
    d->output_s += edt_clock_now_s() - t2;
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
    edt_restore_report report = {0};
    const edt_status status = edt_restore(params, d->options->ckpt, &restore, err, &report);
    if (status == EDT_OK) {
        edt_restore_report_log(&report);
    }
    edt_restore_report_deinit(&report);
    return status;
}

static edt_status create_writer(detector *d, edt_error *err)
{
    const edt_detect_options *o = d->options;
    const edt_picture_writer_options wo = {
        .hp = d->hp,
        .model = edt_predictor_model(d->predictor),
        .dir = o->output_image_dir,
        .draw = {.min_score = o->min_score_thresh,
                 .max_boxes = o->max_boxes_to_draw,
                 .line_width = o->line_thickness},
        .max_found = edt_predictor_max_detections(d->predictor),
        .n_network_threads = o->n_threads,
    };
    return edt_picture_writer_create(&wo, err, &d->writer);
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
    EDT_TRY(edt_predictor_create_standalone(d->draws ? &d->draw_hp : &d->eval_hp, backend, &po,
                                            err, &d->predictor));
    tell_precision(d, backend);
    if (d->lists) {
        EDT_TRY(edt_predictor_need_detection(d->predictor, "a list of detections", err));
    }
    EDT_TRY(load_weights(d, err));
    if (d->draws && d->lists) {
        EDT_TRY(edt_anchors_create(d->hp, err, &d->anchors));
        EDT_TRY(
            edt_post_create(&d->eval_hp, d->anchors, EDT_POST_PER_CLASS, err, &d->list_post));
        d->list_rows = edt_mem_calloc(
            EDT_MEM_EVAL, (size_t)d->eval_hp.nms_configs.max_output_size, sizeof *d->list_rows);
        if (d->list_rows == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for detections");
        }
    }
    if (d->lists) {
        EDT_TRY(edt_coco_dt_create(err, &d->dt));
    }
    if (d->draws) {
        EDT_TRY(edt_path_mkdirs(o->output_image_dir, err));
        EDT_TRY(create_writer(d, err));
    }
    EDT_TRY(edt_preprocess_configure(d->hp, false, EDT_SLOT_F32, err, &d->preprocess));
    return edt_picture_reader_create(&(edt_picture_reader_options){.files = &d->files,
                                                                   .config = &d->preprocess,
                                                                   .batch_size = o->batch_size,
                                                                   .keeps_pictures = d->draws,
                                                                   .n_threads = o->n_threads},
                                     err, &d->reader);
}

static edt_status finish(detector *d, edt_error *err)
{
    const edt_detect_options *o = d->options;
    if (d->writer != NULL) {
        const double begun = edt_clock_now_s();
        EDT_TRY(edt_picture_writer_finish(d->writer, err));
        d->output_s += edt_clock_now_s() - begun;
    }
    if (o->show_timing) {
        const double n = (double)d->files.n;
        printf("read %.1f ms (waited for %.1f ms), network and post-processing %.1f ms",
               1e3 * d->read_s / n, 1e3 * d->waited_s / n, 1e3 * d->network_s / n);
        if (d->writer != NULL) {
            printf(", drawing %.1f ms", 1e3 * edt_picture_writer_seconds(d->writer) / n);
        }
        printf(", output %.1f ms per picture\n", 1e3 * d->output_s / n);
    }
    if (o->output_json != NULL) {
        EDT_TRY(edt_coco_dt_write_json(d->dt, o->output_json, err));
        EDT_INFO("%" PRId64 " detections in %s", edt_coco_dt_count(d->dt), o->output_json);
    }
    if (d->gt != NULL) {
        edt_coco_result *result = NULL;
        EDT_TRY(edt_coco_evaluate(
            d->gt, d->dt,
            &(edt_coco_params){.n_threads = o->n_threads, .only_images_with_detections = true},
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
    edt_progress progress;
    edt_progress_begin(
        &progress,
        &(edt_progress_spec){.what = "detect", .unit = "pictures", .total = d->files.n});
    edt_status status = EDT_OK;
    while (status == EDT_OK) {
        status = run_batch(d, err);
        if (status == EDT_OK) {
            edt_progress_update(&progress, d->batch->first + d->batch->batch.n_valid, "%s", "");
            status = edt_interrupt_check(err);
        }
    }
    edt_progress_end(&progress);
    if (status != EDT_END) {
        return status;
    }
    return finish(d, err);
}

edt_status edt_detect_run(const edt_hparams *hp, edt_backend *backend,
                          const edt_detect_options *options, edt_error *err)
{
    detector d = {.hp = hp, .options = options};
    edt_arena_init(&d.arena, EDT_MEM_ARENA, 0);
    const edt_status status = run(&d, backend, err);
    edt_picture_writer_destroy(d.writer); // draws with names and the model of the others
    edt_picture_reader_destroy(d.reader);
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
