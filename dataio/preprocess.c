// See preprocess.h.
#include "dataio/preprocess.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "augment/boxes.h"
#include "augment/resize.h"
#include "core/clock.h"
#include "core/mem.h"
#include "dataio/example.h"
#include "dataio/fingerprint64.h"
#include "dataio/jpeg_decode.h"

enum { GT_COLUMNS = 7 };

struct edt_preprocessor {
    const edt_preprocess_config *config;
    int worker;
    edt_arena arena;
    edt_jpeg_decoder *decoder;
    edt_resizer *resizer;
    edt_sample_info info;
};

static edt_status refuse_what_is_not_built(const edt_hparams *hp, edt_error *err)
{
    const char *asked = NULL;
    if (hp->autoaugment_policy != NULL && hp->autoaugment_policy[0] != '\0') {
        asked = "autoaugment_policy";
    } else if (hp->grid_mask) {
        asked = "grid_mask";
    } else if (hp->mosaic_prob > 0) {
        asked = "mosaic_prob";
    } else if (hp->mixup_prob > 0) {
        asked = "mixup_prob";
    } else if (hp->copy_paste_prob > 0) {
        asked = "copy_paste_prob";
    } else if (hp->exif_rotate) {
        asked = "exif_rotate";
    }
    if (asked != NULL) {
        EDT_FAIL(
            err, EDT_ERR_UNSUPPORTED,
            "hparam %s is set; this version's loader does not do it yet (it comes with a later "
            "one): unset it",
            asked);
    }
    for (int i = 0; i < hp->heads.n; ++i) {
        if (strcmp(hp->heads.v[i], "segmentation") == 0) {
            EDT_FAIL(
                err, EDT_ERR_UNSUPPORTED,
                "heads names 'segmentation', but masks cannot be transformed or batched by the "
                "loader: use heads=['object_detection']");
        }
    }
    if (hp->dataset_type != NULL && strcmp(hp->dataset_type, "sstable") == 0) {
        EDT_FAIL(
            err, EDT_ERR_UNSUPPORTED,
            "dataset_type=sstable is a format that is not public; convert the data to TFRecord "
            "and leave dataset_type unset");
    }
    return EDT_OK;
}

edt_status edt_preprocess_configure(const edt_hparams *hp, bool training,
                                    edt_slot_format format, edt_error *err,
                                    edt_preprocess_config *out_config)
{
    EDT_TRY(refuse_what_is_not_built(hp, err));
    edt_preprocess_config c = {
        .training = training,
        .format = format,
        .image_size = hp->image_size,
        .target_size = hp->target_size,
        .rand_hflip = hp->input_rand_hflip,
        .jitter_min = (float)hp->jitter_min,
        .jitter_max = (float)hp->jitter_max,
        .skip_crowd = hp->skip_crowd_during_training,
        .num_classes = hp->num_classes,
        .max_instances = hp->max_instances_per_image > 0 ? hp->max_instances_per_image : 100,
        .regenerate_source_id = hp->regenerate_source_id,
        .reference_defects = hp->reference_defects,
    };
    if (c.image_size.h < 1 || c.image_size.w < 1) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "image_size is %" PRId64 "x%" PRId64 "; both must be positive", c.image_size.w,
                 c.image_size.h);
    }
    if (c.target_size.h < 1 || c.target_size.w < 1) {
        c.target_size = c.image_size;
    }
    if (training && !(c.jitter_min > 0.0f && c.jitter_max >= c.jitter_min)) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "jitter_min=%g, jitter_max=%g; they must be positive and in order",
                 hp->jitter_min, hp->jitter_max);
    }
    EDT_TRY(edt_normalize_init(hp, err, &c.normalize));
    *out_config = c;
    return EDT_OK;
}

edt_sample_row edt_sample_row_of(const edt_batch *batch, int64_t row)
{
    const size_t pixel_bytes = batch->format == EDT_SLOT_F32 ? sizeof(float) : 1;
    const size_t image_bytes = (size_t)(batch->height * batch->width * 3) * pixel_bytes;
    edt_sample_row r = {
        .image = (char *)batch->images + (size_t)row * image_bytes,
        .valid_hw = batch->valid_hw + 2 * row,
        .image_scale = batch->image_scales + row,
        .source_id = batch->source_ids + row,
    };
    if (batch->n_anchors > 0) {
        r.cls_targets = batch->cls_targets + row * batch->n_anchors;
        r.box_targets = batch->box_targets + row * batch->n_anchors * 4;
        r.num_positives = batch->num_positives + row;
    }
    if (batch->groundtruth != NULL) {
        r.groundtruth = batch->groundtruth + row * batch->max_instances * GT_COLUMNS;
    }
    return r;
}

static void pad_groundtruth(float *rows, int64_t first, int64_t n_rows)
{
    static const float padding[GT_COLUMNS] = {-1, -1, -1, -1, 0, -1, -1};
    for (int64_t i = first; i < n_rows; ++i) {
        memcpy(rows + i * GT_COLUMNS, padding, sizeof padding);
    }
}

void edt_sample_row_clear(const edt_preprocess_config *config, const edt_sample_row *row)
{
    const size_t n_values = (size_t)(config->image_size.h * config->image_size.w * 3);
    memset(row->image, 0, config->format == EDT_SLOT_F32 ? n_values * sizeof(float) : n_values);
    row->valid_hw[0] = row->valid_hw[1] = 0;
    *row->image_scale = 1.0f;
    *row->source_id = -1;
    if (row->cls_targets != NULL) {
        for (int64_t i = 0; i < config->n_anchors; ++i) {
            row->cls_targets[i] = -1;
        }
        memset(row->box_targets, 0, (size_t)config->n_anchors * 4 * sizeof(float));
        *row->num_positives = 0.0f;
    }
    if (row->groundtruth != NULL) {
        pad_groundtruth(row->groundtruth, 0, config->max_instances);
    }
}

edt_status edt_preprocessor_create(const edt_preprocess_config *config, int worker,
                                   edt_error *err, edt_preprocessor **out_preprocessor)
{
    edt_status status = EDT_OK;
    edt_preprocessor *p = edt_mem_calloc(EDT_MEM_IMAGE, 1, sizeof *p);
    if (p == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for a preprocessor");
    }
    p->config = config;
    p->worker = worker;
    edt_arena_init(&p->arena, EDT_MEM_ARENA, 0);
    EDT_TRY_GOTO(edt_jpeg_decoder_create(err, &p->decoder));
    EDT_TRY_GOTO(edt_resizer_create(err, &p->resizer));
    *out_preprocessor = p;
    return EDT_OK;
fail:
    edt_preprocessor_destroy(p);
    return status;
}

void edt_preprocessor_destroy(edt_preprocessor *preprocessor)
{
    if (preprocessor == NULL) {
        return;
    }
    edt_jpeg_decoder_destroy(preprocessor->decoder);
    edt_resizer_destroy(preprocessor->resizer);
    edt_arena_deinit(&preprocessor->arena);
    edt_mem_free(preprocessor);
}

const edt_sample_info *edt_preprocess_last(const edt_preprocessor *preprocessor)
{
    return &preprocessor->info;
}

// The stored text as an integer, or the hash of the picture.
static edt_status read_source_id(const edt_preprocess_config *config,
                                 const edt_example *example, edt_error *err, int64_t *out_id)
{
    const edt_text text = example->source_id;
    if (config->regenerate_source_id || text.n_bytes == 0) {
        *out_id = edt_fingerprint64_source_id(example->encoded);
        return EDT_OK;
    }
    const bool negative = text.data[0] == '-';
    size_t i = negative ? 1 : 0;
    int64_t value = 0;
    bool ok = i < text.n_bytes;
    for (; ok && i < text.n_bytes; ++i) {
        const int digit = text.data[i] - '0';
        ok = digit >= 0 && digit <= 9 && value <= (INT64_MAX - digit) / 10;
        value = ok ? value * 10 + digit : value;
    }
    if (!ok) {
        EDT_FAIL(err, EDT_ERR_FORMAT,
                 "image/source_id is '%.*s'; it must be a decimal integer below 2^63: set "
                 "regenerate_source_id=true to number pictures by their content",
                 (int)(text.n_bytes < 64 ? text.n_bytes : 64), text.data);
    }
    *out_id = negative ? -value : value;
    return EDT_OK;
}

static edt_status check_labels(const edt_preprocess_config *config, const edt_example *example,
                               edt_error *err)
{
    for (int64_t i = 0; !config->reference_defects && i < example->n_boxes; ++i) {
        if (example->labels[i] < 1 || example->labels[i] > config->num_classes) {
            EDT_FAIL(err, EDT_ERR_INVALID,
                     "image/object/class/label of box %" PRId64 " is %" PRId64
                     "; num_classes=%" PRId64 " allows 1 to %" PRId64
                     ": raise num_classes or mend the labels",
                     i, example->labels[i], config->num_classes, config->num_classes);
        }
    }
    return EDT_OK;
}

// A corner that is no number would be clipped into a sound-looking box or poison the targets.
static edt_status check_corners(const edt_preprocess_config *config, const edt_example *example,
                                edt_error *err)
{
    static const char *const keys[4] = {"ymin", "xmin", "ymax", "xmax"};
    for (int64_t i = 0; !config->reference_defects && i < 4 * example->n_boxes; ++i) {
        if (!isfinite(example->boxes[i])) {
            EDT_FAIL(err, EDT_ERR_INVALID,
                     "image/object/bbox/%s of box %" PRId64
                     " is %g; corners must be finite, in parts of the picture's size: mend the "
                     "record, or set on_bad_sample to go on without it",
                     keys[i % 4], i / 4, (double)example->boxes[i]);
        }
    }
    return EDT_OK;
}

// The boxes of one sample on their way through the pipeline. `source` is each box's number in
// the record.
typedef struct box_set {
    int64_t n;
    float *boxes;
    int64_t *labels, *source, *kept;
} box_set;

static edt_status collect_boxes(edt_preprocessor *p, const edt_example *example, edt_error *err,
                                box_set *out_set)
{
    const size_t n = (size_t)example->n_boxes;
    box_set set = {.boxes = edt_arena_calloc(&p->arena, n * 4 + 1, sizeof(float)),
                   .labels = edt_arena_calloc(&p->arena, n + 1, sizeof(int64_t)),
                   .source = edt_arena_calloc(&p->arena, n + 1, sizeof(int64_t)),
                   .kept = edt_arena_calloc(&p->arena, n + 1, sizeof(int64_t))};
    if (set.boxes == NULL || set.labels == NULL || set.source == NULL || set.kept == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %" PRId64 " boxes", example->n_boxes);
    }
    for (int64_t i = 0; i < example->n_boxes; ++i) {
        if (p->config->training && p->config->skip_crowd && example->is_crowd[i]) {
            continue;
        }
        memcpy(set.boxes + 4 * set.n, example->boxes + 4 * i, 4 * sizeof(float));
        set.labels[set.n] = example->labels[i];
        set.source[set.n++] = i;
    }
    *out_set = set;
    return EDT_OK;
}

static void boxes_to_canvas(edt_preprocessor *p, box_set *set)
{
    if (p->info.flipped) {
        edt_boxes_flip(set->boxes, set->n);
    }
    set->n = edt_boxes_to_network(&p->info.scale, set->boxes, set->n,
                                  p->config->reference_defects, set->boxes, set->kept);
    for (int64_t i = 0; i < set->n; ++i) {
        set->labels[i] = set->labels[set->kept[i]];
        set->source[i] = set->source[set->kept[i]];
    }
    p->info.n_boxes = set->n;
    p->info.boxes = set->boxes;
    p->info.labels = set->labels;
}

// ymin xmin ymax xmax is_crowd area class. The reference does not filter is_crowd and area with
// the boxes (spec/data.md 13, #1) and refuses max_instances rows and more (#2).
static edt_status fill_groundtruth(edt_preprocessor *p, const edt_example *example,
                                   const box_set *set, float *out_rows, edt_error *err)
{
    const edt_preprocess_config *c = p->config;
    const int64_t m = c->max_instances;
    const int64_t n_side = c->reference_defects ? example->n_boxes : set->n;
    if (c->reference_defects && n_side >= m) {
        EDT_FAIL(err, EDT_ERR_INVALID,
                 "%" PRId64 " boxes; max_instances_per_image=%" PRId64
                 " must be larger than that (reference_defects is on)",
                 n_side, m);
    }
    p->info.gt_truncated = set->n > m;
    pad_groundtruth(out_rows, 0, m);
    for (int64_t i = 0; i < set->n && i < m; ++i) {
        float *row = out_rows + i * GT_COLUMNS;
        for (int k = 0; k < 4; ++k) {
            row[k] = set->boxes[4 * i + k] * p->info.scale.image_scale;
        }
        row[6] = (float)set->labels[i];
    }
    for (int64_t i = 0; i < n_side && i < m; ++i) {
        const int64_t from = c->reference_defects ? i : set->source[i];
        out_rows[i * GT_COLUMNS + 4] = example->is_crowd[from] ? 1.0f : 0.0f;
        out_rows[i * GT_COLUMNS + 5] = example->area[from];
    }
    return EDT_OK;
}

// Mirror, scale and crop from the draws, or the evaluation's fit.
static edt_status choose_geometry(edt_preprocessor *p, int64_t h, int64_t w,
                                  const edt_draws *draws, edt_error *err)
{
    const edt_preprocess_config *c = p->config;
    if (!c->training) {
        p->info.flipped = false;
        return edt_scale_params_eval(h, w, c->image_size.h, c->image_size.w, err,
                                     &p->info.scale);
    }
    p->info.flipped = c->rand_hflip && draws->uniform(draws->ctx) > 0.5f;
    edt_jitter_draws jitter;
    jitter.scale = draws->uniform(draws->ctx);
    jitter.offset_y = draws->uniform(draws->ctx);
    jitter.offset_x = draws->uniform(draws->ctx);
    return edt_scale_params_train(h, w, c->image_size.h, c->image_size.w, c->target_size.h,
                                  c->target_size.w, c->jitter_min, c->jitter_max, jitter, err,
                                  &p->info.scale);
}

// Decodes the picture and writes it to its place on the canvas; `whole` decodes rows below the
// window too. *out_decoded_s: when decoding was done.
static edt_status place_picture(edt_preprocessor *p, edt_span encoded, const edt_draws *draws,
                                bool whole, const edt_sample_row *row, edt_error *err,
                                edt_image *out_image, double *out_decoded_s)
{
    const edt_preprocess_config *c = p->config;
    int64_t h, w;
    edt_image image = {0};
    EDT_TRY(edt_jpeg_open(p->decoder, encoded, err, &h, &w));
    EDT_TRY(choose_geometry(p, h, w, draws, err));
    const int64_t n_rows = whole ? 0 : edt_resize_rows_needed(&p->info.scale, h);
    EDT_TRY(edt_jpeg_decode(p->decoder, n_rows, err, &image));
    *out_decoded_s = edt_clock_now_s();
    if (c->format == EDT_SLOT_F32) {
        EDT_TRY(edt_resize_f32(p->resizer, &image, &p->info.scale, p->info.flipped,
                               &c->normalize, err, row->image));
    } else {
        EDT_TRY(edt_resize_u8(p->resizer, &image, &p->info.scale, p->info.flipped, err,
                              row->image));
    }
    row->valid_hw[0] = (int32_t)edt_scale_valid_h(&p->info.scale);
    row->valid_hw[1] = (int32_t)edt_scale_valid_w(&p->info.scale);
    *row->image_scale = p->info.scale.image_scale;
    *out_image = image;
    return EDT_OK;
}

edt_status edt_preprocess_picture(edt_preprocessor *preprocessor, edt_span encoded,
                                  const edt_sample_row *row, edt_error *err,
                                  edt_image *out_image)
{
    preprocessor->info = (edt_sample_info){0};
    double decoded_s;
    return place_picture(preprocessor, encoded, NULL, true, row, err, out_image, &decoded_s);
}

edt_status edt_preprocess_run(edt_preprocessor *preprocessor, const edt_sample *sample,
                              const edt_sample_row *row, edt_error *err)
{
    edt_preprocessor *p = preprocessor;
    const edt_preprocess_config *c = p->config;
    const double t0 = edt_clock_now_s();
    p->info = (edt_sample_info){0};
    edt_arena_reset(&p->arena);
    edt_example example;
    EDT_TRY(edt_example_decode(sample->record, 0, &p->arena, err, &example));
    EDT_TRY(read_source_id(c, &example, err, row->source_id));
    EDT_TRY(check_labels(c, &example, err));
    EDT_TRY(check_corners(c, &example, err));
    box_set set = {0};
    EDT_TRY(collect_boxes(p, &example, err, &set));

    edt_image image;
    double t1;
    const edt_draws *draws = sample->draws != NULL ? &sample->draws->geometry : NULL;
    EDT_TRY(place_picture(p, example.encoded, draws, false, row, err, &image, &t1));
    boxes_to_canvas(p, &set);
    if (row->groundtruth != NULL) {
        EDT_TRY(fill_groundtruth(p, &example, &set, row->groundtruth, err));
    }
    const double t2 = edt_clock_now_s();

    if (c->targets != NULL && row->cls_targets != NULL) {
        EDT_TRY(c->targets(c->targets_ctx, p->worker, set.boxes, set.labels, set.n,
                           row->cls_targets, row->box_targets, row->num_positives, err));
    }
    p->info.decode_seconds = t1 - t0;
    p->info.augment_seconds = t2 - t1;
    p->info.target_seconds = edt_clock_now_s() - t2;
    return EDT_OK;
}
