// See randaugment.h.
#include "augment/randaugment.h"

enum { REFERENCE_MAGNITUDE = 15, LARGEST_MAGNITUDE = 10 };

static const edt_policy_op ops[] = {
    EDT_POLICY_EQUALIZE,         EDT_POLICY_SOLARIZE,     EDT_POLICY_COLOR,
    EDT_POLICY_CUTOUT,           EDT_POLICY_SOLARIZE_ADD, EDT_POLICY_TRANSLATE_X_BBOX,
    EDT_POLICY_TRANSLATE_Y_BBOX, EDT_POLICY_SHEAR_X_BBOX, EDT_POLICY_SHEAR_Y_BBOX,
    EDT_POLICY_ROTATE_BBOX,
};

edt_status edt_randaugment_draw(edt_augment_scene *scene, bool corrected, edt_error *err)
{
    const edt_draws *draws = scene->draws;
    const int64_t n = (int64_t)(sizeof ops / sizeof ops[0]);
    const int64_t chosen = draws->integer(draws->ctx, 0, n);
    for (int64_t i = 0; i < n; ++i) {
        const double probability = 0.2 + 0.6 * (double)draws->uniform(draws->ctx);
        const bool positive =
            edt_policy_op_is_signed(ops[i]) ? edt_augment_happens(draws, 0.5) : true;
        if (i != chosen || (corrected && !edt_augment_happens(draws, probability))) {
            continue;
        }
        const edt_policy_step step = {
            .op = ops[i], .magnitude = corrected ? LARGEST_MAGNITUDE : REFERENCE_MAGNITUDE};
        EDT_TRY(edt_policy_step_draw(scene, &step, positive, err));
    }
    return EDT_OK;
}
