// See sample_objects.h.
#include "dataio/sample_objects.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "augment/boxes.h"
#include "dataio/fingerprint64.h"

enum { GT_COLUMNS = 7 };

edt_status edt_sample_source_id(const edt_preprocess_config *config, const edt_example *example,
                                edt_error *err, int64_t *out_id)
{
    const edt_text text = example->source_id;
    if (config->regenerate_source_id || text.n_bytes == 0) {
        *out_id = edt_fingerprint64_source_id(example->encoded);
        return EDT_OK;
    }
    const bool negative = text.data[0] == '-';
    size_t i = negative ? 1 : 0;
    int64_t value = 0;
    bool ok = i < text.n_bytes;
    for (; ok && i < text.n_bytes; ++i) {
        const int digit = text.data[i] - '0';
        ok = digit >= 0 && digit <= 9 && value <= (INT64_MAX - digit) / 10;
        value = ok ? value * 10 + digit : value;
    }
    if (!ok) {
        EDT_FAIL(err, EDT_ERR_FORMAT,
                 "image/source_id is '%.*s'; it must be a decimal integer below 2^63: set "
                 "regenerate_source_id=true to number pictures by their content",
                 (int)(text.n_bytes < 64 ? text.n_bytes : 64), text.data);
    }
    *out_id = negative ? -value : value;
    return EDT_OK;
}

static edt_status check_labels(const edt_preprocess_config *config, const edt_example *example,
                               edt_error *err)
{
    for (int64_t i = 0; i < example->n_boxes; ++i) {
        if (example->labels[i] < 1 || example->labels[i] > config->num_classes) {
            EDT_FAIL(err, EDT_ERR_INVALID,
                     "image/object/class/label of box %" PRId64 " is %" PRId64
                     "; num_classes=%" PRId64 " allows 1 to %" PRId64
                     ": raise num_classes or mend the labels",
                     i, example->labels[i], config->num_classes, config->num_classes);
        }
    }
    return EDT_OK;
}

// A corner that is no number would be clipped into a sound-looking box or poison the targets.
static edt_status check_corners(const edt_example *example, edt_error *err)
{
    static const char *const keys[4] = {"ymin", "xmin", "ymax", "xmax"};
    for (int64_t i = 0; i < 4 * example->n_boxes; ++i) {
        if (!isfinite(example->boxes[i])) {
            EDT_FAIL(err, EDT_ERR_INVALID,
                     "image/object/bbox/%s of box %" PRId64
                     " is %g; corners must be finite, in parts of the picture's size: mend the "
                     "record",
                     keys[i % 4], i / 4, (double)example->boxes[i]);
        }
    }
    return EDT_OK;
}

edt_status edt_sample_objects_read(const edt_preprocess_config *config,
                                   const edt_example *example, edt_arena *arena, edt_error *err,
                                   edt_objects *out_objects, int64_t **out_source)
{
    if (!config->reference_defects) {
        EDT_TRY(check_labels(config, example, err));
        EDT_TRY(check_corners(example, err));
    }
    const size_t n = (size_t)example->n_boxes;
    edt_objects o = {.boxes = edt_arena_calloc(arena, n + 1, 4 * sizeof *o.boxes),
                     .labels = edt_arena_calloc(arena, n + 1, sizeof *o.labels),
                     .is_crowd = edt_arena_calloc(arena, n + 1, sizeof *o.is_crowd),
                     .area = edt_arena_calloc(arena, n + 1, sizeof *o.area)};
    int64_t *source = edt_arena_calloc(arena, n + 1, sizeof *source);
    if (o.boxes == NULL || o.labels == NULL || o.is_crowd == NULL || o.area == NULL ||
        source == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %zu boxes", n);
    }
    for (int64_t i = 0; i < example->n_boxes; ++i) {
        if (config->training && config->skip_crowd && example->is_crowd[i]) {
            continue;
        }
        memcpy(o.boxes + 4 * o.n, example->boxes + 4 * i, 4 * sizeof *o.boxes);
        o.labels[o.n] = example->labels[i];
        o.is_crowd[o.n] = example->is_crowd[i];
        o.area[o.n] = example->area[i];
        source[o.n++] = i;
    }
    *out_objects = o;
    if (out_source != NULL) {
        *out_source = source;
    }
    return EDT_OK;
}

edt_status edt_sample_objects_place(const edt_preprocess_config *config,
                                    const edt_scale_params *scale, bool flipped,
                                    edt_arena *arena, edt_error *err, edt_objects *objects)
{
    edt_objects o = *objects;
    int64_t *kept = edt_arena_calloc(arena, (size_t)o.n + 1, sizeof *kept);
    if (kept == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %" PRId64 " boxes", o.n);
    }
    if (flipped) {
        edt_boxes_flip(o.boxes, o.n);
    }
    o.n = edt_boxes_to_network(scale, o.boxes, o.n, config->reference_defects, o.boxes, kept);
    for (int64_t i = 0; i < o.n; ++i) {
        o.labels[i] = o.labels[kept[i]];
        o.is_crowd[i] = o.is_crowd[kept[i]];
        o.area[i] = o.area[kept[i]];
    }
    *objects = o;
    return EDT_OK;
}

void edt_sample_groundtruth_clear(const edt_preprocess_config *config, float *out_rows)
{
    static const float padding[GT_COLUMNS] = {-1, -1, -1, -1, 0, -1, -1};
    for (int64_t i = 0; i < config->max_instances; ++i) {
        memcpy(out_rows + i * GT_COLUMNS, padding, sizeof padding);
    }
}

edt_status edt_sample_groundtruth_fill(const edt_preprocess_config *config,
                                       const edt_scale_params *scale,
                                       const edt_objects *objects,
                                       const edt_sample_columns *unfiltered, edt_error *err,
                                       float *out_rows)
{
    const int64_t m = config->max_instances;
    const edt_sample_columns filtered = {objects->n, objects->is_crowd, objects->area};
    const edt_sample_columns *side = config->reference_defects ? unfiltered : &filtered;
    if (config->reference_defects && side->n >= m) {
        EDT_FAIL(err, EDT_ERR_INVALID,
                 "%" PRId64 " boxes; max_instances_per_image=%" PRId64
                 " must be larger than that (reference_defects is on)",
                 side->n, m);
    }
    edt_sample_groundtruth_clear(config, out_rows);
    for (int64_t i = 0; i < objects->n && i < m; ++i) {
        float *row = out_rows + i * GT_COLUMNS;
        for (int k = 0; k < 4; ++k) {
            row[k] = objects->boxes[4 * i + k] * scale->image_scale;
        }
        row[6] = (float)objects->labels[i];
    }
    for (int64_t i = 0; i < side->n && i < m; ++i) {
        out_rows[i * GT_COLUMNS + 4] = side->is_crowd[i] ? 1.0f : 0.0f;
        out_rows[i * GT_COLUMNS + 5] = side->area[i];
    }
    return EDT_OK;
}
