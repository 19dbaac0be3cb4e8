// Size of a network part by part: the backbone's stem and levels, the feature network's extra
// levels and cells, the two heads (model_info).
#ifndef EDT_MODEL_STAGES_H
#define EDT_MODEL_STAGES_H

#include "core/hparams.h"
#include "model/count.h"

enum { EDT_STAGES_MAX = 64 };

typedef struct edt_stage {
    char name[48];
    int n_variables;
    int64_t n_trainable;  // elements
    int64_t n_moving;     // elements of moving statistics
    int64_t forward_macs; // multiply-accumulates of convolutions
    int64_t profiled;     // as in edt_model_count
} edt_stage;

// In the order of the network; `graph` is the one that `hp` describes.
edt_status edt_stages_count(const edt_hparams *hp, const edt_graph *graph, edt_error *err,
                            edt_stage out_stages[static EDT_STAGES_MAX], int *out_n);

// One row of the table of models.
typedef struct edt_model_size {
    const char *name;
    const char *published_parameters, *published_flops; // as texts; NULL: not published
    int64_t image_h, image_w, n_anchors;
    edt_model_count count;
} edt_model_size;

// Builds row i_model of the table (model/scaling.h) at its own image size, batch 1, and
// measures it. EDT_END past the last.
edt_status edt_model_size_of(int i_model, edt_error *err, edt_model_size *out_size);

#endif
