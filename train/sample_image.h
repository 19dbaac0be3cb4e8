// The picture of hparam sample_image, looked at with the weights that are being trained: its
// detections are drawn again and again into the event files (spec/train.md 16).
#ifndef EDT_TRAIN_SAMPLE_IMAGE_H
#define EDT_TRAIN_SAMPLE_IMAGE_H

#include "core/hparams.h"
#include "model/params.h"
#include "train/event_file.h"

typedef struct edt_sample_image edt_sample_image;

// Reads and decodes hp->sample_image once, to learn now whether it is one; builds the network
// for a batch of one over `params` (the trainer's, borrowed; their averages where there are
// any). EDT_ERR_NOT_FOUND, EDT_ERR_FORMAT.
edt_status edt_sample_image_create(const edt_hparams *hp, edt_params *params, int n_threads,
                                   edt_error *err, edt_sample_image **out_sample);
void edt_sample_image_destroy(edt_sample_image *sample); // NULL is fine

// Detects with the weights of now (global suppression, scores above nms_configs.score_thresh or
// 0.4, at most nms_configs.max_output_size boxes) and writes the picture under "Test image".
// Averages must be complete.
edt_status edt_sample_image_write(edt_sample_image *sample, int64_t step, edt_event_file *file,
                                  edt_error *err);

#endif
