// The vector kernels of the cpu backend: single-threaded functions over a range of rows,
// compiled once per instruction set. A "row" is the C channels of one pixel (NHWC); sums are
// added to doubles that the caller cleared. cpu_*.c split the ranges over threads.
#ifndef EDT_BACKEND_CPU_CPU_KERNELS_H
#define EDT_BACKEND_CPU_CPU_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend/op.h"

// One filter tap of a depthwise output: x of the first column, the C weights of the tap.
typedef struct edt_cpu_tap {
    const float *x;
    const float *w;
} edt_cpu_tap;

// The taps of a run of output columns. `ahead`: input columns that later rows will want,
// fetched into the second-level cache on the way (columns in blocks across rows are no pattern
// that the hardware follows).
enum { EDT_CPU_MAX_AHEAD = 4 };
typedef struct edt_cpu_taps {
    const edt_cpu_tap *tap;
    int n;
    int64_t x_step; // elements from one output column's input to the next one's
    int n_ahead;
    const float *ahead[EDT_CPU_MAX_AHEAD];
} edt_cpu_taps;

// Input rows of one output row and the filter rows that they belong to; `ahead` as above.
enum { EDT_CPU_MAX_DEPTHWISE = 11 }; // largest kernel side
typedef struct edt_cpu_dw_rows {
    int n, n_ahead;
    const float *x[EDT_CPU_MAX_DEPTHWISE];
    float *dw[EDT_CPU_MAX_DEPTHWISE];
    const float *ahead[2]; // rows of x
    const float *dy_ahead; // NULL: none
} edt_cpu_dw_rows;

// A weighted sum of rows: what FUSE needs per range.
typedef struct edt_cpu_fuse {
    int n; // inputs
    const float *x[EDT_FUSE_MAX_IN];
    const float *w[EDT_FUSE_MAX_IN]; // normalised weights, C each
    float *dx[EDT_FUSE_MAX_IN];      // NULL: not wanted
    double *dw[EDT_FUSE_MAX_IN];     // sums of dz * x per channel, C each; NULL: not wanted
} edt_cpu_fuse;

// y[rows, n] = act(x[rows, k] * packed + bias) + residual; bias may be NULL.
typedef struct edt_cpu_gemm {
    int64_t k, n;
    const float *packed, *bias;
    edt_act act;
} edt_cpu_gemm;

typedef struct edt_cpu_focal {
    float alpha, gamma, smoothing;
    float grad_scale; // of the gradient: 1 / n times the loss scale
} edt_cpu_focal;

// One piece of a parameter segment for the optimizer; pointers may be NULL where absent.
typedef struct edt_cpu_update {
    float *v, *g, *slot0, *slot1, *ema;
    int64_t n;
    float decay;   // added to g: decay * v
    float unscale; // of g: 1 / loss scale
    float scale;   // of unscale * g + decay * v (clipping)
    float lr, momentum, momentum_rest, beta2, beta2_rest, epsilon; // rest: 1 - it
    float ema_keep;                                                // 1 - ema_decay
    edt_optimizer_kind kind;
} edt_cpu_update;

enum { EDT_CPU_SOFTMAX_ROWS = 256 }; // of one call

#define EDT_CPU_KERNEL_LIST(X)                                                                 \
    /* elementwise over n */                                                                   \
    X(act, (edt_act act, const float *x, float *y, int64_t n))                                 \
    X(act_bwd, (edt_act act, const float *dy, const float *x, float *dx, int64_t n))           \
    X(add, (const float *a, const float *b, float *y, int64_t n))                              \
    X(mul, (const float *x, float s, float *y, int64_t n))                                     \
    /* rows of C channels; s[C] */                                                             \
    X(scale_rows, (const float *x, const float *s, float *y, int64_t rows, int64_t c))         \
    X(scale_rows_bwd, (const float *dy, const float *x, const float *s, float *dx, double *ds, \
                       int64_t rows, int64_t c))                                               \
    X(fill_rows, (const float *s, float *y, int64_t rows, int64_t c))                          \
    X(sum_rows, (const float *x, int64_t rows, int64_t c, double *sum))                        \
    /* batch normalisation; stats: sums of x - shift and of its square */                      \
    X(bn_stats, (const float *x, const float *shift, int64_t rows, int64_t c, double *sum,     \
                 double *square))                                                              \
    X(bn_apply, (edt_act act, const float *x, const float *mean, const float *scale,           \
                 const float *beta, float *y, int64_t rows, int64_t c))                        \
    X(bn_bwd_sums, (edt_act act, const float *dy, const float *x, const float *mean,           \
                    const float *invstd, const float *gamma, const float *beta, int64_t rows,  \
                    int64_t c, double *sum_dz, double *sum_dz_xhat))                           \
    X(bn_bwd_apply,                                                                            \
      (edt_act act, const float *dy, const float *x, const float *mean, const float *invstd,   \
       const float *gamma, const float *beta, const float *mean_dz, const float *mean_dz_xhat, \
       float *dx, int64_t rows, int64_t c))                                                    \
    /* depthwise: y[j * y_step + c] = act(bias[c] + sum_t w_t[c] * x_t[j * x_step + c]) */     \
    X(dw_taps, (edt_act act, const edt_cpu_taps *taps, const float *bias, float *y,            \
                int64_t y_step, int64_t n_cols, int64_t c))                                    \
    /* dw[r][k * c + i] += sum_j dy[j * c + i] * x[r][(j * stride + k) * c + i] for k < n_kw   \
     */                                                                                        \
    X(dw_weight, (const edt_cpu_dw_rows *rows, const float *dy, int64_t n_cols, int stride,    \
                  int n_kw, int64_t c))                                                        \
    /* 1x1 convolution: w [k,n] (or [n,k] when transposed) into k * (n rounded up to 16)       \
       floats; columns are shared out to n_parts */                                            \
    X(gemm_pack, (const float *w, bool transposed, int64_t k, int64_t n, float *packed))       \
    X(gemm, (const edt_cpu_gemm *gemm, const float *x, const float *residual, float *y,        \
             int64_t rows, int part, int n_parts))                                             \
    X(pool_max,                                                                                \
      (const float *const *x, const uint8_t *tap, int n, float *y, uint8_t *index, int64_t c)) \
    /* dx[i] += dy[i] where index[i] == tap */                                                 \
    X(pool_max_bwd, (const float *dy, const uint8_t *index, int tap, float *dx, int64_t c))    \
    X(fuse, (const edt_cpu_fuse *fuse, edt_act act, float *y, int64_t rows, int64_t c))        \
    X(fuse_bwd,                                                                                \
      (const edt_cpu_fuse *fuse, edt_act act, const float *dy, int64_t rows, int64_t c))       \
    /* logits whose target is 0; dlogits may be NULL; loss (not divided by n) is added to *sum \
     */                                                                                        \
    X(focal_zeros, (const edt_cpu_focal *focal, const float *logits, float *dlogits,           \
                    int64_t n, double *sum))                                                   \
    /* beta > 0; sum: of dy * (ln(1 + u) - u / (1 + u)) with u = beta * max(x, 0) */           \
    X(srelu, (float beta, const float *x, float *y, int64_t n))                                \
    X(srelu_bwd,                                                                               \
      (float beta, const float *dy, const float *x, float *dx, int64_t n, double *sum))        \
    /* y = x + b[C] */                                                                         \
    X(bias_rows, (const float *x, const float *b, float *y, int64_t rows, int64_t c))          \
    /* at most EDT_CPU_SOFTMAX_ROWS rows of k logits; e: room for as many exponentials;        \
       the loss (not divided by n) is added to *sum */                                         \
    X(softmax_rows, (const float *logits, const int32_t *mask, float grad_scale,               \
                     float *dlogits, int64_t rows, int64_t k, float *e, double *sum))          \
    X(huber, (const float *box, const float *target, float delta, float grad_scale,            \
              float *dbox, int64_t n, double *sum))                                            \
    /* adds the sums of squares of v and of unscale * g + decay * v */                         \
    X(optimizer_norms, (const float *v, const float *g, float unscale, float decay, int64_t n, \
                        double *sum_v, double *sum_g))                                         \
    X(optimizer_update, (const edt_cpu_update *update))                                        \
    /* nearest, ties to even */                                                                \
    X(to_bf16, (const float *x, uint16_t *y, int64_t n))                                       \
    X(from_bf16, (const uint16_t *x, float *y, int64_t n))                                     \
    X(to_f16, (const float *x, uint16_t *y, int64_t n))                                        \
    X(from_f16, (const uint16_t *x, float *y, int64_t n))                                      \
    /* y = (x - mean[c]) / std[c], then y * 2 / 255 - 1 when `range` */                        \
    X(normalize, (const uint8_t *x, const float mean[3], const float std[3], bool range,       \
                  float *y, int64_t n_pixels))

typedef struct edt_cpu_kernels {
    const char *name; // "base", "avx2", "avx512"
#define EDT_CPU_FIELD(name, args) void(*name) args;
    EDT_CPU_KERNEL_LIST(EDT_CPU_FIELD)
#undef EDT_CPU_FIELD
} edt_cpu_kernels;

extern const edt_cpu_kernels edt_cpu_kernels_base;
extern const edt_cpu_kernels edt_cpu_kernels_avx2;
extern const edt_cpu_kernels edt_cpu_kernels_avx512;

#ifdef EDT_SIMD
#define EDT_CPU_JOIN_(a, b) edt_cpu_##a##_##b
#define EDT_CPU_JOIN(a, b) EDT_CPU_JOIN_(a, b)
// Name of a kernel in the variant being compiled: edt_cpu_<name>_<variant>.
#define EDT_K(name) EDT_CPU_JOIN(name, EDT_SIMD)
#define EDT_CPU_DECLARE(name, args) void EDT_K(name) args;
EDT_CPU_KERNEL_LIST(EDT_CPU_DECLARE)
#undef EDT_CPU_DECLARE
#endif

#endif
