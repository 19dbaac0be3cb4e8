// See catalog.h. The file is an LMDB environment with four tables, followed by a trailer with
// the CRC of all of it: LMDB itself trusts what it maps, so nothing is handed to it unchecked.
#include "dataio/catalog.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/crc32c.h"
#include "core/mem.h"
#include "core/path.h"

enum { N_TABLES = 4, MAX_TEMP_FILES = 1000 };
enum { SET, SHARDS, LABELS, IDS };
static const char *const table_names[N_TABLES] = {"set", "shards", "labels", "ids"};
static const char format_text[] = "edt catalog 1";

// Behind the environment's pages.
typedef struct trailer {
    char magic[8];
    uint64_t n_bytes; // of what stands before it
    uint32_t crc;     // of that
    uint32_t trailer_crc;
} trailer;
static const char trailer_magic[8] = {'E', 'D', 'T', 'C', 'A', 'T', 'L', '1'};

// Values; names follow them. Keys of these three tables are native uint64.
typedef struct shard_value {
    uint64_t n_bytes, stream_bytes, n_records;
    uint32_t lengths_crc, format;
} shard_value;
typedef struct label_value {
    uint64_t n_boxes;
} label_value;
typedef struct id_value {
    uint32_t i_shard, i_local;
} id_value;
typedef struct counts_value {
    uint64_t n_shards, n_records, n_boxes, n_crowd, n_empty, n_labels;
} counts_value;

struct edt_catalog {
    char *path;
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi tables[N_TABLES];
    edt_catalog_summary summary;
    edt_catalog_label *labels; // [n_labels]
};

static edt_status fail_lmdb(const char *path, int code, const char *action, edt_error *err)
{
    EDT_FAIL(err, code == ENOMEM ? EDT_ERR_NOMEM : EDT_ERR_IO, "cannot %s the catalog '%s': %s",
             action, path, mdb_strerror(code));
}

static edt_status fail_content(const char *path, const char *what, edt_error *err)
{
    EDT_FAIL(err, EDT_ERR_FORMAT, "catalog '%s': %s", path, what);
}

static edt_status check_file(const char *path, edt_error *err)
{
    edt_mapped_file file;
    EDT_TRY(edt_mapped_file_open(path, err, &file));
    edt_status status = EDT_OK;
    trailer t;
    const size_t n = file.span.n_bytes;
    if (n < sizeof t) {
        status = fail_content(path, "it is too short", err);
    } else {
        memcpy(&t, file.span.data + n - sizeof t, sizeof t);
        if (memcmp(t.magic, trailer_magic, sizeof t.magic) != 0 ||
            edt_crc32c(0, &t, offsetof(trailer, trailer_crc)) != t.trailer_crc ||
            t.n_bytes != n - sizeof t) {
            status = fail_content(path, "it does not end with a catalog's trailer", err);
        } else if (edt_crc32c(0, file.span.data, (size_t)t.n_bytes) != t.crc) {
            status = edt_error_set(err, EDT_ERR_CORRUPT, "catalog '%s': its CRC does not match",
                                   path);
        }
    }
    edt_mapped_file_close(&file);
    return status;
}

static bool get(const edt_catalog *catalog, int table, MDB_val key, MDB_val *out_value)
{
    return mdb_get(catalog->txn, catalog->tables[table], &key, out_value) == 0;
}

static MDB_val text_key(const char *text)
{
    return (MDB_val){.mv_size = strlen(text), .mv_data = (void *)(uintptr_t)text};
}

static edt_status read_summary(edt_catalog *catalog, edt_error *err)
{
    edt_catalog_summary *s = &catalog->summary;
    MDB_val value;
    counts_value counts;
    if (!get(catalog, SET, text_key("format"), &value) ||
        value.mv_size != sizeof format_text - 1 ||
        memcmp(value.mv_data, format_text, value.mv_size) != 0) {
        return fail_content(catalog->path, "it is not of this version", err);
    }
    if (!get(catalog, SET, text_key("counts"), &value) || value.mv_size != sizeof counts) {
        return fail_content(catalog->path, "it has no counts", err);
    }
    memcpy(&counts, value.mv_data, sizeof counts);
    if (!get(catalog, SET, text_key("fingerprint"), &value) ||
        value.mv_size != EDT_SHA256_HEX_BYTES) {
        return fail_content(catalog->path, "it has no fingerprint", err);
    }
    *s = (edt_catalog_summary){.n_shards = (int64_t)counts.n_shards,
                               .n_records = (int64_t)counts.n_records,
                               .n_boxes = (int64_t)counts.n_boxes,
                               .n_crowd = (int64_t)counts.n_crowd,
                               .n_empty = (int64_t)counts.n_empty,
                               .n_labels = (int64_t)counts.n_labels};
    memcpy(s->fingerprint, value.mv_data, value.mv_size);
    return EDT_OK;
}

static edt_status read_labels(edt_catalog *catalog, edt_error *err)
{
    const int64_t n = catalog->summary.n_labels;
    MDB_stat stat;
    if (mdb_stat(catalog->txn, catalog->tables[LABELS], &stat) != 0 ||
        stat.ms_entries != (size_t)n) {
        return fail_content(catalog->path, "its label map is not whole", err);
    }
    catalog->labels = edt_mem_calloc(EDT_MEM_MISC, (size_t)n + 1, sizeof *catalog->labels);
    MDB_cursor *cursor = NULL;
    if (catalog->labels == NULL ||
        mdb_cursor_open(catalog->txn, catalog->tables[LABELS], &cursor) != 0) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the catalog '%s'", catalog->path);
    }
    edt_status status = EDT_OK;
    MDB_val key;
    MDB_val value;
    for (int64_t i = 0; i < n; ++i) {
        label_value v;
        uint64_t label;
        if (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) != 0 ||
            key.mv_size != sizeof label || value.mv_size < sizeof v) {
            status = fail_content(catalog->path, "its label map is not whole", err);
            break;
        }
        memcpy(&label, key.mv_data, sizeof label);
        memcpy(&v, value.mv_data, sizeof v);
        catalog->labels[i] = (edt_catalog_label){
            .label = (int64_t)(label ^ (UINT64_C(1) << 63)),
            .n_boxes = (int64_t)v.n_boxes,
            .name = {(const char *)value.mv_data + sizeof v, value.mv_size - sizeof v}};
    }
    mdb_cursor_close(cursor);
    return status;
}

edt_status edt_catalog_open(const char *path, edt_error *err, edt_catalog **out_catalog)
{
    EDT_TRY(check_file(path, err));
    edt_status status = EDT_OK;
    edt_catalog *catalog = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *catalog);
    if (catalog != NULL) {
        catalog->path = edt_mem_strdup(EDT_MEM_TEXT, path);
    }
    if (catalog == NULL || catalog->path == NULL) {
        status = edt_error_set(err, EDT_ERR_NOMEM, "no memory for the catalog '%s'", path);
        goto fail;
    }
    // Without locks: nobody ever writes to a file of this name.
    int code = mdb_env_create(&catalog->env);
    code = code != 0 ? code : mdb_env_set_maxdbs(catalog->env, N_TABLES);
    code = code != 0 ? code
                     : mdb_env_open(catalog->env, path,
                                    MDB_RDONLY | MDB_NOSUBDIR | MDB_NOLOCK | MDB_NOTLS, 0);
    code = code != 0 ? code : mdb_txn_begin(catalog->env, NULL, MDB_RDONLY, &catalog->txn);
    for (int i = 0; i < N_TABLES && code == 0; ++i) {
        code = mdb_dbi_open(catalog->txn, table_names[i], i == SET ? 0 : MDB_INTEGERKEY,
                            &catalog->tables[i]);
    }
    if (code != 0) {
        status = fail_lmdb(path, code, "read", err);
        goto fail;
    }
    EDT_TRY_GOTO(read_summary(catalog, err));
    EDT_TRY_GOTO(read_labels(catalog, err));
    *out_catalog = catalog;
    return EDT_OK;

fail:
    edt_catalog_close(catalog);
    return status;
}

void edt_catalog_close(edt_catalog *catalog)
{
    if (catalog != NULL) {
        if (catalog->txn != NULL) {
            mdb_txn_abort(catalog->txn);
        }
        if (catalog->env != NULL) {
            mdb_env_close(catalog->env);
        }
        edt_mem_free(catalog->labels);
        edt_mem_free(catalog->path);
        edt_mem_free(catalog);
    }
}

const edt_catalog_summary *edt_catalog_get_summary(const edt_catalog *catalog)
{
    return &catalog->summary;
}

static MDB_val number_key(const uint64_t *number)
{
    return (MDB_val){.mv_size = sizeof *number, .mv_data = (void *)(uintptr_t)number};
}

edt_status edt_catalog_get_shard(const edt_catalog *catalog, int64_t i_shard, edt_error *err,
                                 edt_catalog_shard *out_shard)
{
    const uint64_t number = (uint64_t)i_shard;
    MDB_val value;
    shard_value v;
    if (!get(catalog, SHARDS, number_key(&number), &value) || value.mv_size < sizeof v) {
        EDT_FAIL(err, EDT_ERR_NOT_FOUND, "catalog '%s' knows no shard %" PRId64, catalog->path,
                 i_shard);
    }
    memcpy(&v, value.mv_data, sizeof v);
    *out_shard = (edt_catalog_shard){
        .name = {(const char *)value.mv_data + sizeof v, value.mv_size - sizeof v},
        .n_bytes = v.n_bytes,
        .n_records = (int64_t)v.n_records,
        .lengths_crc = v.lengths_crc};
    return EDT_OK;
}

edt_status edt_catalog_get_label(const edt_catalog *catalog, int64_t i, edt_error *err,
                                 edt_catalog_label *out_label)
{
    if (i < 0 || i >= catalog->summary.n_labels) {
        EDT_FAIL(err, EDT_ERR_INVALID, "label %" PRId64 " of %" PRId64, i,
                 catalog->summary.n_labels);
    }
    *out_label = catalog->labels[i];
    return EDT_OK;
}

edt_status edt_catalog_find(const edt_catalog *catalog, int64_t image_id, edt_error *err,
                            int64_t *out_i_shard, int64_t *out_i_local)
{
    const uint64_t number = (uint64_t)image_id;
    MDB_val value;
    id_value v;
    if (!get(catalog, IDS, number_key(&number), &value) || value.mv_size != sizeof v) {
        EDT_FAIL(err, EDT_ERR_NOT_FOUND, "the data set of '%s' has no image id %" PRId64,
                 catalog->path, image_id);
    }
    memcpy(&v, value.mv_data, sizeof v);
    *out_i_shard = v.i_shard;
    *out_i_local = v.i_local;
    return EDT_OK;
}

// What is written, collected and sorted first so that tables are filled in key order.
typedef struct id_row {
    uint64_t id;
    id_value place;
} id_row;
typedef struct label_row {
    uint64_t key; // the label with its sign bit turned, so that the order is that of the labels
    uint64_t n_boxes;
    edt_text name;
} label_row;
typedef struct content {
    counts_value counts;
    id_row *ids;
    size_t n_ids;
    label_row *labels;
    size_t n_labels, labels_capacity;
    char fingerprint[EDT_FINGERPRINT_TEXT_BYTES];
} content;

static int by_id(const void *a, const void *b)
{
    const id_row *x = a;
    const id_row *y = b;
    if (x->id != y->id) {
        return x->id < y->id ? -1 : 1;
    }
    if (x->place.i_shard != y->place.i_shard) {
        return x->place.i_shard < y->place.i_shard ? -1 : 1;
    }
    return (x->place.i_local > y->place.i_local) - (x->place.i_local < y->place.i_local);
}

// The row of a label, inserted in order; NULL when out of memory. Labels are few (classes), and
// neighbours in a record often equal.
static label_row *find_label(content *c, int64_t label)
{
    const uint64_t key = (uint64_t)label ^ (UINT64_C(1) << 63);
    size_t low = 0;
    size_t high = c->n_labels;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (c->labels[middle].key < key) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low < c->n_labels && c->labels[low].key == key) {
        return &c->labels[low];
    }
    if (c->n_labels == c->labels_capacity) {
        const size_t capacity = c->labels_capacity > 0 ? 2 * c->labels_capacity : 128;
        label_row *grown = edt_mem_realloc(EDT_MEM_MISC, c->labels, capacity * sizeof *grown);
        if (grown == NULL) {
            return NULL;
        }
        c->labels = grown;
        c->labels_capacity = capacity;
    }
    memmove(&c->labels[low + 1], &c->labels[low], (c->n_labels - low) * sizeof *c->labels);
    c->labels[low] = (label_row){.key = key};
    ++c->n_labels;
    return &c->labels[low];
}

static bool collect_shard(content *c, uint32_t i_shard, const edt_side_index *side)
{
    const unsigned known = EDT_RECORD_INFO_NUMBER | EDT_RECORD_INFO_HASH;
    const edt_side_summary *s = edt_side_index_summary(side);
    const edt_side_record *rows = edt_side_index_records(side);
    const edt_side_box *boxes = edt_side_index_boxes(side);
    for (int64_t i = 0; i < s->n_records; ++i) {
        c->counts.n_empty += rows[i].n_boxes == 0;
        if ((rows[i].flags & known) != 0) {
            c->ids[c->n_ids++] =
                (id_row){.id = (uint64_t)rows[i].image_id, .place = {i_shard, (uint32_t)i}};
        }
    }
    for (int64_t i = 0; i < s->n_boxes; ++i) {
        label_row *row = find_label(c, boxes[i].label);
        if (row == NULL) {
            return false;
        }
        ++row->n_boxes;
        c->counts.n_crowd += boxes[i].is_crowd != 0;
    }
    for (int64_t i = 0; i < s->n_labels; ++i) {
        const edt_side_label label = edt_side_index_label(side, i);
        label_row *row = find_label(c, label.label);
        if (row == NULL) {
            return false;
        }
        if (row->name.n_bytes == 0) {
            row->name = label.name;
        }
    }
    return true;
}

static edt_status collect(content *c, const char *const *shard_paths,
                          edt_side_index *const *sides, int64_t n_shards, edt_error *err)
{
    edt_set_fingerprint fingerprint = {0};
    edt_status status = EDT_OK;
    c->counts.n_shards = (uint64_t)n_shards;
    for (int64_t i = 0; i < n_shards; ++i) {
        const edt_side_summary *s = edt_side_index_summary(sides[i]);
        c->counts.n_records += (uint64_t)s->n_records;
        c->counts.n_boxes += (uint64_t)s->n_boxes;
        EDT_TRY_GOTO(edt_set_fingerprint_add(&fingerprint, shard_paths[i], s, err));
    }
    c->ids = edt_mem_alloc(EDT_MEM_MISC, (c->counts.n_records + 1) * sizeof *c->ids);
    bool ok = c->ids != NULL;
    for (int64_t i = 0; ok && i < n_shards; ++i) {
        ok = collect_shard(c, (uint32_t)i, sides[i]);
    }
    if (!ok) {
        status = edt_error_set(err, EDT_ERR_NOMEM, "no memory for a catalog");
        goto fail;
    }
    qsort(c->ids, c->n_ids, sizeof *c->ids, by_id);
    c->counts.n_labels = c->n_labels;
    status = edt_set_fingerprint_finish(&fingerprint, err, c->fingerprint);
fail:
    edt_set_fingerprint_deinit(&fingerprint);
    return status;
}

static int put_text(MDB_txn *txn, MDB_dbi table, const char *key, const void *data, size_t n)
{
    MDB_val k = text_key(key);
    MDB_val v = {.mv_size = n, .mv_data = (void *)(uintptr_t)data};
    return mdb_put(txn, table, &k, &v, 0);
}

// A row of a table with number keys: a fixed part and a name behind it. Keys come in order.
static int put_row(MDB_txn *txn, MDB_dbi table, uint64_t key, const void *fixed, size_t n_fixed,
                   edt_text name)
{
    MDB_val k = number_key(&key);
    MDB_val v = {.mv_size = n_fixed + name.n_bytes};
    const int code = mdb_put(txn, table, &k, &v, MDB_RESERVE | MDB_APPEND);
    if (code == 0) {
        memcpy(v.mv_data, fixed, n_fixed);
        if (name.n_bytes > 0) {
            memcpy((char *)v.mv_data + n_fixed, name.data, name.n_bytes);
        }
    }
    return code;
}

static int fill(MDB_txn *txn, const content *c, const char *const *shard_paths,
                edt_side_index *const *sides)
{
    MDB_dbi tables[N_TABLES];
    int code = 0;
    for (int i = 0; i < N_TABLES && code == 0; ++i) {
        code =
            mdb_dbi_open(txn, table_names[i],
                         MDB_CREATE | (i == SET ? 0u : (unsigned)MDB_INTEGERKEY), &tables[i]);
    }
    if (code != 0) {
        return code;
    }
    code = put_text(txn, tables[SET], "format", format_text, sizeof format_text - 1);
    code =
        code != 0 ? code : put_text(txn, tables[SET], "counts", &c->counts, sizeof c->counts);
    code = code != 0 ? code
                     : put_text(txn, tables[SET], "fingerprint", c->fingerprint,
                                EDT_SHA256_HEX_BYTES);
    for (uint64_t i = 0; i < c->counts.n_shards && code == 0; ++i) {
        const edt_side_summary *s = edt_side_index_summary(sides[i]);
        const shard_value v = {.n_bytes = s->shard_bytes,
                               .stream_bytes = s->stream_bytes,
                               .n_records = (uint64_t)s->n_records,
                               .lengths_crc = s->lengths_crc,
                               .format = (uint32_t)s->format};
        const char *slash = strrchr(shard_paths[i], '/');
        const char *name = slash != NULL ? slash + 1 : shard_paths[i];
        code = put_row(txn, tables[SHARDS], i, &v, sizeof v, (edt_text){name, strlen(name)});
    }
    for (size_t i = 0; i < c->n_labels && code == 0; ++i) {
        const label_value v = {.n_boxes = c->labels[i].n_boxes};
        code = put_row(txn, tables[LABELS], c->labels[i].key, &v, sizeof v, c->labels[i].name);
    }
    for (size_t i = 0; i < c->n_ids && code == 0; ++i) {
        if (i == 0 || c->ids[i].id != c->ids[i - 1].id) {
            code = put_row(txn, tables[IDS], c->ids[i].id, &c->ids[i].place,
                           sizeof c->ids[i].place, (edt_text){0});
        }
    }
    return code;
}

// Room for all rows with LMDB's overhead, a function of the content alone.
static size_t map_bytes(const content *c)
{
    const size_t n = (size_t)c->counts.n_records * 96 + (size_t)c->counts.n_shards * 1024 +
                     c->n_labels * 512;
    size_t text = 0;
    for (size_t i = 0; i < c->n_labels; ++i) {
        text += 2 * c->labels[i].name.n_bytes;
    }
    return ((n + text) >> 20 << 20) + ((size_t)4 << 20);
}

static edt_status write_env(const char *path, const char *name, const content *c,
                            const char *const *shard_paths, edt_side_index *const *sides,
                            edt_error *err)
{
    MDB_env *env = NULL;
    MDB_txn *txn = NULL;
    int code = mdb_env_create(&env);
    code = code != 0 ? code : mdb_env_set_maxdbs(env, N_TABLES);
    code = code != 0 ? code : mdb_env_set_mapsize(env, map_bytes(c));
    code = code != 0 ? code
                     : mdb_env_open(env, path, MDB_NOSUBDIR | MDB_NOLOCK | MDB_NOSYNC, 0666);
    code = code != 0 ? code : mdb_txn_begin(env, NULL, 0, &txn);
    if (code == 0) {
        code = fill(txn, c, shard_paths, sides);
        if (code == 0) {
            code = mdb_txn_commit(txn);
        } else {
            mdb_txn_abort(txn);
        }
    }
    if (env != NULL) {
        mdb_env_close(env);
    }
    return code == 0 ? EDT_OK : fail_lmdb(name, code, "write", err);
}

static edt_status append_trailer(const char *path, const char *name, edt_error *err)
{
    edt_mapped_file file;
    EDT_TRY(edt_mapped_file_open(path, err, &file));
    trailer t = {.n_bytes = file.span.n_bytes,
                 .crc = edt_crc32c(0, file.span.data, file.span.n_bytes)};
    memcpy(t.magic, trailer_magic, sizeof t.magic);
    t.trailer_crc = edt_crc32c(0, &t, offsetof(trailer, trailer_crc));
    edt_mapped_file_close(&file);
    const int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    const ssize_t n = fd >= 0 ? write(fd, &t, sizeof t) : -1;
    const int code = errno;
    const bool closed = fd < 0 || close(fd) == 0;
    if (n != (ssize_t)sizeof t || !closed) {
        return fail_lmdb(name, n < 0 ? code : EIO, "write", err);
    }
    return EDT_OK;
}

edt_status edt_catalog_write(const char *path, const char *const *shard_paths,
                             edt_side_index *const *sides, int64_t n_shards, edt_error *err)
{
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_TEXT, 0);
    edt_status status = EDT_OK;
    content c = {0};
    char *temp = NULL;
    EDT_TRY_GOTO(collect(&c, shard_paths, sides, n_shards, err));
    EDT_TRY_GOTO(edt_side_dir_create(path, err));
    int fd = -1;
    for (int i = 0; fd < 0; ++i) {
        temp = edt_arena_printf(&arena, "%s.tmp-%ld-%d", path, (long)getpid(), i);
        fd = temp != NULL ? open(temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666) : -1;
        if (temp == NULL || (fd < 0 && (errno != EEXIST || i == MAX_TEMP_FILES))) {
            temp = NULL;
            status = fail_lmdb(path, errno, "create", err);
            goto fail;
        }
    }
    (void)close(fd);
    EDT_TRY_GOTO(write_env(temp, path, &c, shard_paths, sides, err));
    EDT_TRY_GOTO(append_trailer(temp, path, err));
    if (rename(temp, path) != 0) {
        status = fail_lmdb(path, errno, "create", err);
        goto fail;
    }
    temp = NULL;
fail:
    if (temp != NULL) {
        (void)unlink(temp);
    }
    edt_mem_free(c.ids);
    edt_mem_free(c.labels);
    edt_arena_deinit(&arena);
    return status;
}
