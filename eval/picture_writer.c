// See picture_writer.h. Jobs lie in a ring: the oldest is waited for and judged before its
// place is used again, so that errors come in the order of the pictures.
#include "eval/picture_writer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/clock.h"
#include "core/mem.h"
#include "core/path.h"
#include "core/queue.h"
#include "core/thread.h"
#include "core/trace.h"
#include "dataio/jpeg_encode.h"
#include "eval/draw_pixels.h"

// More threads than that outrun any network.
enum { MAX_THREADS = 8, JOBS_PER_THREAD = 2, JPEG_QUALITY = 90 };

typedef struct job {
    int64_t number;
    edt_row_buffer pixels;
    edt_image image;
    edt_detection *found;
    int64_t n_found;
    float *logits;
    float image_scale;
    bool is_under_way; // the caller's alone
    bool is_done;      // guarded by the lock, as what follows
    double seconds;
    edt_status status;
    edt_error error;
} job;

struct edt_picture_writer {
    edt_picture_writer_options options;
    int n_threads;
    edt_thread threads[MAX_THREADS];
    edt_queue *queue;
    job jobs[MAX_THREADS * JOBS_PER_THREAD];
    int n_jobs, i_next;
    pthread_mutex_t lock;
    pthread_cond_t done;
    double seconds;
};

static size_t count_logits(const edt_model *model)
{
    return (size_t)(model->mask_h * model->mask_w * model->mask_classes);
}

static edt_status write_picture(const edt_picture_writer *w, const job *j, edt_error *err)
{
    const edt_picture_writer_options *o = &w->options;
    if (j->logits != NULL) {
        EDT_TRY(edt_draw_pixels(o->model, j->logits, j->image_scale, &j->image, err));
    }
    EDT_TRY(edt_draw_found(o->hp, j->found, j->n_found, &o->draw, &j->image, err, NULL));
    char name[64];
    (void)snprintf(name, sizeof name, "%" PRId64 ".jpg", j->number);
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    const char *path = edt_path_join(&arena, o->dir, name);
    const edt_status status =
        path != NULL ? edt_jpeg_write(path, &j->image,
                                      &(edt_jpeg_encode_options){.quality = JPEG_QUALITY}, err)
                     : edt_error_set(err, EDT_ERR_NOMEM, "no memory for a file name");
    edt_arena_deinit(&arena);
    return status;
}

static void finish_job(edt_picture_writer *w, job *j)
{
    edt_error error = {0};
    const double begun = edt_clock_now_s();
    edt_trace_begin("write_picture");
    const edt_status status = write_picture(w, j, &error);
    edt_trace_end();
    pthread_mutex_lock(&w->lock);
    j->seconds = edt_clock_now_s() - begun;
    j->status = status;
    j->error = error;
    j->is_done = true;
    pthread_cond_signal(&w->done);
    pthread_mutex_unlock(&w->lock);
}

static void write_pictures(void *ctx)
{
    edt_picture_writer *w = ctx;
    void *item;
    while (edt_queue_pop(w->queue, &item) == EDT_OK) {
        finish_job(w, item);
    }
}

static edt_status alloc_jobs(edt_picture_writer *w, edt_error *err)
{
    const edt_model *model = w->options.model;
    for (int i = 0; i < w->n_jobs; ++i) {
        job *j = &w->jobs[i];
        j->found =
            edt_mem_calloc(EDT_MEM_EVAL, (size_t)w->options.max_found + 1, sizeof *j->found);
        if (model->has_segmentation) {
            j->logits = edt_mem_calloc(EDT_MEM_EVAL, count_logits(model), sizeof *j->logits);
        }
        if (j->found == NULL || (model->has_segmentation && j->logits == NULL)) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for pictures to be written");
        }
    }
    return EDT_OK;
}

// Threads of a network that has all processors wait for each other in a loop: one that drawing
// holds up holds up all, which costs more than drawing.
static int choose_threads(int n_network)
{
    const int n_all = edt_thread_cpu_count();
    const int n_free = n_network > 0 && n_network < n_all ? n_all - n_network : 0;
    return n_free < MAX_THREADS ? n_free : MAX_THREADS;
}

edt_status edt_picture_writer_create(const edt_picture_writer_options *options, edt_error *err,
                                     edt_picture_writer **out_writer)
{
    edt_status status = EDT_OK;
    edt_picture_writer *w = edt_mem_calloc(EDT_MEM_EVAL, 1, sizeof *w);
    if (w == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to write pictures");
    }
    (void)pthread_mutex_init(&w->lock, NULL);
    (void)pthread_cond_init(&w->done, NULL);
    w->options = *options;
    const int n_threads = choose_threads(options->n_network_threads);
    w->n_jobs = n_threads > 0 ? n_threads * JOBS_PER_THREAD : 1;
    EDT_TRY_GOTO(alloc_jobs(w, err));
    EDT_TRY_GOTO(edt_queue_create(w->n_jobs, err, &w->queue));
    for (; w->n_threads < n_threads; ++w->n_threads) {
        EDT_TRY_GOTO(
            edt_thread_start(&w->threads[w->n_threads], "drawing", write_pictures, w, err));
    }
    *out_writer = w;
    return EDT_OK;
fail:
    edt_picture_writer_destroy(w);
    return status;
}

void edt_picture_writer_destroy(edt_picture_writer *w)
{
    if (w == NULL) {
        return;
    }
    if (w->queue != NULL) {
        edt_queue_close(w->queue);
    }
    for (int i = 0; i < w->n_threads; ++i) {
        edt_thread_join(&w->threads[i]);
    }
    edt_queue_destroy(w->queue);
    for (int i = 0; i < w->n_jobs; ++i) {
        edt_row_buffer_deinit(&w->jobs[i].pixels);
        edt_mem_free(w->jobs[i].found);
        edt_mem_free(w->jobs[i].logits);
    }
    (void)pthread_cond_destroy(&w->done);
    (void)pthread_mutex_destroy(&w->lock);
    edt_mem_free(w);
}

// Waits for the end of a job and tells what it came to.
static edt_status judge(edt_picture_writer *w, job *j, edt_error *err)
{
    if (!j->is_under_way) {
        return EDT_OK;
    }
    pthread_mutex_lock(&w->lock);
    while (!j->is_done) {
        pthread_cond_wait(&w->done, &w->lock);
    }
    pthread_mutex_unlock(&w->lock);
    j->is_under_way = false;
    w->seconds += j->seconds;
    if (j->status != EDT_OK) {
        *err = j->error;
    }
    return j->status;
}

edt_status edt_picture_writer_add(edt_picture_writer *w, edt_picture *picture,
                                  const edt_picture_found *found, edt_error *err)
{
    job *j = &w->jobs[w->i_next];
    EDT_TRY(judge(w, j, err));
    w->i_next = (w->i_next + 1) % w->n_jobs;
    const edt_row_buffer spare = j->pixels;
    j->pixels = *picture->pixels;
    *picture->pixels = spare;
    j->image = picture->image;
    j->number = found->number;
    j->n_found = found->n_found < w->options.max_found ? found->n_found : w->options.max_found;
    memcpy(j->found, found->found, (size_t)j->n_found * sizeof *j->found);
    j->image_scale = found->image_scale;
    if (j->logits != NULL) {
        memcpy(j->logits, found->logits, count_logits(w->options.model) * sizeof *j->logits);
    }
    j->is_done = false;
    j->is_under_way = true;
    if (w->n_threads > 0) {
        return edt_queue_push(w->queue, j);
    }
    finish_job(w, j);
    return judge(w, j, err);
}

edt_status edt_picture_writer_finish(edt_picture_writer *w, edt_error *err)
{
    for (int i = 0; i < w->n_jobs; ++i) {
        EDT_TRY(judge(w, &w->jobs[(w->i_next + i) % w->n_jobs], err));
    }
    return EDT_OK;
}

double edt_picture_writer_seconds(const edt_picture_writer *w)
{
    return w->seconds;
}
