// Reads a COCO instances JSON into plain lists. Images and categories are few; the annotations,
// with their polygons, are most of the file and are read in pieces (coco_items.h).
#include <string.h>

#include "core/file.h"
#include "core/thread.h"
#include "eval/coco_items.h"
#include "eval/coco_priv.h"

typedef struct list {
    void *items;
    int64_t n, capacity;
} list;

// NULL when out of memory.
static void *grow(list *l, size_t item_bytes, int64_t n_more)
{
    if (l->n + n_more > l->capacity) {
        const int64_t capacity = 2 * l->capacity + n_more + 16;
        void *items = edt_mem_realloc(EDT_MEM_EVAL, l->items, (size_t)capacity * item_bytes);
        if (items == NULL) {
            return NULL;
        }
        l->items = items;
        l->capacity = capacity;
    }
    void *added = (uint8_t *)l->items + (size_t)l->n * item_bytes;
    l->n += n_more;
    return added;
}

typedef struct reader {
    list images, categories, objects;
    edt_arena arena;
    bool lenient;
    bool has_images, has_categories, has_objects;
} reader;

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
    edt_coco_gt_image *added = grow(&r->images, sizeof *added, 1);
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
    edt_coco_category *added = grow(&r->categories, sizeof *added, 1);
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
static edt_status read_crowd(edt_json_pull *pull, edt_error *err, bool *out_crowd)
{
    edt_json_event event;
    EDT_TRY(edt_json_pull_next(pull, err, &event));
    if (event == EDT_JSON_NUMBER) {
        int64_t value;
        EDT_TRY(edt_json_pull_get_i64(pull, err, &value));
        *out_crowd = value != 0;
    } else if (event == EDT_JSON_TRUE || event == EDT_JSON_FALSE) {
        *out_crowd = event == EDT_JSON_TRUE;
    } else {
        return edt_json_pull_fail(pull, EDT_ERR_FORMAT, err, "iscrowd must be 0 or 1, found %s",
                                  edt_json_event_name(event));
    }
    return EDT_OK;
}

enum { HAS_ID = 1, HAS_IMAGE = 2, HAS_CATEGORY = 4, HAS_BBOX = 8, HAS_AREA = 16 };

static edt_status read_object_key(edt_json_pull *pull, edt_text key, edt_coco_object *object,
                                  unsigned *has, edt_error *err)
{
    if (edt_text_is(key, "id")) {
        *has |= HAS_ID;
        return read_id(pull, err, &object->id);
    }
    if (edt_text_is(key, "image_id")) {
        *has |= HAS_IMAGE;
        return read_id(pull, err, &object->image_id);
    }
    if (edt_text_is(key, "category_id")) {
        *has |= HAS_CATEGORY;
        return read_id(pull, err, &object->category_id);
    }
    if (edt_text_is(key, "bbox")) {
        *has |= HAS_BBOX;
        return edt_coco_read_bbox(pull, err, object->bbox);
    }
    if (edt_text_is(key, "area")) {
        *has |= HAS_AREA;
        return edt_json_pull_expect_f64(pull, err, &object->area);
    }
    if (edt_text_is(key, "iscrowd")) {
        return read_crowd(pull, err, &object->is_crowd);
    }
    return edt_json_pull_skip_value(pull, err, NULL);
}

static edt_status read_object(void *ctx, void *sink, edt_json_pull *pull, edt_error *err)
{
    static const char *const names[] = {"id", "image_id", "category_id", "bbox", "area"};
    const reader *r = ctx;
    edt_coco_object object = {0};
    unsigned has = 0;
    EDT_TRY(edt_json_pull_expect(pull, EDT_JSON_OBJECT_BEGIN, err));
    for (;;) {
        edt_text key;
        bool more;
        EDT_TRY(edt_json_pull_next_key(pull, err, &key, &more));
        if (!more) {
            break;
        }
        EDT_TRY(read_object_key(pull, key, &object, &has, err));
    }
    if (r->lenient && (has & (HAS_AREA | HAS_BBOX)) == HAS_BBOX) {
        object.area = object.bbox[2] * object.bbox[3];
        has |= HAS_AREA;
    }
    for (int i = 0; i < 5; ++i) {
        if ((has & 1u << i) == 0) {
            return missing(pull, names[i], err);
        }
    }
    edt_coco_object *added = grow(sink, sizeof *added, 1);
    if (added == NULL) {
        return no_memory(err);
    }
    *added = object;
    return EDT_OK;
}

static edt_status take_objects(void *ctx, void *sink, edt_error *err)
{
    reader *r = ctx;
    const list *objects = sink;
    if (objects->n > 0) {
        edt_coco_object *added = grow(&r->objects, sizeof *added, objects->n);
        if (added == NULL) {
            return no_memory(err);
        }
        memcpy(added, objects->items, (size_t)objects->n * sizeof *added);
    }
    return EDT_OK;
}

static void drop_objects(void *sink)
{
    list *objects = sink;
    edt_mem_free(objects->items);
    *objects = (list){0};
}

static edt_status read_top(reader *r, edt_json_pull *pull, edt_span text, bool is_mapped,
                           int n_threads, edt_error *err)
{
    const edt_coco_items_spec annotations = {.n_threads = n_threads,
                                             .is_mapped = is_mapped,
                                             .sink_bytes = sizeof(list),
                                             .ctx = r,
                                             .read = read_object,
                                             .take = take_objects,
                                             .drop = drop_objects};
    EDT_TRY(edt_json_pull_expect(pull, EDT_JSON_OBJECT_BEGIN, err));
    for (;;) {
        edt_text key;
        bool more;
        EDT_TRY(edt_json_pull_next_key(pull, err, &key, &more));
        if (!more) {
            break;
        }
        // As Python's json: the last of several equal keys counts.
        if (edt_text_is(key, "images")) {
            r->has_images = true;
            r->images.n = 0;
            EDT_TRY(read_items(r, pull, err, read_image));
        } else if (edt_text_is(key, "categories")) {
            r->has_categories = true;
            r->categories.n = 0;
            EDT_TRY(read_items(r, pull, err, read_category));
        } else if (edt_text_is(key, "annotations")) {
            r->has_objects = true;
            r->objects.n = 0;
            EDT_TRY(edt_json_pull_expect(pull, EDT_JSON_ARRAY_BEGIN, err));
            EDT_TRY(edt_coco_items_read(pull, text, &annotations, err));
        } else {
            EDT_TRY(edt_json_pull_skip_value(pull, err, NULL));
        }
    }
    EDT_TRY(edt_json_pull_expect(pull, EDT_JSON_END, err));
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
    reader r = {.lenient = options->lenient};
    edt_arena_init(&r.arena, EDT_MEM_EVAL, 4096);
    edt_json_pull pull;
    edt_json_pull_init(&pull, text, (edt_json_pull_options){0});
    edt_status status =
        read_top(&r, &pull, text, is_mapped,
                 options->n_threads > 0 ? options->n_threads : edt_thread_cpu_count(), err);
    if (status != EDT_OK) {
        status = edt_error_add_context(err, status, "%s", source);
        goto fail;
    }
    status = edt_coco_gt_build(&(edt_coco_gt_lists){source, r.images.items, r.categories.items,
                                                    r.objects.items, r.images.n, r.categories.n,
                                                    r.objects.n},
                               options, err, out_gt);
fail:
    edt_json_pull_deinit(&pull);
    edt_arena_deinit(&r.arena);
    edt_mem_free(r.images.items);
    edt_mem_free(r.categories.items);
    edt_mem_free(r.objects.items);
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
