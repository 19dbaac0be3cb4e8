// The JSON writer and a thin tree over cJSON; see json.h.
#include "core/json.h"

#include <cJSON.h>
#include <math.h>
#include <string.h>

#include "core/utf8.h"

void edt_json_writer_deinit(edt_json_writer *writer)
{
    if (writer != NULL) {
        edt_strbuf_deinit(&writer->out);
        *writer = (edt_json_writer){0};
    }
}

void edt_json_writer_reset(edt_json_writer *writer)
{
    edt_strbuf_clear(&writer->out);
    writer->depth = 0;
    writer->misused = false;
    writer->after_key = false;
    writer->n_items[0] = 0;
}

static void new_line(edt_json_writer *w)
{
    edt_strbuf_puts(&w->out, "\n");
    for (int i = 0; i < w->depth * w->indent; ++i) {
        edt_strbuf_append(&w->out, " ", 1);
    }
}

// What stands before a value or a key.
static void separate(edt_json_writer *w, bool is_key)
{
    const bool in_object = w->depth > 0 && w->is_object[w->depth];
    if (w->after_key) {
        w->misused |= is_key;
        w->after_key = false;
        return;
    }
    w->misused |= in_object != is_key || (w->depth == 0 && w->n_items[0] > 0);
    if (w->n_items[w->depth]++ > 0) {
        edt_strbuf_puts(&w->out, w->compact || w->indent > 0 ? "," : ", ");
    }
    if (w->indent > 0 && w->depth > 0) {
        new_line(w);
    }
}

static void begin(edt_json_writer *w, bool is_object)
{
    separate(w, false);
    edt_strbuf_puts(&w->out, is_object ? "{" : "[");
    if (w->depth == EDT_JSON_WRITER_DEPTH) {
        w->misused = true;
        return;
    }
    ++w->depth;
    w->is_object[w->depth] = is_object;
    w->n_items[w->depth] = 0;
}

static void end(edt_json_writer *w, bool is_object)
{
    if (w->depth == 0 || w->is_object[w->depth] != is_object || w->after_key) {
        w->misused = true;
        return;
    }
    const bool empty = w->n_items[w->depth] == 0;
    --w->depth;
    if (w->indent > 0 && !empty) {
        new_line(w);
    }
    edt_strbuf_puts(&w->out, is_object ? "}" : "]");
}

void edt_json_begin_object(edt_json_writer *writer)
{
    begin(writer, true);
}

void edt_json_end_object(edt_json_writer *writer)
{
    end(writer, true);
}

void edt_json_begin_array(edt_json_writer *writer)
{
    begin(writer, false);
}

void edt_json_end_array(edt_json_writer *writer)
{
    end(writer, false);
}

// A character beyond ASCII: escaped, or U+FFFD for bytes that are no UTF-8.
static void put_code(edt_json_writer *w, uint32_t code)
{
    if (!w->ascii && code == 0xFFFD) {
        edt_strbuf_puts(&w->out, "\xEF\xBF\xBD");
    } else if (code >= 0x10000) {
        edt_strbuf_printf(&w->out, "\\u%04x\\u%04x", 0xd800 + ((code - 0x10000) >> 10),
                          0xdc00 + ((code - 0x10000) & 0x3ff));
    } else {
        edt_strbuf_printf(&w->out, "\\u%04x", code);
    }
}

static void put_quoted(edt_json_writer *w, const char *text, size_t n_bytes)
{
    const uint8_t *p = (const uint8_t *)text, *stop = p + n_bytes, *clean = p;
    edt_strbuf_append(&w->out, "\"", 1);
    while (p < stop) {
        uint32_t code;
        const size_t n = edt_utf8_decode((const char *)p, (size_t)(stop - p), &code);
        if (n > 0 && *p >= 0x20 && *p != '"' && *p != '\\' && !(w->ascii && *p > 0x7f)) {
            p += n;
            continue;
        }
        edt_strbuf_append(&w->out, (const char *)clean, (size_t)(p - clean));
        static const char names[] = "\b\f\n\r\t\"\\", letters[] = "bfnrt\"\\";
        const char *name = *p != 0 ? strchr(names, *p) : NULL;
        if (n == 0 || code > 0x7f) {
            put_code(w, n > 0 ? code : 0xFFFD);
        } else if (name != NULL) {
            edt_strbuf_append(&w->out, (const char[]){'\\', letters[name - names]}, 2);
        } else {
            edt_strbuf_printf(&w->out, "\\u%04x", *p);
        }
        clean = p += n > 0 ? n : 1;
    }
    edt_strbuf_append(&w->out, (const char *)clean, (size_t)(p - clean));
    edt_strbuf_append(&w->out, "\"", 1);
}

void edt_json_key(edt_json_writer *writer, const char *key)
{
    separate(writer, true);
    put_quoted(writer, key, strlen(key));
    edt_strbuf_puts(&writer->out, writer->compact ? ":" : ": ");
    writer->after_key = true;
}

void edt_json_text_n(edt_json_writer *writer, edt_text text)
{
    separate(writer, false);
    put_quoted(writer, text.data, text.n_bytes);
}

void edt_json_text(edt_json_writer *writer, const char *text)
{
    if (text == NULL) {
        edt_json_null(writer);
    } else {
        edt_json_text_n(writer, (edt_text){text, strlen(text)});
    }
}

void edt_json_i64(edt_json_writer *writer, int64_t value)
{
    separate(writer, false);
    edt_strbuf_printf(&writer->out, "%lld", (long long)value);
}

void edt_json_f64(edt_json_writer *writer, double value)
{
    separate(writer, false);
    if (isfinite(value)) {
        char text[32];
        edt_strbuf_append(&writer->out, text, edt_format_f64(value, text));
    } else {
        edt_strbuf_puts(&writer->out, isnan(value) ? "NaN"
                                      : value < 0  ? "-Infinity"
                                                   : "Infinity");
    }
}

void edt_json_f64_or_null(edt_json_writer *writer, double value)
{
    if (isfinite(value)) {
        edt_json_f64(writer, value);
    } else {
        edt_json_null(writer);
    }
}

void edt_json_bool(edt_json_writer *writer, bool value)
{
    separate(writer, false);
    edt_strbuf_puts(&writer->out, value ? "true" : "false");
}

void edt_json_null(edt_json_writer *writer)
{
    separate(writer, false);
    edt_strbuf_puts(&writer->out, "null");
}

void edt_json_put_text(edt_json_writer *writer, const char *key, const char *text)
{
    edt_json_key(writer, key);
    edt_json_text(writer, text);
}

void edt_json_put_i64(edt_json_writer *writer, const char *key, int64_t value)
{
    edt_json_key(writer, key);
    edt_json_i64(writer, value);
}

void edt_json_put_f64(edt_json_writer *writer, const char *key, double value)
{
    edt_json_key(writer, key);
    edt_json_f64(writer, value);
}

void edt_json_put_bool(edt_json_writer *writer, const char *key, bool value)
{
    edt_json_key(writer, key);
    edt_json_bool(writer, value);
}

edt_status edt_json_writer_finish(edt_json_writer *writer, edt_error *err, edt_text *out_text)
{
    if (writer->out.failed) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "out of memory for JSON output");
    }
    if (writer->misused || writer->depth != 0 || writer->after_key || writer->n_items[0] != 1) {
        EDT_FAIL(err, EDT_ERR_INTERNAL, "JSON output is not one whole value");
    }
    *out_text = (edt_text){writer->out.text, writer->out.n_bytes};
    return EDT_OK;
}

// A copy of cJSON's node; cJSON limits the nesting itself (CJSON_NESTING_LIMIT).
static edt_json_node *copy_node(const cJSON *from, edt_arena *arena)
{
    edt_json_node *node = edt_arena_calloc(arena, 1, sizeof *node);
    bool ok = node != NULL;
    if (ok && from->string != NULL) {
        node->key = edt_arena_strdup(arena, from->string);
        ok = node->key != NULL;
    }
    if (ok && cJSON_IsString(from)) {
        node->kind = EDT_JSON_KIND_TEXT;
        node->text = edt_arena_strdup(arena, from->valuestring);
        ok = node->text != NULL;
    } else if (ok && cJSON_IsNumber(from)) {
        node->kind = EDT_JSON_KIND_NUMBER;
        node->number = from->valuedouble;
    } else if (ok && cJSON_IsBool(from)) {
        node->kind = EDT_JSON_KIND_BOOL;
        node->number = cJSON_IsTrue(from);
    } else if (ok && (cJSON_IsArray(from) || cJSON_IsObject(from))) {
        node->kind = cJSON_IsArray(from) ? EDT_JSON_KIND_ARRAY : EDT_JSON_KIND_OBJECT;
        const edt_json_node **tail = &node->first;
        for (const cJSON *child = from->child; ok && child != NULL; child = child->next) {
            edt_json_node *copy = copy_node(child, arena);
            ok = copy != NULL;
            if (ok) {
                *tail = copy;
                tail = &copy->next;
                ++node->n;
            }
        }
    }
    return ok ? node : NULL;
}

edt_status edt_json_parse(edt_span text, edt_arena *arena, edt_error *err,
                          const edt_json_node **out_root)
{
    const char *stop = NULL;
    const char *data = text.n_bytes > 0 ? (const char *)text.data : "";
    cJSON *root = cJSON_ParseWithLengthOpts(data, text.n_bytes, &stop, 0);
    size_t at = stop != NULL ? (size_t)(stop - data) : 0;
    while (root != NULL && at < text.n_bytes && strchr(" \t\r\n", data[at]) != NULL &&
           data[at] != 0) {
        ++at;
    }
    if (root == NULL || at < text.n_bytes) {
        int line = 1;
        for (size_t i = 0; i < at; ++i) {
            line += data[i] == '\n';
        }
        cJSON_Delete(root);
        EDT_FAIL(err, EDT_ERR_FORMAT, "JSON: line %d: %s", line,
                 root == NULL ? "syntax error" : "text after the end");
    }
    const edt_json_node *copy = copy_node(root, arena);
    cJSON_Delete(root);
    if (copy == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "out of memory for JSON");
    }
    *out_root = copy;
    return EDT_OK;
}

const edt_json_node *edt_json_get(const edt_json_node *object, const char *key)
{
    if (object != NULL && object->kind == EDT_JSON_KIND_OBJECT) {
        for (const edt_json_node *child = object->first; child != NULL; child = child->next) {
            if (strcmp(child->key, key) == 0) {
                return child;
            }
        }
    }
    return NULL;
}
