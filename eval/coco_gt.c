// Ground truth: checks the lists of images, categories and objects, and groups the objects by
// image and category for the matcher. The text reader is next door (coco_gt_json.c).
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "core/strbuf.h"
#include "core/thread.h"
#include "eval/coco_priv.h"

enum { LIST_BYTES = 1500 }; // of defects shown in a message

typedef struct defects {
    int64_t n, n_hidden;
    edt_strbuf list;
} defects;

static void add_defect(defects *d, const char *fmt, ...) EDT_PRINTF(2, 3);

static void add_defect(defects *d, const char *fmt, ...)
{
    ++d->n;
    if (d->list.n_bytes > LIST_BYTES) {
        ++d->n_hidden;
        return;
    }
    char words[160];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(words, sizeof words, fmt, args);
    va_end(args);
    edt_strbuf_printf(&d->list, "%s%s", d->n > 1 ? "; " : "", words);
}

static int compare_ids(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static int64_t sort_unique(int64_t *ids, int64_t n)
{
    qsort(ids, (size_t)n, sizeof *ids, compare_ids);
    int64_t n_kept = 0;
    for (int64_t i = 0; i < n; ++i) {
        if (n_kept == 0 || ids[n_kept - 1] != ids[i]) {
            ids[n_kept++] = ids[i];
        }
    }
    return n_kept;
}

static uint32_t clamp_size(int64_t size)
{
    return size < 0 ? 0 : size > INT32_MAX ? INT32_MAX : (uint32_t)size;
}

static edt_status build_images(edt_coco_gt *gt, const edt_coco_gt_lists *lists, defects *d,
                               edt_error *err)
{
    const int64_t n = lists->n_images;
    gt->image_ids = edt_mem_alloc(EDT_MEM_EVAL, (size_t)n * sizeof *gt->image_ids);
    if (gt->image_ids == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %lld images", (long long)n);
    }
    for (int64_t i = 0; i < n; ++i) {
        const edt_coco_gt_image *image = &lists->images[i];
        gt->image_ids[i] = image->id;
        if (image->width == 0 || image->height == 0) {
            add_defect(d, "image %lld has width %lld, height %lld", (long long)image->id,
                       (long long)image->width, (long long)image->height);
        }
    }
    edt_coco_id_map listed = {0};
    edt_status status = edt_coco_id_map_init(&listed, gt->image_ids, n, err);
    for (int64_t i = 0; status == EDT_OK && i < n; ++i) {
        if (edt_coco_id_map_find(&listed, gt->image_ids[i]) != i) {
            add_defect(d, "duplicate image id %lld", (long long)gt->image_ids[i]);
        }
    }
    edt_coco_id_map_deinit(&listed);
    EDT_TRY(status);
    gt->n_images = sort_unique(gt->image_ids, n);
    EDT_TRY(edt_coco_id_map_init(&gt->images, gt->image_ids, gt->n_images, err));
    gt->file_names = edt_mem_calloc(EDT_MEM_EVAL, (size_t)gt->n_images, sizeof *gt->file_names);
    if (gt->file_names == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %lld images", (long long)n);
    }
    gt->image_size = edt_mem_calloc(EDT_MEM_EVAL, (size_t)gt->n_images, sizeof *gt->image_size);
    if (gt->image_size == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %lld images", (long long)n);
    }
    for (int64_t i = 0; i < n; ++i) {
        const edt_coco_gt_image *image = &lists->images[i];
        uint32_t *size = gt->image_size[edt_coco_id_map_find(&gt->images, image->id)];
        size[0] = clamp_size(image->height);
        size[1] = clamp_size(image->width);
        if (image->file_name == NULL) {
            continue;
        }
        const char *name = edt_arena_strdup(&gt->names, image->file_name);
        if (name == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for file names");
        }
        gt->file_names[edt_coco_id_map_find(&gt->images, image->id)] = name;
    }
    return EDT_OK;
}

static edt_status build_categories(edt_coco_gt *gt, const edt_coco_gt_lists *lists,
                                   edt_error *err)
{
    const int64_t n = lists->n_categories;
    gt->category_ids = edt_mem_alloc(EDT_MEM_EVAL, (size_t)n * sizeof *gt->category_ids);
    gt->categories = edt_mem_calloc(EDT_MEM_EVAL, (size_t)n, sizeof *gt->categories);
    if (gt->category_ids == NULL || gt->categories == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %lld categories", (long long)n);
    }
    for (int64_t i = 0; i < n; ++i) {
        gt->category_ids[i] = lists->categories[i].id;
    }
    gt->n_categories = sort_unique(gt->category_ids, n);
    if (gt->n_categories < n) {
        EDT_WARN("%s: %lld categories are defined more than once; the last definition counts",
                 lists->source, (long long)(n - gt->n_categories));
    }
    EDT_TRY(edt_coco_id_map_init(&gt->category_map, gt->category_ids, gt->n_categories, err));
    for (int64_t i = 0; i < n; ++i) {
        const edt_coco_category *from = &lists->categories[i];
        edt_coco_category *to =
            &gt->categories[edt_coco_id_map_find(&gt->category_map, from->id)];
        *to = (edt_coco_category){
            .id = from->id,
            .name = edt_arena_strdup(&gt->names, from->name != NULL ? from->name : "")};
        if (to->name == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for category names");
        }
    }
    return EDT_OK;
}

// `rows`: the objects to evaluate, in list order. Without defects that is every object.
// pycocotools finds objects by id, so that with duplicates the last one stands for all of them:
// the list of an image is read in order, but each entry is the last object with that id.
static edt_status find_rows(const edt_coco_gt *gt, const edt_coco_gt_lists *lists, defects *d,
                            int64_t *rows, int64_t *ids, int64_t *out_n, edt_error *err)
{
    const edt_coco_object *objects = lists->objects;
    bool has_zero = false;
    for (int64_t i = 0; i < lists->n_objects; ++i) {
        ids[i] = objects[i].id;
        has_zero |= ids[i] == 0;
    }
    if (has_zero) {
        EDT_WARN("%s: annotation id 0 counts as a match here; pycocotools takes it for none",
                 lists->source);
    }
    edt_coco_id_map map = {0};
    EDT_TRY(edt_coco_id_map_init(&map, ids, lists->n_objects, err));
    int64_t n = 0;
    bool has_duplicates = false;
    for (int64_t i = 0; i < lists->n_objects; ++i) {
        const edt_coco_object *object = &objects[i];
        if (edt_coco_id_map_find(&map, object->id) != i) {
            add_defect(d, "duplicate annotation id %lld", (long long)object->id);
            has_duplicates = true;
        }
        const bool image = edt_coco_id_map_find(&gt->images, object->image_id) >= 0;
        const bool category = edt_coco_id_map_find(&gt->category_map, object->category_id) >= 0;
        if (!image) {
            add_defect(d, "annotation %lld refers to unknown image %lld", (long long)object->id,
                       (long long)object->image_id);
        }
        if (!category) {
            add_defect(d, "annotation %lld refers to unknown category %lld",
                       (long long)object->id, (long long)object->category_id);
        }
        if (image && category) {
            rows[n++] = i;
        }
    }
    if (has_duplicates) {
        // Stable by image: the order of rows of different images matters only here.
        int64_t n_ordered = 0;
        int64_t *ordered = edt_mem_alloc(EDT_MEM_EVAL, (size_t)n * sizeof *ordered);
        int64_t *begin = edt_mem_calloc(EDT_MEM_EVAL, (size_t)gt->n_images + 1, sizeof *begin);
        if (ordered == NULL || begin == NULL) {
            edt_mem_free(ordered);
            edt_mem_free(begin);
            edt_coco_id_map_deinit(&map);
            EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %lld annotations", (long long)n);
        }
        for (int64_t i = 0; i < n; ++i) {
            ++begin[edt_coco_id_map_find(&gt->images, objects[rows[i]].image_id) + 1];
        }
        for (int64_t i = 0; i < gt->n_images; ++i) {
            begin[i + 1] += begin[i];
        }
        for (int64_t i = 0; i < n; ++i) {
            ordered[begin[edt_coco_id_map_find(&gt->images, objects[rows[i]].image_id)]++] =
                rows[i];
        }
        for (int64_t i = 0; i < n; ++i) {
            const int64_t last = edt_coco_id_map_find(&map, ids[ordered[i]]);
            if (edt_coco_id_map_find(&gt->images, objects[last].image_id) >= 0 &&
                edt_coco_id_map_find(&gt->category_map, objects[last].category_id) >= 0) {
                rows[n_ordered++] = last;
            }
        }
        n = n_ordered;
        edt_mem_free(ordered);
        edt_mem_free(begin);
    }
    edt_coco_id_map_deinit(&map);
    *out_n = n;
    return EDT_OK;
}

// Two counting sorts: by category, then by image; both stable.
static edt_status group(edt_coco_gt *gt, const edt_coco_gt_lists *lists, const int64_t *rows,
                        int64_t n, edt_error *err)
{
    const edt_coco_object *objects = lists->objects;
    edt_status status = EDT_OK;
    const int64_t n_most = gt->n_images > gt->n_categories ? gt->n_images : gt->n_categories;
    uint32_t *by_category = edt_mem_alloc(EDT_MEM_EVAL, (size_t)n * sizeof *by_category);
    uint32_t *next = edt_mem_calloc(EDT_MEM_EVAL, (size_t)n_most + 1, sizeof *next);
    gt->image_begin =
        edt_mem_calloc(EDT_MEM_EVAL, (size_t)gt->n_images + 1, sizeof *gt->image_begin);
    gt->object_id = edt_mem_alloc(EDT_MEM_EVAL, (size_t)n * sizeof *gt->object_id);
    gt->category = edt_mem_alloc(EDT_MEM_EVAL, (size_t)n * sizeof *gt->category);
    gt->bbox = edt_mem_alloc(EDT_MEM_EVAL, (size_t)n * sizeof *gt->bbox);
    gt->area = edt_mem_alloc(EDT_MEM_EVAL, (size_t)n * sizeof *gt->area);
    gt->is_crowd = edt_mem_alloc(EDT_MEM_EVAL, (size_t)n);
    if (lists->masks != NULL) {
        gt->masks = edt_mem_alloc(EDT_MEM_EVAL, (size_t)n * sizeof(*gt->masks));
    }
    if (by_category == NULL || next == NULL || gt->image_begin == NULL ||
        gt->object_id == NULL || gt->category == NULL || gt->bbox == NULL || gt->area == NULL ||
        gt->is_crowd == NULL || (lists->masks != NULL && gt->masks == NULL)) {
        status =
            edt_error_set(err, EDT_ERR_NOMEM, "no memory for %lld annotations", (long long)n);
        goto fail;
    }
    for (int64_t i = 0; i < n; ++i) {
        const edt_coco_object *object = &objects[rows[i]];
        ++next[edt_coco_id_map_find(&gt->category_map, object->category_id) + 1];
        ++gt->image_begin[edt_coco_id_map_find(&gt->images, object->image_id) + 1];
    }
    for (int64_t i = 0; i < gt->n_categories; ++i) {
        next[i + 1] += next[i];
    }
    for (int64_t i = 0; i < gt->n_images; ++i) {
        gt->image_begin[i + 1] += gt->image_begin[i];
    }
    for (int64_t i = 0; i < n; ++i) {
        const int64_t id = objects[rows[i]].category_id;
        by_category[next[edt_coco_id_map_find(&gt->category_map, id)]++] = (uint32_t)i;
    }
    memcpy(next, gt->image_begin, (size_t)gt->n_images * sizeof *next);
    for (int64_t i = 0; i < n; ++i) {
        const int64_t row = rows[by_category[i]];
        const edt_coco_object *object = &objects[row];
        const uint32_t at = next[edt_coco_id_map_find(&gt->images, object->image_id)]++;
        gt->object_id[at] = object->id;
        gt->category[at] = edt_coco_id_map_find(&gt->category_map, object->category_id);
        memcpy(gt->bbox[at], object->bbox, sizeof object->bbox);
        gt->area[at] = object->area;
        gt->is_crowd[at] = object->is_crowd;
        if (lists->masks != NULL) {
            gt->masks[at] = lists->masks[row];
        }
    }
fail:
    edt_mem_free(by_category);
    edt_mem_free(next);
    return status;
}

edt_status edt_coco_gt_build(const edt_coco_gt_lists *lists, const edt_coco_gt_options *options,
                             edt_error *err, edt_coco_gt **out_gt)
{
    if (lists->n_objects >= INT32_MAX || lists->n_images >= INT32_MAX ||
        lists->n_categories >= INT32_MAX) {
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED, "%s: too many items; allowed: 2^31 - 2 of a kind",
                 lists->source);
    }
    edt_status status = EDT_OK;
    defects d = {0};
    int64_t n_rows = 0;
    int64_t *rows = edt_mem_alloc(EDT_MEM_EVAL, (size_t)lists->n_objects * sizeof *rows);
    int64_t *ids = edt_mem_alloc(EDT_MEM_EVAL, (size_t)lists->n_objects * sizeof *ids);
    edt_coco_gt *gt = edt_mem_calloc(EDT_MEM_EVAL, 1, sizeof *gt);
    if (rows == NULL || ids == NULL || gt == NULL) {
        status = edt_error_set(err, EDT_ERR_NOMEM, "no memory for the ground truth");
        goto fail;
    }
    edt_arena_init(&gt->names, EDT_MEM_EVAL, 4096);
    gt->n_threads = options->n_threads > 0 ? options->n_threads : edt_thread_cpu_count();
    gt->n_objects = lists->n_objects;
    gt->iou_type = options->iou_type;
    EDT_TRY_GOTO(build_images(gt, lists, &d, err));
    EDT_TRY_GOTO(build_categories(gt, lists, err));
    EDT_TRY_GOTO(find_rows(gt, lists, &d, rows, ids, &n_rows, err));
    if (d.n > 0 && !options->lenient) {
        char more[64] = "";
        if (d.n_hidden > 0) {
            (void)snprintf(more, sizeof more, "; and %lld more", (long long)d.n_hidden);
        }
        status = edt_error_set(err, EDT_ERR_INVALID,
                               "%s: %lld defect%s in the ground truth: %s%s. Mend the file, or "
                               "evaluate as pycocotools would (--lenient)",
                               lists->source, (long long)d.n, d.n == 1 ? "" : "s",
                               d.list.text != NULL ? d.list.text : "", more);
        goto fail;
    }
    EDT_TRY_GOTO(group(gt, lists, rows, n_rows, err));
    if (lists->take_masks != NULL) {
        edt_coco_mask_pool_join(&gt->mask_pool, lists->take_masks);
    }
    *out_gt = gt;
    gt = NULL;
fail:
    edt_strbuf_deinit(&d.list);
    edt_mem_free(rows);
    edt_mem_free(ids);
    edt_coco_gt_destroy(gt);
    return status;
}

edt_status edt_coco_gt_build_read(const char *source, const edt_coco_list *images,
                                  const edt_coco_list *categories, const edt_coco_list *objects,
                                  const edt_coco_list *masks, edt_coco_mask_pool *mask_pool,
                                  const edt_coco_gt_options *options, edt_error *err,
                                  edt_coco_gt **out_gt)
{
    // With masks the list is never absent, even when it is empty.
    static const edt_coco_mask *const none[1] = {NULL};
    const edt_coco_gt_lists lists = {.source = source,
                                     .images = images->items,
                                     .categories = categories->items,
                                     .objects = objects->items,
                                     .masks = masks == NULL ? NULL
                                              : masks->items != NULL
                                                  ? (const edt_coco_mask *const *)masks->items
                                                  : none,
                                     .take_masks = mask_pool,
                                     .n_images = images->n,
                                     .n_categories = categories->n,
                                     .n_objects = objects->n};
    return edt_coco_gt_build(&lists, options, err, out_gt);
}

// Copies the masks of the objects, if all of those that have a size have one.
static edt_status copy_masks(const edt_coco_object *objects, int64_t n,
                             edt_coco_mask_pool *pool, const edt_coco_mask **masks,
                             edt_error *err)
{
    edt_arena scratch;
    edt_status status = EDT_OK;
    edt_arena_init(&scratch, EDT_MEM_EVAL, 0);
    for (int64_t i = 0; i < n && status == EDT_OK; ++i) {
        status = objects[i].mask != NULL
                     ? edt_coco_mask_add(pool, &scratch, objects[i].mask, err, &masks[i])
                     : edt_error_set(err, EDT_ERR_INVALID,
                                     "annotation %lld has no mask, though others have",
                                     (long long)objects[i].id);
    }
    edt_arena_deinit(&scratch);
    return status;
}

edt_status edt_coco_gt_create(const int64_t *image_ids, int64_t n_images,
                              const edt_coco_category *categories, int64_t n_categories,
                              const edt_coco_object *objects, int64_t n_objects, edt_error *err,
                              edt_coco_gt **out_gt)
{
    edt_status status = EDT_OK;
    edt_coco_mask_pool pool = {0};
    bool has_masks = false;
    for (int64_t i = 0; i < n_objects; ++i) {
        has_masks |= objects[i].mask != NULL;
    }
    const edt_coco_mask **masks =
        edt_mem_calloc(EDT_MEM_EVAL, (size_t)n_objects, sizeof(*masks));
    edt_coco_gt_image *images = edt_mem_alloc(EDT_MEM_EVAL, (size_t)n_images * sizeof *images);
    if (masks == NULL || images == NULL) {
        status =
            edt_error_set(err, EDT_ERR_NOMEM, "no memory for %lld images", (long long)n_images);
        goto fail;
    }
    for (int64_t i = 0; i < n_images; ++i) {
        images[i] = (edt_coco_gt_image){.id = image_ids[i], .height = -1, .width = -1};
    }
    if (has_masks) {
        EDT_TRY_GOTO(copy_masks(objects, n_objects, &pool, masks, err));
    }
    const edt_coco_gt_lists lists = {.source = "ground truth",
                                     .images = images,
                                     .categories = categories,
                                     .objects = objects,
                                     .masks = has_masks ? masks : NULL,
                                     .take_masks = &pool,
                                     .n_images = n_images,
                                     .n_categories = n_categories,
                                     .n_objects = n_objects};
    const edt_coco_gt_options options = {.iou_type = has_masks ? EDT_COCO_SEGM : EDT_COCO_BBOX};
    EDT_TRY_GOTO(edt_coco_gt_build(&lists, &options, err, out_gt));
fail:
    edt_coco_mask_pool_deinit(&pool);
    edt_mem_free(masks);
    edt_mem_free(images);
    return status;
}

void edt_coco_gt_destroy(edt_coco_gt *gt)
{
    if (gt == NULL) {
        return;
    }
    edt_coco_id_map_deinit(&gt->images);
    edt_coco_id_map_deinit(&gt->category_map);
    edt_mem_free(gt->image_ids);
    edt_mem_free(gt->file_names);
    edt_mem_free(gt->image_size);
    edt_mem_free(gt->category_ids);
    edt_mem_free(gt->categories);
    edt_mem_free(gt->image_begin);
    edt_mem_free(gt->object_id);
    edt_mem_free(gt->category);
    edt_mem_free(gt->bbox);
    edt_mem_free(gt->area);
    edt_mem_free(gt->is_crowd);
    edt_mem_free(gt->masks);
    edt_coco_mask_pool_deinit(&gt->mask_pool);
    edt_arena_deinit(&gt->names);
    edt_mem_free(gt);
}

int64_t edt_coco_gt_n_images(const edt_coco_gt *gt)
{
    return gt->n_images;
}

int64_t edt_coco_gt_n_objects(const edt_coco_gt *gt)
{
    return gt->n_objects;
}

const edt_coco_category *edt_coco_gt_categories(const edt_coco_gt *gt, int64_t *out_n)
{
    *out_n = gt->n_categories;
    return gt->categories;
}

bool edt_coco_gt_has_image(const edt_coco_gt *gt, int64_t image_id)
{
    return edt_coco_id_map_find(&gt->images, image_id) >= 0;
}

int64_t edt_coco_gt_image_id(const edt_coco_gt *gt, int64_t i_image)
{
    return gt->image_ids[i_image];
}

const char *edt_coco_gt_file_name(const edt_coco_gt *gt, int64_t i_image)
{
    return gt->file_names[i_image];
}

void edt_coco_gt_image_objects(const edt_coco_gt *gt, int64_t i_image, int64_t *out_begin,
                               int64_t *out_end)
{
    *out_begin = gt->image_begin[i_image];
    *out_end = gt->image_begin[i_image + 1];
}

void edt_coco_gt_get_object(const edt_coco_gt *gt, int64_t i_object,
                            edt_coco_object *out_object)
{
    // The image whose range holds the object: the last that begins at or before it.
    int64_t low = 0, high = gt->n_images - 1;
    while (low < high) {
        const int64_t middle = low + (high - low + 1) / 2;
        if (gt->image_begin[middle] <= i_object) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    *out_object = (edt_coco_object){
        .id = gt->object_id[i_object],
        .image_id = gt->image_ids[low],
        .category_id = gt->category_ids[gt->category[i_object]],
        .area = gt->area[i_object],
        .is_crowd = gt->is_crowd[i_object] != 0,
    };
    memcpy(out_object->bbox, gt->bbox[i_object], sizeof out_object->bbox);
}
