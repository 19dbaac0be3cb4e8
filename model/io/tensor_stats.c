// See tensor_stats.h.
#include "model/io/tensor_stats.h"

#include <math.h>
#include <string.h>

#include "core/mem.h"

static double from_half(uint16_t bits)
{
    const int exponent = bits >> 10 & 31, fraction = bits & 1023;
    const double sign = (bits & 0x8000) != 0 ? -1.0 : 1.0;
    if (exponent == 31) {
        return fraction != 0 ? (double)NAN : sign * (double)INFINITY;
    }
    return exponent == 0 ? sign * ldexp(fraction, -24)
                         : sign * ldexp(1024 + fraction, exponent - 25);
}

double edt_tensor_element(const uint8_t *data, edt_dtype dtype)
{
    union {
        float f32;
        double f64;
        int32_t i32;
        int64_t i64;
        uint16_t u16;
        uint32_t u32;
    } x = {.i64 = 0};
    switch (dtype) {
    case EDT_DTYPE_F32: memcpy(&x.f32, data, 4); return (double)x.f32;
    case EDT_DTYPE_F64: memcpy(&x.f64, data, 8); return x.f64;
    case EDT_DTYPE_I32: memcpy(&x.i32, data, 4); return (double)x.i32;
    case EDT_DTYPE_I64: memcpy(&x.i64, data, 8); return (double)x.i64;
    case EDT_DTYPE_BF16:
        memcpy(&x.u16, data, 2);
        x.u32 = (uint32_t)x.u16 << 16;
        return (double)x.f32;
    case EDT_DTYPE_F16: memcpy(&x.u16, data, 2); return from_half(x.u16);
    case EDT_DTYPE_U8:
    case EDT_DTYPE_BOOL: return (double)data[0];
    case EDT_DTYPE_NONE: break;
    }
    return (double)NAN;
}

static void sum_up(const uint8_t *data, const edt_weights_item *item,
                   edt_tensor_stats *out_stats)
{
    const size_t width = edt_dtype_bytes(item->dtype);
    edt_tensor_stats s = {.n = edt_shape_count(&item->shape),
                          .min = INFINITY,
                          .mean = 0.0,
                          .max = -(double)INFINITY};
    for (int64_t i = 0; i < s.n; i++) {
        const double x = edt_tensor_element(data + (size_t)i * width, item->dtype);
        if (!isfinite(x)) {
            s.n_not_finite++;
            continue;
        }
        s.min = fmin(s.min, x);
        s.max = fmax(s.max, x);
        s.mean += x;
    }
    if (s.n == s.n_not_finite) {
        s.min = s.mean = s.max = (double)NAN;
    } else {
        s.mean /= (double)(s.n - s.n_not_finite);
    }
    *out_stats = s;
}

edt_status edt_tensor_stats_read(edt_weights *weights, int i_item, edt_error *err,
                                 edt_tensor_stats *out_stats)
{
    const edt_weights_item *item = edt_weights_get(weights, i_item);
    if (item->unreadable != NULL || item->dtype == EDT_DTYPE_NONE) {
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED, "'%s': %s", item->key,
                 item->unreadable != NULL ? item->unreadable : "it holds no numbers");
    }
    void *data = edt_mem_alloc(EDT_MEM_TEXT, (size_t)item->n_bytes);
    if (data == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "%s: out of memory for '%s'", edt_weights_path(weights),
                 item->key);
    }
    const edt_status status =
        edt_weights_read(weights, i_item, data, (size_t)item->n_bytes, err);
    if (status == EDT_OK) {
        sum_up(data, item, out_stats);
    }
    edt_mem_free(data);
    return status;
}
