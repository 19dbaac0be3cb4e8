// Orders, batches and ranks: every property for all small sizes.
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "dataio/sampler.h"

enum { MAX_N = 60, N_SHARDS = 5 };

static const char *const order_names[] = {"none", "global", "window"};

// N records in shards of uneven sizes, some of them empty.
static edt_shard_order *make_shards(int64_t n, uint64_t seed)
{
    const int64_t sizes[N_SHARDS] = {n / 2, 0, n / 3, n - n / 2 - n / 3, 0};
    edt_shard_order *shards = NULL;
    edt_error err = {0};
    cr_assert_eq(edt_shard_order_create(sizes, N_SHARDS, seed, &err, &shards), EDT_OK, "%s",
                 err.text);
    return shards;
}

// One epoch on all ranks from a cursor on: row r of rank k of global batch b goes to
// seen[(b * world + k) * B + r], -1 for padding. Returns the number of rows.
static int64_t run_epoch(edt_sampler s, edt_cursor start, int64_t *seen)
{
    int64_t n_batches = -1;
    for (s.rank = 0; s.rank < s.world_size; ++s.rank) {
        edt_cursor cursor = start;
        edt_sampler_batch batch;
        int64_t n = 0;
        cr_assert_eq(edt_sampler_check(&s, cursor, NULL), EDT_OK);
        while (edt_sampler_next(&s, &cursor, &batch)) {
            cr_assert_eq(batch.epoch, start.epoch);
            for (int64_t i = 0; i < s.batch_size; ++i) {
                const int64_t row = (n * s.world_size + s.rank) * s.batch_size + i;
                seen[row] = -1;
                if (i < batch.n_valid) {
                    seen[row] = edt_sampler_index(&s, start.epoch, batch.position + i);
                    cr_assert(edt_sampler_is_mine(&s, start, start.epoch, batch.position + i));
                }
            }
            ++n;
        }
        cr_assert(n_batches < 0 || n == n_batches, "ranks disagree about the batches");
        n_batches = n;
    }
    return n_batches * s.batch_size * s.world_size;
}

static void check_epoch(edt_sampler s, int64_t epoch, const int64_t *one_rank)
{
    const int64_t rows = s.batch_size * s.world_size;
    int64_t seen[4 * MAX_N];
    int count[MAX_N + 1] = {0};
    int64_t n_valid = 0, n_padded = 0;
    const int64_t n_rows = run_epoch(s, (edt_cursor){.epoch = epoch}, seen);
    cr_assert_eq(n_rows, edt_sampler_batches_per_epoch(&s) * rows);
    for (int64_t i = 0; i < n_rows; ++i) {
        if (seen[i] < 0) {
            ++n_padded;
            continue;
        }
        cr_assert_lt(seen[i], s.n_samples);
        cr_assert_eq(++count[seen[i]], 1);
        // Rows of all ranks, in turn, are those of one.
        cr_assert_eq(seen[i], one_rank[n_valid]);
        ++n_valid;
    }
    cr_assert_eq(n_valid, s.drop_remainder ? s.n_samples / rows * rows : s.n_samples);
    cr_assert_eq(n_padded, n_rows - n_valid);
    for (int64_t p = 0; p < s.n_samples; ++p) {
        int n_owners = 0;
        for (s.rank = 0; s.rank < s.world_size; ++s.rank) {
            n_owners += edt_sampler_is_mine(&s, (edt_cursor){.epoch = epoch}, epoch, p);
        }
        cr_assert_eq(n_owners, p < n_valid ? 1 : 0);
    }
}

static void check_size(edt_sample_order order, int64_t n)
{
    edt_shard_order *shards = make_shards(n, 7);
    for (int64_t w = 1; w <= 5; ++w) {
        for (int64_t b = 1; b <= 7; ++b) {
            for (int drop = 0; drop < 2; ++drop) {
                const edt_sampler s = {.n_samples = n,
                                       .batch_size = b,
                                       .world_size = w,
                                       .order = order,
                                       .window = order == EDT_ORDER_WINDOW ? 1 + b * w % 13 : 8,
                                       .shards = shards,
                                       .drop_remainder = drop,
                                       .seed = 7};
                int64_t one_rank[MAX_N + 1];
                const int64_t epoch = (b + w) % 6;
                for (int64_t p = 0; p < n; ++p) {
                    one_rank[p] = edt_sampler_index(&s, epoch, p);
                }
                check_epoch(s, epoch, one_rank);
            }
        }
    }
    edt_shard_order_destroy(shards);
}

Test(sampler, every_sample_once_for_all_worlds_batches_and_sizes_in_order, .timeout = 60)
{
    for (int64_t n = 0; n <= MAX_N; ++n) {
        check_size(EDT_ORDER_NONE, n);
    }
}

Test(sampler, every_sample_once_for_all_worlds_batches_and_sizes_permuted, .timeout = 60)
{
    for (int64_t n = 0; n <= MAX_N; ++n) {
        check_size(EDT_ORDER_GLOBAL, n);
    }
}

Test(sampler, every_sample_once_for_all_worlds_batches_and_sizes_in_windows, .timeout = 60)
{
    for (int64_t n = 0; n <= MAX_N; ++n) {
        check_size(EDT_ORDER_WINDOW, n);
    }
}

Test(sampler, orders_differ_between_epochs_and_seeds, .timeout = 10)
{
    for (int order = EDT_ORDER_GLOBAL; order <= EDT_ORDER_WINDOW; ++order) {
        edt_shard_order *shards = make_shards(MAX_N, 3);
        edt_shard_order *other_shards = make_shards(MAX_N, 4);
        const edt_sampler s = {.n_samples = MAX_N,
                               .order = (edt_sample_order)order,
                               .window = 16,
                               .shards = shards,
                               .seed = 3};
        edt_sampler other = s;
        other.seed = 4;
        other.shards = other_shards;
        // More epochs than the order of shards keeps tables for, there and back.
        for (int64_t e = 0; e < 12; ++e) {
            int n_same_epoch = 0, n_same_seed = 0;
            for (int64_t p = 0; p < MAX_N; ++p) {
                const int64_t i = edt_sampler_index(&s, e, p);
                n_same_epoch += i == edt_sampler_index(&s, e + 5, p);
                n_same_seed += i == edt_sampler_index(&other, e, p);
                cr_assert_eq(i, edt_sampler_index(&s, e, p));
            }
            cr_assert_lt(n_same_epoch, MAX_N / 2, "%s", order_names[order]);
            cr_assert_lt(n_same_seed, MAX_N / 2, "%s", order_names[order]);
        }
        edt_shard_order_destroy(shards);
        edt_shard_order_destroy(other_shards);
    }
}

Test(sampler, a_cursor_anywhere_continues_where_it_stopped, .timeout = 30)
{
    for (int order = EDT_ORDER_NONE; order <= EDT_ORDER_WINDOW; ++order) {
        edt_shard_order *shards = make_shards(50, 11);
        const edt_sampler s = {.n_samples = 50,
                               .batch_size = 8,
                               .world_size = 1,
                               .order = (edt_sample_order)order,
                               .window = 7,
                               .shards = shards,
                               .endless = true,
                               .seed = 11};
        // On two ranks of half the batch, from each batch of two epochs on.
        edt_cursor at = {0};
        for (int first = 0; first < 14; ++first) {
            edt_sampler half = s;
            half.batch_size = 4;
            half.world_size = 2;
            edt_cursor whole = at, resumed[2] = {at, at};
            for (int i = 0; i < 20; ++i) {
                edt_sampler_batch batch, again;
                cr_assert(edt_sampler_next(&s, &whole, &batch));
                for (half.rank = 0; half.rank < 2; ++half.rank) {
                    cr_assert(edt_sampler_next(&half, &resumed[half.rank], &again));
                    cr_assert_eq(again.epoch, batch.epoch);
                    cr_assert_eq(again.position, batch.position + 4 * half.rank);
                    cr_assert_eq(resumed[half.rank].position, whole.position);
                }
            }
            edt_sampler_batch ignored;
            cr_assert(edt_sampler_next(&s, &at, &ignored));
        }
        edt_shard_order_destroy(shards);
    }
    // A cursor that is no multiple of the batch: each sample behind it once, none before.
    const edt_sampler s = {.n_samples = 31,
                           .batch_size = 4,
                           .world_size = 2,
                           .order = EDT_ORDER_WINDOW,
                           .window = 5,
                           .seed = 2};
    for (int64_t from = 0; from <= 31; ++from) {
        int64_t seen[2 * MAX_N];
        const int64_t n_rows = run_epoch(s, (edt_cursor){1, from}, seen);
        int64_t p = from;
        for (int64_t i = 0; i < n_rows; ++i) {
            cr_assert(seen[i] < 0 || seen[i] == edt_sampler_index(&s, 1, p));
            p += seen[i] >= 0;
        }
        cr_assert_eq(p, 31);
    }
}

Test(sampler, a_window_is_a_stretch_of_the_stream_permuted, .timeout = 10)
{
    enum { N = 60, W = 9 };
    edt_shard_order *shards = make_shards(N, 5);
    const edt_sampler s = {
        .n_samples = N, .order = EDT_ORDER_WINDOW, .window = W, .shards = shards, .seed = 5};
    bool has_length[W + 1] = {false};
    for (int64_t e = 0; e < 200; ++e) {
        int64_t next = 0;
        for (int64_t p = 0; p < N;) {
            const edt_sampler_span window = edt_sampler_window(&s, e, p);
            cr_assert_eq(window.first, next);
            cr_assert(window.n >= 1 && window.n <= W);
            cr_assert(p == 0 || window.n == W || window.first + window.n == N);
            has_length[p == 0 ? window.n : 0] = true;
            bool taken[W] = {false};
            for (int64_t k = 0; k < window.n; ++k) {
                const edt_sampler_span same = edt_sampler_window(&s, e, p + k);
                cr_assert(same.first == window.first && same.n == window.n);
                const int64_t place = edt_sampler_place(&s, e, window, p + k);
                cr_assert(place >= 0 && place < window.n && !taken[place]);
                taken[place] = true;
                cr_assert_eq(edt_sampler_index(&s, e, p + k),
                             edt_sampler_stream(&s, e, window.first + place));
            }
            p += window.n;
            next = p;
        }
        // The stream takes each shard as a whole: consecutive records but at its ends.
        int n_jumps = 0;
        for (int64_t q = 1; q < N; ++q) {
            n_jumps += edt_sampler_stream(&s, e, q) != edt_sampler_stream(&s, e, q - 1) + 1;
        }
        cr_assert_leq(n_jumps, 2);
    }
    for (int64_t n = 1; n <= W; ++n) {
        cr_assert(has_length[n], "no first window of %d", (int)n);
    }
    edt_shard_order_destroy(shards);
}

// Every place of a window is taken by every position equally often, within 5 deviations.
Test(sampler, windows_are_permuted_evenly, .timeout = 30)
{
    enum { W = 8, N_EPOCHS = 4000 };
    const edt_sampler s = {.n_samples = W, .order = EDT_ORDER_WINDOW, .window = W, .seed = 9};
    int count[W][W] = {0};
    for (int64_t e = 0; e < N_EPOCHS; ++e) {
        for (int64_t p = 0; p < W; ++p) {
            ++count[p][edt_sampler_index(&s, e, p)];
        }
    }
    const double mean = (double)N_EPOCHS / W;
    for (int p = 0; p < W; ++p) {
        for (int i = 0; i < W; ++i) {
            const double off = (count[p][i] - mean) * (count[p][i] - mean);
            cr_expect_leq(off, 25.0 * mean, "position %d, record %d: %d times", p, i,
                          count[p][i]);
        }
    }
    // A window that holds the epoch is one window.
    cr_assert_eq(edt_sampler_window(&s, 3, 0).n, W);
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
    s.order = EDT_ORDER_WINDOW;
    cr_assert_eq(edt_sampler_check(&s, (edt_cursor){0}, &err), EDT_ERR_USAGE);
    cr_assert_not_null(strstr(err.text, "shuffle_window"));
    s.order = EDT_ORDER_NONE;
    s.rank = 1;
    cr_assert_eq(edt_sampler_check(&s, (edt_cursor){0}, NULL), EDT_ERR_USAGE);
    s.rank = 0;
    s.n_samples = 0;
    cr_assert_eq(edt_sampler_check(&s, (edt_cursor){0}, NULL), EDT_ERR_USAGE);
}
