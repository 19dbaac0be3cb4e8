// See ref_cast.h. The 16-bit types are rounded in integers straight from a double: by way of
// float a value could be rounded twice.
#include "backend/ref/ref_cast.h"

#include <math.h>
#include <string.h>

#include "backend/ref/ref_priv.h"

// A 16-bit format: bits of exponent and mantissa.
typedef struct narrow_format {
    int n_exponent, n_mantissa;
} narrow_format;

static narrow_format format_of(edt_dtype dtype)
{
    return dtype == EDT_DTYPE_BF16 ? (narrow_format){8, 7} : (narrow_format){5, 10};
}

enum { F64_MANTISSA = 52, F64_BIAS = 1023 };

static uint16_t narrow(narrow_format f, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    const uint64_t sign = bits >> 63 << 15;
    const uint64_t infinite = (((uint64_t)1 << f.n_exponent) - 1) << f.n_mantissa;
    if (isnan(value)) {
        const uint64_t quiet = (uint64_t)1 << (f.n_mantissa - 1);
        const uint64_t payload = bits << 12 >> (64 - f.n_mantissa);
        return (uint16_t)(sign | infinite | quiet | payload);
    }
    if (isinf(value)) {
        return (uint16_t)(sign | infinite);
    }
    const int exponent = (int)(bits >> F64_MANTISSA & 0x7ff) - F64_BIAS;
    const int lowest = 2 - (1 << (f.n_exponent - 1)); // of normal numbers
    const int below = exponent < lowest ? lowest - exponent : 0;
    const int shift = F64_MANTISSA - f.n_mantissa + below;
    if (shift > F64_MANTISSA + 1) { // less than half of the least subnormal; all f64 subnormals
        return (uint16_t)sign;
    }
    const uint64_t significand =
        (bits & (((uint64_t)1 << F64_MANTISSA) - 1)) | (uint64_t)1 << F64_MANTISSA;
    const uint64_t rest = significand & (((uint64_t)1 << shift) - 1);
    const uint64_t half = (uint64_t)1 << (shift - 1);
    uint64_t kept = significand >> shift;
    kept += rest > half || (rest == half && (kept & 1) != 0) ? 1 : 0;
    // The leading one, and a carry out of the mantissa, add to the exponent field.
    const uint64_t field = below > 0 ? 0 : (uint64_t)(exponent - lowest) << f.n_mantissa;
    const uint64_t result = field + kept;
    return (uint16_t)(sign | (result < infinite ? result : infinite));
}

static double widen(narrow_format f, uint16_t bits)
{
    const int exponent = bits >> f.n_mantissa & ((1 << f.n_exponent) - 1);
    const int mantissa = bits & ((1 << f.n_mantissa) - 1);
    const int lowest = 2 - (1 << (f.n_exponent - 1));
    double size;
    if (exponent == (1 << f.n_exponent) - 1) {
        size = mantissa == 0 ? (double)INFINITY : (double)NAN;
    } else if (exponent == 0) {
        size = ldexp(mantissa, lowest - f.n_mantissa);
    } else {
        size = ldexp(mantissa + (1 << f.n_mantissa), exponent - 1 + lowest - f.n_mantissa);
    }
    return (bits & 0x8000) != 0 ? -size : size;
}

double edt_ref_real_get(edt_dtype dtype, const void *from, int64_t i)
{
    switch (dtype) {
    case EDT_DTYPE_F32: return (double)((const float *)from)[i];
    case EDT_DTYPE_F64: return ((const double *)from)[i];
    case EDT_DTYPE_BF16:
    case EDT_DTYPE_F16: return widen(format_of(dtype), ((const uint16_t *)from)[i]);
    default: return (double)NAN;
    }
}

void edt_ref_real_put(edt_dtype dtype, void *to, int64_t i, double value)
{
    switch (dtype) {
    case EDT_DTYPE_F32: ((float *)to)[i] = (float)value; break;
    case EDT_DTYPE_F64: ((double *)to)[i] = value; break;
    case EDT_DTYPE_BF16:
    case EDT_DTYPE_F16: ((uint16_t *)to)[i] = narrow(format_of(dtype), value); break;
    default: break;
    }
}

void edt_ref_cast(const edt_op_desc *desc, const edt_run_ctx *ctx, void *const *in,
                  void *const *out, void *scratch)
{
    (void)ctx;
    (void)scratch;
    const int64_t n = edt_shape_count(&desc->in[0].shape);
    for (int64_t i = 0; i < n; ++i) {
        edt_ref_real_put(desc->out[0].dtype, out[0], i,
                         edt_ref_real_get(desc->in[0].dtype, in[0], i));
    }
}
