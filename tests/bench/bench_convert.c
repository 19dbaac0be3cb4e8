// Speed of create_coco_records' work beside its ceiling: the same image files read, hashed by
// SHA-256 and written by the same number of threads, measured in turn. Every image is listed
// several times so that start-up does not count. Beside the times, CPU time per image is given,
// which other work on the machine disturbs less. Prints one JSON line per figure.
//
//   bench_convert [SAMPLE_DATA_DIR [OUTPUT_DIR]]     (default: EDT_DATA_DIR, a new one in /tmp)
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/path.h"
#include "core/strbuf.h"
#include "core/thread.h"
#include "core/workers.h"
#include "dataio/coco_json.h"
#include "dataio/convert_coco.h"
#include "dataio/sha256.h"
#include "dataio/shard_reader.h"

enum { N_PASSES = 7, N_REPEATS = 6, N_SHARDS = 32, MAX_THREADS = 64 };

typedef struct bench {
    edt_arena arena;
    const char *image_dir, *instances, *dir, *list;
    const char **paths; // [n_files]
    int64_t n_files, n_boxes, i_next;
    int n_threads;
    struct {
        edt_sha256 *sha;
        uint8_t *buffer;
        size_t capacity;
        int fd;
    } worker[MAX_THREADS];
} bench;

// A new file costs less than the replacement of an old one, whose pages the file system must
// write or drop first, so every pass begins without outputs.
static void remove_outputs(const bench *b, const char *prefix)
{
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    edt_path_list list;
    const char *pattern = edt_arena_printf(&arena, "%s/%s*", b->dir, prefix);
    if (edt_path_glob(pattern, &arena, NULL, &list) == EDT_OK) {
        for (int64_t i = 0; i < list.n; ++i) {
            (void)unlink(list.path[i]);
        }
    }
    edt_arena_deinit(&arena);
}

static edt_status next_file(void *ctx, void **out_unit, edt_error *err)
{
    (void)err;
    bench *b = ctx;
    if (b->i_next == b->n_files) {
        return EDT_END;
    }
    *out_unit = (void *)(uintptr_t)b->paths[b->i_next++];
    return EDT_OK;
}

static edt_status copy_file(void *ctx, int i_worker, void *unit, edt_error *err)
{
    bench *b = ctx;
    const char *path = unit;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat info;
    if (fd < 0 || fstat(fd, &info) != 0) {
        return edt_error_set_errno(err, EDT_ERR_IO, errno, "%s", path);
    }
    const size_t n_bytes = (size_t)info.st_size;
    if (n_bytes > b->worker[i_worker].capacity) {
        edt_mem_free(b->worker[i_worker].buffer);
        b->worker[i_worker].capacity = 2 * n_bytes;
        b->worker[i_worker].buffer = edt_mem_alloc(EDT_MEM_MISC, 2 * n_bytes);
    }
    uint8_t *buffer = b->worker[i_worker].buffer;
    const ssize_t n_read = read(fd, buffer, n_bytes);
    (void)close(fd);
    char hex[EDT_SHA256_HEX_BYTES + 1];
    EDT_TRY(edt_sha256_run(b->worker[i_worker].sha, (edt_span){buffer, n_bytes}, err, hex));
    if (n_read != info.st_size || write(b->worker[i_worker].fd, buffer, n_bytes) != n_read) {
        return edt_error_set_errno(err, EDT_ERR_IO, errno, "%s", path);
    }
    return EDT_OK;
}

static edt_status run_ceiling(bench *b, edt_error *err)
{
    const edt_workers_spec spec = {.name = "copy",
                                   .n_threads = b->n_threads,
                                   .ctx = b,
                                   .next = next_file,
                                   .work = copy_file};
    edt_workers *workers = NULL;
    b->i_next = 0;
    for (int i = 0; i < b->n_threads; ++i) {
        const char *path = edt_arena_printf(&b->arena, "%s/copy-%d", b->dir, i);
        b->worker[i].fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
        EDT_TRY(edt_sha256_create(err, &b->worker[i].sha));
    }
    EDT_TRY(edt_workers_start(&spec, err, &workers));
    const edt_status status = edt_workers_join(workers, err);
    edt_workers_destroy(workers);
    for (int i = 0; i < b->n_threads; ++i) {
        (void)close(b->worker[i].fd);
        edt_sha256_destroy(b->worker[i].sha);
    }
    return status;
}

static edt_status convert(bench *b, bool masks, edt_error *err)
{
    const edt_convert_coco_options options = {
        .include_masks = masks,
        .image_dir = b->image_dir,
        .object_annotations_file = b->list,
        .run = {.output_file_prefix = edt_arena_printf(&b->arena, "%s/out", b->dir),
                .num_shards = N_SHARDS,
                .num_threads = b->n_threads},
    };
    return edt_convert_coco(&options, err, NULL);
}

static edt_status run_convert(bench *b, edt_error *err)
{
    return convert(b, false, err);
}

static edt_status run_convert_masks(bench *b, edt_error *err)
{
    return convert(b, true, err);
}

static edt_status run_parse(bench *b, edt_error *err)
{
    edt_convert_report *report = NULL;
    edt_coco_json *coco = NULL;
    EDT_TRY(edt_convert_report_create(false, err, &report));
    const edt_status status =
        edt_coco_json_open(b->list, EDT_COCO_IMAGES | EDT_COCO_INSTANCES, report, err, &coco);
    edt_coco_json_close(coco);
    edt_convert_report_destroy(report);
    return status;
}

static edt_status run_read(bench *b, edt_error *err)
{
    for (int i = 0; i < N_SHARDS; ++i) {
        const char *path =
            edt_arena_printf(&b->arena, "%s/out-%05d-of-%05d.tfrecord", b->dir, i, N_SHARDS);
        edt_shard_reader *reader = NULL;
        EDT_TRY(edt_shard_reader_open(path, NULL, err, &reader));
        edt_record record;
        edt_status status;
        do {
            status = edt_shard_reader_next(reader, err, &record);
        } while (status == EDT_OK);
        edt_shard_reader_close(reader);
        EDT_TRY(status == EDT_END ? EDT_OK : status);
    }
    return EDT_OK;
}

// Every image and its annotations N_REPEATS times, under new ids.
static edt_status write_list(bench *b, const edt_coco_json *coco, edt_error *err)
{
    const int64_t n_images = edt_coco_json_n_images(coco);
    edt_strbuf images = {0};
    edt_strbuf boxes = {0};
    b->paths = edt_arena_calloc(&b->arena, (size_t)(n_images * N_REPEATS), sizeof *b->paths);
    for (int64_t i = 0; i < n_images * N_REPEATS; ++i) {
        const edt_coco_image *image = edt_coco_json_image(coco, i % n_images);
        const char *name =
            edt_arena_strndup(&b->arena, image->file_name.data, image->file_name.n_bytes);
        b->paths[b->n_files++] = edt_path_join(&b->arena, b->image_dir, name);
        edt_strbuf_printf(&images,
                          "%s{\"id\": %" PRId64 ", \"file_name\": \"%s\", \"height\": %" PRId64
                          ", \"width\": %" PRId64 "}",
                          i > 0 ? ", " : "", i, name, image->height, image->width);
        int64_t n;
        const edt_coco_annotation *a = edt_coco_json_annotations(coco, image->id, &n);
        for (int64_t k = 0; k < n; ++k) {
            edt_strbuf_printf(
                &boxes,
                "%s{\"image_id\": %" PRId64 ", \"bbox\": [%g, %g, %g, %g], \"area\": "
                "%g, \"iscrowd\": %" PRId64 ", \"category_id\": 1, \"segmentation\": ",
                boxes.n_bytes > 0 ? ", " : "", i, a[k].x, a[k].y, a[k].w, a[k].h, a[k].area,
                a[k].is_crowd);
            edt_strbuf_append(&boxes, a[k].segmentation.data, a[k].segmentation.n_bytes);
            edt_strbuf_puts(&boxes, "}");
            ++b->n_boxes;
        }
    }
    edt_strbuf text = {0};
    edt_strbuf_printf(&text,
                      "{\"images\": [%s], \"annotations\": [%s], \"categories\": [{\"id\": 1, "
                      "\"name\": \"x\"}]}",
                      images.text, boxes.text);
    b->list = edt_arena_printf(&b->arena, "%s/list.json", b->dir);
    const edt_status status = edt_file_write(b->list, text.text, text.n_bytes, err);
    edt_strbuf_deinit(&images);
    edt_strbuf_deinit(&boxes);
    edt_strbuf_deinit(&text);
    return status;
}

static int compare_f64(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;
    return (x > y) - (x < y);
}

// Of all threads.
static double cpu_s(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

typedef edt_status bench_function(bench *b, edt_error *err);

static edt_status measure(bench *b, int n_threads, edt_error *err)
{
    static const struct {
        const char *what;
        bench_function *function;
        bool parallel;
        bool writes;
    } rows[] = {{"read_sha256_write", run_ceiling, true, true},
                {"convert_coco", run_convert, true, true},
                {"convert_coco with masks", run_convert_masks, true, true},
                {"parse_annotations", run_parse, false, false},
                {"read_shards_with_crc", run_read, false, false}};
    enum { N_ROWS = sizeof rows / sizeof *rows };
    double seconds[N_ROWS][N_PASSES];
    double cpu[N_ROWS][N_PASSES];
    b->n_threads = n_threads;
    for (int i_pass = 0; i_pass < N_PASSES; ++i_pass) {
        for (int i = 0; i < N_ROWS; ++i) {
            if (rows[i].writes) {
                remove_outputs(b, "copy-");
                remove_outputs(b, "out-");
            }
            const double begin = edt_clock_now_s();
            const double begin_cpu = cpu_s();
            EDT_TRY(rows[i].function(b, err));
            seconds[i][i_pass] = edt_clock_now_s() - begin;
            cpu[i][i_pass] = cpu_s() - begin_cpu;
        }
    }
    double medians[N_ROWS];
    for (int i = 0; i < N_ROWS; ++i) {
        qsort(seconds[i], N_PASSES, sizeof(double), compare_f64);
        qsort(cpu[i], N_PASSES, sizeof(double), compare_f64);
        medians[i] = seconds[i][N_PASSES / 2];
        printf("{\"what\":\"%s\",\"value\":%.0f,\"median\":%.0f,\"unit\":\"images/s\","
               "\"cpu_us_per_image\":%.0f,\"threads\":%d}\n",
               rows[i].what, (double)b->n_files / seconds[i][0],
               (double)b->n_files / medians[i], cpu[i][N_PASSES / 2] / (double)b->n_files * 1e6,
               rows[i].parallel ? n_threads : 1);
    }
    printf("{\"what\":\"convert_coco_of_ceiling, CPU time\",\"value\":%.3f,\"unit\":\"ratio of "
           "medians\",\"threads\":%d}\n",
           cpu[0][N_PASSES / 2] / cpu[1][N_PASSES / 2], n_threads);
    printf("{\"what\":\"convert_coco_of_ceiling\",\"value\":%.3f,\"unit\":\"ratio of medians\","
           "\"threads\":%d}\n",
           medians[0] / medians[1], n_threads);
    return EDT_OK;
}

static edt_status prepare(bench *b, edt_error *err)
{
    edt_convert_report *report = NULL;
    edt_coco_json *coco = NULL;
    EDT_TRY(edt_convert_report_create(false, err, &report));
    edt_status status =
        edt_coco_json_open(b->instances, EDT_COCO_IMAGES | EDT_COCO_INSTANCES | EDT_COCO_MASKS,
                           report, err, &coco);
    if (status == EDT_OK) {
        status = write_list(b, coco, err);
    }
    edt_coco_json_close(coco);
    edt_convert_report_destroy(report);
    return status;
}

static edt_status run(bench *b, edt_error *err)
{
    EDT_TRY(prepare(b, err));
    EDT_TRY(measure(b, 1, err));
    const int n_cpus = edt_thread_cpu_count();
    return n_cpus > 1 ? measure(b, n_cpus < MAX_THREADS ? n_cpus : MAX_THREADS, err) : EDT_OK;
}

int main(int argc, char **argv)
{
    static bench b;
    edt_error err = {0};
    char dir[] = "/tmp/edt-bench-XXXXXX";
    const char *data = argc > 1 ? argv[1] : getenv("EDT_DATA_DIR");
    edt_log_set_level(EDT_LOG_WARNING);
    edt_arena_init(&b.arena, EDT_MEM_ARENA, 0);
    if (data == NULL) {
        printf("skipped: no sample data (EDT_DATA_DIR)\n");
        return 0;
    }
    b.image_dir = edt_path_join(&b.arena, data, "coco-mini/train2017");
    b.instances =
        edt_path_join(&b.arena, data, "coco-mini/annotations/instances_train2017.json");
    b.dir = argc > 2 ? argv[2] : mkdtemp(dir);
    const edt_status status = run(&b, &err);
    if (status != EDT_OK) {
        EDT_ERROR("%s", err.text);
    }
    remove_outputs(&b, "copy-");
    remove_outputs(&b, "out-");
    remove_outputs(&b, "list.json");
    remove_outputs(&b, ".edt/out-"); // side indexes and the catalog
    (void)rmdir(edt_path_join(&b.arena, b.dir, ".edt"));
    (void)rmdir(b.dir); // stays when it holds what others have written
    for (int i = 0; i < MAX_THREADS; ++i) {
        edt_mem_free(b.worker[i].buffer);
    }
    edt_arena_deinit(&b.arena);
    return edt_status_exit_code(status);
}
