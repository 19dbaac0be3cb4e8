// Weight gradient of 1x1 convolutions: dw[K,N] += sum over rows of x[K] times dy[N]. A block of
// rows passes under tiles of sums that stay in registers. The columns of dy that a strip of
// tiles takes are copied together first: rows of dy as they stand begin anywhere in a line and
// may fall on each other in the first-level cache.
#include "backend/cpu/kernels_vec.h"

// Rows per block, of which floats are summed before they are added to dw.
enum { ROWS = 128, KR = VL == 16 ? 8 : 4, NV = VL == 16 ? 3 : 2 };

#if defined(EDT_CPU_BF16) && defined(__AVX512BF16__)
// Two rows are multiplied at once: pairs of them side by side in one 32-bit unit.
typedef uint32_t unit;
enum { PER_UNIT = 2 };
EDT_INLINE vf multiply_add(vf sum, unit a, vf w)
{
    return _mm512_dpbf16_ps(sum, (__m512bh)_mm512_set1_epi32((int32_t)a), (__m512bh)w);
}
#else
typedef float unit;
enum { PER_UNIT = 1 };
EDT_INLINE vf multiply_add(vf sum, unit a, vf w)
{
    return sum + v_set1(a) * w;
}
#endif

// Rows of x and of the strip of dy as units, row steps in units. `ahead`: dy of the block to
// come, fetched by the strip's first tile; NULL: none.
typedef struct operands {
    const unit *x, *dy;
    int64_t x_step, dy_step, n_units;
    const edt_real *ahead;
    int64_t ahead_step; // elements of a row
} operands;

// KC rows of dw by nv vectors; `last`: lanes of the last vector that exist.
EDT_INLINE void tile(int kc, int nv, bool ahead, const operands *o, float *dw, int64_t n,
                     int last)
{
    vf acc[24];
    EDT_UNROLL
    for (int i = 0; i < kc * nv; i++) {
        acc[i] = v_zero();
    }
    const unit *x = o->x;
    const unit *dy = o->dy;
    const edt_real *next = o->ahead;
    for (int64_t r = 0; r < o->n_units; r++, x += o->x_step, dy += o->dy_step) {
        vf d[3];
        EDT_UNROLL
        for (int v = 0; v < nv; v++) {
            d[v] = v_load((const float *)dy + v * VL);
        }
        if (ahead) {
            EDT_UNROLL
            for (int i = 0; i < PER_UNIT; i++, next += o->ahead_step) {
                EDT_UNROLL
                for (int v = 0; v < nv; v++) {
                    fetch(next + v * VL);
                }
            }
        }
        EDT_UNROLL
        for (int k = 0; k < kc; k++) {
            EDT_UNROLL
            for (int v = 0; v < nv; v++) {
                acc[k * nv + v] = multiply_add(acc[k * nv + v], x[k], d[v]);
            }
        }
    }
    EDT_UNROLL
    for (int k = 0; k < kc; k++) {
        EDT_UNROLL
        for (int v = 0; v < nv; v++) {
            const int m = v + 1 == nv ? last : VL;
            float *to = dw + k * n + v * VL;
            v_store_n(to, v_load_n(to, m) + acc[k * nv + v], m);
        }
    }
}

EDT_INLINE void strip(int nv, const operands *all, float *dw, int64_t k_count, int64_t n,
                      int last)
{
    operands o = *all;
    int64_t k = 0;
    if (o.ahead != NULL && k + KR <= k_count) {
        tile(KR, nv, true, &o, dw, n, last);
        k += KR, o.x += KR, dw += KR * n;
    }
    for (; k + KR <= k_count; k += KR, o.x += KR, dw += KR * n) {
        tile(KR, nv, false, &o, dw, n, last);
    }
    for (; k < k_count; k++, o.x++, dw += n) {
        tile(1, nv, false, &o, dw, n, last);
    }
}

// `left` columns of a row, and of the row behind it, as units, and zeros up to `room`.
EDT_INLINE void store_units(const edt_real *row, const edt_real *next, bool paired, int left,
                            int room, unit *to)
{
    vf value = r_load_n(row, left);
#if defined(EDT_CPU_BF16) && defined(__AVX512BF16__)
    const vu high = paired ? (vu)r_load_n(next, left) : (vu){0};
    value = (vf)((vu)value >> 16 | high);
#else
    (void)next, (void)paired;
#endif
    v_store_n((float *)(void *)to, value, room);
}

// `width` columns of `rows` rows as units, of which the first `lanes` come from `from` and the
// others are zero; so is a missing second row.
EDT_INLINE void make_units(const edt_real *from, int64_t step, int64_t rows, int64_t lanes,
                           int64_t width, unit *restrict to)
{
    for (int64_t r = 0; r < rows; r += PER_UNIT, from += PER_UNIT * step, to += width) {
        const edt_real *next = r + 1 < rows ? from + step : from;
        const bool paired = r + 1 < rows;
        for (int64_t i = 0; i < width; i += VL) {
            if (i + VL <= lanes) {
                store_units(from + i, next + i, paired, VL, VL, to + i);
            } else {
                store_units(from + i, next + i, paired, (int)(lanes - i),
                            width - i < VL ? (int)(width - i) : VL, to + i);
            }
        }
    }
}

// One strip of tiles: its columns of dy, copied to `room`, under all of x.
EDT_INLINE void columns(int nv, const operands *all, const edt_real *dy, int64_t rows,
                        float *dw, int64_t k_count, int64_t n, int64_t lanes, unit *room)
{
    operands o = *all;
#ifndef EDT_CPU_BF16
    if (n % VL == 0) {
        o.dy = dy;
        o.dy_step = n;
    } else
#endif
    {
        make_units(dy, n, rows, lanes, nv * VL, room);
        o.dy = room;
        o.dy_step = nv * VL;
    }
    const int last = (int)(lanes - (nv - 1) * VL);
    if (last == VL) {
        strip(nv, &o, dw, k_count, n, VL);
    } else {
        strip(nv, &o, dw, k_count, n, last);
    }
}

void EDT_K(gemm_weight)(const edt_real *x, const edt_real *dy, int64_t rows, int64_t k,
                        int64_t n, int64_t k_begin, int64_t k_end, void *scratch, float *dw)
{
    _Alignas(64) unit room[ROWS / PER_UNIT * NV * VL];
    const int64_t k_count = k_end - k_begin;
    dw += k_begin * n;
    for (int64_t r = 0; r < rows; r += ROWS) {
        const int64_t m = rows - r < ROWS ? rows - r : ROWS;
        operands o = {.n_units = (m + PER_UNIT - 1) / PER_UNIT, .ahead_step = n};
#ifdef EDT_CPU_BF16
        make_units(x + r * k + k_begin, k, m, k_count, k_count, scratch);
        o.x = scratch;
        o.x_step = k_count;
#else
        (void)scratch;
        o.x = x + r * k + k_begin;
        o.x_step = k;
#endif
        for (int64_t j = 0; j < n;) {
            const int64_t n_vecs = (n - j + VL - 1) / VL;
            const int64_t nv = n_vecs < NV ? n_vecs : NV;
            const int64_t lanes = n - j < nv * VL ? n - j : nv * VL;
            const edt_real *from = dy + r * n + j;
            o.ahead = r + ROWS < rows ? from + ROWS * n : NULL;
            switch (nv) {
            case 1: columns(1, &o, from, m, dw + j, k_count, n, lanes, room); break;
            case 2: columns(2, &o, from, m, dw + j, k_count, n, lanes, room); break;
            default: columns(NV, &o, from, m, dw + j, k_count, n, lanes, room); break;
            }
            j += lanes;
        }
    }
}
