// See record_info.h.
#include "dataio/record_info.h"

#include <string.h>

#include "dataio/fingerprint64.h"

typedef struct lists {
    edt_feature source_id, height, width;
    edt_feature side[4]; // ymin, xmin, ymax, xmax
    edt_feature label, crowd, text;
} lists;

typedef struct wanted_key {
    const char *name;
    edt_feature_kind kind;
    size_t at; // in struct lists
} wanted_key;

static const wanted_key wanted[] = {
    {"image/source_id", EDT_FEATURE_BYTES, offsetof(lists, source_id)},
    {"image/height", EDT_FEATURE_INT64, offsetof(lists, height)},
    {"image/width", EDT_FEATURE_INT64, offsetof(lists, width)},
    {"image/object/bbox/ymin", EDT_FEATURE_FLOAT, offsetof(lists, side[0])},
    {"image/object/bbox/xmin", EDT_FEATURE_FLOAT, offsetof(lists, side[1])},
    {"image/object/bbox/ymax", EDT_FEATURE_FLOAT, offsetof(lists, side[2])},
    {"image/object/bbox/xmax", EDT_FEATURE_FLOAT, offsetof(lists, side[3])},
    {"image/object/class/label", EDT_FEATURE_INT64, offsetof(lists, label)},
    {"image/object/is_crowd", EDT_FEATURE_INT64, offsetof(lists, crowd)},
    {"image/object/class/text", EDT_FEATURE_BYTES, offsetof(lists, text)},
};
enum { N_WANTED = sizeof wanted / sizeof wanted[0] };

static edt_feature *slot(lists *l, size_t i)
{
    return (edt_feature *)(void *)((char *)l + wanted[i].at);
}

int64_t edt_record_info_image_id(edt_text source_id, unsigned *out_flag)
{
    *out_flag = 0;
    if (source_id.n_bytes == 0) {
        return 0;
    }
    const bool negative = source_id.data[0] == '-';
    size_t i = negative ? 1 : 0;
    int64_t value = 0;
    bool is_number = i < source_id.n_bytes;
    for (; is_number && i < source_id.n_bytes; ++i) {
        const int digit = source_id.data[i] - '0';
        is_number = digit >= 0 && digit <= 9 && value <= (INT64_MAX - digit) / 10;
        value = is_number ? 10 * value + digit : 0;
    }
    if (is_number) {
        *out_flag = EDT_RECORD_INFO_NUMBER;
        return negative ? -value : value;
    }
    *out_flag = EDT_RECORD_INFO_HASH;
    return edt_fingerprint64_source_id(
        (edt_span){(const uint8_t *)source_id.data, source_id.n_bytes});
}

static edt_status fill(const lists *l, edt_arena *arena, edt_error *err,
                       edt_record_info *out_info)
{
    edt_record_info info = {.flags = EDT_RECORD_INFO_EXAMPLE, .height = -1, .width = -1};
    if (l->source_id.n == 1) {
        const edt_span id = l->source_id.value.bytes[0];
        unsigned flag;
        info.image_id =
            edt_record_info_image_id((edt_text){(const char *)id.data, id.n_bytes}, &flag);
        info.flags |= flag;
    }
    if (l->height.n == 1 && l->width.n == 1) {
        info.height = l->height.value.ints[0];
        info.width = l->width.value.ints[0];
    }
    const size_t n = l->label.n;
    bool even = (l->crowd.n == n || l->crowd.n == 0) && (l->text.n == n || l->text.n == 0);
    for (int k = 0; k < 4; ++k) {
        even = even && l->side[k].n == n;
    }
    if (!even) {
        info.flags |= EDT_RECORD_INFO_UNEVEN;
    } else if (n > 0) {
        float *boxes = edt_arena_calloc(arena, n, 4 * sizeof *boxes);
        int64_t *labels = edt_arena_calloc(arena, n, sizeof *labels);
        bool *is_crowd = l->crowd.n > 0 ? edt_arena_calloc(arena, n, sizeof *is_crowd) : NULL;
        edt_text *names = l->text.n > 0 ? edt_arena_calloc(arena, n, sizeof *names) : NULL;
        if (boxes == NULL || labels == NULL || (l->crowd.n > 0 && is_crowd == NULL) ||
            (l->text.n > 0 && names == NULL)) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %zu boxes", n);
        }
        for (size_t i = 0; i < n; ++i) {
            for (size_t k = 0; k < 4; ++k) {
                boxes[4 * i + k] = l->side[k].value.floats[i];
            }
            labels[i] = l->label.value.ints[i];
            if (is_crowd != NULL) {
                is_crowd[i] = l->crowd.value.ints[i] != 0;
            }
            if (names != NULL) {
                const edt_span name = l->text.value.bytes[i];
                names[i] = (edt_text){(const char *)name.data, name.n_bytes};
            }
        }
        info.n_boxes = (int64_t)n;
        info.boxes = boxes;
        info.labels = labels;
        info.is_crowd = is_crowd;
        info.names = names;
    }
    *out_info = info;
    return EDT_OK;
}

// What is in the arena must not point at the caller's texts.
static edt_status own_names(edt_record_info *info, edt_arena *arena, edt_error *err)
{
    if (info->names == NULL) {
        return EDT_OK;
    }
    edt_text *names = edt_arena_calloc(arena, (size_t)info->n_boxes, sizeof *names);
    for (int64_t i = 0; names != NULL && i < info->n_boxes; ++i) {
        const char *copy =
            edt_arena_strndup(arena, info->names[i].data, info->names[i].n_bytes);
        if (copy == NULL) {
            names = NULL;
            break;
        }
        names[i] = (edt_text){copy, info->names[i].n_bytes};
    }
    if (names == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %lld class names",
                 (long long)info->n_boxes);
    }
    info->names = names;
    return EDT_OK;
}

edt_status edt_record_info_from_features(const edt_feature *features, size_t n_features,
                                         edt_arena *arena, edt_error *err,
                                         edt_record_info *out_info)
{
    lists l = {0};
    for (size_t i = 0; i < n_features; ++i) {
        for (size_t k = 0; k < N_WANTED; ++k) {
            if (strlen(wanted[k].name) != features[i].key.n_bytes ||
                memcmp(wanted[k].name, features[i].key.data, features[i].key.n_bytes) != 0) {
                continue;
            }
            if (features[i].kind == wanted[k].kind) {
                *slot(&l, k) = features[i];
            } else if (features[i].kind != EDT_FEATURE_NONE) {
                *out_info = (edt_record_info){.height = -1, .width = -1};
                return EDT_OK;
            }
            break;
        }
    }
    edt_record_info info;
    EDT_TRY(fill(&l, arena, err, &info));
    EDT_TRY(own_names(&info, arena, err));
    *out_info = info;
    return EDT_OK;
}

edt_status edt_record_info_from_payload(edt_span payload, edt_arena *arena, edt_error *err,
                                        edt_record_info *out_info)
{
    edt_tfexample example;
    edt_status status = edt_tfexample_parse(payload, arena, err, &example);
    lists l = {0};
    for (size_t k = 0; status == EDT_OK && k < N_WANTED; ++k) {
        status = edt_tfexample_get_list(&example, wanted[k].name, wanted[k].kind, arena, err,
                                        slot(&l, k));
    }
    if (status == EDT_ERR_FORMAT) {
        *out_info = (edt_record_info){.height = -1, .width = -1};
        return EDT_OK;
    }
    EDT_TRY(status);
    return fill(&l, arena, err, out_info);
}
