// Opens the loader's data set: which records there are, in which order the samples come, and
// how their records are read. See loader_priv.h.
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"
#include "core/path.h"
#include "dataio/loader_priv.h"

// Samples that are read ahead together when shards are gone through in order without shuffling.
enum { IN_ORDER_WINDOW = 256 };

// The patterns of a list, one by one, and the set of each file.
typedef struct data_sets {
    int64_t n;
    const char **patterns; // [n]
    const char **names;    // [n] quoted, for messages
    int32_t *set_of_file;  // [files]
} data_sets;

static int compare_paths(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static edt_status split_patterns(const char *file_pattern, edt_arena *arena, edt_error *err,
                                 data_sets *sets)
{
    int64_t n = 1;
    for (const char *p = file_pattern; *p != '\0'; ++p) {
        n += *p == ',';
    }
    sets->patterns = edt_arena_calloc(arena, (size_t)n, sizeof *sets->patterns);
    sets->names = edt_arena_calloc(arena, (size_t)n, sizeof *sets->names);
    bool ok = sets->patterns != NULL && sets->names != NULL;
    for (const char *p = file_pattern; ok && *p != '\0';) {
        const size_t n_bytes = strcspn(p, ",");
        if (n_bytes > 0) {
            const char *pattern = edt_arena_strndup(arena, p, n_bytes);
            const char *name =
                pattern != NULL ? edt_arena_printf(arena, "'%s'", pattern) : NULL;
            ok = name != NULL;
            sets->names[sets->n] = name;
            sets->patterns[sets->n++] = pattern;
        }
        p += n_bytes + (p[n_bytes] == ',');
    }
    if (!ok) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the patterns '%s'", file_pattern);
    }
    return EDT_OK;
}

static edt_status assign_files(const edt_path_list *files, edt_arena *arena, edt_error *err,
                               data_sets *sets)
{
    sets->set_of_file = edt_arena_alloc(arena, ((size_t)files->n + 1) * sizeof(int32_t));
    if (sets->set_of_file == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %" PRId64 " shards", files->n);
    }
    memset(sets->set_of_file, -1, (size_t)files->n * sizeof(int32_t));
    for (int64_t i = 0; i < sets->n; ++i) {
        edt_path_list own;
        EDT_TRY(edt_path_glob(sets->patterns[i], arena, err, &own));
        for (int64_t k = 0; k < own.n; ++k) {
            // All lists are sorted, and this one is a part of the other.
            const char *const *at = bsearch(&own.path[k], files->path, (size_t)files->n,
                                            sizeof *files->path, compare_paths);
            if (at == NULL) {
                EDT_FAIL(err, EDT_ERR_MISMATCH,
                         "'%s' has appeared while the data set was being opened", own.path[k]);
            }
            int32_t *set = &sets->set_of_file[at - files->path];
            if (*set >= 0) {
                EDT_FAIL(err, EDT_ERR_USAGE,
                         "dataset_weights: '%s' matches two patterns, %s and %s; each shard "
                         "belongs to one data set",
                         own.path[k], sets->names[*set], sets->names[i]);
            }
            *set = (int32_t)i;
        }
    }
    return EDT_OK;
}

static edt_status find_sets(const edt_hparams *hp, const char *file_pattern,
                            const edt_path_list *files, edt_arena *arena, edt_error *err,
                            data_sets *sets)
{
    if (hp->dataset_weights.n == 0) {
        sets->n = 1;
        sets->names = edt_arena_calloc(arena, 1, sizeof *sets->names);
        const char *name = edt_arena_printf(arena, "'%s'", file_pattern);
        if (sets->names == NULL || name == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the pattern '%s'", file_pattern);
        }
        sets->names[0] = name;
        return EDT_OK;
    }
    EDT_TRY(split_patterns(file_pattern, arena, err, sets));
    if (sets->n != hp->dataset_weights.n) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "dataset_weights has %" PRId64 " weights for %" PRId64
                 " patterns in '%s'; give one weight for each comma-separated pattern",
                 (int64_t)hp->dataset_weights.n, sets->n, file_pattern);
    }
    return assign_files(files, arena, err, sets);
}

static edt_status make_mixture(edt_loader *loader, const edt_hparams *hp, const data_sets *sets,
                               edt_error *err)
{
    const edt_record_index *index = loader->index;
    const int64_t n = loader->sampler.n_samples;
    int32_t *set_of = edt_mem_calloc(EDT_MEM_MISC, (size_t)n + 1, sizeof *set_of);
    uint32_t *n_objects = edt_mem_calloc(EDT_MEM_MISC, (size_t)n + 1, sizeof *n_objects);
    edt_status status = EDT_OK;
    if (set_of == NULL || n_objects == NULL) {
        status = edt_error_set(err, EDT_ERR_NOMEM, "no memory to mix %" PRId64 " records", n);
        goto fail;
    }
    for (int64_t f = 0; f < loader->stats.n_files; ++f) {
        const int64_t end = edt_record_index_first(index, f + 1);
        for (int64_t i = edt_record_index_first(index, f); i < end; ++i) {
            set_of[i] = sets->set_of_file != NULL ? sets->set_of_file[f] : 0;
            // A record whose boxes cannot be read is no example of an empty picture.
            const edt_side_record *row = edt_record_index_row(index, i);
            const bool is_known = (row->flags & EDT_RECORD_INFO_EXAMPLE) != 0 &&
                                  (row->flags & EDT_RECORD_INFO_UNEVEN) == 0;
            n_objects[i] = is_known ? row->n_boxes : 1;
        }
    }
    const edt_mixture_options options = {
        .n_records = n,
        .n_sets = sets->n,
        .set_of = set_of,
        .weights = hp->dataset_weights.n > 0 ? hp->dataset_weights.v : NULL,
        .names = sets->names,
        .negatives_ratio = hp->negatives_ratio,
        .n_objects = n_objects,
        .shuffled = loader->sampler.order == EDT_ORDER_GLOBAL,
        .seed = loader->sampler.seed};
    status = edt_mixture_create(&options, err, &loader->mixture);
fail:
    edt_mem_free(set_of);
    edt_mem_free(n_objects);
    return status;
}

static edt_status make_shard_order(edt_loader *loader, edt_error *err)
{
    const int64_t n = loader->stats.n_files;
    int64_t *sizes = edt_mem_calloc(EDT_MEM_MISC, (size_t)n + 1, sizeof *sizes);
    if (sizes == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the order of %" PRId64 " shards", n);
    }
    for (int64_t f = 0; f < n; ++f) {
        sizes[f] = edt_record_index_first(loader->index, f + 1) -
                   edt_record_index_first(loader->index, f);
    }
    const edt_status status =
        edt_shard_order_create(sizes, n, loader->sampler.seed, err, &loader->shards);
    edt_mem_free(sizes);
    return status;
}

static edt_sample_order order_of(const edt_hparams *hp, bool training)
{
    const char *name = !training ? "none" : hp->shuffle != NULL ? hp->shuffle : "global";
    return strcmp(name, "none") == 0     ? EDT_ORDER_NONE
           : strcmp(name, "window") == 0 ? EDT_ORDER_WINDOW
                                         : EDT_ORDER_GLOBAL;
}

static edt_status make_order(edt_loader *loader, const edt_hparams *hp,
                             const edt_loader_options *options, const edt_path_list *files,
                             edt_arena *arena, edt_error *err)
{
    edt_sampler *s = &loader->sampler;
    const bool mixes =
        options->training && (hp->dataset_weights.n > 0 || !isnan(hp->negatives_ratio));
    if (mixes && s->order == EDT_ORDER_WINDOW) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "shuffle=window goes through the shards one after another, but %s takes "
                 "samples from several places at once: use shuffle=global",
                 hp->dataset_weights.n > 0 ? "dataset_weights" : "negatives_ratio");
    }
    if (mixes && s->n_samples > 0) {
        data_sets sets = {0};
        EDT_TRY(find_sets(hp, options->file_pattern, files, arena, err, &sets));
        EDT_TRY(make_mixture(loader, hp, &sets, err));
        s->mixture = loader->mixture;
    }
    if (s->order == EDT_ORDER_WINDOW) {
        EDT_TRY(make_shard_order(loader, err));
        s->shards = loader->shards;
    }
    return EDT_OK;
}

static edt_status open_data(edt_loader *loader, const edt_hparams *hp,
                            const edt_loader_options *options, edt_arena *arena, edt_error *err)
{
    static const edt_shard_reader_options shards = {.take_streams = true};
    edt_path_list files;
    EDT_TRY(edt_path_glob(options->file_pattern, arena, err, &files));
    EDT_TRY(edt_record_index_create(files.path, files.n, &shards, err, &loader->index));
    loader->stats.n_samples = edt_record_index_n_records(loader->index);
    loader->stats.n_files = edt_record_index_n_files(loader->index);
    const edt_sample_order order = order_of(hp, options->training);
    loader->sampler =
        (edt_sampler){.n_samples = loader->stats.n_samples,
                      .batch_size = options->batch_size,
                      .rank = options->rank,
                      .world_size = options->world_size,
                      .order = order,
                      .window = order == EDT_ORDER_WINDOW ? hp->shuffle_window
                                : order == EDT_ORDER_NONE ? IN_ORDER_WINDOW
                                                          : 0,
                      .drop_remainder = options->training && options->drop_remainder,
                      .endless = options->training,
                      .seed = options->seed};
    EDT_TRY_CTX(edt_sampler_check(&loader->sampler, options->start, err), err, "%s",
                options->file_pattern);
    EDT_TRY(make_order(loader, hp, options, &files, arena, err));
    // Substitutes and partners are other rows' records, as are the pictures that fill up the
    // last batch of an epoch on several ranks.
    const bool mixes_pictures =
        options->training &&
        (hp->mosaic_prob > 0.0 || hp->mixup_prob > 0.0 || hp->copy_paste_prob > 0.0);
    const edt_record_source_options source = {
        .index = loader->index,
        .sampler = &loader->sampler,
        .start = options->start,
        .reads_others = mixes_pictures ||
                        (options->training &&
                         (loader->on_bad == EDT_BAD_SUBSTITUTE || !options->drop_remainder))};
    return edt_record_source_create(&source, err, &loader->source);
}

edt_status edt_loader_open_data(edt_loader *loader, const edt_hparams *hp,
                                const edt_loader_options *options, edt_error *err)
{
    if (options->file_pattern == NULL || options->file_pattern[0] == '\0') {
        EDT_FAIL(err, EDT_ERR_USAGE, "no file pattern for the record files was given");
    }
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_TEXT, 0);
    const edt_status status = open_data(loader, hp, options, &arena, err);
    edt_arena_deinit(&arena);
    return status;
}
