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
    bool skip_bad;
    int64_t n_bad[EDT_BAD_N_KINDS];
    int64_t n_notes[EDT_NOTE_N_KINDS];
    edt_arena arena; // of the words
    bad_item *items;
    int64_t n_items;
};

const char *edt_bad_kind_name(edt_bad_kind kind)
{
    static const char *const names[EDT_BAD_N_KINDS] = {
        "field",  "category", "duplicate_image", "duplicate_annotation", "unreadable",
        "header", "size"};
    return (unsigned)kind < EDT_BAD_N_KINDS ? names[kind] : "unknown";
}

const char *edt_note_kind_name(edt_note_kind kind)
{
    static const char *const names[EDT_NOTE_N_KINDS] = {"dropped_empty", "dropped_outside",
                                                        "clipped",       "negative_origin",
                                                        "not_jpeg",      "category_twice"};
    return (unsigned)kind < EDT_NOTE_N_KINDS ? names[kind] : "unknown";
}

edt_status edt_convert_report_create(bool skip_bad, edt_error *err,
                                     edt_convert_report **out_report)
{
    edt_convert_report *report = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *report);
    bad_item *items = edt_mem_calloc(EDT_MEM_MISC, MAX_ITEMS, sizeof *items);
    if (report == NULL || items == NULL) {
        edt_mem_free(report);
        edt_mem_free(items);
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the report");
    }
    (void)pthread_mutex_init(&report->lock, NULL);
    report->skip_bad = skip_bad;
    report->items = items;
    edt_arena_init(&report->arena, EDT_MEM_TEXT, 0);
    *out_report = report;
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
    const int64_t n = ++report->n_bad[kind];
    if (report->n_items < MAX_ITEMS) {
        const char *what = edt_arena_strdup(&report->arena, words);
        const int64_t i = report->n_items++;
        report->items[i] =
            (bad_item){order, i, kind, what != NULL ? what : "(no memory for the words)"};
    }
    (void)pthread_mutex_unlock(&report->lock);
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

// JSON string contents: quotes, backslashes and control characters escaped, bytes passed
// through.
static const char *escape(edt_arena *arena, const char *text)
{
    char *out = edt_arena_alloc(arena, 6 * strlen(text) + 1);
    if (out == NULL) {
        return "";
    }
    char *p = out;
    for (; *text != '\0'; ++text) {
        const unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\') {
            *p++ = '\\';
            *p++ = (char)c;
        } else if (c < 0x20) {
            p += snprintf(p, 7, "\\u%04x", (unsigned)c);
        } else {
            *p++ = (char)c;
        }
    }
    *p = '\0';
    return out;
}

static edt_status put(edt_atomic_file *file, edt_error *err, const char *fmt, ...)
    EDT_PRINTF(3, 4);

static edt_status put(edt_atomic_file *file, edt_error *err, const char *fmt, ...)
{
    char line[6 * MAX_WORDS + 128];
    va_list args;
    va_start(args, fmt);
    const int n = vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    const size_t n_bytes = n < 0 ? 0 : (size_t)n < sizeof line ? (size_t)n : sizeof line - 1;
    return edt_atomic_file_append(file, line, n_bytes, err);
}

static edt_status write_report(const edt_convert_report *report, const char *program,
                               const edt_report_number *numbers, size_t n_numbers,
                               edt_arena *arena, edt_atomic_file *file, edt_error *err)
{
    EDT_TRY(put(file, err, "{\n \"program\": \"%s\",\n", program));
    for (size_t i = 0; i < n_numbers; ++i) {
        EDT_TRY(put(file, err, " \"%s\": %" PRId64 ",\n", numbers[i].name, numbers[i].value));
    }
    EDT_TRY(put(file, err, " \"bad\": {"));
    for (int i = 0; i < EDT_BAD_N_KINDS; ++i) {
        EDT_TRY(put(file, err, "%s\"%s\": %" PRId64, i > 0 ? ", " : "",
                    edt_bad_kind_name((edt_bad_kind)i), report->n_bad[i]));
    }
    EDT_TRY(put(file, err, "},\n \"notes\": {"));
    for (int i = 0; i < EDT_NOTE_N_KINDS; ++i) {
        EDT_TRY(put(file, err, "%s\"%s\": %" PRId64, i > 0 ? ", " : "",
                    edt_note_kind_name((edt_note_kind)i), report->n_notes[i]));
    }
    EDT_TRY(put(file, err, "},\n \"bad_items\": ["));
    for (int64_t i = 0; i < report->n_items; ++i) {
        const bad_item *item = &report->items[i];
        edt_arena_reset(arena);
        EDT_TRY(put(file, err, "%s\n  {\"code\": \"%s\", \"what\": \"%s\"}", i > 0 ? "," : "",
                    edt_bad_kind_name(item->kind), escape(arena, item->what)));
    }
    EDT_TRY(put(file, err, "%s]\n}\n", report->n_items > 0 ? "\n " : ""));
    return edt_atomic_file_commit(file, err);
}

edt_status edt_convert_report_write(const edt_convert_report *report, const char *program,
                                    const edt_report_number *numbers, size_t n_numbers,
                                    const char *path, edt_error *err)
{
    if (report->n_items > 1) {
        qsort(report->items, (size_t)report->n_items, sizeof *report->items, compare_items);
    }
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_TEXT, 0);
    edt_atomic_file *file = NULL;
    edt_status status = edt_atomic_file_open(path, err, &file);
    if (status == EDT_OK) {
        status = write_report(report, program, numbers, n_numbers, &arena, file, err);
    }
    edt_atomic_file_close(file);
    edt_arena_deinit(&arena);
    return status;
}
