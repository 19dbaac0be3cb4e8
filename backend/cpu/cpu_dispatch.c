// Chooses the widest kernels that this processor (and its operating system) can run.
#include <stdlib.h>
#include <string.h>

#include "backend/cpu/cpu_priv.h"

#define DECLARE(variant)                                                                       \
    extern const struct edt_cpu_kernels_f32 edt_cpu_kernels_f32_##variant;                     \
    extern const struct edt_cpu_kernels_bf16 edt_cpu_kernels_bf16_##variant;
DECLARE(base)
DECLARE(avx2)
DECLARE(avx512)
extern const struct edt_cpu_kernels_bf16 edt_cpu_kernels_bf16_avx512_bf16;

static bool can_run(const char *name)
{
    __builtin_cpu_init();
    if (strcmp(name, "avx512_bf16") == 0) {
        return can_run("avx512") && __builtin_cpu_supports("avx512bf16");
    }
    if (strcmp(name, "avx512") == 0) {
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
    }
    if (strcmp(name, "avx2") == 0) {
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    }
    return __builtin_cpu_supports("sse4.2");
}

bool edt_backend_cpu_multiplies_bf16(void)
{
    return can_run("avx512_bf16");
}

const edt_cpu_simd *edt_cpu_simd_find(const char *variant)
{
    static const edt_cpu_simd all[] = {
        {"avx512_bf16", &edt_cpu_kernels_f32_avx512, &edt_cpu_kernels_bf16_avx512_bf16},
        {"avx512", &edt_cpu_kernels_f32_avx512, &edt_cpu_kernels_bf16_avx512},
        {"avx2", &edt_cpu_kernels_f32_avx2, &edt_cpu_kernels_bf16_avx2},
        {"base", &edt_cpu_kernels_f32_base, &edt_cpu_kernels_bf16_base},
    };
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        if ((variant == NULL || strcmp(variant, all[i].name) == 0) && can_run(all[i].name)) {
            return &all[i];
        }
    }
    return NULL;
}
