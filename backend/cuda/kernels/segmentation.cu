// Joining of channels, a bias by itself and srelu, with their gradients. srelu is exact
// whatever the type: its logarithm's argument goes into the millions, and it is no op of the
// fast models.
#include "backend/cuda/kernels/segmentation_kernels.h"

#include "backend/cuda/kernels/rows.cuh"

using edt::from_float;
using edt::load_run;
using edt::place_in;
using edt::row_place;
using edt::run;
using edt::store_run;
using edt::to_float;

namespace
{

// Calls each(row, column, at_a) for the runs of V elements of the joined rows.
template <int V, typename Each>
__device__ inline void for_joined(const edt_cuda_join &join, Each each)
{
    const int64_t n_runs = (join.n_a + join.n_b) / V;
    const int64_t step = (int64_t)gridDim.x * EDT_CUDA_ROW_THREADS;
    for (int64_t i = (int64_t)blockIdx.x * EDT_CUDA_ROW_THREADS + threadIdx.x;
         i < join.n_rows * n_runs; i += step) {
        const int64_t row = i / n_runs;
        each(row, (i - row * n_runs) * V, i * V);
    }
}

template <typename T, int V>
__global__ void concat_kernel(edt_cuda_join join, const T *a, const T *b, T *y)
{
    for_joined<V>(join, [&](int64_t row, int64_t column, int64_t at) {
        const T *from = column < join.n_a ? a + row * join.n_a + column
                                          : b + row * join.n_b + (column - join.n_a);
        store_run(y + at, load_run<T, V>(from));
    });
}

template <typename T, int V>
__global__ void concat_bwd_kernel(edt_cuda_join join, const T *dy, T *da, T *db)
{
    for_joined<V>(join, [&](int64_t row, int64_t column, int64_t at) {
        T *const to = column < join.n_a ? da : db;
        if (to == nullptr) {
            return;
        }
        const int64_t place =
            column < join.n_a ? row * join.n_a + column : row * join.n_b + (column - join.n_a);
        store_run(to + place, load_run<T, V>(dy + at));
    });
}

template <typename T, int V>
__global__ void bias_kernel(edt_cuda_rows rows, const T *x, const T *b, T *y)
{
    const row_place place = place_in<V>(rows);
    float offset[V];
    for (int i = 0; place.active && i < V; ++i) {
        offset[i] = to_float(b[place.channel + i]);
    }
    const T *const from[1] = {x};
    edt::for_rows<T, V>(
        rows, place, 0, from,
        [&](run<T, V>(&v)[1], int64_t at) {
#pragma unroll
            for (int i = 0; i < V; ++i) {
                v[0].at[i] = from_float<T>(to_float(v[0].at[i]) + offset[i]);
            }
            store_run(y + at, v[0]);
        },
        [] {});
}

// b^4, rounded once.
__device__ inline float beta_of(const float *b)
{
    const double v = (double)*b;
    return (float)(v * v * v * v);
}

// What a thread does once with a run of V elements, then with single ones.
template <int V, typename Each> __device__ inline void for_runs(int64_t n, Each each)
{
    const int64_t first = (int64_t)blockIdx.x * EDT_CUDA_ROW_THREADS + threadIdx.x;
    const int64_t step = (int64_t)gridDim.x * EDT_CUDA_ROW_THREADS;
    const int64_t n_runs = n / V;
    for (int64_t i = first; i < n_runs; i += step) {
        each(run<char, V>(), i * V);
    }
    for (int64_t i = n_runs * V + first; i < n; i += step) {
        each(run<char, 1>(), i);
    }
}

template <typename T> __global__ void srelu_kernel(int64_t n, const T *x, const float *b, T *y)
{
    const float beta = beta_of(b);
    for_runs<edt::packet<T>::size>(n, [=](auto size, int64_t at) {
        constexpr int V = sizeof(size);
        run<T, V> values = load_run<T, V>(x + at);
#pragma unroll
        for (int i = 0; i < V; ++i) {
            const float v = to_float(values.at[i]);
            // NaN stays.
            values.at[i] = from_float<T>(v > 0.0F ? v - log1pf(beta * v) / beta : 0.0F * v);
        }
        store_run(y + at, values);
    });
}

template <typename T>
__global__ void srelu_bwd_kernel(int64_t n, const T *dy, const T *x, const float *b,
                                 double *partial, T *dx)
{
    const float beta = beta_of(b);
    double total = 0;
    for_runs<edt::packet<T>::size>(n, [&](auto size, int64_t at) {
        constexpr int V = sizeof(size);
        run<T, V> g = load_run<T, V>(dy + at);
        const run<T, V> values = load_run<T, V>(x + at);
        float sum = 0.0F;
#pragma unroll
        for (int i = 0; i < V; ++i) {
            const float v = to_float(values.at[i]);
            const float u = v > 0.0F ? beta * v : 0.0F * v;
            const float slope = u / (1.0F + u);
            sum += to_float(g.at[i]) * (log1pf(u) - slope);
            g.at[i] = from_float<T>(to_float(g.at[i]) * slope);
        }
        total += (double)sum;
        if (dx != nullptr) {
            store_run(dx + at, g);
        }
    });
    total = edt::block_sum<EDT_CUDA_ROW_THREADS>(total);
    if (threadIdx.x == 0) {
        partial[blockIdx.x] = total;
    }
}

// One block: the sum of the partials times d beta / d b / beta^2, with d beta / d b = 4 b^3.
__global__ void finish_srelu(const double *partial, int n, const float *b, bool accumulate,
                             float *db)
{
    double sum = 0;
    for (int i = (int)threadIdx.x; i < n; i += EDT_CUDA_ROW_THREADS) {
        sum += partial[i];
    }
    sum = edt::block_sum<EDT_CUDA_ROW_THREADS>(sum);
    if (threadIdx.x == 0) {
        const double v = (double)*b;
        const double gradient = 4 / (v * v * v * v * v) * sum;
        *db = (float)(accumulate ? (double)*db + gradient : gradient);
    }
}

} // namespace

cudaError_t edt_cuda_concat(cudaStream_t stream, edt_dtype real, const edt_cuda_join *join,
                            const void *a, const void *b, void *y)
{
    return EDT_CUDA_REAL(
        real, T,
        return EDT_CUDA_VEC(join->vec, T, V,
                            return EDT_CUDA_LAUNCH((concat_kernel<T, V>), join->n_blocks,
                                                   EDT_CUDA_ROW_THREADS, 0, stream, *join,
                                                   (const T *)a, (const T *)b, (T *)y)));
}

cudaError_t edt_cuda_concat_bwd(cudaStream_t stream, edt_dtype real, const edt_cuda_join *join,
                                const void *dy, void *da, void *db)
{
    return EDT_CUDA_REAL(
        real, T,
        return EDT_CUDA_VEC(join->vec, T, V,
                            return EDT_CUDA_LAUNCH((concat_bwd_kernel<T, V>), join->n_blocks,
                                                   EDT_CUDA_ROW_THREADS, 0, stream, *join,
                                                   (const T *)dy, (T *)da, (T *)db)));
}

cudaError_t edt_cuda_bias(cudaStream_t stream, edt_dtype real, const edt_cuda_rows *rows,
                          const void *x, const void *b, void *y)
{
    return EDT_CUDA_REAL(
        real, T,
        return EDT_CUDA_VEC(rows->vec, T, V,
                            return EDT_CUDA_LAUNCH((bias_kernel<T, V>), edt::row_grid(*rows),
                                                   EDT_CUDA_ROW_THREADS, 0, stream, *rows,
                                                   (const T *)x, (const T *)b, (T *)y)));
}

cudaError_t edt_cuda_srelu(cudaStream_t stream, int n_blocks, edt_dtype real, int64_t n,
                           const void *x, const float *b, void *y)
{
    return EDT_CUDA_REAL(real, T,
                         return EDT_CUDA_LAUNCH((srelu_kernel<T>), n_blocks,
                                                EDT_CUDA_ROW_THREADS, 0, stream, n,
                                                (const T *)x, b, (T *)y));
}

cudaError_t edt_cuda_srelu_bwd(cudaStream_t stream, int n_blocks, edt_dtype real, int64_t n,
                               const void *dy, const void *x, const float *b, double *partial,
                               bool accumulate, void *dx, float *db)
{
    const cudaError_t code = EDT_CUDA_REAL(
        real, T,
        return EDT_CUDA_LAUNCH((srelu_bwd_kernel<T>), n_blocks, EDT_CUDA_ROW_THREADS, 0, stream,
                               n, (const T *)dy, (const T *)x, b, partial, (T *)dx));
    if (code != cudaSuccess || db == nullptr) {
        return code;
    }
    return EDT_CUDA_LAUNCH(finish_srelu, 1, EDT_CUDA_ROW_THREADS, 0, stream, partial, n_blocks,
                           b, accumulate, db);
}
