// Keeps up to twice the wanted number of keys; when the buffer is full it is sorted and cut,
// and the last kept value becomes the threshold that nearly all further values fail. See
// topk.h.
#include "model/topk.h"

#include "core/mem.h"

enum {
    RADIX_BITS = 11,
    N_BUCKETS = 1 << RADIX_BITS,
    N_PASSES = 3,
    CHUNK = 32,
    MIN_SLACK = 4096
};

static inline uint32_t digit_of(uint64_t key, int i_pass)
{
    return (uint32_t)(key >> (32 + RADIX_BITS * i_pass)) & (N_BUCKETS - 1);
}

void edt_topk_sort(uint64_t *keys, uint64_t *scratch, int64_t n)
{
    uint32_t count[N_PASSES][N_BUCKETS] = {0};
    for (int64_t i = 0; i < n; ++i) {
        for (int p = 0; p < N_PASSES; ++p) {
            ++count[p][digit_of(keys[i], p)];
        }
    }
    uint64_t *from = keys, *to = scratch;
    for (int p = 0; p < N_PASSES; ++p) {
        if (n > 0 && count[p][digit_of(from[0], p)] == n) {
            continue; // one digit everywhere
        }
        uint32_t start = 0;
        for (int b = N_BUCKETS - 1; b >= 0; --b) {
            const uint32_t here = count[p][b];
            count[p][b] = start;
            start += here;
        }
        for (int64_t i = 0; i < n; ++i) {
            to[count[p][digit_of(from[i], p)]++] = from[i];
        }
        uint64_t *swap = from;
        from = to;
        to = swap;
    }
    if (from != keys) {
        memcpy(keys, from, (size_t)n * sizeof *keys);
    }
}

edt_status edt_topk_init(edt_topk *topk, int64_t n_keep, edt_error *err)
{
    const int64_t cap = n_keep + (n_keep > MIN_SLACK ? n_keep : MIN_SLACK);
    *topk = (edt_topk){.n_keep = n_keep, .cap = cap};
    topk->keys = edt_mem_calloc(EDT_MEM_EVAL, (size_t)cap, sizeof *topk->keys);
    topk->scratch = edt_mem_calloc(EDT_MEM_EVAL, (size_t)cap, sizeof *topk->scratch);
    if (topk->keys == NULL || topk->scratch == NULL) {
        edt_topk_deinit(topk);
        EDT_FAIL(err, EDT_ERR_NOMEM, "selection of %lld candidates: out of memory",
                 (long long)n_keep);
    }
    return EDT_OK;
}

void edt_topk_deinit(edt_topk *topk)
{
    edt_mem_free(topk->keys);
    edt_mem_free(topk->scratch);
    *topk = (edt_topk){0};
}

void edt_topk_begin(edt_topk *topk)
{
    topk->n = 0;
    topk->full = 0;
}

// What was kept before comes first, sorted, and what is new has higher indices: a stable sort
// by value gives the full order.
static void compact(edt_topk *topk)
{
    edt_topk_sort(topk->keys, topk->scratch, topk->n);
    if (topk->n >= topk->n_keep) {
        topk->n = topk->n_keep;
        // NaN compares false with everything, so a NaN must not become the threshold.
        const float last = edt_topk_value(topk->keys[topk->n - 1]);
        topk->full = last == last;
        topk->threshold = last;
    }
}

void edt_topk_push(edt_topk *topk, const float *values, int64_t n, uint32_t first_index)
{
    for (int64_t i = 0; i < n; i += CHUNK) {
        const int64_t end = i + CHUNK < n ? i + CHUNK : n;
        if (topk->n + CHUNK > topk->cap) {
            compact(topk);
        }
        const float threshold = topk->threshold;
        int any = !topk->full;
        for (int64_t j = i; j < end; ++j) {
            any |= values[j] > threshold;
        }
        if (!any) {
            continue;
        }
        // Without branches: which of them pass is not predictable.
        int64_t n_keys = topk->n;
        for (int64_t j = i; j < end; ++j) {
            topk->keys[n_keys] = edt_topk_key(values[j], first_index + (uint32_t)j);
            n_keys += !topk->full | (values[j] > threshold);
        }
        topk->n = n_keys;
    }
}

void edt_topk_finish(edt_topk *topk)
{
    compact(topk);
}
