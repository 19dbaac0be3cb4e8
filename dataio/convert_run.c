// See convert_run.h. Workers take images in the order of conversion (group by group, in the
// order of the list within a group); each makes its record, waits for its turn in the image's
// shard to take the next place there, and writes to that place while others go on. Whoever
// takes an image takes its turn, whatever becomes of it, so nobody waits for ever. Whoever
// writes the last image of a group finishes the group.
#include "dataio/convert_run.h"

#include <inttypes.h>
#include <pthread.h>
#include <string.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/progress.h"
#include "core/signal.h"
#include "core/thread.h"
#include "core/workers.h"
#include "dataio/convert_order.h"
#include "dataio/convert_state.h"
#include "dataio/fingerprint64.h"

typedef struct group {
    bool is_done;             // finished, now or by an earlier run
    edt_shard_writer *writer; // while it is converted
    edt_convert_report *report;
    int64_t n_left; // images
    edt_convert_group kept;
} group;

typedef struct converter {
    const edt_convert_spec *spec;
    edt_convert_state *state;
    edt_convert_worker *workers;
    int n_workers;
    int64_t n_groups;
    group *groups;
    int64_t *order; // [n_todo] images in the order of conversion
    int64_t n_todo, i_next;
    int64_t n_resumed;
    double begin_s;

    pthread_mutex_t lock; // guards what follows, and the groups' numbers
    pthread_cond_t turn;
    int64_t *next_of_shard; // [num_shards] image whose turn it is
    int64_t stop_at;        // no image of `order` from here on is begun
    edt_status status;      // of image stop_at
    edt_error error;
    bool write_failed; // later failures to write are its consequences
    int64_t n_boxes, n_done;
    edt_progress progress;
} converter;

static bool is_given(const char *text)
{
    return text != NULL && text[0] != '\0';
}

static int64_t group_of(const converter *c, int64_t i)
{
    return edt_convert_shard_of(c->spec, i) % c->n_groups;
}

// The first error in the order of conversion is the one to report, so images before it are
// finished.
static void stop_before(converter *c, int64_t at, edt_status status, const edt_error *err)
{
    if (at < c->stop_at) {
        c->stop_at = at;
        c->status = status;
        c->error = *err;
    }
}

static uint64_t take_turn(converter *c, int64_t at, edt_status status, const edt_error *err,
                          bool good, uint64_t n_bytes, bool *out_go_on)
{
    const int64_t i = c->order[at];
    const int64_t i_shard = edt_convert_shard_of(c->spec, i);
    uint64_t offset = 0;
    (void)pthread_mutex_lock(&c->lock);
    while (c->next_of_shard[i_shard] != i) {
        (void)pthread_cond_wait(&c->turn, &c->lock);
    }
    if (status != EDT_OK) {
        stop_before(c, at, status, err);
    }
    *out_go_on = status == EDT_OK && at < c->stop_at;
    if (*out_go_on && good) {
        offset = edt_shard_writer_reserve(c->groups[group_of(c, i)].writer, i_shard, n_bytes);
    }
    c->next_of_shard[i_shard] = edt_convert_next_in_shard(c->spec, i);
    (void)pthread_cond_broadcast(&c->turn);
    (void)pthread_mutex_unlock(&c->lock);
    return offset;
}

// Counts an image that is written or left out; true for the last of its group.
static bool count_image(converter *c, group *g, bool good, const edt_convert_counts *counts,
                        uint64_t digest)
{
    (void)pthread_mutex_lock(&c->lock);
    if (good) {
        g->kept.counts.n_boxes += counts->n_boxes;
        g->kept.counts.n_empty += counts->n_empty;
        g->kept.counts.n_outside += counts->n_outside;
        g->kept.counts.n_clipped += counts->n_clipped;
        g->kept.counts.n_negative += counts->n_negative;
        g->kept.counts.n_kept_outside += counts->n_kept_outside;
        g->kept.counts.n_kept_empty += counts->n_kept_empty;
        ++g->kept.n_records;
        c->n_boxes += counts->n_boxes;
    }
    g->kept.digest += digest;
    ++c->n_done;
    const bool is_last = --g->n_left == 0;
    if (c->spec->options->show_progress) {
        edt_progress_update(&c->progress, c->n_done, "%" PRId64 " boxes", c->n_boxes);
    }
    (void)pthread_mutex_unlock(&c->lock);
    return is_last;
}

static edt_status open_group(converter *c, int64_t g, edt_error *err)
{
    const edt_convert_spec *spec = c->spec;
    const edt_shard_writer_options shards = {.prefix = edt_convert_state_prefix(c->state),
                                             .n_shards = spec->options->num_shards,
                                             .compression = spec->options->compression,
                                             .rank = g,
                                             .world_size = c->n_groups,
                                             .no_catalog = true};
    EDT_TRY(edt_convert_state_drop_group(c->state, g, err));
    EDT_TRY(edt_convert_report_create_part(c->spec->report, err, &c->groups[g].report));
    return edt_shard_writer_open(&shards, err, &c->groups[g].writer);
}

static void close_group(group *g)
{
    edt_shard_writer_close(g->writer);
    edt_convert_report_destroy(g->report);
    g->writer = NULL;
    g->report = NULL;
}

static edt_status finish_group(converter *c, int64_t i_group, edt_error *err)
{
    group *g = &c->groups[i_group];
    EDT_TRY(edt_shard_writer_commit(g->writer, err));
    g->kept.stream_bytes = edt_shard_writer_n_bytes(g->writer);
    edt_convert_report_note_counts(g->report, &g->kept.counts);
    EDT_TRY(edt_convert_state_save_group(c->state, i_group, &g->kept, g->report, err));
    close_group(g);
    g->is_done = true;
    return EDT_OK;
}

static edt_status next_image(void *ctx, void **out_unit, edt_error *err)
{
    converter *c = ctx;
    EDT_TRY(edt_interrupt_check(err));
    (void)pthread_mutex_lock(&c->lock);
    const bool more = c->i_next < c->n_todo && c->i_next < c->stop_at;
    (void)pthread_mutex_unlock(&c->lock);
    if (!more) {
        return EDT_END;
    }
    const int64_t i_group = group_of(c, c->order[c->i_next]);
    if (c->groups[i_group].writer == NULL) {
        EDT_TRY(open_group(c, i_group, err));
    }
    // A unit is a place in the order; NULL would be none.
    *out_unit = (void *)(uintptr_t)(++c->i_next);
    return EDT_OK;
}

static uint64_t hash_inputs(const converter *c, edt_arena *arena, int64_t i)
{
    if (c->spec->hash_inputs == NULL) {
        return 0;
    }
    const uint64_t facts[2] = {(uint64_t)i, c->spec->hash_inputs(c->spec->ctx, arena, i)};
    return edt_fingerprint64((edt_span){(const uint8_t *)facts, sizeof facts});
}

static edt_status convert_image(void *ctx, int i_worker, void *unit, edt_error *unused)
{
    (void)unused; // errors wait in the converter for those of earlier images
    converter *c = ctx;
    const edt_convert_spec *spec = c->spec;
    edt_convert_worker *worker = &c->workers[i_worker];
    const int64_t at = (int64_t)(uintptr_t)unit - 1;
    const int64_t i = c->order[at];
    group *g = &c->groups[group_of(c, i)];
    edt_error err = {0};
    edt_convert_counts counts = {0};
    edt_tfexample_pieces pieces = {0};
    bool good = false;
    bool go_on = false;
    edt_arena_reset(&worker->arena);
    worker->report = g->report;
    // Before the files are read: a later change gives another hash.
    const uint64_t digest = hash_inputs(c, &worker->arena, i);
    edt_status status = spec->make_record(spec->ctx, worker, i, &err, &good, &counts, &pieces);
    const uint64_t offset = take_turn(c, at, status, &err, good, pieces.n_bytes, &go_on);
    if (!go_on) {
        return EDT_OK;
    }
    if (good) {
        status = edt_shard_writer_put_example(g->writer, edt_convert_shard_of(spec, i), offset,
                                              &pieces, &err);
    }
    if (status == EDT_OK && count_image(c, g, good, &counts, digest)) {
        status = finish_group(c, group_of(c, i), &err);
    }
    if (status != EDT_OK) {
        (void)pthread_mutex_lock(&c->lock);
        if (!c->write_failed) {
            stop_before(c, at, status, &err);
        }
        c->write_failed = true;
        (void)pthread_mutex_unlock(&c->lock);
    }
    return EDT_OK;
}

edt_status edt_convert_check(const edt_convert_spec *spec, edt_error *err)
{
    if (!is_given(spec->options->output_file_prefix)) {
        EDT_FAIL(err, EDT_ERR_USAGE, "%s is empty: give a path such as out/train",
                 spec->prefix_flag);
    }
    if (spec->options->num_shards < 1 || spec->options->num_shards > EDT_SHARD_MAX_SHARDS) {
        EDT_FAIL(err, EDT_ERR_USAGE, "--num_shards=%" PRId64 ": allowed are 1 to %d",
                 spec->options->num_shards, EDT_SHARD_MAX_SHARDS);
    }
    if (spec->options->num_threads < 0) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "--num_threads=%d: give 1 or more, or 0 for one per processor",
                 spec->options->num_threads);
    }
    if (spec->options->world_size < 0 || spec->options->rank < 0 ||
        spec->options->rank >= edt_convert_world_size(spec)) {
        EDT_FAIL(err, EDT_ERR_USAGE, "rank %d of %d processes", spec->options->rank,
                 spec->options->world_size);
    }
    return EDT_OK;
}

static edt_status run_workers(converter *c, edt_error *err)
{
    const edt_workers_spec spec = {.name = "convert",
                                   .n_threads = c->n_workers,
                                   .ctx = c,
                                   .next = next_image,
                                   .work = convert_image};
    edt_workers *workers = NULL;
    EDT_TRY(edt_workers_start(&spec, err, &workers));
    const edt_status status = edt_workers_join(workers, err);
    edt_workers_destroy(workers);
    if (c->status != EDT_OK) {
        if (err != NULL) {
            *err = c->error;
        }
        return c->status;
    }
    return status;
}

static edt_status create_workers(converter *c, edt_error *err)
{
    c->n_workers = c->spec->options->num_threads > 0 ? c->spec->options->num_threads
                                                     : edt_thread_cpu_count();
    c->workers = edt_mem_calloc(EDT_MEM_MISC, (size_t)c->n_workers, sizeof *c->workers);
    if (c->workers == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %d workers", c->n_workers);
    }
    for (int i = 0; i < c->n_workers; ++i) {
        edt_arena_init(&c->workers[i].arena, EDT_MEM_ARENA, 0);
        EDT_TRY(edt_sha256_create(err, &c->workers[i].sha));
    }
    return EDT_OK;
}

// Which groups an earlier run has finished whose inputs are still the same.
static edt_status find_finished(converter *c, edt_error *err)
{
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    edt_status status = EDT_OK;
    for (int64_t g = 0; g < c->n_groups && status == EDT_OK; ++g) {
        status = edt_convert_state_load_group(c->state, g, NULL, err, &c->groups[g].is_done,
                                              &c->groups[g].kept);
    }
    uint64_t *digests = edt_mem_calloc(EDT_MEM_MISC, (size_t)c->n_groups, sizeof *digests);
    if (status == EDT_OK && digests == NULL) {
        status =
            edt_error_set(err, EDT_ERR_NOMEM, "no memory for %" PRId64 " groups", c->n_groups);
    }
    for (int64_t i = 0; i < c->spec->n_images && status == EDT_OK; ++i) {
        const int64_t g = group_of(c, i);
        if (c->groups[g].is_done &&
            g % edt_convert_world_size(c->spec) == c->spec->options->rank) {
            digests[g] += hash_inputs(c, &arena, i);
            edt_arena_reset(&arena);
        }
    }
    for (int64_t g = 0; g < c->n_groups && status == EDT_OK; ++g) {
        const bool mine = g % edt_convert_world_size(c->spec) == c->spec->options->rank;
        if (mine && c->groups[g].is_done && c->groups[g].kept.digest != digests[g]) {
            EDT_INFO("input files have changed: group %" PRId64 " is converted again", g);
            c->groups[g].is_done = false;
        }
        if (mine && c->groups[g].is_done) {
            c->n_resumed += c->groups[g].kept.n_images;
        }
    }
    edt_mem_free(digests);
    edt_arena_deinit(&arena);
    return status;
}

// The images of this rank's groups that are not finished, in the order of conversion.
static edt_status plan(converter *c, edt_error *err)
{
    const edt_convert_spec *spec = c->spec;
    const int world_size = edt_convert_world_size(spec);
    c->groups = edt_mem_calloc(EDT_MEM_MISC, (size_t)c->n_groups, sizeof *c->groups);
    c->order = edt_mem_calloc(EDT_MEM_MISC, (size_t)spec->n_images + 1, sizeof *c->order);
    c->next_of_shard = edt_mem_calloc(EDT_MEM_MISC, (size_t)spec->options->num_shards,
                                      sizeof *c->next_of_shard);
    int64_t *begin = edt_mem_calloc(EDT_MEM_MISC, (size_t)c->n_groups + 1, sizeof *begin);
    edt_status status = EDT_OK;
    if (c->groups == NULL || c->order == NULL || c->next_of_shard == NULL || begin == NULL) {
        status = edt_error_set(err, EDT_ERR_NOMEM, "no memory for %" PRId64 " images",
                               spec->n_images);
        goto fail;
    }
    EDT_TRY_GOTO(find_finished(c, err));
    for (int64_t i = 0; i < spec->options->num_shards; ++i) {
        c->next_of_shard[i] = edt_convert_first_in_shard(spec, i);
    }
    for (int64_t g = 0; g < c->n_groups; ++g) {
        if (!c->groups[g].is_done) {
            c->groups[g].kept = (edt_convert_group){0};
        }
    }
    for (int pass = 0; pass < 2; ++pass) {
        for (int64_t i = 0; i < spec->n_images; ++i) {
            const int64_t g = group_of(c, i);
            if (c->groups[g].is_done || g % world_size != spec->options->rank) {
                continue;
            }
            if (pass == 0) {
                ++begin[g + 1];
                ++c->groups[g].n_left;
                ++c->groups[g].kept.n_images;
                ++c->n_todo;
            } else {
                c->order[begin[g]++] = i;
            }
        }
        for (int64_t g = 0; pass == 0 && g < c->n_groups; ++g) {
            begin[g + 1] += begin[g];
        }
    }
fail:
    edt_mem_free(begin);
    return status;
}

// Shards without images are files of zero bytes.
static edt_status finish_empty_groups(converter *c, edt_error *err)
{
    for (int64_t g = c->spec->options->rank; g < c->n_groups;
         g += edt_convert_world_size(c->spec)) {
        if (!c->groups[g].is_done && c->groups[g].kept.n_images == 0) {
            EDT_TRY(open_group(c, g, err));
            EDT_TRY(finish_group(c, g, err));
        }
    }
    return EDT_OK;
}

static void destroy(converter *c)
{
    for (int i = 0; c->workers != NULL && i < c->n_workers; ++i) {
        edt_convert_worker_deinit(&c->workers[i]);
    }
    for (int64_t g = 0; c->groups != NULL && g < c->n_groups; ++g) {
        close_group(&c->groups[g]);
    }
    edt_mem_free(c->workers);
    edt_mem_free(c->groups);
    edt_mem_free(c->order);
    edt_mem_free(c->next_of_shard);
    edt_convert_state_close(c->state);
    (void)pthread_cond_destroy(&c->turn);
    (void)pthread_mutex_destroy(&c->lock);
}

// Merges what the groups have kept: all of them, or those of this rank.
static edt_status sum_groups(converter *c, bool all, edt_error *err,
                             edt_convert_stats *out_stats)
{
    edt_convert_stats stats = {.n_resumed = c->n_resumed, .published = all};
    const int64_t first = all ? 0 : c->spec->options->rank;
    const int64_t step = all ? 1 : edt_convert_world_size(c->spec);
    for (int64_t g = first; g < c->n_groups; g += step) {
        edt_convert_group kept = c->groups[g].kept;
        bool is_done = true;
        if (all) {
            EDT_TRY(edt_convert_state_load_group(c->state, g, c->spec->report, err, &is_done,
                                                 &kept));
        }
        if (!is_done) {
            EDT_FAIL(err, EDT_ERR_IO, "'%s.converting' was changed by another program",
                     c->spec->options->output_file_prefix);
        }
        stats.n_images += kept.n_images;
        stats.n_records += kept.n_records;
        stats.n_boxes += kept.counts.n_boxes;
        stats.n_dropped += kept.counts.n_empty + kept.counts.n_outside;
        stats.output_bytes += kept.stream_bytes;
    }
    stats.n_bad = edt_convert_report_n_bad_total(c->spec->report);
    *out_stats = stats;
    return EDT_OK;
}

static edt_status write_report(converter *c, const edt_convert_stats *stats, edt_error *err)
{
    if (!is_given(c->spec->options->report_file)) {
        return EDT_OK;
    }
    const edt_report_number numbers[] = {
        {"images", stats->n_images},
        {"records", stats->n_records},
        {"boxes", stats->n_boxes},
        {"shards", c->spec->options->num_shards},
        {"output_bytes", (int64_t)stats->output_bytes},
    };
    return edt_convert_report_write(c->spec->report, c->spec->program, numbers,
                                    sizeof numbers / sizeof *numbers,
                                    c->spec->options->report_file, err);
}

static void log_summary(const converter *c, const edt_convert_stats *stats)
{
    const double seconds = edt_clock_now_s() - c->begin_s;
    EDT_INFO("Finished writing, skipped %" PRId64 " annotations.", stats->n_dropped);
    for (int i = 0; i < EDT_NOTE_N_KINDS; ++i) {
        const int64_t n = edt_convert_report_n_notes(c->spec->report, (edt_note_kind)i);
        if (n > 0) {
            EDT_INFO("  %s: %" PRId64, edt_note_kind_name((edt_note_kind)i), n);
        }
    }
    if (stats->n_bad > 0) {
        EDT_WARN("%" PRId64 " bad items were left out:", stats->n_bad);
        for (int i = 0; i < EDT_BAD_N_KINDS; ++i) {
            const int64_t n = edt_convert_report_n_bad(c->spec->report, (edt_bad_kind)i);
            if (n > 0) {
                EDT_WARN("  %s: %" PRId64, edt_bad_kind_name((edt_bad_kind)i), n);
            }
        }
    }
    EDT_INFO("%" PRId64 " records with %" PRId64 " boxes in %" PRId64
             " shards, %.1f MB in %.2f s (%.0f images/s)",
             stats->n_records, stats->n_boxes, c->spec->options->num_shards,
             (double)stats->output_bytes / 1e6, seconds,
             seconds > 0 ? (double)c->n_todo / seconds : 0);
}

// Gives the shards their names if this process is the last to finish.
static edt_status publish(converter *c, edt_error *err, edt_convert_stats *out_stats)
{
    const edt_convert_spec *spec = c->spec;
    bool is_last = false;
    EDT_TRY(edt_convert_state_begin_publish(c->state, err, &is_last));
    EDT_TRY(sum_groups(c, is_last, err, out_stats));
    if (!is_last) {
        EDT_INFO("rank %d of %d: its shards are finished; the last rank names them all",
                 spec->options->rank, edt_convert_world_size(spec));
        return EDT_OK;
    }
    EDT_TRY(write_report(c, out_stats, err));
    if (out_stats->n_records == 0 && spec->n_images > 0) {
        for (int64_t g = 0; g < c->n_groups; ++g) {
            EDT_TRY(edt_convert_state_drop_group(c->state, g, err));
        }
        EDT_FAIL(err, EDT_ERR_INVALID,
                 "none of the %" PRId64
                 " images could be used; is %s='%s' the right directory?",
                 spec->n_images, spec->image_flag, spec->image_dir);
    }
    if (spec->finish != NULL) {
        EDT_TRY(spec->finish(spec->ctx, err));
    }
    EDT_TRY(edt_convert_state_publish(c->state, err));
    log_summary(c, out_stats);
    return EDT_OK;
}

// Finds what an earlier run of the same conversion has left, or begins anew.
static edt_status open_state(converter *c, edt_error *err)
{
    const edt_convert_options *o = c->spec->options;
    edt_strbuf identity = {0};
    edt_strbuf_printf(
        &identity,
        "%s 2\nshards %" PRId64 " in %" PRId64 " groups, compression %s\n"
        "skip_bad %d clip_boxes %d quality %d half_chroma %d max_side %" PRId64 " verify %d\n",
        c->spec->program, o->num_shards, c->n_groups,
        edt_shard_compression_suffix(o->compression), o->skip_bad, o->clip_boxes,
        o->reencode.quality, o->reencode.half_chroma, o->reencode.max_side, o->reencode.verify);
    edt_status status = c->spec->write_identity(c->spec->ctx, &identity, err);
    if (status == EDT_OK && identity.failed) {
        status = edt_error_set(err, EDT_ERR_NOMEM, "no memory for the list of inputs");
    }
    if (status == EDT_OK) {
        const edt_convert_state_options options = {.prefix = o->output_file_prefix,
                                                   .n_shards = o->num_shards,
                                                   .compression = o->compression,
                                                   .n_groups = c->n_groups,
                                                   .identity = identity.text};
        status = edt_convert_state_open(&options, err, &c->state);
    }
    edt_strbuf_deinit(&identity);
    return status;
}

static edt_status convert(converter *c, edt_error *err, edt_convert_stats *out_stats)
{
    const edt_convert_spec *spec = c->spec;
    EDT_TRY(edt_convert_check(spec, err));
    if (spec->n_images == 0) {
        EDT_WARN("the list of images is empty: all shards will be empty files");
    }
    c->n_groups = edt_convert_count_groups(spec);
    EDT_TRY(open_state(c, err));
    EDT_TRY(plan(c, err));
    EDT_TRY(create_workers(c, err));
    if (c->n_resumed > 0) {
        EDT_INFO("going on with a conversion that was ended early: %" PRId64 " images are done",
                 c->n_resumed);
    }
    if (spec->options->show_progress) {
        const edt_progress_spec progress = {
            .what = "convert", .unit = "images", .total = c->n_todo};
        edt_progress_begin(&c->progress, &progress);
    }
    const edt_status status = run_workers(c, err);
    if (spec->options->show_progress) {
        edt_progress_end(&c->progress);
    }
    EDT_TRY(status);
    EDT_TRY(finish_empty_groups(c, err));
    return publish(c, err, out_stats);
}

edt_status edt_convert_run(const edt_convert_spec *spec, edt_error *err,
                           edt_convert_stats *out_stats)
{
    converter c = {.spec = spec, .stop_at = INT64_MAX, .begin_s = edt_clock_now_s()};
    (void)pthread_mutex_init(&c.lock, NULL);
    (void)pthread_cond_init(&c.turn, NULL);
    edt_convert_stats stats = {0};
    const edt_status status = convert(&c, err, &stats);
    if (status == EDT_OK && out_stats != NULL) {
        *out_stats = stats;
    }
    if (status != EDT_OK && c.state != NULL && edt_convert_state_has_groups(c.state)) {
        EDT_INFO("finished shards are kept in '%s.converting': the same command goes on from "
                 "there",
                 spec->options->output_file_prefix);
    }
    destroy(&c);
    return status;
}
