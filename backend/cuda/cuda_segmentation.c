// What the segmentation head and srelu need beyond the detector's ops, but for the loss
// (cuda_loss.c): joining of channels, a bias by itself, srelu.
#include "backend/cuda/cuda_priv.h"
#include "backend/cuda/cuda_rows.h"
#include "backend/cuda/kernels/conv_kernels.h"
#include "backend/cuda/kernels/segmentation_kernels.h"

enum { SUM_BLOCKS_PER_MULTIPROCESSOR = 4 };

typedef struct state {
    edt_cuda_join join;
    edt_cuda_rows rows;
    edt_cuda_column_sum sum;
    int64_t n;
    int n_blocks;
} state;

static edt_status run_concat(edt_kernel *kernel, const edt_cuda_run *run)
{
    const state *s = kernel->state;
    EDT_CUDA_TRY(edt_cuda_concat(run->stream, kernel->desc.in[0].dtype, &s->join, run->in[0],
                                 run->in[1], run->out[0]),
                 run->err);
    return EDT_OK;
}

static edt_status run_concat_bwd(edt_kernel *kernel, const edt_cuda_run *run)
{
    const state *s = kernel->state;
    void *db = kernel->desc.n_out > 1 ? run->out[1] : NULL;
    if (run->out[0] == NULL && db == NULL) {
        return EDT_OK;
    }
    EDT_CUDA_TRY(edt_cuda_concat_bwd(run->stream, kernel->desc.in[0].dtype, &s->join,
                                     run->in[0], run->out[0], db),
                 run->err);
    return EDT_OK;
}

static edt_status run_bias(edt_kernel *kernel, const edt_cuda_run *run)
{
    const state *s = kernel->state;
    EDT_CUDA_TRY(edt_cuda_bias(run->stream, kernel->desc.in[0].dtype, &s->rows, run->in[0],
                               run->in[1], run->out[0]),
                 run->err);
    return EDT_OK;
}

static edt_status run_bias_bwd(edt_kernel *kernel, const edt_cuda_run *run)
{
    const state *s = kernel->state;
    const int64_t c = kernel->desc.in[0].shape.dim[3];
    if (run->out[0] == NULL) {
        return EDT_OK;
    }
    EDT_CUDA_TRY(edt_cuda_launch_column_sum(&s->sum, kernel->desc.in[0].dtype, run->in[0],
                                            s->n / c, c, (double *)(void *)run->workspace,
                                            run->out[0], kernel->desc.attrs.accumulate,
                                            run->stream),
                 run->err);
    return EDT_OK;
}

static edt_status run_srelu(edt_kernel *kernel, const edt_cuda_run *run)
{
    const state *s = kernel->state;
    EDT_CUDA_TRY(edt_cuda_srelu(run->stream, s->n_blocks, kernel->desc.in[0].dtype, s->n,
                                run->in[0], run->in[1], run->out[0]),
                 run->err);
    return EDT_OK;
}

static edt_status run_srelu_bwd(edt_kernel *kernel, const edt_cuda_run *run)
{
    const state *s = kernel->state;
    void *db = kernel->desc.n_out > 1 ? run->out[1] : NULL;
    if (run->out[0] == NULL && db == NULL) {
        return EDT_OK;
    }
    EDT_CUDA_TRY(edt_cuda_srelu_bwd(run->stream, s->n_blocks, kernel->desc.in[0].dtype, s->n,
                                    run->in[0], run->in[1], run->in[2],
                                    (double *)(void *)run->workspace,
                                    kernel->desc.attrs.accumulate, run->out[0], db),
                 run->err);
    return EDT_OK;
}

static void prepare_join(edt_cuda_backend *backend, const edt_kernel *kernel, state *s)
{
    const edt_op_desc *desc = &kernel->desc;
    const bool backward = desc->kind == EDT_OP_CONCAT_BWD;
    const edt_tensor_desc *y = backward ? &desc->in[0] : &desc->out[0];
    const int packet = EDT_CUDA_PACKET_BYTES / (int)edt_dtype_bytes(y->dtype);
    const int64_t n_a = backward ? desc->attrs.out_shape.dim[3] : desc->in[0].shape.dim[3];
    const int64_t n = edt_shape_count(&y->shape);
    edt_cuda_join *join = &s->join;
    join->n_rows = n / y->shape.dim[3];
    join->n_a = n_a;
    join->n_b = y->shape.dim[3] - n_a;
    join->vec = join->n_a % packet == 0 && join->n_b % packet == 0 ? packet : 1;
    join->n_blocks = edt_cuda_blocks_for(&backend->limits, n / join->vec);
}

edt_status edt_cuda_prepare_segmentation(edt_cuda_backend *backend, edt_kernel *kernel,
                                         edt_error *err)
{
    EDT_TRY(edt_cuda_kernel_alloc_state(kernel, sizeof(state), err));
    state *s = kernel->state;
    const edt_tensor_desc *x = &kernel->desc.in[0];
    const int packet = EDT_CUDA_PACKET_BYTES / (int)edt_dtype_bytes(x->dtype);
    const int n_multiprocessors = backend->limits.n_multiprocessors;
    s->n = edt_shape_count(&x->shape);
    s->n_blocks = edt_cuda_blocks_for(&backend->limits, s->n / packet);
    switch (kernel->desc.kind) {
    case EDT_OP_CONCAT:
        kernel->run = run_concat;
        prepare_join(backend, kernel, s);
        break;
    case EDT_OP_CONCAT_BWD:
        kernel->run = run_concat_bwd;
        prepare_join(backend, kernel, s);
        break;
    case EDT_OP_BIAS: {
        const edt_cuda_rows_want want = edt_cuda_rows_of(x, false, false);
        kernel->run = run_bias;
        EDT_TRY(edt_cuda_rows_plan(&backend->limits, &want, err, &s->rows));
        break;
    }
    case EDT_OP_BIAS_BWD: {
        const int64_t c = x->shape.dim[3];
        kernel->run = run_bias_bwd;
        s->sum = edt_cuda_column_sum_of(x->dtype, s->n / c, c, n_multiprocessors);
        kernel->workspace_bytes = (size_t)(s->sum.n_parts * c) * sizeof(double);
        break;
    }
    case EDT_OP_SRELU: kernel->run = run_srelu; break;
    case EDT_OP_SRELU_BWD:
        kernel->run = run_srelu_bwd;
        if (s->n_blocks > n_multiprocessors * SUM_BLOCKS_PER_MULTIPROCESSOR) {
            s->n_blocks = n_multiprocessors * SUM_BLOCKS_PER_MULTIPROCESSOR;
        }
        kernel->workspace_bytes = (size_t)s->n_blocks * sizeof(double);
        break;
    default:
        EDT_FAIL(err, EDT_ERR_INTERNAL, "cuda: %s is not of the segmentation head",
                 edt_op_get_info(kernel->desc.kind)->name);
    }
    return EDT_OK;
}
