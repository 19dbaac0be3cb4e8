// See mix_buffers.h.
#include "augment/mix_buffers.h"

#include <inttypes.h>

#include "core/mem.h"

edt_status edt_mix_buffers_create(edt_error *err, edt_mix_buffers **out_buffers)
{
    edt_mix_buffers *buffers = edt_mem_calloc(EDT_MEM_IMAGE, 1, sizeof *buffers);
    if (buffers == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to mix pictures");
    }
    const edt_status status = edt_resizer_create(err, &buffers->resizer);
    if (status != EDT_OK) {
        edt_mix_buffers_destroy(buffers);
        return status;
    }
    *out_buffers = buffers;
    return EDT_OK;
}

void edt_mix_buffers_destroy(edt_mix_buffers *buffers)
{
    if (buffers == NULL) {
        return;
    }
    edt_resizer_destroy(buffers->resizer);
    edt_mem_free(buffers->picture);
    edt_mem_free(buffers->scaled);
    edt_mem_free(buffers->owner);
    edt_mem_free(buffers);
}

static edt_status fresh(int64_t n_bytes, edt_error *err, void **out_block)
{
    *out_block = edt_mem_alloc(EDT_MEM_IMAGE, (size_t)n_bytes);
    if (*out_block == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to mix pictures: %" PRId64 " bytes", n_bytes);
    }
    return EDT_OK;
}

edt_status edt_mix_reserve_picture(edt_mix_buffers *buffers, int64_t n_bytes, edt_error *err)
{
    if (n_bytes > buffers->picture_bytes) {
        void *block;
        EDT_TRY(fresh(n_bytes, err, &block));
        edt_mem_free(buffers->picture);
        buffers->picture = block;
        buffers->picture_bytes = n_bytes;
    }
    return EDT_OK;
}

edt_status edt_mix_reserve_scaled(edt_mix_buffers *buffers, int64_t n_bytes, edt_error *err)
{
    if (n_bytes > buffers->scaled_bytes) {
        void *block;
        EDT_TRY(fresh(n_bytes, err, &block));
        edt_mem_free(buffers->scaled);
        buffers->scaled = block;
        buffers->scaled_bytes = n_bytes;
    }
    return EDT_OK;
}

edt_status edt_mix_reserve_owner(edt_mix_buffers *buffers, int64_t n, edt_error *err)
{
    if (n > buffers->n_owner) {
        void *block;
        EDT_TRY(fresh(n * (int64_t)sizeof *buffers->owner, err, &block));
        edt_mem_free(buffers->owner);
        buffers->owner = block;
        buffers->n_owner = n;
    }
    return EDT_OK;
}

edt_status edt_mix_scale(edt_mix_buffers *buffers, const edt_image *image, int64_t h, int64_t w,
                         edt_error *err, edt_image *out_image)
{
    const edt_scale_params params = {.out_h = h, .out_w = w, .scaled_h = h, .scaled_w = w};
    EDT_TRY(edt_mix_reserve_scaled(buffers, 3 * h * w, err));
    EDT_TRY(edt_resize_u8(buffers->resizer, image, &params, false, err, buffers->scaled));
    *out_image = (edt_image){.data = buffers->scaled, .h = h, .w = w, .stride = 3 * w};
    return EDT_OK;
}
