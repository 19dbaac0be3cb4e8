#include <criterion/criterion.h>
#include <string.h>

#include "model/scaling.h"

static void apply(edt_hparams *hp, const char *model)
{
    edt_error err = {0};
    cr_assert_eq(edt_hparams_init(hp, &err), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_scaling_apply(hp, model, &err), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_hparams_check(hp, &err), EDT_OK, "%s", err.text);
}

Test(scaling, rows_of_the_model_table, .timeout = 30)
{
    edt_hparams hp;
    apply(&hp, "efficientdet-d7x");
    cr_assert_str_eq(hp.backbone_name, "efficientnet-b7");
    cr_assert(hp.image_size.h == 1536 && hp.max_level == 8 && hp.fpn_num_filters == 384);
    cr_assert(hp.fpn_cell_repeats == 8 && hp.box_class_repeats == 5 &&
              hp.anchor_scale.v[0] == 4);
    cr_assert_str_eq(hp.fpn_weight_method, "sum");
    edt_hparams_deinit(&hp);

    apply(&hp, "efficientdet-lite3x");
    cr_assert_str_eq(hp.name, "efficientdet-lite3x");
    cr_assert(hp.image_size.w == 640 && hp.fpn_num_filters == 200 && hp.anchor_scale.v[0] == 3);
    cr_assert(hp.mean_rgb.n == 1 && hp.mean_rgb.v[0] == 127 && hp.stddev_rgb.v[0] == 128);
    cr_assert_str_eq(hp.act_type, "relu6");
    edt_hparams_deinit(&hp);

    apply(&hp, "efficientdet-d0");
    cr_assert(hp.fpn_weight_method == NULL && hp.mean_rgb.n == 3 && hp.image_size.h == 512);
    edt_hparams_deinit(&hp);
}

Test(scaling, every_model_names_a_known_backbone, .timeout = 30)
{
    int n = 0;
    for (const char *name; (name = edt_scaling_model_name(n)) != NULL; ++n) {
        edt_hparams hp;
        apply(&hp, name);
        edt_backbone_scale scale;
        cr_assert_eq(edt_scaling_backbone(hp.backbone_name, NULL, &scale), EDT_OK);
        edt_hparams_deinit(&hp);
    }
    cr_assert_eq(n, 15);
}

Test(scaling, unknown_names_are_refused_with_the_nearest, .timeout = 30)
{
    edt_hparams hp;
    edt_error err = {0};
    apply(&hp, "efficientdet-d0");
    cr_assert_eq(edt_scaling_apply(&hp, "efficentdet-d8", &err), EDT_ERR_USAGE);
    cr_assert_not_null(strstr(err.text, "did you mean 'efficientdet-d"), "%s", err.text);
    edt_backbone_scale scale;
    cr_assert_eq(edt_scaling_backbone("resnet50", &err, &scale), EDT_ERR_USAGE);
    cr_assert_not_null(strstr(err.text, "efficientnet-lite4"), "%s", err.text);
    edt_hparams_deinit(&hp);
}

// spec/model.md 1.2, results: stem and stage widths, stage repeats.
Test(scaling, rounded_filters_and_repeats, .timeout = 30)
{
    static const int base[8] = {32, 16, 24, 40, 80, 112, 192, 320};
    static const int repeats[7] = {1, 2, 2, 3, 3, 4, 1};
    static const struct {
        const char *name;
        int filters[8], repeats[7];
    } rows[] = {
        {"efficientnet-b2", {32, 16, 24, 48, 88, 120, 208, 352}, {2, 3, 3, 4, 4, 5, 2}},
        {"efficientnet-b3", {40, 24, 32, 48, 96, 136, 232, 384}, {2, 3, 3, 5, 5, 6, 2}},
        {"efficientnet-b4", {48, 24, 32, 56, 112, 160, 272, 448}, {2, 4, 4, 6, 6, 8, 2}},
        {"efficientnet-b5", {48, 24, 40, 64, 128, 176, 304, 512}, {3, 5, 5, 7, 7, 9, 3}},
        {"efficientnet-b6", {56, 32, 40, 72, 144, 200, 344, 576}, {3, 6, 6, 8, 8, 11, 3}},
        {"efficientnet-b7", {64, 32, 48, 80, 160, 224, 384, 640}, {4, 7, 7, 10, 10, 13, 4}},
        {"efficientnet-b8", {72, 32, 56, 88, 176, 248, 424, 704}, {4, 8, 8, 11, 11, 15, 4}},
    };
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; ++r) {
        edt_backbone_scale scale;
        cr_assert_eq(edt_scaling_backbone(rows[r].name, NULL, &scale), EDT_OK);
        for (int i = 0; i < 8; ++i) {
            cr_assert_eq(edt_round_filters(base[i], scale.width), rows[r].filters[i], "%s %d",
                         rows[r].name, i);
        }
        for (int i = 0; i < 7; ++i) {
            cr_assert_eq(edt_round_repeats(repeats[i], scale.depth), rows[r].repeats[i]);
        }
    }
}
