// What a run says about its loader: values per row, and who is named as the bottleneck.
#include "train/loader_report.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

static const edt_loader_stats before = {.n_rows = 100,
                                        .n_workers = 4,
                                        .wait_seconds = 1.0,
                                        .read_seconds = 2.0,
                                        .decode_seconds = 3.0,
                                        .augment_seconds = 4.0,
                                        .resize_seconds = 5.0,
                                        .target_seconds = 6.0,
                                        .idle_seconds = 7.0};

// Ten seconds later.
static edt_loader_stats later(double wait, double decode)
{
    edt_loader_stats now = before;
    now.n_rows += 200;
    now.wait_seconds += wait;
    now.read_seconds += 0.2;
    now.decode_seconds += decode;
    now.augment_seconds += 0.6;
    now.resize_seconds += 0.8;
    now.target_seconds += 1.0;
    now.idle_seconds += 10.0;
    now.n_bad = 3;
    return now;
}

static double value_of(const edt_metric *rows, const char *name)
{
    for (int i = 0; i < EDT_LOADER_N_METRICS; ++i) {
        if (strcmp(rows[i].name, name) == 0) {
            return rows[i].value;
        }
    }
    cr_assert_fail("no value '%s'", name);
    return NAN;
}

Test(loader_report, values_are_of_the_time_between_and_per_row, .timeout = 10)
{
    edt_metric rows[EDT_LOADER_N_METRICS];
    const edt_loader_stats now = later(2.5, 4.0);
    edt_loader_report_metrics(&before, &now, 10.0, rows);
    cr_expect_float_eq(value_of(rows, "wait_percent"), 25.0, 1e-9);
    cr_expect_float_eq(value_of(rows, "loader_read_ms"), 1.0, 1e-9);
    cr_expect_float_eq(value_of(rows, "loader_decode_ms"), 20.0, 1e-9);
    cr_expect_float_eq(value_of(rows, "loader_augment_ms"), 3.0, 1e-9);
    cr_expect_float_eq(value_of(rows, "loader_resize_ms"), 4.0, 1e-9);
    cr_expect_float_eq(value_of(rows, "loader_target_ms"), 5.0, 1e-9);
    cr_expect_float_eq(value_of(rows, "loader_idle_percent"), 25.0, 1e-9);
    cr_expect_eq(value_of(rows, "bad_samples"), 3.0);
    // No row was finished in between.
    edt_loader_report_metrics(&before, &before, 10.0, rows);
    for (int i = 0; i < EDT_LOADER_N_METRICS; ++i) {
        cr_expect_eq(rows[i].value, 0.0, "%s", rows[i].name);
    }
}

Test(loader_report, only_a_run_that_waits_gets_a_hint, .timeout = 10)
{
    char text[512];
    edt_loader_stats now = later(1.9, 4.0);
    cr_expect_not(edt_loader_report_hint(&before, &now, 10.0, sizeof text, text));
    now = later(3.8, 6.4);
    cr_assert(edt_loader_report_hint(&before, &now, 10.0, sizeof text, text));
    cr_expect_not_null(strstr(text, "loader-bound: 38 % of the time"), "%s", text);
    cr_expect_not_null(strstr(text, "decoding is 71 %"), "%s", text);
    cr_expect_not_null(strstr(text, "decoded_cache"), "%s", text);
    now = later(3.8, 0.1);
    cr_assert(edt_loader_report_hint(&before, &now, 10.0, sizeof text, text));
    cr_expect_not_null(strstr(text, "making targets is 37 %"), "%s", text);
    // Nothing was done at all: the wait is for something else.
    now = before;
    now.wait_seconds += 5.0;
    cr_expect_not(edt_loader_report_hint(&before, &now, 10.0, sizeof text, text));
}
