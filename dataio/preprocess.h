// One record -> one row of a batch: decode, crowd filter, mirror, jitter and crop, resize into
// the slot, boxes, ground-truth rows and targets (spec/data.md 7.3-7.7). Nothing here knows
// about threads or order; all chance comes in as streams of draws.
#ifndef EDT_DATAIO_PREPROCESS_H
#define EDT_DATAIO_PREPROCESS_H

#include "augment/draws.h"
#include "augment/geometry.h"
#include "augment/image.h"
#include "augment/normalize.h"
#include "core/span.h"
#include "dataio/batch.h"

// Which draws of a sample a stream serves (the stage of edt_rng_init): each consumer has its
// own, so that switching one augmentation on changes nothing about the others.
enum { EDT_DRAW_STAGE_GEOMETRY = 1, EDT_DRAW_STAGE_AUGMENT = 2, EDT_DRAW_STAGE_MIXING = 3 };

// The chance of one training sample.
typedef struct edt_sample_draws {
    edt_draws geometry; // mirror (only with input_rand_hflip), scale, crop origin y and x
    edt_draws augment;  // GridMask and AutoAugment
    edt_draws mixing;   // mosaic, MixUp, copy-paste and whom with
} edt_sample_draws;

// What one row is made from.
typedef struct edt_sample {
    edt_span record;               // a serialised tf.train.Example
    int64_t index;                 // its number in the data set
    const edt_sample_draws *draws; // training; NULL in evaluation
} edt_sample;

// Everything that is the same for all samples. Plain data; `targets` may be NULL.
typedef struct edt_preprocess_config {
    bool training;
    edt_slot_format format;
    edt_hw image_size, target_size;
    bool rand_hflip;
    float jitter_min, jitter_max;
    bool skip_crowd;
    int64_t num_classes;
    int64_t max_instances;
    bool regenerate_source_id;
    bool reference_defects;
    edt_normalize normalize;
    int64_t n_anchors;
    edt_target_fn *targets;
    void *targets_ctx;
} edt_preprocess_config;

// From the hparams; targets and n_anchors stay empty. EDT_ERR_UNSUPPORTED names an hparam that
// asks for something this build does not do (augmentation policies, masks, caches, mixing).
edt_status edt_preprocess_configure(const edt_hparams *hp, bool training,
                                    edt_slot_format format, edt_error *err,
                                    edt_preprocess_config *out_config);

// Where one sample goes: pointers into a slot. cls_targets, box_targets, num_positives and
// groundtruth may be NULL (not wanted).
typedef struct edt_sample_row {
    void *image; // u8 or f32 [H,W,3]
    int32_t *valid_hw;
    int32_t *cls_targets;
    float *box_targets;
    float *num_positives;
    float *image_scale;
    int64_t *source_id;
    float *groundtruth; // [M,7]
} edt_sample_row;

edt_sample_row edt_sample_row_of(const edt_batch *batch, int64_t row);

// Writes a row that is padding: black picture of size 0x0, background targets, no ground truth.
void edt_sample_row_clear(const edt_preprocess_config *config, const edt_sample_row *row);

// What happened to the last sample; arrays belong to the preprocessor until its next run.
typedef struct edt_sample_info {
    edt_scale_params scale;
    bool flipped;
    int64_t n_boxes;
    const float *boxes;    // [n,4] network pixels, after clip and filter
    const int64_t *labels; // [n]
    bool gt_truncated;     // more boxes than max_instances: ground-truth rows were cut
    double decode_seconds, augment_seconds, target_seconds; // decode includes parsing
} edt_sample_info;

// Scratch of one worker. `config` is borrowed and must outlive it.
typedef struct edt_preprocessor edt_preprocessor;
edt_status edt_preprocessor_create(const edt_preprocess_config *config, int worker,
                                   edt_error *err, edt_preprocessor **out_preprocessor);
void edt_preprocessor_destroy(edt_preprocessor *preprocessor);

// Every error says what is wrong with the record; file and record number are the caller's to
// add. No allocation once the largest picture and record have been seen, apart from libjpeg's
// own pools.
edt_status edt_preprocess_run(edt_preprocessor *preprocessor, const edt_sample *sample,
                              const edt_sample_row *row, edt_error *err);
// A bare picture file as evaluation would place it (the configuration must not be training's):
// fills image, valid_hw and image_scale of `row`. *out_image is the whole decoded picture, the
// preprocessor's until its next call.
edt_status edt_preprocess_picture(edt_preprocessor *preprocessor, edt_span encoded,
                                  const edt_sample_row *row, edt_error *err,
                                  edt_image *out_image);
const edt_sample_info *edt_preprocess_last(const edt_preprocessor *preprocessor);

#endif
