// See decoded_store.h. Opening the index is a negotiation through the directory's lock: who is
// alone makes or empties the cache and then joins the others; who is not takes it as it is or
// goes.
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/log.h"
#include "core/mem.h"
#include "dataio/decoded_store_priv.h"

enum {
    N_TABLES = 2,
    N_LMDB_READERS = 8192, // of all processes; half a megabyte of the lock file
    OPEN_ATTEMPTS = 4,
};
static const size_t index_map_bytes = (size_t)16 << 30; // address space for 10^8 pictures
static const size_t least_index_map_bytes = (size_t)64 << 20;
static const char format_text[] = "edt decoded cache 1";

typedef enum content_state { CONTENT_OURS, CONTENT_NONE, CONTENT_OTHER } content_state;

edt_status edt_decoded_fail_lmdb(const edt_decoded_store *store, int code, const char *action,
                                 edt_error *err)
{
    EDT_FAIL(err, code == ENOMEM ? EDT_ERR_NOMEM : EDT_ERR_IO, "cannot %s '%s': %s", action,
             store->dir.index, mdb_strerror(code));
}

static MDB_val text_value(const char *text)
{
    return (MDB_val){.mv_size = strlen(text), .mv_data = (void *)(uintptr_t)text};
}

static void close_env(edt_decoded_store *store)
{
    if (store->env != NULL) {
        mdb_env_close(store->env);
        store->env = NULL;
    }
}

// Opens the index and its tables. An LMDB code, 0 for success.
static int open_env(edt_decoded_store *store, unsigned flags)
{
    int code = 0;
    for (size_t bytes = index_map_bytes; bytes >= least_index_map_bytes; bytes /= 4) {
        code = mdb_env_create(&store->env);
        if (code != 0) {
            store->env = NULL;
            return code;
        }
        code = mdb_env_set_maxdbs(store->env, N_TABLES);
        code = code != 0 ? code : mdb_env_set_mapsize(store->env, bytes);
        code = code != 0 ? code : mdb_env_set_maxreaders(store->env, N_LMDB_READERS);
        code = code != 0
                   ? code
                   : mdb_env_open(store->env, store->dir.index,
                                  MDB_NOSUBDIR | MDB_NOTLS | MDB_NOMETASYNC | flags, 0666);
        if (code != ENOMEM) {
            break; // ENOMEM: so much address space is not to be had
        }
        close_env(store);
    }
    if (code != 0) {
        close_env(store);
    }
    return code;
}

static int open_tables(edt_decoded_store *store, MDB_txn *txn, unsigned flags)
{
    int code = mdb_dbi_open(txn, "set", flags, &store->set);
    return code != 0 ? code
                     : mdb_dbi_open(txn, "pictures", MDB_INTEGERKEY | flags, &store->pictures);
}

static bool has_text(const edt_decoded_store *store, MDB_txn *txn, const char *key,
                     const char *expected, MDB_val *out_value)
{
    MDB_val k = text_value(key);
    *out_value = (MDB_val){.mv_size = 0};
    return mdb_get(txn, store->set, &k, out_value) == 0 &&
           out_value->mv_size == strlen(expected) &&
           memcmp(out_value->mv_data, expected, out_value->mv_size) == 0;
}

// What the cache on disk is; for CONTENT_OTHER `words` says what differs. The tables stay open
// for CONTENT_OURS. Pages beyond the end of the index must not be touched: its size is checked
// before any is.
static content_state read_content(edt_decoded_store *store, const char *fingerprint,
                                  const char *transform, edt_error *words)
{
    struct stat st;
    MDB_envinfo info;
    MDB_stat stat_of_env;
    MDB_txn *txn = NULL;
    content_state state = CONTENT_OTHER;
    MDB_val value;
    if (stat(store->dir.index, &st) != 0 || mdb_env_info(store->env, &info) != 0 ||
        mdb_env_stat(store->env, &stat_of_env) != 0 ||
        (uint64_t)st.st_size < ((uint64_t)info.me_last_pgno + 1) * stat_of_env.ms_psize) {
        (void)edt_error_set(words, EDT_ERR_CORRUPT, "its index is cut off");
        return CONTENT_OTHER;
    }
    int code = mdb_txn_begin(store->env, NULL, MDB_RDONLY, &txn);
    if (code == 0) {
        code = open_tables(store, txn, 0);
    }
    if (code == MDB_NOTFOUND && info.me_last_txnid == 0) {
        state = CONTENT_NONE;
    } else if (code != 0) {
        (void)edt_error_set(words, EDT_ERR_CORRUPT, "its index cannot be read: %s",
                            mdb_strerror(code));
    } else if (!has_text(store, txn, "format", format_text, &value)) {
        (void)edt_error_set(words, EDT_ERR_MISMATCH, "it is of format '%.*s', not '%s'",
                            (int)value.mv_size, (const char *)value.mv_data, format_text);
    } else if (!has_text(store, txn, "fingerprint", fingerprint, &value)) {
        (void)edt_error_set(words, EDT_ERR_MISMATCH,
                            "it is of the data set with fingerprint %.*s, not %s",
                            (int)value.mv_size, (const char *)value.mv_data, fingerprint);
    } else if (!has_text(store, txn, "transform", transform, &value)) {
        (void)edt_error_set(words, EDT_ERR_MISMATCH, "its pictures are '%.*s', not '%s'",
                            (int)value.mv_size, (const char *)value.mv_data, transform);
    } else {
        state = CONTENT_OURS;
    }
    if (txn != NULL) {
        // A commit keeps the handles of the tables, an abort would close them.
        if (state == CONTENT_OURS && mdb_txn_commit(txn) != 0) {
            (void)edt_error_set(words, EDT_ERR_IO, "its index cannot be read");
            return CONTENT_OTHER;
        }
        if (state != CONTENT_OURS) {
            mdb_txn_abort(txn);
        }
    }
    return state;
}

static int put_text(const edt_decoded_store *store, MDB_txn *txn, const char *key,
                    const char *text)
{
    MDB_val k = text_value(key);
    MDB_val v = text_value(text);
    return mdb_put(txn, store->set, &k, &v, 0);
}

static edt_status create_content(edt_decoded_store *store, const char *fingerprint,
                                 const char *transform, edt_error *err)
{
    MDB_txn *txn = NULL;
    int code = open_env(store, 0);
    code = code != 0 ? code : mdb_txn_begin(store->env, NULL, 0, &txn);
    if (code == 0) {
        const uint64_t tail = 0;
        MDB_val k = text_value("tail");
        MDB_val v = {.mv_size = sizeof tail, .mv_data = (void *)(uintptr_t)&tail};
        code = open_tables(store, txn, MDB_CREATE);
        code = code != 0 ? code : put_text(store, txn, "fingerprint", fingerprint);
        code = code != 0 ? code : put_text(store, txn, "transform", transform);
        code = code != 0 ? code : put_text(store, txn, "format", format_text);
        code = code != 0 ? code : mdb_put(txn, store->set, &k, &v, 0);
        if (code == 0) {
            code = mdb_txn_commit(txn);
        } else {
            mdb_txn_abort(txn);
        }
    }
    close_env(store);
    return code == 0 ? EDT_OK : edt_decoded_fail_lmdb(store, code, "create", err);
}

// Held alone: leaves a cache of this set behind, the one that is there or an empty one.
static edt_status prepare(edt_decoded_store *store, const char *fingerprint,
                          const char *transform, edt_error *err)
{
    edt_decoded_seal_state seal;
    edt_error words = {0};
    content_state state = CONTENT_OTHER;
    EDT_TRY(edt_decoded_dir_check_seal(&store->dir, err, &seal));
    if (access(store->dir.index, F_OK) != 0 && errno == ENOENT) {
        state = CONTENT_NONE;
    } else if (seal == EDT_DECODED_SEAL_BROKEN) {
        (void)edt_error_set(&words, EDT_ERR_CORRUPT, "its index is damaged");
    } else {
        const int code = open_env(store, 0);
        if (code == 0) {
            state = read_content(store, fingerprint, transform, &words);
            close_env(store);
        } else if (code == MDB_INVALID || code == MDB_CORRUPTED ||
                   code == MDB_VERSION_MISMATCH) {
            (void)edt_error_set(&words, EDT_ERR_CORRUPT, "its index cannot be read: %s",
                                mdb_strerror(code));
        } else {
            return edt_decoded_fail_lmdb(store, code, "open", err);
        }
    }
    if (state == CONTENT_OURS) {
        return EDT_OK;
    }
    if (state == CONTENT_OTHER) {
        EDT_WARN("the decoded cache '%s' is emptied: %s", store->dir.path, words.text);
    }
    EDT_TRY(edt_decoded_dir_empty(&store->dir, err));
    return create_content(store, fingerprint, transform, err);
}

static edt_status fail_in_use(const edt_decoded_store *store, const edt_error *words,
                              edt_error *err)
{
    EDT_FAIL(err, EDT_ERR_MISMATCH,
             "the decoded cache '%s' is in use by another process, and %s: give decoded_cache "
             "another directory, or wait for the other process to end",
             store->dir.path, words->text);
}

// A writer's way in.
static edt_status join(edt_decoded_store *store, const char *fingerprint, const char *transform,
                       edt_error *err)
{
    edt_error words = {0};
    for (int i = 0; i < OPEN_ATTEMPTS; ++i) {
        bool is_alone;
        EDT_TRY(edt_decoded_dir_try_alone(&store->dir, err, &is_alone));
        if (is_alone) {
            EDT_TRY(prepare(store, fingerprint, transform, err));
        }
        // Between the two locks, or before ours, someone may have emptied it for another set,
        // or died while doing so: the next attempt finds out.
        EDT_TRY(edt_decoded_dir_share(&store->dir, err));
        EDT_TRY(edt_decoded_dir_unseal(&store->dir, err));
        const int code = open_env(store, 0);
        if (code != 0) {
            return edt_decoded_fail_lmdb(store, code, "open", err);
        }
        if (read_content(store, fingerprint, transform, &words) == CONTENT_OURS) {
            int n_dead;
            (void)mdb_reader_check(store->env, &n_dead);
            return EDT_OK;
        }
        close_env(store);
    }
    return fail_in_use(store, &words, err);
}

// In the order of their numbers, as the index keeps them.
static edt_status copy_entries(edt_decoded_store *store, edt_error *err)
{
    MDB_txn *txn = NULL;
    MDB_cursor *cursor = NULL;
    MDB_stat stat;
    int code = mdb_txn_begin(store->env, NULL, MDB_RDONLY, &txn);
    code = code != 0 ? code : mdb_stat(txn, store->pictures, &stat);
    code = code != 0 ? code : mdb_cursor_open(txn, store->pictures, &cursor);
    if (code == 0) {
        store->copied =
            edt_mem_calloc(EDT_MEM_MISC, stat.ms_entries + 1, sizeof *store->copied);
        code = store->copied != NULL ? 0 : ENOMEM;
    }
    MDB_val key;
    MDB_val value;
    while (code == 0 && store->n_copied < (int64_t)stat.ms_entries &&
           (code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
        edt_decoded_entry *entry = &store->copied[store->n_copied];
        if (key.mv_size == sizeof entry->index && value.mv_size == sizeof entry->place) {
            memcpy(&entry->index, key.mv_data, sizeof entry->index);
            memcpy(&entry->place, value.mv_data, sizeof entry->place);
            ++store->n_copied;
        }
    }
    if (cursor != NULL) {
        mdb_cursor_close(cursor);
    }
    if (txn != NULL) {
        mdb_txn_abort(txn);
    }
    if (code != 0 && code != MDB_NOTFOUND) {
        return edt_decoded_fail_lmdb(store, code, "read", err);
    }
    return EDT_OK;
}

// Without write access: the index is believed only as the last writer sealed it, and copied.
static edt_status copy_index(edt_decoded_store *store, const char *fingerprint,
                             const char *transform, edt_error *err)
{
    edt_decoded_seal_state seal;
    EDT_TRY(edt_decoded_dir_share(&store->dir, err));
    EDT_TRY(edt_decoded_dir_check_seal(&store->dir, err, &seal));
    if (seal != EDT_DECODED_SEALED) {
        EDT_FAIL(err, EDT_ERR_IO,
                 "the decoded cache '%s' may not be written to, and its index is %s: use it "
                 "once with write access, or give decoded_cache another directory",
                 store->dir.path,
                 seal == EDT_DECODED_UNSEALED ? "being filled or was left by a killed process"
                                              : "damaged");
    }
    const int code = open_env(store, MDB_RDONLY | MDB_NOLOCK);
    if (code != 0) {
        return edt_decoded_fail_lmdb(store, code, "open", err);
    }
    edt_error words = {0};
    if (read_content(store, fingerprint, transform, &words) != CONTENT_OURS) {
        EDT_FAIL(err, EDT_ERR_MISMATCH,
                 "the decoded cache '%s' may not be written to, and %s: give decoded_cache "
                 "another directory",
                 store->dir.path, words.text);
    }
    EDT_TRY(copy_entries(store, err));
    close_env(store);
    EDT_INFO("the decoded cache '%s' may not be written to: it is read only", store->dir.path);
    return EDT_OK;
}

// The last one to leave seals the index. Failing to do so costs nothing but the check.
void edt_decoded_index_close(edt_decoded_store *store)
{
    if (store->env == NULL) {
        return;
    }
    edt_error err = {0};
    bool is_alone = false;
    const bool is_synced = mdb_env_sync(store->env, 1) == 0;
    close_env(store);
    if (edt_decoded_dir_try_alone(&store->dir, &err, &is_alone) == EDT_OK && is_alone &&
        is_synced && edt_decoded_dir_seal(&store->dir, &err) != EDT_OK) {
        EDT_DEBUG("the decoded cache '%s' stays unsealed: %s", store->dir.path, err.text);
    }
}

edt_status edt_decoded_index_open(edt_decoded_store *store, const char *fingerprint,
                                  const char *transform, edt_error *err)
{
    const edt_status status = store->dir.is_read_only
                                  ? copy_index(store, fingerprint, transform, err)
                                  : join(store, fingerprint, transform, err);
    if (status != EDT_OK) {
        close_env(store);
    }
    return status;
}
