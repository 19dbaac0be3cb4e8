// Writing JSON as a stream into growing text, and reading small configurations as a tree (cJSON
// inside). Large inputs go through core/json_pull.h.
#ifndef EDT_CORE_JSON_H
#define EDT_CORE_JSON_H

#include <stdbool.h>
#include <stdint.h>

#include "core/arena.h"
#include "core/error.h"
#include "core/span.h"
#include "core/strbuf.h"

enum { EDT_JSON_WRITER_DEPTH = 64 };

// Commas, colons and line breaks are the writer's. Zero-initialised it writes Python's default
// style ({"a": 1, "b": [1, 2]}); with `indent` > 0 every item stands on its own line. A misuse
// (value without key, unbalanced end) is remembered and told by edt_json_writer_finish.
typedef struct edt_json_writer {
    edt_strbuf out;
    int indent;
    bool compact; // no blanks at all
    bool ascii;   // all other characters as \uXXXX, as Python's json has them by default

    int depth;
    bool misused;
    bool after_key;
    bool is_object[EDT_JSON_WRITER_DEPTH + 1];
    int64_t n_items[EDT_JSON_WRITER_DEPTH + 1];
} edt_json_writer;

void edt_json_writer_deinit(edt_json_writer *writer);
// Forgets the text for the next line of a JSON-lines file; keeps style and memory.
void edt_json_writer_reset(edt_json_writer *writer);

void edt_json_begin_object(edt_json_writer *writer);
void edt_json_end_object(edt_json_writer *writer);
void edt_json_begin_array(edt_json_writer *writer);
void edt_json_end_array(edt_json_writer *writer);
void edt_json_key(edt_json_writer *writer, const char *key);

// Text is UTF-8 and stays so (unless `ascii`); control bytes, quotes and backslashes are escaped, bytes that are
// no UTF-8 become U+FFFD. NULL writes null.
void edt_json_text(edt_json_writer *writer, const char *text);
void edt_json_text_n(edt_json_writer *writer, edt_text text);
void edt_json_i64(edt_json_writer *writer, int64_t value);
// Shortest form that reads back equal, as Python's repr; NaN and infinities as Python's json
// has them (NaN, Infinity, -Infinity).
void edt_json_f64(edt_json_writer *writer, double value);
// As edt_json_f64 with null for what is not finite.
void edt_json_f64_or_null(edt_json_writer *writer, double value);
void edt_json_bool(edt_json_writer *writer, bool value);
void edt_json_null(edt_json_writer *writer);

// Key and value in one.
void edt_json_put_text(edt_json_writer *writer, const char *key, const char *text);
void edt_json_put_i64(edt_json_writer *writer, const char *key, int64_t value);
void edt_json_put_f64(edt_json_writer *writer, const char *key, double value);
void edt_json_put_bool(edt_json_writer *writer, const char *key, bool value);

// The finished text, the writer's until the next change. EDT_ERR_NOMEM, EDT_ERR_INTERNAL for
// misuse.
edt_status edt_json_writer_finish(edt_json_writer *writer, edt_error *err, edt_text *out_text);

typedef enum edt_json_kind {
    EDT_JSON_KIND_NULL,
    EDT_JSON_KIND_BOOL,
    EDT_JSON_KIND_NUMBER,
    EDT_JSON_KIND_TEXT,
    EDT_JSON_KIND_ARRAY,
    EDT_JSON_KIND_OBJECT,
} edt_json_kind;

// A read-only node; children form a list in file order.
typedef struct edt_json_node {
    edt_json_kind kind;
    const char *key; // in an object, else NULL
    const char *text;
    double number; // numbers; 1 for true
    int n;         // children
    const struct edt_json_node *first, *next;
} edt_json_node;

// The whole text as a tree in `arena`. EDT_ERR_FORMAT names the line.
edt_status edt_json_parse(edt_span text, edt_arena *arena, edt_error *err,
                          const edt_json_node **out_root);
// The child with this key, or NULL (also for NULL and for what is no object).
const edt_json_node *edt_json_get(const edt_json_node *object, const char *key);

#endif
