// Communicator of device memory: sums by NCCL on EDT_STREAM_COMM, everything else through the
// host communicator that it was started with. Sums wait for the compute stream by an event and
// the compute stream for them by another; the host waits nowhere but in `wait`, which keeps the
// deadline.
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "core/clock.h"
#include "core/plugin.h"
#include "dist/comm_priv.h"
#include "dist/nccl_plugin.h"

enum { NAP_NS = 50 * 1000, SPINS = 2000, POLL_EVERY = 64 };

typedef struct device_comm {
    edt_comm base;
    edt_comm *host;
    edt_backend *backend;
    const edt_stream_table *streams;
    const edt_nccl_plugin *plugin;
    edt_nccl *nccl;
    edt_event *computed, *summed;
    bool has_open_sums; // since the last join
    double deadline_s;
    edt_status status; // the first failure; stays
    edt_error error;
} device_comm;

static edt_status check(const device_comm *c, edt_error *err)
{
    if (c->status != EDT_OK && err != NULL) {
        *err = c->error;
    }
    return c->status;
}

// Says who and where, and keeps it.
static edt_status keep(device_comm *c, edt_status status, edt_error *err)
{
    if (status != EDT_OK && c->status == EDT_OK) {
        (void)edt_error_add_context(err, status, "rank %d on %s", c->base.rank,
                                    edt_comm_host_name(c->host, c->base.rank));
        c->status = status;
        c->error = *err;
    }
    return status;
}

static edt_status queue_sum(device_comm *c, void *data, int64_t n, edt_dtype dtype,
                            edt_error *err)
{
    const edt_stream_table *s = c->streams;
    EDT_TRY(s->event_record(c->backend, c->computed, EDT_STREAM_COMPUTE, err));
    EDT_TRY(s->event_wait(c->backend, c->computed, EDT_STREAM_COMM, err));
    c->has_open_sums = true;
    return c->plugin->all_reduce(c->nccl, data, n, dtype, err);
}

static edt_status device_all_reduce(edt_comm *comm, void *data, int64_t n, edt_dtype dtype,
                                    edt_error *err)
{
    device_comm *c = (device_comm *)comm;
    EDT_TRY(check(c, err));
    return keep(c, queue_sum(c, data, n, dtype, err), err);
}

// Nothing to do without sums: an event of a stream that is not part of a capture must not be
// waited for inside it.
static edt_status queue_join(device_comm *c, edt_error *err)
{
    if (!c->has_open_sums) {
        return EDT_OK;
    }
    c->has_open_sums = false;
    EDT_TRY(c->streams->event_record(c->backend, c->summed, EDT_STREAM_COMM, err));
    return c->streams->event_wait(c->backend, c->summed, EDT_STREAM_COMPUTE, err);
}

static edt_status device_join(edt_comm *comm, edt_error *err)
{
    device_comm *c = (device_comm *)comm;
    EDT_TRY(check(c, err));
    return keep(c, queue_join(c, err), err);
}

static edt_status wait_for(device_comm *c, edt_event *event, edt_error *err)
{
    const double until_s = edt_clock_now_s() + c->deadline_s;
    for (int i = 0;; ++i) {
        bool passed;
        EDT_TRY(c->streams->event_query(c->backend, event, err, &passed));
        if (passed || i % POLL_EVERY == 0) {
            EDT_TRY(c->plugin->poll(c->nccl, err));
        }
        if (passed) {
            return EDT_OK;
        }
        if (edt_clock_now_s() >= until_s) {
            EDT_FAIL(err, EDT_ERR_DEVICE,
                     "a step did not end within %g s (hparam comm_deadline_s): another rank is "
                     "late or gone, or the device hangs",
                     c->deadline_s);
        }
        if (i > SPINS) {
            const struct timespec nap = {.tv_nsec = NAP_NS};
            (void)nanosleep(&nap, NULL);
        }
    }
}

static edt_status device_wait(edt_comm *comm, edt_event *event, edt_error *err)
{
    device_comm *c = (device_comm *)comm;
    EDT_TRY(check(c, err));
    return keep(c, wait_for(c, event, err), err);
}

static edt_status device_broadcast(edt_comm *comm, int root, void *data, size_t n_bytes,
                                   edt_error *err)
{
    return edt_comm_broadcast(((device_comm *)comm)->host, root, data, n_bytes, err);
}

static edt_status device_barrier(edt_comm *comm, edt_error *err)
{
    return edt_comm_barrier(((device_comm *)comm)->host, err);
}

static edt_status device_gather(edt_comm *comm, bool to_all, const void *data, size_t n_bytes,
                                edt_error *err, edt_comm_parts *out_parts)
{
    return edt_comm_gather(((device_comm *)comm)->host, to_all, data, n_bytes, err, out_parts);
}

static edt_comm *device_host(edt_comm *comm)
{
    return ((device_comm *)comm)->host;
}

static void close_nccl(device_comm *c, bool abort)
{
    if (c->nccl != NULL) {
        c->plugin->close(c->nccl, abort);
        c->nccl = NULL;
    }
}

static void device_abort(edt_comm *comm, const char *reason)
{
    device_comm *c = (device_comm *)comm;
    edt_error err = {0};
    (void)keep(c, edt_error_set(&err, EDT_ERR_CANCELLED, "gave up: %s", reason), &err);
    edt_comm_abort(c->host, reason); // first: what follows may take its time
    close_nccl(c, true);
}

static void device_destroy(edt_comm *comm)
{
    device_comm *c = (device_comm *)comm;
    close_nccl(c, c->status != EDT_OK);
    if (c->streams != NULL) {
        c->streams->event_destroy(c->backend, c->computed);
        c->streams->event_destroy(c->backend, c->summed);
    }
    edt_mem_free(c);
}

static const edt_comm_table device_table = {
    .kind = "nccl",
    .on_device = true,
    .all_reduce = device_all_reduce,
    .join = device_join,
    .wait = device_wait,
    .broadcast = device_broadcast,
    .barrier = device_barrier,
    .gather = device_gather,
    .host = device_host,
    .abort = device_abort,
    .destroy = device_destroy,
};

static edt_status open_nccl(device_comm *c, edt_error *err)
{
    const void *symbol = NULL;
    uint8_t id[EDT_NCCL_ID_BYTES] = {0};
    EDT_TRY_CTX(edt_plugin_open("libedt_nccl.so", EDT_NCCL_PLUGIN_SYMBOL, err, &symbol), err,
                "ranks on GPUs talk through NCCL");
    c->plugin = symbol;
    if (c->base.rank == 0) {
        EDT_TRY(c->plugin->get_id(id, err));
    }
    EDT_TRY(edt_comm_broadcast(c->host, 0, id, sizeof id, err));
    return c->plugin->open(c->streams->native(c->backend, EDT_STREAM_COMM), id, c->base.rank,
                           c->base.world_size, c->deadline_s, err, &c->nccl);
}

edt_status edt_comm_device_create(edt_backend *backend, const edt_comm_options *options,
                                  edt_comm *host, edt_error *err, edt_comm **out_comm)
{
    edt_status status = EDT_OK;
    if (backend->table->streams == NULL) {
        EDT_FAIL(err, EDT_ERR_INTERNAL, "backend %s has no streams to sum on",
                 backend->table->name);
    }
    device_comm *c = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *c);
    if (c == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for a communicator");
    }
    c->base = *host;
    c->base.table = &device_table;
    c->backend = backend;
    c->streams = backend->table->streams;
    c->host = host;
    c->deadline_s = options->deadline_s;
    EDT_TRY_GOTO(c->streams->event_create(backend, err, &c->computed));
    EDT_TRY_GOTO(c->streams->event_create(backend, err, &c->summed));
    EDT_TRY_GOTO(open_nccl(c, err));
    *out_comm = &c->base;
    return EDT_OK;
fail:
    device_destroy(&c->base);
    return status;
}
