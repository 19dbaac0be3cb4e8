// See inspect.h.
#include "dataio/inspect.h"

#include <inttypes.h>
#include <string.h>

#include "augment/resize.h"
#include "core/file.h"
#include "core/mem.h"
#include "core/path.h"
#include "core/strbuf.h"
#include "dataio/draw.h"
#include "dataio/example.h"
#include "dataio/jpeg_encode.h"
#include "dataio/loader.h"

enum {
    MAX_BATCH = 16,
    GT_COLUMNS = 7,
    MAX_BOXES = 20,
    CELL = 256,
    SHEET_COLUMNS = 5,
    SHEET_MAX = 50
};

typedef struct inspector {
    const edt_hparams *hp;
    const edt_inspect_options *options;
    edt_inspect_result result;
    edt_arena arena; // of one sample
    edt_loader *loader;
    edt_resizer *resizer;
    edt_strbuf page;
    uint8_t *sheet; // up to SHEET_MAX cells, SHEET_COLUMNS in a row
    int64_t n_cells;
} inspector;

static void put_escaped(edt_strbuf *page, const char *text)
{
    for (; *text != '\0'; ++text) {
        switch (*text) {
        case '<': edt_strbuf_puts(page, "&lt;"); break;
        case '>': edt_strbuf_puts(page, "&gt;"); break;
        case '&': edt_strbuf_puts(page, "&amp;"); break;
        case '"': edt_strbuf_puts(page, "&quot;"); break;
        default: edt_strbuf_append(page, text, 1); break;
        }
    }
}

// The name of a class: label map, record, number. NULL when out of memory.
static const char *class_name(inspector *it, const edt_example *example, int64_t class_id)
{
    const edt_label_map *map = &it->hp->label_map;
    for (int i = 0; i < map->n; ++i) {
        if (map->entries[i].id == class_id) {
            return map->entries[i].name;
        }
    }
    for (int64_t i = 0; i < example->n_texts && i < example->n_boxes; ++i) {
        if (example->labels[i] == class_id && example->texts[i].n_bytes > 0) {
            return edt_arena_strndup(&it->arena, (const char *)example->texts[i].data,
                                     example->texts[i].n_bytes);
        }
    }
    return edt_arena_printf(&it->arena, "class %" PRId64, class_id);
}

// Rows of ground truth with a coordinate above 0, in network pixels.
static edt_status collect_boxes(inspector *it, const edt_batch *batch, int64_t row,
                                edt_error *err, edt_draw_box **out_boxes, int64_t *out_n)
{
    edt_span record;
    edt_example example;
    EDT_TRY(edt_loader_record(it->loader, batch->sample_indices[row], err, &record));
    EDT_TRY(edt_example_decode(record, EDT_EXAMPLE_TEXTS, &it->arena, err, &example));
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
        boxes[n].text = class_name(it, &example, boxes[n].class_id);
        ++n;
    }
    *out_boxes = boxes;
    *out_n = n;
    return EDT_OK;
}

// A small copy of the picture into the next cell of the contact sheet.
static edt_status add_to_sheet(inspector *it, const edt_image *image, edt_error *err)
{
    if (it->n_cells == SHEET_MAX) {
        return EDT_OK;
    }
    edt_scale_params params;
    EDT_TRY(edt_scale_params_eval(image->h, image->w, CELL, CELL, err, &params));
    uint8_t *cell = edt_arena_alloc(&it->arena, (size_t)CELL * CELL * 3);
    if (cell == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the contact sheet");
    }
    EDT_TRY(edt_resize_u8(it->resizer, image, &params, false, err, cell));
    const int64_t top = it->n_cells / SHEET_COLUMNS * CELL,
                  left = it->n_cells % SHEET_COLUMNS * CELL;
    for (int64_t y = 0; y < CELL; ++y) {
        memcpy(it->sheet + ((top + y) * SHEET_COLUMNS * CELL + left) * 3, cell + y * CELL * 3,
               (size_t)CELL * 3);
    }
    ++it->n_cells;
    return EDT_OK;
}

static edt_status add_to_page(inspector *it, const edt_batch *batch, int64_t row,
                              const char *file_name, const edt_draw_box *boxes, int64_t n_boxes,
                              edt_error *err)
{
    const char *path;
    int64_t i_record;
    EDT_TRY(edt_loader_locate(it->loader, batch->sample_indices[row], err, &path, &i_record));
    edt_strbuf_printf(&it->page,
                      "<figure><img src=\"%s\" width=\"%" PRId64 "\" loading=\"lazy\">",
                      file_name, batch->width < 512 ? batch->width : 512);
    edt_strbuf_printf(&it->page,
                      "<figcaption>%s: source id %" PRId64 ", record %" PRId64 " of ",
                      file_name, batch->source_ids[row], i_record);
    put_escaped(&it->page, edt_path_basename(&it->arena, path));
    edt_strbuf_printf(&it->page, "<br>%" PRId64 " boxes:", n_boxes);
    for (int64_t i = 0; i < n_boxes && i < MAX_BOXES; ++i) {
        edt_strbuf_puts(&it->page, i == 0 ? " " : ", ");
        put_escaped(&it->page, boxes[i].text != NULL ? boxes[i].text : "");
    }
    edt_strbuf_puts(&it->page, n_boxes > MAX_BOXES ? ", …</figcaption></figure>\n"
                                                   : "</figcaption></figure>\n");
    return EDT_OK;
}

static edt_status save_sample(inspector *it, const edt_batch *batch, int64_t row,
                              edt_error *err)
{
    static const edt_draw_options draw = {.line_width = 2, .max_boxes = MAX_BOXES};
    static const edt_jpeg_encode_options encode = {.quality = 90};
    const int64_t i_sample = it->result.n_samples++;
    edt_draw_box *boxes = NULL;
    int64_t n_boxes = 0;
    edt_arena_reset(&it->arena);
    EDT_TRY(collect_boxes(it, batch, row, err, &boxes, &n_boxes));
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
    EDT_TRY(add_to_sheet(it, &image, err));
    EDT_TRY(add_to_page(it, batch, row, name, boxes, n_boxes, err));
    ++it->result.n_saved;
    return EDT_OK;
}

static edt_status run_batches(inspector *it, edt_error *err)
{
    const int64_t n_records = edt_loader_get_stats(it->loader).n_samples;
    const int64_t n_wanted =
        it->options->n_samples < n_records ? it->options->n_samples : n_records;
    while (it->result.n_samples < n_wanted) {
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

static edt_status write_overview(inspector *it, edt_error *err)
{
    const char *dir = it->options->save_dir;
    edt_arena_reset(&it->arena);
    const char *sheet_path = edt_path_join(&it->arena, dir, "samples.jpg");
    const char *page_path = edt_path_join(&it->arena, dir, "index.html");
    edt_strbuf_puts(&it->page, "</body></html>\n");
    if (it->page.failed || sheet_path == NULL || page_path == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the gallery page");
    }
    const int64_t n_rows = (it->n_cells + SHEET_COLUMNS - 1) / SHEET_COLUMNS;
    const int64_t n_columns = it->n_cells < SHEET_COLUMNS ? it->n_cells : SHEET_COLUMNS;
    const edt_image sheet = {.data = it->sheet,
                             .h = n_rows * CELL,
                             .w = n_columns * CELL,
                             .stride = (int64_t)SHEET_COLUMNS * CELL * 3};
    EDT_TRY(edt_jpeg_write(sheet_path, &sheet, NULL, err));
    return edt_file_write(page_path, it->page.text, it->page.n_bytes, err);
}

static edt_status run(inspector *it, edt_error *err)
{
    const edt_inspect_options *o = it->options;
    if (o->n_samples < 1) {
        EDT_FAIL(err, EDT_ERR_USAGE, "samples=%" PRId64 "; at least 1 is needed", o->n_samples);
    }
    const edt_loader_options options = {
        .file_pattern = o->file_pattern,
        .training = !o->eval,
        .batch_size = o->n_samples < MAX_BATCH ? o->n_samples : MAX_BATCH,
        .n_threads = o->n_threads,
        .world_size = 1,
        .format = EDT_SLOT_U8,
        .keep_groundtruth = true,
    };
    EDT_TRY(edt_loader_create(it->hp, &options, err, &it->loader));
    EDT_TRY(edt_resizer_create(err, &it->resizer));
    EDT_TRY(edt_path_mkdirs(o->save_dir, err));
    it->sheet = edt_mem_calloc(EDT_MEM_IMAGE, SHEET_MAX, (size_t)CELL * CELL * 3);
    if (it->sheet == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the contact sheet");
    }
    edt_strbuf_puts(
        &it->page,
        "<!DOCTYPE html>\n<html><head><meta charset=\"utf-8\"><title>samples</title><style>"
        "body{font-family:sans-serif}figure{display:inline-block;margin:8px;"
        "vertical-align:top;max-width:512px}figcaption{font-size:small}</style></head>"
        "<body>\n");
    EDT_TRY(run_batches(it, err));
    if (it->result.n_saved == 0) {
        EDT_FAIL(err, EDT_ERR_INVALID,
                 "none of %" PRId64 " samples of %s has a box to draw (of %" PRId64 " records)",
                 it->result.n_samples, o->file_pattern,
                 edt_loader_get_stats(it->loader).n_samples);
    }
    return write_overview(it, err);
}

edt_status edt_inspect_samples(const edt_hparams *hp, const edt_inspect_options *options,
                               edt_error *err, edt_inspect_result *out_result)
{
    inspector it = {.hp = hp, .options = options};
    edt_arena_init(&it.arena, EDT_MEM_ARENA, 0);
    const edt_status status = run(&it, err);
    if (status == EDT_OK) {
        *out_result = it.result;
    }
    edt_loader_destroy(it.loader);
    edt_resizer_destroy(it.resizer);
    edt_mem_free(it.sheet);
    edt_strbuf_deinit(&it.page);
    edt_arena_deinit(&it.arena);
    return status;
}
