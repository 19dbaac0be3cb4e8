// See augmenter.h.
#include "augment/augmenter.h"

#include <string.h>

#include "augment/autoaugment.h"
#include "augment/gridmask.h"
#include "augment/randaugment.h"

edt_status edt_augment_configure(const edt_hparams *hp, edt_error *err,
                                 edt_augment_config *out_config)
{
    edt_augment_config config = {.grid_mask = hp->grid_mask,
                                 .drop_outside = hp->autoaugment_drop_outside,
                                 .randaug_corrected = hp->randaug_corrected,
                                 .grid_mask_corrected = hp->grid_mask_corrected};
    const char *name = hp->autoaugment_policy;
    if (name != NULL && strcmp(name, "randaug") == 0) {
        config.randaug = true;
    } else if (name != NULL && name[0] != '\0') {
        config.policy = edt_policy_find(name);
        if (config.policy == NULL) {
            EDT_FAIL(err, EDT_ERR_USAGE,
                     "autoaugment_policy is '%s'; allowed are v0, v1, v2, v3, test, randaug "
                     "and None",
                     name);
        }
    }
    *out_config = config;
    return EDT_OK;
}

bool edt_augment_is_on(const edt_augment_config *config)
{
    return config->policy != NULL || config->randaug || config->grid_mask;
}

// Whether the operation gives the same rows when it runs on a band of the picture.
static bool works_on_bands(const edt_pixel_op *op)
{
    switch (op->kind) {
    case EDT_PIXEL_BRIGHTNESS:
    case EDT_PIXEL_COLOR:
    case EDT_PIXEL_POSTERIZE:
    case EDT_PIXEL_SOLARIZE:
    case EDT_PIXEL_SOLARIZE_ADD:
    case EDT_PIXEL_FILL:
    case EDT_PIXEL_MIRROR: return true;
    case EDT_PIXEL_WARP:
        return op->a[1] == 0.0f && op->b[0] == 0.0f && op->b[1] == 1.0f && op->b[2] == 0.0f;
    case EDT_PIXEL_CONTRAST:
    case EDT_PIXEL_SHARPNESS:
    case EDT_PIXEL_AUTO_CONTRAST:
    case EDT_PIXEL_EQUALIZE:
    case EDT_PIXEL_GRID_MASK: break;
    }
    return false;
}

edt_status edt_augment_plan_draw(const edt_augment_config *config, int64_t h, int64_t w,
                                 const edt_draws *draws, edt_arena *arena, edt_error *err,
                                 edt_objects *objects, edt_augment_plan *out_plan)
{
    edt_augment_scene scene = {.h = h,
                               .w = w,
                               .objects = objects,
                               .draws = draws,
                               .arena = arena,
                               .drop_outside = config->drop_outside,
                               .wrap_thresholds =
                                   !(config->randaug && config->randaug_corrected)};
    if (config->grid_mask) {
        EDT_TRY(edt_gridmask_draw(&scene, config->grid_mask_corrected, err));
    }
    if (config->randaug) {
        EDT_TRY(edt_randaugment_draw(&scene, config->randaug_corrected, err));
    } else if (config->policy != NULL) {
        EDT_TRY(edt_autoaugment_draw(&scene, config->policy, err));
    }
    edt_augment_plan plan = {.n_ops = scene.n_ops, .ops = scene.ops};
    for (int64_t i = 0; i < plan.n_ops; ++i) {
        plan.needs_whole_picture = plan.needs_whole_picture || !works_on_bands(&plan.ops[i]);
    }
    *out_plan = plan;
    return EDT_OK;
}

int64_t edt_augment_plan_cut(const edt_augment_plan *plan, int64_t y, int64_t n_rows,
                             edt_pixel_op *out_ops)
{
    int64_t n = 0;
    for (int64_t i = 0; i < plan->n_ops; ++i) {
        edt_pixel_op op = plan->ops[i];
        const int64_t end = op.region.y + op.region.h;
        const int64_t first = op.region.y > y ? op.region.y : y;
        const int64_t last = end < y + n_rows ? end : y + n_rows;
        if (first < last) {
            op.region.y = first - y;
            op.region.h = last - first;
            out_ops[n++] = op;
        }
    }
    return n;
}
