// See record_index.h.
#include "dataio/record_index.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>

#include "core/log.h"
#include "core/mem.h"
#include "core/parallel.h"
#include "core/path.h"
#include "dataio/set_fingerprint.h"

enum {
    MAX_OPEN_FILES = 384, // kept open; the usual limit of a process is 1024
    N_SAMPLED = 4,        // records per shard that are looked up before its index is believed
};

typedef struct kept_record {
    struct kept_record *next;
    edt_record_scratch *scratch;
    edt_shard_reader *reader; // of a stream
} kept_record;

struct edt_record_index {
    edt_shard_file **files;
    edt_side_index **sides;
    int64_t *first; // [n_files + 1]
    int64_t n_files;
    edt_shard_reader_options options;
    char fingerprint[EDT_FINGERPRINT_TEXT_BYTES];
    atomic_llong n_rebuilt, n_unsaved;
    _Atomic(kept_record *) kept;
};

static bool is_up_to_date(const edt_record_index *index, int64_t i_file,
                          const edt_side_index *side, const char *side_path)
{
    const edt_shard_file *file = index->files[i_file];
    const edt_side_summary *s = edt_side_index_summary(side);
    struct stat info;
    // How long a stream is shows only when it is read, which would cost what an index saves.
    if (s->format != edt_shard_file_format(file) ||
        s->shard_bytes != edt_shard_file_bytes(file) ||
        (s->stream_bytes != edt_shard_file_stream_bytes(file) &&
         !edt_shard_file_is_stream(file)) ||
        stat(side_path, &info) != 0 ||
        (int64_t)info.st_mtim.tv_sec * 1000000000 + (int64_t)info.st_mtim.tv_nsec <
            edt_shard_file_modified_ns(file)) {
        return false;
    }
    const edt_side_record *records = edt_side_index_records(side);
    const int64_t n = s->n_records;
    const uint64_t end = n == 0 ? 0
                                : records[n - 1].offset + records[n - 1].n_bytes +
                                      EDT_TFRECORD_HEADER_BYTES + EDT_TFRECORD_FOOTER_BYTES;
    // Stray bytes behind the last record: the walk has to judge them.
    if (end != s->stream_bytes) {
        return false;
    }
    const int64_t n_sampled = n < N_SAMPLED ? n : N_SAMPLED;
    for (int64_t k = 0; k < n_sampled; ++k) {
        const int64_t i = n_sampled > 1 ? k * (n - 1) / (n_sampled - 1) : 0;
        if (!edt_shard_file_has_record(file, records[i].offset, records[i].n_bytes)) {
            return false;
        }
    }
    return true;
}

// The shard's side index, read or made.
static edt_status get_side(edt_record_index *index, int64_t i_file, edt_error *err)
{
    const char *path = edt_shard_file_path(index->files[i_file]);
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_TEXT, 1024);
    edt_status status = EDT_OK;
    edt_side_index *side = NULL;
    const char *side_path = edt_side_index_path(&arena, path);
    if (side_path == NULL) {
        status = edt_error_set(err, EDT_ERR_NOMEM, "no memory for a path");
        goto fail;
    }
    edt_error why = {0};
    const edt_status opened = edt_side_index_open(side_path, &why, &side);
    if (opened != EDT_OK && opened != EDT_ERR_NOT_FOUND) {
        EDT_INFO("%s; it is made again", why.text);
    }
    if (opened != EDT_OK || !is_up_to_date(index, i_file, side, side_path)) {
        edt_side_index_close(side);
        side = NULL;
        if (edt_shard_file_is_stream(index->files[i_file])) {
            EDT_INFO("'%s' has no side index that fits: its %s stream is read once to find its "
                     "records",
                     path, edt_shard_format_name(edt_shard_file_format(index->files[i_file])));
        }
        EDT_TRY_GOTO(edt_side_index_rebuild(path, &index->options, err, &side));
        atomic_fetch_add(&index->n_rebuilt, 1);
        edt_error unsaved = {0};
        if (edt_side_index_save(side, path, &unsaved) != EDT_OK &&
            atomic_fetch_add(&index->n_unsaved, 1) == 0) {
            EDT_INFO("side indexes are kept in memory and made again by every run: %s",
                     unsaved.text);
        }
    }
    index->sides[i_file] = side;
fail:
    edt_arena_deinit(&arena);
    return status;
}

typedef struct open_job {
    edt_record_index *index;
    const char *const *paths;
} open_job;

static edt_status open_file(void *ctx, int worker, int64_t i, edt_error *err)
{
    (void)worker;
    const open_job *job = ctx;
    edt_record_index *index = job->index;
    if (index->files[i] == NULL) {
        EDT_TRY(edt_shard_file_open(job->paths[i], &index->options,
                                    index->n_files <= MAX_OPEN_FILES, err, &index->files[i]));
    }
    return index->sides[i] == NULL ? get_side(index, i, err) : EDT_OK;
}

// In parallel; of several faults the one of the first shard is reported, whatever the timing.
static edt_status open_files(edt_record_index *index, const char *const *paths, edt_error *err)
{
    open_job job = {.index = index, .paths = paths};
    edt_error any = {0};
    if (edt_parallel_for(0, index->n_files, open_file, &job, &any) == EDT_OK) {
        return EDT_OK;
    }
    for (int64_t i = 0; i < index->n_files; ++i) {
        EDT_TRY(open_file(&job, 0, i, err));
    }
    return EDT_OK;
}

static edt_status take_fingerprint(edt_record_index *index, edt_error *err)
{
    edt_set_fingerprint fingerprint = {0};
    edt_status status = EDT_OK;
    for (int64_t i = 0; status == EDT_OK && i < index->n_files; ++i) {
        status = edt_set_fingerprint_add(&fingerprint, edt_shard_file_path(index->files[i]),
                                         edt_side_index_summary(index->sides[i]), err);
    }
    if (status == EDT_OK) {
        status = edt_set_fingerprint_finish(&fingerprint, err, index->fingerprint);
    }
    edt_set_fingerprint_deinit(&fingerprint);
    return status;
}

// What the catalogs of the sets that these shards belong to say of them; a catalog that is not
// there is made when all its shards are listed.
static edt_status check_catalogs(const edt_record_index *index, edt_error *err)
{
    const edt_side_summary **summaries =
        edt_mem_alloc(EDT_MEM_MISC, ((size_t)index->n_files + 1) * sizeof *summaries);
    const char **paths =
        edt_mem_alloc(EDT_MEM_MISC, ((size_t)index->n_files + 1) * sizeof *paths);
    edt_status status = EDT_OK;
    if (summaries == NULL || paths == NULL) {
        status = edt_error_set(err, EDT_ERR_NOMEM, "no memory for %" PRId64 " shards",
                               index->n_files);
    } else {
        for (int64_t i = 0; i < index->n_files; ++i) {
            summaries[i] = edt_side_index_summary(index->sides[i]);
            paths[i] = edt_shard_file_path(index->files[i]);
        }
        // Where the indexes could not be saved, a catalog cannot either.
        status =
            edt_catalog_check(paths, summaries, index->n_files, index->n_unsaved == 0, err);
    }
    edt_mem_free(paths);
    edt_mem_free(summaries);
    return status;
}

edt_status edt_record_index_create(const char *const *paths, int64_t n_files,
                                   const edt_shard_reader_options *options, edt_error *err,
                                   edt_record_index **out_index)
{
    edt_status status = EDT_OK;
    edt_record_index *index = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *index);
    if (index == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to index %" PRId64 " shards", n_files);
    }
    const size_t n = (size_t)n_files + 1;
    index->files = edt_mem_calloc(EDT_MEM_MISC, n, sizeof *index->files);
    index->sides = edt_mem_calloc(EDT_MEM_MISC, n, sizeof *index->sides);
    index->first = edt_mem_calloc(EDT_MEM_MISC, n, sizeof *index->first);
    if (index->files == NULL || index->sides == NULL || index->first == NULL) {
        status =
            edt_error_set(err, EDT_ERR_NOMEM, "no memory to index %" PRId64 " shards", n_files);
        goto fail;
    }
    index->n_files = n_files;
    if (options != NULL) {
        index->options = *options;
    }
    EDT_TRY_GOTO(open_files(index, paths, err));
    for (int64_t i = 0; i < n_files; ++i) {
        index->first[i + 1] =
            index->first[i] + edt_side_index_summary(index->sides[i])->n_records;
    }
    EDT_TRY_GOTO(take_fingerprint(index, err));
    EDT_TRY_GOTO(check_catalogs(index, err));
    *out_index = index;
    return EDT_OK;

fail:
    edt_record_index_destroy(index);
    return status;
}

void edt_record_index_destroy(edt_record_index *index)
{
    if (index == NULL) {
        return;
    }
    for (kept_record *kept = index->kept; kept != NULL;) {
        kept_record *next = kept->next;
        edt_shard_reader_close(kept->reader);
        edt_record_scratch_destroy(kept->scratch);
        edt_mem_free(kept);
        kept = next;
    }
    for (int64_t i = 0; i < index->n_files; ++i) {
        edt_shard_file_close(index->files[i]);
        edt_side_index_close(index->sides[i]);
    }
    edt_mem_free(index->files);
    edt_mem_free(index->sides);
    edt_mem_free(index->first);
    edt_mem_free(index);
}

int64_t edt_record_index_n_records(const edt_record_index *index)
{
    return index->first[index->n_files];
}

int64_t edt_record_index_n_files(const edt_record_index *index)
{
    return index->n_files;
}

int64_t edt_record_index_first(const edt_record_index *index, int64_t i_file)
{
    return index->first[i_file];
}

const char *edt_record_index_path(const edt_record_index *index, int64_t i_file)
{
    return edt_shard_file_path(index->files[i_file]);
}

bool edt_record_index_is_stream(const edt_record_index *index, int64_t i_file)
{
    return edt_shard_file_is_stream(index->files[i_file]);
}

edt_status edt_record_index_check_random(const edt_record_index *index, edt_error *err)
{
    for (int64_t i = 0; i < index->n_files; ++i) {
        EDT_TRY(edt_shard_file_check_random(index->files[i], err));
    }
    return EDT_OK;
}

const char *edt_record_index_fingerprint(const edt_record_index *index)
{
    return index->fingerprint;
}

int64_t edt_record_index_n_rebuilt(const edt_record_index *index)
{
    return (int64_t)index->n_rebuilt;
}

// The last file that begins at or before record `i`: of a run of empty files and the one that
// holds it, that one.
static int64_t file_of(const edt_record_index *index, int64_t i)
{
    int64_t low = 0;
    int64_t high = index->n_files;
    while (high - low > 1) {
        const int64_t middle = low + (high - low) / 2;
        if (index->first[middle] <= i) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

edt_record_ref edt_record_index_get(const edt_record_index *index, int64_t i)
{
    const int64_t i_file = file_of(index, i);
    const int64_t i_local = i - index->first[i_file];
    const edt_side_record *row = &edt_side_index_records(index->sides[i_file])[i_local];
    return (edt_record_ref){.i_file = (int32_t)i_file,
                            .i_local = (uint32_t)i_local,
                            .offset = row->offset,
                            .n_bytes = row->n_bytes};
}

edt_text edt_record_index_label_name(const edt_record_index *index, int64_t label)
{
    for (int64_t i = 0; i < index->n_files; ++i) {
        const edt_side_index *side = index->sides[i];
        const int64_t n = edt_side_index_summary(side)->n_labels;
        for (int64_t k = 0; k < n; ++k) {
            const edt_side_label entry = edt_side_index_label(side, k);
            if (entry.label == label && entry.name.n_bytes > 0) {
                return entry.name;
            }
        }
    }
    return (edt_text){0};
}

const edt_side_record *edt_record_index_row(const edt_record_index *index, int64_t i)
{
    const int64_t i_file = file_of(index, i);
    return &edt_side_index_records(index->sides[i_file])[i - index->first[i_file]];
}

const edt_side_box *edt_record_index_boxes(const edt_record_index *index, int64_t i)
{
    return edt_side_index_boxes(index->sides[file_of(index, i)]) +
           edt_record_index_row(index, i)->first_box;
}

int64_t edt_record_index_find(const edt_record_index *index, int64_t image_id)
{
    const unsigned known = EDT_RECORD_INFO_NUMBER | EDT_RECORD_INFO_HASH;
    for (int64_t f = 0; f < index->n_files; ++f) {
        const edt_side_record *rows = edt_side_index_records(index->sides[f]);
        const int64_t n = index->first[f + 1] - index->first[f];
        for (int64_t i = 0; i < n; ++i) {
            if (rows[i].image_id == image_id && (rows[i].flags & known) != 0) {
                return index->first[f] + i;
            }
        }
    }
    return -1;
}

edt_status edt_record_index_read_into(const edt_record_index *index, int64_t i,
                                      edt_record_scratch *scratch, edt_error *err,
                                      edt_span *out_payload)
{
    const edt_record_ref ref = edt_record_index_get(index, i);
    return edt_shard_file_read(index->files[ref.i_file], ref.offset, ref.n_bytes, ref.i_local,
                               scratch, err, out_payload);
}

void edt_record_index_advise(const edt_record_index *index, int64_t i)
{
    const edt_record_ref ref = edt_record_index_get(index, i);
    edt_shard_file_advise(index->files[ref.i_file], ref.offset,
                          EDT_TFRECORD_HEADER_BYTES + ref.n_bytes + EDT_TFRECORD_FOOTER_BYTES);
}

// Up to the record; its payload is the reader's.
static edt_status read_stream(const edt_record_index *index, edt_record_ref ref, edt_error *err,
                              edt_shard_reader **out_reader, edt_span *out_payload)
{
    edt_status status = EDT_OK;
    edt_record record = {.index = -1};
    EDT_TRY(edt_shard_reader_open(edt_record_index_path(index, ref.i_file), &index->options,
                                  err, out_reader));
    while (status == EDT_OK && record.index < (int64_t)ref.i_local) {
        status = edt_shard_reader_next(*out_reader, err, &record);
    }
    if (status == EDT_END || (status == EDT_OK && record.payload.n_bytes != ref.n_bytes)) {
        EDT_FAIL(err, EDT_ERR_MISMATCH,
                 "'%s' is not the shard any more that was opened: record %" PRIu32
                 " is not where it was; restore it and start again",
                 edt_record_index_path(index, ref.i_file), ref.i_local);
    }
    *out_payload = record.payload;
    return status;
}

edt_status edt_record_index_read(const edt_record_index *index, int64_t i, edt_error *err,
                                 edt_span *out_payload)
{
    const edt_record_ref ref = edt_record_index_get(index, i);
    kept_record *kept = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *kept);
    if (kept == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to read a record");
    }
    edt_status status = EDT_OK;
    if (edt_record_index_is_stream(index, ref.i_file)) {
        status = read_stream(index, ref, err, &kept->reader, out_payload);
    } else {
        status = edt_record_scratch_create(err, &kept->scratch);
    }
    if (status == EDT_OK && kept->scratch != NULL) {
        status = edt_record_index_read_into(index, i, kept->scratch, err, out_payload);
    }
    if (status != EDT_OK) {
        edt_shard_reader_close(kept->reader);
        edt_record_scratch_destroy(kept->scratch);
        edt_mem_free(kept);
        return status;
    }
    // What is kept is not part of the value.
    edt_record_index *owner = (edt_record_index *)(uintptr_t)index;
    kept->next = atomic_load(&owner->kept);
    while (!atomic_compare_exchange_weak(&owner->kept, &kept->next, kept)) {
    }
    return EDT_OK;
}
