// CONV2D_DEPTHWISE_BN_ACT: the depthwise convolution asks for rows of its source when it comes
// to them, and the dense one makes them. Between threads kh - stride rows are made twice,
// within one none.
#include "backend/cpu/cpu_chain.h"

typedef struct state {
    edt_kernel dense, depthwise;
    int64_t batch, ring_rows;
    size_t ring_bytes; // of one thread
} state;

typedef struct made_by {
    const edt_kernel *dense;
    const edt_cpu_run *run;
    int64_t width; // of a row in pixels
} made_by;

edt_cpu_ring edt_cpu_ring_begin(const edt_cpu_row_maker *maker, int part, int64_t last_image,
                                int64_t last_end)
{
    return (edt_cpu_ring){
        .maker = maker,
        .part = part,
        .rows = (edt_real *)(void *)(maker->rings + (size_t)part * maker->ring_bytes),
        .limit =
            last_image * maker->n_rows + (last_end < maker->n_rows ? last_end : maker->n_rows),
    };
}

void edt_cpu_ring_fill(edt_cpu_ring *ring, int64_t image, int64_t first, int64_t end)
{
    const edt_cpu_row_maker *m = ring->maker;
    const int64_t start = image * m->n_rows;
    const int64_t image_end = start + m->n_rows;
    const int64_t limit = image_end < ring->limit ? image_end : ring->limit;
    const int64_t wanted = start + end < limit ? start + end : limit;
    const int64_t kept = start + (first < 0 ? 0 : first);
    ring->made = ring->made < kept ? kept : ring->made;
    while (ring->made < wanted) {
        const int64_t at = ring->made % m->ring_rows;
        int64_t n = m->batch < limit - ring->made ? m->batch : limit - ring->made;
        n = n < m->ring_rows - at ? n : m->ring_rows - at;
        m->make(m->ctx, ring->part, ring->made, ring->made + n, ring->rows + at * m->row_size);
        ring->made += n;
    }
}

static void make(const void *ctx, int part, int64_t begin, int64_t end, edt_real *to)
{
    const made_by *m = ctx;
    edt_cpu_conv_pixels(m->dense, m->run, part, begin * m->width, end * m->width, to);
}

static edt_status run_chain(edt_kernel *kernel, const edt_cpu_run *run)
{
    state *s = kernel->state;
    void *const *in = run->in;
    void *const depthwise_in[6] = {NULL, in[6], in[7], in[8], in[9], in[10]};
    edt_cpu_run depthwise_run = *run;
    depthwise_run.in = depthwise_in;
    edt_cpu_run dense_run = *run;
    dense_run.workspace += edt_cpu_align(s->depthwise.workspace_bytes);
    EDT_TRY(edt_cpu_conv_refresh(&s->dense, &dense_run));
    const edt_shape *between = &s->dense.desc.out[0].shape;
    const made_by by = {.dense = &s->dense, .run = &dense_run, .width = between->dim[2]};
    const edt_cpu_row_maker maker = {
        .make = make,
        .ctx = &by,
        .n_rows = between->dim[1],
        .row_size = between->dim[2] * between->dim[3],
        .batch = s->batch,
        .ring_rows = s->ring_rows,
        .rings = dense_run.workspace + edt_cpu_align(s->dense.workspace_bytes),
        .ring_bytes = s->ring_bytes,
    };
    return edt_cpu_depthwise_run_made(&s->depthwise, &depthwise_run, &maker);
}

static void deinit_part(edt_kernel *part)
{
    if (part->deinit != NULL) {
        part->deinit(part);
    }
    edt_mem_free(part->state);
}

static void deinit(edt_kernel *kernel)
{
    state *s = kernel->state;
    if (s != NULL) {
        deinit_part(&s->dense);
        deinit_part(&s->depthwise);
    }
}

edt_status EDT_R(edt_cpu_prepare_chain)(edt_cpu_backend *backend, edt_kernel *kernel,
                                        edt_error *err)
{
    enum { BATCH_PIXELS = 128 }; // so few make a product read its weights too often
    EDT_TRY(edt_cpu_kernel_alloc_state(kernel, sizeof(state), err));
    kernel->deinit = deinit;
    kernel->run = run_chain;
    state *s = kernel->state;
    EDT_TRY(edt_op_chain_parts(&kernel->desc, err, &s->dense.desc, &s->depthwise.desc));
    EDT_TRY(EDT_R(edt_cpu_prepare_conv)(backend, &s->dense, err));
    EDT_TRY(EDT_R(edt_cpu_prepare_depthwise)(backend, &s->depthwise, err));
    const edt_shape *between = &s->dense.desc.out[0].shape;
    const edt_conv_attrs *conv = &kernel->desc.attrs.conv;
    const int64_t width = between->dim[2];
    const int64_t enough = (BATCH_PIXELS + width - 1) / width;
    s->batch = enough < conv->sh ? conv->sh : enough;
    s->ring_rows = conv->kh - 1 + s->batch;
    s->ring_bytes =
        edt_cpu_align((size_t)(s->ring_rows * width * between->dim[3]) * sizeof(edt_real));
    kernel->workspace_bytes = edt_cpu_align(s->depthwise.workspace_bytes) +
                              edt_cpu_align(s->dense.workspace_bytes) +
                              (size_t)backend->base.n_threads * s->ring_bytes;
    return EDT_OK;
}
