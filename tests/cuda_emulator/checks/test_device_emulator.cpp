// The emulator itself: that blocks, warps and shared memory work, that what a device would not
// carry out fails, and that captures follow the rules of the real library. Each test is a
// process of its own, so that a failed device does not fail the next.
#include <criterion/criterion.h>

#include <signal.h>

#include <vector>

#include "tests/cuda_emulator/device_emulator.h"

namespace
{

template <typename T> T *on_device(const std::vector<T> &values)
{
    void *block = nullptr;
    cr_assert_eq(cudaMalloc(&block, values.size() * sizeof(T)), cudaSuccess);
    cr_assert_eq(
        cudaMemcpy(block, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice),
        cudaSuccess);
    return static_cast<T *>(block);
}

template <typename T> std::vector<T> fetched(const T *from, size_t n)
{
    std::vector<T> values(n);
    cr_assert_eq(cudaMemcpy(values.data(), from, n * sizeof(T), cudaMemcpyDeviceToHost),
                 cudaSuccess);
    return values;
}

cudaStream_t stream()
{
    cudaStream_t made = nullptr;
    cr_assert_eq(cudaStreamCreateWithFlags(&made, cudaStreamNonBlocking), cudaSuccess);
    return made;
}

cudaEvent_t event()
{
    cudaEvent_t made = nullptr;
    cr_assert_eq(cudaEventCreate(&made), cudaSuccess);
    return made;
}

// Sums each block's elements through shared memory and shuffles.
__global__ void block_sums(const int *x, int *sums)
{
    __shared__ int of_warp[8];
    EDT_DYNAMIC_SHARED(int, values);
    values[threadIdx.x] = x[blockIdx.x * blockDim.x + threadIdx.x];
    __syncthreads();
    // Another thread's element: a missing barrier would show.
    int v = values[(threadIdx.x + 37) % blockDim.x];
    for (int lanes = 16; lanes > 0; lanes /= 2) {
        v += __shfl_xor_sync(0xffffffffU, v, lanes);
    }
    if (threadIdx.x % 32 == 0) {
        of_warp[threadIdx.x / 32] = v;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        int sum = 0;
        for (unsigned i = 0; i < blockDim.x / 32; ++i) {
            sum += of_warp[i];
        }
        sums[blockIdx.x] = sum;
    }
}

__global__ void warp_functions(int *out)
{
    const int lane = (int)threadIdx.x;
    const int down = __shfl_down_sync(0xffffffffU, lane, 5);
    const int first = __shfl_sync(0xffffffffU, lane * 3, 7);
    const unsigned odd = __ballot_sync(0xffffffffU, lane % 2 != 0);
    const bool any = __any_sync(0xffffffffU, lane == 31);
    const bool all = __all_sync(0xffffffffU, lane < 31);
    out[lane] =
        down * 1000 + first + (odd == 0xaaaaaaaaU ? 100000 : 0) + (any && !all ? 1000000 : 0);
}

__global__ void write_at(int *x, int64_t at)
{
    x[at] = 1;
}

__global__ void add_one(int *x)
{
    x[threadIdx.x] += 1;
}

__global__ void divergent_barrier(int *x)
{
    if (threadIdx.x < 16) {
        __syncthreads();
    } else {
        x[threadIdx.x] = 0;
        __syncthreads();
    }
}

__global__ void early_exit(int *x)
{
    if (threadIdx.x >= 16) {
        return;
    }
    __syncthreads();
    x[threadIdx.x] = 0;
}

__global__ void part_of_a_warp(int *x)
{
    x[threadIdx.x] = __shfl_down_sync(0xffffffffU, x[threadIdx.x], 1);
}

} // namespace

static void check_block_sums()
{
    std::vector<int> x(5 * 256);
    for (size_t i = 0; i < x.size(); ++i) {
        x[i] = (int)(i * i % 97);
    }
    const int *in = on_device(x);
    int *out = on_device(std::vector<int>(5));
    cr_assert_eq(EDT_CUDA_LAUNCH(block_sums, 5, 256, 256 * sizeof(int), stream(), in, out),
                 cudaSuccess);
    const std::vector<int> sums = fetched(out, 5);
    for (size_t b = 0; b < 5; ++b) {
        int want = 0;
        for (size_t i = 0; i < 256; ++i) {
            want += x[b * 256 + i];
        }
        cr_expect_eq(sums[b], want);
    }
}

Test(device_emulator, blocks_share_memory_and_exchange_lanes, .timeout = 30)
{
    check_block_sums();
}

Test(device_emulator, threads_may_start_in_reverse_order, .timeout = 30)
{
    setenv("EDT_EMULATOR_ORDER", "reverse", 1);
    check_block_sums();
}

Test(device_emulator, warp_functions_follow_the_lanes, .timeout = 30)
{
    int *out = on_device(std::vector<int>(32));
    cr_assert_eq(EDT_CUDA_LAUNCH(warp_functions, 1, 32, 0, stream(), out), cudaSuccess);
    const std::vector<int> got = fetched(out, 32);
    for (int lane = 0; lane < 32; ++lane) {
        const int down = lane + 5 < 32 ? lane + 5 : lane;
        cr_expect_eq(got[(size_t)lane], down * 1000 + 21 + 1100000, "lane %d: %d", lane,
                     got[(size_t)lane]);
    }
}

// After a fault every call fails.
static void expect_fault(cudaError_t launched, cudaError_t fault)
{
    cr_expect(launched == cudaSuccess || launched == fault);
    cr_expect_eq(cudaDeviceSynchronize(), fault);
    void *block = nullptr;
    cr_expect_eq(cudaMalloc(&block, 1), fault);
}

Test(device_emulator, a_write_behind_a_block_is_a_fault, .timeout = 30)
{
    int *x = on_device(std::vector<int>(3));
    expect_fault(EDT_CUDA_LAUNCH(write_at, 1, 1, 0, stream(), x, (int64_t)3),
                 cudaErrorIllegalAddress);
}

Test(device_emulator, a_write_before_a_block_is_a_fault, .timeout = 30)
{
    int *x = on_device(std::vector<int>(3));
    expect_fault(EDT_CUDA_LAUNCH(write_at, 1, 1, 0, stream(), x, (int64_t)-1),
                 cudaErrorIllegalAddress);
}

Test(device_emulator, a_write_far_behind_a_block_stops_the_program, .timeout = 30,
     .signal = SIGSEGV)
{
    int *x = on_device(std::vector<int>(3));
    signal(SIGSEGV, SIG_DFL); // a sanitizer would end the program in another way
    (void)EDT_CUDA_LAUNCH(write_at, 1, 1, 0, stream(), x, (int64_t)100);
}

Test(device_emulator, the_host_cannot_read_device_memory, .timeout = 30, .signal = SIGSEGV)
{
    volatile int *x = on_device(std::vector<int>(3));
    signal(SIGSEGV, SIG_DFL);
    cr_log_info("%d", x[0]);
}

Test(device_emulator, a_kernel_cannot_be_given_host_memory, .timeout = 30)
{
    std::vector<int> x(32);
    expect_fault(EDT_CUDA_LAUNCH(add_one, 1, 32, 0, stream(), x.data()),
                 cudaErrorIllegalAddress);
}

Test(device_emulator, barriers_on_two_paths_are_a_fault, .timeout = 30)
{
    int *x = on_device(std::vector<int>(32));
    expect_fault(EDT_CUDA_LAUNCH(divergent_barrier, 1, 32, 0, stream(), x),
                 cudaErrorLaunchFailure);
}

Test(device_emulator, a_barrier_that_some_threads_never_reach_is_a_fault, .timeout = 30)
{
    int *x = on_device(std::vector<int>(32));
    expect_fault(EDT_CUDA_LAUNCH(early_exit, 1, 32, 0, stream(), x), cudaErrorLaunchFailure);
}

Test(device_emulator, a_shuffle_of_part_of_a_warp_is_a_fault, .timeout = 30)
{
    int *x = on_device(std::vector<int>(48));
    expect_fault(EDT_CUDA_LAUNCH(part_of_a_warp, 1, 48, 0, stream(), x),
                 cudaErrorLaunchFailure);
}

Test(device_emulator, launches_keep_to_the_limits, .timeout = 30)
{
    int *x = on_device(std::vector<int>(32));
    const cudaStream_t s = stream();
    cr_expect_eq(EDT_CUDA_LAUNCH(add_one, 0, 32, 0, s, x), cudaErrorInvalidConfiguration);
    cr_expect_eq(EDT_CUDA_LAUNCH(add_one, 1, 1025, 0, s, x), cudaErrorInvalidConfiguration);
    cr_expect_eq(EDT_CUDA_LAUNCH(add_one, dim3(1, 65536, 1), 32, 0, s, x),
                 cudaErrorInvalidConfiguration);
    cr_expect_eq(EDT_CUDA_LAUNCH(add_one, 0x80000000U, 32, 0, s, x),
                 cudaErrorInvalidConfiguration);
    cr_expect_eq(EDT_CUDA_LAUNCH(add_one, 1, 32, 49 * 1024, s, x), cudaErrorInvalidValue);
    cr_expect_eq(
        cudaFuncSetAttribute(add_one, cudaFuncAttributeMaxDynamicSharedMemorySize, 64 * 1024),
        cudaSuccess);
    cr_expect_eq(EDT_CUDA_LAUNCH(add_one, 1, 32, 49 * 1024, s, x), cudaSuccess);
    cr_expect_eq(fetched(x, 32)[31], 1);
}

Test(device_emulator, a_destroyed_stream_or_event_is_noticed, .timeout = 30)
{
    const cudaEvent_t gone = event();
    cr_assert_eq(cudaEventDestroy(gone), cudaSuccess);
    cr_expect_eq(cudaEventDestroy(gone), cudaErrorInvalidResourceHandle);
    cr_expect_eq(cudaEventRecord(gone, stream()), cudaErrorInvalidResourceHandle);
}

Test(device_emulator, a_copy_is_held_to_its_kind_and_size, .timeout = 30)
{
    int *x = on_device(std::vector<int>(4));
    int host[8] = {0};
    cr_expect_eq(cudaMemcpyAsync(host, x, 32, cudaMemcpyDeviceToHost, stream()),
                 cudaErrorInvalidValue);
}

Test(device_emulator, a_capture_is_carried_out_when_it_is_launched, .timeout = 30)
{
    int *x = on_device(std::vector<int>(32));
    const cudaStream_t s = stream();
    const cudaStream_t side = stream();
    const cudaEvent_t fork = event();
    const cudaEvent_t join = event();
    cr_assert_eq(cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal), cudaSuccess);
    cr_expect_eq(EDT_CUDA_LAUNCH(add_one, 1, 32, 0, s, x), cudaSuccess);
    cr_expect_eq(cudaEventRecord(fork, s), cudaSuccess);
    cr_expect_eq(cudaStreamWaitEvent(side, fork, 0), cudaSuccess);
    cr_expect_eq(EDT_CUDA_LAUNCH(add_one, 1, 32, 0, side, x), cudaSuccess);
    cr_expect_eq(cudaEventRecord(join, side), cudaSuccess);
    cr_expect_eq(cudaStreamWaitEvent(s, join, 0), cudaSuccess);
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t exec = nullptr;
    cr_assert_eq(cudaStreamEndCapture(s, &graph), cudaSuccess);
    cr_assert_eq(cudaGraphInstantiate(&exec, graph, 0), cudaSuccess);
    cr_expect_eq(fetched(x, 32)[0], 0, "a recorded kernel ran");
    for (int i = 1; i <= 3; ++i) {
        cr_expect_eq(cudaGraphLaunch(exec, s), cudaSuccess);
        cr_expect_eq(fetched(x, 32)[31], 2 * i);
    }
    cr_expect_eq(cudaGraphExecDestroy(exec), cudaSuccess);
    cr_expect_eq(cudaGraphDestroy(graph), cudaSuccess);
}

Test(device_emulator, work_that_the_capture_does_not_wait_for_fails_it, .timeout = 30)
{
    int *x = on_device(std::vector<int>(32));
    const cudaStream_t s = stream();
    const cudaStream_t side = stream();
    const cudaEvent_t fork = event();
    const cudaEvent_t join = event();
    cudaGraph_t graph = nullptr;
    cr_assert_eq(cudaStreamBeginCapture(s, cudaStreamCaptureModeGlobal), cudaSuccess);
    cr_expect_eq(cudaEventRecord(fork, s), cudaSuccess);
    cr_expect_eq(cudaStreamWaitEvent(side, fork, 0), cudaSuccess);
    cr_expect_eq(cudaEventRecord(join, side), cudaSuccess);
    cr_expect_eq(cudaStreamWaitEvent(s, join, 0), cudaSuccess);
    cr_expect_eq(EDT_CUDA_LAUNCH(add_one, 1, 32, 0, side, x), cudaSuccess);
    cr_expect_eq(cudaStreamEndCapture(s, &graph), cudaErrorStreamCaptureUnjoined);
    cr_expect_null(graph);
}

Test(device_emulator, allocating_or_waiting_ends_a_capture, .timeout = 30)
{
    const cudaStream_t s = stream();
    cudaGraph_t graph = nullptr;
    void *block = nullptr;
    cr_assert_eq(cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal), cudaSuccess);
    cr_expect_eq(cudaMalloc(&block, 16), cudaErrorStreamCaptureUnsupported);
    cr_expect_eq(cudaStreamEndCapture(s, &graph), cudaErrorStreamCaptureInvalidated);
    cr_assert_eq(cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal), cudaSuccess);
    cr_expect_eq(cudaStreamSynchronize(s), cudaErrorStreamCaptureUnsupported);
    cr_expect_eq(cudaStreamEndCapture(s, &graph), cudaErrorStreamCaptureInvalidated);
    cr_assert_eq(cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal), cudaSuccess);
    cr_expect_eq(cudaMemset(block, 0, 0), cudaSuccess);
    cr_expect_eq(cudaStreamEndCapture(s, &graph), cudaSuccess,
                 "the state of capturing was kept");
}
