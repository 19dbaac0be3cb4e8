// See comm.h: checks that hold for every kind, and what a NULL communicator does.
#include "dist/comm_priv.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

int edt_comm_rank(const edt_comm *comm)
{
    return comm == NULL ? 0 : comm->rank;
}

int edt_comm_world_size(const edt_comm *comm)
{
    return comm == NULL ? 1 : comm->world_size;
}

int edt_comm_local_rank(const edt_comm *comm)
{
    return comm == NULL ? 0 : comm->local_rank;
}

int edt_comm_local_size(const edt_comm *comm)
{
    return comm == NULL ? 1 : comm->local_size;
}

const char *edt_comm_host_name(const edt_comm *comm, int rank)
{
    return comm == NULL || rank < 0 || rank >= comm->world_size ? "" : comm->hosts[rank];
}

const char *edt_comm_kind(const edt_comm *comm)
{
    return comm == NULL ? "self" : comm->table->kind;
}

bool edt_comm_on_device(const edt_comm *comm)
{
    return comm != NULL && comm->table->on_device;
}

edt_comm *edt_comm_host(edt_comm *comm)
{
    return comm == NULL || comm->table->host == NULL ? comm : comm->table->host(comm);
}

edt_status edt_comm_all_reduce(edt_comm *comm, void *data, int64_t n, edt_dtype dtype,
                               edt_error *err)
{
    if ((dtype != EDT_DTYPE_F32 && dtype != EDT_DTYPE_F64) || n < 0) {
        EDT_FAIL(err, EDT_ERR_INTERNAL, "sum of %" PRId64 " elements of dtype %d over ranks", n,
                 (int)dtype);
    }
    return comm == NULL || n == 0 ? EDT_OK : comm->table->all_reduce(comm, data, n, dtype, err);
}

edt_status edt_comm_join(edt_comm *comm, edt_error *err)
{
    return comm == NULL ? EDT_OK : comm->table->join(comm, err);
}

edt_status edt_comm_wait(edt_comm *comm, edt_event *event, edt_error *err)
{
    return !edt_comm_on_device(comm) ? EDT_OK : comm->table->wait(comm, event, err);
}

edt_status edt_comm_broadcast(edt_comm *comm, int root, void *data, size_t n_bytes,
                              edt_error *err)
{
    if (root < 0 || root >= edt_comm_world_size(comm)) {
        EDT_FAIL(err, EDT_ERR_INTERNAL, "broadcast from rank %d of %d", root,
                 edt_comm_world_size(comm));
    }
    return comm == NULL || n_bytes == 0
               ? EDT_OK
               : comm->table->broadcast(comm, root, data, n_bytes, err);
}

edt_status edt_comm_barrier(edt_comm *comm, edt_error *err)
{
    return comm == NULL ? EDT_OK : comm->table->barrier(comm, err);
}

edt_status edt_comm_gather(edt_comm *comm, bool to_all, const void *data, size_t n_bytes,
                           edt_error *err, edt_comm_parts *out_parts)
{
    return comm == NULL ? edt_comm_parts_single(data, n_bytes, err, out_parts)
                        : comm->table->gather(comm, to_all, data, n_bytes, err, out_parts);
}

void edt_comm_parts_deinit(edt_comm_parts *parts)
{
    edt_mem_free(parts->data);
    edt_mem_free(parts->begin);
    *parts = (edt_comm_parts){0};
}

void edt_comm_abort(edt_comm *comm, const char *reason)
{
    if (comm != NULL) {
        comm->table->abort(comm, reason);
    }
}

void edt_comm_destroy(edt_comm *comm)
{
    if (comm != NULL) {
        comm->table->destroy(comm);
    }
}

edt_status edt_comm_parts_single(const void *data, size_t n_bytes, edt_error *err,
                                 edt_comm_parts *out_parts)
{
    edt_comm_parts parts = {
        .data = edt_mem_alloc(EDT_MEM_MISC, n_bytes),
        .begin = edt_mem_calloc(EDT_MEM_MISC, 2, sizeof *parts.begin),
    };
    if (parts.data == NULL || parts.begin == NULL) {
        edt_comm_parts_deinit(&parts);
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to gather %zu bytes", n_bytes);
    }
    if (n_bytes > 0) {
        memcpy(parts.data, data, n_bytes);
    }
    parts.begin[1] = n_bytes;
    *out_parts = parts;
    return EDT_OK;
}

void edt_comm_own_host_name(char out_name[static EDT_COMM_HOST_BYTES])
{
    memset(out_name, 0, EDT_COMM_HOST_BYTES);
    if (gethostname(out_name, EDT_COMM_HOST_BYTES - 1) != 0 || out_name[0] == '\0') {
        memcpy(out_name, "unknown", sizeof "unknown");
    }
}

void edt_comm_find_local(edt_comm *comm)
{
    comm->local_rank = 0;
    comm->local_size = 0;
    for (int r = 0; r < comm->world_size; ++r) {
        if (strcmp(comm->hosts[r], comm->hosts[comm->rank]) == 0) {
            ++comm->local_size;
            comm->local_rank += r < comm->rank;
        }
    }
}
