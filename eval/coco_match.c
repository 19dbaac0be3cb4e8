// Matching of detections to ground truth, image by image (cocoapi's computeIoU and
// evaluateImg). The overlap of each pair is computed once; only the pairs that reach the lowest
// threshold enter the matching at ten thresholds and four area ranges, and these are few.
#include <math.h>
#include <string.h>

#include "eval/coco_priv.h"

enum { IMAGES_PER_UNIT = 32, INSERTION_ITEMS = 24, ALL_THRESHOLDS = 0x3FF };

// Both ends belong to the range, so an object of area 1024 is small and medium.
const double edt_coco_area_range[EDT_COCO_N_AREAS][2] = {
    {0, 1e10}, {0, 1024}, {1024, 9216}, {9216, 1e10}};

double edt_coco_threshold(int i)
{
    // linspace(0.5, 0.95, 10): the step is rounded and the last value set.
    return i == EDT_COCO_N_THRESHOLDS - 1 ? 0.95 : 0.5 + i * ((0.95 - 0.5) / 9);
}

typedef struct scored {
    double score;
    uint32_t slot; // of the detection
} scored;

typedef struct candidate {
    double iou;
    uint32_t i_gt; // in the group
} candidate;

// What one worker keeps from image to image.
typedef struct scratch {
    int64_t capacity_dt, capacity_gt, capacity_candidates;
    scored *items, *merged;  // of an image, and room for sorting
    int64_t *category_begin; // categories + 2
    double *iou;             // of one detection with each object of a group
    uint16_t *taken;         // per object: the thresholds at which it is matched
    uint8_t *ignored;        // per object: bit a says that area range a leaves it out
    candidate *candidates;   // of all detections of a group
    int64_t *candidate_end;  // per detection
    double threshold[EDT_COCO_N_THRESHOLDS];
} scratch;

typedef struct matcher {
    edt_coco_work *work;
    const edt_coco_dt_block **blocks;
    int64_t n_blocks;
    int32_t *image_of, *category_of; // by slot: index in the gt, category -1: unknown
    uint32_t *image_begin;           // of `order`, by image
    uint32_t *order;                 // slots by image, in list order
    scratch *scratch;
} matcher;

static const edt_coco_detection *detection(const matcher *m, uint32_t slot)
{
    return &m->blocks[slot >> EDT_COCO_BLOCK_BITS]->items[slot & (EDT_COCO_BLOCK_ITEMS - 1)];
}

// Looks up the ids of a range of blocks.
static edt_status look_up(void *ctx, int i_worker, int64_t begin, int64_t end, edt_error *err)
{
    (void)i_worker;
    const matcher *m = ctx;
    const edt_coco_gt *gt = m->work->gt;
    for (int64_t i_block = begin; i_block < end; ++i_block) {
        const edt_coco_dt_block *block = m->blocks[i_block];
        const int64_t first = i_block << EDT_COCO_BLOCK_BITS;
        for (int64_t i = 0; i < block->n; ++i) {
            const edt_coco_detection *det = &block->items[i];
            const int32_t image = edt_coco_id_map_find(&gt->images, det->image_id);
            if (image < 0) {
                EDT_FAIL(
                    err, EDT_ERR_MISMATCH,
                    "there are detections for image %lld, which is not in the ground truth",
                    (long long)det->image_id);
            }
            const int32_t category = edt_coco_id_map_find(&gt->category_map, det->category_id);
            m->image_of[first + i] = image;
            m->category_of[first + i] =
                category >= 0 && m->work->k_of[category] >= 0 ? category : -1;
        }
    }
    return EDT_OK;
}

// True when `a` comes strictly before `b` in falling order; NaN is last, as NumPy sorts.
static inline bool is_before(double a, double b)
{
    return a > b || (isnan(b) && !isnan(a));
}

// Stable; `merged` has room for n items.
static void sort_by_score(scored *items, int64_t n, scored *merged)
{
    if (n <= INSERTION_ITEMS) {
        for (int64_t i = 1; i < n; ++i) {
            const scored moving = items[i];
            int64_t at = i;
            for (; at > 0 && is_before(moving.score, items[at - 1].score); --at) {
                items[at] = items[at - 1];
            }
            items[at] = moving;
        }
        return;
    }
    const int64_t half = n / 2;
    sort_by_score(items, half, merged);
    sort_by_score(items + half, n - half, merged);
    if (!is_before(items[half].score, items[half - 1].score)) {
        return; // detections often come sorted
    }
    memcpy(merged, items, (size_t)half * sizeof *items);
    int64_t a = 0, b = half, to = 0;
    while (a < half && b < n) {
        items[to++] = is_before(items[b].score, merged[a].score) ? items[b++] : merged[a++];
    }
    memcpy(items + to, merged + a, (size_t)(half - a) * sizeof *items);
}

// C's fmin and fmax, which pass over NaN.
static inline double smaller(double a, double b)
{
    return a < b || isnan(b) ? a : b;
}

static inline double larger(double a, double b)
{
    return a > b || isnan(b) ? a : b;
}

// Fills s->iou; returns whether it holds a NaN.
static bool overlaps(const double *d, const double (*boxes)[4], const uint8_t *is_crowd,
                     int64_t n_gt, double *iou)
{
    const double area = d[2] * d[3], right = d[2] + d[0], bottom = d[3] + d[1];
    bool has_nan = false;
    for (int64_t i = 0; i < n_gt; ++i) {
        const double *g = boxes[i];
        iou[i] = 0;
        const double w = smaller(right, g[2] + g[0]) - larger(d[0], g[0]);
        if (w <= 0) {
            continue;
        }
        const double h = smaller(bottom, g[3] + g[1]) - larger(d[1], g[1]);
        if (h <= 0) {
            continue;
        }
        const double common = w * h;
        iou[i] = common / (is_crowd[i] ? area : area + g[2] * g[3] - common);
        has_nan |= isnan(iou[i]);
    }
    return has_nan;
}

static bool is_outside(double area, int i_area)
{
    return area < edt_coco_area_range[i_area][0] || area > edt_coco_area_range[i_area][1];
}

// The best object for one detection at one threshold, or -1. The reference goes through the
// objects that count first and stops at the first ignored one if it has a match by then.
static int64_t find_best(const scratch *s, const candidate *begin, const candidate *end,
                         const uint8_t *is_crowd, int i_area, int i_threshold)
{
    double best = s->threshold[i_threshold];
    int64_t match = -1;
    for (unsigned ignored = 0; ignored < 2 && match < 0; ++ignored) {
        for (const candidate *c = begin; c < end; ++c) {
            const uint32_t g = c->i_gt;
            if ((s->ignored[g] >> i_area & 1u) != ignored ||
                ((s->taken[g] >> i_threshold & 1u) != 0 && !is_crowd[g]) || c->iou < best) {
                continue;
            }
            best = c->iou; // an equal overlap replaces the earlier one
            match = (int64_t)g;
        }
    }
    return match;
}

// One area range of a group: adds its row to `tp` and `fp` of the detections with candidates.
static void match_area(scratch *s, int i_area, const double *dt_area, const uint8_t *is_crowd,
                       int64_t n_gt, edt_coco_match *out, int64_t n_dt)
{
    memset(s->taken, 0, (size_t)n_gt * sizeof *s->taken);
    int64_t begin = 0;
    for (int64_t i = 0; i < n_dt; ++i) {
        const int64_t end = s->candidate_end[i];
        if (begin < end) {
            const bool outside = is_outside(dt_area[i], i_area);
            unsigned tp = 0, fp = 0;
            for (int t = 0; t < EDT_COCO_N_THRESHOLDS; ++t) {
                const int64_t match = find_best(s, s->candidates + begin, s->candidates + end,
                                                is_crowd, i_area, t);
                if (match >= 0) {
                    s->taken[match] = (uint16_t)(s->taken[match] | 1u << t);
                    tp |= (s->ignored[match] >> i_area & 1u) != 0 ? 0 : 1u << t;
                } else {
                    fp |= outside ? 0 : 1u << t;
                }
            }
            out[i].tp |= (uint64_t)tp << (16 * i_area);
            out[i].fp |= (uint64_t)fp << (16 * i_area);
        }
        begin = end;
    }
}

static edt_status reserve(void **block, int64_t *capacity, int64_t n, size_t item_bytes,
                          edt_error *err)
{
    if (n <= *capacity) {
        return EDT_OK;
    }
    const int64_t more = 2 * n + 64;
    void *grown = edt_mem_realloc(EDT_MEM_EVAL, *block, (size_t)more * item_bytes);
    if (grown == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for matching %lld boxes", (long long)n);
    }
    *block = grown;
    *capacity = more;
    return EDT_OK;
}

static edt_status reserve_objects(scratch *s, int64_t n, edt_error *err)
{
    if (n > s->capacity_gt) {
        edt_mem_free(s->iou);
        edt_mem_free(s->taken);
        edt_mem_free(s->ignored);
        s->capacity_gt = 0;
        s->iou = edt_mem_alloc(EDT_MEM_EVAL, 2 * (size_t)n * sizeof *s->iou);
        s->taken = edt_mem_alloc(EDT_MEM_EVAL, 2 * (size_t)n * sizeof *s->taken);
        s->ignored = edt_mem_alloc(EDT_MEM_EVAL, 2 * (size_t)n * sizeof *s->ignored);
        if (s->iou == NULL || s->taken == NULL || s->ignored == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for matching %lld boxes", (long long)n);
        }
        s->capacity_gt = 2 * n;
    }
    return EDT_OK;
}

static edt_status reserve_detections(scratch *s, int64_t n, edt_error *err)
{
    if (n > s->capacity_dt) {
        edt_mem_free(s->items);
        edt_mem_free(s->merged);
        edt_mem_free(s->candidate_end);
        s->capacity_dt = 0;
        s->items = edt_mem_alloc(EDT_MEM_EVAL, 2 * (size_t)n * sizeof *s->items);
        s->merged = edt_mem_alloc(EDT_MEM_EVAL, 2 * (size_t)n * sizeof *s->merged);
        s->candidate_end =
            edt_mem_alloc(EDT_MEM_EVAL, 2 * (size_t)n * sizeof *s->candidate_end);
        if (s->items == NULL || s->merged == NULL || s->candidate_end == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for matching %lld boxes", (long long)n);
        }
        s->capacity_dt = 2 * n;
    }
    return EDT_OK;
}

static double box_area(const matcher *m, uint32_t slot)
{
    const edt_coco_detection *det = detection(m, slot);
    if (m->blocks[slot >> EDT_COCO_BLOCK_BITS]->is_f32) {
        return (double)((float)det->bbox[2] * (float)det->bbox[3]);
    }
    return det->bbox[2] * det->bbox[3];
}

// Detections items[0..n_dt), best first, with the objects [gt_begin, gt_end).
static edt_status match_group(const matcher *m, scratch *s, const scored *items, int64_t n_dt,
                              int64_t gt_begin, int64_t gt_end, edt_coco_match *out,
                              edt_error *err)
{
    const edt_coco_gt *gt = m->work->gt;
    const int64_t n_gt = gt_end - gt_begin;
    const uint8_t *is_crowd = gt->is_crowd + gt_begin;
    EDT_TRY(reserve_objects(s, n_gt, err));
    for (int64_t i = 0; i < n_gt; ++i) {
        unsigned ignored = 0;
        for (int a = 0; a < EDT_COCO_N_AREAS; ++a) {
            ignored |= is_crowd[i] || is_outside(gt->area[gt_begin + i], a) ? 1u << a : 0;
        }
        s->ignored[i] = (uint8_t)ignored;
    }
    int64_t n_candidates = 0;
    double *dt_area = (double *)(void *)s->merged; // free since sorting; of the same count
    for (int64_t i = 0; i < n_dt; ++i) {
        const edt_coco_detection *det = detection(m, items[i].slot);
        out[i].score = items[i].score;
        out[i].rank = (uint32_t)i;
        out[i].tp = 0;
        out[i].fp = 0;
        dt_area[i] = box_area(m, items[i].slot);
        const bool has_nan = overlaps(det->bbox, (const double(*)[4])gt->bbox + gt_begin,
                                      is_crowd, n_gt, s->iou);
        const int64_t begin = n_candidates;
        for (int64_t g = 0; g < n_gt; ++g) {
            // A NaN that is taken for a match lets every later overlap replace it.
            if (has_nan || s->iou[g] >= s->threshold[0]) {
                EDT_TRY(reserve((void **)&s->candidates, &s->capacity_candidates,
                                n_candidates + 1, sizeof *s->candidates, err));
                s->candidates[n_candidates++] =
                    (candidate){.iou = s->iou[g], .i_gt = (uint32_t)g};
            }
        }
        s->candidate_end[i] = n_candidates;
        if (begin == n_candidates) {
            out[i].fp = EDT_COCO_PLAIN;
            for (int a = 0; a < EDT_COCO_N_AREAS; ++a) {
                if (!is_outside(dt_area[i], a)) {
                    out[i].fp |= (uint64_t)ALL_THRESHOLDS << (16 * a);
                }
            }
        }
    }
    if (n_candidates > 0) {
        for (int a = 0; a < EDT_COCO_N_AREAS; ++a) {
            match_area(s, a, dt_area, is_crowd, n_gt, out, n_dt);
        }
    }
    return EDT_OK;
}

// Sorts the detections of an image by category (stable) into s->items.
static void order_by_category(const matcher *m, scratch *s, const uint32_t *slots, int64_t n)
{
    const int64_t n_categories = m->work->gt->n_categories;
    int64_t *begin = s->category_begin;
    memset(begin, 0, (size_t)(n_categories + 2) * sizeof *begin);
    for (int64_t i = 0; i < n; ++i) {
        ++begin[m->category_of[slots[i]] + 2];
    }
    for (int64_t k = 0; k < n_categories; ++k) {
        begin[k + 2] += begin[k + 1];
    }
    // begin[k + 1] moves from the begin of category k to its end.
    for (int64_t i = 0; i < n; ++i) {
        s->items[begin[m->category_of[slots[i]] + 1]++] =
            (scored){.score = detection(m, slots[i])->score, .slot = slots[i]};
    }
}

static edt_status match_image(const matcher *m, scratch *s, int64_t i_image, edt_error *err)
{
    const edt_coco_work *work = m->work;
    const edt_coco_gt *gt = work->gt;
    const uint32_t begin = m->image_begin[i_image];
    const int64_t n = (int64_t)m->image_begin[i_image + 1] - begin;
    if (n == 0) {
        return EDT_OK;
    }
    EDT_TRY(reserve_detections(s, n, err));
    order_by_category(m, s, m->order + begin, n);
    const int64_t max_dets = work->params.max_dets[EDT_COCO_N_MAX_DETS - 1];
    int64_t at_gt = gt->image_begin[i_image], at = 0;
    const int64_t last_gt = gt->image_begin[i_image + 1];
    const bool all = work->params.ignore_categories;
    while (at < n) {
        const int32_t category = m->category_of[s->items[at].slot];
        const int64_t end = all ? n : s->category_begin[category + 1];
        while (!all && at_gt < last_gt && gt->category[at_gt] < category) {
            ++at_gt;
        }
        int64_t end_gt = at_gt;
        while (end_gt < last_gt && (all || gt->category[end_gt] == category)) {
            ++end_gt;
        }
        sort_by_score(s->items + at, end - at, s->merged);
        const int64_t n_kept = end - at < max_dets ? end - at : max_dets;
        edt_coco_match *out = work->matches + begin + at;
        EDT_TRY(match_group(m, s, s->items + at, n_kept, at_gt, end_gt, out, err));
        for (int64_t i = 0; i < end - at; ++i) {
            out[i].category = i >= n_kept ? -1 : all ? 0 : work->k_of[category];
        }
        at = end;
        at_gt = end_gt;
    }
    return EDT_OK;
}

static edt_status match_images(void *ctx, int i_worker, int64_t begin, int64_t end,
                               edt_error *err)
{
    const matcher *m = ctx;
    for (int64_t i = begin; i < end; ++i) {
        EDT_TRY(match_image(m, &m->scratch[i_worker], i, err));
    }
    return EDT_OK;
}

// Sorts the slots of known categories by image (stable); detections of other categories only
// say that their image is evaluated.
static edt_status order_by_image(matcher *m, edt_error *err)
{
    edt_coco_work *work = m->work;
    const int64_t n_images = work->gt->n_images;
    const size_t n_bytes = (size_t)n_images;
    m->image_begin = edt_mem_calloc(EDT_MEM_EVAL, n_bytes + 2, sizeof *m->image_begin);
    work->is_evaluated = edt_mem_alloc(EDT_MEM_EVAL, n_bytes);
    if (m->image_begin == NULL || work->is_evaluated == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %lld images", (long long)n_images);
    }
    memset(work->is_evaluated, !work->params.only_images_with_detections, n_bytes);
    uint32_t *begin = m->image_begin;
    for (int64_t i_block = 0; i_block < m->n_blocks; ++i_block) {
        const int64_t first = i_block << EDT_COCO_BLOCK_BITS;
        for (int64_t i = first; i < first + m->blocks[i_block]->n; ++i) {
            work->is_evaluated[m->image_of[i]] = 1;
            begin[m->image_of[i] + 2] += m->category_of[i] >= 0;
        }
    }
    for (int64_t i = 0; i < n_images; ++i) {
        begin[i + 2] += begin[i + 1];
    }
    work->n_matches = begin[n_images + 1];
    const size_t n = (size_t)work->n_matches;
    m->order = edt_mem_alloc(EDT_MEM_EVAL, n * sizeof *m->order);
    work->matches = edt_mem_alloc(EDT_MEM_EVAL, n * sizeof *work->matches);
    if (m->order == NULL || work->matches == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %zu detections", n);
    }
    for (int64_t i_block = 0; i_block < m->n_blocks; ++i_block) {
        const int64_t first = i_block << EDT_COCO_BLOCK_BITS;
        for (int64_t i = first; i < first + m->blocks[i_block]->n; ++i) {
            if (m->category_of[i] >= 0) {
                m->order[begin[m->image_of[i] + 1]++] = (uint32_t)i;
            }
        }
    }
    return EDT_OK;
}

static edt_status count_positives(edt_coco_work *work, edt_error *err)
{
    const edt_coco_gt *gt = work->gt;
    const int64_t n_k = work->params.ignore_categories ? 1 : work->n_categories;
    work->n_positives =
        edt_mem_calloc(EDT_MEM_EVAL, (size_t)n_k * EDT_COCO_N_AREAS, sizeof *work->n_positives);
    if (work->n_positives == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %lld categories", (long long)n_k);
    }
    for (int64_t i_image = 0; i_image < gt->n_images; ++i_image) {
        for (int64_t i = gt->image_begin[i_image];
             work->is_evaluated[i_image] && i < gt->image_begin[i_image + 1]; ++i) {
            const int64_t k = work->params.ignore_categories ? 0 : work->k_of[gt->category[i]];
            for (int a = 0; a < EDT_COCO_N_AREAS && k >= 0 && !gt->is_crowd[i]; ++a) {
                work->n_positives[k * EDT_COCO_N_AREAS + a] += !is_outside(gt->area[i], a);
            }
        }
    }
    return EDT_OK;
}

static edt_status init_scratch(matcher *m, edt_error *err)
{
    const size_t n_threads = (size_t)m->work->n_threads;
    const size_t n_begin = (size_t)m->work->gt->n_categories + 2;
    m->scratch = edt_mem_calloc(EDT_MEM_EVAL, n_threads, sizeof *m->scratch);
    for (size_t i = 0; m->scratch != NULL && i < n_threads; ++i) {
        scratch *s = &m->scratch[i];
        for (int t = 0; t < EDT_COCO_N_THRESHOLDS; ++t) {
            s->threshold[t] = edt_coco_threshold(t);
        }
        s->category_begin = edt_mem_alloc(EDT_MEM_EVAL, n_begin * sizeof *s->category_begin);
        if (s->category_begin == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %zu categories", n_begin);
        }
    }
    return m->scratch != NULL ? EDT_OK
                              : edt_error_set(err, EDT_ERR_NOMEM, "no memory for matching");
}

static void free_scratch(matcher *m)
{
    for (int i = 0; m->scratch != NULL && i < m->work->n_threads; ++i) {
        scratch *s = &m->scratch[i];
        edt_mem_free(s->items);
        edt_mem_free(s->merged);
        edt_mem_free(s->category_begin);
        edt_mem_free(s->iou);
        edt_mem_free(s->taken);
        edt_mem_free(s->ignored);
        edt_mem_free(s->candidates);
        edt_mem_free(s->candidate_end);
    }
    edt_mem_free(m->scratch);
}

edt_status edt_coco_match_all(edt_coco_work *work, const edt_coco_dt *dt, edt_error *err)
{
    if (dt->n_blocks >= INT64_C(1) << (31 - EDT_COCO_BLOCK_BITS)) {
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED, "%lld detections; allowed: about 2^31",
                 (long long)dt->n);
    }
    edt_status status = EDT_OK;
    matcher m = {.work = work, .n_blocks = dt->n_blocks};
    const size_t n_slots = (size_t)dt->n_blocks << EDT_COCO_BLOCK_BITS;
    m.blocks = edt_mem_alloc(EDT_MEM_EVAL, (size_t)dt->n_blocks * sizeof *m.blocks);
    m.image_of = edt_mem_alloc(EDT_MEM_EVAL, n_slots * sizeof *m.image_of);
    m.category_of = edt_mem_alloc(EDT_MEM_EVAL, n_slots * sizeof *m.category_of);
    if (m.blocks == NULL || m.image_of == NULL || m.category_of == NULL) {
        status = edt_error_set(err, EDT_ERR_NOMEM, "no memory for %lld detections",
                               (long long)dt->n);
        goto fail;
    }
    int64_t n = 0;
    for (const edt_coco_dt_block *block = dt->first; block != NULL; block = block->next) {
        m.blocks[n++] = block;
    }
    EDT_TRY_GOTO(init_scratch(&m, err));
    EDT_TRY_GOTO(edt_coco_run_ranges(m.n_blocks, 32, work->n_threads, look_up, &m, err));
    EDT_TRY_GOTO(order_by_image(&m, err));
    EDT_TRY_GOTO(count_positives(work, err));
    EDT_TRY_GOTO(edt_coco_run_ranges(work->gt->n_images, IMAGES_PER_UNIT, work->n_threads,
                                     match_images, &m, err));
fail:
    free_scratch(&m);
    edt_mem_free(m.blocks);
    edt_mem_free(m.image_of);
    edt_mem_free(m.category_of);
    edt_mem_free(m.image_begin);
    edt_mem_free(m.order);
    return status;
}
