// See box_warp.h. Every operation below rounds to f32 on its own; do not reorder.
#include "augment/box_warp.h"

#include <math.h>

static const float least_side = 0.05f;

int64_t edt_trunc_f32(float value)
{
    const float most = 1073741824.0f;
    if (isnan(value)) {
        return 0;
    }
    return (int64_t)(value < -most ? -most : (value > most ? most : value));
}

static void rotation(double degrees, float *out_cos, float *out_sin)
{
    const float angle = (float)degrees * (float)(3.14159265358979323846 / 180.0);
    *out_cos = cosf(angle);
    *out_sin = sinf(angle);
}

void edt_warp_map(const edt_warp *warp, int64_t h, int64_t w, float out_a[static 3],
                  float out_b[static 3])
{
    float a[3] = {1, 0, 0}, b[3] = {0, 1, 0};
    const float argument = (float)warp->argument;
    switch (warp->kind) {
    case EDT_WARP_TRANSLATE_X: a[2] = argument; break;
    case EDT_WARP_TRANSLATE_Y: b[2] = argument; break;
    case EDT_WARP_SHEAR_X: a[1] = argument; break;
    case EDT_WARP_SHEAR_Y: b[0] = argument; break;
    case EDT_WARP_ROTATE: {
        const float last_x = (float)w - 1.0f, last_y = (float)h - 1.0f;
        float c, s;
        rotation(warp->argument, &c, &s);
        a[0] = c;
        a[1] = -s;
        a[2] = (last_x - (c * last_x - s * last_y)) / 2.0f;
        b[0] = s;
        b[1] = c;
        b[2] = (last_y - (s * last_x + c * last_y)) / 2.0f;
        break;
    }
    }
    for (int i = 0; i < 3; ++i) {
        out_a[i] = a[i];
        out_b[i] = b[i];
    }
}

// Whole pixels, ends as the box has them.
typedef struct pixel_box {
    int64_t y0, x0, y1, x1;
} pixel_box;

static int64_t least(const int64_t v[static 4])
{
    int64_t low = v[0];
    for (int i = 1; i < 4; ++i) {
        low = v[i] < low ? v[i] : low;
    }
    return low;
}

static int64_t most(const int64_t v[static 4])
{
    int64_t high = v[0];
    for (int i = 1; i < 4; ++i) {
        high = v[i] > high ? v[i] : high;
    }
    return high;
}

static pixel_box shear(pixel_box p, const edt_warp *warp)
{
    const float level = (float)warp->argument;
    const int64_t y[4] = {p.y0, p.y1, p.y0, p.y1}, x[4] = {p.x0, p.x0, p.x1, p.x1};
    int64_t moved[4];
    for (int i = 0; i < 4; ++i) {
        const float fy = (float)y[i], fx = (float)x[i];
        moved[i] =
            edt_trunc_f32(warp->kind == EDT_WARP_SHEAR_X ? -level * fy + fx : fy - level * fx);
    }
    if (warp->kind == EDT_WARP_SHEAR_X) {
        return (pixel_box){
            .y0 = least(y), .x0 = least(moved), .y1 = most(y), .x1 = most(moved)};
    }
    return (pixel_box){.y0 = least(moved), .x0 = least(x), .y1 = most(moved), .x1 = most(x)};
}

// About the centre of the picture, y upwards; normalised.
static void rotate(const edt_warp *warp, float h, float w, float box[static 4])
{
    const int64_t ya = -edt_trunc_f32(h * (box[0] - 0.5f));
    const int64_t xa = edt_trunc_f32(w * (box[1] - 0.5f));
    const int64_t yb = -edt_trunc_f32(h * (box[2] - 0.5f));
    const int64_t xb = edt_trunc_f32(w * (box[3] - 0.5f));
    const int64_t ys[4] = {ya, yb, ya, yb}, xs[4] = {xa, xa, xb, xb};
    float c, s;
    rotation(warp->argument, &c, &s);
    int64_t y[4], x[4];
    for (int i = 0; i < 4; ++i) {
        const float fy = (float)ys[i], fx = (float)xs[i];
        y[i] = edt_trunc_f32(c * fy + s * fx);
        x[i] = edt_trunc_f32(-s * fy + c * fx);
    }
    box[0] = -((float)most(y) / h - 0.5f);
    box[1] = (float)least(x) / w + 0.5f;
    box[2] = -((float)least(y) / h - 0.5f);
    box[3] = (float)most(x) / w + 0.5f;
}

static float clip01(float value)
{
    return value < 0.0f ? 0.0f : (value > 1.0f ? 1.0f : value);
}

// The reference's repair of boxes without a side; only helps at the border.
static void fix_side(float *low, float *high)
{
    if (*high - *low == 0.0f) {
        *high = fmaxf(*high, least_side);
        *low = fminf(*low, 1.0f - least_side);
    }
}

bool edt_warp_box(const edt_warp *warp, int64_t h, int64_t w, float box[static 4])
{
    const float fh = (float)h, fw = (float)w;
    if (warp->kind == EDT_WARP_ROTATE) {
        rotate(warp, fh, fw, box);
    } else {
        pixel_box p = {.y0 = edt_trunc_f32(fh * box[0]),
                       .x0 = edt_trunc_f32(fw * box[1]),
                       .y1 = edt_trunc_f32(fh * box[2]),
                       .x1 = edt_trunc_f32(fw * box[3])};
        const int64_t shift = edt_trunc_f32((float)warp->argument);
        switch (warp->kind) {
        case EDT_WARP_TRANSLATE_X:
            p.x0 -= shift;
            p.x1 -= shift;
            break;
        case EDT_WARP_TRANSLATE_Y:
            p.y0 -= shift;
            p.y1 -= shift;
            break;
        case EDT_WARP_SHEAR_X:
        case EDT_WARP_SHEAR_Y:
        case EDT_WARP_ROTATE: p = shear(p, warp); break;
        }
        box[0] = (float)p.y0 / fh;
        box[1] = (float)p.x0 / fw;
        box[2] = (float)p.y1 / fh;
        box[3] = (float)p.x1 / fw;
    }
    const bool inside = box[0] < 1.0f && box[1] < 1.0f && box[2] > 0.0f && box[3] > 0.0f;
    for (int i = 0; i < 4; ++i) {
        box[i] = clip01(box[i]);
    }
    fix_side(&box[0], &box[2]);
    fix_side(&box[1], &box[3]);
    return inside;
}
