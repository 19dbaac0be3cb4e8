// One vector type per instruction set (EDT_SIMD), with the few operations that C cannot spell,
// and the transcendental functions of the kernels. Included by kernels_*.c only: everything is
// inlined into code that runs only where cpu_dispatch.c found the instruction set.
#ifndef EDT_BACKEND_CPU_KERNELS_VEC_H
#define EDT_BACKEND_CPU_KERNELS_VEC_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "backend/cpu/cpu_kernels.h"

#define EDT_INLINE static inline __attribute__((always_inline))
// Before a loop of constant length over an array of vectors: unrolled, the array lives in
// registers.
#define EDT_UNROLL _Pragma("GCC unroll 32")

#if defined(__AVX512F__)
enum { VL = 16 };
typedef __m512 vf;
typedef int32_t vi __attribute__((vector_size(64)));
EDT_INLINE vf v_load(const float *p)
{
    return _mm512_loadu_ps(p);
}
EDT_INLINE void v_store(float *p, vf x)
{
    _mm512_storeu_ps(p, x);
}
EDT_INLINE vf v_set1(float x)
{
    return _mm512_set1_ps(x);
}
EDT_INLINE vf v_min(vf a, vf b)
{
    return _mm512_min_ps(a, b);
}
EDT_INLINE vf v_max(vf a, vf b)
{
    return _mm512_max_ps(a, b);
}
EDT_INLINE vf v_sqrt(vf a)
{
    return _mm512_sqrt_ps(a);
}
// 1 / a within 1 ulp for normal 1 / a, 0 below.
EDT_INLINE vf v_reciprocal(vf a)
{
    const vf r = _mm512_rcp14_ps(a);
    return r + r * (_mm512_set1_ps(1.0f) - a * r);
}
EDT_INLINE vf v_load_part(const float *p, int n)
{
    return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1u), p);
}
EDT_INLINE void v_store_part(float *p, vf x, int n)
{
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1u), x);
}
// a > b ? x : y
EDT_INLINE vf v_select_gt(vf a, vf b, vf x, vf y)
{
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_GT_OQ), y, x);
}
EDT_INLINE vi v_load_u8(const uint8_t *p)
{
    return (vi)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p));
}
#elif defined(__AVX2__)
enum { VL = 8 };
typedef __m256 vf;
typedef int32_t vi __attribute__((vector_size(32)));
EDT_INLINE vf v_load(const float *p)
{
    return _mm256_loadu_ps(p);
}
EDT_INLINE void v_store(float *p, vf x)
{
    _mm256_storeu_ps(p, x);
}
EDT_INLINE vf v_set1(float x)
{
    return _mm256_set1_ps(x);
}
EDT_INLINE vf v_min(vf a, vf b)
{
    return _mm256_min_ps(a, b);
}
EDT_INLINE vf v_max(vf a, vf b)
{
    return _mm256_max_ps(a, b);
}
EDT_INLINE vf v_sqrt(vf a)
{
    return _mm256_sqrt_ps(a);
}
EDT_INLINE vf v_select_gt(vf a, vf b, vf x, vf y)
{
    return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_GT_OQ));
}
EDT_INLINE vi v_load_u8(const uint8_t *p)
{
    return (vi)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p));
}
#else
enum { VL = 4 };
typedef __m128 vf;
typedef int32_t vi __attribute__((vector_size(16)));
EDT_INLINE vf v_load(const float *p)
{
    return _mm_loadu_ps(p);
}
EDT_INLINE void v_store(float *p, vf x)
{
    _mm_storeu_ps(p, x);
}
EDT_INLINE vf v_set1(float x)
{
    return _mm_set1_ps(x);
}
EDT_INLINE vf v_min(vf a, vf b)
{
    return _mm_min_ps(a, b);
}
EDT_INLINE vf v_max(vf a, vf b)
{
    return _mm_max_ps(a, b);
}
EDT_INLINE vf v_sqrt(vf a)
{
    return _mm_sqrt_ps(a);
}
EDT_INLINE vf v_select_gt(vf a, vf b, vf x, vf y)
{
    return _mm_blendv_ps(y, x, _mm_cmpgt_ps(a, b));
}
EDT_INLINE vi v_load_u8(const uint8_t *p)
{
    int32_t four;
    memcpy(&four, p, sizeof(four));
    return (vi)_mm_cvtepu8_epi32(_mm_cvtsi32_si128(four));
}
#endif

#if !defined(__AVX512F__)
EDT_INLINE vf v_reciprocal(vf a)
{
    return v_set1(1.0f) / a;
}
EDT_INLINE vf v_load_part(const float *p, int n)
{
    float lanes[VL] = {0};
    for (int i = 0; i < n; i++) {
        lanes[i] = p[i];
    }
    return v_load(lanes);
}
EDT_INLINE void v_store_part(float *p, vf x, int n)
{
    float lanes[VL];
    v_store(lanes, x);
    for (int i = 0; i < n; i++) {
        p[i] = lanes[i];
    }
}
#endif

// The first n (1..VL) lanes; missing lanes load as 0. n == VL folds to a plain access.
EDT_INLINE vf v_load_n(const float *p, int n)
{
    return n == VL ? v_load(p) : v_load_part(p, n);
}
EDT_INLINE void v_store_n(float *p, vf x, int n)
{
    if (n == VL) {
        v_store(p, x);
    } else {
        v_store_part(p, x, n);
    }
}

#ifdef EDT_CPU_BF16
typedef uint16_t vh __attribute__((vector_size(2 * VL)));
typedef uint32_t vu __attribute__((vector_size(4 * VL)));

EDT_INLINE vf v_widen(vh x)
{
    return (vf)(__builtin_convertvector(x, vu) << 16);
}
// Nearest, ties to even; NaN stays one.
EDT_INLINE vh v_narrow(vf x)
{
#if defined(__AVX512BF16__)
    return (vh)_mm512_cvtneps_pbh(x);
#else
    const vu bits = (vu)x;
    const vu nan = (vu)(x != x);
    const vu rounded = bits + 0x7fff + ((bits >> 16) & 1);
    return __builtin_convertvector(((rounded & ~nan) | ((bits | 0x400000) & nan)) >> 16, vh);
#endif
}
#if defined(__AVX512F__)
EDT_INLINE vf r_load_part(const edt_real *p, int n)
{
    return v_widen((vh)_mm256_maskz_loadu_epi16((__mmask16)((1u << n) - 1u), p));
}
EDT_INLINE void r_store_part(edt_real *p, vf x, int n)
{
    _mm256_mask_storeu_epi16(p, (__mmask16)((1u << n) - 1u), (__m256i)v_narrow(x));
}
#else
EDT_INLINE vf r_load_part(const edt_real *p, int n)
{
    vh lanes = {0};
    memcpy(&lanes, p, (size_t)n * sizeof(*p));
    return v_widen(lanes);
}
EDT_INLINE void r_store_part(edt_real *p, vf x, int n)
{
    const vh lanes = v_narrow(x);
    memcpy(p, &lanes, (size_t)n * sizeof(*p));
}
#endif
EDT_INLINE vf r_load(const edt_real *p)
{
    vh lanes;
    memcpy(&lanes, p, sizeof(lanes));
    return v_widen(lanes);
}
EDT_INLINE void r_store(edt_real *p, vf x)
{
    const vh lanes = v_narrow(x);
    memcpy(p, &lanes, sizeof(lanes));
}
#else
EDT_INLINE vf r_load(const edt_real *p)
{
    return v_load(p);
}
EDT_INLINE void r_store(edt_real *p, vf x)
{
    v_store(p, x);
}
EDT_INLINE vf r_load_part(const edt_real *p, int n)
{
    return v_load_part(p, n);
}
EDT_INLINE void r_store_part(edt_real *p, vf x, int n)
{
    v_store_part(p, x, n);
}
#endif

// As v_load_n and v_store_n for activations, which may be 16 bits wide.
EDT_INLINE vf r_load_n(const edt_real *p, int n)
{
    return n == VL ? r_load(p) : r_load_part(p, n);
}
EDT_INLINE void r_store_n(edt_real *p, vf x, int n)
{
    if (n == VL) {
        r_store(p, x);
    } else {
        r_store_part(p, x, n);
    }
}

// Into the second-level cache: kernels that walk down a strip of channels read lines a row
// apart, which the hardware does not foresee, so they fetch the next block of rows while doing
// this one.
EDT_INLINE void fetch(const void *p)
{
    __builtin_prefetch(p, 0, 2);
}

EDT_INLINE vf v_zero(void)
{
    return v_set1(0.0f);
}

EDT_INLINE vf v_abs(vf x)
{
    return (vf)((vi)x & 0x7fffffff);
}

// Adds the first n lanes to doubles.
EDT_INLINE void v_add_to_double(double *to, vf x, int n)
{
    float lanes[VL];
    v_store(lanes, x);
#pragma omp simd
    for (int i = 0; i < n; i++) {
        to[i] += (double)lanes[i];
    }
}

EDT_INLINE double v_sum(vf x)
{
    float lanes[VL];
    v_store(lanes, x);
    double sum = 0;
    for (int i = 0; i < VL; i++) {
        sum += (double)lanes[i];
    }
    return sum;
}

// e^x within 2 ulp; x is clamped so that the result and its reciprocal are normal numbers. NaN
// stays NaN (min and max return their second operand then).
EDT_INLINE vf v_exp(vf x)
{
    const vf magic = v_set1(12582912.0f); // 1.5 * 2^23: the sum holds round(x) in its low bits
    x = v_min(v_set1(87.33f), v_max(v_set1(-87.33f), x));
    const vf t = x * v_set1(1.44269504088896341f) + magic;
    const vf n = t - magic;
    vf r = x - n * v_set1(0x1.62e4p-1f);
    r = r - n * v_set1(0x1.7f7d1cp-20f);
    vf p = v_set1(1.9875691500e-4f);
    p = p * r + v_set1(1.3981999507e-3f);
    p = p * r + v_set1(8.3334519073e-3f);
    p = p * r + v_set1(4.1665795894e-2f);
    p = p * r + v_set1(1.6666665459e-1f);
    p = p * r + v_set1(5.0000001201e-1f);
    p = p * (r * r) + r + v_set1(1.0f);
    return (vf)((vi)p + (((vi)t - 0x4b400000) << 23));
}

// ln(1 + u) for u in [0, 1], by 2 atanh(u / (2 + u)): relative error near one rounding.
EDT_INLINE vf v_log1p_unit(vf u)
{
    const vf s = u * v_reciprocal(u + v_set1(2.0f));
    const vf z = s * s;
    vf p = v_set1(2.0f / 13.0f);
    p = p * z + v_set1(2.0f / 11.0f);
    p = p * z + v_set1(2.0f / 9.0f);
    p = p * z + v_set1(2.0f / 7.0f);
    p = p * z + v_set1(2.0f / 5.0f);
    p = p * z + v_set1(2.0f / 3.0f);
    return s * (p * z + v_set1(2.0f));
}

// by / (1 + e^-x): a sigmoid where `by` is 1, swish where it is x. The division keeps off the
// units that multiply and add, which are what bounds the loops that this ends; NaN at infinity.
// `exact` is a constant wherever this is inlined: gradients of weights are sums over whole
// maps, in which an error that always has the same sign does not average out.
EDT_INLINE vf v_by_sigmoid(vf x, vf by, bool exact)
{
#if defined(__AVX512F__)
    // e^-x = 2^n 2^r; the instructions spare v_exp's way of making powers of two and its
    // bounds. Relative error of 2^r: 8e-8 where exact, else 8e-5, beside which rounding to bf16
    // loses 2e-3.
    const vf t = x * v_set1(-1.44269504088896341f);
    const vf n = _mm512_roundscale_ps(t, 8);
    const vf r = t - n;
    vf p;
    if (exact) {
        p = v_set1(0.00132764725f);
        p = p * r + v_set1(0.00967554096f);
        p = p * r + v_set1(0.05550713092f);
        p = p * r + v_set1(0.24022120237f);
        p = p * r + v_set1(0.69314694404f);
        p = p * r + v_set1(1.00000011921f);
    } else {
        p = v_set1(0.05517166906f);
        p = p * r + v_set1(0.24261112219f);
        p = p * r + v_set1(0.69326098546f);
        p = p * r + v_set1(0.99992807354f);
    }
    return by / (v_set1(1.0f) + _mm512_scalef_ps(p, n));
#else
    (void)exact;
    return by / (v_set1(1.0f) + v_exp(v_zero() - x));
#endif
}

EDT_INLINE vf v_sigmoid(vf x)
{
    return v_by_sigmoid(x, v_set1(1.0f), EDT_REAL_IS_FLOAT);
}

// `act` is a constant wherever this is inlined.
EDT_INLINE vf v_act(edt_act act, vf x)
{
    const vf zero = v_zero();
    switch (act) {
    case EDT_ACT_SWISH: return v_by_sigmoid(x, x, EDT_REAL_IS_FLOAT);
    case EDT_ACT_SIGMOID: return v_sigmoid(x);
    case EDT_ACT_RELU6: return v_min(v_set1(6.0f), v_max(zero, x));
    case EDT_ACT_RELU: return v_max(zero, x);
    case EDT_ACT_HSWISH:
        return x * v_min(v_set1(6.0f), v_max(zero, x + v_set1(3.0f))) * v_set1(1.0f / 6.0f);
    case EDT_ACT_MISH: {
        // tanh(ln(1 + e)) = w / (w + 2) with w = e (e + 2); 1 in f32 from x = 15 on.
        const vf e = v_exp(v_min(v_set1(15.0f), x));
        const vf w = e * (e + v_set1(2.0f));
        return x * (w / (w + v_set1(2.0f)));
    }
    case EDT_ACT_NONE:
    default: return x;
    }
}

// Derivative of the activation at x.
EDT_INLINE vf v_act_grad(edt_act act, vf x)
{
    const vf zero = v_zero();
    const vf one = v_set1(1.0f);
    switch (act) {
    case EDT_ACT_SWISH: {
        const vf s = v_by_sigmoid(x, one, true);
        return s * (one + x * (one - s));
    }
    case EDT_ACT_SIGMOID: {
        const vf s = v_by_sigmoid(x, one, true);
        return s * (one - s);
    }
    case EDT_ACT_RELU6:
        return v_select_gt(x, zero, v_select_gt(v_set1(6.0f), x, one, zero), zero);
    case EDT_ACT_RELU: return v_select_gt(x, zero, one, zero);
    case EDT_ACT_HSWISH: {
        const vf three = v_set1(3.0f);
        const vf inside = (x + x + three) * v_set1(1.0f / 6.0f);
        const vf right = v_select_gt(three, x, inside, one);
        return v_select_gt(x, zero - three, right, zero);
    }
    case EDT_ACT_MISH: {
        const vf e = v_exp(v_min(v_set1(15.0f), x));
        const vf w = e * (e + v_set1(2.0f));
        const vf d = one / (w + v_set1(2.0f));
        return w * d + x * (v_set1(4.0f) * (w + one) * d * d) * (e / (one + e));
    }
    case EDT_ACT_NONE:
    default: return one;
    }
}

// Runs `call` (which uses the constant ACT) for the activation `act`.
#define EDT_ACT_CASE(value, call)                                                              \
    {                                                                                          \
        const edt_act ACT = value;                                                             \
        call;                                                                                  \
        break;                                                                                 \
    }
#define EDT_FOR_ACT(act, call)                                                                 \
    switch (act) {                                                                             \
    case EDT_ACT_SWISH: EDT_ACT_CASE(EDT_ACT_SWISH, call)                                      \
    case EDT_ACT_RELU6: EDT_ACT_CASE(EDT_ACT_RELU6, call)                                      \
    case EDT_ACT_RELU: EDT_ACT_CASE(EDT_ACT_RELU, call)                                        \
    case EDT_ACT_HSWISH: EDT_ACT_CASE(EDT_ACT_HSWISH, call)                                    \
    case EDT_ACT_MISH: EDT_ACT_CASE(EDT_ACT_MISH, call)                                        \
    case EDT_ACT_SIGMOID: EDT_ACT_CASE(EDT_ACT_SIGMOID, call)                                  \
    case EDT_ACT_NONE:                                                                         \
    default: EDT_ACT_CASE(EDT_ACT_NONE, call)                                                  \
    }

// Runs `call` for strips of VL channels from 0 to n, with the constant M == VL, and once more
// for the rest with M < VL. `i` is the index of the strip's first channel.
#define EDT_FOR_STRIPS(i, n, call)                                                             \
    do {                                                                                       \
        int64_t i = 0;                                                                         \
        EDT_FOR_STRIPS_FROM(i, n, call);                                                       \
    } while (0)
// The same from a variable i of the caller's on.
#define EDT_FOR_STRIPS_FROM(i, n, call)                                                        \
    do {                                                                                       \
        for (; i + VL <= (n); i += VL) {                                                       \
            const int M = VL;                                                                  \
            call;                                                                              \
        }                                                                                      \
        if (i < (n)) {                                                                         \
            const int M = (int)((n)-i);                                                        \
            call;                                                                              \
        }                                                                                      \
    } while (0)

#endif
