// Which of how many cooperating processes this one is, as the launcher (mpirun, srun, a PMI
// process manager) tells it in the environment. Needs no MPI library, so that programs that
// only divide work between processes (the converters) run under any launcher.
#ifndef EDT_DIST_RANK_H
#define EDT_DIST_RANK_H

#include "core/error.h"

// Reads the first pair of variables that is set: EDT_RANK/EDT_WORLD_SIZE with EDT_COMM_FD
// (ranks that a program started itself, see launch.h), OMPI_COMM_WORLD_RANK/SIZE (Open MPI),
// PMI_RANK/SIZE (MPICH, Intel MPI), PMIX_RANK with PMIX_SIZE (other PMIx launchers; without a
// size it is no answer), SLURM_PROCID/NTASKS, the last only inside a job step (SLURM_STEP_ID),
// as a batch script itself is not one of the tasks. Rank 0 of 1 when there is none.
// EDT_ERR_USAGE names the variable, its value and what is allowed: numbers with
// 0 <= rank < size <= 1048576.
edt_status edt_rank_from_environment(int *out_rank, int *out_world_size, edt_error *err);

#endif
