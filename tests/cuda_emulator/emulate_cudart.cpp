// Stand-in for the CUDA runtime: devices, memory, attributes of kernels, errors. A stream
// carries its work out at once (emulate_streams.cpp). EDT_EMULATED_DEVICES gives the number of
// devices (1), EDT_EMULATED_DRIVER the version of the driver (that of the headers).
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <map>

#include "tests/cuda_emulator/emulator_state.h"

using namespace edt_emulator;

namespace
{

constexpr int threads_per_block = 1024, shared_default = 48 * 1024, shared_most = 227 * 1024;
std::map<const void *, int> shared_allowed; // cudaFuncAttributeMaxDynamicSharedMemorySize
thread_local cudaError_t last = cudaSuccess;
thread_local int current_device = 0;

int n_devices()
{
    const char *given = getenv("EDT_EMULATED_DEVICES");
    return given == nullptr ? 1 : atoi(given);
}

int driver_version()
{
    const char *given = getenv("EDT_EMULATED_DRIVER");
    return given == nullptr ? CUDART_VERSION : atoi(given);
}

// What every call starts with.
cudaError_t ready()
{
    if (driver_version() == 0 || n_devices() == 0) {
        return cudaErrorNoDevice;
    }
    return driver_version() / 1000 < CUDART_VERSION / 1000 ? cudaErrorInsufficientDriver
                                                           : sticky;
}

} // namespace

namespace edt_emulator
{

cudaError_t note(cudaError_t code)
{
    if (code != cudaSuccess) {
        last = code;
    }
    return code;
}

cudaError_t launch_grid(const char *name, const void *kernel, dim3 grid, dim3 block,
                        size_t shared_bytes, cudaStream_t stream, std::function<void()> work)
{
    const std::lock_guard<std::recursive_mutex> guard(device_lock);
    const uint64_t n_threads = (uint64_t)block.x * block.y * block.z;
    if (n_threads == 0 || n_threads > threads_per_block || block.x > 1024 || block.y > 1024 ||
        block.z > 64 || grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > 0x7fffffffU ||
        grid.y > 65535 || grid.z > 65535) {
        fprintf(stderr, "cuda emulator: kernel %s: grid %u,%u,%u of blocks %u,%u,%u\n", name,
                grid.x, grid.y, grid.z, block.x, block.y, block.z);
        return note(cudaErrorInvalidConfiguration);
    }
    const auto allowed = shared_allowed.find(kernel);
    const int most = allowed == shared_allowed.end() ? shared_default : allowed->second;
    if (shared_bytes > (size_t)most) {
        fprintf(stderr,
                "cuda emulator: kernel %s: %zu bytes of dynamic shared memory, %d allowed\n",
                name, shared_bytes, most);
        return note(cudaErrorInvalidValue);
    }
    return note(enqueue(stream, [name, grid, block, shared_bytes, work = std::move(work)] {
        memory_open::what = name;
        run_grid(name, grid, block, shared_bytes, work);
    }));
}

} // namespace edt_emulator

static cudaError_t waited(cudaError_t code)
{
    const std::lock_guard<std::recursive_mutex> guard(device_lock);
    memory_close();
    return code;
}

extern "C" {

cudaError_t cudaGetDeviceCount(int *out_n)
{
    if (driver_version() == 0 || n_devices() == 0) {
        return note(cudaErrorNoDevice);
    }
    if (driver_version() / 1000 < CUDART_VERSION / 1000) {
        return note(cudaErrorInsufficientDriver);
    }
    *out_n = n_devices();
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device)
{
    if (device < 0 || device >= n_devices()) {
        return note(cudaErrorInvalidDevice);
    }
    current_device = device;
    return note(ready());
}

cudaError_t cudaGetDevice(int *out_device)
{
    *out_device = current_device;
    return note(ready());
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int device)
{
    if (device < 0 || device >= n_devices()) {
        return note(cudaErrorInvalidDevice);
    }
    memset(properties, 0, sizeof *properties);
    snprintf(properties->name, sizeof properties->name, "emulated device %d", device);
    size_t free_bytes;
    memory_sizes(&free_bytes, &properties->totalGlobalMem);
    properties->major = 9;
    properties->multiProcessorCount = 4; // few, so that loops over the grid take several turns
    properties->maxThreadsPerMultiProcessor = 2048;
    properties->maxThreadsPerBlock = threads_per_block;
    properties->maxThreadsDim[0] = properties->maxThreadsDim[1] = 1024;
    properties->maxThreadsDim[2] = 64;
    properties->maxGridSize[0] = 0x7fffffff;
    properties->maxGridSize[1] = properties->maxGridSize[2] = 65535;
    properties->sharedMemPerBlock = shared_default;
    properties->sharedMemPerBlockOptin = shared_most;
    properties->sharedMemPerMultiprocessor = 228 * 1024;
    properties->regsPerBlock = 65536;
    properties->warpSize = 32;
    properties->l2CacheSize = 50 << 20;
    properties->memoryBusWidth = 5120;
    properties->asyncEngineCount = 1;
    properties->unifiedAddressing = 1;
    properties->pciBusID = device + 1;
    return note(ready());
}

cudaError_t cudaDeviceGetAttribute(int *out_value, cudaDeviceAttr attribute, int device)
{
    cudaDeviceProp properties;
    const cudaError_t code = cudaGetDeviceProperties(&properties, device);
    if (code != cudaSuccess) {
        return code;
    }
    switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock: *out_value = threads_per_block; break;
    case cudaDevAttrMaxSharedMemoryPerBlock: *out_value = shared_default; break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *out_value = shared_most; break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor: *out_value = 228 * 1024; break;
    case cudaDevAttrMultiProcessorCount: *out_value = properties.multiProcessorCount; break;
    case cudaDevAttrMaxThreadsPerMultiProcessor: *out_value = 2048; break;
    case cudaDevAttrMaxGridDimX: *out_value = 0x7fffffff; break;
    case cudaDevAttrMaxGridDimY:
    case cudaDevAttrMaxGridDimZ: *out_value = 65535; break;
    case cudaDevAttrL2CacheSize: *out_value = properties.l2CacheSize; break;
    case cudaDevAttrClockRate: *out_value = 1000000; break;
    case cudaDevAttrMemoryClockRate: *out_value = 1000000; break;
    case cudaDevAttrGlobalMemoryBusWidth: *out_value = properties.memoryBusWidth; break;
    case cudaDevAttrComputeCapabilityMajor: *out_value = properties.major; break;
    case cudaDevAttrComputeCapabilityMinor: *out_value = properties.minor; break;
    case cudaDevAttrWarpSize: *out_value = 32; break;
    case cudaDevAttrComputeMode: *out_value = cudaComputeModeDefault; break;
    default: return note(cudaErrorInvalidValue);
    }
    return cudaSuccess;
}

cudaError_t cudaDeviceGetPCIBusId(char *text, int n_bytes, int device)
{
    snprintf(text, (size_t)n_bytes, "0000:%02x:00.0", device + 1);
    return note(ready());
}

cudaError_t cudaDriverGetVersion(int *out_version)
{
    *out_version = driver_version();
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *out_version)
{
    *out_version = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *out_free, size_t *out_total)
{
    const std::lock_guard<std::recursive_mutex> guard(device_lock);
    memory_sizes(out_free, out_total);
    return note(ready());
}

static cudaError_t allocate(void **out_at, size_t n_bytes, bool pinned)
{
    const std::lock_guard<std::recursive_mutex> guard(device_lock);
    cudaError_t code = ready();
    if (code == cudaSuccess) {
        code = forbid_in_capture();
    }
    if (code != cudaSuccess) {
        return note(code);
    }
    *out_at = nullptr;
    return n_bytes == 0 ? cudaSuccess : note(memory_alloc(n_bytes, pinned, out_at));
}

static cudaError_t give_back(void *at, bool pinned)
{
    const std::lock_guard<std::recursive_mutex> guard(device_lock);
    if (at == nullptr) {
        return cudaSuccess;
    }
    const cudaError_t code = forbid_in_capture();
    return note(code != cudaSuccess ? code : memory_free(at, pinned));
}

cudaError_t cudaMalloc(void **out_at, size_t n_bytes)
{
    return allocate(out_at, n_bytes, false);
}

cudaError_t cudaFree(void *at)
{
    return give_back(at, false);
}

cudaError_t cudaHostAlloc(void **out_at, size_t n_bytes, unsigned)
{
    return allocate(out_at, n_bytes, true);
}

cudaError_t cudaMallocHost(void **out_at, size_t n_bytes)
{
    return allocate(out_at, n_bytes, true);
}

cudaError_t cudaFreeHost(void *at)
{
    return give_back(at, true);
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes *out_attributes, const void *at)
{
    const std::lock_guard<std::recursive_mutex> guard(device_lock);
    const memory_kind kind = memory_kind_of(at);
    memset(out_attributes, 0, sizeof *out_attributes);
    out_attributes->type = kind == memory_kind::device   ? cudaMemoryTypeDevice
                           : kind == memory_kind::pinned ? cudaMemoryTypeHost
                                                         : cudaMemoryTypeUnregistered;
    return note(ready());
}

// Whether `at` is what the copy's kind says it is, and whole.
static bool copy_side_fits(const void *at, size_t n_bytes, bool device)
{
    if (device) {
        if (memory_kind_of(at) == memory_kind::pinned) {
            fail(cudaErrorInvalidValue, "a copy takes %p for device memory; it is the host's",
                 at);
            return false;
        }
        return check_device("a copy", at, n_bytes);
    }
    if (memory_kind_of(at) == memory_kind::device) {
        fail(cudaErrorInvalidValue, "a copy takes %p for host memory; it is the device's", at);
        return false;
    }
    return memory_kind_of(at) != memory_kind::pinned || check_device("a copy", at, n_bytes);
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t n_bytes, cudaMemcpyKind kind,
                            cudaStream_t stream)
{
    const std::lock_guard<std::recursive_mutex> guard(device_lock);
    if (n_bytes == 0) {
        return note(ready());
    }
    const bool to_device =
        kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice ||
        (kind == cudaMemcpyDefault && memory_kind_of(to) == memory_kind::device);
    const bool from_device =
        kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice ||
        (kind == cudaMemcpyDefault && memory_kind_of(from) == memory_kind::device);
    if (!copy_side_fits(to, n_bytes, to_device) ||
        !copy_side_fits(from, n_bytes, from_device)) {
        return note(cudaErrorInvalidValue);
    }
    return note(enqueue(stream, [=] {
        memory_open::what = "a copy";
        memcpy(to, from, n_bytes);
    }));
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t n_bytes, cudaMemcpyKind kind)
{
    return waited(cudaMemcpyAsync(to, from, n_bytes, kind, nullptr));
}

cudaError_t cudaMemsetAsync(void *at, int value, size_t n_bytes, cudaStream_t stream)
{
    const std::lock_guard<std::recursive_mutex> guard(device_lock);
    if (n_bytes == 0) {
        return note(ready());
    }
    if (!copy_side_fits(at, n_bytes, true)) {
        return note(cudaErrorInvalidValue);
    }
    return note(enqueue(stream, [=] {
        memory_open::what = "a fill";
        memset(at, value, n_bytes);
    }));
}

cudaError_t cudaMemset(void *at, int value, size_t n_bytes)
{
    return waited(cudaMemsetAsync(at, value, n_bytes, nullptr));
}

cudaError_t cudaFuncSetAttribute(const void *kernel, cudaFuncAttribute attribute, int value)
{
    const std::lock_guard<std::recursive_mutex> guard(device_lock);
    if (attribute == cudaFuncAttributeMaxDynamicSharedMemorySize) {
        if (value < 0 || value > shared_most) {
            return note(cudaErrorInvalidValue);
        }
        shared_allowed[kernel] = value;
    }
    return note(ready());
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *out_n_blocks, const void *,
                                                          int n_threads, size_t shared_bytes)
{
    int n = 2048 / n_threads;
    if (shared_bytes > 0 && (size_t)n > 228 * 1024 / (shared_bytes + 1024)) {
        n = (int)(228 * 1024 / (shared_bytes + 1024));
    }
    *out_n_blocks = n < 32 ? n : 32;
    return note(ready());
}

cudaError_t cudaGetLastError(void)
{
    const cudaError_t code = last;
    last = cudaSuccess;
    return sticky != cudaSuccess ? sticky : code;
}

cudaError_t cudaPeekAtLastError(void)
{
    return sticky != cudaSuccess ? sticky : last;
}

#define EDT_EMULATED_ERRORS(X)                                                                 \
    X(cudaSuccess, "no error")                                                                 \
    X(cudaErrorInvalidValue, "invalid argument")                                               \
    X(cudaErrorMemoryAllocation, "out of memory")                                              \
    X(cudaErrorInvalidConfiguration, "invalid configuration argument")                         \
    X(cudaErrorInsufficientDriver,                                                             \
      "CUDA driver version is insufficient for CUDA runtime version")                          \
    X(cudaErrorNoDevice, "no CUDA-capable device is detected")                                 \
    X(cudaErrorInvalidDevice, "invalid device ordinal")                                        \
    X(cudaErrorInvalidResourceHandle, "invalid resource handle")                               \
    X(cudaErrorNotReady, "device not ready")                                                   \
    X(cudaErrorIllegalAddress, "an illegal memory access was encountered")                     \
    X(cudaErrorLaunchFailure, "unspecified launch failure")                                    \
    X(cudaErrorStreamCaptureUnsupported, "operation not permitted when stream is capturing")   \
    X(cudaErrorStreamCaptureInvalidated,                                                       \
      "operation failed due to a previous error during capture")                               \
    X(cudaErrorStreamCaptureUnmatched, "capture was not ended in the same stream as it began") \
    X(cudaErrorStreamCaptureUnjoined, "capturing stream has unjoined work")                    \
    X(cudaErrorStreamCaptureIsolation,                                                         \
      "dependency created on uncaptured work in another stream")                               \
    X(cudaErrorStreamCaptureImplicit,                                                          \
      "operation would make the legacy stream depend on a capturing blocking stream")          \
    X(cudaErrorCapturedEvent,                                                                  \
      "operation not permitted on an event last recorded in a capturing stream")

const char *cudaGetErrorString(cudaError_t code)
{
    switch (code) {
#define EDT_EMULATED_ERROR_TEXT(name, text)                                                    \
    case name: return text;
        EDT_EMULATED_ERRORS(EDT_EMULATED_ERROR_TEXT)
    default: return "unrecognized error code";
    }
}

const char *cudaGetErrorName(cudaError_t code)
{
    switch (code) {
#define EDT_EMULATED_ERROR_NAME(name, text)                                                    \
    case name: return #name;
        EDT_EMULATED_ERRORS(EDT_EMULATED_ERROR_NAME)
    default: return "cudaErrorUnknown";
    }
}

} // extern "C"
