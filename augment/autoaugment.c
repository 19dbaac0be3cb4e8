// See autoaugment.h.
#include "augment/autoaugment.h"

static const double half = 0.5;

// No policy has more operations with a sign.
enum { MAX_SIGNS = 128 };

edt_status edt_autoaugment_draw(edt_augment_scene *scene, const edt_policy *policy,
                                edt_error *err)
{
    const edt_draws *draws = scene->draws;
    bool signs[MAX_SIGNS];
    int first_sign[MAX_SIGNS]; // of each sub-policy
    int n_signs = 0;
    for (int i = 0; i < policy->n; ++i) {
        const edt_sub_policy *sub = &policy->sub_policies[i];
        if (i >= MAX_SIGNS || n_signs + sub->n_steps > MAX_SIGNS) {
            EDT_FAIL(err, EDT_ERR_INTERNAL, "policy %s has more operations than %d",
                     policy->name, MAX_SIGNS);
        }
        first_sign[i] = n_signs;
        for (int k = 0; k < sub->n_steps; ++k) {
            if (edt_policy_op_is_signed(sub->steps[k].op)) {
                signs[n_signs++] = edt_augment_happens(draws, half);
            }
        }
    }
    const int64_t chosen = draws->integer(draws->ctx, 0, policy->n);
    const edt_sub_policy *sub = &policy->sub_policies[chosen];
    int i_sign = first_sign[chosen];
    for (int k = 0; k < sub->n_steps; ++k) {
        const edt_policy_step *step = &sub->steps[k];
        const bool positive = edt_policy_op_is_signed(step->op) ? signs[i_sign++] : true;
        const double p = edt_policy_op_is_per_box(step->op) ? 1.0 : step->probability;
        if (edt_augment_happens(draws, p)) {
            EDT_TRY(edt_policy_step_draw(scene, step, positive, err));
        }
    }
    return EDT_OK;
}
