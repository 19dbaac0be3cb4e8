// The optimizer of the reference backend against its formulas (spec/train.md 5, 7, 8, 10):
// clipping, L2, averages, loss scaling, and that nothing moves where a gradient is not finite.
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "tests/support/ref_runner.h"

TestSuite(ref_optimizer, .init = ref_runner_setup, .fini = ref_runner_teardown, .timeout = 30);

// Two segments that update (of 2 and 1 elements), one frozen one that decays, one of
// statistics.
static const edt_param_segment segments[4] = {
    {.offset = 0, .n = 2, .update = true, .decay = true, .average = true},
    {.offset = 2, .n = 1, .update = true, .average = true},
    {.offset = 3, .n = 1, .decay = true, .average = true},
    {.offset = 4, .n = 1, .average = true},
};
static const double params[5] = {1, -2, 3, 4, 5};
static const double grads[5] = {3, 4.1, -12, 7, 7};
static const double slot[5] = {0.5, 0, 1, 0.25, 0};
static const double averages[5] = {0, 0, 0, 0, 0};

static ref_runner *optimizer(edt_optimizer_kind kind, const double *gradients)
{
    ref_runner *r = ref_runner_begin(EDT_OP_OPTIMIZER, 1);
    r->ctx = (edt_run_ctx){.learning_rate = 0.1, .ema_decay = 0.75, .adam_t = 1};
    r->desc.attrs.optimizer = (edt_optimizer_attrs){.kind = kind,
                                                    .segments = segments,
                                                    .n_segments = 4,
                                                    .momentum = 0.9,
                                                    .beta2 = 0.999,
                                                    .epsilon = 1e-7,
                                                    .weight_decay = 0.05,
                                                    .l2_includes_frozen = true};
    ref_runner_give(r, edt_shape_1(5), params);
    ref_runner_give(r, edt_shape_1(5), gradients);
    ref_runner_give(r, edt_shape_1(5), slot);
    if (kind == EDT_OPTIMIZER_ADAM) {
        ref_runner_give(r, edt_shape_1(5), averages);
    } else {
        ref_runner_give_typed(r, EDT_DTYPE_NONE, edt_shape_1(5), NULL);
    }
    ref_runner_give(r, edt_shape_1(5), averages);
    return r;
}

Test(ref_optimizer, momentum_l2_and_averages_follow_their_formulas)
{
    // Gradients with L2: 3.05, 4, -12; the frozen value counts in L2 only.
    ref_runner *r = optimizer(EDT_OPTIMIZER_SGD_TF1, grads);
    ref_runner_run(r, EDT_DTYPE_F64);
    const double norm = sqrt(3.05 * 3.05 + 16 + 144);
    ref_runner_expect(r->out[0], 4, (const double[]){0.05 * 0.5 * (1 + 4 + 16), norm, norm, 1},
                      1e-12, "stats");
    ref_runner_expect(r->inout[2], 5, (const double[]){3.5, 4, -11.1, 0.25, 0}, 1e-12,
                      "accumulators");
    const double after[5] = {1 - 0.35, -2 - 0.4, 3 + 1.11, 4, 5};
    ref_runner_expect(r->inout[0], 5, after, 1e-12, "params");
    const double ema[5] = {after[0] / 4, after[1] / 4, after[2] / 4, 1, 1.25};
    ref_runner_expect(r->inout[4], 5, ema, 1e-12, "averages");

    r = optimizer(EDT_OPTIMIZER_SGD_TF2, grads);
    r->desc.attrs.optimizer.l2_includes_frozen = false;
    ref_runner_run(r, EDT_DTYPE_F64);
    ref_runner_expect(r->out[0], 1, (const double[]){0.05 * 0.5 * 5}, 1e-12,
                      "L2 without frozen");
    ref_runner_expect(r->inout[2], 5, (const double[]){0.45 - 0.305, -0.4, 0.9 + 1.2, 0.25, 0},
                      1e-12, "slots");
    ref_runner_expect(r->inout[0], 3, (const double[]){1.145, -2.4, 5.1}, 1e-12, "params");
}

Test(ref_optimizer, clipping_goes_per_tensor_and_then_over_all)
{
    static const double five[5] = {2.95, 4.1, -12, 0, 0}; // 3, 4 and -12 with L2
    ref_runner *r = optimizer(EDT_OPTIMIZER_SGD_TF1, five);
    r->desc.attrs.optimizer.clip = 5;
    ref_runner_run(r, EDT_DTYPE_F64);
    // Tensor norms 5 (kept) and 12 (to 5); together 5 sqrt 2, to 5.
    ref_runner_expect(r->out[0] + 1, 3, (const double[]){13, 5, 1}, 1e-12, "stats");
    const double f = 1 / sqrt(2);
    ref_runner_expect(r->inout[2], 3, (const double[]){0.45 + 3 * f, 4 * f, 0.9 - 5 * f}, 1e-12,
                      "slots");
}

Test(ref_optimizer, adam_moves_by_the_rate_at_first)
{
    ref_runner *r = optimizer(EDT_OPTIMIZER_ADAM, grads);
    r->in[2] = averages; // zeros
    ref_runner_run(r, EDT_DTYPE_F64);
    ref_runner_expect(r->inout[2], 3, (const double[]){0.305, 0.4, -1.2}, 1e-12, "m");
    ref_runner_expect(r->inout[3], 3, (const double[]){3.05 * 3.05e-3, 0.016, 0.144}, 1e-12,
                      "v");
    ref_runner_expect(r->inout[0], 5, (const double[]){0.9, -2.1, 3.1, 4, 5}, 1e-6, "params");
}

Test(ref_optimizer, a_gradient_that_is_not_finite_updates_nothing)
{
    static const double bad[2] = {NAN, INFINITY};
    for (int i = 0; i < 2; ++i) {
        for (int t = 0; t < 2; ++t) {
            double broken[5];
            memcpy(broken, grads, sizeof broken);
            broken[1] = bad[i];
            ref_runner *r = optimizer(EDT_OPTIMIZER_SGD_TF1, broken);
            r->desc.attrs.optimizer.clip = 5;
            ref_runner_run(r, t == 0 ? EDT_DTYPE_F32 : EDT_DTYPE_F64);
            cr_expect_eq(r->out[0][EDT_OPTIMIZER_STAT_FINITE], 0);
            ref_runner_expect(r->inout[0], 5, params, 0, "params");
            ref_runner_expect(r->inout[2], 5, slot, 0, "slots");
            ref_runner_expect(r->inout[4], 5, averages, 0, "averages");
        }
    }
    // In a frozen segment it does not matter.
    double frozen[5];
    memcpy(frozen, grads, sizeof frozen);
    frozen[3] = NAN;
    ref_runner *r = optimizer(EDT_OPTIMIZER_SGD_TF1, frozen);
    ref_runner_run(r, EDT_DTYPE_F32);
    cr_expect_eq(r->out[0][EDT_OPTIMIZER_STAT_FINITE], 1);
}

Test(ref_optimizer, gradients_are_unscaled_before_decay_and_clipping)
{
    static const double scale[2] = {4, 1999};
    double four_times[5];
    for (int i = 0; i < 5; ++i) {
        four_times[i] = 4 * grads[i];
    }
    double want[2][5];
    double stats[EDT_OPTIMIZER_STATS];
    for (int scaled = 0; scaled < 2; ++scaled) {
        ref_runner *r = optimizer(EDT_OPTIMIZER_SGD_TF1, scaled != 0 ? four_times : grads);
        r->desc.attrs.optimizer.clip = 5;
        if (scaled == 0) {
            ref_runner_run(r, EDT_DTYPE_F64);
            memcpy(want[0], r->inout[0], sizeof want[0]);
            memcpy(want[1], r->inout[2], sizeof want[1]);
            memcpy(stats, r->out[0], sizeof stats);
            continue;
        }
        ref_runner_give(r, edt_shape_1(2), scale);
        ref_runner_run(r, EDT_DTYPE_F64);
        ref_runner_expect(r->inout[0], 5, want[0], 0, "params");
        ref_runner_expect(r->inout[2], 5, want[1], 0, "slots");
        ref_runner_expect(r->out[0], EDT_OPTIMIZER_STATS, stats, 0, "stats");
        ref_runner_expect(r->inout[5], 2, (const double[]){8, 0}, 0, "scale");
    }
}

Test(ref_optimizer, the_loss_scale_follows_its_rule)
{
    static const struct {
        bool finite;
        float before[2], after[2];
    } rows[] = {
        {true, {1024, 0}, {1024, 1}},
        {true, {1024, 1998}, {1024, 1999}},
        {true, {1024, 1999}, {2048, 0}},
        {false, {1024, 1999}, {512, 0}},
        {false, {1.5F, 3}, {1, 0}},
        {false, {1, 3}, {1, 0}},
        {true, {0x1p127F, 1999}, {0x1p127F, 0}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; ++i) {
        float scale[2] = {rows[i].before[0], rows[i].before[1]};
        edt_loss_scale_step(rows[i].finite, scale);
        cr_expect(scale[0] == rows[i].after[0] && scale[1] == rows[i].after[1],
                  "row %zu: {%g, %g}", i, (double)scale[0], (double)scale[1]);
    }
}
