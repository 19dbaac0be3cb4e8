// See coco_stream.h. Batches wait in a bounded queue; a worker joins them until matching is
// worth its fixed costs. What is left of a unit of work are its rows of matches and which
// images they belong to; the end of the stream puts the rows into the order of images.
#include "eval/coco_stream.h"

#include <pthread.h>
#include <string.h>

#include "core/clock.h"
#include "core/queue.h"
#include "core/workers.h"
#include "eval/coco_table.h"

enum { QUEUE_PER_WORKER = 4, UNIT_DETECTIONS = 1 << 14 };

// The matches of some images in one pass.
typedef struct unit {
    struct unit *next;
    int64_t i_pass;
    edt_coco_match_row *rows;
    int64_t n_rows;
    int32_t *images; // indices, rising, of those with rows
    uint32_t *begin; // of their rows, one more than images
    int64_t n_images;
} unit;

struct edt_coco_stream {
    edt_coco_work work;
    edt_coco_result *result;
    edt_queue *queue;
    edt_workers *workers;
    int n_workers;
    edt_coco_dt *pending; // per worker
    pthread_mutex_t mutex;
    bool has_mutex, is_finished;
    // Guarded by the mutex.
    unit *units;
    uint8_t *has_come;  // by image: some batch held it
    edt_status failure; // the first of a worker, and its words
    edt_error words;
};

static edt_status no_memory(edt_error *err)
{
    EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for evaluating a stream of detections");
}

static void free_unit(unit *u)
{
    if (u != NULL) {
        edt_mem_free(u->rows);
        edt_mem_free(u->images);
        edt_mem_free(u->begin);
        edt_mem_free(u);
    }
}

// Takes over the rows of `work`.
static edt_status make_unit(edt_coco_work *work, const edt_coco_table *table, int64_t i_pass,
                            edt_error *err, unit **out_unit)
{
    const int64_t n_images = work->gt->n_images;
    int64_t n = 0;
    for (int64_t i = 0; i < n_images; ++i) {
        n += table->image_begin[i + 1] > table->image_begin[i];
    }
    unit *u = edt_mem_calloc(EDT_MEM_EVAL, 1, sizeof *u);
    if (u == NULL) {
        return no_memory(err);
    }
    u->i_pass = i_pass;
    u->images = edt_mem_alloc(EDT_MEM_EVAL, (size_t)n * sizeof *u->images);
    u->begin = edt_mem_alloc(EDT_MEM_EVAL, ((size_t)n + 1) * sizeof *u->begin);
    if (u->images == NULL || u->begin == NULL) {
        free_unit(u);
        return no_memory(err);
    }
    for (int64_t i = 0; i < n_images; ++i) {
        if (table->image_begin[i + 1] > table->image_begin[i]) {
            u->images[u->n_images] = (int32_t)i;
            u->begin[u->n_images++] = table->image_begin[i];
        }
    }
    u->begin[n] = table->image_begin[n_images];
    u->rows = work->matches;
    u->n_rows = work->n_matches;
    work->matches = NULL;
    *out_unit = u;
    return EDT_OK;
}

// Matches what is pending in all passes and forgets the boxes.
static edt_status match_pending(edt_coco_stream *stream, edt_coco_dt *pending, edt_error *err)
{
    edt_status status = EDT_OK;
    edt_coco_table table = {0};
    edt_coco_work work = stream->work; // passes and matches of its own
    work.matches = NULL;
    EDT_TRY_GOTO(edt_coco_table_init(&table, &work, pending, 1, NULL, err));
    for (int64_t i = 0; edt_coco_pass_set(work.params, i, &work.pass); ++i) {
        unit *u = NULL;
        EDT_TRY_GOTO(edt_coco_match_table(&work, &table, 1, err));
        EDT_TRY_GOTO(make_unit(&work, &table, i, err, &u));
        (void)pthread_mutex_lock(&stream->mutex);
        u->next = stream->units;
        stream->units = u;
        (void)pthread_mutex_unlock(&stream->mutex);
    }
fail:
    edt_mem_free(work.matches);
    edt_coco_table_deinit(&table);
    edt_coco_dt_clear(pending);
    return status;
}

static edt_status next_batch(void *ctx, void **out_unit, edt_error *err)
{
    (void)err;
    const edt_coco_stream *stream = ctx;
    return edt_queue_pop(stream->queue, out_unit);
}

static edt_status match_batch(void *ctx, int i_worker, void *batch, edt_error *err)
{
    edt_coco_stream *stream = ctx;
    edt_coco_dt *pending = &stream->pending[i_worker];
    edt_coco_dt_join(pending, batch);
    edt_coco_dt_destroy(batch);
    if (pending->n < UNIT_DETECTIONS) {
        return EDT_OK;
    }
    const edt_status status = match_pending(stream, pending, err);
    if (status != EDT_OK) {
        (void)pthread_mutex_lock(&stream->mutex);
        if (stream->failure == EDT_OK) {
            stream->failure = status;
            stream->words = *err;
        }
        (void)pthread_mutex_unlock(&stream->mutex);
    }
    return status;
}

static void cancel(void *ctx)
{
    const edt_coco_stream *stream = ctx;
    edt_queue_cancel(stream->queue);
}

edt_status edt_coco_stream_create(const edt_coco_gt *gt, const edt_coco_params *params,
                                  edt_error *err, edt_coco_stream **out_stream)
{
    edt_status status = EDT_OK;
    edt_coco_stream *stream = edt_mem_calloc(EDT_MEM_EVAL, 1, sizeof *stream);
    if (stream == NULL) {
        return no_memory(err);
    }
    EDT_TRY_GOTO(edt_coco_work_init(&stream->work, gt, params, err, &stream->result));
    stream->n_workers = params->n_threads > 0 ? params->n_threads : 1;
    stream->has_mutex = pthread_mutex_init(&stream->mutex, NULL) == 0;
    stream->pending =
        edt_mem_calloc(EDT_MEM_EVAL, (size_t)stream->n_workers, sizeof *stream->pending);
    stream->has_come =
        edt_mem_calloc(EDT_MEM_EVAL, (size_t)gt->n_images, sizeof *stream->has_come);
    if (!stream->has_mutex || stream->pending == NULL || stream->has_come == NULL) {
        status = no_memory(err);
        goto fail;
    }
    EDT_TRY_GOTO(
        edt_queue_create(QUEUE_PER_WORKER * (int64_t)stream->n_workers, err, &stream->queue));
    const edt_workers_spec spec = {.name = "coco-stream",
                                   .n_threads = stream->n_workers,
                                   .ctx = stream,
                                   .next = next_batch,
                                   .work = match_batch,
                                   .cancel = cancel};
    EDT_TRY_GOTO(edt_workers_start(&spec, err, &stream->workers));
    *out_stream = stream;
    return EDT_OK;
fail:
    edt_coco_stream_destroy(stream);
    return status;
}

static edt_status check_image(const edt_coco_stream *stream, int64_t id, edt_error *err)
{
    const int32_t image = edt_coco_id_map_find(&stream->work.gt->images, id);
    if (image < 0) {
        EDT_FAIL(err, EDT_ERR_MISMATCH,
                 "there are detections for image %lld, which is not in the ground truth",
                 (long long)id);
    }
    if (stream->has_come[image] != 0) {
        EDT_FAIL(err, EDT_ERR_INVALID,
                 "detections of image %lld came in two batches; all detections of an image "
                 "belong into one",
                 (long long)id);
    }
    return EDT_OK;
}

// Checks the ids of a batch and marks its images, all or none.
static edt_status enter(edt_coco_stream *stream, const edt_coco_dt *batch, edt_error *err)
{
    const edt_coco_work *work = &stream->work;
    edt_status status = EDT_OK;
    (void)pthread_mutex_lock(&stream->mutex);
    for (const edt_coco_dt_block *block = batch->first; block != NULL; block = block->next) {
        for (int64_t i = 0; i < block->n; ++i) {
            EDT_TRY_GOTO(check_image(stream, block->items[i].image_id, err));
        }
    }
    for (const edt_coco_dt_block *block = batch->first; block != NULL; block = block->next) {
        for (int64_t i = 0; i < block->n; ++i) {
            const int32_t image =
                edt_coco_id_map_find(&work->gt->images, block->items[i].image_id);
            stream->has_come[image] = 1;
            work->is_evaluated[image] = work->is_wanted == NULL || work->is_wanted[image] != 0;
        }
    }
    stream->result->n_detections += batch->n;
fail:
    (void)pthread_mutex_unlock(&stream->mutex);
    return status;
}

edt_status edt_coco_stream_add(edt_coco_stream *stream, edt_coco_dt *take_batch, edt_error *err)
{
    edt_status status = EDT_OK;
    if (stream->is_finished) {
        status = edt_error_set(err, EDT_ERR_INVALID, "the stream of detections is finished");
        goto fail;
    }
    EDT_TRY_GOTO(enter(stream, take_batch, err));
    status = edt_queue_push(stream->queue, take_batch);
    if (status != EDT_OK) {
        // Only a worker that failed ends the queue before the stream does.
        (void)pthread_mutex_lock(&stream->mutex);
        status = edt_error_set(err, stream->failure, "%s", stream->words.text);
        (void)pthread_mutex_unlock(&stream->mutex);
        goto fail;
    }
    return EDT_OK;
fail:
    edt_coco_dt_destroy(take_batch);
    return status;
}

// Where the rows of one image lie.
typedef struct place {
    const edt_coco_match_row *rows;
    int64_t n;
} place;

// The matches of a pass in the order of images; frees its units.
static edt_status gather(edt_coco_stream *stream, int64_t i_pass, edt_error *err)
{
    edt_coco_work *work = &stream->work;
    const size_t n_images = (size_t)work->gt->n_images;
    place *places = edt_mem_calloc(EDT_MEM_EVAL, n_images, sizeof *places);
    work->n_matches = 0;
    for (const unit *u = stream->units; places != NULL && u != NULL; u = u->next) {
        for (int64_t i = 0; u->i_pass == i_pass && i < u->n_images; ++i) {
            places[u->images[i]] =
                (place){u->rows + u->begin[i], u->begin[i + 1] - u->begin[i]};
            work->n_matches += places[u->images[i]].n;
        }
    }
    edt_mem_free(work->matches);
    work->matches =
        edt_mem_alloc(EDT_MEM_EVAL, (size_t)work->n_matches * sizeof *work->matches);
    if (places == NULL || work->matches == NULL) {
        edt_mem_free(places);
        return no_memory(err);
    }
    edt_coco_match_row *to = work->matches;
    for (size_t i = 0; i < n_images; ++i) {
        if (places[i].n > 0) {
            memcpy(to, places[i].rows, (size_t)places[i].n * sizeof *to);
            to += places[i].n;
        }
    }
    edt_mem_free(places);
    for (unit **at = &stream->units; *at != NULL;) {
        unit *u = *at;
        if (u->i_pass == i_pass) {
            *at = u->next;
            free_unit(u);
        } else {
            at = &u->next;
        }
    }
    return EDT_OK;
}

edt_status edt_coco_stream_finish(edt_coco_stream *stream, edt_error *err,
                                  edt_coco_result **out_result)
{
    edt_coco_work *work = &stream->work;
    edt_coco_result *result = stream->result;
    const double begin_s = edt_clock_now_s();
    if (stream->is_finished) {
        EDT_FAIL(err, EDT_ERR_INVALID, "the stream of detections is finished");
    }
    stream->is_finished = true;
    edt_queue_close(stream->queue);
    EDT_TRY(edt_workers_join(stream->workers, err));
    for (int i = 0; i < stream->n_workers; ++i) {
        EDT_TRY(match_pending(stream, &stream->pending[i], err));
    }
    const double matched_s = edt_clock_now_s();
    for (int64_t i = 0; edt_coco_pass_set(work->params, i, &work->pass); ++i) {
        EDT_TRY(gather(stream, i, err));
        EDT_TRY(edt_coco_count_positives(work, err));
        EDT_TRY(edt_coco_accumulate(work, result, err));
    }
    EDT_TRY(edt_coco_count_objects(work, result, err));
    EDT_TRY(edt_coco_summarize(result, err));
    for (int64_t i = 0; i < work->gt->n_images; ++i) {
        result->n_images += work->is_evaluated[i];
    }
    result->match_s = matched_s - begin_s;
    result->accumulate_s = edt_clock_now_s() - matched_s;
    *out_result = result;
    stream->result = NULL;
    return EDT_OK;
}

void edt_coco_stream_destroy(edt_coco_stream *stream)
{
    if (stream == NULL) {
        return;
    }
    edt_workers_destroy(stream->workers);
    if (stream->queue != NULL) {
        for (edt_coco_dt *left = edt_queue_take_left(stream->queue); left != NULL;
             left = edt_queue_take_left(stream->queue)) {
            edt_coco_dt_destroy(left);
        }
        edt_queue_destroy(stream->queue);
    }
    for (int i = 0; stream->pending != NULL && i < stream->n_workers; ++i) {
        edt_coco_dt_clear(&stream->pending[i]);
    }
    while (stream->units != NULL) {
        unit *next = stream->units->next;
        free_unit(stream->units);
        stream->units = next;
    }
    if (stream->has_mutex) {
        (void)pthread_mutex_destroy(&stream->mutex);
    }
    edt_mem_free(stream->pending);
    edt_mem_free(stream->has_come);
    edt_coco_result_destroy(stream->result);
    edt_coco_work_deinit(&stream->work);
    edt_mem_free(stream);
}
