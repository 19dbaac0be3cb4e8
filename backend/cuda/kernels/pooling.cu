// Pooling over all pixels of an image, scaling of channels, and their gradients.
#include "backend/cuda/kernels/pooling_kernels.h"
#include "backend/cuda/kernels/rows.cuh"

using edt::for_rows;
using edt::from_float;
using edt::load_run;
using edt::place_in;
using edt::row_place;
using edt::row_sums;
using edt::run;
using edt::store_run;
using edt::to_float;

namespace
{

// The sums of an image times `factor`: straight to the result where one block has them all,
// else to the partial sums.
template <typename T, int V>
__device__ inline void store_sums(const edt_cuda_rows &rows, const row_place &place, int64_t n,
                                  row_sums<1, V> &sums, double factor, double *partial, T *y)
{
    if (gridDim.x > 1) {
        edt::store_partial(rows, place, n, sums, partial);
        return;
    }
    edt::fold_lanes(rows, place, sums);
    if (place.active && place.lane == 0) {
        run<T, V> values;
        for (int i = 0; i < V; ++i) {
            values.at[i] = from_float<T>((float)(sums.total[0][i] * factor));
        }
        store_run(y + n * rows.n_channels + place.channel, values);
    }
}

template <typename T, int V>
__global__ void average_kernel(edt_cuda_rows rows, const T *x, double *partial, T *y)
{
    const row_place place = place_in<V>(rows);
    for (int64_t n = blockIdx.z; n < rows.n_images; n += gridDim.z) {
        row_sums<1, V> sums;
        const T *const from[1] = {x};
        for_rows<T, V>(
            rows, place, n, from,
            [&](const run<T, V>(&v)[1], int64_t) {
#pragma unroll
                for (int i = 0; i < V; ++i) {
                    sums.batch[0][i] += to_float(v[0].at[i]);
                }
            },
            [&]() { sums.flush(); });
        store_sums<T, V>(rows, place, n, sums, 1.0 / (double)rows.n_rows, partial, y);
    }
}

// y = factor * the sum of an image's parts.
template <typename T>
__global__ void finish_kernel(edt_cuda_rows rows, double factor, const double *partial, T *y)
{
    const edt::sum_place place = edt::place_of_sum();
    for (int64_t n = blockIdx.y; n < rows.n_images; n += gridDim.y) {
        double sums[1];
        edt::sum_parts<1>(place, partial + n * rows.parts * rows.n_channels, rows.parts,
                          rows.n_channels, sums);
        if (place.lane == 0 && place.channel < rows.n_channels) {
            y[n * rows.n_channels + place.channel] = from_float<T>((float)(sums[0] * factor));
        }
    }
}

template <typename T, int V>
__global__ void average_bwd_kernel(edt_cuda_rows rows, const T *dy, T *dx)
{
    const row_place place = place_in<V>(rows);
    if (!place.active) {
        return;
    }
    const int64_t step = (int64_t)gridDim.x * rows.lanes;
    for (int64_t n = blockIdx.z; n < rows.n_images; n += gridDim.z) {
        run<T, V> g = load_run<T, V>(dy + n * rows.n_channels + place.channel);
        for (int i = 0; i < V; ++i) {
            g.at[i] = from_float<T>(to_float(g.at[i]) / (float)rows.n_rows);
        }
        T *to = dx + n * rows.n_rows * rows.n_channels + place.channel;
        for (int64_t row = (int64_t)blockIdx.x * rows.lanes + place.lane; row < rows.n_rows;
             row += step) {
            store_run(to + row * rows.n_channels, g);
        }
    }
}

template <typename T, int V>
__device__ inline void load_scales(const edt_cuda_rows &rows, const row_place &place, int64_t n,
                                   const T *s, float (&to)[V])
{
    if (place.active) {
        const run<T, V> values = load_run<T, V>(s + n * rows.n_channels + place.channel);
        for (int i = 0; i < V; ++i) {
            to[i] = to_float(values.at[i]);
        }
    }
}

template <typename T, int V>
__global__ void scale_kernel(edt_cuda_rows rows, const T *x, const T *s, T *y)
{
    const row_place place = place_in<V>(rows);
    for (int64_t n = blockIdx.z; n < rows.n_images; n += gridDim.z) {
        float scale[V];
        load_scales(rows, place, n, s, scale);
        const T *const from[1] = {x};
        for_rows<T, V>(
            rows, place, n, from,
            [&](run<T, V>(&v)[1], int64_t at) {
#pragma unroll
                for (int i = 0; i < V; ++i) {
                    v[0].at[i] = from_float<T>(to_float(v[0].at[i]) * scale[i]);
                }
                store_run(y + at, v[0]);
            },
            [] {});
    }
}

template <typename T, int V>
EDT_CUDA_ROW_KERNEL scale_bwd_kernel(edt_cuda_rows rows, const T *dy, const T *x, const T *s,
                                     double *partial, T *dx, T *ds)
{
    const row_place place = place_in<V>(rows);
    for (int64_t n = blockIdx.z; n < rows.n_images; n += gridDim.z) {
        float scale[V];
        load_scales(rows, place, n, s, scale);
        row_sums<1, V> sums;
        const T *const from[2] = {dy, x};
        for_rows<T, V>(
            rows, place, n, from,
            [&](run<T, V>(&v)[2], int64_t at) {
#pragma unroll
                for (int i = 0; i < V; ++i) {
                    const float g = to_float(v[0].at[i]);
                    sums.batch[0][i] += g * to_float(v[1].at[i]);
                    v[0].at[i] = from_float<T>(g * scale[i]);
                }
                if (dx != nullptr) {
                    store_run(dx + at, v[0]);
                }
            },
            [&]() { sums.flush(); });
        if (ds != nullptr) {
            store_sums<T, V>(rows, place, n, sums, 1.0, partial, ds);
        }
    }
}

template <typename T>
cudaError_t finish(cudaStream_t stream, const edt_cuda_rows &rows, double factor,
                   const double *partial, T *y)
{
    if (rows.parts == 1) {
        return cudaSuccess;
    }
    return EDT_CUDA_LAUNCH((finish_kernel<T>), edt::sum_grid(rows.n_channels, rows.grid_images),
                           EDT_CUDA_ROW_THREADS, 0, stream, rows, factor, partial, y);
}

} // namespace

cudaError_t edt_cuda_average(cudaStream_t stream, edt_dtype real, const edt_cuda_rows *rows,
                             const void *x, double *partial, void *y)
{
    const cudaError_t code = EDT_CUDA_REAL(
        real, T,
        return EDT_CUDA_VEC(rows->vec, T, V,
                            return EDT_CUDA_LAUNCH((average_kernel<T, V>), edt::row_grid(*rows),
                                                   EDT_CUDA_ROW_THREADS, 0, stream, *rows,
                                                   (const T *)x, partial, (T *)y)));
    if (code != cudaSuccess) {
        return code;
    }
    return EDT_CUDA_REAL(
        real, T, return finish(stream, *rows, 1.0 / (double)rows->n_rows, partial, (T *)y));
}

cudaError_t edt_cuda_average_bwd(cudaStream_t stream, edt_dtype real, const edt_cuda_rows *rows,
                                 const void *dy, void *dx)
{
    return EDT_CUDA_REAL(
        real, T,
        return EDT_CUDA_VEC(rows->vec, T, V,
                            return EDT_CUDA_LAUNCH((average_bwd_kernel<T, V>),
                                                   edt::row_grid(*rows), EDT_CUDA_ROW_THREADS,
                                                   0, stream, *rows, (const T *)dy, (T *)dx)));
}

cudaError_t edt_cuda_scale(cudaStream_t stream, edt_dtype real, const edt_cuda_rows *rows,
                           const void *x, const void *s, void *y)
{
    return EDT_CUDA_REAL(
        real, T,
        return EDT_CUDA_VEC(rows->vec, T, V,
                            return EDT_CUDA_LAUNCH((scale_kernel<T, V>), edt::row_grid(*rows),
                                                   EDT_CUDA_ROW_THREADS, 0, stream, *rows,
                                                   (const T *)x, (const T *)s, (T *)y)));
}

cudaError_t edt_cuda_scale_bwd(cudaStream_t stream, edt_dtype real, const edt_cuda_rows *rows,
                               const void *dy, const void *x, const void *s, double *partial,
                               void *dx, void *ds)
{
    const cudaError_t code = EDT_CUDA_REAL(
        real, T,
        return EDT_CUDA_VEC(
            rows->vec, T, V,
            return EDT_CUDA_LAUNCH((scale_bwd_kernel<T, V>), edt::row_grid(*rows),
                                   EDT_CUDA_ROW_THREADS, 0, stream, *rows, (const T *)dy,
                                   (const T *)x, (const T *)s, partial, (T *)dx, (T *)ds)));
    if (code != cudaSuccess || ds == nullptr) {
        return code;
    }
    return EDT_CUDA_REAL(real, T, return finish(stream, *rows, 1.0, partial, (T *)ds));
}
