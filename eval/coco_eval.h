// COCO detection metrics, equal to pycocotools to the last bit (spec/eval_infer_export.md 2).
// One evaluator serves coco_eval, train and the tests.
//
//     edt_coco_gt *gt; edt_coco_dt *dt; edt_coco_result *result;
//     edt_coco_gt_open("instances_val2017.json", &(edt_coco_gt_options){0}, &err, &gt);
//     edt_coco_dt_open("detections.json", gt, &err, &dt);
//     edt_coco_evaluate(gt, dt, &(edt_coco_params){0}, &err, &result);
//     edt_coco_print_summary(result, stdout);
//
// Matches of single detections: coco_matches.h. Detections that arrive batch by batch:
// coco_stream.h.
#ifndef EDT_EVAL_COCO_EVAL_H
#define EDT_EVAL_COCO_EVAL_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "core/error.h"
#include "dataio/rle_mask.h"

typedef struct edt_coco_gt edt_coco_gt; // immutable after open: may be shared by threads
typedef struct edt_coco_dt edt_coco_dt; // growable list of detections, one writer
typedef struct edt_coco_result edt_coco_result; // immutable

enum { EDT_COCO_N_STATS = 12, EDT_COCO_MOST_MAX_DETS = 8 };

// What overlaps are computed of.
typedef enum edt_coco_iou_type { EDT_COCO_BBOX, EDT_COCO_SEGM } edt_coco_iou_type;

// One ground-truth object. bbox x,y,w,h in pixels.
typedef struct edt_coco_object {
    int64_t id, image_id, category_id;
    double bbox[4];
    double area;
    bool is_crowd;
    const edt_rle *mask; // NULL: none, which only EDT_COCO_BBOX allows; copied
} edt_coco_object;

// One detection. bbox as above.
typedef struct edt_coco_detection {
    int64_t image_id, category_id;
    double bbox[4];
    double score;
} edt_coco_detection;

typedef struct edt_coco_category {
    int64_t id;
    const char *name; // owned by the gt
} edt_coco_category;

typedef struct edt_coco_gt_options {
    bool lenient;  // evaluate what pycocotools would instead of refusing (cli.md)
    int n_threads; // for reading, also of detections later; 0: all cores
    // EDT_COCO_SEGM: masks are read as well, here and by edt_coco_dt_open; each annotation
    // needs one, and may lack a bbox.
    edt_coco_iou_type iou_type;
    // For VOC: objects with `difficult` or `ignore` set (records: image/object/difficult) count
    // as crowds.
    bool difficult_as_crowd;
} edt_coco_gt_options;

// From a COCO instances JSON. Duplicate ids, annotations of unknown images or categories, zero
// image sizes: EDT_ERR_INVALID listing all of them, unless lenient. Malformed JSON:
// EDT_ERR_FORMAT with the position.
edt_status edt_coco_gt_open(const char *path, const edt_coco_gt_options *options,
                            edt_error *err, edt_coco_gt **out_gt);
// From shards of records (a file name pattern, docs/record_format.md). Image ids are the source
// ids, which must be integers, or the fingerprints of the pictures where there is none, as in
// the loader. Boxes are the stored floats times width and height, in f64. Areas are the stored
// ones; a record none of whose areas is above 1 has shares of the picture. Categories are the
// labels that occur, named by the class texts. EDT_COCO_SEGM needs records with masks.
// EDT_ERR_CORRUPT, EDT_ERR_FORMAT with shard and record.
edt_status edt_coco_gt_open_records(const char *pattern, const edt_coco_gt_options *options,
                                    edt_error *err, edt_coco_gt **out_gt);
// From memory: evaluation without a JSON (spec 2.1). Everything is copied; category names may
// be NULL.
edt_status edt_coco_gt_create(const int64_t *image_ids, int64_t n_images,
                              const edt_coco_category *categories, int64_t n_categories,
                              const edt_coco_object *objects, int64_t n_objects, edt_error *err,
                              edt_coco_gt **out_gt);
void edt_coco_gt_destroy(edt_coco_gt *gt);
int64_t edt_coco_gt_n_images(const edt_coco_gt *gt);
int64_t edt_coco_gt_n_objects(const edt_coco_gt *gt);
// Sorted by id.
const edt_coco_category *edt_coco_gt_categories(const edt_coco_gt *gt, int64_t *out_n);
bool edt_coco_gt_has_image(const edt_coco_gt *gt, int64_t image_id);
// Image i_image (0 to n_images - 1, rising ids) with the file name that the JSON gives it; NULL
// where it gives none.
int64_t edt_coco_gt_image_id(const edt_coco_gt *gt, int64_t i_image);
const char *edt_coco_gt_file_name(const edt_coco_gt *gt, int64_t i_image);
// The objects of image i_image are [*out_begin, *out_end): by rising category, within in the
// order of the file. Those of unknown images or categories (lenient) are not among them.
void edt_coco_gt_image_objects(const edt_coco_gt *gt, int64_t i_image, int64_t *out_begin,
                               int64_t *out_end);
// Object i_object; without its mask.
void edt_coco_gt_get_object(const edt_coco_gt *gt, int64_t i_object,
                            edt_coco_object *out_object);

// An empty list, then add; or from a result JSON (array of {image_id, category_id, bbox,
// score}, or an object with "annotations"): all numbers f64, order kept, ids = position + 1.
// As pycocotools' loadRes: the first row decides what kind of file it is. With a bbox that is
// not empty, every row needs one and areas are width times height; with `segmentation` alone
// (polygons, run lengths or compressed run lengths) areas are those of the masks, and a bbox
// that is missing is the mask's.
edt_status edt_coco_dt_create(edt_error *err, edt_coco_dt **out_dt);
edt_status edt_coco_dt_open(const char *path, const edt_coco_gt *gt, edt_error *err,
                            edt_coco_dt **out_dt);
void edt_coco_dt_destroy(edt_coco_dt *dt);
// The in-trainer path: values are f32 as the reference's rows are, area = w*h in f32
// (spec 2.2).
edt_status edt_coco_dt_add_f32(edt_coco_dt *dt, int64_t image_id, int64_t category_id,
                               const float bbox_xywh[4], float score, edt_error *err);
// All numbers f64, area = w*h, or with a mask (copied; else NULL) the mask's.
edt_status edt_coco_dt_add(edt_coco_dt *dt, const edt_coco_detection *detection,
                           const edt_rle *mask, edt_error *err);
int64_t edt_coco_dt_count(const edt_coco_dt *dt);
// Writes the detections as a COCO result JSON, atomically.
edt_status edt_coco_dt_write_json(const edt_coco_dt *dt, const char *path, edt_error *err);
// The same for submission: boxes rounded to hundredths, scores to thousandths as the reference
// does (spec 2.5).
edt_status edt_coco_dt_write_test_dev(const edt_coco_dt *dt, const char *path, edt_error *err);

typedef struct edt_coco_area_range {
    const char
        *label; // "all", "small", "medium" and "large" are what the twelve numbers ask for
    double low, high; // both belong to the range
} edt_coco_area_range;

// pycocotools' Params. Zero-initialised: its defaults. Arrays are borrowed for the call.
typedef struct edt_coco_params {
    int n_threads; // 0: all cores. Results do not depend on it
    edt_coco_iou_type iou_type;
    // Limits of detections per image and category, in any order; 0s at the end are not there.
    // None: 1, 10, 100. The twelve numbers use the first three; -1 where there are fewer.
    int max_dets[EDT_COCO_MOST_MAX_DETS];
    const double *iou_thresholds; // 0 to 1; none: 0.5:0.05:0.95 as NumPy's linspace has them
    int64_t n_iou_thresholds;
    const double *recall_thresholds; // none: 0:0.01:1
    int64_t n_recall_thresholds;
    const edt_coco_area_range *areas; // none: all, small, medium, large
    int64_t n_areas;
    const int64_t *image_ids; // only these images, each known; none: all
    int64_t n_image_ids;
    bool only_images_with_detections; // the trainer's rule (spec 2.1): imgIds = images that
                                      // have detections
    bool ignore_categories;           // useCats = 0: the categories below as one
    const int64_t *category_ids;      // only these categories, each known; none: all
    int64_t n_category_ids;
} edt_coco_params;

edt_status edt_coco_evaluate(const edt_coco_gt *gt, const edt_coco_dt *dt,
                             const edt_coco_params *params, edt_error *err,
                             edt_coco_result **out_result);
void edt_coco_result_destroy(edt_coco_result *result);

// The parameters with all defaults filled in, max_dets rising; owned by the result.
const edt_coco_params *edt_coco_result_params(const edt_coco_result *result);
int64_t edt_coco_result_n_images(const edt_coco_result *result);     // evaluated
int64_t edt_coco_result_n_detections(const edt_coco_result *result); // given
// The twelve numbers (f64; NumPy's pairwise means) and their names "AP", "AP50", ... "ARl".
const double *edt_coco_result_stats(const edt_coco_result *result);
extern const char *const edt_coco_stat_names[EDT_COCO_N_STATS];
// All twelve numbers of category i of the arrays (below; K), which without categories is 0; -1:
// undefined; NaN when out of memory.
void edt_coco_result_category_stats(const edt_coco_result *result, int64_t i_category,
                                    double out_stats[EDT_COCO_N_STATS]);
// Its objects in the evaluated images, crowds aside.
int64_t edt_coco_result_category_objects(const edt_coco_result *result, int64_t i_category);
// The evaluated categories, sorted by id; names owned by the result.
const edt_coco_category *edt_coco_result_categories(const edt_coco_result *result,
                                                    int64_t *out_n);
// Raw arrays as pycocotools shapes them: precision and scores [T=10][R=101][K][A=4][M=3],
// recall [T][K][A][M]; K is 1 without categories. Owned by the result.
typedef struct edt_coco_arrays {
    int64_t n_thresholds, n_recalls, n_categories, n_areas, n_max_dets;
    const double *precision, *recall, *scores;
} edt_coco_arrays;
edt_coco_arrays edt_coco_result_arrays(const edt_coco_result *result);

// pycocotools' twelve lines, letter for letter; with fewer than three max_dets those that have
// a value.
void edt_coco_print_summary(const edt_coco_result *result, FILE *out);

#endif
