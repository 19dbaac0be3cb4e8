// Decimal numbers as JSON writes them -> double, correctly rounded, for the common cases
// without strtod: mantissas of up to 19 digits and moderate exponents.
#ifndef EDT_CORE_JSON_NUMBER_H
#define EDT_CORE_JSON_NUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

extern const double edt_json_tens[23]; // 10^0 to 10^22, exact

// The same for mantissas beyond 2^53.
bool edt_json_long_number_to_f64(uint64_t mantissa, int64_t exponent, double *out_value);

// mantissa * 10^exponent, equal to what strtod gives; false where this function does not know.
static inline bool edt_json_number_to_f64(uint64_t mantissa, int64_t exponent,
                                          double *out_value)
{
    // Clinger: both operands are exact, so the one rounding of the operation is the right one.
    if (mantissa <= UINT64_C(1) << 53 && exponent >= -22 && exponent <= 22) {
        const double m = (double)(int64_t)mantissa;
        *out_value = exponent < 0 ? m / edt_json_tens[-exponent] : m * edt_json_tens[exponent];
        return true;
    }
    return edt_json_long_number_to_f64(mantissa, exponent, out_value);
}

typedef struct edt_json_decimal {
    uint64_t mantissa; // digits without sign and point
    int exponent;      // of ten, 0 or negative
    bool negative;
} edt_json_decimal;

// Reads a number without an exponent and with at most 19 digits. At least 24 bytes must be
// readable from `p`. Returns the byte behind it, or NULL where it is anything else.
static inline const uint8_t *edt_json_scan_decimal(const uint8_t *p,
                                                   edt_json_decimal *out_decimal)
{
    edt_json_decimal d = {.negative = *p == '-'};
    p += d.negative;
    const uint8_t *begin = p;
    const bool is_zero = *p == '0';
    while ((uint8_t)(*p - '0') < 10 && p - begin < 20) {
        d.mantissa = d.mantissa * 10 + (uint64_t)(*p++ - '0');
    }
    int n_digits = (int)(p - begin);
    if (n_digits == 0 || (is_zero && n_digits > 1)) {
        return NULL;
    }
    if (*p == '.') {
        const uint8_t *fraction = ++p;
        while ((uint8_t)(*p - '0') < 10 && p - begin < 21) {
            d.mantissa = d.mantissa * 10 + (uint64_t)(*p++ - '0');
        }
        d.exponent = (int)(fraction - p);
        n_digits -= d.exponent;
        if (p == fraction) {
            return NULL;
        }
    }
    if (n_digits > 19 || (*p | 0x20) == 'e' || *p == '.') {
        return NULL;
    }
    *out_decimal = d;
    return p;
}

#endif
