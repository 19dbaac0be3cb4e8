// See sample_mask.h. Objects are painted from the largest to the smallest; a mask is decoded in
// bands, of which only the rows that the result has are looked at.
#include "dataio/sample_mask.h"

#include <inttypes.h>
#include <stdlib.h>

// Objects in the order of painting.
typedef struct layer {
    float area;
    bool is_crowd;
    int64_t number;
} layer;

typedef struct painter {
    int64_t mask_h, mask_w;
    const int64_t *row_of,
        *column_of; // of the picture, by row and column of the mask; -1: none
    int64_t next;   // row of the mask
    int32_t value;
    int32_t *mask;
} painter;

static int by_size(const void *a, const void *b)
{
    const layer *x = a, *y = b;
    if (x->is_crowd != y->is_crowd) {
        return x->is_crowd ? -1 : 1;
    }
    if (x->area > y->area || x->area < y->area) {
        return x->area > y->area ? -1 : 1;
    }
    return x->number < y->number ? -1 : 1;
}

// Of one axis: the source pixel under the centre of each of n_mask pixels that cover n_canvas.
static int64_t *find_sources(int64_t n_mask, int64_t n_canvas, int64_t n_valid, int64_t offset,
                             int64_t n_scaled, int64_t n_picture, bool flipped,
                             edt_arena *arena)
{
    int64_t *source = edt_arena_calloc(arena, (size_t)n_mask, sizeof *source);
    for (int64_t i = 0; source != NULL && i < n_mask; ++i) {
        const double centre = ((double)i + 0.5) * (double)n_canvas / (double)n_mask;
        const double at = (centre + (double)offset) * (double)n_picture / (double)n_scaled;
        const int64_t pixel = (int64_t)at < n_picture ? (int64_t)at : n_picture - 1;
        source[i] = centre >= (double)n_valid ? -1 : flipped ? n_picture - 1 - pixel : pixel;
    }
    return source;
}

static edt_status take_rows(void *ctx, int64_t y, const edt_image *rows, edt_error *err)
{
    (void)err;
    painter *p = ctx;
    for (; p->next < p->mask_h && p->row_of[p->next] < y + rows->h; ++p->next) {
        const int64_t row = p->row_of[p->next];
        for (int64_t i = 0; row >= y && i < p->mask_w; ++i) {
            const int64_t column = p->column_of[i];
            if (column >= 0 && rows->data[(row - y) * rows->stride + 3 * column] != 0) {
                p->mask[p->next * p->mask_w + i] = p->value;
            }
        }
    }
    return EDT_OK;
}

static edt_status paint(painter *p, edt_span png, const edt_sample_place *place,
                        edt_image_decoder *decoder, edt_error *err)
{
    int64_t h, w, n_rows = 0;
    for (int64_t i = 0; i < p->mask_h; ++i) {
        n_rows = p->row_of[i] >= n_rows ? p->row_of[i] + 1 : n_rows;
    }
    EDT_TRY(edt_image_open(decoder, png, err, &h, &w));
    if (h != place->h || w != place->w) {
        EDT_FAIL(err, EDT_ERR_FORMAT,
                 "%" PRId64 "x%" PRId64 " pixels for a picture of %" PRId64 "x%" PRId64, w, h,
                 place->w, place->h);
    }
    const edt_row_sink sink = {.take = take_rows, .ctx = p};
    p->next = 0;
    return edt_image_decode_rows(decoder, n_rows, &sink, err);
}

static edt_status order_layers(const edt_example *example, edt_arena *arena, edt_error *err,
                               layer **out_layers)
{
    layer *layers = edt_arena_calloc(arena, (size_t)example->n_boxes + 1, sizeof *layers);
    if (layers == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %" PRId64 " masks", example->n_boxes);
    }
    for (int64_t i = 0; i < example->n_boxes; ++i) {
        layers[i] = (layer){example->area[i], example->is_crowd[i], i};
    }
    qsort(layers, (size_t)example->n_boxes, sizeof *layers, by_size);
    *out_layers = layers;
    return EDT_OK;
}

edt_status edt_sample_mask_make(const edt_preprocess_config *config, const edt_example *example,
                                const edt_sample_place *place, edt_image_decoder *decoder,
                                edt_arena *arena, edt_error *err, int32_t *out_mask)
{
    if (example->n_boxes > 0 && example->n_masks == 0) {
        EDT_FAIL(err, EDT_ERR_INVALID,
                 "%" PRId64
                 " objects and no image/object/mask: a segmentation head learns from masks; "
                 "convert with --include_masks",
                 example->n_boxes);
    }
    const edt_scale_params *s = place->scale;
    painter p = {.mask_h = config->mask_h, .mask_w = config->mask_w, .mask = out_mask};
    p.row_of = find_sources(p.mask_h, s->out_h, edt_scale_valid_h(s), s->offset_y, s->scaled_h,
                            place->h, false, arena);
    p.column_of = find_sources(p.mask_w, s->out_w, edt_scale_valid_w(s), s->offset_x,
                               s->scaled_w, place->w, place->flipped, arena);
    layer *layers = NULL;
    EDT_TRY(order_layers(example, arena, err, &layers));
    if (p.row_of == NULL || p.column_of == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for a mask of %" PRId64 "x%" PRId64, p.mask_w,
                 p.mask_h);
    }
    for (int64_t i = 0; i < p.mask_h * p.mask_w; ++i) {
        const bool inside = p.row_of[i / p.mask_w] >= 0 && p.column_of[i % p.mask_w] >= 0;
        out_mask[i] = inside ? 0 : EDT_MASK_IGNORED;
    }
    for (int64_t i = 0; i < example->n_boxes; ++i) {
        const int64_t number = layers[i].number;
        const int64_t label = example->labels[number];
        const bool counts = !layers[i].is_crowd && label > 0 && label < config->mask_classes;
        p.value = counts ? (int32_t)label : EDT_MASK_IGNORED;
        EDT_TRY_CTX(paint(&p, example->masks[number], place, decoder, err), err,
                    "key 'image/object/mask', value %" PRId64, number);
    }
    return EDT_OK;
}
