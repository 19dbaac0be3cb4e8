// The resize's inner loops for AVX-512 with byte permutes: 16 output values at a time from a
// window of 64 bytes. FMA as in resize_avx2.c.
#include "augment/resize_kernels.h"

#ifdef __x86_64__

#include <immintrin.h>

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512vbmi")))
#define AVX512_INLINE                                                                          \
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512vbmi"), always_inline)) static inline

// Sixteen of the periodic constants, for values 16 * i ...
typedef struct constants {
    __m512 mean, stddev, inverse;
} constants;

AVX512_INLINE constants load_constants(const edt_resize_levels *levels, int i)
{
    return (constants){.mean = _mm512_loadu_ps(levels->mean + 16 * i),
                       .stddev = _mm512_loadu_ps(levels->stddev + 16 * i),
                       .inverse = _mm512_loadu_ps(levels->inverse + 16 * i)};
}

// A quotient by the inverse and one step of correction.
AVX512_INLINE __m512 normalised(__m512 level, const constants *k)
{
    const __m512 x = _mm512_sub_ps(level, k->mean);
    const __m512 q = _mm512_mul_ps(x, k->inverse);
    const __m512 rest = _mm512_fnmadd_ps(q, k->stddev, x);
    return _mm512_fmadd_ps(rest, k->inverse, q);
}

// Where a line's values come from.
typedef struct line_plan {
    const uint8_t *row, *index;
    const int32_t *window;
    const float *weight;
    int64_t ahead, n_groups;
    __m512i step;
} line_plan;

AVX512_INLINE line_plan plan_of(const edt_resize_columns *c, const uint8_t *row, int64_t ahead)
{
    return (line_plan){.row = row,
                       .index = c->index,
                       .window = c->window,
                       .weight = c->weight,
                       .ahead = ahead,
                       .n_groups = c->n_values / 16,
                       .step = _mm512_set1_epi32(c->step)};
}

// Values [16 * g, 16 * g + 16) of a line; `k` NULL: raw levels.
AVX512_INLINE __m512 line_values(line_plan p, int64_t g, const constants *k)
{
    const __mmask64 low_bytes = 0x1111111111111111U;
    const __m512i first = _mm512_cvtepu8_epi32(
        _mm_loadu_si128((const __m128i *)(const void *)(p.index + 16 * g)));
    const __m512i second = _mm512_add_epi32(first, p.step);
    const uint8_t *window = p.row + p.window[g];
    _mm_prefetch((const char *)window + p.ahead, _MM_HINT_T0);
    const __m512i bytes = _mm512_loadu_si512(window);
    __m512 a = _mm512_cvtepi32_ps(_mm512_maskz_permutexvar_epi8(low_bytes, first, bytes));
    __m512 b = _mm512_cvtepi32_ps(_mm512_maskz_permutexvar_epi8(low_bytes, second, bytes));
    if (k != NULL) {
        a = normalised(a, k);
        b = normalised(b, k);
    }
    const __m512 t = _mm512_loadu_ps(p.weight + 16 * g);
    return _mm512_add_ps(a, _mm512_mul_ps(_mm512_sub_ps(b, a), t));
}

AVX512 static void line_raw(const edt_resize_columns *c, const uint8_t *row, int64_t ahead,
                            float *out_line)
{
    const line_plan p = plan_of(c, row, ahead);
    for (int64_t g = 0; g < p.n_groups; ++g) {
        _mm512_storeu_ps(out_line + 16 * g, line_values(p, g, NULL));
    }
}

AVX512 static void line_normalised(const edt_resize_columns *c, const edt_resize_levels *levels,
                                   const uint8_t *row, int64_t ahead, float *out_line)
{
    const line_plan p = plan_of(c, row, ahead);
    const constants k[3] = {load_constants(levels, 0), load_constants(levels, 1),
                            load_constants(levels, 2)};
    for (int64_t g = 0; g < p.n_groups; g += 3) {
        _mm512_storeu_ps(out_line + 16 * g, line_values(p, g, &k[0]));
        _mm512_storeu_ps(out_line + 16 * g + 16, line_values(p, g + 1, &k[1]));
        _mm512_storeu_ps(out_line + 16 * g + 32, line_values(p, g + 2, &k[2]));
    }
}

AVX512 static void normalise(const edt_resize_levels *levels, const uint8_t *row,
                             int64_t n_values, float *out_values)
{
    const constants k[3] = {load_constants(levels, 0), load_constants(levels, 1),
                            load_constants(levels, 2)};
    for (int64_t g = 0; g < n_values / 16; g += 3) {
        for (int i = 0; i < 3; ++i) {
            const __m128i bytes =
                _mm_loadu_si128((const __m128i *)(const void *)(row + 16 * (g + i)));
            const __m512 level = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes));
            _mm512_storeu_ps(out_values + 16 * (g + i), normalised(level, &k[i]));
        }
    }
}

AVX512_INLINE __m512 blended(const float *top, const float *bottom, __m512 t)
{
    const __m512 a = _mm512_loadu_ps(top), b = _mm512_loadu_ps(bottom);
    return _mm512_add_ps(a, _mm512_mul_ps(_mm512_sub_ps(b, a), t));
}

AVX512_INLINE __m512i rounded(const float *top, const float *bottom, __m512 t)
{
    return _mm512_cvttps_epi32(_mm512_add_ps(blended(top, bottom, t), _mm512_set1_ps(0.5f)));
}

// 64 levels.
AVX512_INLINE __m512i blended_bytes(const float *top, const float *bottom, __m512 t)
{
    const __m512i order =
        _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m512i low =
        _mm512_packs_epi32(rounded(top, bottom, t), rounded(top + 16, bottom + 16, t));
    const __m512i high = _mm512_packs_epi32(rounded(top + 32, bottom + 32, t),
                                            rounded(top + 48, bottom + 48, t));
    return _mm512_permutexvar_epi32(order, _mm512_packus_epi16(low, high));
}

AVX512 static void blend_u8(const float *top, const float *bottom, float t, int64_t n,
                            bool stream, uint8_t *out_row)
{
    const __m512 weight = _mm512_set1_ps(t);
    int64_t i = 0;
    for (; stream && i + 64 <= n; i += 64) {
        _mm512_stream_si512((void *)(out_row + i), blended_bytes(top + i, bottom + i, weight));
    }
    for (; i + 64 <= n; i += 64) {
        _mm512_storeu_si512(out_row + i, blended_bytes(top + i, bottom + i, weight));
    }
    for (; i < n; i += 16) {
        const __mmask16 rest = (__mmask16)(n - i < 16 ? (1U << (n - i)) - 1 : 0xffffU);
        _mm512_mask_cvtepi32_storeu_epi8(out_row + i, rest,
                                         rounded(top + i, bottom + i, weight));
    }
}

AVX512 static void blend_f32(const float *top, const float *bottom, float t, int64_t n,
                             bool stream, float *out_row)
{
    const __m512 weight = _mm512_set1_ps(t);
    int64_t i = 0;
    for (; stream && i + 16 <= n; i += 16) {
        _mm512_stream_ps(out_row + i, blended(top + i, bottom + i, weight));
    }
    for (; i < n; i += 16) {
        const __mmask16 rest = (__mmask16)(n - i < 16 ? (1U << (n - i)) - 1 : 0xffffU);
        _mm512_mask_storeu_ps(out_row + i, rest, blended(top + i, bottom + i, weight));
    }
}

const edt_resize_kernels edt_resize_kernels_avx512 = {
    .name = "avx512",
    .grouping = {.n_values = 16, .window_bytes = 64},
    .line_raw = line_raw,
    .line_normalised = line_normalised,
    .normalise = normalise,
    .blend_u8 = blend_u8,
    .blend_f32 = blend_f32,
    .streams = true,
};

#endif
