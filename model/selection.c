// See selection.h.
#include "model/selection.h"

#include "core/mem.h"

enum {
    PIECE = 16, // values of a piece of the sample: one cache line
    SPARE = 2,  // times n_keep that the sample aims at
    ROOM = 4,   // times n_keep that may be collected
    RANK = 128, // of the threshold in the sample
    CHUNK = 32,
    MIN_RATIO = 32,     // values per wanted one from which a sample pays
    MAX_SAMPLED = 65536 // wanted ones: the parts' memory
};

edt_status edt_selection_init(edt_selection *selection, int64_t n_keep, int64_t n_values,
                              edt_error *err)
{
    edt_selection *s = selection;
    edt_status status = EDT_OK;
    *s = (edt_selection){0};
    EDT_TRY_GOTO(edt_topk_init(&s->topk, n_keep, err));
    if (n_keep < RANK || n_keep > MAX_SAMPLED || n_values / MIN_RATIO < n_keep) {
        return EDT_OK;
    }
    // An odd number of pieces apart, so that a period of the values does not hide some of them.
    s->stride = (SPARE * n_keep / RANK | 1) * PIECE;
    EDT_TRY_GOTO(edt_topk_init(&s->sample, SPARE * n_keep * PIECE / s->stride, err));
    s->part_cap = ROOM * n_keep + CHUNK;
    const size_t cap = (size_t)s->part_cap;
    s->parts = edt_mem_calloc(EDT_MEM_EVAL, EDT_SELECTION_MAX_PARTS * cap, sizeof *s->parts);
    s->merged = edt_mem_calloc(EDT_MEM_EVAL, cap, sizeof *s->merged);
    s->order = edt_mem_calloc(EDT_MEM_EVAL, cap, sizeof *s->order);
    if (s->parts == NULL || s->merged == NULL || s->order == NULL) {
        status =
            edt_error_set(err, EDT_ERR_NOMEM, "selection of %lld candidates: out of memory",
                          (long long)n_keep);
        goto fail;
    }
    return EDT_OK;
fail:
    edt_selection_deinit(s);
    return status;
}

void edt_selection_deinit(edt_selection *selection)
{
    edt_topk_deinit(&selection->topk);
    edt_topk_deinit(&selection->sample);
    edt_mem_free(selection->parts);
    edt_mem_free(selection->merged);
    edt_mem_free(selection->order);
    *selection = (edt_selection){0};
}

// One run of the values in a row.
typedef struct run {
    const float *values;
    int64_t begin, end; // indices
} run;

typedef struct scan {
    edt_selection *selection;
    run runs[EDT_SELECTION_MAX_RUNS];
    int n_runs, n_parts;
    int64_t n_values;
    float threshold;
    int64_t n_found[EDT_SELECTION_MAX_PARTS]; // -1: more than there is room for
} scan;

static void select_alone(edt_selection *s, const scan *all)
{
    edt_topk_begin(&s->topk);
    for (int r = 0; r < all->n_runs; ++r) {
        const run *one = &all->runs[r];
        edt_topk_push(&s->topk, one->values, one->end - one->begin, (uint32_t)one->begin);
    }
    edt_topk_finish(&s->topk);
    s->keys = s->topk.keys;
    s->n = s->topk.n;
}

static float sample_threshold(edt_selection *s, const scan *all)
{
    edt_topk_begin(&s->sample);
    for (int r = 0; r < all->n_runs; ++r) {
        const run *one = &all->runs[r];
        const int64_t n = one->end - one->begin;
        for (int64_t i = 0; i + PIECE <= n; i += s->stride) {
            edt_topk_push(&s->sample, one->values + i, PIECE, (uint32_t)(one->begin + i));
        }
    }
    edt_topk_finish(&s->sample);
    return s->sample.n > 0 ? edt_topk_value(s->sample.keys[s->sample.n - 1]) : 0.0F;
}

// Collects what exceeds the threshold among values [0, n), the first of them `first_index`.
static int64_t collect(const float *values, int64_t n, uint32_t first_index, float threshold,
                       uint64_t *keys, int64_t n_keys, int64_t cap)
{
    for (int64_t i = 0; i < n; i += CHUNK) {
        const int64_t end = i + CHUNK < n ? i + CHUNK : n;
        int any = 0;
        for (int64_t j = i; j < end; ++j) {
            any |= values[j] > threshold;
        }
        if (!any) {
            continue;
        }
        if (n_keys + CHUNK > cap) {
            return -1;
        }
        for (int64_t j = i; j < end; ++j) {
            keys[n_keys] = edt_topk_key(values[j], first_index + (uint32_t)j);
            n_keys += values[j] > threshold;
        }
    }
    return n_keys;
}

static void collect_part(void *ctx, int worker, int64_t part)
{
    (void)worker;
    scan *all = ctx;
    edt_selection *s = all->selection;
    uint64_t *keys = s->parts + part * s->part_cap;
    const int64_t begin = all->n_values * part / all->n_parts;
    const int64_t end = all->n_values * (part + 1) / all->n_parts;
    int64_t n = 0;
    for (int r = 0; r < all->n_runs && n >= 0; ++r) {
        const run *one = &all->runs[r];
        const int64_t from = one->begin > begin ? one->begin : begin;
        const int64_t to = one->end < end ? one->end : end;
        if (from < to) {
            n = collect(one->values + (from - one->begin), to - from, (uint32_t)from,
                        all->threshold, keys, n, s->part_cap);
        }
    }
    all->n_found[part] = n;
}

// A network at its beginning says the same of nearly every anchor. The first values that equal
// the threshold follow those above it, up to n_keep in all; returns how many keys there are
// then.
static int64_t fill_up(edt_selection *s, const scan *all, int64_t n)
{
    for (int r = 0; r < all->n_runs; ++r) {
        const run *one = &all->runs[r];
        const int64_t end = one->end - one->begin;
        for (int64_t i = 0; i < end && n < s->topk.n_keep; ++i) {
            if (one->values[i] == all->threshold) {
                s->merged[n++] = edt_topk_key(one->values[i], (uint32_t)(one->begin + i));
            }
        }
    }
    return n;
}

// The parts in order of index, sorted. False where they are too few or too many.
static bool merge(edt_selection *s, const scan *all)
{
    int64_t n = 0;
    for (int part = 0; part < all->n_parts; ++part) {
        const int64_t here = all->n_found[part];
        if (here < 0 || n + here > s->part_cap) {
            return false;
        }
        memcpy(s->merged + n, s->parts + part * s->part_cap, (size_t)here * sizeof *s->merged);
        n += here;
    }
    edt_topk_sort(s->merged, s->order, n);
    if (n < s->topk.n_keep && fill_up(s, all, n) < s->topk.n_keep) {
        return false;
    }
    s->keys = s->merged;
    s->n = s->topk.n_keep;
    return true;
}

void edt_selection_run(edt_selection *selection, edt_backend *backend,
                       const float *const *values, const int64_t *n, int n_runs)
{
    edt_selection *s = selection;
    scan all = {.selection = s, .n_runs = n_runs};
    for (int r = 0; r < n_runs; ++r) {
        all.runs[r] =
            (run){.values = values[r], .begin = all.n_values, .end = all.n_values + n[r]};
        all.n_values += n[r];
    }
    s->by_sample = false;
    if (s->sample.n_keep > 0) {
        all.threshold = sample_threshold(s, &all);
        const int threads = edt_backend_sharers(backend);
        all.n_parts = threads < EDT_SELECTION_MAX_PARTS ? threads : EDT_SELECTION_MAX_PARTS;
        edt_backend_share(backend, 0, all.n_parts, collect_part, &all);
        s->by_sample = merge(s, &all);
    }
    if (!s->by_sample) {
        select_alone(s, &all);
    }
}
