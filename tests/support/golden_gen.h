// Generated golden inputs (golden/model/README.md 1).
#ifndef EDT_TESTS_SUPPORT_GOLDEN_GEN_H
#define EDT_TESTS_SUPPORT_GOLDEN_GEN_H

#include <stdint.h>

// out[i] = (float)(a + b * r(i)), r(i) in [-1, 1) a function of key and i.
void golden_gen(const char *key, double a, double b, int64_t n, float *out);

#endif
