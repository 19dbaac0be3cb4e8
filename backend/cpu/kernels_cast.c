// Conversions between f32 and the 16-bit types, in integers that the compiler turns into
// vectors: nearest, ties to even; NaN stays NaN (quiet), infinities stay, subnormals are kept.
#include "backend/cpu/kernels_vec.h"

EDT_INLINE uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof(bits));
    return bits;
}

EDT_INLINE float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof(x));
    return x;
}

void EDT_K(to_bf16)(const float *restrict x, uint16_t *restrict y, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        const uint32_t bits = bits_of(x[i]);
        const uint32_t rounded = bits + 0x7fffu + (bits >> 16 & 1u);
        const uint32_t quiet = bits | 0x00400000u;
        y[i] = (uint16_t)(((bits & 0x7fffffffu) > 0x7f800000u ? quiet : rounded) >> 16);
    }
}

void EDT_K(from_bf16)(const uint16_t *restrict x, float *restrict y, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        y[i] = float_of((uint32_t)x[i] << 16);
    }
}

void EDT_K(to_f16)(const float *restrict x, uint16_t *restrict y, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        const uint32_t bits = bits_of(x[i]);
        const uint32_t size = bits & 0x7fffffffu;
        // The exponent's bias goes from 127 to 15; a carry may reach the code of infinity.
        const uint32_t normal = (size - 0x38000000u + 0x0fffu + (size >> 13 & 1u)) >> 13;
        // Adding 1/2 shifts a subnormal's bits to the low end, rounded on the way.
        const uint32_t small = bits_of(float_of(size) + 0.5f) - 0x3f000000u;
        const uint32_t nan = 0x7e00u | (size >> 13 & 0x3ffu);
        const uint32_t large = size > 0x7f800000u ? nan : 0x7c00u;
        const uint32_t finite = size < 0x38800000u ? small : normal;  // below 2^-14
        const uint32_t result = size >= 0x47800000u ? large : finite; // from 2^16
        y[i] = (uint16_t)((bits >> 16 & 0x8000u) | result);
    }
}

void EDT_K(from_f16)(const uint16_t *restrict x, float *restrict y, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        const uint32_t half = x[i];
        const uint32_t size = (half & 0x7fffu) << 13;
        const uint32_t exponent = size & 0x0f800000u;
        const uint32_t normal = size + 0x38000000u;
        const uint32_t large = normal + 0x38000000u; // infinity, NaN
        // A subnormal is read with the exponent of 2^-14 and a leading one, which is then taken
        // off.
        const uint32_t small = bits_of(float_of(size + 0x38800000u) - float_of(0x38800000u));
        const uint32_t finite = exponent == 0 ? small : normal;
        y[i] = float_of((exponent == 0x0f800000u ? large : finite) | ((half & 0x8000u) << 16));
    }
}
