// See sampler.h.
#include "dataio/sampler.h"

#include <inttypes.h>

#include "core/rng.h"

static int64_t global_batch(const edt_sampler *s)
{
    return s->batch_size * s->world_size;
}

edt_status edt_sampler_check(const edt_sampler *s, edt_cursor start, edt_error *err)
{
    if (s->batch_size < 1 || s->world_size < 1 || s->batch_size > INT32_MAX ||
        s->world_size > INT32_MAX) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "batch_size %" PRId64 " on %" PRId64 " ranks; both must be at least 1",
                 s->batch_size, s->world_size);
    }
    if (s->rank < 0 || s->rank >= s->world_size) {
        EDT_FAIL(err, EDT_ERR_USAGE, "rank %" PRId64 " of %" PRId64, s->rank, s->world_size);
    }
    if (start.epoch < 0 || start.position < 0 || start.position > s->n_samples) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "the loader cannot start at epoch %" PRId64 ", sample %" PRId64
                 ": the data set has %" PRId64 " samples; is it the one that was trained on?",
                 start.epoch, start.position, s->n_samples);
    }
    if (s->endless && s->n_samples == 0) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "the data set has no samples; there is nothing to train on");
    }
    if (s->endless && s->drop_remainder && s->n_samples < global_batch(s)) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "the data set has %" PRId64 " samples, fewer than one batch of %" PRId64
                 " (batch_size over all ranks): lower batch_size or set drop_remainder=false",
                 s->n_samples, global_batch(s));
    }
    return EDT_OK;
}

bool edt_sampler_next(const edt_sampler *s, edt_cursor *cursor, edt_sampler_batch *out_batch)
{
    const int64_t rows = global_batch(s);
    const int64_t least = s->drop_remainder ? rows : 1;
    edt_cursor at = *cursor;
    if (s->n_samples - at.position < least) {
        if (!s->endless) {
            return false;
        }
        at = (edt_cursor){.epoch = at.epoch + 1};
    }
    const int64_t left = s->n_samples - at.position;
    const int64_t first = s->rank * s->batch_size;
    const int64_t mine = left - first;
    *out_batch = (edt_sampler_batch){
        .epoch = at.epoch,
        .position = at.position + first,
        .n_valid = mine < 0 ? 0 : (mine < s->batch_size ? mine : s->batch_size),
    };
    *cursor =
        (edt_cursor){.epoch = at.epoch, .position = at.position + (left < rows ? left : rows)};
    return true;
}

int64_t edt_sampler_index(const edt_sampler *s, int64_t epoch, int64_t position)
{
    return s->shuffled ? edt_rng_permute(s->seed, (uint64_t)epoch, s->n_samples, position)
                       : position;
}

int64_t edt_sampler_batches_per_epoch(const edt_sampler *s)
{
    const int64_t rows = global_batch(s);
    return s->drop_remainder ? s->n_samples / rows : (s->n_samples + rows - 1) / rows;
}
