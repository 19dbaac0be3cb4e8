// What this processor reaches at best on the backend's threads: oneDNN's f32 matrix product and
// a memory triad. Benchmarks hold the network's figures against these, measured in the same
// run.
#include <dnnl.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>

#include "backend/cpu/cpu_priv.h"
#include "core/clock.h"

// Small products fit between two interruptions by other processes, large ones keep oneDNN's
// blocking busiest; the triad's arrays exceed any cache.
enum { N_SMALL = 512, SMALL_RUNS = 60, N_LARGE = 1024, LARGE_RUNS = 8, TRIAD_RUNS = 8 };
static const int64_t triad_items = INT64_C(1) << 24;

static double gemm_gflops(int64_t n, int n_runs, const float *a, const float *b, float *c)
{
    double best = INFINITY;
    for (int i = 0; i < n_runs; i++) {
        const double start = edt_clock_now_s();
        (void)dnnl_sgemm('N', 'N', n, n, n, 1.0f, a, n, b, n, 0.0f, c, n);
        best = fmin(best, edt_clock_now_s() - start);
    }
    return 2e-9 * (double)(n * n * n) / best;
}

// 0 where oneDNN has no such product for this processor.
static double bf16_gflops(int64_t n, int n_runs, void *a, void *b, void *c)
{
    const dnnl_dims_t dims = {n, n};
    dnnl_memory_desc_t low;
    dnnl_memory_desc_t wide;
    dnnl_matmul_desc_t product;
    dnnl_engine_t engine = NULL;
    dnnl_stream_t stream = NULL;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_primitive_t primitive = NULL;
    dnnl_memory_t memory[3] = {NULL};
    double best = INFINITY;
    if (!edt_backend_cpu_multiplies_bf16() ||
        dnnl_memory_desc_init_by_tag(&low, 2, dims, dnnl_bf16, dnnl_ab) != dnnl_success ||
        dnnl_memory_desc_init_by_tag(&wide, 2, dims, dnnl_f32, dnnl_ab) != dnnl_success ||
        dnnl_matmul_desc_init(&product, &low, &low, NULL, &wide) != dnnl_success ||
        dnnl_engine_create(&engine, dnnl_cpu, 0) != dnnl_success ||
        dnnl_stream_create(&stream, engine, dnnl_stream_default_flags) != dnnl_success ||
        dnnl_primitive_desc_create(&pd, &product, NULL, engine, NULL) != dnnl_success ||
        dnnl_primitive_create(&primitive, pd) != dnnl_success ||
        dnnl_memory_create(&memory[0], &low, engine, a) != dnnl_success ||
        dnnl_memory_create(&memory[1], &low, engine, b) != dnnl_success ||
        dnnl_memory_create(&memory[2], &wide, engine, c) != dnnl_success) {
        n_runs = 0;
    }
    const dnnl_exec_arg_t args[3] = {
        {DNNL_ARG_SRC, memory[0]}, {DNNL_ARG_WEIGHTS, memory[1]}, {DNNL_ARG_DST, memory[2]}};
    for (int i = 0; i < n_runs; i++) {
        const double start = edt_clock_now_s();
        if (dnnl_primitive_execute(primitive, stream, 3, args) == dnnl_success &&
            dnnl_stream_wait(stream) == dnnl_success) {
            best = fmin(best, edt_clock_now_s() - start);
        }
    }
    for (int i = 0; i < 3; i++) {
        (void)dnnl_memory_destroy(memory[i]);
    }
    (void)dnnl_primitive_destroy(primitive);
    (void)dnnl_primitive_desc_destroy(pd);
    (void)dnnl_stream_destroy(stream);
    (void)dnnl_engine_destroy(engine);
    return 2e-9 * (double)(n * n * n) / best;
}

static double triad_gbytes(int n_threads, const float *b, const float *c, float *a)
{
    double best = INFINITY;
    for (int run = 0; run < TRIAD_RUNS; run++) {
        const double start = edt_clock_now_s();
#pragma omp parallel for num_threads(n_threads) schedule(static)
        for (int64_t i = 0; i < triad_items; i++) {
            a[i] = b[i] + 3.0f * c[i];
        }
        best = fmin(best, edt_clock_now_s() - start);
    }
    return 3e-9 * (double)sizeof(float) * (double)triad_items / best;
}

edt_status edt_cpu_measure_peak(edt_backend *backend, edt_error *err,
                                edt_backend_peak *out_peak)
{
    const size_t n_bytes = (size_t)triad_items * sizeof(float);
    edt_status status = EDT_OK;
    float *a = edt_mem_alloc(EDT_MEM_WORKSPACE, n_bytes);
    float *b = edt_mem_alloc(EDT_MEM_WORKSPACE, n_bytes);
    float *c = edt_mem_alloc(EDT_MEM_WORKSPACE, n_bytes);
    if (a == NULL || b == NULL || c == NULL) {
        status = edt_error_set(err, EDT_ERR_NOMEM, "no memory to measure the peaks (3 x %zu)",
                               n_bytes);
    } else {
#pragma omp parallel for num_threads(backend->n_threads) schedule(static)
        for (int64_t i = 0; i < triad_items; i++) {
            a[i] = 0.0f;
            b[i] = 1.0f + (float)(i & 7);
            c[i] = 0.5f;
        }
        const int threads_before = omp_get_max_threads();
        omp_set_num_threads(backend->n_threads);
        out_peak->gflops = fmax(gemm_gflops(N_SMALL, SMALL_RUNS, b, c, a),
                                gemm_gflops(N_LARGE, LARGE_RUNS, b, c, a));
        out_peak->gflops_16bit = fmax(bf16_gflops(N_SMALL, SMALL_RUNS, b, c, a),
                                      bf16_gflops(N_LARGE, LARGE_RUNS, b, c, a));
        omp_set_num_threads(threads_before);
        out_peak->gbytes_per_s = triad_gbytes(backend->n_threads, b, c, a);
    }
    edt_mem_free(a);
    edt_mem_free(b);
    edt_mem_free(c);
    return status;
}

void edt_cpu_describe(const edt_backend *backend, char *out_text, size_t n_bytes)
{
    const dnnl_version_t *version = dnnl_version();
    (void)snprintf(out_text, n_bytes, "oneDNN %d.%d.%d, %s kernels, %d thread%s",
                   version->major, version->minor, version->patch,
                   ((const edt_cpu_backend *)backend)->simd->name, backend->n_threads,
                   backend->n_threads == 1 ? "" : "s");
}
