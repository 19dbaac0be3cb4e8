// A map from 64-bit ids to numbers (row, group, count), for the tables of the annotation
// readers.
#ifndef EDT_DATAIO_ID_MAP_H
#define EDT_DATAIO_ID_MAP_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"

typedef struct edt_id_slot {
    int64_t id;
    int64_t value; // -1: free
} edt_id_slot;

typedef struct edt_id_map {
    edt_id_slot *slots;
    size_t n_slots; // 0 or a power of two
    size_t n_used;
} edt_id_map;

// A zeroed map is empty and legal everywhere.
void edt_id_map_deinit(edt_id_map *map);

// The value of `id`, -1 when there is none.
int64_t edt_id_map_get(const edt_id_map *map, int64_t id);

// Adds `id` with `value` >= 0 unless it is there; `*out_value` is what it has now.
// EDT_ERR_NOMEM.
edt_status edt_id_map_add(edt_id_map *map, int64_t id, int64_t value, edt_error *err,
                          int64_t *out_value);

// Says that `id` will be looked up or added soon: in large maps this hides the memory's
// latency.
void edt_id_map_prefetch(const edt_id_map *map, int64_t id);

// Sets or replaces the value of `id`.
edt_status edt_id_map_set(edt_id_map *map, int64_t id, int64_t value, edt_error *err);

#endif
