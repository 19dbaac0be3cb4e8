// Optimal string alignment distance over three rolling rows; names are short, so fixed rows
// serve.
#include "core/nearest.h"

#include <stddef.h>
#include <string.h>

enum { MAX_NAME = 96 };

static int min2(int a, int b)
{
    return a < b ? a : b;
}

static int distance(const char *a, int n_a, const char *b, int n_b)
{
    int rows[3][MAX_NAME + 1];
    int *before = rows[0], *last = rows[1], *now = rows[2];
    for (int j = 0; j <= n_b; ++j) {
        last[j] = j;
        before[j] = j;
    }
    for (int i = 1; i <= n_a; ++i) {
        now[0] = i;
        for (int j = 1; j <= n_b; ++j) {
            int d = last[j - 1] + (a[i - 1] != b[j - 1]);
            d = min2(d, min2(last[j], now[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
                d = min2(d, before[j - 2] + 1);
            }
            now[j] = d;
        }
        int *spare = before;
        before = last;
        last = now;
        now = spare;
    }
    return last[n_b];
}

const char *edt_nearest_name(const char *text, edt_nearest_get *get, const void *ctx)
{
    const size_t n_text = strlen(text);
    if (n_text == 0 || n_text > MAX_NAME) {
        return NULL;
    }
    const char *best = NULL;
    int best_distance = MAX_NAME;
    for (int i = 0;; ++i) {
        const char *name = get(ctx, i);
        if (name == NULL) {
            return best;
        }
        const size_t n_name = strlen(name);
        if (n_name > MAX_NAME) {
            continue;
        }
        const int d = distance(text, (int)n_text, name, (int)n_name);
        const int longer = (int)(n_text > n_name ? n_text : n_name);
        if (d < best_distance && 2 * d <= longer) {
            best = name;
            best_distance = d;
        }
    }
}
