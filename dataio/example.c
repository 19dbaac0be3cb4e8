// See example.h.
#include "dataio/example.h"

#include <inttypes.h>

#include "dataio/tfexample.h"

static edt_status get_scalar(const edt_tfexample *message, const char *key,
                             edt_feature_kind kind, edt_arena *arena, edt_error *err,
                             edt_feature *out_feature, bool *out_present)
{
    EDT_TRY(edt_tfexample_get_list(message, key, kind, arena, err, out_feature));
    *out_present = edt_tfexample_find(message, key) != NULL;
    if (*out_present && out_feature->n != 1) {
        EDT_FAIL(err, EDT_ERR_FORMAT, "key '%s': holds %zu values, expected 1", key,
                 out_feature->n);
    }
    return EDT_OK;
}

static edt_status get_int(const edt_tfexample *message, const char *key, edt_arena *arena,
                          edt_error *err, int64_t *out_value)
{
    edt_feature feature;
    bool present;
    EDT_TRY(get_scalar(message, key, EDT_FEATURE_INT64, arena, err, &feature, &present));
    *out_value = present ? feature.value.ints[0] : -1;
    return EDT_OK;
}

static edt_text as_text(edt_span bytes)
{
    return (edt_text){.data = (const char *)bytes.data, .n_bytes = bytes.n_bytes};
}

// A list that may be absent or empty, or must hold one value per box.
static edt_status get_per_box(const edt_tfexample *message, const char *key,
                              edt_feature_kind kind, size_t n_boxes, edt_arena *arena,
                              edt_error *err, edt_feature *out_feature)
{
    EDT_TRY(edt_tfexample_get_list(message, key, kind, arena, err, out_feature));
    if (out_feature->n != 0 && out_feature->n != n_boxes) {
        EDT_FAIL(err, EDT_ERR_FORMAT, "key '%s': holds %zu values for %zu boxes", key,
                 out_feature->n, n_boxes);
    }
    return EDT_OK;
}

static edt_status decode_boxes(const edt_tfexample *message, edt_arena *arena, edt_error *err,
                               edt_example *out)
{
    static const char *const keys[4] = {"image/object/bbox/ymin", "image/object/bbox/xmin",
                                        "image/object/bbox/ymax", "image/object/bbox/xmax"};
    edt_feature sides[4];
    for (int k = 0; k < 4; ++k) {
        EDT_TRY(
            edt_tfexample_get_list(message, keys[k], EDT_FEATURE_FLOAT, arena, err, &sides[k]));
        if (sides[k].n != sides[0].n) {
            EDT_FAIL(err, EDT_ERR_FORMAT, "key '%s': holds %zu values, '%s' holds %zu", keys[k],
                     sides[k].n, keys[0], sides[0].n);
        }
    }
    const size_t n = sides[0].n;
    float *boxes = edt_arena_calloc(arena, n + 1, 4 * sizeof *boxes);
    float *own_area = edt_arena_calloc(arena, n + 1, sizeof *own_area);
    bool *is_crowd = edt_arena_calloc(arena, n + 1, sizeof *is_crowd);
    if (boxes == NULL || own_area == NULL || is_crowd == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %zu boxes", n);
    }
    for (size_t i = 0; i < n; ++i) {
        for (int k = 0; k < 4; ++k) {
            boxes[4 * i + (size_t)k] = sides[k].value.floats[i];
        }
    }
    edt_feature labels, area, crowd;
    EDT_TRY(get_per_box(message, "image/object/class/label", EDT_FEATURE_INT64, n, arena, err,
                        &labels));
    if (labels.n != n) {
        EDT_FAIL(err, EDT_ERR_FORMAT,
                 "key 'image/object/class/label': holds no values for %zu boxes", n);
    }
    EDT_TRY(get_per_box(message, "image/object/area", EDT_FEATURE_FLOAT, n, arena, err, &area));
    EDT_TRY(get_per_box(message, "image/object/is_crowd", EDT_FEATURE_INT64, n, arena, err,
                        &crowd));
    for (size_t i = 0; i < n; ++i) {
        const float *box = boxes + 4 * i;
        own_area[i] = area.n > 0 ? area.value.floats[i] : (box[3] - box[1]) * (box[2] - box[0]);
        is_crowd[i] = crowd.n > 0 && crowd.value.ints[i] != 0;
    }
    out->n_boxes = (int64_t)n;
    out->boxes = boxes;
    out->labels = labels.value.ints;
    out->area = own_area;
    out->is_crowd = is_crowd;
    return EDT_OK;
}

static edt_status decode_texts(const edt_tfexample *message, edt_arena *arena, edt_error *err,
                               edt_example *out)
{
    const size_t n = (size_t)out->n_boxes;
    edt_feature texts, difficult, captions;
    EDT_TRY(get_per_box(message, "image/object/class/text", EDT_FEATURE_BYTES, n, arena, err,
                        &texts));
    EDT_TRY(get_per_box(message, "image/object/difficult", EDT_FEATURE_INT64, n, arena, err,
                        &difficult));
    EDT_TRY(edt_tfexample_get_list(message, "image/caption", EDT_FEATURE_BYTES, arena, err,
                                   &captions));
    if (difficult.n > 0) {
        bool *flags = edt_arena_calloc(arena, n, sizeof *flags);
        if (flags == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %zu flags", n);
        }
        for (size_t i = 0; i < n; ++i) {
            flags[i] = difficult.value.ints[i] != 0;
        }
        out->difficult = flags;
    }
    out->n_texts = (int64_t)texts.n;
    out->texts = texts.value.bytes;
    out->n_captions = (int64_t)captions.n;
    out->captions = captions.value.bytes;
    return EDT_OK;
}

edt_status edt_example_decode(edt_span payload, unsigned what, edt_arena *arena, edt_error *err,
                              edt_example *out_example)
{
    edt_example example = {0};
    edt_tfexample message;
    edt_feature feature;
    bool present;
    EDT_TRY(edt_tfexample_parse(payload, arena, err, &message));
    EDT_TRY(get_scalar(&message, "image/encoded", EDT_FEATURE_BYTES, arena, err, &feature,
                       &present));
    if (!present) {
        EDT_FAIL(err, EDT_ERR_FORMAT, "key 'image/encoded': required but not found");
    }
    example.encoded = feature.value.bytes[0];
    if (example.encoded.n_bytes == 0) {
        EDT_FAIL(err, EDT_ERR_FORMAT, "key 'image/encoded': the image has no bytes");
    }
    EDT_TRY(get_scalar(&message, "image/source_id", EDT_FEATURE_BYTES, arena, err, &feature,
                       &present));
    if (present) {
        example.source_id = as_text(feature.value.bytes[0]);
    }
    // The reference does not read the name: it is shown in messages only, so no form of it is
    // an error.
    const edt_tfexample_entry *name = edt_tfexample_find(&message, "image/filename");
    if (name != NULL && name->kind == EDT_FEATURE_BYTES &&
        edt_tfexample_decode(name, arena, NULL, &feature) == EDT_OK && feature.n == 1) {
        example.filename = as_text(feature.value.bytes[0]);
    }
    EDT_TRY(get_int(&message, "image/height", arena, err, &example.height));
    EDT_TRY(get_int(&message, "image/width", arena, err, &example.width));
    if (example.height == -1 || example.width == -1) {
        example.height = example.width = -1;
    }
    EDT_TRY(decode_boxes(&message, arena, err, &example));
    if ((what & EDT_EXAMPLE_MASKS) != 0) {
        EDT_TRY(get_per_box(&message, "image/object/mask", EDT_FEATURE_BYTES,
                            (size_t)example.n_boxes, arena, err, &feature));
        example.n_masks = (int64_t)feature.n;
        example.masks = feature.value.bytes;
    }
    if ((what & EDT_EXAMPLE_TEXTS) != 0) {
        EDT_TRY(decode_texts(&message, arena, err, &example));
    }
    *out_example = example;
    return EDT_OK;
}
