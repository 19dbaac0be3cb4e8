// See geometry.h. Every product and quotient below rounds to f32 on its own; do not reorder.
#include "augment/geometry.h"

#include <inttypes.h>

static edt_status finish(edt_scale_params *p, int64_t image_h, int64_t image_w, edt_error *err)
{
    p->scaled_h = (int64_t)((float)image_h * p->scale);
    p->scaled_w = (int64_t)((float)image_w * p->scale);
    p->image_scale = 1.0f / p->scale;
    if (p->scaled_h < 1 || p->scaled_w < 1) {
        EDT_FAIL(err, EDT_ERR_INVALID,
                 "a picture of %" PRId64 "x%" PRId64
                 " pixels (width x height) scaled by %g for an input of %" PRId64 "x%" PRId64
                 " has a side of zero pixels; crop it, raise jitter_min or image_size, "
                 "or set on_bad_sample=skip",
                 image_w, image_h, (double)p->scale, p->out_w, p->out_h);
    }
    return EDT_OK;
}

edt_status edt_scale_params_eval(int64_t image_h, int64_t image_w, int64_t out_h, int64_t out_w,
                                 edt_error *err, edt_scale_params *out_params)
{
    const float scale_y = (float)out_h / (float)image_h;
    const float scale_x = (float)out_w / (float)image_w;
    edt_scale_params p = {
        .out_h = out_h, .out_w = out_w, .scale = scale_x < scale_y ? scale_x : scale_y};
    EDT_TRY(finish(&p, image_h, image_w, err));
    *out_params = p;
    return EDT_OK;
}

static int64_t crop_origin(int64_t scaled, int64_t out, float u)
{
    const float room = (float)(scaled - out);
    return room > 0.0f ? (int64_t)(room * u) : 0;
}

edt_status edt_scale_params_train(int64_t image_h, int64_t image_w, int64_t out_h,
                                  int64_t out_w, int64_t target_h, int64_t target_w,
                                  float jitter_min, float jitter_max, edt_jitter_draws draws,
                                  edt_error *err, edt_scale_params *out_params)
{
    const float span = jitter_max - jitter_min;
    const float jitter = draws.scale * span + jitter_min;
    const int64_t want_h = (int64_t)(jitter * (float)target_h);
    const int64_t want_w = (int64_t)(jitter * (float)target_w);
    const float scale_y = (float)want_h / (float)image_h;
    const float scale_x = (float)want_w / (float)image_w;
    edt_scale_params p = {
        .out_h = out_h, .out_w = out_w, .scale = scale_x < scale_y ? scale_x : scale_y};
    EDT_TRY(finish(&p, image_h, image_w, err));
    p.offset_y = crop_origin(p.scaled_h, out_h, draws.offset_y);
    p.offset_x = crop_origin(p.scaled_w, out_w, draws.offset_x);
    *out_params = p;
    return EDT_OK;
}
