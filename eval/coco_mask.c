// See coco_mask.h. Text was written or read by rle_mask.h before it is kept, and therefore is
// known to be sound when it is unpacked again.
#include "eval/coco_mask.h"

#include <string.h>

#include "core/json_pull.h"
#include "core/mem.h"
#include "dataio/coco_segmentation.h"

// Chunks grow, for a list of one detection has a pool of its own.
enum { FIRST_CHUNK_BYTES = 1 << 10, CHUNK_BYTES = 1 << 16, ALIGN = 8, MOST_SIDE = 100000 };

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
        size_t wanted = chunk == NULL ? FIRST_CHUNK_BYTES : 2 * chunk->n_bytes;
        wanted = wanted < CHUNK_BYTES ? wanted : CHUNK_BYTES;
        wanted = wanted > n_bytes ? wanted : n_bytes;
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

// A place in a picture that is passed through column by column.
typedef struct place {
    uint32_t x, y;
} place;

// Goes `n` pixels on. Runs are mostly shorter than a column, and divisions slow.
static inline place go_on(place at, uint32_t n, uint32_t h)
{
    at.y += n;
    if (at.y >= h) {
        const uint32_t columns = at.y < 2 * h ? 1 : at.y / h;
        at.x += columns;
        at.y -= columns * h;
    }
    return at;
}

// Box and area of the mask, as pycocotools' toBbox and area.
static void measure(const edt_rle *rle, edt_coco_mask *mask)
{
    const uint32_t h = (uint32_t)rle->h;
    uint32_t left = UINT32_MAX, right = 0, top = UINT32_MAX, bottom = 0, area = 0;
    place at = {0, 0};
    for (size_t i = 0; i < rle->n; ++i) {
        const uint32_t n = rle->counts[i];
        if (i % 2 == 1 && n > 0) {
            const place last = go_on(at, n - 1, h);
            const bool is_one_column = last.x == at.x;
            const uint32_t first_y = is_one_column ? at.y : 0;
            const uint32_t last_y = is_one_column ? last.y : h - 1;
            left = at.x < left ? at.x : left;
            right = last.x; // rises
            top = first_y < top ? first_y : top;
            bottom = last_y > bottom ? last_y : bottom;
            area += n;
        }
        at = go_on(at, n, h);
    }
    mask->area = area;
    if (area > 0) {
        mask->box[0] = left;
        mask->box[1] = top;
        mask->box[2] = right - left + 1;
        mask->box[3] = bottom - top + 1;
    }
}

// `text`: of the mask, or empty: to be made.
static edt_status keep(edt_coco_mask_pool *pool, edt_arena *scratch, const edt_rle *rle,
                       edt_text text, edt_error *err, const edt_coco_mask **out_mask)
{
    if (text.n_bytes == 0) {
        EDT_TRY(edt_rle_to_text(rle, scratch, err, &text));
    }
    edt_coco_mask *mask = take(pool, sizeof *mask + text.n_bytes);
    if (mask == NULL) {
        return no_memory(err);
    }
    *mask = (edt_coco_mask){
        .h = (uint32_t)rle->h, .w = (uint32_t)rle->w, .n_bytes = (uint32_t)text.n_bytes};
    measure(rle, mask);
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
    return keep(pool, scratch, &checked, (edt_text){0}, err, out_mask);
}

// Drawing takes memory by the column; no picture that is one is larger.
static edt_status check_size(int64_t height, int64_t width, edt_error *err)
{
    if (height > MOST_SIDE || width > MOST_SIDE) {
        EDT_FAIL(
            err, EDT_ERR_INVALID,
            "image of %lld x %lld pixels (height x width): masks are drawn on up to %d x %d",
            (long long)height, (long long)width, MOST_SIDE, MOST_SIDE);
    }
    return EDT_OK;
}

// {"size": [h, w], "counts": "..."}, the form of result files, whose text can be kept as it is.
// False for all else, whatever it is.
static bool read_compressed(edt_span json, edt_arena *scratch, edt_rle *out_rle,
                            edt_text *out_text)
{
    edt_json_pull pull;
    int64_t size[2] = {0, 0};
    edt_text text = {0};
    edt_json_pull_init(&pull, json, (edt_json_pull_options){.arena = scratch});
    bool ok = json.n_bytes > 0 && json.data[0] == '{' &&
              edt_json_pull_expect(&pull, EDT_JSON_OBJECT_BEGIN, NULL) == EDT_OK;
    while (ok) {
        edt_text key;
        bool more;
        ok = edt_json_pull_next_key(&pull, NULL, &key, &more) == EDT_OK;
        if (!ok || !more) {
            break;
        }
        if (edt_text_is(key, "counts")) {
            ok = edt_json_pull_expect_text(&pull, NULL, &text) == EDT_OK;
        } else if (edt_text_is(key, "size")) {
            ok = edt_json_pull_expect(&pull, EDT_JSON_ARRAY_BEGIN, NULL) == EDT_OK;
            for (int i = 0; i < 3 && ok; ++i) {
                ok = edt_json_pull_next_item(&pull, NULL, &more) == EDT_OK && more == (i < 2) &&
                     (i == 2 || edt_json_pull_expect_i64(&pull, NULL, &size[i]) == EDT_OK);
            }
        } else {
            ok = false;
        }
    }
    edt_json_pull_deinit(&pull);
    *out_text = text;
    return ok && text.n_bytes > 0 && text.n_bytes < UINT32_MAX &&
           edt_rle_from_text(text, size[0], size[1], scratch, NULL, out_rle) == EDT_OK;
}

edt_status edt_coco_mask_read(edt_coco_mask_pool *pool, edt_arena *scratch, edt_span json,
                              int64_t height, int64_t width, edt_error *err,
                              const edt_coco_mask **out_mask)
{
    edt_rle rle;
    edt_text text;
    edt_arena_reset(scratch);
    if (read_compressed(json, scratch, &rle, &text)) {
        return keep(pool, scratch, &rle, text, err, out_mask);
    }
    EDT_TRY(check_size(height, width, err));
    edt_arena_reset(scratch);
    EDT_TRY(edt_coco_segmentation_read_own((edt_text){(const char *)json.data, json.n_bytes},
                                           height, width, scratch, err, &rle));
    return keep(pool, scratch, &rle, (edt_text){0}, err, out_mask);
}

edt_status edt_coco_mask_from_box(edt_coco_mask_pool *pool, edt_arena *scratch,
                                  const double xywh[4], int64_t height, int64_t width,
                                  edt_error *err, const edt_coco_mask **out_mask)
{
    edt_rle rle;
    EDT_TRY(check_size(height, width, err));
    edt_arena_reset(scratch);
    EDT_TRY(edt_rle_from_box(xywh, height, width, scratch, err, &rle));
    return keep(pool, scratch, &rle, (edt_text){0}, err, out_mask);
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
        // A reader allows up to twelve digits of a number.
        uint64_t wide = 0;
        unsigned shift = 0, c;
        do {
            c = *p++ - 48u;
            wide |= (uint64_t)(c & 31u) << shift;
            shift += 5;
        } while ((c & 32u) != 0);
        if ((c & 16u) != 0) {
            wide |= UINT64_MAX << shift;
        }
        // Unsigned arithmetic wraps to the sum, which fits. The first three are no differences.
        const uint32_t x = (uint32_t)wide + (n > 2 ? before[n & 1] : 0);
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
