// What a communicator of host memory stands on: one exchange of bytes between all ranks. The
// sums, their order and everything else are in comm_host.c, once for every transport, so that
// results do not depend on which one carried them. All calls come from the communicator's own
// thread.
#ifndef EDT_DIST_TRANSPORT_H
#define EDT_DIST_TRANSPORT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"

typedef struct edt_transport edt_transport;

// One message to and one from every other rank, of sizes that both sides know; 0 bytes: no
// message. Arrays of world_size; a rank's own entry is ignored.
typedef struct edt_transport_exchange {
    const void **send;
    const size_t *send_bytes;
    void **recv;
    const size_t *recv_bytes;
    double until_s;               // edt_clock_now_s; later the exchange gives up
    const atomic_bool *cancelled; // another thread wants it to give up
} edt_transport_exchange;

typedef struct edt_transport_table {
    const char *kind;
    // EDT_END: until_s has passed; out_late[world_size] says whose message did not come.
    // EDT_ERR_CANCELLED: cancelled. EDT_ERR_DEVICE: another rank gave up, or the transport
    // failed; `err` says which. After any of them no further exchange is made.
    edt_status (*exchange)(edt_transport *transport, const edt_transport_exchange *x,
                           edt_error *err, bool *out_late);
    // Lets the exchanges of the other ranks fail with this reason, as far as they can be
    // reached.
    void (*post_abort)(edt_transport *transport, const char *reason);
    // failed: an exchange failed or was given up.
    void (*close)(edt_transport *transport, bool failed);
} edt_transport_table;

struct edt_transport {
    const edt_transport_table *table;
    int rank, world_size;
};

typedef edt_status edt_transport_open_fn(const void *arg, double deadline_s, edt_error *err,
                                         edt_transport **out_transport);

// Shared memory of one machine, see shm_area.h. `arg`: const edt_transport_shm_arg *.
typedef struct edt_transport_shm_arg {
    int fd; // borrowed during open
    int rank, world_size;
} edt_transport_shm_arg;
edt_transport_open_fn edt_transport_shm_open;

// What libedt_mpi.so exports under this name. `open` starts MPI, `close` ends it, on one
// thread.
#define EDT_TRANSPORT_MPI_SYMBOL "edt_transport_mpi_plugin"
typedef struct edt_transport_plugin {
    edt_transport_open_fn *open; // arg: NULL
    // One line for people: the library and its version.
    void (*describe)(char *out_text, size_t n_bytes);
} edt_transport_plugin;

#endif
