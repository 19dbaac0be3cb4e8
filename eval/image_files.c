// See image_files.h.
#include "eval/image_files.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "core/log.h"
#include "core/mem.h"
#include "dataio/jpeg_probe.h"

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

// By name or by its first bytes. Pictures of other kinds count too, so that they are named as
// not readable instead of being passed over.
static bool is_picture(const char *path)
{
    static const char *const endings[] = {".jpg", ".jpeg", ".jpe",  ".png",
                                          ".bmp", ".gif",  ".webp", ".tif"};
    const size_t n = strlen(path);
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; ++i) {
        const size_t n_ending = strlen(endings[i]);
        if (n > n_ending && strcasecmp(path + n - n_ending, endings[i]) == 0) {
            return true;
        }
    }
    edt_error ignored;
    edt_mapped_file file;
    if (edt_mapped_file_open(path, &ignored, &file) != EDT_OK) {
        return false;
    }
    // The two letters of a BMP begin many a text.
    const edt_image_format format = edt_image_format_of(file.span);
    edt_mapped_file_close(&file);
    return format != EDT_IMAGE_UNKNOWN && format != EDT_IMAGE_BMP;
}

edt_status edt_image_files_list(const char *input, edt_arena *arena, edt_error *err,
                                edt_path_list *out_files)
{
    if (!edt_path_is_dir(input)) {
        return edt_path_glob(input, arena, err, out_files);
    }
    edt_path_list all;
    EDT_TRY(edt_path_list_dir(input, arena, err, &all));
    const char **kept = edt_arena_calloc(arena, (size_t)all.n + 1, sizeof *kept);
    if (kept == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the files of %s", input);
    }
    int64_t n = 0;
    for (int64_t i = 0; i < all.n; ++i) {
        if (is_picture(all.path[i])) {
            kept[n++] = all.path[i];
        }
    }
    if (n == 0) {
        EDT_FAIL(err, EDT_ERR_NOT_FOUND,
                 "the directory %s holds no picture (%" PRId64 " files)", input, all.n);
    }
    if (n < all.n) {
        EDT_INFO("%s: %" PRId64 " files are no pictures and are passed over", input, all.n - n);
    }
    *out_files = (edt_path_list){.n = n, .path = kept};
    return EDT_OK;
}

edt_status edt_image_files_check_output(const edt_path_list *files, const char *dir,
                                        edt_error *err)
{
    struct stat out_info;
    if (stat(dir, &out_info) != 0) {
        return EDT_OK; // not there yet
    }
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    edt_status status = EDT_OK;
    for (int64_t i = 0; i < files->n && status == EDT_OK; ++i) {
        struct stat info;
        edt_arena_reset(&arena);
        const char *parent = edt_path_dirname(&arena, files->path[i]);
        if (parent == NULL) {
            status = edt_error_set(err, EDT_ERR_NOMEM, "no memory for a file name");
        } else if (stat(parent, &info) == 0 && info.st_dev == out_info.st_dev &&
                   info.st_ino == out_info.st_ino) {
            status =
                edt_error_set(err, EDT_ERR_USAGE,
                              "the pictures would be written beside the ones that are read "
                              "(%s) and could replace them; give another output directory "
                              "than %s",
                              files->path[i], dir);
        }
    }
    edt_arena_deinit(&arena);
    return status;
}

typedef struct named_image {
    const char *name;
    int64_t id;
} named_image;

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const named_image *)a)->name, ((const named_image *)b)->name);
}

static int compare_ids(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static edt_status find_by_name(const edt_path_list *files, const named_image *images, int64_t n,
                               const char *gt_path, int64_t *out_ids, edt_error *err)
{
    for (int64_t i = 0; i < files->n; ++i) {
        const named_image key = {.name = base_name(files->path[i])};
        const named_image *found =
            n > 0 ? bsearch(&key, images, (size_t)n, sizeof *images, compare_names) : NULL;
        if (found == NULL) {
            EDT_FAIL(err, EDT_ERR_MISMATCH, "%s: no image of %s has the file_name %s",
                     files->path[i], gt_path, key.name);
        }
        if ((found > images && compare_names(found - 1, found) == 0) ||
            (found + 1 < images + n && compare_names(found + 1, found) == 0)) {
            EDT_FAIL(err, EDT_ERR_MISMATCH, "%s: several images of %s have the file_name %s",
                     files->path[i], gt_path, key.name);
        }
        out_ids[i] = found->id;
    }
    return EDT_OK;
}

// 000000397133.jpg -> 397133; false for other names and numbers that are too large.
static bool number_of(const char *path, int64_t *out_id)
{
    const char *name = base_name(path);
    const size_t n_digits = strspn(name, "0123456789");
    if (n_digits == 0 || (name[n_digits] != '.' && name[n_digits] != '\0')) {
        return false;
    }
    errno = 0;
    const long long id = strtoll(name, NULL, 10);
    *out_id = id;
    return errno == 0;
}

static edt_status all_numbers(const edt_path_list *files, int64_t *out_ids, edt_error *err,
                              bool *out_usable)
{
    *out_usable = false;
    for (int64_t i = 0; i < files->n; ++i) {
        if (!number_of(files->path[i], &out_ids[i])) {
            return EDT_OK;
        }
    }
    int64_t *sorted = edt_mem_alloc(EDT_MEM_EVAL, (size_t)(files->n + 1) * sizeof *sorted);
    if (sorted == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %" PRId64 " image ids", files->n);
    }
    memcpy(sorted, out_ids, (size_t)files->n * sizeof *sorted);
    qsort(sorted, (size_t)files->n, sizeof *sorted, compare_ids);
    bool unique = true;
    for (int64_t i = 1; i < files->n && unique; ++i) {
        unique = sorted[i - 1] != sorted[i];
    }
    edt_mem_free(sorted);
    *out_usable = unique;
    return EDT_OK;
}

static edt_status ids_from_names(const edt_path_list *files, const edt_coco_gt *gt,
                                 const char *gt_path, int64_t *out_ids, edt_error *err)
{
    bool usable;
    EDT_TRY(all_numbers(files, out_ids, err, &usable));
    if (!usable) {
        if (gt != NULL) {
            EDT_FAIL(err, EDT_ERR_MISMATCH,
                     "%s names no files, and the pictures are not all named by different image "
                     "ids: they cannot be told apart; add \"file_name\" to its images",
                     gt_path);
        }
        EDT_WARN(
            "the pictures are not all named by different numbers: their image ids are 1 to "
            "%" PRId64 ", in order of names",
            files->n);
        for (int64_t i = 0; i < files->n; ++i) {
            out_ids[i] = i + 1;
        }
    }
    for (int64_t i = 0; gt != NULL && i < files->n; ++i) {
        if (!edt_coco_gt_has_image(gt, out_ids[i])) {
            EDT_FAIL(err, EDT_ERR_MISMATCH,
                     "%s: its number %" PRId64 " is not the id of an image of %s",
                     files->path[i], out_ids[i], gt_path);
        }
    }
    return EDT_OK;
}

edt_status edt_image_files_ids(const edt_path_list *files, const edt_coco_gt *gt,
                               const char *gt_path, int64_t *out_ids, edt_error *err)
{
    const int64_t n_images = gt != NULL ? edt_coco_gt_n_images(gt) : 0;
    named_image *images = edt_mem_calloc(EDT_MEM_EVAL, (size_t)n_images + 1, sizeof *images);
    if (images == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %" PRId64 " images", n_images);
    }
    int64_t n = 0;
    for (int64_t i = 0; i < n_images; ++i) {
        const char *name = edt_coco_gt_file_name(gt, i);
        if (name != NULL) {
            images[n++] = (named_image){base_name(name), edt_coco_gt_image_id(gt, i)};
        }
    }
    edt_status status;
    if (n > 0) {
        qsort(images, (size_t)n, sizeof *images, compare_names);
        status = find_by_name(files, images, n, gt_path, out_ids, err);
    } else {
        status = ids_from_names(files, gt, gt_path, out_ids, err);
    }
    edt_mem_free(images);
    return status;
}
