// Device code on the host, for tests on machines without a GPU: what .cu files include first
// when they are compiled as C++ with EDT_CUDA_EMULATED. Blocks run one after another; the
// threads of a block are fibers that change places at barriers and shuffles only. Stricter than
// a device: a barrier must be reached by all threads of its block on the same line, a shuffle
// by all lanes of a whole warp.
#ifndef EDT_TESTS_CUDA_EMULATOR_DEVICE_EMULATOR_H
#define EDT_TESTS_CUDA_EMULATOR_DEVICE_EMULATOR_H

#include <limits.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include <functional>
#include <tuple>
#include <type_traits>
#include <utility>

#include <cuda_runtime.h>

#undef __shared__
#define __shared__ static
#undef __launch_bounds__
#define __launch_bounds__(...)
#undef __noinline__
#define __noinline__ __attribute__((noinline))

namespace edt_emulator
{

// Where the running thread is.
struct place {
    uint3 thread, block;
    dim3 block_dim, grid_dim;
    unsigned linear; // of the thread in its block
    void *shared;    // dynamic shared memory
};
extern place now;

typedef unsigned char slot[16];
void sync_block(const char *file, int line);
// All lanes of the warp arrive before one goes on.
void sync_warp(unsigned mask, const char *file, int line);
// Where the 32 lanes leave values for the next sync_warp; stays readable until the one after
// it.
slot *warp_slots();

// Queues a grid on the stream; `work` runs one thread. See emulator.h.
cudaError_t launch_grid(const char *name, const void *kernel, dim3 grid, dim3 block,
                        size_t shared_bytes, cudaStream_t stream, std::function<void()> work);
// Fails where a pointer that is an argument is not memory that a device can read. Pointers
// inside structures are not looked at.
bool argument_fits(const char *name, int index, const void *at);

template <typename V> bool value_fits(const char *name, int index, const V &value)
{
    if constexpr (std::is_pointer_v<V>) {
        return argument_fits(name, index, value);
    }
    return true;
}

template <typename... P, typename... A>
cudaError_t launch(const char *name, void (*kernel)(P...), dim3 grid, dim3 block,
                   size_t shared_bytes, cudaStream_t stream, A &&...arguments)
{
    std::tuple<std::decay_t<P>...> values(static_cast<std::decay_t<P>>(arguments)...);
    int index = 0;
    const bool fit = std::apply(
        [&](const auto &...value) { return (value_fits(name, index++, value) && ...); },
        values);
    if (!fit) {
        return cudaErrorIllegalAddress;
    }
    return launch_grid(name, reinterpret_cast<const void *>(kernel), grid, block, shared_bytes,
                       stream, [kernel, values] { std::apply(kernel, values); });
}

inline unsigned lane()
{
    return now.linear % 32;
}

template <typename V>
V exchange(unsigned mask, V value, unsigned from, const char *file, int line)
{
    static_assert(sizeof(V) <= sizeof(slot) && std::is_trivially_copyable_v<V>);
    slot *slots = warp_slots();
    memcpy(slots[lane()], &value, sizeof value);
    sync_warp(mask, file, line);
    memcpy(&value, slots[from], sizeof value);
    return value;
}

// A lane outside the sender's segment of `width` lanes keeps its own value.
template <typename V>
V shuffle(unsigned mask, V value, int from, const char *file, int line, int width = 32)
{
    const int first = (int)lane() / width * width;
    const bool inside = from >= first && from < first + width;
    return exchange(mask, value, inside ? (unsigned)from : lane(), file, line);
}

inline unsigned ballot(unsigned mask, bool set, const char *file, int line)
{
    slot *slots = warp_slots();
    slots[lane()][0] = set ? 1 : 0;
    sync_warp(mask, file, line);
    unsigned bits = 0;
    for (unsigned i = 0; i < 32; ++i) {
        bits |= (unsigned)slots[i][0] << i;
    }
    return bits;
}

template <typename V, typename F> V update(V *at, F change)
{
    const V before = *at;
    *at = change(before);
    return before;
}

} // namespace edt_emulator

#define threadIdx (edt_emulator::now.thread)
#define blockIdx (edt_emulator::now.block)
#define blockDim (edt_emulator::now.block_dim)
#define gridDim (edt_emulator::now.grid_dim)
constexpr int warpSize = 32;

#define EDT_CUDA_LAUNCH(kernel, grid, block, shared_bytes, stream, ...)                        \
    edt_emulator::launch(#kernel, kernel, (grid), (block), (size_t)(shared_bytes), (stream),   \
                         ##__VA_ARGS__)
#define EDT_DYNAMIC_SHARED(type, name)                                                         \
    type *const name = static_cast<type *>(edt_emulator::now.shared)

#define __syncthreads() edt_emulator::sync_block(__FILE__, __LINE__)
// The mask is optional.
#define __syncwarp(...) edt_emulator::sync_warp(0xffffffffU, __FILE__, __LINE__)
#define __shfl_sync(mask, v, from, ...)                                                        \
    edt_emulator::shuffle_from(mask, v, from, __FILE__, __LINE__, ##__VA_ARGS__)
#define __shfl_xor_sync(mask, v, lanes, ...)                                                   \
    edt_emulator::shuffle(mask, v, (int)(edt_emulator::lane() ^ (unsigned)(lanes)), __FILE__,  \
                          __LINE__, ##__VA_ARGS__)
#define __shfl_down_sync(mask, v, lanes, ...)                                                  \
    edt_emulator::shuffle(mask, v, (int)edt_emulator::lane() + (int)(lanes), __FILE__,         \
                          __LINE__, ##__VA_ARGS__)
#define __shfl_up_sync(mask, v, lanes, ...)                                                    \
    edt_emulator::shuffle(mask, v, (int)edt_emulator::lane() - (int)(lanes), __FILE__,         \
                          __LINE__, ##__VA_ARGS__)
#define __ballot_sync(mask, set) edt_emulator::ballot(mask, (set), __FILE__, __LINE__)
#define __any_sync(mask, set) (edt_emulator::ballot(mask, (set), __FILE__, __LINE__) != 0)
#define __all_sync(mask, set)                                                                  \
    (edt_emulator::ballot(mask, (set), __FILE__, __LINE__) == 0xffffffffU)
#define __activemask() 0xffffffffU

namespace edt_emulator
{
template <typename V>
V shuffle_from(unsigned mask, V value, int from, const char *file, int line, int width = 32)
{
    const int first = (int)lane() / width * width;
    return exchange(mask, value, (unsigned)(first + (from & (width - 1))), file, line);
}
} // namespace edt_emulator

inline void __threadfence()
{
}
inline void __threadfence_block()
{
}

// Integers only: additions of floats in no fixed order are not allowed in this program.
#define EDT_EMULATED_ATOMICS(V)                                                                \
    inline V atomicAdd(V *at, V v)                                                             \
    {                                                                                          \
        return edt_emulator::update(at, [v](V old) { return (V)(old + v); });                  \
    }                                                                                          \
    inline V atomicMin(V *at, V v)                                                             \
    {                                                                                          \
        return edt_emulator::update(at, [v](V old) { return v < old ? v : old; });             \
    }                                                                                          \
    inline V atomicMax(V *at, V v)                                                             \
    {                                                                                          \
        return edt_emulator::update(at, [v](V old) { return v > old ? v : old; });             \
    }                                                                                          \
    inline V atomicAnd(V *at, V v)                                                             \
    {                                                                                          \
        return edt_emulator::update(at, [v](V old) { return (V)(old & v); });                  \
    }                                                                                          \
    inline V atomicOr(V *at, V v)                                                              \
    {                                                                                          \
        return edt_emulator::update(at, [v](V old) { return (V)(old | v); });                  \
    }                                                                                          \
    inline V atomicXor(V *at, V v)                                                             \
    {                                                                                          \
        return edt_emulator::update(at, [v](V old) { return (V)(old ^ v); });                  \
    }                                                                                          \
    inline V atomicExch(V *at, V v)                                                            \
    {                                                                                          \
        return edt_emulator::update(at, [v](V) { return v; });                                 \
    }                                                                                          \
    inline V atomicCAS(V *at, V expected, V v)                                                 \
    {                                                                                          \
        return edt_emulator::update(at, [=](V old) { return old == expected ? v : old; });     \
    }
EDT_EMULATED_ATOMICS(int)
EDT_EMULATED_ATOMICS(unsigned)
EDT_EMULATED_ATOMICS(unsigned long long)
#undef EDT_EMULATED_ATOMICS

template <typename T> inline T __ldg(const T *at)
{
    return *at;
}
template <typename T> inline T __ldcs(const T *at)
{
    return *at;
}
template <typename T> inline T __ldcg(const T *at)
{
    return *at;
}
template <typename T> inline void __stcs(T *at, T v)
{
    *at = v;
}
template <typename T> inline void __stcg(T *at, T v)
{
    *at = v;
}

#define EDT_EMULATED_MIN_MAX(V)                                                                \
    inline V min(V a, V b)                                                                     \
    {                                                                                          \
        return b < a ? b : a;                                                                  \
    }                                                                                          \
    inline V max(V a, V b)                                                                     \
    {                                                                                          \
        return a < b ? b : a;                                                                  \
    }
EDT_EMULATED_MIN_MAX(int)
EDT_EMULATED_MIN_MAX(unsigned)
EDT_EMULATED_MIN_MAX(long)
EDT_EMULATED_MIN_MAX(unsigned long)
EDT_EMULATED_MIN_MAX(long long)
EDT_EMULATED_MIN_MAX(unsigned long long)
#undef EDT_EMULATED_MIN_MAX
inline float min(float a, float b)
{
    return fminf(a, b);
}
inline float max(float a, float b)
{
    return fmaxf(a, b);
}
inline double min(double a, double b)
{
    return fmin(a, b);
}
inline double max(double a, double b)
{
    return fmax(a, b);
}

// The fast forms of a device are the exact ones here.
inline float __expf(float v)
{
    return expf(v);
}
inline float __logf(float v)
{
    return logf(v);
}
inline float __fdividef(float a, float b)
{
    return a / b;
}
inline float __fmul_rn(float a, float b)
{
    return a * b;
}
inline float __fadd_rn(float a, float b)
{
    return a + b;
}
inline float __fsub_rn(float a, float b)
{
    return a - b;
}
inline float __fdiv_rn(float a, float b)
{
    return a / b;
}
inline float __fsqrt_rn(float v)
{
    return sqrtf(v);
}
inline float __frcp_rn(float v)
{
    return 1.0F / v;
}
inline float __fmaf_rn(float a, float b, float c)
{
    return fmaf(a, b, c);
}
inline double __dmul_rn(double a, double b)
{
    return a * b;
}
inline double __dadd_rn(double a, double b)
{
    return a + b;
}
inline float rsqrtf(float v)
{
    return 1.0F / sqrtf(v);
}
inline double rsqrt(double v)
{
    return 1.0 / sqrt(v);
}
inline float __saturatef(float v)
{
    return fminf(fmaxf(v, 0.0F), 1.0F);
}
inline float __double2float_rn(double v)
{
    return (float)v;
}
inline float __int2float_rn(int v)
{
    return (float)v;
}
inline int __float2int_rn(float v)
{
    return (int)rintf(v);
}
inline int __float2int_rz(float v)
{
    return (int)v;
}
inline int __float2int_rd(float v)
{
    return (int)floorf(v);
}

template <typename To, typename From> inline To edt_emulated_bits(From from)
{
    static_assert(sizeof(To) == sizeof(From));
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}
inline int __float_as_int(float v)
{
    return edt_emulated_bits<int>(v);
}
inline unsigned __float_as_uint(float v)
{
    return edt_emulated_bits<unsigned>(v);
}
inline float __int_as_float(int v)
{
    return edt_emulated_bits<float>(v);
}
inline float __uint_as_float(unsigned v)
{
    return edt_emulated_bits<float>(v);
}
inline long long __double_as_longlong(double v)
{
    return edt_emulated_bits<long long>(v);
}
inline double __longlong_as_double(long long v)
{
    return edt_emulated_bits<double>(v);
}
inline int __popc(unsigned v)
{
    return __builtin_popcount(v);
}
inline int __popcll(unsigned long long v)
{
    return __builtin_popcountll(v);
}
inline int __clz(int v)
{
    return v == 0 ? 32 : __builtin_clz((unsigned)v);
}
inline int __clzll(long long v)
{
    return v == 0 ? 64 : __builtin_clzll((unsigned long long)v);
}
inline int __ffs(int v)
{
    return __builtin_ffs(v);
}
inline int __ffsll(long long v)
{
    return __builtin_ffsll(v);
}
inline unsigned __umulhi(unsigned a, unsigned b)
{
    return (unsigned)((unsigned long long)a * b >> 32);
}
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b)
{
    return (unsigned long long)((unsigned __int128)a * b >> 64);
}

// nvcc's headers have these for kernels; a host compiler sees the ones for const void * only.
template <typename... P>
inline cudaError_t cudaFuncSetAttribute(void (*kernel)(P...), cudaFuncAttribute attribute,
                                        int value)
{
    return cudaFuncSetAttribute(reinterpret_cast<const void *>(kernel), attribute, value);
}
template <typename... P>
inline cudaError_t
cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *out_n_blocks, void (*kernel)(P...),
                                              int n_threads, size_t shared_bytes)
{
    return cudaOccupancyMaxActiveBlocksPerMultiprocessor(
        out_n_blocks, reinterpret_cast<const void *>(kernel), n_threads, shared_bytes);
}

#endif
