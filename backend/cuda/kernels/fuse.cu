// Weighted feature fusion and its gradient (spec/model.md 2.5). Kernels know the number of
// inputs at compile time, so that the rows of all of them are read at once: 1, 2, 3, or the most
// there can be, where the inputs beyond fuse.n are the first one again with a weight of 0.
#include "backend/cuda/kernels/fuse_kernels.h"
#include "backend/cuda/kernels/rows.cuh"

using edt::for_rows;
using edt::from_float;
using edt::place_in;
using edt::row_place;
using edt::row_sums;
using edt::run;
using edt::store_run;
using edt::to_float;

// Runs the statement with constexpr int M, the number of inputs.
#define EDT_CUDA_INPUTS(n, M, ...)                                                             \
    [&]() -> cudaError_t {                                                                     \
        if ((n) == 1) {                                                                        \
            constexpr int M = 1;                                                               \
            __VA_ARGS__;                                                                       \
        }                                                                                      \
        if ((n) == 2) {                                                                        \
            constexpr int M = 2;                                                               \
            __VA_ARGS__;                                                                       \
        }                                                                                      \
        if ((n) == 3) {                                                                        \
            constexpr int M = 3;                                                               \
            __VA_ARGS__;                                                                       \
        }                                                                                      \
        constexpr int M = EDT_FUSE_MAX_IN;                                                     \
        __VA_ARGS__;                                                                           \
    }()

namespace
{

__host__ __device__ inline bool is_fast(edt_fuse_method method)
{
    return method == EDT_FUSE_FASTATTN || method == EDT_FUSE_CHANNEL_FASTATTN;
}

__host__ __device__ inline bool is_per_channel(edt_fuse_method method)
{
    return method == EDT_FUSE_CHANNEL_FASTATTN || method == EDT_FUSE_CHANNEL_ATTN;
}

template <int M> __device__ inline bool is_there(const edt_cuda_fuse &fuse, int j)
{
    return M < EDT_FUSE_MAX_IN || j < fuse.n;
}

// Numerators of the weights of a channel; returns their denominator.
template <int M>
__device__ inline float weigh(const edt_cuda_fuse &fuse, int64_t channel, float (&num)[M])
{
    if (fuse.method == EDT_FUSE_SUM) {
        for (int j = 0; j < M; ++j) {
            num[j] = is_there<M>(fuse, j) ? 1.0F : 0.0F;
        }
        return 1.0F;
    }
    const bool fast = is_fast(fuse.method);
    const int64_t at = is_per_channel(fuse.method) ? channel : 0;
    float largest = -INFINITY;
    float sum = 0.0F;
    for (int j = 0; j < M; ++j) {
        num[j] = is_there<M>(fuse, j) ? fuse.w[j][at] : -INFINITY;
        largest = num[j] > largest ? num[j] : largest;
    }
    for (int j = 0; j < M; ++j) {
        num[j] = !fast ? expf(num[j] - largest) : num[j] > 0.0F ? num[j] : 0.0F;
        sum += num[j];
    }
    return fast ? sum + 1e-4F : sum;
}

// Of a thread's channels. Where all channels have the same weights the first does for all.
template <int M, int V>
__device__ inline void load_weights(const edt_cuda_fuse &fuse, const row_place &place,
                                    float (&weight)[M][V])
{
    const bool per_channel = is_per_channel(fuse.method);
    for (int i = 0; place.active && i < V; ++i) {
        if (i > 0 && !per_channel) {
            for (int j = 0; j < M; ++j) {
                weight[j][i] = weight[j][0];
            }
            continue;
        }
        float num[M];
        const float den = weigh(fuse, place.channel + i, num);
        for (int j = 0; j < M; ++j) {
            weight[j][i] = num[j] / den;
        }
    }
}

template <typename T, int V, int A, int M>
__global__ void forward_kernel(edt_cuda_rows rows, edt_cuda_fuse fuse, T *y)
{
    const row_place place = place_in<V>(rows);
    float weight[M][V];
    load_weights(fuse, place, weight);
    const T *from[M];
    for (int j = 0; j < M; ++j) {
        from[j] = (const T *)fuse.x[j];
    }
    for_rows<T, V>(
        rows, place, 0, from,
        [&](run<T, V>(&v)[M], int64_t at) {
#pragma unroll
            for (int i = 0; i < V; ++i) {
                float sum = to_float(v[0].at[i]) * weight[0][i];
                for (int j = 1; j < M; ++j) {
                    sum += to_float(v[j].at[i]) * weight[j][i];
                }
                v[0].at[i] = from_float<T>(edt::act_at<A, T>(fuse.act, sum));
            }
            store_run(y + at, v[0]);
        },
        [] {});
}

// Gradient of weight j of a channel (or of all) from g_j, the sums of dz * x_j. Written with
// differences of the g, because g_j minus their weighted mean cancels where one weight has
// nearly everything.
template <int M>
__device__ inline void finish_weights(const edt_cuda_fuse &fuse, int64_t channel,
                                      const double (&g)[M])
{
    float num[M];
    const double den = (double)weigh(fuse, channel, num);
    const bool fast = is_fast(fuse.method);
    for (int j = 0; j < M; ++j) {
        if (fuse.dw[j] == nullptr) {
            continue;
        }
        double sum = fast ? 1e-4 * g[j] : 0;
        for (int k = 0; k < M; ++k) {
            sum += (double)num[k] * (g[j] - g[k]);
        }
        double gradient = sum / (den * den);
        if (!fast) {
            gradient *= (double)num[j];
        } else if (!(num[j] > 0)) {
            gradient = 0;
        }
        float *to = &fuse.dw[j][channel];
        *to = (float)(fuse.accumulate != 0 ? (double)*to + gradient : gradient);
    }
}

// Sums over rows of dz * x_j: per channel of a thread, or over its channels.
template <int M, int V, bool CHANNELS> struct gradient_sums {
    static constexpr int N = CHANNELS ? V : 1;
    row_sums<M, N> sums;

    __device__ inline void add(int j, int i, float value)
    {
        sums.batch[j][CHANNELS ? i : 0] += value;
    }
};

// CHANNELS: the weights have a value per channel. dw: whether they have gradients.
template <typename T, int V, int A, int M, bool CHANNELS>
EDT_CUDA_ROW_KERNEL backward_kernel(edt_cuda_rows rows, edt_cuda_fuse fuse, bool dw,
                                    const T *dy, double *partial)
{
    const row_place place = place_in<V>(rows);
    float weight[M][V];
    load_weights(fuse, place, weight);
    gradient_sums<M, V, CHANNELS> sums;
    const T *from[M + 1];
    from[M] = dy;
    for (int j = 0; j < M; ++j) {
        from[j] = (const T *)fuse.x[j];
    }
    for_rows<T, V>(
        rows, place, 0, from,
        [&](run<T, V>(&v)[M + 1], int64_t at) {
#pragma unroll
            for (int i = 0; i < V; ++i) {
                float sum = to_float(v[0].at[i]) * weight[0][i];
                for (int j = 1; j < M; ++j) {
                    sum += to_float(v[j].at[i]) * weight[j][i];
                }
                const float dz = to_float(v[M].at[i]) * edt::slope_at<A, T>(fuse.act, sum);
                for (int j = 0; j < M; ++j) {
                    sums.add(j, i, dz * to_float(v[j].at[i]));
                    v[j].at[i] = from_float<T>(dz * weight[j][i]);
                }
            }
            for (int j = 0; j < M; ++j) {
                if (fuse.dx[j] != nullptr) {
                    store_run((T *)fuse.dx[j] + at, v[j]);
                }
            }
        },
        [&]() { sums.sums.flush(); });
    if (!dw) {
        return;
    }
    if constexpr (CHANNELS) {
        edt::store_partial(rows, place, 0, sums.sums, partial);
    } else {
        for (int j = 0; j < M; ++j) {
            const double total = edt::block_sum<EDT_CUDA_ROW_THREADS>(sums.sums.total[j][0]);
            if (threadIdx.x == 0) {
                partial[((int64_t)blockIdx.y * gridDim.x + blockIdx.x) * M + j] = total;
            }
        }
    }
}

// Without activation and weights to train, the inputs do not matter.
template <typename T, int V, int M>
__global__ void spread_kernel(edt_cuda_rows rows, edt_cuda_fuse fuse, const T *dy)
{
    const row_place place = place_in<V>(rows);
    float weight[M][V];
    load_weights(fuse, place, weight);
    const T *const from[1] = {dy};
    for_rows<T, V>(
        rows, place, 0, from,
        [&](const run<T, V>(&v)[1], int64_t at) {
            for (int j = 0; j < M; ++j) {
                if (fuse.dx[j] != nullptr) {
                    run<T, V> g;
#pragma unroll
                    for (int i = 0; i < V; ++i) {
                        g.at[i] = from_float<T>(to_float(v[0].at[i]) * weight[j][i]);
                    }
                    store_run((T *)fuse.dx[j] + at, g);
                }
            }
        },
        [] {});
}

template <int M>
__global__ void finish_channels_kernel(edt_cuda_rows rows, edt_cuda_fuse fuse,
                                       const double *partial)
{
    const edt::sum_place place = edt::place_of_sum();
    double g[M];
    edt::sum_parts<M>(place, partial, rows.parts, rows.n_channels, g);
    if (place.lane == 0 && place.channel < rows.n_channels) {
        finish_weights(fuse, place.channel, g);
    }
}

template <int M>
__global__ void finish_scalars_kernel(int n_parts, edt_cuda_fuse fuse, const double *partial)
{
    double g[M] = {};
    for (int p = (int)threadIdx.x; p < n_parts; p += EDT_CUDA_ROW_THREADS) {
        for (int j = 0; j < M; ++j) {
            g[j] += partial[(int64_t)p * M + j];
        }
    }
    for (int j = 0; j < M; ++j) {
        g[j] = edt::block_sum<EDT_CUDA_ROW_THREADS>(g[j]);
    }
    if (threadIdx.x == 0) {
        finish_weights(fuse, 0, g);
    }
}

template <typename T, int V, int M>
cudaError_t backward(cudaStream_t stream, const edt_cuda_rows &rows, const edt_cuda_fuse &fuse,
                     bool dw, const void *dy, double *partial)
{
    if (!dw && fuse.act == EDT_ACT_NONE) {
        return EDT_CUDA_LAUNCH((spread_kernel<T, V, M>), edt::row_grid(rows),
                               EDT_CUDA_ROW_THREADS, 0, stream, rows, fuse, (const T *)dy);
    }
    // The channel methods are rare: one kernel for all activations.
    if (dw && is_per_channel(fuse.method)) {
        return EDT_CUDA_LAUNCH((backward_kernel<T, V, -1, M, true>), edt::row_grid(rows),
                               EDT_CUDA_ROW_THREADS, 0, stream, rows, fuse, true, (const T *)dy,
                               partial);
    }
    // So is a node with more inputs than a BiFPN's.
    if constexpr (M == EDT_FUSE_MAX_IN) {
        return EDT_CUDA_LAUNCH((backward_kernel<T, V, -1, M, false>), edt::row_grid(rows),
                               EDT_CUDA_ROW_THREADS, 0, stream, rows, fuse, dw, (const T *)dy,
                               partial);
    } else {
        return EDT_CUDA_ACT(fuse.act, A,
                            return EDT_CUDA_LAUNCH((backward_kernel<T, V, A, M, false>),
                                                   edt::row_grid(rows), EDT_CUDA_ROW_THREADS, 0,
                                                   stream, rows, fuse, dw, (const T *)dy,
                                                   partial));
    }
}

template <typename T, int V, int M>
cudaError_t forward(cudaStream_t stream, const edt_cuda_rows &rows, const edt_cuda_fuse &fuse,
                    T *y)
{
    if constexpr (M == EDT_FUSE_MAX_IN) {
        return EDT_CUDA_LAUNCH((forward_kernel<T, V, -1, M>), edt::row_grid(rows),
                               EDT_CUDA_ROW_THREADS, 0, stream, rows, fuse, y);
    } else {
        return EDT_CUDA_ACT(fuse.act, A,
                            return EDT_CUDA_LAUNCH((forward_kernel<T, V, A, M>),
                                                   edt::row_grid(rows), EDT_CUDA_ROW_THREADS, 0,
                                                   stream, rows, fuse, y));
    }
}

} // namespace

cudaError_t edt_cuda_fuse_forward(cudaStream_t stream, edt_dtype real,
                                  const edt_cuda_rows *rows, const edt_cuda_fuse *fuse, void *y)
{
    return EDT_CUDA_REAL(
        real, T,
        return EDT_CUDA_VEC(
            rows->vec, T, V,
            return EDT_CUDA_INPUTS(fuse->n, M,
                                   return (forward<T, V, M>(stream, *rows, *fuse, (T *)y)))));
}

cudaError_t edt_cuda_fuse_backward(cudaStream_t stream, edt_dtype real,
                                   const edt_cuda_rows *rows, const edt_cuda_fuse *fuse,
                                   const void *dy, double *partial)
{
    bool dw = false;
    for (int j = 0; fuse->method != EDT_FUSE_SUM && j < fuse->n; ++j) {
        dw = dw || fuse->dw[j] != nullptr;
    }
    const cudaError_t code =
        EDT_CUDA_REAL(real, T,
                      return EDT_CUDA_VEC(
                          rows->vec, T, V,
                          return EDT_CUDA_INPUTS(fuse->n, M,
                                                 return (backward<T, V, M>(stream, *rows, *fuse,
                                                                           dw, dy, partial)))));
    if (code != cudaSuccess || !dw) {
        return code;
    }
    if (is_per_channel(fuse->method)) {
        return EDT_CUDA_INPUTS(fuse->n, M,
                               return EDT_CUDA_LAUNCH((finish_channels_kernel<M>),
                                                      edt::sum_grid(rows->n_channels, 1),
                                                      EDT_CUDA_ROW_THREADS, 0, stream, *rows,
                                                      *fuse, partial));
    }
    return EDT_CUDA_INPUTS(fuse->n, M,
                           return EDT_CUDA_LAUNCH((finish_scalars_kernel<M>), 1,
                                                  EDT_CUDA_ROW_THREADS, 0, stream,
                                                  rows->parts * rows->chunks, *fuse, partial));
}
