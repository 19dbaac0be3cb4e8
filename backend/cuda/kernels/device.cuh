// Device code common to all kernel families: element types, 16-byte packets, activations, sums
// over a warp and a block. Arithmetic is float whatever is stored; sums over many elements end
// in double (op.h). Warps are used whole: every lane takes part in every shuffle.
#ifndef EDT_BACKEND_CUDA_KERNELS_DEVICE_CUH
#define EDT_BACKEND_CUDA_KERNELS_DEVICE_CUH

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <math.h>
#include <stdint.h>

// Tests compile kernels for the host with tests/cuda_emulator/device_emulator.h included first.
#ifndef EDT_CUDA_EMULATED
#define EDT_CUDA_LAUNCH(kernel, grid, block, shared_bytes, stream, ...)                        \
    (kernel<<<(grid), (block), (shared_bytes), (stream)>>>(__VA_ARGS__), cudaPeekAtLastError())
// Shared memory whose size the launch gives.
#define EDT_DYNAMIC_SHARED(type, name)                                                         \
    extern __shared__ __align__(16) unsigned char name##_bytes[];                              \
    type *const name = reinterpret_cast<type *>(name##_bytes)
#endif

#include "backend/op.h"

// Runs the statement with T the C++ type of a real dtype; cudaErrorInvalidValue for others.
#define EDT_CUDA_REAL(dtype, T, ...)                                                           \
    [&]() -> cudaError_t {                                                                     \
        switch (dtype) {                                                                       \
        case EDT_DTYPE_F32: {                                                                  \
            using T = float;                                                                   \
            __VA_ARGS__;                                                                       \
        }                                                                                      \
        case EDT_DTYPE_BF16: {                                                                 \
            using T = __nv_bfloat16;                                                           \
            __VA_ARGS__;                                                                       \
        }                                                                                      \
        case EDT_DTYPE_F16: {                                                                  \
            using T = __half;                                                                  \
            __VA_ARGS__;                                                                       \
        }                                                                                      \
        default: return cudaErrorInvalidValue;                                                 \
        }                                                                                      \
    }()

namespace edt
{

__host__ __device__ inline float to_float(float v)
{
    return v;
}
__host__ __device__ inline float to_float(__nv_bfloat16 v)
{
    return __bfloat162float(v);
}
__host__ __device__ inline float to_float(__half v)
{
    return __half2float(v);
}

template <typename T> __host__ __device__ inline T from_float(float v);
template <> __host__ __device__ inline float from_float<float>(float v)
{
    return v;
}
template <> __host__ __device__ inline __nv_bfloat16 from_float<__nv_bfloat16>(float v)
{
    return __float2bfloat16_rn(v);
}
template <> __host__ __device__ inline __half from_float<__half>(float v)
{
    return __float2half_rn(v);
}

// 16 bytes of consecutive elements, read and written at once: 4 floats or 8 16-bit values.
template <typename T> struct alignas(16) packet {
    static constexpr int size = 16 / (int)sizeof(T);
    T at[size];
};
template <typename T> __device__ inline packet<T> load(const T *from)
{
    return *reinterpret_cast<const packet<T> *>(from);
}
template <typename T> __device__ inline void store(T *to, const packet<T> &p)
{
    *reinterpret_cast<packet<T> *>(to) = p;
}

// spec/model.md: the activations and, from the value before, their derivative. FAST: for
// results that are kept in 16 bits, where the device's own exponential and reciprocal (relative
// errors of some 1e-6) make no difference; the exact ones take three times the instructions,
// enough to hold up kernels that should wait for memory only.
template <bool FAST> __device__ inline float sigmoid(float v)
{
    return FAST ? __fdividef(1.0F, 1.0F + __expf(-v)) : 1.0F / (1.0F + expf(-v));
}

__device__ inline float softplus(float v)
{
    return fmaxf(v, 0.0F) + log1pf(expf(-fabsf(v)));
}

template <bool FAST> __device__ inline float act_value(edt_act act, float v)
{
    switch (act) {
    case EDT_ACT_SWISH: return v * sigmoid<FAST>(v);
    case EDT_ACT_RELU6: return fminf(fmaxf(v, 0.0F), 6.0F);
    case EDT_ACT_RELU: return fmaxf(v, 0.0F);
    case EDT_ACT_HSWISH: return v * fminf(fmaxf(v + 3.0F, 0.0F), 6.0F) * (1.0F / 6.0F);
    case EDT_ACT_MISH: return v * tanhf(softplus(v));
    case EDT_ACT_SIGMOID: return sigmoid<FAST>(v);
    case EDT_ACT_SRELU:
    case EDT_ACT_NONE: break;
    }
    return v;
}

template <bool FAST> __device__ inline float act_slope(edt_act act, float v)
{
    switch (act) {
    case EDT_ACT_SWISH: {
        const float s = sigmoid<FAST>(v);
        return s * (1.0F + v * (1.0F - s));
    }
    case EDT_ACT_RELU6: return v > 0.0F && v < 6.0F ? 1.0F : 0.0F;
    case EDT_ACT_RELU: return v > 0.0F ? 1.0F : 0.0F;
    case EDT_ACT_HSWISH:
        return v <= -3.0F ? 0.0F : v >= 3.0F ? 1.0F : (2.0F * v + 3.0F) * (1.0F / 6.0F);
    case EDT_ACT_MISH: {
        const float t = tanhf(softplus(v));
        return t + v * (1.0F - t * t) * sigmoid<FAST>(v);
    }
    case EDT_ACT_SIGMOID: {
        const float s = sigmoid<FAST>(v);
        return s * (1.0F - s);
    }
    case EDT_ACT_SRELU:
    case EDT_ACT_NONE: break;
    }
    return 1.0F;
}

// All 32 lanes get the sum; the order of additions is fixed.
template <typename V> __device__ inline V warp_sum(V v)
{
    for (int lanes = 16; lanes > 0; lanes /= 2) {
        v += __shfl_xor_sync(0xffffffffU, v, lanes);
    }
    return v;
}

// Sum over a block of N_THREADS (a multiple of 32, threadIdx.x only); every thread gets it. All
// threads of the block must call it; may be called again at once.
template <int N_THREADS, typename V> __device__ inline V block_sum(V v)
{
    __shared__ V parts[N_THREADS / 32];
    v = warp_sum(v);
    if (threadIdx.x % 32 == 0) {
        parts[threadIdx.x / 32] = v;
    }
    __syncthreads();
    V sum = parts[0];
    for (int i = 1; i < N_THREADS / 32; ++i) {
        sum += parts[i];
    }
    __syncthreads();
    return sum;
}

} // namespace edt

#endif
