// cuBLASLt: descriptors and the algorithm are made at preparation; a run sets the bias pointer
// and queues the product. The algorithm is the first that the library proposes or, where the
// same bytes in every run are not asked for, the fastest of its proposals on this device:
// estimates go wrong for the tall products of weight gradients. EDT_CUDA_MEASURE=0 in the
// environment turns measuring off.
#include "backend/cuda/cuda_gemm.h"

#include <stdlib.h>
#include <string.h>

enum {
    MOST_PROPOSALS = 8,
    MEASURED_RUNS = 4,
    ALIGNMENT = 16,            // of every operand; parameters lie at multiples of 16 elements
    WORKSPACE_ALIGNMENT = 256, // what the library asks for
};

// The sizes NVIDIA recommends: 32 MiB from Hopper on, 4 MiB before.
static size_t workspace_limit(const edt_cuda_backend *backend)
{
    return (size_t)(backend->limits.major >= 9 ? 32 : 4) << 20;
}

struct edt_cuda_gemm {
    cublasLtHandle_t handle; // the backend's
    edt_cuda_gemm_options options;
    cublasLtMatmulDesc_t matmul;
    cublasLtMatrixLayout_t a, b, d; // C is laid out as D
    cublasLtMatmulAlgo_t algo;
    size_t workspace_bytes; // without room to align
};

static edt_status check(cublasStatus_t code, const char *what, edt_error *err)
{
    if (code == CUBLAS_STATUS_SUCCESS) {
        return EDT_OK;
    }
    EDT_FAIL(err, EDT_ERR_DEVICE, "cuBLASLt: %s failed: %s (status %d)", what,
             cublasLtGetStatusString(code), (int)code);
}

#define LT_TRY(call, err) EDT_TRY(check((call), #call, (err)))

edt_status edt_cuda_gemm_type(edt_dtype dtype, edt_error *err, cudaDataType *out_type)
{
    switch (dtype) {
    case EDT_DTYPE_F32: *out_type = CUDA_R_32F; return EDT_OK;
    case EDT_DTYPE_BF16: *out_type = CUDA_R_16BF; return EDT_OK;
    case EDT_DTYPE_F16: *out_type = CUDA_R_16F; return EDT_OK;
    default:
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED,
                 "cuda: convolutions of %s are not supported; f32, bf16 and f16 are",
                 edt_dtype_name(dtype));
    }
}

static edt_status make_layout(const edt_cuda_matrix *matrix, edt_dtype dtype, edt_error *err,
                              cublasLtMatrixLayout_t *out_layout)
{
    cudaDataType type = CUDA_R_32F;
    EDT_TRY(edt_cuda_gemm_type(dtype, err, &type));
    LT_TRY(cublasLtMatrixLayoutCreate(out_layout, type, (uint64_t)matrix->rows,
                                      (uint64_t)matrix->cols, matrix->ld),
           err);
    return EDT_OK;
}

static edt_status make_descriptors(edt_cuda_gemm *gemm, const edt_cuda_backend *backend,
                                   edt_error *err)
{
    const edt_cuda_gemm_options *o = &gemm->options;
    const bool tf32 = backend->tf32 && o->in == EDT_DTYPE_F32;
    LT_TRY(cublasLtMatmulDescCreate(&gemm->matmul,
                                    tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F,
                                    CUDA_R_32F),
           err);
    const int32_t trans_a = o->view.trans_a ? CUBLAS_OP_T : CUBLAS_OP_N;
    const int32_t trans_b = o->view.trans_b ? CUBLAS_OP_T : CUBLAS_OP_N;
    LT_TRY(cublasLtMatmulDescSetAttribute(gemm->matmul, CUBLASLT_MATMUL_DESC_TRANSA, &trans_a,
                                          sizeof trans_a),
           err);
    LT_TRY(cublasLtMatmulDescSetAttribute(gemm->matmul, CUBLASLT_MATMUL_DESC_TRANSB, &trans_b,
                                          sizeof trans_b),
           err);
    if (o->has_bias) {
        const uint32_t epilogue = CUBLASLT_EPILOGUE_BIAS;
        // Not read before a run; the heuristic takes the alignment from its value.
        const void *aligned = (const void *)(uintptr_t)ALIGNMENT;
        LT_TRY(cublasLtMatmulDescSetAttribute(gemm->matmul, CUBLASLT_MATMUL_DESC_EPILOGUE,
                                              &epilogue, sizeof epilogue),
               err);
        LT_TRY(cublasLtMatmulDescSetAttribute(gemm->matmul, CUBLASLT_MATMUL_DESC_BIAS_POINTER,
                                              &aligned, sizeof aligned),
               err);
    }
    EDT_TRY(make_layout(&o->view.a, o->in, err, &gemm->a));
    EDT_TRY(make_layout(&o->view.b, o->in, err, &gemm->b));
    return make_layout(&o->view.d, o->out, err, &gemm->d);
}

static edt_status set_preference(cublasLtMatmulPreference_t preference,
                                 const edt_cuda_backend *backend, edt_error *err)
{
    const uint64_t most_bytes = workspace_limit(backend);
    LT_TRY(cublasLtMatmulPreferenceSetAttribute(preference,
                                                CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                &most_bytes, sizeof most_bytes),
           err);
    // Splits of k are summed in float and in order: neither in the output's type nor in place.
    const uint32_t schemes =
        CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    LT_TRY(cublasLtMatmulPreferenceSetAttribute(preference,
                                                CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                                                &schemes, sizeof schemes),
           err);
    static const cublasLtMatmulPreferenceAttributes_t operands[] = {
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES};
    for (size_t i = 0; i < sizeof operands / sizeof operands[0]; i++) {
        const uint32_t alignment = ALIGNMENT;
        LT_TRY(cublasLtMatmulPreferenceSetAttribute(preference, operands[i], &alignment,
                                                    sizeof alignment),
               err);
    }
    return EDT_OK;
}

static size_t matrix_bytes(const edt_cuda_matrix *matrix, edt_dtype dtype)
{
    return (size_t)(matrix->ld * matrix->cols) * edt_dtype_bytes(dtype);
}

// Seconds of one product with the proposal, the mean of n, negative where it does not run. `a`
// holds either factor, workspaces lie behind.
static float time_runs(const edt_cuda_gemm *gemm,
                       const cublasLtMatmulHeuristicResult_t *proposal, char *a, char *d,
                       char *workspace, cudaEvent_t events[2], cudaStream_t stream, int n)
{
    const float one = 1.0F;
    const float zero = 0.0F;
    float ms = 0;
    bool ok = cudaEventRecord(events[0], stream) == cudaSuccess;
    for (int i = 0; ok && i < n; i++) {
        ok = cublasLtMatmul(gemm->handle, gemm->matmul, &one, a, gemm->a, a, gemm->b, &zero, d,
                            gemm->d, d, gemm->d, &proposal->algo, workspace,
                            proposal->workspaceSize, stream) == CUBLAS_STATUS_SUCCESS;
    }
    ok = ok && cudaEventRecord(events[1], stream) == cudaSuccess &&
         cudaEventSynchronize(events[1]) == cudaSuccess &&
         cudaEventElapsedTime(&ms, events[0], events[1]) == cudaSuccess;
    return ok ? ms / (1e3F * (float)n) : -1.0F;
}

// As time_runs, without the first run, which loads the kernel. Some proposals for long sums
// take a hundred times as long as the best: what is slow the second time is not run again.
static float time_proposal(const edt_cuda_gemm *gemm,
                           const cublasLtMatmulHeuristicResult_t *proposal, char *a, char *d,
                           char *workspace, cudaEvent_t events[2], cudaStream_t stream,
                           float least)
{
    if (time_runs(gemm, proposal, a, d, workspace, events, stream, 1) < 0) {
        return -1.0F;
    }
    const float once = time_runs(gemm, proposal, a, d, workspace, events, stream, 1);
    if (once < 0 || (least >= 0 && once > 2.0F * least)) {
        return once;
    }
    return time_runs(gemm, proposal, a, d, workspace, events, stream, MEASURED_RUNS);
}

// Index of the proposal to take: the first, unless another is faster by more than timings
// differ. Where there is no memory to measure in, nothing is measured.
static int fastest(const edt_cuda_gemm *gemm, const edt_cuda_backend *backend,
                   const cublasLtMatmulHeuristicResult_t *proposals, int n)
{
    const edt_cuda_gemm_options *o = &gemm->options;
    const cudaStream_t stream = backend->streams[EDT_STREAM_COMPUTE];
    const size_t a_bytes = matrix_bytes(&o->view.a, o->in);
    const size_t b_bytes = matrix_bytes(&o->view.b, o->in);
    const size_t factor_bytes =
        edt_cuda_align(a_bytes > b_bytes ? a_bytes : b_bytes, WORKSPACE_ALIGNMENT);
    const size_t d_bytes =
        edt_cuda_align(matrix_bytes(&o->view.d, o->out), WORKSPACE_ALIGNMENT);
    size_t workspace_bytes = 0;
    for (int i = 0; i < n; i++) {
        if (proposals[i].workspaceSize > workspace_bytes) {
            workspace_bytes = proposals[i].workspaceSize;
        }
    }
    cudaEvent_t events[2] = {NULL, NULL};
    void *block = NULL;
    int best = 0;
    // Not from the pool, which would keep it: gigabytes that nothing later is the size of.
    if (cudaMalloc(&block, factor_bytes + d_bytes + workspace_bytes) != cudaSuccess) {
        (void)cudaGetLastError();
        return 0;
    }
    char *a = block;
    char *workspace = a + factor_bytes + d_bytes;
    const void *bias = a;
    bool ok = cudaEventCreate(&events[0]) == cudaSuccess &&
              cudaEventCreate(&events[1]) == cudaSuccess &&
              cudaMemsetAsync(a, 0, factor_bytes, stream) == cudaSuccess;
    if (o->has_bias) {
        ok = ok &&
             cublasLtMatmulDescSetAttribute(gemm->matmul, CUBLASLT_MATMUL_DESC_BIAS_POINTER,
                                            &bias, sizeof bias) == CUBLAS_STATUS_SUCCESS;
    }
    float least = -1.0F;
    for (int i = 0; ok && i < n; i++) {
        const float seconds = time_proposal(gemm, &proposals[i], a, a + factor_bytes, workspace,
                                            events, stream, least);
        if (seconds >= 0 && (least < 0 || seconds < 0.97F * least)) {
            least = seconds;
            best = i;
        }
    }
    for (int i = 0; i < 2; i++) {
        if (events[i] != NULL) {
            (void)cudaEventDestroy(events[i]);
        }
    }
    (void)cudaStreamSynchronize(stream);
    (void)cudaFree(block);
    return best;
}

static bool measures(const edt_cuda_backend *backend)
{
    const char *given = getenv("EDT_CUDA_MEASURE");
    return !backend->deterministic && (given == NULL || strcmp(given, "0") != 0);
}

static edt_status choose(edt_cuda_gemm *gemm, const edt_cuda_backend *backend,
                         cublasLtMatmulPreference_t preference, edt_error *err)
{
    EDT_TRY(set_preference(preference, backend, err));
    cublasLtMatmulHeuristicResult_t proposals[MOST_PROPOSALS] = {0};
    int n = 0;
    const cublasStatus_t code = cublasLtMatmulAlgoGetHeuristic(
        gemm->handle, gemm->matmul, gemm->a, gemm->b, gemm->d, gemm->d, preference,
        measures(backend) ? MOST_PROPOSALS : 1, proposals, &n);
    if (code != CUBLAS_STATUS_NOT_SUPPORTED) {
        EDT_TRY(check(code, "cublasLtMatmulAlgoGetHeuristic", err));
    }
    int n_usable = 0;
    for (int i = 0; i < n; i++) {
        if (proposals[i].state == CUBLAS_STATUS_SUCCESS) {
            proposals[n_usable++] = proposals[i];
        }
    }
    if (n_usable == 0) {
        const edt_cuda_gemm_view *v = &gemm->options.view;
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED,
                 "cuBLASLt has no algorithm for a product of m %lld, n %lld, k %lld in %s with "
                 "output in %s%s",
                 (long long)v->m, (long long)v->n, (long long)v->k,
                 edt_dtype_name(gemm->options.in), edt_dtype_name(gemm->options.out),
                 gemm->options.has_bias ? " and bias" : "");
    }
    const int best = n_usable > 1 ? fastest(gemm, backend, proposals, n_usable) : 0;
    gemm->algo = proposals[best].algo;
    gemm->workspace_bytes = proposals[best].workspaceSize;
    return EDT_OK;
}

edt_status edt_cuda_gemm_create(edt_cuda_backend *backend, const edt_cuda_gemm_options *options,
                                edt_error *err, edt_cuda_gemm **out_gemm,
                                size_t *out_workspace_bytes)
{
    edt_status status = EDT_OK;
    cublasLtMatmulPreference_t preference = NULL;
    edt_cuda_gemm *gemm = edt_mem_calloc(EDT_MEM_WORKSPACE, 1, sizeof *gemm);
    if (gemm == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "cuda: no memory for the state of a matrix product");
    }
    gemm->handle = backend->lt;
    gemm->options = *options;
    status = make_descriptors(gemm, backend, err);
    if (status != EDT_OK) {
        goto fail;
    }
    status = check(cublasLtMatmulPreferenceCreate(&preference),
                   "cublasLtMatmulPreferenceCreate", err);
    if (status != EDT_OK) {
        goto fail;
    }
    status = choose(gemm, backend, preference, err);
    (void)cublasLtMatmulPreferenceDestroy(preference);
    if (status != EDT_OK) {
        goto fail;
    }
    *out_gemm = gemm;
    *out_workspace_bytes =
        gemm->workspace_bytes == 0 ? 0 : gemm->workspace_bytes + WORKSPACE_ALIGNMENT;
    return EDT_OK;
fail:
    edt_cuda_gemm_destroy(gemm);
    return status;
}

static edt_status check_alignment(const void *pointer, const char *name, edt_error *err)
{
    if ((uintptr_t)pointer % ALIGNMENT != 0) {
        EDT_FAIL(err, EDT_ERR_INVALID,
                 "cuda: operand %s of a convolution is at %p, not a multiple of %d", name,
                 pointer, ALIGNMENT);
    }
    return EDT_OK;
}

edt_status edt_cuda_gemm_run(edt_cuda_gemm *gemm, const edt_cuda_run *run, const void *a,
                             const void *b, const void *bias, const void *c, void *d,
                             char *workspace)
{
    const float one = 1.0F;
    const float beta = c == NULL ? 0.0F : 1.0F;
    edt_error *err = run->err;
    EDT_TRY(check_alignment(a, "a", err));
    EDT_TRY(check_alignment(b, "b", err));
    EDT_TRY(check_alignment(d, "d", err));
    EDT_TRY(check_alignment(bias, "bias", err));
    EDT_TRY(check_alignment(c, "c", err));
    if (gemm->options.has_bias) {
        LT_TRY(cublasLtMatmulDescSetAttribute(gemm->matmul, CUBLASLT_MATMUL_DESC_BIAS_POINTER,
                                              &bias, sizeof bias),
               err);
    }
    void *aligned = NULL;
    if (gemm->workspace_bytes > 0) {
        const uintptr_t at = (uintptr_t)workspace;
        aligned = workspace + (edt_cuda_align(at, WORKSPACE_ALIGNMENT) - at);
    }
    LT_TRY(cublasLtMatmul(gemm->handle, gemm->matmul, &one, a, gemm->a, b, gemm->b, &beta,
                          c == NULL ? d : c, gemm->d, d, gemm->d, &gemm->algo, aligned,
                          gemm->workspace_bytes, run->stream),
           err);
    return EDT_OK;
}

void edt_cuda_gemm_destroy(edt_cuda_gemm *gemm)
{
    if (gemm == NULL) {
        return;
    }
    if (gemm->a != NULL) {
        (void)cublasLtMatrixLayoutDestroy(gemm->a);
    }
    if (gemm->b != NULL) {
        (void)cublasLtMatrixLayoutDestroy(gemm->b);
    }
    if (gemm->d != NULL) {
        (void)cublasLtMatrixLayoutDestroy(gemm->d);
    }
    if (gemm->matmul != NULL) {
        (void)cublasLtMatmulDescDestroy(gemm->matmul);
    }
    edt_mem_free(gemm);
}
