// What the loader hands to the trainer: one batch in one slot.
#ifndef EDT_DATAIO_BATCH_H
#define EDT_DATAIO_BATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"

typedef enum edt_slot_format { EDT_SLOT_U8, EDT_SLOT_F32 } edt_slot_format;

// Classes in cls_targets that are none of the data set's (0-based ones).
enum { EDT_CLS_BACKGROUND = -1, EDT_CLS_IGNORED = -2 };
// In seg_mask: a pixel without a say, outside the picture, of a crowd or in a row of padding.
enum { EDT_MASK_IGNORED = -1 };

// All arrays belong to the slot and stay valid until edt_loader_release. B rows; rows at or past
// n_valid are padding (the end of a pass, samples left out by on_bad_sample=skip): num_positives
// 0, box targets 0, no ground truth, sample index and source id -1. In an evaluation pass their
// images are 0 and their targets background. In training they repeat the pictures of rows
// 0, 1, ... (of the global batch, where several ranks share it), so that batch norm sees nothing
// but pictures of the data set (or black where several ranks leave such a picture out), and all
// their anchors are EDT_CLS_IGNORED, so that they add nothing to the loss or its gradients.
typedef struct edt_batch {
    int64_t batch_size, n_valid;
    int64_t height, width;     // network input
    edt_slot_format format;
    bool pinned;               // images, valid_hw, targets and seg_mask are in the caller's slot memory
    void *images;              // u8 or f32 [B,H,W,3] RGB; u8: raw levels, f32: normalised
    int32_t *valid_hw;         // [B,2] height and width of the picture inside; outside is padding
    int64_t n_anchors;         // T; 0 when no target callback is set
    int32_t *cls_targets;      // [B,T]
    float *box_targets;        // [B,T,4]
    float *num_positives;      // [B]
    int64_t mask_h, mask_w;    // of seg_mask; 0 when no masks are wanted
    int32_t *seg_mask;         // [B,mask_h,mask_w] classes of pixels (dataio/sample_mask.h), or NULL
    float *image_scales;       // [B] network coordinates * image_scale = original pixels
    int64_t *source_ids;       // [B] (spec/data.md 7.7; kept as integers)
    int64_t max_instances;     // M
    float *groundtruth;        // [B,M,7] ymin,xmin,ymax,xmax (original pixels), is_crowd, area, class; -1 padding
    int64_t *sample_indices;   // [B] record number in the data set, -1 for padding
    int64_t epoch, position;   // position: index of row 0 in the epoch's order
    int64_t sequence;          // 0, 1, 2, ... since the start cursor
} edt_batch;

// Called by the workers, concurrently, to turn one picture's boxes into targets: boxes [n,4]
// ymin,xmin,ymax,xmax in network pixels, labels 1-based. `worker` in [0, n_workers) selects
// per-thread scratch. Set by the layers above (model/assign.h).
typedef edt_status edt_target_fn(void *ctx, int worker, const float *boxes, const int64_t *labels,
                                 int64_t n_boxes, int32_t *out_cls, float *out_box,
                                 float *out_num_positives, edt_error *err);

#endif
