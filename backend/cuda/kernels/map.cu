// Elementwise kernels over flat arrays. The last elements, too few for a packet, are done one
// by one by the first threads.
#include "backend/cuda/kernels/map_kernels.h"
#include "backend/cuda/kernels/rows.cuh"

using edt::from_float;
using edt::load_run;
using edt::run;
using edt::store_run;
using edt::to_float;

namespace
{

// What a thread does once with a run of V elements, then with single ones.
template <int V, typename Each> __device__ inline void for_runs(int64_t n, Each each)
{
    const int64_t first = (int64_t)blockIdx.x * EDT_CUDA_ROW_THREADS + threadIdx.x;
    const int64_t step = (int64_t)gridDim.x * EDT_CUDA_ROW_THREADS;
    const int64_t n_runs = n / V;
    for (int64_t i = first; i < n_runs; i += step) {
        each(edt::run<char, V>(), i * V);
    }
    for (int64_t i = n_runs * V + first; i < n; i += step) {
        each(edt::run<char, 1>(), i);
    }
}

template <typename To, typename From> struct convert {
    static __device__ inline To of(From v)
    {
        return from_float<To>(to_float(v));
    }
};
template <typename From> struct convert<double, From> {
    static __device__ inline double of(From v)
    {
        return (double)to_float(v);
    }
};
template <> struct convert<double, double> {
    static __device__ inline double of(double v)
    {
        return v;
    }
};
// Straight from double: by way of float they would round twice.
template <> struct convert<float, double> {
    static __device__ inline float of(double v)
    {
        return (float)v;
    }
};
template <> struct convert<__nv_bfloat16, double> {
    static __device__ inline __nv_bfloat16 of(double v)
    {
        return __double2bfloat16(v);
    }
};
template <> struct convert<__half, double> {
    static __device__ inline __half of(double v)
    {
        return __double2half(v);
    }
};

template <typename From, typename To>
__global__ void cast_kernel(int64_t n, const From *from, To *to)
{
    for_runs<8>(n, [=](auto size, int64_t at) {
        constexpr int V = sizeof(size);
        const run<From, V> x = load_run<From, V>(from + at);
        run<To, V> y;
#pragma unroll
        for (int i = 0; i < V; ++i) {
            y.at[i] = convert<To, From>::of(x.at[i]);
        }
        store_run(to + at, y);
    });
}

template <typename T, int A>
__global__ void act_kernel(edt_act act, int64_t n, const T *x, T *y)
{
    for_runs<edt::packet<T>::size>(n, [=](auto size, int64_t at) {
        constexpr int V = sizeof(size);
        run<T, V> v = load_run<T, V>(x + at);
#pragma unroll
        for (int i = 0; i < V; ++i) {
            v.at[i] = from_float<T>(edt::act_at<A, T>(act, to_float(v.at[i])));
        }
        store_run(y + at, v);
    });
}

template <typename T, int A>
__global__ void act_bwd_kernel(edt_act act, int64_t n, const T *dy, const T *x, T *dx)
{
    for_runs<edt::packet<T>::size>(n, [=](auto size, int64_t at) {
        constexpr int V = sizeof(size);
        run<T, V> g = load_run<T, V>(dy + at);
        const run<T, V> v = load_run<T, V>(x + at);
#pragma unroll
        for (int i = 0; i < V; ++i) {
            g.at[i] =
                from_float<T>(to_float(g.at[i]) * edt::slope_at<A, T>(act, to_float(v.at[i])));
        }
        store_run(dx + at, g);
    });
}

template <typename T> __global__ void add_kernel(int64_t n, const T *a, const T *b, T *y)
{
    for_runs<edt::packet<T>::size>(n, [=](auto size, int64_t at) {
        constexpr int V = sizeof(size);
        run<T, V> v = load_run<T, V>(a + at);
        const run<T, V> w = load_run<T, V>(b + at);
#pragma unroll
        for (int i = 0; i < V; ++i) {
            v.at[i] = from_float<T>(to_float(v.at[i]) + to_float(w.at[i]));
        }
        store_run(y + at, v);
    });
}

// Images of a size that packets do not divide go element by element: WHOLE false.
template <typename T, bool WHOLE>
__global__ void drop_kernel(int64_t n_images, int64_t n_each, float survival, const T *x,
                            const float *u, T *y)
{
    for (int64_t image = blockIdx.y; image < n_images; image += gridDim.y) {
        const float kept = floorf(survival + u[image]);
        const int64_t base = image * n_each;
        for_runs<WHOLE ? edt::packet<T>::size : 1>(n_each, [=](auto size, int64_t at) {
            constexpr int V = sizeof(size);
            run<T, V> v = load_run<T, V>(x + base + at);
#pragma unroll
            for (int i = 0; i < V; ++i) {
                v.at[i] = from_float<T>(to_float(v.at[i]) / survival * kept);
            }
            store_run(y + base + at, v);
        });
    }
}

// A thread takes V neighbouring values of one pixel row. The arithmetic, rounding by rounding,
// is that of the reference: the network input is a float32 value.
template <typename T, int V>
__global__ void normalize_kernel(edt_cuda_normalize how, const uint8_t *image,
                                 const int32_t *valid_hw, T *y)
{
    const int64_t n_values = 3 * how.w;
    const int64_t first =
        ((int64_t)blockIdx.x * EDT_CUDA_NORMALIZE_COLUMNS + threadIdx.x % 32) * V;
    const int64_t n_rows = how.n * how.h;
    if (first >= n_values) {
        return;
    }
    for (int64_t row = (int64_t)blockIdx.y * EDT_CUDA_NORMALIZE_ROWS + threadIdx.x / 32;
         row < n_rows; row += (int64_t)gridDim.y * EDT_CUDA_NORMALIZE_ROWS) {
        const int64_t n = row / how.h;
        const bool row_inside = row - n * how.h < valid_hw[2 * n];
        const int64_t n_inside = row_inside ? 3 * (int64_t)valid_hw[2 * n + 1] : 0;
        const run<uint8_t, V> from = load_run<uint8_t, V>(image + row * n_values + first);
        run<T, V> to;
        int c = (int)(first % 3);
#pragma unroll
        for (int i = 0; i < V; ++i) {
            const float mean = c == 0 ? how.mean[0] : c == 1 ? how.mean[1] : how.mean[2];
            const float std = c == 0 ? how.std[0] : c == 1 ? how.std[1] : how.std[2];
            float v = first + i < n_inside ? ((float)from.at[i] - mean) / std : 0.0F;
            if (how.scale_range != 0) {
                v = v * 2.0F / 255.0F - 1.0F;
            }
            to.at[i] = from_float<T>(v);
            c = c == 2 ? 0 : c + 1;
        }
        store_run(y + row * n_values + first, to);
    }
}

template <typename From>
cudaError_t cast_from(cudaStream_t stream, int n_blocks, edt_dtype to_type, int64_t n,
                      const void *from, void *to)
{
    if (to_type == EDT_DTYPE_F64) {
        return EDT_CUDA_LAUNCH((cast_kernel<From, double>), n_blocks, EDT_CUDA_ROW_THREADS, 0,
                               stream, n, (const From *)from, (double *)to);
    }
    return EDT_CUDA_REAL(to_type, T,
                         return EDT_CUDA_LAUNCH((cast_kernel<From, T>), n_blocks,
                                                EDT_CUDA_ROW_THREADS, 0, stream, n,
                                                (const From *)from, (T *)to));
}

} // namespace

cudaError_t edt_cuda_cast(cudaStream_t stream, int n_blocks, edt_dtype from_type,
                          edt_dtype to_type, int64_t n, const void *from, void *to)
{
    if (from_type == EDT_DTYPE_F64) {
        return cast_from<double>(stream, n_blocks, to_type, n, from, to);
    }
    return EDT_CUDA_REAL(from_type, T,
                         return cast_from<T>(stream, n_blocks, to_type, n, from, to));
}

cudaError_t edt_cuda_act(cudaStream_t stream, int n_blocks, edt_dtype real, edt_act act,
                         int64_t n, const void *x, void *y)
{
    return EDT_CUDA_REAL(
        real, T,
        return EDT_CUDA_ACT(act, A,
                            return EDT_CUDA_LAUNCH((act_kernel<T, A>), n_blocks,
                                                   EDT_CUDA_ROW_THREADS, 0, stream, act, n,
                                                   (const T *)x, (T *)y)));
}

cudaError_t edt_cuda_act_bwd(cudaStream_t stream, int n_blocks, edt_dtype real, edt_act act,
                             int64_t n, const void *dy, const void *x, void *dx)
{
    return EDT_CUDA_REAL(
        real, T,
        return EDT_CUDA_ACT(act, A,
                            return EDT_CUDA_LAUNCH((act_bwd_kernel<T, A>), n_blocks,
                                                   EDT_CUDA_ROW_THREADS, 0, stream, act, n,
                                                   (const T *)dy, (const T *)x, (T *)dx)));
}

cudaError_t edt_cuda_add(cudaStream_t stream, int n_blocks, edt_dtype real, int64_t n,
                         const void *a, const void *b, void *y)
{
    return EDT_CUDA_REAL(real, T,
                         return EDT_CUDA_LAUNCH((add_kernel<T>), n_blocks, EDT_CUDA_ROW_THREADS,
                                                0, stream, n, (const T *)a, (const T *)b,
                                                (T *)y));
}

cudaError_t edt_cuda_drop_connect(cudaStream_t stream, int n_blocks, int grid_images,
                                  edt_dtype real, int64_t n_images, int64_t n_each,
                                  float survival, const void *x, const float *u, void *y)
{
    const dim3 grid((unsigned)n_blocks, (unsigned)grid_images);
    return EDT_CUDA_REAL(
        real, T,
        if (n_each % edt::packet<T>::size != 0) {
            return EDT_CUDA_LAUNCH((drop_kernel<T, false>), grid, EDT_CUDA_ROW_THREADS, 0,
                                   stream, n_images, n_each, survival, (const T *)x, u, (T *)y);
        } return EDT_CUDA_LAUNCH((drop_kernel<T, true>), grid, EDT_CUDA_ROW_THREADS, 0, stream,
                                 n_images, n_each, survival, (const T *)x, u, (T *)y));
}

cudaError_t edt_cuda_normalize_images(cudaStream_t stream, edt_dtype real,
                                      const edt_cuda_normalize *how, const uint8_t *image,
                                      const int32_t *valid_hw, void *y)
{
    constexpr int V = EDT_CUDA_NORMALIZE_RUN;
    const dim3 grid((unsigned)how->grid_x, (unsigned)how->grid_y);
    constexpr int n_threads = EDT_CUDA_NORMALIZE_COLUMNS * EDT_CUDA_NORMALIZE_ROWS;
    return EDT_CUDA_REAL(
        real, T,
        if (how->run == 1) {
            return EDT_CUDA_LAUNCH((normalize_kernel<T, 1>), grid, n_threads, 0, stream, *how,
                                   image, valid_hw, (T *)y);
        } return EDT_CUDA_LAUNCH((normalize_kernel<T, V>), grid, n_threads, 0, stream, *how,
                                 image, valid_hw, (T *)y));
}
