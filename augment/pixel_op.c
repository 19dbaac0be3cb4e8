// See pixel_op.h. Operations run in place where they can; a warp that cannot goes from the
// picture to a second one in the scratch or back, a part of a picture through a copy there.
#include "augment/pixel_op.h"

#include <inttypes.h>
#include <string.h>

#include "augment/pixel_grid.h"
#include "augment/pixel_kernels.h"
#include "augment/pixel_levels.h"
#include "augment/pixel_sharpen.h"
#include "augment/pixel_warp.h"
#include "core/mem.h"

// The arithmetic is built without ThreadSanitizer, which sees each operation as one write to
// all that it may touch.
#ifdef __SANITIZE_THREAD__
void __tsan_write_range(void *address, long n_bytes); // as gcc knows it
#define TELL_WRITTEN(address, n_bytes) __tsan_write_range(address, (long)(n_bytes))
#else
#define TELL_WRITTEN(address, n_bytes) ((void)(address), (void)(n_bytes))
#endif

struct edt_pixel_scratch {
    const edt_pixel_kernels *kernels;
    uint8_t *picture;
    void *work; // of one operation
    size_t picture_bytes, work_bytes;
};

edt_status edt_pixel_scratch_create(edt_error *err, edt_pixel_scratch **out_scratch)
{
    edt_pixel_scratch *scratch = edt_mem_calloc(EDT_MEM_IMAGE, 1, sizeof *scratch);
    if (scratch == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the buffers of augmentation");
    }
    scratch->kernels = edt_pixel_kernels_find(NULL);
    *out_scratch = scratch;
    return EDT_OK;
}

void edt_pixel_scratch_destroy(edt_pixel_scratch *scratch)
{
    if (scratch == NULL) {
        return;
    }
    edt_mem_free(scratch->picture);
    edt_mem_free(scratch->work);
    edt_mem_free(scratch);
}

void edt_pixel_scratch_set_kernels(edt_pixel_scratch *scratch, const edt_pixel_kernels *kernels)
{
    scratch->kernels = kernels;
}

// Makes room for n_bytes in *block; the contents are lost.
static edt_status reserve(void **block, size_t *capacity, size_t n_bytes, edt_error *err)
{
    if (n_bytes <= *capacity) {
        TELL_WRITTEN(*block, n_bytes);
        return EDT_OK;
    }
    edt_mem_free(*block);
    *capacity = 0;
    *block = edt_mem_alloc(EDT_MEM_IMAGE, n_bytes);
    if (*block == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %zu bytes of augmentation's buffers",
                 n_bytes);
    }
    *capacity = n_bytes;
    return EDT_OK;
}

static edt_status reserve_picture(edt_pixel_scratch *scratch, const edt_image *image,
                                  edt_error *err)
{
    void *block = scratch->picture;
    const edt_status status =
        reserve(&block, &scratch->picture_bytes, (size_t)image->h * (size_t)image->w * 3, err);
    scratch->picture = block;
    return status;
}

static edt_image view_of(const edt_image *image, const edt_region *region)
{
    return (edt_image){.data = image->data + region->y * image->stride + 3 * region->x,
                       .h = region->h,
                       .w = region->w,
                       .stride = image->stride};
}

static void fill(const edt_image *view, int32_t level)
{
    for (int64_t y = 0; y < view->h; ++y) {
        memset(view->data + y * view->stride, level, (size_t)(3 * view->w));
    }
}

static void mirror(const edt_image *view)
{
    for (int64_t y = 0; y < view->h; ++y) {
        uint8_t *left = view->data + y * view->stride, *right = left + 3 * (view->w - 1);
        for (; left < right; left += 3, right -= 3) {
            uint8_t pixel[3];
            memcpy(pixel, left, 3);
            memcpy(left, right, 3);
            memcpy(right, pixel, 3);
        }
    }
}

static void copy_rows(const edt_image *from, const edt_image *to)
{
    for (int64_t y = 0; y < from->h; ++y) {
        memcpy(to->data + y * to->stride, from->data + y * from->stride, (size_t)(3 * from->w));
    }
}

// `now` is the picture; the one of `image` and of the scratch that it is not is free to use.
static edt_status warp(edt_pixel_scratch *scratch, const edt_image *image,
                       const edt_pixel_op *op, edt_image *now, edt_error *err)
{
    const edt_image view = view_of(now, &op->region);
    EDT_TRY(reserve(&scratch->work, &scratch->work_bytes, edt_warp_scratch(view.w), err));
    if (edt_warp_in_place(scratch->kernels, op, &view, scratch->work)) {
        return EDT_OK;
    }
    edt_image other = *image;
    if (now->data == image->data) {
        EDT_TRY(reserve_picture(scratch, image, err));
        other.data = scratch->picture;
        other.stride = 3 * image->w;
    }
    if (view.h == now->h && view.w == now->w) {
        edt_warp(scratch->kernels, op, now, &other, scratch->work);
        *now = other;
        return EDT_OK;
    }
    other.h = view.h;
    other.w = view.w;
    copy_rows(&view, &other);
    edt_warp(scratch->kernels, op, &other, &view, scratch->work);
    return EDT_OK;
}

static void color(const edt_pixel_kernels *kernels, float factor, const edt_image *view)
{
    for (int64_t y = 0; y < view->h; ++y) {
        kernels->color(view->data + y * view->stride, view->w, factor);
    }
}

static edt_status run_one(edt_pixel_scratch *scratch, const edt_image *image,
                          const edt_pixel_op *op, edt_image *now, edt_error *err)
{
    const edt_image view = view_of(now, &op->region);
    edt_level_map map;
    size_t n_work = 0;
    for (int64_t y = 0; y < view.h; ++y) {
        TELL_WRITTEN(view.data + y * view.stride, (size_t)(3 * view.w));
    }
    switch (op->kind) {
    case EDT_PIXEL_FILL: fill(&view, op->amount); return EDT_OK;
    case EDT_PIXEL_MIRROR: mirror(&view); return EDT_OK;
    case EDT_PIXEL_COLOR: color(scratch->kernels, op->factor, &view); return EDT_OK;
    case EDT_PIXEL_WARP: return warp(scratch, image, op, now, err);
    case EDT_PIXEL_SHARPNESS:
        n_work = edt_sharpen_scratch(view.w) * sizeof(float);
        EDT_TRY(reserve(&scratch->work, &scratch->work_bytes, n_work, err));
        edt_sharpen(scratch->kernels, op->factor, &view, scratch->work);
        return EDT_OK;
    case EDT_PIXEL_GRID_MASK:
        n_work = edt_grid_scratch(&op->grid);
        EDT_TRY(reserve(&scratch->work, &scratch->work_bytes, n_work, err));
        edt_grid_fill(&op->grid, (uint8_t)op->amount, &view, scratch->work);
        return EDT_OK;
    default: // a map of levels
        if (edt_level_map_make(scratch->kernels, op, &view, &map)) {
            edt_level_map_apply(scratch->kernels, &map, &view);
        }
        return EDT_OK;
    }
}

edt_status edt_pixel_ops_run(edt_pixel_scratch *scratch, const edt_image *image,
                             const edt_pixel_op *ops, int64_t n_ops, edt_error *err,
                             edt_image *out_image)
{
    if (image->h > 0 && image->stride > INT32_MAX / image->h) {
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED,
                 "a picture of %" PRId64 "x%" PRId64
                 " pixels is too large to augment: its rows may take up to 2 GiB",
                 image->h, image->w);
    }
    edt_image now = *image;
    for (int64_t i = 0; i < n_ops; ++i) {
        EDT_TRY(run_one(scratch, image, &ops[i], &now, err));
    }
    *out_image = now;
    return EDT_OK;
}
