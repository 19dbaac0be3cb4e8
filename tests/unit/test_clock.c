#include <criterion/criterion.h>

#include "core/clock.h"

Test(clock, monotonic_time_does_not_run_backwards, .timeout = 10)
{
    double last = edt_clock_now_s();
    for (int i = 0; i < 1000; ++i) {
        const double now = edt_clock_now_s();
        cr_assert_geq(now, last);
        last = now;
    }
}

Test(clock, writes_wall_time_as_iso_8601, .timeout = 10)
{
    char text[EDT_CLOCK_TEXT_BYTES];
    cr_assert_str_eq(edt_clock_text(0.0, text), "1970-01-01T00:00:00Z");
    cr_assert_str_eq(edt_clock_text(1709210096.75, text), "2024-02-29T12:34:56Z");
    cr_assert_gt(edt_clock_wall_s(), 1.7e9);
}
