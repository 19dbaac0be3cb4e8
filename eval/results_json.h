// Files that carry an evaluation to other programs: one JSON object with all numbers, and the
// raw arrays as safetensors.
#ifndef EDT_EVAL_RESULTS_JSON_H
#define EDT_EVAL_RESULTS_JSON_H

#include "core/json.h"
#include "eval/coco_eval.h"
#include "eval/coco_notes.h"
#include "eval/error_breakdown.h"

// {"stats": [12], "names": [12], "per_class": [{"id", "name", "objects", "AP", ...}], "images":
// n, "detections": n, "params": {...}, "seconds": {"load", "match", "accumulate"}}. Numbers
// that are undefined are -1, as printed.
void edt_coco_result_put_json(const edt_coco_result *result, double load_s,
                              edt_json_writer *out);
edt_status edt_coco_result_write_json(const edt_coco_result *result, double load_s,
                                      const char *path, edt_error *err);
// What else goes into the object; NULL: not there.
typedef struct edt_coco_json_extras {
    const edt_error_breakdown *errors; // "errors" (error_breakdown.h)
    const edt_coco_notes *notes;       // "notes": texts (coco_notes.h)
} edt_coco_json_extras;

edt_status edt_coco_result_write_json_with(const edt_coco_result *result,
                                           const edt_coco_json_extras *extras, double load_s,
                                           const char *path, edt_error *err);
// f64 tensors "precision", "scores" [T,R,K,A,M] and "recall" [T,K,A,M].
edt_status edt_coco_result_write_arrays(const edt_coco_result *result, const char *path,
                                        edt_error *err);

#endif
