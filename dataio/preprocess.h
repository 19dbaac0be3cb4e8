// One record -> one row of a batch (spec/data.md 7.3-7.7, augment.md 1): objects, mixing with
// other samples, GridMask and AutoAugment, mirror, jitter and crop, pixels into the slot,
// boxes, ground-truth rows and targets. Everything random is drawn and the geometry is chosen
// before a pixel is decoded. Nothing here knows about threads or order; all chance comes in as
// streams of draws.
#ifndef EDT_DATAIO_PREPROCESS_H
#define EDT_DATAIO_PREPROCESS_H

#include "augment/augmenter.h"
#include "augment/draws.h"
#include "augment/geometry.h"
#include "augment/image.h"
#include "augment/normalize.h"
#include "core/span.h"
#include "dataio/batch.h"
#include "dataio/decoded_cache.h"

// Which draws of a sample a stream serves (the stage of edt_rng_init): each consumer has its
// own, so that switching one augmentation on changes nothing about the others.
enum { EDT_DRAW_STAGE_GEOMETRY = 1, EDT_DRAW_STAGE_AUGMENT = 2, EDT_DRAW_STAGE_MIXING = 3 };

// The chance of one training sample.
typedef struct edt_sample_draws {
    edt_draws geometry; // mirror (only with input_rand_hflip), scale, crop origin y and x
    edt_draws augment;  // GridMask and AutoAugment
    edt_draws mixing;   // mosaic, MixUp, copy-paste and whom with
} edt_sample_draws;

// Where mixing gets other samples of the data set from. All three share `ctx`.
typedef struct edt_partner_source {
    // The index of one more sample; everything random about it comes from `draws`.
    int64_t (*draw)(void *ctx, const edt_draws *draws);
    // Its record, which lasts until the next call.
    edt_status (*read)(void *ctx, int64_t index, edt_error *err, edt_span *out_record);
    // Sample `index` cannot be used for the reason in `err`. EDT_OK: another one shall be
    // drawn; else the sample ends with this failure, and `err` names the partner's record.
    edt_status (*reject)(void *ctx, int64_t index, edt_status reason, edt_error *err);
    void *ctx;
} edt_partner_source;

// What one row is made from.
typedef struct edt_sample {
    edt_span record;                    // a serialised tf.train.Example
    int64_t index;                      // its number in the data set; -1: in none
    const edt_sample_draws *draws;      // training; NULL in evaluation
    const edt_partner_source *partners; // where the configuration mixes (edt_preprocess_mixes)
} edt_sample;

// Everything that is the same for all samples. Plain data; `targets` and `cache` may be NULL.
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
    bool exif_rotate;
    edt_augment_config augment;                     // off in evaluation
    float mosaic_prob, mixup_prob, copy_paste_prob; // 0 in evaluation
    edt_normalize normalize;
    int64_t mask_h, mask_w, mask_classes; // of the class masks; 0: not wanted
    edt_decoded_cache *cache; // of the data set whose indexes the samples have; borrowed
    int64_t n_anchors;
    edt_target_fn *targets;
    void *targets_ctx;
} edt_preprocess_config;

// From the hparams; cache, targets and n_anchors stay empty. EDT_ERR_UNSUPPORTED names an
// hparam that asks for something this build does not do.
edt_status edt_preprocess_configure(const edt_hparams *hp, bool training,
                                    edt_slot_format format, edt_error *err,
                                    edt_preprocess_config *out_config);
// Asks for class masks at the output size of the segmentation head. EDT_ERR_UNSUPPORTED where
// augmentation moves or mixes pixels in a way that masks do not follow, EDT_ERR_USAGE where
// seg_num_classes has no room for the labels.
edt_status edt_preprocess_want_masks(const edt_hparams *hp, edt_error *err,
                                     edt_preprocess_config *config);
// Whether pictures are mixed, so that samples need partners.
bool edt_preprocess_mixes(const edt_preprocess_config *config);

// Where one sample goes: pointers into a slot. cls_targets, box_targets, num_positives,
// seg_mask and groundtruth may be NULL (not wanted).
typedef struct edt_sample_row {
    void *image; // u8 or f32 [H,W,3]
    int32_t *valid_hw;
    int32_t *cls_targets;
    float *box_targets;
    float *num_positives;
    int32_t *seg_mask; // [mask_h,mask_w]
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
    bool mixed;            // other samples are in the picture
    int64_t n_pixel_ops;   // of GridMask and AutoAugment
    // The record, its boxes and the header of its picture were fine: a failure has to do with
    // the pixels that this sample wanted, or with its partners.
    bool is_open;
    // Parsing, decoding and the cache; partners' records; mixing and operations; resizing.
    double decode_seconds, read_seconds, augment_seconds, resize_seconds, target_seconds;
} edt_sample_info;

// Scratch of one worker. `config` is borrowed and must outlive it.
typedef struct edt_preprocessor edt_preprocessor;
edt_status edt_preprocessor_create(const edt_preprocess_config *config, int worker,
                                   edt_error *err, edt_preprocessor **out_preprocessor);
void edt_preprocessor_destroy(edt_preprocessor *preprocessor);

// Every error says what is wrong with the record; file and record number are the caller's to
// add. No allocation once the largest picture and record have been seen, apart from the picture
// libraries' own pools.
edt_status edt_preprocess_run(edt_preprocessor *preprocessor, const edt_sample *sample,
                              const edt_sample_row *row, edt_error *err);
// A bare picture file as evaluation would place it (the configuration must not be training's):
// fills image, valid_hw and image_scale of `row`. *out_image, unless NULL, is the whole decoded
// picture, the preprocessor's until its next call.
edt_status edt_preprocess_picture(edt_preprocessor *preprocessor, edt_span encoded,
                                  const edt_sample_row *row, edt_error *err,
                                  edt_image *out_image);
const edt_sample_info *edt_preprocess_last(const edt_preprocessor *preprocessor);

#endif
