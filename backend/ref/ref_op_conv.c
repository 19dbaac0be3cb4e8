// Convolutions, dense and depthwise, with the gradients of input, weights and bias. NHWC with
// the output channels innermost; padded cells are skipped, which is the same as adding zeros.
#include <string.h>

#include "backend/ref/ref_priv.h"
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

enum { CHUNK = 64 }; // output channels summed at a time in the weight gradient

// With AddressSanitizer both ranges are looked at as a whole: at each element it takes ten
// times as long.
#ifdef __SANITIZE_ADDRESS__
#define CHECKED_AS_A_WHOLE __attribute__((noinline, no_sanitize("address", "undefined")))
static void check_range(const void *begin, int64_t n)
{
    const size_t n_bytes = (size_t)n * sizeof(real);
    void *bad = n > 0 ? __asan_region_is_poisoned((void *)(uintptr_t)begin, n_bytes) : NULL;
    if (bad != NULL) {
        (void)*(volatile const char *)bad; // reports it
    }
}
#else
#define CHECKED_AS_A_WHOLE
static void check_range(const void *begin, int64_t n)
{
    (void)begin;
    (void)n;
}
#endif

CHECKED_AS_A_WHOLE
static void add_checked(int64_t n, real a, const real *restrict from, real *restrict to)
{
    for (int64_t i = 0; i < n; ++i) {
        to[i] += a * from[i];
    }
}

// to[i] += a * from[i]
static void add_scaled(int64_t n, real a, const real *restrict from, real *restrict to)
{
    check_range(from, n);
    check_range(to, n);
    add_checked(n, a, from, to);
}

void EDT_REF(conv2d_forward)(const edt_ref_window *g, const real *x, const real *w,
                             const real *b, real *y)
{
    for (int64_t row = 0; row < g->n * g->oh; ++row) {
        const int64_t n = row / g->oh;
        const int64_t oy = row % g->oh;
        for (int64_t ox = 0; ox < g->ow; ++ox) {
            real *to = y + (row * g->ow + ox) * g->co;
            memset(to, 0, (size_t)g->co * sizeof(real));
            for (int64_t ky = 0; ky < g->kh; ++ky) {
                const int64_t iy = oy * g->sh - g->top + ky;
                if (iy < 0 || iy >= g->h) {
                    continue;
                }
                for (int64_t kx = 0; kx < g->kw; ++kx) {
                    const int64_t ix = ox * g->sw - g->left + kx;
                    if (ix < 0 || ix >= g->w) {
                        continue;
                    }
                    const real *from = x + ((n * g->h + iy) * g->w + ix) * g->ci;
                    const real *tap = w + (ky * g->kw + kx) * g->ci * g->co;
                    for (int64_t ci = 0; ci < g->ci; ++ci) {
                        add_scaled(g->co, from[ci], tap + ci * g->co, to);
                    }
                }
            }
            for (int64_t co = 0; b != NULL && co < g->co; ++co) {
                to[co] += b[co];
            }
        }
    }
}

void EDT_REF(conv2d)(const edt_op_desc *desc, const edt_run_ctx *ctx, void *const *in,
                     void *const *out, void *scratch)
{
    (void)ctx;
    (void)scratch;
    const edt_ref_window g =
        edt_ref_window_of(&desc->in[0].shape, &desc->out[0].shape, &desc->attrs.conv);
    EDT_REF(conv2d_forward)(&g, in[0], in[1], desc->n_in > 2 ? in[2] : NULL, out[0]);
}

// The output position that reads input position i through tap k; -1 when there is none.
static int64_t output_of(int64_t i, int64_t k, int64_t before, int64_t stride, int64_t n_out)
{
    const int64_t shifted = i + before - k;
    if (shifted < 0 || shifted % stride != 0 || shifted / stride >= n_out) {
        return -1;
    }
    return shifted / stride;
}

void EDT_REF(conv2d_data)(const edt_op_desc *desc, const edt_run_ctx *ctx, void *const *in,
                          void *const *out, void *scratch)
{
    (void)ctx;
    const edt_ref_window g =
        edt_ref_window_of(&desc->out[0].shape, &desc->in[0].shape, &desc->attrs.conv);
    const real *dy = in[0];
    const real *w = in[1];
    real *dx = out[0];
    real *turned = scratch; // [kh,kw,Co,Ci], so that the inner loop runs over Ci
    for (int64_t k = 0; k < g.kh * g.kw; ++k) {
        for (int64_t ci = 0; ci < g.ci; ++ci) {
            for (int64_t co = 0; co < g.co; ++co) {
                turned[(k * g.co + co) * g.ci + ci] = w[(k * g.ci + ci) * g.co + co];
            }
        }
    }
    for (int64_t cell = 0; cell < g.n * g.h * g.w; ++cell) {
        const int64_t n = cell / (g.h * g.w);
        const int64_t iy = cell / g.w % g.h;
        const int64_t ix = cell % g.w;
        real *to = dx + cell * g.ci;
        memset(to, 0, (size_t)g.ci * sizeof(real));
        for (int64_t ky = 0; ky < g.kh; ++ky) {
            const int64_t oy = output_of(iy, ky, g.top, g.sh, g.oh);
            for (int64_t kx = 0; oy >= 0 && kx < g.kw; ++kx) {
                const int64_t ox = output_of(ix, kx, g.left, g.sw, g.ow);
                if (ox < 0) {
                    continue;
                }
                const real *from = dy + ((n * g.oh + oy) * g.ow + ox) * g.co;
                const real *tap = turned + (ky * g.kw + kx) * g.co * g.ci;
                for (int64_t co = 0; co < g.co; ++co) {
                    add_scaled(g.ci, from[co], tap + co * g.ci, to);
                }
            }
        }
    }
}

// dw of one tap from one output row: partial sums over the row first, which keeps long float
// sums short.
static void add_row_to_tap(const edt_ref_window *g, const real *x_row, const real *dy_row,
                           int64_t kx, real *tap)
{
    for (int64_t first = 0; first < g->co; first += CHUNK) {
        const int64_t n = g->co - first < CHUNK ? g->co - first : CHUNK;
        for (int64_t ci = 0; ci < g->ci; ++ci) {
            real sum[CHUNK] = {0};
            for (int64_t ox = 0; ox < g->ow; ++ox) {
                const int64_t ix = ox * g->sw - g->left + kx;
                if (ix >= 0 && ix < g->w) {
                    add_scaled(n, x_row[ix * g->ci + ci], dy_row + ox * g->co + first, sum);
                }
            }
            add_scaled(n, 1, sum, tap + ci * g->co + first);
        }
    }
}

static void sum_channels(int64_t n_rows, int64_t n_channels, const real *x, double *out_sums)
{
    memset(out_sums, 0, (size_t)n_channels * sizeof(double));
    for (int64_t row = 0; row < n_rows; ++row) {
        for (int64_t c = 0; c < n_channels; ++c) {
            out_sums[c] += (double)x[row * n_channels + c];
        }
    }
}

void EDT_REF(conv2d_weight)(const edt_op_desc *desc, const edt_run_ctx *ctx, void *const *in,
                            void *const *out, void *scratch)
{
    (void)ctx;
    const edt_ref_window g =
        edt_ref_window_of(&desc->in[0].shape, &desc->in[1].shape, &desc->attrs.conv);
    const real *x = in[0];
    const real *dy = in[1];
    real *dw = out[0];
    real *db = desc->n_out > 1 ? out[1] : NULL;
    if (dw != NULL && !desc->attrs.accumulate) {
        memset(dw, 0, (size_t)(g.kh * g.kw * g.ci * g.co) * sizeof(real));
    }
    for (int64_t row = 0; dw != NULL && row < g.n * g.oh; ++row) {
        for (int64_t ky = 0; ky < g.kh; ++ky) {
            const int64_t iy = row % g.oh * g.sh - g.top + ky;
            for (int64_t kx = 0; iy >= 0 && iy < g.h && kx < g.kw; ++kx) {
                add_row_to_tap(&g, x + (row / g.oh * g.h + iy) * g.w * g.ci,
                               dy + row * g.ow * g.co, kx, dw + (ky * g.kw + kx) * g.ci * g.co);
            }
        }
    }
    if (db != NULL) {
        double *sums = scratch;
        sum_channels(g.n * g.oh * g.ow, g.co, dy, sums);
        for (int64_t co = 0; co < g.co; ++co) {
            edt_ref_store(&db[co], sums[co], desc->attrs.accumulate);
        }
    }
}

void EDT_REF(depthwise_forward)(const edt_ref_window *g, const real *x, const real *w, real *y)
{
    for (int64_t cell = 0; cell < g->n * g->oh * g->ow; ++cell) {
        const int64_t n = cell / (g->oh * g->ow);
        const int64_t oy = cell / g->ow % g->oh;
        const int64_t ox = cell % g->ow;
        real *restrict to = y + cell * g->co;
        memset(to, 0, (size_t)g->co * sizeof(real));
        for (int64_t ky = 0; ky < g->kh; ++ky) {
            const int64_t iy = oy * g->sh - g->top + ky;
            for (int64_t kx = 0; iy >= 0 && iy < g->h && kx < g->kw; ++kx) {
                const int64_t ix = ox * g->sw - g->left + kx;
                if (ix < 0 || ix >= g->w) {
                    continue;
                }
                const real *restrict from = x + ((n * g->h + iy) * g->w + ix) * g->ci;
                const real *restrict tap = w + (ky * g->kw + kx) * g->ci;
                for (int64_t c = 0; c < g->ci; ++c) {
                    to[c] += from[c] * tap[c];
                }
            }
        }
    }
}

void EDT_REF(depthwise)(const edt_op_desc *desc, const edt_run_ctx *ctx, void *const *in,
                        void *const *out, void *scratch)
{
    (void)ctx;
    (void)scratch;
    const edt_ref_window g =
        edt_ref_window_of(&desc->in[0].shape, &desc->out[0].shape, &desc->attrs.conv);
    EDT_REF(depthwise_forward)(&g, in[0], in[1], out[0]);
}

void EDT_REF(depthwise_data)(const edt_op_desc *desc, const edt_run_ctx *ctx, void *const *in,
                             void *const *out, void *scratch)
{
    (void)ctx;
    (void)scratch;
    const edt_ref_window g =
        edt_ref_window_of(&desc->out[0].shape, &desc->in[0].shape, &desc->attrs.conv);
    const real *dy = in[0];
    const real *w = in[1];
    real *dx = out[0];
    for (int64_t cell = 0; cell < g.n * g.h * g.w; ++cell) {
        const int64_t n = cell / (g.h * g.w);
        const int64_t iy = cell / g.w % g.h;
        const int64_t ix = cell % g.w;
        real *restrict to = dx + cell * g.ci;
        memset(to, 0, (size_t)g.ci * sizeof(real));
        for (int64_t ky = 0; ky < g.kh; ++ky) {
            const int64_t oy = output_of(iy, ky, g.top, g.sh, g.oh);
            for (int64_t kx = 0; oy >= 0 && kx < g.kw; ++kx) {
                const int64_t ox = output_of(ix, kx, g.left, g.sw, g.ow);
                if (ox < 0) {
                    continue;
                }
                const real *restrict from = dy + ((n * g.oh + oy) * g.ow + ox) * g.co;
                const real *restrict tap = w + (ky * g.kw + kx) * g.ci;
                for (int64_t c = 0; c < g.ci; ++c) {
                    to[c] += from[c] * tap[c];
                }
            }
        }
    }
}

void EDT_REF(depthwise_weight)(const edt_op_desc *desc, const edt_run_ctx *ctx, void *const *in,
                               void *const *out, void *scratch)
{
    (void)ctx;
    const edt_ref_window g =
        edt_ref_window_of(&desc->in[0].shape, &desc->in[1].shape, &desc->attrs.conv);
    const real *x = in[0];
    const real *dy = in[1];
    real *dw = out[0];
    double *sums = scratch; // [kh,kw,C]
    memset(sums, 0, (size_t)(g.kh * g.kw * g.ci) * sizeof(double));
    for (int64_t cell = 0; cell < g.n * g.oh * g.ow; ++cell) {
        const int64_t n = cell / (g.oh * g.ow);
        const int64_t oy = cell / g.ow % g.oh;
        const int64_t ox = cell % g.ow;
        for (int64_t ky = 0; ky < g.kh; ++ky) {
            const int64_t iy = oy * g.sh - g.top + ky;
            for (int64_t kx = 0; iy >= 0 && iy < g.h && kx < g.kw; ++kx) {
                const int64_t ix = ox * g.sw - g.left + kx;
                if (ix < 0 || ix >= g.w) {
                    continue;
                }
                const real *from = x + ((n * g.h + iy) * g.w + ix) * g.ci;
                double *tap = sums + (ky * g.kw + kx) * g.ci;
                for (int64_t c = 0; c < g.ci; ++c) {
                    tap[c] += (double)from[c] * (double)dy[cell * g.co + c];
                }
            }
        }
    }
    for (int64_t i = 0; i < g.kh * g.kw * g.ci; ++i) {
        edt_ref_store(&dw[i], sums[i], desc->attrs.accumulate);
    }
}
