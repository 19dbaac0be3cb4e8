// See voc_example.h.
#include "dataio/voc_example.h"

#include <inttypes.h>
#include <string.h>

enum { MAX_FEATURES = 20 };

typedef struct feature_list {
    edt_feature items[MAX_FEATURES];
    size_t n;
} feature_list;

typedef struct object_columns {
    size_t n;
    float *xmin, *xmax, *ymin, *ymax, *area;
    int64_t *label, *difficult, *truncated;
    edt_span *text, *view;
} object_columns;

static void add_floats(feature_list *list, const char *key, size_t n, const float *values)
{
    list->items[list->n++] = (edt_feature){.key = {.data = key, .n_bytes = strlen(key)},
                                           .kind = EDT_FEATURE_FLOAT,
                                           .n = n,
                                           .value.floats = values};
}

static void add_ints(feature_list *list, const char *key, size_t n, const int64_t *values)
{
    list->items[list->n++] = (edt_feature){.key = {.data = key, .n_bytes = strlen(key)},
                                           .kind = EDT_FEATURE_INT64,
                                           .n = n,
                                           .value.ints = values};
}

static void add_bytes(feature_list *list, const char *key, size_t n, const edt_span *values)
{
    list->items[list->n++] = (edt_feature){.key = {.data = key, .n_bytes = strlen(key)},
                                           .kind = EDT_FEATURE_BYTES,
                                           .n = n,
                                           .value.bytes = values};
}

static edt_span as_span(const char *text)
{
    return (edt_span){.data = (const uint8_t *)text, .n_bytes = strlen(text)};
}

static bool allocate_columns(edt_arena *arena, size_t n, object_columns *out)
{
    float *floats = edt_arena_calloc(arena, n + 1, 5 * sizeof *floats);
    int64_t *ints = edt_arena_calloc(arena, n + 1, 3 * sizeof *ints);
    edt_span *texts = edt_arena_calloc(arena, n + 1, 2 * sizeof *texts);
    if (floats == NULL || ints == NULL || texts == NULL) {
        return false;
    }
    *out = (object_columns){.xmin = floats,
                            .xmax = floats + n,
                            .ymin = floats + 2 * n,
                            .ymax = floats + 3 * n,
                            .area = floats + 4 * n,
                            .label = ints,
                            .difficult = ints + n,
                            .truncated = ints + 2 * n,
                            .text = texts,
                            .view = texts + n};
    return true;
}

static double clamp(double value, double high)
{
    return value < 0 ? 0 : value > high ? high : value;
}

bool edt_voc_clip_box(const edt_voc_annotation *note, bool clip, const double box[static 4],
                      double out_box[static 4])
{
    memcpy(out_box, box, 4 * sizeof *out_box);
    if (!clip) {
        return true;
    }
    for (int i = 0; i < 4; ++i) {
        out_box[i] = clamp(box[i], (double)(i % 2 == 0 ? note->height : note->width));
    }
    return out_box[0] < out_box[2] && out_box[1] < out_box[3];
}

static void take_object(const edt_voc_example_input *in, int64_t i, object_columns *columns,
                        edt_convert_counts *counts)
{
    const edt_voc_annotation *note = &in->image->note;
    const edt_voc_object *object = &note->objects[i];
    double box[4];
    if (!edt_voc_clip_box(note, in->clip_boxes, object->box, box)) {
        ++counts->n_outside;
        return;
    }
    counts->n_clipped += memcmp(box, object->box, sizeof box) != 0;
    counts->n_negative += box[0] < 0 || box[1] < 0;
    counts->n_kept_outside += box[2] > (double)note->height || box[3] > (double)note->width;
    counts->n_kept_empty += !(box[0] < box[2] && box[1] < box[3]);
    const double height = (double)note->height, width = (double)note->width;
    const double ymin = box[0] / height, xmin = box[1] / width;
    const double ymax = box[2] / height, xmax = box[3] / width;
    const size_t k = columns->n++;
    columns->xmin[k] = (float)xmin;
    columns->xmax[k] = (float)xmax;
    columns->ymin[k] = (float)ymin;
    columns->ymax[k] = (float)ymax;
    columns->area[k] = (float)((xmax - xmin) * (ymax - ymin));
    columns->label[k] = in->image->labels[i];
    columns->difficult[k] = object->difficult;
    columns->truncated[k] = object->truncated;
    columns->text[k] = as_span(object->name);
    columns->view[k] = as_span(object->pose);
    ++counts->n_boxes;
}

edt_status edt_voc_example_write(const edt_voc_example_input *input, edt_arena *arena,
                                 edt_error *err, edt_convert_counts *out_counts,
                                 edt_tfexample_pieces *out_pieces)
{
    const edt_voc_annotation *note = &input->image->note;
    edt_convert_counts counts = {0};
    object_columns objects;
    const char *source_id = edt_arena_printf(arena, "%" PRId64, input->image_id);
    if (source_id == NULL || !allocate_columns(arena, (size_t)note->n_objects, &objects)) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %" PRId64 " objects", note->n_objects);
    }
    for (int64_t i = 0; i < note->n_objects; ++i) {
        take_object(input, i, &objects, &counts);
    }
    const edt_span name = as_span(note->filename), id = as_span(source_id),
                   sha = as_span(input->sha256), format = as_span("jpeg");
    const size_t n = objects.n;
    feature_list list = {.n = 0};
    add_ints(&list, "image/height", 1, &input->height);
    add_ints(&list, "image/width", 1, &input->width);
    add_bytes(&list, "image/filename", 1, &name);
    add_bytes(&list, "image/source_id", 1, &id);
    add_bytes(&list, "image/key/sha256", 1, &sha);
    add_bytes(&list, "image/encoded", 1, &input->encoded);
    add_bytes(&list, "image/format", 1, &format);
    add_floats(&list, "image/object/bbox/xmin", n, objects.xmin);
    add_floats(&list, "image/object/bbox/xmax", n, objects.xmax);
    add_floats(&list, "image/object/bbox/ymin", n, objects.ymin);
    add_floats(&list, "image/object/bbox/ymax", n, objects.ymax);
    add_floats(&list, "image/object/area", n, objects.area);
    add_bytes(&list, "image/object/class/text", n, objects.text);
    add_ints(&list, "image/object/class/label", n, objects.label);
    add_ints(&list, "image/object/difficult", n, objects.difficult);
    add_ints(&list, "image/object/truncated", n, objects.truncated);
    add_bytes(&list, "image/object/view", n, objects.view);
    EDT_TRY(edt_tfexample_write(list.items, list.n, arena, err, out_pieces));
    *out_counts = counts;
    return EDT_OK;
}
