// See object_columns.h.
#include "dataio/object_columns.h"

#include <string.h>

static edt_feature *add(edt_feature_list *list, const char *key, edt_feature_kind kind,
                        size_t n)
{
    edt_feature *feature = &list->items[list->n++];
    *feature =
        (edt_feature){.key = {.data = key, .n_bytes = strlen(key)}, .kind = kind, .n = n};
    return feature;
}

void edt_feature_list_add_floats(edt_feature_list *list, const char *key, size_t n,
                                 const float *values)
{
    add(list, key, EDT_FEATURE_FLOAT, n)->value.floats = values;
}

void edt_feature_list_add_ints(edt_feature_list *list, const char *key, size_t n,
                               const int64_t *values)
{
    add(list, key, EDT_FEATURE_INT64, n)->value.ints = values;
}

void edt_feature_list_add_bytes(edt_feature_list *list, const char *key, size_t n,
                                const edt_span *values)
{
    add(list, key, EDT_FEATURE_BYTES, n)->value.bytes = values;
}

bool edt_object_columns_create(edt_arena *arena, size_t capacity, edt_object_columns *out)
{
    const size_t n = capacity;
    float *floats = edt_arena_calloc(arena, n + 1, 5 * sizeof *floats);
    int64_t *ints = edt_arena_calloc(arena, n + 1, 3 * sizeof *ints);
    edt_span *texts = edt_arena_calloc(arena, n + 1, 2 * sizeof *texts);
    if (floats == NULL || ints == NULL || texts == NULL) {
        return false;
    }
    *out = (edt_object_columns){.xmin = floats,
                                .xmax = floats + n,
                                .ymin = floats + 2 * n,
                                .ymax = floats + 3 * n,
                                .area = floats + 4 * n,
                                .label = ints,
                                .flag = {ints + n, ints + 2 * n},
                                .text = texts,
                                .detail = texts + n};
    return true;
}

double edt_object_clamp(double value, double high)
{
    return value < 0 ? 0 : value > high ? high : value;
}
