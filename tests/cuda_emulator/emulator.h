// What the stand-ins for NVIDIA's libraries share: the emulated device's memory, streams and
// errors. All of it is one shared library, libedt_emulator.so, so that the emulated plug-ins
// (cuda, nccl) see the same streams. Everything is serialised by one lock.
//
// Device memory is closed to the host (reading it faults) from when it waits until it queues
// work again.
#ifndef EDT_TESTS_CUDA_EMULATOR_EMULATOR_H
#define EDT_TESTS_CUDA_EMULATOR_EMULATOR_H

#include <stddef.h>

#include <functional>

#include <cuda_runtime_api.h>

namespace edt_emulator
{

// Carries the work out now, or records it where the stream is being captured. The work may read
// and write device memory; it reports misuse with fail.
cudaError_t enqueue(cudaStream_t stream, std::function<void()> work);

// Whether [at, at + n_bytes) is inside one block of cudaMalloc or of pinned host memory. Where
// it is not, says so on stderr with `what` and fails the device as an illegal address does.
bool check_device(const char *what, const void *at, size_t n_bytes);

// Says what is wrong on stderr and makes every later call fail with `code`, as a real device
// does after a fault.
cudaError_t fail(cudaError_t code, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

// Runs all threads of all blocks; what launch_grid queues.
void run_grid(const char *name, dim3 grid, dim3 block, size_t shared_bytes,
              const std::function<void()> &work);

} // namespace edt_emulator

#endif
