// What the twelve numbers do not say: why some of them are -1, which detections cannot count,
// and objects that nobody looked for. Most evaluations have nothing of the kind.
#ifndef EDT_EVAL_COCO_NOTES_H
#define EDT_EVAL_COCO_NOTES_H

#include "core/arena.h"
#include "eval/coco_eval.h"

enum { EDT_COCO_MOST_NOTES = 16 };

typedef struct edt_coco_notes {
    int n;
    const char *text[EDT_COCO_MOST_NOTES]; // one line each, in the arena
} edt_coco_notes;

// `result` is that of `gt` and `dt`. EDT_ERR_NOMEM.
edt_status edt_coco_notes_make(const edt_coco_gt *gt, const edt_coco_dt *dt,
                               const edt_coco_result *result, edt_arena *arena, edt_error *err,
                               edt_coco_notes *out_notes);

#endif
