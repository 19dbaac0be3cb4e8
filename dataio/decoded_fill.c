// See decoded_fill.h. Offers reserve their place in the ring under the mutex, and copy and
// compress outside of it; the writer takes the longest run of finished ones from the front.
#include "dataio/decoded_fill.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <zstd.h>

#include "core/log.h"
#include "core/mem.h"
#include "core/thread.h"

enum {
    N_SLOTS = 1024, // pictures in the ring
    RING_BYTES = 64 << 20,
    BATCH_BYTES = 32 << 20, // written as soon as so much is there
    MOST_CONTEXTS = 64,     // of compression, kept for the next offer
    SLOT_ALIGN = 64,
};

typedef struct slot {
    edt_decoded_item item; // item.bytes: in the ring or `own`
    int64_t begin, end;    // in the ring, as counted up from the start
    bool is_large;         // it would fill the ring: its bytes are in `own`
    uint8_t *own;          // NULL where there was no memory for it
    bool is_ready;
    bool is_void; // given up by its owner
} slot;

struct edt_decoded_fill {
    edt_decoded_store *store;
    char *name;
    int zstd_level;
    edt_thread thread;
    pthread_mutex_t mutex;
    pthread_cond_t work; // something may be there for the writer
    pthread_cond_t room; // the writer has moved on
    bool has_mutex, has_work, has_room;
    bool is_stopping;
    bool is_pressed;      // someone was refused or waits: write now
    bool is_idle;         // the writer waits for anything at all
    int64_t ready_bytes;  // finished, wherever in the queue
    _Atomic bool is_open; // what is offered may be stored
    uint8_t *ring;
    // Slots [n_done, n_begun) are in use, i at slots[i % N_SLOTS]; bytes of the ring in use are
    // [tail, head), both counted up.
    slot slots[N_SLOTS];
    int64_t n_begun, n_done;
    int64_t head, tail;
    bool has_large; // one picture beside the ring
    edt_decoded_fill_state state;
    edt_decoded_item batch[N_SLOTS]; // the writer's
    ZSTD_CCtx *contexts[MOST_CONTEXTS];
    int n_contexts;
};

static slot *slot_at(edt_decoded_fill *fill, int64_t i)
{
    return &fill->slots[i % N_SLOTS];
}

// Finished slots from the front on, and their bytes.
static int64_t count_ready(edt_decoded_fill *fill, int64_t *out_n_bytes)
{
    int64_t n = 0;
    *out_n_bytes = 0;
    while (fill->n_done + n < fill->n_begun && slot_at(fill, fill->n_done + n)->is_ready) {
        *out_n_bytes += (int64_t)slot_at(fill, fill->n_done + n)->item.place.n_bytes;
        ++n;
    }
    return n;
}

// Waits for enough to write, at most a second when there is something. With the mutex held.
static int64_t wait_for_batch(edt_decoded_fill *fill)
{
    for (bool has_waited = false;;) {
        int64_t n_bytes;
        const int64_t n = count_ready(fill, &n_bytes);
        if (n > 0 && (n_bytes >= BATCH_BYTES || n >= N_SLOTS / 2 || fill->is_pressed ||
                      fill->is_stopping || has_waited)) {
            return n;
        }
        if (fill->is_stopping && fill->n_done == fill->n_begun) {
            return 0;
        }
        if (n == 0) {
            fill->is_idle = true;
            (void)pthread_cond_wait(&fill->work, &fill->mutex);
            fill->is_idle = false;
            continue;
        }
        struct timespec until;
        (void)clock_gettime(CLOCK_MONOTONIC, &until);
        ++until.tv_sec;
        int code = 0;
        while (code == 0 && !fill->is_pressed && !fill->is_stopping) {
            code = pthread_cond_timedwait(&fill->work, &fill->mutex, &until);
            (void)count_ready(fill, &n_bytes);
            if (n_bytes >= BATCH_BYTES) {
                break;
            }
        }
        has_waited = code == ETIMEDOUT;
    }
}

static void say_full(const edt_decoded_fill *fill)
{
    int64_t n_entries;
    int64_t n_bytes;
    edt_decoded_store_size(fill->store, &n_entries, &n_bytes);
    EDT_INFO("the decoded cache '%s' has reached its limit with %" PRId64
             " pictures (%.3g GB): the others are decoded as they come",
             fill->name, n_entries, (double)n_bytes / 1e9);
}

// Writes the first n slots; without the mutex, as nobody else touches finished slots. What it
// gives is added to the state.
static edt_decoded_fill_state write_slots(edt_decoded_fill *fill, int64_t first, int64_t n)
{
    edt_decoded_fill_state result = {.n_stored = 0};
    int64_t n_items = 0;
    for (int64_t i = first; i < first + n; ++i) {
        const slot *s = slot_at(fill, i);
        if (!s->is_void) {
            fill->batch[n_items++] = s->item;
        }
    }
    if (n_items == 0 || !atomic_load(&fill->is_open)) {
        return result;
    }
    edt_error err = {0};
    const edt_status status = edt_decoded_store_write(fill->store, fill->batch, n_items, &err,
                                                      &result.n_stored, &result.is_full);
    result.has_failed = status != EDT_OK;
    if (result.has_failed) {
        EDT_WARN("the decoded cache '%s' takes no more pictures: %s", fill->name, err.text);
    } else if (result.is_full) {
        say_full(fill);
    }
    if (result.has_failed || result.is_full) {
        atomic_store(&fill->is_open, false);
    }
    return result;
}

static void release_slots(edt_decoded_fill *fill, int64_t n)
{
    for (int64_t i = 0; i < n; ++i) {
        slot *s = slot_at(fill, fill->n_done);
        fill->ready_bytes -= (int64_t)s->item.place.n_bytes;
        if (s->is_large) {
            edt_mem_free(s->own);
            fill->has_large = false;
        } else {
            fill->tail = s->end;
        }
        *s = (slot){.is_ready = false};
        ++fill->n_done;
    }
}

static void write_loop(void *ctx)
{
    edt_decoded_fill *fill = ctx;
    (void)pthread_mutex_lock(&fill->mutex);
    int64_t n;
    while ((n = wait_for_batch(fill)) > 0) {
        const int64_t first = fill->n_done;
        fill->is_pressed = false;
        (void)pthread_mutex_unlock(&fill->mutex);
        const edt_decoded_fill_state result = write_slots(fill, first, n);
        (void)pthread_mutex_lock(&fill->mutex);
        fill->state.n_stored += result.n_stored;
        fill->state.is_full = fill->state.is_full || result.is_full;
        fill->state.has_failed = fill->state.has_failed || result.has_failed;
        release_slots(fill, n);
        (void)pthread_cond_broadcast(&fill->room);
    }
    (void)pthread_mutex_unlock(&fill->mutex);
}

static bool init_sync(edt_decoded_fill *fill)
{
    pthread_condattr_t monotonic;
    if (pthread_condattr_init(&monotonic) != 0) {
        return false;
    }
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    fill->has_mutex = pthread_mutex_init(&fill->mutex, NULL) == 0;
    fill->has_work = pthread_cond_init(&fill->work, &monotonic) == 0;
    fill->has_room = pthread_cond_init(&fill->room, NULL) == 0;
    (void)pthread_condattr_destroy(&monotonic);
    return fill->has_mutex && fill->has_work && fill->has_room;
}

edt_status edt_decoded_fill_create(edt_decoded_store *store, const char *name, int zstd_level,
                                   edt_error *err, edt_decoded_fill **out_fill)
{
    edt_status status = EDT_OK;
    edt_decoded_fill *fill = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *fill);
    if (fill == NULL || !init_sync(fill) ||
        (fill->name = edt_mem_strdup(EDT_MEM_TEXT, name)) == NULL ||
        (fill->ring = edt_mem_alloc(EDT_MEM_IMAGE, RING_BYTES)) == NULL) {
        status = edt_error_set(err, EDT_ERR_NOMEM, "no memory for filling '%s'", name);
        goto fail;
    }
    fill->store = store;
    fill->zstd_level = zstd_level;
    fill->is_open = true;
    EDT_TRY_GOTO(edt_thread_start(&fill->thread, "decoded_cache", write_loop, fill, err));
    *out_fill = fill;
    return EDT_OK;

fail:
    edt_decoded_fill_destroy(fill);
    return status;
}

void edt_decoded_fill_destroy(edt_decoded_fill *fill)
{
    if (fill == NULL) {
        return;
    }
    if (fill->thread.is_running) {
        (void)pthread_mutex_lock(&fill->mutex);
        fill->is_stopping = true;
        (void)pthread_cond_signal(&fill->work);
        (void)pthread_mutex_unlock(&fill->mutex);
        edt_thread_join(&fill->thread);
    }
    for (int i = 0; i < fill->n_contexts; ++i) {
        (void)ZSTD_freeCCtx(fill->contexts[i]);
    }
    if (fill->has_room) {
        (void)pthread_cond_destroy(&fill->room);
    }
    if (fill->has_work) {
        (void)pthread_cond_destroy(&fill->work);
    }
    if (fill->has_mutex) {
        (void)pthread_mutex_destroy(&fill->mutex);
    }
    edt_mem_free(fill->ring);
    edt_mem_free(fill->name);
    edt_mem_free(fill);
}

bool edt_decoded_fill_is_open(const edt_decoded_fill *fill)
{
    return atomic_load_explicit(&fill->is_open, memory_order_relaxed);
}

// Bytes of the ring from `head` on, in one piece: the start of the next round when the rest of
// this one is too short. -1 when they are in use.
static int64_t find_room(const edt_decoded_fill *fill, int64_t n_bytes)
{
    const int64_t at = fill->head % RING_BYTES;
    const int64_t begin =
        at + n_bytes <= RING_BYTES ? fill->head : fill->head - at + RING_BYTES;
    return begin + n_bytes - fill->tail <= RING_BYTES ? begin : -1;
}

// A slot with room for n_bytes, or NULL.
static slot *reserve(edt_decoded_fill *fill, int64_t n_bytes, bool wait)
{
    const int64_t n = (n_bytes + SLOT_ALIGN - 1) / SLOT_ALIGN * SLOT_ALIGN;
    const bool is_large = n > RING_BYTES / 4;
    slot *s = NULL;
    (void)pthread_mutex_lock(&fill->mutex);
    while (atomic_load(&fill->is_open)) {
        const bool is_free = fill->n_begun - fill->n_done < N_SLOTS;
        const int64_t begin = is_large ? fill->head : find_room(fill, n);
        if (is_free && (is_large ? !fill->has_large : begin >= 0)) {
            s = slot_at(fill, fill->n_begun++);
            *s = (slot){.begin = begin, .end = begin + n, .is_large = is_large};
            if (is_large) {
                fill->has_large = true;
            } else {
                fill->head = s->end;
                s->item.bytes = fill->ring + begin % RING_BYTES;
            }
            break;
        }
        fill->is_pressed = true;
        (void)pthread_cond_signal(&fill->work);
        if (!wait) {
            break;
        }
        (void)pthread_cond_wait(&fill->room, &fill->mutex);
    }
    (void)pthread_mutex_unlock(&fill->mutex);
    return s;
}

static ZSTD_CCtx *borrow_context(edt_decoded_fill *fill)
{
    (void)pthread_mutex_lock(&fill->mutex);
    ZSTD_CCtx *context = fill->n_contexts > 0 ? fill->contexts[--fill->n_contexts] : NULL;
    (void)pthread_mutex_unlock(&fill->mutex);
    return context != NULL ? context : ZSTD_createCCtx();
}

static void give_back_context(edt_decoded_fill *fill, ZSTD_CCtx *context)
{
    (void)pthread_mutex_lock(&fill->mutex);
    const bool is_kept = fill->n_contexts < MOST_CONTEXTS;
    if (is_kept) {
        fill->contexts[fill->n_contexts++] = context;
    }
    (void)pthread_mutex_unlock(&fill->mutex);
    if (!is_kept) {
        (void)ZSTD_freeCCtx(context);
    }
}

// One frame of all rows in less than `raw` bytes; 0 when that is not possible.
static size_t compress(edt_decoded_fill *fill, const edt_image *image, size_t raw, uint8_t *out)
{
    ZSTD_CCtx *context = borrow_context(fill);
    if (context == NULL) {
        return 0;
    }
    const bool is_tight = image->stride == 3 * image->w;
    const size_t n_rows = is_tight ? 1 : (size_t)image->h;
    ZSTD_outBuffer to = {.dst = out, .size = raw - 1};
    bool ok = !ZSTD_isError(ZSTD_CCtx_reset(context, ZSTD_reset_session_and_parameters)) &&
              !ZSTD_isError(
                  ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, fill->zstd_level)) &&
              !ZSTD_isError(ZSTD_CCtx_setPledgedSrcSize(context, raw));
    for (size_t i = 0; ok && i < n_rows; ++i) {
        ZSTD_inBuffer from = {.src = image->data + (int64_t)i * image->stride,
                              .size = raw / n_rows};
        const ZSTD_EndDirective end = i + 1 == n_rows ? ZSTD_e_end : ZSTD_e_continue;
        size_t left;
        do {
            left = ZSTD_compressStream2(context, &to, &from, end);
            ok = !ZSTD_isError(left) && to.pos < to.size;
        } while (ok && (end == ZSTD_e_end ? left != 0 : from.pos < from.size));
    }
    give_back_context(fill, context);
    return ok ? to.pos : 0;
}

static void copy_rows(const edt_image *image, uint8_t *out)
{
    const size_t row = (size_t)image->w * 3;
    if (image->stride == 3 * image->w) {
        memcpy(out, image->data, row * (size_t)image->h);
        return;
    }
    for (int64_t y = 0; y < image->h; ++y) {
        memcpy(out + (size_t)y * row, image->data + y * image->stride, row);
    }
}

bool edt_decoded_fill_put(edt_decoded_fill *fill, int64_t index, const edt_image *image,
                          int64_t damaged_generation, bool wait)
{
    const int64_t raw = image->h * image->w * 3;
    slot *s = reserve(fill, raw, wait);
    if (s == NULL) {
        return false;
    }
    uint8_t *out = (uint8_t *)(uintptr_t)s->item.bytes;
    if (out == NULL) {
        out = s->own = edt_mem_alloc(EDT_MEM_IMAGE, (size_t)raw);
    }
    const bool is_void = out == NULL;
    if (!is_void) {
        edt_decoded_place place = {.n_bytes = (uint64_t)raw,
                                   .h = (uint32_t)image->h,
                                   .w = (uint32_t)image->w,
                                   .encoding = EDT_DECODED_RGB};
        const size_t packed =
            fill->zstd_level > 0 ? compress(fill, image, (size_t)raw, out) : 0;
        if (packed > 0) {
            place.n_bytes = packed;
            place.encoding = EDT_DECODED_ZSTD;
        } else {
            copy_rows(image, out);
        }
        place.crc = edt_decoded_crc(index, &place, out);
        s->item = (edt_decoded_item){.index = index,
                                     .place = place,
                                     .bytes = out,
                                     .replaces = damaged_generation >= 0,
                                     .damaged_generation = (uint32_t)damaged_generation};
    }
    (void)pthread_mutex_lock(&fill->mutex);
    s->is_void = is_void;
    s->is_ready = true;
    fill->ready_bytes += (int64_t)s->item.place.n_bytes;
    if (fill->is_idle || fill->ready_bytes >= BATCH_BYTES) {
        (void)pthread_cond_signal(&fill->work);
    }
    (void)pthread_mutex_unlock(&fill->mutex);
    return !is_void;
}

void edt_decoded_fill_flush(edt_decoded_fill *fill)
{
    (void)pthread_mutex_lock(&fill->mutex);
    const int64_t n = fill->n_begun;
    while (fill->n_done < n) {
        fill->is_pressed = true;
        (void)pthread_cond_signal(&fill->work);
        (void)pthread_cond_wait(&fill->room, &fill->mutex);
    }
    (void)pthread_mutex_unlock(&fill->mutex);
}

edt_decoded_fill_state edt_decoded_fill_get_state(edt_decoded_fill *fill)
{
    (void)pthread_mutex_lock(&fill->mutex);
    const edt_decoded_fill_state state = fill->state;
    (void)pthread_mutex_unlock(&fill->mutex);
    return state;
}
