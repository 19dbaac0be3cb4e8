// See record_stream.h.
#include "dataio/record_stream.h"

#include <inttypes.h>

#include "core/mem.h"

struct edt_record_stream {
    const edt_record_index *index;
    edt_shard_reader *reader; // NULL: none is open
    int64_t i_file;           // the one it reads
    int64_t next;             // number of the record that comes next
    edt_status broken;        // why none comes any more
    edt_error reason;
};

edt_status edt_record_stream_create(const edt_record_index *index, edt_error *err,
                                    edt_record_stream **out_stream)
{
    edt_record_stream *stream = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *stream);
    if (stream == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to read shards in order");
    }
    stream->index = index;
    stream->i_file = -1;
    *out_stream = stream;
    return EDT_OK;
}

void edt_record_stream_destroy(edt_record_stream *stream)
{
    if (stream != NULL) {
        edt_shard_reader_close(stream->reader);
        edt_mem_free(stream);
    }
}

static void open_shard(edt_record_stream *stream, int64_t i_file)
{
    // Data CRCs are checked here, so that one that is wrong does not end the stream.
    const edt_shard_reader_options options = {.skip_data_crc = true};
    edt_shard_reader_close(stream->reader);
    stream->reader = NULL;
    stream->i_file = i_file;
    stream->next = 0;
    stream->reason = (edt_error){0};
    stream->broken = edt_shard_reader_open(edt_record_index_path(stream->index, i_file),
                                           &options, &stream->reason, &stream->reader);
}

// A shard that ends early, or whose records have other sizes, has been replaced since.
static edt_status check_same(const edt_record_stream *stream, edt_record_ref ref,
                             edt_status status, const edt_record *record, edt_error *err)
{
    if (status == EDT_END || (status == EDT_OK && (record->offset != ref.offset ||
                                                   record->payload.n_bytes != ref.n_bytes))) {
        EDT_FAIL(err, EDT_ERR_MISMATCH,
                 "'%s' is not the shard any more that was opened: record %" PRIu32
                 " is not where it was; restore it and start again",
                 edt_record_index_path(stream->index, stream->i_file), ref.i_local);
    }
    return status;
}

edt_status edt_record_stream_read(edt_record_stream *stream, int64_t i, const atomic_bool *stop,
                                  edt_error *err, edt_span *out_payload)
{
    const edt_record_ref ref = edt_record_index_get(stream->index, i);
    if (stream->i_file != ref.i_file || (int64_t)ref.i_local < stream->next) {
        open_shard(stream, ref.i_file);
    }
    edt_record record = {.index = -1};
    while (stream->broken == EDT_OK && stream->next <= (int64_t)ref.i_local) {
        if (atomic_load(stop)) {
            EDT_FAIL(err, EDT_ERR_CANCELLED, "reading was stopped");
        }
        edt_status status = edt_shard_reader_next(stream->reader, &stream->reason, &record);
        if (status == EDT_END || stream->next == (int64_t)ref.i_local) {
            status = check_same(stream, ref, status, &record, &stream->reason);
        }
        stream->broken = status;
        stream->next += status == EDT_OK;
    }
    if (stream->broken != EDT_OK) {
        return edt_error_set(err, stream->broken, "%s", stream->reason.text);
    }
    const size_t total =
        EDT_TFRECORD_HEADER_BYTES + record.payload.n_bytes + EDT_TFRECORD_FOOTER_BYTES;
    const edt_span framed = {record.payload.data - EDT_TFRECORD_HEADER_BYTES, total};
    uint64_t next;
    const edt_tfrecord_fault fault = edt_tfrecord_get(framed, 0, true, out_payload, &next);
    if (fault != EDT_TFRECORD_OK) {
        return edt_tfrecord_fail(err, fault, edt_record_index_path(stream->index, ref.i_file),
                                 (int64_t)ref.i_local, ref.offset);
    }
    return EDT_OK;
}
