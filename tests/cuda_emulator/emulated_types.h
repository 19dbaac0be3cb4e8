// Elements of the types that the stand-ins for cuBLASLt and cuDNN compute with.
#ifndef EDT_TESTS_CUDA_EMULATOR_EMULATED_TYPES_H
#define EDT_TESTS_CUDA_EMULATOR_EMULATED_TYPES_H

#include <stdint.h>
#include <string.h>

#include <cuda_bf16.h>
#include <cuda_fp16.h>

namespace edt_emulator
{

enum class element { f32, bf16, f16, other };

inline size_t element_bytes(element type)
{
    return type == element::f32 ? 4 : 2;
}

inline float read_element(element type, const void *from, int64_t i)
{
    switch (type) {
    case element::bf16: return __bfloat162float(static_cast<const __nv_bfloat16 *>(from)[i]);
    case element::f16: return __half2float(static_cast<const __half *>(from)[i]);
    default: return static_cast<const float *>(from)[i];
    }
}

inline void write_element(element type, void *to, int64_t i, float value)
{
    switch (type) {
    case element::bf16: static_cast<__nv_bfloat16 *>(to)[i] = __float2bfloat16_rn(value); break;
    case element::f16: static_cast<__half *>(to)[i] = __float2half_rn(value); break;
    default: static_cast<float *>(to)[i] = value; break;
    }
}

// To the 10 bits of mantissa that TF32 products keep.
inline float round_tf32(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if ((bits & 0x7f800000U) != 0x7f800000U) {
        bits += 0xfffU + (bits >> 13 & 1U);
        bits &= ~0x1fffU;
    }
    memcpy(&value, &bits, sizeof bits);
    return value;
}

} // namespace edt_emulator

#endif
