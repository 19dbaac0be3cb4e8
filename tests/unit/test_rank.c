// Rank and world size from each launcher's variables.
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "dist/rank.h"

static void forget_launchers(void)
{
    static const char *const names[] = {"OMPI_COMM_WORLD_RANK",
                                        "OMPI_COMM_WORLD_SIZE",
                                        "PMI_RANK",
                                        "PMI_SIZE",
                                        "PMIX_RANK",
                                        "PMIX_SIZE",
                                        "SLURM_PROCID",
                                        "SLURM_NTASKS",
                                        "SLURM_STEP_ID"};
    for (size_t i = 0; i < sizeof names / sizeof *names; ++i) {
        cr_assert_eq(unsetenv(names[i]), 0);
    }
}

static void expect(int rank, int size)
{
    int got_rank = -1;
    int got_size = -1;
    edt_error err = {0};
    cr_assert_eq(edt_rank_from_environment(&got_rank, &got_size, &err), EDT_OK, "%s", err.text);
    cr_assert_eq(got_rank, rank);
    cr_assert_eq(got_size, size);
}

Test(rank, every_launcher_is_understood_and_the_first_wins, .timeout = 30)
{
    forget_launchers();
    expect(0, 1);
    setenv("SLURM_PROCID", "3", 1);
    setenv("SLURM_NTASKS", "4", 1);
    expect(0, 1); // in a batch script, not in a step
    setenv("SLURM_STEP_ID", "0", 1);
    expect(3, 4);
    setenv("PMIX_RANK", "1", 1);
    expect(3, 4); // no size beside it
    setenv("PMI_RANK", "5", 1);
    setenv("PMI_SIZE", "6", 1);
    expect(5, 6);
    setenv("OMPI_COMM_WORLD_RANK", "7", 1);
    setenv("OMPI_COMM_WORLD_SIZE", "8", 1);
    expect(7, 8);
}

Test(rank, nonsense_is_refused_by_name, .timeout = 30)
{
    static const char *const pairs[][3] = {{"8", "8", "OMPI_COMM_WORLD_RANK='8'"},
                                           {"-1", "8", "OMPI_COMM_WORLD_RANK='-1'"},
                                           {"0", "0", "OMPI_COMM_WORLD_SIZE='0'"},
                                           {"x", "2", "OMPI_COMM_WORLD_RANK='x'"},
                                           {"0", "99999999999", "OMPI_COMM_WORLD_SIZE="}};
    forget_launchers();
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; ++i) {
        setenv("OMPI_COMM_WORLD_RANK", pairs[i][0], 1);
        setenv("OMPI_COMM_WORLD_SIZE", pairs[i][1], 1);
        int rank = -1;
        int size = -1;
        edt_error err = {0};
        cr_assert_eq(edt_rank_from_environment(&rank, &size, &err), EDT_ERR_USAGE);
        cr_assert_not_null(strstr(err.text, pairs[i][2]), "%s", err.text);
        cr_assert_eq(rank, -1);
    }
}
