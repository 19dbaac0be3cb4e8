// The `checkpoint` file: a text protobuf with one path per field, strings with C escapes.
// Fields that are not ours (timestamps) are skipped.
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "core/mem.h"
#include "core/path.h"
#include "model/io/checkpoint.h"
#include "model/io/tf_table_format.h"

enum { MAX_STATE_BYTES = 16 << 20 };

typedef struct reader {
    const char *path;
    const char *at, *end;
    int line;
} reader;

static void skip_space(reader *r)
{
    while (r->at < r->end) {
        if (*r->at == '#') {
            while (r->at < r->end && *r->at != '\n') {
                ++r->at;
            }
        } else if (isspace((unsigned char)*r->at) || *r->at == ';' || *r->at == ',') {
            r->line += *r->at == '\n';
            ++r->at;
        } else {
            return;
        }
    }
}

static int digit_of(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : 99;
}

// The character behind a backslash; false for an unknown or cut escape.
static bool read_escape(reader *r, char *out)
{
    static const char names[] = "abfnrtv\\'\"?";
    static const char values[] = "\a\b\f\n\r\t\v\\'\"?";
    if (r->at == r->end) {
        return false;
    }
    const char c = *r->at++;
    const int base = c == 'x' || c == 'X' ? 16 : 8;
    if (base == 8 && digit_of(c) >= 8) {
        const char *name = c == '\0' ? NULL : strchr(names, c);
        if (name == NULL) {
            return false;
        }
        *out = values[name - names];
        return true;
    }
    int value = base == 8 ? digit_of(c) : 0;
    int n = base == 8 ? 1 : 0;
    const int most = base == 8 ? 3 : 2;
    while (n < most && r->at < r->end && digit_of(*r->at) < base) {
        value = value * base + digit_of(*r->at++);
        ++n;
    }
    *out = (char)value;
    return n > 0;
}

// Adjacent string literals are joined.
static edt_status read_string(reader *r, edt_arena *arena, edt_error *err,
                              const char **out_text)
{
    edt_tf_bytes text = {0};
    edt_status status = EDT_OK;
    while (r->at < r->end && (*r->at == '"' || *r->at == '\'')) {
        const char quote = *r->at++;
        for (;;) {
            if (r->at == r->end || *r->at == '\n') {
                status = edt_error_set(err, EDT_ERR_FORMAT,
                                       "%s:%d: a text without its end quote", r->path, r->line);
                goto fail;
            }
            char c = *r->at++;
            if (c == quote) {
                break;
            }
            if (c == '\\' && !read_escape(r, &c)) {
                status = edt_error_set(err, EDT_ERR_FORMAT,
                                       "%s:%d: an unknown escape in a text", r->path, r->line);
                goto fail;
            }
            if (c == '\0') {
                status = edt_error_set(err, EDT_ERR_FORMAT, "%s:%d: a zero byte in a path",
                                       r->path, r->line);
                goto fail;
            }
            if (!edt_tf_bytes_append(&text, &c, 1)) {
                status = edt_error_set(err, EDT_ERR_NOMEM, "%s: out of memory", r->path);
                goto fail;
            }
        }
        skip_space(r);
    }
    *out_text = edt_arena_strndup(arena, text.n_bytes == 0 ? "" : (const char *)text.data,
                                  text.n_bytes);
    if (*out_text == NULL) {
        status = edt_error_set(err, EDT_ERR_NOMEM, "%s: out of memory", r->path);
    }
fail:
    edt_tf_bytes_deinit(&text);
    return status;
}

static edt_status push(edt_arena *arena, const char ***list, int *n, int *cap, const char *text)
{
    if (*n == *cap) {
        const int grown_cap = *cap == 0 ? 8 : 2 * *cap;
        const char **grown = edt_arena_calloc(arena, (size_t)grown_cap, sizeof *grown);
        if (grown == NULL) {
            return EDT_ERR_NOMEM;
        }
        if (*n > 0) {
            memcpy(grown, *list, (size_t)*n * sizeof *grown);
        }
        *list = grown;
        *cap = grown_cap;
    }
    (*list)[(*n)++] = text;
    return EDT_OK;
}

static edt_status parse(reader *r, edt_arena *arena, edt_error *err, edt_checkpoint_state *out)
{
    edt_checkpoint_state state = {0};
    const char **all = NULL;
    int cap = 0;
    for (;;) {
        skip_space(r);
        if (r->at == r->end) {
            break;
        }
        const char *name = r->at;
        while (r->at < r->end && (isalnum((unsigned char)*r->at) || *r->at == '_')) {
            ++r->at;
        }
        const size_t n_name = (size_t)(r->at - name);
        skip_space(r);
        if (n_name == 0 || r->at == r->end || *r->at != ':') {
            EDT_FAIL(err, EDT_ERR_FORMAT,
                     "%s:%d: expected a line like model_checkpoint_path: \"...\"", r->path,
                     r->line);
        }
        ++r->at;
        skip_space(r);
        if (r->at < r->end && (*r->at == '"' || *r->at == '\'')) {
            const char *text = NULL;
            EDT_TRY(read_string(r, arena, err, &text));
            if (n_name == 21 && memcmp(name, "model_checkpoint_path", n_name) == 0) {
                state.latest = text;
            } else if (n_name == 26 &&
                       memcmp(name, "all_model_checkpoint_paths", n_name) == 0 &&
                       push(arena, &all, &state.n, &cap, text) != EDT_OK) {
                EDT_FAIL(err, EDT_ERR_NOMEM, "%s: out of memory", r->path);
            }
        } else { // a number: timestamps
            while (r->at < r->end && !isspace((unsigned char)*r->at)) {
                ++r->at;
            }
        }
    }
    if (state.latest == NULL || state.latest[0] == '\0') {
        EDT_FAIL(err, EDT_ERR_FORMAT, "%s: has no model_checkpoint_path", r->path);
    }
    state.all = all;
    *out = state;
    return EDT_OK;
}

edt_status edt_checkpoint_state_read(const char *dir, edt_arena *arena, edt_error *err,
                                     edt_checkpoint_state *out_state)
{
    const char *path = edt_path_join(arena, dir, "checkpoint");
    if (path == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "%s: out of memory", dir);
    }
    if (!edt_path_exists(path)) {
        return EDT_END;
    }
    char *text = NULL;
    size_t n = 0;
    EDT_TRY(edt_file_read(path, MAX_STATE_BYTES, err, &text, &n));
    reader r = {.path = path, .at = text, .end = text + n, .line = 1};
    const edt_status status = parse(&r, arena, err, out_state);
    edt_mem_free(text);
    return status;
}

static bool append_line(edt_tf_bytes *out, const char *field, const char *text)
{
    bool ok =
        edt_tf_bytes_append(out, field, strlen(field)) && edt_tf_bytes_append(out, ": \"", 3);
    for (const char *p = text; ok && *p != '\0'; ++p) {
        const unsigned char c = (unsigned char)*p;
        char escaped[8];
        int n = 1;
        if (c == '"' || c == '\\') {
            n = snprintf(escaped, sizeof escaped, "\\%c", c);
        } else if (c < 0x20 || c >= 0x7f) {
            n = snprintf(escaped, sizeof escaped, "\\%03o", c);
        } else {
            escaped[0] = (char)c;
        }
        ok = edt_tf_bytes_append(out, escaped, (size_t)n);
    }
    return ok && edt_tf_bytes_append(out, "\"\n", 2);
}

edt_status edt_checkpoint_state_write(const char *dir, const edt_checkpoint_state *state,
                                      edt_error *err)
{
    edt_tf_bytes text = {0};
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_TEXT, 0);
    const char *path = edt_path_join(&arena, dir, "checkpoint");
    bool ok = path != NULL && append_line(&text, "model_checkpoint_path", state->latest);
    for (int i = 0; ok && i < state->n; ++i) {
        ok = append_line(&text, "all_model_checkpoint_paths", state->all[i]);
    }
    edt_status status = EDT_OK;
    if (ok) {
        status = edt_file_write(path, text.data, text.n_bytes, err);
    } else {
        status = edt_error_set(err, EDT_ERR_NOMEM, "%s: out of memory", dir);
    }
    edt_tf_bytes_deinit(&text);
    edt_arena_deinit(&arena);
    return status;
}
