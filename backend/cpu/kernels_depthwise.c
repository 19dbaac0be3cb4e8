// Depthwise convolution as sums of weighted taps: the same loop serves forward and data
// gradient at every stride, because each is a list of (input column, weight row) pairs that
// stays the same along an output row. Blocks of 8 columns keep a weight in a register.
#include "backend/cpu/kernels_vec.h"

// N columns of one strip of channels.
#define TAP_BLOCK(N)                                                                           \
    {                                                                                          \
        vf acc[N];                                                                             \
        const vf start = bias == NULL ? v_zero() : v_load_n(bias + i, M);                      \
        for (int j = 0; j < (N); j++) {                                                        \
            acc[j] = start;                                                                    \
        }                                                                                      \
        for (int t = 0; t < n_taps; t++) {                                                     \
            const vf w = v_load_n(taps[t].w + i, M);                                           \
            const float *x = taps[t].x + x_at + i;                                             \
            for (int j = 0; j < (N); j++) {                                                    \
                acc[j] += w * v_load_n(x + j * x_step, M);                                     \
            }                                                                                  \
        }                                                                                      \
        for (int j = 0; j < (N); j++) {                                                        \
            v_store_n(y + y_at + j * y_step + i, v_act(act, acc[j]), M);                       \
        }                                                                                      \
    }

EDT_INLINE void taps_loop(edt_act act, const edt_cpu_tap *taps, int n_taps, int64_t x_step,
                          const float *bias, float *y, int64_t y_step, int64_t n_cols,
                          int64_t c)
{
    int64_t j0 = 0;
    for (; j0 + 8 <= n_cols; j0 += 8) {
        const int64_t x_at = j0 * x_step;
        const int64_t y_at = j0 * y_step;
        EDT_FOR_STRIPS(i, c, TAP_BLOCK(8));
    }
    for (; j0 + 4 <= n_cols; j0 += 4) {
        const int64_t x_at = j0 * x_step;
        const int64_t y_at = j0 * y_step;
        EDT_FOR_STRIPS(i, c, TAP_BLOCK(4));
    }
    for (; j0 < n_cols; j0++) {
        const int64_t x_at = j0 * x_step;
        const int64_t y_at = j0 * y_step;
        EDT_FOR_STRIPS(i, c, TAP_BLOCK(1));
    }
}

void EDT_K(dw_taps)(edt_act act, const edt_cpu_tap *taps, int n_taps, int64_t x_step,
                    const float *bias, float *y, int64_t y_step, int64_t n_cols, int64_t c)
{
    EDT_FOR_ACT(act, taps_loop(ACT, taps, n_taps, x_step, bias, y, y_step, n_cols, c));
}

EDT_INLINE void weight_loop(const float *x, const float *dy, int64_t n_cols, int stride,
                            int n_kw, int64_t c, float *dw)
{
    EDT_FOR_STRIPS(i, c, {
        vf acc[5];
        for (int k = 0; k < n_kw; k++) {
            acc[k] = v_load_n(dw + k * c + i, M);
        }
        for (int64_t j = 0; j < n_cols; j++) {
            const vf d = v_load_n(dy + j * c + i, M);
            const float *column = x + j * stride * c + i;
            for (int k = 0; k < n_kw; k++) {
                acc[k] += d * v_load_n(column + k * c, M);
            }
        }
        for (int k = 0; k < n_kw; k++) {
            v_store_n(dw + k * c + i, acc[k], M);
        }
    });
}

void EDT_K(dw_weight)(const float *x, const float *dy, int64_t n_cols, int stride, int n_kw,
                      int64_t c, float *dw)
{
    switch (n_kw) {
    case 5: weight_loop(x, dy, n_cols, stride, 5, c, dw); break;
    case 4: weight_loop(x, dy, n_cols, stride, 4, c, dw); break;
    case 3: weight_loop(x, dy, n_cols, stride, 3, c, dw); break;
    case 2: weight_loop(x, dy, n_cols, stride, 2, c, dw); break;
    default:
        for (int k = 0; k < n_kw; k++) {
            weight_loop(x + k * c, dy, n_cols, stride, 1, c, dw + k * c);
        }
        break;
    }
}
