// See depthwise_kernels.h. In all three kernels of packets a thread walks along a row: each
// pixel it loads meets, at places known at compile time, every output of the strip whose
// window covers it.
#include "backend/cuda/kernels/depthwise_kernels.h"

#include "backend/cuda/kernels/device.cuh"

namespace
{

using edt::from_float;
using edt::load;
using edt::packet;
using edt::to_float;

template <int N> __device__ inline void load_floats(const float *from, float *to)
{
#pragma unroll
    for (int i = 0; i < N; i += packet<float>::size) {
        const packet<float> p = load(from + i);
#pragma unroll
        for (int j = 0; j < packet<float>::size; ++j) {
            to[i + j] = p.at[j];
        }
    }
}

// What follows the sum over the taps, for the channels of one thread.
template <int N> struct epilogue {
    float scale[N], mean[N], beta[N];
    __device__ inline void read(const edt_cuda_depthwise_bn &bn, int64_t c0)
    {
        float variance[N];
        load_floats<N>(bn.gamma + c0, scale);
        load_floats<N>(bn.mv + c0, variance);
        load_floats<N>(bn.mm + c0, mean);
        load_floats<N>(bn.beta + c0, beta);
#pragma unroll
        for (int v = 0; v < N; ++v) {
            scale[v] /= sqrtf(variance[v] + bn.epsilon);
        }
    }
};

// Not inlined: seven activations times all values of a thread would be most of the code.
template <bool FAST>
__device__ __noinline__ packet<float> activate(edt_act act, packet<float> p)
{
#pragma unroll
    for (int v = 0; v < packet<float>::size; ++v) {
        p.at[v] = edt::act_value<FAST>(act, p.at[v]);
    }
    return p;
}

// Where a thread of a strip launch works.
struct strip_place {
    int64_t n, c0;
    int row, column; // of the output; column: first of the strip
};

__device__ inline strip_place find_strip(const edt_cuda_strips &s)
{
    unsigned block = blockIdx.x;
    const unsigned channel_block = block % (unsigned)s.channel_blocks;
    block /= (unsigned)s.channel_blocks;
    const unsigned column_block = block % (unsigned)s.column_blocks;
    block /= (unsigned)s.column_blocks;
    const unsigned row_block = block % (unsigned)s.row_blocks;
    strip_place at;
    at.n = block / (unsigned)s.row_blocks;
    at.c0 = ((int64_t)channel_block * s.lanes + threadIdx.x) * s.vector;
    at.row = (int)(row_block * (unsigned)s.rows + threadIdx.z);
    at.column = (int)((column_block * (unsigned)s.strips + threadIdx.y) * (unsigned)s.pixels);
    return at;
}

// flip: the taps in reverse, which makes it the gradient of x where the stride is 1.
template <typename T, int K, int S, int PIXELS>
__global__ void __launch_bounds__(EDT_CUDA_STRIP_THREADS)
    forward_strips(edt_cuda_depthwise_window g, edt_cuda_strips s, const T *__restrict__ x,
                   const T *__restrict__ w, T *__restrict__ y, edt_cuda_depthwise_bn bn,
                   bool flip)
{
    constexpr int N = packet<T>::size;
    const strip_place at = find_strip(s);
    if (at.c0 >= g.c || at.row >= g.oh || at.column >= g.ow) {
        return;
    }
    float sum[PIXELS][N] = {};
    const int first_y = at.row * S - g.top;
    const int first_x = at.column * S - g.left;
    const T *const first_tap = w + (flip ? (K * K - 1) * g.c : 0) + at.c0;
    const int64_t to_next_tap = flip ? -g.c : g.c;
#pragma unroll
    for (int ky = 0; ky < K; ++ky) {
        const int iy = first_y + ky;
        if (iy < 0 || iy >= g.h) {
            continue;
        }
        packet<T> taps[K];
#pragma unroll
        for (int kx = 0; kx < K; ++kx) {
            taps[kx] = load(first_tap + (ky * K + kx) * to_next_tap);
        }
        const T *const row = x + (at.n * g.h + iy) * g.w * g.c + at.c0;
#pragma unroll
        for (int i = 0; i < (PIXELS - 1) * S + K; ++i) {
            const int ix = first_x + i;
            if (ix < 0 || ix >= g.w) {
                continue;
            }
            const packet<T> p = load(row + ix * g.c);
#pragma unroll
            for (int t = 0; t < PIXELS; ++t) {
                const int kx = i - t * S;
                if (kx < 0 || kx >= K) {
                    continue;
                }
#pragma unroll
                for (int v = 0; v < N; ++v) {
                    sum[t][v] += to_float(p.at[v]) * to_float(taps[kx].at[v]);
                }
            }
        }
    }
    if (bn.gamma != NULL) {
        epilogue<N> e;
        e.read(bn, at.c0);
#pragma unroll
        for (int t = 0; t < PIXELS; ++t) {
#pragma unroll
            for (int v = 0; v < N; v += packet<float>::size) {
                packet<float> p;
#pragma unroll
                for (int j = 0; j < packet<float>::size; ++j) {
                    p.at[j] = (sum[t][v + j] - e.mean[v + j]) * e.scale[v + j] + e.beta[v + j];
                }
                p = activate<sizeof(T) == 2>(bn.act, p);
#pragma unroll
                for (int j = 0; j < packet<float>::size; ++j) {
                    sum[t][v + j] = p.at[j];
                }
            }
        }
    }
    T *const to = y + ((at.n * g.oh + at.row) * g.ow + at.column) * g.c + at.c0;
#pragma unroll
    for (int t = 0; t < PIXELS; ++t) {
        if (at.column + t < g.ow) {
            packet<T> p;
#pragma unroll
            for (int v = 0; v < N; ++v) {
                p.at[v] = from_float<T>(sum[t][v]);
            }
            edt::store(to + t * g.c, p);
        }
    }
}

// Gradient of x with stride 2. Columns count in the padded picture: there column p meets the
// taps of p's parity, and tap kx comes from output (p - kx) / 2.
template <typename T, int K>
__global__ void __launch_bounds__(EDT_CUDA_STRIP_THREADS)
    data_strips(edt_cuda_depthwise_window g, edt_cuda_strips s, const T *__restrict__ dy,
                const T *__restrict__ w, T *__restrict__ dx)
{
    constexpr int N = packet<T>::size;
    constexpr int PIXELS = EDT_CUDA_STRIP_PIXELS;
    constexpr int BEFORE = (K - 1) / 2; // outputs in front of the strip's own that matter
    const strip_place at = find_strip(s);
    if (at.c0 >= g.c || at.row >= g.h || at.column - g.left >= g.w) {
        return;
    }
    float sum[PIXELS][N] = {};
    const int y = at.row + g.top;
    for (int ky = y % 2; ky < K && ky <= y; ky += 2) {
        const int oy = (y - ky) / 2;
        if (oy >= g.oh) {
            continue;
        }
        packet<T> taps[K];
#pragma unroll
        for (int kx = 0; kx < K; ++kx) {
            taps[kx] = load(w + (ky * K + kx) * g.c + at.c0);
        }
        const T *const row = dy + (at.n * g.oh + oy) * g.ow * g.c + at.c0;
#pragma unroll
        for (int i = 0; i < BEFORE + PIXELS / 2; ++i) {
            const int ox = at.column / 2 - BEFORE + i;
            if (ox < 0 || ox >= g.ow) {
                continue;
            }
            const packet<T> p = load(row + ox * g.c);
#pragma unroll
            for (int t = 0; t < PIXELS; ++t) {
                const int kx = t - 2 * (i - BEFORE);
                if (kx < 0 || kx >= K) {
                    continue;
                }
#pragma unroll
                for (int v = 0; v < N; ++v) {
                    sum[t][v] += to_float(p.at[v]) * to_float(taps[kx].at[v]);
                }
            }
        }
    }
    T *const to = dx + ((at.n * g.h + at.row) * g.w) * g.c + at.c0;
#pragma unroll
    for (int t = 0; t < PIXELS; ++t) {
        const int ix = at.column + t - g.left;
        if (ix >= 0 && ix < g.w) {
            packet<T> p;
#pragma unroll
            for (int v = 0; v < N; ++v) {
                p.at[v] = from_float<T>(sum[t][v]);
            }
            edt::store(to + ix * g.c, p);
        }
    }
}

// An element of the output with its channel, column, row and picture.
struct element_place {
    int64_t c, column, row, n;
};

__device__ inline element_place find_element(int64_t i, int64_t n_rows, int64_t n_columns,
                                             int64_t n_channels)
{
    element_place at;
    at.c = i % n_channels;
    i /= n_channels;
    at.column = i % n_columns;
    i /= n_columns;
    at.row = i % n_rows;
    at.n = i / n_rows;
    return at;
}

template <typename T>
__global__ void forward_elements(edt_cuda_depthwise_window g, const T *__restrict__ x,
                                 const T *__restrict__ w, T *__restrict__ y,
                                 edt_cuda_depthwise_bn bn)
{
    const int64_t n = g.n * g.oh * g.ow * g.c;
    const int64_t step = (int64_t)gridDim.x * blockDim.x;
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += step) {
        const element_place at = find_element(i, g.oh, g.ow, g.c);
        float sum = 0;
        for (int ky = 0; ky < g.kh; ++ky) {
            const int64_t iy = at.row * g.sh - g.top + ky;
            for (int kx = 0; iy >= 0 && iy < g.h && kx < g.kw; ++kx) {
                const int64_t ix = at.column * g.sw - g.left + kx;
                if (ix >= 0 && ix < g.w) {
                    sum += to_float(x[((at.n * g.h + iy) * g.w + ix) * g.c + at.c]) *
                           to_float(w[(ky * g.kw + kx) * g.c + at.c]);
                }
            }
        }
        if (bn.gamma != NULL) {
            const float scale = bn.gamma[at.c] / sqrtf(bn.mv[at.c] + bn.epsilon);
            sum = edt::act_value<sizeof(T) == 2>(bn.act,
                                                 (sum - bn.mm[at.c]) * scale + bn.beta[at.c]);
        }
        y[i] = from_float<T>(sum);
    }
}

template <typename T>
__global__ void data_elements(edt_cuda_depthwise_window g, const T *__restrict__ dy,
                              const T *__restrict__ w, T *__restrict__ dx)
{
    const int64_t n = g.n * g.h * g.w * g.c;
    const int64_t step = (int64_t)gridDim.x * blockDim.x;
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += step) {
        const element_place at = find_element(i, g.h, g.w, g.c);
        float sum = 0;
        for (int ky = 0; ky < g.kh; ++ky) {
            const int64_t y = at.row + g.top - ky;
            if (y < 0 || y % g.sh != 0 || y / g.sh >= g.oh) {
                continue;
            }
            for (int kx = 0; kx < g.kw; ++kx) {
                const int64_t x = at.column + g.left - kx;
                if (x >= 0 && x % g.sw == 0 && x / g.sw < g.ow) {
                    const int64_t from = (at.n * g.oh + y / g.sh) * g.ow + x / g.sw;
                    sum += to_float(dy[from * g.c + at.c]) *
                           to_float(w[(ky * g.kw + kx) * g.c + at.c]);
                }
            }
        }
        dx[i] = from_float<T>(sum);
    }
}

// threadIdx.y is the row of taps: its K sums fit in registers, and the K threads that read the
// same pixels share them through the L1 cache.
template <typename T, int K, int S>
__global__ void weight_strips(edt_cuda_depthwise_window g, edt_cuda_taps taps,
                              const T *__restrict__ x, const T *__restrict__ dy,
                              float *__restrict__ partials)
{
    constexpr int N = packet<T>::size;
    constexpr int PIXELS = EDT_CUDA_STRIP_PIXELS;
    const unsigned channel_block = blockIdx.x % (unsigned)taps.channel_blocks;
    const int64_t chunk = blockIdx.x / (unsigned)taps.channel_blocks;
    const int64_t c0 = ((int64_t)channel_block * taps.lanes + threadIdx.x) * N;
    if (c0 >= g.c) {
        return;
    }
    const int ky = (int)threadIdx.y;
    const int64_t n_rows = g.n * g.oh;
    const int64_t end = min((chunk + 1) * taps.rows_per_chunk, n_rows);
    float sum[K][N] = {};
    for (int64_t r = chunk * taps.rows_per_chunk + threadIdx.z; r < end; r += taps.rows) {
        const int64_t n = r / g.oh;
        const int64_t iy = r % g.oh * S - g.top + ky;
        if (iy < 0 || iy >= g.h) {
            continue;
        }
        const T *const x_row = x + (n * g.h + iy) * g.w * g.c + c0;
        const T *const dy_row = dy + r * g.ow * g.c + c0;
        for (int ox = 0; ox < g.ow; ox += PIXELS) {
            packet<T> d[PIXELS];
#pragma unroll
            for (int t = 0; t < PIXELS; ++t) {
                if (ox + t < g.ow) {
                    d[t] = load(dy_row + (ox + t) * g.c);
                } else {
#pragma unroll
                    for (int v = 0; v < N; ++v) {
                        d[t].at[v] = from_float<T>(0.0F);
                    }
                }
            }
#pragma unroll
            for (int i = 0; i < (PIXELS - 1) * S + K; ++i) {
                const int ix = ox * S - g.left + i;
                if (ix < 0 || ix >= g.w) {
                    continue;
                }
                const packet<T> p = load(x_row + ix * g.c);
#pragma unroll
                for (int t = 0; t < PIXELS; ++t) {
                    const int kx = i - t * S;
                    if (kx < 0 || kx >= K || ox + t >= g.ow) {
                        continue; // beyond the row: 0 times an infinity would be NaN
                    }
#pragma unroll
                    for (int v = 0; v < N; ++v) {
                        sum[kx][v] += to_float(p.at[v]) * to_float(d[t].at[v]);
                    }
                }
            }
        }
    }
    const int64_t i_partial = chunk * taps.rows + threadIdx.z;
#pragma unroll
    for (int kx = 0; kx < K; ++kx) {
        float *const to = partials + ((i_partial * K + ky) * K + kx) * g.c + c0;
#pragma unroll
        for (int v = 0; v < N; v += packet<float>::size) {
            packet<float> p;
#pragma unroll
            for (int j = 0; j < packet<float>::size; ++j) {
                p.at[j] = sum[kx][v + j];
            }
            edt::store(to + v, p);
        }
    }
}

// One thread per tap and channel.
template <typename T>
__global__ void weight_elements(edt_cuda_depthwise_window g, edt_cuda_taps taps,
                                const T *__restrict__ x, const T *__restrict__ dy,
                                float *__restrict__ partials)
{
    const int64_t n_sums = g.kh * g.kw * g.c;
    const int64_t chunk = blockIdx.x / (unsigned)taps.channel_blocks;
    const int64_t i =
        (int64_t)(blockIdx.x % (unsigned)taps.channel_blocks) * taps.lanes + threadIdx.x;
    if (i >= n_sums) {
        return;
    }
    const int64_t c = i % g.c;
    const int64_t kx = i / g.c % g.kw;
    const int64_t ky = i / g.c / g.kw;
    const int64_t end = min((chunk + 1) * taps.rows_per_chunk, g.n * g.oh);
    float sum = 0;
    for (int64_t r = chunk * taps.rows_per_chunk; r < end; ++r) {
        const int64_t iy = r % g.oh * g.sh - g.top + ky;
        if (iy < 0 || iy >= g.h) {
            continue;
        }
        const int64_t x_row = (r / g.oh * g.h + iy) * g.w;
        for (int64_t ox = 0; ox < g.ow; ++ox) {
            const int64_t ix = ox * g.sw - g.left + kx;
            if (ix >= 0 && ix < g.w) {
                sum += to_float(x[(x_row + ix) * g.c + c]) *
                       to_float(dy[(r * g.ow + ox) * g.c + c]);
            }
        }
    }
    partials[chunk * n_sums + i] = sum;
}

enum { MERGE = 32 }; // sums of a block, and threads per sum

__global__ void merge_partials(const float *__restrict__ partials, int64_t n_partials,
                               int64_t n_sums, float *__restrict__ dw, bool accumulate)
{
    __shared__ double parts[MERGE][MERGE + 1];
    const int64_t i = (int64_t)blockIdx.x * MERGE + threadIdx.x;
    double sum = 0;
    if (i < n_sums) {
        for (int64_t p = threadIdx.y; p < n_partials; p += MERGE) {
            sum += (double)partials[p * n_sums + i];
        }
    }
    parts[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y == 0 && i < n_sums) {
        sum = accumulate ? (double)dw[i] : 0.0;
        for (int p = 0; p < MERGE; ++p) {
            sum += parts[p][threadIdx.x];
        }
        dw[i] = (float)sum;
    }
}

dim3 strip_block(const edt_cuda_strips &s)
{
    return dim3((unsigned)s.lanes, (unsigned)s.strips, (unsigned)s.rows);
}

template <typename T, int K, int S>
cudaError_t launch_forward(const edt_cuda_depthwise_window &g, const edt_cuda_strips &s,
                           const T *x, const T *w, T *y, const edt_cuda_depthwise_bn &bn,
                           bool flip, cudaStream_t stream)
{
    const dim3 grid((unsigned)s.n_blocks);
    if (s.pixels == EDT_CUDA_STRIP_PIXELS) {
        return EDT_CUDA_LAUNCH((forward_strips<T, K, S, EDT_CUDA_STRIP_PIXELS>), grid,
                               strip_block(s), 0, stream, g, s, x, w, y, bn, flip);
    }
    return EDT_CUDA_LAUNCH((forward_strips<T, K, S, 2>), grid, strip_block(s), 0, stream, g, s,
                           x, w, y, bn, flip);
}

template <typename T>
cudaError_t forward(const edt_cuda_depthwise_window &g, const edt_cuda_strips &s, const T *x,
                    const T *w, T *y, const edt_cuda_depthwise_bn &bn, cudaStream_t stream)
{
    if (s.vector == 1) {
        return EDT_CUDA_LAUNCH(forward_elements<T>, dim3((unsigned)s.n_blocks),
                               dim3((unsigned)s.lanes), 0, stream, g, x, w, y, bn);
    }
    if (g.kh == 3) {
        return g.sh == 1 ? launch_forward<T, 3, 1>(g, s, x, w, y, bn, false, stream)
                         : launch_forward<T, 3, 2>(g, s, x, w, y, bn, false, stream);
    }
    return g.sh == 1 ? launch_forward<T, 5, 1>(g, s, x, w, y, bn, false, stream)
                     : launch_forward<T, 5, 2>(g, s, x, w, y, bn, false, stream);
}

template <typename T>
cudaError_t data(const edt_cuda_depthwise_window &g, const edt_cuda_strips &s, const T *dy,
                 const T *w, T *dx, cudaStream_t stream)
{
    const dim3 grid((unsigned)s.n_blocks);
    if (s.vector == 1) {
        return EDT_CUDA_LAUNCH(data_elements<T>, grid, dim3((unsigned)s.lanes), 0, stream, g,
                               dy, w, dx);
    }
    if (g.sh == 2) {
        return g.kh == 3 ? EDT_CUDA_LAUNCH((data_strips<T, 3>), grid, strip_block(s), 0, stream,
                                           g, s, dy, w, dx)
                         : EDT_CUDA_LAUNCH((data_strips<T, 5>), grid, strip_block(s), 0, stream,
                                           g, s, dy, w, dx);
    }
    edt_cuda_depthwise_window mirrored = g;
    mirrored.top = g.kh - 1 - g.top;
    mirrored.left = g.kw - 1 - g.left;
    const edt_cuda_depthwise_bn none = {};
    return g.kh == 3 ? launch_forward<T, 3, 1>(mirrored, s, dy, w, dx, none, true, stream)
                     : launch_forward<T, 5, 1>(mirrored, s, dy, w, dx, none, true, stream);
}

template <typename T, int K>
cudaError_t launch_weight(const edt_cuda_depthwise_window &g, const edt_cuda_taps &t,
                          const T *x, const T *dy, float *partials, cudaStream_t stream)
{
    const dim3 grid((unsigned)(t.n_chunks * t.channel_blocks));
    const dim3 block((unsigned)t.lanes, K, (unsigned)t.rows);
    return g.sh == 1 ? EDT_CUDA_LAUNCH((weight_strips<T, K, 1>), grid, block, 0, stream, g, t,
                                       x, dy, partials)
                     : EDT_CUDA_LAUNCH((weight_strips<T, K, 2>), grid, block, 0, stream, g, t,
                                       x, dy, partials);
}

template <typename T>
cudaError_t weight(const edt_cuda_depthwise_window &g, const edt_cuda_taps &t, const T *x,
                   const T *dy, float *partials, cudaStream_t stream)
{
    if (t.vector == 1) {
        return EDT_CUDA_LAUNCH(weight_elements<T>,
                               dim3((unsigned)(t.n_chunks * t.channel_blocks)),
                               dim3((unsigned)t.lanes), 0, stream, g, t, x, dy, partials);
    }
    return g.kh == 3 ? launch_weight<T, 3>(g, t, x, dy, partials, stream)
                     : launch_weight<T, 5>(g, t, x, dy, partials, stream);
}

} // namespace

cudaError_t edt_cuda_depthwise_forward(edt_dtype real, const edt_cuda_depthwise_window *window,
                                       const edt_cuda_strips *strips, const void *x,
                                       const void *w, void *y, const edt_cuda_depthwise_bn *bn,
                                       cudaStream_t stream)
{
    return EDT_CUDA_REAL(
        real, T,
        return forward(*window, *strips, (const T *)x, (const T *)w, (T *)y, *bn, stream));
}

cudaError_t edt_cuda_depthwise_data(edt_dtype real, const edt_cuda_depthwise_window *window,
                                    const edt_cuda_strips *strips, const void *dy,
                                    const void *w, void *dx, cudaStream_t stream)
{
    return EDT_CUDA_REAL(
        real, T, return data(*window, *strips, (const T *)dy, (const T *)w, (T *)dx, stream));
}

cudaError_t edt_cuda_depthwise_weight(edt_dtype real, const edt_cuda_depthwise_window *window,
                                      const edt_cuda_taps *taps, const void *x, const void *dy,
                                      float *partials, float *dw, bool accumulate,
                                      cudaStream_t stream)
{
    const cudaError_t code = EDT_CUDA_REAL(
        real, T, return weight(*window, *taps, (const T *)x, (const T *)dy, partials, stream));
    if (code != cudaSuccess) {
        return code;
    }
    const int64_t n_sums = window->kh * window->kw * window->c;
    return EDT_CUDA_LAUNCH(merge_partials, dim3((unsigned)((n_sums - 1) / MERGE + 1)),
                           dim3(MERGE, MERGE), 0, stream, partials, taps->n_partials, n_sums,
                           dw, accumulate);
}
