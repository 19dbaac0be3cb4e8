// Batch normalisation. Statistics are taken in one pass, of x minus an origin near its mean, so
// that the variance does not drown in the square of the mean; float over a few rows, double
// from there on.
#include "backend/cuda/kernels/norm_kernels.h"
#include "backend/cuda/kernels/rows.cuh"

using edt::for_rows;
using edt::from_float;
using edt::load_channels;
using edt::place_in;
using edt::row_place;
using edt::row_sums;
using edt::run;
using edt::store_run;
using edt::to_float;

namespace
{

// Most groups of a block that does everything (edt_cuda_rows_whole): what its threads share.
constexpr int WHOLE_GROUPS = EDT_CUDA_WHOLE_GROUPS;

// Near the mean of the channel: that of four rows far from each other.
template <typename T>
__device__ inline float origin_at(const edt_cuda_rows &rows, const T *x, int64_t channel)
{
    const int64_t quarter = rows.n_rows / 4;
    float v[4];
    for (int i = 0; i < 4; ++i) {
        v[i] = to_float(x[i * quarter * rows.n_channels + channel]);
    }
    return ((v[0] + v[1]) + (v[2] + v[3])) * 0.25F;
}

template <typename T, int V>
__device__ inline void sum_differences(const edt_cuda_rows &rows, const row_place &place,
                                       const T *x, const float *origins, row_sums<2, V> &sums)
{
    float origin[V];
    if (place.active) {
        for (int i = 0; i < V; ++i) {
            origin[i] = origins != nullptr ? origins[place.channel + i]
                                           : origin_at(rows, x, place.channel + i);
        }
    }
    const T *const from[1] = {x};
    for_rows<T, V>(
        rows, place, 0, from,
        [&](const run<T, V>(&v)[1], int64_t) {
#pragma unroll
            for (int i = 0; i < V; ++i) {
                const float d = to_float(v[0].at[i]) - origin[i];
                sums.batch[0][i] += d;
                sums.batch[1][i] += d * d;
            }
        },
        [&]() { sums.flush(); });
}

template <typename T, int V>
EDT_CUDA_ROW_KERNEL stats_kernel(edt_cuda_rows rows, const T *x, const float *origin,
                                 double *partial)
{
    const row_place place = place_in<V>(rows);
    row_sums<2, V> sums;
    sum_differences(rows, place, x, origin, sums);
    edt::store_partial(rows, place, 0, sums, partial);
}

__global__ void add_parts_kernel(int64_t n_channels, int n_parts, const double *partial,
                                 double *sums)
{
    const edt::sum_place place = edt::place_of_sum();
    double both[2];
    edt::sum_parts<2>(place, partial, n_parts, n_channels, both);
    if (place.lane == 0 && place.channel < n_channels) {
        sums[place.channel] = both[0];
        sums[n_channels + place.channel] = both[1];
    }
}

// Writes what a channel's sums say; returns shift and scale of the normalisation.
__device__ inline void finish_channel(const edt_cuda_norm &norm, int64_t c, double origin,
                                      double sum, double square, float *out_shift,
                                      float *out_scale)
{
    const double offset = sum / norm.n_rows;
    const double spread = square / norm.n_rows - offset * offset;
    const double var = spread < 0 ? 0 : spread; // NaN stays
    const double mean = origin + offset;
    const double invstd = 1 / sqrt(var + norm.epsilon);
    const double old_mean = (double)norm.moving_mean[c];
    const double old_var = (double)norm.moving_var[c];
    norm.moving_mean[c] = (float)(old_mean - (old_mean - mean) * norm.keep);
    norm.moving_var[c] = (float)(old_var - (old_var - var * norm.unbiased) * norm.keep);
    if (norm.mean != nullptr) {
        norm.mean[c] = (float)mean;
    }
    if (norm.invstd != nullptr) {
        norm.invstd[c] = (float)invstd;
    }
    *out_shift = (float)mean;
    *out_scale = (float)((double)norm.gamma[c] * invstd);
}

template <typename T>
__global__ void finish_kernel(edt_cuda_rows rows, edt_cuda_norm norm, const T *x,
                              const float *origins, int n_parts, const double *partial)
{
    const edt::sum_place place = edt::place_of_sum();
    double sums[2];
    edt::sum_parts<2>(place, partial, n_parts, rows.n_channels, sums);
    const int64_t c = place.channel;
    if (place.lane == 0 && c < rows.n_channels) {
        const float origin = origins != nullptr ? origins[c] : origin_at(rows, x, c);
        finish_channel(norm, c, (double)origin, sums[0], sums[1], &norm.shift[c],
                       &norm.scale[c]);
    }
}

template <typename T, int V, int A>
__device__ inline void apply_rows(const edt_cuda_rows &rows, const row_place &place,
                                  edt_act act, const T *x, const float (&shift)[V],
                                  const float (&scale)[V], const float (&beta)[V], T *y)
{
    const T *const from[1] = {x};
    for_rows<T, V>(
        rows, place, 0, from,
        [&](run<T, V>(&v)[1], int64_t at) {
#pragma unroll
            for (int i = 0; i < V; ++i) {
                const float z = (to_float(v[0].at[i]) - shift[i]) * scale[i] + beta[i];
                v[0].at[i] = from_float<T>(edt::act_at<A, T>(act, z));
            }
            store_run(y + at, v[0]);
        },
        [] {});
}

template <typename T, int V, int A>
__global__ void apply_kernel(edt_cuda_rows rows, edt_act act, const T *x, const float *shifts,
                             const float *scales, const float *gamma, const float *var,
                             float epsilon, const float *betas, T *y)
{
    const row_place place = place_in<V>(rows);
    if (!place.active) {
        return;
    }
    float shift[V];
    float scale[V];
    float beta[V];
    load_channels(shifts + place.channel, shift);
    load_channels(betas + place.channel, beta);
    for (int i = 0; i < V; ++i) {
        const int64_t c = place.channel + i;
        scale[i] = scales != nullptr ? scales[c] : gamma[c] / sqrtf(var[c] + epsilon);
    }
    apply_rows<T, V, A>(rows, place, act, x, shift, scale, beta, y);
}

template <typename T, int V, int A>
EDT_CUDA_ROW_KERNEL whole_kernel(edt_cuda_rows rows, edt_act act, edt_cuda_norm norm,
                                 const T *x, T *y)
{
    __shared__ float shared[2][WHOLE_GROUPS * V];
    const row_place place = place_in<V>(rows);
    row_sums<2, V> sums;
    sum_differences(rows, place, x, nullptr, sums);
    edt::fold_lanes(rows, place, sums);
    const int first = place.group * V;
    if (place.active && place.lane == 0) {
        for (int i = 0; i < V; ++i) {
            const int64_t c = place.channel + i;
            finish_channel(norm, c, (double)origin_at(rows, x, c), sums.total[0][i],
                           sums.total[1][i], &shared[0][first + i], &shared[1][first + i]);
        }
    }
    __syncthreads();
    if (!place.active) {
        return;
    }
    float shift[V];
    float scale[V];
    float beta[V];
    load_channels(&shared[0][first], shift);
    load_channels(&shared[1][first], scale);
    load_channels(norm.beta + place.channel, beta);
    apply_rows<T, V, A>(rows, place, act, x, shift, scale, beta, y);
}

// What the gradient needs of a thread's channels.
template <int V> struct channel_norms {
    float mean[V], invstd[V], gamma[V], beta[V];

    __device__ inline channel_norms(const edt_cuda_norm_bwd &bwd, const row_place &place)
    {
        if (!place.active) {
            return;
        }
        load_channels(bwd.mean + place.channel, mean);
        load_channels(bwd.invstd + place.channel, invstd);
        load_channels(bwd.gamma + place.channel, gamma);
        load_channels(bwd.beta + place.channel, beta);
        for (int i = 0; bwd.from_variance != 0 && i < V; ++i) {
            invstd[i] = 1.0F / sqrtf(invstd[i] + bwd.epsilon);
        }
    }

    template <int A, typename T>
    __device__ inline float slope(edt_act act, int i, float x, float dy, float *out_xhat) const
    {
        *out_xhat = (x - mean[i]) * invstd[i];
        return A == EDT_ACT_NONE
                   ? dy
                   : dy * edt::slope_at<A, T>(act, *out_xhat * gamma[i] + beta[i]);
    }
};

template <typename T, int V, int A>
__device__ inline void sum_slopes(const edt_cuda_rows &rows, const row_place &place,
                                  const edt_cuda_norm_bwd &bwd, const channel_norms<V> &norms,
                                  const T *dy, const T *x, row_sums<2, V> &sums)
{
    const T *const from[2] = {dy, x};
    for_rows<T, V>(
        rows, place, 0, from,
        [&](const run<T, V>(&v)[2], int64_t) {
#pragma unroll
            for (int i = 0; i < V; ++i) {
                float xhat;
                const float dz = norms.template slope<A, T>(bwd.act, i, to_float(v[1].at[i]),
                                                            to_float(v[0].at[i]), &xhat);
                sums.batch[0][i] += dz;
                sums.batch[1][i] += dz * xhat;
            }
        },
        [&]() { sums.flush(); });
}

template <typename T, int V, int A>
EDT_CUDA_ROW_KERNEL bwd_sums_kernel(edt_cuda_rows rows, edt_cuda_norm_bwd bwd, const T *dy,
                                    const T *x, double *partial)
{
    const row_place place = place_in<V>(rows);
    const channel_norms<V> norms(bwd, place);
    row_sums<2, V> sums;
    sum_slopes<T, V, A>(rows, place, bwd, norms, dy, x, sums);
    edt::store_partial(rows, place, 0, sums, partial);
}

__device__ inline void put(float *to, int64_t i, double value, int accumulate)
{
    if (to != nullptr) {
        to[i] = (float)(accumulate != 0 ? (double)to[i] + value : value);
    }
}

__global__ void bwd_finish_kernel(edt_cuda_rows rows, edt_cuda_norm_bwd bwd,
                                  const double *partial)
{
    const edt::sum_place place = edt::place_of_sum();
    double sums[2];
    edt::sum_parts<2>(place, partial, rows.parts, rows.n_channels, sums);
    const int64_t c = place.channel;
    if (place.lane == 0 && c < rows.n_channels) {
        put(bwd.dbeta, c, sums[0], bwd.accumulate);
        put(bwd.dgamma, c, sums[1], bwd.accumulate);
        if (bwd.sums != nullptr) {
            bwd.sums[c] = sums[0];
            bwd.sums[rows.n_channels + c] = sums[1];
        }
    }
}

// dx = gamma * invstd * (dz - mean of dz - xhat * mean of dz * xhat)
template <typename T, int V, int A>
__device__ inline void apply_slopes(const edt_cuda_rows &rows, const row_place &place,
                                    const edt_cuda_norm_bwd &bwd, const channel_norms<V> &norms,
                                    const float (&mean_dz)[V], const float (&mean_dz_xhat)[V],
                                    const T *dy, const T *x, T *dx)
{
    const T *const from[2] = {dy, x};
    for_rows<T, V>(
        rows, place, 0, from,
        [&](run<T, V>(&v)[2], int64_t at) {
#pragma unroll
            for (int i = 0; i < V; ++i) {
                float xhat;
                const float dz = norms.template slope<A, T>(bwd.act, i, to_float(v[1].at[i]),
                                                            to_float(v[0].at[i]), &xhat);
                v[0].at[i] = from_float<T>(norms.gamma[i] * norms.invstd[i] *
                                           (dz - mean_dz[i] - xhat * mean_dz_xhat[i]));
            }
            store_run(dx + at, v[0]);
        },
        [] {});
}

template <typename T, int V, int A>
EDT_CUDA_ROW_KERNEL bwd_apply_kernel(edt_cuda_rows rows, edt_cuda_norm_bwd bwd, const T *dy,
                                     const T *x, T *dx)
{
    const row_place place = place_in<V>(rows);
    if (!place.active) {
        return;
    }
    const channel_norms<V> norms(bwd, place);
    float mean_dz[V] = {};
    float mean_dz_xhat[V] = {};
    for (int i = 0; bwd.per_row > 0 && i < V; ++i) {
        const int64_t c = place.channel + i;
        mean_dz[i] = (float)(bwd.sums[c] * bwd.per_row);
        mean_dz_xhat[i] = (float)(bwd.sums[rows.n_channels + c] * bwd.per_row);
    }
    apply_slopes<T, V, A>(rows, place, bwd, norms, mean_dz, mean_dz_xhat, dy, x, dx);
}

template <typename T, int V, int A>
EDT_CUDA_ROW_KERNEL bwd_whole_kernel(edt_cuda_rows rows, edt_cuda_norm_bwd bwd, const T *dy,
                                     const T *x, T *dx)
{
    __shared__ float shared[2][WHOLE_GROUPS * V];
    const row_place place = place_in<V>(rows);
    const channel_norms<V> norms(bwd, place);
    row_sums<2, V> sums;
    sum_slopes<T, V, A>(rows, place, bwd, norms, dy, x, sums);
    edt::fold_lanes(rows, place, sums);
    const int first = place.group * V;
    if (place.active && place.lane == 0) {
        for (int i = 0; i < V; ++i) {
            put(bwd.dbeta, place.channel + i, sums.total[0][i], bwd.accumulate);
            put(bwd.dgamma, place.channel + i, sums.total[1][i], bwd.accumulate);
            shared[0][first + i] = (float)(sums.total[0][i] * bwd.per_row);
            shared[1][first + i] = (float)(sums.total[1][i] * bwd.per_row);
        }
    }
    __syncthreads();
    if (!place.active || dx == nullptr) {
        return;
    }
    float mean_dz[V];
    float mean_dz_xhat[V];
    load_channels(&shared[0][first], mean_dz);
    load_channels(&shared[1][first], mean_dz_xhat);
    apply_slopes<T, V, A>(rows, place, bwd, norms, mean_dz, mean_dz_xhat, dy, x, dx);
}

} // namespace

cudaError_t edt_cuda_norm_stats(cudaStream_t stream, edt_dtype real, const edt_cuda_rows *rows,
                                const void *x, const float *origin, double *partial)
{
    return EDT_CUDA_REAL(
        real, T,
        return EDT_CUDA_VEC(rows->vec, T, V,
                            return EDT_CUDA_LAUNCH((stats_kernel<T, V>), edt::row_grid(*rows),
                                                   EDT_CUDA_ROW_THREADS, 0, stream, *rows,
                                                   (const T *)x, origin, partial)));
}

cudaError_t edt_cuda_norm_add_parts(cudaStream_t stream, int64_t n_channels, int n_parts,
                                    const double *partial, double *sums)
{
    return EDT_CUDA_LAUNCH(add_parts_kernel, edt::sum_grid(n_channels, 1), EDT_CUDA_ROW_THREADS,
                           0, stream, n_channels, n_parts, partial, sums);
}

cudaError_t edt_cuda_norm_finish(cudaStream_t stream, edt_dtype real, const edt_cuda_rows *rows,
                                 const edt_cuda_norm *norm, const void *x, const float *origin,
                                 int n_parts, const double *partial)
{
    return EDT_CUDA_REAL(real, T,
                         return EDT_CUDA_LAUNCH((finish_kernel<T>),
                                                edt::sum_grid(rows->n_channels, 1),
                                                EDT_CUDA_ROW_THREADS, 0, stream, *rows, *norm,
                                                (const T *)x, origin, n_parts, partial));
}

cudaError_t edt_cuda_norm_apply(cudaStream_t stream, edt_dtype real, const edt_cuda_rows *rows,
                                edt_act act, const void *x, const float *shift,
                                const float *scale, const float *gamma, const float *var,
                                float epsilon, const float *beta, void *y)
{
    return EDT_CUDA_REAL(
        real, T,
        return EDT_CUDA_VEC(
            rows->vec, T, V,
            return EDT_CUDA_ACT(act, A,
                                return EDT_CUDA_LAUNCH(
                                    (apply_kernel<T, V, A>), edt::row_grid(*rows),
                                    EDT_CUDA_ROW_THREADS, 0, stream, *rows, act, (const T *)x,
                                    shift, scale, gamma, var, epsilon, beta, (T *)y))));
}

cudaError_t edt_cuda_norm_whole(cudaStream_t stream, edt_dtype real, const edt_cuda_rows *rows,
                                edt_act act, const edt_cuda_norm *norm, const void *x, void *y)
{
    return EDT_CUDA_REAL(
        real, T,
        return EDT_CUDA_VEC(
            rows->vec, T, V,
            return EDT_CUDA_ACT(act, A,
                                return EDT_CUDA_LAUNCH((whole_kernel<T, V, A>),
                                                       edt::row_grid(*rows),
                                                       EDT_CUDA_ROW_THREADS, 0, stream, *rows,
                                                       act, *norm, (const T *)x, (T *)y))));
}

cudaError_t edt_cuda_norm_bwd_sums(cudaStream_t stream, edt_dtype real,
                                   const edt_cuda_rows *rows, const edt_cuda_norm_bwd *bwd,
                                   const void *dy, const void *x, double *partial)
{
    return EDT_CUDA_REAL(
        real, T,
        return EDT_CUDA_VEC(
            rows->vec, T, V,
            return EDT_CUDA_ACT(
                bwd->act, A,
                return EDT_CUDA_LAUNCH((bwd_sums_kernel<T, V, A>), edt::row_grid(*rows),
                                       EDT_CUDA_ROW_THREADS, 0, stream, *rows, *bwd,
                                       (const T *)dy, (const T *)x, partial))));
}

cudaError_t edt_cuda_norm_bwd_finish(cudaStream_t stream, const edt_cuda_rows *rows,
                                     const edt_cuda_norm_bwd *bwd, const double *partial)
{
    return EDT_CUDA_LAUNCH(bwd_finish_kernel, edt::sum_grid(rows->n_channels, 1),
                           EDT_CUDA_ROW_THREADS, 0, stream, *rows, *bwd, partial);
}

cudaError_t edt_cuda_norm_bwd_apply(cudaStream_t stream, edt_dtype real,
                                    const edt_cuda_rows *rows, const edt_cuda_norm_bwd *bwd,
                                    const void *dy, const void *x, void *dx)
{
    return EDT_CUDA_REAL(
        real, T,
        return EDT_CUDA_VEC(
            rows->vec, T, V,
            return EDT_CUDA_ACT(
                bwd->act, A,
                return EDT_CUDA_LAUNCH((bwd_apply_kernel<T, V, A>), edt::row_grid(*rows),
                                       EDT_CUDA_ROW_THREADS, 0, stream, *rows, *bwd,
                                       (const T *)dy, (const T *)x, (T *)dx))));
}

cudaError_t edt_cuda_norm_bwd_whole(cudaStream_t stream, edt_dtype real,
                                    const edt_cuda_rows *rows, const edt_cuda_norm_bwd *bwd,
                                    const void *dy, const void *x, void *dx)
{
    return EDT_CUDA_REAL(
        real, T,
        return EDT_CUDA_VEC(
            rows->vec, T, V,
            return EDT_CUDA_ACT(
                bwd->act, A,
                return EDT_CUDA_LAUNCH((bwd_whole_kernel<T, V, A>), edt::row_grid(*rows),
                                       EDT_CUDA_ROW_THREADS, 0, stream, *rows, *bwd,
                                       (const T *)dy, (const T *)x, (T *)dx))));
}
