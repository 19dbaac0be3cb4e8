// See loader_priv.h: one row of a batch, from its place in the epoch to the slot. Everything
// here is a function of the plan and the data, so that threads and timing cannot change a
// batch.
#include "dataio/loader_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/rng.h"
#include "core/trace.h"

// Bad samples in a row after which substitution gives up: the data set is broken, not a record.
enum { MAX_SUBSTITUTES = 100, MAX_WARNINGS = 20 };

// A defect of the record, as opposed to one of the machine or of the program.
static bool is_bad_sample(edt_status status)
{
    return status == EDT_ERR_FORMAT || status == EDT_ERR_CORRUPT || status == EDT_ERR_INVALID ||
           status == EDT_ERR_UNSUPPORTED || status == EDT_ERR_NUMERIC;
}

// Whether the words begin with the file and have the number, as those about framing do.
static bool names_record(const char *text, const char *path, uint32_t i_record)
{
    char number[32];
    const size_t n_path = strlen(path);
    (void)snprintf(number, sizeof number, "record %" PRIu32 ",", i_record);
    return text[0] == '\'' && strncmp(text + 1, path, n_path) == 0 &&
           text[1 + n_path] == '\'' && strstr(text + 1 + n_path, number) != NULL;
}

// Says which record it was.
static edt_status name_record(const edt_loader *loader, int64_t index, edt_status status,
                              edt_error *err)
{
    const edt_record_ref ref = edt_record_index_get(loader->index, index);
    const char *path = edt_record_index_path(loader->index, ref.i_file);
    if (err != NULL && names_record(err->text, path, ref.i_local)) {
        return status;
    }
    return edt_error_add_context(err, status, "%s: record %" PRIu32, path, ref.i_local);
}

// Reports a record that the policy lets the run go on without; `err` is the reason,
// and names the record afterwards. EDT_ERR_NOMEM.
static edt_status note_bad(edt_loader_worker *worker, int64_t index, edt_status reason,
                           bool is_final, const char *what, edt_error *err)
{
    edt_loader *loader = worker->loader;
    const edt_bad_record bad = {
        .index = index, .status = reason, .reason = err->text, .is_final = is_final};
    edt_error failure = {0};
    bool is_new;
    edt_status status = edt_quarantine_add(loader->quarantine, &bad, &failure, &is_new);
    if (status == EDT_OK) {
        status = edt_met_records_add(&worker->met, &index, 1, &failure);
    }
    if (status != EDT_OK) {
        *err = failure;
        return status;
    }
    (void)name_record(loader, index, reason, err);
    if (!is_new) {
        return EDT_OK;
    }
    const int n_before = atomic_fetch_add(&loader->n_warned, 1);
    if (n_before < MAX_WARNINGS) {
        EDT_WARN("%s a bad sample: %s", what, err->text);
    } else if (n_before == MAX_WARNINGS) {
        EDT_WARN("further bad samples are counted without a line each");
    }
    return EDT_OK;
}

// Where a sample stands, for its partners: they come from the other positions that can be
// reached together with it.
typedef struct partner_context {
    edt_loader_worker *worker;
    int64_t epoch, position;
    int64_t drawn; // position of the partner drawn last
    bool is_final; // its failure does not depend on what it was drawn for
} partner_context;

static int64_t draw_partner(void *ctx, const edt_draws *draws)
{
    partner_context *p = ctx;
    const edt_sampler *sampler = &p->worker->loader->sampler;
    const edt_sampler_span window = edt_sampler_window(sampler, p->epoch, p->position);
    p->drawn = p->position;
    if (window.n > 1) {
        p->drawn = window.first + draws->integer(draws->ctx, 0, window.n - 1);
        p->drawn += p->drawn >= p->position ? 1 : 0;
    }
    return edt_sampler_index(sampler, p->epoch, p->drawn);
}

static edt_status read_partner(void *ctx, int64_t index, edt_error *err, edt_span *out_record)
{
    partner_context *p = ctx;
    edt_loader *loader = p->worker->loader;
    p->is_final = true;
    if (loader->quarantine != NULL) {
        EDT_TRY(edt_quarantine_check(loader->quarantine, index, err));
    }
    edt_trace_begin("read");
    const edt_status status = edt_record_source_read(
        loader->source, p->epoch, p->drawn, p->worker->partner_scratch, err, out_record);
    edt_trace_end();
    p->is_final = status != EDT_OK;
    return status;
}

static edt_status reject_partner(void *ctx, int64_t index, edt_status reason, edt_error *err)
{
    const partner_context *p = ctx;
    edt_loader *loader = p->worker->loader;
    if (!is_bad_sample(reason) || loader->on_bad == EDT_BAD_FAIL) {
        return name_record(loader, index, reason, err);
    }
    return note_bad(p->worker, index, reason, p->is_final, "mixed with another instead of",
                    err);
}

static edt_status read_record(edt_loader_worker *worker, int64_t epoch, int64_t position,
                              edt_row_result *result, edt_error *err, edt_span *out_record)
{
    const double t0 = edt_clock_now_s();
    edt_trace_begin("read");
    const edt_status status = edt_record_source_read(worker->loader->source, epoch, position,
                                                     worker->scratch, err, out_record);
    edt_trace_end();
    result->read_seconds += edt_clock_now_s() - t0;
    return status;
}

// The record at a position with the draws of `drawn_as` into the row. A failure does not name
// the record; *out_is_final (where it is of the record): it would fail for any draws.
static edt_status run_sample(edt_loader_worker *worker, int64_t epoch, int64_t position,
                             int64_t drawn_as, const edt_sample_row *row,
                             edt_row_result *result, edt_error *err, bool *out_is_final)
{
    const edt_loader *loader = worker->loader;
    const int64_t index = edt_sampler_index(&loader->sampler, epoch, position);
    edt_span record;
    *out_is_final = true;
    if (loader->quarantine != NULL) {
        EDT_TRY(edt_quarantine_check(loader->quarantine, index, err));
    }
    EDT_TRY(read_record(worker, epoch, position, result, err, &record));
    edt_rng rngs[3];
    for (uint32_t i = 0; i < 3; ++i) {
        edt_rng_init(&rngs[i], loader->sampler.seed, (uint64_t)epoch, (uint64_t)drawn_as,
                     EDT_DRAW_STAGE_GEOMETRY + i);
    }
    const edt_sample_draws draws = {.geometry = edt_draws_from_rng(&rngs[0]),
                                    .augment = edt_draws_from_rng(&rngs[1]),
                                    .mixing = edt_draws_from_rng(&rngs[2])};
    partner_context context = {.worker = worker, .epoch = epoch, .position = position};
    const edt_partner_source partners = {
        .draw = draw_partner, .read = read_partner, .reject = reject_partner, .ctx = &context};
    const edt_sample sample = {
        .record = record, .index = index, .draws = &draws, .partners = &partners};
    const edt_status status = edt_preprocess_run(worker->preprocessor, &sample, row, err);
    const edt_sample_info *info = edt_preprocess_last(worker->preprocessor);
    result->read_seconds += info->read_seconds;
    result->decode_seconds += info->decode_seconds;
    result->augment_seconds += info->augment_seconds;
    result->resize_seconds += info->resize_seconds;
    result->target_seconds += info->target_seconds;
    *out_is_final = !info->is_open;
    return status;
}

static void warn_truncated(edt_loader *loader, int64_t index)
{
    if (!atomic_exchange(&loader->has_warned_truncated, true)) {
        const edt_record_ref ref = edt_record_index_get(loader->index, index);
        EDT_WARN(
            "%s: record %" PRIu32 " has more boxes than max_instances_per_image=%" PRId64
            ": its ground-truth rows are cut there (said once; training targets use all boxes)",
            edt_record_index_path(loader->index, ref.i_file), ref.i_local,
            loader->config.max_instances);
    }
}

// A row of the stream, or the picture of one that is repeated as padding.
typedef struct row_place {
    int64_t epoch, position;
    bool is_repeated; // its own row, here or on another rank, reports what is bad
} row_place;

static edt_status say_remedy(edt_status status, edt_error *err)
{
    const edt_error reason = *err;
    return edt_error_set(err, status,
                         "%s (hparam on_bad_sample=skip or substitute goes on without it)",
                         reason.text);
}

// Fills `row` with the sample at the place or with what stands in for it. *out_index is the
// record that was taken; -1: the policy leaves the row out, and it is cleared. A failure names
// the record.
static edt_status fill_from(edt_loader_worker *worker, row_place place,
                            const edt_sample_row *row, edt_row_result *result, edt_error *err,
                            int64_t *out_index)
{
    const edt_loader *loader = worker->loader;
    const edt_sampler *sampler = &loader->sampler;
    const int64_t drawn_as = edt_sampler_get(sampler, place.epoch, place.position).drawn_as;
    const edt_sampler_span window = edt_sampler_window(sampler, place.epoch, place.position);
    const bool substitute = loader->on_bad == EDT_BAD_SUBSTITUTE && sampler->endless;
    for (int64_t i_try = 0;; ++i_try) {
        const int64_t tried = window.first + (place.position - window.first + i_try) % window.n;
        const int64_t index = edt_sampler_index(sampler, place.epoch, tried);
        bool is_final;
        *err = (edt_error){0};
        edt_status status =
            run_sample(worker, place.epoch, tried, drawn_as, row, result, err, &is_final);
        *out_index = index;
        if (status == EDT_OK) {
            return EDT_OK;
        }
        const bool is_fatal =
            !is_bad_sample(status) || (loader->on_bad == EDT_BAD_FAIL && !place.is_repeated);
        if (is_fatal || place.is_repeated) {
            (void)name_record(loader, index, status, err);
        } else {
            EDT_TRY(note_bad(worker, index, status, is_final,
                             substitute ? "replaced" : "left out", err));
        }
        if (is_fatal) {
            return is_bad_sample(status) ? say_remedy(status, err) : status;
        }
        if (!substitute) {
            edt_sample_row_clear(&loader->config, row);
            *out_index = -1;
            return EDT_OK;
        }
        if (i_try + 1 >= MAX_SUBSTITUTES || i_try + 1 >= window.n) {
            return edt_error_add_context(
                err, status, "%" PRId64 " bad samples in a row, the last", i_try + 1);
        }
    }
}

// Padding of a training batch whose last rows lie on several ranks: the picture that one rank
// alone would repeat in this row (fill_up), which may be another rank's, so that batch norm
// sees the same pictures however many ranks there are; black where on_bad_sample=skip leaves it
// out.
static edt_status repeat_picture(edt_loader_worker *worker, const edt_batch *batch, int64_t row,
                                 const edt_sample_row *target, edt_row_result *result,
                                 edt_error *err)
{
    const edt_sampler *sampler = &worker->loader->sampler;
    const int64_t first = sampler->rank * sampler->batch_size;
    const int64_t begin = batch->position - first; // of the global batch
    const int64_t n_global = sampler->n_samples - begin;
    const row_place place = {.epoch = batch->epoch,
                             .position = begin + (first + row) % n_global,
                             .is_repeated = true};
    int64_t unused_id, unused_index;
    const edt_sample_row picture = {.image = target->image,
                                    .valid_hw = target->valid_hw,
                                    .image_scale = target->image_scale,
                                    .source_id = &unused_id};
    return fill_from(worker, place, &picture, result, err, &unused_index);
}

edt_row_result edt_loader_fill_row(edt_loader_worker *worker, edt_loader_slot *slot,
                                   int64_t row, edt_error *err)
{
    edt_loader *loader = worker->loader;
    edt_batch *batch = &slot->batch;
    const edt_sample_row target = edt_sample_row_of(batch, row);
    edt_row_result result = {.status = EDT_OK};
    slot->skipped[row] = false;
    batch->sample_indices[row] = -1;
    if (row >= batch->n_valid) {
        edt_sample_row_clear(&loader->config, &target);
        if (loader->sampler.endless && loader->sampler.world_size > 1) {
            result.status = repeat_picture(worker, batch, row, &target, &result, err);
        }
        return result;
    }
    const row_place place = {.epoch = batch->epoch, .position = batch->position + row};
    int64_t index = -1;
    result.status = fill_from(worker, place, &target, &result, err, &index);
    if (result.status == EDT_OK) {
        batch->sample_indices[row] = index;
        slot->skipped[row] = index < 0;
        if (index >= 0 && edt_preprocess_last(worker->preprocessor)->gt_truncated) {
            warn_truncated(loader, index);
        }
    }
    return result;
}

static void copy_picture(const edt_batch *batch, const edt_sample_row *from,
                         const edt_sample_row *to)
{
    const size_t n_values = (size_t)(batch->height * batch->width * 3);
    memcpy(to->image, from->image,
           batch->format == EDT_SLOT_F32 ? n_values * sizeof(float) : n_values);
    memcpy(to->valid_hw, from->valid_hw, 2 * sizeof *to->valid_hw);
    *to->image_scale = *from->image_scale;
}

static void move_row(const edt_loader *loader, edt_batch *batch, int64_t from, int64_t to)
{
    const edt_sample_row a = edt_sample_row_of(batch, from), b = edt_sample_row_of(batch, to);
    copy_picture(batch, &a, &b);
    *b.source_id = *a.source_id;
    if (b.cls_targets != NULL) {
        const size_t n_anchors = (size_t)batch->n_anchors;
        memcpy(b.cls_targets, a.cls_targets, n_anchors * sizeof *b.cls_targets);
        memcpy(b.box_targets, a.box_targets, 4 * n_anchors * sizeof *b.box_targets);
        *b.num_positives = *a.num_positives;
    }
    if (b.seg_mask != NULL) {
        memcpy(b.seg_mask, a.seg_mask,
               (size_t)(batch->mask_h * batch->mask_w) * sizeof *b.seg_mask);
    }
    if (b.groundtruth != NULL) {
        memcpy(b.groundtruth, a.groundtruth,
               (size_t)loader->config.max_instances * 7 * sizeof *b.groundtruth);
    }
    batch->sample_indices[to] = batch->sample_indices[from];
}

// A cleared row of a training batch: a picture for the statistics, nothing for the loss.
static void fill_up(edt_batch *batch, int64_t row, bool has_picture)
{
    const edt_sample_row to = edt_sample_row_of(batch, row);
    if (batch->n_valid > 0 && !has_picture) {
        const edt_sample_row from = edt_sample_row_of(batch, row % batch->n_valid);
        copy_picture(batch, &from, &to);
    }
    if (to.cls_targets != NULL) {
        for (int64_t i = 0; i < batch->n_anchors; ++i) {
            to.cls_targets[i] = EDT_CLS_IGNORED;
        }
    }
}

void edt_loader_close_ranks(const edt_loader *loader, edt_loader_slot *slot)
{
    edt_batch *batch = &slot->batch;
    const int64_t n_planned = batch->n_valid;
    int64_t n_kept = 0;
    for (int64_t i = 0; i < batch->n_valid; ++i) {
        if (slot->skipped[i]) {
            continue;
        }
        if (i != n_kept) {
            move_row(loader, batch, i, n_kept);
        }
        ++n_kept;
    }
    for (int64_t i = n_kept; i < batch->n_valid; ++i) {
        const edt_sample_row row = edt_sample_row_of(batch, i);
        edt_sample_row_clear(&loader->config, &row);
        batch->sample_indices[i] = -1;
    }
    batch->n_valid = n_kept;
    if (loader->sampler.endless) {
        for (int64_t i = n_kept; i < batch->batch_size; ++i) {
            fill_up(batch, i, loader->sampler.world_size > 1 && i >= n_planned);
        }
    }
}
