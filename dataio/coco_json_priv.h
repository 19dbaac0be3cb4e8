// The tables behind coco_json.h, shared by its reader (coco_json_read.c) and its accessors.
#ifndef EDT_DATAIO_COCO_JSON_PRIV_H
#define EDT_DATAIO_COCO_JSON_PRIV_H

#include "core/arena.h"
#include "core/file.h"
#include "dataio/coco_json.h"
#include "dataio/id_map.h"

// Rows of one kind, gathered by image: those of group g are rows start[g] to start[g + 1].
typedef struct edt_coco_grouping {
    edt_id_map groups; // image id -> group
    int64_t *start;
} edt_coco_grouping;

typedef struct edt_coco_table {
    void *rows;
    int64_t n, capacity;
} edt_coco_table;

struct edt_coco_json {
    edt_mapped_file file;
    edt_arena arena; // texts with escapes
    edt_coco_table images, categories, annotations, captions;
    edt_coco_grouping by_image, captions_by_image;
};

// Fills the four tables from the text; the rows of one image do not stand together yet.
edt_status edt_coco_json_read(edt_coco_json *coco, edt_span text, const char *path,
                              unsigned what, edt_convert_report *report, edt_error *err);

#endif
