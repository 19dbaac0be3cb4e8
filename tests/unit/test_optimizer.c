// Which variables move, decay and are averaged, and the optimizer's numbers on a graph of four
// variables; the whole training path is compared in tests/golden/test_train_golden.c.
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "core/log.h"
#include "model/graph.h"
#include "train/optimizer.h"

enum { N_NAMES = 5 };

static const char *const names[N_NAMES] = {
    "efficientnet-b0/stem/conv2d/kernel", "efficientnet-b0/stem/bn/moving_mean",
    "fpn_cells/cell_0/fnode0/WSM",        "class_net/class-predict/bias",
    "box_net/efficientnet/kernel",
};
static const bool trainable[N_NAMES] = {true, false, true, true, true};

static int n_warnings;

static void count_warnings(void *ctx, edt_log_level level, const char *line)
{
    (void)ctx;
    (void)line;
    n_warnings += level == EDT_LOG_WARNING;
}

static void expect_frozen(const char *expr, const bool *want, int want_warnings)
{
    edt_error err = {0};
    bool frozen[N_NAMES];
    memset(frozen, true, sizeof frozen);
    n_warnings = 0;
    edt_log_set_sink(count_warnings, NULL);
    cr_expect_eq(edt_freeze_select(expr, N_NAMES, names, trainable, &err, frozen), EDT_OK, "%s",
                 err.text);
    edt_log_set_sink(NULL, NULL);
    cr_expect_eq(n_warnings, want_warnings, "%s", expr);
    for (int i = 0; i < N_NAMES; ++i) {
        cr_expect_eq(frozen[i], want[i], "'%s' and %s", expr != NULL ? expr : "NULL", names[i]);
    }
}

Test(optimizer, the_expression_matches_from_the_start_of_the_name, .timeout = 10)
{
    expect_frozen(NULL, (bool[]){0, 0, 0, 0, 0}, 0);
    expect_frozen("", (bool[]){0, 0, 0, 0, 0}, 0);
    // Not box_net/efficientnet; and what is not trainable is not called frozen.
    expect_frozen("efficientnet", (bool[]){1, 0, 0, 0, 0}, 0);
    expect_frozen("(efficientnet|fpn_cells|resample_p6)", (bool[]){1, 0, 1, 0, 0}, 0);
    // An alternative without brackets keeps its anchor.
    expect_frozen("fpn|kernel", (bool[]){0, 0, 1, 0, 0}, 0);
    // Names end in ":0", as the reference's do.
    expect_frozen(".*(kernel|weight):0$", (bool[]){1, 0, 0, 0, 1}, 0);
    expect_frozen("nothing", (bool[]){0, 0, 0, 0, 0}, 1);
}

Test(optimizer, what_is_no_extended_expression_is_refused, .timeout = 10)
{
    edt_error err = {0};
    bool frozen[N_NAMES];
    cr_expect_eq(edt_freeze_select("(?i)efficientnet", N_NAMES, names, trainable, &err, frozen),
                 EDT_ERR_USAGE);
    cr_expect_not_null(strstr(err.text, "(?i)efficientnet"), "%s", err.text);
    cr_expect_eq(edt_freeze_select("(fpn", N_NAMES, names, trainable, &err, frozen),
                 EDT_ERR_USAGE);
    cr_expect_not_null(strstr(err.text, "'(fpn'"), "%s", err.text);
    cr_expect_eq(edt_freeze_select("fpn\\w", N_NAMES, names, trainable, &err, frozen),
                 EDT_ERR_USAGE);
}

// Four variables: decayed kernel, plain bias, frozen kernel, moving statistic; value 2,
// gradient 3 where there is one.
enum { KERNEL, BIAS, FROZEN, MOVING, N_VARIABLES, N_ELEMENTS = 3 };

typedef struct fixture {
    edt_hparams hp;
    edt_graph *graph;
    edt_backend *backend;
    edt_params *params;
    edt_optimizer *optimizer;
} fixture;

static void fill(edt_params *params, edt_params_arena which, int i, double value)
{
    const double values[N_ELEMENTS] = {value, value, value};
    edt_error err = {0};
    cr_assert_eq(edt_params_set_f64(params, which, i, values, N_ELEMENTS, &err), EDT_OK, "%s",
                 err.text);
}

static double get(const edt_params *params, edt_params_arena which, int i)
{
    double values[N_ELEMENTS];
    edt_error err = {0};
    cr_assert_eq(edt_params_get_f64(params, which, i, values, N_ELEMENTS, &err), EDT_OK, "%s",
                 err.text);
    return values[1];
}

static fixture open_fixture(const char *overrides)
{
    edt_error err = {0};
    fixture f = {0};
    cr_assert_eq(edt_hparams_init(&f.hp, &err), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_hparams_override(&f.hp, "weight_decay=0.5,clip_gradients_norm=0", &err),
                 EDT_OK, "%s", err.text);
    cr_assert_eq(edt_hparams_override(&f.hp, overrides, &err), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_graph_create(EDT_DTYPE_F64, &err, &f.graph), EDT_OK, "%s", err.text);
    for (int i = 0; i < N_VARIABLES; ++i) {
        static const char *const keys[] = {"a/kernel", "a/bias", "b/kernel", "a/moving_mean"};
        (void)edt_graph_param(f.graph, keys[i], "p", edt_shape_1(N_ELEMENTS),
                              (edt_init){.kind = EDT_INIT_CONSTANT}, i != MOVING);
    }
    cr_assert_eq(
        edt_backend_create("ref", &(edt_backend_options){.n_threads = 1}, &err, &f.backend),
        EDT_OK, "%s", err.text);
    cr_assert_eq(edt_params_create(f.graph, f.backend, &err, &f.params), EDT_OK, "%s",
                 err.text);
    const bool frozen[N_VARIABLES] = {[FROZEN] = true};
    cr_assert_eq(edt_optimizer_create(f.params, &f.hp, frozen, &err, &f.optimizer), EDT_OK,
                 "%s", err.text);
    for (int i = 0; i < N_VARIABLES; ++i) {
        fill(f.params, EDT_PARAMS_VALUES, i, 2);
        if (i == KERNEL || i == BIAS) {
            fill(f.params, EDT_PARAMS_GRADS, i, 3);
        }
    }
    return f;
}

static void close_fixture(fixture *f)
{
    edt_optimizer_destroy(f->optimizer);
    edt_params_destroy(f->params);
    edt_backend_destroy(&f->backend);
    edt_graph_destroy(f->graph);
    edt_hparams_deinit(&f->hp);
}

static void run(fixture *f, int64_t step, double *out_stats)
{
    edt_error err = {0};
    cr_assert_eq(edt_optimizer_run(f->optimizer, 0.1, step, &err, out_stats), EDT_OK, "%s",
                 err.text);
}

static void expect(const fixture *f, edt_params_arena which, int i, double want)
{
    const double got = get(f->params, which, i);
    cr_expect_float_eq(got, want, 1e-9, "arena %d, variable %d: %.12g, not %.12g", which, i,
                       got, want);
}

Test(optimizer, tf1_keeps_the_rate_out_of_the_slot_and_averages_everything, .timeout = 10)
{
    fixture f = open_fixture("semantics=tf1");
    double stats[EDT_OPTIMIZER_STATS];
    const uint64_t version = f.params->version;
    run(&f, 0, stats);
    cr_expect_gt(f.params->version, version);
    cr_expect_float_eq(stats[EDT_OPTIMIZER_STAT_L2], 6.0, 1e-9, "the frozen kernel counts");
    cr_expect_float_eq(stats[EDT_OPTIMIZER_STAT_RAW_NORM], sqrt(3 * 16 + 3 * 9), 1e-9);
    expect(&f, EDT_PARAMS_SLOT0, KERNEL, 4);
    expect(&f, EDT_PARAMS_SLOT0, BIAS, 3);
    expect(&f, EDT_PARAMS_SLOT0, FROZEN, 0);
    expect(&f, EDT_PARAMS_VALUES, KERNEL, 1.6);
    expect(&f, EDT_PARAMS_VALUES, BIAS, 1.7);
    expect(&f, EDT_PARAMS_VALUES, FROZEN, 2);
    expect(&f, EDT_PARAMS_EMA, KERNEL, 9.0 / 11.0 * 1.6);
    expect(&f, EDT_PARAMS_EMA, FROZEN, 9.0 / 11.0 * 2);
    expect(&f, EDT_PARAMS_EMA, MOVING, 9.0 / 11.0 * 2);
    run(&f, 1, stats);
    expect(&f, EDT_PARAMS_SLOT0, KERNEL, 0.9 * 4 + 3 + 0.5 * 1.6);
    edt_error err = {0};
    const double average = get(f.params, EDT_PARAMS_EMA, MOVING);
    cr_expect_eq(edt_optimizer_complete_ema(f.optimizer, &err), EDT_OK);
    expect(&f, EDT_PARAMS_EMA, MOVING, average);
    close_fixture(&f);
}

Test(optimizer, tf2_averages_what_moves_and_completes_the_rest, .timeout = 10)
{
    fixture f = open_fixture("semantics=tf2");
    double stats[EDT_OPTIMIZER_STATS];
    run(&f, 0, stats);
    cr_expect_float_eq(stats[EDT_OPTIMIZER_STAT_L2], 3.0, 1e-9,
                       "the frozen kernel does not count");
    expect(&f, EDT_PARAMS_SLOT0, KERNEL, -0.4);
    expect(&f, EDT_PARAMS_VALUES, KERNEL, 1.6);
    expect(&f, EDT_PARAMS_EMA, KERNEL, 0.9 * 1.6);
    expect(&f, EDT_PARAMS_EMA, FROZEN, 0);
    expect(&f, EDT_PARAMS_EMA, MOVING, 0);
    edt_error err = {0};
    cr_assert_eq(edt_optimizer_complete_ema(f.optimizer, &err), EDT_OK, "%s", err.text);
    expect(&f, EDT_PARAMS_EMA, KERNEL, 0.9 * 1.6);
    expect(&f, EDT_PARAMS_EMA, FROZEN, 2);
    expect(&f, EDT_PARAMS_EMA, MOVING, 2);
    close_fixture(&f);
}

Test(optimizer, adam_moves_by_the_rate_in_its_first_step, .timeout = 10)
{
    static const char *const semantics[] = {"optimizer=adam,semantics=tf1",
                                            "optimizer=adam,semantics=tf2"};
    for (int i = 0; i < 2; ++i) {
        fixture f = open_fixture(semantics[i]);
        double stats[EDT_OPTIMIZER_STATS];
        run(&f, 0, stats);
        cr_expect_float_eq(get(f.params, EDT_PARAMS_VALUES, KERNEL), 1.9, 1e-6);
        cr_expect_float_eq(get(f.params, EDT_PARAMS_VALUES, BIAS), 1.9, 1e-6);
        expect(&f, EDT_PARAMS_SLOT0, BIAS, 0.1 * 3);
        expect(&f, EDT_PARAMS_SLOT1, BIAS, 0.001 * 9);
        expect(&f, EDT_PARAMS_VALUES, FROZEN, 2);
        close_fixture(&f);
    }
}

// Each tensor to norm 1, then both together to 1.
Test(optimizer, clipping_is_per_tensor_then_global, .timeout = 10)
{
    fixture f = open_fixture("clip_gradients_norm=1,semantics=tf1");
    double stats[EDT_OPTIMIZER_STATS];
    run(&f, 0, stats);
    cr_expect_float_eq(stats[EDT_OPTIMIZER_STAT_NORM], 1.0, 1e-9);
    expect(&f, EDT_PARAMS_SLOT0, KERNEL, 1 / sqrt(6));
    expect(&f, EDT_PARAMS_SLOT0, BIAS, 1 / sqrt(6));
    close_fixture(&f);
}

Test(optimizer, a_gradient_that_is_not_finite_changes_nothing, .timeout = 10)
{
    fixture f = open_fixture("semantics=tf1");
    fill(f.params, EDT_PARAMS_GRADS, BIAS, NAN);
    double stats[EDT_OPTIMIZER_STATS];
    run(&f, 0, stats);
    cr_expect_eq(stats[EDT_OPTIMIZER_STAT_FINITE], 0.0);
    expect(&f, EDT_PARAMS_VALUES, KERNEL, 2);
    expect(&f, EDT_PARAMS_VALUES, BIAS, 2);
    expect(&f, EDT_PARAMS_SLOT0, KERNEL, 0);
    expect(&f, EDT_PARAMS_EMA, MOVING, 0);
    close_fixture(&f);
}

Test(optimizer, without_averages_there_is_no_arena_for_them, .timeout = 10)
{
    fixture f = open_fixture("moving_average_decay=0");
    cr_expect_null(f.params->memory[EDT_PARAMS_EMA]);
    cr_expect_null(f.params->memory[EDT_PARAMS_SLOT1]);
    double stats[EDT_OPTIMIZER_STATS];
    run(&f, 0, stats);
    expect(&f, EDT_PARAMS_VALUES, BIAS, 1.7);
    edt_error err = {0};
    cr_expect_eq(edt_optimizer_complete_ema(f.optimizer, &err), EDT_OK);
    close_fixture(&f);
}
