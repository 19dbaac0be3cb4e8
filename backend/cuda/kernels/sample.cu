// Max pooling and nearest-neighbour resizing with their gradients.
#include "backend/cuda/kernels/rows.cuh"
#include "backend/cuda/kernels/sample_kernels.h"

using edt::from_float;
using edt::load_run;
using edt::run;
using edt::store_run;
using edt::to_float;

namespace
{

__device__ inline uint32_t divide(uint32_t n, const edt_cuda_divisor &by)
{
    const uint64_t high = ((uint64_t)n * by.multiplier) >> 32;
    return (uint32_t)((high + n) >> by.shift);
}

// Calls each(n, y, x, channel) for the pixels and channels of this thread.
template <int V, typename Each>
__device__ inline void for_pixels(const edt_cuda_pixels &pixels, Each each)
{
    for (int64_t n = blockIdx.y; n < pixels.n_images; n += gridDim.y) {
        for (uint32_t i = blockIdx.x * EDT_CUDA_ROW_THREADS + threadIdx.x; i < pixels.n_items;
             i += gridDim.x * EDT_CUDA_ROW_THREADS) {
            const uint32_t pixel = divide(i, pixels.groups);
            const uint32_t y = divide(pixel, pixels.width);
            each(n, (int)y, (int)(pixel - y * pixels.width.divisor),
                 (int64_t)(i - pixel * pixels.groups.divisor) * V);
        }
    }
}

__device__ inline int64_t offset(const edt_cuda_pixels &pixels, int64_t n, int h, int w, int y,
                                 int x, int64_t channel)
{
    return ((n * h + y) * w + x) * pixels.n_channels + channel;
}

template <typename T, int V>
__global__ void max_pool_kernel(edt_cuda_pixels pixels, edt_cuda_pool_window window, const T *x,
                                T *y, uint8_t *index)
{
    for_pixels<V>(pixels, [&](int64_t n, int oy, int ox, int64_t channel) {
        float best[V] = {};
        run<uint8_t, V> chosen = {};
        bool first = true;
        for (int ky = 0; ky < window.kh; ++ky) {
            const int iy = oy * window.sh - window.top + ky;
            if (iy < 0 || iy >= pixels.from_h) {
                continue;
            }
            for (int kx = 0; kx < window.kw; ++kx) {
                const int ix = ox * window.sw - window.left + kx;
                if (ix < 0 || ix >= pixels.from_w) {
                    continue;
                }
                const run<T, V> v = load_run<T, V>(
                    x + offset(pixels, n, pixels.from_h, pixels.from_w, iy, ix, channel));
#pragma unroll
                for (int i = 0; i < V; ++i) {
                    const float value = to_float(v.at[i]);
                    if (first || value > best[i]) {
                        best[i] = value;
                        chosen.at[i] = (uint8_t)(ky * window.kw + kx);
                    }
                }
                first = false;
            }
        }
        const int64_t at = offset(pixels, n, pixels.h, pixels.w, oy, ox, channel);
        run<T, V> values;
#pragma unroll
        for (int i = 0; i < V; ++i) {
            values.at[i] = from_float<T>(best[i]); // exactly what was read
        }
        if (y != nullptr) {
            store_run(y + at, values);
        }
        if (index != nullptr) {
            store_run(index + at, chosen);
        }
    });
}

// First window along an axis that reaches `at` (before + at, with `before` cells of padding).
__device__ inline int first_window(int at, int before, int k, int stride)
{
    const int reach = at + before - k + 1;
    return reach <= 0 ? 0 : (reach + stride - 1) / stride;
}

template <typename T, int V>
__global__ void max_pool_bwd_kernel(edt_cuda_pixels pixels, edt_cuda_pool_window window,
                                    const T *dy, const uint8_t *index, T *dx)
{
    for_pixels<V>(pixels, [&](int64_t n, int iy, int ix, int64_t channel) {
        float sum[V] = {};
        for (int oy = first_window(iy, window.top, window.kh, window.sh);
             oy < pixels.from_h && oy * window.sh - window.top <= iy; ++oy) {
            const int ky = iy - (oy * window.sh - window.top);
            for (int ox = first_window(ix, window.left, window.kw, window.sw);
                 ox < pixels.from_w && ox * window.sw - window.left <= ix; ++ox) {
                const int k = ky * window.kw + ix - (ox * window.sw - window.left);
                const int64_t at =
                    offset(pixels, n, pixels.from_h, pixels.from_w, oy, ox, channel);
                const run<uint8_t, V> chosen = load_run<uint8_t, V>(index + at);
                const run<T, V> v = load_run<T, V>(dy + at);
#pragma unroll
                for (int i = 0; i < V; ++i) {
                    sum[i] += chosen.at[i] == k ? to_float(v.at[i]) : 0.0F;
                }
            }
        }
        run<T, V> values;
#pragma unroll
        for (int i = 0; i < V; ++i) {
            values.at[i] = from_float<T>(sum[i]);
        }
        store_run(dx + offset(pixels, n, pixels.h, pixels.w, iy, ix, channel), values);
    });
}

// The source of cell `at` along an axis, in float as the reference computes it (spec/model.md
// 2.2).
__device__ inline int nearest_source(int at, int n_from, float scale)
{
    const int source = (int)floorf((float)at * scale);
    return source < n_from - 1 ? source : n_from - 1;
}

template <typename T, int V>
__global__ void nearest_kernel(edt_cuda_pixels pixels, float scale_y, float scale_x, const T *x,
                               T *y)
{
    for_pixels<V>(pixels, [&](int64_t n, int oy, int ox, int64_t channel) {
        const int iy = nearest_source(oy, pixels.from_h, scale_y);
        const int ix = nearest_source(ox, pixels.from_w, scale_x);
        store_run(y + offset(pixels, n, pixels.h, pixels.w, oy, ox, channel),
                  load_run<T, V>(
                      x + offset(pixels, n, pixels.from_h, pixels.from_w, iy, ix, channel)));
    });
}

// First of n_to cells whose source is `source` or later; n_to if there is none. Sources never
// fall along an axis, and the estimate is less than two cells off.
__device__ inline int first_of_source(int source, int n_from, int n_to, float scale)
{
    const int estimate = (int)((float)source / scale) - 2;
    int at = estimate < 0 ? 0 : estimate;
    while (at < n_to && nearest_source(at, n_from, scale) < source) {
        ++at;
    }
    return at;
}

// scale: cells of dx per cell of dy.
template <typename T, int V>
__global__ void nearest_bwd_kernel(edt_cuda_pixels pixels, float scale_y, float scale_x,
                                   const T *dy, T *dx)
{
    for_pixels<V>(pixels, [&](int64_t n, int iy, int ix, int64_t channel) {
        const int y_end = first_of_source(iy + 1, pixels.h, pixels.from_h, scale_y);
        const int x_begin = first_of_source(ix, pixels.w, pixels.from_w, scale_x);
        const int x_end = first_of_source(ix + 1, pixels.w, pixels.from_w, scale_x);
        float sum[V] = {};
        for (int oy = first_of_source(iy, pixels.h, pixels.from_h, scale_y); oy < y_end; ++oy) {
            for (int ox = x_begin; ox < x_end; ++ox) {
                const run<T, V> v = load_run<T, V>(
                    dy + offset(pixels, n, pixels.from_h, pixels.from_w, oy, ox, channel));
#pragma unroll
                for (int i = 0; i < V; ++i) {
                    sum[i] += to_float(v.at[i]);
                }
            }
        }
        run<T, V> values;
#pragma unroll
        for (int i = 0; i < V; ++i) {
            values.at[i] = from_float<T>(sum[i]);
        }
        store_run(dx + offset(pixels, n, pixels.h, pixels.w, iy, ix, channel), values);
    });
}

dim3 grid_of(const edt_cuda_pixels &pixels)
{
    return dim3((unsigned)pixels.grid_x, (unsigned)pixels.grid_images);
}

} // namespace

cudaError_t edt_cuda_max_pool(cudaStream_t stream, edt_dtype real,
                              const edt_cuda_pixels *pixels, const edt_cuda_pool_window *window,
                              const void *x, void *y, uint8_t *index)
{
    return EDT_CUDA_REAL(
        real, T,
        return EDT_CUDA_VEC(pixels->vec, T, V,
                            return EDT_CUDA_LAUNCH((max_pool_kernel<T, V>), grid_of(*pixels),
                                                   EDT_CUDA_ROW_THREADS, 0, stream, *pixels,
                                                   *window, (const T *)x, (T *)y, index)));
}

cudaError_t edt_cuda_max_pool_bwd(cudaStream_t stream, edt_dtype real,
                                  const edt_cuda_pixels *pixels,
                                  const edt_cuda_pool_window *window, const void *dy,
                                  const uint8_t *index, void *dx)
{
    return EDT_CUDA_REAL(real, T,
                         return EDT_CUDA_VEC(pixels->vec, T, V,
                                             return EDT_CUDA_LAUNCH(
                                                 (max_pool_bwd_kernel<T, V>), grid_of(*pixels),
                                                 EDT_CUDA_ROW_THREADS, 0, stream, *pixels,
                                                 *window, (const T *)dy, index, (T *)dx)));
}

cudaError_t edt_cuda_nearest(cudaStream_t stream, edt_dtype real, const edt_cuda_pixels *pixels,
                             const void *x, void *y)
{
    const float scale_y = (float)pixels->from_h / (float)pixels->h;
    const float scale_x = (float)pixels->from_w / (float)pixels->w;
    return EDT_CUDA_REAL(
        real, T,
        return EDT_CUDA_VEC(pixels->vec, T, V,
                            return EDT_CUDA_LAUNCH((nearest_kernel<T, V>), grid_of(*pixels),
                                                   EDT_CUDA_ROW_THREADS, 0, stream, *pixels,
                                                   scale_y, scale_x, (const T *)x, (T *)y)));
}

cudaError_t edt_cuda_nearest_bwd(cudaStream_t stream, edt_dtype real,
                                 const edt_cuda_pixels *pixels, const void *dy, void *dx)
{
    const float scale_y = (float)pixels->h / (float)pixels->from_h;
    const float scale_x = (float)pixels->w / (float)pixels->from_w;
    return EDT_CUDA_REAL(
        real, T,
        return EDT_CUDA_VEC(pixels->vec, T, V,
                            return EDT_CUDA_LAUNCH((nearest_bwd_kernel<T, V>), grid_of(*pixels),
                                                   EDT_CUDA_ROW_THREADS, 0, stream, *pixels,
                                                   scale_y, scale_x, (const T *)dy, (T *)dx)));
}
