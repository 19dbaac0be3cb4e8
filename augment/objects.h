// The objects in one picture, as columns.
#ifndef EDT_AUGMENT_OBJECTS_H
#define EDT_AUGMENT_OBJECTS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/arena.h"
#include "core/error.h"

// Whoever hands out a value says who owns the arrays; all have n rows.
typedef struct edt_objects {
    int64_t n;
    float *boxes;    // [n,4] ymin,xmin,ymax,xmax in parts of the picture's size
    int64_t *labels; // 1-based
    bool *is_crowd;
    float *area; // as stored in the record
} edt_objects;

// No rows yet, room for n_max, in `arena`. EDT_ERR_NOMEM.
edt_status edt_objects_begin(edt_arena *arena, int64_t n_max, edt_error *err,
                             edt_objects *out_objects);
// Appends row i of `from` with another box; there must be room.
void edt_objects_append(edt_objects *objects, const edt_objects *from, int64_t i,
                        const float box[static 4]);
// As edt_objects_append with the box moved from a part of the picture to the whole: scaled by
// h, w, then moved by y, x, all in parts of the new picture's size. The box is clipped to the
// part first; nothing is appended when no area is left.
void edt_objects_append_part(edt_objects *objects, const edt_objects *from, int64_t i, float y,
                             float x, float h, float w);

#endif
