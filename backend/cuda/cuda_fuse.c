// Weighted feature fusion and its gradient.
#include "backend/cuda/cuda_priv.h"
#include "backend/cuda/cuda_rows.h"
#include "backend/cuda/kernels/fuse_kernels.h"

// in[first] is x_0.
static edt_cuda_fuse fuse_of(const edt_kernel *kernel, const edt_cuda_run *run, int first)
{
    const edt_op_attrs *attrs = &kernel->desc.attrs;
    edt_cuda_fuse fuse = {
        .method = attrs->fuse_method,
        .act = attrs->act,
        .n = attrs->fuse_n,
        .accumulate = attrs->accumulate ? 1 : 0,
    };
    for (int j = 0; j < fuse.n; ++j) {
        fuse.x[j] = run->in[first + j];
        fuse.w[j] = attrs->fuse_method == EDT_FUSE_SUM ? NULL : run->in[first + fuse.n + j];
    }
    for (int j = fuse.n; j < EDT_FUSE_MAX_IN; ++j) {
        fuse.x[j] = fuse.x[0];
    }
    return fuse;
}

static edt_status run_fuse(edt_kernel *kernel, const edt_cuda_run *run)
{
    const edt_cuda_fuse fuse = fuse_of(kernel, run, 0);
    EDT_CUDA_TRY(edt_cuda_fuse_forward(run->stream, kernel->desc.in[0].dtype, kernel->state,
                                       &fuse, run->out[0]),
                 run->err);
    return EDT_OK;
}

static edt_status run_fuse_bwd(edt_kernel *kernel, const edt_cuda_run *run)
{
    edt_cuda_fuse fuse = fuse_of(kernel, run, 1);
    bool wanted = false;
    for (int j = 0; j < fuse.n; ++j) {
        const int i_dw = fuse.n + j;
        fuse.dx[j] = j < kernel->desc.n_out ? run->out[j] : NULL;
        fuse.dw[j] = i_dw < kernel->desc.n_out ? run->out[i_dw] : NULL;
        wanted = wanted || fuse.dx[j] != NULL || fuse.dw[j] != NULL;
    }
    if (!wanted) {
        return EDT_OK;
    }
    EDT_CUDA_TRY(edt_cuda_fuse_backward(run->stream, kernel->desc.in[0].dtype, kernel->state,
                                        &fuse, run->in[0], (double *)(void *)run->workspace),
                 run->err);
    return EDT_OK;
}

edt_status edt_cuda_prepare_fuse(edt_cuda_backend *backend, edt_kernel *kernel, edt_error *err)
{
    const edt_op_desc *desc = &kernel->desc;
    const edt_fuse_method method = desc->attrs.fuse_method;
    const bool sums = desc->kind == EDT_OP_FUSE_BWD && desc->n_out > desc->attrs.fuse_n;
    const edt_cuda_rows_want want = edt_cuda_rows_of(&desc->in[0], false, sums);
    EDT_TRY(edt_cuda_kernel_alloc_state(kernel, sizeof(edt_cuda_rows), err));
    edt_cuda_rows *rows = kernel->state;
    EDT_TRY(edt_cuda_rows_plan(&backend->limits, &want, err, rows));
    kernel->run = desc->kind == EDT_OP_FUSE ? run_fuse : run_fuse_bwd;
    if (sums) {
        // As many as the kernels have inputs.
        const int n_sums = desc->attrs.fuse_n > 3 ? EDT_FUSE_MAX_IN : desc->attrs.fuse_n;
        const bool per_channel =
            method == EDT_FUSE_CHANNEL_FASTATTN || method == EDT_FUSE_CHANNEL_ATTN;
        kernel->workspace_bytes = per_channel
                                      ? edt_cuda_rows_sum_bytes(rows, n_sums)
                                      : (size_t)rows->parts * (size_t)rows->chunks *
                                            (size_t)n_sums * sizeof(double);
    }
    return EDT_OK;
}
