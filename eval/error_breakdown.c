// See error_breakdown.h. The order of the tests, the way of mending and the treatment of ties
// are those of the authors' program (dbolya/tide 1.0), so that numbers can be compared; images
// go by rising id.
#include "eval/error_breakdown.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"
#include "eval/coco_pairs.h"

const char *const edt_error_kind_names[EDT_ERRORS_N_KINDS] = {
    "class", "location", "both", "duplicate", "background", "missed"};

// A detection (or, for EDT_ERRORS_MISSED, an object) and what is wrong with it.
typedef struct entry {
    double score;
    int64_t object;  // that mending would give it, -1: mending takes it away
    int32_t label;   // class of the detection, or of the missed object
    int8_t kind;     // -1: a true positive
    bool is_counted; // as false positive: does not lie in a crowd
} entry;

typedef struct object {
    double best_score;
    int64_t best_entry; // the entry that is mended to find it, -1: none
    int32_t label;
    bool is_used;
} object;

typedef struct point {
    double score;
    int64_t order;
    int32_t label;
    bool is_true;
} point;

typedef struct breakdown {
    edt_error_breakdown_options options;
    entry *entries;
    int64_t n_entries, capacity_entries;
    object *objects;
    int64_t n_objects, capacity_objects;
    int32_t n_classes;
    point *points; // n_entries
    int64_t *positives;
    int64_t *found_by; // of one image, per object: the entry, -1: none
    int64_t capacity_found;
    double *precision, *recall;
} breakdown;

static edt_status no_memory(edt_error *err)
{
    EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the error breakdown");
}

// Room for n more items.
static bool reserve(void **items, int64_t n, int64_t *capacity, int64_t n_more, size_t bytes)
{
    if (n + n_more > *capacity) {
        const int64_t wanted = 2 * *capacity + n_more + 64;
        void *grown = edt_mem_realloc(EDT_MEM_EVAL, *items, (size_t)wanted * bytes);
        if (grown == NULL) {
            return false;
        }
        *items = grown;
        *capacity = wanted;
    }
    return true;
}

// Each detection, best first, takes the object of its class that it overlaps most (the first of
// equal ones) among those that are free, if that is enough.
static void match(breakdown *b, const edt_coco_pairs *pairs, int64_t first_object)
{
    const int64_t n_gt = pairs->n_gt;
    for (int64_t d = 0; d < pairs->n_dt; ++d) {
        const double *iou = pairs->iou + d * n_gt;
        entry *e = &b->entries[b->n_entries + d];
        double best = 0;
        int64_t best_gt = -1;
        *e = (entry){.score = pairs->dt_score[d],
                     .object = -1,
                     .label = pairs->dt_class[d],
                     .kind = EDT_ERRORS_BACKGROUND,
                     .is_counted = true};
        for (int64_t g = 0; g < n_gt; ++g) {
            if (!pairs->gt_is_crowd[g] && pairs->gt_class[g] == e->label &&
                b->found_by[g] < 0 && iou[g] > best) {
                best = iou[g];
                best_gt = g;
            }
        }
        if (best_gt >= 0 && best >= b->options.foreground_iou) {
            e->kind = -1;
            b->found_by[best_gt] = b->n_entries + d;
            b->objects[first_object + best_gt].is_used = true;
            continue;
        }
        for (int64_t g = 0; g < n_gt; ++g) {
            if (pairs->gt_is_crowd[g] && pairs->gt_class[g] == e->label &&
                iou[g] > b->options.foreground_iou) {
                e->is_counted = false;
            }
        }
    }
}

// The error claims the object, unless a detection has found it; the best claim wins.
static void claim(breakdown *b, int64_t i_entry, int64_t i_object)
{
    object *o = &b->objects[i_object];
    if (o->is_used) {
        return;
    }
    b->entries[i_entry].object = i_object;
    if (o->best_entry < 0 || o->best_score < b->entries[i_entry].score) {
        o->best_score = b->entries[i_entry].score;
        o->best_entry = i_entry;
    }
}

static void classify(breakdown *b, const edt_coco_pairs *pairs, int64_t d, int64_t first_object)
{
    const double *iou = pairs->iou + d * pairs->n_gt;
    const double fg = b->options.foreground_iou, bg = b->options.background_iou;
    entry *e = &b->entries[b->n_entries + d];
    double same = 0, other = 0, used = 0;
    int64_t same_gt = -1, other_gt = -1;
    bool has_objects = false;
    for (int64_t g = 0; g < pairs->n_gt; ++g) {
        if (pairs->gt_is_crowd[g]) {
            continue;
        }
        has_objects = true;
        if (pairs->gt_class[g] != e->label) {
            if (iou[g] > other) {
                other = iou[g];
                other_gt = g;
            }
            continue;
        }
        if (iou[g] > same) {
            same = iou[g];
            same_gt = g;
        }
        if (b->found_by[g] >= 0) {
            used = fmax(used, iou[g]);
        }
    }
    e->kind = EDT_ERRORS_BOTH;
    if (!has_objects) {
        e->kind = EDT_ERRORS_BACKGROUND;
    } else if (bg <= same && same <= fg && same_gt >= 0) {
        e->kind = EDT_ERRORS_LOCATION;
        claim(b, b->n_entries + d, first_object + same_gt);
    } else if (other >= fg && other_gt >= 0) {
        e->kind = EDT_ERRORS_CLASS;
        claim(b, b->n_entries + d, first_object + other_gt);
    } else if (used >= fg) {
        e->kind = EDT_ERRORS_DUPLICATE;
    } else if (fmax(same, other) <= bg) {
        e->kind = EDT_ERRORS_BACKGROUND;
    }
}

static edt_status add_image(void *ctx, const edt_coco_pairs *pairs, edt_error *err)
{
    breakdown *b = ctx;
    const int64_t first_object = b->n_objects;
    if (!reserve((void **)&b->entries, b->n_entries, &b->capacity_entries,
                 pairs->n_dt + pairs->n_gt, sizeof *b->entries) ||
        !reserve((void **)&b->objects, b->n_objects, &b->capacity_objects, pairs->n_gt,
                 sizeof *b->objects) ||
        !reserve((void **)&b->found_by, 0, &b->capacity_found, pairs->n_gt,
                 sizeof *b->found_by)) {
        return no_memory(err);
    }
    for (int64_t g = 0; g < pairs->n_gt; ++g) {
        b->found_by[g] = -1;
        b->objects[b->n_objects++] = (object){.best_entry = -1, .label = pairs->gt_class[g]};
    }
    match(b, pairs, first_object);
    for (int64_t d = 0; d < pairs->n_dt; ++d) {
        if (b->entries[b->n_entries + d].kind != -1) {
            classify(b, pairs, d, first_object);
        }
    }
    b->n_entries += pairs->n_dt;
    // Crowds are nobody's errors; neither are objects that a mended detection finds.
    for (int64_t g = 0; g < pairs->n_gt; ++g) {
        object *o = &b->objects[first_object + g];
        if (pairs->gt_is_crowd[g]) {
            o->label = -1;
        } else if (!o->is_used && o->best_entry < 0) {
            b->entries[b->n_entries++] =
                (entry){.object = -1, .label = o->label, .kind = EDT_ERRORS_MISSED};
        }
    }
    return EDT_OK;
}

static int compare_points(const void *a, const void *b)
{
    const point *x = a, *y = b;
    if (x->label != y->label) {
        return x->label < y->label ? -1 : 1;
    }
    if (x->score != y->score) { // detections without a number do not get here
        return x->score > y->score ? -1 : 1;
    }
    return x->order < y->order ? -1 : x->order > y->order;
}

// Mean of the highest precisions at recalls 0, 0.01 ... 1.
static double class_ap(breakdown *b, const point *points, int64_t n, int64_t n_positives)
{
    int64_t n_true = 0, at = 0;
    double sum = 0;
    if (n_positives <= 0) {
        return 0;
    }
    for (int64_t i = 0; i < n; ++i) {
        n_true += points[i].is_true;
        b->precision[i] = (double)n_true / (double)(i + 1);
        b->recall[i] = (double)n_true / (double)n_positives;
    }
    for (int64_t i = n - 1; i > 0; --i) {
        b->precision[i - 1] = fmax(b->precision[i - 1], b->precision[i]);
    }
    for (int r = 0; r <= 100; ++r) {
        while (at < n && b->recall[at] < (double)r / 100) {
            ++at;
        }
        sum += at < n ? b->precision[at] : 0;
    }
    return sum / 101;
}

static double mean_ap(breakdown *b, int64_t n_points)
{
    double sum = 0;
    int64_t n_classes = 0, begin = 0;
    qsort(b->points, (size_t)n_points, sizeof *b->points, compare_points);
    for (int32_t k = 0; k < b->n_classes; ++k) {
        int64_t end = begin;
        while (end < n_points && b->points[end].label == k) {
            ++end;
        }
        if (end > begin || b->positives[k] != 0) {
            sum += class_ap(b, b->points + begin, end - begin, b->positives[k]);
            ++n_classes;
        }
        begin = end;
    }
    return n_classes > 0 ? sum / (double)n_classes : 0;
}

typedef enum change { MEND_NONE, MEND_KIND, MEND_FALSE_POSITIVES, MEND_FALSE_NEGATIVES } change;

// AP after a change. `errors_first`: of equal scores, errors go before true positives, as in
// the authors' second pass.
static double changed_ap(breakdown *b, change what, int kind, bool errors_first)
{
    int64_t n = 0;
    memset(b->positives, 0, (size_t)b->n_classes * sizeof *b->positives);
    for (int64_t i = 0; i < b->n_objects; ++i) {
        const object *o = &b->objects[i];
        if (o->label >= 0 && (what != MEND_FALSE_NEGATIVES || o->is_used)) {
            ++b->positives[o->label];
        }
    }
    for (int64_t i = 0; i < b->n_entries; ++i) {
        const entry *e = &b->entries[i];
        const bool is_true = e->kind == -1;
        point p = {.score = e->score,
                   .order = is_true && errors_first ? b->n_entries + i : i,
                   .label = e->label,
                   .is_true = is_true};
        if (what == MEND_KIND && e->kind == kind) {
            if (kind == EDT_ERRORS_MISSED) {
                --b->positives[e->label];
                continue;
            }
            if (e->object < 0 || b->objects[e->object].best_entry != i) {
                continue;
            }
            p.label = b->objects[e->object].label;
            p.is_true = true;
        } else if (e->kind == EDT_ERRORS_MISSED || (!is_true && !e->is_counted)) {
            continue;
        } else if (what == MEND_FALSE_POSITIVES) {
            p.score = is_true ? 1 : 0;
        }
        b->points[n++] = p;
    }
    return mean_ap(b, n);
}

static void summarize(breakdown *b, edt_error_breakdown *out)
{
    *out = (edt_error_breakdown){.foreground_iou = b->options.foreground_iou,
                                 .background_iou = b->options.background_iou};
    for (int64_t i = 0; i < b->n_entries; ++i) {
        const entry *e = &b->entries[i];
        if (e->kind == -1) {
            ++out->n_true_positives;
        } else {
            ++out->count[e->kind];
            out->n_false_positives += e->kind != EDT_ERRORS_MISSED && e->is_counted;
        }
    }
    for (int64_t i = 0; i < b->n_objects; ++i) {
        out->n_objects += b->objects[i].label >= 0;
        out->n_false_negatives += b->objects[i].label >= 0 && !b->objects[i].is_used;
    }
    out->ap = changed_ap(b, MEND_NONE, 0, false);
    for (int kind = 0; kind < EDT_ERRORS_N_KINDS; ++kind) {
        out->gain[kind] = fmax(0, changed_ap(b, MEND_KIND, kind, true) - out->ap);
    }
    out->gain_false_positives = changed_ap(b, MEND_FALSE_POSITIVES, 0, true) - out->ap;
    out->gain_false_negatives = changed_ap(b, MEND_FALSE_NEGATIVES, 0, true) - out->ap;
}

edt_status edt_error_breakdown_make(const edt_coco_gt *gt, const edt_coco_dt *dt,
                                    const edt_coco_params *params,
                                    const edt_error_breakdown_options *options, edt_error *err,
                                    edt_error_breakdown *out_breakdown)
{
    edt_status status = EDT_OK;
    breakdown b = {.options = {0.5, 0.1, 100}};
    if (options != NULL) {
        b.options.foreground_iou =
            options->foreground_iou > 0 ? options->foreground_iou : b.options.foreground_iou;
        b.options.background_iou =
            options->background_iou > 0 ? options->background_iou : b.options.background_iou;
        b.options.max_dets = options->max_dets > 0 ? options->max_dets : b.options.max_dets;
    }
    const edt_coco_pairs_options pairs = {
        .params = params, .max_dets = b.options.max_dets, .min_score = -INFINITY};
    int64_t n_categories; // no fewer than are evaluated
    (void)edt_coco_gt_categories(gt, &n_categories);
    b.n_classes = (int32_t)n_categories;
    EDT_TRY_GOTO(edt_coco_pairs_walk(gt, dt, &pairs, add_image, &b, err));
    b.points = edt_mem_alloc(EDT_MEM_EVAL, (size_t)b.n_entries * sizeof *b.points);
    b.precision = edt_mem_alloc(EDT_MEM_EVAL, (size_t)b.n_entries * sizeof *b.precision);
    b.recall = edt_mem_alloc(EDT_MEM_EVAL, (size_t)b.n_entries * sizeof *b.recall);
    b.positives = edt_mem_alloc(EDT_MEM_EVAL, (size_t)b.n_classes * sizeof *b.positives);
    if (b.points == NULL || b.precision == NULL || b.recall == NULL || b.positives == NULL) {
        status = no_memory(err);
        goto fail;
    }
    summarize(&b, out_breakdown);
fail:
    edt_mem_free(b.entries);
    edt_mem_free(b.objects);
    edt_mem_free(b.found_by);
    edt_mem_free(b.points);
    edt_mem_free(b.precision);
    edt_mem_free(b.recall);
    edt_mem_free(b.positives);
    return status;
}

void edt_error_breakdown_print(const edt_error_breakdown *b, FILE *out)
{
    fprintf(out,
            "\nErrors in the manner of TIDE at IoU %.2f (background below %.2f): AP %.2f\n"
            "%-16s %8s %10s\n",
            b->foreground_iou, b->background_iou, 100 * b->ap, "kind", "dAP", "count");
    for (int i = 0; i < EDT_ERRORS_N_KINDS; ++i) {
        fprintf(out, "%-16s %8.2f %10lld\n", edt_error_kind_names[i], 100 * b->gain[i],
                (long long)b->count[i]);
    }
    fprintf(out, "%-16s %8.2f %10lld\n%-16s %8.2f %10lld\n", "false positives",
            100 * b->gain_false_positives, (long long)b->n_false_positives, "false negatives",
            100 * b->gain_false_negatives, (long long)b->n_false_negatives);
}

void edt_error_breakdown_put_json(const edt_error_breakdown *b, edt_json_writer *out)
{
    edt_json_begin_object(out);
    edt_json_put_f64(out, "foreground_iou", b->foreground_iou);
    edt_json_put_f64(out, "background_iou", b->background_iou);
    edt_json_put_f64(out, "AP", b->ap);
    edt_json_key(out, "errors");
    edt_json_begin_array(out);
    for (int i = 0; i < EDT_ERRORS_N_KINDS; ++i) {
        edt_json_begin_object(out);
        edt_json_put_text(out, "kind", edt_error_kind_names[i]);
        edt_json_put_f64(out, "gain", b->gain[i]);
        edt_json_put_i64(out, "count", b->count[i]);
        edt_json_end_object(out);
    }
    edt_json_end_array(out);
    edt_json_put_f64(out, "gain_false_positives", b->gain_false_positives);
    edt_json_put_f64(out, "gain_false_negatives", b->gain_false_negatives);
    edt_json_put_i64(out, "true_positives", b->n_true_positives);
    edt_json_put_i64(out, "false_positives", b->n_false_positives);
    edt_json_put_i64(out, "false_negatives", b->n_false_negatives);
    edt_json_put_i64(out, "objects", b->n_objects);
    edt_json_end_object(out);
}
