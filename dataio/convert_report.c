// See convert_report.h.
#include "dataio/convert_report.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/arena.h"
#include "core/file.h"
#include "core/json.h"
#include "core/log.h"

enum {
    MAX_ITEMS = 10000, // with words in the report; counts go on
    MAX_LOGGED = 10,   // per kind
    MAX_WORDS = 1024,
};

typedef struct bad_item {
    int64_t order;
    int64_t sequence; // of arrival, for equal orders
    edt_bad_kind kind;
    const char *what;
} bad_item;

struct edt_convert_report {
    pthread_mutex_t lock;
    edt_convert_report *whole; // of a part; NULL otherwise
    bool skip_bad;
    int64_t n_logged[EDT_BAD_N_KINDS];
    int64_t n_bad[EDT_BAD_N_KINDS];
    int64_t n_notes[EDT_NOTE_N_KINDS];
    edt_arena arena; // of the words
    bad_item *items;
    int64_t n_items, capacity;
};

const char *edt_bad_kind_name(edt_bad_kind kind)
{
    static const char *const names[EDT_BAD_N_KINDS] = {
        "field",  "category", "duplicate_image", "duplicate_annotation", "unreadable",
        "header", "size",     "pixels"};
    return (unsigned)kind < EDT_BAD_N_KINDS ? names[kind] : "unknown";
}

const char *edt_note_kind_name(edt_note_kind kind)
{
    static const char *const names[EDT_NOTE_N_KINDS] = {
        "dropped_empty", "dropped_outside", "clipped",      "negative_origin",
        "not_jpeg",      "category_twice",  "kept_outside", "kept_empty"};
    return (unsigned)kind < EDT_NOTE_N_KINDS ? names[kind] : "unknown";
}

edt_status edt_convert_report_create(bool skip_bad, edt_error *err,
                                     edt_convert_report **out_report)
{
    edt_convert_report *report = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *report);
    if (report == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the report");
    }
    (void)pthread_mutex_init(&report->lock, NULL);
    report->skip_bad = skip_bad;
    edt_arena_init(&report->arena, EDT_MEM_TEXT, 0);
    *out_report = report;
    return EDT_OK;
}

edt_status edt_convert_report_create_part(edt_convert_report *whole, edt_error *err,
                                          edt_convert_report **out_part)
{
    EDT_TRY(edt_convert_report_create(whole->skip_bad, err, out_part));
    (*out_part)->whole = whole;
    return EDT_OK;
}

void edt_convert_report_destroy(edt_convert_report *report)
{
    if (report != NULL) {
        (void)pthread_mutex_destroy(&report->lock);
        edt_arena_deinit(&report->arena);
        edt_mem_free(report->items);
        edt_mem_free(report);
    }
}

// Without memory the item is counted, but not listed.
static void add_item(edt_convert_report *report, edt_bad_kind kind, int64_t order,
                     const char *words)
{
    if (report->n_items == MAX_ITEMS) {
        return;
    }
    if (report->n_items == report->capacity) {
        const int64_t capacity = report->capacity > 0 ? 2 * report->capacity : 16;
        bad_item *grown =
            edt_mem_realloc(EDT_MEM_MISC, report->items, (size_t)capacity * sizeof *grown);
        if (grown == NULL) {
            return;
        }
        report->items = grown;
        report->capacity = capacity;
    }
    const char *what = edt_arena_strdup(&report->arena, words);
    const int64_t i = report->n_items++;
    report->items[i] =
        (bad_item){order, i, kind, what != NULL ? what : "(no memory for the words)"};
}

edt_status edt_convert_report_bad(edt_convert_report *report, edt_bad_kind kind, int64_t order,
                                  edt_error *err, const char *fmt, ...)
{
    char words[MAX_WORDS];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(words, sizeof words, fmt, args);
    va_end(args);
    if (!report->skip_bad) {
        EDT_FAIL(err, EDT_ERR_INVALID,
                 "%s (bad input: %s; mend it, or leave such items out with --on_bad=skip)",
                 words, edt_bad_kind_name(kind));
    }
    (void)pthread_mutex_lock(&report->lock);
    ++report->n_bad[kind];
    add_item(report, kind, order, words);
    (void)pthread_mutex_unlock(&report->lock);
    // A few of each kind are told at once, whatever part they come from.
    edt_convert_report *log = report->whole != NULL ? report->whole : report;
    (void)pthread_mutex_lock(&log->lock);
    const int64_t n = ++log->n_logged[kind];
    (void)pthread_mutex_unlock(&log->lock);
    if (n <= MAX_LOGGED) {
        EDT_WARN("skipped (%s): %s%s", edt_bad_kind_name(kind), words,
                 n == MAX_LOGGED ? "; more of this kind are only counted" : "");
    }
    return EDT_OK;
}

void edt_convert_report_note(edt_convert_report *report, edt_note_kind kind, int64_t n)
{
    if (n > 0) {
        (void)pthread_mutex_lock(&report->lock);
        report->n_notes[kind] += n;
        (void)pthread_mutex_unlock(&report->lock);
    }
}

int64_t edt_convert_report_n_bad(const edt_convert_report *report, edt_bad_kind kind)
{
    return report->n_bad[kind];
}

int64_t edt_convert_report_n_notes(const edt_convert_report *report, edt_note_kind kind)
{
    return report->n_notes[kind];
}

int64_t edt_convert_report_n_bad_total(const edt_convert_report *report)
{
    int64_t n = 0;
    for (int i = 0; i < EDT_BAD_N_KINDS; ++i) {
        n += report->n_bad[i];
    }
    return n;
}

static int compare_items(const void *a, const void *b)
{
    const bad_item *x = a;
    const bad_item *y = b;
    return x->order != y->order ? (x->order > y->order) - (x->order < y->order)
                                : (x->sequence > y->sequence) - (x->sequence < y->sequence);
}

void edt_convert_report_note_counts(edt_convert_report *report,
                                    const edt_convert_counts *counts)
{
    edt_convert_report_note(report, EDT_NOTE_DROPPED_EMPTY, counts->n_empty);
    edt_convert_report_note(report, EDT_NOTE_DROPPED_OUTSIDE, counts->n_outside);
    edt_convert_report_note(report, EDT_NOTE_CLIPPED, counts->n_clipped);
    edt_convert_report_note(report, EDT_NOTE_NEGATIVE_ORIGIN, counts->n_negative);
    edt_convert_report_note(report, EDT_NOTE_KEPT_OUTSIDE, counts->n_kept_outside);
    edt_convert_report_note(report, EDT_NOTE_KEPT_EMPTY, counts->n_kept_empty);
}

void edt_convert_report_put(edt_convert_report *report, edt_json_writer *json)
{
    if (report->n_items > 1) {
        qsort(report->items, (size_t)report->n_items, sizeof *report->items, compare_items);
    }
    edt_json_key(json, "bad");
    edt_json_begin_object(json);
    for (int i = 0; i < EDT_BAD_N_KINDS; ++i) {
        edt_json_put_i64(json, edt_bad_kind_name((edt_bad_kind)i), report->n_bad[i]);
    }
    edt_json_end_object(json);
    edt_json_key(json, "notes");
    edt_json_begin_object(json);
    for (int i = 0; i < EDT_NOTE_N_KINDS; ++i) {
        edt_json_put_i64(json, edt_note_kind_name((edt_note_kind)i), report->n_notes[i]);
    }
    edt_json_end_object(json);
    edt_json_key(json, "bad_items");
    edt_json_begin_array(json);
    for (int64_t i = 0; i < report->n_items; ++i) {
        edt_json_begin_object(json);
        edt_json_put_i64(json, "order", report->items[i].order);
        edt_json_put_text(json, "code", edt_bad_kind_name(report->items[i].kind));
        edt_json_put_text(json, "what", report->items[i].what);
        edt_json_end_object(json);
    }
    edt_json_end_array(json);
}

static const edt_json_node *get_kind(const edt_json_node *object, const char *key,
                                     edt_json_kind kind)
{
    const edt_json_node *node = edt_json_get(object, key);
    return node != NULL && node->kind == kind ? node : NULL;
}

static edt_bad_kind find_bad_kind(const edt_json_node *code)
{
    for (int i = 0; code != NULL && i < EDT_BAD_N_KINDS; ++i) {
        if (strcmp(edt_bad_kind_name((edt_bad_kind)i), code->text) == 0) {
            return (edt_bad_kind)i;
        }
    }
    return EDT_BAD_N_KINDS;
}

edt_status edt_convert_report_merge(edt_convert_report *report, const edt_json_node *object,
                                    edt_error *err)
{
    const edt_json_node *bad = get_kind(object, "bad", EDT_JSON_KIND_OBJECT);
    const edt_json_node *notes = get_kind(object, "notes", EDT_JSON_KIND_OBJECT);
    const edt_json_node *items = get_kind(object, "bad_items", EDT_JSON_KIND_ARRAY);
    bool good = bad != NULL && notes != NULL && items != NULL;
    for (int i = 0; good && i < EDT_BAD_N_KINDS; ++i) {
        const edt_json_node *n =
            get_kind(bad, edt_bad_kind_name((edt_bad_kind)i), EDT_JSON_KIND_NUMBER);
        good = n != NULL;
        report->n_bad[i] += good ? (int64_t)n->number : 0;
    }
    for (int i = 0; good && i < EDT_NOTE_N_KINDS; ++i) {
        const edt_json_node *n =
            get_kind(notes, edt_note_kind_name((edt_note_kind)i), EDT_JSON_KIND_NUMBER);
        good = n != NULL;
        report->n_notes[i] += good ? (int64_t)n->number : 0;
    }
    for (const edt_json_node *item = good ? items->first : NULL; good && item != NULL;
         item = item->next) {
        const edt_json_node *order = get_kind(item, "order", EDT_JSON_KIND_NUMBER);
        const edt_json_node *what = get_kind(item, "what", EDT_JSON_KIND_TEXT);
        const edt_bad_kind kind = find_bad_kind(get_kind(item, "code", EDT_JSON_KIND_TEXT));
        good = order != NULL && what != NULL && kind != EDT_BAD_N_KINDS;
        if (good) {
            add_item(report, kind, (int64_t)order->number, what->text);
        }
    }
    if (!good) {
        EDT_FAIL(err, EDT_ERR_FORMAT, "a part of the report is not as it was written");
    }
    return EDT_OK;
}

static void build_report(edt_convert_report *report, const char *program,
                         const edt_report_number *numbers, size_t n_numbers,
                         edt_json_writer *json)
{
    edt_json_begin_object(json);
    edt_json_put_text(json, "program", program);
    for (size_t i = 0; i < n_numbers; ++i) {
        edt_json_put_i64(json, numbers[i].name, numbers[i].value);
    }
    edt_convert_report_put(report, json);
    edt_json_end_object(json);
}

edt_status edt_convert_report_write(edt_convert_report *report, const char *program,
                                    const edt_report_number *numbers, size_t n_numbers,
                                    const char *path, edt_error *err)
{
    edt_json_writer json = {.indent = 1};
    edt_text text;
    build_report(report, program, numbers, n_numbers, &json);
    edt_status status = edt_json_writer_finish(&json, err, &text);
    if (status == EDT_OK) {
        status = edt_file_write(path, text.data, text.n_bytes, err);
    }
    edt_json_writer_deinit(&json);
    return status;
}
