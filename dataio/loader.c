// See loader.h. A monitor with two conditions: workers take (slot, row) units in the order of
// the stream and write straight into the slot, the consumer takes complete slots in the same
// order. A batch can be opened only when its slot is free again: that is the back-pressure.
#include "dataio/loader.h"

#include <inttypes.h>
#include <string.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/mem.h"
#include "core/trace.h"
#include "dataio/loader_priv.h"

enum { MAX_THREADS = 1024, MAX_PREFETCH = 1024 };

static edt_status parse_policy(const char *text, edt_error *err, edt_bad_policy *out_policy)
{
    if (text == NULL || strcmp(text, "fail") == 0) {
        *out_policy = EDT_BAD_FAIL;
    } else if (strcmp(text, "skip") == 0) {
        *out_policy = EDT_BAD_SKIP;
    } else if (strcmp(text, "substitute") == 0) {
        *out_policy = EDT_BAD_SUBSTITUTE;
    } else {
        EDT_FAIL(err, EDT_ERR_USAGE, "on_bad_sample=%s; it takes fail, skip or substitute",
                 text);
    }
    return EDT_OK;
}

// With the mutex held: nothing before the lowest batch at work will be read any more.
static void retire_records(edt_loader *loader)
{
    if (edt_record_source_n_windows(loader->source) == 0) {
        return;
    }
    const edt_loader_slot *lowest = NULL;
    for (int64_t i = 0; i < loader->n_slots; ++i) {
        const edt_loader_slot *slot = &loader->slots[i];
        if (slot->state == EDT_SLOT_FILLING &&
            (lowest == NULL || slot->batch.sequence < lowest->batch.sequence)) {
            lowest = slot;
        }
    }
    const edt_sampler *s = &loader->sampler;
    edt_cursor low = loader->dispatch_cursor;
    if (lowest != NULL) {
        low = (edt_cursor){.epoch = lowest->batch.epoch,
                           .position = lowest->batch.position - s->rank * s->batch_size};
    }
    edt_record_source_retire(loader->source, low);
}

// Opens the next batch in its slot if that is free. Called with the mutex held; true when there
// is something new to do.
static bool open_next_batch(edt_loader *loader)
{
    edt_loader_slot *slot = &loader->slots[loader->n_opened % loader->n_slots];
    if (slot->state != EDT_SLOT_FREE) {
        return false;
    }
    edt_sampler_batch plan;
    if (!edt_sampler_next(&loader->sampler, &loader->dispatch_cursor, &plan)) {
        loader->ended = true;
        (void)pthread_cond_broadcast(&loader->ready);
        (void)pthread_cond_broadcast(&loader->work);
        return true;
    }
    slot->batch.epoch = plan.epoch;
    slot->batch.position = plan.position;
    slot->batch.n_valid = plan.n_valid;
    slot->batch.sequence = loader->n_opened++;
    slot->after = loader->dispatch_cursor;
    slot->n_done = 0;
    slot->met.n = 0;
    slot->status = EDT_OK;
    slot->state = EDT_SLOT_FILLING;
    loader->open = slot;
    loader->next_row = 0;
    (void)pthread_cond_broadcast(&loader->work);
    return true;
}

// With the mutex held.
static void wait_for_slot(edt_loader *loader)
{
    const double t0 = edt_clock_now_s();
    ++loader->n_idle;
    loader->idle_since_sum += t0;
    edt_trace_begin("wait_for_slot");
    (void)pthread_cond_wait(&loader->work, &loader->mutex);
    edt_trace_end();
    --loader->n_idle;
    loader->idle_since_sum -= t0;
    loader->stats.idle_seconds += edt_clock_now_s() - t0;
}

// The next row of the stream; false when the worker shall end.
static bool take_row(edt_loader *loader, edt_loader_slot **out_slot, int64_t *out_row,
                     bool *out_is_useless)
{
    (void)pthread_mutex_lock(&loader->mutex);
    bool taken = false;
    while (!loader->stop) {
        if (loader->open != NULL && loader->next_row < loader->open->batch.batch_size) {
            *out_slot = loader->open;
            *out_row = loader->next_row++;
            // Rows before the failing one must still run: a lower one may fail as well.
            *out_is_useless = loader->open->batch.sequence > loader->failed_sequence;
            taken = true;
            break;
        }
        if (loader->ended) {
            break;
        }
        if (!open_next_batch(loader)) {
            wait_for_slot(loader);
        }
    }
    (void)pthread_mutex_unlock(&loader->mutex);
    return taken;
}

static void finish_row(edt_loader_worker *worker, edt_loader_slot *slot, int64_t row,
                       edt_row_result *result, edt_error *err)
{
    edt_loader *loader = worker->loader;
    (void)pthread_mutex_lock(&loader->mutex);
    // Of a row that fails as well: it may be bad records that it fails for.
    edt_error no_room = {0};
    const edt_status noted =
        edt_met_records_add(&slot->met, worker->met.indexes, worker->met.n, &no_room);
    if (result->status == EDT_OK && noted != EDT_OK) {
        result->status = noted;
        *err = no_room;
    }
    edt_loader_stats *stats = &loader->stats;
    ++stats->n_rows;
    stats->read_seconds += result->read_seconds;
    stats->decode_seconds += result->decode_seconds;
    stats->augment_seconds += result->augment_seconds;
    stats->resize_seconds += result->resize_seconds;
    stats->target_seconds += result->target_seconds;
    if (result->status != EDT_OK) {
        if (slot->status == EDT_OK || row < slot->bad_row) {
            slot->status = result->status;
            slot->bad_row = row;
            slot->error = *err;
        }
        if (slot->batch.sequence < loader->failed_sequence) {
            loader->failed_sequence = slot->batch.sequence;
        }
        loader->ended = true;
    }
    const bool is_last = ++slot->n_done == slot->batch.batch_size;
    if (is_last) {
        // Nobody else has the slot now; the copying must not hold up the others.
        (void)pthread_mutex_unlock(&loader->mutex);
        edt_loader_close_ranks(loader, slot);
        (void)pthread_mutex_lock(&loader->mutex);
        slot->state = EDT_SLOT_READY;
        retire_records(loader);
        (void)pthread_cond_broadcast(&loader->ready);
    }
    if (loader->ended) {
        (void)pthread_cond_broadcast(&loader->work);
    }
    (void)pthread_mutex_unlock(&loader->mutex);
}

static void run_worker(void *ctx)
{
    edt_loader_worker *worker = ctx;
    edt_loader_slot *slot;
    int64_t row;
    bool is_useless;
    while (take_row(worker->loader, &slot, &row, &is_useless)) {
        edt_error err = {0};
        edt_row_result result = {.status = EDT_OK};
        worker->met.n = 0;
        if (!is_useless) {
            edt_trace_begin("row");
            result = edt_loader_fill_row(worker, slot, row, &err);
            edt_trace_end();
        }
        finish_row(worker, slot, row, &result, &err);
        if (worker->loader->quarantine != NULL) {
            edt_quarantine_save_if_due(worker->loader->quarantine);
        }
    }
}

static edt_status init_sync(edt_loader *loader, edt_error *err)
{
    if (pthread_mutex_init(&loader->mutex, NULL) != 0) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "the system has no mutex left");
    }
    if (pthread_cond_init(&loader->work, NULL) != 0) {
        (void)pthread_mutex_destroy(&loader->mutex);
        EDT_FAIL(err, EDT_ERR_NOMEM, "the system has no condition variable left");
    }
    if (pthread_cond_init(&loader->ready, NULL) != 0) {
        (void)pthread_cond_destroy(&loader->work);
        (void)pthread_mutex_destroy(&loader->mutex);
        EDT_FAIL(err, EDT_ERR_NOMEM, "the system has no condition variable left");
    }
    loader->has_sync = true;
    return EDT_OK;
}

// Evaluation sees each picture once: nothing to keep.
static edt_status open_cache(edt_loader *loader, const edt_hparams *hp, edt_error *err)
{
    const char *path = hp->decoded_cache;
    if (!loader->config.training || path == NULL || path[0] == '\0' ||
        strcmp(path, "off") == 0) {
        return EDT_OK;
    }
    const edt_decoded_cache_options options = {
        .path = path,
        .max_bytes = hp->decoded_cache_bytes,
        .zstd_level = (int)hp->decoded_cache_zstd,
        .fingerprint = edt_record_index_fingerprint(loader->index),
        .transform = edt_decoded_transform(hp->exif_rotate)};
    EDT_TRY_CTX(edt_decoded_cache_open(&options, err, &loader->cache), err, "decoded_cache");
    loader->config.cache = loader->cache;
    return EDT_OK;
}

static edt_status open_quarantine(edt_loader *loader, const char *path, edt_error *err)
{
    if (loader->on_bad == EDT_BAD_FAIL) {
        return EDT_OK;
    }
    const edt_quarantine_options options = {
        .index = loader->index,
        .policy = loader->on_bad == EDT_BAD_SKIP ? "skip" : "substitute",
        .path = path};
    return edt_quarantine_create(&options, err, &loader->quarantine);
}

static edt_status start_workers(edt_loader *loader, int n, edt_error *err)
{
    loader->workers = edt_mem_calloc(EDT_MEM_MISC, (size_t)n, sizeof *loader->workers);
    if (loader->workers == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %d loader threads", n);
    }
    loader->n_workers = loader->stats.n_workers = n;
    for (int i = 0; i < n; ++i) {
        loader->workers[i].loader = loader;
        EDT_TRY(
            edt_preprocessor_create(&loader->config, i, err, &loader->workers[i].preprocessor));
        EDT_TRY(edt_record_scratch_create(err, &loader->workers[i].scratch));
        if (edt_preprocess_mixes(&loader->config)) {
            EDT_TRY(edt_record_scratch_create(err, &loader->workers[i].partner_scratch));
        }
    }
    for (int i = 0; i < n; ++i) {
        EDT_TRY_CTX(edt_thread_start(&loader->workers[i].thread, "edt-loader", run_worker,
                                     &loader->workers[i], err),
                    err, "starting loader thread %d of %d", i + 1, n);
    }
    return EDT_OK;
}

static edt_status check_options(const edt_loader_options *o, edt_error *err)
{
    if (o->n_threads < 0 || o->n_threads > MAX_THREADS) {
        EDT_FAIL(err, EDT_ERR_USAGE, "%d loader threads; 0 (all processors) to %d are allowed",
                 o->n_threads, MAX_THREADS);
    }
    if (o->prefetch < 0 || o->prefetch > MAX_PREFETCH) {
        EDT_FAIL(err, EDT_ERR_USAGE, "prefetch of %" PRId64 " batches; 0 to %d are allowed",
                 o->prefetch, MAX_PREFETCH);
    }
    if (o->targets != NULL && o->n_anchors < 1) {
        EDT_FAIL(err, EDT_ERR_INTERNAL, "loader targets without a number of anchors");
    }
    return EDT_OK;
}

static edt_status init_loader(edt_loader *loader, const edt_hparams *hp,
                              const edt_loader_options *options, edt_error *err)
{
    EDT_TRY(check_options(options, err));
    EDT_TRY(parse_policy(hp->on_bad_sample, err, &loader->on_bad));
    EDT_TRY(
        edt_preprocess_configure(hp, options->training, options->format, err, &loader->config));
    if (options->masks) {
        EDT_TRY(edt_preprocess_want_masks(hp, err, &loader->config));
    }
    loader->slot_memory = options->slot_memory;
    loader->config.targets = options->targets;
    loader->config.targets_ctx = options->targets_ctx;
    loader->config.n_anchors = options->targets != NULL ? options->n_anchors : 0;
    EDT_TRY(edt_loader_open_data(loader, hp, options, err));
    EDT_TRY(open_quarantine(loader, options->quarantine_path, err));
    loader->cursor = loader->dispatch_cursor = options->start;
    loader->failed_sequence = INT64_MAX;
    loader->n_slots = options->prefetch + 2;
    loader->slots =
        edt_mem_calloc(EDT_MEM_SLOT, (size_t)loader->n_slots, sizeof *loader->slots);
    if (loader->slots == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %" PRId64 " batch slots", loader->n_slots);
    }
    for (int64_t i = 0; i < loader->n_slots; ++i) {
        EDT_TRY(edt_loader_slot_init(loader, options, err, &loader->slots[i]));
    }
    EDT_TRY(init_sync(loader, err));
    EDT_TRY(open_cache(loader, hp, err));
    const int n_threads = options->n_threads > 0 ? options->n_threads : edt_thread_cpu_count();
    return start_workers(loader, n_threads, err);
}

edt_status edt_loader_create(const edt_hparams *hp, const edt_loader_options *options,
                             edt_error *err, edt_loader **out_loader)
{
    edt_loader *loader = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *loader);
    if (loader == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for a loader");
    }
    const edt_status status = init_loader(loader, hp, options, err);
    if (status != EDT_OK) {
        edt_loader_destroy(loader);
        return status;
    }
    *out_loader = loader;
    return EDT_OK;
}

static void close_quarantine(edt_loader *loader)
{
    edt_error err = {0};
    if (loader->quarantine != NULL && edt_quarantine_save(loader->quarantine, &err) != EDT_OK) {
        EDT_WARN("%s", err.text);
    }
    edt_quarantine_destroy(loader->quarantine);
}

void edt_loader_destroy(edt_loader *loader)
{
    if (loader == NULL) {
        return;
    }
    if (loader->has_sync) {
        (void)pthread_mutex_lock(&loader->mutex);
        loader->stop = true;
        (void)pthread_cond_broadcast(&loader->work);
        (void)pthread_mutex_unlock(&loader->mutex);
    }
    if (loader->source != NULL) {
        edt_record_source_stop(loader->source);
    }
    for (int i = 0; i < loader->n_workers; ++i) {
        edt_thread_join(&loader->workers[i].thread);
        edt_preprocessor_destroy(loader->workers[i].preprocessor);
        edt_record_scratch_destroy(loader->workers[i].scratch);
        edt_record_scratch_destroy(loader->workers[i].partner_scratch);
        edt_mem_free(loader->workers[i].met.indexes);
    }
    edt_decoded_cache_close(loader->cache);
    close_quarantine(loader);
    if (loader->has_sync) {
        (void)pthread_cond_destroy(&loader->ready);
        (void)pthread_cond_destroy(&loader->work);
        (void)pthread_mutex_destroy(&loader->mutex);
    }
    for (int64_t i = 0; loader->slots != NULL && i < loader->n_slots; ++i) {
        edt_loader_slot_deinit(loader, &loader->slots[i]);
    }
    edt_mem_free(loader->slots);
    edt_mem_free(loader->workers);
    edt_record_source_destroy(loader->source);
    edt_shard_order_destroy(loader->shards);
    edt_mixture_destroy(loader->mixture);
    edt_record_index_destroy(loader->index);
    edt_mem_free(loader);
}

// With the mutex held: what a batch met counts when it is handed over, once.
static void count_bad(edt_loader *loader, edt_loader_slot *slot)
{
    if (slot->met.n > 0) {
        loader->stats.n_bad += slot->met.n;
        edt_quarantine_meet(loader->quarantine, slot->met.indexes, slot->met.n);
        slot->met.n = 0;
    }
}

// With the mutex held: waits until the batch in turn is there, has failed or will never come.
static edt_status wait_for_batch(edt_loader *loader, edt_loader_slot *slot, edt_error *err)
{
    if (slot->state == EDT_SLOT_HELD) {
        EDT_FAIL(err, EDT_ERR_INTERNAL,
                 "all %" PRId64 " batch slots are held; release one before asking for the next",
                 loader->n_slots);
    }
    const double t0 = edt_clock_now_s();
    edt_trace_begin("wait_for_batch");
    while (slot->state != EDT_SLOT_READY &&
           !(loader->ended && loader->n_delivered >= loader->n_opened)) {
        (void)pthread_cond_wait(&loader->ready, &loader->mutex);
    }
    edt_trace_end();
    loader->stats.wait_seconds += edt_clock_now_s() - t0;
    if (slot->state != EDT_SLOT_READY) {
        return EDT_END;
    }
    if (slot->status != EDT_OK) {
        count_bad(loader, slot);
        return edt_error_set(err, slot->status, "%s", slot->error.text);
    }
    return EDT_OK;
}

edt_status edt_loader_next(edt_loader *loader, edt_error *err, const edt_batch **out_batch)
{
    (void)pthread_mutex_lock(&loader->mutex);
    edt_loader_slot *slot = &loader->slots[loader->n_delivered % loader->n_slots];
    const edt_status status = wait_for_batch(loader, slot, err);
    if (status == EDT_OK) {
        slot->state = EDT_SLOT_HELD;
        ++loader->n_delivered;
        loader->cursor = slot->after;
        count_bad(loader, slot);
        *out_batch = &slot->batch;
    }
    (void)pthread_mutex_unlock(&loader->mutex);
    return status;
}

void edt_loader_release(edt_loader *loader, const edt_batch *batch)
{
    (void)pthread_mutex_lock(&loader->mutex);
    // A second release must not free a slot that the workers are filling by now.
    for (int64_t i = 0; i < loader->n_slots; ++i) {
        edt_loader_slot *slot = &loader->slots[i];
        if (batch == &slot->batch && slot->state == EDT_SLOT_HELD) {
            slot->state = EDT_SLOT_FREE;
            (void)pthread_cond_broadcast(&loader->work);
        }
    }
    (void)pthread_mutex_unlock(&loader->mutex);
}

edt_cursor edt_loader_cursor(const edt_loader *loader)
{
    edt_loader *l = (edt_loader *)loader; // the mutex is not part of the value
    (void)pthread_mutex_lock(&l->mutex);
    const edt_cursor cursor = l->cursor;
    (void)pthread_mutex_unlock(&l->mutex);
    return cursor;
}

edt_loader_stats edt_loader_get_stats(const edt_loader *loader)
{
    edt_loader *l = (edt_loader *)loader;
    (void)pthread_mutex_lock(&l->mutex);
    edt_loader_stats stats = l->stats;
    // Those that wait now count up to now.
    stats.idle_seconds += l->n_idle * edt_clock_now_s() - l->idle_since_sum;
    (void)pthread_mutex_unlock(&l->mutex);
    if (l->quarantine != NULL) {
        stats.n_bad_records = edt_quarantine_count(l->quarantine).n_records;
    }
    return stats;
}

void edt_loader_log_bad(const edt_loader *loader)
{
    if (loader->quarantine != NULL) {
        edt_quarantine_log(loader->quarantine);
    }
}

int64_t edt_loader_batches_per_epoch(const edt_loader *loader)
{
    return edt_sampler_batches_per_epoch(&loader->sampler);
}

static edt_status check_index(const edt_loader *loader, int64_t sample_index, edt_error *err)
{
    if (sample_index < 0 || sample_index >= loader->sampler.n_samples) {
        EDT_FAIL(err, EDT_ERR_INVALID, "sample %" PRId64 " of %" PRId64, sample_index,
                 loader->sampler.n_samples);
    }
    return EDT_OK;
}

edt_status edt_loader_record(const edt_loader *loader, int64_t sample_index, edt_error *err,
                             edt_span *out_record)
{
    EDT_TRY(check_index(loader, sample_index, err));
    return edt_record_index_read(loader->index, sample_index, err, out_record);
}

edt_text edt_loader_label_name(const edt_loader *loader, int64_t label)
{
    return edt_record_index_label_name(loader->index, label);
}

const char *edt_loader_fingerprint(const edt_loader *loader)
{
    return edt_record_index_fingerprint(loader->index);
}

edt_status edt_loader_locate(const edt_loader *loader, int64_t sample_index, edt_error *err,
                             const char **out_path, int64_t *out_i_record)
{
    EDT_TRY(check_index(loader, sample_index, err));
    const edt_record_ref ref = edt_record_index_get(loader->index, sample_index);
    *out_path = edt_record_index_path(loader->index, ref.i_file);
    *out_i_record = ref.i_local;
    return EDT_OK;
}
