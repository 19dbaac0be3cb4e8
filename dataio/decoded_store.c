// See decoded_store.h: the file of pixels, looking pictures up and storing them. How the index
// is opened is next door (decoded_index.c).
#include "dataio/decoded_store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "core/crc32c.h"
#include "core/log.h"
#include "core/mem.h"
#include "dataio/decoded_store_priv.h"

enum { PAYLOAD_ALIGN = 64 };
static const char tail_key[] = "tail";
static const uint64_t most_map_bytes = (uint64_t)1 << 43;

struct edt_decoded_lookup {
    edt_decoded_store *store;
    MDB_txn *txn; // reset between lookups
};

uint32_t edt_decoded_crc(int64_t index, const edt_decoded_place *place, const void *bytes)
{
    const uint64_t words[] = {(uint64_t)index, place->n_bytes, place->h, place->w,
                              place->encoding};
    return edt_crc32c(edt_crc32c(0, words, sizeof words), bytes, (size_t)place->n_bytes);
}

static MDB_val number_key(const uint64_t *number)
{
    return (MDB_val){.mv_size = sizeof *number, .mv_data = (void *)(uintptr_t)number};
}

static edt_status map_pixels(edt_decoded_store *store, edt_error *err)
{
    struct stat st;
    struct statvfs fs;
    const bool read_only = store->dir.is_read_only;
    store->pixels_fd =
        open(store->dir.pixels, (read_only ? O_RDONLY : O_RDWR | O_CREAT) | O_CLOEXEC, 0666);
    if (store->pixels_fd < 0 || fstat(store->pixels_fd, &st) != 0 ||
        fstatvfs(store->pixels_fd, &fs) != 0) {
        return edt_error_set_errno(err, EDT_ERR_IO, errno, "cannot open '%s'",
                                   store->dir.pixels);
    }
    const uint64_t n_file = (uint64_t)st.st_size;
    // Whatever the limit of this process, another may have stored more.
    uint64_t want = (uint64_t)fs.f_blocks * (uint64_t)fs.f_frsize;
    want = want < most_map_bytes ? want : most_map_bytes;
    want = read_only || want < n_file ? n_file : want;
    want = (want + ((uint64_t)2 << 20)) >> 20 << 20;
    void *map;
    // Address space may be limited; what does not fit is not stored, or not found.
    while ((map = mmap(NULL, (size_t)want, PROT_READ, MAP_SHARED, store->pixels_fd, 0)) ==
               MAP_FAILED &&
           want / 2 > n_file && want > (uint64_t)4 << 20) {
        want = want / 2 >> 20 << 20;
    }
    if (map == MAP_FAILED) {
        return edt_error_set_errno(err, EDT_ERR_IO, errno, "cannot map '%s'",
                                   store->dir.pixels);
    }
    store->map = map;
    store->map_bytes = want;
    store->file_bytes = n_file;
    return EDT_OK;
}

edt_status edt_decoded_store_open(const char *path, const char *fingerprint,
                                  const char *transform, int64_t max_bytes, edt_error *err,
                                  edt_decoded_store **out_store)
{
    edt_decoded_store *store = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *store);
    if (store == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the decoded cache '%s'", path);
    }
    edt_status status = EDT_OK;
    store->pixels_fd = -1;
    store->max_bytes = max_bytes;
    EDT_TRY_GOTO(edt_decoded_dir_open(path, err, &store->dir));
    EDT_TRY_GOTO(edt_decoded_index_open(store, fingerprint, transform, err));
    EDT_TRY_GOTO(map_pixels(store, err));
    *out_store = store;
    return EDT_OK;

fail:
    edt_decoded_store_close(store);
    return status;
}

void edt_decoded_store_close(edt_decoded_store *store)
{
    if (store != NULL) {
        edt_decoded_index_close(store);
        if (store->map != NULL) {
            (void)munmap(store->map, (size_t)store->map_bytes);
        }
        if (store->pixels_fd >= 0) {
            (void)close(store->pixels_fd);
        }
        edt_mem_free(store->copied);
        edt_decoded_dir_close(&store->dir);
        edt_mem_free(store);
    }
}

bool edt_decoded_store_is_read_only(const edt_decoded_store *store)
{
    return store->dir.is_read_only;
}

edt_status edt_decoded_lookup_create(edt_decoded_store *store, edt_error *err,
                                     edt_decoded_lookup **out_lookup)
{
    edt_decoded_lookup *lookup = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *lookup);
    if (lookup == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for a reader of '%s'", store->dir.path);
    }
    lookup->store = store;
    if (store->env != NULL) {
        int code = mdb_txn_begin(store->env, NULL, MDB_RDONLY, &lookup->txn);
        if (code == MDB_READERS_FULL) {
            int n_dead;
            (void)mdb_reader_check(store->env, &n_dead);
            code = mdb_txn_begin(store->env, NULL, MDB_RDONLY, &lookup->txn);
        }
        if (code != 0) {
            edt_mem_free(lookup);
            return edt_decoded_fail_lmdb(store, code, "read", err);
        }
        mdb_txn_reset(lookup->txn);
    }
    *out_lookup = lookup;
    return EDT_OK;
}

void edt_decoded_lookup_destroy(edt_decoded_lookup *lookup)
{
    if (lookup != NULL) {
        if (lookup->txn != NULL) {
            mdb_txn_abort(lookup->txn);
        }
        edt_mem_free(lookup);
    }
}

static int by_index(const void *a, const void *b)
{
    const edt_decoded_entry *x = a;
    const edt_decoded_entry *y = b;
    return (x->index > y->index) - (x->index < y->index);
}

// Where little address space is to be had, what another process stored may lie beyond it.
static bool is_in_reach(const edt_decoded_store *store, const edt_decoded_place *place)
{
    return place->offset <= store->map_bytes &&
           place->n_bytes <= store->map_bytes - place->offset;
}

edt_status edt_decoded_lookup_get(edt_decoded_lookup *lookup, int64_t index, edt_error *err,
                                  bool *out_found, edt_decoded_place *out_place)
{
    const edt_decoded_store *store = lookup->store;
    *out_found = false;
    if (store->env == NULL) {
        const edt_decoded_entry wanted = {.index = index};
        const edt_decoded_entry *entry =
            store->n_copied > 0 ? bsearch(&wanted, store->copied, (size_t)store->n_copied,
                                          sizeof *store->copied, by_index)
                                : NULL;
        if (entry != NULL) {
            *out_place = entry->place;
            *out_found = is_in_reach(store, out_place);
        }
        return EDT_OK;
    }
    int code = mdb_txn_renew(lookup->txn);
    if (code != 0) {
        return edt_decoded_fail_lmdb(store, code, "read", err);
    }
    const uint64_t number = (uint64_t)index;
    MDB_val key = number_key(&number);
    MDB_val value;
    code = mdb_get(lookup->txn, store->pictures, &key, &value);
    if (code == 0 && value.mv_size == sizeof *out_place) {
        memcpy(out_place, value.mv_data, sizeof *out_place);
        *out_found = is_in_reach(store, out_place);
    }
    mdb_txn_reset(lookup->txn);
    return code == 0 || code == MDB_NOTFOUND ? EDT_OK
                                             : edt_decoded_fail_lmdb(store, code, "read", err);
}

const uint8_t *edt_decoded_store_bytes(edt_decoded_store *store, const edt_decoded_place *place)
{
    const uint64_t raw = (uint64_t)place->h * place->w * 3;
    const bool fits = place->encoding == EDT_DECODED_RGB    ? place->n_bytes == raw
                      : place->encoding == EDT_DECODED_ZSTD ? place->n_bytes < raw
                                                            : false;
    if (!fits || place->n_bytes == 0 || place->h >= 1u << 29 || place->w >= 1u << 29 ||
        raw >= (uint64_t)3 << 29 || place->offset % PAYLOAD_ALIGN != 0 ||
        !is_in_reach(store, place)) {
        return NULL;
    }
    const uint64_t end = place->offset + place->n_bytes;
    if (end > atomic_load_explicit(&store->file_bytes, memory_order_relaxed)) {
        struct stat st;
        if (fstat(store->pixels_fd, &st) != 0 || end > (uint64_t)st.st_size) {
            return NULL;
        }
        atomic_store_explicit(&store->file_bytes, (uint64_t)st.st_size, memory_order_relaxed);
    }
    return store->map + place->offset;
}

// The bytes of the file of pixels that commits have handed out.
static int get_tail(const edt_decoded_store *store, MDB_txn *txn, uint64_t *out_tail)
{
    MDB_val key = {.mv_size = sizeof tail_key - 1, .mv_data = (void *)(uintptr_t)tail_key};
    MDB_val value;
    const int code = mdb_get(txn, store->set, &key, &value);
    if (code == 0 && value.mv_size != sizeof *out_tail) {
        return MDB_CORRUPTED;
    }
    if (code == 0) {
        memcpy(out_tail, value.mv_data, sizeof *out_tail);
    }
    return code;
}

static int put_tail(const edt_decoded_store *store, MDB_txn *txn, uint64_t tail)
{
    MDB_val key = {.mv_size = sizeof tail_key - 1, .mv_data = (void *)(uintptr_t)tail_key};
    MDB_val value = {.mv_size = sizeof tail, .mv_data = &tail};
    return mdb_put(txn, store->set, &key, &value, 0);
}

static edt_status write_pixels(const edt_decoded_store *store, const uint8_t *bytes, uint64_t n,
                               uint64_t offset, edt_error *err)
{
    while (n > 0) {
        const size_t piece = n < (uint64_t)1 << 30 ? (size_t)n : (size_t)1 << 30;
        const ssize_t written = pwrite(store->pixels_fd, bytes, piece, (off_t)offset);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            return edt_error_set_errno(err, EDT_ERR_IO, written < 0 ? errno : EIO,
                                       "cannot write '%s'", store->dir.pixels);
        }
        bytes += written;
        offset += (uint64_t)written;
        n -= (uint64_t)written;
    }
    return EDT_OK;
}

// Whether the item is to be stored, and as which generation.
static int is_wanted(const edt_decoded_store *store, MDB_txn *txn, const edt_decoded_item *item,
                     bool *out_is_wanted, uint32_t *out_generation)
{
    const uint64_t number = (uint64_t)item->index;
    MDB_val key = number_key(&number);
    MDB_val value;
    edt_decoded_place there;
    const int code = mdb_get(txn, store->pictures, &key, &value);
    *out_generation = 0;
    *out_is_wanted = code == MDB_NOTFOUND;
    if (code == 0 && value.mv_size == sizeof there) {
        memcpy(&there, value.mv_data, sizeof there);
        *out_is_wanted = item->replaces && item->damaged_generation == there.generation;
        *out_generation = there.generation + 1;
    }
    return code == MDB_NOTFOUND ? 0 : code;
}

static uint64_t index_bytes(const edt_decoded_store *store)
{
    MDB_envinfo info;
    MDB_stat stat;
    return mdb_env_info(store->env, &info) == 0 && mdb_env_stat(store->env, &stat) == 0
               ? ((uint64_t)info.me_last_pgno + 1) * stat.ms_psize
               : 0;
}

static edt_status write_items(edt_decoded_store *store, MDB_txn *txn,
                              const edt_decoded_item *items, int64_t n_items, uint64_t *tail,
                              edt_error *err, int64_t *out_n_stored, bool *out_is_full)
{
    const uint64_t limit = store->max_bytes > 0 ? (uint64_t)store->max_bytes : UINT64_MAX;
    const uint64_t n_index = index_bytes(store);
    for (int64_t i = 0; i < n_items; ++i) {
        edt_decoded_place place = items[i].place;
        bool wanted;
        int code = is_wanted(store, txn, &items[i], &wanted, &place.generation);
        if (code != 0) {
            return edt_decoded_fail_lmdb(store, code, "write", err);
        }
        if (!wanted) {
            continue;
        }
        place.offset = (*tail + PAYLOAD_ALIGN - 1) / PAYLOAD_ALIGN * PAYLOAD_ALIGN;
        const uint64_t end = place.offset + place.n_bytes;
        if (end > store->map_bytes || end > limit || n_index > limit - end) {
            *out_is_full = true;
            return EDT_OK;
        }
        EDT_TRY(write_pixels(store, items[i].bytes, place.n_bytes, place.offset, err));
        const uint64_t number = (uint64_t)items[i].index;
        MDB_val key = number_key(&number);
        MDB_val value = {.mv_size = sizeof place, .mv_data = &place};
        code = mdb_put(txn, store->pictures, &key, &value, 0);
        if (code != 0) {
            return edt_decoded_fail_lmdb(store, code, "write", err);
        }
        *tail = end;
        ++*out_n_stored;
    }
    return EDT_OK;
}

edt_status edt_decoded_store_write(edt_decoded_store *store, const edt_decoded_item *items,
                                   int64_t n_items, edt_error *err, int64_t *out_n_stored,
                                   bool *out_is_full)
{
    MDB_txn *txn = NULL;
    uint64_t old_tail = 0;
    int64_t n_stored = 0;
    bool is_full = false;
    int code = mdb_txn_begin(store->env, NULL, 0, &txn);
    if (code != 0) {
        return edt_decoded_fail_lmdb(store, code, "write", err);
    }
    code = get_tail(store, txn, &old_tail);
    if (code != 0) {
        mdb_txn_abort(txn);
        return edt_decoded_fail_lmdb(store, code, "write", err);
    }
    uint64_t tail = old_tail;
    edt_status status =
        write_items(store, txn, items, n_items, &tail, err, &n_stored, &is_full);
    if (status == EDT_OK && n_stored > 0) {
        code = put_tail(store, txn, tail);
        if (code == 0) {
            code = mdb_txn_commit(txn);
            txn = NULL;
        }
        status = code == 0 ? EDT_OK : edt_decoded_fail_lmdb(store, code, "write", err);
    }
    if (txn != NULL) {
        if (status != EDT_OK && ftruncate(store->pixels_fd, (off_t)old_tail) != 0) {
            EDT_DEBUG("'%s' keeps bytes that nothing refers to", store->dir.pixels);
        }
        mdb_txn_abort(txn); // gives up the lock that the tail was guarded by
    }
    EDT_TRY(status);
    *out_n_stored = n_stored;
    *out_is_full = is_full;
    return EDT_OK;
}

void edt_decoded_store_size(edt_decoded_store *store, int64_t *out_n_entries,
                            int64_t *out_n_bytes)
{
    *out_n_entries = 0;
    *out_n_bytes = 0;
    if (store->env == NULL) {
        *out_n_entries = store->n_copied;
        *out_n_bytes = (int64_t)store->file_bytes;
        return;
    }
    MDB_txn *txn = NULL;
    MDB_stat stat;
    uint64_t tail;
    if (mdb_txn_begin(store->env, NULL, MDB_RDONLY, &txn) == 0) {
        if (mdb_stat(txn, store->pictures, &stat) == 0 && get_tail(store, txn, &tail) == 0) {
            *out_n_entries = (int64_t)stat.ms_entries;
            *out_n_bytes = (int64_t)(tail + index_bytes(store));
        }
        mdb_txn_abort(txn);
    }
}
