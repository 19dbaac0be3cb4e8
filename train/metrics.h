// metrics.jsonl: one JSON object per line and event, appended and flushed as it happens. A
// resumed run first drops the lines of steps that it will do again.
#ifndef EDT_TRAIN_METRICS_H
#define EDT_TRAIN_METRICS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"

typedef struct edt_metrics edt_metrics;

typedef struct edt_metric {
    const char *name;
    double value; // NaN and infinity are written as null
} edt_metric;

// Opens `path` for appending, without the lines whose "step" is greater than `keep_step`.
edt_status edt_metrics_open(const char *path, int64_t keep_step, edt_error *err,
                            edt_metrics **out_metrics);
void edt_metrics_close(edt_metrics *metrics);
// Whether `path` has a line of `step` whose first value is `name`; false without the file.
edt_status edt_metrics_has(const char *path, int64_t step, const char *name, edt_error *err,
                           bool *out_has);
// What the lines of `path` say whose first value is `name`, in their order: the greatest value
// (the first one that has it), its step, and how many later steps there are. Values below 0 or
// null, which mean nothing, and further lines of a step do not count. n is 0 without any, or
// without the file.
typedef struct edt_metrics_best {
    int64_t n, n_since, step;
    double value;
} edt_metrics_best;
edt_status edt_metrics_find_best(const char *path, const char *name, edt_error *err,
                                 edt_metrics_best *out_best);
// {"step": N, "<name>": value, ...}; whole numbers are written without a fraction.
edt_status edt_metrics_write(edt_metrics *metrics, int64_t step, const edt_metric *values,
                             int n_values, edt_error *err);

#endif
