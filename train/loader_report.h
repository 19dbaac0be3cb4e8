// What the loader did between two looks at its statistics: values for metrics.jsonl, and one
// line that names the bottleneck of a run that waits for its data.
#ifndef EDT_TRAIN_LOADER_REPORT_H
#define EDT_TRAIN_LOADER_REPORT_H

#include "dataio/loader.h"
#include "train/metrics.h"

enum { EDT_LOADER_N_METRICS = 8 };

// wait_percent of `seconds`; loader_read_ms, _decode_ms, _augment_ms, _resize_ms, _target_ms: a
// worker's milliseconds per row; loader_idle_percent: of the workers' time, waiting for a slot;
// bad_samples: met since the start of the program.
void edt_loader_report_metrics(const edt_loader_stats *before, const edt_loader_stats *now,
                               double seconds, edt_metric out_rows[EDT_LOADER_N_METRICS]);

// Writes "loader-bound: ..." into `out_text` and returns true when the consumer waited for at
// least a fifth of `seconds`.
bool edt_loader_report_hint(const edt_loader_stats *before, const edt_loader_stats *now,
                            double seconds, size_t n_bytes, char *out_text);

#endif
