// A backend runs ops on one device. It is one table of functions; the executor (model/exec.h)
// sees nothing else. Life of an op: supports -> prepare (once per shape; may search, compile,
// allocate) -> run, many times (no allocation, no search) -> release.
#ifndef EDT_BACKEND_BACKEND_H
#define EDT_BACKEND_BACKEND_H

#include "backend/op.h"
#include "core/mem.h"

typedef struct edt_backend edt_backend;
typedef struct edt_kernel edt_kernel; // opaque; each backend has its own

// Values that change from run to run, the same for all ops of a run. Borrowed for the call.
typedef struct edt_run_ctx {
    // Increases whenever parameter values changed outside an OPTIMIZER op or by one; kernels that
    // keep packed or folded weights repack when it differs from what they packed. 0: repack always.
    uint64_t params_version;
    // OPTIMIZER
    double learning_rate;
    double ema_decay;      // a -= (a - v) * (1 - ema_decay)
    int64_t adam_t;        // from 1
} edt_run_ctx;

// Ceilings of a device, measured on the backend's threads.
typedef struct edt_backend_peak {
    double gflops;       // f32 matrix product, 2 per multiply-add
    double gbytes_per_s; // memory: a[i] = b[i] + s * c[i] over arrays far larger than any cache
} edt_backend_peak;

typedef struct edt_backend_table {
    const char *name; // "ref", "cpu", "cuda"

    // EDT_OK, or EDT_ERR_UNSUPPORTED with the reason. No side effects.
    edt_status (*supports)(const edt_backend *backend, const edt_op_desc *desc, edt_error *err);
    // `desc` is copied as needed. out_workspace_bytes: scratch that every run wants (may be 0); the
    // executor gives all kernels one shared block, valid only during a run.
    edt_status (*prepare)(edt_backend *backend, const edt_op_desc *desc, edt_error *err,
                          edt_kernel **out_kernel, size_t *out_workspace_bytes);
    // in/out: device pointers in the order of the op's operands, NULL for absent ones. in[] of
    // inout operands is written. Asynchronous on a device with a stream; see synchronize.
    edt_status (*run)(edt_backend *backend, edt_kernel *kernel, const edt_run_ctx *ctx,
                      void *const *in, void *const *out, void *workspace, edt_error *err);
    void (*release)(edt_backend *backend, edt_kernel *kernel);

    // Device memory, EDT_MEM_ALIGN-aligned. free accepts NULL.
    edt_status (*alloc)(edt_backend *backend, edt_mem_kind kind, size_t n_bytes, edt_error *err,
                        void **out_block);
    void (*free)(edt_backend *backend, void *block);
    edt_status (*upload)(edt_backend *backend, void *device_to, const void *host_from,
                         size_t n_bytes, edt_error *err);
    edt_status (*download)(edt_backend *backend, void *host_to, const void *device_from,
                           size_t n_bytes, edt_error *err);
    edt_status (*zero)(edt_backend *backend, void *device_block, size_t n_bytes, edt_error *err);
    edt_status (*synchronize)(edt_backend *backend, edt_error *err);

    void (*destroy)(edt_backend *backend);

    // Optional (NULL): what a benchmark holds its figures against; see edt_backend_measure_peak.
    edt_status (*measure_peak)(edt_backend *backend, edt_error *err,
                               edt_backend_peak *out_peak);
    // Optional (NULL): one line for people, with the libraries' versions and the instruction set.
    void (*describe)(const edt_backend *backend, char *out_text, size_t n_bytes);
} edt_backend_table;

// First member of every backend's own struct.
struct edt_backend {
    const edt_backend_table *table;
    int n_threads;
};

// Plain C, one thread per op, f32 and f64: the oracle. backend/ref/ref_backend.c
edt_status edt_backend_ref_create(edt_error *err, edt_backend **out_backend);

// oneDNN and own vector kernels, f32; n_threads 0: all cores of the process's affinity mask.
// backend/cpu/cpu_backend.c
edt_status edt_backend_cpu_create(int n_threads, edt_error *err, edt_backend **out_backend);

// By name: "ref", "cpu", "cuda". EDT_ERR_USAGE for an unknown name, EDT_ERR_UNSUPPORTED (with what
// is missing and what to do) where this build or machine cannot.
edt_status edt_backend_create(const char *name, int n_threads, edt_error *err,
                              edt_backend **out_backend);
// Best of several measurements, about half a second. EDT_ERR_UNSUPPORTED where the backend has
// none (ref).
edt_status edt_backend_measure_peak(edt_backend *backend, edt_error *err,
                                    edt_backend_peak *out_peak);
// "oneDNN 2.6.3, avx512 kernels, 2 threads"; the backend's name where it says nothing.
void edt_backend_describe(const edt_backend *backend, char *out_text, size_t n_bytes);
// NULL is fine; clears the pointer.
void edt_backend_destroy(edt_backend **backend);

#endif
