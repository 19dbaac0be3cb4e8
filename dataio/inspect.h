// Pictures of what the network will see (spec/data.md 10): the loader's own batches, with boxes
// and class names drawn on them, as JPEGs with a gallery page and a contact sheet.
#ifndef EDT_DATAIO_INSPECT_H
#define EDT_DATAIO_INSPECT_H

#include <stdbool.h>

#include "core/hparams.h"

typedef struct edt_inspect_options {
    const char *file_pattern; // comma-separated globs
    const char *save_dir;     // created with its parents when missing
    int64_t n_samples;        // at most this many pictures, at least 1
    bool eval;     // the evaluation view; else the training view, shuffled and jittered
    int n_threads; // 0: all cores
    const char *model_name; // for the page; may be NULL
} edt_inspect_options;

typedef struct edt_inspect_result {
    int64_t n_samples;       // looked at: fewer than asked for when the data set is smaller
    int64_t n_saved;         // pictures written
    int64_t n_without_boxes; // seen, but nothing to draw: no file, as in the reference
} edt_inspect_result;

// Writes save_dir/sample<i>.jpg for every sample with a box, index.html and samples.jpg. Names
// come from hp->label_map where it holds the class, else from the record, else "class <id>".
// The loader's errors, and EDT_ERR_INVALID when no sample has a box.
edt_status edt_inspect_samples(const edt_hparams *hp, const edt_inspect_options *options,
                               edt_error *err, edt_inspect_result *out_result);

#endif
