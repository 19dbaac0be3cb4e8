// Dense convolutions with any window by cuDNN's graph interface: one operation per plan, NHWC
// activations, filters packed as [co][kh][kw][ci], products summed in float. Plans are chosen
// and made at preparation; engines that round their inputs, sum in less than float or (when
// asked) are not deterministic are passed over.
#ifndef EDT_BACKEND_CUDA_CUDA_CUDNN_H
#define EDT_BACKEND_CUDA_CUDA_CUDNN_H

#include "backend/cuda/cuda_conv_shapes.h"
#include "backend/cuda/cuda_priv.h"

typedef struct edt_cuda_cudnn_conv edt_cuda_cudnn_conv;

// The backend's handle, made by the first convolution that wants one. NULL is fine.
void edt_cuda_cudnn_destroy(edt_cuda_cudnn *cudnn);

// All operands are of type real: in 16 bits cuDNN (9.19) has no weight gradients in float.
// EDT_ERR_UNSUPPORTED where the library has no plan.
edt_status edt_cuda_cudnn_conv_create(edt_cuda_backend *backend,
                                      const edt_cuda_conv_geometry *geometry, edt_dtype real,
                                      edt_error *err, edt_cuda_cudnn_conv **out_conv,
                                      size_t *out_workspace_bytes);
// x, w, y: operands and result in the roles of the geometry (dx, dw, dy likewise), multiples
// of 16.
edt_status edt_cuda_cudnn_conv_run(edt_cuda_cudnn_conv *conv, const edt_cuda_run *run,
                                   const void *x, const void *w, const void *y,
                                   char *workspace);
void edt_cuda_cudnn_conv_destroy(edt_cuda_cudnn_conv *conv); // NULL is fine

#endif
