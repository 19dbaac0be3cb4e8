// See rank.h.
#include "dist/rank.h"

#include <errno.h>
#include <stdlib.h>

enum { MAX_WORLD_SIZE = 1 << 20 };

typedef struct launcher {
    const char *rank, *size;
    const char *needs; // another variable that must be set, or NULL
} launcher;

static const char *get(const char *name)
{
    const char *text = getenv(name);
    return text != NULL && text[0] != '\0' ? text : NULL;
}

static edt_status read_number(const char *name, int lo, int hi, edt_error *err, int *out_value)
{
    const char *text = get(name);
    char *end = NULL;
    errno = 0;
    const long value = strtol(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || value < lo || value > hi) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "environment variable %s='%s': expected a number from %d to %d; it is set by "
                 "the launcher (mpirun, srun), unset it to run one process alone",
                 name, text, lo, hi);
    }
    *out_value = (int)value;
    return EDT_OK;
}

edt_status edt_rank_from_environment(int *out_rank, int *out_world_size, edt_error *err)
{
    static const launcher launchers[] = {
        {"EDT_RANK", "EDT_WORLD_SIZE", "EDT_COMM_FD"},
        {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", NULL},
        {"PMI_RANK", "PMI_SIZE", NULL},
        {"PMIX_RANK", "PMIX_SIZE", NULL},
        {"SLURM_PROCID", "SLURM_NTASKS", "SLURM_STEP_ID"},
    };
    int rank = 0;
    int size = 1;
    for (size_t i = 0; i < sizeof launchers / sizeof *launchers; ++i) {
        const launcher *l = &launchers[i];
        if (get(l->rank) != NULL && get(l->size) != NULL &&
            (l->needs == NULL || get(l->needs) != NULL)) {
            EDT_TRY(read_number(l->size, 1, MAX_WORLD_SIZE, err, &size));
            EDT_TRY(read_number(l->rank, 0, size - 1, err, &rank));
            break;
        }
    }
    *out_rank = rank;
    *out_world_size = size;
    return EDT_OK;
}
