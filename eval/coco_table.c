// See coco_table.h.
#include "eval/coco_table.h"

#include <string.h>

enum { BLOCKS_PER_RANGE = 32 };

static const edt_coco_detection *at_slot(const edt_coco_table *table, uint32_t slot)
{
    return &table->blocks[slot >> EDT_COCO_BLOCK_BITS]
                ->items[slot & (EDT_COCO_BLOCK_ITEMS - 1)];
}

// Looks up the ids of a range of blocks.
static edt_status look_up(void *ctx, int i_worker, int64_t begin, int64_t end, edt_error *err)
{
    (void)i_worker;
    const edt_coco_table *table = ctx;
    const edt_coco_work *work = table->work;
    const edt_coco_gt *gt = work->gt;
    for (int64_t i_block = begin; i_block < end; ++i_block) {
        const edt_coco_dt_block *block = table->blocks[i_block];
        const int64_t first = i_block << EDT_COCO_BLOCK_BITS;
        if (work->params->iou_type == EDT_COCO_SEGM && block->masks == NULL) {
            EDT_FAIL(err, EDT_ERR_INVALID,
                     "there are detections without masks, and masks are to be compared");
        }
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
            const bool is_wanted = work->is_wanted == NULL || work->is_wanted[image] != 0;
            table->image_of[first + i] = image;
            table->category_of[first + i] =
                is_wanted && category >= 0 && work->k_of[category] >= 0 ? category : -1;
        }
    }
    return EDT_OK;
}

// Sorts the slots of evaluated categories by image (stable).
static edt_status order_by_image(edt_coco_table *table, uint8_t *is_seen, edt_error *err)
{
    const edt_coco_work *work = table->work;
    const int64_t n_images = work->gt->n_images;
    table->image_begin =
        edt_mem_calloc(EDT_MEM_EVAL, (size_t)n_images + 2, sizeof *table->image_begin);
    if (table->image_begin == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %lld images", (long long)n_images);
    }
    uint32_t *begin = table->image_begin;
    for (int64_t i_block = 0; i_block < table->n_blocks; ++i_block) {
        const int64_t first = i_block << EDT_COCO_BLOCK_BITS;
        for (int64_t i = first; i < first + table->blocks[i_block]->n; ++i) {
            const int32_t image = table->image_of[i];
            if (is_seen != NULL && (work->is_wanted == NULL || work->is_wanted[image] != 0)) {
                is_seen[image] = 1;
            }
            begin[image + 2] += table->category_of[i] >= 0;
        }
    }
    for (int64_t i = 0; i < n_images; ++i) {
        begin[i + 2] += begin[i + 1];
    }
    table->n = begin[n_images + 1];
    table->order = edt_mem_alloc(EDT_MEM_EVAL, (size_t)table->n * sizeof *table->order);
    if (table->order == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %lld detections", (long long)table->n);
    }
    for (int64_t i_block = 0; i_block < table->n_blocks; ++i_block) {
        const int64_t first = i_block << EDT_COCO_BLOCK_BITS;
        for (int64_t i = first; i < first + table->blocks[i_block]->n; ++i) {
            if (table->category_of[i] >= 0) {
                table->order[begin[table->image_of[i] + 1]++] = (uint32_t)i;
            }
        }
    }
    return EDT_OK;
}

edt_status edt_coco_table_init(edt_coco_table *table, const edt_coco_work *work,
                               const edt_coco_dt *dt, int n_threads, uint8_t *is_seen,
                               edt_error *err)
{
    if (dt->n_blocks >= INT64_C(1) << (31 - EDT_COCO_BLOCK_BITS)) {
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED, "%lld detections; allowed: about 2^31",
                 (long long)dt->n);
    }
    edt_status status = EDT_OK;
    edt_coco_table t = {.work = work};
    const size_t n_slots = (size_t)dt->n_blocks << EDT_COCO_BLOCK_BITS;
    t.blocks = edt_mem_alloc(EDT_MEM_EVAL, (size_t)dt->n_blocks * sizeof *t.blocks);
    t.image_of = edt_mem_alloc(EDT_MEM_EVAL, n_slots * sizeof *t.image_of);
    t.category_of = edt_mem_alloc(EDT_MEM_EVAL, n_slots * sizeof *t.category_of);
    if (t.blocks == NULL || t.image_of == NULL || t.category_of == NULL) {
        status = edt_error_set(err, EDT_ERR_NOMEM, "no memory for %lld detections",
                               (long long)dt->n);
        goto fail;
    }
    for (const edt_coco_dt_block *block = dt->first; block != NULL; block = block->next) {
        t.blocks[t.n_blocks++] = block;
    }
    EDT_TRY_GOTO(
        edt_coco_run_ranges(t.n_blocks, BLOCKS_PER_RANGE, n_threads, look_up, &t, err));
    EDT_TRY_GOTO(order_by_image(&t, is_seen, err));
    edt_mem_free(t.image_of); // the order has it now
    t.image_of = NULL;
    *table = t;
    return EDT_OK;
fail:
    edt_coco_table_deinit(&t);
    return status;
}

void edt_coco_table_deinit(edt_coco_table *table)
{
    edt_mem_free(table->blocks);
    edt_mem_free(table->image_of);
    edt_mem_free(table->category_of);
    edt_mem_free(table->image_begin);
    edt_mem_free(table->order);
    *table = (edt_coco_table){0};
}

edt_status edt_coco_walker_init(edt_coco_walker *walker, const edt_coco_gt *gt, edt_error *err)
{
    const size_t n_begin = (size_t)gt->n_categories + 2;
    *walker = (edt_coco_walker){0};
    edt_arena_init(&walker->group.arena, EDT_MEM_EVAL, 0);
    walker->category_begin =
        edt_mem_alloc(EDT_MEM_EVAL, n_begin * sizeof *walker->category_begin);
    if (walker->category_begin == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %zu categories", n_begin);
    }
    return EDT_OK;
}

void edt_coco_walker_deinit(edt_coco_walker *walker)
{
    edt_coco_group_deinit(&walker->group);
    edt_mem_free(walker->items);
    edt_mem_free(walker->room);
    edt_mem_free(walker->category_begin);
    *walker = (edt_coco_walker){0};
}

static edt_status reserve(edt_coco_walker *walker, int64_t n, edt_error *err)
{
    if (n > walker->capacity) {
        edt_mem_free(walker->items);
        edt_mem_free(walker->room);
        walker->capacity = 0;
        walker->items = edt_mem_alloc(EDT_MEM_EVAL, 2 * (size_t)n * sizeof *walker->items);
        walker->room = edt_mem_alloc(EDT_MEM_EVAL, 2 * (size_t)n * sizeof *walker->room);
        if (walker->items == NULL || walker->room == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %lld detections of an image",
                     (long long)n);
        }
        walker->capacity = 2 * n;
    }
    return EDT_OK;
}

static edt_coco_scored read_slot(const edt_coco_table *table, uint32_t slot)
{
    const edt_coco_dt_block *block = table->blocks[slot >> EDT_COCO_BLOCK_BITS];
    const edt_coco_detection *det = at_slot(table, slot);
    const double w = det->bbox[2], h = det->bbox[3];
    edt_coco_scored item = {
        .score = det->score,
        .area = w * h,
        .bbox = det->bbox,
        .mask = block->masks != NULL ? block->masks[slot & (EDT_COCO_BLOCK_ITEMS - 1)] : NULL,
        .slot = slot,
        .category = table->category_of[slot]};
    if (block->area_kind == EDT_COCO_AREA_F32) {
        item.area = (double)((float)w * (float)h);
    } else if (block->area_kind == EDT_COCO_AREA_MASK) {
        item.area = (double)item.mask->area;
    }
    return item;
}

// Sorts the detections of an image by category (stable) into the walker's items.
static void order_by_category(const edt_coco_table *table, edt_coco_walker *walker,
                              const uint32_t *slots, int64_t n)
{
    const int64_t n_categories = table->work->gt->n_categories;
    int64_t *begin = walker->category_begin;
    memset(begin, 0, (size_t)(n_categories + 2) * sizeof *begin);
    for (int64_t i = 0; i < n; ++i) {
        ++begin[table->category_of[slots[i]] + 2];
    }
    for (int64_t k = 0; k < n_categories; ++k) {
        begin[k + 2] += begin[k + 1];
    }
    // begin[k + 1] moves from the begin of category k to its end.
    for (int64_t i = 0; i < n; ++i) {
        walker->items[begin[table->category_of[slots[i]] + 1]++] = read_slot(table, slots[i]);
    }
}

edt_status edt_coco_walk_image(const edt_coco_table *table, edt_coco_walker *walker,
                               int64_t i_image, bool with_empty, edt_coco_pairing_fn *fn,
                               void *ctx, edt_error *err)
{
    const edt_coco_work *work = table->work;
    const edt_coco_gt *gt = work->gt;
    const uint32_t begin = table->image_begin[i_image];
    const int64_t n = (int64_t)table->image_begin[i_image + 1] - begin;
    const int64_t last_gt = gt->image_begin[i_image + 1];
    int64_t at_gt = gt->image_begin[i_image], at = 0;
    if (n == 0 && !with_empty) {
        return EDT_OK;
    }
    EDT_TRY(reserve(walker, n, err));
    order_by_category(table, walker, table->order + begin, n);
    const int64_t max_dets = work->max_dets;
    const bool all = work->params->ignore_categories;
    while (at < n || (with_empty && at_gt < last_gt)) {
        int32_t category = at < n ? walker->items[at].category : INT32_MAX;
        while (!with_empty && !all && at_gt < last_gt && gt->category[at_gt] < category) {
            ++at_gt;
        }
        if (at_gt < last_gt && gt->category[at_gt] < category) {
            category = gt->category[at_gt];
        }
        const int64_t end = all ? n : walker->category_begin[category + 1];
        int64_t end_gt = at_gt;
        while (end_gt < last_gt && (all || gt->category[end_gt] == category)) {
            ++end_gt;
        }
        const int64_t n_dt = end > at ? end - at : 0;
        edt_coco_sort_by_score(walker->items + at, n_dt, walker->room);
        const edt_coco_pairing pairing = {
            .i_image = i_image,
            .k = all ? 0 : work->k_of[category],
            .items = walker->items + at,
            .n_dt = n_dt,
            .n_kept = n_dt < max_dets ? n_dt : max_dets,
            .i_dt = begin + at,
            .gt_begin = at_gt,
            .gt_end = end_gt,
        };
        if (pairing.k >= 0) {
            EDT_TRY(fn(ctx, walker, &pairing, err));
        }
        at += n_dt;
        at_gt = end_gt;
    }
    return EDT_OK;
}
