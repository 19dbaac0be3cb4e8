// From 64-bit ids, as COCO files have them, to positions: open addressing over a borrowed array
// of ids. Immutable after init, so it may be shared by threads.
#ifndef EDT_EVAL_COCO_ID_MAP_H
#define EDT_EVAL_COCO_ID_MAP_H

#include <stdint.h>

#include "core/error.h"

typedef struct edt_coco_id_map {
    const int64_t *ids; // borrowed
    int32_t *slots;     // position, or -1
    uint64_t mask;
    int shift;
} edt_coco_id_map;

// n < 2^31. An id that occurs more than once maps to its last position.
edt_status edt_coco_id_map_init(edt_coco_id_map *map, const int64_t *ids, int64_t n,
                                edt_error *err);
void edt_coco_id_map_deinit(edt_coco_id_map *map); // a zeroed map is legal

// The position, or -1.
static inline int32_t edt_coco_id_map_find(const edt_coco_id_map *map, int64_t id)
{
    // Fibonacci hashing: the high bits of the product are well mixed.
    uint64_t at = (uint64_t)id * UINT64_C(0x9E3779B97F4A7C15) >> map->shift;
    for (;; at = (at + 1) & map->mask) {
        const int32_t i = map->slots[at];
        if (i < 0 || map->ids[i] == id) {
            return i;
        }
    }
}

#endif
