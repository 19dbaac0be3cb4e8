// Matching of all detections to the ground truth: the detections are sorted by image, then
// threads take images, sort each by category and match group by group (coco_group.h).
#include <string.h>

#include "eval/coco_group.h"

enum { IMAGES_PER_UNIT = 32 };

// What one worker keeps from image to image.
typedef struct scratch {
    edt_coco_group group;
    int64_t capacity;
    edt_coco_scored *items, *room; // of an image, and for sorting
    int64_t *category_begin;       // categories + 2
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

static edt_status reserve(scratch *s, int64_t n, edt_error *err)
{
    if (n > s->capacity) {
        edt_mem_free(s->items);
        edt_mem_free(s->room);
        s->capacity = 0;
        s->items = edt_mem_alloc(EDT_MEM_EVAL, 2 * (size_t)n * sizeof *s->items);
        s->room = edt_mem_alloc(EDT_MEM_EVAL, 2 * (size_t)n * sizeof *s->room);
        if (s->items == NULL || s->room == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %lld detections of an image",
                     (long long)n);
        }
        s->capacity = 2 * n;
    }
    return EDT_OK;
}

static edt_coco_scored read_slot(const matcher *m, uint32_t slot)
{
    const edt_coco_dt_block *block = m->blocks[slot >> EDT_COCO_BLOCK_BITS];
    const edt_coco_detection *det = &block->items[slot & (EDT_COCO_BLOCK_ITEMS - 1)];
    const double w = det->bbox[2], h = det->bbox[3];
    return (edt_coco_scored){.score = det->score,
                             .area = block->is_f32 ? (double)((float)w * (float)h) : w * h,
                             .bbox = det->bbox,
                             .category = m->category_of[slot]};
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
        s->items[begin[m->category_of[slots[i]] + 1]++] = read_slot(m, slots[i]);
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
    EDT_TRY(reserve(s, n, err));
    order_by_category(m, s, m->order + begin, n);
    const int64_t max_dets = work->params.max_dets[EDT_COCO_N_MAX_DETS - 1];
    int64_t at_gt = gt->image_begin[i_image], at = 0;
    const int64_t last_gt = gt->image_begin[i_image + 1];
    const bool all = work->params.ignore_categories;
    while (at < n) {
        const int32_t category = s->items[at].category;
        const int64_t end = all ? n : s->category_begin[category + 1];
        while (!all && at_gt < last_gt && gt->category[at_gt] < category) {
            ++at_gt;
        }
        int64_t end_gt = at_gt;
        while (end_gt < last_gt && (all || gt->category[end_gt] == category)) {
            ++end_gt;
        }
        edt_coco_sort_by_score(s->items + at, end - at, s->room);
        const int64_t n_kept = end - at < max_dets ? end - at : max_dets;
        edt_coco_match *out = work->matches + begin + at;
        EDT_TRY(edt_coco_group_match(&s->group, s->items + at, n_kept, gt, at_gt, end_gt, out,
                                     err));
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
                work->n_positives[k * EDT_COCO_N_AREAS + a] +=
                    !edt_coco_is_outside(gt->area[i], a);
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
        edt_coco_group_deinit(&s->group);
        edt_mem_free(s->items);
        edt_mem_free(s->room);
        edt_mem_free(s->category_begin);
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
