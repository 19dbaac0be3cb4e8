// The AutoAugment policies v0-v3 and test (spec/augment.md 7) as tables.
#ifndef EDT_AUGMENT_POLICIES_H
#define EDT_AUGMENT_POLICIES_H

#include <stdint.h>

typedef enum edt_policy_op {
    EDT_POLICY_AUTO_CONTRAST,
    EDT_POLICY_EQUALIZE,
    EDT_POLICY_POSTERIZE,
    EDT_POLICY_SOLARIZE,
    EDT_POLICY_SOLARIZE_ADD,
    EDT_POLICY_COLOR,
    EDT_POLICY_CONTRAST,
    EDT_POLICY_BRIGHTNESS,
    EDT_POLICY_SHARPNESS,
    EDT_POLICY_CUTOUT,
    EDT_POLICY_BBOX_CUTOUT,
    EDT_POLICY_ROTATE_BBOX,
    EDT_POLICY_TRANSLATE_X_BBOX,
    EDT_POLICY_TRANSLATE_Y_BBOX,
    EDT_POLICY_SHEAR_X_BBOX,
    EDT_POLICY_SHEAR_Y_BBOX,
    EDT_POLICY_ROTATE_ONLY_BBOXES,
    EDT_POLICY_SHEAR_X_ONLY_BBOXES,
    EDT_POLICY_SHEAR_Y_ONLY_BBOXES,
    EDT_POLICY_TRANSLATE_X_ONLY_BBOXES,
    EDT_POLICY_TRANSLATE_Y_ONLY_BBOXES,
    EDT_POLICY_FLIP_ONLY_BBOXES,
    EDT_POLICY_SOLARIZE_ONLY_BBOXES,
    EDT_POLICY_EQUALIZE_ONLY_BBOXES,
    EDT_POLICY_CUTOUT_ONLY_BBOXES,
} edt_policy_op;

typedef struct edt_policy_step {
    edt_policy_op op;
    double probability;
    int magnitude; // 0 to 10; RandAugment's 15
} edt_policy_step;

enum { EDT_POLICY_MAX_STEPS = 3 };

typedef struct edt_sub_policy {
    int n_steps;
    edt_policy_step steps[EDT_POLICY_MAX_STEPS];
} edt_sub_policy;

typedef struct edt_policy {
    const char *name;
    int n;
    const edt_sub_policy *sub_policies;
} edt_policy;

// "v0", "v1", "v2", "v3", "test"; NULL for anything else.
const edt_policy *edt_policy_find(const char *name);
// "TranslateX_BBox" and so on, as the reference calls it.
const char *edt_policy_op_name(edt_policy_op op);

#endif
