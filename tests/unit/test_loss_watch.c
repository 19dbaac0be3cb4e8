// The watch over the loss: quiet on noise and on a falling loss, clear on a jump, and the same
// after a pause.
#include <criterion/criterion.h>
#include <math.h>

#include "core/rng.h"
#include "train/loss_watch.h"

// A loss that falls from 10 to 1, with noise of a tenth.
static double loss_at(int step)
{
    edt_rng rng;
    edt_rng_init(&rng, 3, 0, (uint64_t)step, 0);
    const double noise = 0.1 * ((double)edt_rng_uniform_f32(&rng) - 0.5);
    return (1.0 + 9.0 * exp(-step / 300.0)) * (1.0 + noise);
}

Test(loss_watch, says_nothing_about_noise_or_a_falling_loss)
{
    edt_loss_watch w = {0};
    for (int step = 0; step < 2000; ++step) {
        cr_expect_lt(edt_loss_watch_add(&w, loss_at(step)), EDT_LOSS_WATCH_Z / 2, "step %d",
                     step);
    }
    cr_expect_float_eq(w.mean, 1.0, 0.1);
}

Test(loss_watch, sees_a_jump_but_not_in_the_first_steps)
{
    edt_loss_watch w = {0};
    for (int step = 0; step < EDT_LOSS_WATCH_WARM_UP; ++step) {
        cr_expect_eq(edt_loss_watch_add(&w, step == 10 ? 1e6 : 1.0), 0.0);
    }
    w = (edt_loss_watch){0};
    for (int step = 0; step < 500; ++step) {
        (void)edt_loss_watch_add(&w, loss_at(step));
    }
    cr_expect_gt(edt_loss_watch_add(&w, 5.0 * loss_at(500)), EDT_LOSS_WATCH_Z);
    const edt_loss_watch before = w;
    cr_expect_eq(edt_loss_watch_add(&w, (double)NAN), 0.0);
    cr_expect_eq(edt_loss_watch_add(&w, (double)INFINITY), 0.0);
    cr_expect(w.n == before.n && w.mean == before.mean && w.variance == before.variance);
}

Test(loss_watch, has_a_unit_where_the_loss_does_not_move)
{
    edt_loss_watch w = {0};
    for (int step = 0; step < 100; ++step) {
        cr_expect_eq(edt_loss_watch_add(&w, 2.0), 0.0);
    }
    cr_expect_lt(edt_loss_watch_add(&w, 2.1), EDT_LOSS_WATCH_Z);
    cr_expect_gt(edt_loss_watch_add(&w, 2.5), EDT_LOSS_WATCH_Z);
}
