// A TensorBoard event file: TFRecord framing of protobuf events, appended as they happen
// (spec/train.md 16). It is for people who watch: what cannot be written is warned of once and
// left out, training goes on.
#ifndef EDT_TRAIN_EVENT_FILE_H
#define EDT_TRAIN_EVENT_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"
#include "core/span.h"

typedef struct edt_event_file edt_event_file;

// A file events.out.tfevents.<time>.<host>.<process>.<n> of its own in `dir`. File and
// directory appear with the first event. Each event reaches the system in one write when it
// happens: a process that is killed leaves at worst a record that is cut off, and nothing that
// it reported is lost. EDT_ERR_NOMEM.
edt_status edt_event_file_create(const char *dir, edt_error *err, edt_event_file **out_file);
// NULL is fine.
void edt_event_file_destroy(edt_event_file *file);
// Its path, NULL before the first event.
const char *edt_event_file_path(const edt_event_file *file);
// Events that could not be written so far.
int64_t edt_event_file_n_lost(const edt_event_file *file);

typedef struct edt_event_scalar {
    const char *tag;
    double value; // written as f32
} edt_event_scalar;

typedef struct edt_event_image {
    const char *tag;
    int64_t h, w;
    edt_span encoded; // JPEG or PNG
} edt_event_image;

// [left, right) holds `count` values; the last bucket holds its right end too.
typedef struct edt_event_bucket {
    double left, right, count;
} edt_event_bucket;

typedef struct edt_event_histogram {
    const char *tag;
    const edt_event_bucket *buckets; // rising, each begins where the one before ends
    int64_t n_buckets;
} edt_event_histogram;

// One setting of the run: text, or a number where `text` is NULL; `is_flag`: a truth value.
typedef struct edt_event_hparam {
    const char *name, *text;
    double number;
    bool is_flag;
} edt_event_hparam;

// The run starts anew behind `step`: readers forget what an earlier file has from there on.
void edt_event_file_restart(edt_event_file *file, int64_t step);
// One event with all of them. Nothing is allocated once the largest event has been seen.
void edt_event_file_scalars(edt_event_file *file, int64_t step, const edt_event_scalar *scalars,
                            int n_scalars);
void edt_event_file_image(edt_event_file *file, int64_t step, const edt_event_image *image);
// For TensorBoard's histogram dashboard (plugin "histograms").
void edt_event_file_histogram(edt_event_file *file, int64_t step,
                              const edt_event_histogram *histogram);
// Markdown (plugin "text").
void edt_event_file_text(edt_event_file *file, int64_t step, const char *tag, const char *text);
// Settings of the run for the table of plugin "hparams", and how it ended.
void edt_event_file_session(edt_event_file *file, const edt_event_hparam *hparams,
                            int n_hparams);
void edt_event_file_session_end(edt_event_file *file, bool succeeded);

#endif
