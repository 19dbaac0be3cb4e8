// See preprocess.h.
#include "dataio/preprocess.h"

#include <inttypes.h>
#include <string.h>

#include "core/clock.h"
#include "core/mem.h"
#include "core/trace.h"
#include "dataio/sample_mask.h"
#include "dataio/sample_mix.h"
#include "dataio/sample_objects.h"
#include "dataio/sample_picture.h"
#include "dataio/sample_pixels.h"

enum { GT_COLUMNS = 7 };

struct edt_preprocessor {
    const edt_preprocess_config *config;
    int worker;
    edt_arena arena;
    edt_sample_picture *picture;
    edt_sample_mixer *mixer;    // NULL: nothing is mixed
    edt_pixel_scratch *scratch; // NULL: no pixel operations
    edt_resizer *resizer;
    edt_image_decoder *mask_decoder; // NULL: no masks are wanted
    edt_sample_info info;
};

static edt_status refuse_what_is_not_built(const edt_hparams *hp, edt_error *err)
{
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
        .exif_rotate = hp->exif_rotate,
    };
    if (training) {
        EDT_TRY(edt_augment_configure(hp, err, &c.augment));
        c.mosaic_prob = (float)hp->mosaic_prob;
        c.mixup_prob = (float)hp->mixup_prob;
        c.copy_paste_prob = (float)hp->copy_paste_prob;
    }
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
    if (c.mosaic_prob > 0 && (c.image_size.h < 4 || c.image_size.w < 4)) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "mosaic_prob=%g with image_size %" PRId64 "x%" PRId64
                 "; four tiles need at least 4x4 pixels",
                 hp->mosaic_prob, c.image_size.w, c.image_size.h);
    }
    EDT_TRY(edt_normalize_init(hp, err, &c.normalize));
    *out_config = c;
    return EDT_OK;
}

edt_status edt_preprocess_want_masks(const edt_hparams *hp, edt_error *err,
                                     edt_preprocess_config *config)
{
    const char *refused = config->augment.policy != NULL || config->augment.randaug
                              ? "autoaugment_policy (its rotations and shears)"
                          : config->mosaic_prob > 0     ? "mosaic_prob"
                          : config->mixup_prob > 0      ? "mixup_prob"
                          : config->copy_paste_prob > 0 ? "copy_paste_prob"
                                                        : NULL;
    if (refused != NULL) {
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED,
                 "heads=segmentation together with %s: masks do not follow it; switch it off "
                 "(mirroring, jitter, crop and grid_mask are there)",
                 refused);
    }
    if (hp->seg_num_classes <= hp->num_classes) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "seg_num_classes=%" PRId64 " with num_classes=%" PRId64
                 ": pixels have the class 0 (background) or the label of their object; use "
                 "seg_num_classes=%" PRId64,
                 hp->seg_num_classes, hp->num_classes, hp->num_classes + 1);
    }
    config->mask_h = hp->image_size.h;
    config->mask_w = hp->image_size.w;
    for (int64_t l = 0; l < hp->min_level; ++l) {
        config->mask_h = (config->mask_h - 1) / 2 + 1;
        config->mask_w = (config->mask_w - 1) / 2 + 1;
    }
    config->mask_h *= 2;
    config->mask_w *= 2;
    config->mask_classes = hp->seg_num_classes;
    return EDT_OK;
}

bool edt_preprocess_mixes(const edt_preprocess_config *config)
{
    return config->mosaic_prob > 0 || config->mixup_prob > 0 || config->copy_paste_prob > 0;
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
    if (batch->seg_mask != NULL) {
        r.seg_mask = batch->seg_mask + row * batch->mask_h * batch->mask_w;
    }
    if (batch->groundtruth != NULL) {
        r.groundtruth = batch->groundtruth + row * batch->max_instances * GT_COLUMNS;
    }
    return r;
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
    for (int64_t i = 0; row->seg_mask != NULL && i < config->mask_h * config->mask_w; ++i) {
        row->seg_mask[i] = EDT_MASK_IGNORED;
    }
    if (row->groundtruth != NULL) {
        edt_sample_groundtruth_clear(config, row->groundtruth);
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
    EDT_TRY_GOTO(
        edt_sample_picture_create(config->exif_rotate, config->cache, err, &p->picture));
    if (edt_preprocess_mixes(config)) {
        EDT_TRY_GOTO(edt_sample_mixer_create(config, err, &p->mixer));
    }
    if (edt_augment_is_on(&config->augment)) {
        EDT_TRY_GOTO(edt_pixel_scratch_create(err, &p->scratch));
    }
    if (config->mask_h > 0) {
        EDT_TRY_GOTO(edt_image_decoder_create(NULL, err, &p->mask_decoder));
    }
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
    edt_sample_picture_destroy(preprocessor->picture);
    edt_sample_mixer_destroy(preprocessor->mixer);
    edt_pixel_scratch_destroy(preprocessor->scratch);
    edt_resizer_destroy(preprocessor->resizer);
    edt_image_decoder_destroy(preprocessor->mask_decoder);
    edt_arena_deinit(&preprocessor->arena);
    edt_mem_free(preprocessor);
}

const edt_sample_info *edt_preprocess_last(const edt_preprocessor *preprocessor)
{
    return &preprocessor->info;
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

// Places the picture on the canvas as info.scale says. `image` holds its pixels when its data
// are not NULL, else they are still to be decoded.
static edt_status fill_canvas(edt_preprocessor *p, int64_t h, int64_t w,
                              const edt_augment_plan *plan, const edt_image *image,
                              const edt_sample_row *row, edt_error *err)
{
    const edt_preprocess_config *c = p->config;
    const edt_pixel_path path = {
        .picture = p->picture,
        .mixed = image->data != NULL ? image : NULL,
        .h = h,
        .w = w,
        .plan = plan,
        .scratch = p->scratch,
        .scale = &p->info.scale,
        .flip = p->info.flipped,
        .normalize = c->format == EDT_SLOT_F32 ? &c->normalize : NULL,
        .resizer = p->resizer,
    };
    EDT_TRY(edt_sample_pixels_run(&path, &p->arena, err, row->image, &p->info.resize_seconds));
    row->valid_hw[0] = (int32_t)edt_scale_valid_h(&p->info.scale);
    row->valid_hw[1] = (int32_t)edt_scale_valid_w(&p->info.scale);
    *row->image_scale = p->info.scale.image_scale;
    return EDT_OK;
}

edt_status edt_preprocess_picture(edt_preprocessor *preprocessor, edt_span encoded,
                                  const edt_sample_row *row, edt_error *err,
                                  edt_image *out_image)
{
    edt_preprocessor *p = preprocessor;
    const edt_augment_plan plan = {0};
    int64_t h, w;
    edt_image image = {0};
    p->info = (edt_sample_info){0};
    EDT_TRY(edt_sample_picture_open(p->picture, encoded, -1, err, &h, &w));
    EDT_TRY(choose_geometry(p, h, w, NULL, err));
    if (out_image != NULL) {
        EDT_TRY(edt_sample_picture_decode(p->picture, 0, false, err, &image));
    }
    EDT_TRY(fill_canvas(p, h, w, &plan, &image, row, err));
    if (out_image != NULL) {
        *out_image = image;
    }
    return EDT_OK;
}

// The picture as it is before the geometry: of one sample or mixed, with its plan.
typedef struct scene {
    int64_t h, w;
    edt_image image; // no data: still to be decoded
    edt_objects objects;
    edt_sample_columns unfiltered;
    edt_augment_plan plan;
} scene;

// The columns as they are now; the rows of `objects` may be moved later.
static edt_status copy_columns(edt_preprocessor *p, const edt_objects *objects, edt_error *err,
                               edt_sample_columns *out_columns)
{
    const size_t n = (size_t)objects->n;
    bool *is_crowd = edt_arena_calloc(&p->arena, n + 1, sizeof *is_crowd);
    float *area = edt_arena_calloc(&p->arena, n + 1, sizeof *area);
    if (is_crowd == NULL || area == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %zu boxes", n);
    }
    memcpy(is_crowd, objects->is_crowd, n * sizeof *is_crowd);
    memcpy(area, objects->area, n * sizeof *area);
    *out_columns = (edt_sample_columns){.n = objects->n, .is_crowd = is_crowd, .area = area};
    return EDT_OK;
}

static edt_status mix(edt_preprocessor *p, const edt_sample *sample, scene *s, edt_error *err)
{
    edt_trace_begin("mix");
    const edt_status status = edt_sample_mix(p->mixer, sample, p->picture, s->h, s->w,
                                             &p->arena, err, &s->objects, &s->image);
    edt_trace_end();
    EDT_TRY(status);
    if (s->image.data == NULL) {
        return EDT_OK;
    }
    s->h = s->image.h;
    s->w = s->image.w;
    p->info.mixed = true;
    return copy_columns(p, &s->objects, err, &s->unfiltered);
}

static edt_status make_scene(edt_preprocessor *p, const edt_sample *sample,
                             const edt_example *example, edt_error *err, scene *s)
{
    const edt_preprocess_config *c = p->config;
    EDT_TRY(edt_sample_objects_read(c, example, &p->arena, err, &s->objects, NULL));
    s->unfiltered = (edt_sample_columns){
        .n = example->n_boxes, .is_crowd = example->is_crowd, .area = example->area};
    EDT_TRY(edt_sample_picture_open(p->picture, example->encoded, sample->index, err, &s->h,
                                    &s->w));
    p->info.is_open = true;
    if (p->mixer != NULL) {
        EDT_TRY(mix(p, sample, s, err));
    }
    if (p->scratch != NULL) {
        EDT_TRY(edt_augment_plan_draw(&c->augment, s->h, s->w, &sample->draws->augment,
                                      &p->arena, err, &s->objects, &s->plan));
        p->info.n_pixel_ops = s->plan.n_ops;
    }
    return EDT_OK;
}

static edt_status place_objects(edt_preprocessor *p, scene *s, const edt_sample_row *row,
                                edt_error *err)
{
    const edt_preprocess_config *c = p->config;
    edt_sample_info *info = &p->info;
    EDT_TRY(
        edt_sample_objects_place(c, &info->scale, info->flipped, &p->arena, err, &s->objects));
    info->n_boxes = s->objects.n;
    info->boxes = s->objects.boxes;
    info->labels = s->objects.labels;
    if (row->groundtruth == NULL) {
        return EDT_OK;
    }
    info->gt_truncated = info->n_boxes > c->max_instances;
    return edt_sample_groundtruth_fill(c, &info->scale, &s->objects, &s->unfiltered, err,
                                       row->groundtruth);
}

static edt_status make_targets(edt_preprocessor *p, const edt_objects *objects,
                               const edt_sample_row *row, edt_error *err)
{
    const edt_preprocess_config *c = p->config;
    const double t0 = edt_clock_now_s();
    edt_trace_begin("targets");
    const edt_status status =
        c->targets(c->targets_ctx, p->worker, objects->boxes, objects->labels, objects->n,
                   row->cls_targets, row->box_targets, row->num_positives, err);
    edt_trace_end();
    p->info.target_seconds = edt_clock_now_s() - t0;
    return status;
}

static edt_status run_sample(edt_preprocessor *p, const edt_sample *sample,
                             const edt_sample_row *row, double *parse_seconds, edt_error *err)
{
    const edt_preprocess_config *c = p->config;
    const double t0 = edt_clock_now_s();
    edt_example example;
    scene s = {0};
    EDT_TRY(edt_example_decode(sample->record, c->mask_h > 0 ? EDT_EXAMPLE_MASKS : 0, &p->arena,
                               err, &example));
    EDT_TRY(edt_sample_source_id(c, &example, err, row->source_id));
    *parse_seconds = edt_clock_now_s() - t0;
    EDT_TRY(make_scene(p, sample, &example, err, &s));
    EDT_TRY(choose_geometry(p, s.h, s.w, c->training ? &sample->draws->geometry : NULL, err));
    EDT_TRY(fill_canvas(p, s.h, s.w, &s.plan, &s.image, row, err));
    if (row->seg_mask != NULL) {
        const edt_sample_place place = {
            .h = s.h, .w = s.w, .scale = &p->info.scale, .flipped = p->info.flipped};
        EDT_TRY(edt_sample_mask_make(c, &example, &place, p->mask_decoder, &p->arena, err,
                                     row->seg_mask));
    }
    EDT_TRY(place_objects(p, &s, row, err));
    return c->targets != NULL && row->cls_targets != NULL
               ? make_targets(p, &s.objects, row, err)
               : EDT_OK;
}

static double decode_clock(const edt_preprocessor *p)
{
    return edt_sample_picture_seconds(p->picture) +
           (p->mixer != NULL ? edt_sample_mixer_decode_seconds(p->mixer) : 0.0);
}

edt_status edt_preprocess_run(edt_preprocessor *preprocessor, const edt_sample *sample,
                              const edt_sample_row *row, edt_error *err)
{
    edt_preprocessor *p = preprocessor;
    edt_sample_info *info = &p->info;
    *info = (edt_sample_info){0};
    edt_arena_reset(&p->arena);
    if ((p->config->training && sample->draws == NULL) ||
        (p->mixer != NULL && sample->partners == NULL)) {
        EDT_FAIL(err, EDT_ERR_INTERNAL, "a training sample without its draws or partners");
    }
    const double t0 = edt_clock_now_s(), decode0 = decode_clock(p);
    const double read0 = p->mixer != NULL ? edt_sample_mixer_read_seconds(p->mixer) : 0.0;
    double parse_seconds = 0.0;
    const edt_status status = run_sample(p, sample, row, &parse_seconds, err);
    info->decode_seconds = parse_seconds + decode_clock(p) - decode0;
    info->read_seconds =
        p->mixer != NULL ? edt_sample_mixer_read_seconds(p->mixer) - read0 : 0.0;
    info->augment_seconds = edt_clock_now_s() - t0 - info->decode_seconds - info->read_seconds -
                            info->resize_seconds - info->target_seconds;
    return status;
}
