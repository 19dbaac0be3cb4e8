// Growing text and the shortest form of a double; see strbuf.h.
#include "core/strbuf.h"

#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"

// Room for `n_bytes` more and a zero byte.
static bool reserve(edt_strbuf *buf, size_t n_bytes)
{
    if (buf->failed || n_bytes > SIZE_MAX / 4 - buf->n_bytes) {
        buf->failed = true;
        return false;
    }
    const size_t need = buf->n_bytes + n_bytes + 1;
    if (need > buf->capacity) {
        const size_t capacity = 2 * need < 256 ? 256 : 2 * need;
        char *text = edt_mem_realloc(EDT_MEM_TEXT, buf->text, capacity);
        if (text == NULL) {
            buf->failed = true;
            return false;
        }
        buf->text = text;
        buf->capacity = capacity;
    }
    return true;
}

void edt_strbuf_append(edt_strbuf *buf, const char *bytes, size_t n_bytes)
{
    if (reserve(buf, n_bytes)) {
        memcpy(buf->text + buf->n_bytes, bytes, n_bytes);
        buf->n_bytes += n_bytes;
        buf->text[buf->n_bytes] = '\0';
    }
}

void edt_strbuf_puts(edt_strbuf *buf, const char *text)
{
    edt_strbuf_append(buf, text, strlen(text));
}

void edt_strbuf_printf(edt_strbuf *buf, const char *fmt, ...)
{
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    const int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (n < 0) {
        buf->failed = true;
    } else if (reserve(buf, (size_t)n)) {
        (void)vsnprintf(buf->text + buf->n_bytes, (size_t)n + 1, fmt, again);
        buf->n_bytes += (size_t)n;
    }
    va_end(again);
}

void edt_strbuf_put_html(edt_strbuf *buf, const char *text)
{
    for (; *text != '\0'; ++text) {
        switch (*text) {
        case '<': edt_strbuf_puts(buf, "&lt;"); break;
        case '>': edt_strbuf_puts(buf, "&gt;"); break;
        case '&': edt_strbuf_puts(buf, "&amp;"); break;
        case '"': edt_strbuf_puts(buf, "&quot;"); break;
        case '\'': edt_strbuf_puts(buf, "&#39;"); break;
        default: edt_strbuf_append(buf, text, 1); break;
        }
    }
}

void edt_strbuf_clear(edt_strbuf *buf)
{
    buf->n_bytes = 0;
    buf->failed = false;
    if (buf->text != NULL) {
        buf->text[0] = '\0';
    }
}

void edt_strbuf_deinit(edt_strbuf *buf)
{
    if (buf != NULL) {
        edt_mem_free(buf->text);
        *buf = (edt_strbuf){0};
    }
}

size_t edt_format_f64(double x, char out[32])
{
    if (!isfinite(x)) {
        return (size_t)sprintf(out, "%s", isnan(x) ? "nan" : x < 0 ? "-inf" : "inf");
    }
    // Most numbers are whole or short; 15 digits are always kept, 17 always suffice.
    char digits[40];
    if (fabs(x) < 1e15 && x == trunc(x)) {
        return (size_t)sprintf(out, "%.1f", x);
    }
    // Subnormals carry fewer digits.
    int precision = fabs(x) < 2.3e-308 ? 1 : 15;
    for (; precision < 17; ++precision) {
        (void)snprintf(digits, sizeof digits, "%.*e", precision - 1, x);
        if (strtod(digits, NULL) == x) {
            break;
        }
    }
    (void)snprintf(digits, sizeof digits, "%.*e", precision - 1, x);
    // digits: [-]d.ddddde[+-]xx without a need for its trailing zeros.
    char *e = strchr(digits, 'e');
    const int exponent = atoi(e + 1);
    char *last = e;
    while (last[-1] == '0') {
        --last;
    }
    const char *lead = digits + (digits[0] == '-');
    char mantissa[32];
    size_t n_mantissa = 0;
    for (const char *p = lead; p < last; ++p) {
        if (*p != '.') {
            mantissa[n_mantissa++] = *p;
        }
    }
    size_t n = 0;
    if (digits[0] == '-') {
        out[n++] = '-';
    }
    if (exponent < -4 || exponent >= 16) {
        out[n++] = mantissa[0];
        if (n_mantissa > 1) {
            out[n++] = '.';
            memcpy(out + n, mantissa + 1, n_mantissa - 1);
            n += n_mantissa - 1;
        }
        return n + (size_t)sprintf(out + n, "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent));
    }
    const int n_digits = (int)n_mantissa;
    for (int i = exponent < 0 ? exponent : 0; i < n_digits || i <= exponent + 1; ++i) {
        if (i == exponent + 1) {
            out[n++] = '.';
            if (i >= n_digits) {
                out[n++] = '0';
                break;
            }
        }
        out[n++] = i >= 0 && i < n_digits ? mantissa[i] : '0';
    }
    out[n] = '\0';
    return n;
}
