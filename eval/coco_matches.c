// See coco_matches.h. The groups of an image are written by the thread that walks it, into
// memory of its own; afterwards they are put into the order of images.
#include "eval/coco_matches.h"

#include <string.h>

#include "eval/coco_table.h"

enum { IMAGES_PER_RANGE = 32, ARENA_BYTES = 1 << 20 };

// Groups in the order in which one thread found them.
typedef struct found {
    edt_arena arena;
    edt_coco_match_group *groups;
    int64_t n, capacity;
    edt_coco_walker walker;
    int32_t *matched; // room for edt_coco_group.matched
    int64_t capacity_matched;
} found;

struct edt_coco_matches {
    edt_coco_result *result; // categories and parameters
    int n_found;
    found *found; // per thread
    const edt_coco_match_group **groups;
    int64_t n;
};

typedef struct matcher {
    edt_coco_work *work;
    edt_coco_table table;
    const int64_t *position; // by block: place of its first detection in the list
    edt_coco_matches *matches;
} matcher;

static edt_status no_memory(edt_error *err)
{
    EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the matches of detections");
}

static edt_coco_match_group *add_group(found *f)
{
    if (f->n == f->capacity) {
        const int64_t capacity = 2 * f->capacity + 256;
        edt_coco_match_group *grown =
            edt_mem_realloc(EDT_MEM_EVAL, f->groups, (size_t)capacity * sizeof *grown);
        if (grown == NULL) {
            return NULL;
        }
        f->groups = grown;
        f->capacity = capacity;
    }
    return &f->groups[f->n++];
}

static bool reserve_matched(found *f, int64_t n)
{
    if (f->matched == NULL || n > f->capacity_matched) {
        edt_mem_free(f->matched);
        f->matched = edt_mem_alloc(EDT_MEM_EVAL, 2 * (size_t)n * sizeof *f->matched);
        f->capacity_matched = f->matched != NULL ? 2 * n : 0;
    }
    return f->matched != NULL;
}

// Arrays of a group, filled by put_group and put_pass.
typedef struct arrays {
    int64_t *dt, *gt;
    double *dt_score, *dt_area;
    double (*dt_bbox)[4];
    int32_t *dt_match, *gt_match;
    uint8_t *dt_ignore, *gt_ignore;
} arrays;

static void put_detections(const matcher *m, const edt_coco_pairing *pairing, arrays *a)
{
    for (int64_t i = 0; i < pairing->n_kept; ++i) {
        const edt_coco_scored *item = &pairing->items[i];
        a->dt[i] = m->position[item->slot >> EDT_COCO_BLOCK_BITS] +
                   (item->slot & (EDT_COCO_BLOCK_ITEMS - 1));
        a->dt_score[i] = item->score;
        a->dt_area[i] = item->area;
        memcpy(a->dt_bbox[i], item->bbox, sizeof a->dt_bbox[i]);
    }
}

// What one pass says, into the rows of its areas and thresholds. gt_list: positions in the
// group of the objects that are evaluated, -1 for others.
static void put_pass(const edt_coco_work *work, const edt_coco_pairing *pairing,
                     const int32_t *matched, const int64_t *gt_rows, int64_t n_gt, arrays *a)
{
    const edt_coco_pass *pass = &work->pass;
    const edt_coco_gt *gt = work->gt;
    const int64_t n_t = work->params->n_iou_thresholds, n_dt = pairing->n_kept;
    for (int i_area = 0; i_area < pass->n_areas; ++i_area) {
        const int64_t row = pass->first_area + i_area;
        uint8_t *gt_ignore = a->gt_ignore + row * n_gt;
        for (int64_t g = 0; g < n_gt; ++g) {
            const int64_t at = a->gt[g];
            gt_ignore[g] = gt->is_crowd[at] || edt_coco_is_outside(pass, gt->area[at], i_area);
        }
        for (int t = 0; t < pass->n_thresholds; ++t) {
            const int64_t cell = row * n_t + pass->first_threshold + t;
            int32_t *dt_match = a->dt_match + cell * n_dt,
                    *gt_match = a->gt_match + cell * n_gt;
            uint8_t *dt_ignore = a->dt_ignore + cell * n_dt;
            memset(gt_match, 0xFF, (size_t)n_gt * sizeof *gt_match);
            for (int64_t i = 0; i < n_dt; ++i) {
                const int32_t of_image =
                    matched[((int64_t)i_area * pass->n_thresholds + t) * n_dt + i];
                const int32_t match = of_image < 0 ? -1 : (int32_t)gt_rows[of_image];
                dt_match[i] = match;
                if (match >= 0) {
                    gt_match[match] = (int32_t)i;
                }
                dt_ignore[i] = match >= 0
                                   ? gt_ignore[match]
                                   : edt_coco_is_outside(pass, pairing->items[i].area, i_area);
            }
        }
    }
}

static bool alloc_arrays(edt_arena *arena, int64_t n_cells, int64_t n_areas, int64_t n_dt,
                         int64_t n_gt, arrays *a)
{
    const size_t d = (size_t)n_dt, g = (size_t)n_gt, cells = (size_t)n_cells;
    a->dt = edt_arena_calloc(arena, d, sizeof *a->dt);
    a->dt_score = edt_arena_calloc(arena, d, sizeof *a->dt_score);
    a->dt_area = edt_arena_calloc(arena, d, sizeof *a->dt_area);
    a->dt_bbox = edt_arena_calloc(arena, d, sizeof *a->dt_bbox);
    a->dt_match = edt_arena_calloc(arena, cells * d, sizeof *a->dt_match);
    a->dt_ignore = edt_arena_calloc(arena, cells * d, 1);
    a->gt = edt_arena_calloc(arena, g, sizeof *a->gt);
    a->gt_match = edt_arena_calloc(arena, cells * g, sizeof *a->gt_match);
    a->gt_ignore = edt_arena_calloc(arena, (size_t)n_areas * g, 1);
    return a->dt != NULL && a->dt_score != NULL && a->dt_area != NULL && a->dt_bbox != NULL &&
           a->dt_match != NULL && a->dt_ignore != NULL && a->gt != NULL &&
           a->gt_match != NULL && a->gt_ignore != NULL;
}

static edt_status run_passes(const matcher *m, found *f, edt_coco_walker *walker,
                             const edt_coco_pairing *pairing, const int64_t *gt_rows,
                             int64_t n_gt, arrays *a, edt_error *err)
{
    edt_coco_match_row *rows =
        edt_mem_alloc(EDT_MEM_EVAL, (size_t)pairing->n_kept * sizeof *rows);
    edt_coco_work work = *m->work; // passes of its own
    edt_status status = EDT_OK;
    if (rows == NULL ||
        !reserve_matched(f, EDT_COCO_PASS_AREAS * EDT_COCO_PASS_THRESHOLDS * pairing->n_kept)) {
        status = no_memory(err);
    }
    walker->group.matched = f->matched;
    for (int64_t i = 0; status == EDT_OK && edt_coco_pass_set(work.params, i, &work.pass);
         ++i) {
        status = edt_coco_group_match(&walker->group, &work, pairing->items, pairing->n_kept,
                                      pairing->gt_begin, pairing->gt_end, rows, err);
        if (status == EDT_OK) {
            put_pass(&work, pairing, f->matched, gt_rows, n_gt, a);
        }
    }
    edt_mem_free(rows);
    return status;
}

static edt_status put_group(void *ctx, edt_coco_walker *walker, const edt_coco_pairing *pairing,
                            edt_error *err)
{
    const matcher *m = ctx;
    const edt_coco_work *work = m->work;
    const edt_coco_gt *gt = work->gt;
    const edt_coco_params *params = work->params;
    // The walker is the member of one of the found.
    found *f = (found *)(void *)((uint8_t *)walker - offsetof(found, walker));
    const int64_t n_all = pairing->gt_end - pairing->gt_begin;
    arrays a;
    int64_t *gt_rows = edt_arena_alloc(&f->arena, (size_t)n_all * sizeof *gt_rows);
    edt_coco_match_group *group = add_group(f);
    if (gt_rows == NULL || group == NULL) {
        return no_memory(err);
    }
    int64_t n_gt = 0;
    for (int64_t i = 0; i < n_all; ++i) {
        const bool is_chosen = work->k_of[gt->category[pairing->gt_begin + i]] >= 0;
        gt_rows[i] = is_chosen ? n_gt++ : -1;
    }
    if (!alloc_arrays(&f->arena, params->n_areas * params->n_iou_thresholds, params->n_areas,
                      pairing->n_kept, n_gt, &a)) {
        return no_memory(err);
    }
    for (int64_t i = 0; i < n_all; ++i) {
        if (gt_rows[i] >= 0) {
            a.gt[gt_rows[i]] = pairing->gt_begin + i;
        }
    }
    put_detections(m, pairing, &a);
    EDT_TRY(run_passes(m, f, walker, pairing, gt_rows, n_gt, &a, err));
    *group = (edt_coco_match_group){
        .image_id = gt->image_ids[pairing->i_image],
        .category_id =
            params->ignore_categories ? -1 : m->matches->result->categories[pairing->k].id,
        .i_category = pairing->k,
        .n_dt = pairing->n_kept,
        .n_gt = n_gt,
        .dt = a.dt,
        .dt_score = a.dt_score,
        .dt_bbox = (const double(*)[4])a.dt_bbox,
        .dt_area = a.dt_area,
        .dt_match = a.dt_match,
        .dt_ignore = a.dt_ignore,
        .gt = a.gt,
        .gt_match = a.gt_match,
        .gt_ignore = a.gt_ignore,
    };
    if (group->n_dt == 0 && group->n_gt == 0) {
        --f->n;
    }
    return EDT_OK;
}

static edt_status walk_images(void *ctx, int i_worker, int64_t begin, int64_t end,
                              edt_error *err)
{
    matcher *m = ctx;
    for (int64_t i = begin; i < end; ++i) {
        if (m->work->is_evaluated[i]) {
            EDT_TRY(edt_coco_walk_image(&m->table, &m->matches->found[i_worker].walker, i, true,
                                        put_group, m, err));
        }
    }
    return EDT_OK;
}

// Threads take ranges of images in rising order, so that merging by image id puts all groups in
// order; an image is on one thread only.
static edt_status merge(edt_coco_matches *matches, edt_error *err)
{
    int64_t n = 0;
    for (int i = 0; i < matches->n_found; ++i) {
        n += matches->found[i].n;
    }
    matches->groups = edt_mem_alloc(EDT_MEM_EVAL, (size_t)n * sizeof(*matches->groups));
    int64_t *next = edt_mem_calloc(EDT_MEM_EVAL, (size_t)matches->n_found, sizeof *next);
    if (matches->groups == NULL || next == NULL) {
        edt_mem_free(next);
        return no_memory(err);
    }
    while (matches->n < n) {
        const edt_coco_match_group *first = NULL;
        int i_first = 0;
        for (int i = 0; i < matches->n_found; ++i) {
            const found *f = &matches->found[i];
            if (next[i] < f->n &&
                (first == NULL || f->groups[next[i]].image_id < first->image_id)) {
                first = &f->groups[next[i]];
                i_first = i;
            }
        }
        ++next[i_first];
        matches->groups[matches->n++] = first;
    }
    edt_mem_free(next);
    return EDT_OK;
}

static edt_status list_positions(const edt_coco_table *table, edt_error *err,
                                 int64_t **out_position)
{
    int64_t *position = edt_mem_alloc(EDT_MEM_EVAL, (size_t)table->n_blocks * sizeof *position);
    if (position == NULL) {
        return no_memory(err);
    }
    int64_t n = 0;
    for (int64_t i = 0; i < table->n_blocks; ++i) {
        position[i] = n;
        n += table->blocks[i]->n;
    }
    *out_position = position;
    return EDT_OK;
}

static edt_status create(const edt_coco_work *work, edt_error *err,
                         edt_coco_matches **out_matches)
{
    edt_coco_matches *matches = edt_mem_calloc(EDT_MEM_EVAL, 1, sizeof *matches);
    if (matches == NULL) {
        return no_memory(err);
    }
    *out_matches = matches;
    matches->found =
        edt_mem_calloc(EDT_MEM_EVAL, (size_t)work->n_threads, sizeof *matches->found);
    if (matches->found == NULL) {
        return no_memory(err);
    }
    for (; matches->n_found < work->n_threads; ++matches->n_found) {
        found *f = &matches->found[matches->n_found];
        edt_arena_init(&f->arena, EDT_MEM_EVAL, ARENA_BYTES);
        EDT_TRY(edt_coco_walker_init(&f->walker, work->gt, err));
    }
    return EDT_OK;
}

static void end_walk(edt_coco_matches *matches)
{
    for (int i = 0; i < matches->n_found; ++i) {
        edt_coco_walker_deinit(&matches->found[i].walker);
        edt_mem_free(matches->found[i].matched);
        matches->found[i].matched = NULL;
    }
}

edt_status edt_coco_match(const edt_coco_gt *gt, const edt_coco_dt *dt,
                          const edt_coco_params *params, edt_error *err,
                          edt_coco_matches **out_matches)
{
    edt_status status = EDT_OK;
    edt_coco_work work;
    edt_coco_result *result = NULL;
    edt_coco_matches *matches = NULL;
    int64_t *position = NULL;
    matcher m = {.work = &work};
    EDT_TRY(edt_coco_work_init(&work, gt, params, err, &result));
    status = create(&work, err, &matches);
    if (matches == NULL) {
        edt_coco_result_destroy(result);
        goto fail;
    }
    matches->result = result;
    m.matches = matches;
    EDT_TRY_GOTO(status);
    EDT_TRY_GOTO(
        edt_coco_table_init(&m.table, &work, dt, work.n_threads, work.is_evaluated, err));
    EDT_TRY_GOTO(list_positions(&m.table, err, &position));
    m.position = position;
    EDT_TRY_GOTO(edt_coco_run_ranges(gt->n_images, IMAGES_PER_RANGE, work.n_threads,
                                     walk_images, &m, err));
    EDT_TRY_GOTO(merge(matches, err));
    end_walk(matches);
    *out_matches = matches;
    matches = NULL;
fail:
    edt_mem_free(position);
    edt_coco_table_deinit(&m.table);
    edt_coco_work_deinit(&work);
    edt_coco_matches_destroy(matches);
    return status;
}

void edt_coco_matches_destroy(edt_coco_matches *matches)
{
    if (matches == NULL) {
        return;
    }
    end_walk(matches);
    for (int i = 0; i < matches->n_found; ++i) {
        edt_arena_deinit(&matches->found[i].arena);
        edt_mem_free(matches->found[i].groups);
    }
    edt_mem_free(matches->found);
    edt_mem_free(matches->groups);
    edt_coco_result_destroy(matches->result);
    edt_mem_free(matches);
}

int64_t edt_coco_matches_count(const edt_coco_matches *matches)
{
    return matches->n;
}

edt_coco_match_group edt_coco_matches_get(const edt_coco_matches *matches, int64_t i_group)
{
    return *matches->groups[i_group];
}

const edt_coco_category *edt_coco_matches_categories(const edt_coco_matches *matches,
                                                     int64_t *out_n)
{
    return edt_coco_result_categories(matches->result, out_n);
}

void edt_coco_box_iou(const double (*dt)[4], int64_t n_dt, const double (*gt)[4], int64_t n_gt,
                      const uint8_t *is_crowd, double *out_iou)
{
    for (int64_t i = 0; i < n_dt; ++i) {
        (void)edt_coco_box_overlaps(dt[i], gt, is_crowd, n_gt, out_iou + i * n_gt);
    }
}
