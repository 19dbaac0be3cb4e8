// See sample_image.h. The file's bytes are kept; the picture is decoded again for each drawing,
// as the boxes are drawn into the decoder's own pixels.
#include "train/sample_image.h"

#include "core/file.h"
#include "core/mem.h"
#include "dataio/jpeg_encode.h"
#include "dataio/preprocess.h"
#include "eval/draw_found.h"
#include "eval/predict.h"

enum { MAX_FILE_BYTES = 256 << 20 };

struct edt_sample_image {
    edt_hparams hp; // with the settings of drawing
    edt_predictor *predictor;
    edt_preprocess_config preprocess;
    edt_preprocessor *preprocessor;
    char *encoded;
    size_t n_encoded;
    edt_batch batch; // of one row
    float *pixels;
    float image_scale;
    int32_t valid_hw[2];
};

// *out_image: the whole picture, until the next call.
static edt_status decode(edt_sample_image *s, edt_error *err, edt_image *out_image)
{
    const edt_span encoded = {.data = (const uint8_t *)s->encoded, .n_bytes = s->n_encoded};
    const edt_sample_row row = {
        .image = s->pixels, .valid_hw = s->valid_hw, .image_scale = &s->image_scale};
    const edt_status status =
        edt_preprocess_picture(s->preprocessor, encoded, &row, err, out_image);
    return status == EDT_OK ? EDT_OK
                            : edt_error_add_context(err, status, "hparam sample_image=%s",
                                                    s->hp.sample_image);
}

static edt_status build(edt_sample_image *s, edt_params *params, int n_threads, edt_error *err)
{
    edt_image ignored;
    if (s->hp.nms_configs.score_thresh <= 0.0) {
        s->hp.nms_configs.score_thresh = 0.4;
    }
    EDT_TRY_CTX(
        edt_file_read(s->hp.sample_image, MAX_FILE_BYTES, err, &s->encoded, &s->n_encoded), err,
        "hparam sample_image");
    const edt_predictor_options po = {
        .batch_size = 1,
        .slot_format = EDT_SLOT_F32,
        .post_mode = EDT_POST_GLOBAL,
        .use_ema = params->memory[EDT_PARAMS_EMA] != NULL,
        .n_threads = n_threads,
    };
    EDT_TRY(edt_predictor_create(&s->hp, params, &po, err, &s->predictor));
    EDT_TRY(edt_preprocess_configure(&s->hp, false, EDT_SLOT_F32, err, &s->preprocess));
    EDT_TRY(edt_preprocessor_create(&s->preprocess, 0, err, &s->preprocessor));
    const edt_model *model = edt_predictor_model(s->predictor);
    s->pixels = edt_mem_calloc(EDT_MEM_SLOT, (size_t)(model->image_h * model->image_w * 3),
                               sizeof *s->pixels);
    if (s->pixels == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the sample image");
    }
    s->batch = (edt_batch){
        .batch_size = 1,
        .n_valid = 1,
        .height = model->image_h,
        .width = model->image_w,
        .format = EDT_SLOT_F32,
        .images = s->pixels,
        .valid_hw = s->valid_hw,
        .image_scales = &s->image_scale,
    };
    return decode(s, err, &ignored);
}

edt_status edt_sample_image_create(const edt_hparams *hp, edt_params *params, int n_threads,
                                   edt_error *err, edt_sample_image **out_sample)
{
    edt_sample_image *s = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *s);
    if (s == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the sample image");
    }
    edt_status status = edt_hparams_copy(hp, err, &s->hp);
    if (status == EDT_OK) {
        status = build(s, params, n_threads, err);
    }
    if (status != EDT_OK) {
        edt_sample_image_destroy(s);
        return status;
    }
    *out_sample = s;
    return EDT_OK;
}

void edt_sample_image_destroy(edt_sample_image *s)
{
    if (s == NULL) {
        return;
    }
    edt_preprocessor_destroy(s->preprocessor);
    edt_predictor_destroy(s->predictor);
    edt_mem_free(s->pixels);
    edt_mem_free(s->encoded);
    edt_hparams_deinit(&s->hp);
    edt_mem_free(s);
}

edt_status edt_sample_image_write(edt_sample_image *s, int64_t step, edt_event_file *file,
                                  edt_error *err)
{
    edt_image image;
    const edt_detection *found;
    const int64_t *n_valid;
    uint8_t *encoded;
    size_t n_encoded;
    EDT_TRY(decode(s, err, &image));
    EDT_TRY(edt_predictor_run(s->predictor, &s->batch, err, &found, &n_valid));
    const edt_draw_found_options draw = {
        .min_score = s->hp.nms_configs.score_thresh,
        .max_boxes = s->hp.nms_configs.max_output_size,
    };
    EDT_TRY(edt_draw_found(&s->hp, found, n_valid[0], &draw, &image, err, NULL));
    EDT_TRY(edt_jpeg_encode(&image, NULL, err, &encoded, &n_encoded));
    edt_event_file_image(
        file, step,
        &(edt_event_image){.tag = "Test image",
                           .h = image.h,
                           .w = image.w,
                           .encoded = {.data = encoded, .n_bytes = n_encoded}});
    edt_mem_free(encoded);
    return EDT_OK;
}
