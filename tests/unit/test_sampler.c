#include <criterion/criterion.h>
#include <string.h>

#include "dataio/sampler.h"

enum { MAX_N = 257 };

// Runs one epoch on all ranks and counts how often each sample is seen; returns the sum.
static int64_t count_epoch(edt_sampler s, int64_t epoch, int *seen)
{
    memset(seen, 0, MAX_N * sizeof *seen);
    int64_t total = 0, n_batches = -1;
    for (s.rank = 0; s.rank < s.world_size; ++s.rank) {
        edt_cursor cursor = {.epoch = epoch};
        edt_sampler_batch batch;
        int64_t n = 0;
        cr_assert_eq(edt_sampler_check(&s, cursor, NULL), EDT_OK);
        while (edt_sampler_next(&s, &cursor, &batch)) {
            cr_assert_eq(batch.epoch, epoch);
            cr_assert_leq(batch.n_valid, s.batch_size);
            for (int64_t i = 0; i < batch.n_valid; ++i) {
                const int64_t index = edt_sampler_index(&s, epoch, batch.position + i);
                cr_assert(index >= 0 && index < s.n_samples);
                ++seen[index];
                ++total;
            }
            ++n;
        }
        cr_assert(n_batches < 0 || n == n_batches,
                  "ranks disagree about the number of batches");
        n_batches = n;
    }
    cr_assert_eq(n_batches, edt_sampler_batches_per_epoch(&s));
    return total;
}

Test(sampler, every_sample_at_most_once_per_epoch, .timeout = 60)
{
    static const int64_t counts[] = {0, 1, 2, 7, 16, 63, 64, 65, 100, MAX_N};
    static const int64_t batches[] = {1, 2, 3, 8, 64};
    static const int64_t worlds[] = {1, 2, 3, 5};
    int seen[MAX_N];
    for (int mode = 0; mode < 4; ++mode) {
        for (int i = 0; i < 10 * 5 * 4; ++i) {
            const edt_sampler s = {.n_samples = counts[i / 20],
                                   .batch_size = batches[i / 4 % 5],
                                   .world_size = worlds[i % 4],
                                   .shuffled = mode & 1,
                                   .drop_remainder = mode >> 1,
                                   .seed = 7};
            const int64_t rows = s.batch_size * s.world_size;
            const int64_t total = count_epoch(s, i % 3, seen);
            cr_assert_eq(total, s.drop_remainder ? s.n_samples / rows * rows : s.n_samples);
            for (int64_t k = 0; k < s.n_samples; ++k) {
                cr_assert_leq(seen[k], 1);
                cr_assert(s.drop_remainder || seen[k] == 1);
            }
        }
    }
}

Test(sampler, the_global_batch_does_not_depend_on_the_world, .timeout = 10)
{
    const edt_sampler one = {.n_samples = 100,
                             .batch_size = 12,
                             .world_size = 1,
                             .shuffled = true,
                             .drop_remainder = true,
                             .endless = true,
                             .seed = 3};
    edt_cursor a = {0};
    edt_cursor b[3] = {{0}, {0}, {0}};
    for (int step = 0; step < 40; ++step) {
        edt_sampler_batch whole;
        cr_assert(edt_sampler_next(&one, &a, &whole));
        for (int64_t r = 0; r < 3; ++r) {
            edt_sampler part = one;
            part.batch_size = 4;
            part.world_size = 3;
            part.rank = r;
            edt_sampler_batch batch;
            cr_assert(edt_sampler_next(&part, &b[r], &batch));
            cr_assert_eq(batch.epoch, whole.epoch);
            cr_assert_eq(batch.position, whole.position + 4 * r);
            cr_assert_eq(b[r].position, a.position);
        }
    }
    cr_assert_eq(a.epoch, 4);
}

Test(sampler, epochs_differ_and_a_cursor_continues_where_it_stopped, .timeout = 10)
{
    const edt_sampler s = {.n_samples = 50,
                           .batch_size = 8,
                           .world_size = 1,
                           .shuffled = true,
                           .endless = true,
                           .seed = 11};
    int n_same = 0;
    for (int64_t i = 0; i < 50; ++i) {
        n_same += edt_sampler_index(&s, 0, i) == edt_sampler_index(&s, 1, i);
    }
    cr_assert_lt(n_same, 10);
    edt_cursor whole = {0};
    edt_sampler_batch batch;
    for (int i = 0; i < 3; ++i) {
        cr_assert(edt_sampler_next(&s, &whole, &batch));
    }
    // The saved cursor on two ranks of half the batch goes on with the same samples.
    edt_sampler half = s;
    half.batch_size = 4;
    half.world_size = 2;
    edt_cursor resumed = whole;
    for (int i = 0; i < 20; ++i) {
        edt_sampler_batch again;
        cr_assert(edt_sampler_next(&s, &whole, &batch));
        cr_assert(edt_sampler_next(&half, &resumed, &again));
        cr_assert_eq(again.position, batch.position);
        cr_assert_eq(again.epoch, batch.epoch);
        cr_assert_eq(resumed.position, whole.position);
    }
}

Test(sampler, what_can_never_work_is_refused, .timeout = 10)
{
    edt_error err = {0};
    edt_sampler s = {.n_samples = 5,
                     .batch_size = 8,
                     .world_size = 1,
                     .endless = true,
                     .drop_remainder = true};
    cr_assert_eq(edt_sampler_check(&s, (edt_cursor){0}, &err), EDT_ERR_USAGE);
    cr_assert_not_null(strstr(err.text, "drop_remainder"));
    s.drop_remainder = false;
    cr_assert_eq(edt_sampler_check(&s, (edt_cursor){0}, NULL), EDT_OK);
    cr_assert_eq(edt_sampler_check(&s, (edt_cursor){.position = 6}, NULL), EDT_ERR_USAGE);
    s.rank = 1;
    cr_assert_eq(edt_sampler_check(&s, (edt_cursor){0}, NULL), EDT_ERR_USAGE);
    s.rank = 0;
    s.n_samples = 0;
    cr_assert_eq(edt_sampler_check(&s, (edt_cursor){0}, NULL), EDT_ERR_USAGE);
}
