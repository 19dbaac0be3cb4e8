// See stop_vote.h.
#include "dist/stop_vote.h"

#include "core/signal.h"

static edt_status start(edt_stop_vote *vote, edt_comm *comm, edt_error *err)
{
    vote->n_interrupted = edt_interrupt_requested() ? 1.0 : 0.0;
    EDT_TRY(edt_comm_all_reduce(comm, &vote->n_interrupted, 1, EDT_DTYPE_F64, err));
    vote->is_under_way = true;
    return EDT_OK;
}

edt_status edt_stop_vote_end(edt_stop_vote *vote, edt_comm *comm, edt_error *err,
                             bool *out_stop)
{
    *out_stop = false;
    if (!vote->is_under_way) {
        return EDT_OK;
    }
    vote->is_under_way = false;
    EDT_TRY(edt_comm_join(comm, err));
    *out_stop = vote->n_interrupted > 0.0;
    return *out_stop ? edt_comm_barrier(comm, err) : EDT_OK;
}

edt_status edt_stop_vote_next(edt_stop_vote *vote, edt_comm *comm, edt_error *err,
                              bool *out_stop)
{
    if (edt_comm_world_size(comm) == 1) {
        *out_stop = edt_interrupt_requested();
        return EDT_OK;
    }
    EDT_TRY(edt_stop_vote_end(vote, comm, err, out_stop));
    return *out_stop ? EDT_OK : start(vote, comm, err);
}

edt_status edt_stop_vote_now(edt_comm *comm, edt_error *err, bool *out_stop)
{
    edt_stop_vote vote = {0};
    if (edt_comm_world_size(comm) == 1) {
        *out_stop = edt_interrupt_requested();
        return EDT_OK;
    }
    EDT_TRY(start(&vote, comm, err));
    return edt_stop_vote_end(&vote, comm, err, out_stop);
}
