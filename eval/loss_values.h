// The detection losses of an evaluation: what a graph with losses made of a batch, and their
// mean over the batches of all ranks (spec/train.md 4, 16).
#ifndef EDT_EVAL_LOSS_VALUES_H
#define EDT_EVAL_LOSS_VALUES_H

#include "core/hparams.h"
#include "dataio/batch.h"
#include "dist/comm.h"
#include "model/efficientdet.h"
#include "model/exec.h"

typedef struct edt_loss_values {
    double cls_loss, box_loss, box_iou_loss; // before their weights
} edt_loss_values;

typedef struct edt_loss_reader edt_loss_reader;

// `model` was built with losses of detection; it, `exec` and `hp` are borrowed until destroy.
edt_status edt_loss_reader_create(const edt_hparams *hp, const edt_model *model, edt_exec *exec,
                                  int64_t batch_size, edt_error *err,
                                  edt_loss_reader **out_reader);
void edt_loss_reader_destroy(edt_loss_reader *reader); // NULL is fine
// Before a run: the targets of a batch. Rows of padding add nothing. EDT_ERR_INVALID without
// targets.
edt_status edt_loss_reader_bind(edt_loss_reader *reader, const edt_batch *batch,
                                edt_error *err);
// After it: normalised by the positives of the batch + 1.
edt_status edt_loss_reader_get(edt_loss_reader *reader, edt_error *err,
                               edt_loss_values *out_values);

// The losses of a rank's batches in their order.
typedef struct edt_loss_notes {
    double *rows;
    int64_t n, cap;
} edt_loss_notes;
edt_status edt_loss_notes_add(edt_loss_notes *notes, int64_t n_valid,
                              const edt_loss_values *values, edt_error *err);
void edt_loss_notes_deinit(edt_loss_notes *notes);
// All ranks together. Rank 0 gets the mean over pictures, each with the loss of its batch; that
// is the reference's mean over batches where all are full. Batches are counted as a single rank
// would count them, up to the one that completes n_wanted pictures.
edt_status edt_loss_notes_average(const edt_loss_notes *notes, edt_comm *comm, int64_t n_wanted,
                                  edt_error *err, edt_loss_values *out_mean);

#endif
