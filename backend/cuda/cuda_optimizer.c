// The parameter update: cuts the segments into pieces of bounded size, once, and keeps both
// tables on the device for kernels/optimizer_kernels.h.
#include <inttypes.h>
#include <string.h>

#include "backend/cuda/cuda_priv.h"
#include "backend/cuda/kernels/optimizer_kernels.h"

typedef struct state {
    edt_cuda_backend *backend;
    void *tables;            // on the device: segments, then pieces
    edt_cuda_optimizer args; // all that does not change from run to run
} state;

static void deinit(edt_kernel *kernel)
{
    const state *s = kernel->state;
    s->backend->base.table->free(&s->backend->base, s->tables);
}

static edt_status run_optimizer(edt_kernel *kernel, const edt_cuda_run *run)
{
    const state *s = kernel->state;
    const int n_in = kernel->desc.n_in;
    edt_cuda_optimizer args = s->args;
    args.control = run->backend->control;
    args.params = run->in[0];
    args.grads = run->in[1];
    args.slot0 = run->in[2];
    args.slot1 = n_in > 3 ? run->in[3] : NULL;
    args.ema = n_in > 4 ? run->in[4] : NULL;
    args.scale = n_in > 5 ? run->in[5] : NULL;
    args.stats = run->out[0];
    args.sum_v = (double *)(void *)run->workspace;
    args.sum_g = args.sum_v + args.n_pieces;
    args.factors = args.sum_g + args.n_pieces;
    args.step = (edt_cuda_step *)(void *)(args.factors + args.n_segments);
    EDT_CUDA_TRY(edt_cuda_optimizer_run(&args, run->stream), run->err);
    return EDT_OK;
}

// Fills both tables; the pieces with nothing to do are left out.
static int64_t cut(const edt_optimizer_attrs *a, edt_cuda_segment *segments,
                   edt_cuda_piece *pieces)
{
    int64_t n_pieces = 0;
    for (int64_t i = 0; i < a->n_segments; ++i) {
        const edt_param_segment *from = &a->segments[i];
        const bool used =
            from->update || from->average || (from->decay && a->l2_includes_frozen);
        const int64_t n = used ? (from->n + EDT_CUDA_PIECE - 1) / EDT_CUDA_PIECE : 0;
        if (segments != NULL) {
            segments[i] = (edt_cuda_segment){
                .first_piece = n_pieces,
                .n_pieces = n,
                .update = from->update,
                .decay = from->decay,
                .average = from->average,
            };
        }
        for (int64_t p = 0; pieces != NULL && p < n; ++p) {
            const int64_t left = from->n - p * EDT_CUDA_PIECE;
            pieces[n_pieces + p] = (edt_cuda_piece){
                .offset = from->offset + p * EDT_CUDA_PIECE,
                .n = (int32_t)(left < EDT_CUDA_PIECE ? left : EDT_CUDA_PIECE),
                .segment = (int32_t)i,
            };
        }
        n_pieces += n;
    }
    return n_pieces;
}

static edt_status upload_tables(edt_cuda_backend *backend, const edt_optimizer_attrs *a,
                                state *s, edt_error *err)
{
    const edt_backend_table *table = backend->base.table;
    const size_t segment_bytes = (size_t)a->n_segments * sizeof(edt_cuda_segment);
    const size_t n_bytes = segment_bytes + (size_t)s->args.n_pieces * sizeof(edt_cuda_piece);
    if (n_bytes == 0) {
        return EDT_OK;
    }
    char *host = edt_mem_calloc(EDT_MEM_MISC, 1, n_bytes);
    if (host == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the optimizer's %" PRId64 " segments",
                 a->n_segments);
    }
    edt_status status = EDT_OK;
    (void)cut(a, (edt_cuda_segment *)(void *)host,
              (edt_cuda_piece *)(void *)(host + segment_bytes));
    EDT_TRY_GOTO(table->alloc(&backend->base, EDT_MEM_MISC, n_bytes, err, &s->tables));
    EDT_TRY_GOTO(table->upload(&backend->base, s->tables, host, n_bytes, err));
    s->args.segments = s->tables;
    s->args.pieces =
        (const edt_cuda_piece *)(const void *)((const char *)s->tables + segment_bytes);
fail:
    edt_mem_free(host);
    return status;
}

edt_status edt_cuda_prepare_optimizer(edt_cuda_backend *backend, edt_kernel *kernel,
                                      edt_error *err)
{
    const edt_optimizer_attrs *a = &kernel->desc.attrs.optimizer;
    EDT_TRY(edt_cuda_kernel_alloc_state(kernel, sizeof(state), err));
    state *s = kernel->state;
    s->backend = backend;
    s->args = (edt_cuda_optimizer){
        .kind = (int32_t)a->kind,
        .momentum = a->momentum,
        .beta2 = a->beta2,
        .epsilon = a->epsilon,
        .clip = a->clip,
        .weight_decay = a->weight_decay,
        .l2_includes_frozen = a->l2_includes_frozen,
        .n_segments = a->n_segments,
        .n_pieces = cut(a, NULL, NULL),
    };
    if (s->args.n_pieces > INT32_MAX || a->n_segments > INT32_MAX) {
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED,
                 "optimizer: %" PRId64 " segments in %" PRId64
                 " pieces; at most 2147483647 of each",
                 a->n_segments, s->args.n_pieces);
    }
    kernel->deinit = deinit;
    kernel->run = run_optimizer;
    kernel->workspace_bytes =
        (size_t)(2 * s->args.n_pieces + a->n_segments) * sizeof(double) + sizeof(edt_cuda_step);
    return upload_tables(backend, a, s, err);
}
