// Steps, limits and refusals of the learning-rate schedule; its values are in the golden test.
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "train/schedule.h"

static edt_hparams hp;

static void setup(void)
{
    edt_error err = {0};
    cr_assert_eq(edt_hparams_init(&hp, &err), EDT_OK, "%s", err.text);
}

static void teardown(void)
{
    edt_hparams_deinit(&hp);
}

TestSuite(schedule, .init = setup, .fini = teardown, .timeout = 10);

static void set(const char *text)
{
    edt_error err = {0};
    cr_assert_eq(edt_hparams_override(&hp, text, &err), EDT_OK, "%s", err.text);
}

static edt_schedule make(int64_t batch_size, int64_t examples)
{
    edt_error err = {0};
    edt_schedule s;
    cr_assert_eq(edt_schedule_init(&s, &hp, batch_size, examples, &err), EDT_OK, "%s",
                 err.text);
    return s;
}

// The example of spec/train.md 2.1.
Test(schedule, steps_follow_the_semantics)
{
    set("num_epochs=50,semantics=tf1");
    const edt_schedule tf1 = make(64, 5717);
    cr_expect_eq(tf1.total_steps, 4466);
    cr_expect_float_eq(tf1.steps_per_epoch, 89.328125, 1e-12);
    set("semantics=tf2");
    const edt_schedule tf2 = make(64, 5717);
    cr_expect_eq(tf2.total_steps, 4450);
    cr_expect_eq(tf2.steps_per_epoch, 89.0);
}

Test(schedule, the_rate_scales_with_the_batch)
{
    set("learning_rate=0.08,lr_warmup_init=0.008,num_epochs=4,semantics=tf1");
    const edt_schedule s = make(16, 1600);
    cr_expect_float_eq(edt_schedule_lr(&s, 0), 0.002, 1e-9);
    cr_expect_float_eq(edt_schedule_lr(&s, 100), 0.02 * 0.5 * (1 + cos(M_PI * 100 / 300)),
                       1e-8);
    set("semantics=tf2");
    const edt_schedule unscaled = make(16, 1600);
    cr_expect_float_eq(edt_schedule_lr(&unscaled, 0), 0.008, 1e-9);
}

Test(schedule, stepwise_drops_at_its_epochs)
{
    set("lr_decay_method=stepwise,learning_rate=1,lr_warmup_epoch=0,first_lr_drop_epoch=2,"
        "second_lr_drop_epoch=3,num_epochs=4");
    const edt_schedule s = make(64, 640);
    cr_expect_float_eq(edt_schedule_lr(&s, 19), 1, 1e-7);
    cr_expect_float_eq(edt_schedule_lr(&s, 20), 0.1, 1e-7);
    cr_expect_float_eq(edt_schedule_lr(&s, 30), 0.01, 1e-8);
}

Test(schedule, constant_has_no_warm_up_and_polynomial_ends_at_zero)
{
    set("lr_decay_method=constant,learning_rate=0.5,num_epochs=2");
    const edt_schedule constant = make(64, 640);
    cr_expect_float_eq(edt_schedule_lr(&constant, 0), 0.5, 1e-7);
    cr_expect_float_eq(edt_schedule_lr(&constant, 1000000), 0.5, 1e-7);
    set("lr_decay_method=polynomial,lr_warmup_epoch=0");
    const edt_schedule poly = make(64, 640);
    cr_expect_float_eq(edt_schedule_lr(&poly, 0), 0.5, 1e-7);
    cr_expect_eq(edt_schedule_lr(&poly, 20), 0.0);
    cr_expect_eq(edt_schedule_lr(&poly, 21), 0.0);
}

Test(schedule, impossible_settings_are_refused_with_the_numbers)
{
    edt_error err = {0};
    edt_schedule s;
    cr_expect_eq(edt_schedule_init(&s, &hp, 0, 10, &err), EDT_ERR_USAGE);
    cr_expect_eq(edt_schedule_init(&s, &hp, 4, 0, &err), EDT_ERR_USAGE);
    set("num_epochs=1,lr_warmup_epoch=1");
    cr_expect_eq(edt_schedule_init(&s, &hp, 4, 40, &err), EDT_ERR_USAGE);
    cr_expect_not_null(strstr(err.text, "lr_warmup_epoch"), "%s", err.text);
    set("semantics=tf2,lr_warmup_epoch=0");
    cr_expect_eq(edt_schedule_init(&s, &hp, 64, 40, &err), EDT_ERR_USAGE);
    cr_expect_not_null(strstr(err.text, "no whole batch"), "%s", err.text);
    hp.lr_decay_method = "cosin";
    cr_expect_eq(edt_schedule_init(&s, &hp, 4, 40, &err), EDT_ERR_USAGE);
    cr_expect_not_null(strstr(err.text, "'cosin'"), "%s", err.text);
}

Test(schedule, averages_warm_up_as_the_reference_does)
{
    cr_expect_float_eq(edt_ema_decay(0.9998, 0, false), 2.0 / 11.0, 1e-15);
    cr_expect_float_eq(edt_ema_decay(0.9998, 2, false), 4.0 / 13.0, 1e-15);
    cr_expect_float_eq(edt_ema_decay(0.9998, 0, true), 0.1, 1e-15);
    cr_expect_eq(edt_ema_decay(0.9998, 1000000, true), 0.9998);
    cr_expect_eq(edt_ema_decay(0.0, 5, false), 0.0);
}
