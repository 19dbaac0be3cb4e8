// Streams, events and captures of the emulated device. Outside of a capture a stream carries
// its work out at once. A capture keeps the work in the order of the calls, with who waits for
// whom: cudaStreamEndCapture fails where a stream that joined was not waited for, as the real
// one does.
#include <stdlib.h>

#include <chrono>
#include <memory>
#include <set>
#include <thread>
#include <vector>

#include "tests/cuda_emulator/emulator_state.h"

using namespace edt_emulator;

namespace
{

struct node {
    std::function<void()> work; // may be empty: a record or a wait
    std::vector<int> after;
};

struct capture {
    std::vector<node> nodes;
    CUstream_st *origin;
    cudaStreamCaptureMode mode;
    std::thread::id owner;
    bool invalid = false;
};

} // namespace

struct CUstream_st {
    std::shared_ptr<capture> recording;
    int tail = -1; // last node of the stream in it
};

struct CUevent_st {
    std::shared_ptr<capture> recording; // of the last record
    int at = -1;
    bool timed = true;
    double seconds = 0.0;
};

struct CUgraph_st {
    std::vector<std::function<void()>> works;
};
struct CUgraphExec_st {
    std::vector<std::function<void()>> works;
};

namespace
{

// Never destroyed: plug-ins use them until the process has ended.
std::set<CUstream_st *> &streams = *new std::set<CUstream_st *>;
std::set<CUevent_st *> &events = *new std::set<CUevent_st *>;
std::set<std::shared_ptr<capture>> &captures =
    *new std::set<std::shared_ptr<capture>>; // in progress

bool known(cudaStream_t stream)
{
    return stream == nullptr || streams.count(stream) > 0;
}

int add_node(CUstream_st *stream, std::function<void()> work)
{
    capture &into = *stream->recording;
    node made;
    made.work = std::move(work);
    if (stream->tail >= 0) {
        made.after.push_back(stream->tail);
    }
    into.nodes.push_back(std::move(made));
    stream->tail = (int)into.nodes.size() - 1;
    return stream->tail;
}

// The default stream would wait for every capturing one.
cudaError_t check_stream(cudaStream_t stream)
{
    if (sticky != cudaSuccess) {
        return sticky;
    }
    if (!known(stream)) {
        fail(cudaErrorInvalidResourceHandle, "a stream is used that does not exist (any more)");
        return cudaErrorInvalidResourceHandle;
    }
    if (stream == nullptr && !captures.empty()) {
        for (const auto &each : captures) {
            each->invalid = true;
        }
        return cudaErrorStreamCaptureImplicit;
    }
    if (stream != nullptr && stream->recording != nullptr && stream->recording->invalid) {
        return cudaErrorStreamCaptureInvalidated;
    }
    return cudaSuccess;
}

// Calls that wait for a stream that is being captured.
cudaError_t refuse(cudaStream_t stream)
{
    stream->recording->invalid = true;
    return cudaErrorStreamCaptureUnsupported;
}

cudaError_t check_event(cudaEvent_t event)
{
    if (sticky != cudaSuccess) {
        return sticky;
    }
    if (events.count(event) == 0) {
        fail(cudaErrorInvalidResourceHandle, "an event is used that does not exist (any more)");
        return cudaErrorInvalidResourceHandle;
    }
    return cudaSuccess;
}

void carry_out(const std::function<void()> &work)
{
    if (work && sticky == cudaSuccess) {
        const memory_open opened;
        work();
    }
}

} // namespace

namespace edt_emulator
{

cudaError_t enqueue(cudaStream_t stream, std::function<void()> work)
{
    const std::lock_guard<std::recursive_mutex> guard(device_lock);
    const cudaError_t code = check_stream(stream);
    if (code != cudaSuccess) {
        return code;
    }
    if (stream != nullptr && stream->recording != nullptr) {
        add_node(stream, std::move(work));
        return cudaSuccess;
    }
    // A fault shows at the next call, as on a device.
    carry_out(work);
    return cudaSuccess;
}

cudaError_t forbid_in_capture()
{
    bool forbidden = false;
    for (const auto &each : captures) {
        const bool mine = each->owner == std::this_thread::get_id();
        if (each->mode == cudaStreamCaptureModeGlobal ||
            (each->mode == cudaStreamCaptureModeThreadLocal && mine)) {
            each->invalid = true;
            forbidden = true;
        }
    }
    return forbidden ? cudaErrorStreamCaptureUnsupported : cudaSuccess;
}

} // namespace edt_emulator

extern "C" {

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *out_stream, unsigned)
{
    const std::lock_guard<std::recursive_mutex> guard(device_lock);
    *out_stream = new CUstream_st;
    streams.insert(*out_stream);
    return note(sticky);
}

cudaError_t cudaStreamCreate(cudaStream_t *out_stream)
{
    return cudaStreamCreateWithFlags(out_stream, 0);
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *out_stream, unsigned flags, int)
{
    return cudaStreamCreateWithFlags(out_stream, flags);
}

cudaError_t cudaDeviceGetStreamPriorityRange(int *out_least, int *out_greatest)
{
    *out_least = 0;
    *out_greatest = -5;
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    const std::lock_guard<std::recursive_mutex> guard(device_lock);
    if (streams.erase(stream) == 0) {
        return note(cudaErrorInvalidResourceHandle);
    }
    delete stream;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    const std::lock_guard<std::recursive_mutex> guard(device_lock);
    memory_close();
    const cudaError_t code = check_stream(stream);
    if (code == cudaSuccess && stream != nullptr && stream->recording != nullptr) {
        return note(refuse(stream));
    }
    return note(code);
}

cudaError_t cudaStreamQuery(cudaStream_t stream)
{
    return cudaStreamSynchronize(stream);
}

cudaError_t cudaDeviceSynchronize(void)
{
    const std::lock_guard<std::recursive_mutex> guard(device_lock);
    memory_close();
    if (!captures.empty()) {
        for (const auto &each : captures) {
            each->invalid = true;
        }
        return note(cudaErrorStreamCaptureUnsupported);
    }
    return note(sticky);
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *out_event, unsigned flags)
{
    const std::lock_guard<std::recursive_mutex> guard(device_lock);
    *out_event = new CUevent_st;
    (*out_event)->timed = (flags & cudaEventDisableTiming) == 0;
    events.insert(*out_event);
    return note(sticky);
}

cudaError_t cudaEventCreate(cudaEvent_t *out_event)
{
    return cudaEventCreateWithFlags(out_event, cudaEventDefault);
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    const std::lock_guard<std::recursive_mutex> guard(device_lock);
    if (events.erase(event) == 0) {
        return note(cudaErrorInvalidResourceHandle);
    }
    delete event;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    const std::lock_guard<std::recursive_mutex> guard(device_lock);
    cudaError_t code = check_stream(stream);
    if (code == cudaSuccess) {
        code = check_event(event);
    }
    if (code != cudaSuccess) {
        return note(code);
    }
    if (stream != nullptr && stream->recording != nullptr) {
        event->recording = stream->recording;
        event->at = add_node(stream, nullptr);
    } else {
        event->recording = nullptr;
        event->seconds =
            std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch())
                .count();
    }
    return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned)
{
    const std::lock_guard<std::recursive_mutex> guard(device_lock);
    cudaError_t code = check_stream(stream);
    if (code == cudaSuccess) {
        code = check_event(event);
    }
    if (code != cudaSuccess) {
        return note(code);
    }
    const bool live = event->recording != nullptr && captures.count(event->recording) > 0;
    if (stream == nullptr || (stream->recording == nullptr && !live)) {
        return cudaSuccess;
    }
    if (stream->recording == nullptr) {
        stream->recording = event->recording; // joins the capture
        stream->tail = -1;
    } else if (event->recording != stream->recording) {
        stream->recording->invalid = true;
        return note(cudaErrorStreamCaptureIsolation);
    }
    const int at = add_node(stream, nullptr);
    stream->recording->nodes[(size_t)at].after.push_back(event->at);
    return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    const std::lock_guard<std::recursive_mutex> guard(device_lock);
    memory_close();
    const cudaError_t code = check_event(event);
    if (code == cudaSuccess && event->recording != nullptr) {
        event->recording->invalid = true;
        return note(cudaErrorCapturedEvent);
    }
    return note(code);
}

cudaError_t cudaEventQuery(cudaEvent_t event)
{
    return cudaEventSynchronize(event);
}

cudaError_t cudaEventElapsedTime(float *out_ms, cudaEvent_t from, cudaEvent_t to)
{
    const std::lock_guard<std::recursive_mutex> guard(device_lock);
    cudaError_t code = check_event(from);
    if (code == cudaSuccess) {
        code = check_event(to);
    }
    if (code != cudaSuccess) {
        return note(code);
    }
    if (!from->timed || !to->timed || from->seconds == 0.0 || to->seconds == 0.0) {
        return note(cudaErrorInvalidResourceHandle);
    }
    *out_ms = (float)((to->seconds - from->seconds) * 1e3);
    return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode)
{
    const std::lock_guard<std::recursive_mutex> guard(device_lock);
    const cudaError_t code = check_stream(stream);
    if (code != cudaSuccess) {
        return note(code);
    }
    if (stream == nullptr) {
        return note(cudaErrorStreamCaptureUnsupported);
    }
    if (stream->recording != nullptr) {
        return note(cudaErrorIllegalState);
    }
    stream->recording = std::make_shared<capture>();
    stream->recording->origin = stream;
    stream->recording->mode = mode;
    stream->recording->owner = std::this_thread::get_id();
    stream->tail = -1;
    captures.insert(stream->recording);
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *out_graph)
{
    const std::lock_guard<std::recursive_mutex> guard(device_lock);
    *out_graph = nullptr;
    if (!known(stream) || stream == nullptr) {
        return note(cudaErrorInvalidResourceHandle);
    }
    const std::shared_ptr<capture> ended = stream->recording;
    if (ended == nullptr) {
        return note(cudaErrorIllegalState);
    }
    if (ended->origin != stream) {
        return note(cudaErrorStreamCaptureUnmatched);
    }
    std::vector<bool> reached(ended->nodes.size(), false);
    std::vector<int> open;
    if (stream->tail >= 0) {
        open.push_back(stream->tail);
    }
    while (!open.empty()) {
        const size_t at = (size_t)open.back();
        open.pop_back();
        if (!reached[at]) {
            reached[at] = true;
            open.insert(open.end(), ended->nodes[at].after.begin(),
                        ended->nodes[at].after.end());
        }
    }
    bool joined = true;
    for (CUstream_st *each : streams) {
        if (each->recording == ended) {
            joined = joined && (each->tail < 0 || reached[(size_t)each->tail]);
            each->recording = nullptr;
            each->tail = -1;
        }
    }
    // Work that a stream queued after the last event that was waited for.
    for (size_t i = 0; i < ended->nodes.size(); ++i) {
        joined = joined && (reached[i] || !ended->nodes[i].work);
    }
    captures.erase(ended);
    if (sticky != cudaSuccess) {
        return note(sticky);
    }
    if (ended->invalid) {
        return note(cudaErrorStreamCaptureInvalidated);
    }
    if (!joined) {
        return note(cudaErrorStreamCaptureUnjoined);
    }
    *out_graph = new CUgraph_st;
    for (node &each : ended->nodes) {
        if (each.work) {
            (*out_graph)->works.push_back(std::move(each.work));
        }
    }
    ended->nodes.clear(); // events may keep the rest
    return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus *out_status)
{
    const std::lock_guard<std::recursive_mutex> guard(device_lock);
    if (!known(stream)) {
        return note(cudaErrorInvalidResourceHandle);
    }
    *out_status = stream == nullptr || stream->recording == nullptr
                      ? cudaStreamCaptureStatusNone
                  : stream->recording->invalid ? cudaStreamCaptureStatusInvalidated
                                               : cudaStreamCaptureStatusActive;
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *out_exec, cudaGraph_t graph,
                                 unsigned long long)
{
    *out_exec = new CUgraphExec_st{graph->works};
    return note(sticky);
}

cudaError_t cudaGraphUpload(cudaGraphExec_t, cudaStream_t)
{
    return note(sticky);
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t *, size_t *out_n)
{
    *out_n = graph->works.size();
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream)
{
    const std::lock_guard<std::recursive_mutex> guard(device_lock);
    const cudaError_t code = check_stream(stream);
    if (code != cudaSuccess) {
        return note(code);
    }
    if (stream != nullptr && stream->recording != nullptr) {
        return note(refuse(stream));
    }
    for (const std::function<void()> &each : exec->works) {
        carry_out(each);
    }
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    delete graph;
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    delete exec;
    return cudaSuccess;
}

} // extern "C"
