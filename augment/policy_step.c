// See policy_step.h.
#include "augment/policy_step.h"

#include <math.h>
#include <string.h>

#include "augment/box_warp.h"

enum { GREY = 128, FIRST_CAPACITY = 8 };

edt_status edt_augment_scene_push(edt_augment_scene *scene, const edt_pixel_op *op,
                                  edt_error *err)
{
    if (scene->n_ops == scene->capacity) {
        const int64_t capacity = scene->capacity > 0 ? 2 * scene->capacity : FIRST_CAPACITY;
        edt_pixel_op *ops = edt_arena_calloc(scene->arena, (size_t)capacity, sizeof *ops);
        if (ops == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to plan the augmentation of a picture");
        }
        if (scene->n_ops > 0) {
            memcpy(ops, scene->ops, (size_t)scene->n_ops * sizeof *ops);
        }
        scene->ops = ops;
        scene->capacity = capacity;
    }
    scene->ops[scene->n_ops++] = *op;
    return EDT_OK;
}

bool edt_augment_happens(const edt_draws *draws, double p)
{
    return floorf(draws->uniform(draws->ctx) + (float)p) == 1.0f;
}

// How an operation turns pixels, in a picture or in a box.
static bool warp_of(edt_policy_op op, edt_warp_kind *out_kind)
{
    switch (op) {
    case EDT_POLICY_TRANSLATE_X_BBOX:
    case EDT_POLICY_TRANSLATE_X_ONLY_BBOXES: *out_kind = EDT_WARP_TRANSLATE_X; return true;
    case EDT_POLICY_TRANSLATE_Y_BBOX:
    case EDT_POLICY_TRANSLATE_Y_ONLY_BBOXES: *out_kind = EDT_WARP_TRANSLATE_Y; return true;
    case EDT_POLICY_SHEAR_X_BBOX:
    case EDT_POLICY_SHEAR_X_ONLY_BBOXES: *out_kind = EDT_WARP_SHEAR_X; return true;
    case EDT_POLICY_SHEAR_Y_BBOX:
    case EDT_POLICY_SHEAR_Y_ONLY_BBOXES: *out_kind = EDT_WARP_SHEAR_Y; return true;
    case EDT_POLICY_ROTATE_BBOX:
    case EDT_POLICY_ROTATE_ONLY_BBOXES: *out_kind = EDT_WARP_ROTATE; return true;
    default: return false;
    }
}

bool edt_policy_op_is_signed(edt_policy_op op)
{
    edt_warp_kind kind;
    return warp_of(op, &kind);
}

bool edt_policy_op_is_per_box(edt_policy_op op)
{
    switch (op) {
    case EDT_POLICY_ROTATE_ONLY_BBOXES:
    case EDT_POLICY_SHEAR_X_ONLY_BBOXES:
    case EDT_POLICY_SHEAR_Y_ONLY_BBOXES:
    case EDT_POLICY_TRANSLATE_X_ONLY_BBOXES:
    case EDT_POLICY_TRANSLATE_Y_ONLY_BBOXES:
    case EDT_POLICY_FLIP_ONLY_BBOXES:
    case EDT_POLICY_SOLARIZE_ONLY_BBOXES:
    case EDT_POLICY_EQUALIZE_ONLY_BBOXES:
    case EDT_POLICY_CUTOUT_ONLY_BBOXES: return true;
    default: return false;
    }
}

// The argument of spec/augment.md 3 without its sign; 0 where there is none.
static double argument_of(edt_policy_op op, int magnitude)
{
    const double x = magnitude / 10.0;
    switch (op) {
    case EDT_POLICY_POSTERIZE: return trunc(x * 4);
    case EDT_POLICY_SOLARIZE:
    case EDT_POLICY_SOLARIZE_ONLY_BBOXES: return trunc(x * 256);
    case EDT_POLICY_SOLARIZE_ADD: return trunc(x * 110);
    case EDT_POLICY_COLOR:
    case EDT_POLICY_CONTRAST:
    case EDT_POLICY_BRIGHTNESS:
    case EDT_POLICY_SHARPNESS: return x * 1.8 + 0.1;
    case EDT_POLICY_CUTOUT: return trunc(x * 100);
    case EDT_POLICY_CUTOUT_ONLY_BBOXES: return trunc(x * 50);
    case EDT_POLICY_BBOX_CUTOUT: return x * 0.75;
    case EDT_POLICY_TRANSLATE_X_BBOX:
    case EDT_POLICY_TRANSLATE_Y_BBOX: return x * 250;
    case EDT_POLICY_TRANSLATE_X_ONLY_BBOXES:
    case EDT_POLICY_TRANSLATE_Y_ONLY_BBOXES: return x * 120;
    case EDT_POLICY_SHEAR_X_BBOX:
    case EDT_POLICY_SHEAR_Y_BBOX:
    case EDT_POLICY_SHEAR_X_ONLY_BBOXES:
    case EDT_POLICY_SHEAR_Y_ONLY_BBOXES: return x * 0.3;
    case EDT_POLICY_ROTATE_BBOX:
    case EDT_POLICY_ROTATE_ONLY_BBOXES: return x * 30;
    case EDT_POLICY_AUTO_CONTRAST:
    case EDT_POLICY_EQUALIZE:
    case EDT_POLICY_EQUALIZE_ONLY_BBOXES:
    case EDT_POLICY_FLIP_ONLY_BBOXES: break;
    }
    return 0;
}

static int64_t clamp(int64_t value, int64_t low, int64_t high)
{
    return value < low ? low : (value > high ? high : value);
}

// Grey rows [cy-half_h, cy+half_h) and such columns, as far as they lie in `bounds`.
static edt_status cut_out(edt_augment_scene *scene, edt_region bounds, int64_t cy, int64_t cx,
                          int64_t half_h, int64_t half_w, edt_error *err)
{
    const int64_t y0 = clamp(cy - half_h, bounds.y, bounds.y + bounds.h);
    const int64_t y1 = clamp(cy + half_h, bounds.y, bounds.y + bounds.h);
    const int64_t x0 = clamp(cx - half_w, bounds.x, bounds.x + bounds.w);
    const int64_t x1 = clamp(cx + half_w, bounds.x, bounds.x + bounds.w);
    if (y1 <= y0 || x1 <= x0) {
        return EDT_OK;
    }
    return edt_augment_scene_push(
        scene,
        &(edt_pixel_op){.kind = EDT_PIXEL_FILL,
                        .region = {.y = y0, .x = x0, .h = y1 - y0, .w = x1 - x0},
                        .amount = GREY},
        err);
}

static edt_status cut_out_anywhere(edt_augment_scene *scene, edt_region bounds, int64_t half,
                                   edt_error *err)
{
    const edt_draws *draws = scene->draws;
    const int64_t cy = bounds.y + draws->integer(draws->ctx, 0, bounds.h);
    const int64_t cx = bounds.x + draws->integer(draws->ctx, 0, bounds.w);
    return cut_out(scene, bounds, cy, cx, half, half, err);
}

// A patch around a point of a random box, cut at the picture's border only.
static edt_status cut_out_in_box(edt_augment_scene *scene, double fraction, edt_error *err)
{
    const edt_draws *draws = scene->draws;
    if (scene->objects->n == 0) {
        return EDT_OK;
    }
    const float *box =
        scene->objects->boxes + 4 * draws->integer(draws->ctx, 0, scene->objects->n);
    const float h = (float)scene->h, w = (float)scene->w;
    const int64_t y0 = edt_trunc_f32(h * box[0]), x0 = edt_trunc_f32(w * box[1]);
    const int64_t y1 = edt_trunc_f32(h * box[2]), x1 = edt_trunc_f32(w * box[3]);
    if (y1 < y0 || x1 < x0) {
        return EDT_OK;
    }
    const int64_t half_h = (int64_t)(fraction * ((double)(y1 - y0 + 1) / 2));
    const int64_t half_w = (int64_t)(fraction * ((double)(x1 - x0 + 1) / 2));
    const int64_t cy = draws->integer(draws->ctx, y0, y1 + 1);
    const int64_t cx = draws->integer(draws->ctx, x0, x1 + 1);
    const edt_region whole = {.h = scene->h, .w = scene->w};
    return cut_out(scene, whole, cy, cx, half_h, half_w, err);
}

static edt_status push_warp(edt_augment_scene *scene, edt_region region, const edt_warp *warp,
                            edt_error *err)
{
    if (warp->argument == 0.0) {
        return EDT_OK; // the map is the identity
    }
    edt_pixel_op op = {.kind = EDT_PIXEL_WARP, .region = region};
    edt_warp_map(warp, region.h, region.w, op.a, op.b);
    return edt_augment_scene_push(scene, &op, err);
}

static void move_boxes(edt_augment_scene *scene, const edt_warp *warp)
{
    edt_objects *o = scene->objects;
    int64_t n = 0;
    for (int64_t i = 0; i < o->n; ++i) {
        const bool inside = edt_warp_box(warp, scene->h, scene->w, o->boxes + 4 * i);
        if (scene->drop_outside && !inside) {
            continue;
        }
        if (n < i) {
            memcpy(o->boxes + 4 * n, o->boxes + 4 * i, 4 * sizeof(float));
            o->labels[n] = o->labels[i];
            o->is_crowd[n] = o->is_crowd[i];
            o->area[n] = o->area[i];
        }
        ++n;
    }
    o->n = n;
}

// Every operation that looks alike for a picture and for a box.
static edt_status push_pixels(edt_augment_scene *scene, edt_region region, edt_policy_op op,
                              double argument, edt_error *err)
{
    edt_pixel_op pixel = {.region = region};
    edt_warp warp = {.argument = argument};
    if (warp_of(op, &warp.kind)) {
        return push_warp(scene, region, &warp, err);
    }
    switch (op) {
    case EDT_POLICY_AUTO_CONTRAST: pixel.kind = EDT_PIXEL_AUTO_CONTRAST; break;
    case EDT_POLICY_EQUALIZE:
    case EDT_POLICY_EQUALIZE_ONLY_BBOXES: pixel.kind = EDT_PIXEL_EQUALIZE; break;
    case EDT_POLICY_POSTERIZE:
        pixel.kind = EDT_PIXEL_POSTERIZE;
        pixel.amount = (int32_t)argument;
        break;
    case EDT_POLICY_SOLARIZE:
    case EDT_POLICY_SOLARIZE_ONLY_BBOXES:
        pixel.kind = EDT_PIXEL_SOLARIZE;
        pixel.amount = (int32_t)argument;
        if (scene->wrap_thresholds) {
            pixel.amount = (uint8_t)pixel.amount;
        }
        break;
    case EDT_POLICY_SOLARIZE_ADD:
        pixel.kind = EDT_PIXEL_SOLARIZE_ADD;
        pixel.amount = (int32_t)argument;
        break;
    case EDT_POLICY_COLOR:
        pixel.kind = EDT_PIXEL_COLOR;
        pixel.factor = (float)argument;
        break;
    case EDT_POLICY_CONTRAST:
        pixel.kind = EDT_PIXEL_CONTRAST;
        pixel.factor = (float)argument;
        break;
    case EDT_POLICY_BRIGHTNESS:
        pixel.kind = EDT_PIXEL_BRIGHTNESS;
        pixel.factor = (float)argument;
        break;
    case EDT_POLICY_SHARPNESS:
        pixel.kind = EDT_PIXEL_SHARPNESS;
        pixel.factor = (float)argument;
        break;
    case EDT_POLICY_FLIP_ONLY_BBOXES: pixel.kind = EDT_PIXEL_MIRROR; break;
    case EDT_POLICY_CUTOUT:
    case EDT_POLICY_CUTOUT_ONLY_BBOXES:
        return cut_out_anywhere(scene, region, (int64_t)argument, err);
    default:
        EDT_FAIL(err, EDT_ERR_INTERNAL, "augmentation %s has no operation on pixels",
                 edt_policy_op_name(op));
    }
    return edt_augment_scene_push(scene, &pixel, err);
}

// The pixels of a box, both ends included; false when none lies in the picture.
static bool crop_of(const edt_augment_scene *scene, const float *box, edt_region *out_region)
{
    const float h = (float)scene->h, w = (float)scene->w;
    const int64_t y0 = clamp(edt_trunc_f32(h * box[0]), 0, scene->h);
    const int64_t x0 = clamp(edt_trunc_f32(w * box[1]), 0, scene->w);
    const int64_t y1 = clamp(edt_trunc_f32(h * box[2]), -1, scene->h - 1);
    const int64_t x1 = clamp(edt_trunc_f32(w * box[3]), -1, scene->w - 1);
    *out_region = (edt_region){.y = y0, .x = x0, .h = y1 - y0 + 1, .w = x1 - x0 + 1};
    return out_region->h > 0 && out_region->w > 0;
}

static edt_status draw_per_box(edt_augment_scene *scene, const edt_policy_step *step,
                               double argument, edt_error *err)
{
    const edt_objects *objects = scene->objects;
    if (objects->n == 0) {
        return EDT_OK;
    }
    int64_t *order = edt_arena_calloc(scene->arena, (size_t)objects->n, sizeof *order);
    if (order == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to plan the augmentation of a picture");
    }
    scene->draws->order(scene->draws->ctx, objects->n, order);
    for (int64_t i = 0; i < objects->n; ++i) {
        edt_region region;
        if (edt_augment_happens(scene->draws, step->probability / 3.0) &&
            crop_of(scene, objects->boxes + 4 * order[i], &region)) {
            EDT_TRY(push_pixels(scene, region, step->op, argument, err));
        }
    }
    return EDT_OK;
}

edt_status edt_policy_step_draw(edt_augment_scene *scene, const edt_policy_step *step,
                                bool positive, edt_error *err)
{
    const double size = argument_of(step->op, step->magnitude);
    const double argument = edt_policy_op_is_signed(step->op) && !positive ? -size : size;
    if (edt_policy_op_is_per_box(step->op)) {
        return draw_per_box(scene, step, argument, err);
    }
    if (step->op == EDT_POLICY_BBOX_CUTOUT) {
        return cut_out_in_box(scene, argument, err);
    }
    const edt_region whole = {.h = scene->h, .w = scene->w};
    EDT_TRY(push_pixels(scene, whole, step->op, argument, err));
    edt_warp warp = {.argument = argument};
    if (warp_of(step->op, &warp.kind)) {
        move_boxes(scene, &warp);
    }
    return EDT_OK;
}
