// See decoded_cache.h: the handle that a process shares among its threads, the memory of which
// entries it has checked, and getting pictures out. What lies on disk is
// dataio/decoded_store.h, how it gets there dataio/decoded_fill.h.
#include "dataio/decoded_cache.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include "core/log.h"
#include "core/mem.h"
#include "dataio/decoded_fill.h"
#include "dataio/decoded_store.h"

enum {
    CHECKED_BITS = 16, // pictures of a block, as a power of two
    N_CHECKED_BLOCKS = 1 << 14,
    DAMAGED = 0x80, // else checked and good
    N_GENERATIONS = 127,
};

// What is known of entry i in this process: 0 nothing, else 1 + its generation modulo
// N_GENERATIONS, with DAMAGED when the CRC of that generation was wrong.
typedef struct checked_block {
    _Atomic uint8_t state[1 << CHECKED_BITS];
} checked_block;

struct edt_decoded_cache {
    edt_decoded_cache *next; // of the process
    dev_t device;            // of the directory
    ino_t inode;
    pid_t owner; // a child of it has no writer and must not touch the environment
    int64_t n_opens;
    char *fingerprint, *transform;
    edt_decoded_store *store;
    edt_decoded_fill *fill; // NULL: read only
    _Atomic(checked_block *) checked[N_CHECKED_BLOCKS];
    _Atomic int64_t n_hits, n_misses, n_refused, n_damaged;
    _Atomic bool has_warned;
};

struct edt_decoded_reader {
    edt_decoded_cache *cache;
    edt_decoded_lookup *lookup;
    ZSTD_DCtx *context;
    uint8_t *pixels; // of a compressed picture
    size_t pixels_bytes;
};

// LMDB allows a process one environment per file, and its locks end with the first of two that
// is closed: the caches of the process are therefore known to it as a whole.
static pthread_mutex_t open_mutex = PTHREAD_MUTEX_INITIALIZER;
static edt_decoded_cache *open_caches;

const char *edt_decoded_transform(bool exif_rotate)
{
    return exif_rotate ? "rgb8 exif" : "rgb8";
}

static void free_cache(edt_decoded_cache *cache)
{
    edt_decoded_fill_destroy(cache->fill);
    edt_decoded_store_close(cache->store);
    for (int i = 0; i < N_CHECKED_BLOCKS; ++i) {
        edt_mem_free(cache->checked[i]);
    }
    edt_mem_free(cache->fingerprint);
    edt_mem_free(cache->transform);
    edt_mem_free(cache);
}

static edt_status create_cache(const edt_decoded_cache_options *options, edt_error *err,
                               edt_decoded_cache **out_cache)
{
    edt_decoded_cache *cache = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *cache);
    if (cache == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the decoded cache '%s'", options->path);
    }
    edt_status status = EDT_OK;
    struct stat st;
    cache->n_opens = 1;
    cache->fingerprint = edt_mem_strdup(EDT_MEM_TEXT, options->fingerprint);
    cache->transform = edt_mem_strdup(EDT_MEM_TEXT, options->transform);
    if (cache->fingerprint == NULL || cache->transform == NULL) {
        status = edt_error_set(err, EDT_ERR_NOMEM, "no memory for the decoded cache '%s'",
                               options->path);
        goto fail;
    }
    EDT_TRY_GOTO(edt_decoded_store_open(options->path, options->fingerprint, options->transform,
                                        options->max_bytes, err, &cache->store));
    if (stat(options->path, &st) != 0) {
        status = edt_error_set(err, EDT_ERR_IO, "the decoded cache '%s' has vanished",
                               options->path);
        goto fail;
    }
    cache->device = st.st_dev;
    cache->inode = st.st_ino;
    cache->owner = getpid();
    if (!edt_decoded_store_is_read_only(cache->store)) {
        EDT_TRY_GOTO(edt_decoded_fill_create(cache->store, options->path, options->zstd_level,
                                             err, &cache->fill));
    }
    *out_cache = cache;
    return EDT_OK;

fail:
    free_cache(cache);
    return status;
}

// Another user of a cache that this process has open.
static edt_status join_cache(edt_decoded_cache *cache, const edt_decoded_cache_options *options,
                             edt_error *err)
{
    if (strcmp(cache->fingerprint, options->fingerprint) != 0) {
        EDT_FAIL(err, EDT_ERR_MISMATCH,
                 "the decoded cache '%s' is in use by this process for the data set with "
                 "fingerprint %s, not %s: give one of them another directory",
                 options->path, cache->fingerprint, options->fingerprint);
    }
    if (strcmp(cache->transform, options->transform) != 0) {
        EDT_FAIL(err, EDT_ERR_MISMATCH,
                 "the decoded cache '%s' is in use by this process for pictures that are '%s', "
                 "not '%s': give one of them another directory",
                 options->path, cache->transform, options->transform);
    }
    ++cache->n_opens;
    return EDT_OK;
}

edt_status edt_decoded_cache_open(const edt_decoded_cache_options *options, edt_error *err,
                                  edt_decoded_cache **out_cache)
{
    struct stat st;
    edt_decoded_cache *cache = NULL;
    edt_status status;
    (void)pthread_mutex_lock(&open_mutex);
    if (stat(options->path, &st) == 0) {
        cache = open_caches;
        while (cache != NULL && (cache->device != st.st_dev || cache->inode != st.st_ino ||
                                 cache->owner != getpid())) {
            cache = cache->next;
        }
    }
    if (cache != NULL) {
        status = join_cache(cache, options, err);
    } else {
        status = create_cache(options, err, &cache);
        if (status == EDT_OK) {
            cache->next = open_caches;
            open_caches = cache;
        }
    }
    (void)pthread_mutex_unlock(&open_mutex);
    if (status == EDT_OK) {
        *out_cache = cache;
    }
    return status;
}

void edt_decoded_cache_close(edt_decoded_cache *cache)
{
    if (cache == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&open_mutex);
    if (--cache->n_opens == 0) {
        edt_decoded_cache **link = &open_caches;
        while (*link != cache) {
            link = &(*link)->next;
        }
        *link = cache->next;
        // With the mutex held: until all is closed nobody may open it anew.
        free_cache(cache);
    }
    (void)pthread_mutex_unlock(&open_mutex);
}

// What is known of entry `index`; NULL when that cannot be kept.
static _Atomic uint8_t *checked_state(edt_decoded_cache *cache, int64_t index)
{
    if (index >> CHECKED_BITS >= N_CHECKED_BLOCKS) {
        return NULL;
    }
    _Atomic(checked_block *) *place = &cache->checked[index >> CHECKED_BITS];
    checked_block *block = atomic_load_explicit(place, memory_order_acquire);
    if (block == NULL) {
        checked_block *fresh = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *fresh);
        if (fresh == NULL) {
            return NULL;
        }
        if (atomic_compare_exchange_strong(place, &block, fresh)) {
            block = fresh;
        } else {
            edt_mem_free(fresh);
        }
    }
    return &block->state[index & ((1 << CHECKED_BITS) - 1)];
}

static uint8_t good_state(const edt_decoded_place *place)
{
    return (uint8_t)(1 + place->generation % N_GENERATIONS);
}

edt_status edt_decoded_reader_create(edt_decoded_cache *cache, edt_error *err,
                                     edt_decoded_reader **out_reader)
{
    edt_decoded_reader *reader = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *reader);
    if (reader == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for a reader of the decoded cache");
    }
    reader->cache = cache;
    const edt_status status = edt_decoded_lookup_create(cache->store, err, &reader->lookup);
    if (status != EDT_OK) {
        edt_mem_free(reader);
        return status;
    }
    *out_reader = reader;
    return EDT_OK;
}

void edt_decoded_reader_destroy(edt_decoded_reader *reader)
{
    if (reader != NULL) {
        edt_decoded_lookup_destroy(reader->lookup);
        (void)ZSTD_freeDCtx(reader->context);
        edt_mem_free(reader->pixels);
        edt_mem_free(reader);
    }
}

// The rows of a compressed picture; *out_pixels NULL when it is damaged.
static edt_status unpack(edt_decoded_reader *reader, const edt_decoded_place *place,
                         const uint8_t *bytes, edt_error *err, const uint8_t **out_pixels)
{
    const size_t raw = (size_t)place->h * place->w * 3;
    if (reader->context == NULL) {
        reader->context = ZSTD_createDCtx();
    }
    if (reader->pixels_bytes < raw) {
        edt_mem_free(reader->pixels);
        reader->pixels_bytes = 0;
        reader->pixels = edt_mem_alloc(EDT_MEM_IMAGE, raw);
    }
    if (reader->context == NULL || reader->pixels == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for a picture of %" PRIu32 " x %" PRIu32,
                 place->h, place->w);
    }
    reader->pixels_bytes = reader->pixels_bytes < raw ? raw : reader->pixels_bytes;
    const size_t n = ZSTD_decompressDCtx(reader->context, reader->pixels, raw, bytes,
                                         (size_t)place->n_bytes);
    *out_pixels = !ZSTD_isError(n) && n == raw ? reader->pixels : NULL;
    return EDT_OK;
}

static void note_damage(edt_decoded_cache *cache, int64_t index, const edt_decoded_place *place,
                        _Atomic uint8_t *state)
{
    const uint8_t damaged = good_state(place) | DAMAGED;
    const uint8_t before = state != NULL ? atomic_exchange(state, damaged) : 0;
    if (before == damaged) {
        return;
    }
    atomic_fetch_add(&cache->n_damaged, 1);
    if (!atomic_exchange(&cache->has_warned, true)) {
        EDT_WARN("picture %" PRId64 " is damaged in the decoded cache (this is said once): it "
                 "is decoded again%s",
                 index, cache->fill != NULL ? " and stored anew" : "");
    }
}

// The stored rows, checked; *out_pixels NULL when they are damaged.
static edt_status get_pixels(edt_decoded_reader *reader, int64_t index,
                             const edt_decoded_place *place, edt_error *err,
                             const uint8_t **out_pixels)
{
    edt_decoded_cache *cache = reader->cache;
    _Atomic uint8_t *state = checked_state(cache, index);
    const uint8_t good = good_state(place);
    const uint8_t known = state != NULL ? atomic_load_explicit(state, memory_order_relaxed) : 0;
    const uint8_t *bytes =
        known != (good | DAMAGED) ? edt_decoded_store_bytes(cache->store, place) : NULL;
    if (bytes != NULL && known != good) {
        if (edt_decoded_crc(index, place, bytes) != place->crc) {
            bytes = NULL;
        } else if (state != NULL) {
            atomic_store_explicit(state, good, memory_order_relaxed);
        }
    }
    if (bytes != NULL && place->encoding == EDT_DECODED_ZSTD) {
        EDT_TRY(unpack(reader, place, bytes, err, &bytes));
    }
    if (bytes == NULL) {
        note_damage(cache, index, place, state);
    }
    *out_pixels = bytes;
    return EDT_OK;
}

edt_status edt_decoded_get(edt_decoded_reader *reader, int64_t index, edt_error *err,
                           bool *out_found, edt_image *out_image)
{
    edt_decoded_place place;
    bool found;
    const uint8_t *pixels = NULL;
    EDT_TRY(edt_decoded_lookup_get(reader->lookup, index, err, &found, &place));
    if (found) {
        EDT_TRY(get_pixels(reader, index, &place, err, &pixels));
    }
    *out_found = pixels != NULL;
    if (pixels != NULL) {
        *out_image = (edt_image){.data = (uint8_t *)(uintptr_t)pixels,
                                 .h = place.h,
                                 .w = place.w,
                                 .stride = (int64_t)place.w * 3};
    }
    atomic_fetch_add_explicit(pixels != NULL ? &reader->cache->n_hits
                                             : &reader->cache->n_misses,
                              1, memory_order_relaxed);
    return EDT_OK;
}

edt_status edt_decoded_contains(edt_decoded_reader *reader, int64_t index, edt_error *err,
                                bool *out_found)
{
    edt_decoded_place place;
    EDT_TRY(edt_decoded_lookup_get(reader->lookup, index, err, out_found, &place));
    if (*out_found) {
        const _Atomic uint8_t *state = checked_state(reader->cache, index);
        *out_found = edt_decoded_store_bytes(reader->cache->store, &place) != NULL &&
                     (state == NULL || *state != (good_state(&place) | DAMAGED));
    }
    return EDT_OK;
}

bool edt_decoded_is_filling(const edt_decoded_cache *cache)
{
    return cache->fill != NULL && edt_decoded_fill_is_open(cache->fill);
}

static bool put(edt_decoded_cache *cache, int64_t index, const edt_image *image, bool wait)
{
    bool is_taken = false;
    if (edt_decoded_is_filling(cache) && index >= 0 && image->h > 0 && image->w > 0 &&
        image->h < (int64_t)1 << 29 && image->w < ((int64_t)1 << 29) / image->h) {
        const _Atomic uint8_t *state = checked_state(cache, index);
        const uint8_t known = state != NULL ? *state : 0;
        is_taken =
            edt_decoded_fill_put(cache->fill, index, image,
                                 (known & DAMAGED) != 0 ? (known & ~DAMAGED) - 1 : -1, wait);
    }
    if (!is_taken) {
        atomic_fetch_add_explicit(&cache->n_refused, 1, memory_order_relaxed);
    }
    return is_taken;
}

void edt_decoded_put(edt_decoded_cache *cache, int64_t index, const edt_image *image)
{
    (void)put(cache, index, image, false);
}

bool edt_decoded_put_wait(edt_decoded_cache *cache, int64_t index, const edt_image *image)
{
    return put(cache, index, image, true) && edt_decoded_is_filling(cache);
}

void edt_decoded_flush(edt_decoded_cache *cache)
{
    if (cache->fill != NULL) {
        edt_decoded_fill_flush(cache->fill);
    }
}

edt_decoded_cache_stats edt_decoded_cache_get_stats(edt_decoded_cache *cache)
{
    edt_decoded_cache_stats stats = {.n_hits = cache->n_hits,
                                     .n_misses = cache->n_misses,
                                     .n_refused = cache->n_refused,
                                     .n_damaged = cache->n_damaged};
    edt_decoded_store_size(cache->store, &stats.n_entries, &stats.n_bytes);
    if (cache->fill != NULL) {
        const edt_decoded_fill_state state = edt_decoded_fill_get_state(cache->fill);
        stats.n_stored = state.n_stored;
        stats.is_full = state.is_full;
        stats.has_failed = state.has_failed;
    }
    return stats;
}
