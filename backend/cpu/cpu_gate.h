// Pointwise convolutions whose input channels are scaled per image (squeeze and excitation).
// Scaling a row of weights for each image spares a pass over activations that are many times
// larger.
#ifndef EDT_BACKEND_CPU_CPU_GATE_H
#define EDT_BACKEND_CPU_CPU_GATE_H

#include "backend/cpu/cpu_priv.h"

// Whether a CONV2D_BN_ACT with a gate had better be one op: its weights, which every image
// scales and packs anew, are at most a quarter of the activations that would be scaled.
static inline bool edt_cpu_gate_suits(const edt_op_desc *desc)
{
    const edt_conv_attrs *conv = &desc->attrs.conv;
    const edt_shape *x = &desc->in[0].shape;
    return conv->kh == 1 && conv->kw == 1 && conv->sh == 1 && conv->sw == 1 &&
           4 * desc->in[1].shape.dim[3] <= x->dim[1] * x->dim[2];
}

// out[0] = product of in[0] and `folded` (K x N) with its rows scaled by the gate, with gemm's
// epilogue; residual may be NULL. `packed` is gemm->packed, written for each image.
#define edt_cpu_gate_run EDT_R(edt_cpu_gate_run)
void edt_cpu_gate_run(const edt_op_desc *desc, const edt_cpu_run *run, const edt_cpu_gemm *gemm,
                      const float *folded, const edt_real *residual, void *packed);

#endif
