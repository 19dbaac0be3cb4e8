// Kernels around the libraries' convolutions: bias, activation and residual in one pass, sums
// of columns (bias gradients), batch norm folded into weights, filter layouts, explicit
// padding.
#include "backend/cuda/kernels/conv_kernels.h"
#include "backend/cuda/kernels/rows.cuh"

// Runs the statement with V the number of elements per access.
#define CONV_VECTOR(vector, T, V, ...)                                                         \
    [&]() -> cudaError_t {                                                                     \
        switch (vector) {                                                                      \
        case 1: {                                                                              \
            constexpr int V = 1;                                                               \
            __VA_ARGS__;                                                                       \
        }                                                                                      \
        case 2: {                                                                              \
            constexpr int V = 2;                                                               \
            __VA_ARGS__;                                                                       \
        }                                                                                      \
        case 4: {                                                                              \
            constexpr int V = 4;                                                               \
            __VA_ARGS__;                                                                       \
        }                                                                                      \
        default: {                                                                             \
            constexpr int V = edt::packet<T>::size;                                            \
            __VA_ARGS__;                                                                       \
        }                                                                                      \
        }                                                                                      \
    }()

namespace
{

enum { THREADS = 256 };

// V consecutive elements: one 16-byte access, or one element.
template <typename T, int V> struct alignas(V * sizeof(T)) vec {
    T at[V];
};

template <typename T, int V, int A> __global__ void bias_act(edt_cuda_bias_act p)
{
    const int64_t groups = p.c / V;
    const int64_t n = p.rows * groups;
    const int64_t stride = (int64_t)gridDim.x * THREADS;
    const int64_t stride_in_row = stride % groups;
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    int64_t group = i % groups;
    vec<T, V> *y = static_cast<vec<T, V> *>(p.y);
    const vec<T, V> *residual = static_cast<const vec<T, V> *>(p.residual);
    const T *bias_real = static_cast<const T *>(p.bias_real);
    for (; i < n; i += stride) {
        vec<T, V> v = y[i];
        vec<T, V> r;
        if (residual != nullptr) {
            r = residual[i];
        }
        for (int j = 0; j < V; ++j) {
            const int64_t c = group * V + j;
            float value = edt::to_float(v.at[j]);
            if (p.bias != nullptr) {
                value += p.bias[c];
            } else if (bias_real != nullptr) {
                value += edt::to_float(bias_real[c]);
            }
            value = edt::act_at<A, T>(p.act, value);
            if (residual != nullptr) {
                value += edt::to_float(r.at[j]);
            }
            v.at[j] = edt::from_float<T>(value);
        }
        y[i] = v;
        group += stride_in_row;
        group -= group >= groups ? groups : 0;
    }
}

// Block (column, part): partial sums of `rows_per_part` rows for lanes * V channels.
template <typename T, int V>
__global__ void column_sum(edt_cuda_column_sum g, const T *dy, int64_t rows, int64_t c,
                           double *partial)
{
    __shared__ double shared[THREADS * V];
    const int lane = (int)threadIdx.x % g.lanes;
    const int row = (int)threadIdx.x / g.lanes;
    const int rows_at_once = THREADS / g.lanes;
    const int64_t groups = c / V;
    const int64_t group = (int64_t)blockIdx.x * g.lanes + lane;
    const int64_t begin = (int64_t)blockIdx.y * g.rows_per_part;
    const int64_t end = begin + g.rows_per_part < rows ? begin + g.rows_per_part : rows;
    double sum[V];
    for (int j = 0; j < V; ++j) {
        sum[j] = 0;
    }
    if (group < groups) {
        const vec<T, V> *from = reinterpret_cast<const vec<T, V> *>(dy) + group;
        for (int64_t r = begin + row; r < end; r += rows_at_once) {
            const vec<T, V> v = from[r * groups];
            for (int j = 0; j < V; ++j) {
                sum[j] += (double)edt::to_float(v.at[j]);
            }
        }
    }
    for (int j = 0; j < V; ++j) {
        shared[j * THREADS + threadIdx.x] = sum[j];
    }
    __syncthreads();
    for (int half = rows_at_once / 2; half > 0; half /= 2) {
        if (row < half) {
            for (int j = 0; j < V; ++j) {
                shared[j * THREADS + threadIdx.x] +=
                    shared[j * THREADS + threadIdx.x + half * g.lanes];
            }
        }
        __syncthreads();
    }
    if (row == 0 && group < groups) {
        for (int j = 0; j < V; ++j) {
            partial[(int64_t)blockIdx.y * c + group * V + j] = shared[j * THREADS + lane];
        }
    }
}

__global__ void finish_column_sum(const double *partial, int64_t n_parts, int64_t c, float *db,
                                  bool accumulate)
{
    const int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= c) {
        return;
    }
    double sum = accumulate ? (double)db[i] : 0;
    for (int64_t part = 0; part < n_parts; ++part) {
        sum += partial[part * c + i];
    }
    db[i] = (float)sum;
}

template <typename T> __global__ void bn_fold(edt_cuda_bn_fold p)
{
    const int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= p.c) {
        return;
    }
    const double scale = (double)p.gamma[i] / sqrt((double)p.var[i] + p.epsilon);
    const double start =
        p.b == nullptr ? 0 : (double)edt::to_float(static_cast<const T *>(p.b)[i]);
    const float bias = (float)((double)p.beta[i] + (start - (double)p.mean[i]) * scale);
    p.scale[i] = (float)scale;
    p.bias[i] = bias;
    if (p.bias_real != nullptr) {
        static_cast<T *>(p.bias_real)[i] = edt::from_float<T>(bias);
    }
}

template <typename T>
__global__ void pack_weights(const T *w, const float *scale, int64_t rows, int64_t padded_rows,
                             int64_t co, bool transpose, T *out)
{
    const int64_t n = (transpose ? rows : padded_rows) * co;
    const int64_t stride = (int64_t)gridDim.x * THREADS;
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < n; i += stride) {
        const int64_t o = transpose ? i / rows : i % co;
        T v = edt::from_float<T>(0.0F);
        if (transpose) {
            v = w[i % rows * co + o];
        } else if (i < rows * co) {
            v = w[i];
        }
        out[i] = scale == nullptr ? v : edt::from_float<T>(edt::to_float(v) * scale[o]);
    }
}

__global__ void unpack_weights(const float *from, int64_t rows, int64_t co, bool transposed,
                               float *dw, bool accumulate)
{
    const int64_t n = rows * co;
    const int64_t stride = (int64_t)gridDim.x * THREADS;
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < n; i += stride) {
        const float v = from[transposed ? i % co * rows + i / co : i];
        dw[i] = accumulate ? dw[i] + v : v;
    }
}

// 32-bit divisions take a third of the time of 64-bit ones.
__device__ inline int64_t quotient(int64_t a, int64_t b, bool small)
{
    return small ? (int64_t)((uint32_t)a / (uint32_t)b) : a / b;
}

// One packet of one row per step. CI and KW: channels and taps of a row of the window, 0: not
// known at compile time.
template <typename T, int CI, int KW> __global__ void gather(edt_cuda_gather p)
{
    constexpr int V = edt::packet<T>::size;
    const int ci = CI != 0 ? CI : (int)p.ci;
    const int kw = KW != 0 ? KW : (int)p.kw;
    const bool whole = ci % V == 0; // a packet belongs to one tap and is aligned
    const int64_t packets = p.stride / V;
    const int64_t n = p.images * p.ho * p.wo * packets;
    const bool small = n <= INT32_MAX;
    const int64_t step = (int64_t)gridDim.x * THREADS;
    const T *x = static_cast<const T *>(p.x);
    T *rows = static_cast<T *>(p.rows);
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < n; i += step) {
        const int64_t pixel = quotient(i, packets, small);
        const int64_t row = quotient(pixel, p.wo, small);
        const int64_t of_image = quotient(row, p.ho, small);
        const int64_t top = (row - of_image * p.ho) * p.sh - p.before_h;
        const int64_t left = (pixel - row * p.wo) * p.sw - p.before_w;
        const T *image = x + of_image * p.h * p.w * ci;
        const int first = (int)(i - pixel * packets) * V;
        edt::packet<T> out;
#pragma unroll
        for (int j = 0; j < V; ++j) {
            // Indices inside a window are small: 32-bit divisions.
            const int e = first + j;
            const int tap = e / ci;
            const int64_t y_at = top + tap / kw;
            const int64_t x_at = left + tap % kw;
            const bool inside =
                e < (int)p.k && y_at >= 0 && y_at < p.h && x_at >= 0 && x_at < p.w;
            const T *at = image + (y_at * p.w + x_at) * ci + e % ci;
            if (whole) {
                for (int k = 0; k < V; ++k) {
                    out.at[k] = edt::from_float<T>(0.0F);
                }
                if (inside) {
                    out = edt::load(at);
                }
                break;
            }
            out.at[j] = inside ? *at : edt::from_float<T>(0.0F);
        }
        edt::store(rows + i * V, out);
    }
}

template <typename T, int V> __global__ void pad(edt_cuda_pad p)
{
    const int64_t groups = p.c / V;
    const int64_t to_h = p.crop != 0 ? p.h : p.padded_h;
    const int64_t to_w = p.crop != 0 ? p.w : p.padded_w;
    const int64_t from_h = p.crop != 0 ? p.padded_h : p.h;
    const int64_t from_w = p.crop != 0 ? p.padded_w : p.w;
    const int64_t n = p.n * to_h * to_w * groups;
    const int64_t stride = (int64_t)gridDim.x * THREADS;
    const vec<T, V> *from = static_cast<const vec<T, V> *>(p.from);
    vec<T, V> *to = static_cast<vec<T, V> *>(p.to);
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < n; i += stride) {
        const int64_t pixel = i / groups;
        const int64_t row = pixel / to_w;
        const int64_t x = pixel % to_w + (p.crop != 0 ? p.before_w : -p.before_w);
        const int64_t y = row % to_h + (p.crop != 0 ? p.before_h : -p.before_h);
        vec<T, V> v;
        if (x >= 0 && x < from_w && y >= 0 && y < from_h) {
            v = from[((row / to_h * from_h + y) * from_w + x) * groups + i % groups];
        } else {
            for (int j = 0; j < V; ++j) {
                v.at[j] = edt::from_float<T>(0.0F);
            }
        }
        to[i] = v;
    }
}

unsigned blocks_over(int64_t n)
{
    const int64_t blocks = (n + THREADS - 1) / THREADS;
    return (unsigned)(blocks < 65536 ? blocks : 65536);
}

} // namespace

cudaError_t edt_cuda_launch_bias_act(const edt_cuda_bias_act *p, cudaStream_t stream)
{
    return EDT_CUDA_REAL(p->real, T, {
        return CONV_VECTOR(edt_cuda_conv_vector(p->real, p->c), T, V, {
            return EDT_CUDA_ACT(p->act, A, {
                void (*kernel)(edt_cuda_bias_act) = bias_act<T, V, A>;
                return EDT_CUDA_LAUNCH(kernel, dim3((unsigned)p->n_blocks), dim3(THREADS), 0,
                                       stream, *p);
            });
        });
    });
}

cudaError_t edt_cuda_launch_column_sum(const edt_cuda_column_sum *geometry, edt_dtype real,
                                       const void *dy, int64_t rows, int64_t c, double *partial,
                                       float *db, bool accumulate, cudaStream_t stream)
{
    const dim3 grid((unsigned)geometry->n_columns, (unsigned)geometry->n_parts);
    const cudaError_t status = EDT_CUDA_REAL(real, T, {
        return CONV_VECTOR(geometry->vector, T, V, {
            void (*kernel)(edt_cuda_column_sum, const T *, int64_t, int64_t, double *) =
                column_sum<T, V>;
            return EDT_CUDA_LAUNCH(kernel, grid, dim3(THREADS), 0, stream, *geometry,
                                   static_cast<const T *>(dy), rows, c, partial);
        });
    });
    if (status != cudaSuccess) {
        return status;
    }
    return EDT_CUDA_LAUNCH(finish_column_sum, dim3((unsigned)((c + THREADS - 1) / THREADS)),
                           dim3(THREADS), 0, stream, partial, geometry->n_parts, c, db,
                           accumulate);
}

cudaError_t edt_cuda_launch_bn_fold(const edt_cuda_bn_fold *p, cudaStream_t stream)
{
    return EDT_CUDA_REAL(p->real, T, {
        void (*kernel)(edt_cuda_bn_fold) = bn_fold<T>;
        return EDT_CUDA_LAUNCH(kernel, dim3((unsigned)((p->c + THREADS - 1) / THREADS)),
                               dim3(THREADS), 0, stream, *p);
    });
}

cudaError_t edt_cuda_launch_pack_weights(edt_dtype real, const void *w, const float *scale,
                                         int64_t rows, int64_t padded_rows, int64_t co,
                                         bool transpose, void *out, cudaStream_t stream)
{
    return EDT_CUDA_REAL(real, T, {
        void (*kernel)(const T *, const float *, int64_t, int64_t, int64_t, bool, T *) =
            pack_weights<T>;
        return EDT_CUDA_LAUNCH(kernel, dim3(blocks_over(padded_rows * co)), dim3(THREADS), 0,
                               stream, static_cast<const T *>(w), scale, rows, padded_rows, co,
                               transpose, static_cast<T *>(out));
    });
}

cudaError_t edt_cuda_launch_unpack_weights(const float *from, int64_t rows, int64_t co,
                                           bool transposed, float *dw, bool accumulate,
                                           cudaStream_t stream)
{
    return EDT_CUDA_LAUNCH(unpack_weights, dim3(blocks_over(rows * co)), dim3(THREADS), 0,
                           stream, from, rows, co, transposed, dw, accumulate);
}

cudaError_t edt_cuda_launch_gather(const edt_cuda_gather *p, cudaStream_t stream)
{
    return EDT_CUDA_REAL(p->real, T, {
        void (*kernel)(edt_cuda_gather) =
            p->ci == 3 && p->kw == 3 ? gather<T, 3, 3> : gather<T, 0, 0>;
        return EDT_CUDA_LAUNCH(kernel, dim3((unsigned)p->n_blocks), dim3(THREADS), 0, stream,
                               *p);
    });
}

cudaError_t edt_cuda_launch_pad(const edt_cuda_pad *p, cudaStream_t stream)
{
    return EDT_CUDA_REAL(p->real, T, {
        return CONV_VECTOR(edt_cuda_conv_vector(p->real, p->c), T, V, {
            void (*kernel)(edt_cuda_pad) = pad<T, V>;
            return EDT_CUDA_LAUNCH(kernel, dim3((unsigned)p->n_blocks), dim3(THREADS), 0,
                                   stream, *p);
        });
    });
}
