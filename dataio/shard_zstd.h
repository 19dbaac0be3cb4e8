// Seekable zstd, as zstd's contrib/seekable_format describes it: independent frames, then a
// skippable frame with the sizes of all of them. Any zstd program decompresses such a file; a
// reader that knows the table reaches any byte by decoding one frame. Compressing single frames
// and writing the table; reading the table, ranges of the stream and the stream in order.
#ifndef EDT_DATAIO_SHARD_ZSTD_H
#define EDT_DATAIO_SHARD_ZSTD_H

#include <stdbool.h>

#include "core/error.h"
#include "core/span.h"

enum {
    EDT_ZSTD_FOOTER_BYTES = 9,           // end of a file with a seek table
    EDT_ZSTD_MAX_FRAME_BYTES = 64 << 20, // of the stream that our writer puts into one frame
};

// True for bytes that begin with a zstd or a skippable frame.
bool edt_zstd_is_frame(edt_span bytes);

// Compresses whole frames (level 3, with their content size, without a checksum: records have
// their own). One thread at a time.
typedef struct edt_zstd_encoder edt_zstd_encoder;
edt_status edt_zstd_encoder_create(edt_error *err, edt_zstd_encoder **out_encoder);
void edt_zstd_encoder_destroy(edt_zstd_encoder *encoder); // NULL is fine
// Bytes that a frame of `n_bytes` needs at most.
size_t edt_zstd_frame_bound(size_t n_bytes);
// `bytes` as one frame into out[capacity >= edt_zstd_frame_bound].
edt_status edt_zstd_encode(edt_zstd_encoder *encoder, edt_span bytes, uint8_t *out,
                           size_t capacity, edt_error *err, size_t *out_n);

// Where a frame starts in the file and in the stream that it holds.
typedef struct edt_zstd_place {
    uint64_t file_offset, stream_offset;
} edt_zstd_place;

typedef struct edt_zstd_seek_table {
    uint64_t n_frames;
    edt_zstd_place
        *places; // [n_frames + 1]; the last: where the table and the stream's end lie
} edt_zstd_seek_table;

void edt_zstd_seek_table_deinit(edt_zstd_seek_table *table); // zeroed is fine
uint64_t edt_zstd_seek_table_stream_bytes(const edt_zstd_seek_table *table);
// The frame that holds byte `offset` of the stream, which lies before its end.
uint64_t edt_zstd_seek_table_frame(const edt_zstd_seek_table *table, uint64_t offset);

// Bytes that the table of n_frames takes in a file, and the table itself into out[that many].
// Every frame is below 4 GiB on both sides, n_frames below 2^27.
size_t edt_zstd_seek_table_bytes(uint64_t n_frames);
void edt_zstd_seek_table_put(const edt_zstd_seek_table *table, uint8_t *out);

// Size of the seek table from the last bytes of a file of `file_bytes`; 0: there is none.
uint64_t edt_zstd_seek_table_find(const uint8_t footer[EDT_ZSTD_FOOTER_BYTES],
                                  uint64_t file_bytes);
// The table from its bytes, the last of a file of `file_bytes`. EDT_ERR_FORMAT, naming the
// file, when it does not describe that file.
edt_status edt_zstd_seek_table_parse(edt_span bytes, uint64_t file_bytes, const char *path,
                                     edt_error *err, edt_zstd_seek_table *out_table);

// Decodes ranges and streams. One thread at a time.
typedef struct edt_zstd_decoder edt_zstd_decoder;
edt_status edt_zstd_decoder_create(edt_error *err, edt_zstd_decoder **out_decoder);
void edt_zstd_decoder_destroy(edt_zstd_decoder *decoder); // NULL is fine

// Gives n_bytes of the file from `offset` on, all of them.
typedef edt_status edt_zstd_read_fn(void *ctx, uint64_t offset, uint8_t *out, size_t n_bytes,
                                    edt_error *err);

// Bytes offset .. offset + n_bytes of the stream into out, decoding only frames that hold some.
// The range must lie in the stream. EDT_ERR_FORMAT with file and frame for damage.
edt_status edt_zstd_decode_range(edt_zstd_decoder *decoder, const edt_zstd_seek_table *table,
                                 edt_zstd_read_fn *read, void *ctx, const char *path,
                                 uint64_t offset, uint8_t *out, size_t n_bytes, edt_error *err);

// The stream in order, from memory: up to n_bytes from `*consumed` of `bytes` on, which stand
// at `offset` of the file; fewer only when the bytes are used up. `*out_whole` false when fewer
// came because a frame goes on behind them: at the end of the file it is cut off.
edt_status edt_zstd_decode_next(edt_zstd_decoder *decoder, edt_span bytes, uint64_t offset,
                                size_t *consumed, const char *path, uint8_t *out,
                                size_t n_bytes, edt_error *err, size_t *out_n, bool *out_whole);

#endif
