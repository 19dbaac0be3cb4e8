// Ranks as forked processes over shared memory, for tests of communicators.
#ifndef EDT_TESTS_SUPPORT_TEST_RANKS_H
#define EDT_TESTS_SUPPORT_TEST_RANKS_H

#include "dist/comm.h"

// Work of one rank; its result is the exit code of the process (0: as expected). The
// communicator is destroyed afterwards.
typedef int test_rank_fn(edt_comm *comm, void *arg);

// Runs `fn` on `world` ranks and fills codes[world]: an exit code, or 128 + signal.
void test_ranks_run(int world, double deadline_s, test_rank_fn *fn, void *arg, int *codes);

// As above, for tests in which every rank shall end with 0.
void test_ranks_expect(int world, test_rank_fn *fn, void *arg);

// Ends the rank's process with code 1 and a line on stderr unless `condition` holds.
#define TEST_RANK_ASSERT(condition)                                                            \
    do {                                                                                       \
        if (!(condition)) {                                                                    \
            (void)fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);      \
            return 1;                                                                          \
        }                                                                                      \
    } while (0)

#endif
