// The evaluation JSON beside VOC shards: the same objects as COCO ground truth, as the
// reference's converter writes it (spec/data.md 4.5).
#ifndef EDT_DATAIO_VOC_TO_COCO_H
#define EDT_DATAIO_VOC_TO_COCO_H

#include "core/json.h"
#include "dataio/reencode.h"
#include "dataio/voc_set.h"

typedef struct edt_voc_to_coco_options {
    bool clip_boxes; // as in the records
    // Every year repeats the categories, as the reference does for `merged`.
    bool repeat_categories;
    const bool *left_out; // [n_images] images without a record; NULL: only the set's own
    const edt_reencode_options *reencode; // sizes and boxes are those of the pictures stored so
} edt_voc_to_coco_options;

// Coordinates lose their fractions, where the reference stops at a decimal. Zero areas and
// inverted boxes are written as they come.
void edt_voc_to_coco_write(const edt_voc_set *set, const edt_voc_to_coco_options *options,
                           edt_json_writer *json);

// "DIR/json_NAME.json" for the prefix "DIR/NAME"; NULL when out of memory.
const char *edt_voc_to_coco_path(edt_arena *arena, const char *prefix);

#endif
