// See profile.h.
#include "train/profile.h"

#include <inttypes.h>
#include <stdio.h>

#include "core/log.h"
#include "core/trace.h"

enum { FIRST_STEPS = 2, TRACED_STEPS = 2, PERIOD_STEPS = 1000 };

edt_status edt_profile_before(edt_training *r, edt_error *err)
{
    edt_training_profile *p = &r->profile;
    if (!r->options->profile || !edt_training_writes(r)) {
        return EDT_OK;
    }
    const int64_t step = r->state.global_step;
    const bool is_due = p->n_steps == FIRST_STEPS || (step + TRACED_STEPS) % PERIOD_STEPS == 0;
    ++p->n_steps;
    if (p->is_on || !is_due) {
        return EDT_OK;
    }
    p->ends_at = step + TRACED_STEPS;
    const int n = snprintf(p->path, sizeof p->path, "%s/timeline-%" PRId64 ".json",
                           r->options->model_dir, p->ends_at);
    if (n >= (int)sizeof p->path) {
        EDT_FAIL(err, EDT_ERR_INVALID, "--profile: the path %s is too long",
                 r->options->model_dir);
    }
    EDT_TRY_CTX(edt_trace_start(p->path, err), err, "--profile");
    p->is_on = true;
    return EDT_OK;
}

bool edt_profile_waits(const edt_training *r)
{
    return r->profile.is_on && r->state.global_step >= r->profile.ends_at;
}

edt_status edt_profile_after(edt_training *r, bool is_last, edt_error *err)
{
    if (!r->profile.is_on || !(is_last || edt_profile_waits(r))) {
        return EDT_OK;
    }
    r->profile.is_on = false;
    EDT_TRY_CTX(edt_trace_stop(err), err, "--profile");
    EDT_INFO("--profile: %s shows %d steps (ui.perfetto.dev or chrome://tracing opens it)",
             r->profile.path, TRACED_STEPS);
    return EDT_OK;
}
