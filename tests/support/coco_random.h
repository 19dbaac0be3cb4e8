// Random ground truth and detections for tests of the evaluator, boxes or masks: a pure
// function of the seed.
#ifndef EDT_TESTS_SUPPORT_COCO_RANDOM_H
#define EDT_TESTS_SUPPORT_COCO_RANDOM_H

#include "eval/coco_eval.h"

enum { EDT_COCO_RANDOM_CATEGORIES = 4 };

typedef struct edt_coco_random {
    edt_coco_gt *gt;
    edt_coco_dt *dt;
    int64_t n_images; // ids 10, 17, 24, ...
} edt_coco_random;

// Fails the test when memory is short.
edt_coco_random edt_coco_random_make(uint32_t seed, int64_t n_images, bool with_masks);
void edt_coco_random_free(edt_coco_random *made);
// The detections of images [begin, end) alone, in the order of the whole list.
edt_coco_dt *edt_coco_random_part(const edt_coco_random *made, int64_t begin, int64_t end);
// Whether all arrays and numbers are equal to the last bit.
bool edt_coco_same_result(const edt_coco_result *a, const edt_coco_result *b);

#endif
