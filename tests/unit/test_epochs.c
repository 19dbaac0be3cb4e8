// When epochs end, evaluations come and checkpoints are written, by both semantics.
#include <criterion/criterion.h>

#include "train/epochs.h"

static edt_epochs make(const char *overrides, int64_t examples, int64_t batch)
{
    edt_error err = {0};
    edt_hparams hp;
    edt_schedule schedule;
    edt_epochs epochs;
    cr_assert_eq(edt_hparams_init(&hp, &err), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_hparams_override(&hp, overrides, &err), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_schedule_init(&schedule, &hp, batch, examples, &err), EDT_OK, "%s",
                 err.text);
    cr_assert_eq(edt_epochs_init(&epochs, &hp, &schedule, examples, batch, 1000, &err), EDT_OK,
                 "%s", err.text);
    edt_hparams_deinit(&hp);
    return epochs;
}

// 5717 pictures in batches of 64 are 89.3 steps: whole ones only with tf2.
Test(epochs, end_as_each_program_of_the_reference_has_it, .timeout = 10)
{
    const edt_epochs tf1 = make("num_epochs=50", 5717, 64);
    cr_expect_eq(edt_epochs_end(&tf1, 0), 0);
    cr_expect_eq(edt_epochs_end(&tf1, 1), 89);
    cr_expect_eq(edt_epochs_end(&tf1, 4), 357);
    cr_expect_eq(edt_epochs_end(&tf1, 50), 4466);
    const edt_epochs tf2 = make("num_epochs=50,semantics=tf2", 5717, 64);
    cr_expect_eq(edt_epochs_end(&tf2, 4), 356);
    cr_expect_eq(edt_epochs_end(&tf2, 50), 4450);
}

Test(epochs, are_evaluated_each_with_tf1_and_every_map_freq_th_with_tf2, .timeout = 10)
{
    const edt_epochs tf1 = make("num_epochs=7", 640, 64);
    const edt_epochs tf2 = make("num_epochs=7,semantics=tf2", 640, 64);
    const edt_epochs two = make("num_epochs=8,semantics=tf2,map_freq=2", 640, 64);
    for (int64_t e = 1; e <= 7; ++e) {
        cr_expect(edt_epochs_evaluates(&tf1, e));
        cr_expect_eq(edt_epochs_evaluates(&tf2, e), e == 5 || e == 7, "epoch %d", (int)e);
        cr_expect_eq(edt_epochs_evaluates(&two, e), e % 2 == 0, "epoch %d", (int)e);
    }
    cr_expect_eq(edt_epochs_count_evaluations(&tf1, 0), 7);
    cr_expect_eq(edt_epochs_count_evaluations(&tf1, 15), 6);
    cr_expect_eq(edt_epochs_count_evaluations(&tf2, 0), 2);
    cr_expect_eq(edt_epochs_count_evaluations(&tf2, 50), 1);
    cr_expect_eq(edt_epochs_count_evaluations(&two, 0), 4);
}

Test(epochs, have_checkpoints_by_steps_or_at_their_end, .timeout = 10)
{
    const edt_epochs tf1 = make("num_epochs=300", 640, 64);
    cr_expect(edt_epochs_saves(&tf1, 2000) && !edt_epochs_saves(&tf1, 10));
    const edt_epochs tf2 = make("num_epochs=300,semantics=tf2", 640, 64);
    cr_expect(edt_epochs_saves(&tf2, 1000) && edt_epochs_saves(&tf2, 10));
    cr_expect_not(edt_epochs_saves(&tf2, 11));
    static const char *const by_steps[] = {"num_epochs=300,save_freq=7",
                                           "num_epochs=300,save_freq=7,semantics=tf2"};
    for (int i = 0; i < 2; ++i) {
        const edt_epochs e = make(by_steps[i], 640, 64);
        cr_expect(edt_epochs_saves(&e, 7) && edt_epochs_saves(&e, 14));
        cr_expect_not(edt_epochs_saves(&e, 10) || edt_epochs_saves(&e, 1000));
    }
}

Test(epochs, take_save_freq_as_epoch_or_a_number, .timeout = 10)
{
    cr_expect_eq(edt_epochs_parse_save_freq("epoch"), 0);
    cr_expect_eq(edt_epochs_parse_save_freq("250"), 250);
    static const char *const wrong[] = {
        "0", "-1", "+3", "1.5", "3 ", " 3", "", "batch", "99999999999999999999"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; ++i) {
        cr_expect_eq(edt_epochs_parse_save_freq(wrong[i]), -1, "'%s'", wrong[i]);
    }
}
