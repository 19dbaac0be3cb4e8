// Kind and parameter of every variable's initialiser, derived here from names and shapes alone
// (spec/model.md 1.5, 2.2, 2.5, 3.1, 3.2), and moments of what is drawn.
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "model/init.h"
#include "tests/support/test_model.h"

static bool ends_in(const char *name, const char *word)
{
    const size_t n = strlen(name);
    const size_t n_word = strlen(word);
    return n >= n_word && strcmp(name + n - n_word, word) == 0;
}

static bool begins(const char *name, const char *word)
{
    return strncmp(name, word, strlen(word)) == 0;
}

static edt_init constant(double value)
{
    return (edt_init){.kind = EDT_INIT_CONSTANT, .a = value};
}

// What the rules say of a variable.
static edt_init rule_of(const char *name, const edt_shape *shape)
{
    const int64_t *d = shape->dim;
    const bool depthwise = ends_in(name, "/depthwise_kernel");
    if (ends_in(name, "/bias")) {
        return constant(ends_in(name, "class-predict/bias") ? -log(99.0) : 0.0);
    }
    if (ends_in(name, "/beta") || ends_in(name, "/moving_mean")) {
        return constant(0);
    }
    if (ends_in(name, "/gamma") || ends_in(name, "/moving_variance") ||
        strstr(name, "/WSM") != NULL) {
        return constant(1);
    }
    if (ends_in(name, "/b")) {
        return constant(20); // srelu
    }
    if (begins(name, "efficientnet-")) {
        const double fan_out = (double)(d[0] * d[1] * d[3]);
        return (edt_init){.kind = EDT_INIT_NORMAL, .a = sqrt(2 / fan_out)};
    }
    if (begins(name, "class_net/") || begins(name, "box_net/")) {
        if (ends_in(name, "/kernel")) {
            return (edt_init){.kind = EDT_INIT_NORMAL, .a = 0.01};
        }
        const double fan_in = (double)(depthwise ? 9 * d[2] : d[2]);
        return (edt_init){.kind = EDT_INIT_TRUNCATED_NORMAL,
                          .a = sqrt(1 / fan_in) / 0.87962566103423978};
    }
    const double fans = (double)(d[0] * d[1] * (d[2] + d[3]));
    return (edt_init){.kind = EDT_INIT_UNIFORM, .a = sqrt(6 / fans)};
}

// Mean and standard deviation of large variables within five standard errors of the rule's.
static void check_moments(const edt_param *param)
{
    const int64_t n = edt_shape_count(&param->shape);
    double *values = edt_mem_alloc(EDT_MEM_MISC, (size_t)n * sizeof *values);
    edt_init_fill(&param->init, 7, param->name, n, values);
    const double std =
        param->init.kind == EDT_INIT_UNIFORM
            ? param->init.a / sqrt(3.0)
            : param->init.a *
                  (param->init.kind == EDT_INIT_TRUNCATED_NORMAL ? 0.87962566103423978 : 1.0);
    double sum = 0;
    double squares = 0;
    double largest = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += values[i];
        squares += values[i] * values[i];
        largest = fmax(largest, fabs(values[i]));
    }
    const double root = sqrt((double)n);
    cr_expect_lt(fabs(sum / (double)n), 5 * std / root, "%s: mean", param->name);
    // The variance of squares is largest for the normal distribution: twice its fourth power.
    cr_expect_lt(fabs(squares / (double)n / (std * std) - 1), 5 * sqrt(2.0) / root,
                 "%s: spread", param->name);
    const double limit = param->init.kind == EDT_INIT_TRUNCATED_NORMAL ? 2 * param->init.a
                         : param->init.kind == EDT_INIT_UNIFORM        ? param->init.a
                                                                       : 8 * std;
    cr_expect_leq(largest, limit, "%s: range", param->name);
    edt_mem_free(values);
}

// Counts the kinds seen, so that a rule that no variable follows is noticed.
static void check_model(const char *model_name, const char *changes, int n_kinds[4])
{
    edt_hparams hp;
    edt_error err = {0};
    edt_test_model_hparams(model_name, 128, 128, &hp);
    cr_assert_eq(edt_hparams_override(&hp, changes, &err), EDT_OK, "%s", err.text);
    const edt_model_options options = {.real = EDT_DTYPE_F32, .batch_size = 1};
    edt_model *model = edt_test_model(&hp, &options);
    for (int i = 0; i < model->graph->n_params; i++) {
        const edt_param *param = &model->graph->params[i];
        const edt_init want = rule_of(param->name, &param->shape);
        cr_expect_eq(param->init.kind, want.kind, "%s %s: %s is of kind %d, not %d", model_name,
                     changes, param->name, param->init.kind, want.kind);
        cr_expect_float_eq(param->init.a, want.a, 1e-12 * fabs(want.a),
                           "%s %s: %s has %g, not %g", model_name, changes, param->name,
                           param->init.a, want.a);
        n_kinds[param->init.kind]++;
        const int64_t n = edt_shape_count(&param->shape);
        if (param->init.kind != EDT_INIT_CONSTANT && n > 2000 && n < 100000) {
            check_moments(param);
        }
    }
    edt_model_destroy(model);
    edt_hparams_deinit(&hp);
}

Test(init_rules, every_variable_of_the_d_models, .timeout = 60)
{
    int n_kinds[4] = {0};
    check_model("efficientdet-d0", "", n_kinds);
    check_model("efficientdet-d2", "fpn_cell_repeats=1", n_kinds);
    for (int k = 0; k < 4; k++) {
        cr_expect_gt(n_kinds[k], 30, "kind %d", k);
    }
}

Test(init_rules, every_variable_of_the_lite_models, .timeout = 60)
{
    int n_kinds[4] = {0};
    check_model("efficientdet-lite3", "", n_kinds);
    cr_expect_gt(n_kinds[EDT_INIT_TRUNCATED_NORMAL], 15);
}

Test(init_rules, every_variable_of_variants, .timeout = 60)
{
    int n_kinds[4] = {0};
    check_model("efficientdet-d0", "separable_conv=false,fpn_weight_method=channel_attn",
                n_kinds);
    cr_expect_eq(n_kinds[EDT_INIT_TRUNCATED_NORMAL], 0);
    check_model("efficientdet-d0", "heads=object_detection*segmentation", n_kinds);
    check_model(
        "efficientdet-d0",
        "fpn_name=qufpn,backbone_config=r1_k3_s11_e1_i32_o16_f1*r1_k3_s22_e6_i16_o24_c1*"
        "r1_k5_s22_e6_i24_o40*r1_k3_s22_e6_i40_o80_f1*r1_k5_s22_e6_i80_o112",
        n_kinds);
}
