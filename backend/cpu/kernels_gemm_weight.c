// Weight gradient of 1x1 convolutions: dw[K,N] += sum over rows of x[K] times dy[N]. A block of
// rows small enough for the first-level cache passes under tiles of sums that stay in
// registers.
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

// Rows of x and dy as units, row steps in units.
typedef struct operands {
    const unit *x, *dy;
    int64_t x_step, dy_step, n_units;
} operands;

// KC rows of dw by nv vectors; `last`: lanes of the last vector that exist.
EDT_INLINE void tile(int kc, int nv, const operands *o, float *dw, int64_t n, int last)
{
    vf acc[24];
    EDT_UNROLL
    for (int i = 0; i < kc * nv; i++) {
        acc[i] = v_zero();
    }
    const unit *x = o->x;
    const unit *dy = o->dy;
    for (int64_t r = 0; r < o->n_units; r++, x += o->x_step, dy += o->dy_step) {
        vf d[3];
        EDT_UNROLL
        for (int v = 0; v < nv; v++) {
            d[v] = v_load_n((const float *)dy + v * VL, v + 1 == nv ? last : VL);
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
    for (; k + KR <= k_count; k += KR, o.x += KR, dw += KR * n) {
        if (last == VL) {
            tile(KR, nv, &o, dw, n, VL);
        } else {
            tile(KR, nv, &o, dw, n, last);
        }
    }
    for (; k < k_count; k++, o.x++, dw += n) {
        tile(1, nv, &o, dw, n, last);
    }
}

static void block(const operands *all, float *dw, int64_t k_count, int64_t n)
{
    for (int64_t j = 0; j < n;) {
        operands o = *all;
        o.dy += j;
        const int64_t n_vecs = (n - j + VL - 1) / VL;
        const int64_t nv = n_vecs < NV ? n_vecs : NV;
        const int64_t lanes = n - j - (nv - 1) * VL;
        const int last = lanes < VL ? (int)lanes : VL;
        switch (nv) {
        case 1: strip(1, &o, dw + j, k_count, n, last); break;
        case 2: strip(2, &o, dw + j, k_count, n, last); break;
        default: strip(NV, &o, dw + j, k_count, n, last); break;
        }
        j += nv * VL;
    }
}

#ifdef EDT_CPU_BF16
// `rows` rows of which `width` values count, as units; a missing second row is zero.
static void make_units(const edt_real *from, int64_t step, int64_t rows, int64_t width,
                       unit *restrict to)
{
    for (int64_t r = 0; r < rows; r += PER_UNIT, to += width) {
        const edt_real *row = from + r * step;
        const edt_real *next = row + step;
        if (PER_UNIT == 1) {
            EDT_K(widen)(row, (float *)to, width);
        } else if (r + 1 < rows) {
#pragma omp simd
            for (int64_t i = 0; i < width; i++) {
                to[i] = (unit)((uint32_t)row[i] | (uint32_t)next[i] << 16);
            }
        } else {
            for (int64_t i = 0; i < width; i++) {
                to[i] = (unit)row[i];
            }
        }
    }
}
#endif

void EDT_K(gemm_weight)(const edt_real *x, const edt_real *dy, int64_t rows, int64_t k,
                        int64_t n, int64_t k_begin, int64_t k_end, void *scratch, float *dw)
{
    const int64_t k_count = k_end - k_begin;
    dw += k_begin * n;
    for (int64_t r = 0; r < rows; r += ROWS) {
        const int64_t m = rows - r < ROWS ? rows - r : ROWS;
#ifdef EDT_CPU_BF16
        unit *x_units = scratch;
        unit *dy_units = x_units + ROWS * k_count;
        make_units(x + r * k + k_begin, k, m, k_count, x_units);
        make_units(dy + r * n, n, m, n, dy_units);
        const operands o = {x_units, dy_units, k_count, n, (m + PER_UNIT - 1) / PER_UNIT};
#else
        (void)scratch;
        const operands o = {x + r * k + k_begin, dy + r * n, k, n, m};
#endif
        block(&o, dw, k_count, n);
    }
}
