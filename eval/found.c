// See found.h. All pieces are multiples of 8 bytes, so that they can be read in place.
#include "eval/found.h"

#include <string.h>

#include "core/mem.h"

typedef struct image_header {
    int64_t source_id, n_detections, n_truth;
} image_header;

enum { TRUTH_ROW_BYTES = EDT_FOUND_TRUTH_COLUMNS * (int)sizeof(float) };

static size_t padded(size_t n_bytes)
{
    return (n_bytes + 7) / 8 * 8;
}

// Room for one piece at the end, its padding zeroed.
static edt_status add_piece(edt_found *f, size_t n_bytes, edt_error *err, uint8_t **out_piece)
{
    const size_t need = f->n_bytes + padded(n_bytes);
    if (need > f->cap_bytes || f->bytes == NULL) {
        const size_t cap = need > 2 * f->cap_bytes ? need + 4096 : 2 * f->cap_bytes;
        void *moved = edt_mem_realloc(EDT_MEM_EVAL, f->bytes, cap);
        if (moved == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the detections of an evaluation");
        }
        f->bytes = moved;
        f->cap_bytes = cap;
    }
    *out_piece = f->bytes + f->n_bytes;
    memset(*out_piece + n_bytes, 0, padded(n_bytes) - n_bytes);
    f->n_bytes = need;
    return EDT_OK;
}

static edt_status add_copy(edt_found *f, const void *data, size_t n_bytes, edt_error *err)
{
    uint8_t *piece = NULL;
    EDT_TRY(add_piece(f, n_bytes, err, &piece));
    if (n_bytes > 0) {
        memcpy(piece, data, n_bytes);
    }
    return EDT_OK;
}

// Ground truth of row `i` of a batch; rows of class -1 and below are padding.
static const float *truth_row(const edt_batch *b, int64_t i, int64_t j)
{
    return b->groundtruth + (i * b->max_instances + j) * EDT_FOUND_TRUTH_COLUMNS;
}

static int64_t count_truth(const edt_batch *b, int64_t i)
{
    int64_t n = 0;
    for (int64_t j = 0; b->groundtruth != NULL && j < b->max_instances; ++j) {
        n += truth_row(b, i, j)[6] > -1.0F;
    }
    return n;
}

edt_status edt_found_write(edt_found *f, const edt_batch *b, const edt_detection *detections,
                           int64_t max_detections, edt_error *err)
{
    EDT_TRY(add_copy(f, &b->n_valid, sizeof b->n_valid, err));
    for (int64_t i = 0; i < b->n_valid; ++i) {
        const image_header header = {.source_id = b->source_ids[i],
                                     .n_detections = max_detections,
                                     .n_truth = count_truth(b, i)};
        uint8_t *piece = NULL;
        EDT_TRY(add_copy(f, &header, sizeof header, err));
        EDT_TRY(add_copy(f, detections + i * max_detections,
                         (size_t)max_detections * sizeof *detections, err));
        EDT_TRY(add_piece(f, (size_t)header.n_truth * TRUTH_ROW_BYTES, err, &piece));
        for (int64_t j = 0; header.n_truth > 0 && j < b->max_instances; ++j) {
            if (truth_row(b, i, j)[6] > -1.0F) {
                memcpy(piece, truth_row(b, i, j), TRUTH_ROW_BYTES);
                piece += TRUTH_ROW_BYTES;
            }
        }
    }
    return EDT_OK;
}

void edt_found_deinit(edt_found *found)
{
    edt_mem_free(found->bytes);
    *found = (edt_found){0};
}

void edt_found_reader_init(edt_found_reader *reader, const uint8_t *bytes, size_t n_bytes)
{
    *reader = (edt_found_reader){.at = bytes, .end = bytes + n_bytes};
}

bool edt_found_reader_has_more(const edt_found_reader *reader)
{
    return reader->at < reader->end;
}

static const void *take_piece(edt_found_reader *r, size_t n_bytes)
{
    const void *piece = r->at;
    r->at += padded(n_bytes);
    return piece;
}

int64_t edt_found_read_batch(edt_found_reader *r)
{
    int64_t n;
    memcpy(&n, take_piece(r, sizeof n), sizeof n);
    return n;
}

void edt_found_read_image(edt_found_reader *r, edt_found_image *out_image)
{
    image_header header;
    memcpy(&header, take_piece(r, sizeof header), sizeof header);
    *out_image = (edt_found_image){
        .source_id = header.source_id,
        .n_detections = header.n_detections,
        .n_truth = header.n_truth,
        .detections =
            take_piece(r, (size_t)header.n_detections * sizeof *out_image->detections),
        .truth = take_piece(r, (size_t)header.n_truth * TRUTH_ROW_BYTES),
    };
}
