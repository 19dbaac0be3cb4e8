// A batch that could not be trained on, as a file: what the network saw, so that somebody can
// look at it, or take the step again.
#ifndef EDT_TRAIN_BAD_BATCH_H
#define EDT_TRAIN_BAD_BATCH_H

#include "core/arena.h"
#include "core/hparams.h"
#include "dataio/batch.h"

#define EDT_BAD_BATCH_DIR "bad_batches"

typedef struct edt_bad_batch_info {
    int64_t step;     // global_step, from 0
    int64_t n_before; // bad steps of the run before this one
    double loss;
    int rank, world_size;
    const char *reason; // one sentence
} edt_bad_batch_info;

// Writes model_dir/bad_batches/step-N.safetensors (step-N-K for the K-th bad step of a run,
// which may be step N again; with several ranks step-N-rank-R, this rank's rows): images
// [B,H,W,3], valid_hw [B,2] (u8 slots), cls_targets [B,T], box_targets [B,T,4], num_positives
// [B], image_scales [B], source_ids [B], sample_indices [B], and boxes [n,6], what the targets
// decode to: row, class (from 1), ymin, xmin, ymax, xmax in pixels of the network. Rows from
// n_valid on are padding. *out_path is in `arena`.
edt_status edt_bad_batch_write(const char *model_dir, const edt_hparams *hp,
                               const edt_batch *batch, const edt_bad_batch_info *info,
                               edt_arena *arena, edt_error *err, const char **out_path);

#endif
