// A pull parser for large JSON (COCO annotation files): the caller asks for the next event and
// nothing is built. Strings and numbers are borrowed from the input; only strings with escapes
// are copied. Strict RFC 8259 apart from the options below; a UTF-8 byte-order mark is skipped,
// UTF-8 is passed through unchecked. Not thread-safe; the input must outlive the parser and
// every borrowed text.
#ifndef EDT_CORE_JSON_PULL_H
#define EDT_CORE_JSON_PULL_H

#include <stdbool.h>
#include <string.h>

#include "core/arena.h"
#include "core/error.h"
#include "core/span.h"

enum { EDT_JSON_MAX_DEPTH = 64 };

typedef enum edt_json_event {
    EDT_JSON_OBJECT_BEGIN,
    EDT_JSON_OBJECT_END,
    EDT_JSON_ARRAY_BEGIN,
    EDT_JSON_ARRAY_END,
    EDT_JSON_KEY,
    EDT_JSON_STRING,
    EDT_JSON_NUMBER,
    EDT_JSON_TRUE,
    EDT_JSON_FALSE,
    EDT_JSON_NULL,
    EDT_JSON_END, // the whole text has been read; stays so
} edt_json_event;

typedef struct edt_json_frame {
    bool is_object;
    int64_t index; // item of an array, -1 before the first
    edt_text key;  // of an object as written, NULL before the first
} edt_json_frame;

typedef struct edt_json_pull {
    // KEY, STRING: the decoded text. NUMBER: its digits. Borrowed from the input or, with
    // escapes, from `arena`; without an arena from the parser, until its next event.
    edt_text text;

    // What follows is the parser's own.
    const uint8_t *begin, *p, *end;
    const uint8_t *value; // where the last value or key began
    int state;
    int depth;
    bool allow_nan;
    uint64_t mantissa; // of the last number: digits without sign and point, wrapped beyond 19
    int n_digits;      // significant digits in `mantissa`
    int64_t exponent;  // of ten
    bool negative, integral;
    edt_arena *arena;
    char *scratch;
    size_t scratch_bytes;
    edt_json_frame frames[EDT_JSON_MAX_DEPTH];
} edt_json_pull;

typedef struct edt_json_pull_options {
    bool allow_nan;   // NaN, Infinity, -Infinity as Python's json writes them
    edt_arena *arena; // where decoded strings go (borrowed), or NULL
} edt_json_pull_options;

void edt_json_pull_init(edt_json_pull *pull, edt_span text, edt_json_pull_options options);
// As init, for text that goes on inside an array: an item (or the end of the array) comes
// first. Large arrays are read in pieces this way. Positions and paths in messages count from
// here.
void edt_json_pull_init_items(edt_json_pull *pull, edt_span text,
                              edt_json_pull_options options);
void edt_json_pull_deinit(edt_json_pull *pull);

// Bytes read so far.
size_t edt_json_pull_tell(const edt_json_pull *pull);
// For whoever has read the rest of the current array by other means: goes on after its ']',
// `offset` being the byte behind it.
void edt_json_pull_end_array_at(edt_json_pull *pull, size_t offset);

// For whoever can read some values by other means: the text from the value that comes next
// (after edt_json_pull_next_item), and going on behind it as if it had been read, `n_bytes` of
// it.
edt_span edt_json_pull_ahead(const edt_json_pull *pull);
void edt_json_pull_end_value(edt_json_pull *pull, size_t n_bytes);

// EDT_ERR_FORMAT names line, column and path; the parser must not be used after an error.
edt_status edt_json_pull_next(edt_json_pull *pull, edt_error *err, edt_json_event *out_event);

// Reads over one whole value (checking it), to be called where a value comes next; `out_raw`,
// if not NULL, borrows its bytes.
edt_status edt_json_pull_skip_value(edt_json_pull *pull, edt_error *err, edt_span *out_raw);
// After OBJECT_BEGIN or ARRAY_BEGIN: reads over the rest of it, its end included.
edt_status edt_json_pull_skip_rest(edt_json_pull *pull, edt_error *err);

// Loops: the next key of the object (text in *out_key), or *out_more false once its end is
// read.
edt_status edt_json_pull_next_key(edt_json_pull *pull, edt_error *err, edt_text *out_key,
                                  bool *out_more);
// Whether another item of the array comes next, or *out_more false once its end is read.
edt_status edt_json_pull_next_item(edt_json_pull *pull, edt_error *err, bool *out_more);

// The last NUMBER, correctly rounded; beyond the range of double it is an error unless
// allow_nan.
edt_status edt_json_pull_get_f64(const edt_json_pull *pull, edt_error *err, double *out_value);
// The last NUMBER as an integer; 5.0 and 5e0 count as 5, fractions and overflow are errors.
edt_status edt_json_pull_get_i64(const edt_json_pull *pull, edt_error *err, int64_t *out_value);

// The next event must be this one, or a value of this type.
edt_status edt_json_pull_expect(edt_json_pull *pull, edt_json_event event, edt_error *err);
edt_status edt_json_pull_expect_f64(edt_json_pull *pull, edt_error *err, double *out_value);
edt_status edt_json_pull_expect_i64(edt_json_pull *pull, edt_error *err, int64_t *out_value);
edt_status edt_json_pull_expect_bool(edt_json_pull *pull, edt_error *err, bool *out_value);
edt_status edt_json_pull_expect_text(edt_json_pull *pull, edt_error *err, edt_text *out_value);

// Records a caller's complaint about the last value with line, column and path before it.
edt_status edt_json_pull_fail(const edt_json_pull *pull, edt_status status, edt_error *err,
                              const char *fmt, ...) EDT_PRINTF(4, 5);

// Writes "annotations[17].bbox[2]"; empty at the root. Cut to fit, returns `out`.
const char *edt_json_pull_path(const edt_json_pull *pull, char *out, size_t n_out);
// "an object", "text" ...: for messages.
const char *edt_json_event_name(edt_json_event event);

static inline bool edt_text_is(edt_text text, const char *literal)
{
    const size_t n = strlen(literal);
    return text.n_bytes == n && memcmp(text.data, literal, n) == 0;
}

#endif
