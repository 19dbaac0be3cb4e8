// See coco_mask.h. Text is written by rle_mask.h and therefore known to be sound when it is
// unpacked again.
#include "eval/coco_mask.h"

#include <string.h>

#include "core/mem.h"
#include "dataio/coco_segmentation.h"

enum { CHUNK_BYTES = 1 << 16, ALIGN = 8 };

typedef struct edt_coco_mask_chunk {
    struct edt_coco_mask_chunk *next;
    size_t n_bytes, n_used;
    uint64_t bytes[];
} edt_coco_mask_chunk;

static edt_status no_memory(edt_error *err)
{
    EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for masks");
}

static void *take(edt_coco_mask_pool *pool, size_t n_bytes)
{
    n_bytes = (n_bytes + ALIGN - 1) / ALIGN * ALIGN;
    edt_coco_mask_chunk *chunk = pool->last;
    if (chunk == NULL || chunk->n_bytes - chunk->n_used < n_bytes) {
        const size_t wanted = n_bytes > CHUNK_BYTES ? n_bytes : CHUNK_BYTES;
        chunk = edt_mem_alloc(EDT_MEM_EVAL, sizeof *chunk + wanted);
        if (chunk == NULL) {
            return NULL;
        }
        chunk->next = NULL;
        chunk->n_bytes = wanted;
        chunk->n_used = 0;
        if (pool->last != NULL) {
            pool->last->next = chunk;
        } else {
            pool->first = chunk;
        }
        pool->last = chunk;
    }
    void *taken = (uint8_t *)chunk->bytes + chunk->n_used;
    chunk->n_used += n_bytes;
    return taken;
}

void edt_coco_mask_pool_join(edt_coco_mask_pool *pool, edt_coco_mask_pool *from)
{
    if (from->first == NULL) {
        return;
    }
    if (pool->last != NULL) {
        pool->last->next = from->first;
    } else {
        pool->first = from->first;
    }
    pool->last = from->last;
    *from = (edt_coco_mask_pool){0};
}

void edt_coco_mask_pool_deinit(edt_coco_mask_pool *pool)
{
    while (pool->first != NULL) {
        edt_coco_mask_chunk *next = pool->first->next;
        edt_mem_free(pool->first);
        pool->first = next;
    }
    pool->last = NULL;
}

static edt_status keep(edt_coco_mask_pool *pool, edt_arena *scratch, const edt_rle *rle,
                       edt_error *err, const edt_coco_mask **out_mask)
{
    edt_text text;
    EDT_TRY(edt_rle_to_text(rle, scratch, err, &text));
    edt_coco_mask *mask = take(pool, sizeof *mask + text.n_bytes);
    if (mask == NULL) {
        return no_memory(err);
    }
    int64_t box[4]; // ymin, xmin, ymax, xmax
    edt_rle_box(rle, box);
    *mask = (edt_coco_mask){
        .h = (uint32_t)rle->h,
        .w = (uint32_t)rle->w,
        .box = {(uint32_t)box[1], (uint32_t)box[0], (uint32_t)(box[3] - box[1]),
                (uint32_t)(box[2] - box[0])},
        .area = (uint32_t)edt_rle_area(rle),
        .n_bytes = (uint32_t)text.n_bytes,
    };
    memcpy(mask->text, text.data, text.n_bytes);
    *out_mask = mask;
    return EDT_OK;
}

edt_status edt_coco_mask_add(edt_coco_mask_pool *pool, edt_arena *scratch, const edt_rle *rle,
                             edt_error *err, const edt_coco_mask **out_mask)
{
    edt_rle checked;
    edt_arena_reset(scratch);
    EDT_TRY(edt_rle_from_counts(rle->counts, rle->n, rle->h, rle->w, err, &checked));
    return keep(pool, scratch, &checked, err, out_mask);
}

edt_status edt_coco_mask_read(edt_coco_mask_pool *pool, edt_arena *scratch, edt_span json,
                              int64_t height, int64_t width, edt_error *err,
                              const edt_coco_mask **out_mask)
{
    edt_rle rle;
    edt_arena_reset(scratch);
    EDT_TRY(edt_coco_segmentation_read_own((edt_text){(const char *)json.data, json.n_bytes},
                                           height, width, scratch, err, &rle));
    return keep(pool, scratch, &rle, err, out_mask);
}

edt_status edt_coco_mask_from_box(edt_coco_mask_pool *pool, edt_arena *scratch,
                                  const double xywh[4], int64_t height, int64_t width,
                                  edt_error *err, const edt_coco_mask **out_mask)
{
    edt_rle rle;
    edt_arena_reset(scratch);
    EDT_TRY(edt_rle_from_box(xywh, height, width, scratch, err, &rle));
    return keep(pool, scratch, &rle, err, out_mask);
}

edt_status edt_coco_mask_unpack(const edt_coco_mask *mask, edt_arena *arena, edt_error *err,
                                edt_coco_runs *out_runs)
{
    // A run of ones and the zeros before it have at least one byte each.
    uint32_t *at = edt_arena_alloc(arena, ((size_t)mask->n_bytes + 2) * sizeof *at);
    if (at == NULL) {
        return no_memory(err);
    }
    const uint8_t *p = (const uint8_t *)mask->text;
    const uint8_t *end = p + mask->n_bytes;
    uint32_t before[2] = {0, 0}; // the last run of each value; differences are to these
    uint32_t position = 0;
    size_t n = 0;
    while (p < end) {
        uint32_t x = 0;
        unsigned shift = 0, c;
        do {
            c = *p++ - 48u;
            x |= (c & 31u) << shift;
            shift += 5;
        } while ((c & 32u) != 0);
        if ((c & 16u) != 0 && shift < 32) {
            x |= UINT32_MAX << shift;
        }
        // Unsigned arithmetic wraps to the sum, which fits. The first three are no differences.
        x += n > 2 ? before[n & 1] : 0;
        before[n & 1] = x;
        position += x;
        at[n++] = position;
    }
    // Positions after runs of zeros and ones in turn are begins and ends of the ones.
    *out_runs = (edt_coco_runs){.n = n / 2, .at = at};
    return EDT_OK;
}

// The first run that ends after `position`.
static size_t skip_to(const edt_coco_runs *runs, uint32_t position)
{
    size_t low = 0, high = runs->n;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (runs->at[2 * middle + 1] <= position) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

uint32_t edt_coco_runs_common(const edt_coco_runs *a, const edt_coco_runs *b)
{
    if (a->n == 0 || b->n == 0) {
        return 0;
    }
    const uint32_t *p = a->at + 2 * skip_to(a, b->at[0]), *end_p = a->at + 2 * a->n;
    const uint32_t *q = b->at + 2 * skip_to(b, a->at[0]), *end_q = b->at + 2 * b->n;
    uint32_t common = 0;
    while (p < end_p && q < end_q) {
        const uint32_t begin = p[0] > q[0] ? p[0] : q[0];
        const bool p_ends_first = p[1] < q[1];
        const uint32_t end = p_ends_first ? p[1] : q[1];
        common += end > begin ? end - begin : 0;
        p += p_ends_first ? 2 : 0;
        q += p_ends_first ? 0 : 2;
    }
    return common;
}
