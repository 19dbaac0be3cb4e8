// Images per second of decoding alone and of the whole loader (decode, jitter, crop, mirror,
// into u8 or f32 slots; with and without anchor targets) on the same record files, in one run.
// Prints JSON lines {what, value, unit, threads}: best and median of the passes.
//
//   bench_loader --file_pattern=GLOB [--threads=N] [--seconds=S] [--image_size=P]
//   (EDT_BENCH_RECORDS stands in for --file_pattern)
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/mem.h"
#include "core/path.h"
#include "core/thread.h"
#include "dataio/example.h"
#include "dataio/jpeg_decode.h"
#include "dataio/loader.h"
#include "dataio/record_index.h"
#include "model/assign.h"

enum { N_PASSES = 5, BATCH = 16, MAX_THREADS = 256 };

typedef struct bench {
    const char *pattern;
    int n_threads;
    double seconds; // per pass
    const char *image_size;
    edt_record_index *index;
} bench;

static void die(const char *what, const edt_error *err)
{
    (void)fprintf(stderr, "bench_loader: %s: %s\n", what, err->text);
    exit(1);
}

static void report(const char *what, int n_threads, double *rates)
{
    for (int i = 1; i < N_PASSES; ++i) {
        for (int k = i; k > 0 && rates[k] < rates[k - 1]; --k) {
            const double x = rates[k];
            rates[k] = rates[k - 1];
            rates[k - 1] = x;
        }
    }
    printf("{\"what\": \"%s\", \"value\": %.1f, \"median\": %.1f, \"unit\": \"images/s\", "
           "\"threads\": %d}\n",
           what, rates[N_PASSES - 1], rates[N_PASSES / 2], n_threads);
    (void)fflush(stdout);
}

typedef struct decode_job {
    const bench *b;
    atomic_llong next;
    double until;
} decode_job;

static void decode_until(void *ctx)
{
    decode_job *job = ctx;
    const int64_t n = edt_record_index_n_records(job->b->index);
    edt_error err = {0};
    edt_jpeg_decoder *decoder = NULL;
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    if (edt_jpeg_decoder_create(&err, &decoder) != EDT_OK) {
        die("decoder", &err);
    }
    while (edt_clock_now_s() < job->until) {
        const int64_t i = atomic_fetch_add(&job->next, 1) % n;
        edt_span record;
        edt_example example;
        edt_image image;
        int64_t h, w;
        edt_arena_reset(&arena);
        if (edt_record_index_read(job->b->index, i, &err, &record) != EDT_OK ||
            edt_example_decode(record, 0, &arena, &err, &example) != EDT_OK ||
            edt_jpeg_open(decoder, example.encoded, &err, &h, &w) != EDT_OK ||
            edt_jpeg_decode(decoder, 0, &err, &image) != EDT_OK) {
            die("decode", &err);
        }
    }
    edt_jpeg_decoder_destroy(decoder);
    edt_arena_deinit(&arena);
}

static double pass_decode(const bench *b, int n_threads)
{
    edt_thread threads[MAX_THREADS] = {0};
    edt_error err = {0};
    const double t0 = edt_clock_now_s();
    decode_job job = {.b = b, .until = t0 + b->seconds};
    for (int i = 0; i < n_threads; ++i) {
        if (edt_thread_start(&threads[i], "decode", decode_until, &job, &err) != EDT_OK) {
            die("thread", &err);
        }
    }
    for (int i = 0; i < n_threads; ++i) {
        edt_thread_join(&threads[i]);
    }
    return (double)atomic_load(&job.next) / (edt_clock_now_s() - t0);
}

static edt_status assign(void *ctx, int worker, const float *boxes, const int64_t *labels,
                         int64_t n_boxes, int32_t *out_cls, float *out_box,
                         float *out_num_positives, edt_error *err)
{
    edt_assigner **assigners = ctx;
    return edt_assign(assigners[worker], boxes, labels, n_boxes, out_cls, out_box,
                      out_num_positives, err);
}

static double pass_loader(const bench *b, const edt_hparams *hp, int n_threads,
                          edt_slot_format format, const edt_anchors *anchors)
{
    edt_error err = {0};
    edt_assigner *assigners[MAX_THREADS] = {0};
    edt_loader_options options = {.file_pattern = b->pattern,
                                  .training = true,
                                  .batch_size = BATCH,
                                  .n_threads = n_threads,
                                  .prefetch = 2,
                                  .seed = 1,
                                  .world_size = 1,
                                  .format = format,
                                  .drop_remainder = false};
    if (anchors != NULL) {
        for (int i = 0; i < n_threads; ++i) {
            if (edt_assigner_create(anchors, false, &err, &assigners[i]) != EDT_OK) {
                die("assigner", &err);
            }
        }
        options.n_anchors = anchors->n;
        options.targets = assign;
        options.targets_ctx = assigners;
    }
    edt_loader *loader = NULL;
    if (edt_loader_create(hp, &options, &err, &loader) != EDT_OK) {
        die("loader", &err);
    }
    int64_t n_images = 0;
    double t0 = 0, t1 = 0;
    for (int q = 0; q <= 4 || t1 - t0 < b->seconds; ++q) {
        const edt_batch *batch;
        if (edt_loader_next(loader, &err, &batch) != EDT_OK) {
            die("loader", &err);
        }
        t1 = edt_clock_now_s();
        if (q < 4) { // until the slots have been filled and used once
            t0 = t1;
        } else {
            n_images += batch->n_valid;
        }
        edt_loader_release(loader, batch);
    }
    edt_loader_destroy(loader);
    for (int i = 0; i < n_threads; ++i) {
        edt_assigner_destroy(assigners[i]);
    }
    return (double)n_images / (t1 - t0);
}

static void run(const bench *b, const edt_hparams *hp, const edt_anchors *anchors,
                int n_threads)
{
    double decode[N_PASSES], u8[N_PASSES], f32[N_PASSES], full[N_PASSES];
    for (int i = 0; i < N_PASSES; ++i) { // interleaved: all see the same machine
        decode[i] = pass_decode(b, n_threads);
        u8[i] = pass_loader(b, hp, n_threads, EDT_SLOT_U8, NULL);
        full[i] = pass_loader(b, hp, n_threads, EDT_SLOT_U8, anchors);
        f32[i] = pass_loader(b, hp, n_threads, EDT_SLOT_F32, NULL);
    }
    report("decode alone", n_threads, decode);
    report("loader u8", n_threads, u8);
    report("loader u8 with targets", n_threads, full);
    report("loader f32", n_threads, f32);
    printf("{\"what\": \"loader u8 / decode alone\", \"value\": %.3f, \"unit\": \"ratio of "
           "medians\", "
           "\"threads\": %d}\n",
           u8[N_PASSES / 2] / decode[N_PASSES / 2], n_threads);
    printf("{\"what\": \"loader u8 with targets / decode alone\", \"value\": %.3f, \"unit\": "
           "\"ratio of medians\", \"threads\": %d}\n",
           full[N_PASSES / 2] / decode[N_PASSES / 2], n_threads);
}

int main(int argc, char **argv)
{
    bench b = {.pattern = getenv("EDT_BENCH_RECORDS"),
               .n_threads = edt_thread_cpu_count(),
               .seconds = 1.0,
               .image_size = "512"};
    for (int i = 1; i < argc; ++i) {
        const char *value = strchr(argv[i], '=');
        value = value == NULL ? "" : value + 1;
        if (strncmp(argv[i], "--file_pattern=", 15) == 0) {
            b.pattern = value;
        } else if (strncmp(argv[i], "--threads=", 10) == 0) {
            b.n_threads = atoi(value);
        } else if (strncmp(argv[i], "--seconds=", 10) == 0) {
            b.seconds = atof(value);
        } else if (strncmp(argv[i], "--image_size=", 13) == 0) {
            b.image_size = value;
        } else {
            (void)fprintf(stderr, "bench_loader: unknown argument %s\n", argv[i]);
            return 2;
        }
    }
    if (b.pattern == NULL || b.n_threads < 1 || b.n_threads > MAX_THREADS) {
        (void)fprintf(stderr,
                      "bench_loader: give --file_pattern=GLOB (or EDT_BENCH_RECORDS)\n");
        return 2;
    }
    edt_error err = {0};
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_TEXT, 0);
    edt_path_list files;
    edt_hparams hp = {0};
    edt_anchors *anchors = NULL;
    if (edt_path_glob(b.pattern, &arena, &err, &files) != EDT_OK ||
        edt_record_index_create(files.path, files.n, NULL, &err, &b.index) != EDT_OK ||
        edt_hparams_init(&hp, &err) != EDT_OK ||
        edt_hparams_set(&hp, "image_size", b.image_size, &err) != EDT_OK ||
        edt_anchors_create(&hp, &err, &anchors) != EDT_OK) {
        die(b.pattern, &err);
    }
    for (int n = 1; n <= b.n_threads;
         n = n < b.n_threads && 2 * n > b.n_threads ? b.n_threads : 2 * n) {
        run(&b, &hp, anchors, n);
    }
    edt_anchors_destroy(anchors);
    edt_hparams_deinit(&hp);
    edt_record_index_destroy(b.index);
    edt_arena_deinit(&arena);
    return 0;
}
