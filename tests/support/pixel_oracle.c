// See pixel_oracle.h. No step is shared with the library: what it computes once here is
// computed for every pixel, what it derives is tried out.
#include "tests/support/pixel_oracle.h"

#include <math.h>
#include <string.h>

#include "core/mem.h"

typedef struct view {
    uint8_t *data;
    int64_t h, w, stride;
} view;

static uint8_t *at(const view *v, int64_t y, int64_t x)
{
    return v->data + y * v->stride + 3 * x;
}

static float clamp(float t)
{
    return fminf(fmaxf(t, 0.0F), 255.0F);
}

static uint8_t blend(uint8_t a, uint8_t b, float f)
{
    if (f == 0.0F) {
        return a;
    }
    if (f == 1.0F) {
        return b;
    }
    const float difference = (float)b - (float)a;
    const float scaled = f * difference;
    const float t = (float)a + scaled;
    if (f > 0.0F && f < 1.0F) {
        return (uint8_t)t;
    }
    return (uint8_t)clamp(t);
}

static uint8_t gray(const uint8_t *rgb)
{
    const float scale = (float)(1.0 / 255.0);
    const float r = (float)rgb[0] * scale, g = (float)rgb[1] * scale, b = (float)rgb[2] * scale;
    float sum = 0.2989F * r;
    sum = sum + 0.5870F * g;
    sum = sum + 0.1140F * b;
    return (uint8_t)(sum * 255.5F);
}

static void color(const view *v, float f)
{
    for (int64_t i = 0; i < v->h * v->w; ++i) {
        uint8_t *p = at(v, i / v->w, i % v->w);
        const uint8_t g = gray(p);
        for (int c = 0; c < 3; ++c) {
            p[c] = blend(g, p[c], f);
        }
    }
}

static void contrast(const view *v, float f)
{
    double sum = 0;
    for (int64_t i = 0; i < v->h * v->w; ++i) {
        sum += gray(at(v, i / v->w, i % v->w));
    }
    const uint8_t mean = (uint8_t)(sum / (double)(v->h * v->w));
    for (int64_t i = 0; i < v->h * v->w; ++i) {
        uint8_t *p = at(v, i / v->w, i % v->w);
        for (int c = 0; c < 3; ++c) {
            p[c] = blend(mean, p[c], f);
        }
    }
}

// A packed copy of the region.
static view copy_of(const view *v)
{
    view copy = {.h = v->h, .w = v->w, .stride = 3 * v->w};
    copy.data = edt_mem_alloc(EDT_MEM_MISC, (size_t)(3 * v->h * v->w));
    for (int64_t y = 0; y < v->h; ++y) {
        memcpy(at(&copy, y, 0), at(v, y, 0), (size_t)(3 * v->w));
    }
    return copy;
}

static void sharpness(const view *v, float f)
{
    if (v->h < 3 || v->w < 3) {
        return;
    }
    view in = copy_of(v);
    const float one = 1.0F / 13.0F, five = 5.0F / 13.0F;
    for (int64_t y = 1; y + 1 < v->h; ++y) {
        for (int64_t x = 1; x + 1 < v->w; ++x) {
            for (int c = 0; c < 3; ++c) {
                float acc = 0.0F;
                for (int dy = 0; dy < 3; ++dy) {
                    for (int dx = 0; dx < 3; ++dx) {
                        const float w = dy == 1 && dx == 1 ? five : one;
                        const float product = w * (float)at(&in, y + dy - 1, x + dx - 1)[c];
                        acc = acc + product;
                    }
                }
                at(v, y, x)[c] = blend((uint8_t)clamp(acc), at(&in, y, x)[c], f);
            }
        }
    }
    edt_mem_free(in.data);
}

static void auto_contrast(const view *v)
{
    for (int c = 0; c < 3; ++c) {
        int lo = 255, hi = 0;
        for (int64_t i = 0; i < v->h * v->w; ++i) {
            const int value = at(v, i / v->w, i % v->w)[c];
            lo = value < lo ? value : lo;
            hi = value > hi ? value : hi;
        }
        if (hi <= lo) {
            continue;
        }
        const float scale = 255.0F / (float)(hi - lo);
        const float offset = (-(float)lo) * scale;
        for (int64_t i = 0; i < v->h * v->w; ++i) {
            uint8_t *p = at(v, i / v->w, i % v->w);
            const float scaled = (float)p[c] * scale;
            p[c] = (uint8_t)clamp(scaled + offset);
        }
    }
}

static void equalize(const view *v)
{
    for (int c = 0; c < 3; ++c) {
        int64_t hist[256] = {0}, last = 0, total = 0;
        for (int64_t i = 0; i < v->h * v->w; ++i) {
            ++hist[at(v, i / v->w, i % v->w)[c]];
        }
        for (int k = 0; k < 256; ++k) {
            last = hist[k] != 0 ? hist[k] : last;
        }
        const int64_t step = (v->h * v->w - last) / 255;
        if (step == 0) {
            continue;
        }
        uint8_t lut[256] = {0};
        for (int k = 1; k < 256; ++k) {
            total += hist[k - 1];
            const int64_t level = (total + step / 2) / step;
            lut[k] = (uint8_t)(level < 255 ? level : 255);
        }
        for (int64_t i = 0; i < v->h * v->w; ++i) {
            uint8_t *p = at(v, i / v->w, i % v->w);
            p[c] = lut[p[c]];
        }
    }
}

static uint8_t level_of(const edt_pixel_op *op, uint8_t v)
{
    int shift = 8 - op->amount;
    switch (op->kind) {
    case EDT_PIXEL_BRIGHTNESS: return blend(0, v, op->factor);
    case EDT_PIXEL_POSTERIZE:
        shift = shift < 0 ? 0 : (shift > 7 ? 7 : shift);
        return (uint8_t)(v >> shift << shift);
    case EDT_PIXEL_SOLARIZE: return v < op->amount ? v : (uint8_t)(255 - v);
    case EDT_PIXEL_SOLARIZE_ADD:
        return v < 128 ? (uint8_t)fmin((double)v + op->amount, 255) : v;
    default: return (uint8_t)op->amount;
    }
}

static void each_level(const view *v, const edt_pixel_op *op)
{
    for (int64_t i = 0; i < v->h * v->w; ++i) {
        uint8_t *p = at(v, i / v->w, i % v->w);
        for (int c = 0; c < 3; ++c) {
            p[c] = level_of(op, p[c]);
        }
    }
}

static void mirror(const view *v)
{
    view in = copy_of(v);
    for (int64_t i = 0; i < v->h * v->w; ++i) {
        memcpy(at(v, i / v->w, i % v->w), at(&in, i / v->w, v->w - 1 - i % v->w), 3);
    }
    edt_mem_free(in.data);
}

static float coordinate(const float *k, int64_t x, int64_t y)
{
    const float along_x = k[0] * (float)x, along_y = k[1] * (float)y;
    const float sum = along_x + along_y;
    return sum + k[2];
}

static void warp(const view *v, const edt_pixel_op *op)
{
    view in = copy_of(v);
    for (int64_t y = 0; y < v->h; ++y) {
        for (int64_t x = 0; x < v->w; ++x) {
            const float c = roundf(coordinate(op->a, x, y)),
                        r = roundf(coordinate(op->b, x, y));
            if (c >= 0.0F && c < (float)v->w && r >= 0.0F && r < (float)v->h) {
                memcpy(at(v, y, x), at(&in, (int64_t)r, (int64_t)c), 3);
            } else {
                memset(at(v, y, x), 128, 3);
            }
        }
    }
    edt_mem_free(in.data);
}

static float mask_at(const uint8_t *mask, int64_t size, float y, float x)
{
    if (!(y >= 0.0F && y < (float)size && x >= 0.0F && x < (float)size)) {
        return 0.0F;
    }
    return (float)mask[(int64_t)y * size + (int64_t)x];
}

void pixel_oracle_mask(const edt_grid *grid, int64_t h, int64_t w, uint8_t *out_mask)
{
    const int64_t n = grid->size;
    uint8_t *mask = edt_mem_calloc(EDT_MEM_MISC, (size_t)(n * n), 1);
    for (int64_t k = 0; k < n * n; ++k) {
        for (int64_t i = 0; i < n / grid->period; ++i) {
            const int64_t row = grid->period * i + grid->row_offset;
            const int64_t column = grid->period * i + grid->column_offset;
            if ((k / n >= row && k / n < row + grid->bar) ||
                (k % n >= column && k % n < column + grid->bar)) {
                mask[k] = 1;
            }
        }
    }
    const float c = cosf(grid->angle), s = sinf(grid->angle), m = (float)(n - 1);
    const float a[3] = {c, -s, (m - (c * m - s * m)) / 2.0F};
    const float b[3] = {s, c, (m - (s * m + c * m)) / 2.0F};
    for (int64_t y = 0; y < h; ++y) {
        for (int64_t x = 0; x < w; ++x) {
            const float u = coordinate(a, x + (n - w) / 2, y + (n - h) / 2);
            const float v = coordinate(b, x + (n - w) / 2, y + (n - h) / 2);
            const float fx = floorf(u), fy = floorf(v);
            const float left = (fx + 1.0F) - u, right = u - fx;
            const float top =
                left * mask_at(mask, n, fy, fx) + right * mask_at(mask, n, fy, fx + 1.0F);
            const float bottom = left * mask_at(mask, n, fy + 1.0F, fx) +
                                 right * mask_at(mask, n, fy + 1.0F, fx + 1.0F);
            const float value = ((fy + 1.0F) - v) * top + (v - fy) * bottom;
            out_mask[y * w + x] = (uint8_t)(int32_t)value;
        }
    }
    edt_mem_free(mask);
}

static void grid_mask(const view *v, const edt_pixel_op *op)
{
    uint8_t *mask = edt_mem_alloc(EDT_MEM_MISC, (size_t)(v->h * v->w));
    pixel_oracle_mask(&op->grid, v->h, v->w, mask);
    for (int64_t i = 0; i < v->h * v->w; ++i) {
        if (mask[i] == 0) {
            memset(at(v, i / v->w, i % v->w), op->amount, 3);
        }
    }
    edt_mem_free(mask);
}

void pixel_oracle_run(const edt_image *image, const edt_pixel_op *op)
{
    const view v = {.data = image->data + op->region.y * image->stride + 3 * op->region.x,
                    .h = op->region.h,
                    .w = op->region.w,
                    .stride = image->stride};
    switch (op->kind) {
    case EDT_PIXEL_COLOR: color(&v, op->factor); break;
    case EDT_PIXEL_CONTRAST: contrast(&v, op->factor); break;
    case EDT_PIXEL_SHARPNESS: sharpness(&v, op->factor); break;
    case EDT_PIXEL_AUTO_CONTRAST: auto_contrast(&v); break;
    case EDT_PIXEL_EQUALIZE: equalize(&v); break;
    case EDT_PIXEL_MIRROR: mirror(&v); break;
    case EDT_PIXEL_WARP: warp(&v, op); break;
    case EDT_PIXEL_GRID_MASK: grid_mask(&v, op); break;
    default: each_level(&v, op); break;
    }
}
