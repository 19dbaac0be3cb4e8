// Convolutions of few input channels as matrix products: windows are gathered into rows, a few
// at a time, so that they stay in the cache. Libraries' direct convolutions want channels by
// the vector, which pictures do not have.
#ifndef EDT_BACKEND_CPU_CPU_WINDOWS_H
#define EDT_BACKEND_CPU_CPU_WINDOWS_H

#include "backend/cpu/cpu_priv.h"

// Whether an op had better be done so: forward convolutions, but for plain ones in f32, where
// oneDNN neither converts nor leaves the activation to a second pass.
static inline bool edt_cpu_windows_suit(const edt_op_desc *desc)
{
    enum { FEW_CHANNELS = 4 };
    return (desc->kind == EDT_OP_CONV2D_BN_ACT ||
            (desc->kind == EDT_OP_CONV2D && !EDT_REAL_IS_FLOAT)) &&
           desc->in[0].shape.dim[3] <= FEW_CHANNELS;
}

// Workspace of a run, once per type of activations.
#define edt_cpu_windows_bytes EDT_R(edt_cpu_windows_bytes)
#define edt_cpu_windows_run EDT_R(edt_cpu_windows_run)
#define edt_cpu_windows_rows EDT_R(edt_cpu_windows_rows)
size_t edt_cpu_windows_bytes(const edt_cpu_backend *backend, const edt_op_desc *desc);
// out[0] = product of all windows of in[0] and what `gemm` has packed (HWIO as a matrix), with
// gemm's epilogue. residual may be NULL.
void edt_cpu_windows_run(const edt_op_desc *desc, const edt_cpu_run *run,
                         const edt_cpu_gemm *gemm, const edt_real *residual);
// Pixels [begin, end) of the output, counted over all images, to y by thread `part`.
void edt_cpu_windows_rows(const edt_op_desc *desc, const edt_cpu_run *run,
                          const edt_cpu_gemm *gemm, const edt_real *residual, int part,
                          int64_t begin, int64_t end, edt_real *y);

#endif
