// Speed of the pull parser on COCO-like annotations, next to memchr and memcpy of the same
// bytes. One JSON line per result: best and median MB/s of several passes, one thread.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/json_pull.h"

enum { N_PASSES = 9, N_BYTES = 48 << 20 };

static size_t make_text(char *out, size_t cap)
{
    uint64_t state = 7;
    size_t n = (size_t)sprintf(out, "{\"annotations\": [");
    for (int64_t id = 0; n + 2048 < cap; ++id) {
        n += (size_t)sprintf(out + n, "%s{\"segmentation\": [[", id > 0 ? ", " : "");
        for (int k = 0; k < 40; ++k) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            n += (size_t)sprintf(out + n, "%s%.2f", k > 0 ? ", " : "",
                                 (double)((state >> 33) % 64000) / 100);
        }
        n += (size_t)sprintf(out + n,
                             "]], \"area\": %.13f, \"iscrowd\": 0, \"image_id\": %d, \"bbox\": "
                             "[%.2f, %.2f, %.2f, %.2f], \"category_id\": %d, \"id\": %lld}",
                             702.1057499999998 + (double)(state >> 60), (int)(state >> 45),
                             473.07, 395.93, 38.65, 28.67, (int)(state % 90), (long long)id);
    }
    return n + (size_t)sprintf(out + n, "]}");
}

typedef double bench(const char *text, size_t n, char *copy);

static double run_events(const char *text, size_t n, char *copy)
{
    (void)copy;
    edt_json_pull pull;
    edt_json_pull_init(&pull, (edt_span){(const uint8_t *)text, n}, (edt_json_pull_options){0});
    edt_json_event event = EDT_JSON_NULL;
    double sum = 0;
    while (event != EDT_JSON_END) {
        if (edt_json_pull_next(&pull, NULL, &event) != EDT_OK) {
            exit(1);
        }
        double x = 0;
        if (event == EDT_JSON_NUMBER && edt_json_pull_get_f64(&pull, NULL, &x) == EDT_OK) {
            sum += x;
        }
    }
    edt_json_pull_deinit(&pull);
    return sum;
}

static double run_skip(const char *text, size_t n, char *copy)
{
    (void)copy;
    edt_json_pull pull;
    edt_json_pull_init(&pull, (edt_span){(const uint8_t *)text, n}, (edt_json_pull_options){0});
    if (edt_json_pull_skip_value(&pull, NULL, NULL) != EDT_OK) {
        exit(1);
    }
    edt_json_pull_deinit(&pull);
    return 0;
}

static double run_memchr(const char *text, size_t n, char *copy)
{
    (void)copy;
    return memchr(text, 1, n) == NULL ? 0 : 1;
}

static double run_memcpy(const char *text, size_t n, char *copy)
{
    memcpy(copy, text, n);
    return copy[n / 2];
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(void)
{
    char *text = malloc(N_BYTES), *copy = malloc(N_BYTES);
    if (text == NULL || copy == NULL) {
        return 1;
    }
    const size_t n = make_text(text, N_BYTES);
    memset(copy, 0, N_BYTES);
    static const struct {
        const char *what;
        bench *run;
    } benches[] = {{"json_pull events and doubles", run_events},
                   {"json_pull skip_value", run_skip},
                   {"memchr", run_memchr},
                   {"memcpy", run_memcpy}};
    volatile double sink = 0;
    for (size_t i = 0; i < sizeof benches / sizeof benches[0]; ++i) {
        double rates[N_PASSES];
        for (int pass = 0; pass < N_PASSES; ++pass) {
            const double begin = edt_clock_now_s();
            sink = sink + benches[i].run(text, n, copy);
            rates[pass] = (double)n / 1e6 / (edt_clock_now_s() - begin);
        }
        qsort(rates, N_PASSES, sizeof rates[0], compare);
        printf("{\"what\": \"%s\", \"value\": %.0f, \"median\": %.0f, \"unit\": \"MB/s\", "
               "\"threads\": 1}\n",
               benches[i].what, rates[N_PASSES - 1], rates[N_PASSES / 2]);
    }
    free(text);
    free(copy);
    return 0;
}
