// Pooling over all pixels and scaling of channels, with their gradients.
#include "backend/cuda/cuda_priv.h"
#include "backend/cuda/cuda_rows.h"
#include "backend/cuda/kernels/pooling_kernels.h"

static edt_status run_average(edt_kernel *kernel, const edt_cuda_run *run)
{
    EDT_CUDA_TRY(edt_cuda_average(run->stream, kernel->desc.in[0].dtype, kernel->state,
                                  run->in[0], (double *)(void *)run->workspace, run->out[0]),
                 run->err);
    return EDT_OK;
}

static edt_status run_average_bwd(edt_kernel *kernel, const edt_cuda_run *run)
{
    if (run->out[0] == NULL) {
        return EDT_OK;
    }
    EDT_CUDA_TRY(edt_cuda_average_bwd(run->stream, kernel->desc.in[0].dtype, kernel->state,
                                      run->in[0], run->out[0]),
                 run->err);
    return EDT_OK;
}

static edt_status run_scale(edt_kernel *kernel, const edt_cuda_run *run)
{
    EDT_CUDA_TRY(edt_cuda_scale(run->stream, kernel->desc.in[0].dtype, kernel->state,
                                run->in[0], run->in[1], run->out[0]),
                 run->err);
    return EDT_OK;
}

static edt_status run_scale_bwd(edt_kernel *kernel, const edt_cuda_run *run)
{
    void *dx = run->out[0];
    void *ds = kernel->desc.n_out > 1 ? run->out[1] : NULL;
    if (dx == NULL && ds == NULL) {
        return EDT_OK;
    }
    EDT_CUDA_TRY(edt_cuda_scale_bwd(run->stream, kernel->desc.in[0].dtype, kernel->state,
                                    run->in[0], run->in[1], run->in[2],
                                    (double *)(void *)run->workspace, dx, ds),
                 run->err);
    return EDT_OK;
}

edt_status edt_cuda_prepare_pool(edt_cuda_backend *backend, edt_kernel *kernel, edt_error *err)
{
    const edt_op_desc *desc = &kernel->desc;
    bool sums = false;
    switch (desc->kind) {
    case EDT_OP_GLOBAL_AVG_POOL:
        kernel->run = run_average;
        sums = true;
        break;
    case EDT_OP_GLOBAL_AVG_POOL_BWD: kernel->run = run_average_bwd; break;
    case EDT_OP_SCALE_CHANNELS: kernel->run = run_scale; break;
    case EDT_OP_SCALE_CHANNELS_BWD:
        kernel->run = run_scale_bwd;
        sums = desc->n_out > 1;
        break;
    default:
        EDT_FAIL(err, EDT_ERR_INTERNAL, "cuda: %s neither pools nor scales",
                 edt_op_get_info(desc->kind)->name);
    }
    const bool backward = desc->kind == EDT_OP_GLOBAL_AVG_POOL_BWD;
    const edt_cuda_rows_want want =
        edt_cuda_rows_of(backward ? &desc->out[0] : &desc->in[0], true, sums);
    EDT_TRY(edt_cuda_kernel_alloc_state(kernel, sizeof(edt_cuda_rows), err));
    edt_cuda_rows *rows = kernel->state;
    EDT_TRY(edt_cuda_rows_plan(&backend->limits, &want, err, rows));
    kernel->workspace_bytes = sums && rows->parts > 1 ? edt_cuda_rows_sum_bytes(rows, 1) : 0;
    return EDT_OK;
}
