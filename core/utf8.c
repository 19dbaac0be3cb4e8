// Decoding and encoding of single UTF-8 characters; see utf8.h.
#include "core/utf8.h"

size_t edt_utf8_decode(const char *text, size_t n, uint32_t *out_code)
{
    const uint8_t *p = (const uint8_t *)text;
    const uint8_t c = p[0];
    if (c < 0x80) {
        *out_code = c;
        return 1;
    }
    const size_t need = c < 0xC2 ? 0 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : c < 0xF5 ? 4 : 0;
    if (need == 0 || need > n) {
        return 0;
    }
    uint32_t code = c & (0x7Fu >> need);
    for (size_t i = 1; i < need; ++i) {
        if ((p[i] & 0xC0) != 0x80) {
            return 0;
        }
        code = code << 6 | (p[i] & 63u);
    }
    const bool overlong = (need == 3 && code < 0x800) || (need == 4 && code < 0x10000);
    if (overlong || (code >= 0xD800 && code < 0xE000) || code > 0x10FFFF) {
        return 0;
    }
    *out_code = code;
    return need;
}

size_t edt_utf8_encode(uint32_t code, char *out)
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xC0 | code >> 6);
        out[1] = (char)(0x80 | (code & 63));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xE0 | code >> 12);
        out[1] = (char)(0x80 | (code >> 6 & 63));
        out[2] = (char)(0x80 | (code & 63));
        return 3;
    }
    out[0] = (char)(0xF0 | code >> 18);
    out[1] = (char)(0x80 | (code >> 12 & 63));
    out[2] = (char)(0x80 | (code >> 6 & 63));
    out[3] = (char)(0x80 | (code & 63));
    return 4;
}

bool edt_utf8_valid(const char *text, size_t n)
{
    for (size_t i = 0; i < n;) {
        uint32_t code;
        const size_t step = edt_utf8_decode(text + i, n - i, &code);
        if (step == 0) {
            return false;
        }
        i += step;
    }
    return true;
}
