// Chooses the inner loops for this processor and its operating system.
#include <stddef.h>
#include <string.h>

#include "augment/pixel_kernels.h"

extern const edt_pixel_kernels edt_pixel_kernels_base;
#if defined(__x86_64__)
extern const edt_pixel_kernels edt_pixel_kernels_avx2, edt_pixel_kernels_avx512;
#endif

static bool can_run(const edt_pixel_kernels *kernels)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (kernels == &edt_pixel_kernels_avx512) {
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512vbmi");
    }
    if (kernels == &edt_pixel_kernels_avx2) {
        return __builtin_cpu_supports("avx2");
    }
#endif
    return kernels == &edt_pixel_kernels_base;
}

const edt_pixel_kernels *edt_pixel_kernels_find(const char *variant)
{
    const edt_pixel_kernels *const all[] = {
#if defined(__x86_64__)
        &edt_pixel_kernels_avx512,
        &edt_pixel_kernels_avx2,
#endif
        &edt_pixel_kernels_base,
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; ++i) {
        if ((variant == NULL || strcmp(variant, all[i]->name) == 0) && can_run(all[i])) {
            return all[i];
        }
    }
    return NULL;
}
