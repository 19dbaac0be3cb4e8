// See inspect.h.
#include "dataio/inspect.h"

#include <inttypes.h>
#include <stdio.h>

#include "core/log.h"
#include "core/path.h"
#include "core/strbuf.h"
#include "dataio/draw.h"
#include "dataio/example.h"
#include "dataio/gallery.h"
#include "dataio/jpeg_encode.h"
#include "dataio/loader.h"
#include "dataio/unpack.h"

enum { MAX_BATCH = 16, GT_COLUMNS = 7, MAX_BOXES = 20 };

typedef struct inspector {
    const edt_hparams *hp;
    const edt_inspect_options *options;
    edt_inspect_result result;
    edt_arena arena; // of one sample
    edt_arena texts;
    const char *unpack_dir;
    edt_strbuf pattern; // of the shards really read, when some had to be unpacked
    edt_loader *loader;
    edt_gallery *gallery;
} inspector;

// The name of a class: label map, records, number. NULL when out of memory. A picture made of
// several records has classes that its own record does not name.
static const char *class_name(inspector *it, int64_t class_id)
{
    const edt_label_map *map = &it->hp->label_map;
    for (int i = 0; i < map->n; ++i) {
        if (map->entries[i].id == class_id) {
            return map->entries[i].name;
        }
    }
    const edt_text name = edt_loader_label_name(it->loader, class_id);
    if (name.n_bytes > 0) {
        return edt_arena_strndup(&it->arena, name.data, name.n_bytes);
    }
    return edt_arena_printf(&it->arena, "class %" PRId64, class_id);
}

// Rows of ground truth with a coordinate above 0, in network pixels.
static edt_status collect_boxes(inspector *it, const edt_batch *batch, int64_t row,
                                edt_error *err, edt_example *example, edt_draw_box **out_boxes,
                                int64_t *out_n)
{
    edt_span record;
    EDT_TRY(edt_loader_record(it->loader, batch->sample_indices[row], err, &record));
    EDT_TRY(edt_example_decode(record, EDT_EXAMPLE_TEXTS, &it->arena, err, example));
    edt_draw_box *boxes =
        edt_arena_calloc(&it->arena, (size_t)batch->max_instances, sizeof *boxes);
    if (boxes == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the boxes of a picture");
    }
    int64_t n = 0;
    for (int64_t i = 0; i < batch->max_instances; ++i) {
        const float *gt = batch->groundtruth + (row * batch->max_instances + i) * GT_COLUMNS;
        if (!(gt[0] > 0 || gt[1] > 0 || gt[2] > 0 || gt[3] > 0)) {
            continue;
        }
        for (int k = 0; k < 4; ++k) {
            boxes[n].box[k] = gt[k] / batch->image_scales[row];
        }
        boxes[n].class_id = (int64_t)gt[6];
        boxes[n].text = class_name(it, boxes[n].class_id);
        ++n;
    }
    *out_boxes = boxes;
    *out_n = n;
    return EDT_OK;
}

static edt_status add_to_gallery(inspector *it, const edt_batch *batch, int64_t row,
                                 const char *file_name, const edt_image *image,
                                 const edt_example *example, const edt_draw_box *boxes,
                                 int64_t n_boxes, edt_error *err)
{
    const char *path;
    int64_t i_record;
    EDT_TRY(edt_loader_locate(it->loader, batch->sample_indices[row], err, &path, &i_record));
    const edt_gallery_picture picture = {
        .file_name = file_name,
        .image = image,
        .valid_h = batch->valid_hw[2 * row],
        .valid_w = batch->valid_hw[2 * row + 1],
        .id = example->source_id.n_bytes > 0
                  ? edt_arena_strndup(&it->arena, example->source_id.data,
                                      example->source_id.n_bytes)
                  : edt_arena_printf(&it->arena, "%" PRId64, batch->source_ids[row]),
        .name = edt_arena_strndup(&it->arena,
                                  example->filename.n_bytes > 0 ? example->filename.data : "",
                                  example->filename.n_bytes),
        .shard = edt_path_basename(&it->arena, path),
        .i_record = i_record,
        .height = example->height,
        .width = example->width,
        .scale = (double)batch->image_scales[row],
        .n_boxes = n_boxes,
        .boxes = boxes,
    };
    if (picture.id == NULL || picture.name == NULL || picture.shard == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the gallery");
    }
    return edt_gallery_add(it->gallery, &picture, err);
}

static edt_status save_sample(inspector *it, const edt_batch *batch, int64_t row,
                              edt_error *err)
{
    static const edt_draw_options draw = {.line_width = 2, .max_boxes = MAX_BOXES};
    static const edt_jpeg_encode_options encode = {.quality = 90};
    const int64_t i_sample = it->result.n_samples++;
    edt_draw_box *boxes = NULL;
    int64_t n_boxes = 0;
    edt_example example;
    edt_arena_reset(&it->arena);
    EDT_TRY(collect_boxes(it, batch, row, err, &example, &boxes, &n_boxes));
    if (n_boxes == 0) {
        ++it->result.n_without_boxes;
        return EDT_OK;
    }
    const edt_image image = {.data = (uint8_t *)batch->images +
                                     row * batch->height * batch->width * 3,
                             .h = batch->height,
                             .w = batch->width,
                             .stride = batch->width * 3};
    EDT_TRY(edt_draw_boxes(&image, boxes, n_boxes, &draw, err));
    const char *name = edt_arena_printf(&it->arena, "sample%" PRId64 ".jpg", i_sample);
    const char *path =
        name == NULL ? NULL : edt_path_join(&it->arena, it->options->save_dir, name);
    if (path == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for a file name");
    }
    EDT_TRY(edt_jpeg_write(path, &image, &encode, err));
    EDT_TRY(add_to_gallery(it, batch, row, name, &image, &example, boxes, n_boxes, err));
    ++it->result.n_saved;
    return EDT_OK;
}

static edt_status run_batches(inspector *it, edt_error *err)
{
    const int64_t n_records = edt_loader_get_stats(it->loader).n_samples;
    const int64_t n_wanted =
        it->options->n_samples < n_records ? it->options->n_samples : n_records;
    // One epoch at most: with on_bad_sample=skip its batches may hold fewer samples than asked
    // for, or none.
    const int64_t n_batches = edt_loader_batches_per_epoch(it->loader);
    for (int64_t q = 0; q < n_batches && it->result.n_samples < n_wanted; ++q) {
        const edt_batch *batch;
        const edt_status status = edt_loader_next(it->loader, err, &batch);
        if (status == EDT_END) {
            break;
        }
        EDT_TRY(status);
        for (int64_t i = 0; i < batch->n_valid && it->result.n_samples < n_wanted; ++i) {
            EDT_TRY(save_sample(it, batch, i, err));
        }
        edt_loader_release(it->loader, batch);
    }
    return EDT_OK;
}

static edt_status open_gallery(inspector *it, edt_error *err)
{
    const edt_inspect_options *o = it->options;
    const edt_hparams *hp = it->hp;
    const edt_loader_stats set = edt_loader_get_stats(it->loader);
    const char *augmented = hp->autoaugment_policy;
    const char *first = "no records";
    int64_t i_record;
    if (set.n_samples > 0) {
        EDT_TRY(edt_loader_locate(it->loader, 0, err, &first, &i_record));
    }
    const char *shard = edt_path_basename(&it->texts, first);
    const char *more =
        set.n_files > 1 ? edt_arena_printf(&it->texts, " and %" PRId64 " more", set.n_files - 1)
                        : "";
    const char *details = edt_arena_printf(
        &it->texts, "%s%s, %" PRId64 " records · %s · network input %d × %d%s%s", shard, more,
        set.n_samples, o->model_name != NULL ? o->model_name : "", (int)hp->image_size.w,
        (int)hp->image_size.h, augmented != NULL ? " · " : "",
        augmented != NULL ? augmented : "");
    const edt_gallery_info info = {.dir = o->save_dir,
                                   .title =
                                       o->eval ? "What evaluation sees" : "What training sees",
                                   .details = details};
    if (shard == NULL || more == NULL || details == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the gallery");
    }
    return edt_gallery_create(&info, err, &it->gallery);
}

static edt_status write_gallery(inspector *it, edt_error *err)
{
    char closing[256];
    (void)snprintf(closing, sizeof closing,
                   "%" PRId64 " of %" PRId64 " records were looked at, %" PRId64
                   " without boxes are not shown.",
                   it->result.n_samples, edt_loader_get_stats(it->loader).n_samples,
                   it->result.n_without_boxes);
    return edt_gallery_write(it->gallery, closing, err);
}

// Shards that can only be read in order are looked at through plain copies of their first
// records.
static edt_status find_shards(inspector *it, edt_error *err, const char **out_pattern)
{
    enum { MIN_UNPACKED = 256 };
    const edt_inspect_options *o = it->options;
    edt_path_list files;
    int64_t n_unpacked = 0;
    const int64_t n_wanted = o->n_samples > MIN_UNPACKED ? o->n_samples : MIN_UNPACKED;
    it->unpack_dir = edt_path_join(&it->texts, o->save_dir, ".unpacked");
    if (it->unpack_dir == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for file names");
    }
    EDT_TRY(edt_path_glob(o->file_pattern, &it->texts, err, &files));
    EDT_TRY(edt_unpack_shards(it->unpack_dir, n_wanted, &it->texts, &files, err, &n_unpacked));
    *out_pattern = o->file_pattern;
    if (n_unpacked == 0) {
        return EDT_OK;
    }
    EDT_INFO("%" PRId64 " compressed shards can only be read in order: the pictures come from "
             "their first records, %" PRId64 " in all",
             n_unpacked, n_wanted);
    for (int64_t i = 0; i < files.n; ++i) {
        edt_strbuf_puts(&it->pattern, i > 0 ? "," : "");
        edt_strbuf_puts(&it->pattern, files.path[i]);
    }
    if (it->pattern.failed) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for file names");
    }
    *out_pattern = it->pattern.text;
    return EDT_OK;
}

static edt_status run(inspector *it, edt_error *err)
{
    const edt_inspect_options *o = it->options;
    if (o->n_samples < 1) {
        EDT_FAIL(err, EDT_ERR_USAGE, "samples=%" PRId64 "; at least 1 is needed", o->n_samples);
    }
    const char *pattern = NULL;
    EDT_TRY(find_shards(it, err, &pattern));
    const edt_loader_options options = {
        .file_pattern = pattern,
        .training = !o->eval,
        .batch_size = o->n_samples < MAX_BATCH ? o->n_samples : MAX_BATCH,
        .n_threads = o->n_threads,
        .world_size = 1,
        .format = EDT_SLOT_U8,
        .keep_groundtruth = true,
    };
    EDT_TRY(edt_loader_create(it->hp, &options, err, &it->loader));
    EDT_TRY(edt_path_mkdirs(o->save_dir, err));
    EDT_TRY(open_gallery(it, err));
    EDT_TRY(run_batches(it, err));
    edt_loader_log_bad(it->loader);
    if (it->result.n_saved == 0) {
        EDT_FAIL(err, EDT_ERR_INVALID,
                 "none of %" PRId64 " samples of %s has a box to draw (of %" PRId64 " records)",
                 it->result.n_samples, o->file_pattern,
                 edt_loader_get_stats(it->loader).n_samples);
    }
    return write_gallery(it, err);
}

edt_status edt_inspect_samples(const edt_hparams *hp, const edt_inspect_options *options,
                               edt_error *err, edt_inspect_result *out_result)
{
    inspector it = {.hp = hp, .options = options};
    edt_arena_init(&it.arena, EDT_MEM_ARENA, 0);
    edt_arena_init(&it.texts, EDT_MEM_TEXT, 0);
    const edt_status status = run(&it, err);
    if (status == EDT_OK) {
        *out_result = it.result;
    }
    edt_loader_destroy(it.loader);
    edt_gallery_destroy(it.gallery);
    if (it.unpack_dir != NULL) {
        edt_unpack_remove(it.unpack_dir);
    }
    edt_strbuf_deinit(&it.pattern);
    edt_arena_deinit(&it.texts);
    edt_arena_deinit(&it.arena);
    return status;
}
