// See record_index.h.
#include "dataio/record_index.h"

#include <string.h>

#include "core/mem.h"

struct edt_record_index {
    edt_shard_reader **readers;
    int64_t *first; // [n_files + 1]
    int64_t n_files;
    edt_record_ref *refs;
    int64_t n_records, capacity;
};

static edt_status push_ref(edt_record_index *index, edt_record_ref ref, edt_error *err)
{
    if (index->n_records == index->capacity) {
        const int64_t capacity = index->capacity > 0 ? 2 * index->capacity : 1024;
        edt_record_ref *refs =
            edt_mem_realloc(EDT_MEM_MISC, index->refs, (size_t)capacity * sizeof *refs);
        if (refs == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to index %lld records",
                     (long long)capacity);
        }
        index->refs = refs;
        index->capacity = capacity;
    }
    index->refs[index->n_records++] = ref;
    return EDT_OK;
}

static edt_status walk_file(edt_record_index *index, int64_t i_file,
                            const edt_shard_reader_options *options, edt_error *err)
{
    const edt_shard_reader *reader = index->readers[i_file];
    const char *path = edt_shard_reader_path(reader);
    if (edt_shard_reader_format(reader) != EDT_SHARD_PLAIN) {
        EDT_FAIL(
            err, EDT_ERR_UNSUPPORTED,
            "'%s' is a compressed shard (%s): its records can only be read one after another, "
            "but "
            "training and evaluation reach for them in any order; convert the data set again "
            "without compression, or decompress the shard (gzip -dc for gzip)",
            path, edt_shard_format_name(edt_shard_reader_format(reader)));
    }
    const edt_span bytes = edt_shard_reader_bytes(reader);
    const bool lenient = options != NULL && options->lenient_tail;
    uint32_t i_local = 0;
    for (uint64_t offset = 0; offset < bytes.n_bytes; ++i_local) {
        if (lenient && bytes.n_bytes - offset < EDT_TFRECORD_HEADER_BYTES) {
            break;
        }
        edt_span payload;
        uint64_t next;
        const edt_tfrecord_fault fault =
            edt_tfrecord_get(bytes, offset, false, &payload, &next);
        if (fault != EDT_TFRECORD_OK) {
            return edt_tfrecord_fail(err, fault, path, i_local, offset);
        }
        const edt_record_ref ref = {.i_file = (int32_t)i_file,
                                    .i_local = i_local,
                                    .offset = offset,
                                    .n_bytes = payload.n_bytes};
        EDT_TRY(push_ref(index, ref, err));
        offset = next;
    }
    return EDT_OK;
}

edt_status edt_record_index_create(const char *const *paths, int64_t n_files,
                                   const edt_shard_reader_options *options, edt_error *err,
                                   edt_record_index **out_index)
{
    edt_status status = EDT_OK;
    edt_record_index *index = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *index);
    if (index == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to index %lld shards", (long long)n_files);
    }
    index->readers = edt_mem_calloc(EDT_MEM_MISC, (size_t)n_files + 1, sizeof *index->readers);
    index->first = edt_mem_calloc(EDT_MEM_MISC, (size_t)n_files + 1, sizeof *index->first);
    if (index->readers == NULL || index->first == NULL) {
        status = edt_error_set(err, EDT_ERR_NOMEM, "no memory to index %lld shards",
                               (long long)n_files);
        goto fail;
    }
    index->n_files = n_files;
    for (int64_t i = 0; i < n_files; ++i) {
        EDT_TRY_GOTO(edt_shard_reader_open(paths[i], options, err, &index->readers[i]));
        EDT_TRY_GOTO(walk_file(index, i, options, err));
        index->first[i + 1] = index->n_records;
    }
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
    for (int64_t i = 0; i < index->n_files; ++i) {
        edt_shard_reader_close(index->readers[i]);
    }
    edt_mem_free(index->readers);
    edt_mem_free(index->first);
    edt_mem_free(index->refs);
    edt_mem_free(index);
}

int64_t edt_record_index_n_records(const edt_record_index *index)
{
    return index->n_records;
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
    return edt_shard_reader_path(index->readers[i_file]);
}

edt_record_ref edt_record_index_get(const edt_record_index *index, int64_t i)
{
    return index->refs[i];
}

edt_status edt_record_index_read(const edt_record_index *index, int64_t i, edt_error *err,
                                 edt_span *out_payload)
{
    const edt_record_ref ref = index->refs[i];
    return edt_shard_reader_read_at(index->readers[ref.i_file], ref.offset, ref.i_local, err,
                                    out_payload);
}
