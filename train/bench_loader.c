// Images per second of the whole loader next to decoding alone: slots of both formats, with and
// without anchor targets, AutoAugment, a decoded cache that is being filled and one that is
// full, and on 1, 2, 4, ... threads. All series are measured in turn, so that they see the same
// machine.
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/path.h"
#include "core/signal.h"
#include "dataio/fill_cache.h"
#include "dataio/loader.h"
#include "train/bench_priv.h"
#include "train/target_maker.h"

// Pictures that a cache of the benchmark's own may hold, unless decoded_cache_bytes says.
static const int64_t default_cache_bytes = INT64_C(2) << 30;

typedef struct loader_bench {
    edt_bench *bench;
    edt_arena arena;
    edt_record_index *index;
    edt_path_list files;
    edt_target_maker *maker;
    edt_hparams plain, augmented; // without and with the policy; neither with a cache
    const char *policy;
    const char *root, *cold, *warm; // directories of the caches
    bool has_warm;
} loader_bench;

// One way to run the loader.
typedef struct setting {
    const edt_hparams *hp;
    edt_slot_format format;
    bool has_targets;
    int n_threads;
    const char *cache; // NULL: none
    // Timed from the first picture on to the end of the epoch at most: what comes later would
    // find its pictures in the cache.
    bool is_first_epoch;
} setting;

// From when the slots have been filled and used once; a cache has been looked at once as well.
static edt_status skip_first(const loader_bench *l, edt_loader *loader, const setting *how,
                             edt_error *err)
{
    enum { FILL_BATCHES = 4, MAX_PASSES = 4 };
    const int64_t n_epoch = edt_loader_batches_per_epoch(loader);
    const int64_t n = how->is_first_epoch  ? 0
                      : how->cache != NULL ? n_epoch + FILL_BATCHES
                                           : FILL_BATCHES;
    const double start = edt_clock_now_s();
    for (int64_t q = 0; q < n; ++q) {
        const edt_batch *batch;
        EDT_TRY(edt_interrupt_check(err));
        EDT_TRY(edt_loader_next(loader, err, &batch));
        edt_loader_release(loader, batch);
        if (q >= FILL_BATCHES &&
            edt_clock_now_s() - start > MAX_PASSES * l->bench->options->seconds) {
            break;
        }
    }
    return EDT_OK;
}

static edt_status time_loader(const loader_bench *l, edt_loader *loader, const setting *how,
                              edt_bench_samples *images, edt_error *err)
{
    const int64_t n_epoch = edt_loader_batches_per_epoch(loader);
    int64_t n_images = 0;
    EDT_TRY(skip_first(l, loader, how, err));
    const double start = edt_clock_now_s();
    double now = start;
    for (int64_t q = 0; q == 0 || now - start < l->bench->options->seconds; ++q) {
        const edt_batch *batch;
        if (how->is_first_epoch && q == n_epoch) {
            break;
        }
        EDT_TRY(edt_interrupt_check(err));
        EDT_TRY(edt_loader_next(loader, err, &batch));
        now = edt_clock_now_s();
        n_images += batch->n_valid;
        edt_loader_release(loader, batch);
    }
    edt_bench_samples_add(images, (double)n_images / (now - start));
    return EDT_OK;
}

static edt_status loader_pass(const loader_bench *l, const setting *how,
                              edt_bench_samples *images, edt_error *err)
{
    const edt_bench *b = l->bench;
    // AutoAugment goes without masks, which do not follow it.
    const bool masks = how->has_targets && how->hp->autoaugment_policy == NULL &&
                       edt_hparams_has_head(how->hp, "segmentation");
    const bool boxes = how->has_targets && edt_hparams_has_head(how->hp, "object_detection");
    const edt_loader_options options = {
        .file_pattern = b->options->file_pattern,
        .training = true,
        .batch_size = b->batch_size,
        .n_threads = how->n_threads,
        .prefetch = 2,
        .seed = 1,
        .world_size = 1,
        .format = how->format,
        .drop_remainder = false,
        .n_anchors = boxes ? edt_target_maker_n_anchors(l->maker) : 0,
        .targets = boxes ? edt_target_maker_run : NULL,
        .masks = masks,
        .targets_ctx = l->maker,
    };
    edt_hparams hp = *how->hp; // shallow: only the texts of the cache differ
    edt_loader *loader = NULL;
    hp.decoded_cache = how->cache;
    hp.decoded_cache_bytes =
        hp.decoded_cache_bytes > 0 ? hp.decoded_cache_bytes : default_cache_bytes;
    EDT_TRY(edt_loader_create(&hp, &options, err, &loader));
    const edt_status status = time_loader(l, loader, how, images, err);
    edt_loader_destroy(loader);
    return status;
}

// A cache's directory, which holds nothing but files; one that is not there is fine.
static void remove_cache(const char *dir)
{
    edt_arena arena;
    edt_path_list files;
    edt_arena_init(&arena, EDT_MEM_TEXT, 0);
    if (dir != NULL && edt_path_list_dir(dir, &arena, NULL, &files) == EDT_OK) {
        for (int64_t i = 0; i < files.n; ++i) {
            (void)unlink(files.path[i]);
        }
        (void)rmdir(dir);
    }
    edt_arena_deinit(&arena);
}

// Beside the cache that the hparams name, else where temporary files go.
static edt_status make_cache_dirs(loader_bench *l, edt_error *err)
{
    const char *own = l->bench->hp->decoded_cache;
    const char *base = getenv("TMPDIR");
    if (base == NULL || base[0] == '\0') {
        base = "/tmp";
    }
    if (own != NULL && own[0] != '\0' && strcmp(own, "off") != 0) {
        base = edt_path_dirname(&l->arena, own);
        EDT_TRY(edt_path_mkdirs(base != NULL ? base : own, err));
    }
    char *root =
        edt_arena_printf(&l->arena, "%s/edt-benchmark-XXXXXX", base != NULL ? base : "");
    if (root == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for a file name");
    }
    if (mkdtemp(root) == NULL) {
        EDT_FAIL(err, EDT_ERR_IO,
                 "no directory for decoded caches can be made under '%s'; name one that may be "
                 "written to, TMPDIR=DIR or --hparams=decoded_cache=DIR/cache",
                 base);
    }
    l->root = root;
    l->cold = edt_path_join(&l->arena, root, "cold");
    l->warm = edt_path_join(&l->arena, root, "warm");
    if (l->cold == NULL || l->warm == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for a file name");
    }
    return EDT_OK;
}

static edt_status fill_warm(loader_bench *l, edt_error *err)
{
    const edt_hparams *hp = l->bench->hp;
    edt_fill_result result;
    const edt_fill_options options = {
        .paths = l->files.path,
        .n_files = l->files.n,
        .n_threads = l->bench->n_threads,
        .cache_path = l->warm,
        .max_bytes =
            hp->decoded_cache_bytes > 0 ? hp->decoded_cache_bytes : default_cache_bytes,
        .zstd_level = (int)hp->decoded_cache_zstd,
        .exif_rotate = hp->exif_rotate,
    };
    EDT_TRY(edt_fill_cache(&options, err, &result));
    l->has_warm = result.n_entries == result.n_records;
    if (!l->has_warm) {
        EDT_WARN("only %" PRId64 " of %" PRId64 " pictures fit into a cache of %" PRId64
                 " bytes: the full cache is not measured; give fewer shards, or room by "
                 "--hparams=decoded_cache_bytes=N",
                 result.n_entries, result.n_records, options.max_bytes);
    }
    return EDT_OK;
}

enum {
    DECODE,
    PIXELS,
    PLAIN,
    TARGETS,
    F32,
    AUGMENTED,
    CACHE_COLD,
    CACHE_WARM,
    CACHE_AUGMENTED,
    N_SERIES
};

// Of one number of threads below all.
typedef struct thread_series {
    edt_bench_samples decode, pixels, targets, augmented;
} thread_series;

static edt_status full_passes(const loader_bench *l, edt_bench_samples *s, edt_error *err)
{
    const int n = l->bench->n_threads;
    const edt_hparams *plain = &l->plain, *augmented = &l->augmented;
    const setting settings[N_SERIES] = {
        [PLAIN] = {plain, EDT_SLOT_U8, false, n, NULL, false},
        [TARGETS] = {plain, EDT_SLOT_U8, true, n, NULL, false},
        [F32] = {plain, EDT_SLOT_F32, false, n, NULL, false},
        [AUGMENTED] = {augmented, EDT_SLOT_U8, true, n, NULL, false},
        [CACHE_COLD] = {plain, EDT_SLOT_U8, true, n, l->cold, true},
        [CACHE_WARM] = {plain, EDT_SLOT_U8, true, n, l->warm, false},
        [CACHE_AUGMENTED] = {augmented, EDT_SLOT_U8, true, n, l->warm, false},
    };
    EDT_TRY(edt_bench_decode_pass(l->bench, l->index, n, &s[DECODE], &s[PIXELS], err));
    for (int i = PLAIN; i < (l->has_warm ? N_SERIES : CACHE_WARM); ++i) {
        EDT_TRY(loader_pass(l, &settings[i], &s[i], err));
    }
    remove_cache(l->cold);
    return EDT_OK;
}

static edt_status thread_passes(const loader_bench *l, int n_threads, thread_series *s,
                                edt_error *err)
{
    const setting plain = {&l->plain, EDT_SLOT_U8, true, n_threads, NULL, false};
    const setting augmented = {&l->augmented, EDT_SLOT_U8, true, n_threads, NULL, false};
    EDT_TRY(edt_bench_decode_pass(l->bench, l->index, n_threads, &s->decode, &s->pixels, err));
    EDT_TRY(loader_pass(l, &plain, &s->targets, err));
    return loader_pass(l, &augmented, &s->augmented, err);
}

static edt_status put_percent(const edt_bench *b, const char *what, double value,
                              edt_error *err)
{
    return edt_bench_put(b, what, value, "%", err);
}

// What a policy costs of the rate without it.
static double cost(const edt_bench_samples *with, const edt_bench_samples *without)
{
    return 100.0 * fmax(0.0, 1.0 - edt_bench_median(with) / edt_bench_median(without));
}

static double share(const edt_bench_samples *part, const edt_bench_samples *whole)
{
    return 100.0 * edt_bench_median(part) / edt_bench_median(whole);
}

static edt_status put_full(const loader_bench *l, const edt_bench_samples *s, edt_error *err)
{
    const edt_bench *b = l->bench;
    char name[96];
    EDT_TRY(edt_bench_put_rate(b, "ceiling: decode alone", &s[DECODE], err));
    EDT_TRY(edt_bench_put_rate(b, "loader u8", &s[PLAIN], err));
    EDT_TRY(edt_bench_put_rate(b, "loader u8 with targets", &s[TARGETS], err));
    EDT_TRY(edt_bench_put_rate(b, "loader f32", &s[F32], err));
    (void)snprintf(name, sizeof name, "loader u8 with targets, %.20s", l->policy);
    EDT_TRY(edt_bench_put_rate(b, name, &s[AUGMENTED], err));
    EDT_TRY(edt_bench_put_rate(b, "filling a decoded cache", &s[CACHE_COLD], err));
    if (l->has_warm) {
        EDT_TRY(edt_bench_put_rate(b, "from a decoded cache", &s[CACHE_WARM], err));
        (void)snprintf(name, sizeof name, "from a decoded cache, %.20s", l->policy);
        EDT_TRY(edt_bench_put_rate(b, name, &s[CACHE_AUGMENTED], err));
        (void)snprintf(name, sizeof name, "cost of %.20s, decoded cache", l->policy);
        EDT_TRY(put_percent(b, name, cost(&s[CACHE_AUGMENTED], &s[CACHE_WARM]), err));
    }
    (void)snprintf(name, sizeof name, "cost of %.20s", l->policy);
    EDT_TRY(put_percent(b, name, cost(&s[AUGMENTED], &s[TARGETS]), err));
    EDT_TRY(
        put_percent(b, "loader u8 share of the ceiling", share(&s[PLAIN], &s[DECODE]), err));
    return put_percent(b, "loader u8 with targets, share", share(&s[TARGETS], &s[DECODE]), err);
}

static edt_status put_threads(const loader_bench *l, int n_threads, const thread_series *s,
                              edt_error *err)
{
    edt_bench b = *l->bench;
    char at[32], name[96];
    b.n_threads = n_threads;
    (void)snprintf(at, sizeof at, "%d thread%s", n_threads, n_threads > 1 ? "s" : "");
    (void)snprintf(name, sizeof name, "%s: decode alone", at);
    EDT_TRY(edt_bench_put_rate(&b, name, &s->decode, err));
    (void)snprintf(name, sizeof name, "%s: loader u8 with targets", at);
    EDT_TRY(edt_bench_put_rate(&b, name, &s->targets, err));
    (void)snprintf(name, sizeof name, "%s: with %.20s", at, l->policy);
    EDT_TRY(edt_bench_put_rate(&b, name, &s->augmented, err));
    (void)snprintf(name, sizeof name, "%s: share of the ceiling", at);
    EDT_TRY(put_percent(&b, name, share(&s->targets, &s->decode), err));
    (void)snprintf(name, sizeof name, "%s: cost of %.20s", at, l->policy);
    return put_percent(&b, name, cost(&s->augmented, &s->targets), err);
}

static edt_status measure(const loader_bench *l, const edt_bench_threads *threads,
                          edt_bench_samples *series, thread_series *fewer, edt_error *err)
{
    for (int64_t i = 0; i < l->bench->options->runs; ++i) {
        EDT_TRY(full_passes(l, series, err));
        for (int k = 0; k < threads->n - 1; ++k) {
            EDT_TRY(thread_passes(l, threads->count[k], &fewer[k], err));
        }
    }
    for (int k = 0; k < threads->n - 1; ++k) {
        EDT_TRY(put_threads(l, threads->count[k], &fewer[k], err));
    }
    return put_full(l, series, err);
}

static edt_status run_series(const loader_bench *l, edt_error *err)
{
    const edt_bench_threads threads = edt_bench_thread_series(l->bench);
    const int64_t runs = l->bench->options->runs;
    edt_bench_samples series[N_SERIES] = {0};
    thread_series fewer[EDT_BENCH_MAX_SERIES] = {0};
    edt_status status = EDT_OK;
    for (int i = 0; i < N_SERIES; ++i) {
        EDT_TRY_GOTO(edt_bench_samples_init(&series[i], runs, err));
    }
    for (int k = 0; k < threads.n; ++k) {
        EDT_TRY_GOTO(edt_bench_samples_init(&fewer[k].decode, runs, err));
        EDT_TRY_GOTO(edt_bench_samples_init(&fewer[k].pixels, runs, err));
        EDT_TRY_GOTO(edt_bench_samples_init(&fewer[k].targets, runs, err));
        EDT_TRY_GOTO(edt_bench_samples_init(&fewer[k].augmented, runs, err));
    }
    status = measure(l, &threads, series, fewer, err);
fail:
    for (int i = 0; i < N_SERIES; ++i) {
        edt_bench_samples_deinit(&series[i]);
    }
    for (int k = 0; k < threads.n; ++k) {
        edt_bench_samples_deinit(&fewer[k].decode);
        edt_bench_samples_deinit(&fewer[k].pixels);
        edt_bench_samples_deinit(&fewer[k].targets);
        edt_bench_samples_deinit(&fewer[k].augmented);
    }
    return status;
}

static edt_status open_bench(loader_bench *l, edt_error *err)
{
    edt_bench *b = l->bench;
    const char *policy = b->hp->autoaugment_policy;
    EDT_TRY(edt_bench_open_records(b, &l->arena, err, &l->index));
    EDT_TRY(edt_path_glob(b->options->file_pattern, &l->arena, err, &l->files));
    EDT_TRY(edt_target_maker_create(b->hp, b->n_threads, err, &l->maker));
    l->policy = policy != NULL && policy[0] != '\0' ? policy : "v0";
    // Shallow copies, which borrow from the benchmark's.
    l->plain = l->augmented = *b->hp;
    l->plain.autoaugment_policy = NULL;
    l->augmented.autoaugment_policy = l->policy;
    EDT_TRY(make_cache_dirs(l, err));
    return fill_warm(l, err);
}

edt_status edt_bench_loader(edt_bench *b, edt_error *err)
{
    loader_bench l = {.bench = b};
    edt_arena_init(&l.arena, EDT_MEM_TEXT, 0);
    edt_status status = open_bench(&l, err);
    if (status == EDT_OK) {
        status = run_series(&l, err);
    }
    remove_cache(l.cold);
    remove_cache(l.warm);
    if (l.root != NULL) {
        (void)rmdir(l.root);
    }
    edt_record_index_destroy(l.index);
    edt_target_maker_destroy(l.maker);
    edt_arena_deinit(&l.arena);
    return status;
}
