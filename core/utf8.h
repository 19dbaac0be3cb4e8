// Single UTF-8 characters.
#ifndef EDT_CORE_UTF8_H
#define EDT_CORE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Length (1-4) of the character at the begin of `n` > 0 bytes, 0 when there is none: truncated,
// overlong, a surrogate or beyond U+10FFFF.
size_t edt_utf8_decode(const char *text, size_t n, uint32_t *out_code);
// Writes up to 4 bytes, returns their number; `code` must be at most U+10FFFF.
size_t edt_utf8_encode(uint32_t code, char *out);
bool edt_utf8_valid(const char *text, size_t n);

#endif
