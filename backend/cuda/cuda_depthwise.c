// Depthwise convolution, fused or not, and its gradients: picks the cut of the work
// (depthwise_plan.h) when a kernel is prepared and launches it (kernels/depthwise_kernels.h).
#include "backend/cuda/cuda_priv.h"
#include "backend/cuda/kernels/depthwise_kernels.h"

typedef struct state {
    edt_cuda_depthwise_window window;
    edt_cuda_strips strips; // DEPTHWISE, DEPTHWISE_BN_ACT, DEPTHWISE_DATA
    edt_cuda_taps taps;     // DEPTHWISE_WEIGHT
} state;

static edt_status run_forward(edt_kernel *kernel, const edt_cuda_run *run)
{
    const state *s = kernel->state;
    edt_cuda_depthwise_bn bn = {.gamma = NULL};
    if (kernel->desc.kind == EDT_OP_DEPTHWISE_BN_ACT) {
        bn = (edt_cuda_depthwise_bn){
            .gamma = run->in[2],
            .beta = run->in[3],
            .mm = run->in[4],
            .mv = run->in[5],
            .epsilon = (float)kernel->desc.attrs.bn.epsilon,
            .act = kernel->desc.attrs.bn.act,
        };
    }
    EDT_CUDA_TRY(edt_cuda_depthwise_forward(kernel->desc.in[0].dtype, &s->window, &s->strips,
                                            run->in[0], run->in[1], run->out[0], &bn,
                                            run->stream),
                 run->err);
    return EDT_OK;
}

static edt_status run_data(edt_kernel *kernel, const edt_cuda_run *run)
{
    const state *s = kernel->state;
    if (run->out[0] == NULL) {
        return EDT_OK;
    }
    EDT_CUDA_TRY(edt_cuda_depthwise_data(kernel->desc.in[0].dtype, &s->window, &s->strips,
                                         run->in[0], run->in[1], run->out[0], run->stream),
                 run->err);
    return EDT_OK;
}

static edt_status run_weight(edt_kernel *kernel, const edt_cuda_run *run)
{
    const state *s = kernel->state;
    if (run->out[0] == NULL) {
        return EDT_OK;
    }
    EDT_CUDA_TRY(edt_cuda_depthwise_weight(kernel->desc.in[0].dtype, &s->window, &s->taps,
                                           run->in[0], run->in[1],
                                           (float *)(void *)run->workspace, run->out[0],
                                           kernel->desc.attrs.accumulate, run->stream),
                 run->err);
    return EDT_OK;
}

edt_status edt_cuda_prepare_depthwise(edt_cuda_backend *backend, edt_kernel *kernel,
                                      edt_error *err)
{
    const edt_op_desc *desc = &kernel->desc;
    const int element_bytes = (int)edt_dtype_bytes(desc->in[0].dtype);
    const int n_multiprocessors = backend->limits.n_multiprocessors;
    EDT_TRY(edt_cuda_kernel_alloc_state(kernel, sizeof(state), err));
    state *s = kernel->state;
    switch (desc->kind) {
    case EDT_OP_DEPTHWISE_DATA:
        s->window = edt_cuda_depthwise_window_of(&desc->out[0].shape, &desc->in[0].shape,
                                                 &desc->attrs.conv);
        kernel->run = run_data;
        return edt_cuda_strips_plan(&s->window, true, element_bytes, n_multiprocessors, err,
                                    &s->strips);
    case EDT_OP_DEPTHWISE_WEIGHT:
        s->window = edt_cuda_depthwise_window_of(&desc->in[0].shape, &desc->in[1].shape,
                                                 &desc->attrs.conv);
        kernel->run = run_weight;
        EDT_TRY(
            edt_cuda_taps_plan(&s->window, element_bytes, n_multiprocessors, err, &s->taps));
        kernel->workspace_bytes = edt_cuda_taps_workspace(&s->window, &s->taps);
        return EDT_OK;
    default:
        s->window = edt_cuda_depthwise_window_of(&desc->in[0].shape, &desc->out[0].shape,
                                                 &desc->attrs.conv);
        kernel->run = run_forward;
        return edt_cuda_strips_plan(&s->window, false, element_bytes, n_multiprocessors, err,
                                    &s->strips);
    }
}
