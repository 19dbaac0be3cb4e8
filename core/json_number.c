// See json_number.h.
#include "core/json_number.h"

#include <string.h>

enum { MOST_DIVISOR = 19, MANTISSA_BITS = 53 };

const double edt_json_tens[23] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                  1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                  1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

// m / 10^k by one division of integers: the quotient has 64 bits, and whether there is a
// remainder is all that rounding needs to know beyond them.
static double divide(uint64_t m, int k)
{
    static const uint64_t tens[MOST_DIVISOR + 1] = {1,
                                                    10,
                                                    100,
                                                    1000,
                                                    10000,
                                                    100000,
                                                    1000000,
                                                    10000000,
                                                    100000000,
                                                    1000000000,
                                                    10000000000,
                                                    100000000000,
                                                    1000000000000,
                                                    10000000000000,
                                                    100000000000000,
                                                    1000000000000000,
                                                    10000000000000000,
                                                    100000000000000000,
                                                    1000000000000000000,
                                                    10000000000000000000u};
    const int shift_m = __builtin_clzll(m), shift_d = __builtin_clzll(tens[k]);
    const uint64_t high = m << shift_m, divisor = tens[k] << shift_d;
    // Between 2^63 and 2^64 either way.
    const int extra = high < divisor ? 64 : 63;
    const unsigned __int128 dividend = (unsigned __int128)high << extra;
    const uint64_t quotient = (uint64_t)(dividend / divisor);
    const bool has_rest = dividend % divisor != 0;
    // Round to nearest, ties to even, what lies beyond 53 bits.
    const int drop = 64 - MANTISSA_BITS;
    const uint64_t rest = quotient & ((UINT64_C(1) << drop) - 1);
    const uint64_t half = UINT64_C(1) << (drop - 1);
    uint64_t kept = quotient >> drop;
    kept += rest > half || (rest == half && (has_rest || (kept & 1) != 0));
    // Times a power of two, which is exact: k is too small for numbers that are not normal.
    const uint64_t bits = (uint64_t)(1023 + drop + shift_d - shift_m - extra) << 52;
    double power;
    memcpy(&power, &bits, sizeof power);
    return (double)kept * power;
}

bool edt_json_long_number_to_f64(uint64_t mantissa, int64_t exponent, double *out_value)
{
    if (mantissa == 0 || exponent > 0 || exponent < -MOST_DIVISOR) {
        return false;
    }
    *out_value = divide(mantissa, (int)-exponent);
    return true;
}
