// The inner loops of the pixel operations, compiled once per instruction set (pixel_simd.c)
// with equal results on all of them: nothing is contracted or reassociated. Rows are R,G,B
// bytes; n counts pixels unless it says values.
#ifndef EDT_AUGMENT_PIXEL_KERNELS_H
#define EDT_AUGMENT_PIXEL_KERNELS_H

#include <stdbool.h>
#include <stdint.h>

#include "augment/pixel_op.h"

enum { EDT_N_LEVELS = 256 };

// A run of output pixels x, x+1, ... of one row of a warp. Output x shows column
// round(a0*x + a1y + a2) of row round(b0*x + b1y + b2), all of which lie inside the picture.
typedef struct edt_warp_run {
    float a0, a1y, a2, b0, b1y, b2;
    int32_t x;
    int32_t stride; // bytes of a source row
} edt_warp_run;

#define EDT_PIXEL_KERNEL_LIST(X)                                                               \
    /* value v of channel c becomes table[c][v]; `one`: all three tables are table[0] */       \
    X(void, lookup, (const uint8_t(*table)[EDT_N_LEVELS], bool one, uint8_t *row, int64_t n))  \
    /* lowers lo and raises hi to the row's least and greatest value per channel */            \
    X(void, range, (const uint8_t *row, int64_t n, uint8_t *lo, uint8_t *hi))                  \
    /* sum of the pixels' grey levels */                                                       \
    X(int64_t, gray_sum, (const uint8_t *row, int64_t n))                                      \
    /* blend(grey level, v, factor) */                                                         \
    X(void, color, (uint8_t * row, int64_t n, float factor))                                   \
    /* out[i] = weight * values[i] over n values */                                            \
    X(void, products, (const uint8_t *values, int64_t n, float weight, float *out))            \
    /* Sharpness of the n values of a row without its border pixels. up, mid and down point at \
       the products of the values' own columns in three rows; `centre` weighs the value. */    \
    X(void, sharpen,                                                                           \
      (const float *up, const float *mid, const float *down, float centre, float factor,       \
       uint8_t *values, int64_t n))                                                            \
    /* Byte offsets of the source pixels of a run; returns the greatest. */                    \
    X(int32_t, warp_offsets, (const edt_warp_run *run, int64_t n, int32_t *out_offsets))       \
    /* Copies pixels from source + offsets[i]; reads one byte past each of them and writes     \
       nothing past the last. */                                                               \
    X(void, gather, (const uint8_t *source, const int32_t *offsets, int64_t n, uint8_t *out))

typedef struct edt_pixel_kernels {
    const char *name; // base, avx2, avx512
#define EDT_PIXEL_MEMBER(type, name, args) type(*name) args;
    EDT_PIXEL_KERNEL_LIST(EDT_PIXEL_MEMBER)
#undef EDT_PIXEL_MEMBER
} edt_pixel_kernels;

// The variant of this name, NULL when this processor cannot run it; the fastest for NULL.
const edt_pixel_kernels *edt_pixel_kernels_find(const char *variant);
// For tests: what edt_pixel_ops_run uses from now on.
void edt_pixel_scratch_set_kernels(edt_pixel_scratch *scratch,
                                   const edt_pixel_kernels *kernels);

// f32 to u8 as the reference has it, clamped and truncated; cut off first and clamped as an
// integer it is the same, and compilers see a minimum and a maximum. |value| < 2^31.
static inline uint8_t edt_level_from_f32(float value)
{
    const int32_t whole = (int32_t)value, low = whole < 0 ? 0 : whole;
    return (uint8_t)(low > 255 ? 255 : low);
}

// `from` at factor 0, `to` at 1. The reference's three cases agree: at 0 and 1 the arithmetic
// gives the copies, between them nothing is there to clamp.
static inline uint8_t edt_level_blend(float from, float to, float factor)
{
    return edt_level_from_f32(from + factor * (to - from));
}

#endif
