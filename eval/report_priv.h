// What the parts of an evaluation's report share (eval_report.h).
#ifndef EDT_EVAL_REPORT_PRIV_H
#define EDT_EVAL_REPORT_PRIV_H

#include "core/strbuf.h"
#include "eval/coco_curves.h"
#include "eval/error_breakdown.h"

typedef struct edt_report {
    const char *dir, *gt_name, *dt_name;
    const edt_coco_result *result;
    const edt_coco_curves *curves;
    const edt_error_breakdown *errors; // NULL without categories
    edt_arena *arena;
} edt_report;

// All pictures but those of single classes, as PNG and SVG.
edt_status edt_report_write_pictures(const edt_report *report, edt_error *err);
// classes/<id>.png for all classes with objects.
edt_status edt_report_write_classes(const edt_report *report, edt_error *err);
// The JSON and CSV files.
edt_status edt_report_write_numbers(const edt_report *report, edt_error *err);

// Positions of the classes with an AP, best first (by name where equal); in the arena.
edt_status edt_report_sort_classes(const edt_report *report, edt_error *err,
                                   const int64_t **out_classes, int64_t *out_n);

#endif
