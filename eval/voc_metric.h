// Average precision as the PASCAL VOC development kit computes it (VOCevaldet.m of 2007 and
// 2010): boxes include both end pixels, a detection goes to the object of its class that it
// overlaps most, and is wrong when a better one has that object. Objects marked as difficult
// (is_crowd here, see edt_coco_gt_options.difficult_as_crowd) count neither as objects nor as
// hits.
#ifndef EDT_EVAL_VOC_METRIC_H
#define EDT_EVAL_VOC_METRIC_H

#include "core/arena.h"
#include "core/json.h"
#include "eval/coco_eval.h"

typedef enum edt_voc_rule {
    EDT_VOC_2007, // mean of the highest precisions at recalls 0, 0.1 ... 1
    EDT_VOC_2010, // area below the highest precision at each recall
} edt_voc_rule;

typedef struct edt_voc_params {
    edt_voc_rule rule;
    double iou; // 0: 0.5; an equal overlap is enough
    // Images, classes, ignore_categories and threads; the rest does not matter. NULL: defaults.
    const edt_coco_params *coco;
} edt_voc_params;

typedef struct edt_voc_class {
    int64_t id;
    const char *name;
    int64_t n_objects, n_difficult, n_detections;
    double ap;        // -1: no objects
    double precision; // of all its detections, -1: none count
    double recall;    // -1: no objects
} edt_voc_class;

typedef struct edt_voc_result {
    edt_arena arena; // owns classes and names
    edt_voc_rule rule;
    double iou;
    double mean_ap;    // over classes with objects; -1: none
    int64_t n_classes; // 1 with ignore_categories
    const edt_voc_class *classes;
} edt_voc_result;

// Boxes are x, y, width, height with x + width the last pixel column, as the converter of VOC
// sets writes them. Of equal scores the detection that is listed first comes first.
edt_status edt_voc_evaluate(const edt_coco_gt *gt, const edt_coco_dt *dt,
                            const edt_voc_params *params, edt_error *err,
                            edt_voc_result **out_result);
void edt_voc_result_destroy(edt_voc_result *result);

// A table of classes and the mean.
void edt_voc_print(const edt_voc_result *result, FILE *out);
// {"metric": "voc2007", "iou", "mAP", "per_class": [{"id", "name", "AP", ...}]}
edt_status edt_voc_write_json(const edt_voc_result *result, const char *path, edt_error *err);

#endif
