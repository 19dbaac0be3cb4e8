// See voc_to_coco.h.
#include "dataio/voc_to_coco.h"

#include <math.h>

#include "core/path.h"
#include "dataio/voc_example.h"

typedef struct picture {
    const edt_voc_image *image;
    int64_t id, height, width;
} picture;

static bool get_picture(const edt_voc_set *set, const edt_voc_to_coco_options *options,
                        int64_t i, picture *out)
{
    const edt_voc_image *image = edt_voc_set_image(set, i);
    if (image->left_out || (options->left_out != NULL && options->left_out[i])) {
        return false;
    }
    *out = (picture){.image = image, .id = i + 1};
    edt_reencode_size(options->reencode, image->note.height, image->note.width, &out->height,
                      &out->width);
    return true;
}

static void put_image(edt_json_writer *json, const picture *p)
{
    edt_json_begin_object(json);
    edt_json_put_text(json, "file_name", p->image->note.filename);
    edt_json_put_i64(json, "height", p->height);
    edt_json_put_i64(json, "width", p->width);
    edt_json_put_i64(json, "id", p->id);
    edt_json_end_object(json);
}

// Beyond the range of integers of JSON's readers nothing is meant anyway.
static int64_t whole(double value)
{
    return (int64_t)fmax(-1e15, fmin(1e15, trunc(value)));
}

static void put_annotation(edt_json_writer *json, const picture *p, int64_t i_object,
                           const double box[static 4], int64_t id)
{
    const edt_voc_annotation *note = &p->image->note;
    const double sy = (double)p->height / (double)note->height;
    const double sx = (double)p->width / (double)note->width;
    const int64_t ymin = whole(box[0] * sy), xmin = whole(box[1] * sx);
    const int64_t h = whole(box[2] * sy) - ymin, w = whole(box[3] * sx) - xmin;
    edt_json_begin_object(json);
    // As a double: the product of absurd sides would overflow.
    edt_json_put_i64(json, "area", whole((double)w * (double)h));
    edt_json_put_i64(json, "iscrowd", 0);
    edt_json_put_i64(json, "image_id", p->id);
    edt_json_key(json, "bbox");
    edt_json_begin_array(json);
    edt_json_i64(json, xmin);
    edt_json_i64(json, ymin);
    edt_json_i64(json, w);
    edt_json_i64(json, h);
    edt_json_end_array(json);
    edt_json_put_i64(json, "category_id", p->image->labels[i_object]);
    edt_json_put_i64(json, "id", id);
    edt_json_put_i64(json, "ignore", 0);
    edt_json_key(json, "segmentation");
    edt_json_begin_array(json);
    edt_json_end_array(json);
    edt_json_end_object(json);
}

static void put_categories(edt_json_writer *json, const edt_voc_set *set)
{
    const edt_voc_class *classes;
    const int n = edt_voc_set_classes(set, &classes);
    for (int i = 0; i < n; ++i) {
        edt_json_begin_object(json);
        edt_json_put_text(json, "supercategory", "none");
        edt_json_put_i64(json, "id", classes[i].id);
        edt_json_put_text(json, "name", classes[i].name);
        edt_json_end_object(json);
    }
}

void edt_voc_to_coco_write(const edt_voc_set *set, const edt_voc_to_coco_options *options,
                           edt_json_writer *json)
{
    const int64_t n_images = edt_voc_set_n_images(set);
    const int64_t *year_first;
    const int n_years = edt_voc_set_years(set, &year_first);
    picture p;
    edt_json_begin_object(json);
    edt_json_key(json, "images");
    edt_json_begin_array(json);
    for (int64_t i = 0; i < n_images; ++i) {
        if (get_picture(set, options, i, &p)) {
            put_image(json, &p);
        }
    }
    edt_json_end_array(json);
    edt_json_put_text(json, "type", "instances");
    edt_json_key(json, "annotations");
    edt_json_begin_array(json);
    int64_t id = 0;
    for (int64_t i = 0; i < n_images; ++i) {
        if (!get_picture(set, options, i, &p)) {
            continue;
        }
        for (int64_t k = 0; k < p.image->note.n_objects; ++k) {
            double box[4];
            if (edt_voc_clip_box(&p.image->note, options->clip_boxes,
                                 p.image->note.objects[k].box, box)) {
                put_annotation(json, &p, k, box, ++id);
            }
        }
    }
    edt_json_end_array(json);
    edt_json_key(json, "categories");
    edt_json_begin_array(json);
    for (int i = 0; i < (options->repeat_categories ? n_years : 1); ++i) {
        put_categories(json, set);
    }
    edt_json_end_array(json);
    edt_json_end_object(json);
}

const char *edt_voc_to_coco_path(edt_arena *arena, const char *prefix)
{
    const char *dir = edt_path_dirname(arena, prefix);
    const char *base = edt_path_basename(arena, prefix);
    const char *name = base != NULL ? edt_arena_printf(arena, "json_%s.json", base) : NULL;
    return dir != NULL && name != NULL ? edt_path_join(arena, dir, name) : NULL;
}
