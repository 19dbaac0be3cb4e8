// What the parts of the benchmark share: one measurement in progress, samples and their report.
#ifndef EDT_TRAIN_BENCH_PRIV_H
#define EDT_TRAIN_BENCH_PRIV_H

#include "backend/backend.h"
#include "dataio/batch.h"
#include "dataio/record_index.h"
#include "model/exec.h"
#include "model/params.h"
#include "train/benchmark.h"

typedef struct edt_bench {
    const edt_hparams *hp;
    const edt_bench_options *options;
    int n_threads;        // resolved
    int64_t batch_size;   // resolved
    char machine[256];    // the device too, where one works beside the processor
    edt_dtype real;       // of activations
    edt_backend *backend; // network, train, end_to_end
    bool has_peak;
    edt_backend_peak peak; // best seen so far
} edt_bench;

// One result: a JSON line {what, value, unit, threads, machine, version, model, image_size,
// batch_size} or a line of a table.
edt_status edt_bench_put(const edt_bench *bench, const char *what, double value,
                         const char *unit, edt_error *err);

// Measures the backend's ceilings again and keeps the better ones: before and after the runs,
// as other load on the machine comes and goes.
edt_status edt_bench_update_peak(edt_bench *bench, edt_error *err);
// The ceiling of matrix products in the measurement's own type.
double edt_bench_peak_gflops(const edt_bench *bench);
// The ceilings, and what `macs` multiply-accumulates in `seconds` make of them.
edt_status edt_bench_put_peak(const edt_bench *bench, const char *what, double macs,
                              double seconds, edt_error *err);

// Measurements of one quantity.
typedef struct edt_bench_samples {
    int64_t n, capacity;
    double *value;
} edt_bench_samples;
edt_status edt_bench_samples_init(edt_bench_samples *samples, int64_t capacity, edt_error *err);
void edt_bench_samples_deinit(edt_bench_samples *samples); // a zeroed one is legal
void edt_bench_samples_add(edt_bench_samples *samples, double value);
// NaN when there is none.
double edt_bench_smallest(const edt_bench_samples *samples);
double edt_bench_median(const edt_bench_samples *samples);
double edt_bench_largest(const edt_bench_samples *samples);

// "<what> best" and "<what>" (the median), in images/s. bench_data.c, as the next ones.
edt_status edt_bench_put_rate(const edt_bench *bench, const char *what,
                              const edt_bench_samples *rate, edt_error *err);

// Threads that a series of measurements goes through: 1, 2, 4, ... and all of the benchmark's.
enum { EDT_BENCH_MAX_SERIES = 12 };
typedef struct edt_bench_threads {
    int n;
    int count[EDT_BENCH_MAX_SERIES];
} edt_bench_threads;
edt_bench_threads edt_bench_thread_series(const edt_bench *bench);

// The shards of --file_pattern, which must be given and hold a record.
edt_status edt_bench_open_records(const edt_bench *bench, edt_arena *arena, edt_error *err,
                                  edt_record_index **out_index);
// Decodes whole pictures for options->seconds; adds images and megapixels per second.
edt_status edt_bench_decode_pass(const edt_bench *bench, const edt_record_index *index,
                                 int n_threads, edt_bench_samples *images,
                                 edt_bench_samples *pixels, edt_error *err);

// A batch of noise with full pictures; with `targets` a few boxes per picture turned into
// anchor targets. Everything lives in `arena`.
edt_status edt_bench_make_batch(const edt_hparams *hp, int64_t batch_size,
                                edt_slot_format format, bool targets, edt_arena *arena,
                                edt_error *err, edt_batch *out_batch);

// Best time of each node over the runs: other load on the machine hits each run elsewhere.
typedef struct edt_bench_nodes {
    const edt_graph *graph;
    edt_exec *exec;
    int64_t n_runs;
    double *seconds; // by node, the best run
    // By node, of all runs: what the share of time that threads are busy is made of.
    double *all_seconds, *cpu_seconds;
} edt_bench_nodes;
// Turns the executor's timing on.
edt_status edt_bench_nodes_init(edt_bench_nodes *nodes, const edt_graph *graph, edt_exec *exec,
                                edt_error *err);
void edt_bench_nodes_deinit(edt_bench_nodes *nodes); // a zeroed one is legal
// After each run; returns the sum over all nodes of that run.
double edt_bench_nodes_update(edt_bench_nodes *nodes);
// Sum over the nodes of one direction.
double edt_bench_nodes_sum(const edt_bench_nodes *nodes, bool backward);
// Share of the time in nodes that the threads computed, in percent: processor time over time
// and threads. False where it cannot be told: on a device, and where threads that wait spin, as
// OpenMP's do unless OMP_WAIT_POLICY=passive.
bool edt_bench_nodes_busy(const edt_bench *bench, const edt_bench_nodes *nodes,
                          double *out_percent);
// A table by op and one by op and shape, with what the ceilings would have allowed.
edt_status edt_bench_put_ops(const edt_bench *bench, const edt_bench_nodes *nodes,
                             edt_error *err);
// Multiply-accumulates of convolutions in one run of what the executor really runs.
double edt_bench_exec_macs(const edt_graph *graph, const edt_exec *exec);

// The checkpoint's averages, or random weights without one. bench_network.c
edt_status edt_bench_load_weights(const edt_bench *bench, edt_params *params, edt_error *err);

// The measurements.
edt_status edt_bench_network(edt_bench *bench, edt_error *err);    // bench_network.c
edt_status edt_bench_train(edt_bench *bench, edt_error *err);      // bench_train.c
edt_status edt_bench_loader(edt_bench *bench, edt_error *err);     // bench_loader.c
edt_status edt_bench_decode(edt_bench *bench, edt_error *err);     // bench_data.c
edt_status edt_bench_end_to_end(edt_bench *bench, edt_error *err); // bench_end_to_end.c

#endif
