// Inner loops of srelu, of a bias by itself and of the loss over pixels. Sums of a block stay
// in float registers, blocks add up in double.
#include "backend/cpu/kernels_vec.h"

enum { BLOCK = 16 * VL };

// ln(t) for finite t >= 1.
EDT_INLINE vf v_log_from_1(vf t)
{
    const vi exponent = ((vi)t - 0x3f800000) >> 23;
    const vf mantissa = (vf)((vi)t - (exponent << 23)); // in [1, 2)
    const vf e = __builtin_convertvector(exponent, vf);
    return e * v_set1(0x1.62e4p-1f) +
           (e * v_set1(0x1.7f7d1cp-20f) + v_log1p_unit(mantissa - v_set1(1.0f)));
}

void EDT_K(srelu)(float beta, const edt_real *x, edt_real *y, int64_t n)
{
    const vf zero = v_zero();
    const vf factor = v_set1(beta);
    const vf inverse = v_set1(1.0f / beta);
    EDT_FOR_STRIPS(i, n, {
        const vf v = r_load_n(x + i, M);
        const vf log = v_log_from_1(v_set1(1.0f) + v_max(zero, v) * factor);
        r_store_n(y + i, v_select_gt(v, zero, v - log * inverse, v * zero), M); // NaN stays
    });
}

EDT_INLINE void srelu_block(float beta, const edt_real *dy, const edt_real *x, edt_real *dx,
                            int64_t n, double *sum)
{
    const vf zero = v_zero();
    const vf one = v_set1(1.0f);
    const vf factor = v_set1(beta);
    vf total = zero;
    EDT_FOR_STRIPS(i, n, {
        const vf v = r_load_n(x + i, M);
        const vf g = r_load_n(dy + i, M);
        const vf u = v_select_gt(v, zero, v * factor, v * zero);
        const vf slope = u * v_reciprocal(one + u);
        total += g * (v_log_from_1(one + u) - slope);
        if (dx != NULL) {
            r_store_n(dx + i, g * slope, M);
        }
    });
    *sum += v_sum(total);
}

void EDT_K(srelu_bwd)(float beta, const edt_real *dy, const edt_real *x, edt_real *dx,
                      int64_t n, double *sum)
{
    for (int64_t i = 0; i < n; i += BLOCK) {
        const int64_t m = n - i < BLOCK ? n - i : BLOCK;
        srelu_block(beta, dy + i, x + i, dx == NULL ? NULL : dx + i, m, sum);
    }
}

void EDT_K(bias_rows)(const edt_real *x, const edt_real *b, edt_real *y, int64_t rows,
                      int64_t c)
{
    for (int64_t r = 0; r < rows; r++, x += c, y += c) {
        EDT_FOR_STRIPS(i, c, r_store_n(y + i, r_load_n(x + i, M) + r_load_n(b + i, M), M));
    }
}

// Exponentials and logarithms go by vectors over a block of rows; what is left per row is a few
// operations for as many classes as a head has.
void EDT_K(softmax_rows)(const edt_real *logits, const int32_t *mask, float grad_scale,
                         edt_real *dlogits, int64_t rows, int64_t k, float *e, double *sum)
{
    float total[EDT_CPU_SOFTMAX_ROWS];
    for (int64_t r = 0; r < rows; r++) {
        const edt_real *x = logits + r * k;
        float largest = edt_real_get(x[0]);
        for (int64_t j = 1; j < k; j++) {
            const float value = edt_real_get(x[j]);
            largest = value > largest ? value : largest;
        }
        for (int64_t j = 0; j < k; j++) {
            e[r * k + j] = edt_real_get(x[j]) - largest;
        }
        if (mask[r] >= 0 && mask[r] < k) {
            *sum -= (double)e[r * k + mask[r]];
        }
    }
    EDT_FOR_STRIPS(i, rows * k, v_store_n(e + i, v_exp(v_load_n(e + i, M)), M));
    for (int64_t r = 0; r < rows; r++) {
        total[r] = 0;
        for (int64_t j = 0; j < k; j++) {
            total[r] += e[r * k + j];
        }
    }
    float log[EDT_CPU_SOFTMAX_ROWS];
    EDT_FOR_STRIPS(i, rows, v_store_n(log + i, v_log_from_1(v_load_n(total + i, M)), M));
    for (int64_t r = 0; r < rows; r++) {
        const bool counts = mask[r] >= 0 && mask[r] < k;
        *sum += counts ? (double)(log[r] + 0.0f * total[r]) : 0; // the logarithm loses NaN
        if (dlogits == NULL) {
            continue;
        }
        const float factor = counts ? grad_scale / total[r] : 0;
        for (int64_t j = 0; j < k; j++) {
            const float own = counts && mask[r] == j ? grad_scale : 0;
            dlogits[r * k + j] = edt_real_of(e[r * k + j] * factor - own);
        }
    }
}
