// The losses' inner loops: focal loss of background logits (all but a few hundred of a batch's
// millions) and the Huber loss. The focal sum of a block stays in float registers, blocks add
// up in double.
#include "backend/cpu/kernels_vec.h"

enum { BLOCK = 16 * VL };

EDT_INLINE void focal_block(const edt_cpu_focal *focal, bool three_halves,
                            const edt_real *logits, edt_real *dlogits, int64_t n, double *sum)
{
    const vf one = v_set1(1.0f);
    const vf zero = v_zero();
    const vf s = v_set1(0.5f * focal->smoothing);
    const vf gamma = v_set1(focal->gamma);
    const vf grad_scale = v_set1((1.0f - focal->alpha) * focal->grad_scale);
    vf total = zero;
    EDT_FOR_STRIPS(i, n, {
        const vf x = r_load_n(logits + i, M);
        // e = exp(-|x|): p = 1 / (1 + e) or e / (1 + e), softplus(-|x|) = log1p(e)
        const vf e = v_exp(zero - v_abs(x));
        const vf q = v_reciprocal(one + e);
        const vf p = v_select_gt(x, zero, q, e * q);
        const vf softplus = v_max(zero, x) + v_log1p_unit(e);
        const vf ce = softplus - x * s;
        vf mod;
        if (three_halves) {
            mod = p * v_sqrt(p);
        } else {
            mod = v_exp(gamma * (x - softplus)); // ln p = x - softplus(x)
        }
        vf loss = mod * ce;
        if (M != VL) {
            float lanes[VL];
            v_store(lanes, loss);
            loss = v_load_n(lanes, M);
        }
        total += loss;
        if (dlogits != NULL) {
            const vf slope = (p - s) + gamma * (one - p) * ce;
            r_store_n(dlogits + i, grad_scale * mod * slope, M);
        }
    });
    *sum += v_sum(total) * (1.0 - (double)focal->alpha);
}

void EDT_K(focal_zeros)(const edt_cpu_focal *focal, const edt_real *logits, edt_real *dlogits,
                        int64_t n, double *sum)
{
    const bool three_halves = focal->gamma == 1.5f;
    for (int64_t i = 0; i < n; i += BLOCK) {
        const int64_t m = n - i < BLOCK ? n - i : BLOCK;
        edt_real *d = dlogits == NULL ? NULL : dlogits + i;
        if (three_halves) {
            focal_block(focal, true, logits + i, d, m, sum);
        } else {
            focal_block(focal, false, logits + i, d, m, sum);
        }
    }
}

void EDT_K(huber)(const edt_real *box, const float *target, float delta, float grad_scale,
                  edt_real *dbox, int64_t n, double *sum)
{
    for (int64_t i0 = 0; i0 < n; i0 += 1024) {
        const int64_t m = n - i0 < 1024 ? n - i0 : 1024;
        double total = 0; // equal elements, such as of predictions of 0, all round one way
#pragma omp simd reduction(+ : total)
        for (int64_t i = i0; i < i0 + m; i++) {
            const float e = edt_real_get(box[i]) - target[i];
            const float clipped = e < -delta ? -delta : e > delta ? delta : e;
            const float used = target[i] != 0.0f ? clipped : 0.0f;
            total += (double)(used * (e - 0.5f * used));
        }
        *sum += total;
        if (dbox != NULL) {
#pragma omp simd
            for (int64_t i = i0; i < i0 + m; i++) {
                const float e = edt_real_get(box[i]) - target[i];
                const float clipped = e < -delta ? -delta : e > delta ? delta : e;
                dbox[i] = edt_real_of(target[i] != 0.0f ? clipped * grad_scale : 0.0f);
            }
        }
    }
}
