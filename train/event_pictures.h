// Training pictures as the network sees them, with their ground truth, for TensorBoard
// (hparam img_summary_steps; spec/train.md 16).
#ifndef EDT_TRAIN_EVENT_PICTURES_H
#define EDT_TRAIN_EVENT_PICTURES_H

#include "core/hparams.h"
#include "dataio/loader.h"
#include "train/event_file.h"

// The first three rows of a training batch with ground truth, as "input_image/image/0" to "/2":
// pixels with the normalisation undone, padding included, each object's box and class,
// named by the label map, else as the records name it. Rows that are padding are left out. The
// batch is `loader`'s, and not changed. EDT_ERR_NOMEM.
edt_status edt_event_pictures_write(const edt_hparams *hp, const edt_loader *loader,
                                    const edt_batch *batch, int64_t step, edt_event_file *file,
                                    edt_error *err);

#endif
