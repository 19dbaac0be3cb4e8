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

// A device that works beside the host has three queues of work: one computes, one copies batches
// in, one talks to other ranks. Each is carried out in order; events order them against each other.
typedef enum edt_stream_id {
    EDT_STREAM_COMPUTE,
    EDT_STREAM_COPY,
    EDT_STREAM_COMM,
    EDT_N_STREAMS
} edt_stream_id;

typedef struct edt_event edt_event;       // a point of a stream
typedef struct edt_capture edt_capture;   // work recorded once, to be replayed as a whole

// What such a backend adds to its table. run and zero work on EDT_STREAM_COMPUTE; upload and
// download too, and wait for their end: the calls below are for what must not wait.
typedef struct edt_stream_table {
    // Host memory that copies may read and write while the host goes on.
    edt_status (*host_alloc)(edt_backend *backend, size_t n_bytes, edt_error *err,
                             void **out_block);
    void (*host_free)(edt_backend *backend, void *block); // NULL is fine
    // Queues a copy between any two of device memory and host_alloc memory.
    edt_status (*copy)(edt_backend *backend, edt_stream_id stream, void *to, const void *from,
                       size_t n_bytes, edt_error *err);
    // The library's own stream object (cudaStream_t), for a communicator to queue work on.
    void *(*native)(edt_backend *backend, edt_stream_id stream);

    edt_status (*event_create)(edt_backend *backend, edt_error *err, edt_event **out_event);
    void (*event_destroy)(edt_backend *backend, edt_event *event); // NULL is fine
    edt_status (*event_record)(edt_backend *backend, edt_event *event, edt_stream_id stream,
                               edt_error *err);
    // Later work of `stream` starts after the event; the host does not wait.
    edt_status (*event_wait)(edt_backend *backend, edt_event *event, edt_stream_id stream,
                             edt_error *err);
    // The host waits. Errors of kernels that ran before the event surface here.
    edt_status (*event_synchronize)(edt_backend *backend, edt_event *event, edt_error *err);
    // Whether the event has passed. An event never recorded has.
    edt_status (*event_query)(edt_backend *backend, edt_event *event, edt_error *err,
                              bool *out_passed);
    // Between two events that have passed.
    edt_status (*event_seconds)(edt_backend *backend, edt_event *from, edt_event *to,
                                edt_error *err, double *out_seconds);

    // Records what is queued on EDT_STREAM_COMPUTE from begin to end, and on streams that waited
    // for it meanwhile and that it waited for in the end, instead of carrying it out. upload,
    // download, alloc and synchronize fail meanwhile. What `begin` writes (edt_backend_table) stays
    // outside. capture_end clears the state of capturing also when it fails.
    edt_status (*capture_begin)(edt_backend *backend, edt_error *err);
    edt_status (*capture_end)(edt_backend *backend, edt_error *err, edt_capture **out_capture);
    edt_status (*replay)(edt_backend *backend, edt_capture *capture, edt_error *err);
    void (*capture_destroy)(edt_backend *backend, edt_capture *capture); // NULL is fine
} edt_stream_table;

// Ceilings of a device, measured with the backend's threads and options.
typedef struct edt_backend_peak {
    double gflops;       // f32 matrix product, 2 per multiply-add; TF32 where the backend may
    double gflops_16bit; // of bf16 matrices; 0 where the backend has no such type
    double gbytes_per_s; // memory: a[i] = b[i] + s * c[i] (cuda: s is 1) over arrays far larger than any cache
} edt_backend_peak;

// One piece of the host's own work; 0 <= worker < threads, one piece at a time per index.
typedef void edt_backend_share_fn(void *ctx, int worker, int64_t i);

typedef struct edt_backend_table {
    const char *name; // "ref", "cpu", "cuda"

    // EDT_OK, or EDT_ERR_UNSUPPORTED with the reason. No side effects.
    edt_status (*supports)(const edt_backend *backend, const edt_op_desc *desc, edt_error *err);
    // Optional (NULL: always): whether a fused inference op that is supported is also faster here than the
    // ops that it stands for.
    bool (*worthwhile)(const edt_backend *backend, const edt_op_desc *desc);
    // `desc` is copied as needed. out_workspace_bytes: scratch that every run wants (may be 0); the
    // executor gives all kernels one shared block, valid only during a run.
    edt_status (*prepare)(edt_backend *backend, const edt_op_desc *desc, edt_error *err,
                          edt_kernel **out_kernel, size_t *out_workspace_bytes);
    // in/out: device pointers in the order of the op's operands, NULL for absent ones. in[] of
    // inout operands is written. Asynchronous on a device with a stream; see synchronize.
    edt_status (*run)(edt_backend *backend, edt_kernel *kernel, const edt_run_ctx *ctx,
                      void *const *in, void *const *out, void *workspace, edt_error *err);
    void (*release)(edt_backend *backend, edt_kernel *kernel);

    // Optional (NULL): takes note of `ctx` for the runs that follow, on the device where they read
    // it there: a replayed capture computes with the values of the last begin, not with those it was
    // recorded with. The executor calls it once before the runs of a graph, or before a replay.
    edt_status (*begin)(edt_backend *backend, const edt_run_ctx *ctx, edt_error *err);

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

    // Optional (NULL): fn(ctx, worker, i) for i in [0, n) on the backend's own host threads, at
    // most max_threads of them; see edt_backend_share.
    void (*share)(edt_backend *backend, int max_threads, int64_t n, edt_backend_share_fn *fn,
                  void *ctx);

    // NULL: the backend is synchronous, its memory is the host's.
    const edt_stream_table *streams;
} edt_backend_table;

typedef struct edt_backend_options {
    int n_threads;      // of the host; 0: all cores of the process's affinity mask
    int device;         // which of the devices that are visible, from 0
    bool tf32;          // f32 matrix products may round their factors to TF32
    bool deterministic; // the same inputs give the same bytes in every run
} edt_backend_options;

// First member of every backend's own struct.
struct edt_backend {
    const edt_backend_table *table;
    int n_threads;
};

// Plain C, one thread per op, f32 and f64: the oracle. backend/ref/ref_backend.c
edt_status edt_backend_ref_create(edt_error *err, edt_backend **out_backend);

// oneDNN and own vector kernels, f32 and bf16; n_threads 0: all cores of the process's affinity
// mask. backend/cpu/cpu_backend.c
edt_status edt_backend_cpu_create(int n_threads, edt_error *err, edt_backend **out_backend);
// Whether this processor multiplies bf16 numbers; where it does not, the cpu backend widens them
// to f32 first, which gives the same results at f32's speed.
bool edt_backend_cpu_multiplies_bf16(void);

// By name: "ref", "cpu", "cuda". EDT_ERR_USAGE for an unknown name, EDT_ERR_UNSUPPORTED (with what
// is missing and what to do) where this build or machine cannot. "cuda" is a plug-in
// (core/plugin.h), opened at the first call and never closed.
edt_status edt_backend_create(const char *name, const edt_backend_options *options,
                              edt_error *err, edt_backend **out_backend);

// What libedt_cuda.so exports under this name.
#define EDT_BACKEND_CUDA_SYMBOL "edt_backend_cuda_plugin"
typedef struct edt_backend_plugin {
    edt_status (*create)(const edt_backend_options *options, edt_error *err,
                         edt_backend **out_backend);
    // Lines for people about driver, devices and libraries ("name: value\n"); at most n_bytes with
    // the closing 0. Says so where there is no device.
    void (*describe_machine)(char *out_text, size_t n_bytes);
    // Devices that are visible to this process, at least one; EDT_ERR_UNSUPPORTED says why there
    // is none.
    edt_status (*count_devices)(edt_error *err, int *out_n_devices);
} edt_backend_plugin;
// The plug-in's table; fails as edt_backend_create("cuda") does where there is none.
edt_status edt_backend_cuda_plugin_open(edt_error *err, const edt_backend_plugin **out_plugin);
edt_status edt_backend_cuda_count_devices(edt_error *err, int *out_n_devices);

// Best of several measurements, about half a second. EDT_ERR_UNSUPPORTED where the backend has
// none (ref).
edt_status edt_backend_measure_peak(edt_backend *backend, edt_error *err,
                                    edt_backend_peak *out_peak);
// The host's work between runs, on the threads that just ran the network: others would find the
// cores taken by these, which wait for the next op. Calls fn for all i in [0, n), on up to
// max_threads threads (0: the backend's number), in any order; returns when all are done. On the
// caller's thread alone where the backend has no threads to lend, or is NULL.
void edt_backend_share(edt_backend *backend, int max_threads, int64_t n,
                       edt_backend_share_fn *fn, void *ctx);
// How many threads that may be, at least 1.
int edt_backend_sharers(const edt_backend *backend);
// "oneDNN 2.6.3, avx512 kernels, 2 threads"; the backend's name where it says nothing.
void edt_backend_describe(const edt_backend *backend, char *out_text, size_t n_bytes);
// NULL is fine; clears the pointer.
void edt_backend_destroy(edt_backend **backend);

#endif
