// Depthwise convolution as sums of weighted taps: the same loop serves forward and data
// gradient at every stride, because each is a list of (input column, weight row) pairs that
// stays the same along an output row. Blocks of 8 columns keep a weight in a register; those at
// the ends of a row leave out what a tap would read outside.
#include "backend/cpu/kernels_vec.h"

// An activation without a copy of the loop of its own, for 16 bits only: there nothing may be
// rounded before it.
static __attribute__((noinline)) vf act_any(edt_act act, vf x)
{
    EDT_FOR_ACT(act, x = v_act(ACT, x));
    return x;
}

EDT_INLINE vf finished(edt_act act, edt_act later, vf x)
{
    return EDT_REAL_IS_FLOAT || later == EDT_ACT_NONE ? v_act(act, x) : act_any(later, x);
}

enum { COLUMNS = 8 }; // of a block

// Runs `add` for the columns j of a block from j0 on that tap `tap` has: all of them where
// WHOLE, which says that the block lies inside for all taps. `add` reads x_j, element `at` of
// the tap's row for column j0. The sums stay in registers since j is a constant everywhere.
#define FOR_TAP_COLUMNS(WHOLE, tap, at, add)                                                   \
    if ((WHOLE) || ((tap)->lo <= j0 && (tap)->hi >= j0 + COLUMNS && n == COLUMNS)) {           \
        const edt_real *x = (tap)->x + (at);                                                   \
        EDT_UNROLL                                                                             \
        for (int j = 0; j < COLUMNS; j++) {                                                    \
            const edt_real *x_j = x + j * x_step;                                              \
            add;                                                                               \
        }                                                                                      \
    } else {                                                                                   \
        const int64_t lo = (tap)->lo - j0;                                                     \
        const int64_t hi = (tap)->hi - j0 < n ? (tap)->hi - j0 : n;                            \
        EDT_UNROLL                                                                             \
        for (int j = 0; j < COLUMNS; j++) {                                                    \
            if (j >= lo && j < hi) {                                                           \
                const edt_real *x_j = (tap)->x + ((at) + j * x_step);                          \
                add;                                                                           \
            }                                                                                  \
        }                                                                                      \
    }

// A block of one strip of channels, n columns of which exist.
#define TAP_BLOCK(WHOLE)                                                                       \
    {                                                                                          \
        vf acc[COLUMNS];                                                                       \
        const vf start = bias == NULL ? v_zero() : v_load_n(bias + i, M);                      \
        EDT_UNROLL                                                                             \
        for (int j = 0; j < COLUMNS; j++) {                                                    \
            acc[j] = start;                                                                    \
        }                                                                                      \
        for (int t = 0; t < taps->n; t++) {                                                    \
            const edt_cpu_tap *tap = &taps->tap[t];                                            \
            const vf w = v_load_n(tap->w + i, M);                                              \
            const int64_t at = tap->at + x_at + i;                                             \
            FOR_TAP_COLUMNS(WHOLE, tap, at, acc[j] += w * r_load_n(x_j, M))                    \
        }                                                                                      \
        for (int a = 0; a < taps->n_ahead; a++) {                                              \
            for (int j = 0; j < COLUMNS; j++) {                                                \
                __builtin_prefetch(taps->ahead[a] + x_at + i + j * x_step, 0, 2);              \
            }                                                                                  \
        }                                                                                      \
        vf sum = v_zero();                                                                     \
        EDT_UNROLL                                                                             \
        for (int j = 0; j < COLUMNS; j++) {                                                    \
            if ((WHOLE) || j < n) {                                                            \
                const vf value = finished(act, later, acc[j]);                                 \
                r_store_n(y + y_at + j * y_step + i, value, M);                                \
                sum += value;                                                                  \
            }                                                                                  \
        }                                                                                      \
        if (sums != NULL) {                                                                    \
            v_store_n(sums + i, v_load_n(sums + i, M) + sum, M);                               \
        }                                                                                      \
    }

#if defined(EDT_CPU_BF16) && defined(__AVX512BF16__)
// Two vectors of channels at once: a 512-bit load of bf16 gives the even ones by a shift and
// the odd ones by a mask, which is half the work of widening them in order.
enum { PAIR = 2 * VL };
typedef struct vpair {
    vf even, odd;
} vpair;

EDT_INLINE vpair pair_load(const edt_real *p)
{
    const __m512i both = _mm512_loadu_si512(p);
    return (vpair){(vf)_mm512_slli_epi32(both, 16),
                   (vf)_mm512_and_si512(both, _mm512_set1_epi32((int32_t)0xffff0000u))};
}

EDT_INLINE vpair pair_split(vf low, vf high)
{
    const __m512i even =
        _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
    return (vpair){_mm512_permutex2var_ps(low, even, high),
                   _mm512_permutex2var_ps(low, odd, high)};
}

EDT_INLINE void pair_join(vpair x, vf *out_low, vf *out_high)
{
    const __m512i low =
        _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
    *out_low = _mm512_permutex2var_ps(x.even, low, x.odd);
    *out_high = _mm512_permutex2var_ps(x.even, high, x.odd);
}

// Rounds both at once, then lays the odd ones (halves 16 to 31) between the even ones.
EDT_INLINE void pair_store(edt_real *p, vpair x)
{
    const __m512i lane =
        _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i from = _mm512_or_si512(
        lane, _mm512_slli_epi32(_mm512_add_epi32(lane, _mm512_set1_epi32(16)), 16));
    const __m512i halves = (__m512i)_mm512_cvtne2ps_pbh(x.odd, x.even);
    _mm512_storeu_si512(p, _mm512_permutexvar_epi16(from, halves));
}

#define PAIR_BLOCK(WHOLE)                                                                      \
    for (; i + PAIR <= c; i += PAIR) {                                                         \
        vpair acc[COLUMNS];                                                                    \
        const vpair start = bias == NULL                                                       \
                                ? (vpair){v_zero(), v_zero()}                                  \
                                : pair_split(v_load(bias + i), v_load(bias + i + VL));         \
        EDT_UNROLL                                                                             \
        for (int j = 0; j < COLUMNS; j++) {                                                    \
            acc[j] = start;                                                                    \
        }                                                                                      \
        for (int t = 0; t < taps->n; t++) {                                                    \
            const edt_cpu_tap *tap = &taps->tap[t];                                            \
            const vpair w = pair_split(v_load(tap->w + i), v_load(tap->w + i + VL));           \
            const int64_t at = tap->at + x_at + i;                                             \
            FOR_TAP_COLUMNS(WHOLE, tap, at, {                                                  \
                const vpair value = pair_load(x_j);                                            \
                acc[j].even += w.even * value.even;                                            \
                acc[j].odd += w.odd * value.odd;                                               \
            })                                                                                 \
        }                                                                                      \
        for (int a = 0; a < taps->n_ahead; a++) {                                              \
            for (int j = 0; j < COLUMNS; j++) {                                                \
                fetch(taps->ahead[a] + x_at + i + j * x_step);                                 \
            }                                                                                  \
        }                                                                                      \
        vpair sum = {v_zero(), v_zero()};                                                      \
        EDT_UNROLL                                                                             \
        for (int j = 0; j < COLUMNS; j++) {                                                    \
            if ((WHOLE) || j < n) {                                                            \
                const vpair value = {finished(act, later, acc[j].even),                        \
                                     finished(act, later, acc[j].odd)};                        \
                pair_store(y + y_at + j * y_step + i, value);                                  \
                sum.even += value.even;                                                        \
                sum.odd += value.odd;                                                          \
            }                                                                                  \
        }                                                                                      \
        if (sums != NULL) {                                                                    \
            vf low;                                                                            \
            vf high;                                                                           \
            pair_join(sum, &low, &high);                                                       \
            v_store(sums + i, v_load(sums + i) + low);                                         \
            v_store(sums + i + VL, v_load(sums + i + VL) + high);                              \
        }                                                                                      \
    }
#else
#define PAIR_BLOCK(WHOLE)
#endif

// `act` is a constant and applied to the sums, `later` to what is stored.
EDT_INLINE void taps_loop(edt_act act, edt_act later, const edt_cpu_taps *taps,
                          const float *bias, edt_real *y, int64_t y_step, int64_t n_cols,
                          int64_t c)
{
    const int64_t x_step = taps->x_step;
    // Of what is stored before its activation, the sum has to wait.
    float *sums = EDT_REAL_IS_FLOAT && later != EDT_ACT_NONE ? NULL : taps->sums;
    for (int64_t j0 = 0; j0 < n_cols; j0 += COLUMNS) {
        const int64_t x_at = j0 * x_step;
        const int64_t y_at = j0 * y_step;
        const int64_t n = n_cols - j0 < COLUMNS ? n_cols - j0 : COLUMNS;
        int64_t i = 0;
        if (j0 >= taps->lo && j0 + COLUMNS <= taps->hi) {
            PAIR_BLOCK(true)
            EDT_FOR_STRIPS_FROM(i, c, TAP_BLOCK(true));
        } else {
            PAIR_BLOCK(false)
            EDT_FOR_STRIPS_FROM(i, c, TAP_BLOCK(false));
        }
        for (int64_t j = 0; EDT_REAL_IS_FLOAT && later != EDT_ACT_NONE && j < n; j++) {
            edt_real *column = y + y_at + j * y_step;
            EDT_K(act)(later, column, column, c);
            if (taps->sums != NULL) {
                EDT_K(add_to)(column, taps->sums, c);
            }
        }
    }
}

// swish, the default of the networks, is worth its own copy.
void EDT_K(dw_taps)(edt_act act, const edt_cpu_taps *taps, const float *bias, edt_real *y,
                    int64_t y_step, int64_t n_cols, int64_t c)
{
    if (act == EDT_ACT_SWISH) {
        taps_loop(EDT_ACT_SWISH, EDT_ACT_NONE, taps, bias, y, y_step, n_cols, c);
    } else {
        taps_loop(EDT_ACT_NONE, act, taps, bias, y, y_step, n_cols, c);
    }
}

// R filter rows of K columns at once: R * K sums stay in registers along the output row.
EDT_INLINE void weight_loop(const edt_cpu_dw_rows *rows, int first, int r_count, int k_count,
                            const edt_real *dy, int64_t n_cols, int stride, int64_t c,
                            int64_t i)
{
    EDT_FOR_STRIPS_FROM(i, c, {
        vf acc[25];
        EDT_UNROLL
        for (int r = 0; r < r_count; r++) {
            EDT_UNROLL
            for (int k = 0; k < k_count; k++) {
                acc[r * k_count + k] = v_load_n(rows->dw[first + r] + k * c + i, M);
            }
        }
        for (int64_t j = 0; j < n_cols; j++) {
            const vf d = r_load_n(dy + j * c + i, M);
            const int64_t at = j * stride * c + i;
            EDT_UNROLL
            for (int r = 0; r < r_count; r++) {
                const edt_real *x = rows->x[first + r] + at;
                EDT_UNROLL
                for (int k = 0; k < k_count; k++) {
                    acc[r * k_count + k] += d * r_load_n(x + k * c, M);
                }
            }
            if (first == 0) {
                for (int a = 0; a < rows->n_ahead; a++) {
                    __builtin_prefetch(rows->ahead[a] + at, 0, 2);
                    if (stride > 1) {
                        __builtin_prefetch(rows->ahead[a] + at + c, 0, 2);
                    }
                }
                if (rows->dy_ahead != NULL) {
                    __builtin_prefetch(rows->dy_ahead + j * c + i, 0, 2);
                }
            }
        }
        EDT_UNROLL
        for (int r = 0; r < r_count; r++) {
            EDT_UNROLL
            for (int k = 0; k < k_count; k++) {
                v_store_n(rows->dw[first + r] + k * c + i, acc[r * k_count + k], M);
            }
        }
    });
}

#if defined(EDT_CPU_BF16) && defined(__AVX512BF16__)
// As weight_loop over channels [0, the result) in pairs of vectors.
EDT_INLINE int64_t weight_pairs(const edt_cpu_dw_rows *rows, int first, int r_count,
                                int k_count, const edt_real *dy, int64_t n_cols, int stride,
                                int64_t c)
{
    int64_t i = 0;
    for (; i + PAIR <= c; i += PAIR) {
        vpair acc[10];
        EDT_UNROLL
        for (int t = 0; t < r_count * k_count; t++) {
            acc[t] = (vpair){v_zero(), v_zero()};
        }
        for (int64_t j = 0; j < n_cols; j++) {
            const vpair d = pair_load(dy + j * c + i);
            const int64_t at = j * stride * c + i;
            EDT_UNROLL
            for (int r = 0; r < r_count; r++) {
                const edt_real *x = rows->x[first + r] + at;
                EDT_UNROLL
                for (int k = 0; k < k_count; k++) {
                    const vpair value = pair_load(x + k * c);
                    acc[r * k_count + k].even += d.even * value.even;
                    acc[r * k_count + k].odd += d.odd * value.odd;
                }
            }
            if (first == 0) {
                for (int a = 0; a < rows->n_ahead; a++) {
                    fetch(rows->ahead[a] + at);
                    if (stride > 1) {
                        fetch(rows->ahead[a] + at + c);
                    }
                }
                if (rows->dy_ahead != NULL) {
                    fetch(rows->dy_ahead + j * c + i);
                }
            }
        }
        EDT_UNROLL
        for (int r = 0; r < r_count; r++) {
            EDT_UNROLL
            for (int k = 0; k < k_count; k++) {
                float *to = rows->dw[first + r] + k * c + i;
                vf low;
                vf high;
                pair_join(acc[r * k_count + k], &low, &high);
                v_store(to, v_load(to) + low);
                v_store(to + VL, v_load(to + VL) + high);
            }
        }
    }
    return i;
}
#else
EDT_INLINE int64_t weight_pairs(const edt_cpu_dw_rows *rows, int first, int r_count,
                                int k_count, const edt_real *dy, int64_t n_cols, int stride,
                                int64_t c)
{
    (void)rows, (void)first, (void)r_count, (void)k_count, (void)dy, (void)n_cols;
    (void)stride, (void)c;
    return 0;
}
#endif

// The pairs, then what they leave.
EDT_INLINE void weight_both(const edt_cpu_dw_rows *rows, int first, int r_count, int k_count,
                            const edt_real *dy, int64_t n_cols, int stride, int64_t c)
{
    weight_loop(rows, first, r_count, k_count, dy, n_cols, stride, c,
                weight_pairs(rows, first, r_count, k_count, dy, n_cols, stride, c));
}

void EDT_K(dw_weight)(const edt_cpu_dw_rows *rows, const edt_real *dy, int64_t n_cols,
                      int stride, int n_kw, int64_t c)
{
    const bool many_registers = VL == 16 && EDT_REAL_IS_FLOAT;
    if (rows->n == 3 && n_kw == 3) {
        weight_both(rows, 0, 3, 3, dy, n_cols, stride, c);
        return;
    }
    if (rows->n == 5 && n_kw == 5 && many_registers) {
        weight_both(rows, 0, 5, 5, dy, n_cols, stride, c);
        return;
    }
    int r = 0;
    for (; n_kw == 5 && !EDT_REAL_IS_FLOAT && r + 2 <= rows->n; r += 2) {
        weight_both(rows, r, 2, 5, dy, n_cols, stride, c);
    }
    for (; r < rows->n; r++) {
        switch (n_kw) {
        case 5: weight_both(rows, r, 1, 5, dy, n_cols, stride, c); break;
        case 3: weight_both(rows, r, 1, 3, dy, n_cols, stride, c); break;
        default:
            for (int k = 0; k < n_kw; k++) {
                const edt_cpu_dw_rows one = {
                    .n = 1, .x = {rows->x[r] + k * c}, .dw = {rows->dw[r] + k * c}};
                weight_both(&one, 0, 1, 1, dy, n_cols, stride, c);
            }
            break;
        }
    }
}
