// See resize_kernels.h: the portable kernels and the choice among all.
#include "augment/resize_kernels.h"

#include "augment/vector.h"

EDT_VECTOR_CLONES
static void blend_u8(const float *restrict top, const float *restrict bottom, float t,
                     int64_t n, bool stream, uint8_t *restrict out)
{
    (void)stream;
    for (int64_t i = 0; i < n; ++i) {
        out[i] = (uint8_t)(int32_t)(top[i] + (bottom[i] - top[i]) * t + 0.5f);
    }
}

EDT_VECTOR_CLONES
static void blend_f32(const float *restrict top, const float *restrict bottom, float t,
                      int64_t n, bool stream, float *restrict out)
{
    (void)stream;
    for (int64_t i = 0; i < n; ++i) {
        out[i] = top[i] + (bottom[i] - top[i]) * t;
    }
}

const edt_resize_kernels edt_resize_kernels_portable = {
    .name = "portable", .blend_u8 = blend_u8, .blend_f32 = blend_f32};

const edt_resize_kernels *edt_resize_kernels_at(int i)
{
#ifdef __x86_64__
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vbmi") &&
        i-- == 0) {
        return &edt_resize_kernels_avx512;
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && i-- == 0) {
        return &edt_resize_kernels_avx2;
    }
#endif
    return i == 0 ? &edt_resize_kernels_portable : NULL;
}
