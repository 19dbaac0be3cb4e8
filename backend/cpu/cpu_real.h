// The type of activations that a file of the cpu backend is compiled for: float, and once more
// bf16 with EDT_CPU_BF16. Names that exist per type go through EDT_R; what op.h calls wide is
// float in both.
#ifndef EDT_BACKEND_CPU_CPU_REAL_H
#define EDT_BACKEND_CPU_CPU_REAL_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#ifdef EDT_CPU_BF16
typedef uint16_t edt_real;
#define EDT_R(name) name##_bf16
enum { EDT_REAL_IS_FLOAT = 0 };

static inline float edt_real_get(edt_real x)
{
    const uint32_t bits = (uint32_t)x << 16;
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

// Nearest, ties to even; NaN stays one.
static inline edt_real edt_real_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    const uint32_t rounded = bits + 0x7fffu + (bits >> 16 & 1u);
    const uint32_t quiet = bits | 0x00400000u;
    return (edt_real)(((bits & 0x7fffffffu) > 0x7f800000u ? quiet : rounded) >> 16);
}
#else
typedef float edt_real;
#define EDT_R(name) name##_f32
enum { EDT_REAL_IS_FLOAT = 1 };

static inline float edt_real_get(edt_real x)
{
    return x;
}

static inline edt_real edt_real_of(float value)
{
    return value;
}
#endif

#endif
