// Chooses the widest kernels that this processor (and its operating system) can run.
#include <stdlib.h>
#include <string.h>

#include "backend/cpu/cpu_priv.h"

static bool can_run(const edt_cpu_kernels *kernels)
{
    __builtin_cpu_init();
    if (kernels == &edt_cpu_kernels_avx512) {
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
    }
    if (kernels == &edt_cpu_kernels_avx2) {
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    }
    return __builtin_cpu_supports("sse4.2");
}

const edt_cpu_kernels *edt_cpu_kernels_find(const char *variant)
{
    const edt_cpu_kernels *const all[] = {
        &edt_cpu_kernels_avx512,
        &edt_cpu_kernels_avx2,
        &edt_cpu_kernels_base,
    };
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        if ((variant == NULL || strcmp(variant, all[i]->name) == 0) && can_run(all[i])) {
            return all[i];
        }
    }
    return NULL;
}
