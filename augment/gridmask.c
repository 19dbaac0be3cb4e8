// See gridmask.h. The reference's constants: ratio 0.6, rotate 10, occurrence 0.5, periods of
// 0.5 and 0.3 of the sides.
#include "augment/gridmask.h"

#include "augment/box_warp.h"

enum { BLACK = 0, GREY = 128 };

static const float kept = 0.6f, most_degrees = 10.0f, occurrence = 0.5f;

static int64_t least_side(const edt_augment_scene *scene)
{
    return scene->h < scene->w ? scene->h : scene->w;
}

static int64_t draw_period(const edt_augment_scene *scene, bool corrected)
{
    const float h = (float)(corrected ? least_side(scene) : scene->h);
    const float w = (float)(corrected ? least_side(scene) : scene->w);
    const float a = h * 0.5f, b = w * 0.3f;
    const edt_draws *draws = scene->draws;
    return draws->integer(draws->ctx, edt_trunc_f32(a < b ? a : b),
                          edt_trunc_f32(a > b ? a : b) + 1);
}

edt_status edt_gridmask_draw(edt_augment_scene *scene, bool corrected, edt_error *err)
{
    const edt_draws *draws = scene->draws;
    const int64_t longest = scene->h > scene->w ? scene->h : scene->w;
    edt_grid grid = {.size = (int64_t)((double)longest * 1.5),
                     .period = draw_period(scene, corrected)};
    if (grid.period < 1) {
        return EDT_OK;
    }
    grid.bar = edt_trunc_f32((float)grid.period * kept + 0.5f);
    grid.bar = grid.bar < 1 ? 1 : grid.bar;
    grid.bar = grid.bar > grid.period - 1 ? grid.period - 1 : grid.bar;
    grid.row_offset = draws->integer(draws->ctx, 0, grid.period + 1);
    grid.column_offset = draws->integer(draws->ctx, 0, grid.period + 1);
    const float turn = corrected ? 2.0f * draws->uniform(draws->ctx) - 1.0f
                                 : draws->normal(draws->ctx) + -1.0f;
    grid.angle = (float)3.14159265358979323846 * (turn * most_degrees) / 180.0f;
    const float occurs = corrected ? draws->uniform(draws->ctx) : draws->normal(draws->ctx);
    if (occurs >= occurrence) {
        return EDT_OK;
    }
    return edt_augment_scene_push(scene,
                                  &(edt_pixel_op){.kind = EDT_PIXEL_GRID_MASK,
                                                  .region = {.h = scene->h, .w = scene->w},
                                                  .amount = corrected ? GREY : BLACK,
                                                  .grid = grid},
                                  err);
}
