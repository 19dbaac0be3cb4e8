// Shapes of dense convolutions: geometry from an op's description, matrix views, strides and
// launch geometry. Every size is 64-bit; nothing here knows CUDA.
#include "backend/cuda/cuda_conv_shapes.h"

enum { THREADS = 256, MAX_PARTS = 1024 };

edt_cuda_conv_geometry edt_cuda_conv_geometry_of(const edt_op_desc *desc)
{
    const bool weight = desc->kind == EDT_OP_CONV2D_WEIGHT;
    const bool data = desc->kind == EDT_OP_CONV2D_DATA;
    const edt_shape *x = data ? &desc->out[0].shape : &desc->in[0].shape;
    const edt_shape *y = data     ? &desc->in[0].shape
                         : weight ? &desc->in[1].shape
                                  : &desc->out[0].shape;
    const edt_conv_attrs *conv = &desc->attrs.conv;
    edt_cuda_conv_geometry g = {
        .pass = data     ? EDT_CUDA_CONV_DATA
                : weight ? EDT_CUDA_CONV_WEIGHT
                         : EDT_CUDA_CONV_FORWARD,
        .n = x->dim[0],
        .h = x->dim[1],
        .w = x->dim[2],
        .ci = x->dim[3],
        .ho = y->dim[1],
        .wo = y->dim[2],
        .co = y->dim[3],
        .kh = conv->kh,
        .kw = conv->kw,
        .sh = conv->sh,
        .sw = conv->sw,
    };
    edt_same_padding(g.h, g.kh, g.sh, &g.before_h, &g.after_h);
    edt_same_padding(g.w, g.kw, g.sw, &g.before_w, &g.after_w);
    return g;
}

bool edt_cuda_conv_is_pointwise(const edt_cuda_conv_geometry *g)
{
    return g->kh == 1 && g->kw == 1 && g->sh == 1 && g->sw == 1;
}

edt_cuda_conv_geometry edt_cuda_conv_padded(const edt_cuda_conv_geometry *g)
{
    edt_cuda_conv_geometry padded = *g;
    padded.h += g->before_h + g->after_h;
    padded.w += g->before_w + g->after_w;
    padded.before_h = padded.after_h = 0;
    padded.before_w = padded.after_w = 0;
    return padded;
}

static int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

// The column-major matrix that a row-major array is.
static edt_cuda_matrix row_major(int64_t rows, int64_t cols)
{
    return (edt_cuda_matrix){.rows = cols, .cols = rows, .ld = cols};
}

// The product of a pass whose rows are `rows` pixels with ci values each.
static edt_cuda_gemm_view view_of(edt_cuda_conv_pass pass, int64_t rows, int64_t ci, int64_t co)
{
    const edt_cuda_matrix x = row_major(rows, ci);
    const edt_cuda_matrix y = row_major(rows, co);
    const edt_cuda_matrix w = row_major(ci, co);
    switch (pass) {
    case EDT_CUDA_CONV_DATA:
        return (edt_cuda_gemm_view){
            .m = ci, .n = rows, .k = co, .trans_a = true, .a = w, .b = y, .d = x};
    case EDT_CUDA_CONV_WEIGHT:
        return (edt_cuda_gemm_view){
            .m = co, .n = ci, .k = rows, .trans_b = true, .a = y, .b = x, .d = w};
    case EDT_CUDA_CONV_FORWARD: break;
    }
    return (edt_cuda_gemm_view){.m = co, .n = rows, .k = ci, .a = w, .b = x, .d = y};
}

edt_cuda_gemm_view edt_cuda_gemm_view_of(const edt_cuda_conv_geometry *g)
{
    return view_of(g->pass, g->n * g->h * g->w, g->ci, g->co);
}

edt_cuda_patches edt_cuda_patches_of(const edt_cuda_conv_geometry *g, edt_dtype real,
                                     int64_t most_bytes)
{
    const int64_t fit = 16 / (int64_t)edt_dtype_bytes(real);
    edt_cuda_patches p = {.images = g->n, .k = g->kh * g->kw * g->ci};
    p.stride = ceil_div(p.k, fit) * fit;
    const int64_t image_bytes = g->ho * g->wo * p.stride * (int64_t)edt_dtype_bytes(real);
    // A part of y begins where the library may read 16 bytes at once.
    const int64_t y_bytes = g->ho * g->wo * g->co * (int64_t)edt_dtype_bytes(real);
    for (int64_t images = g->n; images > 0 && p.images * image_bytes > most_bytes; images--) {
        if (g->n % images == 0 && images * y_bytes % 16 == 0) {
            p.images = images;
        }
    }
    p.n_parts = g->n / p.images;
    p.rows = p.images * g->ho * g->wo;
    return p;
}

edt_cuda_gemm_view edt_cuda_gemm_view_of_patches(const edt_cuda_conv_geometry *g,
                                                 const edt_cuda_patches *patches)
{
    return view_of(g->pass, patches->rows, patches->stride, g->co);
}

void edt_cuda_channels_last(int64_t n, int64_t c, int64_t h, int64_t w, int64_t out_dim[4],
                            int64_t out_stride[4])
{
    out_dim[0] = n;
    out_dim[1] = c;
    out_dim[2] = h;
    out_dim[3] = w;
    out_stride[0] = h * w * c;
    out_stride[1] = 1;
    out_stride[2] = w * c;
    out_stride[3] = c;
}

int edt_cuda_conv_vector(edt_dtype real, int64_t c)
{
    int fit = 16 / (int)edt_dtype_bytes(real);
    while (c % fit != 0) {
        fit /= 2;
    }
    return fit;
}

edt_cuda_column_sum edt_cuda_column_sum_of(edt_dtype real, int64_t rows, int64_t c,
                                           int n_multiprocessors)
{
    edt_cuda_column_sum s = {.vector = edt_cuda_conv_vector(real, c), .lanes = 1};
    const int64_t groups = c / s.vector;
    while (s.lanes < 32 && s.lanes < groups) {
        s.lanes *= 2;
    }
    s.n_columns = ceil_div(groups, s.lanes);
    // Each thread should see some rows: a part costs c doubles written and read again.
    const int64_t rows_at_once = THREADS / s.lanes;
    const int64_t least_rows = 16 * rows_at_once;
    int64_t parts = ceil_div(4 * (int64_t)n_multiprocessors, s.n_columns);
    if (parts > ceil_div(rows, least_rows)) {
        parts = ceil_div(rows, least_rows);
    }
    if (parts > MAX_PARTS) {
        parts = MAX_PARTS;
    }
    s.rows_per_part = ceil_div(rows, parts);
    s.n_parts = ceil_div(rows, s.rows_per_part);
    return s;
}

int64_t edt_cuda_conv_blocks(int64_t n, int n_multiprocessors)
{
    const int64_t wanted = ceil_div(n, THREADS);
    const int64_t most = 8 * (int64_t)n_multiprocessors; // 2048 threads each
    if (wanted < 1) {
        return 1;
    }
    return wanted < most ? wanted : most;
}
