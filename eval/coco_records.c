// Ground truth from shards. Threads decode records; their objects are put into lists in the
// order of the shards, which then go the way of those of a JSON file.
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/path.h"
#include "core/thread.h"
#include "dataio/example.h"
#include "dataio/fingerprint64.h"
#include "dataio/image_decode.h"
#include "dataio/png_mask.h"
#include "dataio/record_scan.h"
#include "eval/coco_list.h"
#include "eval/coco_priv.h"

typedef struct reader {
    bool with_masks, difficult_as_crowd;
    edt_coco_list images, categories, objects, masks;
    edt_coco_mask_pool mask_pool;
    edt_arena names, scratch;
    edt_image_decoder **decoders; // per worker, for records without a size
    int n_decoders;
} reader;

// What a worker makes of a record; in the item's arena.
typedef struct decoded {
    edt_coco_gt_image image;
    int64_t n;
    edt_coco_object *objects;
    edt_rle *masks;  // or NULL
    edt_text *names; // or NULL
} decoded;

static edt_status no_memory(edt_error *err)
{
    EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the ground truth");
}

static edt_status find_image(reader *r, int worker, const edt_example *example,
                             const edt_scan_item *item, edt_coco_gt_image *image,
                             edt_error *err)
{
    char id[32];
    const edt_text text = example->source_id;
    *image = (edt_coco_gt_image){.height = example->height, .width = example->width};
    if (text.n_bytes == 0) {
        // What the loader calls such a picture as well.
        image->id = edt_fingerprint64_source_id(example->encoded);
    } else {
        char *end = id;
        const size_t n = text.n_bytes < sizeof id ? text.n_bytes : 0;
        memcpy(id, text.data, n);
        id[n] = '\0';
        errno = 0;
        image->id = strtoll(id, &end, 10);
        if (errno != 0 || end == id || *end != '\0') {
            EDT_FAIL(err, EDT_ERR_FORMAT,
                     "image/source_id is '%.*s': ids of evaluated images must be integers "
                     "below 2^63",
                     (int)(text.n_bytes < 64 ? text.n_bytes : 64), text.data);
        }
    }
    if (image->height < 0) {
        EDT_TRY(edt_image_open(r->decoders[worker], example->encoded, err, &image->height,
                               &image->width));
    }
    if (example->filename.n_bytes > 0) {
        image->file_name =
            edt_arena_strndup(item->arena, example->filename.data, example->filename.n_bytes);
        return image->file_name != NULL ? EDT_OK : no_memory(err);
    }
    return EDT_OK;
}

// Areas of a segment are stored in pixels; those of VOC shards, and boxes where none is stored,
// are shares of the picture.
static double area_unit(const edt_example *example, const edt_coco_gt_image *image)
{
    for (int64_t i = 0; i < example->n_boxes; ++i) {
        if (example->area[i] > 1) {
            return 1;
        }
    }
    return (double)image->height * (double)image->width;
}

static edt_status decode_masks(const edt_example *example, const edt_scan_item *item,
                               decoded *to, edt_error *err)
{
    if (example->n_masks != example->n_boxes) {
        EDT_FAIL(err, EDT_ERR_FORMAT, "no image/object/mask in this record");
    }
    to->masks = edt_arena_calloc(item->arena, (size_t)to->n, sizeof *to->masks);
    if (to->masks == NULL) {
        return no_memory(err);
    }
    for (int64_t i = 0; i < to->n; ++i) {
        int64_t h, w;
        const uint8_t *pixels;
        EDT_TRY(edt_png_mask_decode(example->masks[i], item->arena, err, &h, &w, &pixels));
        EDT_TRY(edt_rle_from_pixels(pixels, h, w, item->arena, err, &to->masks[i]));
    }
    return EDT_OK;
}

static edt_status decode_record(void *ctx, int worker, edt_scan_item *item, edt_error *err)
{
    reader *r = ctx;
    decoded *to = item->result;
    edt_example example;
    EDT_TRY(edt_example_decode(
        item->payload, EDT_EXAMPLE_TEXTS | (r->with_masks ? (unsigned)EDT_EXAMPLE_MASKS : 0u),
        item->arena, err, &example));
    EDT_TRY(find_image(r, worker, &example, item, &to->image, err));
    to->n = example.n_boxes;
    to->objects = edt_arena_calloc(item->arena, (size_t)to->n, sizeof *to->objects);
    to->names = edt_arena_calloc(item->arena, (size_t)to->n, sizeof *to->names);
    if (to->objects == NULL || to->names == NULL) {
        return no_memory(err);
    }
    const double h = (double)to->image.height, w = (double)to->image.width;
    const double unit = area_unit(&example, &to->image);
    for (int64_t i = 0; i < to->n; ++i) {
        const float *box = example.boxes + 4 * i;
        const double ymin = (double)box[0] * h, xmin = (double)box[1] * w;
        to->objects[i] = (edt_coco_object){
            .image_id = to->image.id,
            .category_id = example.labels[i],
            .bbox = {xmin, ymin, (double)box[3] * w - xmin, (double)box[2] * h - ymin},
            .area = (double)example.area[i] * unit,
            .is_crowd =
                example.is_crowd[i] ||
                (r->difficult_as_crowd && example.difficult != NULL && example.difficult[i]),
        };
        if (example.n_texts > 0) {
            to->names[i] =
                (edt_text){(const char *)example.texts[i].data, example.texts[i].n_bytes};
        }
    }
    return r->with_masks ? decode_masks(&example, item, to, err) : EDT_OK;
}

static edt_status decode_item(void *ctx, int worker, edt_scan_item *item, edt_error *err)
{
    EDT_TRY_CTX(decode_record(ctx, worker, item, err), err, "%s, record %" PRId64, item->path,
                item->i_record);
    return EDT_OK;
}

// The first text of a label names it.
static edt_status add_category(reader *r, int64_t id, edt_text name, edt_error *err)
{
    edt_coco_category *all = r->categories.items;
    for (int64_t i = 0; i < r->categories.n; ++i) {
        if (all[i].id == id) {
            return EDT_OK;
        }
    }
    edt_coco_category *added = edt_coco_list_grow(&r->categories, sizeof *added, 1);
    if (added == NULL) {
        return no_memory(err);
    }
    *added = (edt_coco_category){
        .id = id,
        .name = edt_arena_strndup(&r->names, name.data != NULL ? name.data : "", name.n_bytes)};
    return added->name != NULL ? EDT_OK : no_memory(err);
}

static edt_status take_record(reader *r, const decoded *from, edt_error *err)
{
    edt_coco_gt_image *image = edt_coco_list_grow(&r->images, sizeof *image, 1);
    edt_coco_object *objects = edt_coco_list_grow(&r->objects, sizeof *objects, from->n);
    const edt_coco_mask **masks =
        r->with_masks ? edt_coco_list_grow(&r->masks, sizeof(*masks), from->n) : NULL;
    if (image == NULL || objects == NULL || (r->with_masks && masks == NULL)) {
        return no_memory(err);
    }
    *image = from->image;
    if (image->file_name != NULL) {
        image->file_name = edt_arena_strdup(&r->names, image->file_name);
        if (image->file_name == NULL) {
            return no_memory(err);
        }
    }
    const int64_t first_id = r->objects.n - from->n + 1;
    for (int64_t i = 0; i < from->n; ++i) {
        objects[i] = from->objects[i];
        objects[i].id = first_id + i;
        EDT_TRY(add_category(r, objects[i].category_id, from->names[i], err));
        if (r->with_masks) {
            EDT_TRY(
                edt_coco_mask_add(&r->mask_pool, &r->scratch, &from->masks[i], err, &masks[i]));
        }
    }
    return EDT_OK;
}

static edt_status take_item(void *ctx, const edt_scan_item *item, edt_error *err)
{
    switch (item->kind) {
    case EDT_SCAN_FILE_END: return EDT_OK;
    case EDT_SCAN_NO_FILE: EDT_FAIL(err, EDT_ERR_IO, "%s: %s", item->path, item->words);
    case EDT_SCAN_RECORD:
        if (item->fault == EDT_TFRECORD_OK) {
            return take_record(ctx, item->result, err);
        }
        break;
    case EDT_SCAN_DAMAGE:
    case EDT_SCAN_STREAM: break;
    }
    EDT_FAIL(err, EDT_ERR_CORRUPT,
             "%s, record %" PRId64 ": %s; a damaged ground truth is not evaluated "
             "(inspect_records --repair writes the good records)",
             item->path, item->i_record,
             item->kind == EDT_SCAN_RECORD ? edt_tfrecord_fault_name(item->fault)
                                           : item->words);
}

static edt_status scan(reader *r, const char *pattern, const edt_coco_gt_options *options,
                       edt_error *err)
{
    edt_path_list files;
    EDT_TRY(edt_path_glob(pattern, &r->names, err, &files));
    const int n_workers = edt_record_scan_workers(options->n_threads);
    r->decoders = edt_mem_calloc(EDT_MEM_EVAL, (size_t)n_workers, sizeof(*r->decoders));
    if (r->decoders == NULL) {
        return no_memory(err);
    }
    for (; r->n_decoders < n_workers; ++r->n_decoders) {
        EDT_TRY(edt_image_decoder_create(NULL, err, &r->decoders[r->n_decoders]));
    }
    const edt_scan_spec spec = {.paths = files.path,
                                .n_files = files.n,
                                .n_threads = options->n_threads,
                                .check_data_crc = true,
                                .result_bytes = sizeof(decoded),
                                .ctx = r,
                                .work = decode_item,
                                .consume = take_item};
    return edt_record_scan(&spec, err);
}

edt_status edt_coco_gt_open_records(const char *pattern, const edt_coco_gt_options *options,
                                    edt_error *err, edt_coco_gt **out_gt)
{
    edt_status status = EDT_OK;
    reader r = {.with_masks = options->iou_type == EDT_COCO_SEGM,
                .difficult_as_crowd = options->difficult_as_crowd};
    edt_arena_init(&r.names, EDT_MEM_EVAL, 0);
    edt_arena_init(&r.scratch, EDT_MEM_EVAL, 0);
    EDT_TRY_GOTO(scan(&r, pattern, options, err));
    EDT_TRY_GOTO(edt_coco_gt_build_read(pattern, &r.images, &r.categories, &r.objects,
                                        r.with_masks ? &r.masks : NULL, &r.mask_pool, options,
                                        err, out_gt));
fail:
    for (int i = 0; i < r.n_decoders; ++i) {
        edt_image_decoder_destroy(r.decoders[i]);
    }
    edt_mem_free(r.decoders);
    edt_coco_mask_pool_deinit(&r.mask_pool);
    edt_mem_free(r.images.items);
    edt_mem_free(r.categories.items);
    edt_mem_free(r.objects.items);
    edt_mem_free(r.masks.items);
    edt_arena_deinit(&r.names);
    edt_arena_deinit(&r.scratch);
    return status;
}
