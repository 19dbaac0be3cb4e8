// The table of one instruction set's kernels for one type.
#include "backend/cpu/cpu_kernels.h"

const edt_cpu_kernels EDT_K(kernels) = {
#define ENTRY(name, args) .name = EDT_K(name),
    EDT_CPU_KERNEL_LIST(ENTRY)
#undef ENTRY
};
