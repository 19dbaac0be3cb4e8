// See sampler.h.
#include "dataio/sampler.h"

#include <inttypes.h>

#include "core/rng.h"

// Of the draws that cut and permute windows.
static const uint32_t stage_window = 0x77696e64;

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
    if (s->window < 0 || (s->order == EDT_ORDER_WINDOW && s->window < 1)) {
        EDT_FAIL(err, EDT_ERR_USAGE, "shuffle_window=%" PRId64 "; it takes 1 and above",
                 s->window);
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
        EDT_FAIL(
            err, EDT_ERR_USAGE,
            "the data set has %" PRId64 " samples, fewer than one batch of %" PRId64
            " (of all ranks): lower --train_batch_size, or set hparam drop_remainder=false",
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

// Length of an epoch's first window, so that neighbours change from epoch to epoch.
static int64_t first_window(const edt_sampler *s, int64_t epoch)
{
    if (s->order != EDT_ORDER_WINDOW || s->window >= s->n_samples) {
        return s->window;
    }
    edt_rng rng;
    edt_rng_init(&rng, s->seed, (uint64_t)epoch, 0, stage_window);
    return 1 + (int64_t)edt_rng_below(&rng, (uint64_t)s->window);
}

edt_sampler_span edt_sampler_window(const edt_sampler *s, int64_t epoch, int64_t position)
{
    if (s->mixture != NULL || s->order == EDT_ORDER_GLOBAL || s->window == 0) {
        return (edt_sampler_span){.n = s->n_samples};
    }
    const int64_t n_first = first_window(s, epoch);
    edt_sampler_span window = {.n = n_first};
    if (position >= n_first) {
        window.first = n_first + (position - n_first) / s->window * s->window;
        window.n = s->window;
    }
    if (window.n > s->n_samples - window.first) {
        window.n = s->n_samples - window.first;
    }
    return window;
}

int64_t edt_sampler_place(const edt_sampler *s, int64_t epoch, edt_sampler_span window,
                          int64_t position)
{
    if (s->order != EDT_ORDER_WINDOW) {
        return position - window.first;
    }
    edt_rng rng;
    edt_rng_init(&rng, s->seed, (uint64_t)epoch, (uint64_t)window.first + 1, stage_window);
    return edt_rng_permute(edt_rng_next_u64(&rng), 0, window.n, position - window.first);
}

int64_t edt_sampler_stream(const edt_sampler *s, int64_t epoch, int64_t place)
{
    return s->order == EDT_ORDER_WINDOW && s->shards != NULL
               ? edt_shard_order_record(s->shards, epoch, place)
               : place;
}

edt_sampler_pick edt_sampler_get(const edt_sampler *s, int64_t epoch, int64_t position)
{
    int64_t index = position;
    if (s->mixture != NULL) {
        int64_t repeat;
        index = edt_mixture_record(s->mixture, epoch, position, &repeat);
        return (edt_sampler_pick){.index = index, .drawn_as = index + repeat * s->n_samples};
    }
    if (s->order == EDT_ORDER_GLOBAL) {
        index = edt_rng_permute(s->seed, (uint64_t)epoch, s->n_samples, position);
    } else if (s->order == EDT_ORDER_WINDOW) {
        const edt_sampler_span window = edt_sampler_window(s, epoch, position);
        index = edt_sampler_stream(
            s, epoch, window.first + edt_sampler_place(s, epoch, window, position));
    }
    return (edt_sampler_pick){.index = index, .drawn_as = index};
}

int64_t edt_sampler_index(const edt_sampler *s, int64_t epoch, int64_t position)
{
    return edt_sampler_get(s, epoch, position).index;
}

bool edt_sampler_is_mine(const edt_sampler *s, edt_cursor start, int64_t epoch,
                         int64_t position)
{
    const int64_t rows = global_batch(s);
    const int64_t begin = epoch == start.epoch ? start.position : 0;
    if (epoch < start.epoch || position < begin) {
        return false;
    }
    const int64_t i_batch = (position - begin) / rows;
    if (s->drop_remainder && s->n_samples - begin < (i_batch + 1) * rows) {
        return false;
    }
    return (position - begin) % rows / s->batch_size == s->rank;
}

int64_t edt_sampler_batches_per_epoch(const edt_sampler *s)
{
    const int64_t rows = global_batch(s);
    return s->drop_remainder ? s->n_samples / rows : (s->n_samples + rows - 1) / rows;
}
