// See record_list.h: one record taken out of its shard.
#include <inttypes.h>
#include <string.h>

#include "core/file.h"
#include "core/json.h"
#include "core/log.h"
#include "core/path.h"
#include "dataio/draw.h"
#include "dataio/example.h"
#include "dataio/image_decode.h"
#include "dataio/jpeg_encode.h"
#include "dataio/jpeg_probe.h"
#include "dataio/labels.h"
#include "dataio/record_list.h"
#include "dataio/record_scan.h"
#include "dataio/tfexample.h"

typedef struct extractor {
    const edt_list_options *options;
    const char *id, *dir;
    bool by_name; // compare file names instead of ids
    bool found;
    edt_extract_result *result;
} extractor;

static bool equals(edt_text text, const char *other)
{
    return text.n_bytes == strlen(other) && memcmp(text.data, other, text.n_bytes) == 0;
}

static bool *match_of(const edt_scan_item *item)
{
    return item->result;
}

// See edt_scan_spec.
static edt_status match_record(void *ctx, int worker, edt_scan_item *item, edt_error *err)
{
    (void)worker, (void)err;
    const extractor *x = ctx;
    edt_tfexample message;
    edt_feature feature;
    const char *key = x->by_name ? "image/filename" : "image/source_id";
    if (edt_tfexample_parse(item->payload, item->arena, NULL, &message) == EDT_OK &&
        edt_tfexample_get_list(&message, key, EDT_FEATURE_BYTES, item->arena, NULL, &feature) ==
            EDT_OK &&
        feature.n == 1) {
        const edt_span value = feature.value.bytes[0];
        *match_of(item) = equals((edt_text){(const char *)value.data, value.n_bytes}, x->id);
    }
    return EDT_OK;
}

// A file name out of an id from a record: nothing that leads elsewhere.
static void make_stem(extractor *x)
{
    char *out = x->result->stem;
    const size_t cap = sizeof x->result->stem;
    size_t n = (size_t)snprintf(out, cap, "%s/", x->dir);
    for (const char *c = x->id; *c != '\0' && n + 1 < cap; ++c) {
        const bool plain = (*c >= '0' && *c <= '9') || (*c >= 'a' && *c <= 'z') ||
                           (*c >= 'A' && *c <= 'Z') || *c == '_' || *c == '-' ||
                           (*c == '.' && c != x->id);
        out[n++] = plain ? *c : '_';
    }
    out[n < cap ? n : cap - 1] = '\0';
}

static edt_text class_name(const extractor *x, const edt_example *e, int64_t i)
{
    const char *name =
        x->options->labels != NULL ? edt_labels_find(x->options->labels, e->labels[i]) : NULL;
    if (name != NULL) {
        return (edt_text){name, strlen(name)};
    }
    if (i < e->n_texts) {
        return (edt_text){(const char *)e->texts[i].data, e->texts[i].n_bytes};
    }
    return (edt_text){"", 0};
}

static void put_objects(const extractor *x, const edt_example *e, const edt_image_header *size,
                        edt_json_writer *json)
{
    edt_json_key(json, "objects");
    edt_json_begin_array(json);
    for (int64_t i = 0; i < e->n_boxes; ++i) {
        const float *box = &e->boxes[4 * i];
        const double h = (double)size->height, w = (double)size->width;
        edt_json_begin_object(json);
        edt_json_put_i64(json, "label", e->labels[i]);
        edt_json_key(json, "name");
        edt_json_text_n(json, class_name(x, e, i));
        edt_json_key(json, "box_ymin_xmin_ymax_xmax");
        edt_json_begin_array(json);
        for (int k = 0; k < 4; ++k) {
            edt_json_f64_or_null(json, (double)box[k]);
        }
        edt_json_end_array(json);
        // As in COCO's files: x, y, width, height.
        edt_json_key(json, "bbox_pixels");
        edt_json_begin_array(json);
        edt_json_f64_or_null(json, (double)box[1] * w);
        edt_json_f64_or_null(json, (double)box[0] * h);
        edt_json_f64_or_null(json, ((double)box[3] - (double)box[1]) * w);
        edt_json_f64_or_null(json, ((double)box[2] - (double)box[0]) * h);
        edt_json_end_array(json);
        edt_json_key(json, "area");
        edt_json_f64_or_null(json, (double)e->area[i]);
        edt_json_put_bool(json, "is_crowd", e->is_crowd[i]);
        if (e->difficult != NULL) {
            edt_json_put_bool(json, "difficult", e->difficult[i]);
        }
        edt_json_end_object(json);
    }
    edt_json_end_array(json);
}

static void put_keys(const edt_tfexample *message, edt_arena *arena, edt_json_writer *json)
{
    edt_json_key(json, "keys");
    edt_json_begin_object(json);
    for (size_t i = 0; i < message->n_entries; ++i) {
        const edt_tfexample_entry *entry = &message->entries[i];
        edt_feature feature = {0};
        const char *key = edt_arena_strndup(arena, entry->key.data, entry->key.n_bytes);
        const bool ok =
            edt_tfexample_decode(entry, arena, NULL, &feature) == EDT_OK && key != NULL;
        edt_json_key(json, key != NULL ? key : "?");
        edt_json_begin_object(json);
        edt_json_put_text(json, "type", edt_feature_kind_name(entry->kind));
        edt_json_put_i64(json, "values", ok ? (int64_t)feature.n : -1);
        edt_json_end_object(json);
    }
    edt_json_end_object(json);
}

static edt_status write_json(const extractor *x, const edt_scan_item *item,
                             const edt_tfexample *message, const edt_example *e,
                             const edt_image_header *size, const char *path, edt_error *err)
{
    edt_json_writer json = {.indent = 1};
    edt_text text;
    edt_json_begin_object(&json);
    edt_json_put_text(&json, "shard", item->path);
    edt_json_put_i64(&json, "record", item->i_record);
    edt_json_put_i64(&json, "offset", (int64_t)item->offset);
    edt_json_key(&json, "source_id");
    edt_json_text_n(&json, e->source_id);
    edt_json_key(&json, "file_name");
    edt_json_text_n(&json, e->filename);
    edt_json_put_i64(&json, "stored_height", e->height);
    edt_json_put_i64(&json, "stored_width", e->width);
    edt_json_put_text(&json, "picture", edt_image_format_name(size->format));
    edt_json_put_i64(&json, "height", size->height);
    edt_json_put_i64(&json, "width", size->width);
    edt_json_put_i64(&json, "picture_bytes", (int64_t)e->encoded.n_bytes);
    put_objects(x, e, size, &json);
    edt_json_key(&json, "captions");
    edt_json_begin_array(&json);
    for (int64_t i = 0; i < e->n_captions; ++i) {
        edt_json_text_n(&json,
                        (edt_text){(const char *)e->captions[i].data, e->captions[i].n_bytes});
    }
    edt_json_end_array(&json);
    put_keys(message, item->arena, &json);
    edt_json_end_object(&json);
    edt_status status = edt_json_writer_finish(&json, err, &text);
    if (status == EDT_OK) {
        status = edt_file_write(path, text.data, text.n_bytes, err);
    }
    edt_json_writer_deinit(&json);
    return status;
}

// A picture that does not decode has its bytes and annotations written all the same.
static edt_status draw_picture(const extractor *x, const edt_scan_item *item,
                               const edt_example *e, const char *path, edt_error *err)
{
    edt_error words = {0};
    edt_image_decoder *decoder = NULL;
    edt_image image;
    int64_t h, w;
    EDT_TRY(edt_image_decoder_create(NULL, err, &decoder));
    edt_status status = edt_image_open(decoder, e->encoded, &words, &h, &w);
    if (status == EDT_OK) {
        status = edt_image_decode(decoder, 0, &words, &image);
    }
    if (status != EDT_OK) {
        EDT_WARN("no picture with boxes: %s", words.text);
        edt_image_decoder_destroy(decoder);
        return EDT_OK;
    }
    edt_draw_box *boxes = edt_arena_calloc(item->arena, (size_t)e->n_boxes, sizeof *boxes);
    if (boxes == NULL) {
        status = edt_error_set(err, EDT_ERR_NOMEM, "no memory for boxes");
    }
    for (int64_t i = 0; status == EDT_OK && i < e->n_boxes; ++i) {
        for (int k = 0; k < 4; ++k) {
            boxes[i].box[k] = e->boxes[4 * i + k] * (float)(k % 2 == 0 ? h : w);
        }
        const edt_text name = class_name(x, e, i);
        boxes[i].class_id = e->labels[i];
        boxes[i].text = name.n_bytes > 0
                            ? edt_arena_strndup(item->arena, name.data, name.n_bytes)
                            : edt_arena_printf(item->arena, "class %" PRId64, e->labels[i]);
    }
    static const edt_jpeg_encode_options encode = {.quality = 92};
    if (status == EDT_OK) {
        status = edt_draw_boxes(&image, boxes, e->n_boxes, NULL, err);
    }
    if (status == EDT_OK) {
        status = edt_jpeg_write(path, &image, &encode, err);
    }
    edt_image_decoder_destroy(decoder);
    return status;
}

static edt_status write_all(extractor *x, const edt_scan_item *item, edt_error *err)
{
    static const char *const suffixes[] = {[EDT_IMAGE_UNKNOWN] = "bin",
                                           [EDT_IMAGE_JPEG] = "jpg",
                                           [EDT_IMAGE_PNG] = "png",
                                           [EDT_IMAGE_GIF] = "gif",
                                           [EDT_IMAGE_BMP] = "bmp"};
    edt_tfexample message;
    edt_example e;
    EDT_TRY(edt_tfexample_parse(item->payload, item->arena, err, &message));
    EDT_TRY(edt_example_decode(item->payload, EDT_EXAMPLE_MASKS | EDT_EXAMPLE_TEXTS,
                               item->arena, err, &e));
    edt_image_header size = {
        .format = edt_image_format_of(e.encoded), .height = e.height, .width = e.width};
    edt_image_header probed;
    if (edt_jpeg_probe(e.encoded, NULL, &probed) == EDT_OK) {
        size = probed;
    }
    EDT_TRY(edt_path_mkdirs(x->dir, err));
    make_stem(x);
    const char *stem = x->result->stem;
    const char *picture = edt_arena_printf(item->arena, "%s.%s", stem, suffixes[size.format]);
    const char *json = edt_arena_printf(item->arena, "%s.json", stem);
    const char *drawn = edt_arena_printf(item->arena, "%s_boxes.jpg", stem);
    if (picture == NULL || json == NULL || drawn == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for file names");
    }
    EDT_TRY(edt_file_write(picture, e.encoded.data, e.encoded.n_bytes, err));
    EDT_TRY(write_json(x, item, &message, &e, &size, json, err));
    for (int64_t i = 0; i < e.n_masks; ++i) {
        const char *mask = edt_arena_printf(item->arena, "%s_mask%" PRId64 ".png", stem, i);
        if (mask == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for file names");
        }
        EDT_TRY(edt_file_write(mask, e.masks[i].data, e.masks[i].n_bytes, err));
    }
    if (e.n_boxes > 0) {
        EDT_TRY(draw_picture(x, item, &e, drawn, err));
    }
    x->result->path = item->path;
    x->result->i_record = item->i_record;
    x->result->n_boxes = e.n_boxes;
    return EDT_OK;
}

// See edt_scan_spec.
static edt_status take_record(void *ctx, const edt_scan_item *item, edt_error *err)
{
    extractor *x = ctx;
    if (item->kind == EDT_SCAN_NO_FILE) {
        EDT_FAIL(err, EDT_ERR_NOT_FOUND, "'%s': %s", item->path, item->words);
    }
    if (item->kind == EDT_SCAN_DAMAGE || item->kind == EDT_SCAN_STREAM) {
        EDT_WARN("%s: offset %" PRIu64 ": %s", item->path, item->offset, item->words);
    }
    if (item->kind != EDT_SCAN_RECORD || !*match_of(item)) {
        return EDT_OK;
    }
    x->found = true;
    edt_span payload;
    uint64_t next;
    const edt_span record = {item->payload.data - EDT_TFRECORD_HEADER_BYTES,
                             EDT_TFRECORD_HEADER_BYTES + item->payload.n_bytes +
                                 EDT_TFRECORD_FOOTER_BYTES};
    if (edt_tfrecord_get(record, 0, true, &payload, &next) != EDT_TFRECORD_OK) {
        EDT_WARN("'%s': record %" PRId64
                 ": its CRC does not match: what is extracted is damaged",
                 item->path, item->i_record);
    }
    EDT_TRY_CTX(write_all(x, item, err), err, "'%s': record %" PRId64, item->path,
                item->i_record);
    return EDT_END;
}

edt_status edt_record_extract(const edt_list_options *options, const char *id, const char *dir,
                              edt_error *err, edt_extract_result *out_result)
{
    extractor x = {.options = options, .id = id, .dir = dir, .result = out_result};
    const edt_scan_spec spec = {.paths = options->paths,
                                .n_files = options->n_files,
                                .n_threads = options->n_threads,
                                .result_bytes = sizeof(bool),
                                .ctx = &x,
                                .work = match_record,
                                .consume = take_record};
    EDT_TRY(edt_record_scan(&spec, err));
    if (!x.found) {
        x.by_name = true;
        EDT_TRY(edt_record_scan(&spec, err));
    }
    if (!x.found) {
        EDT_FAIL(err, EDT_ERR_NOT_FOUND,
                 "no record of %" PRId64
                 " files has the image id or the file name '%s'; --list shows what is there",
                 options->n_files, id);
    }
    return EDT_OK;
}
