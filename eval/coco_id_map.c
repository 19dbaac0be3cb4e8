// Building the id table: twice as many slots as ids at least, so that searches stay short.
#include "eval/coco_id_map.h"

#include <string.h>

#include "core/mem.h"

edt_status edt_coco_id_map_init(edt_coco_id_map *map, const int64_t *ids, int64_t n,
                                edt_error *err)
{
    int bits = 3;
    while (INT64_C(1) << bits < 2 * n) {
        ++bits;
    }
    const size_t n_slots = (size_t)1 << bits;
    *map = (edt_coco_id_map){.ids = ids, .mask = n_slots - 1, .shift = 64 - bits};
    map->slots = edt_mem_alloc(EDT_MEM_EVAL, n_slots * sizeof *map->slots);
    if (map->slots == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for a table of %lld ids", (long long)n);
    }
    memset(map->slots, 0xFF, n_slots * sizeof *map->slots);
    for (int64_t i = 0; i < n; ++i) {
        uint64_t at = (uint64_t)ids[i] * UINT64_C(0x9E3779B97F4A7C15) >> map->shift;
        while (map->slots[at] >= 0 && ids[map->slots[at]] != ids[i]) {
            at = (at + 1) & map->mask;
        }
        map->slots[at] = (int32_t)i;
    }
    return EDT_OK;
}

void edt_coco_id_map_deinit(edt_coco_id_map *map)
{
    edt_mem_free(map->slots);
    *map = (edt_coco_id_map){0};
}
