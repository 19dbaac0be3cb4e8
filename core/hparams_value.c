// From text to untyped values: Python literals as the reference's ast.literal_eval takes them,
// and YAML 1.1 plain scalars as PyYAML resolves them. Both leave what they do not recognise as
// text.
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/hparams_priv.h"
#include "core/utf8.h"

enum { MAX_DEPTH = 16, MAX_ITEMS = 1024, MAX_NUMBER = 120 };

typedef struct literal {
    const char *p;
    edt_arena *arena;
    bool no_memory;
} literal;

static void skip_blanks(literal *lit)
{
    while (*lit->p == ' ' || *lit->p == '\t' || *lit->p == '\n' || *lit->p == '\r') {
        ++lit->p;
    }
}

// Digits of `base` with single underscores between them; the value saturates into `out_f`.
static bool take_digits(const char **p, int base, char *buf, size_t *n)
{
    const char *s = *p;
    bool last_digit = false;
    const size_t start = *n;
    for (;; ++s) {
        const int c = (unsigned char)*s;
        int digit = 99;
        if (c >= '0' && c <= '9') {
            digit = c - '0';
        } else if (c >= 'a' && c <= 'f') {
            digit = c - 'a' + 10;
        } else if (c >= 'A' && c <= 'F') {
            digit = c - 'A' + 10;
        }
        if (digit < base) {
            if (*n + 1 >= MAX_NUMBER) {
                return false;
            }
            buf[(*n)++] = (char)c;
            last_digit = true;
        } else if (c == '_' && last_digit) {
            last_digit = false;
        } else {
            break;
        }
    }
    *p = s;
    return last_digit && *n > start;
}

static void set_integer(edt_hvalue *v, bool negative, const char *digits, int base)
{
    int64_t i = 0;
    bool overflow = false;
    for (const char *s = digits; *s != '\0'; ++s) {
        const int digit = *s <= '9' ? *s - '0' : (*s | 0x20) - 'a' + 10;
        overflow |= __builtin_mul_overflow(i, base, &i);
        overflow |= __builtin_add_overflow(i, negative ? -digit : digit, &i);
    }
    if (overflow) {
        v->kind = EDT_HV_FLOAT;
        v->f = base == 10 ? strtod(digits, NULL) : INFINITY;
        v->f = negative ? -v->f : v->f;
    } else {
        v->kind = EDT_HV_INT;
        v->i = i;
        v->f = (double)i;
    }
}

static bool parse_number(literal *lit, edt_hvalue *v)
{
    const char *p = lit->p;
    bool negative = false;
    while (*p == '+' || *p == '-') {
        negative ^= *p == '-';
        ++p;
        while (*p == ' ') {
            ++p;
        }
    }
    char buf[MAX_NUMBER + 8];
    size_t n = 0;
    if (p[0] == '0' && p[1] != '\0' && strchr("xXoObB", p[1]) != NULL) {
        const int kind = p[1] | 0x20;
        const int base = kind == 'x' ? 16 : kind == 'o' ? 8 : 2;
        p += 2;
        p += *p == '_';
        if (!take_digits(&p, base, buf, &n)) {
            return false;
        }
        buf[n] = '\0';
        set_integer(v, negative, buf, base);
        lit->p = p;
        return true;
    }
    bool is_float = false, any = false;
    if (isdigit((unsigned char)*p)) {
        if (!take_digits(&p, 10, buf, &n)) {
            return false;
        }
        any = true;
    }
    const size_t n_whole = n;
    if (*p == '.') {
        is_float = true;
        buf[n++] = '.';
        ++p;
        if (isdigit((unsigned char)*p)) {
            if (!take_digits(&p, 10, buf, &n)) {
                return false;
            }
            any = true;
        }
    }
    if (!any) {
        return false;
    }
    if (*p == 'e' || *p == 'E') {
        const char *e = p + 1;
        buf[n++] = 'e';
        if (*e == '+' || *e == '-') {
            buf[n++] = *e++;
        }
        if (!isdigit((unsigned char)*e) || !take_digits(&e, 10, buf, &n)) {
            return false;
        }
        is_float = true;
        p = e;
    }
    buf[n] = '\0';
    if (is_float) {
        const double f = strtod(buf, NULL);
        v->kind = EDT_HV_FLOAT;
        v->f = negative ? -f : f;
    } else {
        // Python 3 refuses leading zeros of integers unless all digits are zero.
        if (n_whole > 1 && buf[0] == '0' && strspn(buf, "0") != n_whole) {
            return false;
        }
        set_integer(v, negative, buf, 10);
    }
    lit->p = p;
    return true;
}

// One escape after the backslash; false for what Python refuses.
static bool take_escape(const char **p, char *out, size_t *n)
{
    const char c = *(*p)++;
    int n_hex = 0;
    switch (c) {
    case '\n': return true;
    case '\\':
    case '\'':
    case '"': out[(*n)++] = c; return true;
    case 'a': out[(*n)++] = '\a'; return true;
    case 'b': out[(*n)++] = '\b'; return true;
    case 'f': out[(*n)++] = '\f'; return true;
    case 'n': out[(*n)++] = '\n'; return true;
    case 'r': out[(*n)++] = '\r'; return true;
    case 't': out[(*n)++] = '\t'; return true;
    case 'v': out[(*n)++] = '\v'; return true;
    case 'x': n_hex = 2; break;
    case 'u': n_hex = 4; break;
    case 'U': n_hex = 8; break;
    default:
        out[(*n)++] = '\\';
        out[(*n)++] = c;
        return c != '\0';
    }
    uint32_t code = 0;
    for (int i = 0; i < n_hex; ++i) {
        const int h = (unsigned char)**p;
        if (!isxdigit(h)) {
            return false;
        }
        code = code * 16 + (uint32_t)(h <= '9' ? h - '0' : (h | 0x20) - 'a' + 10);
        ++*p;
    }
    // A text field cannot hold a zero byte; surrogates and beyond are no characters.
    if (code == 0 || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) {
        return false;
    }
    *n += edt_utf8_encode(code, out + *n);
    return true;
}

static bool parse_string(literal *lit, edt_hvalue *v)
{
    const char *p = lit->p;
    const bool raw = *p == 'r' || *p == 'R';
    p += raw || *p == 'u' || *p == 'U';
    const char quote = *p;
    if (quote != '\'' && quote != '"') {
        return false;
    }
    ++p;
    char *out = edt_arena_alloc(lit->arena, strlen(p) + 1);
    if (out == NULL) {
        lit->no_memory = true;
        return false;
    }
    size_t n = 0;
    while (*p != quote) {
        if (*p == '\0' || *p == '\n') {
            return false;
        }
        if (*p != '\\') {
            out[n++] = *p++;
        } else if (raw) {
            out[n++] = *p++;
            if (*p != '\0') {
                out[n++] = *p++;
            }
        } else {
            ++p;
            if (!take_escape(&p, out, &n)) {
                return false;
            }
        }
    }
    out[n] = '\0';
    v->kind = EDT_HV_TEXT;
    v->text = out;
    lit->p = p + 1;
    return true;
}

static bool parse_literal(literal *lit, int depth, edt_hvalue *v);

// The items up to `close`; `map` is decided by the first item of braces.
static bool parse_items(literal *lit, int depth, char close, edt_hvalue *v)
{
    int capacity = 0, n = 0;
    bool is_map = false, comma = false;
    edt_hvalue *items = NULL;
    for (;;) {
        skip_blanks(lit);
        if (*lit->p == close) {
            break;
        }
        if (n > 0 && !comma) {
            return false;
        }
        if (n + 2 > capacity) {
            const int more = capacity == 0 ? 8 : 2 * capacity;
            edt_hvalue *grown = more > MAX_ITEMS
                                    ? NULL
                                    : edt_arena_calloc(lit->arena, (size_t)more, sizeof *grown);
            if (grown == NULL) {
                lit->no_memory = more <= MAX_ITEMS;
                return false;
            }
            if (n > 0) {
                memcpy(grown, items, (size_t)n * sizeof *grown);
            }
            items = grown;
            capacity = more;
        }
        if (!parse_literal(lit, depth + 1, &items[n])) {
            return false;
        }
        ++n;
        skip_blanks(lit);
        if (close == '}' && (n == 1 || is_map) && *lit->p == ':') {
            is_map = true;
            ++lit->p;
            if (!parse_literal(lit, depth + 1, &items[n])) {
                return false;
            }
            ++n;
            skip_blanks(lit);
        } else if (is_map) {
            return false;
        }
        comma = *lit->p == ',';
        lit->p += comma;
    }
    ++lit->p;
    if (close == ')' && n == 1 && !comma) {
        *v = items[0]; // (5) is 5
        return true;
    }
    v->kind = close == ')' ? EDT_HV_TUPLE : EDT_HV_LIST;
    if (close == '}' && (is_map || n == 0)) {
        v->kind = EDT_HV_MAP;
        n /= 2;
    }
    v->n = n;
    v->items = items;
    return true;
}

static bool take_word(literal *lit, const char *word)
{
    const size_t n = strlen(word);
    const int after = strncmp(lit->p, word, n) == 0 ? (unsigned char)lit->p[n] : 'x';
    if (isalnum(after) || after == '_' || after >= 0x80) {
        return false;
    }
    lit->p += n;
    return true;
}

static bool parse_literal(literal *lit, int depth, edt_hvalue *v)
{
    if (depth > MAX_DEPTH) {
        return false;
    }
    skip_blanks(lit);
    const char *begin = lit->p;
    bool ok = true;
    if (*begin == '[' || *begin == '(' || *begin == '{') {
        ++lit->p;
        ok = parse_items(lit, depth, *begin == '[' ? ']' : *begin == '(' ? ')' : '}', v);
    } else if (take_word(lit, "None")) {
        v->kind = EDT_HV_NONE;
    } else if (take_word(lit, "True") || take_word(lit, "False")) {
        v->kind = EDT_HV_BOOL;
        v->i = *begin == 'T';
    } else if (isdigit((unsigned char)*begin) || strchr("+-.", *begin) != NULL) {
        ok = *begin != '\0' && parse_number(lit, v);
    } else {
        ok = parse_string(lit, v);
    }
    if (ok) {
        v->raw = edt_arena_strndup(lit->arena, begin, (size_t)(lit->p - begin));
        lit->no_memory |= v->raw == NULL;
    }
    return ok && !lit->no_memory;
}

static edt_status parse_one(const char *text, edt_arena *arena, edt_error *err,
                            edt_hvalue *out_value)
{
    edt_hvalue v = {.raw = text};
    if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0) {
        v.kind = EDT_HV_BOOL;
        v.i = text[0] == 't';
        *out_value = v;
        return EDT_OK;
    }
    // Only blanks and tabs may lead: a newline makes Python see an indented line.
    literal lit = {.p = text, .arena = arena};
    bool ok = text[0] != '\n' && parse_literal(&lit, 0, &v);
    if (lit.no_memory) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "out of memory for hparams");
    }
    if (ok) {
        skip_blanks(&lit);
        ok = *lit.p == '\0';
    }
    if (!ok) {
        v = (edt_hvalue){.kind = EDT_HV_TEXT, .text = text};
    }
    v.raw = text;
    *out_value = v;
    return EDT_OK;
}

edt_status edt_hvalue_parse(const char *text, bool star_lists, edt_arena *arena, edt_error *err,
                            edt_hvalue *out_value)
{
    char *copy = edt_arena_strdup(arena, text);
    if (copy == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "out of memory for hparams");
    }
    if (!star_lists || strchr(copy, '*') == NULL) {
        return parse_one(copy, arena, err, out_value);
    }
    int n = 1;
    for (const char *p = copy; *p != '\0'; ++p) {
        n += *p == '*';
    }
    edt_hvalue *items = edt_arena_calloc(arena, (size_t)n, sizeof *items);
    char *parts = edt_arena_strdup(arena, text);
    if (items == NULL || parts == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "out of memory for hparams");
    }
    for (int i = 0; i < n; ++i) {
        char *star = strchr(parts, '*');
        if (star != NULL) {
            *star = '\0';
        }
        EDT_TRY(parse_one(parts, arena, err, &items[i]));
        parts = star == NULL ? parts : star + 1;
    }
    *out_value = (edt_hvalue){.kind = EDT_HV_LIST, .raw = copy, .n = n, .items = items};
    return EDT_OK;
}

static bool word_in(const char *text, const char *const *words)
{
    for (; *words != NULL; ++words) {
        if (strcmp(text, *words) == 0) {
            return true;
        }
    }
    return false;
}

// Copies `text` without underscores; false when it is too long for a number.
static bool without_underscores(const char *text, char *out)
{
    size_t n = 0;
    for (; *text != '\0'; ++text) {
        if (*text != '_') {
            if (n + 1 >= MAX_NUMBER) {
                return false;
            }
            out[n++] = *text;
        }
    }
    out[n] = '\0';
    return true;
}

static bool yaml_integer(const char *text, edt_hvalue *v)
{
    char buf[MAX_NUMBER];
    if (text[strspn(text, "+-0123456789abcdefABCDEFx_:")] != '\0' ||
        !without_underscores(text, buf)) {
        return false;
    }
    const bool negative = buf[0] == '-';
    const char *s = buf + (negative || buf[0] == '+');
    if (!isdigit((unsigned char)s[0]) || text[s - buf] == '_') {
        return false;
    }
    int base = 10;
    if (s[0] == '0' && s[1] != '\0') {
        base = s[1] == 'x' ? 16 : s[1] == 'b' ? 2 : 8;
        s += base == 8 ? 1 : 2;
    }
    const char *allowed = base == 16  ? "0123456789abcdefABCDEF"
                          : base == 8 ? "01234567"
                          : base == 2 ? "01"
                                      : "0123456789";
    const size_t n = strspn(s, allowed);
    if (n == 0) {
        return false;
    }
    if (s[n] == '\0') {
        set_integer(v, negative, s, base);
        return true;
    }
    if (base != 10 || s[n] != ':' || n > 9) {
        return false;
    }
    // Base 60: 12:30 is 750.
    int64_t i = strtoll(s, NULL, 10);
    const char *p = s + n;
    while (*p == ':') {
        const size_t n_digits = strspn(p + 1, "0123456789");
        const long part = strtol(p + 1, NULL, 10);
        if (n_digits < 1 || n_digits > 2 || part > 59 || i > INT64_MAX / 60 - 60) {
            return false;
        }
        i = i * 60 + part;
        p += 1 + n_digits;
    }
    if (*p != '\0') {
        return false;
    }
    v->kind = EDT_HV_INT;
    v->i = negative ? -i : i;
    v->f = (double)v->i;
    return true;
}

// A dot is required and an exponent needs its sign: 4e-5 and 1.5e3 stay text.
static bool yaml_float(const char *text, edt_hvalue *v)
{
    static const char *const infinities[] = {".inf", ".Inf", ".INF", NULL};
    static const char *const nans[] = {".nan", ".NaN", ".NAN", NULL};
    const bool negative = text[0] == '-';
    const char *s = text + (negative || text[0] == '+');
    if (word_in(s, infinities) || word_in(text, nans)) {
        v->kind = EDT_HV_FLOAT;
        v->f = s[1] == 'n' || s[1] == 'N' ? (double)NAN : (negative ? -INFINITY : INFINITY);
        return true;
    }
    const char *p = s;
    if (isdigit((unsigned char)*p)) {
        p += strspn(p, "0123456789_");
        if (*p != '.') {
            return false;
        }
        ++p;
        p += strspn(p, "0123456789_");
    } else {
        if (s != text || p[0] != '.' || !isdigit((unsigned char)p[1])) {
            return false;
        }
        p += 1 + strspn(p + 1, "0123456789_");
    }
    if (*p == 'e' || *p == 'E') {
        if ((p[1] != '+' && p[1] != '-') || !isdigit((unsigned char)p[2])) {
            return false;
        }
        p += 2 + strspn(p + 2, "0123456789");
    }
    char buf[MAX_NUMBER];
    if (*p != '\0' || !without_underscores(text, buf)) {
        return false;
    }
    v->kind = EDT_HV_FLOAT;
    v->f = strtod(buf, NULL);
    return true;
}

void edt_hvalue_resolve_yaml(const char *text, edt_hvalue *out_value)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL", NULL};
    static const char *const yes[] = {"yes",  "Yes", "YES", "true", "True",
                                      "TRUE", "on",  "On",  "ON",   NULL};
    static const char *const no[] = {"no",    "No",  "NO",  "false", "False",
                                     "FALSE", "off", "Off", "OFF",   NULL};
    edt_hvalue v = {.kind = EDT_HV_TEXT, .raw = text, .text = text};
    if (word_in(text, nulls)) {
        v.kind = EDT_HV_NONE;
    } else if (word_in(text, yes) || word_in(text, no)) {
        v.kind = EDT_HV_BOOL;
        v.i = word_in(text, yes);
    } else if (!yaml_integer(text, &v)) {
        (void)yaml_float(text, &v);
    }
    *out_value = v;
}
