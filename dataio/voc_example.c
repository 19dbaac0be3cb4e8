// See voc_example.h.
#include "dataio/voc_example.h"

#include <inttypes.h>
#include <string.h>

#include "dataio/object_columns.h"

static edt_span as_span(const char *text)
{
    return (edt_span){.data = (const uint8_t *)text, .n_bytes = strlen(text)};
}

bool edt_voc_clip_box(const edt_voc_annotation *note, bool clip, const double box[static 4],
                      double out_box[static 4])
{
    memcpy(out_box, box, 4 * sizeof *out_box);
    if (!clip) {
        return true;
    }
    for (int i = 0; i < 4; ++i) {
        out_box[i] =
            edt_object_clamp(box[i], (double)(i % 2 == 0 ? note->height : note->width));
    }
    return out_box[0] < out_box[2] && out_box[1] < out_box[3];
}

static void take_object(const edt_voc_example_input *in, int64_t i, edt_object_columns *columns,
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
    columns->flag[0][k] = object->difficult;
    columns->flag[1][k] = object->truncated;
    columns->text[k] = as_span(object->name);
    columns->detail[k] = as_span(object->pose);
    ++counts->n_boxes;
}

edt_status edt_voc_example_write(const edt_voc_example_input *input, edt_arena *arena,
                                 edt_error *err, edt_convert_counts *out_counts,
                                 edt_tfexample_pieces *out_pieces)
{
    const edt_voc_annotation *note = &input->image->note;
    edt_convert_counts counts = {0};
    edt_object_columns objects;
    const char *source_id = edt_arena_printf(arena, "%" PRId64, input->image_id);
    if (source_id == NULL ||
        !edt_object_columns_create(arena, (size_t)note->n_objects, &objects)) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %" PRId64 " objects", note->n_objects);
    }
    for (int64_t i = 0; i < note->n_objects; ++i) {
        take_object(input, i, &objects, &counts);
    }
    const edt_span name = as_span(note->filename), id = as_span(source_id),
                   sha = as_span(input->sha256), format = as_span("jpeg");
    const size_t n = objects.n;
    edt_feature_list list = {.n = 0};
    edt_feature_list_add_ints(&list, "image/height", 1, &input->height);
    edt_feature_list_add_ints(&list, "image/width", 1, &input->width);
    edt_feature_list_add_bytes(&list, "image/filename", 1, &name);
    edt_feature_list_add_bytes(&list, "image/source_id", 1, &id);
    edt_feature_list_add_bytes(&list, "image/key/sha256", 1, &sha);
    edt_feature_list_add_bytes(&list, "image/encoded", 1, &input->encoded);
    edt_feature_list_add_bytes(&list, "image/format", 1, &format);
    edt_feature_list_add_floats(&list, "image/object/bbox/xmin", n, objects.xmin);
    edt_feature_list_add_floats(&list, "image/object/bbox/xmax", n, objects.xmax);
    edt_feature_list_add_floats(&list, "image/object/bbox/ymin", n, objects.ymin);
    edt_feature_list_add_floats(&list, "image/object/bbox/ymax", n, objects.ymax);
    edt_feature_list_add_floats(&list, "image/object/area", n, objects.area);
    edt_feature_list_add_bytes(&list, "image/object/class/text", n, objects.text);
    edt_feature_list_add_ints(&list, "image/object/class/label", n, objects.label);
    edt_feature_list_add_ints(&list, "image/object/difficult", n, objects.flag[0]);
    edt_feature_list_add_ints(&list, "image/object/truncated", n, objects.flag[1]);
    edt_feature_list_add_bytes(&list, "image/object/view", n, objects.detail);
    EDT_TRY(edt_tfexample_write(list.items, list.n, arena, err, out_pieces));
    *out_counts = counts;
    return EDT_OK;
}
