// Pictures of every format out of arbitrary bytes: no overrun, no hang, an error with words or
// a picture; the same one from a decoder that has seen other data, in bands, and (turned) with
// the EXIF orientation applied. PNGs run once more with their CRCs set right, so that the bytes
// behind them are reached. A window of the picture has the same levels when no others are
// asked for.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"
#include "dataio/image_decode.h"
#include "dataio/jpeg_encode.h"
#include "dataio/jpeg_probe.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
size_t edt_fuzz_seed(int i, uint8_t *out, size_t cap);

enum { MAX_PIXELS = 1 << 18 };

static void fail(const char *words)
{
    (void)fprintf(stderr, "%s\n", words);
    abort();
}

typedef struct sums {
    int64_t all, prefix; // of all levels, and of those in the first n_prefix rows
    int64_t n_rows, n_prefix;
    int64_t h, w;
} sums;

static void add_rows(sums *s, int64_t y, const edt_image *rows)
{
    if (y != s->n_rows || rows->w != s->w || rows->h < 1 || y + rows->h > s->h) {
        fail("rows out of order");
    }
    for (int64_t i = 0; i < rows->h; ++i, ++s->n_rows) {
        int64_t sum = 0;
        for (int64_t x = 0; x < 3 * rows->w; ++x) {
            sum += rows->data[i * rows->stride + x];
        }
        s->all += sum;
        s->prefix += s->n_rows < s->n_prefix ? sum * (s->n_rows + 1) : 0;
    }
}

static edt_status take(void *ctx, int64_t y, const edt_image *rows, edt_error *err)
{
    (void)err;
    add_rows(ctx, y, rows);
    return EDT_OK;
}

// Decodes n_rows, in bands or not.
static edt_status decode(edt_image_decoder *decoder, edt_span bytes, int64_t n_rows, bool bands,
                         sums *out)
{
    edt_error err = {0};
    edt_image image;
    *out = (sums){.n_prefix = 3};
    edt_status status = edt_image_open(decoder, bytes, &err, &out->h, &out->w);
    if (status == EDT_OK && out->h * out->w > MAX_PIXELS) {
        return EDT_END; // legal, but too slow for thousands of runs
    }
    if (status == EDT_OK && bands) {
        const edt_row_sink sink = {take, out};
        status = edt_image_decode_rows(decoder, n_rows, &sink, &err);
    } else if (status == EDT_OK) {
        status = edt_image_decode(decoder, n_rows, &err, &image);
        if (status == EDT_OK) {
            if (image.h != out->h || image.w != out->w) {
                fail("the picture has another size than its header");
            }
            image.h = n_rows < 1 || n_rows > image.h ? image.h : n_rows;
            add_rows(out, 0, &image);
        }
    }
    if (status != EDT_OK && err.text[0] == '\0') {
        fail("an error without words");
    }
    return status;
}

// The levels of one window, of the whole picture or with the decoder's attention on it.
typedef struct window_sum {
    edt_image_window window;
    int64_t sum, n_rows;
} window_sum;

static edt_status take_window(void *ctx, int64_t y, const edt_image *rows, edt_error *err)
{
    window_sum *s = ctx;
    (void)err;
    for (int64_t i = 0; i < rows->h; ++i) {
        const int64_t row = y + i - s->window.y;
        if (row < 0 || row >= s->window.h) {
            continue;
        }
        if (row != s->n_rows++) {
            fail("rows of the window out of order");
        }
        for (int64_t x = 3 * s->window.x; x < 3 * (s->window.x + s->window.w); ++x) {
            s->sum += (row + 1) * rows->data[i * rows->stride + x];
        }
    }
    return EDT_OK;
}

static void look_at_window(edt_image_decoder *decoder, edt_span bytes, edt_status want)
{
    window_sum of[2];
    for (int focused = 0; focused < 2; ++focused) {
        window_sum *s = &of[focused];
        const edt_row_sink sink = {take_window, s};
        edt_error err = {0};
        int64_t h, w;
        *s = (window_sum){0};
        edt_status status = edt_image_open(decoder, bytes, &err, &h, &w);
        if (status == EDT_OK) {
            s->window = (edt_image_window){.y = h - 1 - h / 9, .x = w / 2, .h = 1 + h / 9};
            s->window.w = 1 + w / 9;
            if (focused == 1) {
                edt_image_focus(decoder, &s->window);
            }
            status = edt_image_decode_rows(decoder, 0, &sink, &err);
        }
        if (status != want || (status == EDT_OK && s->n_rows != s->window.h)) {
            fail("a window ends in another way than the picture");
        }
    }
    if (want == EDT_OK && of[0].sum != of[1].sum) {
        fail("a window of the picture has other levels");
    }
}

static void run(edt_span bytes)
{
    static edt_image_decoder *used, *turning;
    static const edt_image_decoder_options turn = {.exif_rotate = true};
    edt_image_decoder *fresh = NULL;
    if ((used == NULL && (edt_image_decoder_create(NULL, NULL, &used) != EDT_OK ||
                          edt_image_decoder_create(&turn, NULL, &turning) != EDT_OK)) ||
        edt_image_decoder_create(NULL, NULL, &fresh) != EDT_OK) {
        abort();
    }
    sums want, got;
    const edt_status status = decode(used, bytes, 0, false, &want);
    if (status != EDT_END) {
        if (decode(fresh, bytes, 0, false, &got) != status ||
            (status == EDT_OK && (got.all != want.all || got.prefix != want.prefix))) {
            fail("an earlier picture changed this one");
        }
        if (decode(used, bytes, 0, true, &got) != status ||
            (status == EDT_OK && (got.all != want.all || got.prefix != want.prefix))) {
            fail("bands give another picture");
        }
        if (decode(turning, bytes, 0, false, &got) != status ||
            (status == EDT_OK && got.all != want.all)) {
            fail("turning changed more than the places of pixels");
        }
        look_at_window(used, bytes, status);
        for (int bands = 0; bands < 2; ++bands) {
            const edt_status part = decode(used, bytes, 3, bands == 1, &got);
            const bool may_differ = edt_image_format_of(bytes) == EDT_IMAGE_JPEG;
            if ((part != status && (status == EDT_OK || !may_differ)) ||
                (status == EDT_OK && got.prefix != want.prefix)) {
                fail("the first rows are others when no more are wanted");
            }
        }
    }
    edt_image_decoder_destroy(fresh);
}

static uint32_t crc_of(const uint8_t *data, size_t n)
{
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < n; ++i) {
        crc ^= data[i];
        for (int k = 0; k < 8; ++k) {
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
        }
    }
    return ~crc;
}

static void put32(uint8_t *out, uint32_t value)
{
    for (int i = 0; i < 4; ++i) {
        out[i] = (uint8_t)(value >> (24 - 8 * i));
    }
}

static void mend_crcs(uint8_t *png, size_t n)
{
    size_t at = 8;
    while (n - at >= 12) {
        const size_t n_data = (size_t)png[at] << 24 | (size_t)png[at + 1] << 16 |
                              (size_t)png[at + 2] << 8 | png[at + 3];
        if (n_data > n - at - 12) {
            break;
        }
        put32(png + at + 8 + n_data, crc_of(png + at + 4, n_data + 4));
        at += 12 + n_data;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const edt_span bytes = {data, n};
    run(bytes);
    if (edt_image_format_of(bytes) == EDT_IMAGE_PNG) {
        uint8_t *mended = malloc(n);
        if (mended == NULL) {
            abort();
        }
        memcpy(mended, data, n);
        mend_crcs(mended, n);
        run((edt_span){mended, n});
        free(mended);
    }
    return 0;
}

static size_t put_chunk(uint8_t *out, const char *name, const uint8_t *data, size_t n)
{
    put32(out, (uint32_t)n);
    memcpy(out + 4, name, 4);
    memcpy(out + 8, data, n);
    put32(out + 8 + n, crc_of(out + 4, n + 4));
    return n + 12;
}

// Stored (not packed) rows. All bytes are below 5, so that each may be a row's filter.
static size_t make_png(uint8_t depth, uint8_t colour, bool interlaced, uint8_t *out)
{
    enum { N_RAW = 400 };
    const uint8_t header[13] = {[3] = 9, [7] = 6, depth, colour, 0, 0, interlaced};
    const uint8_t palette[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 250, 251, 252};
    uint8_t zlib[N_RAW + 11] = {
        0x78, 0x01, 1, N_RAW & 0xff, N_RAW >> 8, ~N_RAW & 0xff, ~N_RAW >> 8 & 0xff};
    uint32_t a = 1, b = 0;
    for (int i = 0; i < N_RAW; ++i) {
        zlib[7 + i] = (uint8_t)(depth < 8 ? i / 7 % 4 : i % 5);
        a += zlib[7 + i];
        b += a;
    }
    put32(zlib + 7 + N_RAW, (b % 65521) << 16 | a % 65521);
    memcpy(out, "\x89PNG\r\n\x1a\n", 8);
    size_t n = 8 + put_chunk(out + 8, "IHDR", header, sizeof header);
    if (colour == 3) {
        n += put_chunk(out + n, "PLTE", palette, sizeof palette);
        n += put_chunk(out + n, "tRNS", palette, 3);
    }
    n += put_chunk(out + n, "IDAT", zlib, sizeof zlib);
    return n + put_chunk(out + n, "IEND", zlib, 0);
}

static size_t make_bmp(uint8_t bits, bool top_down, uint8_t *out)
{
    enum { H = 5, W = 7 };
    const size_t stride = (size_t)(W * bits / 8 + 3) / 4 * 4;
    memset(out, 0, 54 + H * stride);
    memcpy(out, "BM", 2);
    out[10] = 54;
    out[14] = 40;
    out[18] = W;
    out[22] = H;
    if (top_down) {
        memset(out + 22, 0xff, 4);
        out[22] = 256 - H;
    }
    out[28] = bits;
    for (size_t i = 0; i < H * stride; ++i) {
        out[54 + i] = (uint8_t)(i * 5);
    }
    return 54 + H * stride;
}

static size_t make_gif(bool interlaced, uint8_t *out)
{
    // 6 x 4, four colours, one transparent; every pixel behind a clear code of 3 bits.
    static const uint8_t head[] = "GIF89a\x06\0\x04\0\x81\0\0ABCDEFGHIJKL!\xf9\x04\1\0\0\2\0";
    uint8_t frame[] = {',', 0, 0, 0, 0, 6, 0, 4, 0, 0, 2, 19};
    frame[9] = interlaced ? 0x40 : 0;
    uint8_t data[20] = {0};
    for (int i = 0, bit = 0; i <= 24; ++i) {
        const int codes[2] = {4, i < 24 ? i % 4 : 5};
        for (int k = 0; k < 6; ++k, ++bit) {
            data[bit / 8] |= (uint8_t)((codes[k / 3] >> k % 3 & 1) << bit % 8);
        }
    }
    size_t n = sizeof head - 1;
    memcpy(out, head, n);
    for (int i = 0; i < 2; ++i) {
        memcpy(out + n, frame, sizeof frame);
        memcpy(out + n + sizeof frame, data, sizeof data);
        n += sizeof frame + sizeof data;
    }
    out[n] = ';';
    return n + 1;
}

static size_t make_jpeg(int i, uint8_t *out, size_t cap)
{
    static const int sizes[][2] = {{8, 8}, {17, 33}, {56, 48}, {1, 50}};
    static const uint8_t exif[] = "\xff\xe1\0\x22"
                                  "Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0";
    uint8_t pixels[56 * 48 * 3];
    const edt_image image = {.data = pixels,
                             .h = sizes[i % 4][0],
                             .w = sizes[i % 4][1],
                             .stride = 3 * sizes[i % 4][1]};
    for (int64_t k = 0; k < image.h * image.stride; ++k) {
        pixels[k] = (uint8_t)(k * 37 % 251);
    }
    const edt_jpeg_encode_options options = {.quality = 60, .full_chroma = i >= 4};
    uint8_t *data;
    size_t n_bytes = 0;
    if (edt_jpeg_encode(&image, &options, NULL, &data, &n_bytes) != EDT_OK ||
        n_bytes + 36 > cap) {
        abort();
    }
    const size_t n_exif = i % 2 == 1 ? 36 : 0;
    memcpy(out, data, 2);
    memcpy(out + 2, exif, n_exif);
    memcpy(out + 2 + n_exif, data + 2, n_bytes - 2);
    edt_mem_free(data);
    return n_bytes + n_exif;
}

size_t edt_fuzz_seed(int i, uint8_t *out, size_t cap)
{
    static const uint8_t pngs[][2] = {{8, 0},  {8, 2}, {8, 3}, {8, 4}, {8, 6},
                                      {16, 2}, {1, 0}, {2, 3}, {4, 0}};
    enum { N_JPEGS = 8, N_PNGS = 2 * (sizeof pngs / sizeof *pngs), N_BMPS = 6, N_GIFS = 2 };
    static const uint8_t bits[] = {8, 24, 32};
    if (cap < 2000) {
        return 0;
    }
    if (i < N_JPEGS) {
        return make_jpeg(i, out, cap);
    }
    i -= N_JPEGS;
    if (i < N_PNGS) {
        return make_png(pngs[i / 2][0], pngs[i / 2][1], i % 2 == 1, out);
    }
    i -= N_PNGS;
    if (i < N_BMPS) {
        return make_bmp(bits[i / 2], i % 2 == 1, out);
    }
    i -= N_BMPS;
    return i < N_GIFS ? make_gif(i == 1, out) : 0;
}
