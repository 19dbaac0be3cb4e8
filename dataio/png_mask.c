// See png_mask.h. A general compressor looks at every pixel; a mask is known by its runs, so
// the writer makes the deflate stream (RFC 1951) from these: one block with a fixed choice of
// codes in which a run is a literal and a copy of the byte before. Reading is libpng's.
#include "dataio/png_mask.h"

#include <inttypes.h>
#include <png.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

enum { MAX_COPY = 258, MIN_COPY = 3, LENGTH_258 = 285, END_OF_BLOCK = 256, N_SYMBOLS = 286 };
static const int64_t max_decoded_pixels = (int64_t)1 << 29;

static edt_status fail_memory(edt_error *err)
{
    EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the PNG of a mask");
}

// Where the value changes along the rows.
typedef struct toggles {
    uint32_t *row, *column; // pairs by column
    size_t n, capacity;
} toggles;

static bool add_toggles(toggles *t, int64_t y0, int64_t y1, int64_t x, edt_arena *arena)
{
    const size_t n = t->n + (size_t)(y1 - y0);
    if (n > t->capacity) {
        const size_t capacity = 2 * n + 1024;
        uint32_t *grown = edt_arena_alloc(arena, 2 * capacity * sizeof *grown);
        if (grown == NULL) {
            return false;
        }
        if (t->n > 0) {
            memcpy(grown, t->row, t->n * sizeof *grown);
            memcpy(grown + capacity, t->column, t->n * sizeof *grown);
        }
        *t = (toggles){grown, grown + capacity, t->n, capacity};
    }
    for (int64_t y = y0; y < y1; ++y) {
        t->row[t->n] = (uint32_t)y;
        t->column[t->n++] = (uint32_t)x;
    }
    return true;
}

// The borders of the runs of ones inside one column: y0,y1,y0,y1...
typedef struct column {
    uint32_t *border;
    size_t n;
} column;

// Walks the runs of a mask column by column.
typedef struct walker {
    const edt_rle *mask;
    size_t i;      // run
    int64_t begin; // of run i, position in the mask
} walker;

static void read_column(walker *w, int64_t x, column *out)
{
    const int64_t h = w->mask->h;
    const int64_t first = x * h;
    const int64_t end = first + h;
    out->n = 0;
    while (w->i < w->mask->n && w->begin < end) {
        const int64_t run_end = w->begin + w->mask->counts[w->i];
        if (w->i % 2 == 1 && run_end > w->begin && run_end > first) {
            const uint32_t from = (uint32_t)(w->begin > first ? w->begin - first : 0);
            const uint32_t to = (uint32_t)(run_end < end ? run_end - first : h);
            if (out->n > 0 && out->border[out->n - 1] == from) {
                out->border[out->n - 1] = to;
            } else {
                out->border[out->n++] = from;
                out->border[out->n++] = to;
            }
        }
        if (run_end > end) {
            break; // it goes on in the next column
        }
        w->begin = run_end;
        ++w->i;
    }
}

// Where column x differs from the one before it: the borders that only one of them has delimit
// the rows.
static bool compare_columns(const column *before, const column *here, int64_t x, toggles *out,
                            edt_arena *arena)
{
    size_t i = 0;
    size_t k = 0;
    bool inside = false;
    uint32_t from = 0;
    while (i < before->n || k < here->n) {
        uint32_t y;
        if (k == here->n || (i < before->n && before->border[i] < here->border[k])) {
            y = before->border[i++];
        } else if (i == before->n || here->border[k] < before->border[i]) {
            y = here->border[k++];
        } else {
            ++i;
            ++k;
            continue;
        }
        if (inside && !add_toggles(out, from, y, x, arena)) {
            return false;
        }
        from = y;
        inside = !inside;
    }
    return true;
}

static bool find_toggles(const edt_rle *mask, toggles *out, edt_arena *arena)
{
    const size_t n_borders = (size_t)mask->h + 2;
    uint32_t *borders = edt_arena_alloc(arena, 2 * n_borders * sizeof *borders);
    if (borders == NULL) {
        return false;
    }
    column columns[2] = {{borders, 0}, {borders + n_borders, 0}};
    walker w = {.mask = mask};
    for (int64_t x = 0; x < mask->w; ++x) {
        column *before = &columns[x % 2];
        column *here = &columns[1 - x % 2];
        read_column(&w, x, here);
        if (!compare_columns(before, here, x, out, arena)) {
            return false;
        }
    }
    return true;
}

// Columns of the toggles of each row: those of row y are column[start[y]] to start[y + 1].
typedef struct rows {
    uint32_t *start, *column;
} rows;

static bool sort_by_row(const toggles *t, int64_t h, edt_arena *arena, rows *out)
{
    uint32_t *start = edt_arena_calloc(arena, (size_t)h + 2, sizeof *start);
    uint32_t *sorted = edt_arena_alloc(arena, (t->n + 1) * sizeof *sorted);
    if (start == NULL || sorted == NULL) {
        return false;
    }
    for (size_t i = 0; i < t->n; ++i) {
        ++start[t->row[i] + 2];
    }
    for (int64_t y = 2; y < h + 2; ++y) {
        start[y] += start[y - 1];
    }
    for (size_t i = 0; i < t->n; ++i) {
        sorted[start[t->row[i] + 1]++] = t->column[i];
    }
    *out = (rows){start, sorted};
    return true;
}

typedef struct deflater {
    uint8_t *out;
    size_t n;
    uint64_t bits;
    unsigned n_bits;
    uint16_t code[N_SYMBOLS];
    uint8_t code_bits[N_SYMBOLS];
    // The run at hand.
    unsigned value;
    uint64_t length;
    uint64_t adler_a, adler_b;
} deflater;

static void put_bits(deflater *d, unsigned bits, unsigned n)
{
    d->bits |= (uint64_t)bits << d->n_bits;
    d->n_bits += n;
    while (d->n_bits >= 8) {
        d->out[d->n++] = (uint8_t)d->bits;
        d->bits >>= 8;
        d->n_bits -= 8;
    }
}

static void put_symbol(deflater *d, unsigned symbol)
{
    put_bits(d, d->code[symbol], d->code_bits[symbol]);
}

// Huffman codes go out from their highest bit.
static unsigned reverse(unsigned code, unsigned n)
{
    unsigned reversed = 0;
    for (unsigned i = 0; i < n; ++i) {
        reversed |= (code >> i & 1) << (n - 1 - i);
    }
    return reversed;
}

// Canonical codes (RFC 1951, 3.2.2) for lengths up to 7.
static void assign_codes(const uint8_t *lengths, size_t n, uint16_t *out_codes)
{
    unsigned code = 0;
    for (unsigned bits = 1; bits <= 7; ++bits) {
        for (size_t i = 0; i < n; ++i) {
            if (lengths[i] == bits) {
                out_codes[i] = (uint16_t)reverse(code++, bits);
            }
        }
        code <<= 1;
    }
}

static unsigned length_of_symbol(unsigned symbol)
{
    // The background is one long run, so copies of 258 have the shortest code; the commonest
    // widths of objects follow.
    switch (symbol) {
    case LENGTH_258: return 2;
    case 0:
    case 1: return 3;
    case 273:
    case 275:
    case 277: return 5;
    default: return symbol >= END_OF_BLOCK ? 6 : 0;
    }
}

// The block's header says which code lengths it uses (RFC 1951, 3.2.7).
static void begin_block(deflater *d)
{
    enum { N_CODE_LENGTHS = 19, ZEROS = 18 };
    static const uint8_t order[18] = {16, 17, 18, 0,  8, 7,  9, 6,  10,
                                      5,  11, 4,  12, 3, 13, 2, 14, 1};
    static const uint8_t lengths[N_CODE_LENGTHS] = {
        [6] = 1, [5] = 3, [3] = 3, [ZEROS] = 3, [2] = 4, [1] = 4};
    uint16_t codes[N_CODE_LENGTHS] = {0};
    assign_codes(lengths, N_CODE_LENGTHS, codes);
    for (unsigned i = 0; i < N_SYMBOLS; ++i) {
        d->code_bits[i] = (uint8_t)length_of_symbol(i);
    }
    assign_codes(d->code_bits, N_SYMBOLS, d->code);
    put_bits(d, 1, 1);                // the last block
    put_bits(d, 2, 2);                // with codes of its own
    put_bits(d, N_SYMBOLS - 257, 5);  // literals and lengths
    put_bits(d, 0, 5);                // one distance
    put_bits(d, sizeof order - 4, 4); // code lengths of the code lengths
    for (size_t i = 0; i < sizeof order; ++i) {
        put_bits(d, lengths[order[i]], 3);
    }
    for (unsigned i = 0; i <= N_SYMBOLS; ++i) {
        if (i == 2) { // no literals 2 to 255
            put_bits(d, codes[ZEROS], lengths[ZEROS]);
            put_bits(d, 138 - 11, 7);
            put_bits(d, codes[ZEROS], lengths[ZEROS]);
            put_bits(d, 254 - 138 - 11, 7);
            i = END_OF_BLOCK;
        }
        const unsigned n = i < N_SYMBOLS ? d->code_bits[i] : 1; // the distance: 1
        put_bits(d, codes[n], lengths[n]);
    }
}

static void put_copy(deflater *d, unsigned length)
{
    if (length == MAX_COPY) {
        put_symbol(d, LENGTH_258);
    } else if (length <= 10) {
        put_symbol(d, 257 + length - MIN_COPY);
    } else {
        // Groups of four symbols with one more extra bit each (RFC 1951, 3.2.5).
        const unsigned above = length - MIN_COPY;
        const unsigned extra = 29 - (unsigned)__builtin_clz(above);
        put_symbol(d, 261 + 4 * extra + (above >> extra & 3));
        put_bits(d, above & ((1u << extra) - 1), extra);
    }
    put_bits(d, 0, 1); // the distance
}

static void end_run(deflater *d)
{
    static const uint64_t modulus = 65521;
    const uint64_t n = d->length;
    if (n == 0) {
        return;
    }
    // Adler-32 of n equal bytes in one step; n is below 2^32.
    const uint64_t sum = (n % modulus) * ((n + 1) % modulus) % modulus;
    const uint64_t half = sum * ((modulus + 1) / 2) % modulus;
    d->adler_b = (d->adler_b + (n % modulus) * d->adler_a + d->value * half) % modulus;
    d->adler_a = (d->adler_a + d->value * n) % modulus;
    put_symbol(d, d->value);
    uint64_t left = n - 1;
    for (; left >= MAX_COPY; left -= MAX_COPY) {
        put_copy(d, MAX_COPY);
    }
    if (left >= MIN_COPY) {
        put_copy(d, (unsigned)left);
    } else {
        for (; left > 0; --left) {
            put_symbol(d, d->value);
        }
    }
    d->length = 0;
}

static void add_run(deflater *d, unsigned value, uint64_t length)
{
    if (length > 0 && value != d->value) {
        end_run(d);
        d->value = value;
    }
    d->length += length;
}

static void put_u32(uint8_t *out, uint32_t value)
{
    for (int i = 0; i < 4; ++i) {
        out[i] = (uint8_t)(value >> (24 - 8 * i));
    }
}

// Length, name, data (there already) and CRC of a chunk; returns its size.
static size_t close_chunk(uint8_t *chunk, const char name[4], size_t n_data)
{
    put_u32(chunk, (uint32_t)n_data);
    memcpy(chunk + 4, name, 4);
    put_u32(chunk + 8 + n_data, (uint32_t)crc32(0, chunk + 4, (uInt)(n_data + 4)));
    return n_data + 12;
}

edt_status edt_png_mask_encode(const edt_rle *mask, edt_arena *arena, edt_error *err,
                               edt_span *out_png)
{
    static const uint8_t signature[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n'};
    const int64_t h = mask->h;
    const int64_t w = mask->w;
    toggles changes = {0};
    rows by_row;
    if (!find_toggles(mask, &changes, arena) || !sort_by_row(&changes, h, arena, &by_row)) {
        return fail_memory(err);
    }
    // At most 3 bytes for each of the runs that a toggle or a row begins, and 3 bits per 258.
    const size_t n_max =
        256 + 3 * (2 * changes.n + 2 * (size_t)h) + (size_t)(h * (w + 1)) / 600;
    uint8_t *png = edt_arena_alloc(arena, n_max);
    if (png == NULL) {
        return fail_memory(err);
    }
    memcpy(png, signature, sizeof signature);
    size_t n = sizeof signature;
    put_u32(png + n + 8, (uint32_t)w);
    put_u32(png + n + 12, (uint32_t)h);
    memcpy(png + n + 16, "\x08\0\0\0", 5); // 8 bits, gray, deflate, filters, not interlaced
    n += close_chunk(png + n, "IHDR", 13);
    deflater d = {.out = png + n + 8, .adler_a = 1};
    put_bits(&d, 0x78, 8);
    put_bits(&d, 0x01, 8);
    begin_block(&d);
    for (int64_t y = 0; y < h; ++y) {
        add_run(&d, 0, 1); // the row's filter: none
        uint32_t x = 0;
        unsigned value = 0;
        for (uint32_t i = by_row.start[y]; i < by_row.start[y + 1]; ++i) {
            add_run(&d, value, by_row.column[i] - x);
            x = by_row.column[i];
            value = 1 - value;
        }
        add_run(&d, value, (uint64_t)w - x);
    }
    end_run(&d);
    put_symbol(&d, END_OF_BLOCK);
    put_bits(&d, 0, (8 - d.n_bits) % 8);
    put_u32(d.out + d.n, (uint32_t)(d.adler_b << 16 | d.adler_a));
    n += close_chunk(png + n, "IDAT", d.n + 4);
    n += close_chunk(png + n, "IEND", 0);
    *out_png = (edt_span){png, n};
    return EDT_OK;
}

typedef struct source {
    edt_span bytes;
    size_t at;
    char words[160];
    jmp_buf jump;
} source;

static void read_bytes(png_structp png, png_bytep out, size_t n)
{
    source *s = png_get_io_ptr(png);
    if (n > s->bytes.n_bytes - s->at) {
        png_error(png, "the data end early");
    }
    memcpy(out, s->bytes.data + s->at, n);
    s->at += n;
}

static void on_error(png_structp png, const char *words)
{
    source *s = png_get_error_ptr(png);
    (void)snprintf(s->words, sizeof s->words, "%s", words);
    longjmp(s->jump, 1);
}

static void on_warning(png_structp png, const char *words)
{
    (void)png;
    (void)words;
}

// What stays the same between setjmp and a longjmp back to it.
typedef struct decoding {
    source source;
    png_structp png;
    png_infop info;
    uint8_t *pixels;
    png_bytep *rows;
    png_uint_32 h, w;
} decoding;

static edt_status decode(decoding *d, edt_arena *arena, edt_error *err)
{
    int depth = 0;
    int colour = 0;
    if (setjmp(d->source.jump) != 0) {
        EDT_FAIL(err, EDT_ERR_FORMAT, "PNG: %s", d->source.words);
    }
    png_set_read_fn(d->png, &d->source, read_bytes);
    png_read_info(d->png, d->info);
    (void)png_get_IHDR(d->png, d->info, &d->w, &d->h, &depth, &colour, NULL, NULL, NULL);
    if (colour != PNG_COLOR_TYPE_GRAY) {
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED, "PNG of %s: a mask is grayscale without alpha",
                 colour == PNG_COLOR_TYPE_GRAY_ALPHA ? "gray and alpha" : "colours");
    }
    if ((int64_t)d->h * (int64_t)d->w > max_decoded_pixels) {
        EDT_FAIL(err, EDT_ERR_INVALID, "PNG of %u x %u pixels: more than 2^29", d->h, d->w);
    }
    png_set_expand_gray_1_2_4_to_8(d->png);
    png_set_strip_16(d->png);
    (void)png_set_interlace_handling(d->png);
    png_read_update_info(d->png, d->info);
    d->pixels = edt_arena_alloc(arena, (size_t)d->h * d->w);
    d->rows = edt_arena_alloc(arena, d->h * sizeof *d->rows);
    if (d->pixels == NULL || d->rows == NULL) {
        return fail_memory(err);
    }
    for (png_uint_32 y = 0; y < d->h; ++y) {
        d->rows[y] = d->pixels + (size_t)y * d->w;
    }
    png_read_image(d->png, d->rows);
    png_read_end(d->png, NULL);
    return EDT_OK;
}

edt_status edt_png_mask_decode(edt_span png, edt_arena *arena, edt_error *err, int64_t *out_h,
                               int64_t *out_w, const uint8_t **out_pixels)
{
    decoding d = {.source = {.bytes = png}};
    d.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &d.source, on_error, on_warning);
    d.info = d.png != NULL ? png_create_info_struct(d.png) : NULL;
    const edt_status status = d.info != NULL ? decode(&d, arena, err) : fail_memory(err);
    png_destroy_read_struct(&d.png, &d.info, NULL);
    if (status == EDT_OK) {
        *out_h = d.h;
        *out_w = d.w;
        *out_pixels = d.pixels;
    }
    return status;
}

const char *edt_png_mask_library_version(void)
{
    return png_get_libpng_ver(NULL);
}
