// See metrics.h.
#include "train/metrics.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/mem.h"

struct edt_metrics {
    FILE *file;
    char *path;
};

// Keeps the lines up to the first one of a later step: lines are in rising order of steps.
static edt_status drop_later_steps(edt_metrics *m, int64_t keep_step, edt_error *err)
{
    char line[8192];
    long keep_bytes = 0;
    rewind(m->file);
    while (fgets(line, sizeof line, m->file) != NULL) {
        int64_t step;
        const size_t n = strlen(line);
        if (n == 0 || line[n - 1] != '\n' || sscanf(line, "{\"step\": %" SCNd64, &step) != 1 ||
            step > keep_step) {
            break;
        }
        keep_bytes += (long)n;
    }
    if (ftruncate(fileno(m->file), keep_bytes) != 0) {
        return edt_error_set_errno(err, EDT_ERR_IO, errno, "cannot shorten %s", m->path);
    }
    if (fseek(m->file, 0, SEEK_END) != 0) {
        return edt_error_set_errno(err, EDT_ERR_IO, errno, "cannot seek in %s", m->path);
    }
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
    m->file = fopen(path, "a+");
    if (m->file == NULL) {
        const edt_status status =
            edt_error_set_errno(err, EDT_ERR_IO, errno, "cannot open %s for writing", path);
        edt_metrics_close(m);
        return status;
    }
    const edt_status status = drop_later_steps(m, keep_step, err);
    if (status != EDT_OK) {
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

edt_status edt_metrics_write(edt_metrics *m, int64_t step, const edt_metric *values, int n_values,
                             edt_error *err)
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
