// See convert_run.h. Workers take images in the order of the list; each makes its record, waits
// for its turn in the image's shard to take the next place there, and writes to that place
// while others go on. Whoever takes an image takes its turn, whatever becomes of it, so nobody
// waits for ever.
#include "dataio/convert_run.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/path.h"
#include "core/progress.h"
#include "core/signal.h"
#include "core/thread.h"
#include "core/workers.h"
#include "dataio/jpeg_probe.h"

typedef struct converter {
    const edt_convert_spec *spec;
    edt_shard_writer *writer;
    edt_convert_worker *workers;
    int n_workers;
    int64_t i_next; // image that is handed out next
    int64_t n_mine; // images of this rank

    pthread_mutex_t lock; // guards what follows
    pthread_cond_t turn;
    int64_t *next_of_shard; // [num_shards] image whose turn it is
    int64_t stop_at;        // no image from here on is begun
    edt_status status;      // of image stop_at
    edt_error error;
    edt_convert_counts counts;
    int64_t n_records, n_done;
    edt_progress progress;
} converter;

static bool is_given(const char *text)
{
    return text != NULL && text[0] != '\0';
}

// Reads a whole file into the worker's buffer, which only ever grows. 0 or an errno value.
static int read_file(edt_convert_worker *worker, const char *path, size_t *out_n)
{
    int fd;
    do {
        // Opening a named pipe must not wait for its writer.
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0) {
        return errno;
    }
    int code = 0;
    size_t used = 0;
    struct stat info;
    if (fstat(fd, &info) != 0) {
        code = errno;
    } else if (!S_ISREG(info.st_mode)) {
        code = S_ISDIR(info.st_mode) ? EISDIR : ENOTSUP;
    }
    // One byte more than the size tells the end of the file from a file that grows.
    size_t wanted = code == 0 ? (size_t)info.st_size + 1 : 0;
    while (code == 0) {
        if (wanted > worker->capacity) {
            uint8_t *grown = edt_mem_realloc(EDT_MEM_MISC, worker->buffer, wanted + wanted / 2);
            if (grown == NULL) {
                code = ENOMEM;
                break;
            }
            worker->buffer = grown;
            worker->capacity = wanted + wanted / 2;
        }
        const ssize_t n = read(fd, worker->buffer + used, worker->capacity - used);
        if (n == 0) {
            break;
        }
        if (n > 0) {
            used += (size_t)n;
            wanted = used + 1;
        } else if (errno != EINTR) {
            code = errno;
        }
    }
    (void)close(fd);
    *out_n = used;
    return code;
}

static edt_status check_header(edt_convert_report *report, const edt_convert_image *image,
                               edt_span encoded, edt_error *err, bool *out_good)
{
    edt_error problem = {0};
    edt_image_header header;
    if (encoded.n_bytes == 0) {
        return edt_convert_report_bad(report, EDT_BAD_UNREADABLE, image->order, err,
                                      "image '%s' (%s) is an empty file", image->path,
                                      image->where);
    }
    if (edt_jpeg_probe(encoded, &problem, &header) != EDT_OK) {
        return edt_convert_report_bad(report, EDT_BAD_HEADER, image->order, err,
                                      "image '%s' (%s): %s", image->path, image->where,
                                      problem.text);
    }
    if (image->jpeg_only && header.format != EDT_IMAGE_JPEG) {
        return edt_convert_report_bad(report, EDT_BAD_HEADER, image->order, err,
                                      "image '%s' (%s): Image format not JPEG: it is a %s file",
                                      image->path, image->where,
                                      edt_image_format_name(header.format));
    }
    if (!edt_jpeg_probe_is_whole(encoded, &header)) {
        return edt_convert_report_bad(
            report, EDT_BAD_HEADER, image->order, err,
            "image '%s' (%s): the JPEG has no end marker in its %zu bytes: it is cut off",
            image->path, image->where, encoded.n_bytes);
    }
    if (header.height != image->height || header.width != image->width) {
        return edt_convert_report_bad(report, EDT_BAD_SIZE, image->order, err,
                                      "image '%s' (%s) is %" PRId64 " x %" PRId64
                                      " (height x width), its annotation says %" PRId64
                                      " x %" PRId64,
                                      image->path, image->where, header.height, header.width,
                                      image->height, image->width);
    }
    if (header.format != EDT_IMAGE_JPEG) {
        edt_convert_report_note(report, EDT_NOTE_NOT_JPEG, 1);
    }
    *out_good = true;
    return EDT_OK;
}

edt_status edt_convert_read_image(edt_convert_worker *worker, edt_convert_report *report,
                                  const edt_convert_image *image, edt_error *err,
                                  bool *out_good, edt_span *out_encoded)
{
    size_t n_bytes = 0;
    *out_good = false;
    const int code = read_file(worker, image->path, &n_bytes);
    if (code == ENOMEM || code == EMFILE || code == ENFILE) {
        return edt_error_set_errno(err, EDT_ERR_IO, code, "cannot read image '%s'",
                                   image->path);
    }
    if (code != 0) {
        return edt_convert_report_bad(report, EDT_BAD_UNREADABLE, image->order, err,
                                      "cannot read image '%s' (%s): %s", image->path,
                                      image->where, strerror(code));
    }
    *out_encoded = (edt_span){.data = worker->buffer, .n_bytes = n_bytes};
    return check_header(report, image, *out_encoded, err, out_good);
}

static int part_of(const edt_convert_spec *spec, int64_t i)
{
    int part = 0;
    while (part + 1 < spec->n_parts && spec->part_begin[part + 1] <= i) {
        ++part;
    }
    return part;
}

static int64_t part_first(const edt_convert_spec *spec, int part)
{
    return part < spec->n_parts ? spec->part_begin[part] : part == 0 ? 0 : spec->n_images;
}

static int64_t shard_of(const edt_convert_spec *spec, int64_t i)
{
    return (i - part_first(spec, part_of(spec, i))) % spec->num_shards;
}

// The first image of shard i_shard in `part` or a later one; n_images when there is none.
static int64_t first_from_part(const edt_convert_spec *spec, int part, int64_t i_shard)
{
    const int n_parts = spec->n_parts > 0 ? spec->n_parts : 1;
    for (; part < n_parts; ++part) {
        const int64_t begin = part_first(spec, part);
        const int64_t end = part + 1 < n_parts ? part_first(spec, part + 1) : spec->n_images;
        if (i_shard < end - begin) {
            return begin + i_shard;
        }
    }
    return spec->n_images;
}

// The image that follows `i` in its shard.
static int64_t next_in_shard(const edt_convert_spec *spec, int64_t i)
{
    const int part = part_of(spec, i);
    const int64_t end = part + 1 < spec->n_parts ? part_first(spec, part + 1) : spec->n_images;
    return i + spec->num_shards < end ? i + spec->num_shards
                                      : first_from_part(spec, part + 1, shard_of(spec, i));
}

// The first error in the order of the list is the one to report, so images before it are
// finished.
static void stop_before(converter *c, int64_t i, edt_status status, const edt_error *err)
{
    if (i < c->stop_at) {
        c->stop_at = i;
        c->status = status;
        c->error = *err;
    }
}

static uint64_t take_turn(converter *c, int64_t i, edt_status status, const edt_error *err,
                          bool good, uint64_t n_bytes, bool *out_write)
{
    const int64_t i_shard = shard_of(c->spec, i);
    uint64_t offset = 0;
    (void)pthread_mutex_lock(&c->lock);
    while (c->next_of_shard[i_shard] != i) {
        (void)pthread_cond_wait(&c->turn, &c->lock);
    }
    if (status != EDT_OK) {
        stop_before(c, i, status, err);
    }
    *out_write = good && status == EDT_OK && i < c->stop_at;
    if (*out_write) {
        offset = edt_shard_writer_reserve(c->writer, i_shard, n_bytes);
    }
    c->next_of_shard[i_shard] = next_in_shard(c->spec, i);
    (void)pthread_cond_broadcast(&c->turn);
    (void)pthread_mutex_unlock(&c->lock);
    return offset;
}

static void count_image(converter *c, bool written, const edt_convert_counts *counts)
{
    (void)pthread_mutex_lock(&c->lock);
    if (written) {
        c->counts.n_boxes += counts->n_boxes;
        c->counts.n_empty += counts->n_empty;
        c->counts.n_outside += counts->n_outside;
        c->counts.n_clipped += counts->n_clipped;
        c->counts.n_negative += counts->n_negative;
        c->counts.n_kept_outside += counts->n_kept_outside;
        c->counts.n_kept_empty += counts->n_kept_empty;
        ++c->n_records;
    }
    ++c->n_done;
    if (c->spec->show_progress) {
        edt_progress_update(&c->progress, c->n_done, "%" PRId64 " boxes", c->counts.n_boxes);
    }
    (void)pthread_mutex_unlock(&c->lock);
}

// Images of this rank's shards.
static int64_t count_mine(const converter *c)
{
    int64_t n = 0;
    for (int64_t i = 0; i < c->spec->n_images; ++i) {
        n += edt_shard_writer_owns(c->writer, shard_of(c->spec, i));
    }
    return n;
}

static edt_status next_image(void *ctx, void **out_unit, edt_error *err)
{
    converter *c = ctx;
    EDT_TRY(edt_interrupt_check(err));
    (void)pthread_mutex_lock(&c->lock);
    while (c->i_next < c->spec->n_images &&
           !edt_shard_writer_owns(c->writer, shard_of(c->spec, c->i_next))) {
        ++c->i_next;
    }
    const bool more = c->i_next < c->spec->n_images && c->i_next < c->stop_at;
    (void)pthread_mutex_unlock(&c->lock);
    if (!more) {
        return EDT_END;
    }
    // A unit is the number of an image; NULL would be none.
    *out_unit = (void *)(uintptr_t)(++c->i_next);
    return EDT_OK;
}

static edt_status convert_image(void *ctx, int i_worker, void *unit, edt_error *unused)
{
    (void)unused; // errors wait in the converter for those of earlier images
    converter *c = ctx;
    edt_convert_worker *worker = &c->workers[i_worker];
    const int64_t i = (int64_t)(uintptr_t)unit - 1;
    edt_error err = {0};
    edt_convert_counts counts = {0};
    edt_tfexample_pieces pieces = {0};
    bool good = false;
    bool write = false;
    edt_arena_reset(&worker->arena);
    edt_status status =
        c->spec->make_record(c->spec->ctx, worker, i, &err, &good, &counts, &pieces);
    const uint64_t offset = take_turn(c, i, status, &err, good, pieces.n_bytes, &write);
    if (write) {
        status = edt_shard_writer_put_example(c->writer, shard_of(c->spec, i), offset, &pieces,
                                              &err);
        if (status != EDT_OK) {
            (void)pthread_mutex_lock(&c->lock);
            stop_before(c, i, status, &err);
            (void)pthread_mutex_unlock(&c->lock);
        }
    }
    count_image(c, write && status == EDT_OK, &counts);
    return EDT_OK;
}

edt_status edt_convert_check(const edt_convert_spec *spec, edt_error *err)
{
    if (!is_given(spec->output_file_prefix)) {
        EDT_FAIL(err, EDT_ERR_USAGE, "%s is empty: give a path such as out/train",
                 spec->prefix_flag);
    }
    if (spec->num_shards < 1 || spec->num_shards > EDT_SHARD_MAX_SHARDS) {
        EDT_FAIL(err, EDT_ERR_USAGE, "--num_shards=%" PRId64 ": allowed are 1 to %d",
                 spec->num_shards, EDT_SHARD_MAX_SHARDS);
    }
    if (spec->num_threads < 0) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "--num_threads=%d: give 1 or more, or 0 for one per processor",
                 spec->num_threads);
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
    const int64_t n_shards = c->spec->num_shards;
    c->n_workers = c->spec->num_threads > 0 ? c->spec->num_threads : edt_thread_cpu_count();
    c->workers = edt_mem_calloc(EDT_MEM_MISC, (size_t)c->n_workers, sizeof *c->workers);
    c->next_of_shard = edt_mem_calloc(EDT_MEM_MISC, (size_t)n_shards, sizeof *c->next_of_shard);
    if (c->workers == NULL || c->next_of_shard == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %d workers", c->n_workers);
    }
    for (int64_t i = 0; i < n_shards; ++i) {
        c->next_of_shard[i] = first_from_part(c->spec, 0, i);
    }
    for (int i = 0; i < c->n_workers; ++i) {
        edt_arena_init(&c->workers[i].arena, EDT_MEM_ARENA, 0);
        EDT_TRY(edt_sha256_create(err, &c->workers[i].sha));
    }
    return EDT_OK;
}

static void destroy(converter *c)
{
    for (int i = 0; c->workers != NULL && i < c->n_workers; ++i) {
        edt_arena_deinit(&c->workers[i].arena);
        edt_sha256_destroy(c->workers[i].sha);
        edt_mem_free(c->workers[i].buffer);
    }
    edt_mem_free(c->workers);
    edt_mem_free(c->next_of_shard);
    edt_shard_writer_close(c->writer);
    (void)pthread_cond_destroy(&c->turn);
    (void)pthread_mutex_destroy(&c->lock);
}

static edt_convert_stats get_stats(const converter *c)
{
    return (edt_convert_stats){.n_images = c->n_mine,
                               .n_records = c->n_records,
                               .n_boxes = c->counts.n_boxes,
                               .n_dropped = c->counts.n_empty + c->counts.n_outside,
                               .n_bad = edt_convert_report_n_bad_total(c->spec->report),
                               .output_bytes = edt_shard_writer_n_bytes(c->writer)};
}

static edt_status write_report(converter *c, const edt_convert_stats *stats, edt_error *err)
{
    edt_convert_report_note(c->spec->report, EDT_NOTE_DROPPED_EMPTY, c->counts.n_empty);
    edt_convert_report_note(c->spec->report, EDT_NOTE_DROPPED_OUTSIDE, c->counts.n_outside);
    edt_convert_report_note(c->spec->report, EDT_NOTE_CLIPPED, c->counts.n_clipped);
    edt_convert_report_note(c->spec->report, EDT_NOTE_NEGATIVE_ORIGIN, c->counts.n_negative);
    edt_convert_report_note(c->spec->report, EDT_NOTE_KEPT_OUTSIDE, c->counts.n_kept_outside);
    edt_convert_report_note(c->spec->report, EDT_NOTE_KEPT_EMPTY, c->counts.n_kept_empty);
    if (!is_given(c->spec->report_file)) {
        return EDT_OK;
    }
    const edt_report_number numbers[] = {
        {"images", stats->n_images},
        {"records", stats->n_records},
        {"boxes", stats->n_boxes},
        {"shards", c->spec->num_shards},
        {"output_bytes", (int64_t)stats->output_bytes},
    };
    return edt_convert_report_write(c->spec->report, c->spec->program, numbers,
                                    sizeof numbers / sizeof *numbers, c->spec->report_file,
                                    err);
}

static void log_summary(const converter *c, const edt_convert_stats *stats, double seconds)
{
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
             stats->n_records, stats->n_boxes, c->spec->num_shards,
             (double)stats->output_bytes / 1e6, seconds,
             seconds > 0 ? (double)stats->n_images / seconds : 0);
}

static edt_status convert(converter *c, edt_error *err, edt_convert_stats *out_stats)
{
    const edt_convert_spec *spec = c->spec;
    const double begin_s = edt_clock_now_s();
    EDT_TRY(edt_convert_check(spec, err));
    if (spec->n_images == 0) {
        EDT_WARN("the list of images is empty: all shards will be empty files");
    }
    const edt_shard_writer_options shards = {.prefix = spec->output_file_prefix,
                                             .n_shards = spec->num_shards,
                                             .compression = spec->compression,
                                             .rank = spec->rank,
                                             .world_size = spec->world_size};
    EDT_TRY(edt_shard_writer_open(&shards, err, &c->writer));
    c->n_mine = count_mine(c);
    EDT_TRY(create_workers(c, err));
    if (spec->show_progress) {
        const edt_progress_spec progress = {
            .what = "convert", .unit = "images", .total = c->n_mine};
        edt_progress_begin(&c->progress, &progress);
    }
    const edt_status status = run_workers(c, err);
    if (spec->show_progress) {
        edt_progress_end(&c->progress);
    }
    EDT_TRY(status);
    const edt_convert_stats stats = get_stats(c);
    EDT_TRY(write_report(c, &stats, err));
    if (stats.n_records == 0 && c->n_mine > 0) {
        EDT_FAIL(err, EDT_ERR_INVALID,
                 "none of the %" PRId64 " images could be used; is %s the right directory?",
                 c->n_mine, spec->image_source);
    }
    if (spec->finish != NULL) {
        EDT_TRY(spec->finish(spec->ctx, err));
    }
    EDT_TRY(edt_shard_writer_commit(c->writer, err));
    log_summary(c, &stats, edt_clock_now_s() - begin_s);
    *out_stats = stats;
    return EDT_OK;
}

edt_status edt_convert_run(const edt_convert_spec *spec, edt_error *err,
                           edt_convert_stats *out_stats)
{
    converter c = {.spec = spec, .stop_at = INT64_MAX};
    (void)pthread_mutex_init(&c.lock, NULL);
    (void)pthread_cond_init(&c.turn, NULL);
    const edt_status status = convert(&c, err, out_stats);
    destroy(&c);
    return status;
}
