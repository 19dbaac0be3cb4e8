// The compressed stream of one shard while it is written: records arrive from any thread in any
// order and go out in the order of their offsets, so that the file does not depend on timing.
#ifndef EDT_DATAIO_SHARD_STREAM_H
#define EDT_DATAIO_SHARD_STREAM_H

#include "core/file.h"
#include "dataio/shard_writer.h"

typedef struct edt_shard_stream edt_shard_stream;

// `file` is only appended to and must outlive the stream. `compression` is not NONE.
edt_status edt_shard_stream_create(edt_atomic_file *file, const char *path,
                                   edt_shard_compression compression, edt_error *err,
                                   edt_shard_stream **out_stream);
void edt_shard_stream_destroy(edt_shard_stream *stream); // NULL is fine

// The bytes that stand at `offset` of the uncompressed shard; ranges do not overlap and leave
// no hole in the end. Waits while too much waits for earlier bytes. Any threads.
edt_status edt_shard_stream_put(edt_shard_stream *stream, uint64_t offset, edt_span bytes,
                                edt_error *err);
// Lets all later puts and those that wait fail with `status`: some bytes will never come.
void edt_shard_stream_stop(edt_shard_stream *stream, edt_status status);
// Ends the stream (zstd: writes the seek table). Once, after all puts. EDT_ERR_INTERNAL when
// some bytes never came.
edt_status edt_shard_stream_finish(edt_shard_stream *stream, edt_error *err);

#endif
