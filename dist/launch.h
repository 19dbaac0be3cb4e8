// Ranks without a launcher: a program starts itself several times on this machine and looks
// after these processes. They find each other through shared memory (shm_area.h), by what their
// environment says: EDT_RANK, EDT_WORLD_SIZE, EDT_COMM_FD.
#ifndef EDT_DIST_LAUNCH_H
#define EDT_DIST_LAUNCH_H

#include <stdbool.h>

#include "core/error.h"

typedef struct edt_launch_options {
    int n_ranks;
    // Several ranks use one device: NCCL takes them for ranks of different machines
    // (NCCL_HOSTID).
    bool shares_devices;
} edt_launch_options;

// Whether somebody started this process as one of several ranks: a launcher or edt_launch_run.
bool edt_launch_is_rank(void);

// Starts this program n_ranks times with the arguments argv (NULL at the end) and waits for
// all. Rank 0 keeps stdin, stdout and stderr; what the others write comes out on stderr with
// "[rank 1] " before each line, lines up to 64 KiB whole (rank_output.h). SIGINT and SIGTERM are passed on. When a rank dies, or ends
// with another code than 0, the others are told why and get 30 seconds to leave; then they are
// killed. out_exit_code: 0, or that of the first rank that failed (1 for a signal), which a
// line on stderr names with its signal and the last lines it wrote; a rank that ends with a
// code after a signal was passed on has said so itself. The caller ends with it.
edt_status edt_launch_run(const edt_launch_options *options, char **argv, edt_error *err,
                          int *out_exit_code);

#endif
