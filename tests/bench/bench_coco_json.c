// Speed and memory of reading COCO annotation files: one generated in the size of val2017 (36
// 781 annotations with polygons) and one in the size of train2017 (860 001), as json.dump
// writes them. Best and median of several passes on one thread, next to the speed of memchr
// over the same bytes; the peak of resident memory is that of the process after each file, of
// which the tables' share is given, too. Prints one JSON line per figure.
//
//   bench_coco_json [OUTPUT_DIR]     (default: a new one in /tmp)
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "core/file.h"
#include "core/log.h"
#include "core/strbuf.h"
#include "dataio/coco_json.h"

enum { MAX_PASSES = 9, PIECE = 8 << 20 };

static uint64_t state = 2026;

static double draw(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (double)(state >> 40) / (double)(1 << 24);
}

static void put_annotation(edt_strbuf *out, int64_t i, int64_t i_image)
{
    const double w = 4 + 200 * draw() * draw();
    const double h = 4 + 200 * draw() * draw();
    const double x = (640 - w) * draw();
    const double y = (480 - h) * draw();
    // COCO's polygons have 23 points on average.
    const int n_points = 4 + (int)(38 * draw());
    edt_strbuf_puts(out, i > 0 ? ", {\"segmentation\": [[" : "{\"segmentation\": [[");
    for (int k = 0; k < n_points; ++k) {
        edt_strbuf_printf(out, "%s%.2f, %.2f", k > 0 ? ", " : "", x + w * draw(),
                          y + h * draw());
    }
    edt_strbuf_printf(
        out,
        "]], \"area\": %.15g, \"iscrowd\": 0, \"image_id\": %" PRId64
        ", \"bbox\": [%.2f, %.2f, %.2f, %.2f], \"category_id\": %d, \"id\": %" PRId64 "}",
        w * h * draw(), i_image * 97 + 9, x, y, w, h, 1 + (int)(90 * draw()), 1000 + 7 * i);
}

static edt_status generate(const char *path, int64_t n_images, int64_t n_annotations,
                           edt_error *err)
{
    edt_strbuf out = {0};
    edt_atomic_file *file = NULL;
    EDT_TRY(edt_atomic_file_open(path, err, &file));
    edt_status status = EDT_OK;
    edt_strbuf_puts(&out, "{\"info\": {\"description\": \"generated\"}, \"images\": [");
    for (int64_t i = 0; i < n_images; ++i) {
        edt_strbuf_printf(
            &out,
            "%s{\"license\": 4, \"file_name\": \"%012" PRId64
            ".jpg\", \"coco_url\": \"http://images.example.org/train2017/%012" PRId64
            ".jpg\", \"height\": 480, \"width\": 640, \"date_captured\": "
            "\"2013-11-14 11:18:45\", \"flickr_url\": "
            "\"http://farm9.example.org/8186/8119368305_4e622c8349_z.jpg\", \"id\": "
            "%" PRId64 "}",
            i > 0 ? ", " : "", i * 97 + 9, i * 97 + 9, i * 97 + 9);
    }
    edt_strbuf_puts(&out, "], \"annotations\": [");
    for (int64_t i = 0; i < n_annotations && status == EDT_OK; ++i) {
        put_annotation(&out, i, i * n_images / n_annotations);
        if (out.n_bytes > 1 << 20) {
            status = edt_atomic_file_append(file, out.text, out.n_bytes, err);
            edt_strbuf_clear(&out);
        }
    }
    edt_strbuf_puts(&out, "], \"categories\": [");
    for (int i = 1; i <= 90; ++i) {
        edt_strbuf_printf(
            &out, "%s{\"supercategory\": \"thing\", \"id\": %d, \"name\": \"class %d\"}",
            i > 1 ? ", " : "", i, i);
    }
    edt_strbuf_puts(&out, "]}");
    if (status == EDT_OK) {
        status = edt_atomic_file_append(file, out.text, out.n_bytes, err);
    }
    if (status == EDT_OK) {
        status = edt_atomic_file_commit_unsynced(file, err);
    }
    edt_atomic_file_close(file);
    edt_strbuf_deinit(&out);
    return status;
}

// CPU time of this thread, as the machine may be shared.
static double cpu_s(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static int compare_f64(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_speed(const char *what, double n_bytes, double *seconds, int n)
{
    qsort(seconds, (size_t)n, sizeof *seconds, compare_f64);
    printf("{\"what\":\"%s\",\"value\":%.0f,\"median\":%.0f,\"unit\":\"MB/s\",\"threads\":1}\n",
           what, n_bytes / seconds[0] / 1e6, n_bytes / seconds[n / 2] / 1e6);
}

static double peak_rss_mb(void)
{
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_maxrss / 1e3;
}

static edt_status measure(const char *name, const char *path, unsigned what, int n_passes,
                          edt_error *err)
{
    double parse[MAX_PASSES], scan[MAX_PASSES];
    double n_bytes = 0;
    int64_t n_annotations = 0;
    const double begin_rss = peak_rss_mb();
    for (int i = 0; i < n_passes; ++i) {
        edt_convert_report *report = NULL;
        edt_coco_json *coco = NULL;
        EDT_TRY(edt_convert_report_create(false, err, &report));
        const double begin = cpu_s();
        const edt_status status = edt_coco_json_open(path, what, report, err, &coco);
        parse[i] = cpu_s() - begin;
        if (status == EDT_OK) {
            n_annotations = edt_coco_json_n_annotations(coco);
        }
        edt_coco_json_close(coco);
        edt_convert_report_destroy(report);
        EDT_TRY(status);
    }
    const double rss = peak_rss_mb();
    const double tables = (double)edt_mem_get_stats(EDT_MEM_TEXT).peak_bytes / 1e6;
    for (int i = 0; i < n_passes; ++i) {
        edt_mapped_file file;
        EDT_TRY(edt_mapped_file_open(path, err, &file));
        n_bytes = (double)file.span.n_bytes;
        const double begin = cpu_s();
        // In pieces that are given back, as the reader does: the peak below is the reader's.
        const void *found = NULL;
        for (size_t at = 0; at < file.span.n_bytes && found == NULL; at += PIECE) {
            const size_t left = file.span.n_bytes - at;
            found = memchr(file.span.data + at, '\1', left < PIECE ? left : PIECE);
            edt_mapped_file_forget(&file, at, at + PIECE < file.span.n_bytes ? at + PIECE : at);
        }
        scan[i] = cpu_s() - begin;
        edt_mapped_file_close(&file);
        if (found != NULL) {
            EDT_FAIL(err, EDT_ERR_INTERNAL, "the generated file holds a control byte");
        }
    }
    char label[100];
    printf("{\"what\":\"%s\",\"bytes\":%.0f,\"annotations\":%" PRId64 "}\n", name, n_bytes,
           n_annotations);
    (void)snprintf(label, sizeof label, "%s: parse", name);
    print_speed(label, n_bytes, parse, n_passes);
    (void)snprintf(label, sizeof label, "%s: memchr, mapped", name);
    print_speed(label, n_bytes, scan, n_passes);
    printf("{\"what\":\"%s: peak RSS\",\"value\":%.1f,\"before\":%.1f,\"tables\":%.1f,\"unit\":"
           "\"MB\"}\n",
           name, rss, begin_rss, tables);
    return EDT_OK;
}

static edt_status run(const char *dir, edt_error *err)
{
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/instances.json", dir);
    EDT_TRY(generate(path, 5000, 36781, err));
    const unsigned boxes = EDT_COCO_IMAGES | EDT_COCO_INSTANCES;
    EDT_TRY(measure("val2017 size", path, boxes, MAX_PASSES, err));
    EDT_TRY(measure("val2017 size, masks", path, boxes | EDT_COCO_MASKS, MAX_PASSES, err));
    EDT_TRY(generate(path, 118287, 860001, err));
    EDT_TRY(measure("train2017 size", path, boxes, 3, err));
    EDT_TRY(measure("train2017 size, masks", path, boxes | EDT_COCO_MASKS, 3, err));
    (void)unlink(path);
    return EDT_OK;
}

int main(int argc, char **argv)
{
    edt_error err = {0};
    char dir[] = "/tmp/edt-bench-XXXXXX";
    edt_log_set_level(EDT_LOG_WARNING);
    const char *out = argc > 1 ? argv[1] : mkdtemp(dir);
    const edt_status status = run(out, &err);
    if (status != EDT_OK) {
        EDT_ERROR("%s", err.text);
    }
    if (argc <= 1) {
        (void)rmdir(dir);
    }
    return edt_status_exit_code(status);
}
