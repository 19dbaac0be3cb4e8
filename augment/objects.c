// See objects.h.
#include "augment/objects.h"

#include <inttypes.h>
#include <string.h>

edt_status edt_objects_begin(edt_arena *arena, int64_t n_max, edt_error *err,
                             edt_objects *out_objects)
{
    const size_t n = (size_t)(n_max > 0 ? n_max : 1);
    const edt_objects objects = {
        .boxes = edt_arena_calloc(arena, n, 4 * sizeof *objects.boxes),
        .labels = edt_arena_calloc(arena, n, sizeof *objects.labels),
        .is_crowd = edt_arena_calloc(arena, n, sizeof *objects.is_crowd),
        .area = edt_arena_calloc(arena, n, sizeof *objects.area),
    };
    if (objects.boxes == NULL || objects.labels == NULL || objects.is_crowd == NULL ||
        objects.area == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %" PRId64 " objects", n_max);
    }
    *out_objects = objects;
    return EDT_OK;
}

void edt_objects_append(edt_objects *objects, const edt_objects *from, int64_t i,
                        const float box[static 4])
{
    const int64_t n = objects->n++;
    memcpy(objects->boxes + 4 * n, box, 4 * sizeof *box);
    objects->labels[n] = from->labels[i];
    objects->is_crowd[n] = from->is_crowd[i];
    objects->area[n] = from->area[i];
}

static float clip01(float value)
{
    return value < 0.0f ? 0.0f : (value > 1.0f ? 1.0f : value);
}

void edt_objects_append_part(edt_objects *objects, const edt_objects *from, int64_t i, float y,
                             float x, float h, float w)
{
    const float *box = from->boxes + 4 * i;
    const float moved[4] = {y + clip01(box[0]) * h, x + clip01(box[1]) * w,
                            y + clip01(box[2]) * h, x + clip01(box[3]) * w};
    if (moved[2] > moved[0] && moved[3] > moved[1]) { // not so for NaN
        edt_objects_append(objects, from, i, moved);
    }
}
