// One group of detections and objects (cocoapi's computeIoU and evaluateImg). The overlap of
// each pair is computed once; only the pairs that reach the lowest threshold enter the matching
// at ten thresholds and four area ranges, and these are few.
#include "eval/coco_group.h"

#include <math.h>
#include <string.h>

enum { INSERTION_ITEMS = 24 };

// True when `a` comes strictly before `b` in falling order; NaN is last, as NumPy sorts.
static inline bool is_before(double a, double b)
{
    return a > b || (isnan(b) && !isnan(a));
}

void edt_coco_sort_by_score(edt_coco_scored *items, int64_t n, edt_coco_scored *room)
{
    if (n <= INSERTION_ITEMS) {
        for (int64_t i = 1; i < n; ++i) {
            const edt_coco_scored moving = items[i];
            int64_t at = i;
            for (; at > 0 && is_before(moving.score, items[at - 1].score); --at) {
                items[at] = items[at - 1];
            }
            items[at] = moving;
        }
        return;
    }
    const int64_t half = n / 2;
    edt_coco_sort_by_score(items, half, room);
    edt_coco_sort_by_score(items + half, n - half, room);
    if (!is_before(items[half].score, items[half - 1].score)) {
        return; // detections often come sorted
    }
    memcpy(room, items, (size_t)half * sizeof *items);
    int64_t a = 0, b = half, to = 0;
    while (a < half && b < n) {
        items[to++] = is_before(items[b].score, room[a].score) ? items[b++] : room[a++];
    }
    memcpy(items + to, room + a, (size_t)(half - a) * sizeof *items);
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

bool edt_coco_box_overlaps(const double d[4], const double (*boxes)[4], const uint8_t *is_crowd,
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
        iou[i] =
            common / (is_crowd != NULL && is_crowd[i] ? area : area + g[2] * g[3] - common);
        has_nan |= isnan(iou[i]);
    }
    return has_nan;
}

static edt_status unpacked(edt_coco_group *s, int64_t i, const edt_coco_mask *mask,
                           edt_error *err)
{
    return s->runs[i].at != NULL ? EDT_OK
                                 : edt_coco_mask_unpack(mask, &s->arena, err, &s->runs[i]);
}

// Fills `iou`. Pairs whose boxes and areas rule out the lowest threshold are given 0 instead of
// their overlap: the quotient rises with the number of common pixels, rounded or not.
static edt_status mask_overlaps(edt_coco_group *s, const edt_coco_mask *dt,
                                const edt_coco_mask *const *masks, const uint8_t *is_crowd,
                                int64_t n_gt, double lowest, edt_error *err)
{
    edt_coco_runs runs = {0};
    for (int64_t i = 0; i < n_gt; ++i) {
        uint32_t most;
        s->iou[i] = 0;
        if (!edt_coco_mask_may_meet(dt, masks[i], &most)) {
            continue;
        }
        if (dt->h != masks[i]->h || dt->w != masks[i]->w) {
            s->iou[i] = -1; // as pycocotools says of masks of different pictures
            continue;
        }
        if (edt_coco_mask_ratio(most, dt, masks[i], is_crowd[i]) < lowest) {
            continue;
        }
        if (runs.at == NULL) {
            EDT_TRY(edt_coco_mask_unpack(dt, &s->arena, err, &runs));
        }
        EDT_TRY(unpacked(s, i, masks[i], err));
        s->iou[i] = edt_coco_mask_ratio(edt_coco_runs_common(&runs, &s->runs[i]), dt, masks[i],
                                        is_crowd[i]);
    }
    return EDT_OK;
}

// The best object for one detection at one threshold, or -1. The reference goes through the
// objects that count first and stops at the first ignored one if it has a match by then.
static int64_t find_best(const edt_coco_group *s, const edt_coco_candidate *begin,
                         const edt_coco_candidate *end, const uint8_t *is_crowd, int i_area,
                         int i_threshold, double threshold)
{
    double best = threshold;
    int64_t match = -1;
    for (unsigned ignored = 0; ignored < 2 && match < 0; ++ignored) {
        for (const edt_coco_candidate *c = begin; c < end; ++c) {
            const uint32_t g = c->i_gt;
            if (((unsigned)s->ignored[g] >> i_area & 1u) != ignored ||
                (((unsigned)s->taken[g] >> i_threshold & 1u) != 0 && !is_crowd[g]) ||
                c->iou < best) {
                continue;
            }
            best = c->iou; // an equal overlap replaces the earlier one
            match = (int64_t)g;
        }
    }
    return match;
}

static void record(const edt_coco_group *s, const edt_coco_pass *pass, int i_area, int t,
                   int64_t i_dt, int64_t n_dt, int64_t match)
{
    if (s->matched != NULL) {
        s->matched[((int64_t)i_area * pass->n_thresholds + t) * n_dt + i_dt] = (int32_t)match;
    }
}

// The thresholds at which detection i_dt is matched, and in *out_ignored those of them at which
// it is matched to an ignored object.
static unsigned match_one(edt_coco_group *s, const edt_coco_pass *pass, int i_area,
                          const edt_coco_candidate *begin, const edt_coco_candidate *end,
                          const uint8_t *is_crowd, int64_t i_dt, int64_t n_dt,
                          unsigned *out_ignored)
{
    unsigned matched = 0;
    *out_ignored = 0;
    for (int t = 0; t < pass->n_thresholds; ++t) {
        const int64_t match =
            find_best(s, begin, end, is_crowd, i_area, t, pass->thresholds[t]);
        if (match >= 0) {
            s->taken[match] = (uint16_t)(s->taken[match] | 1u << t);
            matched |= 1u << t;
            *out_ignored |= ((unsigned)s->ignored[match] >> i_area & 1u) << t;
        }
        record(s, pass, i_area, t, i_dt, n_dt, match);
    }
    return matched;
}

// The same where there is but one object to choose, at all thresholds at once. Most detections
// that overlap anything are of this kind.
static unsigned match_only(edt_coco_group *s, const edt_coco_pass *pass, int i_area,
                           const edt_coco_candidate *only, const uint8_t *is_crowd,
                           int64_t i_dt, int64_t n_dt, unsigned *out_ignored)
{
    const uint32_t g = only->i_gt;
    const unsigned matched = only->reached & ~(is_crowd[g] ? 0u : (unsigned)s->taken[g]);
    s->taken[g] = (uint16_t)(s->taken[g] | matched);
    *out_ignored = ((unsigned)s->ignored[g] >> i_area & 1u) != 0 ? matched : 0;
    for (int t = 0; s->matched != NULL && t < pass->n_thresholds; ++t) {
        record(s, pass, i_area, t, i_dt, n_dt, (matched >> t & 1u) != 0 ? (int64_t)g : -1);
    }
    return matched;
}

// One area range of a group: adds its row to `tp` and `fp` of the detections with candidates.
static void match_area(edt_coco_group *s, const edt_coco_pass *pass, int i_area,
                       const edt_coco_scored *items, const uint8_t *is_crowd, int64_t n_gt,
                       edt_coco_match_row *out, int64_t n_dt)
{
    const unsigned all = (1u << pass->n_thresholds) - 1;
    memset(s->taken, 0, (size_t)n_gt * sizeof *s->taken);
    int64_t begin = 0;
    for (int64_t i = 0; i < n_dt; ++i) {
        const int64_t end = s->candidate_end[i];
        if (begin < end) {
            const edt_coco_candidate *first = s->candidates + begin;
            unsigned ignored;
            const unsigned matched =
                end - begin == 1
                    ? match_only(s, pass, i_area, first, is_crowd, i, n_dt, &ignored)
                    : match_one(s, pass, i_area, first, s->candidates + end, is_crowd, i, n_dt,
                                &ignored);
            const unsigned missed =
                edt_coco_is_outside(pass, items[i].area, i_area) ? 0 : all & ~matched;
            out[i].tp |= (uint64_t)(matched & ~ignored) << (16 * i_area);
            out[i].fp |= (uint64_t)missed << (16 * i_area);
        }
        begin = end;
    }
}

// A NaN is below nothing.
static uint32_t reached_by(const edt_coco_pass *pass, double iou)
{
    uint32_t reached = 0;
    for (int t = 0; t < pass->n_thresholds; ++t) {
        reached |= (uint32_t) !(iou < pass->thresholds[t]) << t;
    }
    return reached;
}

// Contents need not be kept.
static edt_status reserve(edt_coco_group *s, int64_t n_dt, int64_t n_gt, edt_error *err)
{
    if (n_dt > s->capacity_dt) {
        edt_mem_free(s->candidate_end);
        s->capacity_dt = 0;
        s->candidate_end =
            edt_mem_alloc(EDT_MEM_EVAL, 2 * (size_t)n_dt * sizeof *s->candidate_end);
        if (s->candidate_end == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for matching %lld boxes", (long long)n_dt);
        }
        s->capacity_dt = 2 * n_dt;
    }
    if (n_gt > s->capacity_gt) {
        edt_mem_free(s->iou);
        edt_mem_free(s->taken);
        edt_mem_free(s->ignored);
        edt_mem_free(s->runs);
        s->capacity_gt = 0;
        s->iou = edt_mem_alloc(EDT_MEM_EVAL, 2 * (size_t)n_gt * sizeof *s->iou);
        s->taken = edt_mem_alloc(EDT_MEM_EVAL, 2 * (size_t)n_gt * sizeof *s->taken);
        s->ignored = edt_mem_alloc(EDT_MEM_EVAL, 2 * (size_t)n_gt * sizeof *s->ignored);
        s->runs = edt_mem_alloc(EDT_MEM_EVAL, 2 * (size_t)n_gt * sizeof *s->runs);
        if (s->iou == NULL || s->taken == NULL || s->ignored == NULL || s->runs == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for matching %lld boxes", (long long)n_gt);
        }
        s->capacity_gt = 2 * n_gt;
    }
    return EDT_OK;
}

// Room for the pairs of one more detection.
static edt_status reserve_candidates(edt_coco_group *s, int64_t n, edt_error *err)
{
    if (n > s->capacity_candidates) {
        const int64_t capacity = 2 * n + 64;
        edt_coco_candidate *grown =
            edt_mem_realloc(EDT_MEM_EVAL, s->candidates, (size_t)capacity * sizeof *grown);
        if (grown == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %lld overlapping pairs", (long long)n);
        }
        s->candidates = grown;
        s->capacity_candidates = capacity;
    }
    return EDT_OK;
}

// The overlaps of one detection; returns in *out_has_nan whether there is a NaN among them.
static edt_status find_overlaps(edt_coco_group *s, const edt_coco_work *work,
                                const edt_coco_scored *item, int64_t gt_begin, int64_t n_gt,
                                bool *out_has_nan, edt_error *err)
{
    const edt_coco_gt *gt = work->gt;
    const uint8_t *is_crowd = gt->is_crowd + gt_begin;
    *out_has_nan = false;
    if (work->params->iou_type == EDT_COCO_BBOX) {
        *out_has_nan = edt_coco_box_overlaps(
            item->bbox, (const double(*)[4])gt->bbox + gt_begin, is_crowd, n_gt, s->iou);
    } else {
        EDT_TRY(mask_overlaps(s, item->mask, gt->masks + gt_begin, is_crowd, n_gt,
                              work->pass.lowest, err));
    }
    return EDT_OK;
}

// Without categories a group holds all objects of its image.
static bool is_excluded(const edt_coco_work *work, int64_t i_object)
{
    return work->excludes && work->k_of[work->gt->category[i_object]] < 0;
}

edt_status edt_coco_group_match(edt_coco_group *group, const edt_coco_work *work,
                                const edt_coco_scored *items, int64_t n_dt, int64_t gt_begin,
                                int64_t gt_end, edt_coco_match_row *out, edt_error *err)
{
    edt_coco_group *s = group;
    const edt_coco_gt *gt = work->gt;
    const edt_coco_pass *pass = &work->pass;
    const uint64_t all_thresholds = (UINT64_C(1) << pass->n_thresholds) - 1;
    const int64_t n_gt = gt_end - gt_begin;
    const uint8_t *is_crowd = gt->is_crowd + gt_begin;
    EDT_TRY(reserve(s, n_dt, n_gt, err));
    for (int64_t i = 0; i < n_gt; ++i) {
        unsigned ignored = 0;
        for (int a = 0; a < pass->n_areas; ++a) {
            ignored |= is_crowd[i] || edt_coco_is_outside(pass, gt->area[gt_begin + i], a)
                           ? 1u << a
                           : 0u;
        }
        s->ignored[i] = (uint8_t)ignored;
    }
    if (work->params->iou_type == EDT_COCO_SEGM && n_gt > 0) {
        edt_arena_reset(&s->arena);
        memset(s->runs, 0, (size_t)n_gt * sizeof *s->runs);
    }
    int64_t n_candidates = 0;
    for (int64_t i = 0; i < n_dt; ++i) {
        out[i].score = items[i].score;
        out[i].rank = (uint32_t)i;
        out[i].tp = 0;
        out[i].fp = 0;
        bool has_nan;
        EDT_TRY(find_overlaps(s, work, &items[i], gt_begin, n_gt, &has_nan, err));
        const int64_t begin = n_candidates;
        EDT_TRY(reserve_candidates(s, n_candidates + n_gt, err));
        for (int64_t g = 0; g < n_gt; ++g) {
            // A NaN that is taken for a match lets every later overlap replace it.
            if ((has_nan || s->iou[g] >= pass->lowest) && !is_excluded(work, gt_begin + g)) {
                s->candidates[n_candidates++] =
                    (edt_coco_candidate){s->iou[g], (uint32_t)g, reached_by(pass, s->iou[g])};
            }
        }
        s->candidate_end[i] = n_candidates;
        if (begin == n_candidates) {
            out[i].fp = EDT_COCO_PLAIN;
            for (int a = 0; a < pass->n_areas; ++a) {
                if (!edt_coco_is_outside(pass, items[i].area, a)) {
                    out[i].fp |= all_thresholds << (16 * a);
                }
            }
        }
    }
    if (s->matched != NULL) {
        memset(s->matched, 0xFF,
               (size_t)((int64_t)pass->n_areas * pass->n_thresholds * n_dt) *
                   sizeof *s->matched);
    }
    for (int a = 0; a < pass->n_areas && n_candidates > 0; ++a) {
        match_area(s, pass, a, items, is_crowd, n_gt, out, n_dt);
    }
    return EDT_OK;
}

void edt_coco_group_deinit(edt_coco_group *group)
{
    edt_mem_free(group->iou);
    edt_mem_free(group->taken);
    edt_mem_free(group->ignored);
    edt_mem_free(group->candidates);
    edt_mem_free(group->candidate_end);
    edt_mem_free(group->runs);
    edt_arena_deinit(&group->arena);
    *group = (edt_coco_group){0};
}
