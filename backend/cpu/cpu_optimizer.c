// The whole parameter update in two passes over the flat arenas: norms per tensor, then
// clipping, update and averages. Segments are cut into pieces of fixed size whose sums are
// added in order, so that the result does not depend on the number of threads.
#include <math.h>
#include <omp.h>
#include <string.h>

#include "backend/cpu/cpu_priv.h"

enum { PIECE = 16384 };

typedef struct piece {
    int64_t segment, offset, n;
} piece;

typedef struct state {
    int64_t n_pieces;
    piece pieces[];
} state;

static edt_status run_optimizer(edt_kernel *kernel, const edt_cpu_run *run)
{
    const edt_cpu_kernels *simd = edt_cpu_kernels_of(run->backend);
    const edt_optimizer_attrs *a = &kernel->desc.attrs.optimizer;
    const state *s = kernel->state;
    float *params = run->in[0];
    float *grads = run->in[1];
    float *slot0 = run->in[2];
    float *slot1 = kernel->desc.n_in > 3 ? run->in[3] : NULL;
    float *ema = kernel->desc.n_in > 4 ? run->in[4] : NULL;
    float *loss_scale = kernel->desc.n_in > 5 ? run->in[5] : NULL;
    const float unscale = loss_scale != NULL ? 1 / loss_scale[0] : 1;
    float *stats = run->out[0];
    double *sum_v = (double *)(void *)run->workspace; // per piece
    double *sum_g = sum_v + s->n_pieces;
    double *factors = sum_g + s->n_pieces; // per segment: what clips its gradient
    const int n_threads = edt_cpu_threads(run->backend, s->n_pieces * PIECE);

#pragma omp parallel for num_threads(n_threads) schedule(static)
    for (int64_t i = 0; i < s->n_pieces; i++) {
        const piece *p = &s->pieces[i];
        const edt_param_segment *segment = &a->segments[p->segment];
        sum_v[i] = 0;
        sum_g[i] = 0;
        if (segment->update || (segment->decay && a->l2_includes_frozen)) {
            const float decay = segment->decay ? (float)a->weight_decay : 0;
            simd->optimizer_norms(params + p->offset, grads + p->offset, unscale, decay, p->n,
                                  &sum_v[i], &sum_g[i]);
        }
    }

    const bool clip = a->clip > 0;
    double l2 = 0;
    double raw_square = 0;
    double square = 0; // after the per-tensor clipping
    for (int64_t i = 0, segment = 0; segment < a->n_segments; segment++) {
        const edt_param_segment *about = &a->segments[segment];
        double of_tensor = 0;
        for (; i < s->n_pieces && s->pieces[i].segment == segment; i++) {
            of_tensor += about->update ? sum_g[i] : 0;
            l2 += about->decay ? 0.5 * sum_v[i] : 0;
        }
        factors[segment] = clip ? a->clip / fmax(sqrt(of_tensor), a->clip) : 1;
        raw_square += of_tensor;
        square += of_tensor * factors[segment] * factors[segment];
    }
    const double norm = sqrt(square);
    const double global_factor = clip ? a->clip * fmin(1 / norm, 1 / a->clip) : 1;
    const bool finite = isfinite(raw_square);
    stats[EDT_OPTIMIZER_STAT_L2] = (float)(a->weight_decay * l2);
    stats[EDT_OPTIMIZER_STAT_RAW_NORM] = (float)sqrt(raw_square);
    stats[EDT_OPTIMIZER_STAT_NORM] = finite ? (float)(norm * global_factor) : NAN;
    stats[EDT_OPTIMIZER_STAT_FINITE] = finite ? 1 : 0;
    if (loss_scale != NULL) {
        edt_loss_scale_step(finite, loss_scale);
    }
    if (!finite) {
        return EDT_OK;
    }

    const double t = (double)run->ctx->adam_t;
    const double lr = run->ctx->learning_rate;
    const double lr_t = a->kind == EDT_OPTIMIZER_ADAM
                            ? lr * sqrt(1 - pow(a->beta2, t)) / (1 - pow(a->momentum, t))
                            : lr;
#pragma omp parallel for num_threads(n_threads) schedule(static)
    for (int64_t i = 0; i < s->n_pieces; i++) {
        const piece *p = &s->pieces[i];
        const edt_param_segment *segment = &a->segments[p->segment];
        const edt_cpu_update update = {
            .kind = a->kind,
            .v = params + p->offset,
            .g = segment->update ? grads + p->offset : NULL,
            .slot0 = slot0 + p->offset,
            .slot1 = slot1 == NULL ? NULL : slot1 + p->offset,
            .ema = ema != NULL && segment->average ? ema + p->offset : NULL,
            .n = p->n,
            .unscale = unscale,
            .decay = segment->decay ? (float)a->weight_decay : 0,
            .scale = (float)(factors[p->segment] * global_factor),
            .lr = (float)lr_t,
            .momentum = (float)a->momentum,
            .momentum_rest = (float)(1 - a->momentum),
            .beta2 = (float)a->beta2,
            .beta2_rest = (float)(1 - a->beta2),
            .epsilon = (float)a->epsilon,
            .ema_keep = (float)(1 - run->ctx->ema_decay),
        };
        simd->optimizer_update(&update);
    }
    return EDT_OK;
}

edt_status edt_cpu_prepare_optimizer(edt_cpu_backend *backend, edt_kernel *kernel,
                                     edt_error *err)
{
    (void)backend;
    const edt_optimizer_attrs *a = &kernel->desc.attrs.optimizer;
    int64_t n_pieces = 0;
    for (int64_t i = 0; i < a->n_segments; i++) {
        n_pieces += (a->segments[i].n + PIECE - 1) / PIECE;
    }
    EDT_TRY(edt_cpu_kernel_alloc_state(kernel, sizeof(state) + (size_t)n_pieces * sizeof(piece),
                                       err));
    state *s = kernel->state;
    s->n_pieces = n_pieces;
    piece *next = s->pieces;
    for (int64_t i = 0; i < a->n_segments; i++) {
        for (int64_t at = 0; at < a->segments[i].n; at += PIECE) {
            const int64_t left = a->segments[i].n - at;
            *next++ = (piece){
                .segment = i,
                .offset = a->segments[i].offset + at,
                .n = left < PIECE ? left : PIECE,
            };
        }
    }
    kernel->workspace_bytes = (size_t)(2 * n_pieces + a->n_segments) * sizeof(double);
    kernel->run = run_optimizer;
    return EDT_OK;
}
