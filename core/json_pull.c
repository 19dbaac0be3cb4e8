// The parser is one state and a stack of frames. Blanks, strings and long runs are scanned 16
// bytes at a time where SSE2 exists (every x86-64), digits are gathered while they are scanned,
// so that most conversions need no second look. Reading over values nobody asks for is in
// json_pull_skip.c.
#include "core/json_pull.h"

#include <stdarg.h>
#include <stdio.h>

#include "core/json_pull_priv.h"
#include "core/utf8.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

void edt_json_pull_init(edt_json_pull *pull, edt_span text, edt_json_pull_options options)
{
    static const uint8_t nothing[1] = {0};
    const uint8_t *data = text.n_bytes > 0 ? text.data : nothing;
    *pull = (edt_json_pull){
        .begin = data,
        .p = data,
        .end = data + text.n_bytes,
        .value = data,
        .state = EDT_JSON_STATE_VALUE,
        .allow_nan = options.allow_nan,
        .arena = options.arena,
    };
    if (text.n_bytes >= 3 && memcmp(data, "\xEF\xBB\xBF", 3) == 0) {
        pull->p += 3;
    }
}

void edt_json_pull_init_items(edt_json_pull *pull, edt_span text, edt_json_pull_options options)
{
    edt_json_pull_init(pull, text, options);
    pull->p = pull->begin; // no byte-order mark in the middle
    pull->depth = 1;
    pull->frames[0] = (edt_json_frame){.index = -1};
    pull->state = EDT_JSON_STATE_FIRST_ITEM;
}

void edt_json_pull_deinit(edt_json_pull *pull)
{
    if (pull != NULL) {
        edt_mem_free(pull->scratch);
        *pull = (edt_json_pull){0};
    }
}

const char *edt_json_event_name(edt_json_event event)
{
    switch (event) {
    case EDT_JSON_OBJECT_BEGIN: return "an object";
    case EDT_JSON_OBJECT_END: return "the end of an object";
    case EDT_JSON_ARRAY_BEGIN: return "an array";
    case EDT_JSON_ARRAY_END: return "the end of an array";
    case EDT_JSON_KEY: return "a key";
    case EDT_JSON_STRING: return "text";
    case EDT_JSON_NUMBER: return "a number";
    case EDT_JSON_TRUE: return "true";
    case EDT_JSON_FALSE: return "false";
    case EDT_JSON_NULL: return "null";
    case EDT_JSON_END: return "the end of the file";
    }
    return "unknown";
}

const char *edt_json_pull_path(const edt_json_pull *pull, char *out, size_t n_out)
{
    size_t n = 0;
    out[0] = '\0';
    for (int i = 0; i < pull->depth && n + 1 < n_out; ++i) {
        const edt_json_frame *frame = &pull->frames[i];
        int added = 0;
        if (!frame->is_object && frame->index >= 0) {
            added = snprintf(out + n, n_out - n, "[%lld]", (long long)frame->index);
        } else if (frame->is_object && frame->key.data != NULL) {
            const size_t n_key = frame->key.n_bytes < 100 ? frame->key.n_bytes : 100;
            added = snprintf(out + n, n_out - n, "%s%.*s", n > 0 ? "." : "", (int)n_key,
                             frame->key.data);
        }
        n += added > 0 ? (size_t)added : 0;
    }
    return out;
}

static edt_status fail_at(const edt_json_pull *pull, const uint8_t *at, edt_status status,
                          edt_error *err, const char *fmt, va_list args)
{
    if (err == NULL) {
        return status;
    }
    int64_t line = 1;
    const uint8_t *line_begin = pull->begin;
    for (const uint8_t *p = pull->begin; p < at; ++p) {
        if (*p == '\n') {
            ++line;
            line_begin = p + 1;
        }
    }
    char words[512], path[512];
    (void)vsnprintf(words, sizeof words, fmt, args);
    (void)edt_json_pull_path(pull, path, sizeof path);
    return edt_error_set(err, status, "line %lld, column %lld%s%s%s: %s", (long long)line,
                         (long long)(at - line_begin) + 1, path[0] != '\0' ? " (" : "", path,
                         path[0] != '\0' ? ")" : "", words);
}

edt_status edt_json_pull_fail(const edt_json_pull *pull, edt_status status, edt_error *err,
                              const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)fail_at(pull, pull->value, status, err, fmt, args);
    va_end(args);
    return status;
}

static edt_status syntax(const edt_json_pull *pull, const uint8_t *at, edt_error *err,
                         const char *fmt, ...) EDT_PRINTF(4, 5);

static edt_status syntax(const edt_json_pull *pull, const uint8_t *at, edt_error *err,
                         const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)fail_at(pull, at, EDT_ERR_FORMAT, err, fmt, args);
    va_end(args);
    return EDT_ERR_FORMAT;
}

// "expected X, found Y" where Y is the byte there.
static edt_status unexpected(const edt_json_pull *pull, const uint8_t *at, edt_error *err,
                             const char *expected)
{
    if (at >= pull->end) {
        return syntax(pull, at, err, "expected %s, found the end of the file", expected);
    }
    if (*at < 0x20 || *at >= 0x7F) {
        return syntax(pull, at, err, "expected %s, found byte 0x%02x", expected, *at);
    }
    return syntax(pull, at, err, "expected %s, found '%c'", expected, *at);
}

static inline bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static inline const uint8_t *skip_blanks(const uint8_t *p, const uint8_t *end)
{
    // json.dump writes none or one blank; indented files have long runs.
    if (p<end && * p> ' ') {
        return p;
    }
    if (p + 1 < end && is_blank(p[0]) && p[1] > ' ') {
        return p + 1;
    }
#ifdef __SSE2__
    while (end - p >= 16) {
        const __m128i x = _mm_loadu_si128((const __m128i *)(const void *)p);
        const __m128i a = _mm_or_si128(_mm_cmpeq_epi8(x, _mm_set1_epi8(' ')),
                                       _mm_cmpeq_epi8(x, _mm_set1_epi8('\n')));
        const __m128i b = _mm_or_si128(_mm_cmpeq_epi8(x, _mm_set1_epi8('\r')),
                                       _mm_cmpeq_epi8(x, _mm_set1_epi8('\t')));
        const unsigned other = ~(unsigned)_mm_movemask_epi8(_mm_or_si128(a, b)) & 0xFFFFu;
        if (other != 0) {
            return p + __builtin_ctz(other);
        }
        p += 16;
    }
#endif
    while (p < end && is_blank(*p)) {
        ++p;
    }
    return p;
}

// The first quote, backslash or control byte from `p` on, or `end`.
static inline const uint8_t *find_special(const uint8_t *p, const uint8_t *end)
{
#ifdef __SSE2__
    while (end - p >= 16) {
        const __m128i x = _mm_loadu_si128((const __m128i *)(const void *)p);
        const __m128i marks = _mm_or_si128(_mm_cmpeq_epi8(x, _mm_set1_epi8('"')),
                                           _mm_cmpeq_epi8(x, _mm_set1_epi8('\\')));
        const __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(x, _mm_set1_epi8(0x1F)), x);
        const int hits = _mm_movemask_epi8(_mm_or_si128(marks, control));
        if (hits != 0) {
            return p + __builtin_ctz((unsigned)hits);
        }
        p += 16;
    }
#endif
    while (p < end && *p != '"' && *p != '\\' && *p >= 0x20) {
        ++p;
    }
    return p;
}

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    const int lower = c | 0x20;
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

static bool read_hex4(const uint8_t *p, const uint8_t *end, uint32_t *out_code)
{
    if (end - p < 4) {
        return false;
    }
    uint32_t code = 0;
    for (int i = 0; i < 4; ++i) {
        const int digit = hex_digit(p[i]);
        if (digit < 0) {
            return false;
        }
        code = code << 4 | (uint32_t)digit;
    }
    *out_code = code;
    return true;
}

// Decodes the checked escapes of [p, end) into `out`; never longer than the input. A surrogate
// without its partner becomes U+FFFD.
static char *decode(const uint8_t *p, const uint8_t *end, char *out)
{
    while (p < end) {
        if (*p != '\\') {
            *out++ = (char)*p++;
            continue;
        }
        const uint8_t c = p[1];
        p += 2;
        switch (c) {
        case 'b': *out++ = '\b'; break;
        case 'f': *out++ = '\f'; break;
        case 'n': *out++ = '\n'; break;
        case 'r': *out++ = '\r'; break;
        case 't': *out++ = '\t'; break;
        case 'u': {
            uint32_t code = 0, low = 0;
            (void)read_hex4(p, end, &code);
            p += 4;
            if (code >= 0xD800 && code < 0xE000) {
                const bool pair = code < 0xDC00 && end - p >= 6 && p[0] == '\\' &&
                                  p[1] == 'u' && read_hex4(p + 2, end, &low) && low >= 0xDC00 &&
                                  low < 0xE000;
                p += pair ? 6 : 0;
                code = pair ? 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00) : 0xFFFD;
            }
            out += edt_utf8_encode(code, out);
            break;
        }
        default: *out++ = (char)c; break;
        }
    }
    return out;
}

// `pull->p` is after the opening quote; leaves it after the closing one.
static edt_status read_string(edt_json_pull *pull, edt_error *err, edt_text *out_raw)
{
    const uint8_t *begin = pull->p, *end = pull->end;
    const uint8_t *p = begin;
    bool escapes = false;
    for (;;) {
        p = find_special(p, end);
        if (p == end) {
            return syntax(pull, begin - 1, err,
                          "the text that begins here has no closing quote");
        }
        if (*p == '"') {
            break;
        }
        if (*p != '\\') {
            return syntax(pull, p, err,
                          "control byte 0x%02x inside text; it must be written as \\u%04x", *p,
                          *p);
        }
        uint32_t code;
        if (end - p < 2 || memchr("\"\\/bfnrtu", p[1], 9) == NULL) {
            return syntax(pull, p, err,
                          "unknown escape; allowed: \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX");
        }
        if (p[1] == 'u' && !read_hex4(p + 2, end, &code)) {
            return syntax(pull, p, err, "\\u needs four hexadecimal digits");
        }
        escapes = true;
        p += p[1] == 'u' ? 6 : 2;
    }
    const size_t n = (size_t)(p - begin);
    pull->p = p + 1;
    *out_raw = (edt_text){(const char *)begin, n};
    if (!escapes) {
        pull->text = *out_raw;
        return EDT_OK;
    }
    char *out = pull->scratch;
    if (pull->arena != NULL) {
        out = edt_arena_alloc(pull->arena, n);
    } else if (n > pull->scratch_bytes) {
        out = edt_mem_realloc(EDT_MEM_TEXT, pull->scratch, 2 * n);
        if (out != NULL) {
            pull->scratch = out;
            pull->scratch_bytes = 2 * n;
        }
    }
    if (out == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "out of memory for JSON text of %zu bytes", n);
    }
    const char *out_end = decode(begin, p, out);
    pull->text = (edt_text){out, (size_t)(out_end - out)};
    return EDT_OK;
}

// Gathers digits; `n_digits` counts from the first that is not zero.
static inline const uint8_t *gather(const uint8_t *p, const uint8_t *end, uint64_t *mantissa)
{
    uint64_t m = *mantissa;
    for (; edt_json_is_digit(p, end); ++p) {
        m = m * 10 + (uint64_t)(*p - '0');
    }
    *mantissa = m;
    return p;
}

static edt_status read_number(edt_json_pull *pull, edt_error *err)
{
    const uint8_t *p = pull->p, *end = pull->end;
    const uint8_t *begin = p;
    const bool negative = *p == '-';
    p += negative;
    const uint8_t *digits = p;
    uint64_t mantissa = 0;
    if (p < end && *p == '0') {
        ++p;
    } else {
        p = gather(p, end, &mantissa);
        if (p == digits) {
            return unexpected(pull, p, err, "a digit");
        }
    }
    if (edt_json_is_digit(p, end)) {
        return syntax(pull, begin, err, "a number must not begin with 0");
    }
    int64_t n_digits = p - digits, exponent = 0;
    bool integral = true;
    if (p < end && *p == '.') {
        const uint8_t *fraction = ++p;
        p = gather(p, end, &mantissa);
        if (p == fraction) {
            return unexpected(pull, p, err, "a digit after the decimal point");
        }
        exponent = fraction - p;
        n_digits -= exponent;
        integral = false;
    }
    if (p < end && (*p | 0x20) == 'e') {
        ++p;
        const bool minus = p < end && *p == '-';
        p += p < end && (*p == '-' || *p == '+');
        const uint8_t *first = p;
        int64_t e = 0;
        for (; edt_json_is_digit(p, end); ++p) {
            e = e < 100000000 ? e * 10 + (*p - '0') : e;
        }
        if (p == first) {
            return unexpected(pull, p, err, "a digit of the exponent");
        }
        exponent += minus ? -e : e;
        integral = false;
    }
    pull->p = p;
    pull->text = (edt_text){(const char *)begin, (size_t)(p - begin)};
    pull->mantissa = mantissa;
    // Leading zeros count, so the wrap-around test below errs on the safe side.
    pull->n_digits = n_digits > 1000 ? 1000 : (int)n_digits;
    pull->exponent = exponent;
    pull->negative = negative;
    pull->integral = integral;
    return EDT_OK;
}

static bool read_word(edt_json_pull *pull, const char *word)
{
    const size_t n = strlen(word);
    if ((size_t)(pull->end - pull->p) < n || memcmp(pull->p, word, n) != 0) {
        return false;
    }
    pull->text = (edt_text){(const char *)pull->p, n};
    pull->p += n;
    return true;
}

static edt_status open_frame(edt_json_pull *pull, edt_error *err, bool is_object)
{
    if (pull->depth == EDT_JSON_MAX_DEPTH) {
        return syntax(pull, pull->p, err, "nested too deeply; allowed: %d levels",
                      EDT_JSON_MAX_DEPTH);
    }
    pull->frames[pull->depth++] = (edt_json_frame){.is_object = is_object, .index = -1};
    pull->state = is_object ? EDT_JSON_STATE_FIRST_KEY : EDT_JSON_STATE_FIRST_ITEM;
    ++pull->p;
    return EDT_OK;
}

static void close_frame(edt_json_pull *pull)
{
    ++pull->p;
    --pull->depth;
    pull->state = pull->depth > 0 ? EDT_JSON_STATE_AFTER_VALUE : EDT_JSON_STATE_DONE;
}

size_t edt_json_pull_tell(const edt_json_pull *pull)
{
    return (size_t)(pull->p - pull->begin);
}

void edt_json_pull_end_array_at(edt_json_pull *pull, size_t offset)
{
    pull->p = pull->begin + offset - 1;
    close_frame(pull);
}

edt_span edt_json_pull_ahead(const edt_json_pull *pull)
{
    return (edt_span){pull->p, (size_t)(pull->end - pull->p)};
}

void edt_json_pull_end_value(edt_json_pull *pull, size_t n_bytes)
{
    if (pull->depth > 0) {
        ++pull->frames[pull->depth - 1].index;
    }
    pull->value = pull->p;
    pull->p += n_bytes;
    pull->state = pull->depth > 0 ? EDT_JSON_STATE_AFTER_VALUE : EDT_JSON_STATE_DONE;
}

static edt_status read_special_number(edt_json_pull *pull, edt_error *err)
{
    if (pull->allow_nan) {
        pull->negative = *pull->p == '-';
        if (read_word(pull, "NaN") || read_word(pull, "Infinity") ||
            read_word(pull, "-Infinity")) {
            pull->n_digits = -1;
            return EDT_OK;
        }
    } else if (read_word(pull, "NaN") || read_word(pull, "Infinity") ||
               read_word(pull, "-Infinity")) {
        return syntax(pull, pull->value, err, "%.*s is no JSON number", (int)pull->text.n_bytes,
                      pull->text.data);
    }
    return unexpected(pull, pull->p, err, "a value");
}

static edt_status read_value(edt_json_pull *pull, edt_error *err, edt_json_event *out_event)
{
    if (pull->depth > 0) {
        ++pull->frames[pull->depth - 1].index;
    }
    pull->value = pull->p;
    if (pull->p >= pull->end) {
        return unexpected(pull, pull->p, err, "a value");
    }
    const uint8_t c = *pull->p;
    edt_json_event event;
    edt_text raw;
    if ((uint8_t)(c - '0') < 10 ||
        (c == '-' && !(pull->end - pull->p > 1 && pull->p[1] == 'I'))) {
        EDT_TRY(read_number(pull, err));
        event = EDT_JSON_NUMBER;
    } else if (c == '"') {
        ++pull->p;
        EDT_TRY(read_string(pull, err, &raw));
        event = EDT_JSON_STRING;
    } else if (c == '[' || c == '{') {
        *out_event = c == '{' ? EDT_JSON_OBJECT_BEGIN : EDT_JSON_ARRAY_BEGIN;
        return open_frame(pull, err, c == '{');
    } else if (c == 't' && read_word(pull, "true")) {
        event = EDT_JSON_TRUE;
    } else if (c == 'f' && read_word(pull, "false")) {
        event = EDT_JSON_FALSE;
    } else if (c == 'n' && read_word(pull, "null")) {
        event = EDT_JSON_NULL;
    } else {
        EDT_TRY(read_special_number(pull, err));
        event = EDT_JSON_NUMBER;
    }
    pull->state = pull->depth > 0 ? EDT_JSON_STATE_AFTER_VALUE : EDT_JSON_STATE_DONE;
    *out_event = event;
    return EDT_OK;
}

static edt_status read_key(edt_json_pull *pull, edt_error *err)
{
    edt_json_frame *frame = &pull->frames[pull->depth - 1];
    if (pull->p >= pull->end || *pull->p != '"') {
        return unexpected(pull, pull->p, err, "a key in quotes");
    }
    pull->value = pull->p++;
    EDT_TRY(read_string(pull, err, &frame->key));
    pull->state = EDT_JSON_STATE_AFTER_KEY;
    return EDT_OK;
}

edt_status edt_json_pull_next(edt_json_pull *pull, edt_error *err, edt_json_event *out_event)
{
    pull->p = skip_blanks(pull->p, pull->end);
    const bool is_object = pull->depth > 0 && pull->frames[pull->depth - 1].is_object;
    const uint8_t c = pull->p < pull->end ? *pull->p : 0;
    switch (pull->state) {
    case EDT_JSON_STATE_AFTER_VALUE:
        if (c == ',') {
            pull->p = skip_blanks(pull->p + 1, pull->end);
            break;
        }
        if (c == (is_object ? '}' : ']')) {
            close_frame(pull);
            *out_event = is_object ? EDT_JSON_OBJECT_END : EDT_JSON_ARRAY_END;
            return EDT_OK;
        }
        return unexpected(pull, pull->p, err, is_object ? "',' or '}'" : "',' or ']'");
    case EDT_JSON_STATE_FIRST_KEY:
    case EDT_JSON_STATE_FIRST_ITEM:
        if (c == (is_object ? '}' : ']')) {
            close_frame(pull);
            *out_event = is_object ? EDT_JSON_OBJECT_END : EDT_JSON_ARRAY_END;
            return EDT_OK;
        }
        break;
    case EDT_JSON_STATE_AFTER_KEY:
        if (c != ':') {
            return unexpected(pull, pull->p, err, "':'");
        }
        pull->p = skip_blanks(pull->p + 1, pull->end);
        return read_value(pull, err, out_event);
    case EDT_JSON_STATE_DONE:
        if (pull->p < pull->end) {
            return unexpected(pull, pull->p, err, "the end of the file");
        }
        *out_event = EDT_JSON_END;
        return EDT_OK;
    default: return read_value(pull, err, out_event);
    }
    if (is_object) {
        *out_event = EDT_JSON_KEY;
        return read_key(pull, err);
    }
    return read_value(pull, err, out_event);
}

edt_status edt_json_pull_next_key(edt_json_pull *pull, edt_error *err, edt_text *out_key,
                                  bool *out_more)
{
    edt_json_event event;
    EDT_TRY(edt_json_pull_next(pull, err, &event));
    if (event == EDT_JSON_KEY) {
        *out_key = pull->text;
    } else if (event != EDT_JSON_OBJECT_END) {
        return edt_json_pull_fail(pull, EDT_ERR_FORMAT, err, "expected a key, found %s",
                                  edt_json_event_name(event));
    }
    *out_more = event == EDT_JSON_KEY;
    return EDT_OK;
}

edt_status edt_json_pull_next_item(edt_json_pull *pull, edt_error *err, bool *out_more)
{
    pull->p = skip_blanks(pull->p, pull->end);
    const uint8_t c = pull->p < pull->end ? *pull->p : 0;
    if (pull->depth == 0 || pull->frames[pull->depth - 1].is_object ||
        (pull->state != EDT_JSON_STATE_AFTER_VALUE &&
         pull->state != EDT_JSON_STATE_FIRST_ITEM)) {
        return edt_json_pull_fail(pull, EDT_ERR_INTERNAL, err, "next_item outside an array");
    }
    if (c == ']') {
        close_frame(pull);
        *out_more = false;
        return EDT_OK;
    }
    if (pull->state == EDT_JSON_STATE_AFTER_VALUE) {
        if (c != ',') {
            return unexpected(pull, pull->p, err, "',' or ']'");
        }
        ++pull->p;
    }
    pull->p = skip_blanks(pull->p, pull->end);
    pull->state = EDT_JSON_STATE_VALUE;
    *out_more = true;
    return EDT_OK;
}
