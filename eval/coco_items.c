// Pieces of a JSON array on several threads; see coco_items.h. Whatever is out of the ordinary
// (an error, a cut inside an item) ends in reading the array again from its beginning on one
// thread, which finds the right message.
#include "eval/coco_items.h"

#include <sys/mman.h>
#include <unistd.h>

#include "eval/coco_priv.h"

enum { PIECE_BYTES = 1 << 20 };

typedef struct piece {
    size_t begin, end; // of the text; items that begin before `end`
    size_t stop;       // where the first item of the next piece begins, or the array is left
    bool is_read;      // without error
    bool is_last;      // the array ended in it
    void *sink;
} piece;

typedef struct reader {
    const edt_coco_items_spec *spec;
    edt_span text;
    int64_t n_pieces;
    piece *pieces;
    uint8_t *sinks;
} reader;

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

// The first '{' after "}," from `at` on, or `n`.
static size_t find_item(const uint8_t *text, size_t at, size_t n)
{
    while (at < n) {
        const uint8_t *brace = memchr(text + at, '}', n - at);
        if (brace == NULL) {
            break;
        }
        at = (size_t)(brace - text) + 1;
        size_t p = at;
        while (p < n && is_blank(text[p])) {
            ++p;
        }
        if (p == n || text[p] != ',') {
            continue;
        }
        ++p;
        while (p < n && is_blank(text[p])) {
            ++p;
        }
        if (p < n && text[p] == '{') {
            return p;
        }
    }
    return n;
}

static edt_status read_items(const edt_coco_items_spec *spec, void *sink, edt_json_pull *pull,
                             size_t end, bool *out_is_last, edt_error *err)
{
    for (;;) {
        bool more;
        EDT_TRY(edt_json_pull_next_item(pull, err, &more));
        *out_is_last = !more;
        if (!more || edt_json_pull_tell(pull) >= end) {
            return EDT_OK;
        }
        EDT_TRY(spec->read(spec->ctx, sink, pull, err));
    }
}

static void give_back_pages(const reader *r, size_t begin, size_t end)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    const uintptr_t from = ((uintptr_t)r->text.data + begin + page - 1) / page * page;
    const uintptr_t to = ((uintptr_t)r->text.data + end) / page * page;
    if (from < to) {
        // Only advice: the pages of a read-only mapping come back from the file when needed.
        (void)madvise((void *)from, to - from,
                      MADV_DONTNEED); // NOLINT(performance-no-int-to-ptr)
    }
}

static edt_status read_pieces(void *ctx, int i_worker, int64_t begin, int64_t end,
                              edt_error *err)
{
    (void)i_worker;
    (void)err;
    const reader *r = ctx;
    for (int64_t i = begin; i < end; ++i) {
        piece *p = &r->pieces[i];
        edt_json_pull pull;
        edt_json_pull_init_items(
            &pull, (edt_span){r->text.data + p->begin, r->text.n_bytes - p->begin},
            (edt_json_pull_options){.allow_nan = r->spec->allow_nan});
        p->is_read =
            read_items(r->spec, p->sink, &pull, p->end - p->begin, &p->is_last, NULL) == EDT_OK;
        p->stop = p->begin + edt_json_pull_tell(&pull);
        edt_json_pull_deinit(&pull);
        if (r->spec->is_mapped) {
            give_back_pages(r, p->begin, p->end);
        }
    }
    return EDT_OK;
}

// The number of pieces that make up the array, or 0.
static int64_t count_valid(const reader *r)
{
    for (int64_t i = 0; i < r->n_pieces; ++i) {
        const piece *p = &r->pieces[i];
        if (!p->is_read) {
            return 0;
        }
        if (p->is_last) {
            return i + 1;
        }
        if (i + 1 == r->n_pieces || p->stop != r->pieces[i + 1].begin) {
            return 0;
        }
    }
    return 0;
}

static edt_status read_on_one_thread(edt_json_pull *pull, const edt_coco_items_spec *spec,
                                     edt_error *err)
{
    void *sink = edt_mem_calloc(EDT_MEM_EVAL, 1, spec->sink_bytes);
    if (sink == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for reading JSON items");
    }
    bool is_last = false;
    edt_status status = read_items(spec, sink, pull, SIZE_MAX, &is_last, err);
    if (status == EDT_OK) {
        status = spec->take(spec->ctx, sink, err);
    }
    spec->drop(sink);
    edt_mem_free(sink);
    return status;
}

static void cut(reader *r, size_t begin)
{
    size_t at = begin;
    int64_t n = 0;
    while (at < r->text.n_bytes) {
        const size_t end = r->text.n_bytes - at > PIECE_BYTES
                               ? find_item(r->text.data, at + PIECE_BYTES, r->text.n_bytes)
                               : r->text.n_bytes;
        r->pieces[n] = (piece){.begin = at, .end = end};
        r->pieces[n].sink = r->sinks + (size_t)n * r->spec->sink_bytes;
        at = end;
        ++n;
    }
    r->n_pieces = n;
}

edt_status edt_coco_items_read(edt_json_pull *pull, edt_span text,
                               const edt_coco_items_spec *spec, edt_error *err)
{
    const size_t begin = edt_json_pull_tell(pull);
    const size_t n_most = (text.n_bytes - begin) / PIECE_BYTES + 1;
    if (n_most < 3) {
        return read_on_one_thread(pull, spec, err);
    }
    edt_status status = EDT_OK;
    reader r = {.spec = spec, .text = text};
    r.pieces = edt_mem_calloc(EDT_MEM_EVAL, n_most, sizeof *r.pieces);
    r.sinks = edt_mem_calloc(EDT_MEM_EVAL, n_most, spec->sink_bytes);
    if (r.pieces == NULL || r.sinks == NULL) {
        status = edt_error_set(err, EDT_ERR_NOMEM, "no memory for reading JSON items");
        goto fail;
    }
    cut(&r, begin);
    EDT_TRY_GOTO(edt_coco_run_ranges(r.n_pieces, 1, spec->n_threads, read_pieces, &r, err));
    const int64_t n_valid = count_valid(&r);
    for (int64_t i = 0; i < n_valid; ++i) {
        EDT_TRY_GOTO(spec->take(spec->ctx, r.pieces[i].sink, err));
    }
    if (n_valid > 0) {
        edt_json_pull_end_array_at(pull, r.pieces[n_valid - 1].stop);
    } else {
        for (int64_t i = 0; i < r.n_pieces; ++i) {
            spec->drop(r.pieces[i].sink);
        }
        status = read_on_one_thread(pull, spec, err);
    }
fail:
    for (int64_t i = 0; i < r.n_pieces; ++i) {
        spec->drop(r.pieces[i].sink);
    }
    edt_mem_free(r.pieces);
    edt_mem_free(r.sinks);
    return status;
}

edt_status edt_coco_read_bbox(edt_json_pull *pull, edt_error *err, double bbox[4],
                              bool *out_is_empty)
{
    EDT_TRY(edt_json_pull_expect(pull, EDT_JSON_ARRAY_BEGIN, err));
    for (int i = 0;; ++i) {
        bool more;
        EDT_TRY(edt_json_pull_next_item(pull, err, &more));
        if (!more && i == 0 && out_is_empty != NULL) {
            *out_is_empty = true;
            return EDT_OK;
        }
        if (more != (i < 4)) {
            return edt_json_pull_fail(pull, EDT_ERR_FORMAT, err,
                                      "a bbox has four numbers: x, y, width, height");
        }
        if (!more) {
            return EDT_OK;
        }
        EDT_TRY(edt_json_pull_expect_f64(pull, err, &bbox[i]));
    }
}
