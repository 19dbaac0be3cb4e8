// What the cuda backend adds for work that goes on beside the host: pinned memory, events, and
// captures as CUDA graphs. A capture belongs to the thread that began it; other threads may
// allocate and wait meanwhile.
#include "backend/cuda/cuda_priv.h"

struct edt_event {
    cudaEvent_t event;
};

struct edt_capture {
    cudaGraphExec_t exec;
};

edt_status edt_cuda_refuse_capturing(const edt_cuda_backend *backend, const char *what,
                                     edt_error *err)
{
    if (backend->capturing) {
        EDT_FAIL(err, EDT_ERR_USAGE, "cuda: no %s while a capture is recorded", what);
    }
    return EDT_OK;
}

static edt_status streams_host_alloc(edt_backend *base, size_t n_bytes, edt_error *err,
                                     void **out_block)
{
    const edt_cuda_backend *backend = (const edt_cuda_backend *)base;
    EDT_TRY(edt_cuda_enter(backend, err));
    EDT_TRY(edt_cuda_refuse_capturing(backend, "allocation", err));
    void *block = NULL;
    const cudaError_t code =
        cudaHostAlloc(&block, n_bytes == 0 ? 1 : n_bytes, cudaHostAllocPortable);
    if (code == cudaErrorMemoryAllocation) {
        (void)cudaGetLastError();
        EDT_FAIL(err, EDT_ERR_NOMEM,
                 "the system has no %zu bytes of pinned memory (smaller batches or fewer "
                 "prefetched ones need less; ulimit -l may limit it)",
                 n_bytes);
    }
    EDT_TRY(edt_cuda_check(code, "cudaHostAlloc", err));
    *out_block = block;
    return EDT_OK;
}

static void streams_host_free(edt_backend *base, void *block)
{
    if (block != NULL) {
        (void)cudaSetDevice(((edt_cuda_backend *)base)->device);
        (void)cudaFreeHost(block);
    }
}

static edt_status streams_copy(edt_backend *base, edt_stream_id stream, void *to,
                               const void *from, size_t n_bytes, edt_error *err)
{
    const edt_cuda_backend *backend = (const edt_cuda_backend *)base;
    EDT_TRY(edt_cuda_enter(backend, err));
    if (n_bytes > 0) {
        EDT_CUDA_TRY(
            cudaMemcpyAsync(to, from, n_bytes, cudaMemcpyDefault, backend->streams[stream]),
            err);
    }
    return EDT_OK;
}

static void *streams_native(edt_backend *base, edt_stream_id stream)
{
    return ((edt_cuda_backend *)base)->streams[stream];
}

static void streams_event_destroy(edt_backend *base, edt_event *event)
{
    if (event == NULL) {
        return;
    }
    if (event->event != NULL) {
        (void)cudaSetDevice(((edt_cuda_backend *)base)->device);
        (void)cudaEventDestroy(event->event);
    }
    edt_mem_free(event);
}

static edt_status streams_event_create(edt_backend *base, edt_error *err, edt_event **out_event)
{
    EDT_TRY(edt_cuda_enter((edt_cuda_backend *)base, err));
    edt_event *event = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof(*event));
    if (event == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for an event");
    }
    // A host thread that waits leaves its core to the loader's.
    const edt_status status =
        edt_cuda_check(cudaEventCreateWithFlags(&event->event, cudaEventBlockingSync),
                       "cudaEventCreateWithFlags", err);
    if (status != EDT_OK) {
        edt_mem_free(event);
        return status;
    }
    *out_event = event;
    return EDT_OK;
}

static edt_status streams_event_record(edt_backend *base, edt_event *event,
                                       edt_stream_id stream, edt_error *err)
{
    const edt_cuda_backend *backend = (const edt_cuda_backend *)base;
    EDT_TRY(edt_cuda_enter(backend, err));
    EDT_CUDA_TRY(cudaEventRecord(event->event, backend->streams[stream]), err);
    return EDT_OK;
}

static edt_status streams_event_wait(edt_backend *base, edt_event *event, edt_stream_id stream,
                                     edt_error *err)
{
    const edt_cuda_backend *backend = (const edt_cuda_backend *)base;
    EDT_TRY(edt_cuda_enter(backend, err));
    EDT_CUDA_TRY(cudaStreamWaitEvent(backend->streams[stream], event->event, 0), err);
    return EDT_OK;
}

static edt_status streams_event_synchronize(edt_backend *base, edt_event *event, edt_error *err)
{
    EDT_TRY(edt_cuda_enter((edt_cuda_backend *)base, err));
    EDT_CUDA_TRY(cudaEventSynchronize(event->event), err);
    return EDT_OK;
}

static edt_status streams_event_query(edt_backend *base, edt_event *event, edt_error *err,
                                      bool *out_passed)
{
    EDT_TRY(edt_cuda_enter((edt_cuda_backend *)base, err));
    const cudaError_t code = cudaEventQuery(event->event);
    if (code == cudaErrorNotReady) {
        (void)cudaGetLastError();
        *out_passed = false;
        return EDT_OK;
    }
    EDT_TRY(edt_cuda_check(code, "cudaEventQuery", err));
    *out_passed = true;
    return EDT_OK;
}

static edt_status streams_event_seconds(edt_backend *base, edt_event *from, edt_event *to,
                                        edt_error *err, double *out_seconds)
{
    EDT_TRY(edt_cuda_enter((edt_cuda_backend *)base, err));
    float ms = 0.0F;
    EDT_CUDA_TRY(cudaEventElapsedTime(&ms, from->event, to->event), err);
    *out_seconds = (double)ms * 1e-3;
    return EDT_OK;
}

static edt_status streams_capture_begin(edt_backend *base, edt_error *err)
{
    edt_cuda_backend *backend = (edt_cuda_backend *)base;
    EDT_TRY(edt_cuda_enter(backend, err));
    EDT_TRY(edt_cuda_refuse_capturing(backend, "second capture", err));
    EDT_CUDA_TRY(cudaStreamBeginCapture(backend->streams[EDT_STREAM_COMPUTE],
                                        cudaStreamCaptureModeThreadLocal),
                 err);
    backend->capturing = true;
    return EDT_OK;
}

static void streams_capture_destroy(edt_backend *base, edt_capture *capture)
{
    if (capture == NULL) {
        return;
    }
    if (capture->exec != NULL) {
        (void)cudaSetDevice(((edt_cuda_backend *)base)->device);
        (void)cudaGraphExecDestroy(capture->exec);
    }
    edt_mem_free(capture);
}

static edt_status streams_capture_end(edt_backend *base, edt_error *err,
                                      edt_capture **out_capture)
{
    edt_cuda_backend *backend = (edt_cuda_backend *)base;
    if (!backend->capturing) {
        EDT_FAIL(err, EDT_ERR_USAGE, "cuda: no capture has begun");
    }
    EDT_TRY(edt_cuda_enter(backend, err));
    const cudaStream_t stream = backend->streams[EDT_STREAM_COMPUTE];
    cudaGraph_t graph = NULL;
    const cudaError_t code = cudaStreamEndCapture(stream, &graph);
    backend->capturing = false;
    EDT_TRY(edt_cuda_check(code, "cudaStreamEndCapture", err));
    edt_status status;
    edt_capture *capture = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof(*capture));
    if (capture == NULL) {
        status = edt_error_set(err, EDT_ERR_NOMEM, "no memory for a capture");
        goto fail;
    }
    // Sums over ranks keep the priority of their stream, instead of all having that of this
    // one.
    EDT_TRY_GOTO(edt_cuda_check(
        cudaGraphInstantiate(&capture->exec, graph, cudaGraphInstantiateFlagUseNodePriority),
        "cudaGraphInstantiate", err));
    EDT_TRY_GOTO(
        edt_cuda_check(cudaGraphUpload(capture->exec, stream), "cudaGraphUpload", err));
    (void)cudaGraphDestroy(graph);
    *out_capture = capture;
    return EDT_OK;
fail:
    (void)cudaGraphDestroy(graph);
    streams_capture_destroy(base, capture);
    return status;
}

static edt_status streams_replay(edt_backend *base, edt_capture *capture, edt_error *err)
{
    const edt_cuda_backend *backend = (const edt_cuda_backend *)base;
    EDT_TRY(edt_cuda_enter(backend, err));
    EDT_TRY(edt_cuda_refuse_capturing(backend, "replay", err));
    EDT_CUDA_TRY(cudaGraphLaunch(capture->exec, backend->streams[EDT_STREAM_COMPUTE]), err);
    return EDT_OK;
}

const edt_stream_table edt_cuda_stream_table = {
    .host_alloc = streams_host_alloc,
    .host_free = streams_host_free,
    .copy = streams_copy,
    .native = streams_native,
    .event_create = streams_event_create,
    .event_destroy = streams_event_destroy,
    .event_record = streams_event_record,
    .event_wait = streams_event_wait,
    .event_synchronize = streams_event_synchronize,
    .event_query = streams_event_query,
    .event_seconds = streams_event_seconds,
    .capture_begin = streams_capture_begin,
    .capture_end = streams_capture_end,
    .replay = streams_replay,
    .capture_destroy = streams_capture_destroy,
};
