// Stand-in for cuBLASLt: the calls that backend/cuda makes, computed plainly. As strict as the
// library: shapes, types, alignment and workspace that an algorithm was not made for are
// refused. Long products are split along k with partial sums in the workspace, which is filled
// with NaN first, so that what overlaps it shows.
#include <stdio.h>
#include <string.h>

#include <vector>

#include <cublasLt.h>

#include "tests/cuda_emulator/emulated_types.h"
#include "tests/cuda_emulator/emulator.h"

using namespace edt_emulator;

struct cublasLtContext {
    bool live;
};

namespace
{

struct layout {
    cudaDataType type;
    uint64_t rows, cols;
    int64_t ld;
};
struct matmul {
    cublasComputeType_t compute;
    cudaDataType scale;
    int32_t trans_a, trans_b;
    uint32_t epilogue;
    const void *bias;
};
struct preference {
    uint64_t workspace_bytes;
    uint32_t schemes;
    uint32_t alignment[4]; // a, b, c, d
};
// What an algorithm was chosen for; inside cublasLtMatmulAlgo_t.
struct algorithm {
    uint32_t magic;
    uint16_t types; // of a, b, c, d, four bits each
    uint16_t trans; // of a, b
    uint32_t epilogue;
    uint16_t alignment[4];
    uint16_t bias_alignment;
    uint16_t n_splits;
    uint32_t hash; // of shapes
};
static_assert(sizeof(algorithm) <= sizeof(cublasLtMatmulAlgo_t));
static_assert(sizeof(layout) <= sizeof(cublasLtMatrixLayoutOpaque_t));
static_assert(sizeof(matmul) <= sizeof(cublasLtMatmulDescOpaque_t));
static_assert(sizeof(preference) <= sizeof(cublasLtMatmulPreferenceOpaque_t));
constexpr uint32_t magic = 0x6c74616c;

cublasStatus_t refuse(cublasStatus_t code, const char *why)
{
    (void)fprintf(stderr, "cuBLASLt stand-in: %s\n", why);
    return code;
}

element element_of(cudaDataType type)
{
    switch (type) {
    case CUDA_R_32F: return element::f32;
    case CUDA_R_16BF: return element::bf16;
    case CUDA_R_16F: return element::f16;
    default: return element::other;
    }
}

struct problem {
    layout a, b, c, d;
    matmul op;
    uint64_t m, n, k;
};

// Why the library would refuse the product, or NULL.
const char *offence(const problem &p)
{
    for (const layout *l : {&p.a, &p.b, &p.c, &p.d}) {
        if (element_of(l->type) == element::other) {
            return "element type of a matrix";
        }
        if (l->rows == 0 || l->cols == 0 || l->ld < (int64_t)l->rows) {
            return "rows, columns or leading dimension";
        }
    }
    if (p.op.scale != CUDA_R_32F) {
        return "scale type must be CUDA_R_32F";
    }
    if (p.op.compute != CUBLAS_COMPUTE_32F &&
        !(p.op.compute == CUBLAS_COMPUTE_32F_FAST_TF32 && p.a.type == CUDA_R_32F)) {
        return "compute type for these element types";
    }
    if (p.a.type != p.b.type || p.c.type != p.d.type ||
        (p.d.type != p.a.type && p.d.type != CUDA_R_32F)) {
        return "combination of element types";
    }
    if (p.c.rows != p.d.rows || p.c.cols != p.d.cols || p.c.ld != p.d.ld) {
        return "C is laid out differently from D";
    }
    if (p.op.epilogue != CUBLASLT_EPILOGUE_DEFAULT && p.op.epilogue != CUBLASLT_EPILOGUE_BIAS) {
        return "epilogue";
    }
    const uint64_t k_of_b = p.op.trans_b == CUBLAS_OP_T ? p.b.cols : p.b.rows;
    const uint64_t n_of_b = p.op.trans_b == CUBLAS_OP_T ? p.b.rows : p.b.cols;
    if (p.d.rows != p.m || p.d.cols != p.n || k_of_b != p.k || n_of_b != p.n) {
        return "shapes do not fit each other";
    }
    return nullptr;
}

problem problem_of(const matmul &op, const layout &a, const layout &b, const layout &c,
                   const layout &d)
{
    const bool t = op.trans_a == CUBLAS_OP_T;
    return {a, b, c, d, op, t ? a.cols : a.rows, d.cols, t ? a.rows : a.cols};
}

uint32_t hash_of(const problem &p)
{
    uint32_t hash = 2166136261U;
    const uint64_t values[] = {p.m,
                               p.n,
                               p.k,
                               (uint64_t)p.a.ld,
                               (uint64_t)p.b.ld,
                               (uint64_t)p.d.ld,
                               (uint64_t)p.op.compute};
    for (const uint64_t v : values) {
        hash = (hash ^ (uint32_t)(v ^ v >> 32)) * 16777619U;
    }
    return hash;
}

uint16_t types_of(const problem &p)
{
    return (uint16_t)((int)element_of(p.a.type) << 12 | (int)element_of(p.b.type) << 8 |
                      (int)element_of(p.c.type) << 4 | (int)element_of(p.d.type));
}

uint16_t trans_of(const problem &p)
{
    return (uint16_t)(p.op.trans_a << 8 | p.op.trans_b);
}

size_t workspace_of(const problem &p, unsigned n_splits)
{
    return n_splits == 1 ? 0 : (size_t)(p.m * p.n * n_splits) * sizeof(float);
}

// Alignment of an address, up to 256.
unsigned alignment_of(const void *at)
{
    unsigned alignment = 256;
    while ((uintptr_t)at % alignment != 0) {
        alignment /= 2;
    }
    return alignment;
}

const layout &at(cublasLtMatrixLayout_t l)
{
    return *reinterpret_cast<const layout *>(l);
}

struct operands {
    const void *a, *b, *c, *bias;
    void *d;
    char *workspace;
    float alpha, beta;
    unsigned n_splits;
};

// op(X)[rows, cols] by columns, as float.
std::vector<float> unpack(const void *from, const layout &l, int32_t trans, uint64_t rows,
                          uint64_t cols, bool tf32)
{
    std::vector<float> out(rows * cols);
    const element type = element_of(l.type);
    for (uint64_t j = 0; j < cols; ++j) {
        for (uint64_t i = 0; i < rows; ++i) {
            const uint64_t row = trans == CUBLAS_OP_T ? j : i;
            const uint64_t col = trans == CUBLAS_OP_T ? i : j;
            const float v = read_element(type, from, (int64_t)(row + col * (uint64_t)l.ld));
            out[j * rows + i] = tf32 ? round_tf32(v) : v;
        }
    }
    return out;
}

// sum[i, j] of one split of k.
__attribute__((optimize("O3"))) void multiply(const problem &p, const std::vector<float> &a,
                                              const std::vector<float> &b, uint64_t begin,
                                              uint64_t end, float *sum)
{
    memset(sum, 0, (size_t)(p.m * p.n) * sizeof(float));
    for (uint64_t j = 0; j < p.n; ++j) {
        float *to = sum + j * p.m;
        for (uint64_t l = begin; l < end; ++l) {
            const float factor = b[j * p.k + l];
            const float *from = a.data() + l * p.m;
            for (uint64_t i = 0; i < p.m; ++i) {
                to[i] += from[i] * factor;
            }
        }
    }
}

size_t span(const layout &l)
{
    return ((size_t)(l.cols - 1) * (size_t)l.ld + (size_t)l.rows) *
           element_bytes(element_of(l.type));
}

void compute(const problem &p, const operands &o)
{
    const bool has_bias = (p.op.epilogue & CUBLASLT_EPILOGUE_BIAS) != 0;
    const element out = element_of(p.d.type);
    const size_t workspace_bytes = workspace_of(p, o.n_splits);
    if (!check_device("cublasLtMatmul: A", o.a, span(p.a)) ||
        !check_device("cublasLtMatmul: B", o.b, span(p.b)) ||
        !check_device("cublasLtMatmul: D", o.d, span(p.d)) ||
        (o.beta != 0 && !check_device("cublasLtMatmul: C", o.c, span(p.c))) ||
        (has_bias &&
         !check_device("cublasLtMatmul: bias", o.bias, (size_t)p.m * element_bytes(out))) ||
        (workspace_bytes > 0 &&
         !check_device("cublasLtMatmul: workspace", o.workspace, workspace_bytes))) {
        return;
    }
    if (workspace_bytes > 0) {
        memset(o.workspace, 0xff, workspace_bytes);
    }
    const bool tf32 = p.op.compute == CUBLAS_COMPUTE_32F_FAST_TF32;
    const std::vector<float> a = unpack(o.a, p.a, p.op.trans_a, p.m, p.k, tf32);
    const std::vector<float> b = unpack(o.b, p.b, p.op.trans_b, p.k, p.n, tf32);
    std::vector<float> own(workspace_bytes > 0 ? 0 : (size_t)(p.m * p.n));
    float *sum = workspace_bytes > 0 ? reinterpret_cast<float *>(o.workspace) : own.data();
    for (unsigned s = 0; s < o.n_splits; ++s) {
        multiply(p, a, b, p.k * s / o.n_splits, p.k * (s + 1) / o.n_splits,
                 sum + (size_t)s * p.m * p.n);
    }
    for (uint64_t j = 0; j < p.n; ++j) {
        for (uint64_t i = 0; i < p.m; ++i) {
            float v = 0;
            for (unsigned s = 0; s < o.n_splits; ++s) {
                v += sum[((size_t)s * p.n + j) * p.m + i];
            }
            v *= o.alpha;
            const int64_t to = (int64_t)(i + j * (uint64_t)p.d.ld);
            if (o.beta != 0) {
                v += o.beta * read_element(out, o.c, to);
            }
            if (has_bias) {
                v += read_element(out, o.bias, (int64_t)i);
            }
            write_element(out, o.d, to, v);
        }
    }
}

// Copies an attribute whose size must be that of `to`.
template <typename V> cublasStatus_t take(V *to, const void *from, size_t n_bytes)
{
    if (from == nullptr || n_bytes != sizeof *to) {
        return refuse(CUBLAS_STATUS_INVALID_VALUE, "size of an attribute");
    }
    memcpy(to, from, n_bytes);
    return CUBLAS_STATUS_SUCCESS;
}

} // namespace

cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle)
{
    *handle = new cublasLtContext{true};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle)
{
    if (handle == nullptr) {
        return CUBLAS_STATUS_NOT_INITIALIZED;
    }
    delete handle;
    return CUBLAS_STATUS_SUCCESS;
}

size_t cublasLtGetVersion()
{
    return CUBLAS_VERSION;
}

const char *cublasLtGetStatusString(cublasStatus_t status)
{
    switch (status) {
    case CUBLAS_STATUS_SUCCESS: return "success";
    case CUBLAS_STATUS_INVALID_VALUE: return "invalid value";
    case CUBLAS_STATUS_NOT_SUPPORTED: return "not supported";
    case CUBLAS_STATUS_NOT_INITIALIZED: return "not initialized";
    default: return "failure";
    }
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *desc, cublasComputeType_t compute,
                                        cudaDataType_t scale)
{
    *desc = new cublasLtMatmulDescOpaque_t{};
    *reinterpret_cast<matmul *>(*desc) = {
        compute, scale, CUBLAS_OP_N, CUBLAS_OP_N, CUBLASLT_EPILOGUE_DEFAULT, nullptr};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc)
{
    delete desc;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc,
                                              cublasLtMatmulDescAttributes_t attribute,
                                              const void *value, size_t n_bytes)
{
    matmul *m = reinterpret_cast<matmul *>(desc);
    switch (attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA: return take(&m->trans_a, value, n_bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB: return take(&m->trans_b, value, n_bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE: return take(&m->epilogue, value, n_bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER: return take(&m->bias, value, n_bytes);
    default: return refuse(CUBLAS_STATUS_INVALID_VALUE, "attribute of a product");
    }
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *desc, cudaDataType type,
                                          uint64_t rows, uint64_t cols, int64_t ld)
{
    *desc = new cublasLtMatrixLayoutOpaque_t{};
    *reinterpret_cast<layout *>(*desc) = {type, rows, cols, ld};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t desc)
{
    delete desc;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *desc)
{
    *desc = new cublasLtMatmulPreferenceOpaque_t{};
    *reinterpret_cast<preference *>(*desc) = {
        0, CUBLASLT_REDUCTION_SCHEME_MASK, {256, 256, 256, 256}};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t desc)
{
    delete desc;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t
cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t desc,
                                     cublasLtMatmulPreferenceAttributes_t attribute,
                                     const void *value, size_t n_bytes)
{
    preference *p = reinterpret_cast<preference *>(desc);
    switch (attribute) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
        return take(&p->workspace_bytes, value, n_bytes);
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK: return take(&p->schemes, value, n_bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
        return take(&p->alignment[0], value, n_bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
        return take(&p->alignment[1], value, n_bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
        return take(&p->alignment[2], value, n_bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
        return take(&p->alignment[3], value, n_bytes);
    default: return refuse(CUBLAS_STATUS_INVALID_VALUE, "attribute of a preference");
    }
}

cublasStatus_t
cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t op_desc,
                               cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                               cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                               cublasLtMatmulPreference_t preference_desc, int n_wanted,
                               cublasLtMatmulHeuristicResult_t results[], int *n_results)
{
    *n_results = 0;
    if (handle == nullptr || !handle->live || n_wanted < 1) {
        return refuse(CUBLAS_STATUS_INVALID_VALUE, "handle or number of results");
    }
    const preference &wish = *reinterpret_cast<const preference *>(preference_desc);
    const matmul &op = *reinterpret_cast<const matmul *>(op_desc);
    const problem p = problem_of(op, at(a), at(b), at(c), at(d));
    const char *why = offence(p);
    if (why != nullptr) {
        return refuse(CUBLAS_STATUS_NOT_SUPPORTED, why);
    }
    // As a tall product is carried out: many sums, few outputs.
    unsigned n_splits = p.k >= 64 && p.k > 2 * p.m ? 4 : 1;
    if ((wish.schemes & CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE) == 0 ||
        workspace_of(p, n_splits) > wish.workspace_bytes) {
        n_splits = 1;
    }
    // A second proposal is made in one piece.
    for (; *n_results < n_wanted && *n_results < 2; ++*n_results) {
        const unsigned pieces = *n_results == 0 ? n_splits : 1;
        algorithm algo = {magic,
                          types_of(p),
                          trans_of(p),
                          p.op.epilogue,
                          {},
                          (uint16_t)alignment_of(p.op.bias),
                          (uint16_t)pieces,
                          hash_of(p)};
        for (int i = 0; i < 4; ++i) {
            algo.alignment[i] = (uint16_t)wish.alignment[i];
        }
        cublasLtMatmulHeuristicResult_t &result = results[*n_results];
        result = {};
        memcpy(&result.algo, &algo, sizeof algo);
        result.workspaceSize = workspace_of(p, pieces);
        result.state = CUBLAS_STATUS_SUCCESS;
        result.wavesCount = 1;
    }
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t op_desc,
                              const void *alpha, const void *a, cublasLtMatrixLayout_t a_desc,
                              const void *b, cublasLtMatrixLayout_t b_desc, const void *beta,
                              const void *c, cublasLtMatrixLayout_t c_desc, void *d,
                              cublasLtMatrixLayout_t d_desc, const cublasLtMatmulAlgo_t *chosen,
                              void *workspace, size_t workspace_bytes, cudaStream_t stream)
{
    if (handle == nullptr || !handle->live || chosen == nullptr || alpha == nullptr ||
        beta == nullptr) {
        return refuse(CUBLAS_STATUS_INVALID_VALUE, "handle, algorithm, alpha or beta");
    }
    algorithm algo;
    memcpy(&algo, chosen, sizeof algo);
    const matmul &op = *reinterpret_cast<const matmul *>(op_desc);
    const problem p = problem_of(op, at(a_desc), at(b_desc), at(c_desc), at(d_desc));
    const char *why = offence(p);
    if (why != nullptr) {
        return refuse(CUBLAS_STATUS_INVALID_VALUE, why);
    }
    if (algo.magic != magic || algo.hash != hash_of(p) || algo.types != types_of(p) ||
        algo.trans != trans_of(p) || algo.epilogue != p.op.epilogue) {
        return refuse(CUBLAS_STATUS_INVALID_VALUE, "the algorithm is another product's");
    }
    const void *const pointers[] = {a, b, c, d};
    for (int i = 0; i < 4; ++i) {
        if (alignment_of(pointers[i]) < algo.alignment[i]) {
            return refuse(CUBLAS_STATUS_INVALID_VALUE, "alignment of a matrix");
        }
    }
    if (p.op.epilogue == CUBLASLT_EPILOGUE_BIAS &&
        (p.op.bias == nullptr || alignment_of(p.op.bias) < algo.bias_alignment)) {
        return refuse(CUBLAS_STATUS_INVALID_VALUE, "bias pointer");
    }
    const size_t needed = workspace_of(p, algo.n_splits);
    if (needed > workspace_bytes ||
        (needed > 0 && (workspace == nullptr || alignment_of(workspace) < 256))) {
        return refuse(CUBLAS_STATUS_INVALID_VALUE, "workspace");
    }
    const operands o = {a,
                        b,
                        c,
                        p.op.bias,
                        d,
                        static_cast<char *>(workspace),
                        *static_cast<const float *>(alpha),
                        *static_cast<const float *>(beta),
                        algo.n_splits};
    return enqueue(stream, [p, o] { compute(p, o); }) == cudaSuccess
               ? CUBLAS_STATUS_SUCCESS
               : CUBLAS_STATUS_EXECUTION_FAILED;
}
