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
        for (int t = 0; t < taps->n; t++) {                                                    \
            const vf w = v_load_n(taps->tap[t].w + i, M);                                      \
            const edt_real *x = taps->tap[t].x + x_at + i;                                     \
            for (int j = 0; j < (N); j++) {                                                    \
                acc[j] += w * r_load_n(x + j * x_step, M);                                     \
            }                                                                                  \
        }                                                                                      \
        for (int a = 0; a < taps->n_ahead; a++) {                                              \
            for (int j = 0; j < (N); j++) {                                                    \
                __builtin_prefetch(taps->ahead[a] + x_at + i + j * x_step, 0, 2);              \
            }                                                                                  \
        }                                                                                      \
        for (int j = 0; j < (N); j++) {                                                        \
            r_store_n(y + y_at + j * y_step + i, v_act(act, acc[j]), M);                       \
        }                                                                                      \
    }

// Columns [j0, j0 + N) of all channels, with their activation.
#define TAP_COLUMNS(N)                                                                         \
    for (; j0 + (N) <= n_cols; j0 += (N)) {                                                    \
        const int64_t x_at = j0 * x_step;                                                      \
        const int64_t y_at = j0 * y_step;                                                      \
        EDT_FOR_STRIPS(i, c, TAP_BLOCK(N));                                                    \
        for (int j = 0; later != EDT_ACT_NONE && j < (N); j++) {                               \
            edt_real *column = y + y_at + j * y_step;                                          \
            EDT_K(act)(later, column, column, c);                                              \
        }                                                                                      \
    }

// `act` is a constant and applied to the sums, `later` to what is stored.
EDT_INLINE void taps_loop(edt_act act, edt_act later, const edt_cpu_taps *taps,
                          const float *bias, edt_real *y, int64_t y_step, int64_t n_cols,
                          int64_t c)
{
    const int64_t x_step = taps->x_step;
    int64_t j0 = 0;
    TAP_COLUMNS(8)
    TAP_COLUMNS(4)
    TAP_COLUMNS(1)
}

// swish, the default of the networks, is worth its own copy; with 16 bits all are, so that
// nothing is rounded twice.
void EDT_K(dw_taps)(edt_act act, const edt_cpu_taps *taps, const float *bias, edt_real *y,
                    int64_t y_step, int64_t n_cols, int64_t c)
{
    if (!EDT_REAL_IS_FLOAT) {
        EDT_FOR_ACT(act, taps_loop(ACT, EDT_ACT_NONE, taps, bias, y, y_step, n_cols, c));
    } else if (act == EDT_ACT_SWISH) {
        taps_loop(EDT_ACT_SWISH, EDT_ACT_NONE, taps, bias, y, y_step, n_cols, c);
    } else {
        taps_loop(EDT_ACT_NONE, act, taps, bias, y, y_step, n_cols, c);
    }
}

// R filter rows of K columns at once: R * K sums stay in registers along the output row.
EDT_INLINE void weight_loop(const edt_cpu_dw_rows *rows, int first, int r_count, int k_count,
                            const edt_real *dy, int64_t n_cols, int stride, int64_t c)
{
    EDT_FOR_STRIPS(i, c, {
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

void EDT_K(dw_weight)(const edt_cpu_dw_rows *rows, const edt_real *dy, int64_t n_cols,
                      int stride, int n_kw, int64_t c)
{
    const bool many_registers = VL == 16;
    if (rows->n == 3 && n_kw == 3) {
        weight_loop(rows, 0, 3, 3, dy, n_cols, stride, c);
        return;
    }
    if (rows->n == 5 && n_kw == 5 && many_registers) {
        weight_loop(rows, 0, 5, 5, dy, n_cols, stride, c);
        return;
    }
    for (int r = 0; r < rows->n; r++) {
        switch (n_kw) {
        case 5: weight_loop(rows, r, 1, 5, dy, n_cols, stride, c); break;
        case 3: weight_loop(rows, r, 1, 3, dy, n_cols, stride, c); break;
        default:
            for (int k = 0; k < n_kw; k++) {
                const edt_cpu_dw_rows one = {
                    .n = 1, .x = {rows->x[r] + k * c}, .dw = {rows->dw[r] + k * c}};
                weight_loop(&one, 0, 1, 1, dy, n_cols, stride, c);
            }
            break;
        }
    }
}
