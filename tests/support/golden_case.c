// See golden_case.h.
#include "tests/support/golden_case.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool golden_case_at(const char *cases, int i_case, golden_case *out_case)
{
    const char *p = cases + 1;
    for (int i = 0;; ++i) {
        const char *name = strchr(p, '"');
        const char *begin = name == NULL ? NULL : strchr(name, '{');
        const char *end = begin == NULL ? NULL : strchr(begin, '}');
        if (end == NULL) {
            return false;
        }
        if (i == i_case) {
            const size_t n = strcspn(name + 1, "\"");
            (void)snprintf(out_case->name, sizeof out_case->name, "%.*s", (int)n, name + 1);
            out_case->begin = begin;
            out_case->end = end + 1;
            return true;
        }
        p = end + 1;
    }
}

// First character of the key's value, or NULL.
static const char *value_of(const golden_case *c, const char *key)
{
    char quoted[64];
    (void)snprintf(quoted, sizeof quoted, "\"%s\":", key);
    const char *at = strstr(c->begin, quoted);
    if (at == NULL || at >= c->end) {
        return NULL;
    }
    at += strlen(quoted);
    return at + strspn(at, " ");
}

int golden_case_numbers(const golden_case *c, const char *key, double *out, int max)
{
    const char *at = value_of(c, key);
    if (at == NULL || *at == 'n') {
        return -1;
    }
    int n = 0, depth = 0;
    while (n < max) {
        if (*at == '[') {
            ++depth;
            ++at;
        } else if (*at == ']') {
            --depth;
            ++at;
        } else if (*at == ',' || *at == ' ') {
            ++at;
        } else {
            char *after = NULL;
            out[n++] = strtod(at, &after);
            at = after;
        }
        if (depth == 0) {
            break;
        }
    }
    return n;
}

double golden_case_number(const golden_case *c, const char *key, double fallback)
{
    double value = fallback;
    return golden_case_numbers(c, key, &value, 1) == 1 ? value : fallback;
}

bool golden_case_is_nested(const golden_case *c, const char *key)
{
    const char *at = value_of(c, key);
    return at != NULL && strncmp(at, "[[", 2) == 0;
}

bool golden_case_text(const golden_case *c, const char *key, char *out, size_t n_out)
{
    const char *at = value_of(c, key);
    if (at == NULL || *at != '"') {
        return false;
    }
    (void)snprintf(out, n_out, "%.*s", (int)strcspn(at + 1, "\""), at + 1);
    return true;
}

bool golden_case_is_true(const golden_case *c, const char *key)
{
    const char *at = value_of(c, key);
    return at != NULL && strncmp(at, "true", 4) == 0;
}
