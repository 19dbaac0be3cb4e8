// Reads a COCO instances JSON into plain lists. Images and categories are few; the annotations,
// with their polygons, are most of the file and are read in pieces (coco_items.h).
#include <string.h>

#include "core/file.h"
#include "core/thread.h"
#include "eval/coco_items.h"
#include "eval/coco_list.h"
#include "eval/coco_priv.h"

typedef struct reader {
    edt_coco_list images, categories, objects;
    edt_coco_list masks; // by object, with masks only
    edt_coco_mask_pool mask_pool;
    int64_t *image_ids; // in the order of the file, for `by_id`
    edt_coco_id_map by_id;
    edt_arena arena;
    bool lenient, with_masks, difficult_as_crowd;
    bool has_images, has_categories, has_objects;
} reader;

// Annotations of a piece.
typedef struct sink {
    edt_coco_list objects, masks;
    edt_coco_mask_pool mask_pool;
    edt_arena scratch;
} sink;

static edt_status no_memory(edt_error *err)
{
    EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the ground truth");
}

static edt_status missing(const edt_json_pull *pull, const char *what, edt_error *err)
{
    return edt_json_pull_fail(pull, EDT_ERR_FORMAT, err, "no \"%s\" in this object", what);
}

static edt_status read_id(edt_json_pull *pull, edt_error *err, int64_t *out_id)
{
    edt_json_event event;
    EDT_TRY(edt_json_pull_next(pull, err, &event));
    if (event != EDT_JSON_NUMBER) {
        return edt_json_pull_fail(pull, EDT_ERR_FORMAT, err, "ids must be integers, found %s",
                                  edt_json_event_name(event));
    }
    return edt_json_pull_get_i64(pull, err, out_id);
}

// A size that is there and a number; anything else counts as not given.
static edt_status read_size(edt_json_pull *pull, edt_error *err, int64_t *out_size)
{
    edt_json_event event;
    EDT_TRY(edt_json_pull_next(pull, err, &event));
    if (event == EDT_JSON_NUMBER) {
        return edt_json_pull_get_i64(pull, err, out_size);
    }
    if (event == EDT_JSON_OBJECT_BEGIN || event == EDT_JSON_ARRAY_BEGIN) {
        return edt_json_pull_skip_rest(pull, err);
    }
    return EDT_OK;
}

// A file name that is a text; anything else counts as not given.
static edt_status read_file_name(reader *r, edt_json_pull *pull, edt_error *err,
                                 const char **out_name)
{
    edt_json_event event;
    EDT_TRY(edt_json_pull_next(pull, err, &event));
    if (event == EDT_JSON_STRING) {
        const edt_text name = pull->text;
        *out_name = edt_arena_strndup(&r->arena, name.data, name.n_bytes);
        return *out_name != NULL ? EDT_OK : no_memory(err);
    }
    if (event == EDT_JSON_OBJECT_BEGIN || event == EDT_JSON_ARRAY_BEGIN) {
        return edt_json_pull_skip_rest(pull, err);
    }
    return EDT_OK;
}

static edt_status read_image(reader *r, edt_json_pull *pull, edt_error *err)
{
    edt_coco_gt_image image = {.height = -1, .width = -1};
    bool has_id = false, more;
    edt_text key;
    EDT_TRY(edt_json_pull_expect(pull, EDT_JSON_OBJECT_BEGIN, err));
    for (;;) {
        EDT_TRY(edt_json_pull_next_key(pull, err, &key, &more));
        if (!more) {
            break;
        }
        if (edt_text_is(key, "id")) {
            EDT_TRY(read_id(pull, err, &image.id));
            has_id = true;
        } else if (edt_text_is(key, "width")) {
            EDT_TRY(read_size(pull, err, &image.width));
        } else if (edt_text_is(key, "height")) {
            EDT_TRY(read_size(pull, err, &image.height));
        } else if (edt_text_is(key, "file_name")) {
            EDT_TRY(read_file_name(r, pull, err, &image.file_name));
        } else {
            EDT_TRY(edt_json_pull_skip_value(pull, err, NULL));
        }
    }
    if (!has_id) {
        return missing(pull, "id", err);
    }
    edt_coco_gt_image *added = edt_coco_list_grow(&r->images, sizeof *added, 1);
    if (added == NULL) {
        return no_memory(err);
    }
    *added = image;
    return EDT_OK;
}

static edt_status read_category(reader *r, edt_json_pull *pull, edt_error *err)
{
    edt_coco_category category = {0};
    bool has_id = false, more;
    edt_text key;
    EDT_TRY(edt_json_pull_expect(pull, EDT_JSON_OBJECT_BEGIN, err));
    for (;;) {
        EDT_TRY(edt_json_pull_next_key(pull, err, &key, &more));
        if (!more) {
            break;
        }
        if (edt_text_is(key, "id")) {
            EDT_TRY(read_id(pull, err, &category.id));
            has_id = true;
        } else if (edt_text_is(key, "name")) {
            edt_text name;
            EDT_TRY(edt_json_pull_expect_text(pull, err, &name));
            category.name = edt_arena_strndup(&r->arena, name.data, name.n_bytes);
            if (category.name == NULL) {
                return no_memory(err);
            }
        } else {
            EDT_TRY(edt_json_pull_skip_value(pull, err, NULL));
        }
    }
    if (!has_id) {
        return missing(pull, "id", err);
    }
    edt_coco_category *added = edt_coco_list_grow(&r->categories, sizeof *added, 1);
    if (added == NULL) {
        return no_memory(err);
    }
    *added = category;
    return EDT_OK;
}

static edt_status read_items(reader *r, edt_json_pull *pull, edt_error *err,
                             edt_status (*read)(reader *r, edt_json_pull *pull, edt_error *err))
{
    EDT_TRY(edt_json_pull_expect(pull, EDT_JSON_ARRAY_BEGIN, err));
    for (;;) {
        bool more;
        EDT_TRY(edt_json_pull_next_item(pull, err, &more));
        if (!more) {
            return EDT_OK;
        }
        EDT_TRY(read(r, pull, err));
    }
}

// 0, 1, true or false; pycocotools takes any other number for true as well.
static edt_status read_flag(edt_json_pull *pull, const char *name, edt_error *err,
                            bool *out_flag)
{
    edt_json_event event;
    EDT_TRY(edt_json_pull_next(pull, err, &event));
    if (event == EDT_JSON_NUMBER) {
        int64_t value;
        EDT_TRY(edt_json_pull_get_i64(pull, err, &value));
        *out_flag = value != 0;
    } else if (event == EDT_JSON_TRUE || event == EDT_JSON_FALSE) {
        *out_flag = event == EDT_JSON_TRUE;
    } else {
        return edt_json_pull_fail(pull, EDT_ERR_FORMAT, err, "%s must be 0 or 1, found %s",
                                  name, edt_json_event_name(event));
    }
    return EDT_OK;
}

enum {
    HAS_ID = 1,
    HAS_IMAGE = 2,
    HAS_CATEGORY = 4,
    HAS_BBOX = 8,
    HAS_AREA = 16,
    HAS_MASK = 32
};

typedef struct annotation {
    edt_coco_object object;
    edt_span mask; // the text of `segmentation`
    unsigned has;
    bool is_difficult;
} annotation;

static edt_status read_object_key(edt_json_pull *pull, edt_text key, bool difficult_as_crowd,
                                  annotation *a, edt_error *err)
{
    edt_coco_object *object = &a->object;
    if (edt_text_is(key, "id")) {
        a->has |= HAS_ID;
        return read_id(pull, err, &object->id);
    }
    if (edt_text_is(key, "image_id")) {
        a->has |= HAS_IMAGE;
        return read_id(pull, err, &object->image_id);
    }
    if (edt_text_is(key, "category_id")) {
        a->has |= HAS_CATEGORY;
        return read_id(pull, err, &object->category_id);
    }
    if (edt_text_is(key, "bbox")) {
        a->has |= HAS_BBOX;
        return edt_coco_read_bbox(pull, err, object->bbox, NULL);
    }
    if (edt_text_is(key, "area")) {
        a->has |= HAS_AREA;
        return edt_json_pull_expect_f64(pull, err, &object->area);
    }
    if (edt_text_is(key, "iscrowd")) {
        return read_flag(pull, "iscrowd", err, &object->is_crowd);
    }
    if (difficult_as_crowd && (edt_text_is(key, "difficult") || edt_text_is(key, "ignore"))) {
        bool flag = false;
        EDT_TRY(read_flag(pull, "difficult and ignore", err, &flag));
        a->is_difficult |= flag;
        return EDT_OK;
    }
    if (edt_text_is(key, "segmentation")) {
        a->has |= HAS_MASK;
        return edt_json_pull_skip_value(pull, err, &a->mask);
    }
    return edt_json_pull_skip_value(pull, err, NULL);
}

// The mask; NULL for an object of an unknown image, which is a defect that is listed later.
static edt_status read_mask(const reader *r, sink *to, const edt_json_pull *pull, annotation *a,
                            edt_error *err, const edt_coco_mask **out_mask)
{
    const int32_t i_image = edt_coco_id_map_find(&r->by_id, a->object.image_id);
    edt_error words = {0};
    *out_mask = NULL;
    if (i_image < 0) {
        return EDT_OK;
    }
    const edt_coco_gt_image *image = (const edt_coco_gt_image *)r->images.items + i_image;
    if (to->scratch.block_bytes == 0) {
        edt_arena_init(&to->scratch, EDT_MEM_EVAL, 0);
    }
    const edt_status status = edt_coco_mask_read(&to->mask_pool, &to->scratch, a->mask,
                                                 image->height, image->width, &words, out_mask);
    if (status != EDT_OK) {
        return edt_json_pull_fail(pull, status, err, "segmentation: %s", words.text);
    }
    for (int i = 0; i < 4 && (a->has & HAS_BBOX) == 0; ++i) {
        a->object.bbox[i] = (double)(*out_mask)->box[i];
    }
    return EDT_OK;
}

static edt_status read_object(void *ctx, void *piece, edt_json_pull *pull, edt_error *err)
{
    static const char *const names[] = {"id",   "image_id", "category_id",
                                        "bbox", "area",     "segmentation"};
    const reader *r = ctx;
    sink *to = piece;
    annotation a = {0};
    EDT_TRY(edt_json_pull_expect(pull, EDT_JSON_OBJECT_BEGIN, err));
    for (;;) {
        edt_text key;
        bool more;
        EDT_TRY(edt_json_pull_next_key(pull, err, &key, &more));
        if (!more) {
            break;
        }
        EDT_TRY(read_object_key(pull, key, r->difficult_as_crowd, &a, err));
    }
    a.object.is_crowd |= a.is_difficult;
    if (r->lenient && (a.has & (HAS_AREA | HAS_BBOX)) == HAS_BBOX) {
        a.object.area = a.object.bbox[2] * a.object.bbox[3];
        a.has |= HAS_AREA;
    }
    const unsigned needed = HAS_ID | HAS_IMAGE | HAS_CATEGORY | HAS_AREA |
                            (r->with_masks ? (unsigned)HAS_MASK : (unsigned)HAS_BBOX);
    for (int i = 0; i < 6; ++i) {
        if ((needed & ~a.has & 1u << i) != 0) {
            return missing(pull, names[i], err);
        }
    }
    if (r->with_masks) {
        const edt_coco_mask **mask = edt_coco_list_grow(&to->masks, sizeof(*mask), 1);
        if (mask == NULL) {
            return no_memory(err);
        }
        EDT_TRY(read_mask(r, to, pull, &a, err, mask));
    }
    edt_coco_object *added = edt_coco_list_grow(&to->objects, sizeof *added, 1);
    if (added == NULL) {
        return no_memory(err);
    }
    *added = a.object;
    return EDT_OK;
}

static edt_status append_list(edt_coco_list *to, const edt_coco_list *from, size_t item_bytes,
                              edt_error *err)
{
    if (from->n > 0) {
        void *added = edt_coco_list_grow(to, item_bytes, from->n);
        if (added == NULL) {
            return no_memory(err);
        }
        memcpy(added, from->items, (size_t)from->n * item_bytes);
    }
    return EDT_OK;
}

static edt_status take_objects(void *ctx, void *piece, edt_error *err)
{
    reader *r = ctx;
    sink *from = piece;
    EDT_TRY(append_list(&r->objects, &from->objects, sizeof(edt_coco_object), err));
    EDT_TRY(append_list(&r->masks, &from->masks, sizeof(const edt_coco_mask *), err));
    edt_coco_mask_pool_join(&r->mask_pool, &from->mask_pool);
    return EDT_OK;
}

static void drop_objects(void *piece)
{
    sink *s = piece;
    edt_mem_free(s->objects.items);
    edt_mem_free(s->masks.items);
    edt_coco_mask_pool_deinit(&s->mask_pool);
    edt_arena_deinit(&s->scratch);
    *s = (sink){0};
}

static edt_status read_annotations(reader *r, edt_json_pull *pull, edt_span text,
                                   bool is_mapped, int n_threads, edt_error *err)
{
    const edt_coco_items_spec spec = {.n_threads = n_threads,
                                      .is_mapped = is_mapped,
                                      .sink_bytes = sizeof(sink),
                                      .ctx = r,
                                      .read = read_object,
                                      .take = take_objects,
                                      .drop = drop_objects};
    r->objects.n = 0;
    r->masks.n = 0;
    EDT_TRY(edt_json_pull_expect(pull, EDT_JSON_ARRAY_BEGIN, err));
    return edt_coco_items_read(pull, text, &spec, err);
}

// For the sizes of the images that polygons are drawn at; of equal ids the last counts.
static edt_status index_images(reader *r, edt_error *err)
{
    const edt_coco_gt_image *images = r->images.items;
    edt_coco_id_map_deinit(&r->by_id);
    edt_mem_free(r->image_ids);
    r->image_ids = edt_mem_alloc(EDT_MEM_EVAL, (size_t)r->images.n * sizeof *r->image_ids);
    if (r->image_ids == NULL || r->images.n >= INT32_MAX) {
        return no_memory(err);
    }
    for (int64_t i = 0; i < r->images.n; ++i) {
        r->image_ids[i] = images[i].id;
    }
    return edt_coco_id_map_init(&r->by_id, r->image_ids, r->images.n, err);
}

typedef enum part { PART_ALL, PART_NO_ANNOTATIONS, PART_ANNOTATIONS } part;

static edt_status read_top(reader *r, part wanted, edt_json_pull *pull, edt_span text,
                           bool is_mapped, int n_threads, edt_error *err)
{
    EDT_TRY(edt_json_pull_expect(pull, EDT_JSON_OBJECT_BEGIN, err));
    for (;;) {
        edt_text key;
        bool more;
        EDT_TRY(edt_json_pull_next_key(pull, err, &key, &more));
        if (!more) {
            break;
        }
        // As Python's json: the last of several equal keys counts.
        if (wanted != PART_ANNOTATIONS && edt_text_is(key, "images")) {
            r->has_images = true;
            r->images.n = 0;
            EDT_TRY(read_items(r, pull, err, read_image));
        } else if (wanted != PART_ANNOTATIONS && edt_text_is(key, "categories")) {
            r->has_categories = true;
            r->categories.n = 0;
            EDT_TRY(read_items(r, pull, err, read_category));
        } else if (wanted != PART_NO_ANNOTATIONS && edt_text_is(key, "annotations")) {
            r->has_objects = true;
            EDT_TRY(read_annotations(r, pull, text, is_mapped, n_threads, err));
        } else {
            EDT_TRY(edt_json_pull_skip_value(pull, err, NULL));
        }
    }
    return edt_json_pull_expect(pull, EDT_JSON_END, err);
}

static edt_status read_lists(reader *r, part wanted, edt_span text, bool is_mapped,
                             int n_threads, edt_error *err)
{
    edt_json_pull pull;
    edt_json_pull_init(&pull, text, (edt_json_pull_options){0});
    edt_status status = read_top(r, wanted, &pull, text, is_mapped, n_threads, err);
    edt_json_pull_deinit(&pull);
    return status;
}

// Masks are drawn while they are read, and for that the sizes of the images must be known.
static edt_status read_all(reader *r, edt_span text, bool is_mapped, int n_threads,
                           edt_error *err)
{
    if (!r->with_masks) {
        EDT_TRY(read_lists(r, PART_ALL, text, is_mapped, n_threads, err));
    } else {
        EDT_TRY(read_lists(r, PART_NO_ANNOTATIONS, text, is_mapped, n_threads, err));
        EDT_TRY(index_images(r, err));
        EDT_TRY(read_lists(r, PART_ANNOTATIONS, text, is_mapped, n_threads, err));
    }
    const char *absent = !r->has_images       ? "images"
                         : !r->has_objects    ? "annotations"
                         : !r->has_categories ? "categories"
                                              : NULL;
    if (absent != NULL) {
        EDT_FAIL(err, EDT_ERR_FORMAT,
                 "no \"%s\" list; a COCO ground truth has images, annotations and categories",
                 absent);
    }
    return EDT_OK;
}

edt_status edt_coco_gt_parse(const char *source, edt_span text, bool is_mapped,
                             const edt_coco_gt_options *options, edt_error *err,
                             edt_coco_gt **out_gt)
{
    reader r = {.lenient = options->lenient,
                .with_masks = options->iou_type == EDT_COCO_SEGM,
                .difficult_as_crowd = options->difficult_as_crowd};
    edt_arena_init(&r.arena, EDT_MEM_EVAL, 4096);
    edt_status status =
        read_all(&r, text, is_mapped,
                 options->n_threads > 0 ? options->n_threads : edt_thread_cpu_count(), err);
    if (status != EDT_OK) {
        status = edt_error_add_context(err, status, "%s", source);
        goto fail;
    }
    status = edt_coco_gt_build_read(source, &r.images, &r.categories, &r.objects,
                                    r.with_masks ? &r.masks : NULL, &r.mask_pool, options, err,
                                    out_gt);
fail:
    edt_arena_deinit(&r.arena);
    edt_coco_mask_pool_deinit(&r.mask_pool);
    edt_coco_id_map_deinit(&r.by_id);
    edt_mem_free(r.image_ids);
    edt_mem_free(r.images.items);
    edt_mem_free(r.categories.items);
    edt_mem_free(r.objects.items);
    edt_mem_free(r.masks.items);
    return status;
}

edt_status edt_coco_gt_open(const char *path, const edt_coco_gt_options *options,
                            edt_error *err, edt_coco_gt **out_gt)
{
    edt_mapped_file file = {0};
    EDT_TRY_CTX(edt_mapped_file_open(path, err, &file), err, "ground truth");
    const edt_status status = edt_coco_gt_parse(path, file.span, true, options, err, out_gt);
    edt_mapped_file_close(&file);
    return status;
}
