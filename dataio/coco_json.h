// Reads the parts of COCO annotation files (image info, instances, captions) that the
// converters use into compact tables, in one pass over the mapped file. Texts are borrowed from
// it.
#ifndef EDT_DATAIO_COCO_JSON_H
#define EDT_DATAIO_COCO_JSON_H

#include "core/error.h"
#include "core/span.h"
#include "dataio/convert_report.h"

typedef struct edt_coco_image {
    int64_t id;
    int64_t height, width; // pixels; 0 without EDT_COCO_IMAGES
    edt_text file_name;    // empty without EDT_COCO_IMAGES
    int64_t i_entry;       // number in the file's `images`
} edt_coco_image;

typedef struct edt_coco_class {
    int64_t id;
    edt_text name;
} edt_coco_class;

typedef struct edt_coco_annotation {
    int64_t image_id;
    double x, y, w, h; // pixels, as written
    double area;       // pixels^2
    int64_t category_id;
    int64_t is_crowd;      // as written; true is 1
    int32_t i_category;    // the definition of category_id that counts
    int64_t i_entry;       // number in the file's `annotations`
    edt_text segmentation; // the value's JSON text; empty without EDT_COCO_MASKS
} edt_coco_annotation;

typedef struct edt_coco_caption {
    int64_t image_id;
    edt_text text;
} edt_coco_caption;

// What to read; ids of `images` are always read.
enum {
    EDT_COCO_IMAGES = 1,    // file_name, height, width
    EDT_COCO_INSTANCES = 2, // categories and annotations with boxes
    EDT_COCO_CAPTIONS = 4,  // annotations with captions
    EDT_COCO_MASKS = 8,     // with INSTANCES: their segmentation (dataio/coco_segmentation.h)
};

typedef struct edt_coco_json edt_coco_json;

// Bad items go to `report`, named by file and JSON path, and are left out of the tables if it
// lets them pass. EDT_ERR_FORMAT with line, column and path for text that is not JSON or has no
// list where one must be; EDT_ERR_NOT_FOUND, EDT_ERR_IO.
edt_status edt_coco_json_open(const char *path, unsigned what, edt_convert_report *report,
                              edt_error *err, edt_coco_json **out_coco);
// As edt_coco_json_open, from memory that outlives the tables; `path` is for messages.
edt_status edt_coco_json_parse(edt_span text, const char *path, unsigned what,
                               edt_convert_report *report, edt_error *err,
                               edt_coco_json **out_coco);
// NULL is fine.
void edt_coco_json_close(edt_coco_json *coco);

// In the order of the file.
int64_t edt_coco_json_n_images(const edt_coco_json *coco);
const edt_coco_image *edt_coco_json_image(const edt_coco_json *coco, int64_t i);
int64_t edt_coco_json_n_categories(const edt_coco_json *coco);
const edt_coco_class *edt_coco_json_category(const edt_coco_json *coco, int64_t i);
int64_t edt_coco_json_n_annotations(const edt_coco_json *coco);
int64_t edt_coco_json_n_captions(const edt_coco_json *coco);

// The annotations or captions of one image, in file order; `*out_n` 0 when it has none.
const edt_coco_annotation *edt_coco_json_annotations(const edt_coco_json *coco,
                                                     int64_t image_id, int64_t *out_n);
const edt_coco_caption *edt_coco_json_captions(const edt_coco_json *coco, int64_t image_id,
                                               int64_t *out_n);

#endif
