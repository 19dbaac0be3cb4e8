// The vector kernels of the cpu backend: single-threaded functions over a range of rows,
// compiled once per instruction set. A "row" is the C channels of one pixel (NHWC); sums are
// added to doubles that the caller cleared. cpu_*.c split the ranges over threads.
#ifndef EDT_BACKEND_CPU_CPU_KERNELS_H
#define EDT_BACKEND_CPU_CPU_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend/cpu/cpu_real.h"
#include "backend/op.h"

// One filter tap of a depthwise output: output columns [lo, hi) read x[at + column * x_step],
// the others read outside, which is 0; w: the C weights of the tap.
typedef struct edt_cpu_tap {
    const edt_real *x;
    const float *w;
    int64_t at, lo, hi;
} edt_cpu_tap;

// The taps of a run of output columns. `ahead`: input columns that later rows will want,
// fetched into the second-level cache on the way (columns in blocks across rows are no pattern
// that the hardware follows).
enum { EDT_CPU_MAX_AHEAD = 4 };
typedef struct edt_cpu_taps {
    const edt_cpu_tap *tap;
    int n;
    int64_t x_step; // elements from one output column's input to the next one's
    int64_t lo, hi; // columns that all taps have
    int n_ahead;
    const edt_real *ahead[EDT_CPU_MAX_AHEAD];
    float *sums; // C: y is added to them; NULL: not wanted
} edt_cpu_taps;

// Input rows of one output row and the filter rows that they belong to; `ahead` as above.
enum { EDT_CPU_MAX_DEPTHWISE = 11 }; // largest kernel side
typedef struct edt_cpu_dw_rows {
    int n, n_ahead;
    const edt_real *x[EDT_CPU_MAX_DEPTHWISE];
    float *dw[EDT_CPU_MAX_DEPTHWISE];
    const edt_real *ahead[2]; // rows of x
    const edt_real *dy_ahead; // NULL: none
} edt_cpu_dw_rows;

// A weighted sum of rows: what FUSE needs per range.
typedef struct edt_cpu_fuse {
    int n; // inputs
    const edt_real *x[EDT_FUSE_MAX_IN];
    const float *w[EDT_FUSE_MAX_IN]; // normalised weights, C each
    edt_real *dx[EDT_FUSE_MAX_IN];   // NULL: not wanted
    double *dw[EDT_FUSE_MAX_IN];     // sums of dz * x per channel, C each; NULL: not wanted
} edt_cpu_fuse;

// y[rows, n] = act(x[rows, k] * packed + bias) + residual; bias may be NULL.
typedef struct edt_cpu_gemm {
    int64_t k, n;
    const void *packed; // by gemm_pack
    const float *bias;
    edt_act act;
} edt_cpu_gemm;

// Per-channel values of batch norm's gradient, C each.
typedef struct edt_cpu_bn_bwd {
    edt_act act;
    const float *mean, *invstd, *gamma, *beta;
    const float *mean_dz, *mean_dz_xhat; // of bn_bwd_apply
    const float *times, *plus;           // dy * times + plus stands for dy; NULL: dy does
} edt_cpu_bn_bwd;

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
    X(act, (edt_act act, const edt_real *x, edt_real *y, int64_t n))                           \
    X(act_bwd, (edt_act act, const edt_real *dy, const edt_real *x, edt_real *dx, int64_t n))  \
    X(add, (const edt_real *a, const edt_real *b, edt_real *y, int64_t n))                     \
    X(add_to, (const edt_real *x, float *sum, int64_t n))                                      \
    X(mul, (const edt_real *x, float s, edt_real *y, int64_t n))                               \
    /* exact one way, nearest with ties to even the other */                                   \
    X(widen, (const edt_real *x, float *y, int64_t n))                                         \
    X(narrow, (const float *x, edt_real *y, int64_t n))                                        \
    /* to[r * to_step + i] = x[r * x_step + i] for i < n */                                    \
    X(copy_runs, (const edt_real *x, int64_t x_step, edt_real *to, int64_t to_step,            \
                  int64_t runs, int64_t n))                                                    \
    /* rows of C channels; s[C] */                                                             \
    X(scale_rows,                                                                              \
      (const edt_real *x, const edt_real *s, edt_real *y, int64_t rows, int64_t c))            \
    X(scale_rows_bwd, (const edt_real *dy, const edt_real *x, const edt_real *s, edt_real *dx, \
                       double *ds, int64_t rows, int64_t c))                                   \
    X(fill_rows, (const edt_real *s, edt_real *y, int64_t rows, int64_t c))                    \
    X(sum_rows, (const edt_real *x, int64_t rows, int64_t c, double *sum))                     \
    /* batch normalisation; stats: sums of x - shift and of its square */                      \
    X(bn_stats, (const edt_real *x, const float *shift, int64_t rows, int64_t c, double *sum,  \
                 double *square))                                                              \
    X(bn_apply, (edt_act act, const edt_real *x, const float *mean, const float *scale,        \
                 const float *beta, edt_real *y, int64_t rows, int64_t c))                     \
    /* dz = dy * act'(z) is stored where dz is not NULL; it may be dy */                       \
    X(bn_bwd_sums,                                                                             \
      (const edt_cpu_bn_bwd *bn, const edt_real *dy, const edt_real *x, edt_real *dz,          \
       int64_t rows, int64_t c, double *sum_dz, double *sum_dz_xhat))                          \
    X(bn_bwd_apply, (const edt_cpu_bn_bwd *bn, const edt_real *dy, const edt_real *x,          \
                     edt_real *dx, int64_t rows, int64_t c))                                   \
    /* depthwise: y[j * y_step + c] = act(bias[c] + sum_t w_t[c] * x_t[at_t + j * x_step + c]) \
     */                                                                                        \
    X(dw_taps, (edt_act act, const edt_cpu_taps *taps, const float *bias, edt_real *y,         \
                int64_t y_step, int64_t n_cols, int64_t c))                                    \
    /* dw[r][k * c + i] += sum_j dy[j * c + i] * x[r][(j * stride + k) * c + i] for k < n_kw   \
     */                                                                                        \
    X(dw_weight, (const edt_cpu_dw_rows *rows, const edt_real *dy, int64_t n_cols, int stride, \
                  int n_kw, int64_t c))                                                        \
    /* 1x1 convolution: w [k,n] (or [n,k] when transposed) into (k rounded up to 2) * (n       \
       rounded up to 16) floats; columns are shared out to n_parts */                          \
    X(gemm_pack, (const edt_real *w, bool transposed, int64_t k, int64_t n, void *packed))     \
    /* the same of w [k,n] with row i times s[i]; units of packed rows shared out to parts */  \
    X(gemm_pack_scaled, (const float *w, const edt_real *s, int64_t k, int64_t n, int part,    \
                         int n_parts, void *packed))                                           \
    X(gemm, (const edt_cpu_gemm *gemm, const edt_real *x, const edt_real *residual,            \
             edt_real *y, int64_t rows, int part, int n_parts))                                \
    /* dw[k_begin..k_end) += x^T dy over rows; scratch (16-bit types): 128 * K floats */       \
    X(gemm_weight, (const edt_real *x, const edt_real *dy, int64_t rows, int64_t k, int64_t n, \
                    int64_t k_begin, int64_t k_end, void *scratch, float *dw))                 \
    X(pool_max, (const edt_real *const *x, const uint8_t *tap, int n, edt_real *y,             \
                 uint8_t *index, int64_t c))                                                   \
    /* dx[i] += dy[i] where index[i] == tap */                                                 \
    X(pool_max_bwd, (const edt_real *dy, const uint8_t *index, int tap, float *dx, int64_t c)) \
    X(fuse, (const edt_cpu_fuse *fuse, edt_act act, edt_real *y, int64_t rows, int64_t c))     \
    X(fuse_bwd,                                                                                \
      (const edt_cpu_fuse *fuse, edt_act act, const edt_real *dy, int64_t rows, int64_t c))    \
    /* logits whose target is 0; dlogits may be NULL; loss (not divided by n) is added to *sum \
     */                                                                                        \
    X(focal_zeros, (const edt_cpu_focal *focal, const edt_real *logits, edt_real *dlogits,     \
                    int64_t n, double *sum))                                                   \
    /* beta > 0; sum: of dy * (ln(1 + u) - u / (1 + u)) with u = beta * max(x, 0) */           \
    X(srelu, (float beta, const edt_real *x, edt_real *y, int64_t n))                          \
    X(srelu_bwd, (float beta, const edt_real *dy, const edt_real *x, edt_real *dx, int64_t n,  \
                  double *sum))                                                                \
    /* y = x + b[C] */                                                                         \
    X(bias_rows, (const edt_real *x, const edt_real *b, edt_real *y, int64_t rows, int64_t c)) \
    /* at most EDT_CPU_SOFTMAX_ROWS rows of k logits; e: room for as many exponentials;        \
       the loss (not divided by n) is added to *sum */                                         \
    X(softmax_rows, (const edt_real *logits, const int32_t *mask, float grad_scale,            \
                     edt_real *dlogits, int64_t rows, int64_t k, float *e, double *sum))       \
    X(huber, (const edt_real *box, const float *target, float delta, float grad_scale,         \
              edt_real *dbox, int64_t n, double *sum))                                         \
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
                  edt_real *y, int64_t n_pixels))

// The kernels of one instruction set for one type.
typedef struct EDT_R(edt_cpu_kernels) {
#define EDT_CPU_FIELD(name, args) void(*name) args;
    EDT_CPU_KERNEL_LIST(EDT_CPU_FIELD)
#undef EDT_CPU_FIELD
} edt_cpu_kernels;

#ifdef EDT_SIMD
#define EDT_CPU_JOIN_(a, b) edt_cpu_##a##_##b
#define EDT_CPU_JOIN(a, b) EDT_CPU_JOIN_(a, b)
// Name of a kernel in the variant being compiled: edt_cpu_<name>_<type>_<variant>.
#define EDT_K(name) EDT_CPU_JOIN(EDT_R(name), EDT_SIMD)
#define EDT_CPU_DECLARE(name, args) void EDT_K(name) args;
EDT_CPU_KERNEL_LIST(EDT_CPU_DECLARE)
#undef EDT_CPU_DECLARE
#endif

#endif
