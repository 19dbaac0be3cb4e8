#include <criterion/criterion.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"

static void check_block(const uint32_t counter[4], const uint32_t key[2],
                        const uint32_t expected[4])
{
    uint32_t words[4];
    edt_philox4x32(counter, key, words);
    for (int i = 0; i < 4; ++i) {
        cr_assert_eq(words[i], expected[i], "word %d: %08x", i, words[i]);
    }
}

// Known answers published with Random123 (kat_vectors, philox4x32, 10 rounds).
Test(rng, philox_gives_the_published_answers, .timeout = 10)
{
    check_block((uint32_t[4]){0, 0, 0, 0}, (uint32_t[2]){0, 0},
                (uint32_t[4]){0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
    check_block((uint32_t[4]){UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX},
                (uint32_t[2]){UINT32_MAX, UINT32_MAX},
                (uint32_t[4]){0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
    check_block((uint32_t[4]){0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
                (uint32_t[2]){0xa4093822, 0x299f31d0},
                (uint32_t[4]){0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

Test(rng, a_stream_depends_on_each_of_its_names_only, .timeout = 10)
{
    static const uint64_t names[][4] = {
        {1, 2, 3, 4},          {1, 2, 3, 5},          {1, 2, 4, 4},
        {1, 3, 3, 4},          {2, 2, 3, 4},          {1ull << 40, 2, 3, 4},
        {1, 1ull << 40, 3, 4}, {1, 2, 1ull << 40, 4}, {1, 3, 2, 4}};
    uint64_t first[9];
    for (int i = 0; i < 9; ++i) {
        edt_rng a;
        edt_rng b;
        edt_rng_init(&a, names[i][0], names[i][1], names[i][2], (uint32_t)names[i][3]);
        edt_rng_init(&b, names[i][0], names[i][1], names[i][2], (uint32_t)names[i][3]);
        first[i] = edt_rng_next_u64(&a);
        cr_assert_eq(first[i], edt_rng_next_u64(&b));
        for (int k = 0; k < 100; ++k) {
            cr_assert_eq(edt_rng_next_u32(&a), edt_rng_next_u32(&b));
        }
        for (int k = 0; k < i; ++k) {
            cr_assert_neq(first[i], first[k], "streams %d and %d", i, k);
        }
    }
}

Test(rng, distributions_have_their_moments_and_ranges, .timeout = 30)
{
    enum { N = 200000 };
    edt_rng rng;
    edt_rng_init(&rng, 7, 0, 0, 0);
    double sums[5] = {0};
    int64_t counts[7] = {0};
    for (int i = 0; i < N; ++i) {
        const float a = edt_rng_uniform_f32(&rng);
        const double b = edt_rng_uniform_f64(&rng);
        const double c = edt_rng_uniform_range(&rng, -2.0, 4.0);
        const double z = edt_rng_normal(&rng);
        cr_assert(a >= 0.0f && a < 1.0f && b >= 0.0 && b < 1.0 && c >= -2.0 && c < 4.0);
        sums[0] += (double)a;
        sums[1] += b;
        sums[2] += c;
        sums[3] += z;
        sums[4] += z * z;
        ++counts[edt_rng_below(&rng, 7)];
    }
    // Bounds are five standard errors.
    const double root = sqrt((double)N);
    cr_assert_lt(fabs(sums[0] / N - 0.5), 5 * 0.2887 / root);
    cr_assert_lt(fabs(sums[1] / N - 0.5), 5 * 0.2887 / root);
    cr_assert_lt(fabs(sums[2] / N - 1.0), 5 * 6 * 0.2887 / root);
    cr_assert_lt(fabs(sums[3] / N), 5 / root);
    cr_assert_lt(fabs(sums[4] / N - 1.0), 5 * 1.4143 / root);
    for (int i = 0; i < 7; ++i) {
        cr_assert_lt(fabs((double)counts[i] - N / 7.0), 5 * sqrt(N / 7.0));
    }
    cr_assert_eq(edt_rng_below(&rng, 1), 0);
    cr_assert_eq(edt_rng_uniform_range(&rng, 3.0, 3.0), 3.0);
}

static void check_bijection(uint64_t seed, int64_t n)
{
    char *seen = calloc((size_t)n, 1);
    cr_assert_not_null(seen);
    for (int64_t i = 0; i < n; ++i) {
        const int64_t value = edt_rng_permute(seed, 3, n, i);
        cr_assert(value >= 0 && value < n, "n %lld i %lld", (long long)n, (long long)i);
        cr_assert_eq(seen[value], 0, "n %lld: %lld twice", (long long)n, (long long)value);
        seen[value] = 1;
    }
    free(seen);
}

Test(rng, permutations_are_bijective, .timeout = 60)
{
    for (int64_t n = 1; n <= 200; ++n) {
        for (uint64_t seed = 0; seed < 5; ++seed) {
            check_bijection(seed, n);
        }
    }
    check_bijection(1, 4096);
    check_bijection(2, 4097);
    check_bijection(3, 118287);
    const int64_t big = (int64_t)1 << 61;
    const int64_t far = edt_rng_permute(1, 1, big - 1, big - 2);
    cr_assert(far >= 0 && far < big - 1);
}

Test(rng, permutations_mix_and_differ_by_seed_and_epoch, .timeout = 30)
{
    // Element i lands at each place equally often over seeds (chi-square, 5 sigma).
    enum { PLACES = 6, SEEDS = 6000 };
    double chi = 0;
    int64_t counts[PLACES][PLACES] = {0};
    for (uint64_t seed = 0; seed < SEEDS; ++seed) {
        for (int64_t i = 0; i < PLACES; ++i) {
            ++counts[i][edt_rng_permute(seed, 0, PLACES, i)];
        }
    }
    for (int i = 0; i < PLACES; ++i) {
        for (int k = 0; k < PLACES; ++k) {
            const double off = (double)counts[i][k] - (double)SEEDS / PLACES;
            chi += off * off / ((double)SEEDS / PLACES);
        }
    }
    cr_assert_lt(chi, 25 + 5 * sqrt(2.0 * 25), "chi-square %g", chi);

    int n_equal = 0;
    int n_fixed = 0;
    for (int64_t i = 0; i < 1000; ++i) {
        n_equal += edt_rng_permute(1, 0, 1000, i) == edt_rng_permute(1, 1, 1000, i);
        n_fixed += edt_rng_permute(1, 0, 1000, i) == i;
    }
    cr_assert_lt(n_equal, 10);
    cr_assert_lt(n_fixed, 10);
}
