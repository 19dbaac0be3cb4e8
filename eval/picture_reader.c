// See picture_reader.h. Two batches take turns: one is the caller's, the other one is filled by
// a thread that lives for that batch.
#include "eval/picture_reader.h"

#include <inttypes.h>
#include <string.h>

#include "core/clock.h"
#include "core/mem.h"
#include "core/parallel.h"
#include "core/thread.h"

enum { N_SLOTS = 2 };

// A batch and the memory behind it.
typedef struct slot {
    edt_picture_batch batch;
    edt_row_buffer *pixels; // [batch_size] copies of decoded pictures
    float *images, *image_scales;
    int32_t *valid_hw;
    edt_status status;
    edt_error error;
} slot;

struct edt_picture_reader {
    edt_picture_reader_options options;
    int n_workers;
    edt_preprocessor **preprocessors;
    slot slots[N_SLOTS];
    int i_filling;  // the slot that the thread fills
    int64_t n_read; // files that were given to it
    bool is_filling;
    edt_thread thread;
};

static edt_status alloc_slot(const edt_picture_reader *r, slot *s, edt_error *err)
{
    const edt_picture_reader_options *o = &r->options;
    const size_t n = (size_t)o->batch_size;
    const edt_hw size = o->config->image_size;
    s->images =
        edt_mem_calloc(EDT_MEM_SLOT, n * (size_t)(size.h * size.w * 3), sizeof *s->images);
    s->image_scales = edt_mem_calloc(EDT_MEM_SLOT, n, sizeof *s->image_scales);
    s->valid_hw = edt_mem_calloc(EDT_MEM_SLOT, n * 2, sizeof *s->valid_hw);
    s->pixels = edt_mem_calloc(EDT_MEM_SLOT, n, sizeof *s->pixels);
    s->batch.pictures = edt_mem_calloc(EDT_MEM_SLOT, n, sizeof *s->batch.pictures);
    if (s->images == NULL || s->image_scales == NULL || s->valid_hw == NULL ||
        s->pixels == NULL || s->batch.pictures == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for a batch of %" PRId64 " pictures",
                 o->batch_size);
    }
    s->batch.batch = (edt_batch){
        .batch_size = o->batch_size,
        .height = size.h,
        .width = size.w,
        .format = EDT_SLOT_F32,
        .images = s->images,
        .image_scales = s->image_scales,
        .valid_hw = s->valid_hw,
    };
    return EDT_OK;
}

static edt_status keep_pixels(edt_row_buffer *to, const edt_image *image, edt_error *err,
                              edt_image *out_image)
{
    const int64_t row_bytes = image->w * 3;
    EDT_TRY(edt_row_buffer_reserve(to, (size_t)(image->h * row_bytes), err));
    for (int64_t y = 0; y < image->h; ++y) {
        memcpy(to->data + y * row_bytes, image->data + y * image->stride, (size_t)row_bytes);
    }
    *out_image = (edt_image){to->data, image->h, image->w, row_bytes};
    return EDT_OK;
}

static edt_status read_picture(edt_picture_reader *r, int worker, slot *s, int64_t row,
                               edt_error *err)
{
    edt_picture *p = &s->batch.pictures[row];
    const edt_hw size = r->options.config->image_size;
    const edt_sample_row to = {
        .image = s->images + row * size.h * size.w * 3,
        .valid_hw = s->valid_hw + row * 2,
        .image_scale = s->image_scales + row,
    };
    edt_mapped_file file = {0};
    edt_image image;
    edt_status status = EDT_OK;
    EDT_TRY(edt_mapped_file_open(p->path, err, &file));
    EDT_TRY_GOTO(edt_preprocess_picture(r->preprocessors[worker], file.span, &to, err,
                                        r->options.keeps_pictures ? &image : NULL));
    if (r->options.keeps_pictures) {
        EDT_TRY_GOTO(keep_pixels(&s->pixels[row], &image, err, &p->image));
    }
fail:
    edt_mapped_file_close(&file);
    return status;
}

static edt_status read_row(void *ctx, int worker, int64_t row, edt_error *err)
{
    (void)err; // a bad file is this row's business, not the batch's
    edt_picture_reader *r = ctx;
    slot *s = &r->slots[r->i_filling];
    edt_picture *p = &s->batch.pictures[row];
    p->status = read_picture(r, worker, s, row, &p->error);
    return EDT_OK;
}

static void fill(void *ctx)
{
    edt_picture_reader *r = ctx;
    slot *s = &r->slots[r->i_filling];
    const double start = edt_clock_now_s();
    s->status = edt_parallel_for(r->n_workers, s->batch.batch.n_valid, read_row, r, &s->error);
    s->batch.read_seconds = edt_clock_now_s() - start;
}

// Has the next batch filled, if there is one.
static edt_status begin_next(edt_picture_reader *r, edt_error *err)
{
    const edt_path_list *files = r->options.files;
    const int64_t left = files->n - r->n_read;
    const int64_t n = left < r->options.batch_size ? left : r->options.batch_size;
    if (n == 0) {
        return EDT_OK;
    }
    slot *s = &r->slots[r->i_filling];
    s->batch.first = r->n_read;
    s->batch.batch.n_valid = n;
    for (int64_t row = 0; row < n; ++row) {
        s->batch.pictures[row] =
            (edt_picture){.path = files->path[r->n_read + row], .pixels = &s->pixels[row]};
        s->image_scales[row] = 1; // if it cannot be read
    }
    r->n_read += n;
    EDT_TRY(edt_thread_start(&r->thread, "pictures", fill, r, err));
    r->is_filling = true;
    return EDT_OK;
}

edt_status edt_picture_reader_create(const edt_picture_reader_options *options, edt_error *err,
                                     edt_picture_reader **out_reader)
{
    edt_status status = EDT_OK;
    edt_picture_reader *r = edt_mem_calloc(EDT_MEM_SLOT, 1, sizeof *r);
    if (r == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to read pictures");
    }
    r->options = *options;
    r->n_workers = options->n_threads > 0 ? options->n_threads : edt_thread_cpu_count();
    r->preprocessors =
        edt_mem_calloc(EDT_MEM_MISC, (size_t)r->n_workers, sizeof *r->preprocessors);
    if (r->preprocessors == NULL) {
        status = edt_error_set(err, EDT_ERR_NOMEM, "no memory for %d threads", r->n_workers);
        goto fail;
    }
    for (int i = 0; i < r->n_workers; ++i) {
        EDT_TRY_GOTO(edt_preprocessor_create(options->config, i, err, &r->preprocessors[i]));
    }
    for (int i = 0; i < N_SLOTS; ++i) {
        EDT_TRY_GOTO(alloc_slot(r, &r->slots[i], err));
    }
    EDT_TRY_GOTO(begin_next(r, err));
    *out_reader = r;
    return EDT_OK;
fail:
    edt_picture_reader_destroy(r);
    return status;
}

void edt_picture_reader_destroy(edt_picture_reader *r)
{
    if (r == NULL) {
        return;
    }
    edt_thread_join(&r->thread);
    for (int i = 0; r->preprocessors != NULL && i < r->n_workers; ++i) {
        edt_preprocessor_destroy(r->preprocessors[i]);
    }
    edt_mem_free(r->preprocessors);
    for (int i = 0; i < N_SLOTS; ++i) {
        slot *s = &r->slots[i];
        for (int64_t row = 0; s->pixels != NULL && row < r->options.batch_size; ++row) {
            edt_row_buffer_deinit(&s->pixels[row]);
        }
        edt_mem_free(s->pixels);
        edt_mem_free(s->batch.pictures);
        edt_mem_free(s->images);
        edt_mem_free(s->image_scales);
        edt_mem_free(s->valid_hw);
    }
    edt_mem_free(r);
}

edt_status edt_picture_reader_next(edt_picture_reader *r, edt_error *err,
                                   edt_picture_batch **out_batch)
{
    if (!r->is_filling) {
        return EDT_END;
    }
    edt_thread_join(&r->thread);
    r->is_filling = false;
    slot *s = &r->slots[r->i_filling];
    if (s->status != EDT_OK) {
        *err = s->error;
        return s->status;
    }
    r->i_filling = (r->i_filling + 1) % N_SLOTS;
    EDT_TRY(begin_next(r, err));
    *out_batch = &s->batch;
    return EDT_OK;
}
