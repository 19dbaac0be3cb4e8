// Device side of row_layout.h, and what its users share: runs of elements of any count,
// activations chosen at compile time, sums over the lanes of a block and over parts.
#ifndef EDT_BACKEND_CUDA_KERNELS_ROWS_CUH
#define EDT_BACKEND_CUDA_KERNELS_ROWS_CUH

#include "backend/cuda/kernels/device.cuh"
#include "backend/cuda/kernels/row_layout.h"

// Runs the statement with constexpr int V: channels of a thread.
#define EDT_CUDA_VEC(vec, T, V, ...)                                                           \
    [&]() -> cudaError_t {                                                                     \
        if ((vec) == 1) {                                                                      \
            constexpr int V = 1;                                                               \
            __VA_ARGS__;                                                                       \
        }                                                                                      \
        constexpr int V = edt::packet<T>::size;                                                \
        __VA_ARGS__;                                                                           \
    }()

// Runs the statement with constexpr int A, for edt::act_at and edt::slope_at: the activations
// of nearly all layers are compiled in, the rest is looked up per element.
#define EDT_CUDA_ACT(act, A, ...)                                                              \
    [&]() -> cudaError_t {                                                                     \
        switch (act) {                                                                         \
        case EDT_ACT_NONE: {                                                                   \
            constexpr int A = EDT_ACT_NONE;                                                    \
            __VA_ARGS__;                                                                       \
        }                                                                                      \
        case EDT_ACT_SWISH: {                                                                  \
            constexpr int A = EDT_ACT_SWISH;                                                   \
            __VA_ARGS__;                                                                       \
        }                                                                                      \
        default: {                                                                             \
            constexpr int A = -1;                                                              \
            __VA_ARGS__;                                                                       \
        }                                                                                      \
        }                                                                                      \
    }()

// Kernels that hold sums or much per channel: two blocks per multiprocessor keep enough reads
// under way, one would not.
#define EDT_CUDA_ROW_KERNEL __global__ void __launch_bounds__(EDT_CUDA_ROW_THREADS, 2)

namespace edt
{

// V neighbouring elements, moved in pieces of up to 16 bytes.
template <typename T, int V> struct alignas(sizeof(T) * V < 16 ? sizeof(T) * V : 16) run {
    T at[V];
};
template <typename T, int V> __device__ inline run<T, V> load_run(const T *from)
{
    return *reinterpret_cast<const run<T, V> *>(from);
}
template <typename T, int V> __device__ inline void store_run(T *to, const run<T, V> &values)
{
    *reinterpret_cast<run<T, V> *>(to) = values;
}

// V values of each channel, in float registers.
template <int V> __device__ inline void load_channels(const float *from, float (&to)[V])
{
    for (int i = 0; i < V; ++i) {
        to[i] = from[i];
    }
}

// T: the type of the result.
template <int A, typename T> __device__ inline float act_at(edt_act act, float v)
{
    return act_value<sizeof(T) == 2>(A < 0 ? act : (edt_act)A, v);
}
template <int A, typename T> __device__ inline float slope_at(edt_act act, float v)
{
    return act_slope<sizeof(T) == 2>(A < 0 ? act : (edt_act)A, v);
}

// Where a thread stands. Inactive threads still reach every barrier.
struct row_place {
    int lane, group; // in the block
    int64_t channel; // first of the thread's
    bool active;
};

template <int V> __device__ inline row_place place_in(const edt_cuda_rows &rows)
{
    row_place at;
    at.lane = (int)threadIdx.x / rows.groups;
    at.group = (int)threadIdx.x % rows.groups;
    at.channel = ((int64_t)blockIdx.y * rows.groups + at.group) * V;
    at.active = at.lane < rows.lanes && at.channel < rows.n_channels;
    return at;
}

// Calls each(values, at) for the rows of image `n` that belong to this thread: values[k] is the
// run at element `at` of from[k]. Rows are read in batches, before the first call of a batch,
// so that several reads are under way at once; after() follows each batch.
template <typename T, int V, int N_FROM, typename Each, typename After>
__device__ inline void for_rows(const edt_cuda_rows &rows, const row_place &place, int64_t n,
                                const T *const (&from)[N_FROM], Each each, After after)
{
    constexpr int BATCH = N_FROM == 1 ? 4 : N_FROM == 2 ? 2 : 1;
    if (!place.active) {
        return;
    }
    const int64_t step = (int64_t)gridDim.x * rows.lanes;
    const int64_t base = n * rows.n_rows * rows.n_channels + place.channel;
    for (int64_t row = (int64_t)blockIdx.x * rows.lanes + place.lane; row < rows.n_rows;
         row += BATCH * step) {
        run<T, V> values[BATCH][N_FROM];
#pragma unroll
        for (int b = 0; b < BATCH; ++b) {
            if (row + b * step < rows.n_rows) {
#pragma unroll
                for (int k = 0; k < N_FROM; ++k) {
                    values[b][k] =
                        load_run<T, V>(from[k] + base + (row + b * step) * rows.n_channels);
                }
            }
        }
#pragma unroll
        for (int b = 0; b < BATCH; ++b) {
            if (row + b * step < rows.n_rows) {
                each(values[b], base + (row + b * step) * rows.n_channels);
            }
        }
        after();
    }
}

// Sums of a thread: float over a batch of rows, double over the batches.
template <int K, int V> struct row_sums {
    float batch[K][V];
    double total[K][V];

    __device__ inline row_sums()
    {
        for (int k = 0; k < K; ++k) {
            for (int i = 0; i < V; ++i) {
                batch[k][i] = 0;
                total[k][i] = 0;
            }
        }
    }

    __device__ inline void flush()
    {
        for (int k = 0; k < K; ++k) {
            for (int i = 0; i < V; ++i) {
                total[k][i] += (double)batch[k][i];
                batch[k][i] = 0;
            }
        }
    }
};

// Adds the totals of the lanes of a block, always in the same order; lane 0 has the result. All
// threads of the block call it.
template <int K, int V>
__device__ inline void fold_lanes(const edt_cuda_rows &rows, const row_place &place,
                                  row_sums<K, V> &sums)
{
    __shared__ double shared[V][EDT_CUDA_ROW_THREADS];
    for (int k = 0; k < K; ++k) {
        for (int i = 0; i < V; ++i) {
            shared[i][threadIdx.x] = sums.total[k][i];
        }
        for (int n = rows.lanes; n > 1; n = (n + 1) / 2) {
            const int half = (n + 1) / 2;
            __syncthreads();
            if (place.lane < n / 2) {
                for (int i = 0; i < V; ++i) {
                    shared[i][threadIdx.x] += shared[i][(int)threadIdx.x + half * rows.groups];
                }
            }
        }
        // A thread reads back only what it wrote itself.
        for (int i = 0; i < V; ++i) {
            sums.total[k][i] = shared[i][threadIdx.x];
        }
        __syncthreads();
    }
}

// Writes this block's sums to partial[image][part][k][channel].
template <int K, int V>
__device__ inline void store_partial(const edt_cuda_rows &rows, const row_place &place,
                                     int64_t n, row_sums<K, V> &sums, double *partial)
{
    fold_lanes(rows, place, sums);
    if (!place.active || place.lane != 0) {
        return;
    }
    double *to = partial + (n * gridDim.x + blockIdx.x) * K * rows.n_channels + place.channel;
    for (int k = 0; k < K; ++k) {
        for (int i = 0; i < V; ++i) {
            to[k * rows.n_channels + i] = sums.total[k][i];
        }
    }
}

// For blocks of EDT_CUDA_ROW_THREADS that add parts: 8 channels side by side, 32 lanes over the
// parts. `channel` may lie beyond the last.
struct sum_place {
    int lane;
    int64_t channel;
};

__device__ inline sum_place place_of_sum()
{
    return {(int)threadIdx.x / EDT_CUDA_SUM_CHANNELS,
            (int64_t)blockIdx.x * EDT_CUDA_SUM_CHANNELS +
                (int)threadIdx.x % EDT_CUDA_SUM_CHANNELS};
}

// Adds partial[part][k][channel] over the parts, always in the same order; lane 0 gets the
// sums. All threads of the block call it.
template <int K>
__device__ inline void sum_parts(const sum_place &place, const double *partial, int n_parts,
                                 int64_t n_channels, double (&out_sums)[K])
{
    __shared__ double shared[EDT_CUDA_ROW_THREADS];
    for (int k = 0; k < K; ++k) {
        out_sums[k] = 0;
    }
    if (place.channel < n_channels) {
#pragma unroll 4
        for (int p = place.lane; p < n_parts; p += EDT_CUDA_SUM_LANES) {
            for (int k = 0; k < K; ++k) {
                out_sums[k] += partial[((int64_t)p * K + k) * n_channels + place.channel];
            }
        }
    }
    for (int k = 0; k < K; ++k) {
        shared[threadIdx.x] = out_sums[k];
        for (int half = EDT_CUDA_SUM_LANES / 2; half > 0; half /= 2) {
            __syncthreads();
            if (place.lane < half) {
                shared[threadIdx.x] += shared[(int)threadIdx.x + half * EDT_CUDA_SUM_CHANNELS];
            }
        }
        out_sums[k] = shared[threadIdx.x];
        __syncthreads();
    }
}

inline dim3 row_grid(const edt_cuda_rows &rows)
{
    return dim3((unsigned)rows.parts, (unsigned)rows.chunks, (unsigned)rows.grid_images);
}

inline dim3 sum_grid(int64_t n_channels, int n_images)
{
    return dim3((unsigned)((n_channels - 1) / EDT_CUDA_SUM_CHANNELS + 1), (unsigned)n_images);
}

} // namespace edt

#endif
