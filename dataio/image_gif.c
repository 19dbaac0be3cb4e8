// See image_gif.h. giflib returns its errors; the frames are read line by line, so that it
// never allocates what a header claims. The rules for offsets, transparency, the canvas and
// damaged frames are the reference's, found by comparing thousands of random and damaged files.
#include "dataio/image_gif.h"

#include <gif_lib.h>
#include <inttypes.h>
#include <string.h>

// A code of 12 bits stands for 4096 pixels at most; a picture of so few pixels is harmless.
enum { MAX_PIXELS_PER_BYTE = 4096, HARMLESS_PIXELS = 1 << 24 };
enum { SCREEN_BYTES = 13 }; // signature and screen descriptor

typedef struct gif_reader {
    edt_span bytes;
    size_t at;
    GifFileType *file;
    bool has_control; // of the next frame: a graphics control extension came
    int transparent;  // its index of transparent pixels, or NO_TRANSPARENT_COLOR
} gif_reader;

static int read_bytes(GifFileType *file, GifByteType *out, int n_wanted)
{
    gif_reader *r = file->UserData;
    const size_t left = r->bytes.n_bytes - r->at;
    const size_t n = n_wanted < 0 ? 0 : left < (size_t)n_wanted ? left : (size_t)n_wanted;
    memcpy(out, r->bytes.data + r->at, n);
    r->at += n;
    return (int)n;
}

static edt_status fail_gif(const gif_reader *r, int code, edt_error *err)
{
    const char *words = GifErrorString(code);
    if (code == D_GIF_ERR_NOT_ENOUGH_MEM) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to decode a GIF of %zu bytes",
                 r->bytes.n_bytes);
    }
    EDT_FAIL(err, EDT_ERR_FORMAT, "corrupt GIF of %zu bytes, at byte %zu: %s", r->bytes.n_bytes,
             r->at, words != NULL ? words : "unknown reason");
}

static edt_status open_file(gif_reader *r, edt_span bytes, edt_error *err)
{
    int code = 0;
    *r = (gif_reader){.bytes = bytes};
    r->file = DGifOpen(r, read_bytes, &code);
    // It says so too when there is no memory for the map of colours, which it would read next.
    if (r->file == NULL && code == D_GIF_ERR_NO_SCRN_DSCR && r->at == SCREEN_BYTES &&
        bytes.n_bytes > SCREEN_BYTES) {
        code = D_GIF_ERR_NOT_ENOUGH_MEM;
    }
    return r->file != NULL ? EDT_OK : fail_gif(r, code, err);
}

static void close_file(gif_reader *r)
{
    if (r->file != NULL) {
        (void)DGifCloseFile(r->file, NULL);
        r->file = NULL;
    }
}

static bool read_extension(gif_reader *r)
{
    GifByteType *block = NULL;
    int code = 0;
    bool more = DGifGetExtension(r->file, &code, &block) == GIF_OK;
    // The first block of the first graphics control extension counts, be it sound or not.
    if (more && code == GRAPHICS_EXT_FUNC_CODE && block != NULL && !r->has_control) {
        r->has_control = true;
        GraphicsControlBlock control = {.TransparentColor = NO_TRANSPARENT_COLOR};
        (void)DGifExtensionToGCB(block[0], block + 1, &control);
        r->transparent = control.TransparentColor;
    }
    while (more && block != NULL) {
        more = DGifGetExtensionNext(r->file, &block) == GIF_OK;
    }
    return more;
}

// Goes on to the pixels of the next frame; EDT_END behind the last one.
static edt_status next_frame(gif_reader *r, edt_error *err)
{
    r->has_control = false;
    r->transparent = NO_TRANSPARENT_COLOR;
    for (;;) {
        GifRecordType type = UNDEFINED_RECORD_TYPE;
        bool good = DGifGetRecordType(r->file, &type) == GIF_OK;
        if (good && type == TERMINATE_RECORD_TYPE) {
            return EDT_END;
        }
        if (good && type == IMAGE_DESC_RECORD_TYPE) {
            if (DGifGetImageDesc(r->file) == GIF_OK) {
                return EDT_OK;
            }
            good = false;
        } else if (good) {
            good = type == EXTENSION_RECORD_TYPE && read_extension(r);
        }
        if (!good) {
            return fail_gif(r, r->file->Error, err);
        }
    }
}

static bool skip_pixels(gif_reader *r)
{
    GifByteType *block = NULL;
    int bits = 0;
    bool good = DGifGetCode(r->file, &bits, &block) == GIF_OK;
    while (good && block != NULL) {
        good = DGifGetCodeNext(r->file, &block) == GIF_OK;
    }
    return good;
}

static edt_status walk(gif_reader *r, edt_error *err, int64_t *out_h, int64_t *out_w)
{
    int64_t h = 0, w = 0;
    edt_status status = next_frame(r, err);
    if (status == EDT_END) {
        EDT_FAIL(err, EDT_ERR_FORMAT, "GIF of %zu bytes without a frame", r->bytes.n_bytes);
    }
    while (status == EDT_OK) {
        const GifImageDesc *frame = &r->file->Image;
        const bool first = h == 0;
        if (frame->Height < 1 || frame->Width < 1) {
            if (first) {
                EDT_FAIL(err, EDT_ERR_FORMAT, "GIF frame of size %d x %d (height x width)",
                         frame->Height, frame->Width);
            }
            return EDT_OK;
        }
        if (!skip_pixels(r)) {
            status = fail_gif(r, r->file->Error, err);
            break;
        }
        h = frame->Height > h ? frame->Height : h;
        w = frame->Width > w ? frame->Width : w;
        *out_h = h;
        *out_w = w;
        status = next_frame(r, err);
    }
    // Damage behind the first frame ends the walk; want of memory must not look like it.
    return h == 0 || status == EDT_ERR_NOMEM ? status : EDT_OK;
}

edt_status edt_gif_read_header(edt_span bytes, edt_error *err, int64_t *out_h, int64_t *out_w)
{
    gif_reader r;
    int64_t h = 0, w = 0;
    EDT_TRY(open_file(&r, bytes, err));
    const edt_status status = walk(&r, err, &h, &w);
    close_file(&r);
    EDT_TRY(status);
    if (h * w > HARMLESS_PIXELS && (uint64_t)(h * w) / MAX_PIXELS_PER_BYTE > bytes.n_bytes) {
        EDT_FAIL(err, EDT_ERR_FORMAT,
                 "GIF: its %zu bytes cannot hold the %" PRId64 " x %" PRId64
                 " pixels (height x width) of its frames",
                 bytes.n_bytes, h, w);
    }
    *out_h = h;
    *out_w = w;
    return EDT_OK;
}

// Places line y of the frame on the canvas.
static edt_status paint_line(const gif_reader *r, const GifPixelType *line, int64_t y,
                             int64_t h, int64_t w, uint8_t *canvas, edt_error *err)
{
    const GifImageDesc *frame = &r->file->Image;
    const ColorMapObject *map = frame->ColorMap != NULL ? frame->ColorMap : r->file->SColorMap;
    const int64_t row = frame->Top + y;
    if (row >= h || frame->Left >= w) {
        return EDT_OK;
    }
    const int64_t n = w - frame->Left < frame->Width ? w - frame->Left : frame->Width;
    uint8_t *out = canvas + 3 * (row * w + frame->Left);
    for (int64_t x = 0; x < n; ++x) {
        if (line[x] >= map->ColorCount) {
            EDT_FAIL(err, EDT_ERR_FORMAT, "GIF: colour %d of a map with %d", line[x],
                     map->ColorCount);
        }
        if (line[x] == r->transparent) {
            continue;
        }
        const GifColorType *colour = &map->Colors[line[x]];
        out[3 * x] = colour->Red;
        out[3 * x + 1] = colour->Green;
        out[3 * x + 2] = colour->Blue;
    }
    return EDT_OK;
}

static edt_status paint_frame(gif_reader *r, int64_t h, int64_t w, uint8_t *canvas,
                              GifPixelType *line, edt_error *err)
{
    static const int first[] = {0, 4, 2, 1}, step[] = {8, 8, 4, 2};
    const GifImageDesc *frame = &r->file->Image;
    if (frame->ColorMap == NULL && r->file->SColorMap == NULL) {
        EDT_FAIL(err, EDT_ERR_FORMAT, "GIF without a map of colours");
    }
    const int n_passes = frame->Interlace ? 4 : 1;
    for (int pass = 0; pass < n_passes; ++pass) {
        const int64_t n = frame->Interlace ? step[pass] : 1;
        for (int64_t y = first[pass]; y < frame->Height; y += n) {
            if (DGifGetLine(r->file, line, frame->Width) != GIF_OK) {
                return fail_gif(r, r->file->Error, err);
            }
            EDT_TRY(paint_line(r, line, y, h, w, canvas, err));
        }
    }
    return EDT_OK;
}

edt_status edt_gif_decode(edt_span bytes, int64_t h, int64_t w, edt_row_buffer *pixels,
                          edt_error *err)
{
    gif_reader r;
    const size_t n_canvas = (size_t)(h * w) * 3;
    // A line of the frame is no wider than the canvas and lies behind it.
    EDT_TRY(edt_row_buffer_reserve(pixels, n_canvas + (size_t)w, err));
    memset(pixels->data, 0, n_canvas);
    EDT_TRY(open_file(&r, bytes, err));
    edt_status status = next_frame(&r, err);
    if (status == EDT_OK) {
        status = r.file->Image.Width <= w
                     ? paint_frame(&r, h, w, pixels->data, pixels->data + n_canvas, err)
                     : edt_error_set(err, EDT_ERR_INTERNAL, "GIF: frame wider than its canvas");
    }
    close_file(&r);
    return status;
}
