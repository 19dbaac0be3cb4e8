// GIFs made here: where frames lie on the canvas, transparent colours, interlaced rows, colour
// maps, and damage inside and behind the first frame.
#include <criterion/criterion.h>
#include <string.h>

#include "dataio/image_gif.h"

typedef struct gif_writer {
    uint8_t bytes[4096];
    size_t n;
} gif_writer;

static void put(gif_writer *g, const void *data, size_t n)
{
    memcpy(g->bytes + g->n, data, n);
    g->n += n;
}

static void put16(gif_writer *g, int value)
{
    const uint8_t bytes[2] = {(uint8_t)value, (uint8_t)(value >> 8)};
    put(g, bytes, 2);
}

// A map of four colours: (base + i, 2 base + i, 3 base + i).
static void put_map(gif_writer *g, int base)
{
    for (int i = 0; i < 4; ++i) {
        const uint8_t rgb[3] = {(uint8_t)(base + i), (uint8_t)(2 * base + i),
                                (uint8_t)(3 * base + i)};
        put(g, rgb, 3);
    }
}

static void begin(gif_writer *g, int screen_h, int screen_w, int map_base)
{
    g->n = 0;
    put(g, "GIF89a", 6);
    put16(g, screen_w);
    put16(g, screen_h);
    put(g, map_base > 0 ? "\x81\0\0" : "\x01\0\0", 3);
    if (map_base > 0) {
        put_map(g, map_base);
    }
}

typedef struct frame {
    int top, left, h, w;
    bool interlaced;
    int local_base;         // 0: no map of its own
    const uint8_t *indices; // in the order of the file; NULL: i % 4
} frame;

// Pixels as codes of 3 bits, each behind a clear code, so that codes never grow.
static void put_frame(gif_writer *g, const frame *f)
{
    put(g, ",", 1);
    put16(g, f->left);
    put16(g, f->top);
    put16(g, f->w);
    put16(g, f->h);
    const uint8_t flags =
        (uint8_t)((f->local_base > 0 ? 0x81 : 0) | (f->interlaced ? 0x40 : 0));
    put(g, &flags, 1);
    if (f->local_base > 0) {
        put_map(g, f->local_base);
    }
    put(g, "\x02", 1);
    uint8_t data[250] = {0};
    int bit = 0;
    for (int i = 0; i <= f->h * f->w; ++i) {
        const int index = f->indices != NULL && i < f->h * f->w ? f->indices[i] : i % 4;
        const int codes[2] = {4, i < f->h * f->w ? index : 5};
        for (int k = 0; k < 6; ++k, ++bit) {
            data[bit / 8] |= (uint8_t)((codes[k / 3] >> k % 3 & 1) << bit % 8);
        }
    }
    const uint8_t n = (uint8_t)((bit + 7) / 8);
    cr_assert_lt(bit, 2000);
    put(g, &n, 1);
    put(g, data, n);
    put(g, "", 1);
}

static void put_transparent(gif_writer *g, int index)
{
    const uint8_t control[] = {'!', 0xf9, 4, 1, 0, 0, (uint8_t)index, 0};
    put(g, control, sizeof control);
}

static edt_status decode(const gif_writer *g, edt_row_buffer *buffer, int64_t *out_h,
                         int64_t *out_w, edt_error *err)
{
    const edt_span bytes = {g->bytes, g->n};
    EDT_TRY(edt_gif_read_header(bytes, err, out_h, out_w));
    return edt_gif_decode(bytes, *out_h, *out_w, buffer, err);
}

static void expect(const gif_writer *g, int64_t h, int64_t w, const uint8_t *reds)
{
    edt_row_buffer buffer = {0};
    edt_error err = {0};
    int64_t got_h, got_w;
    cr_assert_eq(decode(g, &buffer, &got_h, &got_w, &err), EDT_OK, "%s", err.text);
    cr_assert(got_h == h && got_w == w, "%d x %d", (int)got_h, (int)got_w);
    for (int64_t i = 0; i < h * w; ++i) {
        cr_assert_eq(buffer.data[3 * i], reds[i], "pixel %d: %d", (int)i, buffer.data[3 * i]);
    }
    edt_row_buffer_deinit(&buffer);
}

static void expect_refusal(const gif_writer *g, const char *words)
{
    edt_row_buffer buffer = {0};
    edt_error err = {0};
    int64_t h, w;
    cr_assert_eq(decode(g, &buffer, &h, &w, &err), EDT_ERR_FORMAT, "%s", words);
    cr_assert_not_null(strstr(err.text, words), "'%s' is not about '%s'", err.text, words);
    edt_row_buffer_deinit(&buffer);
}

static const frame plain = {.h = 2, .w = 3};

Test(image_gif, the_canvas_is_the_greatest_frame_whatever_the_screen, .timeout = 10)
{
    static gif_writer g;
    begin(&g, 9, 9, 40);
    put_frame(&g, &plain);
    put(&g, ";", 1);
    expect(&g, 2, 3, (const uint8_t[]){40, 41, 42, 43, 40, 41});
    // Shifted: cut at the canvas's border.
    begin(&g, 9, 9, 40);
    put_frame(&g, &(frame){.top = 1, .left = 1, .h = 2, .w = 3});
    put(&g, ";", 1);
    expect(&g, 2, 3, (const uint8_t[]){0, 0, 0, 0, 40, 41});
    // Outside altogether.
    begin(&g, 9, 9, 40);
    put_frame(&g, &(frame){.top = 5, .left = 7, .h = 1, .w = 2});
    put(&g, ";", 1);
    expect(&g, 1, 2, (const uint8_t[]){0, 0});
    // Later frames make room, but are not drawn.
    begin(&g, 1, 1, 40);
    put_frame(&g, &(frame){.left = 1, .h = 1, .w = 3});
    put_frame(&g, &(frame){.h = 2, .w = 1});
    put(&g, ";", 1);
    expect(&g, 2, 3, (const uint8_t[]){0, 40, 41, 0, 0, 0});
}

Test(image_gif, transparent_pixels_are_black_and_local_maps_win, .timeout = 10)
{
    static gif_writer g;
    begin(&g, 2, 3, 40);
    put(&g, "!\xfe\x03hey", 7); // a comment, with its terminator
    put_transparent(&g, 1);
    put_transparent(&g, 2); // the first one counts
    put_frame(&g, &(frame){.h = 2, .w = 3, .local_base = 80});
    put(&g, ";", 1);
    expect(&g, 2, 3, (const uint8_t[]){80, 0, 82, 83, 80, 0});
}

Test(image_gif, interlaced_rows_find_their_places, .timeout = 10)
{
    static gif_writer g;
    // Rows of the file: 0, 8, 4, 2, 6, 1, 3, 5, 7 of nine.
    static const uint8_t indices[] = {0, 0, 0, 2, 2, 1, 3, 1, 3};
    begin(&g, 9, 1, 40);
    put_frame(&g, &(frame){.h = 9, .w = 1, .interlaced = true, .indices = indices});
    put(&g, ";", 1);
    expect(&g, 9, 1, (const uint8_t[]){40, 41, 42, 43, 40, 41, 42, 43, 40});
}

Test(image_gif, damage_counts_inside_the_first_frame_only, .timeout = 10)
{
    static gif_writer g, cut;
    begin(&g, 2, 3, 40);
    put_frame(&g, &plain);
    const size_t first = g.n;
    put_frame(&g, &plain);
    for (size_t n = 0; n <= g.n; ++n) {
        cut = g;
        cut.n = n;
        if (n < first) {
            expect_refusal(&cut, n < 6 + 7 + 12 ? "" : "corrupt GIF");
        } else {
            expect(&cut, 2, 3, (const uint8_t[]){40, 41, 42, 43, 40, 41});
        }
    }
}

Test(image_gif, what_cannot_be_a_picture_is_refused, .timeout = 10)
{
    static gif_writer g;
    begin(&g, 2, 3, 40);
    put(&g, ";", 1);
    expect_refusal(&g, "without a frame");
    begin(&g, 2, 3, 0);
    put_frame(&g, &plain);
    expect_refusal(&g, "map of colours");
    begin(&g, 2, 3, 40);
    g.bytes[10] = 0x80; // two colours: the others are read as what follows, so none is
    g.n -= 6;
    put_frame(&g, &plain);
    expect_refusal(&g, "colour 2 of a map with 2");
    begin(&g, 2, 3, 40);
    put_frame(&g, &(frame){.h = 0, .w = 3});
    expect_refusal(&g, "");
    // 65535 x 65535 pixels of a few bytes: as the first frame and as a later one.
    for (int i = 0; i < 2; ++i) {
        begin(&g, 2, 3, 40);
        if (i == 1) {
            put_frame(&g, &plain);
        }
        const size_t at = g.n + 5;
        put_frame(&g, &plain);
        memset(g.bytes + at, 0xff, 4);
        expect_refusal(&g, "cannot hold");
    }
}
