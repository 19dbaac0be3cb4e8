// Transport over shared memory (transport.h, shm_area.h). Every ordered pair of ranks has a
// slot: the sender fills it, the receiver empties it. A rank that waits sleeps on its own bell,
// a futex that everyone rings who changed one of its slots; it is woken a few times a second
// anyway, to look whether it should give up. No locks: a rank may die at any instruction.
#include <errno.h>
#include <linux/futex.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/mem.h"
#include "dist/shm_area.h"
#include "dist/transport.h"

enum {
    AREA_MAGIC = 0x65647431,
    MAX_WORLD = 1024,
    TOTAL_SLOT_BYTES = 16 << 20,
    MIN_SLOT_BYTES = 4 << 10,
    MAX_SLOT_BYTES = 1 << 20,
    NAP_NS = 20 * 1000 * 1000,
    REASON_BYTES = 1024,
    LINE = 64
};

typedef struct area_rank {
    _Alignas(LINE) _Atomic uint32_t bell;
} area_rank;

typedef struct area_slot {
    _Alignas(LINE) _Atomic uint32_t is_full;
    uint32_t n_bytes;       // in the slot now
    uint64_t message_bytes; // of the whole message, to notice ranks that do different things
} area_slot;

typedef struct area {
    uint32_t magic;
    uint32_t world_size;
    uint64_t slot_bytes;
    _Atomic uint32_t abort_state; // 0: none, 1: being written, 2: `reason` holds
    char reason[REASON_BYTES];
    // Followed by area_rank[world], area_slot[world][world] (from, to),
    // bytes[world][world][slot].
} area;

typedef struct shm_transport {
    edt_transport base;
    area *area;
    size_t area_bytes;
    size_t *sent, *got; // [world] of the exchange that runs
} shm_transport;

static size_t slot_bytes_of(int world)
{
    size_t bytes = TOTAL_SLOT_BYTES / ((size_t)world * (size_t)world);
    bytes = bytes < MIN_SLOT_BYTES ? MIN_SLOT_BYTES : bytes;
    bytes = bytes > MAX_SLOT_BYTES ? MAX_SLOT_BYTES : bytes;
    return bytes / LINE * LINE;
}

static size_t header_bytes(void)
{
    return (sizeof(area) + LINE - 1) / LINE * LINE;
}

static size_t area_bytes_of(int world)
{
    const size_t n = (size_t)world;
    return header_bytes() + n * sizeof(area_rank) +
           n * n * (sizeof(area_slot) + slot_bytes_of(world));
}

static area_rank *rank_of(const area *a, int rank)
{
    return (area_rank *)(void *)((uint8_t *)(uintptr_t)a + header_bytes()) + rank;
}

static size_t pair_of(const area *a, int from, int to)
{
    return (size_t)from * a->world_size + (size_t)to;
}

static area_slot *slot_of(const area *a, int from, int to)
{
    return (area_slot *)(void *)rank_of(a, (int)a->world_size) + pair_of(a, from, to);
}

static uint8_t *bytes_of(const area *a, int from, int to)
{
    const size_t n = a->world_size;
    uint8_t *first = (uint8_t *)(void *)((area_slot *)(void *)rank_of(a, (int)n) + n * n);
    return first + pair_of(a, from, to) * a->slot_bytes;
}

static void ring(const area *a, int rank)
{
    _Atomic uint32_t *bell = &rank_of(a, rank)->bell;
    atomic_fetch_add(bell, 1);
    (void)syscall(SYS_futex, bell, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static void sleep_until_rung(const area *a, int rank, uint32_t heard)
{
    const struct timespec nap = {.tv_nsec = NAP_NS};
    (void)syscall(SYS_futex, &rank_of(a, rank)->bell, FUTEX_WAIT, heard, &nap, NULL, 0);
}

static edt_status map_area(int fd, edt_error *err, area **out_area, size_t *out_bytes)
{
    struct stat info;
    if (fstat(fd, &info) != 0) {
        return edt_error_set_errno(err, EDT_ERR_IO, errno,
                                   "shared memory of the ranks (descriptor %d)", fd);
    }
    const size_t n_bytes = (size_t)info.st_size;
    if (n_bytes < header_bytes()) {
        EDT_FAIL(err, EDT_ERR_INVALID,
                 "descriptor %d is not the ranks' shared memory: EDT_COMM_FD is set by the "
                 "program itself, unset it",
                 fd);
    }
    area *a = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (a == MAP_FAILED) {
        return edt_error_set_errno(err, EDT_ERR_IO, errno,
                                   "cannot map the ranks' shared memory");
    }
    *out_area = a;
    *out_bytes = n_bytes;
    return EDT_OK;
}

edt_status edt_shm_area_create(int world_size, edt_error *err, int *out_fd)
{
    if (world_size < 1 || world_size > MAX_WORLD) {
        EDT_FAIL(err, EDT_ERR_USAGE, "%d ranks on one machine: 1 to %d are possible",
                 world_size, MAX_WORLD);
    }
    const int fd = memfd_create("edt ranks", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, (off_t)area_bytes_of(world_size)) != 0) {
        const int code = errno;
        if (fd >= 0) {
            (void)close(fd);
        }
        return edt_error_set_errno(err, EDT_ERR_IO, code,
                                   "cannot make shared memory for %d ranks", world_size);
    }
    area *a;
    size_t n_bytes;
    const edt_status status = map_area(fd, err, &a, &n_bytes);
    if (status != EDT_OK) {
        (void)close(fd);
        return status;
    }
    a->magic = AREA_MAGIC;
    a->world_size = (uint32_t)world_size;
    a->slot_bytes = slot_bytes_of(world_size);
    (void)munmap(a, n_bytes);
    *out_fd = fd;
    return EDT_OK;
}

static void post(area *a, const char *reason)
{
    uint32_t none = 0;
    if (atomic_compare_exchange_strong(&a->abort_state, &none, 1)) {
        (void)snprintf(a->reason, sizeof a->reason, "%s", reason);
        atomic_store(&a->abort_state, 2);
    }
    for (int r = 0; r < (int)a->world_size; ++r) {
        ring(a, r);
    }
}

edt_status edt_shm_area_post_abort(int fd, const char *reason, edt_error *err)
{
    area *a;
    size_t n_bytes;
    EDT_TRY(map_area(fd, err, &a, &n_bytes));
    post(a, reason);
    (void)munmap(a, n_bytes);
    return EDT_OK;
}

// Puts the next piece into the slot to `peer` if that is empty.
static bool push_piece(shm_transport *t, const edt_transport_exchange *x, int peer)
{
    area *a = t->area;
    area_slot *slot = slot_of(a, t->base.rank, peer);
    const size_t left = x->send_bytes[peer] - t->sent[peer];
    if (left == 0 || atomic_load_explicit(&slot->is_full, memory_order_acquire) != 0) {
        return false;
    }
    const size_t n = left < a->slot_bytes ? left : a->slot_bytes;
    memcpy(bytes_of(a, t->base.rank, peer), (const uint8_t *)x->send[peer] + t->sent[peer], n);
    slot->n_bytes = (uint32_t)n;
    slot->message_bytes = x->send_bytes[peer];
    atomic_store_explicit(&slot->is_full, 1, memory_order_release);
    t->sent[peer] += n;
    ring(a, peer);
    return true;
}

static edt_status pull_piece(shm_transport *t, const edt_transport_exchange *x, int peer,
                             edt_error *err, bool *out_moved)
{
    area *a = t->area;
    area_slot *slot = slot_of(a, peer, t->base.rank);
    const size_t left = x->recv_bytes[peer] - t->got[peer];
    *out_moved = false;
    if (left == 0 || atomic_load_explicit(&slot->is_full, memory_order_acquire) == 0) {
        return EDT_OK;
    }
    if (slot->message_bytes != x->recv_bytes[peer] || slot->n_bytes > left) {
        EDT_FAIL(err, EDT_ERR_DEVICE,
                 "rank %d sends %llu bytes where %zu are expected: the ranks do different "
                 "things; were they started with the same flags, data and program?",
                 peer, (unsigned long long)slot->message_bytes, x->recv_bytes[peer]);
    }
    const size_t n = slot->n_bytes;
    memcpy((uint8_t *)x->recv[peer] + t->got[peer], bytes_of(a, peer, t->base.rank), n);
    atomic_store_explicit(&slot->is_full, 0, memory_order_release);
    t->got[peer] += n;
    ring(a, peer);
    *out_moved = true;
    return EDT_OK;
}

static edt_status check_waiting(shm_transport *t, const edt_transport_exchange *x,
                                edt_error *err, bool *out_late)
{
    if (atomic_load(&t->area->abort_state) == 2) {
        EDT_FAIL(err, EDT_ERR_DEVICE, "%s", t->area->reason);
    }
    if (atomic_load(x->cancelled)) {
        EDT_FAIL(err, EDT_ERR_CANCELLED, "given up");
    }
    if (edt_clock_now_s() < x->until_s) {
        return EDT_OK;
    }
    for (int r = 0; r < t->base.world_size; ++r) {
        out_late[r] = r != t->base.rank &&
                      (t->got[r] < x->recv_bytes[r] || t->sent[r] < x->send_bytes[r]);
    }
    return EDT_END;
}

static edt_status shm_exchange(edt_transport *transport, const edt_transport_exchange *x,
                               edt_error *err, bool *out_late)
{
    shm_transport *t = (shm_transport *)transport;
    const int world = transport->world_size, me = transport->rank;
    memset(t->sent, 0, (size_t)world * sizeof *t->sent);
    memset(t->got, 0, (size_t)world * sizeof *t->got);
    for (;;) {
        const uint32_t heard = atomic_load(&rank_of(t->area, me)->bell);
        bool done = true, moved = false;
        // Beginning after oneself spreads the traffic.
        for (int i = 1; i < world; ++i) {
            const int peer = (me + i) % world;
            bool pulled;
            moved |= push_piece(t, x, peer);
            EDT_TRY(pull_piece(t, x, peer, err, &pulled));
            moved |= pulled;
            done &= t->sent[peer] == x->send_bytes[peer] && t->got[peer] == x->recv_bytes[peer];
        }
        if (done) {
            return EDT_OK;
        }
        if (!moved) {
            EDT_TRY(check_waiting(t, x, err, out_late));
            sleep_until_rung(t->area, me, heard);
        }
    }
}

static void shm_post_abort(edt_transport *transport, const char *reason)
{
    post(((shm_transport *)transport)->area, reason);
}

static void shm_close(edt_transport *transport, bool failed)
{
    (void)failed;
    shm_transport *t = (shm_transport *)transport;
    if (t->area != NULL) {
        (void)munmap(t->area, t->area_bytes);
    }
    edt_mem_free(t->sent);
    edt_mem_free(t->got);
    edt_mem_free(t);
}

static const edt_transport_table shm_table = {
    .kind = "shm",
    .exchange = shm_exchange,
    .post_abort = shm_post_abort,
    .close = shm_close,
};

edt_status edt_transport_shm_open(const void *arg, double deadline_s, edt_error *err,
                                  edt_transport **out_transport)
{
    (void)deadline_s;
    const edt_transport_shm_arg *from = arg;
    edt_status status = EDT_OK;
    shm_transport *t = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *t);
    if (t == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the ranks' transport");
    }
    t->base = (edt_transport){
        .table = &shm_table, .rank = from->rank, .world_size = from->world_size};
    EDT_TRY_GOTO(map_area(from->fd, err, &t->area, &t->area_bytes));
    if (t->area->magic != AREA_MAGIC || t->area->world_size != (uint32_t)from->world_size ||
        from->rank < 0 || from->rank >= from->world_size ||
        t->area_bytes != area_bytes_of(from->world_size)) {
        status = edt_error_set(
            err, EDT_ERR_INVALID,
            "descriptor %d is not the shared memory of %d ranks: EDT_RANK, EDT_WORLD_SIZE and "
            "EDT_COMM_FD are set by the program itself, unset them",
            from->fd, from->world_size);
        goto fail;
    }
    t->sent = edt_mem_calloc(EDT_MEM_MISC, (size_t)from->world_size, sizeof *t->sent);
    t->got = edt_mem_calloc(EDT_MEM_MISC, (size_t)from->world_size, sizeof *t->got);
    if (t->sent == NULL || t->got == NULL) {
        status = edt_error_set(err, EDT_ERR_NOMEM, "no memory for the ranks' transport");
        goto fail;
    }
    *out_transport = &t->base;
    return EDT_OK;
fail:
    shm_close(&t->base, true);
    return status;
}
