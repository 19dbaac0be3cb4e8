// See loader_report.h.
#include "train/loader_report.h"

#include <stdio.h>

enum { N_STAGES = 5 };

typedef struct stage {
    const char *name, *metric;
    const char *remedy;
} stage;

static const stage stages[N_STAGES] = {
    {"reading", "loader_read_ms", "a faster disk, or shuffle=window, which reads in order"},
    {"decoding", "loader_decode_ms",
     "decoded_cache, smaller pictures (--max_side, --reencode of the converters) or more "
     "--num_threads"},
    {"augmenting", "loader_augment_ms",
     "more --num_threads, or a cheaper autoaugment_policy or mixing"},
    {"resizing", "loader_resize_ms", "more --num_threads"},
    {"making targets", "loader_target_ms", "more --num_threads"},
};

static void get_seconds(const edt_loader_stats *s, double out_seconds[N_STAGES])
{
    out_seconds[0] = s->read_seconds;
    out_seconds[1] = s->decode_seconds;
    out_seconds[2] = s->augment_seconds;
    out_seconds[3] = s->resize_seconds;
    out_seconds[4] = s->target_seconds;
}

// Of each stage between the two.
static void subtract(const edt_loader_stats *before, const edt_loader_stats *now,
                     double out_seconds[N_STAGES])
{
    double then[N_STAGES];
    get_seconds(before, then);
    get_seconds(now, out_seconds);
    for (int i = 0; i < N_STAGES; ++i) {
        out_seconds[i] -= then[i];
    }
}

void edt_loader_report_metrics(const edt_loader_stats *before, const edt_loader_stats *now,
                               double seconds, edt_metric out_rows[EDT_LOADER_N_METRICS])
{
    double spent[N_STAGES];
    subtract(before, now, spent);
    const int64_t n_rows = now->n_rows - before->n_rows;
    const double all = seconds * (now->n_workers > 0 ? now->n_workers : 1);
    out_rows[0] = (edt_metric){"wait_percent",
                               100.0 * (now->wait_seconds - before->wait_seconds) / seconds};
    for (int i = 0; i < N_STAGES; ++i) {
        out_rows[1 + i] =
            (edt_metric){stages[i].metric, n_rows > 0 ? 1e3 * spent[i] / (double)n_rows : 0.0};
    }
    out_rows[N_STAGES + 1] = (edt_metric){
        "loader_idle_percent", 100.0 * (now->idle_seconds - before->idle_seconds) / all};
    out_rows[N_STAGES + 2] = (edt_metric){"bad_samples", (double)now->n_bad};
}

bool edt_loader_report_hint(const edt_loader_stats *before, const edt_loader_stats *now,
                            double seconds, size_t n_bytes, char *out_text)
{
    static const double least = 0.2;
    const double waited = (now->wait_seconds - before->wait_seconds) / seconds;
    double spent[N_STAGES], sum = 0.0;
    int worst = 0;
    subtract(before, now, spent);
    for (int i = 0; i < N_STAGES; ++i) {
        sum += spent[i];
        worst = spent[i] > spent[worst] ? i : worst;
    }
    if (!(waited >= least) || !(sum > 0.0)) {
        return false;
    }
    (void)snprintf(
        out_text, n_bytes,
        "loader-bound: %.0f %% of the time waiting for batches; %s is %.0f %% of the "
        "work of its threads (%d); try %s",
        100.0 * waited, stages[worst].name, 100.0 * spent[worst] / sum, now->n_workers,
        stages[worst].remedy);
    return true;
}
