// See id_map.h. Open addressing with linear probing, at most two thirds full.
#include "dataio/id_map.h"

#include "core/mem.h"

enum { FIRST_SLOTS = 64, LOOK_AHEAD = 16 };

void edt_id_map_deinit(edt_id_map *map)
{
    edt_mem_free(map->slots);
    *map = (edt_id_map){0};
}

static size_t first_slot(const edt_id_map *map, int64_t id)
{
    // A bijective mix (splitmix64): ids in arithmetic progressions spread as well as random
    // ones.
    uint64_t h = (uint64_t)id;
    h = (h ^ (h >> 30)) * 0xbf58476d1ce4e5b9u;
    h = (h ^ (h >> 27)) * 0x94d049bb133111ebu;
    return (size_t)(h ^ (h >> 31)) & (map->n_slots - 1);
}

// The slot of `id`, or the free one where it belongs.
static edt_id_slot *find_slot(const edt_id_map *map, int64_t id)
{
    size_t i = first_slot(map, id);
    while (map->slots[i].value >= 0 && map->slots[i].id != id) {
        i = (i + 1) & (map->n_slots - 1);
    }
    return &map->slots[i];
}

void edt_id_map_prefetch(const edt_id_map *map, int64_t id)
{
    if (map->n_slots > 0) {
        __builtin_prefetch(&map->slots[first_slot(map, id)], 1);
    }
}

int64_t edt_id_map_get(const edt_id_map *map, int64_t id)
{
    return map->n_slots > 0 ? find_slot(map, id)->value : -1;
}

static edt_status grow(edt_id_map *map, edt_error *err)
{
    edt_id_map grown = {.n_slots = map->n_slots > 0 ? 2 * map->n_slots : FIRST_SLOTS,
                        .n_used = map->n_used};
    grown.slots = edt_mem_alloc(EDT_MEM_MISC, grown.n_slots * sizeof *grown.slots);
    if (grown.slots == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for a table of %zu ids", grown.n_slots);
    }
    for (size_t i = 0; i < grown.n_slots; ++i) {
        grown.slots[i] = (edt_id_slot){.id = 0, .value = -1};
    }
    for (size_t i = 0; i < map->n_slots; ++i) {
        if (i + LOOK_AHEAD < map->n_slots) {
            edt_id_map_prefetch(&grown, map->slots[i + LOOK_AHEAD].id);
        }
        if (map->slots[i].value >= 0) {
            *find_slot(&grown, map->slots[i].id) = map->slots[i];
        }
    }
    edt_mem_free(map->slots);
    *map = grown;
    return EDT_OK;
}

edt_status edt_id_map_add(edt_id_map *map, int64_t id, int64_t value, edt_error *err,
                          int64_t *out_value)
{
    if (3 * map->n_used >= 2 * map->n_slots) {
        EDT_TRY(grow(map, err));
    }
    edt_id_slot *slot = find_slot(map, id);
    if (slot->value < 0) {
        *slot = (edt_id_slot){.id = id, .value = value};
        ++map->n_used;
    }
    *out_value = slot->value;
    return EDT_OK;
}

edt_status edt_id_map_set(edt_id_map *map, int64_t id, int64_t value, edt_error *err)
{
    int64_t old;
    EDT_TRY(edt_id_map_add(map, id, value, err, &old));
    find_slot(map, id)->value = value;
    return EDT_OK;
}
