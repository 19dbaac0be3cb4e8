// How the work of depthwise convolutions is cut into blocks and threads: plain arithmetic on
// shapes, without a device.
#ifndef EDT_BACKEND_CUDA_DEPTHWISE_PLAN_H
#define EDT_BACKEND_CUDA_DEPTHWISE_PLAN_H

#include "backend/op.h"

// Geometry of a window over x[n,h,w,c] giving y[n,oh,ow,c].
typedef struct edt_cuda_depthwise_window {
    int64_t n, h, w, c, oh, ow;
    int kh, kw, sh, sw;
    int top, left; // padding before
} edt_cuda_depthwise_window;

edt_cuda_depthwise_window edt_cuda_depthwise_window_of(const edt_shape *x, const edt_shape *y,
                                                       const edt_conv_attrs *conv);

// Blocks of lanes x strips x rows threads over an output [n,rows,columns,c]: a lane has
// `vector` channels, a strip `pixels` consecutive columns. vector 1 means one element per
// thread and iteration, in grid-stride loops over n_elements.
typedef struct edt_cuda_strips {
    int vector, pixels, lanes, strips;
    int64_t rows, channel_blocks, column_blocks, row_blocks;
    int64_t n_blocks; // at most 2^31 - 1
} edt_cuda_strips;

enum { EDT_CUDA_STRIP_THREADS = 128, EDT_CUDA_STRIP_PIXELS = 4 };

// Of the output of the forward op, or with data set of dx. element_bytes: 4 or 2.
// EDT_ERR_UNSUPPORTED for more than 2^31 - 1 blocks.
edt_status edt_cuda_strips_plan(const edt_cuda_depthwise_window *window, bool data,
                                int element_bytes, int n_multiprocessors, edt_error *err,
                                edt_cuda_strips *out_strips);

// Gradient of w: blocks of lanes x kh x rows threads. A block takes rows_per_chunk of the n *
// oh rows of dy, its threads every rows-th of them; each thread sums its pixels for one row of
// taps in float and writes one of n_partials sums per tap and channel.
typedef struct edt_cuda_taps {
    int vector, lanes;
    int64_t rows, channel_blocks, n_chunks, rows_per_chunk, n_partials;
} edt_cuda_taps;

// Pixels that one float sum covers, as long as a row of dy is not longer.
enum { EDT_CUDA_TAPS_PIXELS = 1024 };

edt_status edt_cuda_taps_plan(const edt_cuda_depthwise_window *window, int element_bytes,
                              int n_multiprocessors, edt_error *err, edt_cuda_taps *out_taps);
size_t edt_cuda_taps_workspace(const edt_cuda_depthwise_window *window,
                               const edt_cuda_taps *taps);

#endif
