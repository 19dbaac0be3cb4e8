// Inside of the emulator: the lock, the device's error and memory, shared by the stand-in for
// the CUDA runtime and the runner of blocks.
#ifndef EDT_TESTS_CUDA_EMULATOR_EMULATOR_STATE_H
#define EDT_TESTS_CUDA_EMULATOR_EMULATOR_STATE_H

#include <mutex>

#include "tests/cuda_emulator/device_emulator.h"
#include "tests/cuda_emulator/emulator.h"

namespace edt_emulator
{

extern std::recursive_mutex device_lock;
extern cudaError_t sticky; // of a fault; every later call returns it

enum class memory_kind { other, device, pinned };
memory_kind memory_kind_of(const void *at);
cudaError_t memory_alloc(size_t n_bytes, bool pinned, void **out_at);
cudaError_t memory_free(void *at, bool pinned); // cudaErrorInvalidValue: not such a block
cudaError_t note(cudaError_t code);             // of the calling thread, for cudaGetLastError
cudaError_t forbid_in_capture(); // what a call that allocates returns while one captures
void memory_sizes(size_t *out_free, size_t *out_total);

// While one lives the host can touch device memory, and after it until memory_close. Looks for
// writes outside of blocks in the end.
struct memory_open {
    memory_open();
    ~memory_open();
    static const char *what; // for messages: what runs
};
// What every call that waits does.
void memory_close();

} // namespace edt_emulator

#endif
