// Records of shards that can only be read in order, asked for by number: cheap as long as the
// numbers go up, a new pass over the shard when they go back.
#ifndef EDT_DATAIO_RECORD_STREAM_H
#define EDT_DATAIO_RECORD_STREAM_H

#include <stdatomic.h>

#include "dataio/record_index.h"

typedef struct edt_record_stream edt_record_stream;

// The index outlives the stream.
edt_status edt_record_stream_create(const edt_record_index *index, edt_error *err,
                                    edt_record_stream **out_stream);
void edt_record_stream_destroy(edt_record_stream *stream); // NULL is fine

// Record `i` of the index, which lies in a shard that is a stream, data CRC verified; the
// payload lasts until the next call. A wrong data CRC concerns that record alone; what breaks
// the framing or the stream is returned for all further records of the shard.
// EDT_ERR_MISMATCH when the shard is not the one that was indexed. Gives up, with
// EDT_ERR_CANCELLED, when *stop becomes true.
edt_status edt_record_stream_read(edt_record_stream *stream, int64_t i, const atomic_bool *stop,
                                  edt_error *err, edt_span *out_payload);

#endif
