// See draws.h.
#include "augment/draws.h"

static float next_uniform(void *ctx)
{
    return edt_rng_uniform_f32(ctx);
}

static int64_t next_integer(void *ctx, int64_t low, int64_t high)
{
    return low + (int64_t)edt_rng_below(ctx, (uint64_t)(high - low));
}

static float next_normal(void *ctx)
{
    return (float)edt_rng_normal(ctx);
}

// Fisher and Yates.
static void next_order(void *ctx, int64_t n, int64_t *out_order)
{
    for (int64_t i = 0; i < n; ++i) {
        const int64_t k = (int64_t)edt_rng_below(ctx, (uint64_t)i + 1);
        out_order[i] = out_order[k];
        out_order[k] = i;
    }
}

edt_draws edt_draws_from_rng(edt_rng *rng)
{
    return (edt_draws){.uniform = next_uniform,
                       .integer = next_integer,
                       .normal = next_normal,
                       .order = next_order,
                       .ctx = rng};
}
