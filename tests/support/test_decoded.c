// See test_decoded.h.
#include "tests/support/test_decoded.h"

#include <criterion/criterion.h>
#include <string.h>

#include "core/mem.h"

// Noise in every third byte: compressible, but no two rows or pictures are alike.
static uint8_t byte_at(uint32_t *state, int64_t index, int64_t k)
{
    *state = *state * 1664525u + 1013904223u;
    return (uint8_t)(k % 3 == 0 ? (int64_t)(*state >> 24) : index + k / 256);
}

edt_image edt_test_picture(int64_t index, int64_t stride_extra)
{
    edt_image image = {.h = 1 + index * 37 % 211, .w = 1 + index * 53 % 307};
    image.stride = image.w * 3 + stride_extra;
    image.data = edt_mem_alloc(EDT_MEM_IMAGE, (size_t)(image.h * image.stride));
    cr_assert_not_null(image.data);
    uint32_t state = (uint32_t)index * 2654435761u + 1;
    for (int64_t y = 0; y < image.h; ++y) {
        memset(image.data + y * image.stride, 0xee, (size_t)image.stride);
        for (int64_t k = 0; k < image.w * 3; ++k) {
            image.data[y * image.stride + k] = byte_at(&state, index, k);
        }
    }
    return image;
}

bool edt_test_is_picture(int64_t index, const edt_image *image)
{
    if (image->h != 1 + index * 37 % 211 || image->w != 1 + index * 53 % 307) {
        return false;
    }
    uint32_t state = (uint32_t)index * 2654435761u + 1;
    for (int64_t y = 0; y < image->h; ++y) {
        for (int64_t k = 0; k < image->w * 3; ++k) {
            if (image->data[y * image->stride + k] != byte_at(&state, index, k)) {
                return false;
            }
        }
    }
    return true;
}

edt_decoded_cache *edt_test_open_cache(const char *path, const char *fingerprint,
                                       int64_t max_bytes, int zstd_level)
{
    const edt_decoded_cache_options options = {.path = path,
                                               .max_bytes = max_bytes,
                                               .zstd_level = zstd_level,
                                               .fingerprint = fingerprint,
                                               .transform = edt_decoded_transform(false)};
    edt_error err = {0};
    edt_decoded_cache *cache = NULL;
    cr_assert_eq(edt_decoded_cache_open(&options, &err, &cache), EDT_OK, "%s", err.text);
    return cache;
}

void edt_test_fill_cache(edt_decoded_cache *cache, int64_t begin, int64_t end)
{
    for (int64_t i = begin; i < end; ++i) {
        const edt_image image = edt_test_picture(i, i % 2 == 0 ? 0 : 13);
        (void)edt_decoded_put_wait(cache, i, &image);
        edt_mem_free(image.data);
    }
}

edt_test_found edt_test_read_cache(edt_decoded_cache *cache, int64_t begin, int64_t end)
{
    edt_test_found found = {0};
    edt_error err = {0};
    edt_decoded_reader *reader = NULL;
    cr_assert_eq(edt_decoded_reader_create(cache, &err, &reader), EDT_OK, "%s", err.text);
    for (int64_t i = begin; i < end; ++i) {
        edt_image image = {0};
        bool is_there = false;
        cr_assert_eq(edt_decoded_get(reader, i, &err, &is_there, &image), EDT_OK, "%s",
                     err.text);
        if (!is_there) {
            ++found.n_missing;
        } else if (edt_test_is_picture(i, &image)) {
            ++found.n_right;
        } else {
            ++found.n_wrong;
        }
    }
    edt_decoded_reader_destroy(reader);
    return found;
}
