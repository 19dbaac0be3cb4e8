// See depthwise_plan.h.
#include "backend/cuda/depthwise_plan.h"

#include <inttypes.h>

enum { MAX_LANES = 16, MAX_STRIP_ROWS = 8, TAPS_THREADS = 192, SCALAR_THREADS = 256 };

static int64_t ceil_div(int64_t a, int64_t b)
{
    return (a - 1) / b + 1;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

// The smallest power of two that is not below n, at most `limit` (a power of two).
static int power_above(int64_t n, int limit)
{
    int power = 1;
    while (power < limit && power < n) {
        power *= 2;
    }
    return power;
}

edt_cuda_depthwise_window edt_cuda_depthwise_window_of(const edt_shape *x, const edt_shape *y,
                                                       const edt_conv_attrs *conv)
{
    int64_t top;
    int64_t left;
    int64_t after;
    edt_same_padding(x->dim[1], conv->kh, conv->sh, &top, &after);
    edt_same_padding(x->dim[2], conv->kw, conv->sw, &left, &after);
    return (edt_cuda_depthwise_window){
        .n = x->dim[0],
        .h = x->dim[1],
        .w = x->dim[2],
        .c = x->dim[3],
        .oh = y->dim[1],
        .ow = y->dim[2],
        .kh = conv->kh,
        .kw = conv->kw,
        .sh = conv->sh,
        .sw = conv->sw,
        .top = (int)top,
        .left = (int)left,
    };
}

// Channels per thread: a packet where the windows have kernels and the channels fill packets.
static int vector_of(const edt_cuda_depthwise_window *g, int element_bytes)
{
    const int packet = 16 / element_bytes;
    const bool known = g->kh == g->kw && (g->kh == 3 || g->kh == 5) && g->sh == g->sw &&
                       (g->sh == 1 || g->sh == 2);
    return known && g->c % packet == 0 ? packet : 1;
}

static edt_status check_blocks(int64_t n_blocks, edt_error *err)
{
    if (n_blocks > INT32_MAX) {
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED,
                 "a depthwise convolution of %" PRId64
                 " blocks; a launch has at most 2147483647: use a smaller batch",
                 n_blocks);
    }
    return EDT_OK;
}

edt_status edt_cuda_strips_plan(const edt_cuda_depthwise_window *window, bool data,
                                int element_bytes, int n_multiprocessors, edt_error *err,
                                edt_cuda_strips *out_strips)
{
    const edt_cuda_depthwise_window *g = window;
    edt_cuda_strips s = {.vector = vector_of(g, element_bytes), .pixels = 1};
    const int64_t n_rows = data ? g->h : g->oh;
    // With stride 2, strips of dx start at even columns of the padded picture, where it is
    // fixed which taps meet which column.
    const bool strided = data && g->sw > 1;
    const int64_t n_columns = data ? g->w + (strided ? g->left : 0) : g->ow;
    if (s.vector == 1) {
        const int64_t n = g->n * n_rows * (data ? g->w : g->ow) * g->c;
        s.lanes = SCALAR_THREADS;
        s.strips = 1;
        s.rows = 1;
        s.channel_blocks = s.column_blocks = s.row_blocks = 1;
        s.n_blocks = smaller(ceil_div(n, SCALAR_THREADS), (int64_t)n_multiprocessors * 32);
        *out_strips = s;
        return EDT_OK;
    }
    const int64_t n_groups = g->c / s.vector;
    s.lanes = power_above(n_groups, MAX_LANES);
    s.channel_blocks = ceil_div(n_groups, s.lanes);
    // Shorter strips where whole ones would leave multiprocessors without work.
    for (s.pixels = EDT_CUDA_STRIP_PIXELS;; s.pixels = 2) {
        const int64_t n_strips = ceil_div(n_columns, s.pixels);
        const int spatial = EDT_CUDA_STRIP_THREADS / s.lanes;
        s.rows = power_above(n_rows, (int)smaller(MAX_STRIP_ROWS, spatial));
        s.strips = power_above(n_strips, spatial / (int)s.rows);
        s.column_blocks = ceil_div(n_strips, s.strips);
        s.row_blocks = ceil_div(n_rows, s.rows);
        s.n_blocks = g->n * s.row_blocks * s.column_blocks * s.channel_blocks;
        if (s.pixels == 2 || strided || s.n_blocks >= 2 * (int64_t)n_multiprocessors) {
            break;
        }
    }
    EDT_TRY(check_blocks(s.n_blocks, err));
    *out_strips = s;
    return EDT_OK;
}

edt_status edt_cuda_taps_plan(const edt_cuda_depthwise_window *window, int element_bytes,
                              int n_multiprocessors, edt_error *err, edt_cuda_taps *out_taps)
{
    const edt_cuda_depthwise_window *g = window;
    const int64_t n_rows = g->n * g->oh;
    edt_cuda_taps t = {.vector = vector_of(g, element_bytes)};
    if (t.vector == 1) {
        t.lanes = EDT_CUDA_STRIP_THREADS;
        t.rows = 1;
        t.channel_blocks = ceil_div(g->kh * g->kw * g->c, t.lanes);
    } else {
        const int64_t n_groups = g->c / t.vector;
        t.lanes = power_above(n_groups, MAX_LANES);
        t.rows = smaller(larger(TAPS_THREADS / (t.lanes * g->kh), 1), n_rows);
        t.channel_blocks = ceil_div(n_groups, t.lanes);
    }
    const int64_t rows_per_thread = larger(EDT_CUDA_TAPS_PIXELS / g->ow, 1);
    const int64_t for_sums = ceil_div(n_rows, t.rows * rows_per_thread);
    const int64_t for_work = smaller(
        ceil_div(n_rows, t.rows), ceil_div(2 * (int64_t)n_multiprocessors, t.channel_blocks));
    t.rows_per_chunk = ceil_div(n_rows, larger(for_sums, for_work));
    t.n_chunks = ceil_div(n_rows, t.rows_per_chunk);
    t.n_partials = t.n_chunks * t.rows;
    EDT_TRY(check_blocks(t.n_chunks * t.channel_blocks, err));
    *out_taps = t;
    return EDT_OK;
}

size_t edt_cuda_taps_workspace(const edt_cuda_depthwise_window *window,
                               const edt_cuda_taps *taps)
{
    return (size_t)(taps->n_partials * window->kh * window->kw * window->c) * sizeof(float);
}
