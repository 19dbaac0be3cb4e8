// What a kind of communicator provides; comm.c stands in front of it. Private to dist/.
#ifndef EDT_DIST_COMM_PRIV_H
#define EDT_DIST_COMM_PRIV_H

#include "dist/comm.h"

enum { EDT_COMM_HOST_BYTES = 64 }; // of a machine's name, with the closing 0

typedef struct edt_comm_table {
    const char *kind;
    bool on_device;
    edt_status (*all_reduce)(edt_comm *comm, void *data, int64_t n, edt_dtype dtype,
                             edt_error *err);
    edt_status (*join)(edt_comm *comm, edt_error *err);
    edt_status (*wait)(edt_comm *comm, edt_event *event, edt_error *err); // on_device only
    edt_status (*broadcast)(edt_comm *comm, int root, void *data, size_t n_bytes,
                            edt_error *err);
    edt_status (*barrier)(edt_comm *comm, edt_error *err);
    edt_status (*gather)(edt_comm *comm, bool to_all, const void *data, size_t n_bytes,
                         edt_error *err, edt_comm_parts *out_parts);
    edt_comm *(*host)(edt_comm *comm);
    void (*abort)(edt_comm *comm, const char *reason);
    void (*destroy)(edt_comm *comm);
} edt_comm_table;

// First member of every kind's own struct.
struct edt_comm {
    const edt_comm_table *table;
    int rank, world_size, local_rank, local_size;
    const char (*hosts)[EDT_COMM_HOST_BYTES]; // [world_size]
};

// gather for one rank alone.
edt_status edt_comm_parts_single(const void *data, size_t n_bytes, edt_error *err,
                                 edt_comm_parts *out_parts);
// This machine's name, cut to fit.
void edt_comm_own_host_name(char out_name[static EDT_COMM_HOST_BYTES]);
// Fills local_rank and local_size from hosts.
void edt_comm_find_local(edt_comm *comm);

#endif
