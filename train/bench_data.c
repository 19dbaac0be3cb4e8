// Images per second of decoding alone and of the whole loader (decode, jitter, crop, mirror,
// into u8 or f32 slots; with and without anchor targets) on the same shards, in one run.
#include <stdatomic.h>

#include "core/clock.h"
#include "core/parallel.h"
#include "core/path.h"
#include "core/signal.h"
#include "dataio/example.h"
#include "dataio/image_decode.h"
#include "dataio/loader.h"
#include "dataio/record_index.h"
#include "train/bench_priv.h"
#include "train/target_maker.h"

static edt_status open_index(const edt_bench *b, edt_arena *arena, edt_error *err,
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

static edt_status decode_pass(const edt_bench *b, const edt_record_index *index,
                              edt_bench_samples *images, edt_bench_samples *pixels,
                              edt_error *err)
{
    const double start = edt_clock_now_s();
    decode_job job = {.index = index, .until = start + b->options->seconds};
    EDT_TRY(edt_parallel_for(b->n_threads, b->n_threads, decode_until, &job, err));
    const double seconds = edt_clock_now_s() - start;
    edt_bench_samples_add(images, (double)atomic_load(&job.next) / seconds);
    edt_bench_samples_add(pixels, 1e-6 * (double)atomic_load(&job.pixels) / seconds);
    return EDT_OK;
}

// From when the slots have been filled and used once.
static edt_status time_loader(const edt_bench *b, edt_loader *loader, edt_bench_samples *images,
                              edt_error *err)
{
    enum { FILL_BATCHES = 4 };
    int64_t n_images = 0;
    double start = 0.0, now = 0.0;
    for (int q = 0; q <= FILL_BATCHES || now - start < b->options->seconds; ++q) {
        const edt_batch *batch;
        EDT_TRY(edt_interrupt_check(err));
        EDT_TRY(edt_loader_next(loader, err, &batch));
        now = edt_clock_now_s();
        if (q < FILL_BATCHES) {
            start = now;
        } else {
            n_images += batch->n_valid;
        }
        edt_loader_release(loader, batch);
    }
    edt_bench_samples_add(images, (double)n_images / (now - start));
    return EDT_OK;
}

static edt_status loader_pass(const edt_bench *b, edt_slot_format format,
                              edt_target_maker *maker, edt_bench_samples *images,
                              edt_error *err)
{
    const edt_loader_options options = {
        .file_pattern = b->options->file_pattern,
        .training = true,
        .batch_size = b->batch_size,
        .n_threads = b->n_threads,
        .prefetch = 2,
        .seed = 1,
        .world_size = 1,
        .format = format,
        .drop_remainder = false,
        .n_anchors = maker != NULL ? edt_target_maker_n_anchors(maker) : 0,
        .targets = maker != NULL ? edt_target_maker_run : NULL,
        .targets_ctx = maker,
    };
    edt_loader *loader = NULL;
    EDT_TRY(edt_loader_create(b->hp, &options, err, &loader));
    const edt_status status = time_loader(b, loader, images, err);
    edt_loader_destroy(loader);
    return status;
}

// Rates: the best is the largest.
static edt_status put_rate(const edt_bench *b, const char *what, const edt_bench_samples *rate,
                           edt_error *err)
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

edt_status edt_bench_decode(edt_bench *b, edt_error *err)
{
    edt_record_index *index = NULL;
    edt_bench_samples images = {0}, pixels = {0}, unused = {0};
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_TEXT, 0);
    edt_status status = EDT_OK;
    EDT_TRY_GOTO(open_index(b, &arena, err, &index));
    EDT_TRY_GOTO(edt_bench_samples_init(&images, b->options->runs, err));
    EDT_TRY_GOTO(edt_bench_samples_init(&pixels, b->options->runs, err));
    for (int64_t i = -b->options->warmup; i < b->options->runs; ++i) {
        EDT_TRY_GOTO(
            decode_pass(b, index, i < 0 ? &unused : &images, i < 0 ? &unused : &pixels, err));
    }
    EDT_TRY_GOTO(put_rate(b, "decode", &images, err));
    EDT_TRY_GOTO(
        edt_bench_put(b, "decode pixels", edt_bench_median(&pixels), "megapixels/s", err));
fail:
    edt_record_index_destroy(index);
    edt_bench_samples_deinit(&images);
    edt_bench_samples_deinit(&pixels);
    edt_arena_deinit(&arena);
    return status;
}

enum { DECODE, PIXELS, LOADER_U8, LOADER_TARGETS, LOADER_F32, N_SERIES };

// The four are measured in turn, so that all see the same machine.
static edt_status loader_passes(const edt_bench *b, const edt_record_index *index,
                                edt_target_maker *maker, edt_bench_samples *s, edt_error *err)
{
    for (int64_t i = 0; i < b->options->runs; ++i) {
        EDT_TRY(decode_pass(b, index, &s[DECODE], &s[PIXELS], err));
        EDT_TRY(loader_pass(b, EDT_SLOT_U8, NULL, &s[LOADER_U8], err));
        EDT_TRY(loader_pass(b, EDT_SLOT_U8, maker, &s[LOADER_TARGETS], err));
        EDT_TRY(loader_pass(b, EDT_SLOT_F32, NULL, &s[LOADER_F32], err));
    }
    const double decode = edt_bench_median(&s[DECODE]);
    EDT_TRY(put_rate(b, "ceiling: decode alone", &s[DECODE], err));
    EDT_TRY(put_rate(b, "loader u8", &s[LOADER_U8], err));
    EDT_TRY(put_rate(b, "loader u8 with targets", &s[LOADER_TARGETS], err));
    EDT_TRY(put_rate(b, "loader f32", &s[LOADER_F32], err));
    EDT_TRY(edt_bench_put(b, "loader u8 share of the ceiling",
                          100.0 * edt_bench_median(&s[LOADER_U8]) / decode, "%", err));
    return edt_bench_put(b, "loader u8 with targets, share",
                         100.0 * edt_bench_median(&s[LOADER_TARGETS]) / decode, "%", err);
}

edt_status edt_bench_loader(edt_bench *b, edt_error *err)
{
    edt_record_index *index = NULL;
    edt_target_maker *maker = NULL;
    edt_bench_samples series[N_SERIES] = {0};
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_TEXT, 0);
    edt_status status = EDT_OK;
    EDT_TRY_GOTO(open_index(b, &arena, err, &index));
    EDT_TRY_GOTO(edt_target_maker_create(b->hp, b->n_threads, err, &maker));
    for (int i = 0; i < N_SERIES; ++i) {
        EDT_TRY_GOTO(edt_bench_samples_init(&series[i], b->options->runs, err));
    }
    status = loader_passes(b, index, maker, series, err);
fail:
    edt_record_index_destroy(index);
    edt_target_maker_destroy(maker);
    for (int i = 0; i < N_SERIES; ++i) {
        edt_bench_samples_deinit(&series[i]);
    }
    edt_arena_deinit(&arena);
    return status;
}
