// See loss_scale.h.
#include "train/loss_scale.h"

#include <math.h>

edt_status edt_loss_scale_set(edt_backend *backend, void *device, edt_loss_scale_state state,
                              edt_error *err)
{
    if (!(state.scale >= 1.0F) || !isfinite(state.scale) || !(state.n_good >= 0.0F)) {
        EDT_FAIL(err, EDT_ERR_INVALID,
                 "loss scale %g after %g good steps; the scale must be finite and at least 1",
                 (double)state.scale, (double)state.n_good);
    }
    const float pair[2] = {state.scale, state.n_good};
    return backend->table->upload(backend, device, pair, sizeof pair, err);
}

edt_status edt_loss_scale_get(edt_backend *backend, const void *device, edt_error *err,
                              edt_loss_scale_state *out_state)
{
    float pair[2];
    EDT_TRY(backend->table->download(backend, pair, device, sizeof pair, err));
    *out_state = (edt_loss_scale_state){.scale = pair[0], .n_good = pair[1]};
    return EDT_OK;
}
