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
#include "eval/coco_list.h"
#include "eval/coco_mask.h"

enum {
    EDT_COCO_PASS_THRESHOLDS = 15, // most of a pass
    EDT_COCO_PASS_AREAS = 4,
};

struct edt_coco_gt {
    edt_arena names;
    int n_threads; // for reading detections
    edt_coco_iou_type iou_type;
    int64_t n_images, n_categories;
    int64_t n_objects;         // as listed in the file
    int64_t *image_ids;        // rising
    uint32_t (*image_size)[2]; // by image: height, width; 0: not given
    const char **file_names;   // by image, in `names`, NULL: not given
    int64_t *category_ids;
    edt_coco_category *categories;
    edt_coco_id_map images, category_map;
    // The objects of known images and categories: by image, within by category, within in list
    // order.
    uint32_t *image_begin; // n_images + 1
    int64_t *object_id;
    int32_t *category; // index
    double (*bbox)[4];
    double *area;
    uint8_t *is_crowd;
    const edt_coco_mask **masks; // NULL: boxes only
    edt_coco_mask_pool mask_pool;
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
    const edt_coco_mask *const *masks; // by object, or NULL
    edt_coco_mask_pool *take_masks;    // where they live, or NULL
    int64_t n_images, n_categories, n_objects;
} edt_coco_gt_lists;

// Checks the lists and groups them. EDT_ERR_INVALID lists every defect, unless lenient.
edt_status edt_coco_gt_build(const edt_coco_gt_lists *lists, const edt_coco_gt_options *options,
                             edt_error *err, edt_coco_gt **out_gt);
// The same from what a reader has gathered: lists of edt_coco_gt_image, edt_coco_category,
// edt_coco_object and, unless NULL, edt_coco_mask pointers.
edt_status edt_coco_gt_build_read(const char *source, const edt_coco_list *images,
                                  const edt_coco_list *categories, const edt_coco_list *objects,
                                  const edt_coco_list *masks, edt_coco_mask_pool *mask_pool,
                                  const edt_coco_gt_options *options, edt_error *err,
                                  edt_coco_gt **out_gt);
// The readers behind edt_coco_gt_open and edt_coco_dt_open, for text in memory.
// `is_mapped`: the text is a file mapping, pages of which may be given back while reading.
edt_status edt_coco_gt_parse(const char *source, edt_span text, bool is_mapped,
                             const edt_coco_gt_options *options, edt_error *err,
                             edt_coco_gt **out_gt);
edt_status edt_coco_dt_parse(const char *source, edt_span text, bool is_mapped,
                             const edt_coco_gt *gt, edt_error *err, edt_coco_dt **out_dt);

enum { EDT_COCO_BLOCK_BITS = 10, EDT_COCO_BLOCK_ITEMS = 1 << EDT_COCO_BLOCK_BITS };

// What areas are.
typedef enum edt_coco_area_kind {
    EDT_COCO_AREA_F64, // products of width and height
    EDT_COCO_AREA_F32, // these in float
    EDT_COCO_AREA_MASK,
} edt_coco_area_kind;

// Blocks are moved from the readers' threads into the list without copying, so any may be
// partly filled.
typedef struct edt_coco_dt_block {
    struct edt_coco_dt_block *next;
    int64_t n;
    edt_coco_area_kind area_kind;
    const edt_coco_mask **masks; // by item, or NULL: no masks in this block
    edt_coco_detection items[EDT_COCO_BLOCK_ITEMS];
} edt_coco_dt_block;

struct edt_coco_dt {
    edt_coco_dt_block *first, *last;
    int64_t n, n_blocks;
    edt_coco_mask_pool mask_pool;
    edt_arena scratch; // for edt_coco_dt_add
};

// A place at the end of the list in a block of this kind; NULL when out of memory.
edt_coco_detection *edt_coco_dt_append(edt_coco_dt *dt, edt_coco_area_kind kind,
                                       const edt_coco_mask *mask);
// Moves all detections of `from` to the end, blocks as they are or, where few, into the last.
void edt_coco_dt_join(edt_coco_dt *dt, edt_coco_dt *from);
// Frees what the list holds.
void edt_coco_dt_clear(edt_coco_dt *dt);

// Thresholds and area ranges are independent of each other, so that matching and accumulation
// go over them in passes of a fixed most, of which the usual parameters need one.
typedef struct edt_coco_pass {
    int64_t first_threshold, first_area; // of the parameters
    int n_thresholds, n_areas;
    double thresholds[EDT_COCO_PASS_THRESHOLDS]; // at most 1 - 1e-10
    double lowest;                               // of them
    double areas[EDT_COCO_PASS_AREAS][2];
} edt_coco_pass;

static inline bool edt_coco_is_outside(const edt_coco_pass *pass, double area, int i_area)
{
    return area < pass->areas[i_area][0] || area > pass->areas[i_area][1];
}

// One detection after matching. Row a of `tp` and `fp` is the 16 bits from 16 * a; bit t of it
// says whether the detection is a true or false positive at threshold t of the pass, or neither
// (ignored).
typedef struct edt_coco_match_row {
    double score;
    uint64_t tp, fp;
    uint32_t rank;    // among the detections of its image and category
    int32_t category; // -1: beyond the last maxDets, dropped
} edt_coco_match_row;

// In `fp`: nothing overlaps the detection, so each row is all ones or all zeros.
#define EDT_COCO_PLAIN (UINT64_C(1) << 15)

typedef struct edt_coco_work {
    const edt_coco_gt *gt;
    const edt_coco_params *params; // resolved
    int n_threads;
    int64_t n_categories;  // of the result
    int32_t *k_of;         // category index of the gt -> of the result, -1: not evaluated
    bool excludes;         // some category is not evaluated
    int64_t max_dets;      // the greatest
    uint8_t *is_wanted;    // by image index, NULL: all
    uint8_t *is_evaluated; // by image index: wanted, and has detections where that is asked for
    edt_coco_pass pass;
    int64_t n_matches;           // upper bound: detections of known categories
    edt_coco_match_row *matches; // by image, within by category of the gt, within by rank
    int64_t *n_positives;        // [n_categories][n_areas of the pass]
} edt_coco_work;

// Checks the parameters and fills in the defaults; `arena` gets the arrays.
edt_status edt_coco_params_resolve(const edt_coco_params *given, edt_arena *arena,
                                   edt_error *err, edt_coco_params *out_params);
// Sets pass i of the resolved parameters; false behind the last.
bool edt_coco_pass_set(const edt_coco_params *params, int64_t i_pass, edt_coco_pass *out_pass);

// Work and an empty result (categories, parameters) for one evaluation.
edt_status edt_coco_work_init(edt_coco_work *work, const edt_coco_gt *gt,
                              const edt_coco_params *params, edt_error *err,
                              edt_coco_result **out_result);
void edt_coco_work_deinit(edt_coco_work *work);

// Matches the detections of a table (coco_table.h) at the work's pass: fills `matches`.
struct edt_coco_table;
edt_status edt_coco_match_table(edt_coco_work *work, const struct edt_coco_table *table,
                                int n_threads, edt_error *err);
// Fills n_positives for the pass, after is_evaluated.
edt_status edt_coco_count_positives(edt_coco_work *work, edt_error *err);
// Counts the result's objects, after is_evaluated.
edt_status edt_coco_count_objects(const edt_coco_work *work, edt_coco_result *result,
                                  edt_error *err);
// Fills the pass's part of the arrays of the result from the matches.
edt_status edt_coco_accumulate(const edt_coco_work *work, edt_coco_result *result,
                               edt_error *err);
// The twelve numbers from the arrays.
edt_status edt_coco_summarize(edt_coco_result *result, edt_error *err);

struct edt_coco_result {
    edt_arena names; // and the parameters' arrays
    edt_coco_params params;
    int n_max_dets;
    int64_t n_images, n_detections; // evaluated images, detections given
    int64_t n_categories;
    edt_coco_category *categories;
    int64_t n_k;        // categories of the arrays: n_categories, or 1 without categories
    int64_t *n_objects; // [n_k], crowds aside
    double *precision, *recall, *scores;
    double stats[EDT_COCO_N_STATS];
    double match_s, accumulate_s;
};

// What each of the twelve numbers is the mean of.
typedef struct edt_coco_stat_row {
    bool is_precision;
    double threshold; // 0: the mean over all
    const char *area; // label of the range
    int i_max_dets;   // -1: the one that is 100, if any
} edt_coco_stat_row;

extern const edt_coco_stat_row edt_coco_stat_rows[EDT_COCO_N_STATS];

// NumPy's sum of a contiguous array, divided by n; -1 when n is 0.
double edt_coco_mean(const double *x, int64_t n);
// Calls run(ctx, i_worker, begin, end) for consecutive ranges of at most `grain` items, on the
// calling thread alone when one thread will do. i_worker < n_threads.
edt_status edt_coco_run_ranges(int64_t n_items, int64_t grain, int n_threads,
                               edt_status (*run)(void *ctx, int i_worker, int64_t begin,
                                                 int64_t end, edt_error *err),
                               void *ctx, edt_error *err);

#endif
