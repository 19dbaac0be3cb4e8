// See test_ranks.h.
#include "tests/support/test_ranks.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dist/comm_host.h"
#include "dist/shm_area.h"

static int run_rank(int rank, int world, int fd, double deadline_s, test_rank_fn *fn, void *arg)
{
    edt_error err = {0};
    edt_comm *comm = NULL;
    const edt_transport_shm_arg at = {.fd = fd, .rank = rank, .world_size = world};
    if (edt_comm_host_create(edt_transport_shm_open, &at,
                             &(edt_comm_options){.deadline_s = deadline_s}, &err,
                             &comm) != EDT_OK) {
        (void)fprintf(stderr, "rank %d: %s\n", rank, err.text);
        return 99;
    }
    const int code = fn(comm, arg);
    edt_comm_destroy(comm);
    return code;
}

void test_ranks_run(int world, double deadline_s, test_rank_fn *fn, void *arg, int *codes)
{
    edt_error err = {0};
    int fd;
    pid_t pids[64];
    cr_assert_leq(world, 64);
    cr_assert_eq(edt_shm_area_create(world, &err, &fd), EDT_OK, "%s", err.text);
    (void)fflush(NULL);
    for (int r = 0; r < world; ++r) {
        pids[r] = fork();
        cr_assert_geq(pids[r], 0);
        if (pids[r] == 0) {
            const int code = run_rank(r, world, fd, deadline_s, fn, arg);
            (void)fflush(NULL);
            _exit(code);
        }
    }
    for (int r = 0; r < world; ++r) {
        int status;
        cr_assert_eq(waitpid(pids[r], &status, 0), pids[r]);
        codes[r] = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    (void)close(fd);
}

void test_ranks_expect(int world, test_rank_fn *fn, void *arg)
{
    int codes[64];
    test_ranks_run(world, 60.0, fn, arg, codes);
    for (int r = 0; r < world; ++r) {
        cr_assert_eq(codes[r], 0, "rank %d of %d ended with %d", r, world, codes[r]);
    }
}
