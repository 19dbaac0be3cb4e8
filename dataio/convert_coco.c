// See convert_coco.h: the annotation files as a source of images for convert_run.
#include "dataio/convert_coco.h"

#include <inttypes.h>

#include "core/log.h"
#include "core/path.h"
#include "dataio/coco_example.h"
#include "dataio/convert_run.h"
#include "dataio/convert_state.h"
#include "dataio/fingerprint64.h"

typedef struct coco_source {
    const edt_convert_coco_options *options;
    edt_convert_report *report;
    edt_coco_json *info, *objects, *captions; // NULL: not given
    const edt_coco_json *list;                // the one whose images are written
} coco_source;

static bool is_given(const char *text)
{
    return text != NULL && text[0] != '\0';
}

// See edt_convert_spec.
static edt_status make_record(void *ctx, edt_convert_worker *worker, int64_t i, edt_error *err,
                              bool *out_good, edt_convert_counts *out_counts,
                              edt_tfexample_pieces *out_pieces)
{
    const coco_source *c = ctx;
    const edt_coco_image *image = edt_coco_json_image(c->list, i);
    edt_coco_example_input input = {.image = image,
                                    .clip_boxes = c->options->run.clip_boxes,
                                    .include_masks = c->options->include_masks,
                                    .categories_path = c->options->object_annotations_file,
                                    .report = worker->report};
    char sha[EDT_SHA256_HEX_BYTES + 1];
    const char *name =
        edt_arena_strndup(&worker->arena, image->file_name.data, image->file_name.n_bytes);
    const edt_convert_image file = {
        .path =
            name != NULL ? edt_path_join(&worker->arena, c->options->image_dir, name) : NULL,
        .where = edt_arena_printf(&worker->arena, "images[%" PRId64 "]", image->i_entry),
        .order = image->i_entry,
        .height = image->height,
        .width = image->width,
        .reencode = &c->options->run.reencode};
    edt_reencoded picture;
    if (file.path == NULL || file.where == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for a path");
    }
    EDT_TRY(edt_convert_read_image(worker, &file, err, out_good, &picture));
    if (!*out_good) {
        return EDT_OK;
    }
    input.encoded = picture.bytes;
    input.stored_height = picture.height;
    input.stored_width = picture.width;
    EDT_TRY(edt_sha256_run(worker->sha, input.encoded, err, sha));
    input.sha256 = sha;
    if (c->objects != NULL) {
        input.categories = c->objects;
        input.annotations =
            edt_coco_json_annotations(c->objects, image->id, &input.n_annotations);
    }
    if (c->captions != NULL) {
        input.captions = edt_coco_json_captions(c->captions, image->id, &input.n_captions);
    }
    return edt_coco_example_write(&input, &worker->arena, err, out_counts, out_pieces);
}

// See edt_convert_spec.
static uint64_t hash_inputs(void *ctx, edt_arena *arena, int64_t i)
{
    const coco_source *c = ctx;
    const edt_coco_image *image = edt_coco_json_image(c->list, i);
    const char *name =
        edt_arena_strndup(arena, image->file_name.data, image->file_name.n_bytes);
    const char *path = name != NULL ? edt_path_join(arena, c->options->image_dir, name) : NULL;
    return path != NULL ? edt_convert_state_hash_file(path) : 0;
}

static edt_status add_identity(edt_strbuf *out, const char *flag, const char *path,
                               edt_error *err)
{
    edt_mapped_file file;
    if (is_given(path)) {
        EDT_TRY(edt_mapped_file_open(path, err, &file));
        edt_strbuf_printf(out, "%s %zu bytes %016" PRIx64 "\n", flag, file.span.n_bytes,
                          edt_fingerprint64(file.span));
        edt_mapped_file_close(&file);
    }
    return EDT_OK;
}

// See edt_convert_spec.
static edt_status write_identity(void *ctx, edt_strbuf *out, edt_error *err)
{
    const coco_source *c = ctx;
    const edt_convert_coco_options *o = c->options;
    EDT_TRY(add_identity(out, "image_info", o->image_info_file, err));
    EDT_TRY(add_identity(out, "objects", o->object_annotations_file, err));
    EDT_TRY(add_identity(out, "captions", o->caption_annotations_file, err));
    edt_strbuf_printf(out, "images %s\ninclude_masks %d\n", o->image_dir, o->include_masks);
    return EDT_OK;
}

static edt_status check_options(const edt_convert_coco_options *o, edt_error *err)
{
    if (!is_given(o->image_dir)) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "`image_dir` missing: name the directory of the images with --image_dir=DIR");
    }
    if (!is_given(o->image_info_file) && !is_given(o->object_annotations_file) &&
        !is_given(o->caption_annotations_file)) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "All annotation files are missing: give --object_annotations_file, "
                 "--caption_annotations_file or --image_info_file");
    }
    if (!edt_path_is_dir(o->image_dir)) {
        EDT_FAIL(err, EDT_ERR_NOT_FOUND, "--image_dir: '%s' %s", o->image_dir,
                 edt_path_exists(o->image_dir) ? "is not a directory" : "does not exist");
    }
    return EDT_OK;
}

static int64_t count_bare(const edt_coco_json *coco, bool captions)
{
    int64_t n_bare = 0;
    for (int64_t i = 0; i < edt_coco_json_n_images(coco); ++i) {
        const int64_t id = edt_coco_json_image(coco, i)->id;
        int64_t n;
        if (captions) {
            (void)edt_coco_json_captions(coco, id, &n);
        } else {
            (void)edt_coco_json_annotations(coco, id, &n);
        }
        n_bare += n == 0;
    }
    return n_bare;
}

// Each file is read once; the first one given also lists the images.
static edt_status open_annotations(coco_source *c, edt_error *err)
{
    const edt_convert_coco_options *o = c->options;
    unsigned list = EDT_COCO_IMAGES;
    if (is_given(o->image_info_file)) {
        EDT_TRY(edt_coco_json_open(o->image_info_file, list, c->report, err, &c->info));
        c->list = c->info;
        list = 0;
    }
    if (is_given(o->object_annotations_file)) {
        EDT_INFO("Building bounding box index.");
        const unsigned masks = o->include_masks ? EDT_COCO_MASKS : 0;
        EDT_TRY(edt_coco_json_open(o->object_annotations_file,
                                   EDT_COCO_INSTANCES | masks | list, c->report, err,
                                   &c->objects));
        EDT_INFO("%" PRId64 " images are missing bboxes.", count_bare(c->objects, false));
        c->list = c->list != NULL ? c->list : c->objects;
        list = 0;
    }
    if (is_given(o->caption_annotations_file)) {
        EDT_INFO("Building caption index.");
        EDT_TRY(edt_coco_json_open(o->caption_annotations_file, EDT_COCO_CAPTIONS | list,
                                   c->report, err, &c->captions));
        EDT_INFO("%" PRId64 " images are missing captions.", count_bare(c->captions, true));
        c->list = c->list != NULL ? c->list : c->captions;
    }
    return EDT_OK;
}

static edt_status convert(coco_source *c, edt_error *err, edt_convert_stats *out_stats)
{
    const edt_convert_coco_options *o = c->options;
    edt_convert_spec spec = {
        .options = &o->run,
        .program = "create_coco_records",
        .prefix_flag = "--output_file_prefix",
        .image_flag = "--image_dir",
        .image_dir = o->image_dir,
        .ctx = c,
        .make_record = make_record,
        .hash_inputs = hash_inputs,
        .write_identity = write_identity,
    };
    EDT_TRY(check_options(o, err));
    EDT_TRY(edt_convert_check(&spec, err));
    EDT_INFO("writing to output path: %s", o->run.output_file_prefix);
    EDT_TRY(edt_convert_report_create(o->run.skip_bad, err, &c->report));
    EDT_TRY(open_annotations(c, err));
    spec.report = c->report;
    spec.n_images = edt_coco_json_n_images(c->list);
    return edt_convert_run(&spec, err, out_stats);
}

edt_status edt_convert_coco(const edt_convert_coco_options *options, edt_error *err,
                            edt_convert_stats *out_stats)
{
    coco_source c = {.options = options};
    const edt_status status = convert(&c, err, out_stats);
    edt_coco_json_close(c.info);
    edt_coco_json_close(c.objects);
    edt_coco_json_close(c.captions);
    edt_convert_report_destroy(c.report);
    return status;
}
