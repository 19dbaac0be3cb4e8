// See convert_coco.h. Workers take images in the order of the list; each reads, hashes and
// packs its image, waits for its turn in the image's shard to take the next place there, and
// writes to that place while others go on. Whoever takes an image takes its turn, whatever
// becomes of it, so nobody waits for ever.
#include "dataio/convert_coco.h"

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
#include "dataio/coco_example.h"
#include "dataio/jpeg_probe.h"
#include "dataio/sha256.h"
#include "dataio/shard_writer.h"

typedef struct worker_state {
    edt_arena arena;
    edt_sha256 *sha;
    uint8_t *buffer; // the image file
    size_t capacity;
} worker_state;

typedef struct converter {
    const edt_convert_coco_options *options;
    edt_convert_report *report;
    edt_coco_json *info, *objects, *captions; // NULL: not given
    const edt_coco_json *list;                // the one whose images are written
    edt_shard_writer *writer;
    worker_state *workers;
    int n_workers;
    int64_t i_next; // image that is handed out next

    pthread_mutex_t lock; // guards what follows
    pthread_cond_t turn;
    int64_t *next_of_shard; // [num_shards] image whose turn it is
    int64_t stop_at;        // no image from here on is begun
    edt_status status;      // of image stop_at
    edt_error error;
    edt_coco_example_counts counts;
    int64_t n_records, n_done;
    edt_progress progress;
} converter;

static bool is_given(const char *text)
{
    return text != NULL && text[0] != '\0';
}

// Reads a whole file into the worker's buffer, which only ever grows. 0 or an errno value.
static int read_file(worker_state *worker, const char *path, size_t *out_n)
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

// Header and size of one image; `*out_good` false when it is to be left out.
static edt_status check_image(converter *c, const edt_coco_image *image, const char *path,
                              edt_span encoded, edt_error *err, bool *out_good)
{
    *out_good = false;
    edt_error problem = {0};
    edt_image_header header;
    if (encoded.n_bytes == 0) {
        return edt_convert_report_bad(c->report, EDT_BAD_UNREADABLE, image->i_entry, err,
                                      "image '%s' (images[%" PRId64 "]) is an empty file", path,
                                      image->i_entry);
    }
    if (edt_jpeg_probe(encoded, &problem, &header) != EDT_OK) {
        return edt_convert_report_bad(c->report, EDT_BAD_HEADER, image->i_entry, err,
                                      "image '%s' (images[%" PRId64 "]): %s", path,
                                      image->i_entry, problem.text);
    }
    if (!edt_jpeg_probe_is_whole(encoded, &header)) {
        return edt_convert_report_bad(
            c->report, EDT_BAD_HEADER, image->i_entry, err,
            "image '%s' (images[%" PRId64
            "]): the JPEG has no end marker in its %zu bytes: it is cut off",
            path, image->i_entry, encoded.n_bytes);
    }
    if (header.height != image->height || header.width != image->width) {
        return edt_convert_report_bad(
            c->report, EDT_BAD_SIZE, image->i_entry, err,
            "image '%s' (images[%" PRId64 "]) is %" PRId64 " x %" PRId64
            " (height x width), its JSON entry says %" PRId64 " x %" PRId64,
            path, image->i_entry, header.height, header.width, image->height, image->width);
    }
    if (header.format != EDT_IMAGE_JPEG) {
        edt_convert_report_note(c->report, EDT_NOTE_NOT_JPEG, 1);
    }
    *out_good = true;
    return EDT_OK;
}

// Everything up to the record's bytes. `*out_good` false: the image is left out.
static edt_status make_record(converter *c, worker_state *worker, const edt_coco_image *image,
                              edt_error *err, bool *out_good,
                              edt_coco_example_counts *out_counts,
                              edt_tfexample_pieces *out_pieces)
{
    edt_coco_example_input input = {.image = image, .clip_boxes = c->options->clip_boxes};
    char sha[EDT_SHA256_HEX_BYTES + 1];
    *out_good = false;
    const char *name =
        edt_arena_strndup(&worker->arena, image->file_name.data, image->file_name.n_bytes);
    const char *path =
        name != NULL ? edt_path_join(&worker->arena, c->options->image_dir, name) : NULL;
    if (path == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for a path");
    }
    size_t n_bytes = 0;
    const int code = read_file(worker, path, &n_bytes);
    if (code == ENOMEM || code == EMFILE || code == ENFILE) {
        return edt_error_set_errno(err, EDT_ERR_IO, code, "cannot read image '%s'", path);
    }
    if (code != 0) {
        return edt_convert_report_bad(c->report, EDT_BAD_UNREADABLE, image->i_entry, err,
                                      "cannot read image '%s' (images[%" PRId64 "]): %s", path,
                                      image->i_entry, strerror(code));
    }
    input.encoded = (edt_span){.data = worker->buffer, .n_bytes = n_bytes};
    EDT_TRY(check_image(c, image, path, input.encoded, err, out_good));
    if (!*out_good) {
        return EDT_OK;
    }
    EDT_TRY(edt_sha256_run(worker->sha, input.encoded, err, sha));
    input.sha256 = sha;
    if (c->objects != NULL) {
        input.categories = c->objects;
        input.annotations =
            edt_coco_json_annotations(c->objects, image->id, &input.n_annotations);
    }
    if (c->captions != NULL) {
        input.captions = edt_coco_json_captions(c->captions, image->id, &input.n_captions);
    }
    return edt_coco_example_write(&input, &worker->arena, err, out_counts, out_pieces);
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
    const int64_t i_shard = i % c->options->num_shards;
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
    c->next_of_shard[i_shard] += c->options->num_shards;
    (void)pthread_cond_broadcast(&c->turn);
    (void)pthread_mutex_unlock(&c->lock);
    return offset;
}

static void count_image(converter *c, bool written, const edt_coco_example_counts *counts)
{
    (void)pthread_mutex_lock(&c->lock);
    if (written) {
        c->counts.n_boxes += counts->n_boxes;
        c->counts.n_empty += counts->n_empty;
        c->counts.n_outside += counts->n_outside;
        c->counts.n_clipped += counts->n_clipped;
        c->counts.n_negative += counts->n_negative;
        ++c->n_records;
    }
    ++c->n_done;
    if (c->options->show_progress) {
        edt_progress_update(&c->progress, c->n_done, "%" PRId64 " boxes", c->counts.n_boxes);
    }
    (void)pthread_mutex_unlock(&c->lock);
}

static edt_status next_image(void *ctx, void **out_unit, edt_error *err)
{
    converter *c = ctx;
    EDT_TRY(edt_interrupt_check(err));
    (void)pthread_mutex_lock(&c->lock);
    const bool more = c->i_next < edt_coco_json_n_images(c->list) && c->i_next < c->stop_at;
    (void)pthread_mutex_unlock(&c->lock);
    if (!more) {
        return EDT_END;
    }
    // The unit is only read through.
    *out_unit = (void *)(uintptr_t)edt_coco_json_image(c->list, c->i_next++);
    return EDT_OK;
}

static edt_status convert_image(void *ctx, int i_worker, void *unit, edt_error *unused)
{
    (void)unused; // errors wait in the converter for those of earlier images
    converter *c = ctx;
    worker_state *worker = &c->workers[i_worker];
    const edt_coco_image *image = unit;
    const int64_t i = image - edt_coco_json_image(c->list, 0);
    edt_error err = {0};
    edt_coco_example_counts counts = {0};
    edt_tfexample_pieces pieces = {0};
    bool good = false;
    bool write = false;
    edt_arena_reset(&worker->arena);
    edt_status status = make_record(c, worker, image, &err, &good, &counts, &pieces);
    const uint64_t offset = take_turn(c, i, status, &err, good, pieces.n_bytes, &write);
    if (write) {
        status = edt_shard_writer_put(c->writer, i % c->options->num_shards, offset,
                                      pieces.pieces, pieces.n_pieces, &err);
        if (status != EDT_OK) {
            (void)pthread_mutex_lock(&c->lock);
            stop_before(c, i, status, &err);
            (void)pthread_mutex_unlock(&c->lock);
        }
    }
    count_image(c, write && status == EDT_OK, &counts);
    return EDT_OK;
}

static edt_status check_options(const edt_convert_coco_options *o, edt_error *err)
{
    if (!is_given(o->image_dir)) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "`image_dir` missing: name the directory of the images with --image_dir=DIR");
    }
    if (!is_given(o->image_info_file) && !is_given(o->object_annotations_file) &&
        !is_given(o->caption_annotations_file)) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "All annotation files are missing: give --object_annotations_file, "
                 "--caption_annotations_file or --image_info_file");
    }
    if (!is_given(o->output_file_prefix)) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "--output_file_prefix is empty: give a path such as out/train");
    }
    if (o->num_shards < 1 || o->num_shards > EDT_SHARD_MAX_SHARDS) {
        EDT_FAIL(err, EDT_ERR_USAGE, "--num_shards=%" PRId64 ": allowed are 1 to %d",
                 o->num_shards, EDT_SHARD_MAX_SHARDS);
    }
    if (o->num_threads < 0) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "--num_threads=%d: give 1 or more, or 0 for one per processor",
                 o->num_threads);
    }
    if (!edt_path_is_dir(o->image_dir)) {
        EDT_FAIL(err, EDT_ERR_NOT_FOUND, "--image_dir: '%s' %s", o->image_dir,
                 edt_path_exists(o->image_dir) ? "is not a directory" : "does not exist");
    }
    return EDT_OK;
}

static int64_t count_bare(const edt_coco_json *coco, bool captions)
{
    int64_t n_bare = 0;
    for (int64_t i = 0; i < edt_coco_json_n_images(coco); ++i) {
        const int64_t id = edt_coco_json_image(coco, i)->id;
        int64_t n;
        if (captions) {
            (void)edt_coco_json_captions(coco, id, &n);
        } else {
            (void)edt_coco_json_annotations(coco, id, &n);
        }
        n_bare += n == 0;
    }
    return n_bare;
}

// Each file is read once; the first one given also lists the images.
static edt_status open_annotations(converter *c, edt_error *err)
{
    const edt_convert_coco_options *o = c->options;
    unsigned list = EDT_COCO_IMAGES;
    if (is_given(o->image_info_file)) {
        EDT_TRY(edt_coco_json_open(o->image_info_file, list, c->report, err, &c->info));
        c->list = c->info;
        list = 0;
    }
    if (is_given(o->object_annotations_file)) {
        EDT_INFO("Building bounding box index.");
        EDT_TRY(edt_coco_json_open(o->object_annotations_file, EDT_COCO_INSTANCES | list,
                                   c->report, err, &c->objects));
        EDT_INFO("%" PRId64 " images are missing bboxes.", count_bare(c->objects, false));
        c->list = c->list != NULL ? c->list : c->objects;
        list = 0;
    }
    if (is_given(o->caption_annotations_file)) {
        EDT_INFO("Building caption index.");
        EDT_TRY(edt_coco_json_open(o->caption_annotations_file, EDT_COCO_CAPTIONS | list,
                                   c->report, err, &c->captions));
        EDT_INFO("%" PRId64 " images are missing captions.", count_bare(c->captions, true));
        c->list = c->list != NULL ? c->list : c->captions;
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
    const int64_t n_shards = c->options->num_shards;
    c->n_workers =
        c->options->num_threads > 0 ? c->options->num_threads : edt_thread_cpu_count();
    c->workers = edt_mem_calloc(EDT_MEM_MISC, (size_t)c->n_workers, sizeof *c->workers);
    c->next_of_shard = edt_mem_calloc(EDT_MEM_MISC, (size_t)n_shards, sizeof *c->next_of_shard);
    if (c->workers == NULL || c->next_of_shard == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %d workers", c->n_workers);
    }
    for (int64_t i = 0; i < n_shards; ++i) {
        c->next_of_shard[i] = i;
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
    edt_coco_json_close(c->info);
    edt_coco_json_close(c->objects);
    edt_coco_json_close(c->captions);
    edt_convert_report_destroy(c->report);
    (void)pthread_cond_destroy(&c->turn);
    (void)pthread_mutex_destroy(&c->lock);
}

static edt_convert_coco_stats get_stats(const converter *c)
{
    return (edt_convert_coco_stats){.n_images = edt_coco_json_n_images(c->list),
                                    .n_records = c->n_records,
                                    .n_boxes = c->counts.n_boxes,
                                    .n_dropped = c->counts.n_empty + c->counts.n_outside,
                                    .n_bad = edt_convert_report_n_bad_total(c->report),
                                    .output_bytes = edt_shard_writer_n_bytes(c->writer)};
}

static edt_status write_report(converter *c, const edt_convert_coco_stats *stats,
                               edt_error *err)
{
    edt_convert_report_note(c->report, EDT_NOTE_DROPPED_EMPTY, c->counts.n_empty);
    edt_convert_report_note(c->report, EDT_NOTE_DROPPED_OUTSIDE, c->counts.n_outside);
    edt_convert_report_note(c->report, EDT_NOTE_CLIPPED, c->counts.n_clipped);
    edt_convert_report_note(c->report, EDT_NOTE_NEGATIVE_ORIGIN, c->counts.n_negative);
    if (!is_given(c->options->report_file)) {
        return EDT_OK;
    }
    const edt_report_number numbers[] = {
        {"images", stats->n_images},
        {"records", stats->n_records},
        {"boxes", stats->n_boxes},
        {"shards", c->options->num_shards},
        {"output_bytes", (int64_t)stats->output_bytes},
    };
    return edt_convert_report_write(c->report, "create_coco_records", numbers,
                                    sizeof numbers / sizeof *numbers, c->options->report_file,
                                    err);
}

static void log_summary(const converter *c, const edt_convert_coco_stats *stats, double seconds)
{
    EDT_INFO("Finished writing, skipped %" PRId64 " annotations.", stats->n_dropped);
    for (int i = 0; i < EDT_NOTE_N_KINDS; ++i) {
        const int64_t n = edt_convert_report_n_notes(c->report, (edt_note_kind)i);
        if (n > 0) {
            EDT_INFO("  %s: %" PRId64, edt_note_kind_name((edt_note_kind)i), n);
        }
    }
    if (stats->n_bad > 0) {
        EDT_WARN("%" PRId64 " bad items were left out:", stats->n_bad);
        for (int i = 0; i < EDT_BAD_N_KINDS; ++i) {
            const int64_t n = edt_convert_report_n_bad(c->report, (edt_bad_kind)i);
            if (n > 0) {
                EDT_WARN("  %s: %" PRId64, edt_bad_kind_name((edt_bad_kind)i), n);
            }
        }
    }
    EDT_INFO("%" PRId64 " records with %" PRId64 " boxes in %" PRId64
             " shards, %.1f MB in %.2f s (%.0f images/s)",
             stats->n_records, stats->n_boxes, c->options->num_shards,
             (double)stats->output_bytes / 1e6, seconds,
             seconds > 0 ? (double)stats->n_images / seconds : 0);
}

static edt_status convert(converter *c, edt_error *err, edt_convert_coco_stats *out_stats)
{
    const double begin_s = edt_clock_now_s();
    EDT_TRY(check_options(c->options, err));
    EDT_INFO("writing to output path: %s", c->options->output_file_prefix);
    EDT_TRY(edt_convert_report_create(c->options->skip_bad, err, &c->report));
    EDT_TRY(open_annotations(c, err));
    const int64_t n_images = edt_coco_json_n_images(c->list);
    if (n_images == 0) {
        EDT_WARN("the list of images is empty: all shards will be empty files");
    }
    EDT_TRY(edt_shard_writer_create(c->options->output_file_prefix, c->options->num_shards, err,
                                    &c->writer));
    EDT_TRY(create_workers(c, err));
    if (c->options->show_progress) {
        const edt_progress_spec spec = {.what = "convert", .unit = "images", .total = n_images};
        edt_progress_begin(&c->progress, &spec);
    }
    const edt_status status = run_workers(c, err);
    if (c->options->show_progress) {
        edt_progress_end(&c->progress);
    }
    EDT_TRY(status);
    const edt_convert_coco_stats stats = get_stats(c);
    EDT_TRY(write_report(c, &stats, err));
    if (stats.n_records == 0 && n_images > 0) {
        EDT_FAIL(err, EDT_ERR_INVALID,
                 "none of the %" PRId64
                 " images could be used; is --image_dir='%s' the right directory?",
                 n_images, c->options->image_dir);
    }
    EDT_TRY(edt_shard_writer_commit(c->writer, err));
    log_summary(c, &stats, edt_clock_now_s() - begin_s);
    *out_stats = stats;
    return EDT_OK;
}

edt_status edt_convert_coco(const edt_convert_coco_options *options, edt_error *err,
                            edt_convert_coco_stats *out_stats)
{
    converter c = {.options = options, .stop_at = INT64_MAX};
    (void)pthread_mutex_init(&c.lock, NULL);
    (void)pthread_cond_init(&c.turn, NULL);
    edt_convert_coco_stats stats;
    const edt_status status = convert(&c, err, &stats);
    if (status == EDT_OK && out_stats != NULL) {
        *out_stats = stats;
    }
    destroy(&c);
    return status;
}
