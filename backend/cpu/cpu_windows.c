// The gathering and the split over threads; see cpu_windows.h. A row of the matrix is a window
// in the order of HWIO weights: kernel rows one after another, each a run of pixels that lie
// side by side in NHWC, so that a row of outputs takes one strided copy per kernel row.
#include "backend/cpu/cpu_windows.h"

#include <omp.h>
#include <string.h>

enum { BLOCK_ROWS = 192 }; // windows gathered at a time; a multiple of the product's blocks

typedef struct gather {
    const edt_cpu_kernels *simd;
    const edt_conv_attrs *conv;
    const edt_real *x;
    int64_t in_h, in_w, c, out_h, out_w, top, left;
    int64_t lo, hi; // output columns whose windows lie inside the picture, sideways
    int64_t k;      // elements of a window
} gather;

static gather make_gather(const edt_op_desc *desc, const edt_cpu_run *run)
{
    const edt_conv_attrs *conv = &desc->attrs.conv;
    const edt_shape *in = &desc->in[0].shape;
    const edt_shape *out = &desc->out[0].shape;
    int64_t after;
    gather g = {
        .simd = edt_cpu_kernels_of(run->backend),
        .conv = conv,
        .x = run->in[0],
        .in_h = in->dim[1],
        .in_w = in->dim[2],
        .c = in->dim[3],
        .out_h = out->dim[1],
        .out_w = out->dim[2],
        .k = conv->kh * conv->kw * in->dim[3],
    };
    edt_same_padding(g.in_h, conv->kh, conv->sh, &g.top, &after);
    edt_same_padding(g.in_w, conv->kw, conv->sw, &g.left, &after);
    g.lo = (g.left + conv->sw - 1) / conv->sw;
    g.hi = g.in_w + g.left < conv->kw ? 0 : (g.in_w + g.left - conv->kw) / conv->sw + 1;
    return g;
}

// Kernel row ky of the windows of output columns [from, end) in one output row, `x_row` being
// the picture's row that it reads, or NULL outside.
static void gather_kernel_row(const gather *g, const edt_real *x_row, int64_t from, int64_t end,
                              edt_real *to)
{
    const int64_t n = g->conv->kw * g->c;
    for (int64_t column = from; column < end;) {
        const bool inside = x_row != NULL && column >= g->lo && column < g->hi;
        const int64_t stop = g->hi < end ? g->hi : end;
        const int64_t n_columns = inside ? stop - column : 1;
        const int64_t first = column * g->conv->sw - g->left; // column of x
        if (inside) {
            g->simd->copy_runs(x_row + first * g->c, g->conv->sw * g->c, to, g->k, n_columns,
                               n);
        } else {
            const int64_t skip = first < 0 ? -first : 0;
            const int64_t room = g->in_w - first < g->conv->kw ? g->in_w - first : g->conv->kw;
            memset(to, 0, (size_t)n * sizeof(*to));
            if (x_row != NULL && skip < room) {
                memcpy(to + skip * g->c, x_row + (first + skip) * g->c,
                       (size_t)((room - skip) * g->c) * sizeof(*to));
            }
        }
        to += n_columns * g->k;
        column += n_columns;
    }
}

// Windows [first, end) in the order of output pixels.
static void gather_windows(const gather *g, int64_t first, int64_t end, edt_real *to)
{
    while (first < end) {
        const int64_t row = first / g->out_w; // of all images
        const int64_t from = first % g->out_w;
        const int64_t n = end - first < g->out_w - from ? end - first : g->out_w - from;
        const edt_real *image = g->x + row / g->out_h * g->in_h * g->in_w * g->c;
        for (int64_t ky = 0; ky < g->conv->kh; ky++) {
            const int64_t h = row % g->out_h * g->conv->sh - g->top + ky;
            const bool inside = h >= 0 && h < g->in_h;
            gather_kernel_row(g, inside ? image + h * g->in_w * g->c : NULL, from, from + n,
                              to + ky * g->conv->kw * g->c);
        }
        to += n * g->k;
        first += n;
    }
}

static size_t block_bytes(const edt_op_desc *desc)
{
    const edt_conv_attrs *conv = &desc->attrs.conv;
    const int64_t k = conv->kh * conv->kw * desc->in[0].shape.dim[3];
    return edt_cpu_align((size_t)(BLOCK_ROWS * k) * sizeof(edt_real));
}

size_t edt_cpu_windows_bytes(const edt_cpu_backend *backend, const edt_op_desc *desc)
{
    return (size_t)backend->base.n_threads * block_bytes(desc);
}

void edt_cpu_windows_rows(const edt_op_desc *desc, const edt_cpu_run *run,
                          const edt_cpu_gemm *gemm, const edt_real *residual, int part,
                          int64_t begin, int64_t end, edt_real *y)
{
    const gather g = make_gather(desc, run);
    edt_real *block = (edt_real *)(void *)(run->workspace + (size_t)part * block_bytes(desc));
    for (int64_t r = begin; r < end; r += BLOCK_ROWS) {
        const int64_t n = end - r < BLOCK_ROWS ? end - r : BLOCK_ROWS;
        gather_windows(&g, r, r + n, block);
        g.simd->gemm(gemm, block, residual == NULL ? NULL : residual + r * gemm->n,
                     y + (r - begin) * gemm->n, n, 0, 1);
    }
}

void edt_cpu_windows_run(const edt_op_desc *desc, const edt_cpu_run *run,
                         const edt_cpu_gemm *gemm, const edt_real *residual)
{
    const int64_t rows = edt_cpu_rows_of(&desc->out[0]).rows;
    const int n_threads = edt_cpu_threads(run->backend, rows * gemm->k * gemm->n / 16);
    edt_real *y = run->out[0];
#pragma omp parallel num_threads(n_threads)
    {
        const int part = omp_get_thread_num();
        int64_t begin;
        int64_t end;
        edt_cpu_split(rows, omp_get_num_threads(), part, &begin, &end);
        edt_cpu_windows_rows(desc, run, gemm, residual, part, begin, end, y + begin * gemm->n);
    }
}
