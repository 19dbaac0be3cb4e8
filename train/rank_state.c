// See rank_state.h.
#include "train/rank_state.h"

#include <string.h>

#include "core/crc32c.h"

enum { N_FACTS = 5 };

// CRCs of what must agree, in the order of `fact_names`.
typedef struct facts {
    uint32_t crc[N_FACTS];
} facts;

static const char *const fact_names[N_FACTS] = {"settings (hparams, or the files they name)",
                                                "step or seed", "position in the data",
                                                "data set", "weights"};

static uint32_t crc_of(const void *data, size_t n_bytes)
{
    return edt_crc32c(0, data, n_bytes);
}

static edt_status crc_of_values(const edt_params *params, edt_error *err, uint32_t *out_crc)
{
    const edt_backend_table *table = params->backend->table;
    const size_t n_bytes = (size_t)params->n_elements * edt_dtype_bytes(params->real);
    void *copy = edt_mem_alloc(EDT_MEM_PARAM, n_bytes);
    if (copy == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for a copy of the weights");
    }
    const edt_status status =
        table->download(params->backend, copy, params->memory[EDT_PARAMS_VALUES], n_bytes, err);
    if (status == EDT_OK) {
        *out_crc = crc_of(copy, n_bytes);
    }
    edt_mem_free(copy);
    return status;
}

static edt_status find_facts(const edt_hparams *hp, const edt_params *params,
                             const edt_train_state *state, edt_error *err, facts *out_facts)
{
    edt_arena arena;
    const char *yaml = "";
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    edt_status status = edt_hparams_to_yaml(hp, &arena, err, &yaml);
    if (status == EDT_OK) {
        const int64_t counts[] = {state->global_step, state->seed, state->n_skipped};
        const int64_t cursor[] = {state->cursor.epoch, state->cursor.position};
        out_facts->crc[0] = crc_of(yaml, strlen(yaml));
        out_facts->crc[1] = crc_of(counts, sizeof counts);
        out_facts->crc[2] = crc_of(cursor, sizeof cursor);
        out_facts->crc[3] = crc_of(state->data_fingerprint, sizeof state->data_fingerprint);
        status = crc_of_values(params, err, &out_facts->crc[4]);
    }
    edt_arena_deinit(&arena);
    return status;
}

edt_status edt_rank_state_compare(edt_comm *comm, const edt_hparams *hp,
                                  const edt_params *params, const edt_train_state *state,
                                  edt_error *err)
{
    if (edt_comm_world_size(comm) == 1) {
        return EDT_OK;
    }
    facts mine, first;
    edt_comm_parts parts;
    edt_status status = EDT_OK;
    EDT_TRY(find_facts(hp, params, state, err, &mine));
    EDT_TRY(edt_comm_gather(comm, true, &mine, sizeof mine, err, &parts));
    memcpy(&first, parts.data, sizeof first);
    for (int r = 1; r < edt_comm_world_size(comm) && status == EDT_OK; ++r) {
        facts other;
        memcpy(&other, parts.data + parts.begin[r], sizeof other);
        for (int i = 0; i < N_FACTS && status == EDT_OK; ++i) {
            if (other.crc[i] != first.crc[i]) {
                status = edt_error_set(
                    err, EDT_ERR_MISMATCH,
                    "rank %d on %s differs from rank 0 on %s in %s: all ranks need the same "
                    "command line and must see the same model_dir and the same shards",
                    r, edt_comm_host_name(comm, r), edt_comm_host_name(comm, 0), fact_names[i]);
            }
        }
    }
    edt_comm_parts_deinit(&parts);
    return status;
}

// Moves the statistics of one arena between the parameters and sums[], and counts them.
static edt_status move_statistics(edt_params *params, edt_params_arena which, bool back,
                                  double *sums, edt_error *err, int64_t *inout_n)
{
    for (int i = 0; i < params->n_params; ++i) {
        const edt_param_entry *entry = &params->entries[i];
        if (entry->trainable) {
            continue;
        }
        if (sums != NULL) {
            double *at = sums + *inout_n;
            EDT_TRY(back ? edt_params_set_f64(params, which, i, at, entry->n, err)
                         : edt_params_get_f64(params, which, i, at, entry->n, err));
        }
        *inout_n += entry->n;
    }
    return EDT_OK;
}

static edt_status move_all(edt_params *params, bool back, double *sums, edt_error *err,
                           int64_t *out_n)
{
    *out_n = 0;
    EDT_TRY(move_statistics(params, EDT_PARAMS_VALUES, back, sums, err, out_n));
    return params->memory[EDT_PARAMS_EMA] == NULL
               ? EDT_OK
               : move_statistics(params, EDT_PARAMS_EMA, back, sums, err, out_n);
}

edt_status edt_rank_state_average_statistics(edt_comm *comm, edt_params *params, edt_error *err)
{
    const int world_size = edt_comm_world_size(comm);
    edt_comm *host = edt_comm_host(comm);
    int64_t n;
    edt_status status = EDT_OK;
    if (world_size == 1) {
        return EDT_OK;
    }
    EDT_TRY(move_all(params, false, NULL, err, &n));
    double *sums = edt_mem_calloc(EDT_MEM_PARAM, (size_t)n, sizeof *sums);
    if (sums == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the moving statistics");
    }
    EDT_TRY_GOTO(move_all(params, false, sums, err, &n));
    EDT_TRY_GOTO(edt_comm_all_reduce(host, sums, n, EDT_DTYPE_F64, err));
    EDT_TRY_GOTO(edt_comm_join(host, err));
    for (int64_t i = 0; i < n; ++i) {
        sums[i] /= (double)world_size;
    }
    status = move_all(params, true, sums, err, &n);
fail:
    edt_mem_free(sums);
    return status;
}
