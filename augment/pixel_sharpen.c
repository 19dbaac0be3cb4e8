// See pixel_sharpen.h. All weights but the centre's are equal, so each value is multiplied once
// and its product taken into nine sums; three rows of products allow to work in place.
#include "augment/pixel_sharpen.h"

size_t edt_sharpen_scratch(int64_t w)
{
    return 9 * (size_t)w;
}

void edt_sharpen(const edt_pixel_kernels *kernels, float factor, const edt_image *region,
                 float *scratch)
{
    const int64_t h = region->h, n = 3 * region->w, stride = region->stride;
    if (h < 3 || region->w < 3) {
        return;
    }
    const float around = 1.0F / 13.0F, centre = 5.0F / 13.0F;
    float *rows[3] = {scratch, scratch + n, scratch + 2 * n};
    kernels->products(region->data, n, around, rows[0]);
    kernels->products(region->data + stride, n, around, rows[1]);
    for (int64_t y = 1; y + 1 < h; ++y) {
        const float *up = rows[(y - 1) % 3], *mid = rows[y % 3];
        float *down = rows[(y + 1) % 3];
        kernels->products(region->data + (y + 1) * stride, n, around, down);
        kernels->sharpen(up + 3, mid + 3, down + 3, centre, factor,
                         region->data + y * stride + 3, n - 6);
    }
}
