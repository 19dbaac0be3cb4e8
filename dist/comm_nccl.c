// NCCL, the plug-in libedt_nccl.so (nccl_plugin.h). The communicator is non-blocking: no call
// of NCCL's waits for another rank, so that a deadline can be kept and a lost rank be reported.
#include <nccl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "core/clock.h"
#include "core/mem.h"
#include "dist/nccl_plugin.h"

_Static_assert(sizeof(ncclUniqueId) == EDT_NCCL_ID_BYTES, "size of NCCL's name of a group");

enum { NAP_NS = 100 * 1000 };

struct edt_nccl {
    ncclComm_t comm;
    cudaStream_t stream;
    double deadline_s;
};

static edt_status fail_nccl(edt_nccl *c, ncclResult_t code, const char *what, edt_error *err)
{
    const char *last = ncclGetLastError(c != NULL ? c->comm : NULL);
    EDT_FAIL(err, EDT_ERR_DEVICE, "%s: NCCL: %s%s%s (NCCL_DEBUG=WARN tells more)", what,
             ncclGetErrorString(code), last != NULL && last[0] != '\0' ? ": " : "",
             last != NULL ? last : "");
}

// Until NCCL has taken on what it was asked for.
static edt_status settle(edt_nccl *c, ncclResult_t code, const char *what, edt_error *err)
{
    const double until_s = edt_clock_now_s() + c->deadline_s;
    while (code == ncclInProgress) {
        const struct timespec nap = {.tv_nsec = NAP_NS};
        ncclResult_t state = ncclInProgress;
        const ncclResult_t asked = ncclCommGetAsyncError(c->comm, &state);
        if (asked != ncclSuccess) {
            return fail_nccl(c, asked, what, err);
        }
        code = state;
        if (code == ncclInProgress) {
            if (edt_clock_now_s() >= until_s) {
                EDT_FAIL(
                    err, EDT_ERR_DEVICE,
                    "%s: NCCL is not ready after %g s (hparam comm_deadline_s); is a rank "
                    "stuck or its network closed? NCCL_DEBUG=INFO shows what NCCL waits for",
                    what, c->deadline_s);
            }
            (void)nanosleep(&nap, NULL);
        }
    }
    return code == ncclSuccess ? EDT_OK : fail_nccl(c, code, what, err);
}

static edt_status nccl_get_id(uint8_t out_id[EDT_NCCL_ID_BYTES], edt_error *err)
{
    ncclUniqueId id;
    const ncclResult_t code = ncclGetUniqueId(&id);
    if (code != ncclSuccess) {
        return fail_nccl(NULL, code, "naming the group of ranks", err);
    }
    memcpy(out_id, &id, sizeof id);
    return EDT_OK;
}

static void nccl_close(edt_nccl *c, bool abort)
{
    if (c == NULL) {
        return;
    }
    if (c->comm != NULL) {
        edt_error ignored;
        if (abort || settle(c, ncclCommFinalize(c->comm), "leaving the group of ranks",
                            &ignored) != EDT_OK) {
            (void)ncclCommAbort(c->comm);
        } else {
            (void)ncclCommDestroy(c->comm);
        }
    }
    edt_mem_free(c);
}

static edt_status nccl_open(void *stream, const uint8_t id[EDT_NCCL_ID_BYTES], int rank,
                            int world_size, double deadline_s, edt_error *err,
                            edt_nccl **out_nccl)
{
    edt_nccl *c = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *c);
    if (c == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for a communicator");
    }
    c->stream = stream;
    c->deadline_s = deadline_s;
    ncclUniqueId name;
    memcpy(&name, id, sizeof name);
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    const ncclResult_t code = ncclCommInitRankConfig(&c->comm, world_size, name, rank, &config);
    const edt_status status = settle(c, code, "joining the group of ranks", err);
    if (status != EDT_OK) {
        nccl_close(c, true);
        return status;
    }
    *out_nccl = c;
    return EDT_OK;
}

static edt_status nccl_all_reduce(edt_nccl *c, void *data, int64_t n, edt_dtype dtype,
                                  edt_error *err)
{
    const ncclDataType_t type = dtype == EDT_DTYPE_F64 ? ncclFloat64 : ncclFloat32;
    return settle(c, ncclAllReduce(data, data, (size_t)n, type, ncclSum, c->comm, c->stream),
                  "starting a sum over ranks", err);
}

static edt_status nccl_poll(edt_nccl *c, edt_error *err)
{
    ncclResult_t state = ncclSuccess;
    const ncclResult_t code = ncclCommGetAsyncError(c->comm, &state);
    const ncclResult_t worst = code != ncclSuccess ? code : state;
    return worst == ncclSuccess || worst == ncclInProgress
               ? EDT_OK
               : fail_nccl(c, worst, "a sum over ranks", err);
}

static void nccl_describe(char *out_text, size_t n_bytes)
{
    int version = 0;
    (void)ncclGetVersion(&version);
    (void)snprintf(out_text, n_bytes, "NCCL %d.%d.%d", version / 10000, version / 100 % 100,
                   version % 100);
}

extern const edt_nccl_plugin edt_nccl_plugin_table;
__attribute__((visibility("default"))) const edt_nccl_plugin edt_nccl_plugin_table = {
    .get_id = nccl_get_id,
    .open = nccl_open,
    .all_reduce = nccl_all_reduce,
    .poll = nccl_poll,
    .close = nccl_close,
    .describe = nccl_describe,
};
