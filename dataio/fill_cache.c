// See fill_cache.h. The walk over the shards (dataio/record_scan.h) takes them whatever they
// are stored as; its workers decode, compress and offer, the cache's own thread writes.
#include "dataio/fill_cache.h"

#include <inttypes.h>
#include <stdio.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/mem.h"
#include "core/progress.h"
#include "dataio/decoded_cache.h"
#include "dataio/example.h"
#include "dataio/image_decode.h"
#include "dataio/record_index.h"
#include "dataio/record_scan.h"

enum { MOST_WARNINGS = 20 };

typedef struct worker {
    edt_image_decoder *decoder;
    edt_decoded_reader *reader;
} worker;

typedef struct filler {
    const edt_fill_options *options;
    edt_record_index *index;
    edt_decoded_cache *cache;
    worker *workers;
    int n_workers;
    edt_progress progress;
    edt_fill_result result;
    int64_t n_done;
} filler;

typedef enum outcome { OUTCOME_BAD, OUTCOME_THERE, OUTCOME_OFFERED, OUTCOME_ENDED } outcome;

typedef struct record_result {
    outcome outcome;
    char words[256]; // why it is bad
} record_result;

static edt_status decode(worker *w, const edt_scan_item *item, edt_error *err,
                         edt_image *out_image)
{
    edt_example example;
    int64_t h;
    int64_t width;
    EDT_TRY(edt_example_decode(item->payload, 0, item->arena, err, &example));
    EDT_TRY(edt_image_open(w->decoder, example.encoded, err, &h, &width));
    return edt_image_decode(w->decoder, 0, err, out_image);
}

static bool is_of_the_record(edt_status status)
{
    return status == EDT_ERR_FORMAT || status == EDT_ERR_CORRUPT || status == EDT_ERR_INVALID ||
           status == EDT_ERR_UNSUPPORTED;
}

// See edt_scan_spec.
static edt_status store_picture(void *ctx, int i_worker, edt_scan_item *item, edt_error *err)
{
    filler *f = ctx;
    worker *w = &f->workers[i_worker];
    record_result *r = item->result;
    const int64_t i = edt_record_index_first(f->index, item->i_file) + item->i_record;
    bool is_there;
    EDT_TRY(edt_decoded_contains(w->reader, i, err, &is_there));
    if (is_there) {
        r->outcome = OUTCOME_THERE;
        return EDT_OK;
    }
    edt_image image;
    edt_error why = {0};
    const edt_status status = decode(w, item, &why, &image);
    if (status != EDT_OK && !is_of_the_record(status)) {
        *err = why;
        return status;
    }
    if (status != EDT_OK) {
        (void)snprintf(r->words, sizeof r->words, "%.*s", (int)sizeof r->words - 1, why.text);
        return EDT_OK;
    }
    r->outcome = edt_decoded_put_wait(f->cache, i, &image) ? OUTCOME_OFFERED : OUTCOME_ENDED;
    return EDT_OK;
}

static void note_bad(filler *f, const edt_scan_item *item, const char *words)
{
    if (++f->result.n_bad <= MOST_WARNINGS) {
        EDT_WARN("%s: record %" PRId64 " is left out: %s", item->path, item->i_record, words);
    }
}

// See edt_scan_spec.
static edt_status take_item(void *ctx, const edt_scan_item *item, edt_error *err)
{
    filler *f = ctx;
    const record_result *r = item->result;
    if (item->kind == EDT_SCAN_FILE_END) {
        return EDT_OK;
    }
    if (item->kind != EDT_SCAN_RECORD) {
        EDT_FAIL(err, EDT_ERR_CORRUPT, "'%s': record %" PRId64 ": %s", item->path,
                 item->i_record, item->words);
    }
    if (item->fault != EDT_TFRECORD_OK) {
        note_bad(f, item, item->words);
    } else if (r->outcome == OUTCOME_BAD) {
        note_bad(f, item, r->words);
    } else if (r->outcome == OUTCOME_THERE) {
        ++f->result.n_there;
    } else if (r->outcome == OUTCOME_ENDED) {
        return EDT_END;
    }
    ++f->n_done;
    if (f->options->show_progress) {
        edt_progress_update(&f->progress, f->n_done, "%s", "");
    }
    return EDT_OK;
}

static edt_status open_all(filler *f, edt_error *err)
{
    static const edt_shard_reader_options shards = {.take_streams = true};
    const edt_fill_options *o = f->options;
    EDT_TRY(edt_record_index_create(o->paths, o->n_files, &shards, err, &f->index));
    f->result.n_records = edt_record_index_n_records(f->index);
    f->n_workers = edt_record_scan_workers(o->n_threads);
    const edt_decoded_cache_options cache = {
        .path = o->cache_path,
        .max_bytes = o->max_bytes,
        .zstd_level = o->zstd_level,
        .fingerprint = edt_record_index_fingerprint(f->index),
        .transform = edt_decoded_transform(o->exif_rotate)};
    EDT_TRY_CTX(edt_decoded_cache_open(&cache, err, &f->cache), err, "decoded_cache");
    if (!edt_decoded_is_filling(f->cache)) {
        EDT_FAIL(err, EDT_ERR_IO, "the decoded cache '%s' may not be written to",
                 o->cache_path);
    }
    f->workers = edt_mem_calloc(EDT_MEM_MISC, (size_t)f->n_workers, sizeof *f->workers);
    if (f->workers == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %d workers", f->n_workers);
    }
    const edt_image_decoder_options decoder = {.exif_rotate = o->exif_rotate};
    for (int i = 0; i < f->n_workers; ++i) {
        EDT_TRY(edt_image_decoder_create(&decoder, err, &f->workers[i].decoder));
        EDT_TRY(edt_decoded_reader_create(f->cache, err, &f->workers[i].reader));
    }
    return EDT_OK;
}

static edt_status fill(filler *f, edt_error *err)
{
    const edt_scan_spec spec = {.paths = f->options->paths,
                                .n_files = f->options->n_files,
                                .n_threads = f->n_workers,
                                .check_data_crc = true,
                                .result_bytes = sizeof(record_result),
                                .ctx = f,
                                .work = store_picture,
                                .consume = take_item};
    const edt_progress_spec progress = {
        .what = "decode", .unit = "images", .total = f->result.n_records};
    if (f->options->show_progress) {
        edt_progress_begin(&f->progress, &progress);
    }
    const edt_status status = edt_record_scan(&spec, err);
    edt_decoded_flush(f->cache);
    if (f->options->show_progress) {
        edt_progress_end(&f->progress);
    }
    const edt_decoded_cache_stats stats = edt_decoded_cache_get_stats(f->cache);
    f->result.n_stored = stats.n_stored;
    f->result.n_entries = stats.n_entries;
    f->result.n_bytes = stats.n_bytes;
    f->result.is_full = stats.is_full;
    if (status == EDT_ERR_CANCELLED) {
        return edt_error_add_context(err, status,
                                     "%" PRId64 " pictures are in '%s' (the same command goes "
                                     "on)",
                                     stats.n_entries, f->options->cache_path);
    }
    if (status == EDT_OK && stats.has_failed) {
        EDT_FAIL(err, EDT_ERR_IO,
                 "the decoded cache '%s' could not be filled: %" PRId64 " of %" PRId64
                 " pictures are in it",
                 f->options->cache_path, stats.n_entries, f->result.n_records);
    }
    return status;
}

edt_status edt_fill_cache(const edt_fill_options *options, edt_error *err,
                          edt_fill_result *out_result)
{
    const double begin_s = edt_clock_now_s();
    filler f = {.options = options};
    edt_status status = open_all(&f, err);
    if (status == EDT_OK) {
        status = fill(&f, err);
    }
    for (int i = 0; f.workers != NULL && i < f.n_workers; ++i) {
        edt_image_decoder_destroy(f.workers[i].decoder);
        edt_decoded_reader_destroy(f.workers[i].reader);
    }
    edt_mem_free(f.workers);
    edt_decoded_cache_close(f.cache);
    edt_record_index_destroy(f.index);
    f.result.seconds = edt_clock_now_s() - begin_s;
    if (status == EDT_OK) {
        *out_result = f.result;
    }
    return status;
}
