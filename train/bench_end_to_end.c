// JPEG bytes to boxes: decode, resize, network and post-processing, as evaluation does them, on
// picture files or the pictures of shards.
#include "core/clock.h"
#include "core/parallel.h"
#include "core/path.h"
#include "core/signal.h"
#include "dataio/example.h"
#include "dataio/preprocess.h"
#include "dataio/record_index.h"
#include "eval/evaluate.h"
#include "eval/predict.h"
#include "train/bench_priv.h"

enum { MAX_PICTURES = 1024 }; // in memory at once

// Stages of one run; DECODE and RESIZE are summed over threads.
enum { DECODE, RESIZE, NETWORK, POST, TOTAL, BEYOND, N_STAGES };
static const char *const stage_names[N_STAGES] = {
    "end_to_end decode", "end_to_end resize", "end_to_end network",
    "end_to_end boxes",  "end_to_end total",  "end_to_end beyond the network",
};

typedef struct pipeline {
    const edt_bench *bench;
    edt_arena arena;
    edt_record_index *index; // of shards, or
    edt_mapped_file *files;  // pictures
    int64_t n_pictures;
    edt_span *pictures;
    int64_t first; // picture of the batch's row 0
    edt_hparams hp;
    edt_preprocess_config config;
    edt_preprocessor **preprocessors; // by worker
    double *decode_seconds, *resize_seconds;
    edt_batch batch;
    edt_predictor *predictor;
} pipeline;

static edt_status no_memory(edt_error *err)
{
    EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the pictures");
}

static edt_status alloc_pictures(pipeline *p, int64_t n, edt_error *err)
{
    const int64_t kept = n < MAX_PICTURES ? n : MAX_PICTURES;
    p->pictures = edt_arena_calloc(&p->arena, (size_t)kept, sizeof *p->pictures);
    if (p->pictures == NULL) {
        return no_memory(err);
    }
    p->n_pictures = kept;
    return EDT_OK;
}

static edt_status map_files(pipeline *p, const char *input, edt_error *err)
{
    edt_path_list list;
    if (edt_path_is_dir(input)) {
        EDT_TRY(edt_path_list_dir(input, &p->arena, err, &list));
        if (list.n == 0) {
            EDT_FAIL(err, EDT_ERR_NOT_FOUND, "the directory %s holds no file", input);
        }
    } else {
        EDT_TRY(edt_path_glob(input, &p->arena, err, &list));
    }
    EDT_TRY(alloc_pictures(p, list.n, err));
    p->files = edt_arena_calloc(&p->arena, (size_t)p->n_pictures, sizeof *p->files);
    if (p->files == NULL) {
        return no_memory(err);
    }
    for (int64_t i = 0; i < p->n_pictures; ++i) {
        EDT_TRY(edt_mapped_file_open(list.path[i], err, &p->files[i]));
        p->pictures[i] = p->files[i].span;
    }
    return EDT_OK;
}

static edt_status open_shards(pipeline *p, const char *pattern, edt_error *err)
{
    edt_path_list list;
    EDT_TRY(edt_path_glob(pattern, &p->arena, err, &list));
    EDT_TRY(edt_record_index_create(list.path, list.n, NULL, err, &p->index));
    if (edt_record_index_n_records(p->index) == 0) {
        EDT_FAIL(err, EDT_ERR_INVALID, "%s: the shards hold no record", pattern);
    }
    EDT_TRY(alloc_pictures(p, edt_record_index_n_records(p->index), err));
    for (int64_t i = 0; i < p->n_pictures; ++i) {
        edt_span record;
        edt_example example;
        EDT_TRY(edt_record_index_read(p->index, i, err, &record));
        EDT_TRY_CTX(edt_example_decode(record, 0, &p->arena, err, &example), err,
                    "%s: record %lld", pattern, (long long)i);
        p->pictures[i] = example.encoded;
    }
    return EDT_OK;
}

static edt_status open_pictures(pipeline *p, edt_error *err)
{
    const edt_bench_options *o = p->bench->options;
    if (o->input_image != NULL && o->input_image[0] != '\0') {
        return map_files(p, o->input_image, err);
    }
    if (o->file_pattern != NULL && o->file_pattern[0] != '\0') {
        return open_shards(p, o->file_pattern, err);
    }
    EDT_FAIL(err, EDT_ERR_USAGE,
             "--what=end_to_end needs pictures: give --input_image=FILES or "
             "--file_pattern=GLOB");
}

static edt_status set_up(pipeline *p, edt_error *err)
{
    const edt_bench *b = p->bench;
    const size_t n_workers = (size_t)b->n_threads;
    EDT_TRY(open_pictures(p, err));
    EDT_TRY(edt_hparams_copy(b->hp, err, &p->hp));
    edt_evaluation_settings(&p->hp);
    EDT_TRY(edt_preprocess_configure(&p->hp, false, EDT_SLOT_F32, err, &p->config));
    EDT_TRY(edt_bench_make_batch(&p->hp, b->batch_size, EDT_SLOT_F32, false, &p->arena, err,
                                 &p->batch));
    p->preprocessors = edt_arena_calloc(&p->arena, n_workers, sizeof(edt_preprocessor *));
    p->decode_seconds = edt_arena_calloc(&p->arena, n_workers, sizeof(double));
    p->resize_seconds = edt_arena_calloc(&p->arena, n_workers, sizeof(double));
    if (p->preprocessors == NULL || p->decode_seconds == NULL || p->resize_seconds == NULL) {
        return no_memory(err);
    }
    for (size_t i = 0; i < n_workers; ++i) {
        EDT_TRY(edt_preprocessor_create(&p->config, (int)i, err, &p->preprocessors[i]));
    }
    const edt_predictor_options po = {
        .batch_size = b->batch_size,
        .slot_format = EDT_SLOT_F32,
        .post_mode = EDT_POST_PER_CLASS,
        .real = b->real,
        .n_threads = b->n_threads,
    };
    EDT_TRY(edt_predictor_create_standalone(&p->hp, b->backend, &po, err, &p->predictor));
    return edt_bench_load_weights(b, edt_predictor_params(p->predictor), err);
}

static void tear_down(pipeline *p)
{
    edt_predictor_destroy(p->predictor);
    for (int i = 0; p->preprocessors != NULL && i < p->bench->n_threads; ++i) {
        edt_preprocessor_destroy(p->preprocessors[i]);
    }
    for (int64_t i = 0; p->files != NULL && i < p->n_pictures; ++i) {
        edt_mapped_file_close(&p->files[i]);
    }
    edt_record_index_destroy(p->index);
    edt_hparams_deinit(&p->hp);
    edt_arena_deinit(&p->arena);
}

static edt_status prepare_row(void *ctx, int worker, int64_t row, edt_error *err)
{
    pipeline *p = ctx;
    const int64_t i = (p->first + row) % p->n_pictures;
    const double start = edt_clock_now_s();
    const edt_sample_row to = {
        .image = (float *)p->batch.images + row * p->batch.height * p->batch.width * 3,
        .valid_hw = p->batch.valid_hw + row * 2,
        .image_scale = p->batch.image_scales + row,
    };
    EDT_TRY_CTX(
        edt_preprocess_picture(p->preprocessors[worker], p->pictures[i], &to, err, NULL), err,
        "picture %lld", (long long)i);
    const double resize = edt_preprocess_last(p->preprocessors[worker])->resize_seconds;
    p->resize_seconds[worker] += resize;
    p->decode_seconds[worker] += edt_clock_now_s() - start - resize;
    return EDT_OK;
}

static double take_sum(double *seconds, int n)
{
    double sum = 0.0;
    for (int i = 0; i < n; ++i) {
        sum += seconds[i];
        seconds[i] = 0.0;
    }
    return sum;
}

static edt_status run_batch(pipeline *p, edt_error *err, double out_seconds[static N_STAGES])
{
    const int n_threads = p->bench->n_threads;
    edt_exec *exec = edt_predictor_exec(p->predictor);
    EDT_TRY(edt_exec_enable_timing(exec, true, err));
    const double start = edt_clock_now_s();
    EDT_TRY(edt_parallel_for(n_threads, p->batch.batch_size, prepare_row, p, err));
    const double prepared = edt_clock_now_s();
    const edt_detection *found;
    const int64_t *n_valid;
    EDT_TRY(edt_predictor_run(p->predictor, &p->batch, err, &found, &n_valid));
    const double end = edt_clock_now_s();
    double network = 0.0;
    const int n_nodes = edt_predictor_model(p->predictor)->graph->n_nodes;
    for (int i = 0; i < n_nodes; ++i) {
        network += edt_exec_node_seconds(exec, i);
    }
    out_seconds[DECODE] = take_sum(p->decode_seconds, n_threads);
    out_seconds[RESIZE] = take_sum(p->resize_seconds, n_threads);
    out_seconds[NETWORK] = network;
    out_seconds[POST] = end - prepared - network;
    out_seconds[TOTAL] = end - start;
    out_seconds[BEYOND] = end - start - network;
    p->first += p->batch.batch_size;
    return EDT_OK;
}

static edt_status report(const edt_bench *b, const edt_bench_samples *stages, edt_error *err)
{
    const double per_image = 1e3 / (double)b->batch_size;
    for (int i = 0; i < N_STAGES; ++i) {
        EDT_TRY(edt_bench_put(b, stage_names[i], per_image * edt_bench_median(&stages[i]),
                              "ms/image", err));
    }
    EDT_TRY(edt_bench_put(b, "end_to_end beyond the network, best",
                          per_image * edt_bench_smallest(&stages[BEYOND]), "ms/image", err));
    EDT_TRY(edt_bench_put(b, "end_to_end best", per_image * edt_bench_smallest(&stages[TOTAL]),
                          "ms/image", err));
    EDT_TRY(edt_bench_put(b, "end_to_end",
                          (double)b->batch_size / edt_bench_median(&stages[TOTAL]), "images/s",
                          err));
    return edt_bench_put(b, "end_to_end share of the network",
                         100.0 * edt_bench_median(&stages[NETWORK]) /
                             edt_bench_median(&stages[TOTAL]),
                         "%", err);
}

edt_status edt_bench_end_to_end(edt_bench *b, edt_error *err)
{
    pipeline p = {.bench = b};
    edt_arena_init(&p.arena, EDT_MEM_SLOT, 0);
    edt_bench_samples stages[N_STAGES] = {0};
    edt_status status = EDT_OK;
    for (int i = 0; i < N_STAGES; ++i) {
        EDT_TRY_GOTO(edt_bench_samples_init(&stages[i], b->options->runs, err));
    }
    EDT_TRY_GOTO(set_up(&p, err));
    for (int64_t i = -b->options->warmup; i < b->options->runs; ++i) {
        double seconds[N_STAGES];
        EDT_TRY_GOTO(edt_interrupt_check(err));
        EDT_TRY_GOTO(run_batch(&p, err, seconds));
        for (int k = 0; i >= 0 && k < N_STAGES; ++k) {
            edt_bench_samples_add(&stages[k], seconds[k]);
        }
    }
    status = report(b, stages, err);
fail:
    tear_down(&p);
    for (int i = 0; i < N_STAGES; ++i) {
        edt_bench_samples_deinit(&stages[i]);
    }
    return status;
}
