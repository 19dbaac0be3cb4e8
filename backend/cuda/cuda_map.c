// Elementwise kinds: cast, input normalisation, activation, sum, drop connect. One launch each.
#include "backend/cuda/cuda_priv.h"
#include "backend/cuda/cuda_rows.h"
#include "backend/cuda/kernels/map_kernels.h"

// Elements that a thread of a flat kernel takes at least.
enum { CAST_RUN = 8 };

typedef struct map_state {
    int64_t n;
    int n_blocks, grid_images;
    edt_cuda_normalize normalize;
} map_state;

static edt_status run_cast(edt_kernel *kernel, const edt_cuda_run *run)
{
    const map_state *s = kernel->state;
    EDT_CUDA_TRY(edt_cuda_cast(run->stream, s->n_blocks, kernel->desc.in[0].dtype,
                               kernel->desc.out[0].dtype, s->n, run->in[0], run->out[0]),
                 run->err);
    return EDT_OK;
}

static edt_status run_act(edt_kernel *kernel, const edt_cuda_run *run)
{
    const map_state *s = kernel->state;
    EDT_CUDA_TRY(edt_cuda_act(run->stream, s->n_blocks, kernel->desc.in[0].dtype,
                              kernel->desc.attrs.act, s->n, run->in[0], run->out[0]),
                 run->err);
    return EDT_OK;
}

static edt_status run_act_bwd(edt_kernel *kernel, const edt_cuda_run *run)
{
    const map_state *s = kernel->state;
    if (run->out[0] == NULL) {
        return EDT_OK;
    }
    EDT_CUDA_TRY(edt_cuda_act_bwd(run->stream, s->n_blocks, kernel->desc.in[0].dtype,
                                  kernel->desc.attrs.act, s->n, run->in[0], run->in[1],
                                  run->out[0]),
                 run->err);
    return EDT_OK;
}

static edt_status run_add(edt_kernel *kernel, const edt_cuda_run *run)
{
    const map_state *s = kernel->state;
    EDT_CUDA_TRY(edt_cuda_add(run->stream, s->n_blocks, kernel->desc.in[0].dtype, s->n,
                              run->in[0], run->in[1], run->out[0]),
                 run->err);
    return EDT_OK;
}

static edt_status run_drop_connect(edt_kernel *kernel, const edt_cuda_run *run)
{
    const map_state *s = kernel->state;
    const edt_op_attrs *attrs = &kernel->desc.attrs;
    const int64_t n_images = kernel->desc.in[0].shape.dim[0];
    const float *u = (const float *)run->in[1] + attrs->drop_row * n_images;
    EDT_CUDA_TRY(edt_cuda_drop_connect(run->stream, s->n_blocks, s->grid_images,
                                       kernel->desc.in[0].dtype, n_images, s->n,
                                       (float)attrs->drop_survival, run->in[0], u, run->out[0]),
                 run->err);
    return EDT_OK;
}

static edt_status run_normalize(edt_kernel *kernel, const edt_cuda_run *run)
{
    const map_state *s = kernel->state;
    EDT_CUDA_TRY(edt_cuda_normalize_images(run->stream, kernel->desc.out[0].dtype,
                                           &s->normalize, run->in[0], run->in[1], run->out[0]),
                 run->err);
    return EDT_OK;
}

static int clamp(int64_t n, int most)
{
    return n < 1 ? 1 : n < most ? (int)n : most;
}

static void prepare_normalize(const edt_cuda_limits *limits, const edt_kernel *kernel,
                              map_state *s)
{
    const edt_op_attrs *attrs = &kernel->desc.attrs;
    const edt_shape *x = &kernel->desc.in[0].shape;
    edt_cuda_normalize *how = &s->normalize;
    *how = (edt_cuda_normalize){.n = x->dim[0], .h = x->dim[1], .w = x->dim[2]};
    for (int c = 0; c < 3; ++c) {
        how->mean[c] = attrs->norm_mean[c];
        how->std[c] = attrs->norm_std[c];
    }
    how->scale_range = attrs->norm_scale_range ? 1 : 0;
    const int64_t n_values = 3 * how->w;
    how->run = n_values % EDT_CUDA_NORMALIZE_RUN == 0 ? EDT_CUDA_NORMALIZE_RUN : 1;
    const int64_t n_runs = n_values / how->run;
    how->grid_x = (int)((n_runs - 1) / EDT_CUDA_NORMALIZE_COLUMNS + 1);
    how->grid_y = clamp((how->n * how->h - 1) / EDT_CUDA_NORMALIZE_ROWS + 1, limits->grid_y);
}

edt_status edt_cuda_prepare_map(edt_cuda_backend *backend, edt_kernel *kernel, edt_error *err)
{
    EDT_TRY(edt_cuda_kernel_alloc_state(kernel, sizeof(map_state), err));
    map_state *s = kernel->state;
    const edt_tensor_desc *x = &kernel->desc.in[0];
    const int packet = EDT_CUDA_PACKET_BYTES / (int)edt_dtype_bytes(x->dtype);
    s->n = edt_shape_count(&x->shape);
    s->n_blocks = edt_cuda_blocks_for(&backend->limits, s->n / packet);
    switch (kernel->desc.kind) {
    case EDT_OP_CAST:
        kernel->run = run_cast;
        s->n_blocks = edt_cuda_blocks_for(&backend->limits, s->n / CAST_RUN);
        break;
    case EDT_OP_NORMALIZE:
        kernel->run = run_normalize;
        prepare_normalize(&backend->limits, kernel, s);
        break;
    case EDT_OP_ACT: kernel->run = run_act; break;
    case EDT_OP_ACT_BWD: kernel->run = run_act_bwd; break;
    case EDT_OP_ADD: kernel->run = run_add; break;
    case EDT_OP_DROP_CONNECT:
        kernel->run = run_drop_connect;
        s->n /= x->shape.dim[0];
        s->n_blocks =
            edt_cuda_blocks_for(&backend->limits, s->n % packet == 0 ? s->n / packet : s->n);
        s->grid_images = clamp(x->shape.dim[0], backend->limits.grid_y);
        break;
    default:
        EDT_FAIL(err, EDT_ERR_INTERNAL, "cuda: %s is not elementwise",
                 edt_op_get_info(kernel->desc.kind)->name);
    }
    return EDT_OK;
}
