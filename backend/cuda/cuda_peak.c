// What this device reaches at best: cuBLASLt's products of large square matrices, in f32 (or
// TF32, as the backend is set) and in bf16, and a sum of two arrays larger than its cache.
// Sizes grow until one run takes a millisecond, so that launches weigh nothing.
#include <math.h>

#include "backend/cuda/cuda_gemm.h"
#include "backend/cuda/cuda_priv.h"
#include "backend/cuda/cuda_rows.h"
#include "backend/cuda/kernels/map_kernels.h"

enum { N_RUNS = 5, FIRST_SIDE = 128, LAST_SIDE = 8192 };
static const int64_t first_items = INT64_C(1) << 18;
static const int64_t last_items = INT64_C(1) << 26;
static const double long_enough = 2e-3;

typedef struct peak_work {
    edt_cuda_gemm *gemm; // NULL: the sum of arrays
    int64_t n_items;
    void *a, *b, *c, *workspace;
    edt_event *from, *to;
} peak_work;

static void work_deinit(edt_cuda_backend *backend, peak_work *work)
{
    edt_backend *base = &backend->base;
    edt_cuda_gemm_destroy(work->gemm);
    base->table->free(base, work->a);
    base->table->free(base, work->b);
    base->table->free(base, work->c);
    base->table->free(base, work->workspace);
    edt_cuda_stream_table.event_destroy(base, work->from);
    edt_cuda_stream_table.event_destroy(base, work->to);
    *work = (peak_work){0};
}

static edt_status work_init(edt_cuda_backend *backend, peak_work *work, size_t n_bytes,
                            size_t workspace_bytes, edt_error *err)
{
    edt_backend *base = &backend->base;
    const edt_backend_table *table = base->table;
    EDT_TRY(table->alloc(base, EDT_MEM_WORKSPACE, n_bytes, err, &work->a));
    EDT_TRY(table->alloc(base, EDT_MEM_WORKSPACE, n_bytes, err, &work->b));
    EDT_TRY(table->alloc(base, EDT_MEM_WORKSPACE, n_bytes, err, &work->c));
    EDT_TRY(table->alloc(base, EDT_MEM_WORKSPACE, workspace_bytes, err, &work->workspace));
    // Power goes with the bits that change; zeros would flatter.
    EDT_CUDA_TRY(cudaMemsetAsync(work->a, 0x3d, n_bytes, backend->streams[EDT_STREAM_COMPUTE]),
                 err);
    EDT_CUDA_TRY(cudaMemsetAsync(work->b, 0x3a, n_bytes, backend->streams[EDT_STREAM_COMPUTE]),
                 err);
    EDT_TRY(edt_cuda_stream_table.event_create(base, err, &work->from));
    return edt_cuda_stream_table.event_create(base, err, &work->to);
}

static edt_status work_queue(edt_cuda_backend *backend, const peak_work *work, edt_error *err)
{
    const edt_run_ctx ctx = {0};
    const cudaStream_t stream = backend->streams[EDT_STREAM_COMPUTE];
    const edt_cuda_run run = {.backend = backend, .ctx = &ctx, .stream = stream, .err = err};
    if (work->gemm != NULL) {
        return edt_cuda_gemm_run(work->gemm, &run, work->a, work->b, NULL, NULL, work->c,
                                 work->workspace);
    }
    const int n_blocks = edt_cuda_blocks_for(&backend->limits, work->n_items / 4);
    EDT_CUDA_TRY(
        edt_cuda_add(stream, n_blocks, EDT_DTYPE_F32, work->n_items, work->a, work->b, work->c),
        err);
    return EDT_OK;
}

// Seconds of the fastest of several runs.
static edt_status work_seconds(edt_cuda_backend *backend, const peak_work *work, edt_error *err,
                               double *out_seconds)
{
    const edt_stream_table *streams = &edt_cuda_stream_table;
    edt_backend *base = &backend->base;
    double best = INFINITY;
    EDT_TRY(work_queue(backend, work, err));
    for (int i = 0; i < N_RUNS; i++) {
        double seconds = 0.0;
        EDT_TRY(streams->event_record(base, work->from, EDT_STREAM_COMPUTE, err));
        EDT_TRY(work_queue(backend, work, err));
        EDT_TRY(streams->event_record(base, work->to, EDT_STREAM_COMPUTE, err));
        EDT_TRY(streams->event_synchronize(base, work->to, err));
        EDT_TRY(streams->event_seconds(base, work->from, work->to, err, &seconds));
        best = fmin(best, seconds);
    }
    *out_seconds = fmax(best, 1e-9);
    return EDT_OK;
}

static edt_status gemm_seconds(edt_cuda_backend *backend, edt_dtype type, int64_t side,
                               edt_error *err, double *out_seconds)
{
    const edt_cuda_matrix square = {.rows = side, .cols = side, .ld = side};
    const edt_cuda_gemm_options options = {
        .view = {.m = side, .n = side, .k = side, .a = square, .b = square, .d = square},
        .in = type,
        .out = type,
    };
    peak_work work = {0};
    size_t workspace_bytes = 0;
    edt_status status;
    EDT_TRY_GOTO(edt_cuda_gemm_create(backend, &options, err, &work.gemm, &workspace_bytes));
    EDT_TRY_GOTO(work_init(backend, &work, (size_t)(side * side) * edt_dtype_bytes(type),
                           workspace_bytes, err));
    EDT_TRY_GOTO(work_seconds(backend, &work, err, out_seconds));
fail:
    work_deinit(backend, &work);
    return status;
}

static edt_status gemm_gflops(edt_cuda_backend *backend, edt_dtype type, edt_error *err,
                              double *out_gflops)
{
    double best = 0.0;
    double seconds = 0.0;
    for (int64_t side = FIRST_SIDE; side <= LAST_SIDE && seconds < long_enough; side *= 2) {
        EDT_TRY(gemm_seconds(backend, type, side, err, &seconds));
        best = fmax(best, 2e-9 * (double)side * (double)side * (double)side / seconds);
    }
    *out_gflops = best;
    return EDT_OK;
}

static edt_status add_gbytes(edt_cuda_backend *backend, edt_error *err, double *out_gbytes)
{
    double seconds = 0.0;
    for (int64_t n = first_items; n <= last_items && seconds < long_enough; n *= 4) {
        peak_work work = {.n_items = n};
        edt_status status = work_init(backend, &work, (size_t)n * sizeof(float), 0, err);
        if (status == EDT_OK) {
            status = work_seconds(backend, &work, err, &seconds);
        }
        work_deinit(backend, &work);
        EDT_TRY(status);
        // Of the largest: smaller ones measure the cache.
        *out_gbytes = 3e-9 * (double)sizeof(float) * (double)n / seconds;
    }
    return EDT_OK;
}

edt_status edt_cuda_measure_peak(edt_backend *base, edt_error *err, edt_backend_peak *out_peak)
{
    edt_cuda_backend *backend = (edt_cuda_backend *)base;
    edt_backend_peak peak = {0};
    EDT_TRY(gemm_gflops(backend, EDT_DTYPE_F32, err, &peak.gflops));
    EDT_TRY(gemm_gflops(backend, EDT_DTYPE_BF16, err, &peak.gflops_16bit));
    EDT_TRY(add_gbytes(backend, err, &peak.gbytes_per_s));
    *out_peak = peak;
    return EDT_OK;
}
