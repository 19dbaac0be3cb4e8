// Precision and recall per category (cocoapi's accumulate). Only true positives can raise
// recall and hold the maximum of the precision to their right, so after one pass that counts
// the detections without any overlap, all curves are computed from the few others.
#include <math.h>
#include <string.h>

#include "eval/coco_priv.h"

enum {
    DIGIT_BITS = 8,
    N_DIGITS = 64 / DIGIT_BITS,
};

typedef struct keyed {
    uint64_t key; // rises as the score falls
    uint32_t i_match;
} keyed;

// A detection that is a true positive of an area range at some threshold, or a false positive
// at some but not all of them. Bit t: at threshold t.
typedef struct hit {
    uint16_t tp, fp;
    uint32_t n_plain; // false positives at all thresholds before it
} hit;

typedef struct hits {
    hit *rows; // in the order of scores
    double *scores;
    int64_t n;
} hits;

typedef struct scratch {
    keyed *keys, *sorted;
    edt_coco_match_row *rows; // of a category in the order of scores
    hits hits[EDT_COCO_PASS_AREAS];
    int64_t capacity; // of all these
    // At each true positive: precision, false positives before it, its place among the hits.
    double *precision;
    uint32_t *n_false, *i_hit;
    double *out_precision, *out_scores; // of a category, [rows][cells]
    int64_t *needed;                    // [areas of the pass][recall thresholds]
} scratch;

typedef struct accumulator {
    const edt_coco_work *work;
    edt_coco_result *result;
    const edt_coco_pass *pass;
    int64_t n_recalls;
    int64_t n_rows;   // thresholds of the pass times recall thresholds
    int64_t n_cells;  // of an innermost row of the arrays: areas of the pass times max_dets
    uint32_t *order;  // matches by category, in order of images
    int64_t *begin;   // per category, n_k + 1
    scratch *scratch; // per worker
} accumulator;

static uint64_t falling_key(double score)
{
    if (isnan(score)) {
        return UINT64_MAX; // NumPy sorts it last
    }
    uint64_t bits;
    const double canonical = score + 0.0; // -0 and 0 are equal
    memcpy(&bits, &canonical, sizeof bits);
    // Rising order of doubles: flip the sign bit of positive, all bits of negative numbers.
    const uint64_t rising = (bits >> 63) != 0 ? ~bits : bits | UINT64_C(1) << 63;
    return ~rising;
}

// Stable, least significant digit first; digits in which all keys agree are passed over.
static keyed *sort_keys(keyed *keys, keyed *other, int64_t n)
{
    enum { N = 1 << DIGIT_BITS };
    uint32_t counts[N_DIGITS][N];
    memset(counts, 0, sizeof counts);
    for (int64_t i = 0; i < n; ++i) {
        for (int d = 0; d < N_DIGITS; ++d) {
            ++counts[d][keys[i].key >> (DIGIT_BITS * d) & (N - 1)];
        }
    }
    for (int d = 0; d < N_DIGITS && n > 0; ++d) {
        const int shift = DIGIT_BITS * d;
        uint32_t *at = counts[d];
        if (at[keys[0].key >> shift & (N - 1)] == n) {
            continue;
        }
        uint32_t sum = 0;
        for (int v = 0; v < N; ++v) {
            const uint32_t count = at[v];
            at[v] = sum;
            sum += count;
        }
        for (int64_t i = 0; i < n; ++i) {
            other[at[keys[i].key >> shift & (N - 1)]++] = keys[i];
        }
        keyed *swap = keys;
        keys = other;
        other = swap;
    }
    return keys;
}

static void free_rows(scratch *s)
{
    edt_mem_free(s->keys);
    edt_mem_free(s->sorted);
    edt_mem_free(s->rows);
    for (int a = 0; a < EDT_COCO_PASS_AREAS; ++a) {
        edt_mem_free(s->hits[a].rows);
        edt_mem_free(s->hits[a].scores);
        s->hits[a] = (hits){0};
    }
    edt_mem_free(s->precision);
    edt_mem_free(s->n_false);
    edt_mem_free(s->i_hit);
}

static edt_status reserve(scratch *s, int64_t n, int n_areas, edt_error *err)
{
    // One more: where the last of a curve is written before it is known to be none.
    const size_t room = (size_t)n + 1;
    if (n <= s->capacity && s->keys != NULL) {
        return EDT_OK;
    }
    free_rows(s);
    s->capacity = n;
    s->keys = edt_mem_alloc(EDT_MEM_EVAL, room * sizeof *s->keys);
    s->sorted = edt_mem_alloc(EDT_MEM_EVAL, room * sizeof *s->sorted);
    s->rows = edt_mem_alloc(EDT_MEM_EVAL, room * sizeof *s->rows);
    s->precision = edt_mem_alloc(EDT_MEM_EVAL, room * sizeof *s->precision);
    s->n_false = edt_mem_alloc(EDT_MEM_EVAL, room * sizeof *s->n_false);
    s->i_hit = edt_mem_alloc(EDT_MEM_EVAL, room * sizeof *s->i_hit);
    bool ok = s->keys != NULL && s->sorted != NULL && s->rows != NULL && s->precision != NULL &&
              s->n_false != NULL && s->i_hit != NULL;
    for (int a = 0; a < n_areas && ok; ++a) {
        s->hits[a].rows = edt_mem_alloc(EDT_MEM_EVAL, room * sizeof *s->hits[a].rows);
        s->hits[a].scores = edt_mem_alloc(EDT_MEM_EVAL, room * sizeof *s->hits[a].scores);
        ok = s->hits[a].rows != NULL && s->hits[a].scores != NULL;
    }
    return ok ? EDT_OK
              : edt_error_set(err, EDT_ERR_NOMEM, "no memory for %lld detections",
                              (long long)n);
}

// Gathers the hits of the detections that are among the first `max_dets` of their image, area
// range by area range; returns the number of such detections.
static int64_t gather_hits(const accumulator *acc, scratch *s, int64_t n, int max_dets,
                           double *out_first_score)
{
    const int n_areas = acc->pass->n_areas;
    const unsigned all = (1u << acc->pass->n_thresholds) - 1;
    uint32_t n_plain[EDT_COCO_PASS_AREAS] = {0};
    int64_t n_used = 0;
    for (int a = 0; a < n_areas; ++a) {
        s->hits[a].n = 0;
    }
    for (int64_t i = 0; i < n; ++i) {
        const edt_coco_match_row *row = &s->rows[i];
        if (row->rank >= (uint32_t)max_dets) {
            continue;
        }
        if (n_used++ == 0) {
            *out_first_score = row->score;
        }
        if ((row->fp & EDT_COCO_PLAIN) != 0) {
            for (int a = 0; a < EDT_COCO_PASS_AREAS; ++a) {
                n_plain[a] += (uint32_t)(row->fp >> (16 * a) & 1u);
            }
            continue;
        }
        for (int a = 0; a < n_areas; ++a) {
            const unsigned tp = row->tp >> (16 * a) & 0xFFFFu,
                           fp = row->fp >> (16 * a) & 0xFFFFu;
            if (fp == all) {
                ++n_plain[a];
            } else if ((tp | fp) != 0) {
                hits *h = &s->hits[a];
                h->rows[h->n] = (hit){(uint16_t)tp, (uint16_t)fp, n_plain[a]};
                h->scores[h->n++] = row->score;
            }
        }
    }
    return n_used;
}

// Precision at each true positive of one curve, made non-increasing from the right; returns
// their number.
static int64_t trace_curve(scratch *s, int i_area, int i_threshold)
{
    const hits *h = &s->hits[i_area];
    int64_t n_tp = 0;
    uint32_t n_fp = 0;
    // Whether a hit is true cannot be predicted, so it does not decide about a jump.
    for (int64_t i = 0; i < h->n; ++i) {
        n_fp += (unsigned)h->rows[i].fp >> i_threshold & 1u;
        s->n_false[n_tp] = n_fp + h->rows[i].n_plain;
        s->i_hit[n_tp] = (uint32_t)i;
        n_tp += (unsigned)h->rows[i].tp >> i_threshold & 1u;
    }
    for (int64_t i = 0; i < n_tp; ++i) {
        const double tp = (double)(i + 1), fp = (double)s->n_false[i];
        s->precision[i] = tp / (fp + tp + 2.220446049250313e-16);
    }
    for (int64_t i = n_tp - 1; i > 0; --i) {
        s->precision[i - 1] =
            s->precision[i] > s->precision[i - 1] ? s->precision[i] : s->precision[i - 1];
    }
    return n_tp;
}

// needed[r]: how many true positives reach recall threshold r; 0: the first detection does.
// NumPy's loop ends at the first threshold that is out of reach; what follows stays 0 even
// where unsorted thresholds fall again, so that needs must not fall below an unreachable one.
static void find_needed(const double *recalls, int64_t n_recalls, int64_t n_positives,
                        int64_t *needed)
{
    int64_t n = 0;
    for (int64_t r = 0; r < n_recalls; ++r) {
        if (r > 0 && recalls[r] < recalls[r - 1]) {
            n = 0;
        }
        while (n <= n_positives && (double)n / (double)n_positives < recalls[r]) {
            ++n;
        }
        needed[r] = n;
    }
}

static void fill_cells(const accumulator *acc, scratch *s, int64_t k, int i_area, int i_max,
                       int64_t n_used, double first_score)
{
    const edt_coco_pass *pass = acc->pass;
    const int64_t n_positives = acc->work->n_positives[k * pass->n_areas + i_area];
    const int64_t *needed = s->needed + i_area * acc->n_recalls;
    const int n_max = acc->result->n_max_dets;
    const int64_t cell = i_area * n_max + i_max;
    for (int t = 0; t < pass->n_thresholds; ++t) {
        const int64_t n_tp = trace_curve(s, i_area, t);
        const int64_t row = (pass->first_threshold + t) * acc->result->n_k + k;
        acc->result
            ->recall[(row * acc->result->params.n_areas + pass->first_area) * n_max + cell] =
            (double)n_tp / (double)n_positives;
        double *precision = s->out_precision + t * acc->n_recalls * acc->n_cells + cell;
        double *scores = s->out_scores + t * acc->n_recalls * acc->n_cells + cell;
        bool is_reached = true;
        for (int64_t r = 0; r < acc->n_recalls; ++r) {
            // Recall 0 is reached by the first detection, whatever it is.
            is_reached = is_reached && (needed[r] > 0 ? needed[r] <= n_tp : n_used > 0);
            const int64_t at = needed[r] > 0 ? needed[r] - 1 : 0;
            precision[r * acc->n_cells] = is_reached && n_tp > 0 ? s->precision[at] : 0;
            scores[r * acc->n_cells] = !is_reached     ? 0
                                       : needed[r] > 0 ? s->hits[i_area].scores[s->i_hit[at]]
                                                       : first_score;
        }
    }
}

static void store_cells(const accumulator *acc, const scratch *s, int64_t k)
{
    edt_coco_result *result = acc->result;
    const int64_t n_max = result->n_max_dets;
    const size_t n_bytes = (size_t)acc->n_cells * sizeof *s->out_precision;
    for (int64_t row = 0; row < acc->n_rows; ++row) {
        const int64_t to =
            (((acc->pass->first_threshold * acc->n_recalls + row) * result->n_k + k) *
                 result->params.n_areas +
             acc->pass->first_area) *
            n_max;
        memcpy(result->precision + to, s->out_precision + row * acc->n_cells, n_bytes);
        memcpy(result->scores + to, s->out_scores + row * acc->n_cells, n_bytes);
    }
}

// With the limit i_max no detection more is used than with the one before: the same cells.
static void repeat_cells(const accumulator *acc, scratch *s, int64_t k, int i_max)
{
    edt_coco_result *result = acc->result;
    const edt_coco_pass *pass = acc->pass;
    const int n_max = result->n_max_dets;
    for (int64_t row = 0; row < acc->n_rows; ++row) {
        double *precision = s->out_precision + row * acc->n_cells + i_max;
        double *scores = s->out_scores + row * acc->n_cells + i_max;
        for (int64_t cell = 0; cell < acc->n_cells; cell += n_max) {
            precision[cell] = precision[cell - 1];
            scores[cell] = scores[cell - 1];
        }
    }
    for (int t = 0; t < pass->n_thresholds; ++t) {
        const int64_t row = (pass->first_threshold + t) * result->n_k + k;
        double *recall =
            result->recall + (row * result->params.n_areas + pass->first_area) * n_max + i_max;
        for (int64_t cell = 0; cell < acc->n_cells; cell += n_max) {
            recall[cell] = recall[cell - 1];
        }
    }
}

// The matches of a category by falling score; returns the greatest rank.
static uint32_t order_by_score(const accumulator *acc, scratch *s, int64_t begin, int64_t n)
{
    const edt_coco_match_row *matches = acc->work->matches;
    uint32_t max_rank = 0;
    for (int64_t i = 0; i < n; ++i) {
        const uint32_t i_match = acc->order[begin + i];
        s->keys[i] = (keyed){falling_key(matches[i_match].score), i_match};
    }
    const keyed *keys = sort_keys(s->keys, s->sorted, n);
    for (int64_t i = 0; i < n; ++i) {
        s->rows[i] = matches[keys[i].i_match];
        max_rank = s->rows[i].rank > max_rank ? s->rows[i].rank : max_rank;
    }
    return max_rank;
}

static edt_status accumulate_category(const accumulator *acc, scratch *s, int64_t k,
                                      edt_error *err)
{
    const edt_coco_result *result = acc->result;
    const int n_areas = acc->pass->n_areas;
    const int64_t *n_positives = &acc->work->n_positives[k * n_areas];
    const int64_t begin = acc->begin[k], n = acc->begin[k + 1] - begin;
    bool is_full = true; // no area range is without objects
    for (int a = 0; a < n_areas; ++a) {
        is_full &= n_positives[a] > 0;
        find_needed(result->params.recall_thresholds, acc->n_recalls, n_positives[a],
                    s->needed + a * acc->n_recalls);
    }
    for (int64_t i = 0; !is_full && i < acc->n_rows * acc->n_cells; ++i) {
        s->out_precision[i] = -1;
        s->out_scores[i] = -1;
    }
    EDT_TRY(reserve(s, n, n_areas, err));
    const uint32_t max_rank = order_by_score(acc, s, begin, n);
    for (int m = 0; m < result->n_max_dets; ++m) {
        if (m > 0 && max_rank < (uint32_t)result->params.max_dets[m - 1]) {
            repeat_cells(acc, s, k, m);
            continue;
        }
        double first_score = 0;
        const int64_t n_used = gather_hits(acc, s, n, result->params.max_dets[m], &first_score);
        for (int a = 0; a < n_areas; ++a) {
            if (n_positives[a] > 0) {
                fill_cells(acc, s, k, a, m, n_used, first_score);
            }
        }
    }
    store_cells(acc, s, k);
    return EDT_OK;
}

static edt_status accumulate_range(void *ctx, int i_worker, int64_t begin, int64_t end,
                                   edt_error *err)
{
    const accumulator *acc = ctx;
    scratch *s = &acc->scratch[i_worker];
    if (s->needed == NULL) {
        const size_t n = (size_t)(acc->n_rows * acc->n_cells);
        s->out_precision = edt_mem_alloc(EDT_MEM_EVAL, n * sizeof *s->out_precision);
        s->out_scores = edt_mem_alloc(EDT_MEM_EVAL, n * sizeof *s->out_scores);
        s->needed = edt_mem_alloc(EDT_MEM_EVAL, EDT_COCO_PASS_AREAS * (size_t)acc->n_recalls *
                                                    sizeof *s->needed);
        if (s->out_precision == NULL || s->out_scores == NULL || s->needed == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for precision and recall");
        }
    }
    for (int64_t k = begin; k < end; ++k) {
        EDT_TRY(accumulate_category(acc, s, k, err));
    }
    return EDT_OK;
}

// Counting sort of the matches by category; those of a category stay in order of images.
static edt_status order_by_category(accumulator *acc, edt_error *err)
{
    const edt_coco_work *work = acc->work;
    const int64_t n_k = acc->result->n_k;
    acc->begin = edt_mem_calloc(EDT_MEM_EVAL, (size_t)n_k + 2, sizeof *acc->begin);
    acc->order = edt_mem_alloc(EDT_MEM_EVAL, (size_t)work->n_matches * sizeof *acc->order);
    if (acc->begin == NULL || acc->order == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %lld detections",
                 (long long)work->n_matches);
    }
    int64_t *at = acc->begin + 1; // shifted, so that filling leaves the begins in place
    for (int64_t i = 0; i < work->n_matches; ++i) {
        if (work->matches[i].category >= 0) {
            ++at[work->matches[i].category + 1];
        }
    }
    for (int64_t k = 0; k < n_k; ++k) {
        at[k + 1] += at[k];
    }
    for (int64_t i = 0; i < work->n_matches; ++i) {
        if (work->matches[i].category >= 0) {
            acc->order[at[work->matches[i].category]++] = (uint32_t)i;
        }
    }
    return EDT_OK;
}

static edt_status create_arrays(edt_coco_result *result, edt_error *err)
{
    const edt_coco_params *params = &result->params;
    const double n_most = (double)params->n_iou_thresholds *
                          (double)params->n_recall_thresholds * (double)params->n_areas *
                          result->n_max_dets * (double)result->n_k;
    const size_t n_recall =
        (size_t)(params->n_iou_thresholds * result->n_k * params->n_areas * result->n_max_dets);
    const size_t n = n_recall * (size_t)params->n_recall_thresholds;
    const bool fits = n_most < 1e12;
    result->precision =
        fits ? edt_mem_alloc(EDT_MEM_EVAL, n * sizeof *result->precision) : NULL;
    result->scores = fits ? edt_mem_alloc(EDT_MEM_EVAL, n * sizeof *result->scores) : NULL;
    result->recall =
        fits ? edt_mem_alloc(EDT_MEM_EVAL, n_recall * sizeof *result->recall) : NULL;
    if (result->precision == NULL || result->scores == NULL || result->recall == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the curves of %lld categories",
                 (long long)result->n_k);
    }
    for (size_t i = 0; i < n_recall; ++i) {
        result->recall[i] = -1;
    }
    return EDT_OK;
}

edt_status edt_coco_accumulate(const edt_coco_work *work, edt_coco_result *result,
                               edt_error *err)
{
    edt_status status = EDT_OK;
    const edt_coco_pass *pass = &work->pass;
    accumulator acc = {.work = work,
                       .result = result,
                       .pass = pass,
                       .n_recalls = result->params.n_recall_thresholds,
                       .n_rows = pass->n_thresholds * result->params.n_recall_thresholds,
                       .n_cells = (int64_t)pass->n_areas * result->n_max_dets};
    acc.scratch = edt_mem_calloc(EDT_MEM_EVAL, (size_t)work->n_threads, sizeof *acc.scratch);
    if (acc.scratch == NULL) {
        status = edt_error_set(err, EDT_ERR_NOMEM, "no memory for precision and recall");
        goto fail;
    }
    if (result->precision == NULL) {
        EDT_TRY_GOTO(create_arrays(result, err));
    }
    EDT_TRY_GOTO(order_by_category(&acc, err));
    EDT_TRY_GOTO(
        edt_coco_run_ranges(result->n_k, 1, work->n_threads, accumulate_range, &acc, err));
fail:
    for (int i = 0; acc.scratch != NULL && i < work->n_threads; ++i) {
        scratch *s = &acc.scratch[i];
        free_rows(s);
        edt_mem_free(s->out_precision);
        edt_mem_free(s->out_scores);
        edt_mem_free(s->needed);
    }
    edt_mem_free(acc.scratch);
    edt_mem_free(acc.order);
    edt_mem_free(acc.begin);
    return status;
}
