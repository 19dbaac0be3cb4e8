// Max pooling and nearest resizing, forward and backward. Both gradients gather (each input row
// collects from the output rows that read it), so that rows are independent.
#include <omp.h>
#include <string.h>

#include "backend/cpu/cpu_priv.h"

enum { MAX_WINDOW = 256 };

static edt_status run_max_pool(edt_kernel *kernel, const edt_cpu_run *run)
{
    const edt_conv_attrs *conv = &kernel->desc.attrs.conv;
    const edt_shape *xs = &kernel->desc.in[0].shape;
    const edt_shape *ys = &kernel->desc.out[0].shape;
    const int64_t c = xs->dim[3];
    const edt_real *x = run->in[0];
    edt_real *y = run->out[0];
    uint8_t *index = kernel->desc.n_out > 1 ? run->out[1] : NULL;
    int64_t top;
    int64_t left;
    int64_t after;
    edt_same_padding(xs->dim[1], conv->kh, conv->sh, &top, &after);
    edt_same_padding(xs->dim[2], conv->kw, conv->sw, &left, &after);
    const int n_threads = edt_cpu_threads(run->backend, edt_shape_count(xs));
#pragma omp parallel for num_threads(n_threads) schedule(static)
    for (int64_t row = 0; row < ys->dim[0] * ys->dim[1]; row++) {
        const edt_real *cells[MAX_WINDOW];
        uint8_t taps[MAX_WINDOW];
        const int64_t n = row / ys->dim[1];
        const int64_t oh = row % ys->dim[1];
        for (int64_t ow = 0; ow < ys->dim[2]; ow++) {
            int n_taps = 0;
            for (int tap = 0; tap < conv->kh * conv->kw; tap++) {
                const int64_t ih = oh * conv->sh - top + tap / conv->kw;
                const int64_t iw = ow * conv->sw - left + tap % conv->kw;
                if (ih >= 0 && ih < xs->dim[1] && iw >= 0 && iw < xs->dim[2]) {
                    cells[n_taps] = x + ((n * xs->dim[1] + ih) * xs->dim[2] + iw) * c;
                    taps[n_taps] = (uint8_t)tap;
                    n_taps++;
                }
            }
            const int64_t at = (row * ys->dim[2] + ow) * c;
            edt_cpu_kernels_of(run->backend)
                ->pool_max(cells, taps, n_taps, y + at, index == NULL ? NULL : index + at, c);
        }
    }
    return EDT_OK;
}

// Sums of a row of dx: in place, or in floats of the thread's own where dx has 16 bits.
static float *begin_row(const edt_cpu_run *run, edt_real *dx, int64_t row, int64_t n)
{
    float *sums = EDT_REAL_IS_FLOAT
                      ? (float *)(void *)(dx + row * n)
                      : (float *)(void *)run->workspace + omp_get_thread_num() * n;
    memset(sums, 0, (size_t)n * sizeof(float));
    return sums;
}

static void end_row(const edt_cpu_run *run, edt_real *dx, int64_t row, const float *sums,
                    int64_t n)
{
    if (!EDT_REAL_IS_FLOAT) {
        edt_cpu_kernels_of(run->backend)->narrow(sums, dx + row * n, n);
    }
}

static edt_status run_max_pool_bwd(edt_kernel *kernel, const edt_cpu_run *run)
{
    const edt_conv_attrs *conv = &kernel->desc.attrs.conv;
    const edt_shape *ys = &kernel->desc.in[0].shape;
    const edt_shape *xs = &kernel->desc.out[0].shape;
    const int64_t c = xs->dim[3];
    const edt_real *dy = run->in[0];
    const uint8_t *index = run->in[1];
    edt_real *dx = run->out[0];
    int64_t top;
    int64_t left;
    int64_t after;
    edt_same_padding(xs->dim[1], conv->kh, conv->sh, &top, &after);
    edt_same_padding(xs->dim[2], conv->kw, conv->sw, &left, &after);
    const int n_threads = edt_cpu_threads(run->backend, edt_shape_count(xs));
#pragma omp parallel for num_threads(n_threads) schedule(static)
    for (int64_t row = 0; row < xs->dim[0] * xs->dim[1]; row++) {
        const int64_t n = row / xs->dim[1];
        const int64_t ih = row % xs->dim[1];
        float *sums = begin_row(run, dx, row, xs->dim[2] * c);
        for (int ky = 0; ky < conv->kh; ky++) {
            const int64_t oh_scaled = ih + top - ky;
            const int64_t oh = oh_scaled / conv->sh;
            if (oh_scaled < 0 || oh_scaled % conv->sh != 0 || oh >= ys->dim[1]) {
                continue;
            }
            for (int kx = 0; kx < conv->kw; kx++) {
                for (int64_t ow = 0; ow < ys->dim[2]; ow++) {
                    const int64_t iw = ow * conv->sw - left + kx;
                    if (iw < 0 || iw >= xs->dim[2]) {
                        continue;
                    }
                    const int64_t at = ((n * ys->dim[1] + oh) * ys->dim[2] + ow) * c;
                    edt_cpu_kernels_of(run->backend)
                        ->pool_max_bwd(dy + at, index + at, ky * conv->kw + kx, sums + iw * c,
                                       c);
                }
            }
        }
        end_row(run, dx, row, sums, xs->dim[2] * c);
    }
    return EDT_OK;
}

// Source index of every output index along the two axes (spec/model.md 2.2), H then W.
static void fill_sources(int64_t in, int64_t out, int32_t *source)
{
    const float scale = (float)in / (float)out;
    for (int64_t i = 0; i < out; i++) {
        const int64_t s = (int64_t)((float)i * scale);
        source[i] = (int32_t)(s < in - 1 ? s : in - 1);
    }
}

static edt_status run_resize(edt_kernel *kernel, const edt_cpu_run *run)
{
    const edt_shape *xs = &kernel->desc.in[0].shape;
    const edt_shape *ys = &kernel->desc.out[0].shape;
    const int64_t c = xs->dim[3];
    const int32_t *from_h = kernel->state;
    const int32_t *from_w = from_h + ys->dim[1];
    const edt_real *x = run->in[0];
    edt_real *y = run->out[0];
    const int n_threads = edt_cpu_threads(run->backend, edt_shape_count(ys));
#pragma omp parallel for num_threads(n_threads) schedule(static)
    for (int64_t row = 0; row < ys->dim[0] * ys->dim[1]; row++) {
        const edt_real *x_row =
            x + (row / ys->dim[1] * xs->dim[1] + from_h[row % ys->dim[1]]) * xs->dim[2] * c;
        edt_real *y_row = y + row * ys->dim[2] * c;
        for (int64_t ow = 0; ow < ys->dim[2]; ow++) {
            memcpy(y_row + ow * c, x_row + from_w[ow] * c, (size_t)c * sizeof(*y_row));
        }
    }
    return EDT_OK;
}

static edt_status run_resize_bwd(edt_kernel *kernel, const edt_cpu_run *run)
{
    const edt_shape *ys = &kernel->desc.in[0].shape;
    const edt_shape *xs = &kernel->desc.out[0].shape;
    const int64_t c = xs->dim[3];
    const int32_t *from_h = kernel->state;
    const int32_t *from_w = from_h + ys->dim[1];
    const edt_real *dy = run->in[0];
    edt_real *dx = run->out[0];
    const int n_threads = edt_cpu_threads(run->backend, edt_shape_count(ys));
#pragma omp parallel for num_threads(n_threads) schedule(static)
    for (int64_t row = 0; row < xs->dim[0] * xs->dim[1]; row++) {
        float *sums = begin_row(run, dx, row, xs->dim[2] * c);
        for (int64_t oh = 0; oh < ys->dim[1]; oh++) {
            if (from_h[oh] != row % xs->dim[1]) {
                continue;
            }
            const edt_real *dy_row = dy + (row / xs->dim[1] * ys->dim[1] + oh) * ys->dim[2] * c;
            for (int64_t ow = 0; ow < ys->dim[2]; ow++) {
                edt_cpu_kernels_of(run->backend)
                    ->add_to(dy_row + ow * c, sums + from_w[ow] * c, c);
            }
        }
        end_row(run, dx, row, sums, xs->dim[2] * c);
    }
    return EDT_OK;
}

edt_status EDT_R(edt_cpu_prepare_sample)(edt_cpu_backend *backend, edt_kernel *kernel,
                                         edt_error *err)
{
    const edt_op_kind kind = kernel->desc.kind;
    if (!EDT_REAL_IS_FLOAT &&
        (kind == EDT_OP_MAX_POOL_BWD || kind == EDT_OP_RESIZE_NEAREST_BWD)) {
        const edt_shape *dx = &kernel->desc.out[0].shape;
        kernel->workspace_bytes =
            (size_t)backend->base.n_threads * sizeof(float) * (size_t)(dx->dim[2] * dx->dim[3]);
    }
    if (kind == EDT_OP_MAX_POOL || kind == EDT_OP_MAX_POOL_BWD) {
        kernel->run = kind == EDT_OP_MAX_POOL ? run_max_pool : run_max_pool_bwd;
        return EDT_OK;
    }
    const bool backward = kind == EDT_OP_RESIZE_NEAREST_BWD;
    const edt_shape *small = backward ? &kernel->desc.out[0].shape : &kernel->desc.in[0].shape;
    const edt_shape *large = backward ? &kernel->desc.in[0].shape : &kernel->desc.out[0].shape;
    EDT_TRY(edt_cpu_kernel_alloc_state(
        kernel, (size_t)(large->dim[1] + large->dim[2]) * sizeof(int32_t), err));
    int32_t *sources = kernel->state;
    fill_sources(small->dim[1], large->dim[1], sources);
    fill_sources(small->dim[2], large->dim[2], sources + large->dim[1]);
    kernel->run = backward ? run_resize_bwd : run_resize;
    return EDT_OK;
}
