// The twelve numbers and their twelve lines (cocoapi's summarize), with NumPy's mean.
#include <math.h>
#include <string.h>

#include "eval/coco_priv.h"

const char *const edt_coco_stat_names[EDT_COCO_N_STATS] = {
    "AP",     "AP50",    "AP75",     "APs", "APm", "APl",
    "ARmax1", "ARmax10", "ARmax100", "ARs", "ARm", "ARl"};

const edt_coco_stat_row edt_coco_stat_rows[EDT_COCO_N_STATS] = {
    {true, 0, "all", -1},   {true, 0.5, "all", 2},   {true, 0.75, "all", 2},
    {true, 0, "small", 2},  {true, 0, "medium", 2},  {true, 0, "large", 2},
    {false, 0, "all", 0},   {false, 0, "all", 1},    {false, 0, "all", 2},
    {false, 0, "small", 2}, {false, 0, "medium", 2}, {false, 0, "large", 2}};

// NumPy adds in pairs so that errors grow with the logarithm of n: eight running sums per
// block of at most 128, blocks by halves.
static double pairwise_sum(const double *x, int64_t n)
{
    if (n < 8) {
        double sum = 0;
        for (int64_t i = 0; i < n; ++i) {
            sum += x[i];
        }
        return sum;
    }
    if (n <= 128) {
        double r[8];
        int64_t i = 8;
        for (int k = 0; k < 8; ++k) {
            r[k] = x[k];
        }
        for (; i < n - n % 8; i += 8) {
            for (int k = 0; k < 8; ++k) {
                r[k] += x[i + k];
            }
        }
        double sum = ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]));
        for (; i < n; ++i) {
            sum += x[i];
        }
        return sum;
    }
    const int64_t half = n / 2 - n / 2 % 8;
    return pairwise_sum(x, half) + pairwise_sum(x + half, n - half);
}

double edt_coco_mean(const double *x, int64_t n)
{
    return n > 0 ? pairwise_sum(x, n) / (double)n : -1;
}

// Other than pycocotools, which fails: with fewer than three limits some numbers are not there.
static bool has_number(const edt_coco_result *result, const edt_coco_stat_row *row)
{
    return row->i_max_dets < result->n_max_dets;
}

static int wanted_max_dets(const edt_coco_result *result, const edt_coco_stat_row *row)
{
    return row->i_max_dets < 0 ? 100 : result->params.max_dets[row->i_max_dets];
}

static int64_t find_area(const edt_coco_params *params, const char *label)
{
    for (int64_t a = 0; a < params->n_areas; ++a) {
        if (strcmp(params->areas[a].label, label) == 0) {
            return a;
        }
    }
    return -1;
}

// The mean over the categories [k_begin, k_end) of what is defined. `values` has room for all.
static double mean_of(const edt_coco_result *result, const edt_coco_stat_row *row,
                      int64_t k_begin, int64_t k_end, double *values)
{
    const edt_coco_params *params = &result->params;
    const int64_t i_area = find_area(params, row->area);
    if (!has_number(result, row) || i_area < 0) {
        return -1;
    }
    const int max_dets = wanted_max_dets(result, row);
    const int64_t n_r = row->is_precision ? params->n_recall_thresholds : 1;
    const double *array = row->is_precision ? result->precision : result->recall;
    int64_t n = 0;
    for (int64_t tr = 0; tr < params->n_iou_thresholds * n_r; ++tr) {
        if (row->threshold > 0 && params->iou_thresholds[tr / n_r] != row->threshold) {
            continue;
        }
        for (int64_t k = k_begin; k < k_end; ++k) {
            const double *cells = array + ((tr * result->n_k + k) * params->n_areas + i_area) *
                                              result->n_max_dets;
            for (int m = 0; m < result->n_max_dets; ++m) {
                // Equal maxDets count twice, as indexing by a list of positions has it.
                if (params->max_dets[m] == max_dets && cells[m] > -1) {
                    values[n++] = cells[m];
                }
            }
        }
    }
    return edt_coco_mean(values, n);
}

// Room for the values of n_k categories.
static double *alloc_values(const edt_coco_result *result, int64_t n_k)
{
    return edt_mem_alloc(EDT_MEM_EVAL,
                         (size_t)(n_k * result->params.n_iou_thresholds *
                                  result->params.n_recall_thresholds * result->n_max_dets) *
                             sizeof(double));
}

edt_status edt_coco_summarize(edt_coco_result *result, edt_error *err)
{
    double *values = alloc_values(result, result->n_k);
    if (values == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the mean over %lld categories",
                 (long long)result->n_k);
    }
    for (int i = 0; i < EDT_COCO_N_STATS; ++i) {
        result->stats[i] = mean_of(result, &edt_coco_stat_rows[i], 0, result->n_k, values);
    }
    edt_mem_free(values);
    return EDT_OK;
}

void edt_coco_result_category_stats(const edt_coco_result *result, int64_t i_category,
                                    double out_stats[EDT_COCO_N_STATS])
{
    double *values = alloc_values(result, 1);
    for (int i = 0; i < EDT_COCO_N_STATS; ++i) {
        out_stats[i] = values != NULL ? mean_of(result, &edt_coco_stat_rows[i], i_category,
                                                i_category + 1, values)
                                      : NAN;
    }
    edt_mem_free(values);
}

void edt_coco_print_summary(const edt_coco_result *result, FILE *out)
{
    const edt_coco_params *params = &result->params;
    char range[64], one[32];
    (void)snprintf(range, sizeof range, "%0.2f:%0.2f", params->iou_thresholds[0],
                   params->iou_thresholds[params->n_iou_thresholds - 1]);
    for (int i = 0; i < EDT_COCO_N_STATS; ++i) {
        const edt_coco_stat_row *row = &edt_coco_stat_rows[i];
        if (!has_number(result, row)) {
            continue;
        }
        (void)snprintf(one, sizeof one, "%0.2f", row->threshold);
        (void)fprintf(out, " %-18s %s @[ IoU=%-9s | area=%6s | maxDets=%3d ] = %0.3f\n",
                      row->is_precision ? "Average Precision" : "Average Recall",
                      row->is_precision ? "(AP)" : "(AR)", row->threshold > 0 ? one : range,
                      row->area, wanted_max_dets(result, row), result->stats[i]);
    }
}
