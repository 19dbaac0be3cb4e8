// See label_names.h.
#include "dataio/label_names.h"

#include <string.h>

#include "core/mem.h"

struct edt_label_names {
    edt_id_map index; // label to its name's number
    const char **names;
    int64_t n, capacity;
    edt_arena arena;
};

edt_status edt_label_names_create(edt_error *err, edt_label_names **out_names)
{
    edt_label_names *names = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *names);
    if (names == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for class names");
    }
    edt_arena_init(&names->arena, EDT_MEM_TEXT, 4096);
    *out_names = names;
    return EDT_OK;
}

void edt_label_names_destroy(edt_label_names *names)
{
    if (names != NULL) {
        edt_id_map_deinit(&names->index);
        edt_arena_deinit(&names->arena);
        edt_mem_free(names->names);
        edt_mem_free(names);
    }
}

edt_status edt_label_names_add(edt_label_names *names, int64_t label, edt_text name,
                               edt_error *err, const char **out_other)
{
    *out_other = NULL;
    if (name.n_bytes == 0) {
        return EDT_OK;
    }
    const int64_t i = edt_id_map_get(&names->index, label);
    if (i >= 0) {
        const char *known = names->names[i];
        if (strlen(known) != name.n_bytes || memcmp(known, name.data, name.n_bytes) != 0) {
            *out_other = known;
        }
        return EDT_OK;
    }
    if (names->n == names->capacity) {
        const int64_t capacity = names->capacity > 0 ? 2 * names->capacity : 64;
        const char **grown =
            edt_mem_realloc(EDT_MEM_MISC, names->names, (size_t)capacity * sizeof *grown);
        if (grown == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for class names");
        }
        names->names = grown;
        names->capacity = capacity;
    }
    names->names[names->n] = edt_arena_strndup(&names->arena, name.data, name.n_bytes);
    if (names->names[names->n] == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for class names");
    }
    EDT_TRY(edt_id_map_set(&names->index, label, names->n, err));
    ++names->n;
    return EDT_OK;
}

const char *edt_label_names_find(const edt_label_names *names, int64_t label)
{
    const int64_t i = edt_id_map_get(&names->index, label);
    return i >= 0 ? names->names[i] : NULL;
}
