// See voc_set.h. XML files are parsed by several threads into arenas of their own.
#include "dataio/voc_set.h"

#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "core/log.h"
#include "core/parallel.h"
#include "core/path.h"
#include "core/signal.h"
#include "core/thread.h"
#include "dataio/labels.h"

enum { MAX_LIST_BYTES = 1 << 30, MAX_MAP_BYTES = 16 << 20 };

struct edt_voc_set {
    edt_arena arena;
    edt_arena *arenas; // [n_arenas] of the parsing threads
    int n_arenas;
    edt_voc_class *classes, *by_name; // in the map's order, ordered by name
    int n_classes;
    edt_voc_image *images;
    int64_t n_images, capacity;
    int64_t year_first[EDT_VOC_MAX_YEARS];
    int n_years;
};

static bool is_given(const char *text)
{
    return text != NULL && text[0] != '\0';
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const edt_voc_class *)a)->name, ((const edt_voc_class *)b)->name);
}

static const edt_voc_class *find_class(const edt_voc_set *set, const char *name)
{
    const edt_voc_class key = {.name = name};
    return bsearch(&key, set->by_name, (size_t)set->n_classes, sizeof key, compare_names);
}

static edt_status fail_memory(edt_error *err)
{
    EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the list of images");
}

static edt_status use_built_in_map(edt_voc_set *set, edt_error *err)
{
    const edt_label_map *map = edt_labels_predefined("voc");
    set->classes = edt_arena_calloc(&set->arena, (size_t)map->n + 1, sizeof *set->classes);
    if (set->classes == NULL) {
        return fail_memory(err);
    }
    set->classes[0] = (edt_voc_class){.name = "background", .id = 0};
    for (int i = 0; i < map->n; ++i) {
        set->classes[i + 1] =
            (edt_voc_class){.name = map->entries[i].name, .id = map->entries[i].id};
    }
    set->n_classes = map->n + 1;
    return EDT_OK;
}

// A name that stands there twice keeps its place and takes the later id, as in Python.
static edt_status read_map(edt_voc_set *set, const char *path, edt_error *err)
{
    char *text = NULL;
    size_t n_bytes;
    const edt_json_node *root;
    EDT_TRY(edt_file_read(path, MAX_MAP_BYTES, err, &text, &n_bytes));
    const edt_span span = {(const uint8_t *)text, n_bytes};
    const edt_status status = edt_json_parse(span, &set->arena, err, &root);
    edt_mem_free(text);
    if (status != EDT_OK) {
        return edt_error_add_context(err, status, "label map '%s'", path);
    }
    if (root->kind != EDT_JSON_KIND_OBJECT || root->n == 0) {
        EDT_FAIL(err, EDT_ERR_FORMAT,
                 "label map '%s': expected an object {\"background\": 0, \"name\": 1, ...}",
                 path);
    }
    set->classes = edt_arena_calloc(&set->arena, (size_t)root->n, sizeof *set->classes);
    if (set->classes == NULL) {
        return fail_memory(err);
    }
    for (const edt_json_node *item = root->first; item != NULL; item = item->next) {
        const double id = item->number;
        if (item->kind != EDT_JSON_KIND_NUMBER || id != floor(id) || fabs(id) > 1e15) {
            EDT_FAIL(err, EDT_ERR_FORMAT, "label map '%s': the id of '%s' is no whole number",
                     path, item->key);
        }
        int i = 0;
        while (i < set->n_classes && strcmp(set->classes[i].name, item->key) != 0) {
            ++i;
        }
        set->n_classes += i == set->n_classes;
        set->classes[i] = (edt_voc_class){.name = item->key, .id = (int64_t)id};
        if (id < 1 && strcmp(item->key, "background") != 0) {
            EDT_WARN(
                "label map '%s': '%s' has the id %.0f; ids of classes begin with 1, training "
                "takes 0 and below for background",
                path, item->key, id);
        }
    }
    return EDT_OK;
}

static edt_status make_map(edt_voc_set *set, const char *path, edt_error *err)
{
    EDT_TRY(is_given(path) ? read_map(set, path, err) : use_built_in_map(set, err));
    const size_t n = (size_t)set->n_classes;
    set->by_name = edt_arena_calloc(&set->arena, n, sizeof *set->by_name);
    if (set->by_name == NULL) {
        return fail_memory(err);
    }
    memcpy(set->by_name, set->classes, n * sizeof *set->by_name);
    qsort(set->by_name, n, sizeof *set->by_name, compare_names);
    return EDT_OK;
}

// The file that lists a year's images.
static edt_status choose_list(edt_voc_set *set, const edt_voc_set_options *o, const char *dir,
                              edt_error *err, const char **out_path)
{
    const char *example = set->n_classes > 1 ? set->classes[1].name : NULL;
    const char *plain = edt_arena_printf(&set->arena, "%s/ImageSets/Main/%s.txt", dir, o->set);
    const char *by_class = example == NULL
                               ? plain
                               : edt_arena_printf(&set->arena, "%s/ImageSets/Main/%s_%s.txt",
                                                  dir, example, o->set);
    if (plain == NULL || by_class == NULL) {
        return fail_memory(err);
    }
    *out_path = o->reference_list || !edt_path_exists(plain) ? by_class : plain;
    if (!edt_path_exists(*out_path)) {
        EDT_FAIL(
            err, EDT_ERR_NOT_FOUND,
            "no list of images: neither '%s' nor '%s' exists; is --data_dir='%s' the devkit "
            "and --set=%s a part of it?",
            plain, by_class, o->data_dir, o->set);
    }
    return EDT_OK;
}

static edt_status push_image(edt_voc_set *set, const char *year, const char *id, size_t n_id,
                             edt_error *err)
{
    if (set->n_images == set->capacity) {
        const int64_t capacity = set->capacity > 0 ? 2 * set->capacity : 1024;
        edt_voc_image *grown =
            edt_mem_realloc(EDT_MEM_MISC, set->images, (size_t)capacity * sizeof *grown);
        if (grown == NULL) {
            return fail_memory(err);
        }
        set->images = grown;
        set->capacity = capacity;
    }
    const char *copy = edt_arena_strndup(&set->arena, id, n_id);
    if (copy == NULL) {
        return fail_memory(err);
    }
    set->images[set->n_images++] = (edt_voc_image){.year = year, .id = copy};
    return EDT_OK;
}

// One id per line, up to the first blank; lines without one are passed over.
static edt_status read_list(edt_voc_set *set, const edt_voc_set_options *o, const char *year,
                            edt_error *err)
{
    const char *path = NULL;
    const char *dir = edt_path_join(&set->arena, o->data_dir, year);
    if (dir == NULL) {
        return fail_memory(err);
    }
    EDT_TRY(choose_list(set, o, dir, err, &path));
    EDT_INFO("Reading from PASCAL %s dataset (%s).", year, path);
    char *text = NULL;
    size_t n_bytes;
    EDT_TRY(edt_file_read(path, MAX_LIST_BYTES, err, &text, &n_bytes));
    const int64_t first = set->n_images;
    edt_status status = EDT_OK;
    for (const char *line = text, *end; status == EDT_OK && line < text + n_bytes; line = end) {
        end = memchr(line, '\n', n_bytes - (size_t)(line - text));
        end = end == NULL ? text + n_bytes : end + 1;
        while (line < end && strchr(" \t\r\n", *line) != NULL) {
            ++line;
        }
        size_t n = 0;
        while (line + n < end && strchr(" \t\r\n", line[n]) == NULL) {
            ++n;
        }
        if (o->num_images > 0 && set->n_images - first == o->num_images) {
            break;
        }
        if (n > 0) {
            status = push_image(set, year, line, n, err);
        }
    }
    edt_mem_free(text);
    return status;
}

static int compare_ids(const void *a, const void *b)
{
    const edt_voc_image *x = *(const edt_voc_image *const *)a;
    const edt_voc_image *y = *(const edt_voc_image *const *)b;
    const int order = strcmp(x->id, y->id);
    return order != 0 ? order : (x > y) - (x < y);
}

// The later ones of equal ids of a year are bad.
static edt_status check_duplicates(edt_voc_set *set, int64_t first, edt_convert_report *report,
                                   edt_error *err)
{
    const size_t n = (size_t)(set->n_images - first);
    edt_voc_image **order = edt_mem_calloc(EDT_MEM_MISC, n + 1, sizeof *order);
    if (order == NULL) {
        return fail_memory(err);
    }
    for (size_t i = 0; i < n; ++i) {
        order[i] = &set->images[(size_t)first + i];
    }
    qsort(order, n, sizeof *order, compare_ids);
    int64_t i_first_bad = INT64_MAX;
    for (size_t i = 1; i < n; ++i) {
        if (strcmp(order[i]->id, order[i - 1]->id) == 0) {
            const int64_t at = order[i] - set->images;
            order[i]->left_out = true;
            i_first_bad = at < i_first_bad ? at : i_first_bad;
        }
    }
    edt_mem_free(order);
    for (int64_t i = i_first_bad; i < set->n_images; ++i) {
        if (set->images[i].left_out) {
            EDT_TRY(edt_convert_report_bad(report, EDT_BAD_DUPLICATE_IMAGE, i, err,
                                           "image %s of %s stands in the list twice",
                                           set->images[i].id, set->images[i].year));
        }
    }
    return EDT_OK;
}

typedef struct parse_job {
    edt_voc_set *set;
    const edt_voc_set_options *options;
    edt_convert_report *report;
    pthread_mutex_t lock; // guards what follows
    int64_t stop_at;      // first image that failed
    edt_status status;
    edt_error error;
} parse_job;

static edt_status find_labels(const edt_voc_set *set, edt_voc_image *image, const char *path,
                              int64_t i, edt_arena *arena, edt_convert_report *report,
                              edt_error *err)
{
    const edt_voc_annotation *note = &image->note;
    int64_t *labels = edt_arena_calloc(arena, (size_t)note->n_objects + 1, sizeof *labels);
    if (labels == NULL) {
        return fail_memory(err);
    }
    for (int64_t k = 0; k < note->n_objects; ++k) {
        const edt_voc_class *class = find_class(set, note->objects[k].name);
        if (class == NULL) {
            image->left_out = true;
            return edt_convert_report_bad(
                report, EDT_BAD_CATEGORY, i, err,
                "'%s': class '%s' is not in the label map; name all classes with "
                "--label_map_json_path",
                path, note->objects[k].name);
        }
        labels[k] = class->id;
    }
    image->labels = labels;
    return EDT_OK;
}

static edt_status parse_image(parse_job *job, edt_arena *arena, int64_t i, edt_error *err)
{
    edt_voc_image *image = &job->set->images[i];
    const edt_voc_set_options *o = job->options;
    const char *path = edt_arena_printf(arena, "%s/%s/%s/%s.xml", o->data_dir, image->year,
                                        o->annotations_dir, image->id);
    if (path == NULL) {
        return fail_memory(err);
    }
    char *text = NULL;
    size_t n_bytes;
    edt_error words = {0};
    edt_status status = edt_file_read(path, EDT_VOC_XML_MAX_BYTES, &words, &text, &n_bytes);
    if (status == EDT_OK) {
        const edt_span xml = {(const uint8_t *)text, n_bytes};
        status = edt_voc_xml_parse(xml, o->ignore_difficult, arena, &words, &image->note);
        edt_mem_free(text);
        if (status == EDT_ERR_FORMAT || status == EDT_ERR_INVALID) {
            image->left_out = true;
            return edt_convert_report_bad(job->report, EDT_BAD_FIELD, i, err, "'%s': %s", path,
                                          words.text);
        }
        if (status != EDT_OK) {
            return edt_error_set(err, status, "%s", words.text);
        }
        return find_labels(job->set, image, path, i, arena, job->report, err);
    }
    if (status == EDT_ERR_NOMEM) {
        return edt_error_set(err, status, "%s", words.text);
    }
    image->left_out = true;
    return edt_convert_report_bad(job->report, EDT_BAD_UNREADABLE, i, err, "%s", words.text);
}

// Images before the first one that failed are finished, so that the same one is reported for
// any number of threads.
static edt_status parse_one(void *ctx, int worker, int64_t i, edt_error *err)
{
    parse_job *job = ctx;
    EDT_TRY(edt_interrupt_check(err));
    (void)pthread_mutex_lock(&job->lock);
    const bool wanted = i < job->stop_at && !job->set->images[i].left_out;
    (void)pthread_mutex_unlock(&job->lock);
    if (!wanted) {
        return EDT_OK;
    }
    edt_error words = {0};
    const edt_status status = parse_image(job, &job->set->arenas[worker], i, &words);
    if (status != EDT_OK) {
        (void)pthread_mutex_lock(&job->lock);
        if (i < job->stop_at) {
            job->stop_at = i;
            job->status = status;
            job->error = words;
        }
        (void)pthread_mutex_unlock(&job->lock);
    }
    return EDT_OK;
}

static edt_status parse_all(edt_voc_set *set, const edt_voc_set_options *o,
                            edt_convert_report *report, edt_error *err)
{
    const int n_threads = o->n_threads > 0 ? o->n_threads : edt_thread_cpu_count();
    set->arenas = edt_mem_calloc(EDT_MEM_MISC, (size_t)n_threads, sizeof *set->arenas);
    if (set->arenas == NULL) {
        return fail_memory(err);
    }
    set->n_arenas = n_threads;
    for (int i = 0; i < n_threads; ++i) {
        edt_arena_init(&set->arenas[i], EDT_MEM_TEXT, 0);
    }
    parse_job job = {.set = set, .options = o, .report = report, .stop_at = INT64_MAX};
    (void)pthread_mutex_init(&job.lock, NULL);
    edt_status status = edt_parallel_for(n_threads, set->n_images, parse_one, &job, err);
    (void)pthread_mutex_destroy(&job.lock);
    if (job.status != EDT_OK) {
        if (err != NULL) {
            *err = job.error;
        }
        status = job.status;
    }
    return status;
}

static edt_status check_options(const edt_voc_set_options *o, edt_error *err)
{
    static const char *const sets[] = {"train", "val", "trainval", "test"};
    static const char *const years[] = {"VOC2007", "VOC2012", "merged"};
    bool set_ok = false, year_ok = false;
    for (size_t i = 0; i < sizeof sets / sizeof *sets; ++i) {
        set_ok |= strcmp(o->set, sets[i]) == 0;
    }
    for (size_t i = 0; i < sizeof years / sizeof *years; ++i) {
        year_ok |= strcmp(o->year, years[i]) == 0;
    }
    if (!set_ok) {
        EDT_FAIL(err, EDT_ERR_USAGE, "--set=%s: set must be one of train, val, trainval, test",
                 o->set);
    }
    if (!year_ok) {
        EDT_FAIL(err, EDT_ERR_USAGE, "--year=%s: year must be one of VOC2007, VOC2012, merged",
                 o->year);
    }
    if (o->num_images < 0) {
        EDT_FAIL(err, EDT_ERR_USAGE, "--num_images=%" PRId64 ": give 1 or more, or 0 for all",
                 o->num_images);
    }
    if (!edt_path_is_dir(o->data_dir)) {
        EDT_FAIL(err, EDT_ERR_NOT_FOUND, "--data_dir: '%s' %s", o->data_dir,
                 edt_path_exists(o->data_dir) ? "is not a directory" : "does not exist");
    }
    return EDT_OK;
}

static edt_status open_set(edt_voc_set *set, const edt_voc_set_options *o,
                           edt_convert_report *report, edt_error *err)
{
    static const char *const both[EDT_VOC_MAX_YEARS] = {"VOC2007", "VOC2012"};
    const bool merged = strcmp(o->year, "merged") == 0;
    EDT_TRY(make_map(set, o->label_map_path, err));
    for (int i = 0; i < EDT_VOC_MAX_YEARS; ++i) {
        if (merged || strcmp(o->year, both[i]) == 0) {
            set->year_first[set->n_years++] = set->n_images;
            EDT_TRY(read_list(set, o, both[i], err));
        }
    }
    for (int i = 0; i < set->n_years; ++i) {
        EDT_TRY(check_duplicates(set, set->year_first[i], report, err));
    }
    return parse_all(set, o, report, err);
}

edt_status edt_voc_set_open(const edt_voc_set_options *options, edt_convert_report *report,
                            edt_error *err, edt_voc_set **out_set)
{
    EDT_TRY(check_options(options, err));
    edt_voc_set *set = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *set);
    if (set == NULL) {
        return fail_memory(err);
    }
    edt_arena_init(&set->arena, EDT_MEM_TEXT, 0);
    const edt_status status = open_set(set, options, report, err);
    if (status != EDT_OK) {
        edt_voc_set_close(set);
        return status;
    }
    *out_set = set;
    return EDT_OK;
}

void edt_voc_set_close(edt_voc_set *set)
{
    if (set == NULL) {
        return;
    }
    for (int i = 0; i < set->n_arenas; ++i) {
        edt_arena_deinit(&set->arenas[i]);
    }
    edt_mem_free(set->arenas);
    edt_mem_free(set->images);
    edt_arena_deinit(&set->arena);
    edt_mem_free(set);
}

int64_t edt_voc_set_n_images(const edt_voc_set *set)
{
    return set->n_images;
}

const edt_voc_image *edt_voc_set_image(const edt_voc_set *set, int64_t i)
{
    return &set->images[i];
}

int edt_voc_set_years(const edt_voc_set *set, const int64_t **out_first)
{
    *out_first = set->year_first;
    return set->n_years;
}

int edt_voc_set_classes(const edt_voc_set *set, const edt_voc_class **out_classes)
{
    *out_classes = set->classes;
    return set->n_classes;
}
