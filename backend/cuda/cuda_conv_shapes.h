// Shapes of dense convolutions for the libraries that carry them out: the matrix product that a
// 1x1 convolution is, the window with its paddings that others are, and launch geometry of the
// kernels around them. Plain C without CUDA, so that it is tested where there is no device.
#ifndef EDT_BACKEND_CUDA_CUDA_CONV_SHAPES_H
#define EDT_BACKEND_CUDA_CUDA_CONV_SHAPES_H

#include "backend/op.h"

#ifdef __cplusplus
extern "C" {
#endif

// The three products of a convolution.
typedef enum edt_cuda_conv_pass {
    EDT_CUDA_CONV_FORWARD, // x, w -> y
    EDT_CUDA_CONV_DATA,    // dy, w -> dx
    EDT_CUDA_CONV_WEIGHT,  // x, dy -> dw
} edt_cuda_conv_pass;

typedef struct edt_cuda_conv_geometry {
    edt_cuda_conv_pass pass;
    int64_t n, h, w, ci; // x, dx
    int64_t ho, wo, co;  // y, dy
    int64_t kh, kw, sh, sw;
    int64_t before_h, after_h, before_w, after_w; // zeros around x
} edt_cuda_conv_geometry;

// Of CONV2D, CONV2D_DATA, CONV2D_WEIGHT and CONV2D_BN_ACT; desc is inferred.
edt_cuda_conv_geometry edt_cuda_conv_geometry_of(const edt_op_desc *desc);

// 1x1 window, stride 1: a matrix product over pixels.
bool edt_cuda_conv_is_pointwise(const edt_cuda_conv_geometry *g);

static inline bool edt_cuda_conv_is_asymmetric(const edt_cuda_conv_geometry *g)
{
    return g->before_h != g->after_h || g->before_w != g->after_w;
}

// The same convolution on x with its padding already in place.
edt_cuda_conv_geometry edt_cuda_conv_padded(const edt_cuda_conv_geometry *g);

// A matrix stored by columns, as the BLAS see it: element (i, j) is at i + j * ld.
typedef struct edt_cuda_matrix {
    int64_t rows, cols, ld;
} edt_cuda_matrix;

// D[m,n] = op(A)[m,k] op(B)[k,n]. A row-major [r, c] array is the column-major matrix c x r, so
// channels are rows here and pixels columns:
//   forward  y^T[co,p]   = w^T[co,ci] x^T[ci,p]      A = w,  B = x, bias along the rows of D
//   data     dx^T[ci,p]  = w[ci,co] dy^T[co,p]       A = w (transposed), B = dy
//   weight   dw^T[co,ci] = dy^T[co,p] x[p,ci]        A = dy, B = x (transposed)
typedef struct edt_cuda_gemm_view {
    int64_t m, n, k;
    bool trans_a, trans_b;
    edt_cuda_matrix a, b, d; // as stored
} edt_cuda_gemm_view;

edt_cuda_gemm_view edt_cuda_gemm_view_of(const edt_cuda_conv_geometry *g);

// A k x k convolution as a matrix product as well: x is laid out anew as one row per pixel of
// y, the kh * kw * ci values under its window, padded with zeros to whole 16-byte accesses;
// row-major w [kh * kw * ci, co] is then the other factor as it stands (padded with rows of
// zeros). In parts of whole images, so that the rows stay in the device's cache.
typedef struct edt_cuda_patches {
    int64_t images; // of a part; divides n
    int64_t n_parts;
    int64_t rows;   // pixels of y in a part
    int64_t k;      // kh * kw * ci
    int64_t stride; // elements of a row, at least k
} edt_cuda_patches;

// Parts of at most `most_bytes`, and of one image at least.
edt_cuda_patches edt_cuda_patches_of(const edt_cuda_conv_geometry *g, edt_dtype real,
                                     int64_t most_bytes);
// Of one part, forward or weight; k there is `stride`.
edt_cuda_gemm_view edt_cuda_gemm_view_of_patches(const edt_cuda_conv_geometry *g,
                                                 const edt_cuda_patches *patches);

// NHWC strides for the library's n, c, h, w order, of any channels-last array: activations, and
// filters packed as [co][kh][kw][ci], where n is co and c is ci.
void edt_cuda_channels_last(int64_t n, int64_t c, int64_t h, int64_t w, int64_t out_dim[4],
                            int64_t out_stride[4]);

// Elements per access to rows of c channels: 16 bytes, or the largest power of two that divides
// a row.
int edt_cuda_conv_vector(edt_dtype real, int64_t c);

// Sums over the rows of [rows, c]: blocks of 256 threads, `lanes` of them side by side on
// vectors of channels, the rest on different rows; column blocks x row parts; then a sum over
// parts.
typedef struct edt_cuda_column_sum {
    int vector;        // channels per access
    int lanes;         // power of two, 1 to 32
    int64_t n_columns; // blocks across channels
    int64_t n_parts;   // blocks down the rows; each makes one partial row of c doubles
    int64_t rows_per_part;
} edt_cuda_column_sum;

edt_cuda_column_sum edt_cuda_column_sum_of(edt_dtype real, int64_t rows, int64_t c,
                                           int n_multiprocessors);

// Blocks for a grid-stride loop of 256 threads over n items: enough to fill the device, at
// least 1.
int64_t edt_cuda_conv_blocks(int64_t n, int n_multiprocessors);

#ifdef __cplusplus
}
#endif

#endif
