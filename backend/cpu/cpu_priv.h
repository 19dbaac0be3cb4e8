// Inside of the cpu backend: its own struct, prepared kernels and what the cpu_*.c files share.
#ifndef EDT_BACKEND_CPU_CPU_PRIV_H
#define EDT_BACKEND_CPU_CPU_PRIV_H

#include "backend/backend.h"
#include "backend/cpu/cpu_kernels.h"

typedef struct edt_cpu_dnnl edt_cpu_dnnl; // engine and stream, cpu_dnnl.c

// The kernels of an instruction set by type of activations.
typedef struct edt_cpu_simd {
    const char *name; // "base", "avx2", "avx512", "avx512_bf16" (the one that multiplies bf16)
    const struct edt_cpu_kernels_f32 *f32;
    const struct edt_cpu_kernels_bf16 *bf16;
} edt_cpu_simd;

typedef struct edt_cpu_backend {
    edt_backend base;
    const edt_cpu_simd *simd;
    edt_cpu_dnnl *dnnl;
} edt_cpu_backend;

// Those of the type that the including file is compiled for.
static inline const edt_cpu_kernels *edt_cpu_kernels_of(const edt_cpu_backend *backend)
{
#ifdef EDT_CPU_BF16
    return backend->simd->bf16;
#else
    return backend->simd->f32;
#endif
}

// Operands of one run.
typedef struct edt_cpu_run {
    const edt_cpu_backend *backend;
    const edt_run_ctx *ctx;
    void *const *in;
    void *const *out;
    char *workspace; // EDT_MEM_ALIGN-aligned
    edt_error *err;
} edt_cpu_run;

typedef edt_status edt_cpu_run_fn(edt_kernel *kernel, const edt_cpu_run *run);

struct edt_kernel {
    edt_op_desc desc;
    edt_cpu_run_fn *run;
    void (*deinit)(edt_kernel *kernel); // of `state`; NULL: nothing to do but free it
    void *state;                        // edt_mem block of the kind's own, or NULL
    size_t workspace_bytes;
};

// Each fills run, state, deinit and workspace_bytes of a kernel whose desc is set and checked.
// On failure the caller releases the kernel.
typedef edt_status edt_cpu_prepare_fn(edt_cpu_backend *backend, edt_kernel *kernel,
                                      edt_error *err);
edt_cpu_prepare_fn edt_cpu_prepare_cast;      // cpu_cast.c
edt_cpu_prepare_fn edt_cpu_prepare_optimizer; // cpu_optimizer.c
// Once per type of activations.
#define EDT_CPU_PREPARE(name) edt_cpu_prepare_fn name##_f32, name##_bf16
EDT_CPU_PREPARE(edt_cpu_prepare_map);          // cpu_map.c: elementwise kinds, pooling to 1x1
EDT_CPU_PREPARE(edt_cpu_prepare_norm);         // cpu_norm.c
EDT_CPU_PREPARE(edt_cpu_prepare_sample);       // cpu_sample.c: max pooling, nearest resizing
EDT_CPU_PREPARE(edt_cpu_prepare_fuse);         // cpu_fuse.c
EDT_CPU_PREPARE(edt_cpu_prepare_loss);         // cpu_loss.c
EDT_CPU_PREPARE(edt_cpu_prepare_segmentation); // cpu_segmentation.c: its head's ops, srelu
EDT_CPU_PREPARE(edt_cpu_prepare_depthwise);    // cpu_depthwise.c
EDT_CPU_PREPARE(edt_cpu_prepare_conv);         // cpu_conv.c
EDT_CPU_PREPARE(edt_cpu_prepare_chain);        // cpu_chain.c: two convolutions in one

// Whether CAST is there for these types.
edt_status edt_cpu_cast_supports(const edt_op_desc *desc, edt_error *err);

// Kernels of a variant (NULL: the widest that runs here), or NULL when this processor cannot
// run it.
const edt_cpu_simd *edt_cpu_simd_find(const char *variant);

// As edt_backend_cpu_create with the variant chosen; for tests and benchmarks.
// EDT_ERR_UNSUPPORTED where this processor cannot run it.
edt_status edt_cpu_backend_create_variant(int n_threads, const char *variant, edt_error *err,
                                          edt_backend **out_backend);

edt_status edt_cpu_dnnl_create(edt_error *err, edt_cpu_dnnl **out_dnnl);
void edt_cpu_dnnl_destroy(edt_cpu_dnnl *dnnl);

// x = act(x) in f32 whatever the type of the calling file. cpu_cast.c
void edt_cpu_act_f32(const edt_cpu_backend *backend, edt_act act, float *x, int64_t n);

// cpu_peak.c: entries of the table.
edt_status edt_cpu_measure_peak(edt_backend *backend, edt_error *err,
                                edt_backend_peak *out_peak);
void edt_cpu_describe(const edt_backend *backend, char *out_text, size_t n_bytes);

// Zeroed state of a kernel.
edt_status edt_cpu_kernel_alloc_state(edt_kernel *kernel, size_t n_bytes, edt_error *err);

// Share [begin, end) of n items for part i of n_parts: contiguous, sizes differ by at most one.
static inline void edt_cpu_split(int64_t n, int n_parts, int i, int64_t *out_begin,
                                 int64_t *out_end)
{
    *out_begin = n * i / n_parts;
    *out_end = n * (i + 1) / n_parts;
}

// Threads worth starting for `work` elements: small ops cost less than waking a thread.
static inline int edt_cpu_threads(const edt_cpu_backend *backend, int64_t work)
{
    return work < 8192 ? 1 : backend->base.n_threads;
}

static inline size_t edt_cpu_align(size_t n_bytes)
{
    return (n_bytes + EDT_MEM_ALIGN - 1) / EDT_MEM_ALIGN * EDT_MEM_ALIGN;
}

// True when what a kernel derived from parameters in[1..n] must be derived again: another
// params_version (0: always) or other memory than last time. Remembers both.
static inline bool edt_cpu_stale(const edt_cpu_run *run, uint64_t *version, const void **from,
                                 int n)
{
    bool stale = run->ctx->params_version == 0 || run->ctx->params_version != *version;
    *version = run->ctx->params_version;
    for (int i = 0; i < n; i++) {
        stale = stale || from[i] != run->in[1 + i];
        from[i] = run->in[1 + i];
    }
    return stale;
}

// Stores or adds a parameter gradient.
static inline void edt_cpu_put(float *to, double value, bool accumulate)
{
    *to = accumulate ? (float)((double)*to + value) : (float)value;
}

// N, pixels per image and channels of an activation.
typedef struct edt_cpu_rows {
    int64_t n, cells, rows, c; // rows = n * cells
} edt_cpu_rows;

static inline edt_cpu_rows edt_cpu_rows_of(const edt_tensor_desc *desc)
{
    const int64_t cells = desc->shape.dim[1] * desc->shape.dim[2];
    return (edt_cpu_rows){
        .n = desc->shape.dim[0],
        .cells = cells,
        .rows = desc->shape.dim[0] * cells,
        .c = desc->shape.dim[3],
    };
}

#endif
