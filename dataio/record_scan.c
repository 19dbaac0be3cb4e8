// See record_scan.h. Items live in a pool as large as the window of edt_ordered_run, so that
// their arenas and buffers are reused.
#include "dataio/record_scan.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "core/crc32c.h"
#include "core/mem.h"
#include "core/progress.h"
#include "core/signal.h"
#include "core/thread.h"
#include "core/workers.h"

enum { ITEMS_PER_THREAD = 4, MIN_PROGRESS_BYTES = 16 << 20 };

// A file stays open until its last item has been consumed.
typedef struct scan_unit {
    edt_scan_item item;
    edt_arena arena;
    uint8_t *copy; // of a payload that the reader will overwrite
    size_t capacity;
    edt_shard_reader *close; // FILE_END: to be closed when consumed
    uint64_t done_bytes;     // of all files up to this item
    struct scan_unit *next_free;
} scan_unit;

typedef struct scanner {
    const edt_scan_spec *spec;
    scan_unit *units; // [n_units]
    scan_unit *free;
    int64_t n_units;
    edt_progress progress;
    bool has_progress;
    int64_t n_records; // consumed

    // Of the producer.
    int64_t i_file;
    edt_shard_reader *reader; // NULL: the next file is to be opened
    bool ended;               // nothing more comes from this file
    edt_span bytes;           // of a plain file
    uint64_t offset;          // in a plain file
    int64_t i_record;
    uint64_t finished_bytes; // of the files before this one
    pthread_mutex_t lock;    // guards the list of free units
} scanner;

int edt_record_scan_workers(int n_threads)
{
    return n_threads > 0 ? n_threads : edt_thread_cpu_count();
}

static scan_unit *take_unit(scanner *s)
{
    (void)pthread_mutex_lock(&s->lock);
    scan_unit *unit = s->free;
    s->free = unit->next_free;
    (void)pthread_mutex_unlock(&s->lock);
    void *result = unit->item.result;
    edt_arena_reset(&unit->arena);
    if (s->spec->result_bytes > 0) {
        memset(result, 0, s->spec->result_bytes);
    }
    unit->item = (edt_scan_item){.path = s->spec->paths[s->i_file],
                                 .i_file = s->i_file,
                                 .i_record = s->i_record,
                                 .arena = &unit->arena,
                                 .result = result};
    if (s->reader != NULL) {
        unit->item.format = edt_shard_reader_format(s->reader);
    }
    unit->close = NULL;
    unit->done_bytes = s->finished_bytes + s->offset;
    return unit;
}

static void put_unit(scanner *s, scan_unit *unit)
{
    (void)pthread_mutex_lock(&s->lock);
    unit->next_free = s->free;
    s->free = unit;
    (void)pthread_mutex_unlock(&s->lock);
}

// What is wrong, without the place: errors of the reader begin with the file, those of a record
// go on with its number and offset.
static void put_words(edt_scan_item *item, const char *text)
{
    char quoted[512];
    (void)snprintf(quoted, sizeof quoted, "'%s'", item->path);
    const size_t n = strlen(quoted);
    if (strncmp(text, quoted, n) == 0) {
        text += n;
        text += strspn(text, ": ");
    }
    (void)snprintf(quoted, sizeof quoted, "offset %" PRIu64 ": ", item->offset);
    const char *behind = strstr(text, quoted);
    if (behind != NULL) {
        text = behind + strlen(quoted);
    }
    (void)snprintf(item->words, sizeof item->words, "%.*s", (int)sizeof item->words - 1, text);
}

// Where behind `from` a whole record stands, both CRCs right; the end of the file when nowhere.
static uint64_t find_record(edt_span bytes, uint64_t from)
{
    for (uint64_t at = from; at + EDT_TFRECORD_HEADER_BYTES <= bytes.n_bytes; ++at) {
        const edt_span rest = {bytes.data + at, bytes.n_bytes - (size_t)at};
        // Lengths fit the file, so their upper bytes are 0: that settles nearly all places.
        if (rest.data[7] != 0 || rest.data[6] != 0 || !edt_tfrecord_is_header(rest)) {
            continue;
        }
        edt_span payload;
        uint64_t next;
        if (edt_tfrecord_get(bytes, at, true, &payload, &next) == EDT_TFRECORD_OK) {
            return at;
        }
    }
    return bytes.n_bytes;
}

static void produce_plain(scanner *s, edt_scan_item *item)
{
    const uint64_t offset = s->offset;
    uint64_t next;
    item->offset = offset;
    item->fault = edt_tfrecord_get(s->bytes, offset, false, &item->payload, &next);
    if (item->fault == EDT_TFRECORD_OK) {
        item->kind = EDT_SCAN_RECORD;
        s->offset = next;
        ++s->i_record;
        return;
    }
    edt_error words = {0};
    (void)edt_tfrecord_fail(&words, item->fault, item->path, item->i_record, offset);
    put_words(item, words.text);
    item->kind = EDT_SCAN_DAMAGE;
    s->offset = find_record(s->bytes, offset + 1);
    item->lost_bytes = s->offset - offset;
}

static edt_status produce_stream(scanner *s, scan_unit *unit, edt_error *err)
{
    edt_scan_item *item = &unit->item;
    edt_error words = {0};
    edt_record record;
    const edt_status status = edt_shard_reader_next(s->reader, &words, &record);
    if (status == EDT_ERR_NOMEM) {
        return edt_error_set(err, status, "%s", words.text);
    }
    if (status == EDT_END) {
        s->ended = true;
        item->kind = EDT_SCAN_FILE_END;
        return EDT_OK;
    }
    if (status != EDT_OK) {
        item->fault = edt_shard_reader_fault(s->reader, &item->offset);
        item->kind = item->fault != EDT_TFRECORD_OK ? EDT_SCAN_DAMAGE : EDT_SCAN_STREAM;
        put_words(item, words.text);
        s->ended = true;
        return EDT_OK;
    }
    const size_t n_bytes =
        EDT_TFRECORD_HEADER_BYTES + record.payload.n_bytes + EDT_TFRECORD_FOOTER_BYTES;
    if (n_bytes > unit->capacity) {
        uint8_t *grown = edt_mem_realloc(EDT_MEM_MISC, unit->copy, n_bytes);
        if (grown == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for a record of %zu bytes", n_bytes);
        }
        unit->copy = grown;
        unit->capacity = n_bytes;
    }
    memcpy(unit->copy, record.payload.data - EDT_TFRECORD_HEADER_BYTES, n_bytes);
    item->kind = EDT_SCAN_RECORD;
    item->offset = record.offset;
    item->payload = (edt_span){unit->copy + EDT_TFRECORD_HEADER_BYTES, record.payload.n_bytes};
    ++s->i_record;
    return EDT_OK;
}

static void open_file(scanner *s, scan_unit *unit)
{
    static const edt_shard_reader_options options = {.skip_data_crc = true};
    edt_error words = {0};
    s->offset = 0;
    s->i_record = 0;
    s->ended = false;
    unit->item.i_record = 0;
    if (edt_shard_reader_open(unit->item.path, &options, &words, &s->reader) != EDT_OK) {
        s->reader = NULL;
        unit->item.kind = EDT_SCAN_NO_FILE;
        put_words(&unit->item, words.text);
        ++s->i_file;
        return;
    }
    unit->item.format = edt_shard_reader_format(s->reader);
    s->bytes = edt_shard_reader_bytes(s->reader);
}

static edt_status produce(void *ctx, void **out_unit, edt_error *err)
{
    scanner *s = ctx;
    EDT_TRY(edt_interrupt_check(err));
    if (s->i_file == s->spec->n_files) {
        return EDT_END;
    }
    scan_unit *unit = take_unit(s);
    *out_unit = unit;
    if (s->reader == NULL) {
        open_file(s, unit);
        if (s->reader == NULL) {
            return EDT_OK;
        }
    }
    const bool plain = unit->item.format == EDT_SHARD_PLAIN;
    if (!s->ended && !(plain && s->offset >= s->bytes.n_bytes)) {
        if (plain) {
            produce_plain(s, &unit->item);
        } else {
            const edt_status status = produce_stream(s, unit, err);
            if (status != EDT_OK) {
                put_unit(s, unit);
                return status;
            }
        }
        if (unit->item.kind != EDT_SCAN_FILE_END) {
            return EDT_OK;
        }
    }
    unit->item.kind = EDT_SCAN_FILE_END;
    unit->item.i_record = s->i_record;
    unit->close = s->reader;
    s->finished_bytes += edt_shard_reader_file_bytes(s->reader);
    s->offset = 0;
    unit->done_bytes = s->finished_bytes;
    s->reader = NULL;
    ++s->i_file;
    return EDT_OK;
}

static edt_status work(void *ctx, int worker, void *any, edt_error *err)
{
    const scanner *s = ctx;
    edt_scan_item *item = &((scan_unit *)any)->item;
    if (item->kind != EDT_SCAN_RECORD) {
        return EDT_OK;
    }
    if (s->spec->check_data_crc) {
        uint32_t stored;
        memcpy(&stored, item->payload.data + item->payload.n_bytes, sizeof stored);
        const uint32_t crc = edt_crc32c(0, item->payload.data, item->payload.n_bytes);
        if (edt_crc32c_mask(crc) != stored) {
            edt_error words = {0};
            item->fault = EDT_TFRECORD_DATA_CRC;
            (void)edt_tfrecord_fail(&words, item->fault, item->path, item->i_record,
                                    item->offset);
            put_words(item, words.text);
            return EDT_OK;
        }
    }
    return s->spec->work == NULL ? EDT_OK : s->spec->work(s->spec->ctx, worker, item, err);
}

static void discard(void *ctx, void *any)
{
    scanner *s = ctx;
    scan_unit *unit = any;
    edt_shard_reader_close(unit->close);
    put_unit(s, unit);
}

static edt_status consume(void *ctx, void *any, edt_error *err)
{
    scanner *s = ctx;
    scan_unit *unit = any;
    const edt_status status = s->spec->consume(s->spec->ctx, &unit->item, err);
    s->n_records += unit->item.kind == EDT_SCAN_RECORD;
    if (s->has_progress) {
        edt_progress_update(&s->progress, (int64_t)(unit->done_bytes >> 20),
                            "%" PRId64 " records", s->n_records);
    }
    discard(ctx, any);
    return status;
}

static edt_status create_units(scanner *s, int64_t n, edt_error *err)
{
    s->units = edt_mem_calloc(EDT_MEM_MISC, (size_t)n, sizeof *s->units);
    if (s->units == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to read records");
    }
    s->n_units = n;
    for (int64_t i = 0; i < n; ++i) {
        scan_unit *unit = &s->units[i];
        edt_arena_init(&unit->arena, EDT_MEM_ARENA, 0);
        unit->item.result = edt_mem_calloc(EDT_MEM_MISC, 1, s->spec->result_bytes + 1);
        if (unit->item.result == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to read records");
        }
        put_unit(s, unit);
    }
    return EDT_OK;
}

static void begin_progress(scanner *s)
{
    uint64_t total = 0;
    for (int64_t i = 0; i < s->spec->n_files; ++i) {
        struct stat info;
        total += stat(s->spec->paths[i], &info) == 0 ? (uint64_t)info.st_size : 0;
    }
    if (total < MIN_PROGRESS_BYTES) {
        return;
    }
    const edt_progress_spec spec = {
        .what = s->spec->progress, .unit = "MiB", .total = (int64_t)(total >> 20)};
    edt_progress_begin(&s->progress, &spec);
    s->has_progress = true;
}

edt_status edt_record_scan(const edt_scan_spec *spec, edt_error *err)
{
    scanner s = {.spec = spec};
    const int n_threads = edt_record_scan_workers(spec->n_threads);
    const int64_t window = (int64_t)n_threads * ITEMS_PER_THREAD;
    const edt_ordered_spec run = {.name = "scan",
                                  .n_threads = n_threads,
                                  .window = window,
                                  .ctx = &s,
                                  .produce = produce,
                                  .work = work,
                                  .consume = consume,
                                  .discard = discard};
    (void)pthread_mutex_init(&s.lock, NULL);
    edt_status status = create_units(&s, window, err);
    if (status == EDT_OK) {
        if (spec->progress != NULL) {
            begin_progress(&s);
        }
        status = edt_ordered_run(&run, err);
        if (s.has_progress) {
            edt_progress_end(&s.progress);
        }
    }
    edt_shard_reader_close(s.reader);
    for (int64_t i = 0; i < s.n_units; ++i) {
        edt_arena_deinit(&s.units[i].arena);
        edt_mem_free(s.units[i].copy);
        edt_mem_free(s.units[i].item.result);
    }
    edt_mem_free(s.units);
    (void)pthread_mutex_destroy(&s.lock);
    return status == EDT_END ? EDT_OK : status;
}
