// Dense convolutions by oneDNN: f32, activations NHWC, parameters HWIO as the checkpoint has
// them, packed into whatever oneDNN prefers when they changed.
#ifndef EDT_BACKEND_CPU_CPU_DNNL_H
#define EDT_BACKEND_CPU_CPU_DNNL_H

#include "backend/cpu/cpu_priv.h"

typedef struct edt_cpu_dnnl_conv edt_cpu_dnnl_conv;

// For CONV2D, CONV2D_BN_ACT (bias always, activation in the epilogue where oneDNN has it),
// CONV2D_DATA and CONV2D_WEIGHT (weights only). out_workspace_bytes: scratch of a run.
edt_status edt_cpu_dnnl_conv_create(const edt_cpu_backend *backend, const edt_op_desc *desc,
                                    edt_error *err, edt_cpu_dnnl_conv **out_conv,
                                    size_t *out_workspace_bytes);
void edt_cpu_dnnl_conv_destroy(edt_cpu_dnnl_conv *conv); // NULL is fine

// True when the epilogue applies desc's activation.
bool edt_cpu_dnnl_conv_has_act(const edt_cpu_dnnl_conv *conv);
// Packs HWIO weights for the forward and data kinds.
edt_status edt_cpu_dnnl_conv_pack(edt_cpu_dnnl_conv *conv, const float *w, edt_error *err);
// Forward: src x, bias (may be NULL when created without), dst y. Data: src dy, dst dx.
edt_status edt_cpu_dnnl_conv_run(edt_cpu_dnnl_conv *conv, const float *src, const float *bias,
                                 float *dst, void *workspace, edt_error *err);
// CONV2D_WEIGHT: dw (HWIO) is overwritten.
edt_status edt_cpu_dnnl_conv_run_weight(edt_cpu_dnnl_conv *conv, const float *x,
                                        const float *dy, float *dw, void *workspace,
                                        edt_error *err);

#endif
