// Images per second of decoding alone, on 1, 2, 4, ... threads: what bounds the loader that
// reads the same shards (bench_loader.c).
#include <stdatomic.h>
#include <stdio.h>

#include "core/clock.h"
#include "core/parallel.h"
#include "core/path.h"
#include "core/signal.h"
#include "dataio/example.h"
#include "dataio/image_decode.h"
#include "dataio/record_index.h"
#include "train/bench_priv.h"

edt_status edt_bench_open_records(const edt_bench *b, edt_arena *arena, edt_error *err,
                                  edt_record_index **out_index)
{
    const char *pattern = b->options->file_pattern;
    if (pattern == NULL || pattern[0] == '\0') {
        EDT_FAIL(err, EDT_ERR_USAGE, "--what=%s reads shards: give --file_pattern=GLOB",
                 b->options->what);
    }
    edt_path_list files;
    EDT_TRY(edt_path_glob(pattern, arena, err, &files));
    EDT_TRY(edt_record_index_create(files.path, files.n, NULL, err, out_index));
    if (edt_record_index_n_records(*out_index) == 0) {
        EDT_FAIL(err, EDT_ERR_INVALID, "%s: the shards hold no record", pattern);
    }
    return EDT_OK;
}

typedef struct decode_job {
    const edt_record_index *index;
    double until;
    atomic_llong next, pixels;
} decode_job;

// One thread's share: records in turn with the others until the time is over.
static edt_status decode_until(void *ctx, int worker, int64_t i_thread, edt_error *err)
{
    (void)worker;
    (void)i_thread;
    decode_job *job = ctx;
    const int64_t n = edt_record_index_n_records(job->index);
    edt_image_decoder *decoder = NULL;
    edt_record_scratch *scratch = NULL;
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    edt_status status = EDT_OK;
    EDT_TRY_GOTO(edt_image_decoder_create(NULL, err, &decoder));
    EDT_TRY_GOTO(edt_record_scratch_create(err, &scratch));
    while (edt_clock_now_s() < job->until) {
        EDT_TRY_GOTO(edt_interrupt_check(err));
        edt_span record;
        edt_example example;
        edt_image image;
        int64_t h, w;
        edt_arena_reset(&arena);
        EDT_TRY_GOTO(edt_record_index_read_into(job->index, atomic_fetch_add(&job->next, 1) % n,
                                                scratch, err, &record));
        EDT_TRY_GOTO(edt_example_decode(record, 0, &arena, err, &example));
        EDT_TRY_GOTO(edt_image_open(decoder, example.encoded, err, &h, &w));
        EDT_TRY_GOTO(edt_image_decode(decoder, 0, err, &image));
        atomic_fetch_add(&job->pixels, h * w);
    }
fail:
    edt_record_scratch_destroy(scratch);
    edt_image_decoder_destroy(decoder);
    edt_arena_deinit(&arena);
    return status;
}

edt_status edt_bench_decode_pass(const edt_bench *b, const edt_record_index *index,
                                 int n_threads, edt_bench_samples *images,
                                 edt_bench_samples *pixels, edt_error *err)
{
    const double start = edt_clock_now_s();
    decode_job job = {.index = index, .until = start + b->options->seconds};
    EDT_TRY(edt_parallel_for(n_threads, n_threads, decode_until, &job, err));
    const double seconds = edt_clock_now_s() - start;
    edt_bench_samples_add(images, (double)atomic_load(&job.next) / seconds);
    edt_bench_samples_add(pixels, 1e-6 * (double)atomic_load(&job.pixels) / seconds);
    return EDT_OK;
}

edt_status edt_bench_put_rate(const edt_bench *b, const char *what,
                              const edt_bench_samples *rate, edt_error *err)
{
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_TEXT, 256);
    const char *best = edt_arena_printf(&arena, "%s best", what);
    edt_status status = best == NULL
                            ? edt_error_set(err, EDT_ERR_NOMEM, "no memory for a name")
                            : edt_bench_put(b, best, edt_bench_largest(rate), "images/s", err);
    edt_arena_deinit(&arena);
    EDT_TRY(status);
    return edt_bench_put(b, what, edt_bench_median(rate), "images/s", err);
}

static edt_status decode_passes(const edt_bench *b, const edt_record_index *index,
                                const edt_bench_threads *threads, edt_bench_samples *images,
                                edt_bench_samples *pixels, edt_error *err)
{
    edt_bench_samples unused = {0};
    for (int64_t i = -b->options->warmup; i < b->options->runs; ++i) {
        for (int k = 0; k < threads->n; ++k) {
            EDT_TRY(edt_bench_decode_pass(b, index, threads->count[k],
                                          i < 0 ? &unused : &images[k],
                                          i < 0 ? &unused : &pixels[k], err));
        }
    }
    for (int k = 0; k < threads->n; ++k) {
        edt_bench with = *b;
        char at[32] = "", name[64];
        with.n_threads = threads->count[k];
        if (k + 1 < threads->n) {
            (void)snprintf(at, sizeof at, "%d thread%s: ", with.n_threads,
                           with.n_threads > 1 ? "s" : "");
        }
        (void)snprintf(name, sizeof name, "%sdecode", at);
        EDT_TRY(edt_bench_put_rate(&with, name, &images[k], err));
        (void)snprintf(name, sizeof name, "%sdecode pixels", at);
        EDT_TRY(edt_bench_put(&with, name, edt_bench_median(&pixels[k]), "megapixels/s", err));
    }
    return EDT_OK;
}

edt_bench_threads edt_bench_thread_series(const edt_bench *b)
{
    edt_bench_threads threads = {0};
    for (int n = 1; n < b->n_threads && threads.n < EDT_BENCH_MAX_SERIES - 1; n *= 2) {
        threads.count[threads.n++] = n;
    }
    threads.count[threads.n++] = b->n_threads;
    return threads;
}

edt_status edt_bench_decode(edt_bench *b, edt_error *err)
{
    const edt_bench_threads threads = edt_bench_thread_series(b);
    edt_record_index *index = NULL;
    edt_bench_samples images[EDT_BENCH_MAX_SERIES] = {0}, pixels[EDT_BENCH_MAX_SERIES] = {0};
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_TEXT, 0);
    edt_status status = EDT_OK;
    EDT_TRY_GOTO(edt_bench_open_records(b, &arena, err, &index));
    for (int k = 0; k < threads.n; ++k) {
        EDT_TRY_GOTO(edt_bench_samples_init(&images[k], b->options->runs, err));
        EDT_TRY_GOTO(edt_bench_samples_init(&pixels[k], b->options->runs, err));
    }
    status = decode_passes(b, index, &threads, images, pixels, err);
fail:
    edt_record_index_destroy(index);
    for (int k = 0; k < threads.n; ++k) {
        edt_bench_samples_deinit(&images[k]);
        edt_bench_samples_deinit(&pixels[k]);
    }
    edt_arena_deinit(&arena);
    return status;
}
