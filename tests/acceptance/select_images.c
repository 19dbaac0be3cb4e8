// Writes a COCO JSON with the first N images of another whose objects a small network can be asked
// to learn by heart: at most 10 of them, no crowd region, none with a side below `min_side` pixels
// once the picture is scaled to the network.
//
//     select_images IN.json OUT.json N NETWORK_SIZE MIN_SIDE
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/json.h"
#include "core/log.h"
#include "core/path.h"
#include "dataio/coco_json.h"
#include "dataio/convert_report.h"

enum { MAX_OBJECTS = 10 };

static bool is_easy(const edt_coco_json *coco, const edt_coco_image *image, double network_size,
                    double min_side)
{
    int64_t n;
    const edt_coco_annotation *a = edt_coco_json_annotations(coco, image->id, &n);
    const double scale =
        network_size / (double)(image->width > image->height ? image->width : image->height);
    if (n == 0 || n > MAX_OBJECTS) {
        return false;
    }
    for (int64_t i = 0; i < n; ++i) {
        if (a[i].is_crowd != 0 || a[i].w * scale < min_side || a[i].h * scale < min_side) {
            return false;
        }
    }
    return true;
}

static void put_image(edt_json_writer *w, const edt_coco_image *image)
{
    edt_json_begin_object(w);
    edt_json_put_i64(w, "id", image->id);
    edt_json_key(w, "file_name");
    edt_json_text_n(w, image->file_name);
    edt_json_put_i64(w, "height", image->height);
    edt_json_put_i64(w, "width", image->width);
    edt_json_end_object(w);
}

static void put_annotation(edt_json_writer *w, const edt_coco_annotation *a, int64_t id)
{
    edt_json_begin_object(w);
    edt_json_put_i64(w, "id", id);
    edt_json_put_i64(w, "image_id", a->image_id);
    edt_json_put_i64(w, "category_id", a->category_id);
    edt_json_key(w, "bbox");
    edt_json_begin_array(w);
    edt_json_f64(w, a->x);
    edt_json_f64(w, a->y);
    edt_json_f64(w, a->w);
    edt_json_f64(w, a->h);
    edt_json_end_array(w);
    edt_json_put_f64(w, "area", a->area);
    edt_json_put_i64(w, "iscrowd", a->is_crowd);
    edt_json_end_object(w);
}

static edt_status write_subset(const edt_coco_json *coco, const char *path, int64_t n_wanted,
                               double network_size, double min_side, edt_error *err)
{
    edt_json_writer w = {0};
    int64_t n = 0, n_annotations = 0;
    edt_json_begin_object(&w);
    edt_json_key(&w, "images");
    edt_json_begin_array(&w);
    for (int pass = 0; pass < 2; ++pass) {
        n = 0;
        for (int64_t i = 0; i < edt_coco_json_n_images(coco) && n < n_wanted; ++i) {
            const edt_coco_image *image = edt_coco_json_image(coco, i);
            if (!is_easy(coco, image, network_size, min_side)) {
                continue;
            }
            ++n;
            int64_t n_boxes;
            const edt_coco_annotation *a = edt_coco_json_annotations(coco, image->id, &n_boxes);
            if (pass == 0) {
                put_image(&w, image);
            }
            for (int64_t j = 0; pass == 1 && j < n_boxes; ++j) {
                put_annotation(&w, &a[j], ++n_annotations);
            }
        }
        edt_json_end_array(&w);
        edt_json_key(&w, pass == 0 ? "annotations" : "categories");
        edt_json_begin_array(&w);
    }
    for (int64_t i = 0; i < edt_coco_json_n_categories(coco); ++i) {
        edt_json_begin_object(&w);
        edt_json_put_i64(&w, "id", edt_coco_json_category(coco, i)->id);
        edt_json_key(&w, "name");
        edt_json_text_n(&w, edt_coco_json_category(coco, i)->name);
        edt_json_end_object(&w);
    }
    edt_json_end_array(&w);
    edt_json_end_object(&w);
    edt_text text;
    edt_status status = edt_json_writer_finish(&w, err, &text);
    if (status == EDT_OK) {
        status = edt_file_write(path, text.data, text.n_bytes, err);
    }
    edt_json_writer_deinit(&w);
    if (status == EDT_OK) {
        printf("%" PRId64 " images with %" PRId64 " objects\n", n, n_annotations);
    }
    return status;
}

int main(int argc, char **argv)
{
    if (argc != 6) {
        (void)fprintf(stderr, "usage: select_images IN.json OUT.json N NETWORK_SIZE MIN_SIDE\n");
        return 2;
    }
    edt_error err = {0};
    edt_coco_json *coco = NULL;
    edt_convert_report *report = NULL;
    edt_status status = edt_convert_report_create(false, &err, &report);
    if (status == EDT_OK) {
        status = edt_coco_json_open(argv[1], EDT_COCO_IMAGES | EDT_COCO_INSTANCES, report, &err,
                                    &coco);
    }
    if (status == EDT_OK) {
        status = write_subset(coco, argv[2], atoll(argv[3]), atof(argv[4]), atof(argv[5]), &err);
    }
    if (status != EDT_OK) {
        EDT_ERROR("%s", err.text);
    }
    edt_coco_json_close(coco);
    edt_convert_report_destroy(report);
    return edt_status_exit_code(status);
}
