// Depthwise convolution on the tap kernels of kernels_depthwise.c. Columns fall into classes
// (one going forward, one per phase of the stride in the data gradient) within which every
// column reads the same taps at a fixed step, but for those that would leave the image.
#include <math.h>
#include <omp.h>
#include <string.h>

#include "backend/cpu/cpu_chain.h"

enum { MAX_K = EDT_CPU_MAX_DEPTHWISE, MAX_TAPS = MAX_K * MAX_K };

// Along one axis: output position q + step * j reads source position source[t] + advance * j
// through kernel position k[t]; j in [lo, hi) keeps every tap inside the source.
typedef struct axis_class {
    int n_taps;
    int k[MAX_K];
    int64_t source[MAX_K];
    int64_t tap_lo[MAX_K], tap_hi[MAX_K]; // positions that have the tap
    int64_t q, n, lo, hi;
} axis_class;

typedef struct state {
    int64_t step, advance; // of columns
    int n_classes;         // column classes, the first `n_classes` of `columns`
    axis_class columns[MAX_K];
    float *folded; // DEPTHWISE_BN_ACT: kh * kw * C weights, then C biases
    uint64_t folded_version;
    const void *folded_from[5];
} state;

static int64_t floor_div(int64_t a, int64_t b)
{
    return a >= 0 ? a / b : -((-a + b - 1) / b);
}

// Taps of output positions q, q + step, ...; `in` is the size read, `out` the size written.
static void make_class(axis_class *class, bool backward, int64_t q, int64_t k, int64_t stride,
                       int64_t before, int64_t in, int64_t out)
{
    const int64_t step = backward ? stride : 1;
    const int64_t advance = backward ? 1 : stride;
    *class = (axis_class){.q = q, .n = q < out ? (out - q - 1) / step + 1 : 0, .hi = INT64_MAX};
    for (int64_t i = 0; i < k; i++) {
        const int64_t at = backward ? q + before - i : q * stride - before + i;
        if (backward && at - floor_div(at, stride) * stride != 0) {
            continue;
        }
        const int64_t source = backward ? floor_div(at, stride) : at;
        const int64_t lo = source >= 0 ? 0 : (-source + advance - 1) / advance;
        const int64_t hi = floor_div(in - 1 - source, advance) + 1;
        class->k[class->n_taps] = (int)i;
        class->source[class->n_taps] = source;
        class->tap_lo[class->n_taps] = lo;
        class->tap_hi[class->n_taps] = hi;
        class->n_taps++;
        class->lo = lo > class->lo ? lo : class->lo;
        class->hi = hi < class->hi ? hi : class->hi;
    }
    class->hi = class->hi > class->n ? class->n : class->hi;
    class->lo = class->lo > class->hi ? class->hi : class->lo;
    if (class->lo < 0) {
        class->lo = 0;
        class->hi = 0;
    }
}

// What one call of the op needs besides the state.
typedef struct depthwise_job {
    const edt_cpu_kernels *simd;
    const state *state;
    edt_act act;
    const edt_real *x;
    const edt_cpu_row_maker *maker; // instead of x; NULL: none
    const float *w, *bias;
    edt_real *y;
    int64_t c;
    int kw;
} depthwise_job;

// The source rows of one output row (kernel rows ky) and the rows that come into use after it.
typedef struct sources {
    int n, n_next;
    const edt_real *row[MAX_K];
    int ky[MAX_K];
    const edt_real *next[2];
} sources;

// What to fetch while columns are done: everything between one column and the next, in the rows
// to come.
static void look_ahead(const depthwise_job *job, const sources *from, edt_cpu_taps *taps)
{
    const int64_t n_columns = job->state->advance < 2 ? 1 : 2;
    for (int r = 0; r < from->n_next; r++) {
        for (int64_t i = 0; i < n_columns; i++) {
            taps->ahead[taps->n_ahead++] = from->next[r] + i * job->c;
        }
    }
}

// One output row; `sums` (C) as in edt_cpu_taps.
static void do_row(const depthwise_job *job, const sources *from, edt_real *y, float *sums)
{
    const state *s = job->state;
    const int64_t c = job->c;
    for (int i = 0; i < s->n_classes; i++) {
        const axis_class *class = &s->columns[i];
        edt_cpu_tap taps[MAX_TAPS];
        edt_cpu_taps run = {.tap = taps,
                            .x_step = s->advance * c,
                            .lo = class->lo,
                            .hi = class->hi,
                            .sums = sums};
        for (int r = 0; r < from->n; r++) {
            for (int t = 0; t < class->n_taps; t++) {
                taps[run.n++] = (edt_cpu_tap){
                    .x = from->row[r],
                    .w = job->w + (from->ky[r] * job->kw + class->k[t]) * c,
                    .at = class->source[t] * c,
                    .lo = class->tap_lo[t],
                    .hi = class->tap_hi[t],
                };
            }
        }
        if (i == 0) {
            look_ahead(job, from, &run);
        }
        job->simd->dw_taps(job->act, &run, job->bias, y + class->q * c, s->step * c, class->n,
                           c);
    }
}

// Sums of y over the pixels of each image on their way to the mean: float along a row, double
// from row to row, per thread.
typedef struct pool {
    edt_real *mean; // [N,1,1,C]; NULL: not wanted
    double *sums;   // [threads][N][C]
    float *row;     // [threads][C]
} pool;

static pool make_pool(const edt_kernel *kernel, const edt_cpu_run *run)
{
    const edt_shape *out = &kernel->desc.out[0].shape;
    if (kernel->desc.n_out < 2 || run->out[1] == NULL) {
        return (pool){0};
    }
    double *sums = (double *)(void *)run->workspace;
    const int64_t n_sums = run->backend->base.n_threads * out->dim[0] * out->dim[3];
    return (pool){.mean = run->out[1], .sums = sums, .row = (float *)(void *)(sums + n_sums)};
}

static void pool_row(float *row, double *sums, int64_t c)
{
    for (int64_t i = 0; i < c; i++) {
        sums[i] += (double)row[i];
        row[i] = 0;
    }
}

// Part `part` of the means, when all threads have their sums.
static void finish_pool(const pool *p, const edt_shape *out, int n_parts, int part)
{
    const int64_t n_sums = out->dim[0] * out->dim[3];
    const double n_cells = (double)(out->dim[1] * out->dim[2]);
    int64_t begin;
    int64_t end;
    edt_cpu_split(n_sums, n_parts, part, &begin, &end);
    for (int64_t i = begin; i < end; i++) {
        double total = 0;
        for (int q = 0; q < n_parts; q++) {
            total += p->sums[q * n_sums + i];
        }
        p->mean[i] = edt_real_of((float)(total / n_cells));
    }
}

// The source rows of output row `row` of all images. ring: where they are made (forward only),
// or NULL.
static sources sources_of(const edt_kernel *kernel, const depthwise_job *job,
                          edt_cpu_ring *ring, int64_t top, int64_t row)
{
    const edt_conv_attrs *conv = &kernel->desc.attrs.conv;
    const bool backward = kernel->desc.kind == EDT_OP_DEPTHWISE_DATA;
    const edt_shape *in = &kernel->desc.in[0].shape;
    const int64_t out_h = kernel->desc.out[0].shape.dim[1];
    const int64_t in_row = in->dim[2] * in->dim[3];
    sources from = {0};
    int64_t next = 0; // row after the last one used
    const int64_t n = row / out_h;
    const int64_t h = row % out_h;
    if (ring != NULL) {
        edt_cpu_ring_fill(ring, n, h * conv->sh - top, h * conv->sh - top + conv->kh);
    }
    for (int k = 0; k < conv->kh; k++) {
        const int64_t at = backward ? h + top - k : h * conv->sh - top + k;
        const int64_t source = backward ? floor_div(at, conv->sh) : at;
        if ((backward && at != source * conv->sh) || source < 0 || source >= in->dim[1]) {
            continue;
        }
        from.row[from.n] = ring != NULL ? edt_cpu_ring_row(ring, n, source)
                                        : job->x + (n * in->dim[1] + source) * in_row;
        from.ky[from.n] = k;
        from.n++;
        next = source + 1 > next ? source + 1 : next;
    }
    for (int i = 0; ring == NULL && i < 2 && i < (backward ? 1 : conv->sh); i++) {
        if (next + i < in->dim[1]) {
            from.next[from.n_next++] = job->x + (n * in->dim[1] + next + i) * in_row;
        }
    }
    return from;
}

// Forward and data gradient. in: what is read ([N,H,W,C]), out: what is written.
static void do_all(const edt_cpu_run *run, const edt_kernel *kernel, const depthwise_job *job)
{
    const edt_conv_attrs *conv = &kernel->desc.attrs.conv;
    const bool backward = kernel->desc.kind == EDT_OP_DEPTHWISE_DATA;
    const edt_shape *in = &kernel->desc.in[0].shape;
    const edt_shape *out = &kernel->desc.out[0].shape;
    int64_t top;
    int64_t bottom;
    edt_same_padding(backward ? out->dim[1] : in->dim[1], conv->kh, conv->sh, &top, &bottom);
    const int64_t out_row = out->dim[2] * out->dim[3];
    const int64_t n_sums = out->dim[0] * out->dim[3];
    const pool means = make_pool(kernel, run);
    const int n_threads = edt_cpu_threads(run->backend, edt_shape_count(out));
#pragma omp parallel num_threads(n_threads)
    {
        const int n_parts = omp_get_num_threads();
        const int part = omp_get_thread_num();
        float *row_sums = means.mean == NULL ? NULL : means.row + part * out->dim[3];
        double *sums = means.mean == NULL ? NULL : means.sums + part * n_sums;
        int64_t begin;
        int64_t end;
        if (means.mean != NULL) {
            memset(row_sums, 0, (size_t)out->dim[3] * sizeof(float));
            memset(sums, 0, (size_t)n_sums * sizeof(double));
        }
        edt_cpu_split(out->dim[0] * out->dim[1], n_parts, part, &begin, &end);
        edt_cpu_ring ring = {0};
        if (job->maker != NULL) {
            const int64_t last = end - 1;
            ring = edt_cpu_ring_begin(job->maker, part, last / out->dim[1],
                                      last % out->dim[1] * conv->sh - top + conv->kh);
        }
        for (int64_t row = begin; row < end; row++) {
            const sources from =
                sources_of(kernel, job, job->maker == NULL ? NULL : &ring, top, row);
            do_row(job, &from, job->y + row * out_row, row_sums);
            if (means.mean != NULL) {
                pool_row(row_sums, sums + row / out->dim[1] * out->dim[3], out->dim[3]);
            }
        }
        if (means.mean != NULL) {
#pragma omp barrier
            finish_pool(&means, out, n_parts, part);
        }
    }
}

static depthwise_job make_job(const edt_kernel *kernel, const edt_cpu_run *run)
{
    return (depthwise_job){
        .simd = edt_cpu_kernels_of(run->backend),
        .state = kernel->state,
        .act = EDT_ACT_NONE,
        .x = run->in[0],
        .w = EDT_REAL_IS_FLOAT ? run->in[1] : NULL,
        .y = run->out[0],
        .c = kernel->desc.in[0].shape.dim[3],
        .kw = kernel->desc.attrs.conv.kw,
    };
}

static edt_status run_plain(edt_kernel *kernel, const edt_cpu_run *run)
{
    if (run->out[0] != NULL) {
        depthwise_job job = make_job(kernel, run);
        if (job.w == NULL) {
            float *w = (float *)(void *)run->workspace;
            job.simd->widen(run->in[1], w, edt_shape_count(&kernel->desc.in[1].shape));
            job.w = w;
        }
        do_all(run, kernel, &job);
    }
    return EDT_OK;
}

edt_status edt_cpu_depthwise_run_made(edt_kernel *kernel, const edt_cpu_run *run,
                                      const edt_cpu_row_maker *maker)
{
    state *s = kernel->state;
    const edt_bn_attrs *bn = &kernel->desc.attrs.bn;
    const int64_t n_taps = kernel->desc.attrs.conv.kh * kernel->desc.attrs.conv.kw;
    depthwise_job job = make_job(kernel, run);
    float *bias = s->folded + n_taps * job.c;
    if (edt_cpu_stale(run, &s->folded_version, s->folded_from, 5)) {
        const edt_real *w = run->in[1];
        const float *gamma = run->in[2];
        const float *beta = run->in[3];
        const float *mean = run->in[4];
        const float *var = run->in[5];
        for (int64_t c = 0; c < job.c; c++) {
            const double scale = (double)gamma[c] / sqrt((double)var[c] + bn->epsilon);
            bias[c] = (float)((double)beta[c] - (double)mean[c] * scale);
            for (int64_t t = 0; t < n_taps; t++) {
                s->folded[t * job.c + c] =
                    (float)((double)edt_real_get(w[t * job.c + c]) * scale);
            }
        }
    }
    job.w = s->folded;
    job.bias = bias;
    job.act = bn->act;
    job.maker = maker;
    do_all(run, kernel, &job);
    return EDT_OK;
}

static edt_status run_bn_act(edt_kernel *kernel, const edt_cpu_run *run)
{
    return edt_cpu_depthwise_run_made(kernel, run, NULL);
}

// Columns [j, j + n) of an output row, filter columns [k0, k0 + n_kw): the rows of `all`
// shifted.
static void weight_columns(const edt_cpu_kernels *simd, const edt_cpu_dw_rows *all,
                           int64_t column, const edt_real *dy, int64_t n, int stride,
                           int64_t k0, int n_kw, int64_t c)
{
    edt_cpu_dw_rows rows = {.n = all->n};
    for (int r = 0; r < all->n; r++) {
        rows.x[r] = all->x[r] + (column + k0) * c;
        rows.dw[r] = all->dw[r] + k0 * c;
    }
    if (n > 1) {
        rows.n_ahead = all->n_ahead;
        for (int a = 0; a < all->n_ahead; a++) {
            rows.ahead[a] = all->ahead[a] + column * c;
        }
        rows.dy_ahead = all->dy_ahead;
    }
    simd->dw_weight(&rows, dy, n, stride, n_kw, c);
}

// dw of one thread's output rows, added to `dw` (kh * kw * C).
static void weight_rows(const edt_kernel *kernel, const edt_cpu_run *run, int64_t begin,
                        int64_t end, float *dw)
{
    const edt_conv_attrs *conv = &kernel->desc.attrs.conv;
    const edt_shape *in = &kernel->desc.in[0].shape;
    const edt_shape *out = &kernel->desc.in[1].shape;
    const axis_class *columns = &((const state *)kernel->state)->columns[0];
    const edt_cpu_kernels *simd = edt_cpu_kernels_of(run->backend);
    const int64_t c = in->dim[3];
    const int64_t left = -columns->source[0];
    int64_t top;
    int64_t bottom;
    edt_same_padding(in->dim[1], conv->kh, conv->sh, &top, &bottom);
    for (int64_t row = begin; row < end; row++) {
        const edt_real *dy = (const edt_real *)run->in[1] + row * out->dim[2] * c;
        const edt_real *image =
            (const edt_real *)run->in[0] + row / out->dim[1] * in->dim[1] * in->dim[2] * c;
        const int64_t first_h = row % out->dim[1] * conv->sh - top;
        edt_cpu_dw_rows rows = {.dy_ahead = row + 1 < end ? dy + out->dim[2] * c : NULL};
        for (int ky = 0; ky < conv->kh; ky++) {
            if (first_h + ky >= 0 && first_h + ky < in->dim[1]) {
                rows.x[rows.n] = image + (first_h + ky) * in->dim[2] * c;
                rows.dw[rows.n] = dw + (int64_t)ky * conv->kw * c;
                rows.n++;
            }
        }
        for (int64_t h = first_h + conv->kh;
             rows.n_ahead < 2 && h < first_h + conv->kh + conv->sh; h++) {
            if (h < in->dim[1]) {
                rows.ahead[rows.n_ahead++] = image + h * in->dim[2] * c;
            }
        }
        for (int64_t j = 0; j < out->dim[2];) {
            const int64_t column = j * conv->sw - left; // of filter column 0
            if (j >= columns->lo && j < columns->hi) {
                weight_columns(simd, &rows, column, dy + j * c, columns->hi - j, conv->sw, 0,
                               conv->kw, c);
                j = columns->hi;
                continue;
            }
            const int64_t k0 = column < 0 ? -column : 0;
            const int64_t room = in->dim[2] - column;
            const int64_t k1 = room < conv->kw ? room : conv->kw;
            if (k0 < k1) {
                weight_columns(simd, &rows, column, dy + j * c, 1, conv->sw, k0, (int)(k1 - k0),
                               c);
            }
            j++;
        }
    }
}

// Floats add up over about so many output columns, blocks in double.
enum { COLUMNS_PER_BLOCK = 1024 };

static edt_status run_weight(edt_kernel *kernel, const edt_cpu_run *run)
{
    const edt_shape *out = &kernel->desc.in[1].shape;
    const int64_t n_dw = edt_shape_count(&kernel->desc.out[0].shape);
    double *sums = (double *)(void *)run->workspace; // [threads][kh * kw * C]
    float *blocks = (float *)(void *)(sums + run->backend->base.n_threads * n_dw); // the same
    const int64_t n_block = (COLUMNS_PER_BLOCK + out->dim[2] - 1) / out->dim[2];
    float *dw = run->out[0];
    const int n_threads = edt_cpu_threads(run->backend, edt_shape_count(out));
    if (dw == NULL) {
        return EDT_OK;
    }
#pragma omp parallel num_threads(n_threads)
    {
        const int n_parts = omp_get_num_threads();
        const int part = omp_get_thread_num();
        double *mine = sums + part * n_dw;
        float *block = blocks + part * n_dw;
        int64_t begin;
        int64_t end;
        memset(mine, 0, (size_t)n_dw * sizeof(double));
        edt_cpu_split(out->dim[0] * out->dim[1], n_parts, part, &begin, &end);
        for (int64_t row = begin; row < end; row += n_block) {
            memset(block, 0, (size_t)n_dw * sizeof(float));
            weight_rows(kernel, run, row, row + n_block < end ? row + n_block : end, block);
            for (int64_t i = 0; i < n_dw; i++) {
                mine[i] += (double)block[i];
            }
        }
#pragma omp barrier
        edt_cpu_split(n_dw, n_parts, part, &begin, &end);
        for (int64_t i = begin; i < end; i++) {
            double total = 0;
            for (int p = 0; p < n_parts; p++) {
                total += sums[p * n_dw + i];
            }
            edt_cpu_put(&dw[i], total, kernel->desc.attrs.accumulate);
        }
    }
    return EDT_OK;
}

static void deinit(edt_kernel *kernel)
{
    if (kernel->state != NULL) {
        edt_mem_free(((state *)kernel->state)->folded);
    }
}

edt_status EDT_R(edt_cpu_prepare_depthwise)(edt_cpu_backend *backend, edt_kernel *kernel,
                                            edt_error *err)
{
    const edt_op_kind kind = kernel->desc.kind;
    const edt_conv_attrs *conv = &kernel->desc.attrs.conv;
    const bool backward = kind == EDT_OP_DEPTHWISE_DATA;
    const edt_shape *in = &kernel->desc.in[0].shape;
    const edt_shape *out = kind == EDT_OP_DEPTHWISE_WEIGHT ? &kernel->desc.in[1].shape
                                                           : &kernel->desc.out[0].shape;
    EDT_TRY(edt_cpu_kernel_alloc_state(kernel, sizeof(state), err));
    kernel->deinit = deinit;
    state *s = kernel->state;
    int64_t left;
    int64_t right;
    edt_same_padding(backward ? out->dim[2] : in->dim[2], conv->kw, conv->sw, &left, &right);
    s->step = backward ? conv->sw : 1;
    s->advance = backward ? 1 : conv->sw;
    s->n_classes = backward ? conv->sw : 1;
    for (int q = 0; q < s->n_classes; q++) {
        make_class(&s->columns[q], backward, q, conv->kw, conv->sw, left, in->dim[2],
                   out->dim[2]);
    }
    if (kind == EDT_OP_DEPTHWISE_WEIGHT) {
        kernel->run = run_weight;
        kernel->workspace_bytes = (size_t)backend->base.n_threads *
                                  (size_t)edt_shape_count(&kernel->desc.out[0].shape) *
                                  (sizeof(double) + sizeof(float));
    } else if (kind == EDT_OP_DEPTHWISE_BN_ACT) {
        kernel->run = run_bn_act;
        const size_t n_floats = (size_t)((conv->kh * conv->kw + 1) * in->dim[3]);
        s->folded = edt_mem_alloc(EDT_MEM_WORKSPACE, n_floats * sizeof(float));
        if (s->folded == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "cpu: no memory for folded depthwise weights");
        }
        if (kernel->desc.n_out > 1) {
            kernel->workspace_bytes = (size_t)backend->base.n_threads * (size_t)in->dim[3] *
                                      ((size_t)in->dim[0] * sizeof(double) + sizeof(float));
        }
    } else {
        kernel->run = run_plain;
        kernel->workspace_bytes =
            (size_t)edt_shape_count(&kernel->desc.in[1].shape) * sizeof(float);
    }
    return EDT_OK;
}
