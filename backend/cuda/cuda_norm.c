// Batch normalisation: which launches a kind takes, and what lies in the workspace between
// them.
#include "backend/cuda/cuda_priv.h"
#include "backend/cuda/cuda_rows.h"
#include "backend/cuda/kernels/norm_kernels.h"

// Rows that one block of all rows of a few channels still reads faster than three launches
// take.
enum { WHOLE_ROWS = 512 };

// Workspace: partial sums, [2][C] doubles, [2][C] floats.
typedef struct norm_state {
    edt_cuda_rows sums;  // of the pass that sums up
    edt_cuda_rows apply; // of the pass that writes y or dx
    bool whole;          // one launch, laid out by `sums`
    size_t sums_at, floats_at;
} norm_state;

static double *partial_of(const edt_cuda_run *run)
{
    return (double *)(void *)run->workspace;
}

static void *out_of(const edt_kernel *kernel, const edt_cuda_run *run, int i)
{
    return i < kernel->desc.n_out ? run->out[i] : NULL;
}

// BN_TRAIN: in[] from gamma on is gamma, beta, mm, mv; n_ranks 1.
static edt_cuda_norm norm_of(const edt_kernel *kernel, const edt_cuda_run *run, int first,
                             int n_ranks)
{
    const norm_state *s = kernel->state;
    const edt_bn_attrs *bn = &kernel->desc.attrs.bn;
    const int64_t c = s->sums.n_channels;
    const double n = (double)s->sums.n_rows * n_ranks;
    float *floats = (float *)(void *)(run->workspace + s->floats_at);
    return (edt_cuda_norm){
        .n_rows = n,
        .unbiased = bn->biased_moving_variance || n < 2 ? 1 : n / (n - 1),
        .epsilon = bn->epsilon,
        .keep = 1 - bn->momentum,
        .gamma = run->in[first],
        .beta = run->in[first + 1],
        .moving_mean = run->in[first + 2],
        .moving_var = run->in[first + 3],
        .mean = out_of(kernel, run, 1),
        .invstd = out_of(kernel, run, 2),
        .shift = floats,
        .scale = floats + c,
    };
}

static edt_status apply_norm(const edt_kernel *kernel, const edt_cuda_run *run,
                             const edt_cuda_norm *norm)
{
    const norm_state *s = kernel->state;
    EDT_CUDA_TRY(edt_cuda_norm_apply(run->stream, kernel->desc.in[0].dtype, &s->apply,
                                     kernel->desc.attrs.bn.act, run->in[0], norm->shift,
                                     norm->scale, NULL, NULL, 0, norm->beta, run->out[0]),
                 run->err);
    return EDT_OK;
}

static edt_status run_train(edt_kernel *kernel, const edt_cuda_run *run)
{
    const norm_state *s = kernel->state;
    const edt_dtype real = kernel->desc.in[0].dtype;
    const edt_cuda_norm norm = norm_of(kernel, run, 1, 1);
    if (s->whole) {
        EDT_CUDA_TRY(edt_cuda_norm_whole(run->stream, real, &s->sums, kernel->desc.attrs.bn.act,
                                         &norm, run->in[0], run->out[0]),
                     run->err);
        return EDT_OK;
    }
    EDT_CUDA_TRY(
        edt_cuda_norm_stats(run->stream, real, &s->sums, run->in[0], NULL, partial_of(run)),
        run->err);
    EDT_CUDA_TRY(edt_cuda_norm_finish(run->stream, real, &s->sums, &norm, run->in[0], NULL,
                                      s->sums.parts, partial_of(run)),
                 run->err);
    return apply_norm(kernel, run, &norm);
}

static edt_status run_stats(edt_kernel *kernel, const edt_cuda_run *run)
{
    const norm_state *s = kernel->state;
    double *sums = run->out[0];
    double *partial = s->sums.parts > 1 ? partial_of(run) : sums;
    EDT_CUDA_TRY(edt_cuda_norm_stats(run->stream, kernel->desc.in[0].dtype, &s->sums,
                                     run->in[0], run->in[1], partial),
                 run->err);
    if (s->sums.parts > 1) {
        EDT_CUDA_TRY(edt_cuda_norm_add_parts(run->stream, s->sums.n_channels, s->sums.parts,
                                             partial, sums),
                     run->err);
    }
    return EDT_OK;
}

static edt_status run_apply(edt_kernel *kernel, const edt_cuda_run *run)
{
    const norm_state *s = kernel->state;
    const edt_cuda_norm norm = norm_of(kernel, run, 2, kernel->desc.attrs.bn.n_ranks);
    EDT_CUDA_TRY(edt_cuda_norm_finish(run->stream, kernel->desc.in[0].dtype, &s->sums, &norm,
                                      run->in[0], norm.moving_mean, 1, run->in[1]),
                 run->err);
    return apply_norm(kernel, run, &norm);
}

static edt_status run_infer(edt_kernel *kernel, const edt_cuda_run *run)
{
    const norm_state *s = kernel->state;
    const edt_bn_attrs *bn = &kernel->desc.attrs.bn;
    EDT_CUDA_TRY(edt_cuda_norm_apply(run->stream, kernel->desc.in[0].dtype, &s->apply, bn->act,
                                     run->in[0], run->in[3], NULL, run->in[1], run->in[4],
                                     (float)bn->epsilon, run->in[2], run->out[0]),
                 run->err);
    return EDT_OK;
}

static edt_cuda_norm_bwd bwd_of(const edt_kernel *kernel, const edt_cuda_run *run)
{
    const norm_state *s = kernel->state;
    const edt_bn_attrs *bn = &kernel->desc.attrs.bn;
    const bool infer = kernel->desc.kind == EDT_OP_BN_INFER_BWD;
    const int n_ranks = kernel->desc.kind == EDT_OP_BN_BWD_APPLY ? bn->n_ranks : 1;
    return (edt_cuda_norm_bwd){
        .act = bn->act,
        .gamma = run->in[2],
        .beta = run->in[3],
        .mean = run->in[4],
        .invstd = run->in[5],
        .from_variance = infer ? 1 : 0,
        .epsilon = (float)bn->epsilon,
        .per_row = infer ? 0 : 1 / ((double)s->sums.n_rows * n_ranks),
        .accumulate = kernel->desc.attrs.accumulate ? 1 : 0,
        .dgamma = out_of(kernel, run, 1),
        .dbeta = out_of(kernel, run, 2),
        .sums = (double *)(void *)(run->workspace + s->sums_at),
    };
}

static edt_status sum_bwd(const edt_kernel *kernel, const edt_cuda_run *run,
                          const edt_cuda_norm_bwd *bwd)
{
    const norm_state *s = kernel->state;
    EDT_CUDA_TRY(edt_cuda_norm_bwd_sums(run->stream, kernel->desc.in[0].dtype, &s->sums, bwd,
                                        run->in[0], run->in[1], partial_of(run)),
                 run->err);
    EDT_CUDA_TRY(edt_cuda_norm_bwd_finish(run->stream, &s->sums, bwd, partial_of(run)),
                 run->err);
    return EDT_OK;
}

static edt_status apply_bwd(const edt_kernel *kernel, const edt_cuda_run *run,
                            const edt_cuda_norm_bwd *bwd)
{
    const norm_state *s = kernel->state;
    if (run->out[0] == NULL) {
        return EDT_OK;
    }
    EDT_CUDA_TRY(edt_cuda_norm_bwd_apply(run->stream, kernel->desc.in[0].dtype, &s->apply, bwd,
                                         run->in[0], run->in[1], run->out[0]),
                 run->err);
    return EDT_OK;
}

// BN_TRAIN_BWD and BN_INFER_BWD.
static edt_status run_bwd(edt_kernel *kernel, const edt_cuda_run *run)
{
    const norm_state *s = kernel->state;
    const edt_cuda_norm_bwd bwd = bwd_of(kernel, run);
    const bool wants_sums =
        bwd.dgamma != NULL || bwd.dbeta != NULL || (bwd.per_row > 0 && run->out[0] != NULL);
    if (wants_sums && s->whole) {
        EDT_CUDA_TRY(edt_cuda_norm_bwd_whole(run->stream, kernel->desc.in[0].dtype, &s->sums,
                                             &bwd, run->in[0], run->in[1], run->out[0]),
                     run->err);
        return EDT_OK;
    }
    if (wants_sums) {
        EDT_TRY(sum_bwd(kernel, run, &bwd));
    }
    return apply_bwd(kernel, run, &bwd);
}

static edt_status run_bwd_stats(edt_kernel *kernel, const edt_cuda_run *run)
{
    edt_cuda_norm_bwd bwd = bwd_of(kernel, run);
    bwd.sums = run->out[0];
    return sum_bwd(kernel, run, &bwd);
}

static edt_status run_bwd_apply(edt_kernel *kernel, const edt_cuda_run *run)
{
    edt_cuda_norm_bwd bwd = bwd_of(kernel, run);
    bwd.sums = run->in[6];
    return apply_bwd(kernel, run, &bwd);
}

edt_status edt_cuda_prepare_norm(edt_cuda_backend *backend, edt_kernel *kernel, edt_error *err)
{
    const edt_op_desc *desc = &kernel->desc;
    bool may_be_whole = false;
    switch (desc->kind) {
    case EDT_OP_BN_TRAIN:
        kernel->run = run_train;
        may_be_whole = true;
        break;
    case EDT_OP_BN_STATS: kernel->run = run_stats; break;
    case EDT_OP_BN_APPLY: kernel->run = run_apply; break;
    case EDT_OP_BN_INFER: kernel->run = run_infer; break;
    case EDT_OP_BN_TRAIN_BWD:
    case EDT_OP_BN_INFER_BWD:
        kernel->run = run_bwd;
        may_be_whole = true;
        break;
    case EDT_OP_BN_BWD_STATS: kernel->run = run_bwd_stats; break;
    case EDT_OP_BN_BWD_APPLY: kernel->run = run_bwd_apply; break;
    default:
        EDT_FAIL(err, EDT_ERR_INTERNAL, "cuda: %s is not batch normalisation",
                 edt_op_get_info(desc->kind)->name);
    }
    EDT_TRY(edt_cuda_kernel_alloc_state(kernel, sizeof(norm_state), err));
    norm_state *s = kernel->state;
    edt_cuda_rows_want want = edt_cuda_rows_of(&desc->in[0], false, false);
    EDT_TRY(edt_cuda_rows_plan(&backend->limits, &want, err, &s->apply));
    s->whole = may_be_whole && want.n_rows <= WHOLE_ROWS;
    want.sums = true;
    want.whole = s->whole;
    EDT_TRY(edt_cuda_rows_plan(&backend->limits, &want, err, &s->sums));
    const size_t c = (size_t)want.n_channels;
    s->sums_at = edt_cuda_rows_sum_bytes(&s->sums, 2);
    s->floats_at = s->sums_at + edt_cuda_round_up(2 * c * sizeof(double));
    kernel->workspace_bytes = s->floats_at + 2 * c * sizeof(float);
    return EDT_OK;
}
