// See policies.h. The tables are those of spec/augment.md 7; entries with probability 0 stay,
// so that counts and numbers match.
#include "augment/policies.h"

#include <stddef.h>
#include <string.h>

#define OP(name, p, m)                                                                         \
    {                                                                                          \
        .op = EDT_POLICY_##name, .probability = p, .magnitude = m                              \
    }
#define TWO(...)                                                                               \
    {                                                                                          \
        .n_steps = 2, .steps = { __VA_ARGS__ }                                                 \
    }
#define THREE(...)                                                                             \
    {                                                                                          \
        .n_steps = 3, .steps = { __VA_ARGS__ }                                                 \
    }

static const edt_sub_policy v0_policy[] = {
    TWO(OP(TRANSLATE_X_BBOX, 0.6, 4), OP(EQUALIZE, 0.8, 10)),
    TWO(OP(TRANSLATE_Y_ONLY_BBOXES, 0.2, 2), OP(CUTOUT, 0.8, 8)),
    TWO(OP(SHARPNESS, 0.0, 8), OP(SHEAR_X_BBOX, 0.4, 0)),
    TWO(OP(SHEAR_Y_BBOX, 1.0, 2), OP(TRANSLATE_Y_ONLY_BBOXES, 0.6, 6)),
    TWO(OP(ROTATE_BBOX, 0.6, 10), OP(COLOR, 1.0, 6)),
};

static const edt_sub_policy v1_policy[] = {
    TWO(OP(TRANSLATE_X_BBOX, 0.6, 4), OP(EQUALIZE, 0.8, 10)),
    TWO(OP(TRANSLATE_Y_ONLY_BBOXES, 0.2, 2), OP(CUTOUT, 0.8, 8)),
    TWO(OP(SHARPNESS, 0.0, 8), OP(SHEAR_X_BBOX, 0.4, 0)),
    TWO(OP(SHEAR_Y_BBOX, 1.0, 2), OP(TRANSLATE_Y_ONLY_BBOXES, 0.6, 6)),
    TWO(OP(ROTATE_BBOX, 0.6, 10), OP(COLOR, 1.0, 6)),
    TWO(OP(COLOR, 0.0, 0), OP(SHEAR_X_ONLY_BBOXES, 0.8, 4)),
    TWO(OP(SHEAR_Y_ONLY_BBOXES, 0.8, 2), OP(FLIP_ONLY_BBOXES, 0.0, 10)),
    TWO(OP(EQUALIZE, 0.6, 10), OP(TRANSLATE_X_BBOX, 0.2, 2)),
    TWO(OP(COLOR, 1.0, 10), OP(TRANSLATE_Y_ONLY_BBOXES, 0.4, 6)),
    TWO(OP(ROTATE_BBOX, 0.8, 10), OP(CONTRAST, 0.0, 10)),
    TWO(OP(CUTOUT, 0.2, 2), OP(BRIGHTNESS, 0.8, 10)),
    TWO(OP(COLOR, 1.0, 6), OP(EQUALIZE, 1.0, 2)),
    TWO(OP(CUTOUT_ONLY_BBOXES, 0.4, 6), OP(TRANSLATE_Y_ONLY_BBOXES, 0.8, 2)),
    TWO(OP(COLOR, 0.2, 8), OP(ROTATE_BBOX, 0.8, 10)),
    TWO(OP(SHARPNESS, 0.4, 4), OP(TRANSLATE_Y_ONLY_BBOXES, 0.0, 4)),
    TWO(OP(SHARPNESS, 1.0, 4), OP(SOLARIZE_ADD, 0.4, 4)),
    TWO(OP(ROTATE_BBOX, 1.0, 8), OP(SHARPNESS, 0.2, 8)),
    TWO(OP(SHEAR_Y_BBOX, 0.6, 10), OP(EQUALIZE_ONLY_BBOXES, 0.6, 8)),
    TWO(OP(SHEAR_X_BBOX, 0.2, 6), OP(TRANSLATE_Y_ONLY_BBOXES, 0.2, 10)),
    TWO(OP(SOLARIZE_ADD, 0.6, 8), OP(BRIGHTNESS, 0.8, 10)),
};

static const edt_sub_policy v2_policy[] = {
    THREE(OP(COLOR, 0.0, 6), OP(CUTOUT, 0.6, 8), OP(SHARPNESS, 0.4, 8)),
    THREE(OP(ROTATE_BBOX, 0.4, 8), OP(SHARPNESS, 0.4, 2), OP(ROTATE_BBOX, 0.8, 10)),
    TWO(OP(TRANSLATE_Y_BBOX, 1.0, 8), OP(AUTO_CONTRAST, 0.8, 2)),
    THREE(OP(AUTO_CONTRAST, 0.4, 6), OP(SHEAR_X_BBOX, 0.8, 8), OP(BRIGHTNESS, 0.0, 10)),
    THREE(OP(SOLARIZE_ADD, 0.2, 6), OP(CONTRAST, 0.0, 10), OP(AUTO_CONTRAST, 0.6, 0)),
    THREE(OP(CUTOUT, 0.2, 0), OP(SOLARIZE, 0.8, 8), OP(COLOR, 1.0, 4)),
    THREE(OP(TRANSLATE_Y_BBOX, 0.0, 4), OP(EQUALIZE, 0.6, 8), OP(SOLARIZE, 0.0, 10)),
    THREE(OP(TRANSLATE_Y_BBOX, 0.2, 2), OP(SHEAR_Y_BBOX, 0.8, 8), OP(ROTATE_BBOX, 0.8, 8)),
    THREE(OP(CUTOUT, 0.8, 8), OP(BRIGHTNESS, 0.8, 8), OP(CUTOUT, 0.2, 2)),
    THREE(OP(COLOR, 0.8, 4), OP(TRANSLATE_Y_BBOX, 1.0, 6), OP(ROTATE_BBOX, 0.6, 6)),
    THREE(OP(ROTATE_BBOX, 0.6, 10), OP(BBOX_CUTOUT, 1.0, 4), OP(CUTOUT, 0.2, 8)),
    THREE(OP(ROTATE_BBOX, 0.0, 0), OP(EQUALIZE, 0.6, 6), OP(SHEAR_Y_BBOX, 0.6, 8)),
    THREE(OP(BRIGHTNESS, 0.8, 8), OP(AUTO_CONTRAST, 0.4, 2), OP(BRIGHTNESS, 0.2, 2)),
    THREE(OP(TRANSLATE_Y_BBOX, 0.4, 8), OP(SOLARIZE, 0.4, 6), OP(SOLARIZE_ADD, 0.2, 10)),
    THREE(OP(CONTRAST, 1.0, 10), OP(SOLARIZE_ADD, 0.2, 8), OP(EQUALIZE, 0.2, 4)),
};

static const edt_sub_policy v3_policy[] = {
    TWO(OP(POSTERIZE, 0.8, 2), OP(TRANSLATE_X_BBOX, 1.0, 8)),
    TWO(OP(BBOX_CUTOUT, 0.2, 10), OP(SHARPNESS, 1.0, 8)),
    TWO(OP(ROTATE_BBOX, 0.6, 8), OP(ROTATE_BBOX, 0.8, 10)),
    TWO(OP(EQUALIZE, 0.8, 10), OP(AUTO_CONTRAST, 0.2, 10)),
    TWO(OP(SOLARIZE_ADD, 0.2, 2), OP(TRANSLATE_Y_BBOX, 0.2, 8)),
    TWO(OP(SHARPNESS, 0.0, 2), OP(COLOR, 0.4, 8)),
    TWO(OP(EQUALIZE, 1.0, 8), OP(TRANSLATE_Y_BBOX, 1.0, 8)),
    TWO(OP(POSTERIZE, 0.6, 2), OP(ROTATE_BBOX, 0.0, 10)),
    TWO(OP(AUTO_CONTRAST, 0.6, 0), OP(ROTATE_BBOX, 1.0, 6)),
    TWO(OP(EQUALIZE, 0.0, 4), OP(CUTOUT, 0.8, 10)),
    TWO(OP(BRIGHTNESS, 1.0, 2), OP(TRANSLATE_Y_BBOX, 1.0, 6)),
    TWO(OP(CONTRAST, 0.0, 2), OP(SHEAR_Y_BBOX, 0.8, 0)),
    TWO(OP(AUTO_CONTRAST, 0.8, 10), OP(CONTRAST, 0.2, 10)),
    TWO(OP(ROTATE_BBOX, 1.0, 10), OP(CUTOUT, 1.0, 10)),
    TWO(OP(SOLARIZE_ADD, 0.8, 6), OP(EQUALIZE, 0.8, 8)),
};

static const edt_sub_policy test_policy[] = {
    TWO(OP(TRANSLATE_X_BBOX, 1.0, 4), OP(EQUALIZE, 1.0, 10)),
};

#define POLICY(text)                                                                           \
    {                                                                                          \
        .name = #text, .n = (int)(sizeof text##_policy / sizeof text##_policy[0]),             \
        .sub_policies = text##_policy                                                          \
    }
static const edt_policy policies[] = {POLICY(v0), POLICY(v1), POLICY(v2), POLICY(v3),
                                      POLICY(test)};

const edt_policy *edt_policy_find(const char *name)
{
    for (size_t i = 0; i < sizeof policies / sizeof policies[0]; ++i) {
        if (strcmp(policies[i].name, name) == 0) {
            return &policies[i];
        }
    }
    return NULL;
}

const char *edt_policy_op_name(edt_policy_op op)
{
    static const char *const names[] = {
        [EDT_POLICY_AUTO_CONTRAST] = "AutoContrast",
        [EDT_POLICY_EQUALIZE] = "Equalize",
        [EDT_POLICY_POSTERIZE] = "Posterize",
        [EDT_POLICY_SOLARIZE] = "Solarize",
        [EDT_POLICY_SOLARIZE_ADD] = "SolarizeAdd",
        [EDT_POLICY_COLOR] = "Color",
        [EDT_POLICY_CONTRAST] = "Contrast",
        [EDT_POLICY_BRIGHTNESS] = "Brightness",
        [EDT_POLICY_SHARPNESS] = "Sharpness",
        [EDT_POLICY_CUTOUT] = "Cutout",
        [EDT_POLICY_BBOX_CUTOUT] = "BBox_Cutout",
        [EDT_POLICY_ROTATE_BBOX] = "Rotate_BBox",
        [EDT_POLICY_TRANSLATE_X_BBOX] = "TranslateX_BBox",
        [EDT_POLICY_TRANSLATE_Y_BBOX] = "TranslateY_BBox",
        [EDT_POLICY_SHEAR_X_BBOX] = "ShearX_BBox",
        [EDT_POLICY_SHEAR_Y_BBOX] = "ShearY_BBox",
        [EDT_POLICY_ROTATE_ONLY_BBOXES] = "Rotate_Only_BBoxes",
        [EDT_POLICY_SHEAR_X_ONLY_BBOXES] = "ShearX_Only_BBoxes",
        [EDT_POLICY_SHEAR_Y_ONLY_BBOXES] = "ShearY_Only_BBoxes",
        [EDT_POLICY_TRANSLATE_X_ONLY_BBOXES] = "TranslateX_Only_BBoxes",
        [EDT_POLICY_TRANSLATE_Y_ONLY_BBOXES] = "TranslateY_Only_BBoxes",
        [EDT_POLICY_FLIP_ONLY_BBOXES] = "Flip_Only_BBoxes",
        [EDT_POLICY_SOLARIZE_ONLY_BBOXES] = "Solarize_Only_BBoxes",
        [EDT_POLICY_EQUALIZE_ONLY_BBOXES] = "Equalize_Only_BBoxes",
        [EDT_POLICY_CUTOUT_ONLY_BBOXES] = "Cutout_Only_BBoxes",
    };
    return names[op];
}
