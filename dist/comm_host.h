// Communicator of host memory over a transport.
#ifndef EDT_DIST_COMM_HOST_H
#define EDT_DIST_COMM_HOST_H

#include "dist/comm.h"
#include "dist/transport.h"

// Starts the communicator's thread, which opens the transport (`arg` is borrowed for this
// call), and meets the other ranks.
edt_status edt_comm_host_create(edt_transport_open_fn *open, const void *arg,
                                const edt_comm_options *options, edt_error *err,
                                edt_comm **out_comm);

// Operations that this host communicator has finished so far: grows while sums go on beside the
// caller.
int64_t edt_comm_host_n_done(edt_comm *comm);

#endif
