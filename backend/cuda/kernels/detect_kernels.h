// From the outputs of the heads to final detections, as backend/op.h defines DETECT. For each
// picture: the best values by a radix select of 64-bit keys (value, then lower index), at most
// six passes of 11 bits of which two do for f32 logits; rank by counting; decoding; suppression
// by one warp per class; rank of what was kept. 10 launches, one more for one candidate per
// anchor. Traffic: the logits once per pass and once to collect, two or three times in all
// where they are f32 (they fit the level-2 cache at batch 1), the rest is small.
#ifndef EDT_BACKEND_CUDA_KERNELS_DETECT_KERNELS_H
#define EDT_BACKEND_CUDA_KERNELS_DETECT_KERNELS_H

#include <cuda_runtime_api.h>

#include "backend/op.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    EDT_CUDA_DETECT_MAX_LEVELS = (EDT_OP_MAX_IN - 2) / 2,
    EDT_CUDA_DETECT_PASSES = 6,
    EDT_CUDA_DETECT_BINS = 2048,
    EDT_CUDA_DETECT_TAKE = 8192,  // candidates examined of a picture, at most
    EDT_CUDA_DETECT_SLACK = 4096, // more that selection may collect
};

// Where selection stands: of the keys with the bits of `prefix` above `shift`, the `wanted`
// largest are to be found, and all with larger bits are in.
typedef struct edt_cuda_select {
    uint64_t prefix;
    int64_t wanted;
    int shift;
    int done; // collect all keys that are not below `prefix`
} edt_cuda_select;

typedef struct edt_cuda_detect {
    int32_t real; // edt_dtype
    int32_t n_levels;
    // Of edt_detect_attrs; without padding, as all that kernels are given.
    int64_t num_classes, max_candidates, max_output;
    float iou_thresh, score_thresh, sigma, clip_h, clip_w;
    int32_t global;
    int64_t n_images, n_anchors;
    int64_t first_anchor[EDT_CUDA_DETECT_MAX_LEVELS + 1];
    int64_t n_values;  // that selection looks at: logits, or anchors
    int64_t n_wanted;  // candidates by the settings
    int64_t n_take;    // candidates examined
    int64_t n_groups;  // suppressed each on its own: classes, or 1
    int64_t n_collect; // room for collected keys: n_take and the slack
    int64_t n_blocks;  // of a pass over the values of one picture
    // Operands
    const void *cls[EDT_CUDA_DETECT_MAX_LEVELS];
    const void *box[EDT_CUDA_DETECT_MAX_LEVELS];
    const float *anchors, *image_scales;
    float *rows;
    int32_t *labels, *n_valid;
    // Scratch, [n_images] of each; zeroed before a run are the first four.
    uint32_t *bins;             // [passes][bins]
    uint32_t *n_collected;      // [1]
    uint32_t *group_size;       // [n_groups] candidates above the threshold
    uint64_t *kept_keys;        // [n_take] score and place, by group; 0: nothing
    edt_cuda_select *selects;   // [passes]
    uint64_t *collected;        // [n_collect]
    float *scores, *boxes;      // [n_take], [n_take,4] candidates, best first
    int32_t *classes;           // [n_take]
    float *kept_boxes;          // [n_take,4]
    int32_t *kept;              // [n_take] candidate
    float *pool_scores;         // [n_take] candidates that were decayed and wait
    int32_t *pool, *pool_begin; // [n_take]
    float *anchor_scores;       // [n_anchors] with one candidate per anchor
    int32_t *anchor_classes;
} edt_cuda_detect;

cudaError_t edt_cuda_detect_run(const edt_cuda_detect *detect, size_t zero_bytes,
                                cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
