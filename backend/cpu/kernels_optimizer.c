// The optimizer's two passes over a piece of the flat parameter arenas.
#include <math.h>

#include "backend/cpu/kernels_vec.h"

void EDT_K(optimizer_norms)(const float *v, const float *g, float unscale, float decay,
                            int64_t n, double *sum_v, double *sum_g)
{
    double vv = 0;
    double gg = 0;
#pragma omp simd reduction(+ : vv, gg)
    for (int64_t i = 0; i < n; i++) {
        const double value = (double)v[i];
        const double gradient = (double)(unscale * g[i] + decay * v[i]);
        vv += value * value;
        gg += gradient * gradient;
    }
    *sum_v += vv;
    *sum_g += gg;
}

EDT_INLINE void update_loop(edt_optimizer_kind kind, const edt_cpu_update *u)
{
    float *restrict v = u->v;
    const float *restrict g = u->g;
    float *restrict slot0 = u->slot0;
    float *restrict slot1 = u->slot1;
    const float unscale = u->unscale;
    const float decay = u->decay;
    const float scale = u->scale;
    const float lr = u->lr;
    const float momentum = u->momentum;
    const float beta2 = u->beta2;
    const float epsilon = u->epsilon;
#pragma omp simd
    for (int64_t i = 0; i < u->n; i++) {
        const float gradient = (unscale * g[i] + decay * v[i]) * scale;
        if (kind == EDT_OPTIMIZER_SGD_TF1) {
            const float a = momentum * slot0[i] + gradient;
            slot0[i] = a;
            v[i] -= lr * a;
        } else if (kind == EDT_OPTIMIZER_SGD_TF2) {
            const float a = momentum * slot0[i] - lr * gradient;
            slot0[i] = a;
            v[i] += a;
        } else {
            const float m = momentum * slot0[i] + u->momentum_rest * gradient;
            const float s = beta2 * slot1[i] + u->beta2_rest * gradient * gradient;
            slot0[i] = m;
            slot1[i] = s;
            v[i] -= lr * m / (sqrtf(s) + epsilon);
        }
    }
}

void EDT_K(optimizer_update)(const edt_cpu_update *u)
{
    if (u->g != NULL) {
        switch (u->kind) {
        case EDT_OPTIMIZER_SGD_TF1: update_loop(EDT_OPTIMIZER_SGD_TF1, u); break;
        case EDT_OPTIMIZER_SGD_TF2: update_loop(EDT_OPTIMIZER_SGD_TF2, u); break;
        case EDT_OPTIMIZER_ADAM:
        default: update_loop(EDT_OPTIMIZER_ADAM, u); break;
        }
    }
    if (u->ema != NULL) {
        float *restrict a = u->ema;
        const float *restrict v = u->v;
        const float keep = u->ema_keep;
#pragma omp simd
        for (int64_t i = 0; i < u->n; i++) {
            a[i] -= (a[i] - v[i]) * keep;
        }
    }
}
