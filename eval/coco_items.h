// Reads a large JSON array of objects on several threads. The text is cut where "}, {" occurs
// and each piece is parsed as if it began an item; a piece counts only when the piece before it
// ended exactly where it began, so the cuts need not be right to be safe.
#ifndef EDT_EVAL_COCO_ITEMS_H
#define EDT_EVAL_COCO_ITEMS_H

#include "core/json_pull.h"

typedef struct edt_coco_items_spec {
    int n_threads;
    bool allow_nan;
    bool is_mapped;    // pages may be given back to the system once read
    size_t sink_bytes; // of a piece's result, zeroed before its first item
    void *ctx;
    // Reads the value that comes next. On any thread, one at a time per sink. It may be called
    // for text that turns out not to belong to the array: it must then only fail.
    edt_status (*read)(void *ctx, void *sink, edt_json_pull *pull, edt_error *err);
    // On the caller's thread, in the order of the text.
    edt_status (*take)(void *ctx, void *sink, edt_error *err);
    // Frees what `take` left or never saw.
    void (*drop)(void *sink);
} edt_coco_items_spec;

// `pull` stands behind the ARRAY_BEGIN of an array in `text` and is left behind its end. Errors
// carry the position in the whole text.
edt_status edt_coco_items_read(edt_json_pull *pull, edt_span text,
                               const edt_coco_items_spec *spec, edt_error *err);

// Reads the value of "bbox": exactly four numbers x, y, width, height, or where out_is_empty is
// not NULL none at all. Both readers of items use it.
edt_status edt_coco_read_bbox(edt_json_pull *pull, edt_error *err, double bbox[4],
                              bool *out_is_empty);

#endif
