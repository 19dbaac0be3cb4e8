// The table of one instruction set's kernels.
#include "backend/cpu/cpu_kernels.h"

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)

const edt_cpu_kernels EDT_K(kernels) = {.name = TEXT(EDT_SIMD),
#define ENTRY(name, args) .name = EDT_K(name),
                                        EDT_CPU_KERNEL_LIST(ENTRY)
#undef ENTRY
};
