// See convert_voc.h: the devkit as a source of images for convert_run.
#include "dataio/convert_voc.h"

#include <inttypes.h>

#include "core/log.h"
#include "core/path.h"
#include "dataio/convert_state.h"
#include "dataio/voc_example.h"
#include "dataio/voc_to_coco.h"

typedef struct voc_source {
    const edt_convert_voc_options *options;
    edt_convert_report *report;
    edt_voc_set *set;
    bool *left_out; // [n_images] no record was made
    bool *seen;     // [n_images] by this rank
} voc_source;

static bool is_given(const char *text)
{
    return text != NULL && text[0] != '\0';
}

// data_dir/FOLDER/JPEGImages/FILENAME with the XML's folder, as in the reference. Sets made by
// other tools have any folder there; then the year's is meant.
static const char *find_image(const voc_source *c, edt_arena *arena, const edt_voc_image *image)
{
    const char *data_dir = c->options->data.data_dir;
    const char *name = edt_arena_printf(arena, "JPEGImages/%s", image->note.filename);
    const char *by_folder = edt_path_join(arena, data_dir, image->note.folder);
    const char *path =
        name != NULL && by_folder != NULL ? edt_path_join(arena, by_folder, name) : NULL;
    if (path == NULL || edt_path_exists(path)) {
        return path;
    }
    const char *by_year = edt_arena_printf(arena, "%s/%s/%s", data_dir, image->year, name);
    return by_year != NULL && edt_path_exists(by_year) ? by_year : path;
}

static edt_status read_picture(const voc_source *c, edt_convert_worker *worker, int64_t i,
                               edt_error *err, bool *out_good, edt_reencoded *out_picture)
{
    const edt_voc_image *image = edt_voc_set_image(c->set, i);
    const edt_convert_image file = {
        .path = find_image(c, &worker->arena, image),
        .where = edt_arena_printf(&worker->arena, "%s of %s", image->id, image->year),
        .order = i,
        .height = image->note.height,
        .width = image->note.width,
        .jpeg_only = true,
        .reencode = &c->options->run.reencode};
    if (file.path == NULL || file.where == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for a path");
    }
    return edt_convert_read_image(worker, &file, err, out_good, out_picture);
}

// See edt_convert_spec.
static edt_status make_record(void *ctx, edt_convert_worker *worker, int64_t i, edt_error *err,
                              bool *out_good, edt_convert_counts *out_counts,
                              edt_tfexample_pieces *out_pieces)
{
    voc_source *c = ctx;
    edt_voc_example_input input = {.image = edt_voc_set_image(c->set, i),
                                   .image_id = i + 1,
                                   .clip_boxes = c->options->run.clip_boxes};
    char sha[EDT_SHA256_HEX_BYTES + 1];
    edt_reencoded picture;
    *out_good = false;
    c->seen[i] = true;
    c->left_out[i] = true;
    if (input.image->left_out) {
        return EDT_OK;
    }
    EDT_TRY(read_picture(c, worker, i, err, out_good, &picture));
    if (!*out_good) {
        return EDT_OK;
    }
    c->left_out[i] = false;
    input.encoded = picture.bytes;
    EDT_TRY(edt_sha256_run(worker->sha, input.encoded, err, sha));
    input.sha256 = sha;
    input.height = picture.height;
    input.width = picture.width;
    return edt_voc_example_write(&input, &worker->arena, err, out_counts, out_pieces);
}

// Which pictures are bad is known of those alone that this run of this rank has converted.
static edt_status check_others(voc_source *c, edt_error *err)
{
    edt_convert_report *unused = NULL;
    edt_convert_worker worker = {0};
    edt_status status = EDT_OK;
    EDT_TRY(edt_convert_report_create(true, err, &unused));
    worker.report = unused;
    edt_arena_init(&worker.arena, EDT_MEM_ARENA, 0);
    for (int64_t i = 0; i < edt_voc_set_n_images(c->set) && status == EDT_OK; ++i) {
        if (!c->seen[i] && !edt_voc_set_image(c->set, i)->left_out) {
            bool good = false;
            edt_reencoded picture;
            edt_arena_reset(&worker.arena);
            status = read_picture(c, &worker, i, err, &good, &picture);
            c->left_out[i] = !good;
        }
    }
    edt_convert_worker_deinit(&worker);
    edt_convert_report_destroy(unused);
    return status;
}

// See edt_convert_spec.
static edt_status write_json(void *ctx, edt_error *err)
{
    voc_source *c = ctx;
    const edt_convert_voc_options *o = c->options;
    if (o->run.skip_bad) {
        EDT_TRY(check_others(c, err));
    }
    const edt_voc_to_coco_options options = {.clip_boxes = o->run.clip_boxes,
                                             .repeat_categories = o->reference_defects,
                                             .reencode = &o->run.reencode,
                                             .left_out = c->left_out};
    edt_json_writer json = {.ascii = true};
    edt_text text;
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    edt_voc_to_coco_write(c->set, &options, &json);
    edt_status status = edt_json_writer_finish(&json, err, &text);
    const char *path = edt_voc_to_coco_path(&arena, o->run.output_file_prefix);
    if (status == EDT_OK && path == NULL) {
        status = edt_error_set(err, EDT_ERR_NOMEM, "no memory for a path");
    }
    if (status == EDT_OK) {
        status = edt_file_write(path, text.data, text.n_bytes, err);
    }
    edt_json_writer_deinit(&json);
    edt_arena_deinit(&arena);
    return status;
}

// See edt_convert_spec.
static uint64_t hash_inputs(void *ctx, edt_arena *arena, int64_t i)
{
    const voc_source *c = ctx;
    const edt_voc_set_options *o = &c->options->data;
    const edt_voc_image *image = edt_voc_set_image(c->set, i);
    const char *xml = edt_arena_printf(arena, "%s/%s/%s/%s.xml", o->data_dir, image->year,
                                       o->annotations_dir, image->id);
    const char *picture = image->left_out ? NULL : find_image(c, arena, image);
    uint64_t hash = xml != NULL ? edt_convert_state_hash_file(xml) : 0;
    return hash * 31 + (picture != NULL ? edt_convert_state_hash_file(picture) : 0);
}

// See edt_convert_spec.
static edt_status write_identity(void *ctx, edt_strbuf *out, edt_error *err)
{
    (void)err;
    const voc_source *c = ctx;
    const edt_convert_voc_options *o = c->options;
    const edt_voc_class *classes;
    const int n_classes = edt_voc_set_classes(c->set, &classes);
    edt_strbuf_printf(out,
                      "data %s/%s %s %s\nnum_images %" PRId64
                      " ignore_difficult %d reference_defects %d\n",
                      o->data.data_dir, o->data.year, o->data.set, o->data.annotations_dir,
                      o->data.num_images, o->data.ignore_difficult, o->reference_defects);
    for (int i = 0; i < n_classes; ++i) {
        edt_strbuf_printf(out, "%s=%" PRId64 "\n", classes[i].name, classes[i].id);
    }
    for (int64_t i = 0; i < edt_voc_set_n_images(c->set); ++i) {
        const edt_voc_image *image = edt_voc_set_image(c->set, i);
        edt_strbuf_printf(out, "%s/%s\n", image->year, image->id);
    }
    return EDT_OK;
}

static edt_status convert(voc_source *c, edt_error *err, edt_convert_stats *out_stats)
{
    const edt_convert_voc_options *o = c->options;
    edt_convert_spec spec = {
        .options = &o->run,
        .program = "create_pascal_records",
        .prefix_flag = "--output_path",
        .image_flag = "--data_dir",
        .image_dir = o->data.data_dir,
        .ctx = c,
        .make_record = make_record,
        .hash_inputs = hash_inputs,
        .write_identity = write_identity,
        .finish = write_json,
    };
    if (!is_given(o->data.data_dir)) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "--data_dir is missing: name the directory that holds VOC2007 or VOC2012");
    }
    EDT_TRY(edt_convert_check(&spec, err));
    EDT_INFO("writing to output path: %s", o->run.output_file_prefix);
    EDT_TRY(edt_convert_report_create(o->run.skip_bad, err, &c->report));
    edt_voc_set_options data = o->data;
    data.n_threads = o->run.num_threads;
    data.reference_list |= o->reference_defects;
    EDT_TRY(edt_voc_set_open(&data, c->report, err, &c->set));
    spec.report = c->report;
    spec.n_images = edt_voc_set_n_images(c->set);
    spec.n_parts = edt_voc_set_years(c->set, &spec.part_begin);
    c->left_out = edt_mem_calloc(EDT_MEM_MISC, (size_t)spec.n_images + 1, sizeof *c->left_out);
    c->seen = edt_mem_calloc(EDT_MEM_MISC, (size_t)spec.n_images + 1, sizeof *c->seen);
    if (c->left_out == NULL || c->seen == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %" PRId64 " images", spec.n_images);
    }
    return edt_convert_run(&spec, err, out_stats);
}

edt_status edt_convert_voc(const edt_convert_voc_options *options, edt_error *err,
                           edt_convert_stats *out_stats)
{
    voc_source c = {.options = options};
    const edt_status status = convert(&c, err, out_stats);
    edt_mem_free(c.left_out);
    edt_mem_free(c.seen);
    edt_voc_set_close(c.set);
    edt_convert_report_destroy(c.report);
    return status;
}
