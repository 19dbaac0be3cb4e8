// Max pooling and nearest-neighbour resizing with their gradients.
#include "backend/cuda/cuda_priv.h"
#include "backend/cuda/cuda_rows.h"
#include "backend/cuda/kernels/sample_kernels.h"

typedef struct sample_state {
    edt_cuda_pixels pixels;
    edt_cuda_pool_window window;
} sample_state;

static edt_status run_max_pool(edt_kernel *kernel, const edt_cuda_run *run)
{
    const sample_state *s = kernel->state;
    EDT_CUDA_TRY(edt_cuda_max_pool(run->stream, kernel->desc.in[0].dtype, &s->pixels,
                                   &s->window, run->in[0], run->out[0],
                                   kernel->desc.n_out > 1 ? run->out[1] : NULL),
                 run->err);
    return EDT_OK;
}

static edt_status run_max_pool_bwd(edt_kernel *kernel, const edt_cuda_run *run)
{
    const sample_state *s = kernel->state;
    if (run->out[0] == NULL) {
        return EDT_OK;
    }
    EDT_CUDA_TRY(edt_cuda_max_pool_bwd(run->stream, kernel->desc.in[0].dtype, &s->pixels,
                                       &s->window, run->in[0], run->in[1], run->out[0]),
                 run->err);
    return EDT_OK;
}

static edt_status run_nearest(edt_kernel *kernel, const edt_cuda_run *run)
{
    const sample_state *s = kernel->state;
    EDT_CUDA_TRY(edt_cuda_nearest(run->stream, kernel->desc.in[0].dtype, &s->pixels, run->in[0],
                                  run->out[0]),
                 run->err);
    return EDT_OK;
}

static edt_status run_nearest_bwd(edt_kernel *kernel, const edt_cuda_run *run)
{
    const sample_state *s = kernel->state;
    if (run->out[0] == NULL) {
        return EDT_OK;
    }
    EDT_CUDA_TRY(edt_cuda_nearest_bwd(run->stream, kernel->desc.in[0].dtype, &s->pixels,
                                      run->in[0], run->out[0]),
                 run->err);
    return EDT_OK;
}

static edt_cuda_pool_window window_of(const edt_conv_attrs *conv, const edt_shape *x)
{
    int64_t top;
    int64_t left;
    int64_t after;
    edt_same_padding(x->dim[1], conv->kh, conv->sh, &top, &after);
    edt_same_padding(x->dim[2], conv->kw, conv->sw, &left, &after);
    return (edt_cuda_pool_window){.kh = conv->kh,
                                  .kw = conv->kw,
                                  .sh = conv->sh,
                                  .sw = conv->sw,
                                  .top = (int)top,
                                  .left = (int)left};
}

edt_status edt_cuda_prepare_sample(edt_cuda_backend *backend, edt_kernel *kernel,
                                   edt_error *err)
{
    const edt_op_desc *desc = &kernel->desc;
    EDT_TRY(edt_cuda_kernel_alloc_state(kernel, sizeof(sample_state), err));
    sample_state *s = kernel->state;
    EDT_TRY(
        edt_cuda_pixels_plan(&backend->limits, &desc->in[0], &desc->out[0], err, &s->pixels));
    switch (desc->kind) {
    case EDT_OP_MAX_POOL:
        kernel->run = run_max_pool;
        s->window = window_of(&desc->attrs.conv, &desc->in[0].shape);
        break;
    case EDT_OP_MAX_POOL_BWD:
        kernel->run = run_max_pool_bwd;
        s->window = window_of(&desc->attrs.conv, &desc->out[0].shape);
        break;
    case EDT_OP_RESIZE_NEAREST: kernel->run = run_nearest; break;
    case EDT_OP_RESIZE_NEAREST_BWD: kernel->run = run_nearest_bwd; break;
    default:
        EDT_FAIL(err, EDT_ERR_INTERNAL, "cuda: %s does not change the size of maps",
                 edt_op_get_info(desc->kind)->name);
    }
    return EDT_OK;
}
