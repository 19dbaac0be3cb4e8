// The "cases" metadata of golden files: a JSON object of flat objects, {"name": {"key":
// value}}.
#ifndef EDT_TESTS_SUPPORT_GOLDEN_CASE_H
#define EDT_TESTS_SUPPORT_GOLDEN_CASE_H

#include <stdbool.h>
#include <stddef.h>

typedef struct golden_case {
    char name[128];
    const char *begin, *end; // of its object, braces included
} golden_case;

// Case i in file order; false past the last.
bool golden_case_at(const char *cases, int i_case, golden_case *out_case);

// The number, or all numbers of a (nested) list in order; -1 when the key is absent or null.
int golden_case_numbers(const golden_case *c, const char *key, double *out, int max);
double golden_case_number(const golden_case *c, const char *key, double fallback);
// True when the value is a list of lists.
bool golden_case_is_nested(const golden_case *c, const char *key);
// Copies a text value; false when the key is absent.
bool golden_case_text(const golden_case *c, const char *key, char *out, size_t n_out);
bool golden_case_is_true(const golden_case *c, const char *key);

#endif
