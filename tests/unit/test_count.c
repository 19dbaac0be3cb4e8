// Exact sizes of all models (spec/model.md 9; the reference's unit tests assert the same
// totals), and what the network's builder refuses.
#include <criterion/criterion.h>
#include <string.h>

#include "model/count.h"
#include "tests/support/test_model.h"

typedef struct size_row {
    const char *name;
    int n_variables;
    int64_t n_trainable, n_moving, macs, anchors, flops;
} size_row;

static const size_row rows[] = {
    {"efficientdet-d0", 709, 3880067, 47136, 2492331520, 49104, 2535456212},
    {"efficientdet-d1", 912, 6625898, 71456, 6003416880, 76725, 6101276606},
    {"efficientdet-d2", 987, 8097039, 81776, 10832466688, 110484, 10993616340},
    {"efficientdet-d3", 1165, 12032296, 114304, 24568753664, 150381, 24882174696},
    {"efficientdet-d4", 1354, 20723675, 167312, 54583712096, 196416, 55167980944},
    {"efficientdet-d5", 1482, 33653315, 227392, 134133865152, 306900, 135353203056},
    {"efficientdet-d6", 1565, 51871782, 311984, 224121477984, 306900, 225532115747},
    {"efficientdet-d7", 1565, 51871782, 311984, 322731636576, 441936, 324740293607},
    {"efficientdet-d7x", 1902, 77147166, 417728, 407628345344, 442260, 410116867935},
    {"efficientdet-lite0", 588, 3243470, 47136, 973589696, 19206, 979428213},
    {"efficientdet-lite1", 719, 4248318, 63072, 1966649904, 27621, 1976353506},
    {"efficientdet-lite2", 775, 5252334, 72560, 3371304384, 37629, 3386596870},
    {"efficientdet-lite3", 922, 8350862, 104192, 7480187904, 49104, 7509226979},
    {"efficientdet-lite3x", 922, 9280862, 111712, 13978127600, 76725, 14026487930},
    {"efficientdet-lite4", 1068, 15130894, 155504, 20168084000, 76725, 20232158598},
};

Test(count, every_model_has_its_published_size, .timeout = 60)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        edt_hparams hp;
        edt_test_model_hparams(rows[i].name, 0, 0, &hp);
        const edt_model_options options = {.real = EDT_DTYPE_F32, .batch_size = 1};
        edt_model *model = edt_test_model(&hp, &options);
        edt_model_count count;
        edt_count_graph(model->graph, &count);
        cr_expect_eq(count.n_variables, rows[i].n_variables, "%s: %d variables", rows[i].name,
                     count.n_variables);
        cr_expect_eq(count.n_trainable, rows[i].n_trainable, "%s: %lld parameters",
                     rows[i].name, (long long)count.n_trainable);
        cr_expect_eq(count.n_moving, rows[i].n_moving, "%s: %lld statistics", rows[i].name,
                     (long long)count.n_moving);
        cr_expect_eq(count.forward_macs, rows[i].macs, "%s: %lld multiply-accumulates",
                     rows[i].name, (long long)count.forward_macs);
        cr_expect_eq(count.profiled / 2, rows[i].flops, "%s: %lld FLOPs", rows[i].name,
                     (long long)(count.profiled / 2));
        cr_expect_eq(model->n_anchors, rows[i].anchors, "%s: anchors", rows[i].name);
        edt_model_destroy(model);
        edt_hparams_deinit(&hp);
    }
}

static void changed_macs(void (*change)(edt_hparams *hp), edt_model_count *out_count)
{
    edt_hparams hp;
    edt_test_model_hparams("efficientdet-d0", 128, 128, &hp);
    change(&hp);
    const edt_model_options options = {.real = EDT_DTYPE_F32, .batch_size = 1};
    edt_model *model = edt_test_model(&hp, &options);
    edt_count_graph(model->graph, out_count);
    edt_model_destroy(model);
    edt_hparams_deinit(&hp);
}

static void nothing(edt_hparams *hp)
{
    (void)hp;
}

static void attention(edt_hparams *hp)
{
    hp->fpn_weight_method = "attn";
}

static void addition(edt_hparams *hp)
{
    hp->fpn_weight_method = "sum";
}

// Cells of the maps that nodes make: 2 * (16^2 + 8^2 + 4^2 + 2^2 + 1) without the ends once, 64
// channels, 3 cells.
Test(count, fusion_methods_count_their_products, .timeout = 30)
{
    edt_model_count fast;
    edt_model_count soft;
    edt_model_count sum;
    changed_macs(nothing, &fast);
    changed_macs(attention, &soft);
    changed_macs(addition, &sum);
    const int64_t two =
        256 + 64 + 16 + 4 + 1; // nodes of two inputs: levels 3 to 7, and 3 of three
    const int64_t three = 64 + 16 + 4;
    const int64_t c = 3 * 64;
    cr_expect_eq(fast.forward_macs, sum.forward_macs);
    // Products and quotients of each input; sums of weights and a constant for each.
    cr_expect_eq(fast.profiled - sum.profiled, c * (4 * two + 6 * three) + 3 * (5 * 3 + 3 * 5));
    cr_expect_eq(soft.profiled - sum.profiled, c * (2 * two + 3 * three) + 3 * 4 * 19);
}

static void expect_refusal(const edt_hparams *hp, edt_status status, const char *word)
{
    const edt_model_options options = {.real = EDT_DTYPE_F32, .batch_size = 1};
    edt_error err = {0};
    edt_model *model = NULL;
    cr_expect_eq(edt_model_create(hp, &options, &err, &model), status, "%s: %s", word,
                 edt_status_name(err.status));
    cr_expect_not_null(strstr(err.text, word), "'%s' does not name %s", err.text, word);
    cr_expect_null(model);
}

Test(count, unknown_names_are_refused, .timeout = 30)
{
    edt_hparams hp;
    edt_test_model_hparams("efficientdet-d0", 0, 0, &hp);
    edt_hparams changed = hp;
    changed.fpn_name = "panet";
    expect_refusal(&changed, EDT_ERR_USAGE, "fpn_name");
    changed = hp;
    changed.fpn_weight_method = "mean";
    expect_refusal(&changed, EDT_ERR_USAGE, "fpn_weight_method");
    changed = hp;
    changed.backbone_name = "resnet50";
    expect_refusal(&changed, EDT_ERR_USAGE, "resnet50");
    edt_hparams_deinit(&hp);
}

Test(count, sizes_whose_levels_cannot_be_joined_are_refused, .timeout = 30)
{
    edt_hparams hp;
    edt_test_model_hparams("efficientdet-d0", 64, 512, &hp);
    expect_refusal(&hp, EDT_ERR_USAGE, "larger than 64");
    hp.image_size = (edt_hw){.h = 65, .w = 512};
    const edt_model_options options = {.real = EDT_DTYPE_F32, .batch_size = 1};
    edt_model *model = edt_test_model(&hp, &options);
    cr_expect_eq(model->level_h[7], 1);
    cr_expect_eq(model->level_w[7], 4);
    edt_model_destroy(model);
    edt_hparams_deinit(&hp);
}
