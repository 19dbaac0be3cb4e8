// Learning rates of the reference, in both of its training paths (golden/model/README.md 2).
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/golden_case.h"
#include "tests/support/golden_file.h"
#include "tests/support/test_dirs.h"
#include "train/schedule.h"

static const double tolerance = 2e-8;

static edt_schedule make_schedule(const golden_case *c, const char *semantics)
{
    static const char *const keys[] = {
        "learning_rate",        "lr_warmup_init", "lr_warmup_epoch", "first_lr_drop_epoch",
        "second_lr_drop_epoch", "poly_lr_power",  "num_epochs"};
    edt_error err = {0};
    edt_hparams hp;
    cr_assert_eq(edt_hparams_init(&hp, &err), EDT_OK, "%s", err.text);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; ++i) {
        char text[64];
        (void)snprintf(text, sizeof text, "%.17g", golden_case_number(c, keys[i], NAN));
        cr_assert_eq(edt_hparams_set(&hp, keys[i], text, &err), EDT_OK, "%s", err.text);
    }
    char method[64];
    (void)snprintf(method, sizeof method, "%.*s", (int)strcspn(c->name, "_"), c->name);
    cr_assert_eq(edt_hparams_set(&hp, "lr_decay_method", method, &err), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_hparams_set(&hp, "semantics", semantics, &err), EDT_OK, "%s", err.text);
    const int64_t batch = (int64_t)golden_case_number(c, "batch_size", 0);
    const int64_t steps_per_epoch = (int64_t)golden_case_number(c, "steps_per_epoch", 0);
    edt_schedule schedule;
    cr_assert_eq(edt_schedule_init(&schedule, &hp, batch, batch * steps_per_epoch, &err),
                 EDT_OK, "%s", err.text);
    cr_expect_eq(schedule.total_steps, (int64_t)(hp.num_epochs * (double)steps_per_epoch));
    edt_hparams_deinit(&hp);
    return schedule;
}

static void compare(const golden_file *file, const golden_case *c, const char *column,
                    const char *semantics)
{
    char name[160];
    (void)snprintf(name, sizeof name, "%s.step", c->name);
    const golden_tensor *steps = golden_find(file, name);
    (void)snprintf(name, sizeof name, "%s.%s", c->name, column);
    const golden_tensor *rates = golden_find(file, name);
    cr_assert(steps != NULL && rates != NULL, "%s", name);
    const edt_schedule schedule = make_schedule(c, semantics);
    double worst = 0;
    for (int64_t i = 0; i < steps->shape.dim[0]; ++i) {
        const int64_t step = ((const int64_t *)steps->data)[i];
        const double want = (double)((const float *)rates->data)[i];
        const double error = fabs(edt_schedule_lr(&schedule, step) - want);
        cr_expect_leq(error, tolerance, "%s: step %lld: %.9g, not %.9g", name, (long long)step,
                      edt_schedule_lr(&schedule, step), want);
        worst = error > worst ? error : worst;
    }
    printf("%s: largest difference %.2g in %lld steps\n", name, worst,
           (long long)steps->shape.dim[0]);
}

Test(schedules_golden, every_setting_in_both_semantics, .timeout = 30)
{
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    const char *path =
        edt_test_path(edt_test_golden_dir(), "model/train/schedules.safetensors");
    EDT_TEST_NEEDS_FILE(path);
    golden_file *file = golden_open(path);
    const char *settings = golden_metadata(file, "settings");
    cr_assert_not_null(settings);
    golden_case c;
    int n = 0;
    for (; golden_case_at(settings, n, &c); ++n) {
        compare(file, &c, "lr", "tf2");
        compare(file, &c, "lr_tf1", "tf1");
    }
    cr_assert_gt(n, 0);
    golden_close(file);
}
