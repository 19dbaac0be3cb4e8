// See quarantine.h. One table of entries under one mutex; an array by record number finds them,
// made when the first record is met, so that a sound data set pays one atomic load per sample.
#include "dataio/quarantine.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/file.h"
#include "core/json.h"
#include "core/log.h"
#include "core/mem.h"
#include "core/path.h"

// The report is written at most every SAVE_SECONDS, and seldom enough to cost 5 % of a thread.
enum {
    SAVE_SECONDS = 5,
    SAVE_SHARE = 20,
    REASON_BYTES = 512,
    MAX_REPORT_BYTES = 1 << 28,
    N_WORST = 5
};

typedef struct entry {
    int64_t index;
    int64_t n_met; // 0: only by those who work ahead
    edt_status status;
    bool is_added; // since the create: not only in an earlier run's report
    bool is_final;
    char *reason;
} entry;

struct edt_quarantine {
    const edt_record_index *index;
    char *policy, *path; // path NULL: no report
    atomic_bool has_final;
    atomic_bool is_dirty;

    pthread_mutex_t mutex; // guards what follows
    bool has_sync;
    entry *entries;
    int64_t n_entries, capacity;
    int32_t *entry_of;        // [n_records] number of the entry + 1; NULL before the first
    int64_t n_records, n_met; // of entries that were met
    bool is_saving;
    bool has_warned;
    double next_save_s;
};

static entry *find(const edt_quarantine *q, int64_t index)
{
    const int32_t at = q->entry_of != NULL ? q->entry_of[index] : 0;
    return at > 0 ? &q->entries[at - 1] : NULL;
}

static edt_status grow(edt_quarantine *q, edt_error *err)
{
    const int64_t n_records = edt_record_index_n_records(q->index);
    if (q->entry_of == NULL) {
        q->entry_of = edt_mem_calloc(EDT_MEM_MISC, (size_t)n_records, sizeof *q->entry_of);
    }
    if (q->entry_of != NULL && q->n_entries == q->capacity) {
        const int64_t capacity = q->capacity > 0 ? 2 * q->capacity : 16;
        entry *entries =
            edt_mem_realloc(EDT_MEM_MISC, q->entries, (size_t)capacity * sizeof *q->entries);
        if (entries != NULL) {
            q->entries = entries;
            q->capacity = capacity;
        }
    }
    if (q->entry_of == NULL || q->n_entries == q->capacity) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to note %" PRId64 " bad records",
                 q->n_entries + 1);
    }
    return EDT_OK;
}

static char *copy_reason(const char *text)
{
    const size_t n_bytes = strnlen(text, REASON_BYTES);
    char *copy = edt_mem_alloc(EDT_MEM_TEXT, n_bytes + 1);
    if (copy != NULL) {
        memcpy(copy, text, n_bytes);
        copy[n_bytes] = '\0';
    }
    return copy;
}

// The entry of a record, made when it has none.
static edt_status enter(edt_quarantine *q, int64_t index, edt_status status, const char *reason,
                        edt_error *err, entry **out_entry)
{
    entry *e = find(q, index);
    if (e == NULL) {
        EDT_TRY(grow(q, err));
        char *copy = copy_reason(reason);
        if (copy == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to note a bad record");
        }
        e = &q->entries[q->n_entries++];
        *e = (entry){.index = index, .status = status, .reason = copy};
        q->entry_of[index] = (int32_t)q->n_entries;
    }
    *out_entry = e;
    return EDT_OK;
}

static void count(edt_quarantine *q, entry *e, int64_t n)
{
    q->n_records += e->n_met == 0 && n > 0;
    e->n_met += n;
    q->n_met += n;
}

static edt_status parse_status(const edt_json_node *name)
{
    for (int i = EDT_OK; i <= EDT_ERR_INTERNAL; ++i) {
        if (name != NULL && name->text != NULL &&
            strcmp(name->text, edt_status_name((edt_status)i)) == 0) {
            return (edt_status)i;
        }
    }
    return EDT_ERR_FORMAT;
}

// The record that a report names; -1 for none of the data set.
static int64_t find_record(const edt_quarantine *q, const char *path, int64_t i_local,
                           edt_arena *arena)
{
    const char *name = edt_path_basename(arena, path);
    int64_t found = -1;
    for (int64_t f = 0; f < edt_record_index_n_files(q->index); ++f) {
        const char *own = edt_record_index_path(q->index, f);
        const char *own_name = edt_path_basename(arena, own);
        const int64_t first = edt_record_index_first(q->index, f);
        const bool is_there =
            i_local >= 0 && i_local < edt_record_index_first(q->index, f + 1) - first;
        if (is_there && strcmp(own, path) == 0) {
            return first + i_local;
        }
        // The data set may lie in another place by now.
        if (is_there && name != NULL && own_name != NULL && strcmp(own_name, name) == 0) {
            found = first + i_local;
        }
    }
    return found;
}

static edt_status read_report(edt_quarantine *q, edt_span text, edt_arena *arena,
                              edt_error *err)
{
    const edt_json_node *root;
    if (edt_json_parse(text, arena, NULL, &root) != EDT_OK) {
        return EDT_OK;
    }
    const edt_json_node *of = edt_json_get(root, "fingerprint");
    const edt_json_node *records = edt_json_get(root, "records");
    if (of == NULL || of->text == NULL || records == NULL ||
        strcmp(of->text, edt_record_index_fingerprint(q->index)) != 0) {
        return EDT_OK;
    }
    for (const edt_json_node *r = records->first; r != NULL; r = r->next) {
        const edt_json_node *file = edt_json_get(r, "file"), *i = edt_json_get(r, "record");
        const edt_json_node *why = edt_json_get(r, "reason"), *n = edt_json_get(r, "times_met");
        if (file == NULL || file->text == NULL || i == NULL || why == NULL ||
            why->text == NULL || n == NULL || !(n->number >= 0.0 && n->number < 1e15) ||
            !(i->number >= 0.0 && i->number < 1e15)) {
            continue;
        }
        const int64_t index = find_record(q, file->text, (int64_t)i->number, arena);
        if (index >= 0) {
            entry *e = NULL;
            EDT_TRY(
                enter(q, index, parse_status(edt_json_get(r, "status")), why->text, err, &e));
            count(q, e, (int64_t)n->number);
        }
    }
    return EDT_OK;
}

// A report of another data set, or what is none, is replaced when a record is met.
static edt_status go_on_with_report(edt_quarantine *q, edt_error *err)
{
    char *text;
    size_t n_bytes;
    if (q->path == NULL || !edt_path_exists(q->path) ||
        edt_file_read(q->path, MAX_REPORT_BYTES, NULL, &text, &n_bytes) != EDT_OK) {
        return EDT_OK;
    }
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_TEXT, 0);
    const edt_status status =
        read_report(q, (edt_span){(const uint8_t *)text, n_bytes}, &arena, err);
    edt_arena_deinit(&arena);
    edt_mem_free(text);
    return status;
}

edt_status edt_quarantine_create(const edt_quarantine_options *options, edt_error *err,
                                 edt_quarantine **out_quarantine)
{
    const bool has_path = options->path != NULL && options->path[0] != '\0';
    edt_status status = EDT_OK;
    edt_quarantine *q = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *q);
    if (q == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to note bad records");
    }
    q->index = options->index;
    q->policy = edt_mem_strdup(EDT_MEM_TEXT, options->policy);
    q->path = has_path ? edt_mem_strdup(EDT_MEM_TEXT, options->path) : NULL;
    if (q->policy == NULL || (has_path && q->path == NULL)) {
        status = edt_error_set(err, EDT_ERR_NOMEM, "no memory to note bad records");
        goto fail;
    }
    if (pthread_mutex_init(&q->mutex, NULL) != 0) {
        status = edt_error_set(err, EDT_ERR_NOMEM, "the system has no mutex left");
        goto fail;
    }
    q->has_sync = true;
    EDT_TRY_GOTO(go_on_with_report(q, err));
    *out_quarantine = q;
    return EDT_OK;
fail:
    edt_quarantine_destroy(q);
    return status;
}

void edt_quarantine_destroy(edt_quarantine *quarantine)
{
    edt_quarantine *q = quarantine;
    if (q == NULL) {
        return;
    }
    if (q->has_sync) {
        (void)pthread_mutex_destroy(&q->mutex);
    }
    for (int64_t i = 0; i < q->n_entries; ++i) {
        edt_mem_free(q->entries[i].reason);
    }
    edt_mem_free(q->entries);
    edt_mem_free(q->entry_of);
    edt_mem_free(q->policy);
    edt_mem_free(q->path);
    edt_mem_free(q);
}

static edt_status add(edt_quarantine *q, const edt_bad_record *bad, edt_error *err,
                      bool *out_is_new)
{
    entry *e = NULL;
    EDT_TRY(enter(q, bad->index, bad->status, bad->reason, err, &e));
    if (!e->is_added || (bad->is_final && !e->is_final)) {
        // What is wrong now counts, not what an earlier run had against it.
        char *reason = copy_reason(bad->reason);
        if (reason == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to note a bad record");
        }
        edt_mem_free(e->reason);
        e->reason = reason;
        e->status = bad->status;
    }
    *out_is_new = !e->is_added;
    e->is_added = true;
    e->is_final = e->is_final || bad->is_final;
    if (e->is_final) {
        atomic_store(&q->has_final, true);
    }
    return EDT_OK;
}

edt_status edt_quarantine_add(edt_quarantine *quarantine, const edt_bad_record *bad,
                              edt_error *err, bool *out_is_new)
{
    (void)pthread_mutex_lock(&quarantine->mutex);
    const edt_status status = add(quarantine, bad, err, out_is_new);
    (void)pthread_mutex_unlock(&quarantine->mutex);
    return status;
}

void edt_quarantine_meet(edt_quarantine *quarantine, const int64_t *indexes, int64_t n)
{
    edt_quarantine *q = quarantine;
    (void)pthread_mutex_lock(&q->mutex);
    for (int64_t i = 0; i < n; ++i) {
        entry *e = find(q, indexes[i]);
        if (e != NULL) {
            count(q, e, 1);
        }
    }
    (void)pthread_mutex_unlock(&q->mutex);
    atomic_store(&q->is_dirty, true);
}

edt_status edt_quarantine_check(edt_quarantine *quarantine, int64_t index, edt_error *err)
{
    edt_quarantine *q = quarantine;
    edt_status status = EDT_OK;
    if (!atomic_load(&q->has_final)) {
        return EDT_OK;
    }
    (void)pthread_mutex_lock(&q->mutex);
    const entry *e = find(q, index);
    if (e != NULL && e->is_final) {
        status = edt_error_set(err, e->status, "%s", e->reason);
    }
    (void)pthread_mutex_unlock(&q->mutex);
    return status;
}

static void put_entry(const edt_quarantine *q, const entry *e, edt_json_writer *w)
{
    const edt_record_ref ref = edt_record_index_get(q->index, e->index);
    const edt_side_record *row = edt_record_index_row(q->index, e->index);
    edt_json_begin_object(w);
    edt_json_put_text(w, "file", edt_record_index_path(q->index, ref.i_file));
    edt_json_put_i64(w, "record", ref.i_local);
    edt_json_key(w, "source_id");
    if ((row->flags & (EDT_RECORD_INFO_NUMBER | EDT_RECORD_INFO_HASH)) != 0) {
        edt_json_i64(w, row->image_id);
    } else {
        edt_json_null(w);
    }
    edt_json_put_text(w, "status", edt_status_name(e->status));
    edt_json_put_text(w, "reason", e->reason);
    edt_json_put_i64(w, "times_met", e->n_met);
    edt_json_end_object(w);
}

// With the mutex held. In the order of the data set: which record was met first is chance.
static void put_report(const edt_quarantine *q, edt_json_writer *w)
{
    const int64_t n = edt_record_index_n_records(q->index);
    edt_json_begin_object(w);
    edt_json_put_text(w, "fingerprint", edt_record_index_fingerprint(q->index));
    edt_json_put_text(w, "on_bad_sample", q->policy);
    edt_json_put_i64(w, "n_samples", n);
    edt_json_put_i64(w, "bad_records", q->n_records);
    edt_json_put_i64(w, "times_met", q->n_met);
    edt_json_key(w, "records");
    edt_json_begin_array(w);
    for (int64_t i = 0; i < n && q->entry_of != NULL; ++i) {
        const entry *e = find(q, i);
        if (e != NULL && e->n_met > 0) {
            put_entry(q, e, w);
        }
    }
    edt_json_end_array(w);
    edt_json_end_object(w);
}

static edt_status write_report(edt_quarantine *q, edt_json_writer *w, edt_error *err)
{
    edt_text text;
    edt_status status = edt_json_writer_finish(w, err, &text);
    if (status == EDT_OK) {
        status = edt_file_write(q->path, text.data, text.n_bytes, err);
    }
    return status == EDT_OK ? EDT_OK
                            : edt_error_add_context(err, status, "the report of bad records");
}

// The writing itself holds nobody up.
static edt_status save(edt_quarantine *q, bool only_if_due, edt_error *err)
{
    const double t0 = edt_clock_now_s();
    (void)pthread_mutex_lock(&q->mutex);
    const bool saves =
        !q->is_saving && atomic_load(&q->is_dirty) && !(only_if_due && t0 < q->next_save_s);
    edt_json_writer w = {.indent = 1};
    if (saves) {
        q->is_saving = true;
        atomic_store(&q->is_dirty, false);
        put_report(q, &w);
    }
    (void)pthread_mutex_unlock(&q->mutex);
    if (!saves) {
        return EDT_OK;
    }
    const edt_status status = write_report(q, &w, err);
    edt_json_writer_deinit(&w);
    (void)pthread_mutex_lock(&q->mutex);
    q->is_saving = false;
    const double now = edt_clock_now_s();
    const double pause = SAVE_SHARE * (now - t0);
    q->next_save_s = now + (pause > SAVE_SECONDS ? pause : SAVE_SECONDS);
    (void)pthread_mutex_unlock(&q->mutex);
    return status;
}

void edt_quarantine_save_if_due(edt_quarantine *quarantine)
{
    edt_quarantine *q = quarantine;
    if (q->path == NULL || !atomic_load(&q->is_dirty)) {
        return;
    }
    edt_error err = {0};
    if (save(q, true, &err) != EDT_OK) {
        (void)pthread_mutex_lock(&q->mutex);
        const bool warns = !q->has_warned;
        q->has_warned = true;
        (void)pthread_mutex_unlock(&q->mutex);
        if (warns) {
            EDT_WARN("%s (said once; it is tried again)", err.text);
        }
        atomic_store(&q->is_dirty, true);
    }
}

edt_status edt_quarantine_save(edt_quarantine *quarantine, edt_error *err)
{
    return quarantine->path != NULL ? save(quarantine, false, err) : EDT_OK;
}

edt_quarantine_counts edt_quarantine_count(edt_quarantine *quarantine)
{
    (void)pthread_mutex_lock(&quarantine->mutex);
    const edt_quarantine_counts counts = {quarantine->n_records, quarantine->n_met};
    (void)pthread_mutex_unlock(&quarantine->mutex);
    return counts;
}

// Of those not taken yet, the one met most often; the first of several.
static const entry *find_worst(const edt_quarantine *q, const entry *const *taken, int n_taken)
{
    const entry *worst = NULL;
    for (int64_t i = 0; i < q->n_entries; ++i) {
        const entry *e = &q->entries[i];
        bool is_taken = false;
        for (int k = 0; k < n_taken; ++k) {
            is_taken = is_taken || taken[k] == e;
        }
        if (!is_taken && (worst == NULL || e->n_met > worst->n_met ||
                          (e->n_met == worst->n_met && e->index < worst->index))) {
            worst = e;
        }
    }
    return worst;
}

void edt_quarantine_log(edt_quarantine *quarantine)
{
    edt_quarantine *q = quarantine;
    const entry *worst[N_WORST];
    (void)pthread_mutex_lock(&q->mutex);
    if (q->n_records > 0) {
        EDT_WARN("on_bad_sample=%s: %" PRId64 " distinct bad records of %" PRId64
                 " were met %" PRId64 " times%s%s; the worst:",
                 q->policy, q->n_records, edt_record_index_n_records(q->index), q->n_met,
                 q->path != NULL ? "; all are in " : "", q->path != NULL ? q->path : "");
    }
    for (int i = 0; i < N_WORST && i < q->n_records; ++i) {
        const entry *e = worst[i] = find_worst(q, worst, i);
        const edt_record_ref ref = edt_record_index_get(q->index, e->index);
        EDT_WARN("  %s: record %" PRIu32 ", %" PRId64 " time%s: %s",
                 edt_record_index_path(q->index, ref.i_file), ref.i_local, e->n_met,
                 e->n_met == 1 ? "" : "s", e->reason);
    }
    (void)pthread_mutex_unlock(&q->mutex);
}
