// See shapes.h.
#include "dataio/shapes.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "core/json.h"
#include "core/mem.h"
#include "core/path.h"
#include "core/progress.h"
#include "core/signal.h"
#include "core/thread.h"
#include "core/workers.h"
#include "dataio/jpeg_encode.h"

enum { NAME_BYTES = 32, SPLIT_NAME_BYTES = 8, PATH_ROOM = 64 };

static const char split_names[2][SPLIT_NAME_BYTES] = {"train", "val"};

// One picture on its way from the workers to the annotation file.
typedef struct picture {
    int64_t i;
    edt_shapes_scene scene;
} picture;

typedef struct split_job {
    const edt_shapes_options *options;
    int split;
    int64_t n_images;
    int64_t i_next;
    int64_t n_objects;
    edt_shapes_canvas **canvases; // one per worker
    edt_json_writer images, annotations;
    edt_progress progress;
} split_job;

static void image_name(int64_t i, char out[static NAME_BYTES])
{
    snprintf(out, NAME_BYTES, "%06" PRId64 ".jpg", i + 1);
}

static edt_status produce(void *ctx, void **out_unit, edt_error *err)
{
    split_job *job = ctx;
    EDT_TRY(edt_interrupt_check(err));
    if (job->i_next == job->n_images) {
        return EDT_END;
    }
    picture *p = edt_mem_calloc(EDT_MEM_IMAGE, 1, sizeof *p);
    if (p == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for a picture's objects");
    }
    p->i = job->i_next++;
    *out_unit = p;
    return EDT_OK;
}

// Whole under its name or not there, but not synced: what can be drawn again need not be.
static edt_status write_unsynced(const char *path, const uint8_t *data, size_t n_bytes,
                                 edt_error *err)
{
    edt_atomic_file *file;
    EDT_TRY(edt_atomic_file_open(path, err, &file));
    edt_status status = edt_atomic_file_append(file, data, n_bytes, err);
    if (status == EDT_OK) {
        status = edt_atomic_file_commit_unsynced(file, err);
    }
    edt_atomic_file_close(file);
    return status;
}

static edt_status work(void *ctx, int i_worker, void *unit, edt_error *err)
{
    split_job *job = ctx;
    picture *p = unit;
    const edt_shapes_options *o = job->options;
    edt_image image;
    EDT_TRY(edt_shapes_scene_draw(job->canvases[i_worker], &o->style, o->seed,
                                  (uint64_t)job->split, (uint64_t)p->i, err, &image,
                                  &p->scene));
    const edt_jpeg_encode_options encode = {.quality = (int)o->quality};
    uint8_t *data;
    size_t n_bytes;
    EDT_TRY(edt_jpeg_encode(&image, &encode, err, &data, &n_bytes));
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_TEXT, 4096);
    char name[NAME_BYTES];
    image_name(p->i, name);
    const char *path =
        edt_arena_printf(&arena, "%s/%s/%s", o->output_dir, split_names[job->split], name);
    const edt_status status =
        path != NULL ? write_unsynced(path, data, n_bytes, err)
                     : edt_error_set(err, EDT_ERR_NOMEM, "no memory for a file name");
    edt_arena_deinit(&arena);
    edt_mem_free(data);
    return status;
}

static double cents(double x)
{
    return round(x * 100) / 100;
}

static void put_polygon(edt_json_writer *w, const edt_shapes_object *object)
{
    edt_json_key(w, "segmentation");
    edt_json_begin_array(w);
    edt_json_begin_array(w);
    for (int i = 0; i < 2 * object->n_corners; ++i) {
        edt_json_f64(w, cents((double)object->corners[i]));
    }
    edt_json_end_array(w);
    edt_json_end_array(w);
}

static void put_annotation(edt_json_writer *w, const edt_shapes_object *object, bool polygon,
                           int64_t id, int64_t image_id)
{
    const double y = cents(object->box[0]), x = cents(object->box[1]);
    edt_json_begin_object(w);
    edt_json_put_i64(w, "id", id);
    edt_json_put_i64(w, "image_id", image_id);
    edt_json_put_i64(w, "category_id", object->class_id);
    edt_json_key(w, "bbox");
    edt_json_begin_array(w);
    edt_json_f64(w, x);
    edt_json_f64(w, y);
    edt_json_f64(w, cents(object->box[3] - x));
    edt_json_f64(w, cents(object->box[2] - y));
    edt_json_end_array(w);
    edt_json_put_f64(w, "area", cents(object->area));
    edt_json_put_i64(w, "iscrowd", 0);
    if (polygon) {
        put_polygon(w, object);
    }
    edt_json_end_object(w);
}

static edt_status consume(void *ctx, void *unit, edt_error *err)
{
    (void)err;
    split_job *job = ctx;
    picture *p = unit;
    char name[NAME_BYTES];
    image_name(p->i, name);
    edt_json_begin_object(&job->images);
    edt_json_put_i64(&job->images, "id", p->i + 1);
    edt_json_put_text(&job->images, "file_name", name);
    edt_json_put_i64(&job->images, "height", job->options->style.image_size);
    edt_json_put_i64(&job->images, "width", job->options->style.image_size);
    edt_json_end_object(&job->images);
    for (int64_t k = 0; k < p->scene.n; ++k) {
        put_annotation(&job->annotations, &p->scene.objects[k], job->options->masks,
                       ++job->n_objects, p->i + 1);
    }
    if (job->options->show_progress) {
        edt_progress_update(&job->progress, p->i + 1, "%s", "");
    }
    edt_mem_free(p);
    return EDT_OK;
}

static void discard(void *ctx, void *unit)
{
    (void)ctx;
    edt_mem_free(unit);
}

static void put_categories(edt_json_writer *w)
{
    edt_json_begin_array(w);
    for (int64_t id = 1; id <= EDT_SHAPES_N_CLASSES; ++id) {
        edt_json_begin_object(w);
        edt_json_put_i64(w, "id", id);
        edt_json_put_text(w, "name", edt_shapes_class_name(id));
        edt_json_put_text(w, "supercategory", "shape");
        edt_json_end_object(w);
    }
    edt_json_end_array(w);
}

static edt_status append_part(edt_atomic_file *file, const char *key, edt_json_writer *w,
                              edt_error *err)
{
    edt_text text;
    EDT_TRY(edt_json_writer_finish(w, err, &text));
    char head[PATH_ROOM];
    const int n = snprintf(head, sizeof head, "\"%s\": ", key);
    EDT_TRY(edt_atomic_file_append(file, head, (size_t)n, err));
    return edt_atomic_file_append(file, text.data, text.n_bytes, err);
}

static edt_status write_annotations(split_job *job, const char *path, edt_error *err)
{
    edt_json_writer categories = {.depth = 0};
    put_categories(&categories);
    edt_json_end_array(&job->images);
    edt_json_end_array(&job->annotations);
    edt_atomic_file *file = NULL;
    edt_status status;
    EDT_TRY_GOTO(edt_atomic_file_open(path, err, &file));
    EDT_TRY_GOTO(edt_atomic_file_append(file, "{", 1, err));
    EDT_TRY_GOTO(append_part(file, "images", &job->images, err));
    EDT_TRY_GOTO(edt_atomic_file_append(file, ",\n", 2, err));
    EDT_TRY_GOTO(append_part(file, "annotations", &job->annotations, err));
    EDT_TRY_GOTO(edt_atomic_file_append(file, ",\n", 2, err));
    EDT_TRY_GOTO(append_part(file, "categories", &categories, err));
    EDT_TRY_GOTO(edt_atomic_file_append(file, "}\n", 2, err));
    EDT_TRY_GOTO(edt_atomic_file_commit(file, err));
fail:
    edt_atomic_file_close(file);
    edt_json_writer_deinit(&categories);
    return status;
}

static edt_status write_split(split_job *job, edt_arena *arena, edt_error *err)
{
    const edt_shapes_options *o = job->options;
    const char *split = split_names[job->split];
    const char *dir = edt_path_join(arena, o->output_dir, split);
    const char *path =
        edt_arena_printf(arena, "%s/annotations/instances_%s.json", o->output_dir, split);
    if (dir == NULL || path == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for path names");
    }
    EDT_TRY(edt_path_mkdirs(dir, err));
    edt_json_begin_array(&job->images);
    edt_json_begin_array(&job->annotations);
    if (o->show_progress) {
        edt_progress_begin(
            &job->progress,
            &(edt_progress_spec){.what = split, .unit = "images", .total = job->n_images});
    }
    const edt_ordered_spec spec = {
        .name = "shapes",
        .n_threads = o->n_threads,
        .ctx = job,
        .produce = produce,
        .work = work,
        .consume = consume,
        .discard = discard,
    };
    const edt_status status = edt_ordered_run(&spec, err);
    if (o->show_progress) {
        edt_progress_end(&job->progress);
    }
    EDT_TRY(status);
    return write_annotations(job, path, err);
}

static edt_status write_splits(const edt_shapes_options *options, edt_shapes_canvas **canvases,
                               edt_arena *arena, edt_error *err, edt_shapes_result *result)
{
    const char *dir = edt_path_join(arena, options->output_dir, "annotations");
    if (dir == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for path names");
    }
    EDT_TRY(edt_path_mkdirs(dir, err));
    for (int split = 0; split < 2; ++split) {
        split_job job = {.options = options, .split = split, .canvases = canvases};
        job.n_images = split == 0 ? options->num_train : options->num_val;
        const edt_status status = write_split(&job, arena, err);
        result->n_images[split] = job.n_images;
        result->n_objects[split] = job.n_objects;
        edt_json_writer_deinit(&job.images);
        edt_json_writer_deinit(&job.annotations);
        EDT_TRY_CTX(status, err, "drawing the %s split", split_names[split]);
    }
    return EDT_OK;
}

edt_status edt_shapes_write(const edt_shapes_options *options, edt_error *err,
                            edt_shapes_result *out_result)
{
    EDT_TRY(edt_shapes_style_check(&options->style, err));
    edt_shapes_options o = *options;
    if (o.n_threads <= 0) {
        o.n_threads = edt_thread_cpu_count();
    }
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_TEXT, 0);
    edt_shapes_result result = {.n_images = {0}};
    edt_shapes_canvas **canvases =
        edt_mem_calloc(EDT_MEM_IMAGE, (size_t)o.n_threads, sizeof *canvases);
    edt_status status =
        canvases != NULL ? EDT_OK : edt_error_set(err, EDT_ERR_NOMEM, "no memory to draw in");
    for (int i = 0; i < o.n_threads && status == EDT_OK; ++i) {
        status = edt_shapes_canvas_create(o.style.image_size, err, &canvases[i]);
    }
    if (status == EDT_OK) {
        status = write_splits(&o, canvases, &arena, err, &result);
    }
    for (int i = 0; i < o.n_threads && canvases != NULL; ++i) {
        edt_shapes_canvas_destroy(canvases[i]);
    }
    edt_mem_free(canvases);
    edt_arena_deinit(&arena);
    if (status == EDT_OK && out_result != NULL) {
        *out_result = result;
    }
    return status;
}
