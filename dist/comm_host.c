// See comm_host.h. The caller's thread queues operations, one thread of the communicator
// carries them out in order. A sum cuts its elements into one slice per rank: every rank gets
// its slice from all others, adds the parts in the order of the ranks and sends the result to
// all; short sums are added by everyone, for the sake of one exchange instead of two. Both ways
// add in the same order.
#include "dist/comm_host.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/clock.h"
#include "core/thread.h"
#include "dist/add_parts.h"
#include "dist/comm_priv.h"

enum {
    MAX_QUEUED = 256,
    SHORT_SUM_BYTES = 4096, // up to here latency, not volume, is what a sum costs
    SLICE_ALIGN = 16,       // elements
    TEXT_BYTES = 96
};

typedef enum op_kind { OP_MEET, OP_SUM, OP_BROADCAST, OP_BARRIER, OP_GATHER } op_kind;

typedef struct op {
    op_kind kind;
    void *data;
    int64_t n; // elements of a sum, bytes otherwise
    edt_dtype dtype;
    int root;
    bool to_all;
    edt_comm_parts *parts;
} op;

typedef struct host_comm {
    edt_comm base;
    edt_comm_table table; // with the transport's name
    edt_transport_open_fn *open;
    const void *open_arg;
    edt_transport *transport;
    double deadline_s;
    edt_thread thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    // Under the mutex.
    op queue[MAX_QUEUED];
    int64_t n_queued, n_done; // since the start
    bool is_open, aborting, closing;
    edt_status status; // the first failure; stays
    edt_error error;
    char abort_reason[EDT_ERROR_TEXT_BYTES / 2];
    atomic_bool cancelled;
    // Of the thread.
    char (*hosts)[EDT_COMM_HOST_BYTES];
    const void **send;
    void **recv;
    size_t *send_bytes, *recv_bytes;
    bool *late;
    uint8_t *scratch;
    size_t scratch_bytes;
    char last_op[TEXT_BYTES];
} host_comm;

static void describe(const op *o, int64_t number, char out_text[static TEXT_BYTES])
{
    static const char *const names[] = {"meeting", "sum", "broadcast", "barrier", "gathering"};
    if (o->kind == OP_SUM) {
        (void)snprintf(out_text, TEXT_BYTES, "operation %" PRId64 ", sum of %" PRId64 " %s",
                       number, o->n, o->dtype == EDT_DTYPE_F64 ? "f64" : "f32");
    } else if (o->kind == OP_BROADCAST || o->kind == OP_GATHER) {
        (void)snprintf(out_text, TEXT_BYTES, "operation %" PRId64 ", %s of %" PRId64 " bytes",
                       number, names[o->kind], o->n);
    } else {
        (void)snprintf(out_text, TEXT_BYTES, "operation %" PRId64 ", %s", number,
                       names[o->kind]);
    }
}

// All arrays of messages to "nothing".
static void clear_messages(host_comm *c)
{
    const size_t n = (size_t)c->base.world_size;
    memset(c->send, 0, n * sizeof *c->send);
    memset(c->recv, 0, n * sizeof *c->recv);
    memset(c->send_bytes, 0, n * sizeof *c->send_bytes);
    memset(c->recv_bytes, 0, n * sizeof *c->recv_bytes);
}

static edt_status fail_late(host_comm *c, const char *what, edt_error *err)
{
    char late[512] = "";
    size_t used = 0;
    int n_late = 0;
    for (int r = 0; r < c->base.world_size; ++r) {
        if (!c->late[r]) {
            continue;
        }
        if (used < sizeof late - 100) {
            const char *host = c->hosts[r][0] != '\0' ? c->hosts[r] : "a machine not yet known";
            used += (size_t)snprintf(late + used, sizeof late - used, "%srank %d on %s",
                                     n_late == 0 ? "" : ", ", r, host);
        }
        ++n_late;
    }
    EDT_FAIL(
        err, EDT_ERR_DEVICE,
        "rank %d on %s waited %g s (hparam comm_deadline_s) in %s for %s%s; the last thing "
        "done together was %s. The late rank is stuck, gone or far slower: look at its "
        "machine and its log",
        c->base.rank, c->hosts[c->base.rank], c->deadline_s, what, late,
        n_late > 1 ? " (several are late: look at the network, too)" : "",
        c->last_op[0] == '\0' ? "nothing yet" : c->last_op);
}

static edt_status exchange(host_comm *c, const char *what, double until_s, edt_error *err)
{
    const edt_transport_exchange x = {
        .send = c->send,
        .send_bytes = c->send_bytes,
        .recv = c->recv,
        .recv_bytes = c->recv_bytes,
        .until_s = until_s,
        .cancelled = &c->cancelled,
    };
    memset(c->late, 0, (size_t)c->base.world_size * sizeof *c->late);
    const edt_status status = c->transport->table->exchange(c->transport, &x, err, c->late);
    if (status == EDT_END) {
        return fail_late(c, what, err);
    }
    return status == EDT_OK ? EDT_OK
                            : edt_error_add_context(err, status, "rank %d on %s, %s",
                                                    c->base.rank, c->hosts[c->base.rank], what);
}

static edt_status need_scratch(host_comm *c, size_t n_bytes, edt_error *err)
{
    if (n_bytes <= c->scratch_bytes) {
        return EDT_OK;
    }
    edt_mem_free(c->scratch);
    c->scratch_bytes = 0;
    c->scratch = edt_mem_alloc(EDT_MEM_WORKSPACE, n_bytes);
    if (c->scratch == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory (%zu bytes) for a sum over ranks", n_bytes);
    }
    c->scratch_bytes = n_bytes;
    return EDT_OK;
}

static edt_status run_short_sum(host_comm *c, const op *o, const char *what, double until_s,
                                edt_error *err)
{
    const size_t n_bytes = (size_t)o->n * edt_dtype_bytes(o->dtype);
    const int world = c->base.world_size;
    // One more slot: the others may still be reading our part while it is overwritten.
    EDT_TRY(need_scratch(c, n_bytes * (size_t)(world + 1), err));
    clear_messages(c);
    uint8_t *own = c->scratch + (size_t)world * n_bytes;
    memcpy(own, o->data, n_bytes);
    for (int r = 0; r < world; ++r) {
        c->send[r] = own;
        c->recv[r] = c->scratch + (size_t)r * n_bytes;
        c->send_bytes[r] = c->recv_bytes[r] = n_bytes;
    }
    EDT_TRY(exchange(c, what, until_s, err));
    edt_add_parts(o->data, own, c->base.rank, c->scratch, n_bytes, world, o->n, o->dtype);
    return EDT_OK;
}

static int64_t slice_begin(const host_comm *c, int64_t n, int rank)
{
    const int64_t units = (n + SLICE_ALIGN - 1) / SLICE_ALIGN;
    const int64_t begin = units * rank / c->base.world_size * SLICE_ALIGN;
    return begin < n ? begin : n;
}

static edt_status run_sum(host_comm *c, const op *o, const char *what, double until_s,
                          edt_error *err)
{
    const size_t size = edt_dtype_bytes(o->dtype);
    if ((size_t)o->n * size <= SHORT_SUM_BYTES) {
        return run_short_sum(c, o, what, until_s, err);
    }
    const int world = c->base.world_size, me = c->base.rank;
    uint8_t *data = o->data;
    const int64_t mine = slice_begin(c, o->n, me);
    const int64_t n_mine = slice_begin(c, o->n, me + 1) - mine;
    const size_t my_bytes = (size_t)n_mine * size;
    EDT_TRY(need_scratch(c, my_bytes * (size_t)world, err));
    clear_messages(c);
    for (int r = 0; r < world; ++r) {
        const int64_t begin = slice_begin(c, o->n, r);
        c->send[r] = data + (size_t)begin * size;
        c->send_bytes[r] = (size_t)(slice_begin(c, o->n, r + 1) - begin) * size;
        c->recv[r] = c->scratch + (size_t)r * my_bytes;
        c->recv_bytes[r] = my_bytes;
    }
    EDT_TRY(exchange(c, what, until_s, err));
    uint8_t *my_data = data + (size_t)mine * size;
    edt_add_parts(my_data, my_data, me, c->scratch, my_bytes, world, n_mine, o->dtype);
    for (int r = 0; r < world; ++r) {
        const int64_t begin = slice_begin(c, o->n, r);
        c->recv[r] = data + (size_t)begin * size;
        c->recv_bytes[r] = (size_t)(slice_begin(c, o->n, r + 1) - begin) * size;
        c->send[r] = my_data;
        c->send_bytes[r] = my_bytes;
    }
    return exchange(c, what, until_s, err);
}

static edt_status run_broadcast(host_comm *c, const op *o, const char *what, double until_s,
                                edt_error *err)
{
    clear_messages(c);
    for (int r = 0; r < c->base.world_size; ++r) {
        if (c->base.rank == o->root) {
            c->send[r] = o->data;
            c->send_bytes[r] = (size_t)o->n;
        }
    }
    if (c->base.rank != o->root) {
        c->recv[o->root] = o->data;
        c->recv_bytes[o->root] = (size_t)o->n;
    }
    return exchange(c, what, until_s, err);
}

static edt_status run_barrier(host_comm *c, const char *what, double until_s, edt_error *err)
{
    static const uint8_t token = 1;
    EDT_TRY(need_scratch(c, (size_t)c->base.world_size, err));
    clear_messages(c);
    for (int r = 0; r < c->base.world_size; ++r) {
        c->send[r] = &token;
        c->recv[r] = c->scratch + r;
        c->send_bytes[r] = c->recv_bytes[r] = 1;
    }
    return exchange(c, what, until_s, err);
}

// First the sizes, then the bytes.
static edt_status run_gather(host_comm *c, const op *o, const char *what, double until_s,
                             edt_error *err)
{
    const int world = c->base.world_size, me = c->base.rank;
    const bool collects = o->to_all || me == 0;
    const uint64_t my_bytes = (uint64_t)o->n;
    EDT_TRY(need_scratch(c, (size_t)world * sizeof my_bytes, err));
    clear_messages(c);
    for (int r = 0; r < world; ++r) {
        c->send[r] = &my_bytes;
        c->send_bytes[r] = o->to_all || r == 0 ? sizeof my_bytes : 0;
        c->recv[r] = c->scratch + (size_t)r * sizeof my_bytes;
        c->recv_bytes[r] = collects ? sizeof my_bytes : 0;
    }
    EDT_TRY(exchange(c, what, until_s, err));
    edt_comm_parts parts = {0};
    if (collects) {
        memcpy(c->scratch + (size_t)me * sizeof my_bytes, &my_bytes, sizeof my_bytes);
        parts.begin = edt_mem_calloc(EDT_MEM_MISC, (size_t)world + 1, sizeof *parts.begin);
        for (int r = 0; r < world && parts.begin != NULL; ++r) {
            uint64_t n;
            memcpy(&n, c->scratch + (size_t)r * sizeof n, sizeof n);
            parts.begin[r + 1] = parts.begin[r] + n;
        }
        parts.data =
            parts.begin != NULL ? edt_mem_alloc(EDT_MEM_MISC, parts.begin[world]) : NULL;
        if (parts.data == NULL) {
            edt_comm_parts_deinit(&parts);
            EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for what the ranks send");
        }
    }
    clear_messages(c);
    for (int r = 0; r < world; ++r) {
        c->send[r] = o->data;
        c->send_bytes[r] = o->to_all || r == 0 ? (size_t)my_bytes : 0;
        if (collects) {
            c->recv[r] = parts.data + parts.begin[r];
            c->recv_bytes[r] = parts.begin[r + 1] - parts.begin[r];
        }
    }
    const edt_status status = exchange(c, what, until_s, err);
    if (status != EDT_OK) {
        edt_comm_parts_deinit(&parts);
        return status;
    }
    if (collects && my_bytes > 0) {
        memcpy(parts.data + parts.begin[me], o->data, (size_t)my_bytes);
    }
    *o->parts = parts;
    return EDT_OK;
}

// Everyone tells everyone the name of its machine.
static edt_status run_meet(host_comm *c, const char *what, double until_s, edt_error *err)
{
    char(*own)[EDT_COMM_HOST_BYTES] = &c->hosts[c->base.rank];
    clear_messages(c);
    for (int r = 0; r < c->base.world_size; ++r) {
        c->send[r] = *own;
        c->recv[r] = c->hosts[r];
        c->send_bytes[r] = c->recv_bytes[r] = sizeof *own;
    }
    EDT_TRY(exchange(c, what, until_s, err));
    for (int r = 0; r < c->base.world_size; ++r) {
        c->hosts[r][EDT_COMM_HOST_BYTES - 1] = '\0';
    }
    return EDT_OK;
}

static edt_status run_op(host_comm *c, const op *o, int64_t number, edt_error *err)
{
    char what[TEXT_BYTES];
    describe(o, number, what);
    const double until_s = edt_clock_now_s() + c->deadline_s;
    edt_status status = EDT_OK;
    switch (o->kind) {
    case OP_MEET: status = run_meet(c, what, until_s, err); break;
    case OP_SUM: status = run_sum(c, o, what, until_s, err); break;
    case OP_BROADCAST: status = run_broadcast(c, o, what, until_s, err); break;
    case OP_BARRIER: status = run_barrier(c, what, until_s, err); break;
    case OP_GATHER: status = run_gather(c, o, what, until_s, err); break;
    }
    memcpy(c->last_op, what, sizeof what);
    return status;
}

static edt_status open_transport(host_comm *c, edt_error *err)
{
    EDT_TRY(c->open(c->open_arg, c->deadline_s, err, &c->transport));
    c->base.rank = c->transport->rank;
    c->base.world_size = c->transport->world_size;
    const size_t n = (size_t)c->base.world_size;
    c->hosts = edt_mem_calloc(EDT_MEM_MISC, n, sizeof *c->hosts);
    c->send = edt_mem_calloc(EDT_MEM_MISC, n, sizeof *c->send);
    c->recv = edt_mem_calloc(EDT_MEM_MISC, n, sizeof *c->recv);
    c->send_bytes = edt_mem_calloc(EDT_MEM_MISC, n, sizeof *c->send_bytes);
    c->recv_bytes = edt_mem_calloc(EDT_MEM_MISC, n, sizeof *c->recv_bytes);
    c->late = edt_mem_calloc(EDT_MEM_MISC, n, sizeof *c->late);
    if (c->hosts == NULL || c->send == NULL || c->recv == NULL || c->send_bytes == NULL ||
        c->recv_bytes == NULL || c->late == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %zu ranks", n);
    }
    edt_comm_own_host_name(c->hosts[c->base.rank]);
    EDT_TRY(run_op(c, &(op){.kind = OP_MEET}, 0, err));
    c->base.hosts = (const char(*)[EDT_COMM_HOST_BYTES])c->hosts;
    edt_comm_find_local(&c->base);
    return EDT_OK;
}

// Under the mutex.
static void set_failed(host_comm *c, edt_status status, const edt_error *err)
{
    if (c->status == EDT_OK) {
        c->status = status;
        c->error = *err;
    }
}

static void thread_main(void *ctx)
{
    host_comm *c = ctx;
    edt_error err = {0};
    edt_status status = open_transport(c, &err);
    pthread_mutex_lock(&c->mutex);
    if (status != EDT_OK) {
        set_failed(c, status, &err);
    }
    c->is_open = true;
    pthread_cond_broadcast(&c->changed);
    while (c->status == EDT_OK) {
        if (c->n_done == c->n_queued) {
            if (c->closing) {
                break;
            }
            pthread_cond_wait(&c->changed, &c->mutex);
            continue;
        }
        const op o = c->queue[c->n_done % MAX_QUEUED];
        const int64_t number = c->n_done + 1;
        pthread_mutex_unlock(&c->mutex);
        status = run_op(c, &o, number, &err);
        pthread_mutex_lock(&c->mutex);
        if (status != EDT_OK) {
            set_failed(c, status, &err);
        } else {
            ++c->n_done;
        }
        pthread_cond_broadcast(&c->changed);
    }
    // A failure stays until the owner gives it up, who may have a reason to tell the others.
    while (!c->aborting && !c->closing) {
        pthread_cond_wait(&c->changed, &c->mutex);
    }
    const bool failed = c->status != EDT_OK;
    pthread_mutex_unlock(&c->mutex);
    if (failed && c->transport != NULL) {
        c->transport->table->post_abort(
            c->transport, c->abort_reason[0] != '\0' ? c->abort_reason : c->error.text);
    }
    // The end of a failed MPI rank is the end of its process, which may have words to write
    // first.
    pthread_mutex_lock(&c->mutex);
    while (!c->closing) {
        pthread_cond_wait(&c->changed, &c->mutex);
    }
    pthread_mutex_unlock(&c->mutex);
    if (c->transport != NULL) {
        c->transport->table->close(c->transport, failed);
    }
}

// EDT_OK, or the failure that stays. Under the mutex.
static edt_status check(const host_comm *c, edt_error *err)
{
    if (c->status != EDT_OK && err != NULL) {
        *err = c->error;
    }
    return c->status;
}

static edt_status submit(host_comm *c, const op *o, edt_error *err)
{
    pthread_mutex_lock(&c->mutex);
    while (c->status == EDT_OK && c->n_queued - c->n_done == MAX_QUEUED) {
        pthread_cond_wait(&c->changed, &c->mutex);
    }
    const edt_status status = check(c, err);
    if (status == EDT_OK) {
        c->queue[c->n_queued++ % MAX_QUEUED] = *o;
        pthread_cond_broadcast(&c->changed);
    }
    pthread_mutex_unlock(&c->mutex);
    return status;
}

static edt_status host_join(edt_comm *comm, edt_error *err)
{
    host_comm *c = (host_comm *)comm;
    pthread_mutex_lock(&c->mutex);
    while (c->status == EDT_OK && c->n_done < c->n_queued) {
        pthread_cond_wait(&c->changed, &c->mutex);
    }
    const edt_status status = check(c, err);
    pthread_mutex_unlock(&c->mutex);
    return status;
}

static edt_status submit_and_join(edt_comm *comm, const op *o, edt_error *err)
{
    EDT_TRY(submit((host_comm *)comm, o, err));
    return host_join(comm, err);
}

static edt_status host_all_reduce(edt_comm *comm, void *data, int64_t n, edt_dtype dtype,
                                  edt_error *err)
{
    return submit((host_comm *)comm,
                  &(op){.kind = OP_SUM, .data = data, .n = n, .dtype = dtype}, err);
}

static edt_status host_broadcast(edt_comm *comm, int root, void *data, size_t n_bytes,
                                 edt_error *err)
{
    return submit_and_join(
        comm, &(op){.kind = OP_BROADCAST, .data = data, .n = (int64_t)n_bytes, .root = root},
        err);
}

static edt_status host_barrier(edt_comm *comm, edt_error *err)
{
    return submit_and_join(comm, &(op){.kind = OP_BARRIER}, err);
}

static edt_status host_gather(edt_comm *comm, bool to_all, const void *data, size_t n_bytes,
                              edt_error *err, edt_comm_parts *out_parts)
{
    edt_comm_parts parts = {0};
    EDT_TRY(submit_and_join(comm,
                            &(op){.kind = OP_GATHER,
                                  .data = (void *)(uintptr_t)data,
                                  .n = (int64_t)n_bytes,
                                  .to_all = to_all,
                                  .parts = &parts},
                            err));
    *out_parts = parts;
    return EDT_OK;
}

static void host_abort(edt_comm *comm, const char *reason)
{
    host_comm *c = (host_comm *)comm;
    edt_error err = {0};
    pthread_mutex_lock(&c->mutex);
    if (c->abort_reason[0] == '\0') {
        (void)snprintf(c->abort_reason, sizeof c->abort_reason, "rank %d on %s gave up: %s",
                       c->base.rank, c->hosts[c->base.rank], reason);
    }
    (void)edt_error_set(&err, EDT_ERR_CANCELLED, "%s", c->abort_reason);
    set_failed(c, EDT_ERR_CANCELLED, &err);
    c->aborting = true;
    atomic_store(&c->cancelled, true);
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->mutex);
}

static void host_destroy(edt_comm *comm)
{
    host_comm *c = (host_comm *)comm;
    if (c->thread.is_running) {
        pthread_mutex_lock(&c->mutex);
        c->closing = true;
        pthread_cond_broadcast(&c->changed);
        pthread_mutex_unlock(&c->mutex);
        edt_thread_join(&c->thread);
    }
    pthread_cond_destroy(&c->changed);
    pthread_mutex_destroy(&c->mutex);
    edt_mem_free(c->hosts);
    edt_mem_free(c->send);
    edt_mem_free(c->recv);
    edt_mem_free(c->send_bytes);
    edt_mem_free(c->recv_bytes);
    edt_mem_free(c->late);
    edt_mem_free(c->scratch);
    edt_mem_free(c);
}

static const edt_comm_table host_table = {
    .all_reduce = host_all_reduce,
    .join = host_join,
    .broadcast = host_broadcast,
    .barrier = host_barrier,
    .gather = host_gather,
    .abort = host_abort,
    .destroy = host_destroy,
};

edt_status edt_comm_host_create(edt_transport_open_fn *open, const void *arg,
                                const edt_comm_options *options, edt_error *err,
                                edt_comm **out_comm)
{
    edt_status status = EDT_OK;
    host_comm *c = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *c);
    if (c == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for a communicator");
    }
    c->table = host_table;
    c->base.table = &c->table;
    c->open = open;
    c->open_arg = arg;
    c->deadline_s = options->deadline_s;
    (void)pthread_mutex_init(&c->mutex, NULL);
    (void)pthread_cond_init(&c->changed, NULL);
    EDT_TRY_GOTO(edt_thread_start(&c->thread, "ranks", thread_main, c, err));
    pthread_mutex_lock(&c->mutex);
    while (!c->is_open) {
        pthread_cond_wait(&c->changed, &c->mutex);
    }
    status = check(c, err);
    pthread_mutex_unlock(&c->mutex);
    if (status != EDT_OK) {
        goto fail;
    }
    c->table.kind = c->transport->table->kind;
    *out_comm = &c->base;
    return EDT_OK;
fail:
    host_destroy(&c->base);
    return status;
}

int64_t edt_comm_host_n_done(edt_comm *comm)
{
    host_comm *c = (host_comm *)comm;
    pthread_mutex_lock(&c->mutex);
    const int64_t n = c->n_done;
    pthread_mutex_unlock(&c->mutex);
    return n;
}
