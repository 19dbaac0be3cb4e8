// See golden_gen.h.
#include "tests/support/golden_gen.h"

void golden_gen(const char *key, double a, double b, int64_t n, float *out)
{
    uint64_t k = 0xcbf29ce484222325U;
    for (; *key != '\0'; key++) {
        k = (k ^ (uint8_t)*key) * 0x100000001b3U;
    }
    for (int64_t i = 0; i < n; i++) {
        uint64_t z = k + ((uint64_t)i + 1) * 0x9E3779B97F4A7C15U;
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9U;
        z = (z ^ z >> 27) * 0x94D049BB133111EBU;
        z = z ^ z >> 31;
        const double r = (double)(z >> 40) * 0x1p-23 - 1.0;
        out[i] = (float)(a + b * r);
    }
}
