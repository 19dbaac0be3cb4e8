// A program for scripts: opens the communicator of the ranks it was started as, makes every
// operation and prints, on rank 0, checksums of all results, which do not depend on the
// transport.
//   rank_exercise [sums|die|late|abort|stop|wait|talk] [deadline_s]
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/crc32c.h"
#include "core/mem.h"
#include "core/rng.h"
#include "core/signal.h"
#include "dist/comm.h"
#include "dist/launch.h"

static edt_status make_sums(edt_comm *comm, edt_error *err)
{
    enum { N = 300000 };
    const int me = edt_comm_rank(comm);
    float *data = edt_mem_alloc(EDT_MEM_MISC, N * sizeof *data);
    if (data == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory");
    }
    edt_rng rng;
    edt_rng_init(&rng, 3, (uint64_t)me, 0, 0);
    for (int i = 0; i < N; ++i) {
        data[i] = edt_rng_uniform_f32(&rng) - 0.5F;
    }
    static const int64_t cuts[] = {0, 7, 1000, 90000, N};
    edt_status status = EDT_OK;
    for (int i = 0; i < 4; ++i) {
        EDT_TRY_GOTO(edt_comm_all_reduce(comm, data + cuts[i], cuts[i + 1] - cuts[i],
                                         EDT_DTYPE_F32, err));
    }
    EDT_TRY_GOTO(edt_comm_join(comm, err));
    const uint32_t crc = edt_crc32c(0, data, N * sizeof *data);
    edt_comm_parts parts;
    EDT_TRY_GOTO(edt_comm_gather(comm, false, &crc, sizeof crc, err, &parts));
    for (int r = 0; r < edt_comm_world_size(comm) && me == 0; ++r) {
        uint32_t theirs;
        memcpy(&theirs, parts.data + parts.begin[r], sizeof theirs);
        printf("rank %d sums %08" PRIx32 "\n", r, theirs);
    }
    edt_comm_parts_deinit(&parts);
    uint64_t word = me == edt_comm_world_size(comm) - 1 ? 0x1234 : 0;
    EDT_TRY_GOTO(
        edt_comm_broadcast(comm, edt_comm_world_size(comm) - 1, &word, sizeof word, err));
    if (me == 0) {
        printf("broadcast %" PRIx64 "\n", word);
    }
    status = edt_comm_barrier(comm, err);
fail:
    edt_mem_free(data);
    return status;
}

// Leaves when it is asked to.
static edt_status stop(edt_comm *comm, edt_error *err)
{
    const struct timespec nap = {.tv_nsec = 10 * 1000 * 1000};
    (void)fprintf(stderr, "rank %d waits\n", edt_comm_rank(comm));
    while (!edt_interrupt_requested()) {
        (void)nanosleep(&nap, NULL);
    }
    return edt_interrupt_check(err);
}

static double cpu_seconds(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

// The last rank computes for half a second of its processor; the others wait for it in a sum
// and tell how much of theirs they used meanwhile.
static edt_status wait_for_last(edt_comm *comm, edt_error *err)
{
    const double work_s = 0.5, start = cpu_seconds(), begin = edt_clock_now_s();
    double sum = 1.0;
    if (edt_comm_rank(comm) == edt_comm_world_size(comm) - 1) {
        while (cpu_seconds() - start < work_s) {
        }
    }
    EDT_TRY(edt_comm_all_reduce(comm, &sum, 1, EDT_DTYPE_F64, err));
    EDT_TRY(edt_comm_join(comm, err));
    const double used = (cpu_seconds() - start) / (edt_clock_now_s() - begin);
    if (edt_comm_rank(comm) < edt_comm_world_size(comm) - 1) {
        (void)fprintf(stderr, "rank %d waited with %.1f%% of a processor: %s\n",
                      edt_comm_rank(comm), 100.0 * used, used < 0.1 ? "asleep" : "awake");
    }
    return edt_comm_barrier(comm, err);
}

// Every rank but the first writes long lines of its own digit in pieces, all at once.
static edt_status talk(edt_comm *comm, edt_error *err)
{
    enum { N_LINES = 40, N_PIECES = 60 };
    char piece[101] = "";
    memset(piece, '0' + edt_comm_rank(comm), sizeof piece - 1);
    EDT_TRY(edt_comm_barrier(comm, err));
    for (int i = 0; i < N_LINES && edt_comm_rank(comm) > 0; ++i) {
        for (int k = 0; k < N_PIECES; ++k) {
            (void)fprintf(stderr, "%s%s", piece, k + 1 == N_PIECES ? "\n" : "");
        }
    }
    return edt_comm_barrier(comm, err);
}

static edt_status run(edt_comm *comm, const char *what, edt_error *err)
{
    EDT_TRY(make_sums(comm, err));
    if (strcmp(what, "talk") == 0) {
        return talk(comm, err);
    }
    if (strcmp(what, "wait") == 0) {
        return wait_for_last(comm, err);
    }
    if (strcmp(what, "stop") == 0) {
        return stop(comm, err);
    }
    if (strcmp(what, "sums") != 0 && edt_comm_rank(comm) == edt_comm_world_size(comm) - 1) {
        (void)fprintf(stderr, "rank %d will now %s\n", edt_comm_rank(comm), what);
        if (strcmp(what, "die") == 0) {
            (void)raise(SIGKILL);
        } else if (strcmp(what, "abort") == 0) {
            EDT_FAIL(err, EDT_ERR_INVALID, "exercise of giving up");
        } else {
            (void)pause();
        }
    }
    return edt_comm_barrier(comm, err);
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "sums";
    const edt_comm_options options = {.deadline_s = argc > 2 ? atof(argv[2]) : 60.0};
    const char *n_ranks = getenv("EXERCISE_RANKS");
    edt_error err = {0};
    if (n_ranks != NULL && !edt_launch_is_rank()) {
        int code = 1;
        if (edt_launch_run(&(edt_launch_options){.n_ranks = atoi(n_ranks)}, argv, &err,
                           &code) != EDT_OK) {
            (void)fprintf(stderr, "%s\n", err.text);
        }
        return code;
    }
    edt_comm *comm = NULL;
    edt_status status = strcmp(what, "stop") == 0 ? edt_interrupt_install(&err) : EDT_OK;
    if (status == EDT_OK) {
        status = edt_comm_open(&options, &err, &comm);
    }
    if (status == EDT_OK && edt_comm_rank(comm) == 0) {
        (void)fprintf(stderr, "%s, %d ranks\n", edt_comm_kind(comm), edt_comm_world_size(comm));
    }
    if (status == EDT_OK) {
        status = run(comm, what, &err);
    }
    (void)fflush(stdout);
    if (status != EDT_OK) {
        (void)fprintf(stderr, "E %s\n", err.text);
        edt_comm_abort(comm, err.text);
    }
    edt_comm_destroy(comm);
    return status == EDT_OK ? 0 : 1;
}
