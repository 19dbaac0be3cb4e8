// Measures this program on this machine: the network, a training step, the loader, decoding, or
// pictures to boxes, always next to what the machine reaches at best (design/cli.md,
// `benchmark`; conventions.md, "Benchmarks").
#ifndef EDT_TRAIN_BENCHMARK_H
#define EDT_TRAIN_BENCHMARK_H

#include <stdbool.h>

#include "core/hparams.h"

typedef struct edt_bench_options {
    const char *what;         // "network" | "train" | "loader" | "decode" | "end_to_end"
    const char *device;       // backend's name
    const char *precision;    // "f32", "tf32", "bf16", "f16"; NULL: f32
    int n_threads;            // 0: all cores
    int64_t batch_size;       // 0: 1; 2 for train, 16 for loader
    int64_t runs;             // measurements, at least 1: passes for loader and decode
    int64_t warmup;           // runs before them
    double seconds;           // of one pass of loader and decode
    const char *file_pattern; // loader, decode, end_to_end: shards; NULL or "": none
    const char *input_image;  // end_to_end: JPEG files, globs or a directory; NULL or "": none
    const char *ckpt;         // network, end_to_end: prefix, or NULL: random weights
    bool json;                // one JSON line per result on stdout instead of a table
    bool per_op;              // network, train: where the time goes, by op and by shape
} edt_bench_options;

// Prints to stdout. `hp` is complete and checked. EDT_ERR_USAGE for a missing input,
// EDT_ERR_CANCELLED after Ctrl-C.
edt_status edt_bench_run(const edt_hparams *hp, const edt_bench_options *options,
                         edt_error *err);

#endif
