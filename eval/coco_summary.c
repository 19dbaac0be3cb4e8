// The twelve numbers and their twelve lines (cocoapi's summarize), with NumPy's mean.
#include <math.h>

#include "eval/coco_priv.h"

const char *const edt_coco_stat_names[EDT_COCO_N_STATS] = {
    "AP",     "AP50",    "AP75",     "APs", "APm", "APl",
    "ARmax1", "ARmax10", "ARmax100", "ARs", "ARm", "ARl"};

typedef struct stat_row {
    bool is_precision;
    int i_threshold; // -1: the mean over all
    int i_area;
    int i_max_dets; // -1: the one that is 100, if any
} stat_row;

static const stat_row rows[EDT_COCO_N_STATS] = {
    {true, -1, 0, -1}, {true, 0, 0, 2},   {true, 5, 0, 2},   {true, -1, 1, 2},
    {true, -1, 2, 2},  {true, -1, 3, 2},  {false, -1, 0, 0}, {false, -1, 0, 1},
    {false, -1, 0, 2}, {false, -1, 1, 2}, {false, -1, 2, 2}, {false, -1, 3, 2}};

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

static int wanted_max_dets(const edt_coco_result *result, const stat_row *row)
{
    return row->i_max_dets < 0 ? 100 : result->max_dets[row->i_max_dets];
}

// The mean over the categories [k_begin, k_end) of what is defined. `values` has room for all.
static double mean_of(const edt_coco_result *result, const stat_row *row, int64_t k_begin,
                      int64_t k_end, double *values)
{
    const int max_dets = wanted_max_dets(result, row);
    const int t_begin = row->i_threshold < 0 ? 0 : row->i_threshold;
    const int t_end = row->i_threshold < 0 ? EDT_COCO_N_THRESHOLDS : row->i_threshold + 1;
    const int64_t n_r = row->is_precision ? EDT_COCO_N_RECALLS : 1;
    const double *array = row->is_precision ? result->precision : result->recall;
    int64_t n = 0;
    for (int64_t tr = t_begin * n_r; tr < t_end * n_r; ++tr) {
        for (int64_t k = k_begin; k < k_end; ++k) {
            const double *cells =
                array +
                ((tr * result->n_k + k) * EDT_COCO_N_AREAS + row->i_area) * EDT_COCO_N_MAX_DETS;
            for (int m = 0; m < EDT_COCO_N_MAX_DETS; ++m) {
                // Equal maxDets count twice, as indexing by a list of positions has it.
                if (result->max_dets[m] == max_dets && cells[m] > -1) {
                    values[n++] = cells[m];
                }
            }
        }
    }
    return edt_coco_mean(values, n);
}

edt_status edt_coco_summarize(edt_coco_result *result, edt_error *err)
{
    double *values = edt_mem_alloc(EDT_MEM_EVAL, (size_t)result->n_k * EDT_COCO_N_THRESHOLDS *
                                                     EDT_COCO_N_RECALLS * EDT_COCO_N_MAX_DETS *
                                                     sizeof *values);
    if (values == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the mean over %lld categories",
                 (long long)result->n_k);
    }
    for (int i = 0; i < EDT_COCO_N_STATS; ++i) {
        result->stats[i] = mean_of(result, &rows[i], 0, result->n_k, values);
    }
    edt_mem_free(values);
    return EDT_OK;
}

void edt_coco_result_category_stats(const edt_coco_result *result, int64_t i_category,
                                    double out_stats[EDT_COCO_N_STATS])
{
    double values[EDT_COCO_N_THRESHOLDS * EDT_COCO_N_RECALLS * EDT_COCO_N_MAX_DETS];
    for (int i = 0; i < EDT_COCO_N_STATS; ++i) {
        out_stats[i] = mean_of(result, &rows[i], i_category, i_category + 1, values);
    }
}

void edt_coco_print_summary(const edt_coco_result *result, FILE *out)
{
    static const char *const areas[EDT_COCO_N_AREAS] = {"all", "small", "medium", "large"};
    for (int i = 0; i < EDT_COCO_N_STATS; ++i) {
        const stat_row *row = &rows[i];
        (void)fprintf(out, " %-18s %s @[ IoU=%-9s | area=%6s | maxDets=%3d ] = %0.3f\n",
                      row->is_precision ? "Average Precision" : "Average Recall",
                      row->is_precision ? "(AP)" : "(AR)",
                      row->i_threshold < 0    ? "0.50:0.95"
                      : row->i_threshold == 0 ? "0.50"
                                              : "0.75",
                      areas[row->i_area], wanted_max_dets(result, row), result->stats[i]);
    }
}
