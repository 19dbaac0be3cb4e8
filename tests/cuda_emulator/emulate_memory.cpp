// Memory of the emulated device: each block has its own pages with closed pages before and
// after it and known bytes around its edges. The host can touch it only from when work is
// queued until it waits for it: opening and closing for every kernel takes longer than the
// kernels.
#include "tests/cuda_emulator/emulator_state.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <map>

namespace edt_emulator
{

std::recursive_mutex device_lock;
cudaError_t sticky = cudaSuccess;

namespace
{

constexpr size_t align = 256; // of cudaMalloc
constexpr size_t edge = 256;  // watched bytes on either side
constexpr unsigned char mark = 0xa5;
constexpr size_t device_bytes = (size_t)8 << 30;

struct block {
    char *map;        // with the closed page on either side
    size_t map_bytes; // all of it
    size_t n_bytes;   // as asked for
    bool pinned;      // host memory
};
std::map<uintptr_t, block> &blocks = *new std::map<uintptr_t, block>; // by address
size_t used_bytes = 0;
bool is_open = false; // to the host

size_t page_bytes()
{
    static const size_t bytes = (size_t)sysconf(_SC_PAGESIZE);
    return bytes;
}

// Device memory is closed to the host between pieces of work, which costs two system calls per
// block and piece; long tests set this to leave it open after the first.
bool stays_open()
{
    static const bool stays = getenv("EDT_EMULATOR_STAYS_OPEN") != nullptr;
    return stays;
}

void protect(const block &each, int how)
{
    mprotect(each.map + page_bytes(), each.map_bytes - 2 * page_bytes(), how);
}

bool edges_whole(uintptr_t at, const block &each)
{
    const unsigned char *before = reinterpret_cast<const unsigned char *>(at) - edge;
    const unsigned char *after = reinterpret_cast<const unsigned char *>(at) + each.n_bytes;
    const unsigned char *end =
        reinterpret_cast<const unsigned char *>(each.map) + each.map_bytes - page_bytes();
    for (size_t i = 0; i < edge; ++i) {
        if (before[i] != mark) {
            return false;
        }
    }
    for (; after < end; ++after) {
        if (*after != mark) {
            return false;
        }
    }
    return true;
}

const block *find(const void *at, size_t n_bytes, uintptr_t *out_start)
{
    const uintptr_t wanted = reinterpret_cast<uintptr_t>(at);
    auto after = blocks.upper_bound(wanted);
    if (after == blocks.begin()) {
        return nullptr;
    }
    --after;
    if (wanted + n_bytes > after->first + after->second.n_bytes || wanted + n_bytes < wanted ||
        (wanted == after->first + after->second.n_bytes && after->second.n_bytes > 0)) {
        return nullptr;
    }
    *out_start = after->first;
    return &after->second;
}

} // namespace

cudaError_t fail(cudaError_t code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("cuda emulator: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    if (sticky == cudaSuccess) {
        sticky = code;
    }
    return code;
}

static void protect_all(int how)
{
    if (stays_open()) {
        return;
    }
    for (const auto &[at, each] : blocks) {
        if (!each.pinned) {
            protect(each, how);
        }
    }
}

memory_open::memory_open()
{
    if (!is_open) {
        is_open = true;
        protect_all(PROT_READ | PROT_WRITE);
    }
}

memory_open::~memory_open()
{
    for (const auto &[at, each] : blocks) {
        if (!each.pinned && !edges_whole(at, each)) {
            fail(cudaErrorIllegalAddress, "%s wrote outside of a block of %zu bytes", what,
                 each.n_bytes);
        }
    }
}

void memory_close()
{
    if (is_open) {
        is_open = false;
        protect_all(PROT_NONE);
    }
}

const char *memory_open::what = "";

cudaError_t memory_alloc(size_t n_bytes, bool pinned, void **out_at)
{
    const size_t page = page_bytes();
    const size_t rounded = (n_bytes + align - 1) / align * align;
    const size_t inner = (rounded + 2 * edge + page - 1) / page * page;
    if (!pinned && used_bytes + inner > device_bytes) {
        return cudaErrorMemoryAllocation;
    }
    void *map = mmap(nullptr, inner + 2 * page, PROT_NONE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED) {
        return cudaErrorMemoryAllocation;
    }
    block made = {static_cast<char *>(map), inner + 2 * page, n_bytes, pinned};
    protect(made, PROT_READ | PROT_WRITE);
    // As near to the closed page behind it as its alignment lets it be.
    char *at = made.map + page + (inner - rounded);
    memset(at - edge, mark, edge);
    memset(at, 0xff, n_bytes); // NaN for those who read what they did not write
    memset(at + n_bytes, mark, rounded - n_bytes);
    if (!pinned) {
        used_bytes += inner;
        if (!is_open && !stays_open()) {
            protect(made, PROT_NONE);
        }
    }
    blocks[reinterpret_cast<uintptr_t>(at)] = made;
    *out_at = at;
    return cudaSuccess;
}

cudaError_t memory_free(void *at, bool pinned)
{
    const auto found = blocks.find(reinterpret_cast<uintptr_t>(at));
    if (found == blocks.end() || found->second.pinned != pinned) {
        return cudaErrorInvalidValue;
    }
    const block gone = found->second;
    blocks.erase(found);
    if (!pinned) {
        used_bytes -= gone.map_bytes - 2 * page_bytes();
    }
    munmap(gone.map, gone.map_bytes);
    return cudaSuccess;
}

void memory_sizes(size_t *out_free, size_t *out_total)
{
    *out_free = device_bytes - used_bytes;
    *out_total = device_bytes;
}

memory_kind memory_kind_of(const void *at)
{
    uintptr_t start;
    const block *found = find(at, 0, &start);
    return found == nullptr ? memory_kind::other
           : found->pinned  ? memory_kind::pinned
                            : memory_kind::device;
}

bool check_device(const char *what, const void *at, size_t n_bytes)
{
    const std::lock_guard<std::recursive_mutex> guard(device_lock);
    uintptr_t start;
    if (n_bytes == 0 || find(at, n_bytes, &start) != nullptr) {
        return true;
    }
    if (find(at, 0, &start) != nullptr) {
        fail(cudaErrorIllegalAddress, "%s: %zu bytes at %p pass the end of their block", what,
             n_bytes, at);
    } else {
        fail(cudaErrorIllegalAddress, "%s: %p is not memory of the device", what, at);
    }
    return false;
}

bool argument_fits(const char *name, int index, const void *at)
{
    const std::lock_guard<std::recursive_mutex> guard(device_lock);
    uintptr_t start;
    // One past the end of a block is a pointer, too.
    if (at == nullptr || memory_kind_of(at) != memory_kind::other ||
        find(static_cast<const char *>(at) - 1, 0, &start) != nullptr) {
        return true;
    }
    fail(cudaErrorIllegalAddress, "kernel %s: argument %d is %p, not memory of the device",
         name, index, at);
    return false;
}

} // namespace edt_emulator
