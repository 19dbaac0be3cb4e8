// Speed of CRC-32C on a typical record (160 KB), beside memcpy of the same bytes. Prints one
// JSON line per figure: the best and the median of the passes, in GB/s.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/crc32c.h"

enum { RECORD_BYTES = 160 * 1000, N_PASSES = 21, N_REPEATS = 500 };

typedef uint32_t bench_function(const uint8_t *from, uint8_t *to);

static uint32_t bench_default(const uint8_t *from, uint8_t *to)
{
    (void)to;
    return edt_crc32c(0, from, RECORD_BYTES);
}

static uint32_t bench_portable(const uint8_t *from, uint8_t *to)
{
    (void)to;
    return edt_crc32c_portable(0, from, RECORD_BYTES);
}

static uint32_t bench_memcpy(const uint8_t *from, uint8_t *to)
{
    memcpy(to, from, RECORD_BYTES);
    __asm__ volatile("" : : "r"(to) : "memory");
    return to[RECORD_BYTES - 1];
}

static int compare_f64(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;
    return (x > y) - (x < y);
}

static uint32_t measure(const char *what, bench_function *function, uint8_t *from, uint8_t *to)
{
    double rates[N_PASSES];
    uint32_t sum = 0;
    for (int i_pass = 0; i_pass < N_PASSES; ++i_pass) {
        const double begin = edt_clock_now_s();
        for (int i = 0; i < N_REPEATS; ++i) {
            from[0] = (uint8_t)i;
            sum ^= function(from, to);
        }
        rates[i_pass] = (double)RECORD_BYTES * N_REPEATS / (edt_clock_now_s() - begin) * 1e-9;
    }
    qsort(rates, N_PASSES, sizeof rates[0], compare_f64);
    printf("{\"what\":\"%s\",\"value\":%.2f,\"median\":%.2f,\"unit\":\"GB/s\",\"threads\":1,"
           "\"bytes\":%d}\n",
           what, rates[N_PASSES - 1], rates[N_PASSES / 2], RECORD_BYTES);
    return sum;
}

int main(void)
{
    static uint8_t from[RECORD_BYTES];
    static uint8_t to[RECORD_BYTES];
    for (size_t i = 0; i < RECORD_BYTES; ++i) {
        from[i] = (uint8_t)(i * 131 + (i >> 8));
    }
    uint32_t sum = measure("crc32c", bench_default, from, to);
    sum ^= measure("crc32c_portable", bench_portable, from, to);
    sum ^= measure("memcpy", bench_memcpy, from, to);
    // The sum keeps the calls from being optimised away.
    return sum == 0x12345678 ? 2 : 0;
}
