// The resize's inner loops for AVX2 and FMA: 8 output values at a time from two windows of 16
// bytes. FMA is used in the division by the deviation only, whose result is checked against
// true division for every level before it is used (resize.c).
#include "augment/resize_kernels.h"

#ifdef __x86_64__

#include <immintrin.h>
#include <string.h>

#define AVX2 __attribute__((target("avx2,fma")))
#define AVX2_INLINE __attribute__((target("avx2,fma"), always_inline)) static inline

// Eight of the periodic constants, for values 8 * i ...
typedef struct constants {
    __m256 mean, stddev, inverse;
} constants;

AVX2_INLINE constants load_constants(const edt_resize_levels *levels, int i)
{
    return (constants){.mean = _mm256_loadu_ps(levels->mean + 8 * i),
                       .stddev = _mm256_loadu_ps(levels->stddev + 8 * i),
                       .inverse = _mm256_loadu_ps(levels->inverse + 8 * i)};
}

// A quotient by the inverse and one step of correction.
AVX2_INLINE __m256 normalised(__m256 level, const constants *k)
{
    const __m256 x = _mm256_sub_ps(level, k->mean);
    const __m256 q = _mm256_mul_ps(x, k->inverse);
    const __m256 rest = _mm256_fnmadd_ps(q, k->stddev, x);
    return _mm256_fmadd_ps(rest, k->inverse, q);
}

// Where a line's values come from.
typedef struct line_plan {
    const uint8_t *row, *index;
    const int32_t *window;
    const float *weight;
    int64_t ahead, n_groups;
    __m256i step;
} line_plan;

AVX2_INLINE line_plan plan_of(const edt_resize_columns *c, const uint8_t *row, int64_t ahead)
{
    return (line_plan){.row = row,
                       .index = c->index,
                       .window = c->window,
                       .weight = c->weight,
                       .ahead = ahead,
                       .n_groups = c->n_values / 8,
                       .step = _mm256_set1_epi32(c->step)};
}

// Values [8 * g, 8 * g + 8) of a line; `k` NULL: raw levels.
AVX2_INLINE __m256 line_values(line_plan p, int64_t g, const constants *k)
{
    int64_t packed;
    memcpy(&packed, p.index + 8 * g, sizeof packed);
    // Each value's byte goes to the low byte of its lane; the sign bits clear the others.
    const __m256i first = _mm256_or_si256(_mm256_cvtepu8_epi32(_mm_cvtsi64_si128(packed)),
                                          _mm256_set1_epi32((int)0x80808000));
    const __m256i second = _mm256_add_epi32(first, p.step);
    const uint8_t *even = p.row + p.window[2 * g], *odd = p.row + p.window[2 * g + 1];
    _mm_prefetch((const char *)even + p.ahead, _MM_HINT_T0);
    const __m256i bytes = _mm256_loadu2_m128i((const __m128i *)(const void *)odd,
                                              (const __m128i *)(const void *)even);
    __m256 a = _mm256_cvtepi32_ps(_mm256_shuffle_epi8(bytes, first));
    __m256 b = _mm256_cvtepi32_ps(_mm256_shuffle_epi8(bytes, second));
    if (k != NULL) {
        a = normalised(a, k);
        b = normalised(b, k);
    }
    const __m256 t = _mm256_loadu_ps(p.weight + 8 * g);
    return _mm256_add_ps(a, _mm256_mul_ps(_mm256_sub_ps(b, a), t));
}

AVX2 static void line_raw(const edt_resize_columns *c, const uint8_t *row, int64_t ahead,
                          float *out_line)
{
    const line_plan p = plan_of(c, row, ahead);
    for (int64_t g = 0; g < p.n_groups; ++g) {
        _mm256_storeu_ps(out_line + 8 * g, line_values(p, g, NULL));
    }
}

AVX2 static void line_normalised(const edt_resize_columns *c, const edt_resize_levels *levels,
                                 const uint8_t *row, int64_t ahead, float *out_line)
{
    const line_plan p = plan_of(c, row, ahead);
    const constants k[3] = {load_constants(levels, 0), load_constants(levels, 1),
                            load_constants(levels, 2)};
    for (int64_t g = 0; g < p.n_groups; g += 3) {
        _mm256_storeu_ps(out_line + 8 * g, line_values(p, g, &k[0]));
        _mm256_storeu_ps(out_line + 8 * g + 8, line_values(p, g + 1, &k[1]));
        _mm256_storeu_ps(out_line + 8 * g + 16, line_values(p, g + 2, &k[2]));
    }
}

AVX2 static void normalise(const edt_resize_levels *levels, const uint8_t *row,
                           int64_t n_values, float *out_values)
{
    const constants k[3] = {load_constants(levels, 0), load_constants(levels, 1),
                            load_constants(levels, 2)};
    for (int64_t g = 0; g < n_values / 8; g += 3) {
        for (int i = 0; i < 3; ++i) {
            const __m128i bytes =
                _mm_loadl_epi64((const __m128i *)(const void *)(row + 8 * (g + i)));
            const __m256 level = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes));
            _mm256_storeu_ps(out_values + 8 * (g + i), normalised(level, &k[i]));
        }
    }
}

AVX2_INLINE __m256 blended(const float *top, const float *bottom, __m256 t)
{
    const __m256 a = _mm256_loadu_ps(top), b = _mm256_loadu_ps(bottom);
    return _mm256_add_ps(a, _mm256_mul_ps(_mm256_sub_ps(b, a), t));
}

AVX2_INLINE __m256i rounded(const float *top, const float *bottom, __m256 t)
{
    return _mm256_cvttps_epi32(_mm256_add_ps(blended(top, bottom, t), _mm256_set1_ps(0.5f)));
}

// 32 levels.
AVX2_INLINE __m256i blended_bytes(const float *top, const float *bottom, __m256 t)
{
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    const __m256i low =
        _mm256_packs_epi32(rounded(top, bottom, t), rounded(top + 8, bottom + 8, t));
    const __m256i high = _mm256_packs_epi32(rounded(top + 16, bottom + 16, t),
                                            rounded(top + 24, bottom + 24, t));
    return _mm256_permutevar8x32_epi32(_mm256_packus_epi16(low, high), order);
}

AVX2 static void blend_u8(const float *top, const float *bottom, float t, int64_t n,
                          bool stream, uint8_t *out_row)
{
    const __m256 weight = _mm256_set1_ps(t);
    int64_t i = 0;
    for (; stream && i + 64 <= n; i += 64) { // whole cache lines
        _mm256_stream_si256((__m256i *)(void *)(out_row + i),
                            blended_bytes(top + i, bottom + i, weight));
        _mm256_stream_si256((__m256i *)(void *)(out_row + i + 32),
                            blended_bytes(top + i + 32, bottom + i + 32, weight));
    }
    for (; i + 32 <= n; i += 32) {
        _mm256_storeu_si256((__m256i *)(void *)(out_row + i),
                            blended_bytes(top + i, bottom + i, weight));
    }
    for (; i < n; ++i) {
        out_row[i] = (uint8_t)(int32_t)(top[i] + (bottom[i] - top[i]) * t + 0.5f);
    }
}

AVX2 static void blend_f32(const float *top, const float *bottom, float t, int64_t n,
                           bool stream, float *out_row)
{
    const __m256 weight = _mm256_set1_ps(t);
    int64_t i = 0;
    for (; stream && i + 16 <= n; i += 16) {
        _mm256_stream_ps(out_row + i, blended(top + i, bottom + i, weight));
        _mm256_stream_ps(out_row + i + 8, blended(top + i + 8, bottom + i + 8, weight));
    }
    for (; i + 8 <= n; i += 8) {
        _mm256_storeu_ps(out_row + i, blended(top + i, bottom + i, weight));
    }
    for (; i < n; ++i) {
        out_row[i] = top[i] + (bottom[i] - top[i]) * t;
    }
}

const edt_resize_kernels edt_resize_kernels_avx2 = {
    .name = "avx2",
    .grouping = {.n_values = 4, .window_bytes = 16},
    .line_raw = line_raw,
    .line_normalised = line_normalised,
    .normalise = normalise,
    .blend_u8 = blend_u8,
    .blend_f32 = blend_f32,
    .streams = true,
};

#endif
