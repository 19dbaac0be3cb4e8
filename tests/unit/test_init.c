// Initial values: distribution, and independence of order and count.
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "model/init.h"

enum { N = 100000 };
static double values[N];

static void moments(const edt_init *init, double *out_mean, double *out_std, double *out_max)
{
    edt_init_fill(init, 7, "a/kernel", N, values);
    double sum = 0;
    double squares = 0;
    *out_max = 0;
    for (int i = 0; i < N; i++) {
        sum += values[i];
        squares += values[i] * values[i];
        *out_max = fmax(*out_max, fabs(values[i]));
    }
    *out_mean = sum / N;
    *out_std = sqrt(squares / N - *out_mean * *out_mean);
}

Test(init, normal_has_the_asked_deviation, .timeout = 30)
{
    double mean, std, max;
    moments(&(edt_init){.kind = EDT_INIT_NORMAL, .a = 0.5}, &mean, &std, &max);
    cr_expect_float_eq(mean, 0.0, 0.01);
    cr_expect_float_eq(std, 0.5, 0.01);
    cr_expect_gt(max, 1.5);
}

Test(init, truncated_normal_ends_at_two_deviations, .timeout = 30)
{
    double mean, std, max;
    moments(&(edt_init){.kind = EDT_INIT_TRUNCATED_NORMAL, .a = 1 / 0.87962566103423978}, &mean,
            &std, &max);
    cr_expect_float_eq(mean, 0.0, 0.01);
    cr_expect_float_eq(std, 1.0, 0.01, "the divisor makes up for the cut");
    cr_expect_leq(max, 2 / 0.87962566103423978);
    cr_expect_gt(max, 2.2);
}

Test(init, uniform_fills_its_interval, .timeout = 30)
{
    double mean, std, max;
    moments(&(edt_init){.kind = EDT_INIT_UNIFORM, .a = 0.25}, &mean, &std, &max);
    cr_expect_float_eq(mean, 0.0, 0.005);
    cr_expect_float_eq(std, 0.25 / sqrt(3.0), 0.005);
    cr_expect_leq(max, 0.25);
}

Test(init, a_value_depends_on_seed_name_and_index_only, .timeout = 30)
{
    const edt_init init = {.kind = EDT_INIT_TRUNCATED_NORMAL, .a = 1};
    double few[10];
    double other[10];
    edt_init_fill(&init, 7, "a/kernel", N, values);
    edt_init_fill(&init, 7, "a/kernel", 10, few);
    cr_expect_arr_eq(values, few, sizeof few);
    edt_init_fill(&init, 7, "b/kernel", 10, other);
    cr_expect_arr_neq(few, other, sizeof few);
    edt_init_fill(&init, 8, "a/kernel", 10, other);
    cr_expect_arr_neq(few, other, sizeof few);
}
