// Activations, sums, products and per-channel scaling of rows, and the input's normalisation.
#include "backend/cpu/kernels_vec.h"

EDT_INLINE void act_loop(edt_act act, const edt_real *x, edt_real *y, int64_t n)
{
    EDT_FOR_STRIPS(i, n, r_store_n(y + i, v_act(act, r_load_n(x + i, M)), M));
}

void EDT_K(act)(edt_act act, const edt_real *x, edt_real *y, int64_t n)
{
    EDT_FOR_ACT(act, act_loop(ACT, x, y, n));
}

EDT_INLINE void act_bwd_loop(edt_act act, const edt_real *dy, const edt_real *x, edt_real *dx,
                             int64_t n)
{
    EDT_FOR_STRIPS(i, n, {
        const vf d = v_act_grad(act, r_load_n(x + i, M));
        r_store_n(dx + i, r_load_n(dy + i, M) * d, M);
    });
}

void EDT_K(act_bwd)(edt_act act, const edt_real *dy, const edt_real *x, edt_real *dx, int64_t n)
{
    EDT_FOR_ACT(act, act_bwd_loop(ACT, dy, x, dx, n));
}

void EDT_K(add)(const edt_real *a, const edt_real *b, edt_real *y, int64_t n)
{
    EDT_FOR_STRIPS(i, n, r_store_n(y + i, r_load_n(a + i, M) + r_load_n(b + i, M), M));
}

void EDT_K(add_to)(const edt_real *x, float *sum, int64_t n)
{
    EDT_FOR_STRIPS(i, n, v_store_n(sum + i, v_load_n(sum + i, M) + r_load_n(x + i, M), M));
}

void EDT_K(widen)(const edt_real *x, float *y, int64_t n)
{
    EDT_FOR_STRIPS(i, n, v_store_n(y + i, r_load_n(x + i, M), M));
}

void EDT_K(narrow)(const float *x, edt_real *y, int64_t n)
{
    EDT_FOR_STRIPS(i, n, r_store_n(y + i, v_load_n(x + i, M), M));
}

void EDT_K(mul)(const edt_real *x, float s, edt_real *y, int64_t n)
{
    const vf scale = v_set1(s);
    EDT_FOR_STRIPS(i, n, r_store_n(y + i, r_load_n(x + i, M) * scale, M));
}

// Runs of a few elements, for which a call of memcpy takes longer than the copying.
void EDT_K(copy_runs)(const edt_real *x, int64_t x_step, edt_real *to, int64_t to_step,
                      int64_t runs, int64_t n)
{
    for (int64_t r = 0; r < runs; r++, x += x_step, to += to_step) {
#if defined(__AVX512F__)
        EDT_FOR_STRIPS(i, n, r_store_n(to + i, r_load_n(x + i, M), M));
#else
        for (int64_t i = 0; i < n; i++) {
            to[i] = x[i];
        }
#endif
    }
}

// N rows at once, so that s is loaded (and widened) once for them.
#define SCALE_ROWS(N)                                                                          \
    for (; r + (N) <= rows; r += (N), x += (N)*c, y += (N)*c) {                                \
        EDT_FOR_STRIPS(i, c, {                                                                 \
            const vf scale = r_load_n(s + i, M);                                               \
            EDT_UNROLL                                                                         \
            for (int j = 0; j < (N); j++) {                                                    \
                r_store_n(y + j * c + i, r_load_n(x + j * c + i, M) * scale, M);               \
            }                                                                                  \
        });                                                                                    \
    }

void EDT_K(scale_rows)(const edt_real *x, const edt_real *s, edt_real *y, int64_t rows,
                       int64_t c)
{
    int64_t r = 0;
    SCALE_ROWS(4)
    SCALE_ROWS(1)
}

void EDT_K(fill_rows)(const edt_real *s, edt_real *y, int64_t rows, int64_t c)
{
    for (int64_t r = 0; r < rows; r++, y += c) {
        memcpy(y, s, (size_t)c * sizeof(edt_real));
    }
}

// Sums of a few dozen rows stay in float registers, blocks of them are added up in double.
enum { SUM_ROWS = 32 };

void EDT_K(scale_rows_bwd)(const edt_real *dy, const edt_real *x, const edt_real *s,
                           edt_real *dx, double *ds, int64_t rows, int64_t c)
{
    for (int64_t r0 = 0; r0 < rows; r0 += SUM_ROWS) {
        const int64_t n = rows - r0 < SUM_ROWS ? rows - r0 : SUM_ROWS;
        const int64_t at = r0 * c;
        EDT_FOR_STRIPS(i, c, {
            vf sum = v_zero();
            const vf scale = r_load_n(s + i, M);
            for (int64_t r = 0; r < n; r++) {
                const int64_t p = at + r * c + i;
                fetch(dy + p + SUM_ROWS * c);
                fetch(x + p + SUM_ROWS * c);
                const vf d = r_load_n(dy + p, M);
                sum += d * r_load_n(x + p, M);
                if (dx != NULL) {
                    r_store_n(dx + p, d * scale, M);
                }
            }
            v_add_to_double(ds + i, sum, M);
        });
    }
}

void EDT_K(sum_rows)(const edt_real *x, int64_t rows, int64_t c, double *sum)
{
    for (int64_t r0 = 0; r0 < rows; r0 += SUM_ROWS) {
        const int64_t n = rows - r0 < SUM_ROWS ? rows - r0 : SUM_ROWS;
        const edt_real *block = x + r0 * c;
        EDT_FOR_STRIPS(i, c, {
            vf total = v_zero();
            for (int64_t r = 0; r < n; r++) {
                fetch(block + (r + SUM_ROWS) * c + i);
                total += r_load_n(block + r * c + i, M);
            }
            v_add_to_double(sum + i, total, M);
        });
    }
}

void EDT_K(normalize)(const uint8_t *x, const float mean[3], const float std[3], bool range,
                      edt_real *y, int64_t n_pixels)
{
    // The channel pattern repeats every 3 vectors.
    float m[3 * VL];
    float s[3 * VL];
    for (int i = 0; i < 3 * VL; i++) {
        m[i] = mean[i % 3];
        s[i] = std[i % 3];
    }
    const int64_t n = n_pixels * 3;
    int64_t i = 0;
    for (; i + 3 * VL <= n; i += 3 * VL) {
        for (int k = 0; k < 3 * VL; k += VL) {
            const vf pixel = __builtin_convertvector(v_load_u8(x + i + k), vf);
            vf value = (pixel - v_load(m + k)) / v_load(s + k);
            if (range) {
                value = value * v_set1(2.0f) / v_set1(255.0f) - v_set1(1.0f);
            }
            r_store(y + i + k, value);
        }
    }
    for (; i < n; i++) {
        const float value = ((float)x[i] - mean[i % 3]) / std[i % 3];
        y[i] = edt_real_of(range ? value * 2.0f / 255.0f - 1.0f : value);
    }
}
