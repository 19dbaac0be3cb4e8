// What the files of the COCO evaluator share: the ground truth grouped by image and category,
// the blocks of detections, the table of matched detections that lies between matching and
// accumulation, and the result.
#ifndef EDT_EVAL_COCO_PRIV_H
#define EDT_EVAL_COCO_PRIV_H

#include "core/arena.h"
#include "core/mem.h"
#include "core/span.h"
#include "eval/coco_eval.h"
#include "eval/coco_id_map.h"

enum {
    EDT_COCO_N_THRESHOLDS = 10,
    EDT_COCO_N_RECALLS = 101,
    EDT_COCO_N_AREAS = 4,
    EDT_COCO_N_MAX_DETS = 3,
};

struct edt_coco_gt {
    edt_arena names;
    int n_threads; // for reading detections
    int64_t n_images, n_categories;
    int64_t n_objects;       // as listed in the file
    int64_t *image_ids;      // rising
    const char **file_names; // by image, in `names`, NULL: not given
    int64_t *category_ids;
    edt_coco_category *categories;
    edt_coco_id_map images, category_map;
    // The objects of known images and categories: by image, within by category, within in list
    // order.
    uint32_t *image_begin; // n_images + 1
    int32_t *category;     // index
    double (*bbox)[4];
    double *area;
    uint8_t *is_crowd;
};

// What a reader hands over; the arrays are borrowed.
typedef struct edt_coco_gt_image {
    int64_t id, height, width; // -1: not given
    const char *file_name;     // NULL: not given
} edt_coco_gt_image;

typedef struct edt_coco_gt_lists {
    const char *source; // for messages
    const edt_coco_gt_image *images;
    const edt_coco_category *categories;
    const edt_coco_object *objects;
    int64_t n_images, n_categories, n_objects;
} edt_coco_gt_lists;

// Checks the lists and groups them. EDT_ERR_INVALID lists every defect, unless lenient.
edt_status edt_coco_gt_build(const edt_coco_gt_lists *lists, const edt_coco_gt_options *options,
                             edt_error *err, edt_coco_gt **out_gt);
// The readers behind edt_coco_gt_open and edt_coco_dt_open, for text in memory.
// `is_mapped`: the text is a file mapping, pages of which may be given back while reading.
edt_status edt_coco_gt_parse(const char *source, edt_span text, bool is_mapped,
                             const edt_coco_gt_options *options, edt_error *err,
                             edt_coco_gt **out_gt);
edt_status edt_coco_dt_parse(const char *source, edt_span text, bool is_mapped,
                             const edt_coco_gt *gt, edt_error *err, edt_coco_dt **out_dt);

enum { EDT_COCO_BLOCK_BITS = 10, EDT_COCO_BLOCK_ITEMS = 1 << EDT_COCO_BLOCK_BITS };

// Blocks are moved from the readers' threads into the list without copying, so any may be
// partly filled.
typedef struct edt_coco_dt_block {
    struct edt_coco_dt_block *next;
    int64_t n;
    bool is_f32; // areas are products of floats
    edt_coco_detection items[EDT_COCO_BLOCK_ITEMS];
} edt_coco_dt_block;

struct edt_coco_dt {
    edt_coco_dt_block *first, *last;
    int64_t n, n_blocks;
};

// One detection after matching. Row a of `tp` and `fp` is the 16 bits from 16 * a; bit t of it
// says whether the detection is a true or false positive at threshold t, or neither (ignored).
typedef struct edt_coco_match {
    double score;
    uint64_t tp, fp;
    uint32_t rank;    // among the detections of its image and category
    int32_t category; // -1: beyond the last maxDets, dropped
} edt_coco_match;

// In `fp`: nothing overlaps the detection, so each row is all ones or all zeros.
#define EDT_COCO_PLAIN (UINT64_C(1) << 15)

typedef struct edt_coco_work {
    const edt_coco_gt *gt;
    edt_coco_params params; // max_dets rising and filled in
    int n_threads;
    int64_t n_categories;    // of the result
    const int32_t *k_of;     // category index of the gt -> of the result, -1: not evaluated
    uint8_t *is_evaluated;   // by image index
    int64_t n_matches;       // upper bound: detections of known categories
    edt_coco_match *matches; // by image, within by category of the gt, within by rank
    int64_t *n_positives;    // [n_categories][EDT_COCO_N_AREAS]
} edt_coco_work;

// Fills is_evaluated, matches and n_positives (all the work's, freed by its owner).
edt_status edt_coco_match_all(edt_coco_work *work, const edt_coco_dt *dt, edt_error *err);
// Fills the arrays of the result from the matches.
edt_status edt_coco_accumulate(const edt_coco_work *work, edt_coco_result *result,
                               edt_error *err);
// The twelve numbers from the arrays.
edt_status edt_coco_summarize(edt_coco_result *result, edt_error *err);

struct edt_coco_result {
    edt_arena names;
    int64_t n_images, n_detections; // evaluated images, detections given
    int64_t n_categories;
    edt_coco_category *categories;
    int64_t n_k; // categories of the arrays: n_categories, or 1 without categories
    int max_dets[EDT_COCO_N_MAX_DETS];
    bool ignore_categories;
    double *precision, *recall, *scores;
    double stats[EDT_COCO_N_STATS];
    double match_s, accumulate_s;
};

extern const double edt_coco_usual_area[EDT_COCO_N_AREAS][2];
// 0.5:0.05:0.95 as NumPy's linspace has them.
double edt_coco_threshold(int i);
// NumPy's sum of a contiguous array, divided by n; -1 when n is 0.
double edt_coco_mean(const double *x, int64_t n);
// Calls run(ctx, i_worker, begin, end) for consecutive ranges of at most `grain` items, on the
// calling thread alone when one thread will do. i_worker < n_threads.
edt_status edt_coco_run_ranges(int64_t n_items, int64_t grain, int n_threads,
                               edt_status (*run)(void *ctx, int i_worker, int64_t begin,
                                                 int64_t end, edt_error *err),
                               void *ctx, edt_error *err);

#endif
