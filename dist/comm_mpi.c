// Transport over MPI (transport.h), the plug-in libedt_mpi.so. MPI is started, used and ended
// on the communicator's own thread, so that MPI_THREAD_FUNNELED is enough. Only point-to-point
// messages are used: they show which rank is late, and the order of sums stays ours.
#include <limits.h>
#include <mpi.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "core/clock.h"
#include "core/mem.h"
#include "dist/transport.h"

enum {
    TAG_DATA = 1,
    TAG_ABORT = 2,
    MAX_PIECE_BYTES = 1 << 30, // MPI counts in int
    REASON_BYTES = 1024,
    SPINS = 200,
    NAP_NS = 50 * 1000,
    MOST_NAP_NS = 2 * 1000 * 1000,
};
// MPI has no call that sleeps until a message comes. A rank that waits sleeps for this part of
// the time it has waited: it learns of a message so much too late, and uses less of its
// processor, which others compute on, the longer it waits.
static const double nap_share = 0.125;
static const double GOODBYE_S = 2.0; // for the others to hear of a failure and to report it

typedef struct mpi_transport {
    edt_transport base;
    MPI_Request *requests; // [2 * world]: receives, then sends
    char reason[REASON_BYTES];
} mpi_transport;

static edt_status fail_mpi(int code, const char *what, edt_error *err)
{
    char text[MPI_MAX_ERROR_STRING] = "";
    int n = 0;
    (void)MPI_Error_string(code, text, &n);
    EDT_FAIL(err, EDT_ERR_DEVICE, "%s: %s", what, text);
}

static void nap(double waited_s)
{
    const double ns = 1e9 * nap_share * waited_s;
    const struct timespec time = {.tv_nsec = ns < NAP_NS        ? NAP_NS
                                             : ns < MOST_NAP_NS ? (long)ns
                                                                : MOST_NAP_NS};
    (void)nanosleep(&time, NULL);
}

// Whether a rank gave up, and its words.
static edt_status check_abort(edt_error *err)
{
    int found = 0;
    MPI_Status from;
    if (MPI_Iprobe(MPI_ANY_SOURCE, TAG_ABORT, MPI_COMM_WORLD, &found, &from) != MPI_SUCCESS ||
        found == 0) {
        return EDT_OK;
    }
    char reason[REASON_BYTES] = "";
    if (MPI_Recv(reason, REASON_BYTES, MPI_BYTE, from.MPI_SOURCE, TAG_ABORT, MPI_COMM_WORLD,
                 MPI_STATUS_IGNORE) != MPI_SUCCESS) {
        (void)snprintf(reason, sizeof reason, "rank %d gave up", from.MPI_SOURCE);
    }
    reason[REASON_BYTES - 1] = '\0';
    EDT_FAIL(err, EDT_ERR_DEVICE, "%s", reason);
}

// Bytes of the piece of a message that starts at `begin`.
static int piece_bytes(size_t message_bytes, size_t begin)
{
    if (begin >= message_bytes) {
        return 0;
    }
    const size_t left = message_bytes - begin;
    return left < (size_t)MAX_PIECE_BYTES ? (int)left : MAX_PIECE_BYTES;
}

// A rank is late that has not sent, or, where this one only sends, not taken.
static void find_late(mpi_transport *t, bool *out_late)
{
    const int world = t->base.world_size;
    for (int i = 0; i < 2 * world; ++i) {
        int done = 1;
        if (t->requests[i] != MPI_REQUEST_NULL) {
            (void)MPI_Test(&t->requests[i], &done, MPI_STATUS_IGNORE);
        }
        out_late[i % world] |= done == 0;
    }
}

static edt_status wait_all(mpi_transport *t, const edt_transport_exchange *x, edt_error *err,
                           bool *out_late)
{
    const double start_s = edt_clock_now_s();
    for (int spin = 0;; ++spin) {
        int done = 0;
        const int code =
            MPI_Testall(2 * t->base.world_size, t->requests, &done, MPI_STATUSES_IGNORE);
        if (code != MPI_SUCCESS) {
            return fail_mpi(code,
                            "a message between ranks (did all start with the same flags "
                            "and data?)",
                            err);
        }
        if (done != 0) {
            return EDT_OK;
        }
        if (spin < SPINS) {
            continue;
        }
        EDT_TRY(check_abort(err));
        if (atomic_load(x->cancelled)) {
            EDT_FAIL(err, EDT_ERR_CANCELLED, "given up");
        }
        const double now_s = edt_clock_now_s();
        if (now_s >= x->until_s) {
            find_late(t, out_late);
            return EDT_END;
        }
        nap(now_s - start_s);
    }
}

static edt_status mpi_exchange(edt_transport *transport, const edt_transport_exchange *x,
                               edt_error *err, bool *out_late)
{
    mpi_transport *t = (mpi_transport *)transport;
    const int world = transport->world_size, me = transport->rank;
    size_t longest = 0;
    for (int r = 0; r < world; ++r) {
        if (r != me) {
            longest = x->send_bytes[r] > longest ? x->send_bytes[r] : longest;
            longest = x->recv_bytes[r] > longest ? x->recv_bytes[r] : longest;
        }
    }
    for (size_t begin = 0; begin < longest; begin += (size_t)MAX_PIECE_BYTES) {
        for (int r = 0; r < world; ++r) {
            const int n_in = r == me ? 0 : piece_bytes(x->recv_bytes[r], begin);
            const int n_out = r == me ? 0 : piece_bytes(x->send_bytes[r], begin);
            int code = MPI_SUCCESS;
            t->requests[r] = t->requests[world + r] = MPI_REQUEST_NULL;
            if (n_in > 0) {
                code = MPI_Irecv((uint8_t *)x->recv[r] + begin, n_in, MPI_BYTE, r, TAG_DATA,
                                 MPI_COMM_WORLD, &t->requests[r]);
            }
            if (code == MPI_SUCCESS && n_out > 0) {
                code = MPI_Isend((const uint8_t *)x->send[r] + begin, n_out, MPI_BYTE, r,
                                 TAG_DATA, MPI_COMM_WORLD, &t->requests[world + r]);
            }
            if (code != MPI_SUCCESS) {
                return fail_mpi(code, "a message between ranks", err);
            }
        }
        EDT_TRY(wait_all(t, x, err, out_late));
    }
    return EDT_OK;
}

static void mpi_post_abort(edt_transport *transport, const char *reason)
{
    mpi_transport *t = (mpi_transport *)transport;
    (void)snprintf(t->reason, sizeof t->reason, "%s", reason);
    for (int r = 0; r < transport->world_size; ++r) {
        MPI_Request request;
        if (r != transport->rank && MPI_Isend(t->reason, REASON_BYTES, MPI_BYTE, r, TAG_ABORT,
                                              MPI_COMM_WORLD, &request) == MPI_SUCCESS) {
            (void)MPI_Request_free(&request);
        }
    }
}

static void mpi_close(edt_transport *transport, bool failed)
{
    mpi_transport *t = (mpi_transport *)transport;
    if (failed) {
        // MPI_Finalize would wait for ranks that are gone. MPI_Abort ends the others, too,
        // which shall have the time to say why first.
        const double until_s = edt_clock_now_s() + GOODBYE_S;
        while (edt_clock_now_s() < until_s) {
            int ignored;
            (void)MPI_Iprobe(MPI_ANY_SOURCE, TAG_ABORT, MPI_COMM_WORLD, &ignored,
                             MPI_STATUS_IGNORE);
            nap(0.0);
        }
        (void)MPI_Abort(MPI_COMM_WORLD, 1);
    } else {
        (void)MPI_Finalize();
    }
    edt_mem_free(t->requests);
    edt_mem_free(t);
}

static const edt_transport_table mpi_table = {
    .kind = "mpi",
    .exchange = mpi_exchange,
    .post_abort = mpi_post_abort,
    .close = mpi_close,
};

static edt_status mpi_open(const void *arg, double deadline_s, edt_error *err,
                           edt_transport **out_transport)
{
    (void)arg, (void)deadline_s;
    int is_started = 0, level = MPI_THREAD_SINGLE;
    (void)MPI_Initialized(&is_started);
    if (is_started != 0) {
        EDT_FAIL(err, EDT_ERR_INTERNAL, "MPI was started already");
    }
    const int code = MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &level);
    if (code != MPI_SUCCESS) {
        EDT_FAIL(err, EDT_ERR_DEVICE, "MPI_Init_thread failed with code %d", code);
    }
    (void)MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    if (level < MPI_THREAD_FUNNELED) {
        (void)MPI_Finalize();
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED,
                 "this MPI allows no threads (level %d, MPI_THREAD_FUNNELED is wanted)", level);
    }
    mpi_transport *t = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *t);
    int world = 0, rank = 0;
    (void)MPI_Comm_size(MPI_COMM_WORLD, &world);
    (void)MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    if (t != NULL) {
        t->base = (edt_transport){.table = &mpi_table, .rank = rank, .world_size = world};
        t->requests = edt_mem_calloc(EDT_MEM_MISC, 2 * (size_t)world, sizeof(MPI_Request));
    }
    if (t == NULL || t->requests == NULL) {
        edt_mem_free(t);
        (void)MPI_Finalize();
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %d ranks", world);
    }
    for (int i = 0; i < 2 * world; ++i) {
        t->requests[i] = MPI_REQUEST_NULL;
    }
    *out_transport = &t->base;
    return EDT_OK;
}

static void mpi_describe(char *out_text, size_t n_bytes)
{
    char text[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    int n = 0;
    (void)MPI_Get_library_version(text, &n);
    text[strcspn(text, "\n,")] = '\0';
    (void)snprintf(out_text, n_bytes, "%s", text);
}

extern const edt_transport_plugin edt_transport_mpi_plugin;
__attribute__((visibility("default"))) const edt_transport_plugin edt_transport_mpi_plugin = {
    .open = mpi_open,
    .describe = mpi_describe,
};
