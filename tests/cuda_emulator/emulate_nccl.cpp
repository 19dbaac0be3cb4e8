// Stand-in for NCCL: sums between processes of this machine through a file in /dev/shm, carried
// out when the emulated stream gets to them, so that captures record them like kernels. Parts
// are added in the order of the ranks. A rank that waits too long for another
// (EDT_EMULATED_NCCL_MS, default 60000) leaves ncclRemoteError for ncclCommGetAsyncError, as
// NCCL does when a connection breaks. Every call answers ncclInProgress first where a
// non-blocking communicator may.
#if __has_include(<nccl.h>)

#include <fcntl.h>
#include <nccl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <memory>

#include "tests/cuda_emulator/emulator.h"

using namespace edt_emulator;

namespace
{

constexpr size_t slot_bytes = 1 << 16;
constexpr int max_ranks = 16;

// In the file; zero at the start.
struct group {
    std::atomic<int> n_joined, n_left;
    std::atomic<unsigned> n_arrived, round; // of the barrier
    std::atomic<bool> is_broken;
    alignas(64) unsigned char slots[max_ranks][slot_bytes];
};

double now_ms()
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

double patience_ms()
{
    const char *text = getenv("EDT_EMULATED_NCCL_MS");
    return text != nullptr ? atof(text) : 60000.0;
}

void nap()
{
    const struct timespec t = {0, 50 * 1000};
    nanosleep(&t, nullptr);
}

} // namespace

struct ncclComm {
    group *shared;
    int rank, n_ranks;
    char path[sizeof(ncclUniqueId)];
    bool blocking, asked;
    ncclResult_t state;
    std::shared_ptr<int> held = std::make_shared<int>(0); // by every recorded sum, too
};

namespace
{

bool meet(ncclComm *c)
{
    group *g = c->shared;
    const unsigned round = g->round.load();
    if (g->n_arrived.fetch_add(1) + 1 == (unsigned)c->n_ranks) {
        g->n_arrived.store(0);
        g->round.fetch_add(1);
        return !g->is_broken.load();
    }
    const double until = now_ms() + patience_ms();
    while (g->round.load() == round) {
        if (g->is_broken.load() || now_ms() > until) {
            g->is_broken.store(true);
            return false;
        }
        nap();
    }
    return !g->is_broken.load();
}

template <typename V> void add(ncclComm *c, V *data, size_t n)
{
    const size_t most = slot_bytes / sizeof(V);
    for (size_t begin = 0; begin < n && c->state == ncclSuccess; begin += most) {
        const size_t count = n - begin < most ? n - begin : most;
        memcpy(c->shared->slots[c->rank], data + begin, count * sizeof(V));
        bool well = meet(c);
        for (size_t i = 0; i < count && well; ++i) {
            V sum = reinterpret_cast<const V *>(c->shared->slots[0])[i];
            for (int r = 1; r < c->n_ranks; ++r) {
                sum += reinterpret_cast<const V *>(c->shared->slots[r])[i];
            }
            data[begin + i] = sum;
        }
        // Nobody fills a slot again before all have read it.
        well = well && meet(c);
        if (!well) {
            c->state = ncclRemoteError;
        }
    }
}

// NCCL waits, also in an abort, until no graph holds one of its sums: who comes here with one
// would never get on.
void need_no_graphs(ncclComm *c)
{
    if (c->held.use_count() > 1) {
        fprintf(stderr, "NCCL would wait for ever for graphs that hold its sums\n");
        abort();
    }
}

// A communicator that does not block may take its time.
ncclResult_t answer(ncclComm *c)
{
    if (!c->blocking) {
        c->asked = true;
        return ncclInProgress;
    }
    return c->state;
}

} // namespace

extern "C" {

ncclResult_t ncclGetVersion(int *out_version)
{
    *out_version = NCCL_VERSION_CODE;
    return ncclSuccess;
}

const char *ncclGetErrorString(ncclResult_t code)
{
    return code == ncclSuccess           ? "no error"
           : code == ncclRemoteError     ? "remote process exited or there was a network error"
           : code == ncclInvalidArgument ? "invalid argument"
                                         : "another error";
}

const char *ncclGetLastError(ncclComm_t)
{
    return "";
}

ncclResult_t ncclGetUniqueId(ncclUniqueId *out_id)
{
    memset(out_id, 0, sizeof *out_id);
    snprintf(out_id->internal, sizeof out_id->internal, "/dev/shm/edt-nccl-%d-%.0f",
             (int)getpid(), now_ms() * 1e3);
    return ncclSuccess;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t *out_comm, int n_ranks, ncclUniqueId id,
                                    int rank, ncclConfig_t *config)
{
    if (n_ranks < 1 || n_ranks > max_ranks || rank < 0 || rank >= n_ranks) {
        return ncclInvalidArgument;
    }
    ncclComm *c = new ncclComm{};
    c->rank = rank;
    c->n_ranks = n_ranks;
    c->blocking = config == nullptr || config->blocking != 0;
    snprintf(c->path, sizeof c->path, "%s", id.internal);
    const int fd = open(c->path, O_CREAT | O_RDWR, 0600);
    if (fd < 0 || ftruncate(fd, sizeof(group)) != 0) {
        delete c;
        return ncclSystemError;
    }
    void *at = mmap(nullptr, sizeof(group), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    c->shared = static_cast<group *>(at);
    if (c->shared->n_joined.fetch_add(1) + 1 == n_ranks) {
        unlink(c->path);
    }
    if (!meet(c)) {
        c->state = ncclRemoteError;
        unlink(c->path);
    }
    *out_comm = c;
    return answer(c);
}

ncclResult_t ncclAllReduce(const void *send, void *receive, size_t n, ncclDataType_t type,
                           ncclRedOp_t op, ncclComm_t c, cudaStream_t stream)
{
    if (op != ncclSum || (type != ncclFloat32 && type != ncclFloat64) || send != receive ||
        c->asked) {
        return ncclInvalidArgument; // asked: the last call's answer was not waited for
    }
    const size_t size = type == ncclFloat32 ? sizeof(float) : sizeof(double);
    const cudaError_t code = enqueue(stream, [=, held = c->held] {
        (void)held;
        if (!check_device("ncclAllReduce", receive, n * size)) {
            c->state = ncclUnhandledCudaError;
        } else if (type == ncclFloat32) {
            add(c, static_cast<float *>(receive), n);
        } else {
            add(c, static_cast<double *>(receive), n);
        }
    });
    return code != cudaSuccess ? ncclUnhandledCudaError : answer(c);
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t c, ncclResult_t *out_state)
{
    c->asked = false;
    *out_state = c->state;
    return ncclSuccess;
}

ncclResult_t ncclCommFinalize(ncclComm_t c)
{
    need_no_graphs(c);
    return answer(c);
}

ncclResult_t ncclCommDestroy(ncclComm_t c)
{
    munmap(c->shared, sizeof(group));
    delete c;
    return ncclSuccess;
}

ncclResult_t ncclCommAbort(ncclComm_t c)
{
    need_no_graphs(c);
    c->shared->is_broken.store(true);
    return ncclCommDestroy(c);
}

} // extern "C"

#endif
