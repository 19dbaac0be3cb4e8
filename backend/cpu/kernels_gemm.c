// Matrix product for 1x1 convolutions with everything that follows in the epilogue: rows of x
// (a pixel's K channels each) times packed weights, plus bias, activation, plus residual.
// Columns are cut into panels of three vectors; a block of rows and a panel keep all sums in
// registers.
#include "backend/cpu/kernels_vec.h"

// Panels of `n_vecs` vectors: threes, with the rest as one or two panels of two (or a single
// one).
static int64_t panel_start(int64_t n_vecs, int64_t p)
{
    const int64_t n_panels = (n_vecs + 2) / 3;
    if (p >= n_panels) {
        return n_vecs;
    }
    return p + 1 == n_panels && n_vecs % 3 == 1 && n_vecs > 1 ? n_vecs - 2 : 3 * p;
}

#if defined(EDT_CPU_BF16) && defined(__AVX512BF16__)
// Two bf16 rows of weights are multiplied at once: a unit of packed weights is the pair of rows
// 2 k and 2 k + 1 (zero where K is odd), a unit of x two channels of a pixel.
typedef uint32_t unit;
enum { PER_UNIT = 2 };
EDT_INLINE unit make_unit(edt_real low, edt_real high)
{
    return (uint32_t)low | (uint32_t)high << 16;
}
EDT_INLINE unit last_unit(const edt_real *x)
{
    return *x;
}
EDT_INLINE unit load_unit(const edt_real *x)
{
    unit value;
    memcpy(&value, x, sizeof(value));
    return value;
}
EDT_INLINE vf multiply_add(vf sum, unit a, vf w)
{
    return _mm512_dpbf16_ps(sum, (__m512bh)_mm512_set1_epi32((int32_t)a), (__m512bh)w);
}
#else
typedef float unit;
enum { PER_UNIT = 1 };
EDT_INLINE unit make_unit(edt_real low, edt_real high)
{
    (void)high;
    return edt_real_get(low);
}
EDT_INLINE unit last_unit(const edt_real *x)
{
    return edt_real_get(*x);
}
EDT_INLINE unit load_unit(const edt_real *x)
{
    return edt_real_get(*x);
}
EDT_INLINE vf multiply_add(vf sum, unit a, vf w)
{
    return sum + v_set1(a) * w;
}
#endif

EDT_INLINE int64_t units_of(int64_t k)
{
    return (k + PER_UNIT - 1) / PER_UNIT;
}

EDT_INLINE edt_real weight_at(const edt_real *w, bool transposed, int64_t k_count, int64_t n,
                              int64_t k, int64_t column)
{
    return column >= n || k >= k_count ? edt_real_of(0.0f)
           : transposed                ? w[column * k_count + k]
                                       : w[k * n + column];
}

void EDT_K(gemm_pack)(const edt_real *w, bool transposed, int64_t k, int64_t n, void *packed)
{
    const int64_t n_vecs = (n + VL - 1) / VL;
    const int64_t n_units = units_of(k);
    for (int64_t p = 0; panel_start(n_vecs, p) < n_vecs; p++) {
        const int64_t from = panel_start(n_vecs, p) * VL;
        const int64_t width = panel_start(n_vecs, p + 1) * VL - from;
        unit *to = (unit *)packed + from * n_units;
        for (int64_t i = 0; i < n_units; i++) {
            for (int64_t j = 0; j < width; j++) {
                const int64_t at = i * PER_UNIT;
                to[i * width + j] = make_unit(weight_at(w, transposed, k, n, at, from + j),
                                              weight_at(w, transposed, k, n, at + 1, from + j));
            }
        }
    }
}

// One unit's rows of VL columns, of which m exist. 16-bit products are rounded once, here.
EDT_INLINE vf scaled_unit(const float *w, const edt_real *s, int64_t k, int64_t n, int64_t i,
                          int m)
{
#if defined(EDT_CPU_BF16) && defined(__AVX512BF16__)
    const vf even = v_load_n(w + 2 * i * n, m) * v_set1(edt_real_get(s[2 * i]));
    vf odd = v_zero();
    if (2 * i + 1 < k) {
        odd = v_load_n(w + (2 * i + 1) * n, m) * v_set1(edt_real_get(s[2 * i + 1]));
    }
    const __m512i low = _mm512_cvtepu16_epi32((__m256i)v_narrow(even));
    const __m512i high = _mm512_cvtepu16_epi32((__m256i)v_narrow(odd));
    return (vf)_mm512_or_si512(low, _mm512_slli_epi32(high, 16));
#else
    (void)k;
    return v_load_n(w + i * n, m) * v_set1(edt_real_get(s[i]));
#endif
}

void EDT_K(gemm_pack_scaled)(const float *w, const edt_real *s, int64_t k, int64_t n, int part,
                             int n_parts, void *packed)
{
    const int64_t n_vecs = (n + VL - 1) / VL;
    const int64_t n_units = units_of(k);
    const int64_t first = n_units * part / n_parts;
    const int64_t end = n_units * (part + 1) / n_parts;
    for (int64_t p = 0; panel_start(n_vecs, p) < n_vecs; p++) {
        const int64_t from = panel_start(n_vecs, p);
        const int64_t width = panel_start(n_vecs, p + 1) - from;
        float *to = (float *)packed + (from * n_units + first * width) * VL;
        for (int64_t i = first; i < end; i++) {
            for (int64_t v = from; v < from + width; v++, to += VL) {
                const int64_t room = n - v * VL;
                const float *at = w + v * VL;
                v_store(to, room < VL ? scaled_unit(at, s, k, n, i, (int)room)
                                      : scaled_unit(at, s, k, n, i, VL));
            }
        }
    }
}

// y = act(y) + residual over rows of `width` values, just stored and still in the first-level
// cache; apart from the product, so that activations do not multiply its code (swish, the
// default of the networks, is worth its own copy).
EDT_INLINE void finish_loop(edt_act act, edt_real *y, const edt_real *residual, int rows,
                            int64_t step, int64_t width)
{
    for (int r = 0; r < rows; r++, y += step) {
        const edt_real *add = residual == NULL ? NULL : residual + r * step;
        EDT_FOR_STRIPS(i, width, {
            vf value = v_act(act, r_load_n(y + i, M));
            if (add != NULL) {
                value += r_load_n(add + i, M);
            }
            r_store_n(y + i, value, M);
        });
    }
}

static __attribute__((noinline)) void finish(edt_act act, edt_real *y, const edt_real *residual,
                                             int rows, int64_t step, int64_t width)
{
    EDT_FOR_ACT(act, finish_loop(ACT, y, residual, rows, step, width));
}

// Rows per block fill the registers: 32 of them with 512 bits, else 16.
enum {
    MR3 = VL == 16 ? 8 : 4,
    MR2 = VL == 16 ? 12 : 6,
    MR1 = VL == 16 ? 16 : 8,
};

// A last vector of which at most half exists: an own, narrower type where processors multiply
// 512 bits in two steps, of which this spares one.
#if defined(__AVX512F__)
enum { HALF = VL / 2 };
typedef __m256 vhalf;
EDT_INLINE vhalf half_of(vf x)
{
    return _mm512_castps512_ps256(x);
}
EDT_INLINE vf half_widen(vhalf x)
{
    return _mm512_zextps256_ps512(x);
}
EDT_INLINE vhalf half_load(const float *p)
{
    return _mm256_loadu_ps(p);
}
EDT_INLINE vhalf half_multiply_add(vhalf sum, unit a, vhalf w)
{
#if defined(EDT_CPU_BF16) && defined(__AVX512BF16__)
    return _mm256_dpbf16_ps(sum, (__m256bh)_mm256_set1_epi32((int32_t)a), (__m256bh)w);
#else
    return sum + _mm256_set1_ps(a) * w;
#endif
}
#else
enum { HALF = 0 };
typedef vf vhalf;
EDT_INLINE vhalf half_of(vf x)
{
    return x;
}
EDT_INLINE vf half_widen(vhalf x)
{
    return x;
}
EDT_INLINE vhalf half_load(const float *p)
{
    return v_load(p);
}
EDT_INLINE vhalf half_multiply_add(vhalf sum, unit a, vhalf w)
{
    return multiply_add(sum, a, w);
}
#endif

// One unit of the sum: the block's rows of x at `k` times nv vectors of weights, the last of
// which may be a half.
#define MULTIPLY_UNIT(load)                                                                    \
    {                                                                                          \
        vf w[3];                                                                               \
        vhalf w_half;                                                                          \
        EDT_UNROLL                                                                             \
        for (int v = 0; v < nv - n_half; v++) {                                                \
            w[v] = v_load(b + (k * nv + v) * VL);                                              \
        }                                                                                      \
        if (n_half > 0) {                                                                      \
            w_half = half_load(b + (k * nv + nv - 1) * VL);                                    \
        }                                                                                      \
        EDT_UNROLL                                                                             \
        for (int r = 0; r < mr; r++) {                                                         \
            const unit a = load(x + r * k_count + k * PER_UNIT);                               \
            EDT_UNROLL                                                                         \
            for (int v = 0; v < nv - n_half; v++) {                                            \
                acc[r * nv + v] = multiply_add(acc[r * nv + v], a, w[v]);                      \
            }                                                                                  \
            if (n_half > 0) {                                                                  \
                half[r] = half_multiply_add(half[r], a, w_half);                               \
            }                                                                                  \
        }                                                                                      \
    }

// MR rows by NV vectors; `last`: lanes of the last vector that exist; n_half: 1 where that is a
// half. b: packed units, which are as wide as floats.
EDT_INLINE void block(int mr, int nv, int n_half, edt_act act, const edt_cpu_gemm *g,
                      const edt_real *x, const float *b, const float *bias,
                      const edt_real *residual, edt_real *y, int last)
{
    const int64_t k_count = g->k;
    const int64_t n_whole = k_count / PER_UNIT;
    vf acc[24];
    vhalf half[MR1];
    EDT_UNROLL
    for (int v = 0; v < nv; v++) {
        const vf start =
            bias == NULL ? v_zero() : v_load_n(bias + v * VL, v + 1 == nv ? last : VL);
        EDT_UNROLL
        for (int r = 0; r < mr; r++) {
            if (v < nv - n_half) {
                acc[r * nv + v] = start;
            } else {
                half[r] = half_of(start);
            }
        }
    }
    for (int64_t k = 0; k < n_whole; k++) {
        MULTIPLY_UNIT(load_unit)
    }
    if (PER_UNIT > 1 && k_count % PER_UNIT != 0) {
        const int64_t k = n_whole;
        MULTIPLY_UNIT(last_unit)
    }
    EDT_UNROLL
    for (int r = 0; r < mr; r++) {
        EDT_UNROLL
        for (int v = 0; v < nv; v++) {
            const int m = v + 1 == nv ? last : VL;
            vf value = v_act(act, v < nv - n_half ? acc[r * nv + v] : half_widen(half[r]));
            if (residual != NULL) {
                value += r_load_n(residual + r * g->n + v * VL, m);
            }
            r_store_n(y + r * g->n + v * VL, value, m);
        }
    }
}

EDT_INLINE void panel_rows(int mr, int nv, edt_act act, const edt_cpu_gemm *g,
                           const edt_real *x, const float *b, const float *bias,
                           const edt_real *residual, edt_real *y, int64_t rows, int last,
                           bool ahead)
{
    const edt_act later = act == g->act ? EDT_ACT_NONE : g->act;
    const edt_real *now = later == EDT_ACT_NONE ? residual : NULL;
    const int64_t width = (nv - 1) * VL + last;
    for (int64_t r = 0; r < rows;) {
        const edt_real *x_at = x + r * g->k;
        const edt_real *res = now == NULL ? NULL : now + r * g->n;
        edt_real *y_at = y + r * g->n;
        int n = mr;
        if (r + mr > rows) {
            n = 1;
            block(1, nv, 0, act, g, x_at, b, bias, res, y_at, last);
        } else {
            for (int64_t i = 0; ahead && i < mr * g->k; i += 64 / (int64_t)sizeof(edt_real)) {
                fetch(x_at + mr * g->k + i);
            }
            if (last == VL) {
                block(mr, nv, 0, act, g, x_at, b, bias, res, y_at, VL);
            } else if (last <= HALF) {
                block(mr, nv, 1, act, g, x_at, b, bias, res, y_at, last);
            } else {
                block(mr, nv, 0, act, g, x_at, b, bias, res, y_at, last);
            }
        }
        if (later != EDT_ACT_NONE) {
            finish(later, y_at, residual == NULL ? NULL : residual + r * g->n, n, g->n, width);
        }
        r += n;
    }
}

// Rows per tile: the tile of x stays in the second-level cache while all panels pass over it.
enum { TILE_FLOATS = 64 * 1024, MAX_TILE = 768 };

EDT_INLINE void all_panels(edt_act act, const edt_cpu_gemm *g, const edt_real *x,
                           const edt_real *residual, edt_real *y, int64_t rows, int64_t first,
                           int64_t end)
{
    const int64_t n_vecs = (g->n + VL - 1) / VL;
    for (int64_t p = first; p < end; p++) {
        const int64_t start = panel_start(n_vecs, p);
        const int64_t stop = panel_start(n_vecs, p + 1);
        const int last = stop == n_vecs ? (int)(g->n - (n_vecs - 1) * VL) : VL;
        const float *b = (const float *)g->packed + start * VL * units_of(g->k);
        const float *bias = g->bias == NULL ? NULL : g->bias + start * VL;
        const edt_real *res = residual == NULL ? NULL : residual + start * VL;
        edt_real *to = y + start * VL;
        const bool ahead = p == first && g->k > g->n; // wide rows read, little written
        switch (stop - start) {
        case 3: panel_rows(MR3, 3, act, g, x, b, bias, res, to, rows, last, ahead); break;
        case 2: panel_rows(MR2, 2, act, g, x, b, bias, res, to, rows, last, ahead); break;
        default: panel_rows(MR1, 1, act, g, x, b, bias, res, to, rows, last, ahead); break;
        }
    }
}

void EDT_K(gemm)(const edt_cpu_gemm *g, const edt_real *x, const edt_real *residual,
                 edt_real *y, int64_t rows, int part, int n_parts)
{
    const int64_t n_panels = (((g->n + VL - 1) / VL) + 2) / 3;
    const int64_t first = n_panels * part / n_parts;
    const int64_t end = n_panels * (part + 1) / n_parts;
    int64_t tile = TILE_FLOATS / g->k / (2 * MR2) * (2 * MR2);
    tile = tile < 2 * MR2 ? 2 * MR2 : tile > MAX_TILE ? MAX_TILE : tile;
    for (int64_t r = 0; r < rows; r += tile) {
        const int64_t n = rows - r < tile ? rows - r : tile;
        const edt_real *res = residual == NULL ? NULL : residual + r * g->n;
        if (g->act == EDT_ACT_SWISH) {
            all_panels(EDT_ACT_SWISH, g, x + r * g->k, res, y + r * g->n, n, first, end);
        } else {
            all_panels(EDT_ACT_NONE, g, x + r * g->k, res, y + r * g->n, n, first, end);
        }
    }
}
