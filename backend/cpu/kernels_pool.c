// Max pooling and the weighted sum of feature maps.
#include "backend/cpu/kernels_vec.h"

void EDT_K(pool_max)(const edt_real *const *x, const uint8_t *tap, int n, edt_real *y,
                     uint8_t *index, int64_t c)
{
    EDT_FOR_STRIPS(i, c, {
        vf best = r_load_n(x[0] + i, M);
        vi where = (vi)v_zero() + tap[0];
        for (int t = 1; t < n; t++) {
            const vf other = r_load_n(x[t] + i, M);
            const vi here = (vi)v_zero() + tap[t];
            where = (vi)v_select_gt(other, best, (vf)here, (vf)where);
            best = v_select_gt(other, best, other, best);
        }
        r_store_n(y + i, best, M);
        if (index != NULL) {
            int32_t lanes[VL];
            memcpy(lanes, &where, sizeof(lanes));
            for (int k = 0; k < M; k++) {
                index[i + k] = (uint8_t)lanes[k];
            }
        }
    });
}

void EDT_K(pool_max_bwd)(const edt_real *dy, const uint8_t *index, int tap, float *dx,
                         int64_t c)
{
#pragma omp simd
    for (int64_t i = 0; i < c; i++) {
        dx[i] += index[i] == tap ? edt_real_get(dy[i]) : 0.0f;
    }
}

EDT_INLINE void fuse_loop(const edt_cpu_fuse *fuse, int m, edt_act act, edt_real *y,
                          int64_t rows, int64_t c)
{
    for (int64_t r = 0; r < rows; r++) {
        const int64_t at = r * c;
        EDT_FOR_STRIPS(i, c, {
            vf z = r_load_n(fuse->x[0] + at + i, M) * v_load_n(fuse->w[0] + i, M);
            for (int k = 1; k < m; k++) {
                z += r_load_n(fuse->x[k] + at + i, M) * v_load_n(fuse->w[k] + i, M);
            }
            r_store_n(y + at + i, v_act(act, z), M);
        });
    }
}

void EDT_K(fuse)(const edt_cpu_fuse *fuse, edt_act act, edt_real *y, int64_t rows, int64_t c)
{
    if (fuse->n == 2) {
        EDT_FOR_ACT(act, fuse_loop(fuse, 2, ACT, y, rows, c));
    } else {
        EDT_FOR_ACT(act, fuse_loop(fuse, fuse->n, ACT, y, rows, c));
    }
}

enum { ROWS = 32 };

EDT_INLINE void fuse_bwd_loop(const edt_cpu_fuse *fuse, int m, edt_act act, const edt_real *dy,
                              int64_t rows, int64_t c)
{
    for (int64_t r0 = 0; r0 < rows; r0 += ROWS) {
        const int64_t n = rows - r0 < ROWS ? rows - r0 : ROWS;
        const int64_t at = r0 * c;
        EDT_FOR_STRIPS(i, c, {
            vf w[EDT_FUSE_MAX_IN];
            vf sum[EDT_FUSE_MAX_IN];
            for (int k = 0; k < m; k++) {
                w[k] = v_load_n(fuse->w[k] + i, M);
                sum[k] = v_zero();
            }
            for (int64_t r = 0; r < n; r++) {
                const int64_t p = at + r * c + i;
                vf x[EDT_FUSE_MAX_IN];
                vf z = v_zero();
                for (int k = 0; k < m; k++) {
                    fetch(fuse->x[k] + p + ROWS * c);
                    x[k] = r_load_n(fuse->x[k] + p, M);
                    z += x[k] * w[k];
                }
                const vf dz = r_load_n(dy + p, M) * v_act_grad(act, z);
                for (int k = 0; k < m; k++) {
                    sum[k] += dz * x[k];
                    if (fuse->dx[k] != NULL) {
                        r_store_n(fuse->dx[k] + p, dz * w[k], M);
                    }
                }
            }
            for (int k = 0; k < m; k++) {
                if (fuse->dw[k] != NULL) {
                    v_add_to_double(fuse->dw[k] + i, sum[k], M);
                }
            }
        });
    }
}

void EDT_K(fuse_bwd)(const edt_cpu_fuse *fuse, edt_act act, const edt_real *dy, int64_t rows,
                     int64_t c)
{
    switch (fuse->n) {
    case 1: EDT_FOR_ACT(act, fuse_bwd_loop(fuse, 1, ACT, dy, rows, c)); break;
    case 2: EDT_FOR_ACT(act, fuse_bwd_loop(fuse, 2, ACT, dy, rows, c)); break;
    case 3: EDT_FOR_ACT(act, fuse_bwd_loop(fuse, 3, ACT, dy, rows, c)); break;
    default: EDT_FOR_ACT(act, fuse_bwd_loop(fuse, fuse->n, ACT, dy, rows, c)); break;
    }
}
