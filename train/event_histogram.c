// See event_histogram.h. Variables of a group need not lie side by side: groups are found by
// their first variable.
#include "train/event_histogram.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/mem.h"

size_t edt_histogram_group_bytes(const char *name)
{
    size_t n = strcspn(name, "/");
    if (name[n] == '/' &&
        (strncmp(name, "efficientnet", 12) == 0 || strncmp(name, "fpn_cells/", 10) == 0)) {
        const size_t n_second = strcspn(name + n + 1, "/");
        // Parameters of the backbone itself stay with their first part.
        n += name[n + 1 + n_second] == '/' ? 1 + n_second : 0;
    }
    return n;
}

void edt_histogram_widen(edt_histogram *h, const float *values, int64_t n)
{
    for (int64_t i = 0; i < n; ++i) {
        const double v = (double)values[i];
        if (!isfinite(v)) {
            ++h->n_not_finite;
            continue;
        }
        h->lo = h->n == 0 || v < h->lo ? v : h->lo;
        h->hi = h->n == 0 || v > h->hi ? v : h->hi;
        ++h->n;
    }
}

void edt_histogram_count(edt_histogram *h, const float *values, int64_t n)
{
    const double width = h->hi - h->lo;
    const double factor = width > 0.0 ? EDT_HISTOGRAM_BUCKETS / width : 0.0;
    for (int64_t i = 0; i < n; ++i) {
        const double v = (double)values[i];
        if (isfinite(v)) {
            const int at = (int)((v - h->lo) * factor);
            ++h->counts[at < EDT_HISTOGRAM_BUCKETS ? at : EDT_HISTOGRAM_BUCKETS - 1];
        }
    }
}

int64_t edt_histogram_buckets(const edt_histogram *h,
                              edt_event_bucket out_buckets[EDT_HISTOGRAM_BUCKETS])
{
    if (h->n == 0) {
        return 0;
    }
    if (!(h->hi > h->lo)) {
        out_buckets[0] = (edt_event_bucket){h->lo - 0.5, h->lo + 0.5, (double)h->n};
        return 1;
    }
    const double width = (h->hi - h->lo) / EDT_HISTOGRAM_BUCKETS;
    for (int i = 0; i < EDT_HISTOGRAM_BUCKETS; ++i) {
        out_buckets[i] = (edt_event_bucket){
            .left = h->lo + i * width,
            .right = i + 1 < EDT_HISTOGRAM_BUCKETS ? h->lo + (i + 1) * width : h->hi,
            .count = (double)h->counts[i],
        };
    }
    return EDT_HISTOGRAM_BUCKETS;
}

typedef void pass(edt_histogram *histogram, const float *values, int64_t n);

typedef struct reader {
    const edt_params *params;
    const bool *frozen;
    edt_params_arena which;
    float *values; // of the largest variable
} reader;

static bool is_wanted(const reader *r, int i_param)
{
    return r->params->entries[i_param].trainable &&
           (r->which == EDT_PARAMS_VALUES || r->frozen == NULL || !r->frozen[i_param]);
}

static bool is_in_group(const char *name, const char *group, size_t n_group)
{
    return edt_histogram_group_bytes(name) == n_group && memcmp(name, group, n_group) == 0;
}

static edt_status pass_group(const reader *r, const char *group, size_t n_group, pass *run,
                             edt_histogram *h, edt_error *err)
{
    for (int i = 0; i < r->params->n_params; ++i) {
        const edt_param_entry *e = &r->params->entries[i];
        if (is_wanted(r, i) && is_in_group(e->name, group, n_group)) {
            EDT_TRY(edt_params_get_f32(r->params, r->which, i, r->values, e->n, err));
            run(h, r->values, e->n);
        }
    }
    return EDT_OK;
}

static edt_status write_arena(const reader *r, const char *what, int64_t step,
                              edt_event_file *file, edt_error *err)
{
    for (int i = 0; i < r->params->n_params; ++i) {
        const char *name = r->params->entries[i].name;
        const size_t n_group = edt_histogram_group_bytes(name);
        bool is_first = is_wanted(r, i);
        for (int k = 0; k < i && is_first; ++k) {
            is_first =
                !(is_wanted(r, k) && is_in_group(r->params->entries[k].name, name, n_group));
        }
        if (!is_first) {
            continue;
        }
        edt_histogram h = {0};
        edt_event_bucket buckets[EDT_HISTOGRAM_BUCKETS];
        char tag[160];
        EDT_TRY(pass_group(r, name, n_group, edt_histogram_widen, &h, err));
        EDT_TRY(pass_group(r, name, n_group, edt_histogram_count, &h, err));
        const int64_t n = edt_histogram_buckets(&h, buckets);
        (void)snprintf(tag, sizeof tag, "%s/%.*s", what, (int)n_group, name);
        if (n > 0) {
            edt_event_file_histogram(
                file, step,
                &(edt_event_histogram){.tag = tag, .buckets = buckets, .n_buckets = n});
        }
    }
    return EDT_OK;
}

edt_status edt_event_histogram_write(const edt_params *params, const bool *frozen, int64_t step,
                                     edt_event_file *file, edt_error *err)
{
    int64_t n_most = 1;
    for (int i = 0; i < params->n_params; ++i) {
        n_most = params->entries[i].n > n_most ? params->entries[i].n : n_most;
    }
    reader r = {.params = params, .frozen = frozen, .which = EDT_PARAMS_VALUES};
    r.values = edt_mem_alloc(EDT_MEM_MISC, (size_t)n_most * sizeof *r.values);
    if (r.values == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for histograms");
    }
    edt_status status = write_arena(&r, "weights", step, file, err);
    if (status == EDT_OK && params->memory[EDT_PARAMS_GRADS] != NULL) {
        r.which = EDT_PARAMS_GRADS;
        status = write_arena(&r, "gradients", step, file, err);
    }
    edt_mem_free(r.values);
    return status;
}
