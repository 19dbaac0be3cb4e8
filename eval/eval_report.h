// A folder that shows an evaluation: index.html with pictures for a report, and the numbers
// behind them. The page stands alone: relative links, style inside, no script.
//
//   index.html
//   precision_recall, ap_per_class, confusion, scores, thresholds, errors   .png and .svg
//   classes/<id>.png      precision against recall of one class
//   numbers.json          everything but the long curves
//   classes.csv, precision_recall.csv, confusion.csv, thresholds.csv, scores.csv
#ifndef EDT_EVAL_EVAL_REPORT_H
#define EDT_EVAL_EVAL_REPORT_H

#include "eval/coco_eval.h"

typedef struct edt_eval_report_options {
    const char *dir;               // made when it is missing; files in it are replaced
    const char *gt_name, *dt_name; // for the page; NULL: not named
} edt_eval_report_options;

// `result` is of the same ground truth, detections and parameters.
edt_status edt_eval_report_write(const edt_coco_gt *gt, const edt_coco_dt *dt,
                                 const edt_coco_result *result,
                                 const edt_eval_report_options *options, edt_error *err);

#endif
