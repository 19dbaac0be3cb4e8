// See coco_confusion.h.
#include "eval/coco_confusion.h"

#include <stdlib.h>
#include <string.h>

#include "core/arena.h"
#include "eval/coco_pairs.h"

typedef struct counter {
    double iou;
    int64_t n_classes;
    int64_t *counts;
    edt_arena arena; // of one image
} counter;

typedef struct candidate {
    double iou;
    int64_t d, g;
} candidate;

enum { FREE, TAKEN, LEFT_OUT };

static void add(counter *c, int64_t truth, int64_t found)
{
    ++c->counts[truth * (c->n_classes + 1) + found];
}

// As the evaluator matches: best score first, the greatest overlap, the last of equal ones.
static void match_same_class(counter *c, const edt_coco_pairs *p, uint8_t *dt_state,
                             uint8_t *gt_state)
{
    for (int64_t d = 0; d < p->n_dt; ++d) {
        const double *iou = p->iou + d * p->n_gt;
        double best = c->iou;
        int64_t match = -1;
        bool in_crowd = false;
        for (int64_t g = 0; g < p->n_gt; ++g) {
            if (p->gt_class[g] != p->dt_class[d] || iou[g] < c->iou) {
                continue;
            }
            if (p->gt_is_crowd[g]) {
                in_crowd = true;
            } else if (gt_state[g] == FREE && iou[g] >= best) {
                best = iou[g];
                match = g;
            }
        }
        if (match >= 0) {
            dt_state[d] = gt_state[match] = TAKEN;
            add(c, p->gt_class[match], p->dt_class[d]);
        } else if (in_crowd) {
            dt_state[d] = LEFT_OUT;
        }
    }
}

static int compare_candidates(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    if (x->iou != y->iou) {
        return x->iou > y->iou ? -1 : 1;
    }
    return x->d != y->d ? (x->d > y->d) - (x->d < y->d) : (x->g > y->g) - (x->g < y->g);
}

static edt_status match_other_classes(counter *c, const edt_coco_pairs *p, uint8_t *dt_state,
                                      uint8_t *gt_state, edt_error *err)
{
    int64_t n = 0;
    candidate *list =
        edt_arena_calloc(&c->arena, (size_t)p->n_dt * (size_t)p->n_gt, sizeof *list);
    if (list == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the confusion matrix");
    }
    for (int64_t d = 0; d < p->n_dt; ++d) {
        for (int64_t g = 0; g < p->n_gt && dt_state[d] == FREE; ++g) {
            const double iou = p->iou[d * p->n_gt + g];
            if (gt_state[g] == FREE && iou >= c->iou && p->gt_class[g] != p->dt_class[d]) {
                list[n++] = (candidate){.iou = iou, .d = d, .g = g};
            }
        }
    }
    qsort(list, (size_t)n, sizeof *list, compare_candidates);
    for (int64_t i = 0; i < n; ++i) {
        if (dt_state[list[i].d] == FREE && gt_state[list[i].g] == FREE) {
            dt_state[list[i].d] = gt_state[list[i].g] = TAKEN;
            add(c, p->gt_class[list[i].g], p->dt_class[list[i].d]);
        }
    }
    return EDT_OK;
}

static edt_status count_image(void *ctx, const edt_coco_pairs *p, edt_error *err)
{
    counter *c = ctx;
    edt_arena_reset(&c->arena);
    uint8_t *dt_state = edt_arena_calloc(&c->arena, (size_t)p->n_dt, 1);
    uint8_t *gt_state = edt_arena_calloc(&c->arena, (size_t)p->n_gt, 1);
    if (dt_state == NULL || gt_state == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the confusion matrix");
    }
    for (int64_t g = 0; g < p->n_gt; ++g) {
        gt_state[g] = p->gt_is_crowd[g] ? LEFT_OUT : FREE;
    }
    match_same_class(c, p, dt_state, gt_state);
    EDT_TRY(match_other_classes(c, p, dt_state, gt_state, err));
    for (int64_t d = 0; d < p->n_dt; ++d) {
        if (dt_state[d] == FREE) {
            add(c, c->n_classes, p->dt_class[d]);
        }
    }
    for (int64_t g = 0; g < p->n_gt; ++g) {
        if (gt_state[g] == FREE) {
            add(c, p->gt_class[g], c->n_classes);
        }
    }
    return EDT_OK;
}

edt_status edt_coco_confusion_count(const edt_coco_gt *gt, const edt_coco_dt *dt,
                                    const edt_coco_params *params, double iou, double min_score,
                                    int64_t n_classes, int64_t *counts, edt_error *err)
{
    counter c = {.iou = iou, .n_classes = n_classes, .counts = counts};
    const edt_coco_pairs_options options = {.params = params, .min_score = min_score};
    edt_arena_init(&c.arena, EDT_MEM_EVAL, 0);
    const edt_status status = edt_coco_pairs_walk(gt, dt, &options, count_image, &c, err);
    edt_arena_deinit(&c.arena);
    return status;
}
