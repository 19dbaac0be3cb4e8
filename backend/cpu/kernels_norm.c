// Batch normalisation with the activation fused in: statistics, normalisation and both backward
// passes. Floats are summed over a block of rows only, as differences to the block's first row,
// and moved to the caller's origin in double: the one-pass variance stays exact where the mean
// is large and the origin far. Passes that sum go through the blocks from the last to the
// first: the op before has just written the last ones, and the pass that follows begins with
// those that this one has left in the cache.
#include "backend/cpu/kernels_vec.h"

enum { ROWS = 32 };

EDT_INLINE int64_t last_block(int64_t rows)
{
    return (rows - 1) / ROWS * ROWS;
}

// Adds a block's sums s of x - origin and q of its square, over n rows, as sums of x - shift.
EDT_INLINE void add_moved(vf origin, vf shift, vf s, vf q, double n, int m,
                          double *restrict sum, double *restrict square)
{
    float lanes[4][VL];
    v_store(lanes[0], origin);
    v_store(lanes[1], shift);
    v_store(lanes[2], s);
    v_store(lanes[3], q);
#pragma omp simd
    for (int k = 0; k < m; k++) {
        const double delta = (double)lanes[0][k] - (double)lanes[1][k];
        const double one = (double)lanes[2][k];
        const double moved = one + n * delta;
        sum[k] += moved;
        square[k] += (double)lanes[3][k] + delta * (one + moved);
    }
}

void EDT_K(bn_stats)(const edt_real *x, const float *shift, int64_t rows, int64_t c,
                     double *sum, double *square)
{
    for (int64_t r0 = last_block(rows); r0 >= 0; r0 -= ROWS) {
        const int64_t n = rows - r0 < ROWS ? rows - r0 : ROWS;
        const edt_real *block = x + r0 * c;
        EDT_FOR_STRIPS(i, c, {
            const vf origin = r_load_n(block + i, M);
            vf s = v_zero();
            vf q = v_zero();
            for (int64_t r = 0; r < n; r++) {
                fetch(block + (r - ROWS) * c + i);
                const vf d = r_load_n(block + r * c + i, M) - origin;
                s += d;
                q += d * d;
            }
            add_moved(origin, v_load_n(shift + i, M), s, q, (double)n, M, sum + i, square + i);
        });
    }
}

EDT_INLINE void apply_loop(edt_act act, const edt_real *x, const float *mean,
                           const float *scale, const float *beta, edt_real *y, int64_t rows,
                           int64_t c)
{
    for (int64_t r = 0; r < rows; r++, x += c, y += c) {
        EDT_FOR_STRIPS(i, c, {
            const vf d = r_load_n(x + i, M) - v_load_n(mean + i, M);
            r_store_n(y + i, v_act(act, d * v_load_n(scale + i, M) + v_load_n(beta + i, M)), M);
        });
    }
}

void EDT_K(bn_apply)(edt_act act, const edt_real *x, const float *mean, const float *scale,
                     const float *beta, edt_real *y, int64_t rows, int64_t c)
{
    EDT_FOR_ACT(act, apply_loop(ACT, x, mean, scale, beta, y, rows, c));
}

// The gradient of the activation's output at `at`, channels from i on.
EDT_INLINE vf load_dy(const edt_cpu_bn_bwd *bn, const edt_real *dy, int64_t at, vf times,
                      vf plus, int m)
{
    const vf value = r_load_n(dy + at, m);
    if (bn->times == NULL) {
        return value;
    }
    return value * times + plus;
}

EDT_INLINE void sums_loop(edt_act act, const edt_cpu_bn_bwd *bn, const edt_real *dy,
                          const edt_real *x, edt_real *dz_out, int64_t rows, int64_t c,
                          double *sum_dz, double *sum_dz_xhat)
{
    for (int64_t r0 = last_block(rows); r0 >= 0; r0 -= ROWS) {
        const int64_t n = rows - r0 < ROWS ? rows - r0 : ROWS;
        const int64_t at = r0 * c;
        EDT_FOR_STRIPS(i, c, {
            const vf m = v_load_n(bn->mean + i, M);
            const vf inv = v_load_n(bn->invstd + i, M);
            const vf g = v_load_n(bn->gamma + i, M);
            const vf b = v_load_n(bn->beta + i, M);
            const vf times = bn->times == NULL ? v_zero() : v_load_n(bn->times + i, M);
            const vf plus = bn->times == NULL ? v_zero() : v_load_n(bn->plus + i, M);
            vf s = v_zero();
            vf q = v_zero();
            for (int64_t r = 0; r < n; r++) {
                const int64_t p = at + r * c + i;
                fetch(x + p - ROWS * c);
                fetch(dy + p - ROWS * c);
                const vf xhat = (r_load_n(x + p, M) - m) * inv;
                vf dz = load_dy(bn, dy, p, times, plus, M);
                if (act != EDT_ACT_NONE) {
                    dz *= v_act_grad(act, xhat * g + b);
                }
                if (dz_out != NULL) {
                    r_store_n(dz_out + p, dz, M);
                }
                s += dz;
                q += dz * xhat;
            }
            v_add_to_double(sum_dz + i, s, M);
            v_add_to_double(sum_dz_xhat + i, q, M);
        });
    }
}

void EDT_K(bn_bwd_sums)(const edt_cpu_bn_bwd *bn, const edt_real *dy, const edt_real *x,
                        edt_real *dz, int64_t rows, int64_t c, double *sum_dz,
                        double *sum_dz_xhat)
{
    EDT_FOR_ACT(bn->act, sums_loop(ACT, bn, dy, x, dz, rows, c, sum_dz, sum_dz_xhat));
}

EDT_INLINE void bwd_apply_loop(edt_act act, const edt_cpu_bn_bwd *bn, const edt_real *dy,
                               const edt_real *x, edt_real *dx, int64_t rows, int64_t c)
{
    // Blocks of rows: the per-channel vectors are loaded once per block.
    for (int64_t r0 = 0; r0 < rows; r0 += ROWS / 4) {
        const int64_t n = rows - r0 < ROWS / 4 ? rows - r0 : ROWS / 4;
        const int64_t at = r0 * c;
        EDT_FOR_STRIPS(i, c, {
            const vf m = v_load_n(bn->mean + i, M);
            const vf inv = v_load_n(bn->invstd + i, M);
            const vf g = v_load_n(bn->gamma + i, M);
            const vf b = v_load_n(bn->beta + i, M);
            const vf k1 = v_load_n(bn->mean_dz + i, M);
            const vf k2 = v_load_n(bn->mean_dz_xhat + i, M);
            const vf times = bn->times == NULL ? v_zero() : v_load_n(bn->times + i, M);
            const vf plus = bn->times == NULL ? v_zero() : v_load_n(bn->plus + i, M);
            const vf scale = g * inv;
            for (int64_t r = 0; r < n; r++) {
                const int64_t p = at + r * c + i;
                fetch(x + p + ROWS / 2 * c);
                fetch(dy + p + ROWS / 2 * c);
                const vf xhat = (r_load_n(x + p, M) - m) * inv;
                vf dz = load_dy(bn, dy, p, times, plus, M);
                if (act != EDT_ACT_NONE) {
                    dz *= v_act_grad(act, xhat * g + b);
                }
                r_store_n(dx + p, scale * (dz - k1 - xhat * k2), M);
            }
        });
    }
}

void EDT_K(bn_bwd_apply)(const edt_cpu_bn_bwd *bn, const edt_real *dy, const edt_real *x,
                         edt_real *dx, int64_t rows, int64_t c)
{
    EDT_FOR_ACT(bn->act, bwd_apply_loop(ACT, bn, dy, x, dx, rows, c));
}
