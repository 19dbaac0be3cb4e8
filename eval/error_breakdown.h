// Why a detector loses AP (Bolya et al., "TIDE: A General Toolbox for Identifying Object
// Detection Errors", 2020): each wrong detection and missed object gets one kind of error, and
// for each kind the AP at one IoU is computed once more with all its errors mended and nothing
// else.
#ifndef EDT_EVAL_ERROR_BREAKDOWN_H
#define EDT_EVAL_ERROR_BREAKDOWN_H

#include "core/json.h"
#include "eval/coco_eval.h"

// In the order in which they are printed. f: foreground IoU, b: background IoU.
typedef enum edt_error_kind {
    EDT_ERRORS_CLASS,      // overlaps an object of another class by f or more
    EDT_ERRORS_LOCATION,   // overlaps one of its class by b to f
    EDT_ERRORS_BOTH,       // overlaps one of another class by b to f
    EDT_ERRORS_DUPLICATE,  // overlaps one of its class by f or more that a better one has found
    EDT_ERRORS_BACKGROUND, // overlaps everything by b or less
    EDT_ERRORS_MISSED,     // object that neither a detection nor a mended one finds
    EDT_ERRORS_N_KINDS
} edt_error_kind;

extern const char *const edt_error_kind_names[EDT_ERRORS_N_KINDS];

typedef struct edt_error_breakdown {
    double foreground_iou, background_iou;
    // Mean over classes with detections or objects at the foreground IoU, 0 to 1; classes
    // without objects count 0, unlike in the twelve numbers.
    double ap;
    double gain[EDT_ERRORS_N_KINDS]; // of AP when these errors are mended; at least 0
    int64_t count[EDT_ERRORS_N_KINDS];
    // AP gained without false positives (recall as it is), and with all objects found
    // (precision as it is).
    double gain_false_positives, gain_false_negatives;
    int64_t n_true_positives, n_false_positives, n_false_negatives, n_objects;
} edt_error_breakdown;

typedef struct edt_error_breakdown_options {
    double foreground_iou, background_iou; // 0: 0.5 and 0.1
    int64_t max_dets;                      // per image, over all classes; 0: 100
} edt_error_breakdown_options;

// The 100 best detections of each image, whatever the limits of the parameters; their area
// ranges do not matter either. Objects that are crowds take what lies in them out of the count.
// `options` may be NULL.
edt_status edt_error_breakdown_make(const edt_coco_gt *gt, const edt_coco_dt *dt,
                                    const edt_coco_params *params,
                                    const edt_error_breakdown_options *options, edt_error *err,
                                    edt_error_breakdown *out_breakdown);

// A table, AP in points of 100.
void edt_error_breakdown_print(const edt_error_breakdown *breakdown, FILE *out);
// An object as value: {"foreground_iou", "background_iou", "AP", "errors": [{"kind", "gain",
// "count"}], ...}; AP from 0 to 1.
void edt_error_breakdown_put_json(const edt_error_breakdown *breakdown, edt_json_writer *out);

#endif
