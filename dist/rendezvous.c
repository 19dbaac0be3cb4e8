// edt_comm_open (comm.h): finds out how this process was started and takes the transport that
// goes with it.
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/plugin.h"
#include "dist/comm_host.h"
#include "dist/rank.h"

static edt_status open_shm(const char *fd_text, int rank, int world_size,
                           const edt_comm_options *options, edt_error *err, edt_comm **out_comm)
{
    char *end = NULL;
    errno = 0;
    const long fd = strtol(fd_text, &end, 10);
    if (errno != 0 || end == fd_text || *end != '\0' || fd < 0 || fd > 1 << 20 ||
        fcntl((int)fd, F_GETFD) < 0) {
        EDT_FAIL(
            err, EDT_ERR_USAGE,
            "environment variable EDT_COMM_FD='%s' is no open descriptor; it is set by the "
            "program itself for the ranks it starts, unset it",
            fd_text);
    }
    const edt_transport_shm_arg arg = {.fd = (int)fd, .rank = rank, .world_size = world_size};
    // Programs that a rank starts are no ranks.
    (void)fcntl((int)fd, F_SETFD, FD_CLOEXEC);
    return edt_comm_host_create(edt_transport_shm_open, &arg, options, err, out_comm);
}

static edt_status open_mpi(int world_size, const edt_comm_options *options, edt_error *err,
                           edt_comm **out_comm)
{
    const void *symbol = NULL;
    EDT_TRY_CTX(
        edt_plugin_open("libedt_mpi.so", EDT_TRANSPORT_MPI_SYMBOL, err, &symbol), err,
        "a launcher started %d ranks, which talk through MPI (--num_ranks=%d starts them "
        "without it on one machine)",
        world_size, world_size);
    const edt_transport_plugin *plugin = symbol;
    EDT_TRY(edt_comm_host_create(plugin->open, NULL, options, err, out_comm));
    if (edt_comm_world_size(*out_comm) != world_size) {
        const int found = edt_comm_world_size(*out_comm);
        edt_comm_destroy(*out_comm);
        *out_comm = NULL;
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED,
                 "the launcher started %d ranks but MPI knows %d: the launcher belongs to "
                 "another MPI than libedt_mpi.so; use the mpirun of the MPI it was built with",
                 world_size, found);
    }
    return EDT_OK;
}

edt_status edt_comm_open(const edt_comm_options *options, edt_error *err, edt_comm **out_comm)
{
    int rank, world_size;
    EDT_TRY(edt_rank_from_environment(&rank, &world_size, err));
    if (world_size == 1) {
        return edt_comm_self_create(err, out_comm);
    }
    const char *fd = getenv("EDT_COMM_FD");
    return fd != NULL && fd[0] != '\0' ? open_shm(fd, rank, world_size, options, err, out_comm)
                                       : open_mpi(world_size, options, err, out_comm);
}
