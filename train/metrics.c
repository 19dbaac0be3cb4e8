// See metrics.h.
#include "train/metrics.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/mem.h"
#include "core/path.h"
#include "core/strbuf.h"

struct edt_metrics {
    FILE *file;
    char *path;
};

// Rewrites the file without torn lines and without those of later steps. They may stand
// anywhere: an evaluation in another process appends to the same file.
static edt_status drop_later_steps(const char *path, int64_t keep_step, edt_error *err)
{
    edt_mapped_file file;
    EDT_TRY(edt_mapped_file_open(path, err, &file));
    edt_strbuf kept = {0};
    const char *at = (const char *)file.span.data;
    const char *end = at + file.span.n_bytes;
    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        if (newline == NULL) {
            break;
        }
        char head[40]; // sscanf needs a terminated text, which the mapping is not
        const size_t n_line = (size_t)(newline + 1 - at);
        const size_t n_head = n_line < sizeof head ? n_line : sizeof head - 1;
        memcpy(head, at, n_head);
        head[n_head] = '\0';
        int64_t step;
        if (sscanf(head, "{\"step\": %" SCNd64, &step) == 1 && step <= keep_step) {
            edt_strbuf_append(&kept, at, n_line);
        }
        at = newline + 1;
    }
    edt_status status = EDT_OK;
    if (kept.failed) {
        status = edt_error_set(err, EDT_ERR_NOMEM, "no memory for the lines of %s", path);
    } else if (kept.n_bytes != file.span.n_bytes) {
        status = edt_file_write(path, kept.n_bytes > 0 ? kept.text : "", kept.n_bytes, err);
    }
    edt_mapped_file_close(&file);
    edt_strbuf_deinit(&kept);
    return status;
}

edt_status edt_metrics_has(const char *path, int64_t step, const char *name, edt_error *err,
                           bool *out_has)
{
    bool has = false;
    if (edt_path_exists(path)) {
        char start[96];
        const size_t n_start = (size_t)snprintf(
            start, sizeof start, "{\"step\": %" PRId64 ", \"%.40s\": ", step, name);
        edt_mapped_file file;
        EDT_TRY(edt_mapped_file_open(path, err, &file));
        const char *at = (const char *)file.span.data;
        const char *end = at + file.span.n_bytes;
        while (at < end && !has) {
            const char *newline = memchr(at, '\n', (size_t)(end - at));
            if (newline == NULL) {
                break;
            }
            has = (size_t)(newline - at) > n_start && memcmp(at, start, n_start) == 0;
            at = newline + 1;
        }
        edt_mapped_file_close(&file);
    }
    *out_has = has;
    return EDT_OK;
}

// The value `name` of a line, if it is the first one there and means something.
static bool read_first_value(const char *line, size_t n_line, const char *name,
                             int64_t *out_step, double *out_value)
{
    char head[160], start[64];
    const size_t n_head = n_line < sizeof head ? n_line : sizeof head - 1;
    memcpy(head, line, n_head);
    head[n_head] = '\0';
    int n_step = 0;
    if (sscanf(head, "{\"step\": %" SCNd64 ", %n", out_step, &n_step) != 1 || n_step == 0) {
        return false;
    }
    const int n_start = snprintf(start, sizeof start, "\"%.40s\": ", name);
    return strncmp(head + n_step, start, (size_t)n_start) == 0 &&
           sscanf(head + n_step + n_start, "%lf", out_value) == 1 && *out_value >= 0.0;
}

edt_status edt_metrics_find_best(const char *path, const char *name, edt_error *err,
                                 edt_metrics_best *out_best)
{
    edt_metrics_best best = {.step = -1};
    int64_t last_step = -1;
    if (edt_path_exists(path)) {
        edt_mapped_file file;
        EDT_TRY(edt_mapped_file_open(path, err, &file));
        const char *at = (const char *)file.span.data;
        const char *end = at + file.span.n_bytes;
        while (at < end) {
            const char *newline = memchr(at, '\n', (size_t)(end - at));
            if (newline == NULL) {
                break;
            }
            int64_t step;
            double value;
            if (read_first_value(at, (size_t)(newline - at), name, &step, &value) &&
                step > last_step) {
                last_step = step;
                const bool better = best.n == 0 || value > best.value;
                ++best.n;
                ++best.n_since;
                if (better) {
                    best.n_since = 0;
                    best.step = step;
                    best.value = value;
                }
            }
            at = newline + 1;
        }
        edt_mapped_file_close(&file);
    }
    *out_best = best;
    return EDT_OK;
}

edt_status edt_metrics_open(const char *path, int64_t keep_step, edt_error *err,
                            edt_metrics **out_metrics)
{
    edt_metrics *m = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *m);
    if (m == NULL || (m->path = edt_mem_strdup(EDT_MEM_MISC, path)) == NULL) {
        edt_mem_free(m);
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for metrics");
    }
    if (edt_path_exists(path)) {
        const edt_status status = drop_later_steps(path, keep_step, err);
        if (status != EDT_OK) {
            edt_metrics_close(m);
            return status;
        }
    }
    m->file = fopen(path, "a");
    if (m->file == NULL) {
        const edt_status status =
            edt_error_set_errno(err, EDT_ERR_IO, errno, "cannot open %s for writing", path);
        edt_metrics_close(m);
        return status;
    }
    *out_metrics = m;
    return EDT_OK;
}

void edt_metrics_close(edt_metrics *m)
{
    if (m == NULL) {
        return;
    }
    if (m->file != NULL) {
        (void)fclose(m->file);
    }
    edt_mem_free(m->path);
    edt_mem_free(m);
}

edt_status edt_metrics_write(edt_metrics *m, int64_t step, const edt_metric *values,
                             int n_values, edt_error *err)
{
    (void)fprintf(m->file, "{\"step\": %" PRId64, step);
    for (int i = 0; i < n_values; ++i) {
        const double v = values[i].value;
        (void)fprintf(m->file, ", \"%s\": ", values[i].name);
        if (!isfinite(v)) {
            (void)fprintf(m->file, "null");
        } else if (v == floor(v) && fabs(v) < 1e15) {
            (void)fprintf(m->file, "%.0f", v);
        } else {
            (void)fprintf(m->file, "%.9g", v);
        }
    }
    (void)fprintf(m->file, "}\n");
    if (fflush(m->file) != 0) {
        return edt_error_set_errno(err, EDT_ERR_IO, errno, "cannot write %s", m->path);
    }
    return EDT_OK;
}
