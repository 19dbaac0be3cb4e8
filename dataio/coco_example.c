// See coco_example.h.
#include "dataio/coco_example.h"

#include <inttypes.h>
#include <string.h>

#include "dataio/coco_segmentation.h"
#include "dataio/object_columns.h"
#include "dataio/png_mask.h"

static edt_span as_span(const char *data, size_t n_bytes)
{
    return (edt_span){.data = (const uint8_t *)data, .n_bytes = n_bytes};
}

static double area_scale(const edt_coco_example_input *in)
{
    return (double)in->stored_height * (double)in->stored_width /
           ((double)in->image->height * (double)in->image->width);
}

// `*out_good` false: the segmentation is bad and the report takes it.
static edt_status make_mask(const edt_coco_example_input *in, const edt_coco_annotation *a,
                            edt_arena *arena, edt_error *err, bool *out_good, edt_span *out_png)
{
    edt_error problem = {0};
    edt_rle mask;
    const edt_status status =
        edt_coco_segmentation_read(a->segmentation, in->image->height, in->image->width,
                                   in->stored_height, in->stored_width, arena, &problem, &mask);
    *out_good = status == EDT_OK;
    if (status == EDT_OK) {
        return edt_png_mask_encode(&mask, arena, err, out_png);
    }
    if (status == EDT_ERR_NOMEM) {
        return edt_error_set(err, status, "%s", problem.text);
    }
    return edt_convert_report_bad(in->report, EDT_BAD_FIELD, in->image->i_entry, err,
                                  "'%s': annotations[%" PRId64 "].segmentation: %s",
                                  in->categories_path, a->i_entry, problem.text);
}

static edt_status take_annotation(const edt_coco_example_input *in,
                                  const edt_coco_annotation *a, edt_arena *arena,
                                  edt_object_columns *columns, edt_coco_example_counts *counts,
                                  edt_error *err)
{
    const double width = (double)in->image->width;
    const double height = (double)in->image->height;
    if (a->w <= 0 || a->h <= 0) {
        ++counts->n_empty;
        return EDT_OK;
    }
    double xmin = a->x;
    double ymin = a->y;
    double xmax = a->x + a->w;
    double ymax = a->y + a->h;
    const bool outside = xmax > width || ymax > height;
    const bool negative = xmin < 0 || ymin < 0;
    bool clipped = false;
    bool kept_negative = false;
    if (in->clip_boxes && (outside || negative)) {
        xmin = edt_object_clamp(xmin, width);
        ymin = edt_object_clamp(ymin, height);
        xmax = edt_object_clamp(xmax, width);
        ymax = edt_object_clamp(ymax, height);
        if (xmax <= xmin || ymax <= ymin) {
            ++counts->n_outside;
            return EDT_OK;
        }
        clipped = true;
    } else if (outside) {
        ++counts->n_outside;
        return EDT_OK;
    } else if (negative) {
        kept_negative = true;
    }
    if (in->include_masks) {
        bool good;
        EDT_TRY(make_mask(in, a, arena, err, &good, &columns->detail[columns->n]));
        if (!good) {
            return EDT_OK;
        }
    }
    const size_t i = columns->n++;
    columns->xmin[i] = (float)(xmin / width);
    columns->xmax[i] = (float)(xmax / width);
    columns->ymin[i] = (float)(ymin / height);
    columns->ymax[i] = (float)(ymax / height);
    columns->area[i] = (float)(a->area * area_scale(in));
    columns->label[i] = a->category_id;
    columns->flag[0][i] = a->is_crowd;
    const edt_text name = edt_coco_json_category(in->categories, a->i_category)->name;
    columns->text[i] = as_span(name.data, name.n_bytes);
    counts->n_clipped += clipped;
    counts->n_negative += kept_negative;
    ++counts->n_boxes;
    return EDT_OK;
}

edt_status edt_coco_example_write(const edt_coco_example_input *input, edt_arena *arena,
                                  edt_error *err, edt_coco_example_counts *out_counts,
                                  edt_tfexample_pieces *out_pieces)
{
    const edt_coco_image *image = input->image;
    const size_t n_captions = (size_t)input->n_captions;
    edt_coco_example_counts counts = {0};
    edt_object_columns boxes = {0};
    const char *source_id = edt_arena_printf(arena, "%" PRId64, image->id);
    edt_span *captions = edt_arena_calloc(arena, n_captions + 1, sizeof *captions);
    if (source_id == NULL || captions == NULL ||
        !edt_object_columns_create(arena, (size_t)input->n_annotations, &boxes)) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %" PRId64 " annotations",
                 input->n_annotations);
    }
    for (int64_t i = 0; i < input->n_annotations; ++i) {
        EDT_TRY(take_annotation(input, &input->annotations[i], arena, &boxes, &counts, err));
    }
    for (size_t i = 0; i < n_captions; ++i) {
        const edt_text text = input->captions[i].text;
        captions[i] = as_span(text.data, text.n_bytes);
    }
    const edt_span name = as_span(image->file_name.data, image->file_name.n_bytes);
    const edt_span id = as_span(source_id, strlen(source_id));
    const edt_span sha = as_span(input->sha256, strlen(input->sha256));
    const edt_span format = as_span("jpeg", 4);
    edt_feature_list list = {.n = 0};
    edt_feature_list_add_ints(&list, "image/height", 1, &input->stored_height);
    edt_feature_list_add_ints(&list, "image/width", 1, &input->stored_width);
    edt_feature_list_add_bytes(&list, "image/filename", 1, &name);
    edt_feature_list_add_bytes(&list, "image/source_id", 1, &id);
    edt_feature_list_add_bytes(&list, "image/key/sha256", 1, &sha);
    edt_feature_list_add_bytes(&list, "image/encoded", 1, &input->encoded);
    edt_feature_list_add_bytes(&list, "image/format", 1, &format);
    if (input->n_annotations > 0) {
        edt_feature_list_add_floats(&list, "image/object/bbox/xmin", boxes.n, boxes.xmin);
        edt_feature_list_add_floats(&list, "image/object/bbox/xmax", boxes.n, boxes.xmax);
        edt_feature_list_add_floats(&list, "image/object/bbox/ymin", boxes.n, boxes.ymin);
        edt_feature_list_add_floats(&list, "image/object/bbox/ymax", boxes.n, boxes.ymax);
        edt_feature_list_add_bytes(&list, "image/object/class/text", boxes.n, boxes.text);
        edt_feature_list_add_ints(&list, "image/object/class/label", boxes.n, boxes.label);
        edt_feature_list_add_ints(&list, "image/object/is_crowd", boxes.n, boxes.flag[0]);
        edt_feature_list_add_floats(&list, "image/object/area", boxes.n, boxes.area);
        if (input->include_masks) {
            edt_feature_list_add_bytes(&list, "image/object/mask", boxes.n, boxes.detail);
        }
    }
    if (n_captions > 0) {
        edt_feature_list_add_bytes(&list, "image/caption", n_captions, captions);
    }
    EDT_TRY(edt_tfexample_write(list.items, list.n, arena, err, out_pieces));
    *out_counts = counts;
    return EDT_OK;
}
