// Decimals against strtod, and what is none.
#include "core/json_number.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"

static bool same_bits(double a, double b)
{
    return memcmp(&a, &b, sizeof a) == 0;
}

static void check(uint64_t mantissa, int exponent)
{
    char text[64];
    double got = 0;
    (void)snprintf(text, sizeof text, "%" PRIu64 "e%d", mantissa, exponent);
    if (edt_json_number_to_f64(mantissa, exponent, &got)) {
        cr_assert(same_bits(got, strtod(text, NULL)), "%s: %.17g", text, got);
    } else {
        cr_assert(exponent > 0 || exponent < -19, "%s is not converted", text);
    }
}

Test(json_number, equals_strtod_to_the_last_bit, .timeout = 120)
{
    edt_rng rng;
    edt_rng_init(&rng, 8, 0, 0, 0);
    for (int i = 0; i < 2000000; ++i) {
        uint64_t m = edt_rng_next_u64(&rng) >> (i % 64);
        m = m > UINT64_C(9999999999999999999) ? m / 2 : m;
        check(m, -(i / 64 % 24));
    }
    // Halfway between two doubles, and one unit beside: 2^53 + odd, times powers of two and
    // five.
    for (uint64_t odd = 1; odd < 2000; odd += 2) {
        for (int k = 0; k <= 3; ++k) {
            uint64_t m = (UINT64_C(1) << 53) + odd;
            for (int j = 0; j < k; ++j) {
                m *= 10;
            }
            for (int delta = -1; delta <= 1; ++delta) {
                check(m + (uint64_t)delta, -k);
            }
        }
        // Exact binary fractions that end in ...5.
        for (int k = 1; k <= 10; ++k) {
            uint64_t m = (UINT64_C(1) << 53) + odd;
            for (int j = 0; j < k && m < UINT64_C(1000000000000000000); ++j) {
                m *= 5;
            }
            check(m, -k);
        }
    }
    check(0, -19);
    check(UINT64_C(9999999999999999999), 0);
    check(UINT64_MAX, -19);
    check(1, 23);
}

static const uint8_t *scan(const char *text, edt_json_decimal *d)
{
    static char room[64];
    (void)snprintf(room, sizeof room, "%-40s", text);
    const uint8_t *end = edt_json_scan_decimal((const uint8_t *)room, d);
    return end == NULL ? NULL : (const uint8_t *)text + (end - (const uint8_t *)room);
}

Test(json_number, only_plain_decimals_are_scanned, .timeout = 30)
{
    static const struct {
        const char *text;
        uint64_t mantissa;
        int exponent, n_bytes; // 0: refused
        bool negative;
    } cases[] = {
        {"12.50,", 1250, -2, 5, false},
        {"-0]", 0, 0, 2, true},
        {"0.001}", 1, -3, 5, false},
        {"9999999999999999999", UINT64_C(9999999999999999999), 0, 19, false},
        {"0.902000010013580322", UINT64_C(902000010013580322), -18, 20, false},
        {"1.2.3", 0, 0, 0, false},
        {"012", 0, 0, 0, false},
        {"1e5", 0, 0, 0, false},
        {"1.5E-3", 0, 0, 0, false},
        {".5", 0, 0, 0, false},
        {"5.", 0, 0, 0, false},
        {"-", 0, 0, 0, false},
        {"NaN", 0, 0, 0, false},
        {"99999999999999999999", 0, 0, 0, false},
        {"1234567890.1234567890123", 0, 0, 0, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        edt_json_decimal d = {0};
        const uint8_t *end = scan(cases[i].text, &d);
        if (cases[i].n_bytes == 0) {
            cr_expect_null(end, "%s", cases[i].text);
        } else {
            cr_expect_eq(end, (const uint8_t *)cases[i].text + cases[i].n_bytes, "%s",
                         cases[i].text);
            cr_expect_eq(d.mantissa, cases[i].mantissa);
            cr_expect_eq(d.exponent, cases[i].exponent);
            cr_expect_eq(d.negative, cases[i].negative);
        }
    }
}
